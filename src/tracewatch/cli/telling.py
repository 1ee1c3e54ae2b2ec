"""What a backtest found, in words: incidents, or alerts where there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracewatch.cli.output import console, counted, number, safe
from tracewatch.cli.times import show_time
from tracewatch.records import SEVERITIES, Span, column_of
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    from tracewatch.backtest import Alert
    from tracewatch.incidents import Change

SHOWN = 10  # told in words; all alerts are in the file


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was found, as the screen tells it: lines in the order in which they deserve to be read."""

    noun: str
    metrics: Sequence[str]
    lines: Sequence[str]
    which: str
    """What the first lines are."""
    more: str = ""
    """What there is to know of their number."""
    notes: str = ""
    """What else came up that is no alarm."""


def told_alerts(found: Sequence[Alert]) -> Summary:
    """Alerts in order of time."""
    return Summary(
        noun="alert", metrics=[alert.metric for alert in found], lines=list(map(in_words, found)), which="first"
    )


def told_incidents(changes: Sequence[Change], ids: Set[str], alerts: int, notes: Sequence[Alert] = ()) -> Summary:
    """The incidents of these ids, of so many alerts: the worst first, single calls last among their like."""
    found = [each for each in {change.id: change for change in changes}.values() if each.id in ids]
    found.sort(key=lambda each: (-SEVERITIES.index(each.severity), each.root.kind == "point", each.detected))
    single = sum(each.root.kind == "point" for each in found)
    calls = f"; {single:,} of the incidents are of single calls" if single else ""
    return Summary(
        noun="incident",
        metrics=[each.root.metric for each in found],
        lines=list(map(incident_in_words, found)),
        which="worst",
        more=f" ({counted(alerts, 'alert')}{calls})",
        notes=_noted(notes),
    )


def _noted(notes: Sequence[Alert]) -> str:
    """What was seen for the first time, the first ones by name.

    Notes are no alerts: they are in no file, and count nowhere.
    """
    if not notes:
        return ""
    kinds = [f"{column_of(Span)[name].label.lower()} {value}" for each in notes for name, value in each.slice.items()]
    more = f" and {len(kinds) - SHOWN} more" if len(kinds) > SHOWN else ""
    return f"And {counted(len(notes), 'note')}: first seen {', '.join(kinds[:SHOWN])}{more}."


def summarise(told: Summary, rows: str, period: tuple[float, float], took_s: float, out: Path | None) -> None:
    """How much was found, of what, and some of it in words; on stderr."""
    screen = console(stderr=True)
    count, days = len(told.lines), (period[1] - period[0]) / DAY_S
    each_day = f", {_rate(count / days)} a day" if count and days >= 1 else ""
    what = f"{counted(count, told.noun)}{each_day}" if count else f"No {told.noun}"
    when = f"{show_time(period[0])} to {show_time(period[1])} UTC"
    where = f" The alerts are in {safe(str(out))}." if out and count else ""
    more = told.more if count else ""
    screen.print(f"[bold]{what}[/] from {when}{more}; {rows} replayed in {took_s:.1f} s.{where}", soft_wrap=True)
    if told.notes:
        screen.print(safe(told.notes), soft_wrap=True)
    if not count:
        return
    by_metric = Counter(told.metrics).most_common()
    screen.print("By metric: " + safe(", ".join(f"{metric} {n:,}" for metric, n in by_metric)), soft_wrap=True)
    if count > SHOWN:
        screen.print(f"The {told.which} {SHOWN}:")
    for line in told.lines[:SHOWN]:
        screen.print("  " + safe(line), soft_wrap=True)


def _rate(a_day: float) -> str:
    return f"{a_day:,.0f}" if a_day >= 10 else f"{a_day:.2g}"


def in_words(alert: Alert) -> str:
    """An alert in one line."""
    return f"{show_time(alert.detected_at)}  {_movement(alert)}"


def incident_in_words(change: Change) -> str:
    """An incident in one line: when it was known, how bad it was, its root, what became of it, what it took along."""
    root = change.root
    folded = Counter(f"{each.metric} {each.direction}" for each in change.members if each is not root)
    words = [f"{show_time(change.detected)}  {change.severity}: {_movement(root)}"]
    if change.accepted:
        words.append("the new level is now normal")
    elif change.state == "closed" and change.closed is not None:
        words.append(f"over at {show_time(change.closed)}" if root.kind != "point" else "")
    else:
        words.append(change.state)
    words.append(f"came back {counted(change.reopened, 'time')}" if change.reopened else "")
    words.append(
        "with " + ", ".join(f"{what}{f' ×{n}' if n > 1 else ''}" for what, n in folded.items()) if folded else ""
    )
    return "; ".join(filter(None, words))


def _movement(alert: Alert) -> str:
    column = column_of(Span).get(alert.metric)
    unit = column.unit if column else "share" if alert.metric.endswith("_rate") else None
    where = ", ".join(f"{name} {value}" for name, value in alert.slice.items()) or "all rows"
    came, usual = number(alert.observed, unit), number(alert.expected, unit)
    return f"{alert.metric} {alert.direction}: {came}, expected {usual} ({where})"
