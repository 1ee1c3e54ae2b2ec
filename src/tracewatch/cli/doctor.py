"""Is everything in order? One line per check, and what to do where it is not."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import click

from tracewatch.cli.output import console, counted, format_option, open_db, safe, show_json, store_options
from tracewatch.cli.times import show_time
from tracewatch.errors import TracewatchError
from tracewatch.records import Followed, Span

if TYPE_CHECKING:
    from tracewatch.stores.base import Store

Verdict = Literal["ok", "warning", "problem"]
MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "problem": "[red]✗[/]"}
LIBRARIES = ("numpy", "pyarrow", "adbc-driver-sqlite", "genai-prices", "click", "rich")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


@click.command(epilog="\b\nExample:\n  tracewatch doctor --db watch.db")
@store_options
@format_option("table", "json")
def doctor(db: str, project: str, output: str) -> None:
    """Check the installation and the database.

    The exit code is 1 when something is broken.
    """
    checks = [*_installation(), *_prices(), *_database(db, project)]
    if output == "json":
        rows = [{"what": c.what, "verdict": c.verdict, "found": c.found, "advice": c.advice} for c in checks]
        show_json(rows)
    else:
        for each in checks:
            console().print(f"{MARKS[each.verdict]} {each.what:<14} {safe(each.found)}", soft_wrap=True)
            if each.advice:
                console().print(f"  {'':<14} {safe(each.advice)}", soft_wrap=True)
    if any(each.verdict == "problem" for each in checks):
        raise SystemExit(1)


def _installation() -> Iterator[Check]:
    yield Check(what="tracewatch", verdict="ok", found=f"{version('tracewatch')} on Python {platform.python_version()}")
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        advice = "Install them with: pip install 'tracewatch[server]'"
        yield Check(what="libraries", verdict="problem", found=f"missing: {', '.join(missing)}", advice=advice)
    else:
        yield Check(what="libraries", verdict="ok", found=", ".join(found))


def _prices() -> Iterator[Check]:
    from tracewatch import pricing

    age_days = pricing.table_age_days(time.time())
    found = f"table genai-prices {pricing.table_version()}, newest price {age_days:.0f} days old"
    if age_days > pricing.STALE_AFTER_DAYS:
        advice = "New models may lack a price. Update with: pip install --upgrade genai-prices"
        yield Check(what="prices", verdict="warning", found=found, advice=advice)
    else:
        yield Check(what="prices", verdict="ok", found=found)


def _database(db: str, project: str) -> Iterator[Check]:
    try:
        with open_db(db) as store:
            about = store.describe()
            yield Check(what="database", verdict="ok", found=", ".join(f"{k} {v}" for k, v in about.items()))
            yield from _contents(store, project)
            yield from _followed(store)
            broken = store.verify()
            if broken:
                advice = "Copy what can be read to a new file with: sqlite3 OLD .recover | sqlite3 NEW"
                yield Check(what="integrity", verdict="problem", found=broken, advice=advice)
            else:
                yield Check(what="integrity", verdict="ok", found="every page is sound")
    except TracewatchError as error:
        yield Check(what="database", verdict="problem", found=str(error))


def _followed(store: Store) -> Iterator[Check]:
    for each in store.page(Followed).records:
        assert isinstance(each, Followed)
        found = f"{each.name}: {counted(each.rows, 'call')}, last at {show_time(each.updated_at)} UTC"
        if each.problem:
            yield Check(what="following", verdict="warning", found=each.problem, advice=found)
        else:
            yield Check(what="following", verdict="ok", found=found)


def _contents(store: Store, project: str) -> Iterator[Check]:
    from tracewatch.stores.base import Filter

    ours = [Filter("project", "=", (project,))]
    calls = store.count(Span, ours)
    reach = store.extent(Span, ours)
    if reach is None:
        advice = "Load something with: tracewatch import FILE"
        yield Check(what="calls", verdict="warning", found=f"none in project {project}", advice=advice)
        return
    oldest, newest = (show_time(each) for each in reach)
    yield Check(what="calls", verdict="ok", found=f"{calls:,} in project {project}, {oldest} to {newest} UTC")
    unpriced = store.count(Span, [*ours, Filter("cost_status", "=", ("unpriced",))])
    if unpriced:
        advice = "See which models with: tracewatch prices check"
        yield Check(what="cost", verdict="warning", found=f"{counted(unpriced, 'call')} without a price", advice=advice)
    yield _detection(store, project)
    waiting = store.pending()
    if waiting:
        advice = "The next command that shows totals reads them by itself"
        yield Check(what="totals", verdict="ok", found=f"{counted(waiting, 'call')} not counted yet", advice=advice)


def _detection(store: Store, project: str) -> Check:
    from tracewatch.live.pulse import pulse

    now = pulse(store, project, time.time())
    until = f", calls judged up to {show_time(now.judged_until)} UTC" if now.judged_until is not None else ""
    late = f", {now.late:,} came too late" if now.late else ""
    if now.state == "unwatched":
        advice = "Findings come by themselves while one of these runs: tracewatch serve, tracewatch watch"
        return Check(what="detection", verdict="warning", found=f"nobody watches{until}{late}", advice=advice)
    found = f"{now.holder} watches{until}{late}"
    if now.state == "behind":
        advice = "It catches up by itself where the machine has the time; import large histories in quiet hours"
        found += f", {now.behind_s / 60:,.0f} min behind with {counted(now.waiting, 'row')} to read"
        return Check(what="detection", verdict="warning", found=found, advice=advice)
    return Check(what="detection", verdict="ok", found=found)
