"""Benchmarks: shipped ones can be followed, a tiny one runs to its table or says what it lacks."""

import json
import shlex
import signal
import subprocess
import time
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from mindvis.cli import COMMANDS, main
from mindvis.errors import ConfigError, MindVisError
from mindvis.files import config_folder
from mindvis.reproduce import command, slurm
from mindvis.reproduce.collect import lacking
from mindvis.reproduce.definition import expand, load_benchmark, resolve_inputs, shared_tasks
from mindvis.reproduce.ledger import Ledger
from tests.test_cli import parse

SHIPPED = sorted(path.stem for path in (config_folder() / "benchmarks").glob("*.yaml"))
CONFIGS = "-c {configs}/%s.yaml -c {configs}/size/tiny/%s.yaml --data.store {store}"
TINY = {
    "title": "two brains of random pictures",
    "subjects": ["sub-01", "sub-02"],
    "seeds": [0, 1],
    "inputs": {
        "store": {"about": "the tiny store"},
        "draws": {"about": "pictures of each", "default": 1},
        "judge": {"about": "a classifier", "default": None},
    },
    "steps": [
        {
            "name": "pretrain",
            "command": f"fit {CONFIGS % (('pretrain',) * 2)} --output {{root}}/shared/pretrain"
            " --trainer.max_epochs 1 --trainer.enable_progress_bar false",
            "makes": "{root}/shared/pretrain/complete.json",
        },
        {
            "name": "latent",
            "command": f"fit {CONFIGS % (('latent',) * 2)} --output {{root}}/shared/latent"
            " --data.pictures null --trainer.enable_progress_bar false",
            "makes": "{root}/shared/latent/complete.json",
        },
        {
            "name": "finetune",
            "command": f"fit {CONFIGS % (('finetune',) * 2)} --data.subjects [{{subject}}]"
            " --model.encoder {root}/shared/pretrain --model.ldm {root}/shared/latent"
            " --trainer.max_epochs 1 --model.seed {seed} --output {run}/finetune"
            " --trainer.enable_progress_bar false",
            "makes": "{run}/finetune/complete.json",
        },
        {
            "name": "decode",
            "command": "decode {run}/finetune --store {store} --subjects [{subject}] --steps 2"
            " --draws {draws} --guidance 1 --seed {seed} --output {run}/decoded",
            "makes": "{run}/decoded/index.csv",
        },
        {
            "name": "evaluate",
            "command": "evaluate {run}/decoded --bootstrap 100 --permutations 100",
            "options": {"judge": "--judge {judge}"},
            "makes": "{run}/decoded/metrics.json",
        },
    ],
}


