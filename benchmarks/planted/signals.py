"""What is planted in the voxels of a run: noise, drifts, motion and responses."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.planted import truth
from benchmarks.planted.recipe import Recipe
from benchmarks.planted.sidecars import Clock
from benchmarks.planted.tables import write_table
from benchmarks.planted.trials import Trial

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
OLD_MOTION = ("X", "Y", "Z", "RotX", "RotY", "RotZ")
ENDINGS = {
    "timeseries": "_desc-confounds_timeseries.tsv",
    "regressors": "_desc-confounds_regressors.tsv",
    "old": "_bold_confounds.tsv",
    "unknown name": "_confounds.tsv",
}


@dataclass(frozen=True)
class Planted:
    """Values (X, Y, Z, time), what is regressed out (time, columns), and the table that has it."""

    values: truth.Floats
    confounds: truth.Floats | None
    table: dict[str, list[str]] | None = None

    def betas(
        self, series: truth.Floats, clock: Clock, trials: list[Trial], recipe: Recipe
    ) -> truth.Floats:
        """Betas of one GLM with all trials, or of one for each: (trials, voxels)."""
        own = np.column_stack([truth.response(clock.times, t.onset, t.duration) for t in trials])
        rest = [np.ones((len(series), 1)), drifts(len(series), clock.tr, recipe)]
        rest += [] if self.confounds is None else [self.confounds]
        rest = [part for part in rest if part.shape[1]]
        if recipe.is_("response", "lsa"):
            return _fit(np.column_stack([own, *rest]), series)[: len(trials)]
        total = own.sum(axis=1)
        rows = []
        for column in own.T:
            others = [total - column] if len(trials) > 1 else []
            rows.append(_fit(np.column_stack([column, *others, *rest]), series)[0])
        return np.stack(rows)


def _fit(design: truth.Floats, series: truth.Floats) -> truth.Floats:
    size = np.linalg.norm(design, axis=0)
    size[size == 0] = 1
    return np.linalg.lstsq(design / size, series, rcond=1e-10)[0] / size[:, None]


def drifts(count: int, tr: float, recipe: Recipe) -> truth.Floats:
    """Cosines up to the recipe's high pass, (time, cosines)."""
    high_pass = recipe.options["high_pass"] or 0.0
    highest = int(2 * count * tr * high_pass)
    places = (np.arange(count)[:, None] + 0.5) * np.arange(1, highest + 1)
    return np.asarray(np.cos(np.pi * places / count), dtype=np.float64)


def plant(
    recipe: Recipe,
    clock: Clock,
    trials: list[Trial],
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> Planted:
    """Draw the voxels of a run."""
    count = len(clock.times)
    size = int(np.prod(shape))
    motion = None if recipe.is_("confounds", "none") else _motion(recipe, count, rng)
    mixed = [np.ones((count, 1)) * 1500]
    weights = [rng.uniform(0.9, 1.2, (1, size))]
    if recipe.options["response"] == "average":
        mixed += [rng.normal(0, 80, (count, size)), np.linspace(-1, 1, count)[:, None]]
        weights += [np.eye(size), rng.normal(0, 60, (1, size))]
    for trial in trials:
        mixed.append(truth.response(clock.times, trial.onset, max(trial.duration, 1.0))[:, None])
        weights.append(rng.choice([-1, 1], (1, size)) * rng.uniform(150, 450, (1, size)))
    slow = drifts(count, clock.tr, recipe)
    mixed.append(slow)
    weights.append(rng.normal(0, 60, (slow.shape[1], size)))
    if motion is not None:
        scale = np.abs(motion).max(axis=0) + 1e-9
        mixed.append(motion / scale)
        weights.append(rng.normal(0, 60, (6, size)))
    values = sum(m @ w for m, w in zip(mixed, weights, strict=True))
    values = np.clip(values, 500, 3500).T.reshape(*shape, count)
    if motion is None:
        return Planted(values, None)
    columns = confound_columns(recipe, motion, rng)
    return Planted(values, chosen_confounds(recipe, columns), columns)


def _motion(recipe: Recipe, count: int, rng: np.random.Generator) -> truth.Floats:
    """Six motion columns: a random walk, one that is a slow cosine, or a head that is still."""
    walk = np.cumsum(rng.normal(0, 0.02, (count, 6)), axis=0)
    if recipe.is_("motion", "drift"):
        walk[:, 1] = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        walk[:, 1] += rng.normal(0, 0.02, count)
    if recipe.is_("motion", "still"):
        walk[:, 3:] = 0.0
    if recipe.is_("confounds table", "a gap"):
        walk[0, :2] = walk[1:, :2].mean(axis=0)  # gaps take the column's mean
    return np.round(walk, 6)


def confound_columns(
    recipe: Recipe, motion: truth.Floats, rng: np.random.Generator
) -> dict[str, list[str]]:
    """Columns of fMRIPrep's table, as text."""
    kind, count = recipe.chosen["confounds"], len(motion)
    names = OLD_MOTION if kind == "old" else MOTION
    columns = {"csf": [f"{v:.5f}" for v in rng.normal(500, 5, count)]}
    columns |= {"framewise_displacement": ["n/a", *(f"{v:.5f}" for v in rng.random(count - 1))]}
    columns |= {n: [f"{v:.6f}" for v in motion[:, i]] for i, n in enumerate(names)}
    columns |= {"non_steady_state_outlier00": ["1", *["0"] * (count - 1)]}
    return columns


def chosen_confounds(recipe: Recipe, columns: dict[str, list[str]]) -> truth.Floats | None:
    """What is regressed out: motion, or the columns that an option names."""
    motion = OLD_MOTION if recipe.is_("confounds", "old") else MOTION
    names = {
        "motion": motion,
        "by name": ("trans_y", "rot_z", "csf"),
        "by pattern": MOTION[:3],
        "none of them": (),
    }[recipe.chosen["confounds chosen"]]
    if not names:
        return None
    return np.array([[float(cell) for cell in columns[name]] for name in names]).T


def write_confounds(stem: Path, recipe: Recipe, columns: dict[str, list[str]]) -> None:
    """Write the table of confounds of a run under the recipe's name."""
    form = recipe.chosen["confounds table"]
    first = "X" if recipe.is_("confounds", "old") else "trans_x"
    if form == "without motion":
        columns = {k: v for k, v in columns.items() if k not in {*MOTION, *OLD_MOTION}}
    if form == "a row too few":
        columns = {k: v[:-1] for k, v in columns.items()}
    gaps = {"a gap": "n/a", "text in a column": "high"}
    if form in gaps:
        columns = {
            k: [gaps[form], *v[1:]] if k in {first, "trans_y"} else v for k, v in columns.items()
        }
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_table(stem.with_name(stem.name + ENDINGS[recipe.chosen["confounds"]]), columns, form)
