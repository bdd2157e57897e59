"""`python -m preprocessing DATASET --source ... --store ...`: the same as `mindvis prepare`."""

import sys
from collections.abc import Sequence

from mindvis import cli


def main(args: Sequence[str] | None = None) -> int:
    """Run one of the readers that `mindvis prepare` lists.

    Args:
        args: Words after the command; None takes those of the process.

    Returns:
        0, or 2 after one sentence on stderr.
    """
    return cli.main(["prepare", *(sys.argv[1:] if args is None else args)])


if __name__ == "__main__":
    sys.exit(main())
