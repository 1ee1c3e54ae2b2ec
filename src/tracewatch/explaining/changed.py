"""What changed near the onset: versions, models and methods seen for the first time, and sizes that moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.attribution import Attribution
from tracewatch.changes import LEAST_STEP, SURE, Shift, candidate_changes, level_shift
from tracewatch.explaining import saying
from tracewatch.explaining.calls import LEAD_S, Calls
from tracewatch.explaining.measures import MEASURES
from tracewatch.explaining.story import Cause
from tracewatch.records import iso
from tracewatch.slices import Bools, Coded, Floats

VALUES = (
    *("model_name", "app_version", "rag_retrieval_method", "service_name", "environment", "model_provider"),
    *("usage_type", "error_type", "finish_reason"),
)
SIZES = ("input_tokens", "context_tokens", "output_tokens", "rag_chunks_used")
MOVED_BY: dict[str, frozenset[str]] = {
    "input_tokens": frozenset({"input_tokens", "total_tokens", "context_tokens", "cache_read_input_tokens"}),
    "context_tokens": frozenset({"input_tokens", "total_tokens", "context_tokens", "cache_read_input_tokens"}),
    "output_tokens": frozenset({"output_tokens", "total_tokens"}),
    "rag_chunks_used": frozenset({"rag_chunks_used"}),
}
"""Sizes that are the metric under another name: they are what happened, not why."""
TELLING = 0.25  # of 1: a candidate with less is a coincidence
FEWEST = 5  # calls on either side of a shift; fewer are chance
HOLDS = 0.6  # of the excess: a new value with less came for another reason
MOST = 4  # rows of a list people read

_OUTCOMES: Mapping[str, tuple[str, ...]] = {
    "error_rate": ("error_type",),
    "timeout_rate": ("error_type",),
    "fallback_rate": ("error_type", "model_name", "model_provider"),
}
"""Columns that only say what the metric says: an error has a type, a fallback the substitute's model."""

