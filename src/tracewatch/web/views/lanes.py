"""What was unusual when, one lane for each kind of call: severity over time, the worst lane first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracewatch import headlines
from tracewatch.access import Caller
from tracewatch.judge import WARMUP_DAYS
from tracewatch.records import SEVERITIES, Incident
from tracewatch.stores.base import Store
from tracewatch.web.views import incidents
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import between, counting_calls, rolled, rows_of, settled

HOUR_S, DAY_S = 3600, 86_400
SHOWN = 8
LEAST_WIDTH = 0.9  # per cent: four pixels of a usual lane
FINGER = 5.0  # per cent between two marks that can be pressed one by one: 24 pixels
CHOICES = {
    "kind": ("operation_type", "model_name"),
    "model_name": ("model_name",),
    "operation_type": ("operation_type",),
    "model_provider": ("model_provider",),
    "usage_type": ("usage_type",),
}
"""By what lanes may be laid apart (`?lanes=`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An incident on a lane: from where, how wide, in per cent."""

    incident: Incident
    left: float
    width: float
    text: str
    is_link: bool = True
    """Whether it has room to be pressed: of two close together the smaller one has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One kind of call over the time that is shown."""

    slice: Mapping[str, str]
    """Its columns, those that are empty left out."""
    filters: Mapping[str, str]
    """What an address asks for to show these calls and no others; a column that is empty is asked for with `=`."""
    calls: int
    marks: tuple[Mark, ...]
    present: tuple[tuple[float, float], ...]
    """Where there were calls: from and how wide, in per cent."""
    learning: float
    """How far into the lane too little was known to judge, in per cent."""
    learned_days: int
    """Of WARMUP_DAYS; at least these when it is learned."""
    is_whole: bool = False
    """Whether it holds all calls together: what a rule or detection said of them all."""

    @property
    def now(self) -> Mark | None:
        """The worst that is not over."""
        lasting = [each for each in self.marks if incidents.tab_of(each.incident) not in ("resolved", "dismissed")]
        return max(lasting, key=lambda each: SEVERITIES.index(each.incident.severity), default=None)

    @property
    def is_learning(self) -> bool:
        """Whether it cannot be judged yet."""
        return self.learned_days < WARMUP_DAYS

    @property
    def rank(self) -> tuple[int, int, int]:
        """What is going on first, then the worst of the time, then the most calls."""
        worst = max((SEVERITIES.index(each.incident.severity) + 1 for each in self.marks), default=0)
        current = SEVERITIES.index(self.now.incident.severity) + 1 if self.now else 0
        return -current, -worst, -self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The lanes of a time, and how many there are in all."""

    shown: tuple[Lane, ...]
    of: int
    """How many kinds of call there are; the lane of all together is none."""
    by: str
    elsewhere: tuple[Mark, ...]
    """Incidents of calls that no single lane holds."""


def lanes(
    store: Store, caller: Caller, period: Period, now: float, found: Sequence[Incident], *, by: str = "kind",
    most: int = SHOWN, learned_days: int = int(WARMUP_DAYS),
) -> Lanes:  # fmt: skip
    """The lanes of a period, `found` being the incidents of it; no lane is learned longer than all calls are."""
    by = by if by in CHOICES else "kind"
    names = CHOICES[by]
    step = max(period.step_s, HOUR_S)
    extra = tuple(dict.fromkeys((*names, "model_provider", "operation_type")))
    shown = rows_of(rolled(store, caller, period.since, period.until, step_s=step, by=extra))
    first_days = _first_days(store, caller, period, now, names)
    groups = _grouped(shown, names)
    counted = _grouped(between(store, caller, period.since, period.until, by=extra, measures=("calls",)), names)
    marks = {each.id: _mark(each, period, now) for each in found}
    made = []
    for key, rows in groups.items():
        if key not in counted:  # a step that is drawn may begin before the time that is shown
            continue
        lane = _lane(names, key, rows, found, marks, period, step, first_days.get(key))
        days = min(lane.learned_days, learned_days) if lane.is_learning else lane.learned_days
        made.append(replace(lane, calls=_calls(counted[key]), learned_days=days))
    placed = {each.incident.id for lane in made for each in lane.marks}
    of_all = [each for each in found if not each.slice]
    calls = _calls([row for rows in counted.values() for row in rows])
    whole = [_whole(calls, shown, [marks[each.id] for each in of_all], period, step)] if of_all and made else []
    placed |= {each.id for each in of_all if whole}
    ordered = sorted(made, key=lambda each: each.rank)
    return Lanes(
        shown=(*whole, *ordered[:most]),
        of=len(made),
        by=by,
        elsewhere=tuple(marks[each.id] for each in found if each.id not in placed),
    )


def _lane(
    names: Sequence[str], key: tuple[Any, ...], rows: Sequence[Mapping[str, Any]], found: Sequence[Incident],
    marks: Mapping[str, Mark], period: Period, step: float, first: float | None,
) -> Lane:  # fmt: skip
    slice = {name: value for name, value in zip(names, key, strict=True) if value is not None}
    calls_of = {**slice, **({"model_provider": rows[0]["model_provider"]} if rows[0]["model_provider"] else {})}
    days = WARMUP_DAYS if first is None else max(period.until - first, 0.0) / DAY_S
    learned_at = period.since if first is None else first + WARMUP_DAYS * DAY_S
    return Lane(
        slice=slice,
        filters={name: "=" if value is None else value for name, value in zip(names, key, strict=True)},
        calls=_calls(rows),
        marks=tuple(_pressed([marks[each.id] for each in found if _is_of(each, calls_of)])),
        present=tuple(_present(sorted({row["bucket"] for row in rows}), period, step)),
        learning=max(0.0, min(100.0, 100 * (learned_at - period.since) / period.length_s)),
        learned_days=int(min(days, WARMUP_DAYS)),
    )


def _whole(calls: int, rows: Sequence[Mapping[str, Any]], marks: Sequence[Mark], period: Period, step: float) -> Lane:
    """The lane of all calls together, for what is about no kind of them."""
    return Lane(
        slice={},
        filters={},
        calls=calls,
        marks=tuple(_pressed(marks)),
        present=tuple(_present(sorted({row["bucket"] for row in rows}), period, step)),
        learning=0.0,
        learned_days=int(WARMUP_DAYS),
        is_whole=True,
    )


def _grouped(
    rows: Iterable[Mapping[str, Any]], names: Sequence[str]
) -> Mapping[tuple[Any, ...], Sequence[Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return dict(found)


def _calls(rows: Sequence[Mapping[str, Any]]) -> int:
    """Calls of a model; of a kind that is nothing but steps, those."""
    calls: int = sum(row["calls"] or 0 for row in counting_calls(rows))
    return calls if calls else sum(row["calls"] for row in rows)


def _is_of(incident: Incident, calls_of: Mapping[str, str]) -> bool:
    """Whether an incident is about calls of that lane: its slice says nothing else about them."""
    slice = incident.slice or {}
    known = {name: value for name, value in slice.items() if name in calls_of}
    return bool(slice) and len(known) == len(slice) and all(calls_of[name] == value for name, value in known.items())


def _mark(incident: Incident, period: Period, now: float) -> Mark:
    end = incident.closed_at if incident.closed_at is not None else max(now, incident.started_at)
    left = max(0.0, min(100.0 - LEAST_WIDTH, 100 * (incident.started_at - period.since) / period.length_s))
    right = max(0.0, min(100.0, 100 * (end - period.since) / period.length_s))
    return Mark(incident=incident, left=left, width=max(right - left, LEAST_WIDTH), text=headlines.short(incident))


def _pressed(marks: Sequence[Mark]) -> list[Mark]:
    """Which of them are links: the widest first, and none so close to another that a finger would meet both."""
    taken: list[Mark] = []
    for each in sorted(marks, key=lambda mark: -mark.width):
        free = all(abs(_middle(each) - _middle(other)) >= (each.width + other.width) / 2 + FINGER for other in taken)
        taken.append(replace(each, is_link=free))
    return taken


def _middle(mark: Mark) -> float:
    return mark.left + mark.width / 2


def _present(buckets: Sequence[float], period: Period, step: float) -> list[tuple[float, float]]:
    runs: list[list[float]] = []
    for each in buckets:
        if runs and each == runs[-1][1]:
            runs[-1][1] = each + step
        else:
            runs.append([each, each + step])
    found = []
    for begin, end in runs:
        left = max(0.0, 100 * (begin - period.since) / period.length_s)
        right = min(100.0, 100 * (end - period.since) / period.length_s)
        found.append((left, max(right - left, 0.2)))
    return found


def _first_days(
    store: Store, caller: Caller, period: Period, now: float, names: Sequence[str]
) -> Mapping[tuple[Any, ...], float]:
    """Since when each kind of call is known, where that is not long enough to be judged."""
    begin = period.since // DAY_S * DAY_S - 2 * WARMUP_DAYS * DAY_S
    days = settled(store, caller, begin, period.until // DAY_S * DAY_S + DAY_S, now, by=names, step_s=DAY_S)
    first = days.group_by(list(names)).aggregate([("bucket", "min")])
    return {tuple(row[name] for name in names): row["bucket_min"] for row in rows_of(first)}
