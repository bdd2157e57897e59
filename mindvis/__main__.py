"""`python -m mindvis`: the same as the `mindvis` command."""

import sys

from mindvis.cli import main

if __name__ == "__main__":
    sys.exit(main())
