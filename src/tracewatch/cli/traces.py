"""Calls and traces: the newest that match, and one trace as a waterfall."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import (
    Heading,
    WholeNumber,
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
from tracewatch.cli.seen import elsewhere, instead, values_of
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.times import begin_of, parse_duration, parse_time, show_time
from tracewatch.cli.waterfall import SHORT_ID, STATUS_STYLES, cost_of, error_of, head, rows_of, totals, waterfall
from tracewatch.errors import Ambiguous, BadTime, NotFound
from tracewatch.records import MESSAGES_SOURCE, STATUSES, Span, as_dict
from tracewatch.remarks import ASK_FOR_TOKENS, is_uncounted

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.stores.base import Filter, Operator, Store

_HEADINGS = (
    Heading(name="time", rank=1),
    Heading(name="trace", rank=0),
    Heading(name="type", rank=7, least=8),
    Heading(name="provider", rank=10, least=8),
    Heading(name="model", rank=5, least=12),
    Heading(name="in", right=True, rank=8),
    Heading(name="out", right=True, rank=9),
    Heading(name="cost", right=True, rank=4),
    Heading(name="latency", right=True, rank=3),
    Heading(name="status", rank=2),
    Heading(name="error", rank=6, least=12, optional=True),
)


class Latency(click.FloatRange):
    """Milliseconds, as a number or with a unit: 800, 800ms, 2s."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The milliseconds in a text; anything else is refused in a sentence that says what would do."""
        try:
            return parse_duration(str(value)) * 1000
        except BadTime:
            pass
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is not a duration: write it like 800ms, 2s or 1m.", param, ctx)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shorthand:
    """An option that stands for a condition on one column."""

    column: str
    help: str
    operator: Operator = "="
    kind: Any = None

    @property
    def several(self) -> bool:
        """Whether it may be given more than once, for any of the values."""
        return self.operator == "="


SHORTHANDS: Mapping[str, Shorthand] = {
    "status": Shorthand(column="status", help="Only these endings.", kind=OneOf(STATUSES)),
    "model": Shorthand(column="model_name", help="Only this model."),
    "provider": Shorthand(column="model_provider", help="Only this provider."),
    "usage-type": Shorthand(column="usage_type", help="Only this usage type."),
    "operation": Shorthand(column="operation_type", help="Only this operation."),
    "user": Shorthand(column="user_id", help="Only this user."),
    "session": Shorthand(column="session_id", help="Only this session."),
    "conversation": Shorthand(column="conversation_id", help="Only this conversation."),
    "source": Shorthand(column="source", help="Only rows that came this way: sdk, usage-db, messages …"),
    "environment": Shorthand(column="environment", help="Only this environment."),
    "service": Shorthand(column="service_name", help="Only this service."),
    "min-cost": Shorthand(
        column="cost_usd", help="Only calls that cost this many USD or more.", operator=">=", kind=float
    ),
    "min-latency": Shorthand(
        column="duration_ms",
        help="Only calls that took this long or longer: 800ms, 2s …",
        operator=">=",
        kind=Latency(min=0),
    ),
}


def _shorthand_options(command: Any) -> Any:
    for name, each in reversed(list(SHORTHANDS.items())):
        command = click.option(f"--{name}", multiple=each.several, type=each.kind, help=each.help)(command)
    return command


@click.command(
    epilog="""
\b
Examples:
  tracewatch traces --status error --since 24h
  tracewatch traces --where 'cost_usd>0.05' --where model_name=gpt-4o,gpt-4o-mini
  tracewatch traces --user u42 --min-latency 5s --limit 200 --format jsonl
  tracewatch traces --since 1h --until newest
"""
)
@store_options
@_shorthand_options
@click.option("--where", multiple=True, help="A condition on any field: name=value, name!=a,b or name>number.")
@click.option("--since", help="Not older than this: 24h, 7d, 2026-03-02 …")
@click.option("--until", help="Older than this; 'newest' is the newest call.")
@click.option("--limit", default=50, show_default=True, type=WholeNumber(1, 10_000), help="How many at most.")
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
    **given: Any,
) -> None:
    """List the newest calls, filtered by any field."""
    from tracewatch.stores.base import Filter, parse_filter

    filters = [Filter("project", "=", (project,)), *(parse_filter(each) for each in where), *_shorthand_filters(given)]
    with caught_up_db(db, project) as store:
        filters += _window(store, project, since, until)
        page = store.page(Span, filters, limit=limit, cursor=cursor)
        spans = [each for each in page.records if isinstance(each, Span)]
        empty = "" if spans else " ".join(_nothing(store, project, db, filters))
    show_rows([as_dict(each) for each in spans], output, lambda: _listing(spans), empty)
    uncounted = sum(map(is_uncounted, spans)) if output == "table" else 0
    if uncounted:
        say(f"{uncounted:,} streamed {'call has' if uncounted == 1 else 'calls have'} no tokens. {ASK_FOR_TOKENS}")
    if page.next:
        say(f"There are more: add --cursor {page.next}")


