"""The baselines and controls. A new one is one registered function in a file here, and one test."""
