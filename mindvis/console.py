"""What the commands say: lines on stdout, one sentence on stderr when something is wrong."""

import os
import sys


def is_main_process() -> bool:
    """Whether this is the first process of a distributed run, or the only one."""
    ranks = (os.environ.get(name) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def say(text: str) -> None:
    """Write one line to stdout, from the first process alone."""
    if is_main_process():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def complain(text: str) -> None:
    """Write one line to stderr: what went wrong, in a sentence."""
    sys.stderr.write(f"mindvis: {' '.join(text.split())}\n")
    sys.stderr.flush()
