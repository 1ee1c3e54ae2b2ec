"""`tracewatch anomalies`: what was found, and everything known about a finding of the first form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.dealing import verbs
from tracewatch.cli.kept import SHORT_ID, find, pass_on
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    Heading,
    format_option,
    open_db,
    plain_table,
    safe,
    say,
    show_rows,
    store_options,
    to_type,
)
from tracewatch.cli.suggesting import ShowsOne
from tracewatch.cli.times import parse_time, show_time
from tracewatch.records import RESOLUTIONS, SEVERITIES, Anomaly, Incident, as_dict

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from tracewatch.stores.base import Filter, Store

BINS = 20  # lines of the chart: half a terminal's height
BAR_WIDTH = 40


@click.group(
    cls=ShowsOne,
    one="explain",
    invoke_without_command=True,
    epilog="""
\b
Examples:
  tracewatch anomalies --severity high,critical --since 24h
  tracewatch anomalies --type cost --model gpt-4o --format jsonl
  tracewatch anomalies ack 3f9a12c0
""",
)
@store_options
@click.option("--severity", help=f"Only these, with commas between: {', '.join(SEVERITIES)}.")
@click.option("--type", "anomaly_type", help="Only these types or metrics: duration, cost_usd, error_rate …")
@click.option("--incident", help="Only those folded under this incident, by its id or the beginning of it.")
@click.option("--status", help=f"Only these: {', '.join(RESOLUTIONS)}.")
@click.option("--model", help="Only this model.")
@click.option("--since", help="Not older than this: 24h, 7d, 2026-03-02 …")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--cursor", help="Continue where a previous page ended.")
@format_option()
@click.pass_context
def anomalies(context: click.Context, /, db: str, project: str, output: str, **given: Any) -> None:
    """List what was found, newest first; or deal with a finding."""
    if context.invoked_subcommand is not None:
        pass_on(context, context.invoked_subcommand, {"db": db, "project": project}, "the ids of findings")
        return
    with open_db(db) as store:
        filters = [*_filters(project, given), *_of_incident(store, project, given["incident"], db)]
        page = store.page(Anomaly, filters, limit=given["limit"], cursor=given["cursor"])
    found = [each for each in page.records if isinstance(each, Anomaly)]
    empty = f"No finding matches in {db} (project {project}). Look for some with: {to_type('detect')}"
    show_rows([as_dict(each) for each in found], output, lambda: _listing(found), empty)
    if page.next:
        say(f"There are more: add --cursor {page.next}")


for _command in verbs(Anomaly):
    anomalies.add_command(_command)


def told(store: Store, finding: Anomaly) -> list[RenderableType]:
    """Everything known about a finding of the ten types or the four rules, ready for the screen."""
    return [*_told(finding), _chart(store, finding)]


def _filters(project: str, given: dict[str, Any]) -> list[Filter]:
    from tracewatch.stores.base import Filter

    filters = [Filter("project", "=", (project,))]
    for option, name in (("severity", "severity"), ("anomaly_type", "anomaly_type"), ("status", "resolution_status")):
        if given[option]:
            filters.append(Filter(name, "=", _several(option, given[option])))
    if given["model"]:
        filters.append(Filter("model_id", "=", (given["model"],)))
    if given["since"]:
        filters.append(Filter("occurred_at", ">=", (parse_time(given["since"]),)))
    return filters


def _of_incident(store: Store, project: str, given: str | None, db: str) -> list[Filter]:
    from tracewatch.stores.base import Filter

    return [] if given is None else [Filter("incident_id", "=", (find(store, Incident, project, given, db).id,))]


def _several(option: str, text: str) -> tuple[str, ...]:
    """The words between commas; one that cannot be is refused."""
    given = tuple(each.strip() for each in text.split(","))
    if option == "anomaly_type":
        return tuple(_type_of(each) for each in given)
    known = {"severity": SEVERITIES, "status": RESOLUTIONS}[option]
    for each in given:
        if each not in known:
            raise click.BadParameter(f"'{each}' is none of {', '.join(known)}", param_hint=f"--{option}")
    return given


def _type_of(given: str) -> str:
    """The type that findings of a metric have, by the type, the metric's name or its key."""
    from tracewatch import words
    from tracewatch.metrics import TYPE_OF, TYPES
    from tracewatch.metrics.custom import COLUMN_OF
    from tracewatch.metrics.table import ENGINE, METRIC_OF

    if given in TYPE_OF or given in words.RULE_LABELS:
        return given
    told_as = METRIC_OF[given].alert if given in METRIC_OF else given
    if given not in METRIC_OF and given not in ENGINE and given.partition(".")[0] not in COLUMN_OF:
        some = ", ".join((*TYPE_OF, *words.RULE_LABELS))
        raise click.BadParameter(
            f"'{given}' is none of {some}, and no metric that tracewatch metrics --all lists", param_hint="--type"
        )
    return next((each.key for each in TYPES if each.name == told_as), told_as)


