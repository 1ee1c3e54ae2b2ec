"""Calls and traces: the newest that match, and one trace as a waterfall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import (
    caught_up_db,
    console,
    format_option,
    number,
    plain_table,
    safe,
    say,
    show_json,
    show_rows,
    store_options,
)
from tracewatch.cli.times import parse_time, show_time
from tracewatch.errors import Ambiguous, NotFound
from tracewatch.records import STATUSES, Span, as_dict

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.stores.base import Filter, Store

STATUS_STYLES = {"ok": "green", "error": "red", "timeout": "red", "fallback": "yellow"}
SHORT_ID = 12  # characters of an id on screen; a prefix that is unique opens the trace
BAR_WIDTH = 32  # characters of the waterfall

_HEADINGS = ("time", "trace", "type", "provider", "model", "in", "out", "cost", "latency", "status")
_SHORTHANDS = {
    "status": "Only these endings.",
    "model": "Only this model.",
    "provider": "Only this provider.",
    "usage-type": "Only this usage type.",
    "operation": "Only this operation.",
    "user": "Only this user.",
    "session": "Only this session.",
}
_COLUMNS = {
    "model": "model_name",
    "provider": "model_provider",
    "usage_type": "usage_type",
    "operation": "operation_type",
    "user": "user_id",
    "session": "session_id",
    "status": "status",
}


def _shorthand_options(command: Any) -> Any:
    for name, text in reversed(_SHORTHANDS.items()):
        kind = click.Choice(STATUSES) if name == "status" else None
        command = click.option(f"--{name}", multiple=True, type=kind, help=text)(command)
    return command


@click.command(
    epilog="""
\b
Examples:
  tracewatch traces --status error --since 24h
  tracewatch traces --where 'cost_usd>0.05' --where model_name=gpt-4o,gpt-4o-mini
  tracewatch traces --user u42 --limit 200 --format jsonl
