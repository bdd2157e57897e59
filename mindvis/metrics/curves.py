"""Training curves of the report: the loss of a run over its epochs, as points of a drawing."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

WIDTH, HEIGHT = 320.0, 150.0  # of a curve's drawing, in SVG units
MOST_POINTS = 400  # of one curve


@dataclass(frozen=True)
class Curve:
    """One line: its name, SVG points, and last value."""

    name: str
    kind: str
    points: str
    last: str


@dataclass(frozen=True)
class Panel:
    """The loss of one run over its epochs, or why it cannot be shown."""

    title: str
    curves: tuple[Curve, ...] = ()
    top: str = ""
    bottom: str = ""
    end: str = ""
    reason: str = ""
    config: str = ""


@dataclass
class _Series:
    """Values of one column over epochs."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)


def _read_series(path: Path) -> dict[str, _Series]:
    """Loss columns of a metrics table, over epochs where they are recorded, else over steps."""
    series: dict[str, _Series] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for i, row in enumerate(csv.DictReader(file)):
            at = _float(row.get("epoch")) if row.get("epoch") else _float(row.get("step"))
            for name, text in row.items():
                value = _float(text)
                if name and "loss" in name and value is not None:
                    series.setdefault(name, _Series()).x.append(float(i) if at is None else at)
                    series[name].y.append(value)
    return series


def _float(text: object) -> float | None:
    """A finite number, None for anything else."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def training_panel(run: Path) -> Panel:
    """The training curves of a run folder, with its configuration.

    Args:
        run: Folder with metrics.csv and config.yaml.
    """
    title, config = run.name, _read_text(run / "config.yaml")
    try:
        series = _read_series(run / "metrics.csv")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return Panel(title, reason=f"its metrics.csv cannot be read ({error})", config=config)
    if not series:
        return Panel(title, reason="its metrics.csv holds no loss", config=config)
    values = [y for s in series.values() for y in s.y]
    last = max(x for s in series.values() for x in s.x)
    first = min(x for s in series.values() for x in s.x)
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low > 20

    def place(x: float, y: float) -> str:
        a, b, c = (math.log(v) for v in (low, high, y)) if logarithmic else (low, high, y)
        across = (x - first) / (last - first) if last > first else 0.5
        up = (c - a) / (b - a) if b > a else 0.5
        return f"{across * WIDTH:.1f},{(1 - up) * (HEIGHT - 8) + 4:.1f}"

    curves = []
    for name, s in sorted(series.items()):
        stride = math.ceil(len(s.x) / MOST_POINTS)
        points = list(zip(s.x, s.y, strict=True))
        kept = points[::stride] + ([points[-1]] if (len(points) - 1) % stride else [])
        drawn = " ".join(place(x, y) for x, y in kept)
        kind = "validation" if "val" in name else "training"
        curves.append(Curve(name, kind, drawn, f"{s.y[-1]:.4g}"))
    scale = ", log scale" if logarithmic else ""
    return Panel(title, tuple(curves), f"{high:.3g}{scale}", f"{low:.3g}", f"{last:g}", "", config)


def _read_text(path: Path) -> str:
    """A text file, empty where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
