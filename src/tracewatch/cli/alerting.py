"""`tracewatch alerts`: who is told what, tried on the past, put in force, and seen to have arrived."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.cli.messages import deliveries, resend, test
from tracewatch.cli.output import (
    Heading,
    caught_up_db,
    counted,
    format_option,
    open_db,
    plain_table,
    progress_bar,
    safe,
    say,
    show_json,
    show_rows,
    store_options,
    to_type,
)
from tracewatch.cli.suggesting import Suggesting
from tracewatch.cli.times import parse_time, show_time
from tracewatch.errors import BadRules, TracewatchError
from tracewatch.records import iso

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.alerts.file import Written
    from tracewatch.alerts.kept import Difference

NAMED = 10  # incidents that are named; all are in JSON


@click.group(
    cls=Suggesting,
    epilog="""
\b
Examples:
  tracewatch alerts plan alerts.yaml                what these rules would have told in the last 30 days
  tracewatch alerts apply alerts.yaml               put them in force
  tracewatch alerts test                            send a sample to every channel
""",
)
def alerts() -> None:
    """Say who is told of incidents, and see what was sent.

    Rules are tried on the past and put in force, channels are tested.
    """


alerts.add_command(test)
alerts.add_command(deliveries)
alerts.add_command(resend)


@alerts.command(
    epilog="""
\b
Examples:
  tracewatch alerts plan alerts.yaml --since 90d
  tracewatch alerts plan                            what the rules in force would have told
