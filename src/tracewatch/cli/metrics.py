"""Everything that is watched, and where it stands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.cli.output import (
    Heading,
    caught_up_db,
    format_option,
    number,
    plain_table,
    safe,
    say,
    show_rows,
    store_options,
)
from tracewatch.cli.seen import elsewhere
from tracewatch.cli.times import begin_of, parse_time, show_time
from tracewatch.errors import NotFound
from tracewatch.records import Span

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.metrics.current import Standing, Standings
    from tracewatch.stores.base import Store

MOST_OFFERS = 5  # named in one sentence
FAMILY = 3  # numbers of metadata whose names begin alike: so many of them are told in one line
SAID = ("ms", "s", "tokens/s", "tokens", "share", "USD", "score", "×")  # units that a label does not say already
ARROWS = {"up": "↑", "down": "↓", "either": "↕"}


@click.command(
    epilog="""
\b
Examples:
  tracewatch metrics                          everything the calls of the last 24 hours have
  tracewatch metrics --family cost --since 7d
  tracewatch metrics latency --all            by name, also those that no call records
  TRACEWATCH_METRICS=metadata.judge_score:down tracewatch metrics --family custom
"""
)
@click.argument("words", nargs=-1)
@store_options
@click.option("--since", default="24h", show_default=True, help="Where the period begins: 24h, 7d, 2026-03-02 …")
@click.option("--until", default="now", show_default=True, help="Where it ends; 'newest' is the newest call.")
@click.option("--family", help="Only these: latency, tokens, cost, cache, quality, failure, volume and so on.")
@click.option("--judged", is_flag=True, help="Only those that a detector judges.")
@click.option("--all", "everything", is_flag=True, help="Also those that no call records.")
@format_option()
def metrics(
    words: tuple[str, ...],
    db: str,
    project: str,
    since: str,
    until: str,
    family: str | None,
    judged: bool,
    everything: bool,
    output: str,
) -> None:
    """List what is watched, where it stands and who judges it.

    How far learning is, is shown as well. WORDS choose metrics whose name or label has one of them.
    """
    from tracewatch.metrics.current import standings
    from tracewatch.metrics.custom import parse

    customs = parse(settings.load().metrics)
    _check(family)
    with caught_up_db(db, project) as store:
        end = _end(store, project, until)
        begin = begin_of(since, until, end)
        found = standings(store, project, begin, end, customs)
        chosen = list(_chosen(found.metrics, words, family, judged=judged, everything=everything))
        shown, folded = (chosen, {}) if words or everything or output != "table" else _folded(chosen)
        show_rows([_document(each) for each in shown], output, lambda: _table(shown), _empty(found, words, db))
        if output == "table":
            _say_folded(folded)
            _say_what_was_read(found)
            _say_offers(found)
        if not found.calls:
            _say_where_the_calls_are(store, project, db, begin, end)


def _check(family: str | None) -> None:
    from typing import get_args

    from tracewatch.metrics.base import Family

    if family is not None and family not in get_args(Family):
        hint = f"There are: {', '.join(get_args(Family))}."
        raise NotFound(what="family", given=family, where="the metrics", hint=hint)


def _end(store: Store, project: str, until: str) -> float:
    from tracewatch import watch

    if until != "newest":
        return parse_time(until)
    newest = watch.newest(store, project=project)
    # A window leaves out its own end, so it ends just after the newest call.
    return time.time() if newest is None else newest + 0.001


def _chosen(
    found: Sequence[Standing], words: Sequence[str], family: str | None, *, judged: bool, everything: bool
) -> Iterator[Standing]:
    wanted = [word.casefold() for word in words]
    for each in found:
        names = f"{each.name} {each.metric.label}".casefold()
        if (
            (everything or each.values)
            and (family is None or each.metric.family == family)
            and (each.judges or not judged)
            and (not wanted or any(word in names for word in wanted))
        ):
            yield each


def _document(each: Standing) -> dict[str, Any]:
    metric, judges = each.metric, each.judges
    return {
        "metric": each.name,
        "label": metric.label,
        "help": metric.help,
        "family": metric.family,
        "grain": metric.grain,
        "unit": metric.unit,
        "bad": metric.bad,
        "formula": metric.formula,
        "by": metric.by or None,
        "latest": each.latest,
        "typical": each.typical,
        "values": each.values,
        "days": each.days,
        "state": each.state,
        "learning": each.learning,
        "told_as": judges.engine or None,
        "type": judges.type or None,
        "threshold": judges.threshold,
        "rule": judges.rule or None,
        "series": judges.series,
        "declarable": judges.declarable,
    }


def _table(chosen: Sequence[Standing]) -> Table:
    table = plain_table(
        [
            Heading(name="metric", rank=0, least=18),
            Heading(name="what", rank=5, least=12),
            Heading(name="bad", rank=4),
            Heading(name="latest", right=True, rank=1),
            Heading(name="typical", right=True, rank=0),
            Heading(name="values", right=True, rank=3),
            Heading(name="judged by", rank=2, least=10),
            Heading(name="learning", rank=2),
        ]
    )
    for each in chosen:
        unit = each.metric.unit if each.metric.unit in SAID else None
        table.add_row(
            safe(each.name),
            safe(each.metric.label),
            ARROWS[each.metric.bad],
            number(each.latest, unit),
            number(each.typical, unit),
            f"{each.values:,}" if each.values else "",
            _judged_by(each),
            each.learning,
        )
    return table


def _judged_by(each: Standing) -> str:
    judges = each.judges
    engine = "engine" if judges.engine == each.metric.key else f"engine, as {judges.engine}"
    kind = f"type {judges.type}" if judges.type else ""
    series = "hourly series" if judges.series else "once declared" if judges.declarable else ""
    own = "itself" if judges.itself else ""
    parts = [engine if judges.engine else "", kind, judges.rule, series, own]
    return "; ".join(part for part in parts if part)


def _empty(found: Standings, words: Sequence[str], db: str) -> str:
    if not found.calls:
        return f"No calls between {show_time(found.since)} and {show_time(found.until)} UTC in {db}."
    named = f" named like {' or '.join(words)}" if words else ""
    return f"No metric{named} has values in these calls. See all there are with: tracewatch metrics --all"


def _say_what_was_read(found: Standings) -> None:
    if found.cut:
        say(f"Measured on the newest {found.rows:,} of {found.calls:,} calls, from {show_time(found.since)} UTC on.")


def _say_offers(found: Standings) -> None:
    if not found.offers:
        return
    some = ", ".join(f"{each.name} (in {each.share:.0%} of calls)" for each in found.offers[:MOST_OFFERS])
    more = f" and {len(found.offers) - MOST_OFFERS} more" if len(found.offers) > MOST_OFFERS else ""
    say(f"Numbers you could watch too: {some}{more}. For example: TRACEWATCH_METRICS={found.offers[0].name}")


def _folded(chosen: Sequence[Standing]) -> tuple[list[Standing], dict[str, int]]:
    """Without the numbers of metadata that come in families, such as rate limits; and how many each family has."""
    families = Counter(family for each in chosen if (family := _family(each.name)))
    large = {family: count for family, count in families.items() if count >= FAMILY}
    return [each for each in chosen if _family(each.name) not in large], large


def _family(name: str) -> str:
    """What the names of entries of metadata that belong together begin with; empty for any other metric."""
    root, _, entry = name.partition(".")
    return f"{root}.{entry.partition('_')[0]}_" if root == "metadata" and "_" in entry else ""


def _say_folded(families: Mapping[str, int]) -> None:
    for family, count in families.items():
        say(f"Not shown: {count} metrics {family}…; see them with: tracewatch metrics {family}")


def _say_where_the_calls_are(store: Store, project: str, db: str, begin: float, end: float) -> None:
    from tracewatch.stores.base import Filter

    reach = store.extent(Span, [Filter("project", "=", (project,))])
    if reach is None:
        found = elsewhere(store, project) or f"Load something with: tracewatch import FILE --db {db}"
        say(f"No calls in {db} (project {project}) yet. {found}")
    elif not begin <= reach[1] < end:
        say(f"The newest call began at {show_time(reach[1])} UTC. See its day with: tracewatch metrics --until newest")
