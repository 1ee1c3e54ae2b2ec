"""The figures of a period."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from tracewatch.cli.output import (
    SEVERITY_STYLES,
    caught_up_db,
    console,
    counted,
    format_option,
    number,
    plain_table,
    safe,
    say,
    show_json,
    store_options,
)
from tracewatch.cli.seen import elsewhere
from tracewatch.cli.times import begin_of, parse_time, show_time
from tracewatch.records import Span
from tracewatch.stores.sketch import ACCURACY

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.overview import Overview, Totals
    from tracewatch.stores.base import Store

MOST_SHARES = 8  # lines of a breakdown; the rest is added up in one
_TITLES = {"model_provider": "provider", "usage_type": "usage type", "operation_type": "operation"}


@click.command(
    epilog="""
\b
Examples:
  tracewatch stats                        the last 24 hours
  tracewatch stats --since 30d
  tracewatch stats --until newest         the 24 hours before the newest call
"""
)
@store_options
@click.option("--since", default="24h", show_default=True, help="Where the period begins: 24h, 7d, 2026-03-02 …")
@click.option("--until", default="now", show_default=True, help="Where it ends; 'newest' is the newest call.")
@format_option("table", "json")
def stats(db: str, project: str, since: str, until: str, output: str) -> None:
    """Show calls, cost, latency and failures of a period.

    The rules that raise their hand are shown as well.
    """
    from tracewatch.overview import overview

    with caught_up_db(db, project) as store:
        end = _end(store, project, until)
        begin = begin_of(since, until, end)
        found = overview(store, project=project, since=begin, until=end)
        if output == "json":
            show_json(found.document())
            return
        _show(found)
        if not found.totals.calls:
            _say_where_the_calls_are(store, project, db, begin, end)


def _end(store: Store, project: str, until: str) -> float:
    from tracewatch import watch

    if until != "newest":
        return parse_time(until)
    newest = watch.newest(store, project=project)
    # A window leaves out its own end, so it ends just after the newest call.
    return time.time() if newest is None else newest + 0.001


def _show(found: Overview) -> None:
    out, all_calls = console(), found.totals
    out.print(f"{show_time(found.since)} to {show_time(found.until)} UTC\n")
    failed = all_calls.calls - all_calls.by_status["ok"]
    lines = {
        "calls": f"{all_calls.calls:,} in {counted(found.queries, 'trace')}, "
        f"{counted(found.conversations, 'conversation')}",
        "cost": f"{number(all_calls.cost_usd, 'USD')}{_coverage(all_calls)}",
        "today": f"{counted(found.today.calls, 'call')}, {number(found.today.cost_usd, 'USD')}",
        "latency": f"{number(all_calls.latency_ms, 'ms')} on average{_p95(all_calls)}",
        "not ok": f"{failed:,} ({number(all_calls.failed_share, 'share')}){_endings(all_calls)}",
    }
    if all_calls.latency_ms is None:
        lines["latency"] = "no call says how long it took"
    for name, text in lines.items():
        out.print(f"{name:<8} {text}")
    for each in found.fired:
        out.print(f"\n[{SEVERITY_STYLES[each.severity]}]{each.severity.upper()}[/] {safe(each.description)}")
    for name, title in _TITLES.items():
        if all_calls.calls and set(found.shares[name]) != {None}:
            out.print(_shares(title, found.shares[name]))
    if found.messages_left_out:
        left_out = counted(found.messages_left_out, "row")
        say(f"Left out: {left_out} of the messages source, which is the old view of the same calls.")


def _p95(found: Totals) -> str:
    """The 95th percentile; not where it is the mean, as of one call, but for what the sketch may be off."""
    mean, p95 = found.latency_ms, found.p95_latency_ms
    if mean is None or p95 is None or abs(p95 - mean) <= ACCURACY * mean:
        return ""
    return f", p95 {number(p95, 'ms')}"


def _coverage(found: Totals) -> str:
    from tracewatch.pricing import percent_down

    if found.priced_share is None or not found.unpriced_calls:
        return ""
    calls = counted(found.unpriced_calls, "call")
    return f" + unpriced ({percent_down(found.priced_share)} % of tokens priced; {calls} not)"


def _endings(found: Totals) -> str:
    parts = [f"{count:,} {status}" for status, count in found.by_status.items() if count and status != "ok"]
    return ": " + ", ".join(parts) if parts else ""


def _shares(title: str, shares: Mapping[str | None, Totals]) -> Table:
    numbers = ("calls", "cost", "tokens in", "tokens out", "average", "p95", "not ok")
    table = plain_table((title, *numbers), right=numbers)
    for value, part in list(shares.items())[:MOST_SHARES]:
        table.add_row(
            safe(value) or "[dim]none[/]",
            f"{part.calls:,}",
            number(part.cost_usd, "USD") + ("*" if part.unpriced_calls else ""),
            f"{part.input_tokens:,}",
            f"{part.output_tokens:,}",
            number(part.latency_ms, "ms"),
            number(part.p95_latency_ms if _p95(part) else part.latency_ms, "ms"),
            number(part.failed_share, "share"),
        )
    rest = len(shares) - MOST_SHARES
    if rest > 0:
        table.add_row(f"[dim]and {rest} more[/]", *[""] * len(numbers))
    return table


def _say_where_the_calls_are(store: Store, project: str, db: str, begin: float, end: float) -> None:
    from tracewatch.stores.base import Filter

    reach = store.extent(Span, [Filter("project", "=", (project,))])
    if reach is None:
        found = elsewhere(store, project) or f"Load something with: tracewatch import FILE --db {db}"
        say(f"No calls in {db} (project {project}) yet. {found}")
    elif not begin <= reach[1] < end:
        say(f"The newest call began at {show_time(reach[1])} UTC. See its day with: tracewatch stats --until newest")
