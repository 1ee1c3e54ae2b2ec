"""`tracewatch demo`: a real workload with incidents in it, judged, told in words, and shown in the browser."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sqlite3
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracewatch.cli import showing, watching
from tracewatch.cli.kept import SHORT_ID
from tracewatch.cli.output import SEVERITY_STYLES, console, counted, open_db, progress_bar, safe, say
from tracewatch.cli.times import show_time
from tracewatch.errors import DemoInDatabase, DemoOccupied, DemoWorkloadMissing
from tracewatch.records import SEVERITIES, Span
from tracewatch.stores.address import is_database, without_secrets
from tracewatch.stores.sqlite_schema import FOLDER, META

if TYPE_CHECKING:
    from rich.console import Console

    from tracewatch.cli.watching import Seen
    from tracewatch.records import Incident
    from tracewatch.stores.base import Store

DEFAULT_DB = "tracewatch-demo.db"
WORKLOAD = "workload.parquet"
SERVICE = "shop-assistant"  # the service of every row of the workload
MARK = "demo"
RECENT_S = 7 * 86_400.0  # older incidents are not explained by a pass, only when they are asked for
INDENT = "  "
SHOWN = 6  # incidents told in words: about one screen


@click.command(epilog="\b\nExamples:\n  tracewatch demo --db /tmp/demo.db\n  tracewatch demo --no-serve")
@click.option("--db", default=DEFAULT_DB, show_default=True, help="Where to keep the demo; made anew each time.")
@click.option(
    "--serve/--no-serve",
    "serves",
    default=None,
    help="Show it in the browser afterwards, until Ctrl+C.  [default: where somebody sits at a terminal]",
)
def demo(db: str, serves: bool | None) -> None:
    """See it work on a real workload with incidents in it.

    The workload is loaded, what is found is shown, and the dashboard opens at it. Without a terminal, as in CI, it says
    what it found and ends.
    """
    if is_database(db):
        raise DemoInDatabase(name=without_secrets(db))
    # Models without a price are said below, with counts; the pricing log would say them a second time.
    logging.getLogger("tracewatch").addHandler(logging.NullHandler())
    started, now = time.perf_counter(), time.time()
    with tempfile.TemporaryDirectory() as folder:
        moved = Path(folder) / WORKLOAD
        _move_times(_workload(), moved, now)
        _make_room(Path(db))
        with open_db(db, create=True) as store:
            _mark(db)
            _load(store, moved)
    with open_db(db) as store:
        seen = watching.look(store, "default", 0.0, time.time())
    recent = _tell(seen, db, time.perf_counter() - started)
    if serves if serves is not None else _is_somebody_there():
        showing.show(db, f"/incidents/{recent[0].id}" if recent else "/")


def _is_somebody_there() -> bool:
    """Whether a person sees what is printed, and can end it; where CI is set nobody does."""
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")


def _workload() -> Path:
    """The file as it lies in the installed package, or in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / WORKLOAD, package.parent.parent / "examples" / WORKLOAD):
        if place.exists():
            return place
    raise DemoWorkloadMissing(path=package / WORKLOAD)


def _make_room(path: Path) -> None:
    """Removes the database of an earlier demo. Raises DemoOccupied when it is anything else."""
    if not path.exists():
        return
    if not _is_a_demo(path):
        raise DemoOccupied(path=path)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _mark(db: str) -> None:
    """Says in the file itself that the demo made it, so that no other file is ever taken for one."""
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(f"INSERT INTO {META} (name, value) VALUES ('{MARK}', 1)")


def _is_a_demo(path: Path) -> bool:
    """Whether the demo made this file and nothing else has been put into it since."""
    marked = f"SELECT count(*) FROM {META} WHERE name = '{MARK}'"
    others = f"SELECT count(*) FROM {Span.table} WHERE service_name IS NOT ?"
    if Path(f"{path}{FOLDER}").exists():
        return False  # a demo is too small to be compacted
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            made_here = connection.execute(marked).fetchone() == (1,)
            return bool(made_here and connection.execute(others, (SERVICE,)).fetchone() == (0,))
    except sqlite3.Error:
        return False


