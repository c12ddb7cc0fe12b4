"""The metrics that come with sycam. A new one is one registered function in a file here, and one test."""
