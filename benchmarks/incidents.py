"""How well alerts are put together by cause: incidents per true one, wrong merges, roots; on the cases of `quality`."""

from __future__ import annotations

import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suites import MEASURING, judge, made
from tracewatch import backtest
from tracewatch.detectors.adaptive import Alert
from tracewatch.imports import recognise
from tracewatch.incidents import Change

HEADINGS = ("true", "found", "told", "per true", "merged", "root", "slice", "false/day", "single", "alerts", "end min")
SLICE_F1 = 0.5  # of the calls told with the calls affected: the slice is then right


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What was told of one case, or of several together."""

    true: int
    """True incidents."""
    found: int
    """Of these, those with an alert that llmbench's score would match with them."""
    told: int
    """Incidents told, without those of single calls."""
    parts: int
    """Incidents told for those found; equal to `found` when each was told once."""
    merged: int
    """Incidents told that stand for more than one true incident."""
    root: int
    """True incidents whose first incident has one of the metrics by which they were made as root."""
    slice: int
    """The same for its slice."""
    false: int
    """Incidents told for nothing."""
    single: int
    """Incidents of single calls."""
    alerts: int
    days: float
    ends: tuple[float, ...]
    """Minutes from the end of each found incident to the end that was told."""


def run() -> Iterator[str]:
    """A line per case, then one of all."""
    yield "case".ljust(24) + "".join(f"{heading:>10}" for heading in HEADINGS)
    measures = []
    for asked in MEASURING:
        measures.append(measured(made(asked)))
        yield line(asked.name, measures[-1])
    yield line("all", total(measures))


def measured(folder: Path) -> Measure:
    """What is told of the case in a folder, beside its truth."""
    return judged(folder, replayed(folder / "traces.parquet"))


def replayed(path: Path) -> list[Change]:
    """Everything that changes about incidents while the calls of a file are replayed."""
    source, kind = recognise(path)
    grouped, member = backtest.Grouped(), backtest.DETECTORS["adaptive"]
    history = backtest.read_file(source, kind, member.needs, lambda _: None)
    for _ in backtest.replay(history, dataclasses.replace(member, make=lambda: grouped), lambda _: None):
        pass
    return grouped.changes


def judged(folder: Path, changes: Sequence[Change]) -> Measure:
    """Changes beside the truth of a case."""
    _, case = judge(folder)
    last = {change.id: change for change in changes}
    begun = {change.id: change.at for change in reversed(changes)}
    alerts = [(change.id, alert) for change in changes for alert in change.joined]
    stands_for = defaultdict(set)
    for id_, alert in alerts:
        true = None if alert.kind == "point" else match(case, alert)
        if true is not None:
            stands_for[id_].add(true)
    parts = {true: sorted((x for x in last if true in stands_for[x]), key=begun.__getitem__) for true in _ids(case)}
    firsts = {true: last[some[0]] for true, some in parts.items() if some}
    told = [each for each in last.values() if each.root.kind != "point" and _counts(case, each)]
    truth = {each["id"]: each for each in case.truth["incidents"]}
    return Measure(
        true=len(truth),
        found=len(firsts),
        told=len(told),
        parts=sum(map(len, parts.values())),
        merged=sum(len(some) > 1 for some in stands_for.values()),
        root=sum(first.root.metric in truth[true]["metrics"] for true, first in firsts.items()),
        slice=sum(bool(case.slice_f1(true, first.root.slice) >= SLICE_F1) for true, first in firsts.items()),
        false=sum(not stands_for[each.id] for each in told),
        single=sum(each.root.kind == "point" and _counts(case, each) for each in last.values()),
        alerts=sum(case.start.timestamp() <= alert.detected_at for _, alert in alerts),
        days=case.days,
        ends=tuple(
            (first.closed - _seconds(truth[true]["end"])) / 60 for true, first in firsts.items() if first.closed
        ),
    )


def match(case: Any, alert: Alert) -> str | None:
    """The true incident that an alert is of, by the rules of llmbench's score: time, metric, direction, calls."""
    from llmbench.score import GRACE

    best: tuple[bool, float, str] | None = None
    for each in case.truth["incidents"]:
        begin, end = _seconds(each["start"]), _seconds(each["end"]) + GRACE.total_seconds()
        way = alert.metric != "call_count" or alert.direction == each["direction"]
        if not (begin <= alert.detected_at <= end and way and alert.metric in each["metrics"] + each["related"]):
            continue
        overlap = float(case.slice_f1(each["id"], alert.slice))
        if overlap >= 0.1:
            best = max(best or (False, 0.0, ""), (alert.metric in each["metrics"], overlap, each["id"]))
    return best[2] if best else None


def total(some: Sequence[Measure]) -> Measure:
    """Several cases as one."""
    sums = {
        each.name: sum(getattr(x, each.name) for x in some)
        for each in dataclasses.fields(Measure)
        if each.name != "ends"
    }
    return Measure(**sums, ends=tuple(minutes for each in some for minutes in each.ends))


def line(name: str, measure: Measure) -> str:
    """A line of the table."""
    found = measure.found or None
    figures = (
        f"{measure.true}",
        f"{measure.found}",
        f"{measure.told}",
        f"{measure.parts / found:.2f}" if found else "",
        f"{measure.merged}",
        f"{measure.root / found:.2f}" if found else "",
        f"{measure.slice / found:.2f}" if found else "",
        f"{measure.false / measure.days:.2f}",
        f"{measure.single}",
        f"{measure.alerts}",
        f"{statistics.median(measure.ends):.0f}" if measure.ends else "",
    )
    return name.ljust(24) + "".join(f"{figure:>10}" for figure in figures)


def _ids(case: Any) -> list[str]:
    return [each["id"] for each in case.truth["incidents"]]


def _counts(case: Any, change: Change) -> bool:
    """Whether an incident was told in the days that are judged."""
    return bool(change.detected >= case.start.timestamp())


def _seconds(text: str) -> float:
    """Epoch seconds of a time of the truth, which is UTC."""
    from tracewatch.times import parse_time

    return parse_time(text.replace(" ", "T") + "Z")
