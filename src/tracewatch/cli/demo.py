"""`tracewatch demo`: a real workload with incidents in it, loaded, judged, and told in words."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracewatch.cli.output import SEVERITY_STYLES, console, open_db, plain_table, progress_bar, safe, say
from tracewatch.errors import DemoOccupied, DemoWorkloadMissing
from tracewatch.records import Span
from tracewatch.stores.sqlite_schema import META

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.findings import Group
    from tracewatch.stores.base import Store
    from tracewatch.watch import Detection

DEFAULT_DB = "tracewatch-demo.db"
WORKLOAD = "workload.parquet"
SERVICE = "shop-assistant"  # the service of every row of the workload
MARK = "demo"
DAY_S = 86_400
SHOWN = 8  # groups of findings told in words


@click.command(epilog="\b\nExample:\n  tracewatch demo --db /tmp/demo.db")
@click.option("--db", default=DEFAULT_DB, show_default=True, help="Where to keep the demo; made anew each time.")
def demo(db: str) -> None:
    """Load a real workload with incidents in it, and show what is found."""
    from tracewatch import watch

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
        found = watch.detect(store, project="default", since=now - DAY_S, until=now, now=now)
    _tell(found, db, time.perf_counter() - started)


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
        say(f"No price is known for {model}: the cost of {rows:,} calls is empty, not zero.")


def _tell(found: Detection, db: str, took_s: float) -> None:
    from tracewatch.findings import grouped

    out, groups = console(), grouped(found.findings)
    out.print(
        f"\n[bold]{found.detected:,} abnormal calls among {found.analyzed:,} of the last 24 hours[/], "
        f"in {len(groups)} groups; loaded and judged in {took_s:.0f} s.\n"
    )
    for each in found.rules:
        out.print(f"[{SEVERITY_STYLES[each.severity]}]{each.severity.upper()}[/]  {safe(each.description)}")
    out.print(_table(groups[:SHOWN]))
    if len(groups) > SHOWN:
        out.print(f"… and {len(groups) - SHOWN} smaller groups.\n")
    _tell_what_next(groups, db)


def _table(groups: Sequence[Group]) -> Table:
    from tracewatch import words

    table = plain_table(("what", "calls", "from", "to (UTC)", "worst", "the worst one in words"), right=("calls",))
    for each in groups:
        worst = each.worst
        first, last = each.period
        table.add_row(
            words.label_of(worst.anomaly_type),
            f"{len(each.findings):,}",
            time.strftime("%a %H:%M", time.gmtime(first)),
            time.strftime("%a %H:%M", time.gmtime(last)),
            f"[{SEVERITY_STYLES[worst.severity]}]{worst.severity}[/]",
            safe(worst.description),
        )
    return table


def _tell_what_next(groups: Sequence[Group], db: str) -> None:
    lines = []
    if groups:
        worst = groups[0].worst
        lines += [
            ("why, and what to do about it", f"tracewatch explain {worst.id[:12]}"),
            ("the very trace", f"tracewatch trace {worst.trace_id}"),
        ]
    lines += [
        ("every finding", "tracewatch anomalies"),
        ("calls, cost, latency and failures", "tracewatch stats"),
        ("the calls that failed", "tracewatch traces --status error --since 24h"),
    ]
    out = console()
    out.print("Go deeper:")
    for why, command in lines:
        out.print(f"  {_runnable(command)} --db {db}   [dim]{why}[/]", soft_wrap=True)


def _runnable(command: str) -> str:
    """The command as it can be typed here: with its folder when it is not on the PATH."""
    found = shutil.which("tracewatch")
    own = Path(sys.argv[0])
    if found or own.name != "tracewatch":
        return command
    return command.replace("tracewatch", os.path.relpath(own), 1)
