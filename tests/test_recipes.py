"""The recipes of GOD and BOLD5000: what MinD-Vis published under `compat`, and ours."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from mindvis.training import StageCLI

CONFIGS = Path(__file__).parents[1] / "configs"
DATA = ("god", "bold5000")
STAGES = ("pretrain", "adapt", "finetune")
RECIPES = [
    f"{data}/{preset}{stage}" for data in DATA for preset in ("", "compat/") for stage in STAGES
]
# Hyper-parameters that its paper, code and README agree on, stage by stage.
PUBLISHED = {
    "pretrain": {
        "model": {
            "embed_dim": 1024,
            "depth": 24,
            "num_heads": 16,
            "mlp_ratio": 1.0,
            "decoder_embed_dim": 512,
            "decoder_depth": 8,
            "decoder_num_heads": 16,
            "mask_ratio": 0.75,
            "lr": 2.5e-4,
            "min_lr": 0.0,
            "betas": (0.9, 0.95),
            "weight_decay": 0.05,
            "warmup_epochs": 40,
        },
        "data": {"patch_size": 16, "batch_size": 100, "rows": "train", "interpolation": 1.0},
        "trainer": {"max_epochs": 500, "gradient_clip_val": 0.8, "precision": "16-mixed"},
    },
    "adapt": {
        "model": {
            "mask_ratio": 0.75,
            "lr": 5.3e-5,
            "min_lr": 0.0,
            "betas": (0.9, 0.95),
            "weight_decay": 0.05,
            "warmup_epochs": 2,
        },
        "data": {"rows": "test"},
        "trainer": {"max_epochs": 15, "gradient_clip_val": 0.8},
    },
    "finetune": {
        "model": {
            "class_token": False,
            "num_context_tokens": 77,
            "condition_dropout": 0.0,
            "lr": 5.3e-5,
            "encoder_lr": None,
            "betas": (0.9, 0.999),
            "weight_decay": 0.01,
            "opened": "conditioning",
            "voxel_dropout": 0.0,
        },
        "data": {"image_size": 256, "crop": 0.2, "flip": False, "average_repeats": False},
        "trainer": {"max_epochs": 500, "gradient_clip_val": 0.5, "precision": "32-true"},
    },
}
BATCHES = {
    "god/compat/adapt": 16,
    "bold5000/compat/adapt": 4,
    "god/compat/finetune": 5,
    "bold5000/compat/finetune": 25,
}


class Parsed(Exception):  # noqa: N818
    """Parsing is done."""


@pytest.fixture(scope="module")
def parse():
    """The resolved configuration of files after `mindvis fit`, each read once; nothing is built."""
    found = {}

    def stop(self):
        raise Parsed

    def keep(self, parser, args):
        found["last"] = parser.parse_args(args).fit

    def parse(*paths):
        if paths not in found:
            with pytest.raises(Parsed):
                StageCLI("fit", [word for path in paths for word in ("-c", str(path))])
            found[paths] = found["last"]
        return found[paths]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCLI, "_parse_ckpt_path", stop)
        patch.setattr(StageCLI, "parse_arguments", keep)
        yield parse


def options(config, part):
    return config[part] if part in ("trainer", "ema") else config[part].init_args


def test_all_recipes_are_known():
    found = {
        path.relative_to(CONFIGS).with_suffix("")
        for d in DATA
        for path in (CONFIGS / d).rglob("*.yaml")
    }
    assert {path.as_posix() for path in found} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_parses_and_says_what_it_costs(name, parse):
    path = CONFIGS / f"{name}.yaml"
    config = parse(path)
    assert config.output == f"runs/{name}"
    header = path.read_text().split("seed_everything")[0]
    assert re.search(r"Estimates, not measurements .*(minute|hour).*GB", header)
    assert "Expected number: none" in header
    commands = re.sub(r"\\\n#\s+", "", header)
    fits = [line[1:] for line in commands.splitlines() if line.startswith("#   mindvis fit")]
    (words,) = (shlex.split(line) for line in fits)
    assert words[words.index("-c") + 1] == f"configs/{name}.yaml"
    assert words[words.index("--output") + 1] == config.output


@pytest.mark.parametrize("name", [name for name in RECIPES if "compat" in name])
def test_compat_has_the_published_hyperparameters(name, parse):
    config = parse(CONFIGS / f"{name}.yaml")
    for part, expected in PUBLISHED[Path(name).name].items():
        found = options(config, part)
        assert {key: found[key] for key in expected} == expected
    if name in BATCHES:
        assert config.data.init_args.batch_size == BATCHES[name]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("stage", STAGES)
def test_recipe_under_compat_has_all_of_the_preset(data, stage, parse):
    preset = yaml.safe_load((CONFIGS / "compat" / f"{stage}.yaml").read_text())
    config = parse(CONFIGS / data / "compat" / f"{stage}.yaml")
    laid_over = parse(CONFIGS / f"{stage}.yaml", CONFIGS / "compat" / f"{stage}.yaml")
    for part, content in preset.items():
        for key, value in content.get("init_args", content).items():
            assert options(laid_over, part)[key] == value
            if (data, stage, key) != ("bold5000", "adapt", "repeats"):  # only averages there
                assert options(config, part)[key] == value


@pytest.mark.parametrize("stage", STAGES)
def test_rows_that_standardise_are_those_of_the_data_set(stage, parse):
    """Test responses of GOD are not standardised (Q2), all of BOLD5000's standardise (Q5)."""
    found = {
        data: parse(CONFIGS / data / "compat" / f"{stage}.yaml").data.init_args.statistics
        for data in DATA
    }
    own = "train_only" if stage == "pretrain" else "all"  # its stage A1 is GOD's, and HCP's
    assert found == {"god": "train_only", "bold5000": own}


@pytest.mark.parametrize("name", [name for name in RECIPES if "compat" not in name])
def test_ours_look_at_nothing_of_the_test_split(name, parse):
    data = parse(CONFIGS / f"{name}.yaml").data.init_args
    assert data.statistics == "train"
    assert data.val_fraction > 0
    assert data.get("rows", "train") == "train"