def _move_times(workload: Path, target: Path, now: float) -> None:
    """Writes the workload with all times moved by the same span, so that the last call was a moment ago."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(workload)
    at = table.schema.get_field_index("start_time")
    newest_ms = pc.max(table["start_time"]).cast(pa.int64()).as_py()
    shift = pa.scalar(int(now * 1000) - 1000 - newest_ms, pa.duration("ms"))
    pq.write_table(table.set_column(at, "start_time", pc.add(table["start_time"], shift)), target)


def _load(store: Store, path: Path) -> None:
    from tracewatch import watch
    from tracewatch.imports import Step, import_file
    from tracewatch.pricing import PriceBook

    done = 0
    with progress_bar("Loading the calls", total=None) as advance:

        def progress(step: Step) -> None:
            nonlocal done
            advance(step.done - done)
            done = step.done

        loaded = import_file(path, store, kind="traces", book=PriceBook(), progress=progress)
    with progress_bar("Adding up hours and models", loaded.stored) as advance:
        watch.catch_up(store, progress=advance)
    say(f"Loaded 25 days of a shop assistant's LLM calls: {loaded.stored:,} spans by 10 models of 5 providers.")
    for model, rows in loaded.unpriced.items():
        say(f"No price is known for {model}: the cost of {counted(rows, 'call')} is empty, not zero.")


def _tell(seen: Seen, db: str, took_s: float) -> list[Incident]:
    """Says what was found, and gives the incidents of the last days, the worst first."""
    out = console()
    out.print(f"\n{_summary(seen)} Loaded and judged in {took_s:.0f} s.\n")
    for each in seen.rules:
        _print_told(out, each.severity, "rule", each.id, [each.description])
    recent = sorted(filter(partial(_is_recent, until=seen.until), seen.incidents), key=_rank)
    if recent:
        out.print("The last 7 days, the worst first:\n")
    for incident in recent[:SHOWN]:
        _print_incident(out, incident)
    _tell_what_next(recent, len(seen.incidents), db)
    return recent


def _summary(seen: Seen) -> str:
    """How many incidents there are, of what sort, and that a time was only learned from."""
    from tracewatch.judge import WARMUP_DAYS

    found = seen.incidents
    lasting = sum(each.state != "closed" for each in found)
    single = sum(each.kind == "point" for each in found)
    return (
        f"[bold]{counted(len(found), 'incident')} in {seen.analyzed:,} spans[/]: {lasting} still going on, {single} of "
        f"single slow calls. The first {WARMUP_DAYS:g} days are only learned from, and nothing is told of them."
    )


def _is_recent(incident: Incident, until: float) -> bool:
    """Whether it was going on in the last days; only these have been explained."""
    return incident.closed_at is None or incident.closed_at >= until - RECENT_S


def _rank(incident: Incident) -> tuple[int, bool, bool, float]:
    """The worst first; of the same severity single calls last, what is going on and what is newer before the rest."""
    single, closed = incident.kind == "point", incident.state == "closed"
    return -SEVERITIES.index(incident.severity), single, closed, -incident.started_at


def _print_incident(out: Console, incident: Incident) -> None:
    texts = [incident.title]
    # The first cause is the one that explains most.
    texts += [f"Why: {cause}." for cause in incident.contributing_factors[:1] if cause not in incident.title]
    _print_told(out, incident.severity, _state(incident), incident.id, texts)


def _state(incident: Incident) -> str:
    closed = incident.closed_at
    return incident.state if closed is None or incident.kind == "point" else f"closed at {show_time(closed)} UTC"


def _print_told(out: Console, severity: str, state: str, id: str, texts: Sequence[str]) -> None:
    """A heading, and indented below it what is to be said."""
    out.print(f"[{SEVERITY_STYLES[severity]}]{severity.upper()}[/] · {state} · {safe(id[:SHORT_ID])}")
    for text in texts:
        for line in textwrap.wrap(text, max(out.width - len(INDENT), 20), break_on_hyphens=False):
            out.print(f"{INDENT}{safe(line)}", soft_wrap=True)
    out.print()


def _tell_what_next(recent: Sequence[Incident], count: int, db: str) -> None:
    lines = [(f"all {count} incidents", "tracewatch incidents")]
    if recent:
        lines.append(("why, and what to do about it", f"tracewatch explain {recent[0].id[:SHORT_ID]}"))
    if recent and recent[0].trace_ids:
        lines.append(("one of its traces", f"tracewatch trace {recent[0].trace_ids[0]}"))
    lines.append(("everything that is watched", "tracewatch metrics"))
    out = console()
    out.print("Go deeper:")
    for why, command in lines:
        # The command on a line of its own: it can be copied whole, also from a narrow window.
        out.print(f"  [dim]{why}[/]\n    {safe(f'{_runnable(command)} --db {shlex.quote(db)}')}", soft_wrap=True)


def _runnable(command: str) -> str:
    """The command as it can be typed here: with its folder when it is not on the PATH."""
    found = shutil.which("tracewatch")
    own = Path(sys.argv[0])
    if found or own.name != "tracewatch":
        return command
    return command.replace("tracewatch", os.path.relpath(own), 1)