"""
)
@store_options
@click.argument("file", required=False)
@click.option("--since", default="30d", show_default=True, help="How far back: 7d, 30d, 2026-03-02 …")
@format_option("table", "json")
def plan(db: str, project: str, file: str | None, since: str, output: str) -> None:
    """Show what the rules of FILE would have told in the past.

    They stand beside those in force, with what both miss. The incidents that are stored are gone through as if they
    came now, and conditions are tried on the calls of that time; nothing is sent.
    """
    from tracewatch.alerts import planning
    from tracewatch.alerts.book import Book
    from tracewatch.alerts.deciding import Rules
    from tracewatch.alerts.history import pasts
    from tracewatch.alerts.kept import channels_of, rules_of
    from tracewatch.checks.trying import days_of, tried

    now, addresses = time.time(), settings.load().alert_channels
    begin = parse_time(since, now)
    wanted = _read(file, project) if file else None
    with caught_up_db(db, project) as store:
        there, rules, channels = (
            pasts(store, project, begin, now),
            rules_of(store, project),
            channels_of(store, project),
        )
        conditions = [*rules, *(wanted.rules if wanted else ())]
        with progress_bar("Trying conditions (days)", days_of(conditions, begin, now)) as done:
            before = tried(store, rules, begin, now, progress=done)
            after = tried(store, wanted.rules, begin, now, progress=done) if wanted else ()
    book = Book(channels, addresses, rules)
    plans = {"in force": planning.plan(Rules.of(rules), book, there, begin, now, before)}
    if wanted is not None:
        book = Book(wanted.channels, addresses, wanted.rules)
        plans["file"] = planning.plan(Rules.of(wanted.rules), book, there, begin, now, after)
    if output == "json":
        show_json({name.replace(" ", "_"): _plan_row(each) for name, each in plans.items()})
        return
    _show_plan(plans, {each.incident.id: each.incident.title for each in there})


@alerts.command(name="apply", epilog="\b\nExamples:\n  tracewatch alerts apply alerts.yaml --dry-run")
@store_options
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@format_option("table", "json")
def apply_(db: str, project: str, file: str, dry_run: bool, output: str) -> None:
    """Put the rules and channels of FILE in force.

    Those of the project become equal to FILE, all of them or none.
    """
    from tracewatch.alerts.kept import apply

    wanted = _read(file, project)
    with open_db(db, create=not dry_run) as store:
        done = apply(store, project, wanted, dry_run=dry_run)
    if output == "json":
        parts = {"rules": done.rules, "channels": done.channels}
        show_json({name: {each: list(getattr(part, each)) for each in _CHANGES} for name, part in parts.items()})
        return
    for noun, part in (("channel", done.channels), ("rule", done.rules)):
        for line in _changes(noun, part):
            click.echo(line)
    for name, why in _unusable(wanted):
        say(f"Nothing can be sent to channel {name} from here: {why}")
    if not done.rules and not done.channels:
        say("Nothing changes: the rules and channels are as the file says already.")
    elif dry_run:
        say(f"Nothing was changed. Do it with: {to_type(f'alerts apply {file}')}")


@alerts.command(name="list", epilog="\b\nExamples:\n  tracewatch alerts list --format yaml > alerts.yaml")
@store_options
@format_option("table", "json", "yaml")
def list_(db: str, project: str, output: str) -> None:
    """Show the rules in force and what they told in 30 days.

    Where each of them stands, and what people said of its messages.
    """
    from tracewatch.alerts.checking import written
    from tracewatch.alerts.file import as_text
    from tracewatch.alerts.kept import channels_of, rules_of
    from tracewatch.alerts.standing import standings

    given = settings.load()
    with open_db(db) as store:
        rules, channels = rules_of(store, project), channels_of(store, project)
        if output == "yaml":
            click.echo(as_text(channels, [written(each) for each in rules]), nl=False)
            return
        found = standings(store, project, given.alert_channels, time.time())
    if output == "json":
        show_json({
            "rules": [each.as_row() for each in found.rules],
            "channels": [{"name": name, "enabled": on} for name, on in found.channels],
        })  # fmt: skip
        return
    show_rows([each.as_row() for each in found.rules], "table", lambda: _rules_table(found.rules), "")
    for sentence in found.sentences():
        say(sentence)


_CHANGES = ("added", "changed", "removed", "same")


def _read(file: str, project: str) -> Written:
    """The file; every mistake in it is a line of its own."""
    from tracewatch.alerts.file import read_file

    try:
        return read_file(file, project=project, now=time.time(), who=getpass.getuser())
    except BadRules as error:
        for line in str(error.given["why"]).splitlines():
            say(f"tracewatch: {line}")
        sys.exit(1)


def _unusable(wanted: Written) -> Iterator[tuple[str, str]]:
    """Channels that cannot be opened with this environment, which need not be that of the server, and why."""
    from tracewatch.alerts.book import Book

    book = Book(wanted.channels, "", wanted.rules)
    for name in book.names:
        try:
            book.open(name)
        except TracewatchError as error:
            yield name, str(error)


def _changes(noun: str, part: Difference) -> list[str]:
    marks = (("+", part.added, "added"), ("~", part.changed, "changed"), ("-", part.removed, "removed"))
    return [f"{mark} {noun} {name} ({what})" for mark, names, what in marks for name in names]


def _plan_row(plan: Any) -> dict[str, Any]:
    return {"since": iso(plan.since), "until": iso(plan.until), **plan.row()}


def _show_plan(plans: Mapping[str, Any], titles: Mapping[str, str]) -> None:
    last = list(plans.values())[-1]
    say(f"{show_time(last.since)} to {show_time(last.until)} UTC: {counted(last.incidents, 'incident')}.")
    names = list(dict.fromkeys(name for each in plans.values() for name in each.ruled))
    rows = [{"rule": name} for name in names]
    show_rows(rows, "table", lambda: _plan_table(plans, names), "")
    for which, each in plans.items():
        of = f" of the {which}" if which == "file" else " in force"
        if each.missed:
            say(f"No rule{of} would have told of {len(each.missed)} high or critical incidents:")
            for it in each.missed[:NAMED]:
                say(f"  {it.id[:8]} {it.severity} {show_time(it.detected_at)} {it.title}")
            if len(each.missed) > NAMED:
                say(f"  and {len(each.missed) - NAMED} more")
        else:
            say(f"The rules{of} would have told of every high and critical incident.")
    if last.silent:
        say(f"These rules would have told nothing: {', '.join(last.silent)}")
    for name, why in last.untried.items():
        say(f"Of the condition of {name} not all is known: {why}")
    for name, each in last.ruled.items():
        if each.incidents:
            made = {it.id: f"{show_time(it.started_at)} {it.title}" for it in each.made}
            say(f"{name} would have told of:")
            for id_ in each.incidents[:NAMED]:
                say(f"  {made.get(id_) or f'{id_[:8]} {titles.get(id_, id_)}'}")
            if len(each.incidents) > NAMED:
                say(f"  and {len(each.incidents) - NAMED} more")


def _plan_table(plans: Mapping[str, Any], names: Sequence[str]) -> Table:
    heads = [f"{what} ({which})" for which in plans for what in ("fired", "messages a week")]
    table = plain_table(("rule", *heads), right=heads)
    for name in names:
        cells = []
        for each in plans.values():
            ruled = each.ruled.get(name)
            cells += [f"{ruled.fired:,}", f"{each.a_week(name):.1f}"] if ruled else ["-", "-"]
        table.add_row(safe(name), *cells)
    return table


def _rules_table(rules: Sequence[Any]) -> Table:
    table = plain_table(
        ("rule", "state", "from", "tells", Heading(name="told in 30 d", right=True), "useful"),
    )
    for each in rules:
        table.add_row(
            safe(each.rule.name),
            each.state,
            each.rule.severity,
            safe(", ".join(each.audience)) or "nobody",
            f"{each.told:,}",
            f"{each.quality.useful} of {each.quality.judged}" if each.quality.judged else "",
        )
    return table
