"""Prepare many planted trees: `python -m benchmarks.fuzz --planted` calls this."""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.planted.check import Outcome, check_tree


def sentence(text: str) -> str:
    """A sentence without names and numbers, to count its kind."""
    return re.sub(r"[^\s,;:]*[\d_/\\][^\s,;]*|'[^']*'", "_", text)[:90]


def main(words: list[str] | None = None) -> int:
    """Prepare trees, print those that fail, and count what became of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planted", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one tree, with its files, sentence or traceback")
    arguments = parser.parse_args(words)
    if arguments.only is not None:
        return show(arguments.only, arguments.seed)
    start, ends, sentences = time.monotonic(), Counter(), Counter()
    for number in range(arguments.first, arguments.first + arguments.count):
        with tempfile.TemporaryDirectory() as space:
            outcome = check_tree(number, Path(space) / "at", arguments.seed)
        ends["FAILED" if outcome.failed else outcome.end] += 1
        if outcome.failed:
            print(outcome, flush=True)
        elif outcome.end == "refused":
            sentences[sentence(outcome.text)] += 1
    for text, count in sentences.most_common():
        print(f"{count:5} {text}")
    print(f"{dict(ends)} in {time.monotonic() - start:.0f} s")
    return int(ends["FAILED"] > 0)


def show(number: int, seed: int) -> int:
    """Prepare one tree and print its recipe, its options and what became of it."""
    with tempfile.TemporaryDirectory() as space:
        outcome: Outcome = check_tree(number, Path(space) / "at", seed, show=True)
    print(outcome)
    print(f"options: {outcome.recipe.options}")
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
