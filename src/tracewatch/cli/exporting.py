"""`tracewatch export`: what is stored as a file, for other tools and for another database."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import caught_up_db, progress_bar, say, store_options
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.times import window
from tracewatch.errors import OutputRefused

if TYPE_CHECKING:
    from tracewatch.stores.base import Filter

FORMATS = ("csv", "jsonl", "parquet")
EVERYTHING = "everything"
SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}


@click.command(
    epilog="""
\b
Examples:
  tracewatch export calls.parquet                    all calls
  tracewatch export failed.csv --since 7d --where status=error,timeout
  tracewatch export --what incidents | jq .title     JSON Lines to the terminal
  tracewatch export --what everything backup         a folder with all that is kept, of all projects
"""
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--format", "form", type=OneOf(FORMATS), help="How to write it. [default: by the file's name]")
@click.option(
    "--what", type=OneOf(("traces", "anomalies", "incidents", EVERYTHING)), default="traces", show_default=True,
    help="Which records.",
)  # fmt: skip
@click.option("--since", help="Only what began from then on: 24h, 7d, 2026-03-02 … [default: everything]")
@click.option("--until", help="Only what began before that.")
@click.option("--where", multiple=True, help="A condition on any field: name=value, name!=a,b or name>number.")
@store_options
@click.pass_context
def export(
    context: click.Context, file: Path | None, form: str | None, what: Any, since: str | None, until: str | None,
    where: tuple[str, ...], db: str, project: str,
) -> None:  # fmt: skip
    """Write what is stored as CSV, JSON Lines or Parquet.

    It goes to FILE, or to the terminal. A file appears when it is whole; `tracewatch import` reads it back. With --what
    everything FILE is a new folder: calls, findings, incidents, what people said and did, rules, channels, prices,
    projects and keys.
    """
    if what == EVERYTHING:
        _everything(context, file, form, db, project)
        return
    from tracewatch.exports import WHATS
    from tracewatch.exports import export as pieces_of

    chosen: Any = form or SUFFIXES.get(file.suffix.lower() if file else "", "jsonl" if file is None else None)
    if chosen is None:
        raise click.UsageError(f"The name {file} tells no format: add --format {', '.join(FORMATS)}.")
    if chosen == "parquet" and file is None:
        raise click.UsageError("Parquet is no text for a terminal: name a file.")
    with caught_up_db(db, project) as store:
        met = _conditions(what, project, since, until, where)
        total = store.count(WHATS[what], met)
        with progress_bar("Exporting", total) as progress:
            _write(file, pieces_of(store, what, chosen, met, progress))
    if file is not None:
        say(f"Wrote {total:,} {what if total != 1 else WHATS[what].noun} to {file}.")


def _everything(context: click.Context, folder: Path | None, form: str | None, db: str, project: str) -> None:
    from tracewatch.cli import archiving

    narrower = [name for name in ("since", "until", "where") if context.params[name]]
    if context.get_parameter_source("project") is click.core.ParameterSource.COMMANDLINE:
        narrower.append("project")
    if narrower:
        raise click.UsageError(f"Everything is of all projects and times: leave out --{narrower[0]}.")
    if folder is None:
        raise click.UsageError("Everything takes more than one file: name a folder that is not there yet.")
    if form == "csv":
        raise click.UsageError("CSV does not tell nothing from an empty text: choose parquet or jsonl.")
    with caught_up_db(db, project) as store:
        archiving.write(store, folder, "jsonl" if form == "jsonl" else "parquet")


def _conditions(what: Any, project: str, since: str | None, until: str | None, where: tuple[str, ...]) -> list[Filter]:
    from tracewatch.exports import WHATS
    from tracewatch.stores.base import Filter, parse_filter

    record_type = WHATS[what]
    met = [Filter("project", "=", (project,)), *(parse_filter(each, record_type) for each in where)]
    return met + window(record_type.newest_by, since, until)


def _write(file: Path | None, pieces: Iterable[bytes]) -> None:
    """Raises OutputRefused."""
    if file is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        return
    beside = file.with_name(f".{file.name}.part")
    try:
        with beside.open("wb") as out:
            for piece in pieces:
                out.write(piece)
        os.replace(beside, file)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OutputRefused(path=file, why=error.strerror) from error
