"""`tracewatch incidents`: everything abnormal by its cause, one incident with its findings, and dealing with them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.dealing import show_quality, taught, unlearn, verbs
from tracewatch.cli.kept import SHORT_ID, find, pass_on
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    Heading,
    console,
    format_option,
    number,
    open_db,
    plain_table,
    safe,
    say,
    show_json,
    show_rows,
    store_options,
    to_type,
)
from tracewatch.cli.suggesting import ShowsOne
from tracewatch.cli.times import parse_time, show_time
from tracewatch.records import SEVERITIES, STATES, Anomaly, Incident, Span, as_dict, column_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from tracewatch.stores.base import Filter, Store

PAGE = 200  # findings of an incident that are shown; the engine keeps 50
CHOICES = {"state": STATES, "severity": SEVERITIES}


@click.group(
    cls=ShowsOne,
    one="incidents show",
    invoke_without_command=True,
    epilog="""
\b
Examples:
  tracewatch incidents --state open,growing
  tracewatch incidents --severity high,critical --since 7d --format jsonl
  tracewatch incidents show 3f9a12c0
  tracewatch incidents ack 3f9a12c0
  tracewatch incidents snooze 3f9a12c0 --until tomorrow
  tracewatch incidents dismiss 3f9a12c0 --because too-small
  tracewatch incidents --quality
