"""Every block of the README runs: the two commands, the stages one after another, the Python."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from mindvis.cli import main

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
TINY = {
    "simulate": [
        *("--subjects", "1", "--trials", "48", "--test_repeats", "1"),
        *("--pictures", "64", "--n_jobs", "1"),
    ],
    "decode": ["--draws", "1", "--steps", "2"],
    "evaluate": ["--bootstrap", "100", "--permutations", "100"],
}


def blocks(language: str) -> list[str]:
    return [code for name, code in BLOCKS if name == language]


def smaller(words: list[str]) -> list[str]:
    """The same command on less data, with the small form of its configuration."""
    if words[0] != "fit":
        return words + TINY.get(words[0], [])
    config = Path(words[words.index("-c") + 1])
    place = words.index("-c") + 2
    quick = ROOT / "configs/size/quick" / config.name
    return [*words[:place], "-c", str(quick), *words[place:], "--trainer.max_epochs", "5"]


def test_all_blocks_are_known():
    assert [name for name, _ in BLOCKS] == ["bash", "python", "bash"]


def test_make_knows_the_two_commands():
    targets = [line.split("#")[0].split()[1] for line in blocks("bash")[0].splitlines()]
    assert targets == ["demo", "test"]
    for target in targets:
        dry = subprocess.run(
            ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert dry.stdout


@pytest.fixture(scope="module")
def worked(tmp_path_factory) -> Path:
    """A folder in which all commands of the README have run, at a small size."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "configs", folder / "configs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in blocks("bash")[1].splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "mindvis"
            assert main(smaller(words)) == 0, line
    return folder


def test_stages_end_in_a_report(worked):
    for name in ("metrics.json", "per_sample.csv", "report.html"):
        assert (worked / "decoded" / name).stat().st_size > 0


def test_python_decodes(worked, monkeypatch):
    monkeypatch.chdir(worked)
    (worked / "runs/demo").mkdir(exist_ok=True)
    (worked / "runs/demo/store.h5").symlink_to(worked / "store.h5")
    (worked / "runs/demo/finetune").symlink_to(worked / "runs/finetune")
    code = blocks("python")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) == 9
    space: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), space)
    assert len(space["pictures"]) == 5
    assert (worked / "decoded.png").is_file()
