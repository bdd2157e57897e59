"""Which making of each output the later ones were made from: what follows a new one is made anew.

Runs share steps, so that a shared output can be made anew while other runs still hold what followed
the old one. Each task that is done leaves a record with an id of its making and the ids of those
before it. A task whose record names other makings than those that are there is not current.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindvis.console import say
from mindvis.files import sha256, write_json
from mindvis.records import read_json
from mindvis.reproduce.definition import Task

FOLDER = "steps"
SMALL = 1 << 20  # bytes; a larger output is known by its making alone


class Ledger:
    """The records of a benchmark's tasks.

    Args:
        root: The benchmark's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pretended: set[Task] = set()

    def current(self, tasks: Sequence[Task], number: int) -> bool:
        """Whether a task's output is there and was made from the outputs that precede it now.

        Outputs from before records were kept count as current until one before them is made anew.

        Args:
            tasks: Of one run, in order.
            number: Which of them.
        """
        task = tasks[number]
        if not task.done or task in self._pretended:
            return False
        before = self._record(task).get("after")
        makings = self._makings(tasks[:number])
        if before is None:
            return not any(makings.values())
        return all(before[key] == makings[key] for key in before if key in makings)

    def remember(self, tasks: Sequence[Task], number: int) -> None:
        """Record that a task was done just now, from the outputs that precede it."""
        task = tasks[number]
        made = hashlib.sha256(f"{time.time_ns()} {task}".encode()).hexdigest()[:16]
        content = {"step": task.step, "made": made, "after": self._makings(tasks[:number])}
        write_json(self._path(task), content)

    def pretend(self, task: Task) -> None:
        """Count a task as made anew, for a dry run."""
        self._pretended.add(task)

    def set_aside(self, tasks: Sequence[Task], number: int) -> None:
        """Rename the output folder of a task that is not current, so that nothing old is kept.

        A folder that also holds the output of an earlier task stays where it is.
        """
        folder = self._output(tasks[number])
        earlier = [task.makes.resolve() for task in tasks[:number]]
        if folder is None or any(path.is_relative_to(folder) for path in earlier):
            return
        free = next(
            path
            for count in range(1, 10_000)
            if not (path := folder.with_name(f"{folder.name}.before-{count}")).exists()
        )
        folder.rename(free)
        say(f"what {tasks[number].step} made before is now {free}")

    def _output(self, task: Task) -> Path | None:
        """The folder after --output, where it lies within the benchmark's."""
        if not task.done or "--output" not in task.words[:-1]:
            return None
        folder = Path(task.words[task.words.index("--output") + 1]).resolve()
        root = self.root.resolve()
        inside = folder.is_relative_to(root) and folder != root
        return folder if inside and folder.is_dir() else None

    def _makings(self, tasks: Sequence[Task]) -> dict[str, str]:
        return {self._key(task): self._making(task) for task in tasks}

    def _making(self, task: Task) -> str:
        """The id of an output's making with a digest of small outputs; empty where unrecorded."""
        if task in self._pretended:
            return "to be made"
        made = str(self._record(task).get("made", ""))
        if made and task.makes.is_file() and task.makes.stat().st_size <= SMALL:
            return f"{made} {sha256(task.makes)[:16]}"
        return made

    def _record(self, task: Task) -> dict[str, Any]:
        path = self._path(task)
        return read_json(path) if path.is_file() else {}

    def _path(self, task: Task) -> Path:
        return self.root / FOLDER / f"{self._key(task)}.json"

    @staticmethod
    def _key(task: Task) -> str:
        return hashlib.sha256(repr((task.step, task.words, str(task.makes))).encode()).hexdigest()[
            :16
        ]
