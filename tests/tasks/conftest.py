"""Every shipped stage, fitted once in its tiny form through the command line."""

from pathlib import Path

import pytest

from mindvis.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"


def words(stage, store, root):
    """Words of `mindvis fit` for a tiny stage, one after another under `root`."""
    args = [
        "fit",
        "-c",
        CONFIGS / f"{stage}.yaml",
        "-c",
        CONFIGS / "size" / "tiny" / f"{stage}.yaml",
    ]
    args += ["--data.store", store, "--output", root / stage]
    args += ["--trainer.enable_progress_bar", "false"]
    if stage in {"latent", "judge"}:
        args += ["--data.pictures", "null"]
    if stage == "adapt":
        args += ["--model.init_from", root / "pretrain", "--data.rows", "test"]
    if stage == "finetune":
        args += ["--model.encoder", root / "pretrain", "--model.ldm", root / "latent"]
    return [str(word) for word in args]


@pytest.fixture(scope="session")
def fit_words():
    """The function above."""
    return words


@pytest.fixture(scope="session")
def runs(store, tmp_path_factory):
    """Folder with the runs pretrain, adapt, latent, finetune and judge; never write to it."""
    root = tmp_path_factory.mktemp("runs")
    for stage in ("pretrain", "adapt", "latent", "finetune", "judge"):
        assert main(words(stage, store, root)) == 0
    return root