"""
)
@store_options
@_shorthand_options
@click.option("--where", multiple=True, help="A condition on any field: name=value, name!=a,b or name>number.")
@click.option("--since", help="Not older than this: 24h, 7d, 2026-03-02 …")
@click.option("--until", help="Older than this.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--cursor", help="Continue where a previous page ended.")
@format_option()
def traces(
    db: str,
    project: str,
    where: tuple[str, ...],
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
    output: str,
    **shorthands: tuple[str, ...],
) -> None:
    """List the newest calls, filtered by any field."""
    from tracewatch.stores.base import Filter, parse_filter

    filters = [Filter("project", "=", (project,)), *(parse_filter(each) for each in where)]
    filters += [Filter(_COLUMNS[name], "=", values) for name, values in shorthands.items() if values]
    filters += _window(since, until)
    with caught_up_db(db, project) as store:
        page = store.page(Span, filters, limit=limit, cursor=cursor)
        spans = [each for each in page.records if isinstance(each, Span)]
        empty = f"No call matches in {db} (project {project})."
        show_rows([as_dict(each) for each in spans], output, lambda: _listing(spans), empty)
    if page.next:
        say(f"There are more: add --cursor {page.next}")


@click.command(epilog="\b\nExample:\n  tracewatch trace 7f3ac01e")
@click.argument("trace_id", metavar="ID")
@store_options
@format_option("table", "json", "jsonl")
def trace(db: str, project: str, trace_id: str, output: str) -> None:
    """Show one trace, by its id or the beginning of it, as a waterfall of its spans."""
    with caught_up_db(db, project) as store:
        spans = store.trace(project, find_trace(store, project, trace_id, db))
    rows = [as_dict(each) for each in spans]
    if output == "json":
        show_json(rows)
        return
    show_rows(rows, output, lambda: _waterfall(spans), "")
    if output == "table":
        console().print(_totals(spans))


def find_trace(store: Store, project: str, given: str, db: str) -> str:
    """The full id of the trace that begins with `given`. Raises NotFound or Ambiguous."""
    from tracewatch.stores.base import Filter

    if store.trace(project, given):
        return given
    # U+10FFFF is the last character there is: everything that begins with `given` sorts before it.
    prefixed = [
        Filter("project", "=", (project,)),
        Filter("trace_id", ">=", (given,)),
        Filter("trace_id", "<", (given + "\U0010ffff",)),
    ]
    found = {each.trace_id for each in store.page(Span, prefixed, limit=200).records if isinstance(each, Span)}
    if not found:
        raise NotFound(what="trace", given=given, where=db, hint="List the newest with: tracewatch traces")
    if len(found) > 1:
        raise Ambiguous(what="trace", given=given, count=len(found), some=", ".join(sorted(found)[:3]))
    return found.pop()


def _window(since: str | None, until: str | None) -> list[Filter]:
    from tracewatch.stores.base import Filter

    filters = []
    if since:
        filters.append(Filter("start_time", ">=", (parse_time(since),)))
    if until:
        filters.append(Filter("start_time", "<", (parse_time(until),)))
    return filters


def _listing(spans: Sequence[Span]) -> Table:
    table = plain_table(_HEADINGS, right=("in", "out", "cost", "latency"))
    for span in spans:
        table.add_row(
            show_time(span.start_time),
            safe(span.trace_id[:SHORT_ID]),
            safe(span.usage_type or span.operation_type or span.span_name),
            safe(span.model_provider),
            safe(span.model_name),
            number(span.input_tokens),
            number(span.output_tokens),
            _cost(span),
            number(span.duration_ms, "ms"),
            _status(span),
        )
    return table


def _status(span: Span) -> str:
    detail = span.error_category or span.error_type or ""
    style = STATUS_STYLES[span.status]
    return f"[{style}]{span.status}[/]" + (f" [dim]{safe(detail)}[/]" if detail else "")


def _cost(span: Span) -> str:
    return "no price" if span.cost_status == "unpriced" else number(span.cost_usd, "USD")


def _waterfall(spans: Sequence[Span]) -> Table:
    begin = min(span.start_time for span in spans)
    length_s = max(_end(span) for span in spans) - begin
    table = plain_table(("span", "model", "in", "out", "cost", "latency", "", "status"), right=("in", "out", "cost"))
    for depth, span in in_tree_order(spans):
        name = span.span_name or span.usage_type or span.operation_type or span.span_id[:SHORT_ID]
        table.add_row(
            "  " * min(depth, 12) + safe(name),
            safe(span.model_name),
            number(span.input_tokens),
            number(span.output_tokens),
            _cost(span),
            number(span.duration_ms, "ms"),
            _bar(span, begin, length_s),
            _status(span),
        )
    return table


def in_tree_order(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Each span with its depth, parents before children, siblings by start; iterative, since traces can be deep.

    A span whose parent is missing, or that is its own ancestor, stands at the top.
    """
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda each: each.start_time, reverse=True):
        parent = span.parent_span_id if span.parent_span_id in known - {span.span_id} else None
        children.setdefault(parent, []).append(span)
    ordered: list[tuple[int, Span]] = []
    waiting = [(0, span) for span in children.get(None, [])]
    while waiting:
        depth, span = waiting.pop()
        ordered.append((depth, span))
        waiting += [(depth + 1, child) for child in children.pop(span.span_id, [])]
    seen = {span.span_id for _, span in ordered}
    return ordered + [(0, span) for span in spans if span.span_id not in seen]


def _end(span: Span) -> float:
    return span.start_time + (span.duration_ms or 0.0) / 1000


def _bar(span: Span, begin: float, length_s: float) -> str:
    if length_s <= 0:
        return ""
    first = min(BAR_WIDTH - 1, round((span.start_time - begin) / length_s * BAR_WIDTH))
    last = max(first + 1, round((_end(span) - begin) / length_s * BAR_WIDTH))
    return f"{' ' * first}[{STATUS_STYLES[span.status]}]{'█' * (last - first)}[/]"


def _totals(spans: Sequence[Span]) -> str:
    begin = min(span.start_time for span in spans)
    took_ms = (max(_end(span) for span in spans) - begin) * 1000
    costs = [span.cost_usd for span in spans if span.cost_usd is not None]
    unpriced = sum(span.cost_status == "unpriced" for span in spans)
    failed = sum(span.status != "ok" for span in spans)
    parts = [
        f"{show_time(begin)} UTC",
        f"{len(spans)} span{'s' if len(spans) != 1 else ''}",
        number(took_ms, "ms"),
        number(sum(costs), "USD") if costs else "no cost known",
    ]
    parts += [f"{unpriced} without a price"] if unpriced else []
    parts += [f"{failed} not ok"] if failed else []
    return " · ".join(parts)