def _listing(found: Sequence[Anomaly]) -> Table:
    table = plain_table(("id", Heading(name="since", rank=2), Heading(name="severity", rank=1), "status", "finding"))
    for each in found:
        table.add_row(
            each.id[:SHORT_ID],
            show_time(each.occurred_at),
            f"[{SEVERITY_STYLES[each.severity]}]{each.severity}[/]",
            each.resolution_status,
            safe(each.description),
        )
    return table


def _told(finding: Anomaly) -> list[RenderableType]:
    """The sentence, the facts, what led to it and what to do."""
    from tracewatch import words

    style = SEVERITY_STYLES[finding.severity]
    heading = f"[{style}]{finding.severity.capitalize()}[/] · {words.label_of(finding.anomaly_type)} · {finding.id}"
    parts: list[RenderableType] = [heading, f"[bold]{safe(finding.description)}[/]", _facts(finding)]
    parts += _list("What may have led to it", finding.contributing_factors or ("No single number stands out.",))
    parts += _list("What to do next", finding.recommended_actions)
    if finding.trace_id:
        parts.append(f"Open the trace: [bold]{safe(to_type(f'trace {finding.trace_id}'))}[/]\n")
    return parts


def _facts(finding: Anomaly) -> Table:
    from rich.table import Table

    from tracewatch import words

    unit = unit_of(finding)
    slices = {"model": finding.model_id, "user": finding.user_id, "usage type": finding.statistics.get("usage_type")}
    where = [f"{name} {value}" for name, value in slices.items() if value]
    operation = finding.statistics.get("operation_type")
    facts = {
        "What came": words.amount(finding.detected_value, unit),
        "Expected": _expected(finding),
        "Deviation": f"{finding.deviation_percentage:+,.0f} %",
        "How sure": f"{min(finding.confidence_score, 0.99):.2f} of 1",
        "At" if finding.detector == "spec" else "Since": f"{show_time(finding.occurred_at)} UTC",
        "Found": f"{show_time(finding.detected_at)} UTC",
        "Where": ", ".join([*([f"operation {operation}"] if operation else []), *where]) or "all calls",
        "Compared with": f"{finding.statistics.get('n', 0):,} {_compared(finding)}",
        "Status": finding.resolution_status,
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(f"[dim]{name}[/]", safe(value))
    return table


def _expected(finding: Anomaly) -> str:
    """The range and the average of single calls; the limit of a rule."""
    from tracewatch import words

    unit = unit_of(finding)
    if finding.detector == "rules":
        return words.limit_of(finding.anomaly_type, finding.threshold_value, finding.expected_value, unit)
    lower, upper = words.values_of(finding.statistics)
    return f"{words.between(lower, upper, unit)}, {words.amount(finding.expected_value, unit)} on average"


def unit_of(finding: Anomaly) -> str | None:
    """The unit of a finding's values; that of a rule follows from its metric."""
    of_rule = {"cost_usd": "USD", "error_rate": "share", "fallback_rate": "share"}
    return finding.statistics.get("unit") or of_rule.get(finding.metric_name)


def _compared(finding: Anomaly) -> str:
    window = finding.statistics.get("window") or {}
    if finding.anomaly_type in ("cost_spike", "call_spike"):
        return "days before"
    if not window:
        return "calls"
    since, until = (show_time(parse_time(window[end])) for end in ("since", "until"))
    return f"calls from {since} UTC to {until} UTC"


def _list(title: str, entries: Sequence[str]) -> list[RenderableType]:
    return [f"\n[dim]{title}[/]", *(f"  • {safe(each)}" for each in entries)]


def _chart(store: Store, finding: Anomaly) -> RenderableType:
    """The spread of the window's values, with the line of this one marked; nothing for rules or rows that are gone."""
    from tracewatch import watch, words

    window = finding.statistics.get("window") or {}
    if not window or finding.detector != "spec":
        return ""
    counts, edges = watch.distribution(store, finding, parse_time(window["since"]), parse_time(window["until"]), BINS)
    if not any(counts):
        return ""
    most, unit = max(counts), unit_of(finding)
    lines = [f"[dim]All calls of that window by {finding.metric_name}[/]"]
    gap_from: float | None = None
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        here = low <= finding.detected_value < high or (high == edges[-1] == finding.detected_value)
        if not count and not here:
            gap_from = low if gap_from is None else gap_from
            continue
        if gap_from is not None:
            lines.append(f"[dim]{'⋮':>24}  no call from {words.between(gap_from, low, unit)}[/]")
            gap_from = None
        # A single call among a million would be a bar of no length; it still gets a mark.
        bar = "█" * round(count / most * BAR_WIDTH) or ("▏" if count else "")
        mark = "  [bold red]◀ this call[/]" if here else ""
        lines.append(f"{words.between(low, high, unit):>24}  {bar} {count:,}{mark}")
    return "\n".join(lines)