""",
)
@store_options
@click.option("--state", help=f"Only these, with commas between: {', '.join(STATES)}.")
@click.option("--severity", help=f"Only these: {', '.join(SEVERITIES)}.")
@click.option("--since", help="Only those that began since then: 24h, 7d, 2026-03-02 …")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--cursor", help="Continue where a previous page ended.")
@click.option("--quality", is_flag=True, help="Instead: by metric, what people said incidents and findings were worth.")
@format_option()
@click.pass_context
def incidents(context: click.Context, /, db: str, project: str, output: str, **given: Any) -> None:
    """List incidents, newest first, or show and deal with one.

    What is done about an incident is done about all its findings. Dismissals teach, and what they taught is listed,
    too.
    """
    if context.invoked_subcommand is not None:
        pass_on(context, context.invoked_subcommand, {"db": db, "project": project}, "the ids of incidents")
        return
    if given["quality"]:
        show_quality(db, project, output)
        return
    with open_db(db) as store:
        page = store.page(Incident, _filters(project, given), limit=given["limit"], cursor=given["cursor"])
        empty = _nothing(store, db, project) if not page.records else ""
    found = [each for each in page.records if isinstance(each, Incident)]
    show_rows([as_dict(each) for each in found], output, lambda: _listing(found), empty)
    if page.next:
        say(f"There are more: add --cursor {page.next}")


@incidents.command(epilog="\b\nExample:\n  tracewatch incidents show 3f9a12c0")
@click.argument("incident_id", metavar="ID")
@store_options
@format_option("table", "json")
def show(incident_id: str, db: str, project: str, output: str) -> None:
    """Show one incident with the findings folded under it.

    ID is its id or the beginning of it.
    """
    with open_db(db) as store:
        incident = find(store, Incident, project, incident_id, db)
        findings = _findings(store, incident)
    if output == "json":
        show_json({**as_dict(incident), "anomalies": [as_dict(each) for each in findings]})
        return
    screen = console()
    for part in _told(incident, findings):
        screen.print(part)


for _command in (*verbs(Incident), taught, unlearn):
    incidents.add_command(_command)


def _filters(project: str, given: Mapping[str, Any]) -> list[Filter]:
    from tracewatch.stores.base import Filter

    filters = [Filter("project", "=", (project,))]
    filters += [Filter(name, "=", _several(name, given[name])) for name in CHOICES if given[name]]
    if given["since"]:
        filters.append(Filter("started_at", ">=", (parse_time(given["since"]),)))
    return filters


def _several(option: str, text: str) -> tuple[str, ...]:
    """The words between commas; one that cannot be is refused."""
    given = tuple(each.strip() for each in text.split(","))
    for each in given:
        if each not in CHOICES[option]:
            raise click.BadParameter(f"'{each}' is none of {', '.join(CHOICES[option])}", param_hint=f"--{option}")
    return given


def _nothing(store: Store, db: str, project: str) -> str:
    """What to do when there is none: look for some, or ask for others."""
    from tracewatch.stores.base import Filter

    if store.page(Incident, [Filter("project", "=", (project,))], limit=1).records:
        return f"No incident in {db} (project {project}) is like that: ask for another --state, --severity or --since."
    return (
        f"No incident yet in {db} (project {project}). Look for some with: {to_type('detect --detector adaptive')}. "
        f"It needs a week of calls to learn from; bring them in with: {to_type('import FILE')}"
    )


def _findings(store: Store, incident: Incident) -> list[Anomaly]:
    """The findings folded under an incident, in order of time, its root first."""
    from tracewatch.stores.base import Filter

    where = [Filter("project", "=", (incident.project,)), Filter("incident_id", "=", (incident.id,))]
    found = [each for each in store.page(Anomaly, where, limit=PAGE).records if isinstance(each, Anomaly)]
    return sorted(found, key=lambda each: (each.id != incident.root_id, each.detected_at, each.id))


def _listing(found: Sequence[Incident]) -> Table:
    headings = (
        "id",
        Heading(name="since", rank=2),
        Heading(name="state", rank=3),
        Heading(name="severity", rank=1),
        Heading(name="resolution", rank=4),
        Heading(name="findings", right=True, rank=5),
        "incident",
    )
    table = plain_table(headings)
    for each in found:
        table.add_row(
            each.id[:SHORT_ID],
            show_time(each.started_at),
            _state(each),
            f"[{SEVERITY_STYLES[each.severity]}]{each.severity}[/]",
            _listed(each),
            f"{each.findings:,}",
            safe(each.title),
        )
    return table


def _listed(incident: Incident) -> str:
    from tracewatch.dealing import is_awake_again, is_snoozed

    now = time.time()
    if is_snoozed(incident, now):
        return "snoozed"
    return (
        "regressed"
        if incident.regressed_at
        else "pending"
        if is_awake_again(incident, now)
        else incident.resolution_status
    )


def _state(incident: Incident) -> str:
    back = incident.reopened and incident.state != "closed"
    return f"{incident.state} again" if back else incident.state


def _told(incident: Incident, findings: Sequence[Anomaly]) -> list[RenderableType]:
    """The sentence, the facts, what led to it, what to do, and what is folded under it."""
    style = SEVERITY_STYLES[incident.severity]
    heading = f"[{style}]{incident.severity.capitalize()}[/] · {_state(incident)} · {safe(incident.id)}"
    parts: list[RenderableType] = [heading, f"[bold]{safe(incident.title)}[/]", _facts(incident, findings)]
    parts += _list("What led to it", incident.contributing_factors)
    parts += _list("What to do next", incident.recommended_actions)
    parts += _list("Traces that show it", [to_type(f"trace {each}") for each in incident.trace_ids])
    if findings:
        parts += ["\n[dim]Findings, the root first[/]", _folded(findings)]
    return parts


def _facts(incident: Incident, findings: Sequence[Anomaly]) -> Table:
    from rich.table import Table

    from tracewatch.explaining.measures import measure_of
    from tracewatch.explaining.telling import beyond

    measure = measure_of(incident.metric_name)
    waited = None if incident.time_effect_s is None else incident.time_effect_s * 1000
    facts = {
        "What came": _amount(incident, incident.observed),
        "Expected": _expected(incident),
        "Where": ", ".join(f"{name} {value}" for name, value in (incident.slice or {}).items()) or "all calls",
        "How sure": f"{min(incident.confidence_score, 0.99):.2f} of 1",
        "Since": f"{show_time(incident.started_at)} UTC",
        "Found": f"{show_time(incident.detected_at)} UTC",
        "Recovering": _recovering(incident, findings),
        "Closed": _moment(incident.closed_at),
        "Came back": f"{incident.reopened:,} times" if incident.reopened > 1 else "once" if incident.reopened else "",
        "Calls": f"{incident.calls:,}" if incident.calls is not None else "",
        "Money": beyond(incident.cost_effect_usd, "USD", measure, incident.direction),
        "Waiting": beyond(waited, "ms", measure, incident.direction),
        "Resolution": _status(incident),
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value:
            table.add_row(f"[dim]{name}[/]", safe(value))
    return table


def _recovering(incident: Incident, findings: Sequence[Anomaly]) -> str:
    """Since when it is back in its range by itself, and when it closes."""
    from tracewatch.incidents import closes_at

    if incident.recovering_at is None or incident.state == "closed":
        return _moment(incident.recovering_at)
    closes = closes_at(findings)
    then = "closes when the findings under it are over, too" if closes is None else f"closes at {_moment(closes)}"
    return f"back in range since {_moment(incident.recovering_at)}; {then}"


def _status(incident: Incident) -> str:
    """What people did about it, and what became of that."""
    from tracewatch.dealing import is_awake_again, is_snoozed

    now = time.time()
    if is_snoozed(incident, now):
        until = "it gets worse" if incident.snoozed_until is None else _moment(incident.snoozed_until)
        return f"snoozed until {until}"
    if is_awake_again(incident, now):
        return "no longer snoozed" if incident.snoozed_until is not None else "worse than when it was snoozed"
    return f"back since {_moment(incident.regressed_at)}" if incident.regressed_at else incident.resolution_status


def _moment(time_s: float | None) -> str:
    return "" if time_s is None else f"{show_time(time_s)} UTC"


def _amount(incident: Incident, value: float | None) -> str:
    column = column_of(Span).get(incident.metric_name)
    return number(value, column.unit if column else "share" if incident.metric_name.endswith("_rate") else None)


def _expected(incident: Incident) -> str:
    """The value and the range in which nobody would have been told, as far as they are known."""
    value, lower, upper = (_amount(incident, each) for each in (incident.expected, incident.lower, incident.upper))
    return f"{value} ({lower} to {upper})" if lower and upper else value


def _list(title: str, entries: Sequence[str]) -> list[RenderableType]:
    return [f"\n[dim]{title}[/]", *(f"  • {safe(each)}" for each in entries)] if entries else []


def _folded(findings: Sequence[Anomaly]) -> Table:
    table = plain_table(("id", "since", "until", Heading(name="severity", rank=1), "finding"))
    for each in findings:
        table.add_row(
            each.id[:SHORT_ID],
            show_time(each.occurred_at),
            show_time(each.ended_at) if each.ended_at is not None else "",
            f"[{SEVERITY_STYLES[each.severity]}]{each.severity}[/]",
            safe(each.description),
        )
    return table
