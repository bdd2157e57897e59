"""Records of a run that survive a kill: checkpoints written atomically, and a table of metrics."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from mindvis.errors import CheckpointError
from mindvis.files import atomic_path, write_text

Row = dict[str, float | int | str]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent: written beside their place, then renamed.

    Lightning's own writer collects the file in memory and moves it from the system's temporary
    folder, which is a copy, not a rename, where that is another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint of plain types and tensors."""
        with atomic_path(path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint of plain types and tensors; nothing in it is executed.

        Raises:
            CheckpointError: The file is damaged or holds something else.
        """
        try:
            checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except (OSError, EOFError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
            raise CheckpointError(
                f"{path} cannot be read ({type(error).__name__})",
                "a checkpoint that `mindvis fit` wrote",
                "delete it to train from the start",
            ) from error
        return dict(checkpoint)


def read_rows(path: Path) -> list[Row]:
    """Rows of a metrics table, empty cells left out; a last line cut short by a kill is dropped."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        whole = [row for row in reader if None not in row and None not in row.values()]
    return [{key: value for key, value in row.items() if value != ""} for row in whole]


def _is_before(row: Row, epoch: int) -> bool:
    """Whether a row was written in an earlier epoch."""
    return int(float(row.get("epoch", epoch))) < epoch


class MetricsTable(Logger):
    """`metrics.csv` of a run: one line a log call, one column a metric; a resumed run continues it.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.columns: list[str] = ["epoch", "step"]
        self.rows: list[Row] = []

    @property
    def name(self) -> str:
        """Lightning's name of the logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """One run folder is one version."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    def begin(self, epoch: int) -> None:
        """Start at an epoch: keep rows of earlier epochs, forget those of an interrupted one."""
        self.rows = [row for row in read_rows(self.path) if _is_before(row, epoch)]
        self.columns = ["epoch", "step"]
        self._extend_columns(*self.rows)
        self._rewrite()

    def _extend_columns(self, *rows: Mapping[str, Any]) -> bool:
        """Add columns that are new, in alphabetical order; whether there were any."""
        known = {*self.columns, *(key for row in rows for key in row)}
        extended = ["epoch", "step", *sorted(known - {"epoch", "step"})]
        new, self.columns = extended != self.columns, extended
        return new

    def _lines(self, rows: list[Row], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _rewrite(self) -> None:
        write_text(self.path, self._lines(self.rows, header=True))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append one line, or write the table anew where it has a new column."""
        values = {k: v.item() if isinstance(v, Tensor) else v for k, v in metrics.items()}
        row: Row = {**values, "step": step if step is not None else len(self.rows)}
        self.rows.append(row)
        if self._extend_columns(row):
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._lines([row], header=False))

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is in `config.yaml`."""
