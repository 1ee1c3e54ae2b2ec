"""Prices: which are used for what, how good they are, a project's own, and pricing anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import (
    caught_up_db,
    counted,
    format_option,
    number,
    open_db,
    plain_table,
    progress_bar,
    safe,
    say,
    show_json,
    show_rows,
    store_options,
    visible,
)
from tracewatch.cli.seen import elsewhere, instead, values_of
from tracewatch.cli.suggesting import Suggesting
from tracewatch.cli.times import parse_time, show_time, window
from tracewatch.errors import NotFound
from tracewatch.records import ANSWERED, MESSAGES_SOURCE, PriceOverride, Span, as_dict
from tracewatch.remarks import ASK_FOR_TOKENS, COUNTING_UNASKED

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.pricing import Difference, Money
    from tracewatch.stores.base import Filter, Store

_EMPTY = "There is no call in {db} (project {project}) yet. {instead}"
_LOAD = "Load something with: tracewatch import FILE --db {db}"


@click.group(
    cls=Suggesting,
    epilog="\b\nExamples:\n  tracewatch prices check\n  tracewatch prices set 'my-model.*' --input 1 --output 5",
)
def prices() -> None:
    """Show the prices that are used, set your own, price calls anew."""


@prices.command(epilog="\b\nExample:\n  tracewatch prices check --format json")
@store_options
@format_option()
def check(db: str, project: str, output: str) -> None:
    """Show where the price of every model comes from, or has none."""
    from tracewatch.pricing import STALE_AFTER_DAYS, coverage, table_age_days, table_version

    with caught_up_db(db, project) as store:
        seen = _seen(store, project)
        priceable = _models_priceable(store, project, seen)
        uncounted = _uncounted(store, project) if seen else {}
        empty = _EMPTY.format(db=db, project=project, instead=elsewhere(store, project) or _LOAD.format(db=db))
    age_days = table_age_days()
    summary = {
        "cost_usd": sum(each["cost_usd"] or 0.0 for each in seen),
        "tokens": sum(each["tokens"] for each in seen),
        "priced_tokens_percent": coverage(seen),
        "price_table": f"genai-prices {table_version()}",
        "price_table_age_days": round(age_days, 1),
        "price_table_stale": age_days > STALE_AFTER_DAYS,
    }
    if output == "json":
        show_json({**summary, "models": seen})
    else:
        show_rows(seen, output, lambda: _models_table(seen), empty)
    if output == "table":
        for sentence in _summed_up(summary, seen, priceable):
            say(sentence)
        if uncounted:
            count, models = sum(uncounted.values()), ", ".join(map(visible, uncounted))
            say(f"{counted(count, 'streamed call')} of {models} told no tokens. {ASK_FOR_TOKENS}")
    if summary["price_table_stale"]:
        say(
            f"The price table has had no news for {age_days:.0f} days, so newer models and prices may be missing. "
            "Update it with: pip install --upgrade genai-prices"
        )


@prices.command(
    epilog="""
\b
Examples:
  tracewatch prices reprice --dry-run                 what would change
  tracewatch prices reprice --model acme-1 --since 30d
  tracewatch prices reprice --all                     costs that callers reported, too
"""
)
@store_options
@click.option("--since", help="Only calls not older than this: 24h, 7d, 2026-03-02 …")
@click.option("--until", help="Only calls older than this.")
@click.option("--model", multiple=True, help="Only this model, as it was recorded.")
@click.option("--all", "everything", is_flag=True, help="Replace reported costs as well, where a price is known.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and write nothing.")
@format_option()
def reprice(
    db: str,
    project: str,
    since: str | None,
    until: str | None,
    model: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Price stored calls anew, each by the prices of its own day."""
    from tracewatch import watch
    from tracewatch.pricing import REPRICED_FROM, PriceBook, Repricing

    with caught_up_db(db, project) as store:
        where = _window(project, since, until, model)
        repricing = Repricing(PriceBook(watch.overrides_of(store, project), believe_reported=not everything))
        with progress_bar("Pricing", store.count(Span, where)) as progress:
            for batch in store.scan(Span, REPRICED_FROM, where):
                changes = repricing.changes(batch)
                if changes and not dry_run:
                    store.annotate_all(Span, changes)
                progress(batch.num_rows)
        if not dry_run:
            store.roll_up()
    changed = {name: each for name, each in sorted(repricing.models.items()) if each.changed}
    rows = [{"model": name, **each.as_row()} for name, each in changed.items()]
    show_rows(rows, output, lambda: _changes_table(changed), "")
    say(_outcome(repricing.whole, db, project, model, dry_run))