_KINDS = {
    "model_name": "new_model",
    "app_version": "version",
    "rag_retrieval_method": "retrieval_method",
    "model_provider": "new_model",
    "error_type": "errors",
    "input_tokens": "prompt",
    "context_tokens": "context",
    "output_tokens": "longer_answers",
    "rag_chunks_used": "context",
}
_UNITS = {"input_tokens": "tokens", "context_tokens": "tokens", "output_tokens": "tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Candidate changes, the best first, and the onset that they are near."""

    onset_s: float
    found: tuple[Shift, ...]


def changes(calls: Calls, narrowed: Bools) -> Changed:
    """Candidate changes among the calls of the slice that holds the story; sizes must differ from other days too.

    Looked for near the story's onset and near where the metric itself moved (`_onsets`); the better candidate decides.
    """
    which = calls.inside & narrowed & ~_disturbing(calls)
    if not which.any():
        return Changed(onset_s=calls.story.since, found=())
    return max((_near(calls, which, onset) for onset in _onsets(calls, which)), key=_best)


def _near(calls: Calls, which: Bools, onset: float) -> Changed:
    found = candidate_changes(
        calls.numbers("start_time")[which],
        _metric(calls)[which],
        onset,
        values={name: column for name in VALUES if (column := _column(calls, name, which)) is not None},
        sizes={name: calls.numbers(name)[which] for name in SIZES if calls.measure.name not in MOVED_BY[name]},
    )
    return Changed(onset_s=onset, found=tuple(each for each in found if _holds(calls, each))[:MOST])


def _best(each: Changed) -> float:
    return max((change.score for change in each.found), default=0.0)


def _onsets(calls: Calls, which: Bools) -> list[float]:
    """The second call since the story's onset, and where the metric of those calls moved within six hours of it.

    Of few calls an hour no change can show before the next call comes. Detection knows an onset by its windows only,
    which may be hours early; a level shift beyond chance tells it from the calls themselves, to some of them.
    """
    times = calls.numbers("start_time")
    began = np.sort(times[calls.since & which])
    found = [float(began[min(1, len(began) - 1)]) if len(began) else calls.story.since]
    if calls.measure.family == "volume":
        return found
    near = which & ~calls.usual & np.isfinite(calls.values) & (np.abs(times - calls.story.since) <= LEAD_S)
    order = np.flatnonzero(near)
    order = order[np.argsort(times[order], kind="stable")]
    place, chance = level_shift(calls.values[order])
    if chance <= SURE and min(place, len(order) - place) >= FEWEST:
        found.append(float(times[order[place]]))
    return found


def document(given: Changed) -> list[dict[str, Any]]:
    """The changes, ready for JSON."""
    return [
        {
            "column": each.column,
            "value": each.value,
            "was": each.was,
            "at": iso(each.time_s),
            "coverage": each.coverage,
            "before": _known(each.before),
            "after": _known(each.after),
            "without": _known(each.without),
            "score": each.score,
        }
        for each in given.found
    ]


def causes(calls: Calls, given: Changed) -> Iterator[Cause]:
    """The candidates worth telling, a sentence each."""
    for each in given.found:
        if each.score < TELLING:
            continue
        moved = ""
        if np.isfinite(each.before) and np.isfinite(each.after) and calls.measure.family != "volume":
            unit = calls.measure.unit
            moved = f"; with it {words.amount(each.after, unit)}, before {words.amount(each.before, unit)}"
        late = saying.near(each.time_s - given.onset_s)
        text = f"{_what(each)} {late}, in {saying.share(each.coverage)} of the calls{moved}"
        names = {**_slice(calls), each.column: _said(each.value), "was": _said(each.was)}
        yield Cause(kind=_KINDS.get(each.column, "change"), weight=each.score, text=text, names=names)


def news(calls: Calls, found: Attribution) -> Iterator[Cause]:
    """Slices that hold the excess and did not exist before: versions and models that came with it."""
    times = calls.numbers("start_time")
    for each in found.explaining:
        [(name, value), *more] = each.slice.items()
        if more or name not in VALUES or each.of_excess < HOLDS:
            continue
        codes, known = calls.coded(name)
        carried = np.array([word == value for word in known], dtype=np.bool_)[codes]
        if (carried & ~calls.since).any() or not calls.then.any():
            continue
        usual = Counter(word for word in calls.words(name, calls.then) if word)
        was = usual.most_common(1)[0][0] if usual else "nothing"
        first = words.moment(float(times[carried].min()))[11:16]
        text = (
            f"{saying.noun(name)} {value} (before {was}), new since {first}: "
            f"{saying.share(each.of_excess)} of it, with {saying.share(each.of_calls)} of the calls"
        )
        kind = _KINDS.get(name, "change")
        yield Cause(kind=kind, weight=0.9 * each.of_excess, text=text, names={name: str(value), "was": str(was)})


def _what(each: Shift) -> str:
    """What became different."""
    noun = saying.noun(each.column)
    if isinstance(each.value, float):
        unit = _UNITS.get(each.column)
        assert isinstance(each.was, float), "a size moves from a size"
        return f"the {noun} went from {words.amount(each.was, unit)} to {words.amount(each.value, unit)}"
    was = f" (before {each.was})" if each.was is not None else ""
    return f"{noun} {each.value}{was} was first seen"


def _slice(calls: Calls) -> dict[str, str]:
    return {name: str(value) for name, value in calls.story.slice.items()}


def _disturbing(calls: Calls) -> Bools:
    """Calls that failed, of stories that are not about failures: they are short and have no tokens."""
    if calls.measure.family in ("failures", "volume"):
        return np.zeros(len(calls.rows), dtype=np.bool_)
    failed: Bools = MEASURES["error_rate"].values(calls.rows) == 1
    return failed


def _metric(calls: Calls) -> Floats:
    """What the change is to explain: the metric, or of volumes that calls are there at all."""
    if calls.measure.family != "volume":
        return calls.values
    return np.where(calls.since, 1.0, 0.0)


def _column(calls: Calls, name: str, which: Bools) -> Coded | None:
    """A column of those calls, where it has more than one value."""
    if name in calls.story.slice or name in _OUTCOMES.get(calls.measure.name, ()):
        return None
    codes, found = calls.coded(name)
    return (codes[which], found) if len(np.unique(codes[which])) > 1 else None


def _holds(calls: Calls, each: Shift) -> bool:
    """Whether a size is as far from that of the same hours of other days: else it moves so every day."""
    if not isinstance(each.value, float) or not isinstance(each.was, float):
        return True
    sizes = calls.numbers(each.column)
    usual = sizes[calls.then & np.isfinite(sizes)]
    if not len(usual):
        return True
    ratio = each.value / max(float(np.median(usual)), 1e-9)
    return ratio > LEAST_STEP if each.value > each.was else ratio < 1 / LEAST_STEP


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _said(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else str(value or "nothing")
