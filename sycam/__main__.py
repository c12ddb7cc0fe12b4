"""`python -m sycam`: the command line."""

from sycam.cli import main

if __name__ == "__main__":
    main()
