"""`tracewatch detect`: finds what is abnormal in a window, saves it once and says it in words."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli import watching
from tracewatch.cli.backtesting import DETECTORS
from tracewatch.cli.kept import SHORT_ID
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
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.times import begin_of, show_time
from tracewatch.cli.windows import SOURCES, end_of, newest_of, why_nothing
from tracewatch.records import SEVERITIES

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.cli.watching import Seen
    from tracewatch.findings import Group
    from tracewatch.records import Anomaly
    from tracewatch.watch import Detection

SHOWN = 10  # groups of findings told in words; the rest is a command away
FOUND = 3  # exit code of --fail-on; 1 is an error of ours and 2 one of typing


@click.command(
    epilog="""
\b
Examples:
  tracewatch detect                                 the last 24 hours
  tracewatch detect --until newest                  the 24 hours up to the newest call
  tracewatch detect --detector spec                 ten z-scores and four rules instead of incidents
  tracewatch detect --since 7d --user u42           one account, one week, by z-scores
  tracewatch detect --source both --format json     messages and traces compared
  tracewatch detect --fail-on high || notify-me     from cron: exit code 3 when something bad is new
"""
)
@store_options
@click.option("--since", default="24h", show_default=True, help="Where the window begins: 24h, 7d, 2026-03-02 …")
@click.option(
    "--until", default="now", show_default=True, help="Where it ends: a time, or 'newest' for the newest call."
)
@click.option(
    "--source",
    type=OneOf(tuple(SOURCES)),
    default="traces",
    show_default=True,
    help="Which rows: traces, an imported messages table, or both to compare them.",
)
@click.option("--user", help="Only this account's calls.")
@click.option(
    "--detector",
    type=OneOf(DETECTORS),
    help="Who judges: adaptive finds incidents by what it has learned, spec single calls by ten z-scores. "
    "[default: adaptive; spec while that is learning, with --user, and for messages]",
)
@click.option("--relearn", is_flag=True, help="Forget what was learned, and learn from all of history again.")
@click.option(
    "--fail-on",
    type=OneOf(SEVERITIES),
    help="Exit with 3 when a finding this bad or worse is new, for cron and CI.",
)
@format_option()
def detect(
    db: str,
    project: str,
    since: str,
    until: str,
    source: str,
    user: str | None,
    detector: str | None,
    relearn: bool,
    fail_on: str | None,
    output: str,
) -> None:
    """Find what is abnormal, and save each finding once.

    All calls since the last time are judged; what is shown is the window.
    """
    from tracewatch import watch

    sources = SOURCES[source]
    adaptive = _adaptive(detector, source, user)
    with caught_up_db(db, project) as store:
        newest = newest_of(store, project, sources, user)
        # Just past the newest call, because the end of a window is not in it.
        end = math.nextafter(newest, math.inf) if until == "newest" and newest is not None else end_of(until)
        begin = begin_of(since, until, end)
        seen = watching.look(store, project, begin, end, relearn=relearn) if adaptive else None
        found = []
        for each in () if seen and not _by_spec_too(seen, detector) else sources:
            with progress_bar(f"Reading the {each}"):
                found.append(
                    watch.detect(
                        store, project=project, since=begin, until=end, now=time.time(), source=each, user=user
                    )
                )
        looked_at = (seen.analyzed if seen else 0) + sum(each.analyzed for each in found)
        hint = "" if looked_at else why_nothing(store, db, project, source, user, begin)
    _show(seen, found, output)
    if hint:
        say(hint)
    new = [*(seen.new if seen else ()), *(finding for each in found for finding in each.new)]
    if fail_on and watching.as_bad(new, fail_on):
        raise SystemExit(FOUND)


def _adaptive(detector: str | None, source: str, user: str | None) -> bool:
    """Whether the adaptive engine judges: it knows whole projects, by their traces."""
    if detector == "adaptive" and (source != "traces" or user is not None):
        raise click.UsageError("--detector adaptive judges all traces of a project: leave out --user and --source.")
    return detector != "spec" and source == "traces" and user is None


def _by_spec_too(seen: Seen, detector: str | None) -> bool:
    """Until the adaptive engine knows enough the first form stands in, unless the engine was asked for alone."""
    return seen.passed.learning and detector is None


def _show(seen: Seen | None, found: Sequence[Detection], output: str) -> None:
    if seen is not None:
        watching.tell_pass(seen.passed)
        watching.tell_silence(seen, time.time())
        if found and seen.analyzed:
            say(f"The adaptive engine is {watching.learning_in_words(seen.passed)}; until then ten z-scores judge.")
    if output == "table":
        if found or seen is None:
            _print(found)
        else:
            watching.tell(seen)
        return
    document = _document(found) if found or seen is None else seen.document()
    if output == "json":
        show_json(document)
        return
    for each in (*document.get("incidents", ()), *document["findings"]):
        click.echo(json.dumps(each, ensure_ascii=False, allow_nan=False))


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
    from tracewatch.findings import grouped

    screen = console()
    for each in found:
        screen.print(_summary(each))
    fired = [finding for each in found for finding in each.rules]
    if not fired and not any(each.judged for each in found):  # a table of nothing would say no more
        return
    screen.print(_breakdown(found))
    for finding in fired:
        screen.print(_told(finding), soft_wrap=True)
    for each in found:
        if not each.rules and each.source == "traces":
            screen.print(_quiet_rules(each))
    groups = grouped(finding for each in found for finding in each.findings)
    if groups:
        screen.print("\nSingle calls, the worst group first:")
    for group in groups[:SHOWN]:
        screen.print(_group(group), soft_wrap=True)
    if len(groups) > SHOWN:
        screen.print(f"  … and {len(groups) - SHOWN:,} smaller groups.")
    if groups or fired:
        first = fired[0] if fired else groups[0].worst
        watching.tell_next({"More about one:": f"explain {first.id[:SHORT_ID]}", "All:": "anomalies"})


def _summary(detection: Detection) -> str:
    from tracewatch.detectors.spec import MIN_POINTS

    window = f"{show_time(detection.since)} to {show_time(detection.until)} UTC"
    noun = "messages" if detection.source == "messages" else "calls"
    rows = f"{detection.analyzed:,} {noun}"
    if not detection.analyzed:
        return f"No {detection.source} from {window}."
    fired = len(detection.rules)
    rules = f" and {fired} {'rule' if fired == 1 else 'rules'} fired" if fired else ""
    fresh = f"{len(detection.new):,} new" if detection.new else "nothing new since the last time"
    new = f"; {fresh}" if fired or detection.detected else ""
    if not detection.judged:
        few = f"{detection.analyzed:,}" if detection.analyzed < MIN_POINTS else f"none of {rows} says enough"
        text = f"Too few {noun} to judge ({few}; it takes {MIN_POINTS}) from {window}"
        return f"{text}{rules.replace('and', 'but', 1)}{new}."
    if not new:
        return f"Nothing abnormal in {rows} from {window}."
    calls = "finding" if detection.detected == 1 else "findings"
    return f"[bold]{detection.detected:,} {calls}[/] in {rows} from {window}{rules}{new}."


def _quiet_rules(detection: Detection) -> str:
    """What the four rules had to say when none fired."""
    from tracewatch.detectors.spec import MIN_HISTORY_DAYS

    days = detection.history_days
    if days is None:
        return "The four rules are about the whole project and were not asked."
    if days >= MIN_HISTORY_DAYS:
        return "The four rules (cost, calls, errors, fallbacks) were asked and are quiet."
    history = "1 day" if days == 1 else f"{days} days"
    return (
        f"The rules about errors and fallbacks are quiet; cost_spike and call_spike cannot judge yet: "
        f"{history} of history, it takes {MIN_HISTORY_DAYS}."
    )


def _breakdown(found: Sequence[Detection]) -> Table:
    """Findings per type, one column a source."""
    from tracewatch import words
    from tracewatch.metrics import TYPE_OF

    counts = [each.source if len(found) > 1 else "findings" for each in found]
    table = plain_table(("type", "", "metric", *counts), right=counts)
    for key in dict.fromkeys(key for each in found for key in each.breakdown):
        table.add_row(key, words.label_of(key), TYPE_OF[key].name, *(_counted(each, key) for each in found))
    return table


def _counted(detection: Detection, key: str) -> str:
    """How many findings of a type there are; a type that is not judged, or not recorded, has none to count."""
    if key not in detection.used:
        return ""
    return f"{detection.breakdown[key]:,}" if detection.used[key] else "not recorded"


def _group(group: Group) -> str:
    """What a person would call one thing: how often, from when to when, and its worst finding."""
    from tracewatch import words

    worst, (first, last) = group.worst, group.period
    kind = words.who(worst.statistics.get("operation_type"), worst.model_id)
    times = show_time(first) if len(group.findings) == 1 else f"{show_time(first)} to {show_time(last)}"
    heading = f"{words.label_of(worst.anomaly_type)} · {safe(kind)}: {words.calls(len(group.findings))}, {times} UTC"
    return f"{heading}\n{_told(worst)}"


def _told(finding: Anomaly) -> str:
    style = SEVERITY_STYLES[finding.severity]
    return f"  {finding.id[:SHORT_ID]}  [{style}]{finding.severity:<8}[/]  {safe(finding.description)}"
