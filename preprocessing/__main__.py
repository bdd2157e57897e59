"""`python -m preprocessing DATASET --source ... --store ...`: the same as `mindvis prepare`."""

import sys
from collections.abc import Callable, Sequence

from jsonargparse import auto_cli

from mindvis.console import complain
from mindvis.errors import MindVisError
from preprocessing.arrays import prepare_arrays
from preprocessing.augment import prepare_augment
from preprocessing.bids import prepare_bids

#: data set -> the function that prepares it; its signature and docstring are the options and help
COMMANDS: dict[str, Callable[..., None]] = {
    "bids": prepare_bids,
    "arrays": prepare_arrays,
    "augment": prepare_augment,
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one of the commands.

    Args:
        args: Command-line arguments; None takes those of the process.

    Returns:
        0, or 2 after one sentence on stderr.
    """
    try:
        auto_cli(
            COMMANDS,
            as_positional=False,
            args=None if args is None else list(args),
            prog="python -m preprocessing",
        )
    except MindVisError as error:
        complain(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