@prices.command(
    "set",
    epilog="""
\b
Examples:
  tracewatch prices set acme-1 --input 2 --output 8
  tracewatch prices set 'acme-.*' --input 1.5 --output 6 --provider acme --from 2026-03-01
""",
)
@click.argument("pattern")
@store_options
@click.option("--input", "input_usd", type=float, required=True, help="USD per million fresh input tokens.")
@click.option("--output", "output_usd", type=float, required=True, help="USD per million output tokens.")
@click.option("--cache-read", type=float, help="USD per million input tokens read from cache  [default: as --input]")
@click.option("--cache-write", type=float, help="USD per million input tokens written to cache  [default: as --input]")
@click.option("--from", "since", help="The price holds from here on  [default: from ever on]")
@click.option("--until", help="The price holds until here  [default: for good]")
@click.option("--provider", help="Only for this provider  [default: any]")
def set_(
    pattern: str,
    db: str,
    project: str,
    input_usd: float,
    output_usd: float,
    cache_read: float | None,
    cache_write: float | None,
    since: str | None,
    until: str | None,
    provider: str | None,
) -> None:
    """Set a price for every model whose name matches PATTERN.

    PATTERN is a regular expression that the whole name has to match.
    """
    from tracewatch.pricing import checked

    override = PriceOverride(
        project=project,
        pattern=pattern,
        starts_at=parse_time(since) if since else 0.0,
        ends_at=parse_time(until) if until else None,
        model_provider=provider,
        input_per_million=input_usd,
        output_per_million=output_usd,
        cache_read_per_million=cache_read,
        cache_write_per_million=cache_write,
    )
    checked(override)
    with open_db(db, create=True) as store:
        store.put([override])
        hint = _unmatched(store, override)
    say(f"Set the price of '{pattern}' in {db} (project {project}). It holds for calls to come.")
    say(hint or "Price the stored ones anew with: tracewatch prices reprice")


@prices.command("list")
@store_options
@format_option()
def list_(db: str, project: str, output: str) -> None:
    """List the project's own prices."""
    from tracewatch import watch

    with open_db(db) as store:
        overrides = watch.overrides_of(store, project)
    empty = f"The project {project} has no prices of its own in {db}. Set one with: tracewatch prices set PATTERN …"
    show_rows([as_dict(each) for each in overrides], output, lambda: _overrides_table(overrides), empty)


@prices.command()
@click.argument("pattern")
@store_options
@click.option("--from", "since", help="Only the price that begins then  [default: all of this pattern]")
def remove(pattern: str, db: str, project: str, since: str | None) -> None:
    """Remove the project's own price of PATTERN."""
    from tracewatch.stores.base import Filter

    where = [Filter("project", "=", (project,)), Filter("pattern", "=", (pattern,))]
    if since:
        where.append(Filter("starts_at", "=", (parse_time(since),)))
    with open_db(db) as store:
        removed = store.remove(PriceOverride, where)
    if not removed:
        hint = "See which there are with: tracewatch prices list"
        raise NotFound(what="price", given=pattern, where=f"{db} (project {project})", hint=hint)
    say(f"Removed {counted(removed, 'price')} of '{pattern}'. Price stored calls anew with: tracewatch prices reprice")


def _window(project: str, since: str | None, until: str | None, models: tuple[str, ...]) -> list[Filter]:
    from tracewatch.stores.base import Filter

    where = [Filter("project", "=", (project,))]
    where += window("start_time", since, until)
    where += [Filter("model_name", "=", models)] if models else []
    return where


def _seen(store: Store, project: str) -> list[dict[str, Any]]:
    """Every model in the store with its price.

    Messages are another view of the same calls, and stand here only where there is nothing else.
    """
    from tracewatch.pricing import SURVEYED_FROM, survey
    from tracewatch.stores.base import Filter

    ours = Filter("project", "=", (project,))
    calls = [ours, Filter("source", "!=", (MESSAGES_SOURCE,))]
    return survey(store.scan(Span, SURVEYED_FROM, calls)) or survey(store.scan(Span, SURVEYED_FROM, [ours]))


def _uncounted(store: Store, project: str) -> Counter[str]:
    """Streams without tokens by model, of providers that count only what they are asked to."""
    from tracewatch.stores.base import Filter

    where = [
        Filter("project", "=", (project,)),
        Filter("cost_status", "=", ("unmetered",)),
        Filter("streaming_enabled", "=", (True,)),
        Filter("status", "=", ANSWERED),
        Filter("model_provider", "!=", tuple(COUNTING_UNASKED)),
    ]
    batches = store.scan(Span, ("model_name",), where)
    return Counter(each for batch in batches for each in batch["model_name"].to_pylist() if each)


def _models_priceable(store: Store, project: str, seen: Sequence[Mapping[str, Any]]) -> list[str]:
    """The models with calls that have no price yet, but would have one if they were priced anew."""
    from tracewatch import watch
    from tracewatch.pricing import REPRICED_FROM, PriceBook, Repricing
    from tracewatch.stores.base import Filter

    if all(each["cost_status"] != "unpriced" for each in seen):
        return []
    repricing = Repricing(PriceBook(watch.overrides_of(store, project)))
    for batch in store.scan(
        Span, REPRICED_FROM, [Filter("project", "=", (project,)), Filter("cost_status", "=", ("unpriced",))]
    ):
        repricing.changes(batch)
    return sorted(name for name, change in repricing.models.items() if change.after.known)


