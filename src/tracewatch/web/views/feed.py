"""What the detectors saw: findings that match filters, by pages, and how many of which kind came when."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

from tracewatch import words
from tracewatch.access import Caller
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import RESOLUTIONS, SEVERITIES, Anomaly, Span, column_of
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views.period import Period

PAGE = 40
MOST_COUNTED = 50_000  # findings of a time that are counted, the newest: a quarter of a second
MOST_LOOKED_AT = 2_000  # findings that are read to fill a page, where a slice is asked for
STEPS_S = (300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400)
BUCKETS = 48
COLUMNS: Mapping[str, str] = {
    "severity": "severity",
    "type": "anomaly_type",
    "metric": "metric_name",
    "model": "model_id",
    "resolution": "resolution_status",
    "source": "source",
    "detector": "detector",
    "incident": "incident_id",
}
"""From the names of filters in an address to the columns of a finding; slices are filters by their own names."""
CHOICES: Mapping[str, tuple[str, ...]] = {"severity": SEVERITIES, "resolution": RESOLUTIONS}
SLICED = frozenset(column_of(Span))
_PLACE = {column: place for place, column in enumerate(COLUMNS.values(), start=1)}
_MODEL = _PLACE["model_id"]
# To read a whole text takes ten times as long as to find these in it.
_TELLING = re.compile(r'"(?:operation_type|usage_type)"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[^",}]*)')
_COUNTED = ("occurred_at", *COLUMNS.values(), "slice", "statistics", "user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for: filters on columns of findings, and values of the slice they are about."""

    filters: tuple[Filter, ...]
    slice: Mapping[str, str]

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for at all."""
        return bool(self.filters or self.slice)


EVERYTHING = Wanted(filters=(), slice={})


class Seen(NamedTuple):
    """A finding as it is counted: when, what can be asked for (in the order of COLUMNS), and the calls it is about."""

    at: float
    severity: str
    type: str
    metric: str
    model_id: str
    resolution: str
    source: str
    detector: str
    incident: str
    about: Mapping[str, Any]

    @property
    def model(self) -> str | None:
        """The model of these calls, from whichever place says it."""
        return self.about.get("model_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A page of findings, newest first, and where the next one begins."""

    findings: tuple[Anomaly, ...]
    next: str | None


def wanted(given: Mapping[str, str]) -> Wanted:
    """What an address asks for; several values of a filter stand with commas between them."""
    filters = []
    for name, column in COLUMNS.items():
        values = tuple(each for each in given.get(name, "").split(",") if each)
        known = CHOICES.get(name)
        values = tuple(each for each in values if known is None or each in known)
        if values:
            filters.append(Filter(column, "=", values))
    slice = {name: value for name, value in given.items() if name in SLICED and name not in COLUMNS and value}
    return Wanted(filters=tuple(filters), slice=slice)


def feed(
    store: Store, caller: Caller, period: Period, asked: Wanted, *, limit: int = PAGE, cursor: str | None = None
) -> Feed:
    """The findings of a period that match, newest first."""
    where = [*_within(caller, period), *asked.filters]
    if not asked.slice:
        page = store.page(Anomaly, where, limit=limit, cursor=cursor)
        return Feed(findings=tuple(each for each in page.records if isinstance(each, Anomaly)), next=page.next)
    found: list[Anomaly] = []
    looked_at = 0
    while True:
        page = store.page(Anomaly, where, limit=limit, cursor=cursor)
        looked_at += len(page.records)
        found += [each for each in page.records if isinstance(each, Anomaly) and is_about(about_of(each), asked.slice)]
        cursor = page.next
        if cursor is None or len(found) >= limit or looked_at >= MOST_LOOKED_AT:
            return Feed(findings=tuple(found), next=cursor)


def one(store: Store, caller: Caller, finding_id: str) -> Anomaly | None:
    """The finding of that id; None where the caller may see none."""
    found = store.get(Anomaly, {"project": caller.project, "id": finding_id})
    if not isinstance(found, Anomaly) or (caller.user_id is not None and found.user_id != caller.user_id):
        return None
    return found


def seen(store: Store, caller: Caller, period: Period, asked: Wanted = EVERYTHING) -> list[Seen]:
    """The findings of a period that match, in no order: all, or some MOST_COUNTED where there are more."""
    found: list[Seen] = []
    known: dict[tuple[str, ...], Mapping[str, Any]] = {}  # thousands of findings are about the same few
    for batch in store.scan(Anomaly, _COUNTED, [*_within(caller, period), *asked.filters]):
        for *counted, text, statistics, user in zip(*map(_values, batch.columns), strict=True):
            slice, model = _slice(text), counted[_MODEL]
            key = (text, _told(statistics, slice), model, user)
            about = known.get(key)
            if about is None:
                about = known[key] = _about(slice, _telling(statistics, slice), model or None, user or None)
            if not asked.slice or is_about(about, asked.slice):
                found.append(Seen._make((*counted, about)))
        if len(found) >= MOST_COUNTED:
            break
    return found


def matching(store: Store, caller: Caller, period: Period, asked: Wanted, everything: Sequence[Seen]) -> Sequence[Seen]:
    """Those of all findings of the period that match, without reading them again where all were counted."""
    if not asked.is_narrow:
        return everything
    if len(everything) >= MOST_COUNTED:
        return seen(store, caller, period, asked)
    wants = [(_PLACE[each.name], frozenset(each.values)) for each in asked.filters]
    return [
        each
        for each in everything
        if all(each[place] in values for place, values in wants) and is_about(each.about, asked.slice)
    ]


