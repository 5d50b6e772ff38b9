"""`python -m attribution` is the same as `attribution`."""

from attribution.cli import main

if __name__ == "__main__":
    main()
