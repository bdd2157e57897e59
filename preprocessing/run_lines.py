"""What is said of each run before it is read: which files, columns and times are used."""

from collections.abc import Sequence

from mindvis.errors import SourceError
from preprocessing.events import EventOptions
from preprocessing.layout import NONE, parse_entities
from preprocessing.plan import RunPlan, SignalOptions
from preprocessing.roi import most_specific
from preprocessing.signal import ResponseOptions, window_end
from preprocessing.subject import SubjectPlan

#: entities that may tell images of one event table apart without being runs of their own
_KINDS = ("acq", "ce", "dir")


def run_line(
    run: RunPlan,
    plan: SubjectPlan,
    signal: SignalOptions,
    events: EventOptions,
    glmsingle: str | None = None,
) -> str:
    """One line that names everything used of a run.

    Args:
        run: The run.
        plan: Its subject, for the mask.
        signal: How responses are estimated.
        events: Which columns are used.
        glmsingle: Folder of betas, None if responses are estimated.
    """
    parts = [
        f"events {run.events.name}" if run.events else "rest",
        _pictures(run, events),
        "" if glmsingle else _confounds(run, signal),
        f"mask {_mask(run, plan)}",
        f"repetition time {run.timing.tr:g} s ({run.timing.source})",
        f"betas of {glmsingle}" if glmsingle else _responses(run, signal),
    ]
    return f"{run.scan.bold.name}: {', '.join(part for part in parts if part)}"


def _pictures(run: RunPlan, events: EventOptions) -> str:
    if run.events is None:
        return ""
    return f"pictures in the column {events.stimulus}" if events.stimulus else "no pictures"


def _confounds(run: RunPlan, signal: SignalOptions) -> str:
    """The table of confounds, or that none was found or wanted."""
    if signal.confounds == NONE:
        return "no confounds"
    if run.confounds_file is None or run.confounds.values is None:
        return "no confounds found"
    count = run.confounds.values.shape[1]
    return f"{count} confounds of {run.confounds_file.name}"


def _mask(run: RunPlan, plan: SubjectPlan) -> str:
    mine = most_specific(plan.masks, run.scan) or plan.masks
    return mine[0].name if mine else "none"


def _responses(run: RunPlan, signal: SignalOptions) -> str:
    """How responses are estimated, with the window in seconds."""
    if run.events is None:
        return f"windows of {signal.rest_window:g} s"
    if signal.response.method != "average":
        return f"betas by {signal.response.method}"
    return _window(run.trials["duration"].tolist(), signal.response)


def _window(durations: Sequence[float], response: ResponseOptions) -> str:
    ends = sorted({window_end(duration, response) for duration in durations})
    last = f"{ends[0]:g}" if len(ends) == 1 else f"{ends[0]:g} to {ends[-1]:g}"
    longest = max(durations)
    lasting = f" (events last up to {longest:g} s)" if longest else ""
    return f"mean of {response.lag_start:g} to {last} s after onset{lasting}"


def refuse_shared_events(runs: Sequence[RunPlan]) -> None:
    """Refuse images that differ in acq, ce or dir alone and have one event table of a run.

    Each may be a run of its own, or all may be images of one run: nothing tells.

    Raises:
        SourceError: Naming the entity and the option that chooses.
    """
    seen: dict[tuple[object, ...], RunPlan] = {}
    for run in runs:
        if run.events is None or "sub" not in parse_entities(run.events):
            continue
        rest = frozenset(pair for pair in run.scan.identity if pair[0] not in _KINDS)
        twin = seen.setdefault((run.events, rest), run)
        if twin is not run:
            one, two = twin.scan, run.scan
            key = next(k for k in _KINDS if one.entities.get(k) != two.entities.get(k))
            values = sorted({s.entities.get(key, NONE) for s in (one, two)})
            raise SourceError(
                f"{one.bold.name} and {two.bold.name} have one event table, {run.events.name}",
                "an event table for each run",
                f"choose with --entities ({' or '.join(f'{key}-{v}' for v in values)}), or give "
                "each its own table",
            )