def since(store: Store, caller: Caller, at: float, asked: Wanted | None = None) -> int:
    """How many findings were made after a moment."""
    where = [*caller.where, Filter("detected_at", ">", (at,)), *(asked.filters if asked else ())]
    return store.count(Anomaly, where)


def about_of(finding: Anomaly) -> Mapping[str, Any]:
    """Which calls a finding is about, as far as it says."""
    return _about(finding.slice or {}, finding.statistics, finding.model_id, finding.user_id)


def is_about(about: Mapping[str, Any], slice: Mapping[str, str]) -> bool:
    """Whether calls are among those of a slice."""
    return all(str(about.get(name, "")) == value for name, value in slice.items())


def label_of(anomaly_type: str) -> str:
    """What a type is called: by its own label, that of its metric, or its name in words.

    >>> label_of("ttft"), label_of("error_rate"), label_of("quality.tone")
    ('First Token Delay', 'Error rate', 'Quality tone')
    """
    label = words.label_of(anomaly_type)
    if label != anomaly_type:
        return label
    known = METRIC_OF.get(anomaly_type)
    text = known.label if known else anomaly_type.replace("_", " ").replace(".", " ").replace(":", " ")
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came in one bucket of a lane."""

    since: float
    until: float
    count: int
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The findings of one kind over a period."""

    key: str
    name: str
    count: int
    severity: str
    """The worst among them."""
    steps: tuple[Step, ...]
    """One for each bucket; where nothing came, 0 and no severity."""

    def runs(self) -> Iterator[Step]:
        """Stretches in which something came, each as one step."""
        run: list[Step] = []
        for step in (*self.steps, None):
            if step is not None and step.count:
                run.append(step)
            elif run:
                worst = max(run, key=lambda each: SEVERITIES.index(each.severity)).severity
                yield Step(
                    since=run[0].since, until=run[-1].until, count=sum(each.count for each in run), severity=worst
                )
                run = []


def step_of(period: Period) -> int:
    """The width of a bucket: at most BUCKETS make up the period."""
    return next((each for each in STEPS_S if period.length_s / each <= BUCKETS), STEPS_S[-1])


def counted(
    found: Sequence[Seen], period: Period, key: Callable[[Seen], str | None], *, named: Callable[[str], str] = str
) -> list[Counted]:
    """Findings by what they have in common, the worst first and then the most; those that have none are left out."""
    step = step_of(period)
    start = period.since // step * step
    buckets = max(int(-(-(period.until - start) // step)), 1)
    groups: dict[str, list[Seen]] = defaultdict(list)
    for each in found:
        group = key(each)
        if group:
            groups[group].append(each)
    lanes = [_lane(name, named(name), those, start, step, buckets) for name, those in groups.items()]
    return sorted(lanes, key=lambda each: (-SEVERITIES.index(each.severity), -each.count, each.name))


def _lane(key: str, name: str, found: Sequence[Seen], start: float, step: int, buckets: int) -> Counted:
    counts: Counter[int] = Counter()
    worst: dict[int, int] = {}
    alike = Counter([(int((each.at - start) // step), each.severity) for each in found])
    for (at, severity), count in alike.items():
        place = min(max(at, 0), buckets - 1)
        counts[place] += count
        worst[place] = max(worst.get(place, 0), SEVERITIES.index(severity))
    return Counted(
        key=key,
        name=name,
        count=len(found),
        severity=SEVERITIES[max(worst.values())],
        steps=tuple(
            Step(
                since=start + place * step,
                until=start + (place + 1) * step,
                count=counts[place],
                severity=SEVERITIES[worst[place]] if place in worst else "",
            )
            for place in range(buckets)
        ),
    )


def _within(caller: Caller, period: Period) -> list[Filter]:
    return [
        *caller.where,
        Filter("occurred_at", ">=", (period.since,)),
        Filter("occurred_at", "<", (period.until,)),
    ]


def _about(
    slice: Mapping[str, Any], statistics: Mapping[str, Any], model: str | None, user: str | None
) -> Mapping[str, Any]:
    told = {
        "operation_type": statistics.get("operation_type"),
        "usage_type": statistics.get("usage_type"),
        "model_name": model,
        "user_id": user,
    }
    return {**{name: value for name, value in told.items() if value}, **slice}


def _values(column: pa.Array) -> list[Any]:
    """The values of a column of a scan; an empty text for none."""
    values: list[Any] = column.to_pylist()
    return values if column.null_count == 0 else ["" if each is None else each for each in values]


@lru_cache(maxsize=2048)
def _slice(text: str) -> Mapping[str, Any]:
    """A slice as it is stored; thousands of findings are about the same few."""
    return _read(text)


def _told(text: str, slice: Mapping[str, Any]) -> str:
    """The part of statistics that tells more of the calls than a slice; all of it where that stands deeper down."""
    if not _tells_more(text, slice):
        return ""
    found = list(_TELLING.finditer(text))
    if any(text.count("{", 0, each.start()) - text.count("}", 0, each.start()) != 1 for each in found):
        return text
    return ",".join([each.group() for each in found])


def _telling(text: str, slice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Statistics as they are stored, where they may tell more of the calls than the slice; else nothing."""
    return _read(text) if _tells_more(text, slice) else {}


def _tells_more(text: str, slice: Mapping[str, Any]) -> bool:
    return ("usage_type" not in slice and '"usage_type"' in text) or (
        "operation_type" not in slice and '"operation_type"' in text
    )


def _read(text: str) -> Mapping[str, Any]:
    read = json.loads(text) if text else None
    return read if isinstance(read, dict) else {}
