"""`tracewatch watch`: live detection beside a file that no server serves; each finding is a line as it comes."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.kept import SHORT_ID
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    WholeNumber,
    console,
    format_option,
    open_db,
    safe,
    say,
    show_json,
    store_options,
    to_type,
)
from tracewatch.cli.times import show_time
from tracewatch.records import Anomaly, Incident, as_dict

if TYPE_CHECKING:
    from tracewatch.errors import LeaseLost
    from tracewatch.live import Passed
    from tracewatch.records import Lease

DAY_S = 86_400.0
STATE_STYLES = {"open": "yellow", "growing": "red", "recovering": "cyan", "closed": "green"}


@click.command(
    epilog="""
\b
Examples:
  tracewatch watch --db watch.db                    beside the programs that write the file
  tracewatch watch --once --format jsonl            from cron: what is new since the last time
"""
)
@store_options
@click.option("--once", is_flag=True, help="Judge what has come, and end.")
@click.option(
    "--every",
    type=WholeNumber(1, 3600),
    default=5,
    show_default=True,
    help="Seconds between two looks at the latest; new calls are looked at as they come.",
)
@format_option("lines", "json", "jsonl")
def watch(db: str, project: str, once: bool, every: int, output: str) -> None:
    """Watch a database and print each finding as it comes.

    It goes on until Ctrl+C. One process watches a database at a time, a server included: others stand by, and take over
    within seconds when it ends or dies.
    """
    from tracewatch import live

    logging.basicConfig(format="tracewatch: %(message)s", level=logging.WARNING)
    with open_db(db, create=True):  # what is wrong with it is said before anything else
        pass
    stop = threading.Event()
    _stop_on_signals(stop)
    telling = _Telling(db, project, output, time.time(), once=once)
    teller = live.Teller(passed=telling.passed, took=telling.took, standing_by=telling.standing_by, lost=telling.lost)
    holder = live.this_process("tracewatch watch")
    live.keep_going(db, project, stop, holder=holder, every_s=float(every), teller=teller, once=once)
    telling.end()


def _stop_on_signals(stop: threading.Event) -> None:
    """The first Ctrl+C has what was learned kept; the second one ends it at once."""

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


class _Telling:
    """What is printed of what happens."""

    def __init__(self, db: str, project: str, output: str, started: float, *, once: bool) -> None:
        self.db, self.project, self.output, self.started, self.once = db, project, output, started, once
        self._screen = console()
        self._states: dict[str, str] = {}
        self._documents: list[dict[str, Any]] = []
        self._watched = False

    def took(self, lease: Lease) -> None:
        """That this process watches."""
        self._watched = True
        if self.once:
            say(f"Judging what has come to {self.db}.")
        else:
            say(f"Watching {self.db} (process {os.getpid()}). Stop with Ctrl+C.")

    def standing_by(self, lease: Lease) -> None:
        """That another process watches, since when."""
        say(
            f"Standing by: {lease.holder} watches {self.db} since {show_time(lease.taken_at)} UTC. "
            "It is taken over when that one ends or falls silent."
        )

    def lost(self, error: LeaseLost) -> None:
        """That another process has taken over."""
        say(f"Standing by: {error}.")

    def passed(self, passed: Mapping[str, Passed]) -> None:
        """What came of a round."""
        older = 0
        for name, each in passed.items():
            for found in each.new:
                if found.detected_at < self.started - DAY_S and self.output == "lines":
                    older += 1
                else:
                    self._tell_finding(name, found)
            for incident in each.incidents:
                self._tell_incident(name, incident)
        if older:
            were = "finding of the past was" if older == 1 else "findings of the past were"
            say(f"{older:,} {were} new; see them with: {to_type('incidents --since 30d')}")

    def end(self) -> None:
        """The last words."""
        if self.output == "json":
            show_json(self._documents)
        ended = "Done" if self.once else "Stopped"
        say(f"{ended}; what was learned is kept." if self._watched else f"{ended}.")

    def _tell_finding(self, project: str, found: Anomaly) -> None:
        if self.output != "lines":
            self._document("finding", as_dict(found))
            return
        style = SEVERITY_STYLES[found.severity]
        id_ = (found.incident_id or found.id)[:SHORT_ID]  # what `explain` has most to say of
        line = f"[{style}]{found.severity:<8}[/]  {id_}  {self._where(project)}{safe(found.description)}"
        self._line(found.detected_at, line)

    def _tell_incident(self, project: str, incident: Incident) -> None:
        """An incident that is in another state than when it was told last; that it opened, its finding tells."""
        before = self._states.get(incident.id, "open")
        self._states[incident.id] = incident.state
        if self.output != "lines":
            self._document("incident", as_dict(incident))
        elif incident.state != before and incident.updated_at >= self.started - DAY_S:
            style = STATE_STYLES[incident.state]
            again = "open again" if incident.state == "open" else incident.state
            line = f"[{style}]{again:<8}[/]  {incident.id[:SHORT_ID]}  {self._where(project)}{safe(incident.title)}"
            self._line(incident.updated_at, line)

    def _line(self, at: float, text: str) -> None:
        self._screen.print(f"{show_time(at)}  {text}", soft_wrap=True)

    def _where(self, project: str) -> str:
        return "" if project == self.project else f"{safe(project)}: "

    def _document(self, event: str, values: dict[str, Any]) -> None:
        document = {"event": event, **values}
        if self.output == "json":
            self._documents.append(document)
        else:
            click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False))
