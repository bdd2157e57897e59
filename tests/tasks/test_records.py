"""Tables of metrics and checkpoints that survive a kill."""

import pytest
import torch

from mindvis.tasks.records import AtomicCheckpointIO, MetricsTable, read_rows


def table(folder):
    made = MetricsTable(folder)
    made.begin(0)
    return made


def test_rows_keep_their_columns_when_new_ones_come(tmp_path):
    metrics = table(tmp_path)
    metrics.log_metrics({"train_loss": torch.tensor(0.5), "epoch": 0}, step=3)
    metrics.log_metrics({"lr": 0.25, "epoch": 0}, step=3)
    assert (tmp_path / "metrics.csv").read_text() == (
        "epoch,step,lr,train_loss\n0,3,,0.5\n0,3,0.25,\n"
    )


def test_resumed_table_forgets_the_interrupted_epoch(tmp_path):
    metrics = table(tmp_path)
    for epoch in range(3):
        metrics.log_metrics({"loss": 1.5 - epoch, "epoch": epoch}, step=epoch)
    resumed = MetricsTable(tmp_path)
    resumed.begin(2)
    resumed.log_metrics({"loss": 9.0, "epoch": 2}, step=2)
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["loss"] for row in rows] == ["1.5", "0.5", "9.0"]


def test_line_cut_short_by_a_kill_is_dropped(tmp_path):
    metrics = table(tmp_path)
    metrics.log_metrics({"loss": 1.0, "epoch": 0}, step=0)
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + "1,1")
    assert [row["epoch"] for row in read_rows(path)] == ["0"]


def test_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def dies(checkpoint, partial):
        partial.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
