"""Every array that MinD-Vis' own code produced, against this package: one test for each array.

`tests/goldens/` has, for each file, the rules that say what of ours an array is compared with.
"""

from pathlib import Path

import numpy as np
import pytest
from diffusers.models.embeddings import Timesteps

from tests.goldens import brain, data, denoiser, evaluation, ldm, samplers
from tests.goldens.registry import Golden
from tests.tolerances import NETWORK, NETWORK_OF_TIME, sinusoid

FOLDER = Path(__file__).parents[2] / "shared" / "goldens"
RULES = {
    file: rules
    for rules in (
        brain.ENCODER,
        brain.MAE,
        brain.PARTS,
        brain.CONDITION,
        data.DATA,
        denoiser.UNET,
        evaluation.EVALUATION,
        ldm.LDM_TINY,
        samplers.SAMPLERS,
    )
    for file in rules.files
}
FILES = sorted(path.stem for path in FOLDER.glob("*.npz"))


def names_of(file):
    with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as arrays:
        return arrays.files


ARRAYS = [(file, name) for file in FILES for name in names_of(file)]

# diffusers 0.42 with numpy 2
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.skipif(not FILES, reason="needs ../shared/goldens"),
]


@pytest.fixture(scope="module")
def goldens():
    """The files, each opened once, so that what a check has computed serves the next."""
    return {file: Golden(FOLDER / f"{file}.npz") for file in FILES}


@pytest.mark.parametrize(
    ("file", "name"), ARRAYS, ids=[f"{file}-{name.replace('/', '.')}" for file, name in ARRAYS]
)
def test_array_is_that_of_mindvis(goldens, file, name):
    """It equals ours, shows something of ours, or is read by the check of another."""
    rule = RULES[file].of(name)  # exactly one
    if rule.check is None:
        assert rule.reason
        return
    rule.check(goldens[file], name)


@pytest.mark.parametrize("file", sorted(RULES))
def test_no_rule_is_idle(file):
    names = names_of(file)
    assert [rule.pattern for rule in RULES[file].rules if not any(map(rule.fits, names))] == []


def test_every_file_has_rules():
    assert sorted(RULES) == FILES


def test_the_network_hands_on_as_much_of_its_sines_errors_as_the_tolerance_says(
    goldens, monkeypatch
):
    """Each sine is moved by 64 times its tolerance, far above the roundings of the rest."""
    golden, exact = goldens["unet_tokens_timecond"], Timesteps.forward
    error, moved = sinusoid(golden.tensor("t"))[:, 0], {}

    def inexact(self, t):
        sines = exact(self, t)
        sines[:, moved["sine"]] += 64 * error
        return sines

    output = denoiser.noise(golden)
    monkeypatch.setattr(Timesteps, "forward", inexact)
    changes = []
    for moved["sine"] in range(32):
        changes.append((denoiser.noise.__wrapped__(golden) - output).abs() / 64)
    change = sum(changes).max() / output.abs().max()
    assert 0.8 * (NETWORK_OF_TIME - NETWORK) < change < NETWORK_OF_TIME - NETWORK
