"""`tracewatch detect`: finds what is abnormal in a window, saves it once and says it in words."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    caught_up_db,
    console,
    format_option,
    plain_table,
    progress_bar,
    safe,
    say,
    show_json,
    store_options,
)
from tracewatch.cli.times import parse_time, show_time

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.records import Anomaly
    from tracewatch.stores.base import Store
    from tracewatch.watch import Detection, Source

SHOWN = 10  # findings told in words; the rest is a command away
SOURCES: Mapping[str, tuple[Source, ...]] = {
    "traces": ("traces",),
    "messages": ("messages",),
    "both": ("traces", "messages"),
}
SHORT_ID = 8  # characters of a finding's id on screen; `explain` takes any beginning that is unique


@click.command(
    epilog="""
\b
Examples:
  tracewatch detect                                 the last 24 hours
  tracewatch detect --until newest                  the 24 hours up to the newest call
  tracewatch detect --since 7d --user u42           one account, one week
  tracewatch detect --source both --format json     messages and traces compared
"""
)
@store_options
@click.option("--since", default="24h", show_default=True, help="Where the window begins: 24h, 7d, 2026-03-02 …")
@click.option(
    "--until", default="now", show_default=True, help="Where it ends: a time, or 'newest' for the newest call."
)
@click.option(
    "--source",
    type=click.Choice(tuple(SOURCES)),
    default="traces",
    show_default=True,
    help="Which rows: traces, an imported messages table, or both to compare them.",
)
@click.option("--user", help="Only this account's calls.")
@format_option("table", "json")
def detect(db: str, project: str, since: str, until: str, source: str, user: str | None, output: str) -> None:
    """Find what is abnormal, and save each finding once."""
    from tracewatch import watch

    sources = SOURCES[source]
    with caught_up_db(db, project) as store:
        newest = _newest(store, project, sources)
        # Just past the newest call, because the end of a window is not in it.
        end = math.nextafter(newest, math.inf) if until == "newest" and newest is not None else _end(until)
        begin = parse_time(since, now=end)
        found = []
        for each in sources:
            with progress_bar(f"Reading the {each}"):
                found.append(
                    watch.detect(
                        store, project=project, since=begin, until=end, now=time.time(), source=each, user=user
                    )
                )
    if output == "json":
        show_json(_document(found))
    else:
        _print(found)
    if not any(each.analyzed for each in found):
        say(_why_nothing(newest, begin, db, project, source))


def _newest(store: Store, project: str, sources: Sequence[Source]) -> float | None:
    from tracewatch import watch

    times = [watch.newest(store, project=project, source=each) for each in sources]
    return max((each for each in times if each is not None), default=None)


def _end(until: str) -> float:
    return time.time() if until == "newest" else parse_time(until)


def _why_nothing(newest: float | None, begin: float, db: str, project: str, source: str) -> str:
    """Why no call was looked at, and what to type instead."""
    options = [("--db", db, settings.load().db), ("--project", project, settings.load().project)]
    given = "".join(f" {name} {shlex.quote(value)}" for name, value, default in options if value != default)
    if newest is None:
        return f"There are no calls in {db} (project {project}) yet. Bring some in with: tracewatch import FILE{given}"
    chosen = "" if source == "traces" else f" --source {source}"
    if newest < begin:
        return (
            f"The newest call is of {show_time(newest)}, before this window begins ({show_time(begin)}). "
            f"Look at the 24 hours up to it with: tracewatch detect --until newest{chosen}{given}"
        )
    return f"No call is in this window. The newest is of {show_time(newest)}."


def _document(found: Sequence[Detection]) -> dict[str, Any]:
    """The answer of the detection API and the findings; the first source's, with both compared when there are two."""
    from tracewatch.records import as_dict

    document = found[0].response()
    if len(found) > 1:
        document["comparison"] = {
            each.source: {
                "analyzed": each.analyzed,
                "anomalies_detected": each.detected,
                "anomalies_saved": each.saved,
                "breakdown": dict(each.breakdown),
            }
            for each in found
        }
    document["findings"] = [as_dict(finding) for each in found for finding in (*each.rules, *each.findings)]
    return document


def _print(found: Sequence[Detection]) -> None:
    screen = console()
    for each in found:
        screen.print(_summary(each))
    if not any(each.analyzed for each in found):
        return
    screen.print(_breakdown(found))
    fired = [finding for each in found for finding in each.rules]
    for finding in fired:
        screen.print(_told(finding))
    worst = sorted((finding for each in found for finding in each.findings), key=_badness)[:SHOWN]
    if worst:
        screen.print("Worst first:" if not fired else "\nSingle calls, worst first:")
    for finding in worst:
        screen.print(_told(finding))
    if worst or fired:
        first = (fired + worst)[0]
        screen.print(
            f"\nMore about one: [bold]tracewatch explain {first.id[:SHORT_ID]}[/]   all: [bold]tracewatch anomalies[/]"
        )


def _summary(detection: Detection) -> str:
    window = f"{show_time(detection.since)} to {show_time(detection.until)} UTC"
    rows = f"{detection.analyzed:,} {'messages' if detection.source == 'messages' else 'calls'}"
    if not detection.analyzed:
        return f"No {detection.source} from {window}."
    fired = len(detection.rules)
    every, new = detection.detected + fired, detection.saved + detection.rules_saved
    if not every:
        return f"Nothing abnormal in {rows} from {window}."
    rules = f" and {fired} {'rule' if fired == 1 else 'rules'} fired" if fired else ""
    calls = "finding" if detection.detected == 1 else "findings"
    return f"[bold]{detection.detected:,} {calls}[/] in {rows} from {window}{rules}; {new:,} new."


def _breakdown(found: Sequence[Detection]) -> Table:
    """Findings per type, one column a source."""
    from tracewatch import words
    from tracewatch.metrics import METRIC_OF

    counts = [each.source if len(found) > 1 else "findings" for each in found]
    table = plain_table(("type", "", "metric", *counts), right=counts)
    for key in dict.fromkeys(key for each in found for key in each.breakdown):
        numbers = [f"{each.breakdown[key]:,}" if key in each.breakdown else "" for each in found]
        table.add_row(key, words.label_of(key), METRIC_OF[key].name, *numbers)
    return table


def _badness(finding: Anomaly) -> tuple[int, float, float]:
    """Sorts the worst first, and the newest among equals."""
    from tracewatch.records import SEVERITIES

    return -SEVERITIES.index(finding.severity), -finding.confidence_score, -finding.occurred_at


def _told(finding: Anomaly) -> str:
    style = SEVERITY_STYLES[finding.severity]
    return f"  {finding.id[:SHORT_ID]}  [{style}]{finding.severity:<8}[/]  {safe(finding.description)}"
