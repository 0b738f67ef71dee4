"""`python -m dnuc`: the command line of this very environment, whatever is first in the search path."""

from dnuc.cli import main

if __name__ == "__main__":
    main()