def _unmatched(store: Store, override: PriceOverride) -> str | None:
    """What to say of a price that is for no call in the store; None when there are such calls, or none at all."""
    if store.pending():
        return None  # the rollups, which know the models, have not been brought up to date
    seen = [(who, name) for who, name in values_of(store, override.project, "model_provider", "model_name") if name]
    if not seen or any(_prices(override, who, name) for who, name in seen):
        return None
    providers = list(dict.fromkeys(who for who, _ in seen if who))
    named = [name for who, name in seen if name and override.model_provider in (None, who)]
    if not named:
        return instead("provider", str(override.model_provider), providers)
    of = f" of {override.model_provider}" if override.model_provider else ""
    return instead(f"model{of}", override.pattern, named)


def _prices(override: PriceOverride, provider: str | None, model: str | None) -> bool:
    """Whether it is the price of such a call, asked of the price book so that there is one rule for it."""
    from tracewatch.pricing import PriceBook, price_span

    call = Span(
        project=override.project,
        trace_id="any",
        span_id="any",
        start_time=override.starts_at,
        model_provider=provider,
        model_name=model,
        input_tokens=1,
    )
    return price_span(call, PriceBook((override,))).cost_status == "override"


def _summed_up(
    summary: Mapping[str, Any], seen: Sequence[Mapping[str, Any]], priceable: Sequence[str]
) -> Iterator[str]:
    if summary["priced_tokens_percent"] is not None:
        yield f"{number(summary['cost_usd'], 'USD')}, {summary['priced_tokens_percent']} % of tokens priced."
    without = {each["model_name"] or "(no model)" for each in seen if each["cost_status"] == "unpriced"}
    unpriced = sorted(without - set(priceable))
    if priceable:
        yield f"Known by now: the price of {', '.join(priceable)}. Price stored calls with: tracewatch prices reprice"
    if unpriced:
        yield f"Without a price: {', '.join(unpriced)}. Set one with: tracewatch prices set PATTERN …"
    if any(each["cost_status"] is None for each in seen):
        yield "Some calls are not priced yet. Price them with: tracewatch prices reprice"
    yield f"Prices: {summary['price_table']}, newest price {summary['price_table_age_days']:.0f} days old."


def _outcome(whole: Difference, db: str, project: str, models: tuple[str, ...], dry_run: bool) -> str:
    if not whole.calls:
        of = f" of {', '.join(models)}" if models else " in this window"
        return f"There is no call{of} in {db} (project {project}). See the models with: tracewatch prices check"
    money = f"{_told(whole.before)} before, {_told(whole.after)} after"
    if dry_run:
        return f"{whole.changed:,} of {counted(whole.calls, 'call')} would change: {money}. Nothing was written."
    return f"Changed {whole.changed:,} of {counted(whole.calls, 'call')}: {money}."


def _told(money: Money) -> str:
    """An amount for people; what is not known is never 0."""
    if money.sum_usd is None:
        return "unknown" if money.unknown else "no cost"
    return number(money.usd, "USD") + (f" ({counted(money.unknown, 'call')} unknown)" if money.unknown else "")


def _models_table(seen: Sequence[Mapping[str, Any]]) -> Table:
    table = plain_table(
        ("provider", "model", "calls", "tokens", "cost", "status", "source"), right=("calls", "tokens", "cost")
    )
    for each in seen:
        unpriced = each["cost_status"] == "unpriced"
        status = each["cost_status"] or "not priced yet"
        table.add_row(
            safe(each["model_provider"]),
            safe(each["model_name"] or "(no model)"),
            number(each["calls"]),
            number(each["tokens"]),
            "no price" if unpriced else number(each["cost_usd"], "USD"),
            f"[yellow]{status}[/]" if unpriced else safe(status),
            safe(each["cost_source"]),
        )
    return table


def _changes_table(models: Mapping[str, Difference]) -> Table:
    table = plain_table(("model", "calls", "changed", "before", "after"), right=("calls", "changed", "before", "after"))
    for name, each in models.items():
        counts = number(each.calls), number(each.changed)
        table.add_row(safe(name or "(no model)"), *counts, _told(each.before), _told(each.after))
    return table


def _overrides_table(overrides: Sequence[PriceOverride]) -> Table:
    headings = ("pattern", "provider", "input", "output", "cache read", "cache write", "from", "until")
    table = plain_table(headings, right=("input", "output", "cache read", "cache write"))
    for each in overrides:
        table.add_row(
            safe(each.pattern),
            safe(each.model_provider or "any"),
            f"{each.input_per_million:g}",
            f"{each.output_per_million:g}",
            "" if each.cache_read_per_million is None else f"{each.cache_read_per_million:g}",
            "" if each.cache_write_per_million is None else f"{each.cache_write_per_million:g}",
            show_time(each.starts_at) if each.starts_at > 0 else "",
            show_time(each.ends_at),
        )
    return table
