"""Rows that never came: told by the programs that dropped them, or missed by the spans that name them as parents."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

from tracewatch import words
from tracewatch.checks.base import SELF, Check
from tracewatch.records import MESSAGES_SOURCE, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

WINDOW_S = 900.0
FLAG = "rows_dropped"  # on the rows that the guest writes about what it had to drop (capture/losses.py)
EXAMPLES = 3

PART_S = 600.0
SETTLED_S = 900.0  # by then the parent of a span has ended, but for the longest requests
REACH_S = 3600.0  # a parent may have begun so long before its child
EARLIER_S = (
    HOUR_S,
    3 * HOUR_S,
    DAY_S,
)  # what is usual: programs that send only some of their spans have orphans always
MOST_ROWS = 50_000  # of a part: a quarter of a second; where more come a rise shows in its first rows as well
LEAST_SPANS = 50
RISE = 0.03  # beyond what is usual, and by four standard errors
SURE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """What a service said that it had to drop, within a quarter of an hour."""

    service: str | None
    rows: int
    share: float
    """Of what was dropped and what came."""
    since: float
    reasons: Counter[str]
    trace_ids: tuple[str, ...]


def dropped(store: Store, project: str, now: float) -> Iterator[Dropped]:
    """What each service dropped of late."""
    where = [*_ours(project), Filter("start_time", ">=", (now - WINDOW_S,)), Filter("status", "=", ("error",))]
    where.append(Filter("warning_flags", "=", (FLAG,)))
    told: dict[str | None, list[tuple[float, str, str]]] = defaultdict(list)
    for batch in store.scan(Span, ("service_name", "start_time", "trace_id", "metadata"), where):
        for service, at, trace, metadata in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            told[service].append((at, trace, metadata or "{}"))
    for service, rows in told.items():
        reasons: Counter[str] = Counter()
        for _, _, metadata in rows:
            reasons.update(_reasons(metadata))
        lost, since = sum(reasons.values()), min(at for at, _, _ in rows)
        came = _calls(store, project, service, since - 60.0, now)
        yield Dropped(
            service=service, rows=lost, share=lost / max(lost + came, 1), since=since, reasons=reasons,
            trace_ids=tuple(trace for _, trace, _ in sorted(rows, reverse=True)[:EXAMPLES]),
        )  # fmt: skip


class OrphanWatch:
    """How many spans name a parent that never came, in parts of ten minutes, each counted once."""

    def __init__(self, store: Store, project: str) -> None:
        self.store, self.project = store, project
        self._parts: dict[float, dict[str | None, tuple[int, int]]] = {}

    def checks(self, now: float) -> Iterator[Check]:
        """One for each service that sends spans with parents."""
        part = (now - SETTLED_S) // PART_S * PART_S - PART_S
        counted = self._of(part)
        for service, (orphans, spans) in counted.items():
            usual = [self._share(part - back, service) for back in EARLIER_S]
            known = [each for each in usual if each is not None]
            yield _orphaned(service, orphans, spans, max(known) if known else None, part)
        for old in [each for each in self._parts if each < part - 2 * DAY_S]:
            del self._parts[old]

    def _share(self, part: float, service: str | None) -> float | None:
        """The share of orphans of a service in the part that a moment is in; None where there was too little."""
        orphans, spans = self._of(part // PART_S * PART_S).get(service, (0, 0))
        return orphans / spans if spans >= LEAST_SPANS else None

    def _of(self, part: float) -> dict[str | None, tuple[int, int]]:
        if part not in self._parts:
            self._parts[part] = orphans_of(self.store, self.project, part, part + PART_S)
        return self._parts[part]


def orphans_of(store: Store, project: str, since: float, until: float) -> dict[str | None, tuple[int, int]]:
    """By service: spans of a time whose parent is not there, and spans that name one; none where there are too many."""
    if _calls(store, project, None, since - REACH_S, until + SETTLED_S) > MOST_ROWS:
        return {}
    there: set[tuple[str, str]] = set()
    children: list[tuple[str, str, str | None]] = []
    names = ("trace_id", "span_id", "parent_span_id", "service_name", "start_time")
    where = [
        *_ours(project),
        Filter("start_time", ">=", (since - REACH_S,)),
        Filter("start_time", "<", (until + SETTLED_S,)),
    ]
    for batch in store.scan(Span, names, where):
        for trace, span, parent, service, at in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            there.add((trace, span))
            if parent and since <= at < until:
                children.append((trace, parent, service))
    counts: dict[str | None, tuple[int, int]] = {}
    for trace, parent, service in children:
        orphans, spans = counts.get(service, (0, 0))
        counts[service] = (orphans + ((trace, parent) not in there), spans + 1)
    return counts


def _orphaned(service: str | None, orphans: int, spans: int, usual: float | None, since: float) -> Check:
    share = orphans / max(spans, 1)
    bad: bool | None = None
    if usual is not None and spans >= LEAST_SPANS:
        bad = share > usual + max(RISE, SURE * sqrt(max(usual, 0.01) / spans))
    lost = max(share - (usual or 0.0), 0.0)
    whose = f" of {service}" if service else ""
    return Check(
        detector=SELF, metric="orphan_rate", bad=bad, observed=share, expected=usual or 0.0,
        limit=(usual or 0.0) + RISE, severity="high" if lost >= 0.1 else "medium", since=since, calls=orphans,
        slice={"service_name": service} if service else {}, confidence=0.9,
        title=f"About {words.amount(lost, 'share')} of the spans{whose} are lost: "
        f"{orphans:,} of {spans:,} name a parent that never came.",
        actions=(
            "See whether an exporter there drops spans: its queue may be too small, or its process ends early.",
            "See whether part of the service is sampled where the other is not.",
        ),
    )  # fmt: skip


def _reasons(metadata: str) -> dict[str, int]:
    """How many rows were dropped and why, as the row says; nothing of one that says it in another way."""
    try:
        reasons = json.loads(metadata).get("reasons", {})
        return {str(why): int(rows) for why, rows in reasons.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _calls(store: Store, project: str, service: str | None, since: float, until: float) -> int:
    where = _ours(project) if service is None else [*_ours(project), Filter("service_name", "=", (service,))]
    table = store.rollup(since, until, step_s=60, where=where, measures=("calls",))
    return sum(table["calls"].to_pylist())


def _ours(project: str) -> Sequence[Filter]:
    return [Filter("project", "=", (project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]