def write(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return str(path)


@pytest.fixture
def tiny(tmp_path):
    return write(tmp_path)


@pytest.fixture
def pretended(monkeypatch):
    """Steps that only make their file; the words of each are kept."""
    ran = []

    def run(words):
        ran.append(list(words))
        place = words[words.index("--output") + 1] if "--output" in words else words[1]
        names = {"fit": "complete.json", "decode": "index.csv", "evaluate": "metrics.json"}
        path = Path(place) / names[words[0]]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        return 0

    monkeypatch.setattr(command, "main", run)
    return ran


# -- the shipped definitions --------------------------------------------------------------------


def test_the_named_benchmarks_are_there():
    assert SHIPPED == ["bold5000", "demo", "digit69", "god", "nsd"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_steps_are_commands_with_shipped_configurations(name, tmp_path):
    benchmark = load_benchmark(name)
    needed = {key: f"some {key}" for key, e in benchmark.inputs.items() if e.get("default") is None}
    runs = expand(benchmark, tmp_path, resolve_inputs(benchmark, needed))
    assert len(runs) == len(benchmark.subjects) * len(benchmark.seeds)
    for task in runs[0].tasks:
        assert task.words[0] in COMMANDS
        assert not task.done
        for word, following in zip(task.words, task.words[1:], strict=False):
            if word == "-c":
                assert Path(following).is_file(), following
    assert str(runs[0].folder) == f"{tmp_path}/{benchmark.subjects[0]}/seed0"
    text = (config_folder() / "benchmarks" / f"{name}.yaml").read_text()
    assert f"#   mindvis reproduce {name}" in text


def shipped_run(name, folder, optional=True):
    """The first run of a shipped benchmark, with or without what its user may leave out."""
    benchmark = load_benchmark(name)
    given = {
        key: "x"
        for key, entry in benchmark.inputs.items()
        if entry.get("default") is None and (optional or "default" not in entry)
    }
    return expand(benchmark, folder, resolve_inputs(benchmark, given))[0]


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("name", SHIPPED)
def test_options_of_shipped_steps_exist(name, optional, tmp_path):
    """Every plain command's words are parsed by its own parser; stages have tests of their own."""
    from mindvis import cli
    from mindvis.arguments import function_parser, spell_out_switches

    for task in shipped_run(name, tmp_path, optional).tasks:
        found, words = COMMANDS[task.words[0]], list(task.words[1:])
        if found.subcommands:
            found, words = found.subcommands[words[0]], words[1:]
        if not found.own_parser:
            function = cli.load(found.target)
            parser = function_parser(function, "mindvis", found.positional)
            parser.parse_args(spell_out_switches(function, words))


@pytest.mark.parametrize("name", ["bold5000", "god", "nsd"])
def test_subjects_of_shipped_benchmarks_are_those_that_their_reader_writes(name):
    """A store names its subjects as the data set's reader does."""
    facts = import_module(f"preprocessing.{name}").FACTS
    assert set(load_benchmark(name).subjects) <= set(facts.subjects)


@pytest.mark.parametrize("name", ["bold5000", "god"])
def test_shipped_benchmarks_train_by_the_recipes_of_their_data(name, tmp_path, monkeypatch):
    """Of the recipe's values only places, subject and seed are others."""
    changed = {"store", "subjects", "init_from", "encoder", "ldm", "seed"}
    run = shipped_run(name, tmp_path, optional=False)
    stages = {task.step: list(task.words) for task in run.tasks if task.words[0] == "fit"}
    assert list(stages) == ["pretrain", "adapt", "finetune"]
    for stage, words in stages.items():
        recipe = config_folder() / name / f"{stage}.yaml"
        ours, plain = (parse(w, monkeypatch) for w in (words, ["fit", "-c", str(recipe)]))
        for part in ("model", "data"):
            one, other = (vars(config[part].init_args) for config in (ours, plain))
            differing = {key for key in one if one[key] != other[key]}
            assert differing <= changed
        assert ours.trainer == plain.trainer
        assert str(tmp_path) in str(ours.data.init_args.store)
    chain = [vars(parse(words, monkeypatch).model.init_args) for words in stages.values()]
    assert chain[1]["init_from"].endswith("shared/pretrain/seed0")
    assert chain[2]["encoder"] == f"{run.folder}/adapt"


@pytest.mark.parametrize("name", SHIPPED)
def test_options_of_shipped_stages_exist(name, tmp_path, monkeypatch):
    benchmark = load_benchmark(name)
    given = {key: "x" for key, e in benchmark.inputs.items() if e.get("default") is None}
    run = expand(benchmark, tmp_path, resolve_inputs(benchmark, given))[-1]
    for task in run.tasks:
        if task.words[0] == "fit":
            config = parse(list(task.words), monkeypatch)
            assert Path(config.output) == task.makes.parent
            if "seed" in str(task.makes):
                assert config.model.init_args.seed == run.seed


# -- what is done, and what is not ----------------------------------------------------------------


def test_shared_steps_run_once_and_finished_steps_never_again(
    tiny, tmp_path, pretended, monkeypatch
):
    monkeypatch.setattr(command, "collect_runs", lambda *a: None)
    options = {"output": str(tmp_path / "out"), "inputs": {"store": "a store.h5"}}
    command.reproduce(tiny, **options)
    assert len(pretended) == 2 + 4 * 3
    assert [words[0] for words in pretended[:5]] == ["fit", "fit", "fit", "decode", "evaluate"]
    assert pretended[0][pretended[0].index("--data.store") + 1] == "a store.h5"  # one word
    assert (tmp_path / "out/sub-02/seed1/decoded/metrics.json").is_file()
    pretended.clear()
    command.reproduce(tiny, **options)
    assert pretended == []
    (tmp_path / "out/sub-02/seed1/decoded/index.csv").unlink()
    command.reproduce(tiny, **options)  # the step, and what reads its output
    assert [words[0] for words in pretended] == ["decode", "evaluate"]


def test_a_step_that_fails_or_makes_nothing_is_named(tiny, tmp_path, monkeypatch):
    options = {"output": str(tmp_path / "out"), "inputs": {"store": "s"}}
    monkeypatch.setattr(command, "main", lambda words: 2)
    with pytest.raises(MindVisError, match="step pretrain failed; the line above says why"):
        command.reproduce(tiny, **options)
    monkeypatch.setattr(command, "main", lambda words: 0)
    with pytest.raises(MindVisError, match=r"step pretrain has not made .*complete\.json"):
        command.reproduce(tiny, **options)


def test_an_optional_input_adds_its_words(tiny, tmp_path):
    benchmark = load_benchmark(tiny)
    given = expand(benchmark, tmp_path, resolve_inputs(benchmark, {"store": "s", "judge": "a b"}))
    assert given[0].tasks[-1].words[-2:] == ("--judge", "a b")
    plain = expand(benchmark, tmp_path, resolve_inputs(benchmark, {"store": "s"}))
    assert "--judge" not in plain[0].tasks[-1].words
    assert [task.step for task in shared_tasks(plain)] == ["pretrain", "latent"]


def test_an_element_needs_the_shared_steps(tiny, tmp_path, pretended):
    options = {"output": str(tmp_path / "out"), "inputs": {"store": "s"}}
    with pytest.raises(ConfigError, match=r"not done: pretrain, latent; run .* --shared first"):
        command.reproduce(tiny, **options, element=3)
    command.reproduce(tiny, **options, shared=True)
    pretended.clear()
    command.reproduce(tiny, **options, element=3)
    assert [words[0] for words in pretended] == ["fit", "decode", "evaluate"]
    assert "sub-02/seed1" in " ".join(pretended[0])
    with pytest.raises(ConfigError, match="element is 4; expected a number from 0 to 3"):
        command.reproduce(tiny, **options, element=4)


def test_a_folder_of_other_inputs_is_refused(tiny, tmp_path, pretended):
    command.reproduce(tiny, output=str(tmp_path / "out"), inputs={"store": "s"}, shared=True)
    with pytest.raises(ConfigError, match="was begun with other inputs of benchmark tiny"):
        command.reproduce(tiny, output=str(tmp_path / "out"), inputs={"store": "t"}, shared=True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"subject": ["a"]}, r"has the key 'subject'; expected .*did you mean 'subjects'"),
        ({"seeds": []}, "has no seeds"),
        ({"steps": TINY["steps"][:-1]}, r"the last step of .* makes \{run\}/decoded/index.csv"),
        (
            {"steps": [{**TINY["steps"][0], "command": "fit {sead}"}, *TINY["steps"][1:]]},
            r"step pretrain of .* says \{sead\}; expected .*did you mean 'seed'",
        ),
        ({"steps": [{"name": "x", "makes": "y"}]}, "lacks command"),
        ({"steps": ["fit"]}, "holds 'fit' where keys should be"),
    ],
)
def test_a_definition_that_cannot_be_followed_is_refused(tmp_path, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_benchmark(write(tmp_path, **changes))


def test_wrong_words_are_sentences(tiny, capsys, tmp_path):
    def refused(*words):
        assert main(["reproduce", *words]) == 2
        return capsys.readouterr().err

    assert "no benchmark 'gof'; expected the name to be one of bold5000, demo" in refused("gof")
    assert "needs store; expected the tiny store; pass --inputs.store" in refused(tiny)
    assert "no input 'stoer'" in refused(tiny, "--inputs.stoer", "s")
    assert "has no subject 'sub-9'" in refused(tiny, "--subjects", "[sub-9]")


def test_a_dry_run_says_what_is_needed_and_does_nothing(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", tiny, "--dry_run", "--inputs.store", "s.h5", "--seeds", "[7]"]) == 0
    printed = capsys.readouterr().out
    assert "--inputs.store: the tiny store" in printed
    assert "--inputs.draws: pictures of each (default 1)" in printed
    assert printed.count("$ mindvis decode runs/tiny/sub-0") == 2
    assert not (tmp_path / "runs").exists()


# -- jobs ---------------------------------------------------------------------------------------


def test_jobs_wait_for_one_another(tiny, tmp_path, monkeypatch, capsys):
    bin_folder, log = tmp_path / "bin", tmp_path / "log"
    bin_folder.mkdir()
    fake = bin_folder / "sbatch"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "$(wc -l < {log});cluster"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    command.reproduce(tiny, str(tmp_path / "out"), {"store": "s"}, seeds=[3, 4], slurm=True)
    lines = [shlex.split(line) for line in log.read_text().splitlines()]
    assert len(lines) == 3
    assert lines[0][-1] == "--shared"
    assert {"--dependency=afterok:1", "--array=0-3"} <= set(lines[1])
    assert "--dependency=afterany:2" in lines[2]
    assert lines[2][-1] == "--collect"
    logs = [Path(word).name for line in lines for word in line if word.startswith("--output=")]
    assert logs == ["shared-%j.out", "runs-%A_%a.out", "collect-%j.out"]
    assert lines[1][lines[1].index("--seeds") + 1] == "[3,4]"
    assert "--inputs.draws" not in lines[1]
    script = tmp_path / "out" / "slurm" / "reproduce.sbatch"
    assert str(script) in lines[1]
    assert script.read_text().startswith("#!/bin/bash")


def test_without_slurm_the_lines_are_printed(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    command.reproduce(tiny, str(tmp_path / "out"), {"store": "s"}, slurm=True)
    printed = capsys.readouterr().out
    assert printed.count("$ sbatch --parsable") == 3
    assert "--dependency=afterok:<shared> --array=0-3" in printed.replace("'", "")


def test_an_array_element_is_one_run(tmp_path):
    """The shipped script passes its number on, and nothing outside an array."""
    script = config_folder() / "slurm" / "reproduce.sbatch"
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"

    def words(**variables):
        done = subprocess.run(
            ["bash", str(script), "god", "--output", "a b"],
            env={"PATH": path, **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    assert words() == "mindvis reproduce god --output a b"
    assert words(SLURM_ARRAY_TASK_ID="7") == "mindvis reproduce god --output a b --element 7"


@pytest.mark.parametrize("name", ["reproduce", "fit"])
def test_a_job_requeues_itself_before_its_time_is_over(name, tmp_path):
    """SLURM's signal ends the wait of the script, not the step, which the requeue then ends."""
    for tool, does in {"srun": "sleep 2; echo step ended; exit 3", "scontrol": 'echo "$@"'}.items():
        (tmp_path / tool).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / tool).chmod(0o755)
    script = config_folder() / "slurm" / f"{name}.sbatch"
    assert "#SBATCH --signal=B:USR1@" in script.read_text()
    variables = {"SLURM_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "4"}
    variables |= {"SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS_PER_NODE": "1"}
    job = subprocess.Popen(
        ["bash", str(script), "god", "store.h5"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    job.send_signal(signal.SIGUSR1)
    printed, _ = job.communicate(timeout=30)
    assert printed.splitlines() == ["requeue 41", "step ended"]
    assert job.returncode == 3  # a step that fails fails the job


# -- to the table ---------------------------------------------------------------------------------


def test_a_tiny_benchmark_runs_to_its_table_and_says_what_is_missing(tiny, store, tmp_path, capsys):
    words = ["reproduce", tiny, "--output", tmp_path / "out", "--inputs.store", store]
    words = [*map(str, words), "--seeds", "[0]"]
    assert main(words) == 0
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(content["runs"]) == {"sub-01/seed0", "sub-02/seed0"}
    assert content["missing"] == {}
    across = content["across_subjects"]["ssim"]
    parts = [content["subjects"][name]["ssim"]["mean"] for name in ("sub-01", "sub-02")]
    assert across["mean"] == pytest.approx(sum(parts) / 2)
    assert (across["lowest"], across["highest"]) == (min(parts), max(parts))
    printed = capsys.readouterr().out
    assert "Pixel correlation" in printed
    assert "sub-02/seed0" in printed
    assert "SSIM" in (tmp_path / "out" / "results.md").read_text()

    (tmp_path / "out/sub-02/seed0/decoded/metrics.json").unlink()
    assert main([*words, "--collect"]) == 2
    sentence = capsys.readouterr().err
    assert "1 of 2 runs are missing: sub-02/seed0 (evaluate has not made " in sentence
    assert json.loads((tmp_path / "out" / "results.json").read_text())["missing"]

    metrics = tmp_path / "out/sub-01/seed0/decoded/metrics.json"
    assert main(words) == 0  # the missing piece alone
    altered = json.loads(metrics.read_text())
    altered["metrics"]["ssim"]["protocol"] = "another"
    metrics.write_text(json.dumps(altered))
    capsys.readouterr()
    assert main([*words, "--collect"]) == 2
    assert "ssim of sub-01/seed0 and sub-02/seed0 differ in protocol" in capsys.readouterr().err


# -- what was made anew -------------------------------------------------------------------------


def test_what_follows_a_shared_step_is_made_anew(tiny, tmp_path, pretended, monkeypatch):
    monkeypatch.setattr(command, "collect_runs", lambda *a: None)
    words = ["reproduce", tiny, "--output", str(tmp_path / "out"), "--inputs.store", "s.h5"]
    assert main(words) == 0
    first = [" ".join(run) for run in pretended]
    pretended.clear()
    assert main(words) == 0
    assert pretended == []  # nothing to do
    (tmp_path / "out" / "shared" / "pretrain" / "complete.json").unlink()
    assert main([*words, "--seeds", "[0]", "--subjects", "[sub-01]"]) == 0
    assert [run[0] for run in pretended] == ["fit", "fit", "fit", "decode", "evaluate"]
    assert main(words) == 0  # the other runs follow, the first is not done twice
    assert sorted(" ".join(run) for run in pretended) == sorted(first)


def test_results_of_an_older_making_are_not_collected(tiny, tmp_path, pretended, monkeypatch):
    monkeypatch.setattr(command, "collect_runs", lambda *a: None)
    output = tmp_path / "out"
    words = ["reproduce", tiny, "--output", str(output), "--inputs.store", "s.h5"]
    assert main(words) == 0
    benchmark = load_benchmark(tiny)
    runs = expand(benchmark, output, resolve_inputs(benchmark, {"store": "s.h5"}))
    ledger = Ledger(output)
    assert [lacking(run, ledger) for run in runs] == [""] * 4
    ledger.remember(runs[0].tasks, 2)  # the finetuning of one run was made anew
    assert [lacking(run, ledger) for run in runs] == [
        "decode was done before a step that it follows was done anew",
        *[""] * 3,
    ]
    ledger.remember(runs[0].tasks, 0)  # a step that all share
    assert all("was done anew" in lacking(run, ledger) for run in runs)


def test_outputs_from_before_records_are_current(tiny, tmp_path, pretended, monkeypatch):
    monkeypatch.setattr(command, "collect_runs", lambda *a: None)
    words = ["reproduce", tiny, "--output", str(tmp_path / "out"), "--inputs.store", "s.h5"]
    assert main(words) == 0
    for file in (tmp_path / "out" / "steps").iterdir():
        file.unlink()
    pretended.clear()
    assert main(words) == 0
    assert pretended == []
