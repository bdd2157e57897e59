"""The demo in its quick form, start to report, and its plan."""

import json

import pytest

from mindvis import demo
from mindvis.cli import COMMANDS
from mindvis.errors import MindVisError


@pytest.mark.parametrize("size", sorted(demo.SIZES))
def test_every_step_is_a_command_with_shipped_configurations(tmp_path, size):
    steps = list(demo.plan(tmp_path, demo.config_folder(), size, seed=3))
    assert [step[0] for step in steps] == [
        *("simulate", "prepare", "inspect", "fit", "fit", "fit", "fit", "decode", "evaluate")
    ]
    assert {step[0] for step in steps} <= set(COMMANDS)
    for step in steps:
        configs = [step[i + 1] for i, word in enumerate(step) if word == "-c"]
        assert all(demo.Path(config).is_file() for config in configs)


def test_a_step_that_fails_stops_the_demo(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(demo, "main", lambda words: ran.append(words[0]) or 2)
    with pytest.raises(MindVisError, match="`mindvis simulate` failed; the line above says why"):
        demo.demo(str(tmp_path))
    assert ran == ["simulate"]


def test_quick_demo_ends_in_a_report_with_all_controls(tmp_path, capsys):
    demo.demo(str(tmp_path), quick=True)
    content = json.loads((tmp_path / "decoded" / "metrics.json").read_text())
    assert "shuffled-brain" in json.dumps(content)
    assert "ridge" in json.dumps(content)
    assert (tmp_path / "decoded" / "report.html").is_file()
    assert "$ mindvis simulate" in capsys.readouterr().out
    report = (tmp_path / "decoded" / "report.html").read_bytes()
    demo.demo(str(tmp_path), quick=True)  # nothing is done twice, and nothing is refused
    assert capsys.readouterr().out.count(" is complete: ") == 4
    assert (tmp_path / "decoded" / "report.html").read_bytes() == report
