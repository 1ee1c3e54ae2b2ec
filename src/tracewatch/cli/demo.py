"""`tracewatch demo`: a real workload with incidents in it, loaded, judged, and told in words."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracewatch.cli.output import SEVERITY_STYLES, console, open_db, plain_table, progress_bar, safe, say
from tracewatch.errors import DemoOccupied, DemoWorkloadMissing
from tracewatch.records import SEVERITIES

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.records import Anomaly
    from tracewatch.stores.base import Store
    from tracewatch.watch import Detection

DEFAULT_DB = "tracewatch-demo.db"
WORKLOAD = "workload.parquet"
SERVICE = "shop-assistant"  # the service of every row of the workload: how the demo knows its own database
DAY_S = 86_400
SHOWN = 8  # groups of findings told in words


@click.command(epilog="\b\nExample:\n  tracewatch demo --db /tmp/demo.db")
@click.option("--db", default=DEFAULT_DB, show_default=True, help="Where to keep the demo; made anew each time.")
def demo(db: str) -> None:
    """Load a real workload with incidents in it, and show what is found."""
    from tracewatch import watch

    # Models without a price are said below, with counts; the pricing log would say them a second time.
    logging.getLogger("tracewatch").addHandler(logging.NullHandler())
    started = time.perf_counter()
    _make_room(Path(db))
    now = time.time()
    with open_db(db, create=True) as store, tempfile.TemporaryDirectory() as folder:
        moved = Path(folder) / WORKLOAD
        _move_times(_workload(), moved, now)
        _load(store, moved)
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


def _is_a_demo(path: Path) -> bool:
    from tracewatch.errors import TracewatchError
    from tracewatch.records import Span
    from tracewatch.stores.base import Filter

    try:
        with open_db(str(path)) as store:
            return not store.count(Span, [Filter("service_name", "!=", (SERVICE,))])
    except TracewatchError:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Findings of one type in one kind of call: what a person would call one thing."""

    findings: tuple[Anomaly, ...]

    @property
    def worst(self) -> Anomaly:
        """The finding that stands for the others."""
        return max(self.findings, key=lambda each: (SEVERITIES.index(each.severity), each.confidence_score))

    @property
    def weight(self) -> tuple[int, int]:
        """How much it deserves attention: by how bad the worst one is, then by how often it came."""
        return SEVERITIES.index(self.worst.severity), len(self.findings)


def _groups(findings: Sequence[Anomaly]) -> list[Group]:
    ordered = sorted(findings, key=_kind)
    groups = [Group(findings=tuple(each)) for _, each in groupby(ordered, key=_kind)]
    return sorted(groups, key=lambda each: each.weight, reverse=True)


def _kind(finding: Anomaly) -> tuple[str, str]:
    return finding.anomaly_type, str(finding.statistics.get("operation_type"))


def _tell(found: Detection, db: str, took_s: float) -> None:
    out, groups = console(), _groups(found.findings)
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
        times = [finding.occurred_at for finding in each.findings]
        table.add_row(
            words.label_of(worst.anomaly_type),
            f"{len(each.findings):,}",
            time.strftime("%a %H:%M", time.gmtime(min(times))),
            time.strftime("%a %H:%M", time.gmtime(max(times))),
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
        out.print(f"  {_runnable(command)} --db {db}   [dim]{why}[/]")


def _runnable(command: str) -> str:
    """The command as it can be typed here: with its folder when it is not on the PATH."""
    found = shutil.which("tracewatch")
    own = Path(sys.argv[0])
    if found or own.name != "tracewatch":
        return command
    return command.replace("tracewatch", os.path.relpath(own), 1)
