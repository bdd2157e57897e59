"""What the responses of a planted run must be, by NumPy and SciPy alone."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

Floats = NDArray[np.float64]
LAG_START, LAG_END = 4.0, 9.0


def cleaned(
    series: Floats,
    tr: float,
    *,
    detrend: bool,
    high_pass: float | None,
    standardise: bool,
    confounds: Floats | None,
) -> Floats:
    """Residual of one regression on line, cosines up to the frequency and confounds.

    Without a straight line the mean stays. Args: series (time, voxels), tr in seconds.
    """
    count = len(series)
    columns = [np.ones(count)]
    if detrend:
        columns.append(np.linspace(-1, 1, count))
    highest = int(2 * count * tr * high_pass) if high_pass else 0
    places = np.arange(count) + 0.5
    columns += [np.cos(np.pi * k * places / count) for k in range(1, highest + 1)]
    if confounds is not None:
        columns += list((confounds - confounds.mean(0)).T)
    design = np.column_stack(columns)
    size = np.linalg.norm(design, axis=0)
    fitted = (design / np.where(size > 0, size, 1)) @ np.linalg.lstsq(
        design / np.where(size > 0, size, 1), series, rcond=1e-10
    )[0]
    rest = series - fitted
    if standardise:
        return rest / rest.std(axis=0, ddof=1)
    return rest if detrend else rest + series.mean(axis=0)


def window_mean(series: Floats, times: Floats, onset: float, duration: float) -> Floats:
    """Mean of the volumes from 4 s after onset to 9 s after it, or to the end of a longer event."""
    end = max(LAG_END, duration)
    inside = (times - onset >= LAG_START) & (times - onset < end)
    return series[inside].mean(axis=0) if inside.any() else np.full(series.shape[1], np.nan)


def rest_means(series: Floats, tr: float, seconds: float = 8.0) -> Floats:
    """Means of consecutive windows of as many whole volumes as fit into some seconds."""
    width = int(seconds / tr + 1e-6)
    count = len(series) // width
    return np.stack([series[n * width : (n + 1) * width].mean(axis=0) for n in range(count)])


def response(times: Floats, onset: float, duration: float) -> Floats:
    """Glover's haemodynamic response, as nilearn has it, of area 1, to an event: its integral."""

    def integral(t: Floats) -> Floats:
        shape = gamma.cdf(t, 6 / 0.9, scale=0.9) - 0.48 * gamma.cdf(t, 12 / 0.9, scale=0.9)
        return np.asarray(shape, dtype=np.float64)

    whole = integral(np.array([32.0]))[0]
    return (integral(times - onset) - integral(times - onset - duration)) / whole
