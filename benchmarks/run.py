"""Run benchmarks by name: `python -m benchmarks.run mae finetune [--fast] [--output DIR]`.

Each is a module of this folder with `measure(fast) -> dict`, and perhaps `describe(result)` in
words; `--fast` is the same work at toy size, to test that it runs. Results are JSON with machine,
versions and commit.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.machine import ROOT, write_report


def names() -> list[str]:
    """Benchmarks of this folder that measure something."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [file.stem for file in files if "\ndef measure(" in file.read_text(encoding="utf-8")]


def main(args: Sequence[str] | None = None) -> int:
    """Run the benchmarks named on the command line, or all; print where each result is."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--fast", action="store_true", help="toy sizes: shows that it runs")
    parser.add_argument("--output", default=ROOT / "benchmarks" / "results", help="folder")
    options = parser.parse_args(args)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names())}")
    for name in options.names or names():
        module = import_module(f"benchmarks.{name}")
        content = module.measure(options.fast)
        path = write_report(name, {"fast": options.fast, **content}, options.output)
        words = f"{module.describe(content)}\n" if hasattr(module, "describe") else ""
        sys.stdout.write(f"{words}{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