@click.command(
    epilog="""
\b
Examples:
  tracewatch trace 7f3ac01e
  tracewatch trace 7f3ac01e --all         every span of a long trace
"""
)
@click.argument("trace_id", metavar="ID")
@store_options
@click.option("--all", "everything", is_flag=True, help="A line for every span, however many there are.")
@format_option("table", "json", "jsonl")
def trace(db: str, project: str, trace_id: str, everything: bool, output: str) -> None:
    """Show one trace as a waterfall of its spans.

    ID is its id or the beginning of it.
    """
    with caught_up_db(db, project) as store:
        spans = store.trace(project, trace_id) or store.trace(project, find_trace(store, project, trace_id, db))
    if output == "json":
        show_json([as_dict(each) for each in spans])
    elif output == "jsonl":
        show_rows([as_dict(each) for each in spans], output, lambda: waterfall(spans, ()), "")
    else:
        _show(spans, everything)


def _show(spans: Sequence[Span], everything: bool) -> None:
    screen = console()
    rows, left_out = rows_of(spans, everything=everything)
    whole_lines = not screen.is_terminal  # a program that reads along has no use for lines broken to a width
    screen.print(head(spans), soft_wrap=whole_lines)
    screen.print(waterfall(spans, rows))
    screen.print(totals(spans), soft_wrap=whole_lines)
    if any(map(is_uncounted, spans)):
        say(ASK_FOR_TOKENS)
    shown = sum(len(each.spans) for each in rows)
    if left_out:
        say(f"{left_out:,} more lines are left out. See every span with: tracewatch trace {spans[0].trace_id} --all")
    elif shown > len(rows):
        say(f"Equal spans are folded. See every span with: tracewatch trace {spans[0].trace_id} --all")


def find_trace(store: Store, project: str, given: str, db: str) -> str:
    """The full id of the trace that begins with `given`, a part of one. Raises NotFound or Ambiguous."""
    from tracewatch.stores.base import Filter

    # U+10FFFF is the last character there is: everything that begins with `given` sorts before it.
    prefixed = [
        Filter("project", "=", (project,)),
        Filter("trace_id", ">=", (given,)),
        Filter("trace_id", "<", (given + "\U0010ffff",)),
    ]
    found = {each.trace_id for each in store.page(Span, prefixed, limit=200).records if isinstance(each, Span)}
    if not found:
        hint = elsewhere(store, project) or "List the newest with: tracewatch traces"
        raise NotFound(what="trace", given=given, where=db, hint=hint)
    if len(found) > 1:
        raise Ambiguous(what="trace", given=given, count=len(found), some=", ".join(sorted(found)[:3]))
    return found.pop()


def _shorthand_filters(given: Mapping[str, Any]) -> Iterator[Filter]:
    from tracewatch.stores.base import Filter

    for name, each in SHORTHANDS.items():
        value = given[name.replace("-", "_")]
        if value not in (None, ()):
            yield Filter(each.column, each.operator, tuple(value) if each.several else (value,))


def _window(store: Store, project: str, since: str | None, until: str | None) -> list[Filter]:
    """The condition on the time; a duration goes back from the window's end."""
    from tracewatch.stores.base import Filter

    if not until:
        return [Filter("start_time", ">=", (parse_time(since),))] if since else []
    end = _end(store, project, until)
    filters = [Filter("start_time", ">=", (begin_of(since, until, end),))] if since else []
    return [*filters, Filter("start_time", "<", (end,))]


def _end(store: Store, project: str, until: str) -> float:
    from tracewatch.stores.base import Filter

    if until != "newest":
        return parse_time(until)
    reach = store.extent(Span, [Filter("project", "=", (project,))])
    # A window leaves out its own end, so it ends just after the newest call.
    return math.nextafter(reach[1], math.inf) if reach else time.time()


def _nothing(store: Store, project: str, db: str, filters: Sequence[Filter]) -> Iterator[str]:
    """Why no call matches, where that can be told: values that no call has."""
    from tracewatch.stores.measures import SLICES

    yield f"No call matches in {db} (project {project})."
    if there := elsewhere(store, project):
        yield there
        return
    words = {each.column: name.replace("-", " ") for name, each in SHORTHANDS.items()}
    for each in filters:
        if each.operator != "=" or each.name not in SLICES:
            continue
        known = [value for (value,) in values_of(store, project, each.name) if value]
        for given in each.values:
            if given is not None and given not in known:
                yield instead(words[each.name], str(given), known)


def _listing(spans: Sequence[Span]) -> Table:
    table = plain_table(_HEADINGS)
    for span in spans:
        table.add_row(
            show_time(span.start_time),
            safe(span.trace_id[:SHORT_ID]),
            safe(_type(span)),
            safe(span.model_provider),
            safe(span.model_name),
            number(span.input_tokens),
            number(span.output_tokens),
            cost_of(span),
            number(span.duration_ms, "ms"),
            f"[{STATUS_STYLES[span.status]}]{span.status}[/]",
            f"[dim]{safe(error_of(span))}[/]" if error_of(span) else "",
        )
    return table


def _type(span: Span) -> str | None:
    """The app's label or the kind of work; a message is another view of a call, and says so."""
    if span.source == MESSAGES_SOURCE:
        return "message"
    return span.usage_type or span.operation_type or span.span_name
