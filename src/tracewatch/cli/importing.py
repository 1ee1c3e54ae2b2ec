"""`tracewatch import`: outside data into the database, with a count of what came of it."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.cli.output import format_option, open_db, progress_bar, say, show_json, store_options
from tracewatch.errors import ImportRefused, TracewatchError
from tracewatch.records import MESSAGES_SOURCE, iso

if TYPE_CHECKING:
    from tracewatch.imports import Imported, Kind, Source, Step, Upgrade
    from tracewatch.pricing import PriceBook
    from tracewatch.stores import Store

DAY_S = 86_400  # the window that detect looks at by default
NAMED = 10  # models and columns named in full; a file has seldom more, and the JSON form has them all
KINDS = ("usage-db", "messages", "traces")
EXAMPLES = """
\b
Examples:
  tracewatch import traces.parquet --db watch.db           an export of llm_traces
  tracewatch import old/*.csv.gz --as messages             exports of a messages table
  tracewatch import usage.db --db watch.db                 what an app wrote into llm_usage
  tracewatch import usage.db --db usage.db                 the same in place: the app's file becomes the database
"""


@click.command("import", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option("--as", "kind", type=click.Choice(KINDS), help="What the files are, where their columns do not tell.")
@click.option("--rejects", type=click.Path(path_type=Path), help="Where refused rows go. [default: FILE.rejects.jsonl]")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Keep this text column in the metadata; repeatable.")
@store_options
@format_option("table", "json")
@click.pass_context
def import_(
    context: click.Context,
    files: tuple[Path, ...],
    kind: Kind | None,
    rejects: Path | None,
    keep: tuple[str, ...],
    db: str,
    project: str,
    output: str,
) -> None:
    """Brings rows from CSV, JSONL, Parquet or SQLite files into the database.

    Rows that are already there are left alone, so a file may be imported again. Rows that cannot be believed are
    refused one by one, with the reason, and kept in a file of their own; the rest goes in.
    """
    # Models without a price are said below, with counts; the pricing log would say them a second time.
    logging.getLogger("tracewatch").addHandler(logging.NullHandler())
    named = context.get_parameter_source("project") is not click.core.ParameterSource.DEFAULT
    chosen = project if named or project != settings.Settings().project else None
    sources, refused = _recognised(files, kind, db)
    imported: list[Imported | Upgrade] = []
    if sources:
        with open_db(db, create=True) as store:
            book = _book(store)
            for path, source in sources:
                try:
                    imported.append(_one(path, source, store, kind, chosen, rejects, keep, book))
                except ImportRefused as error:
                    refused.append(error)
            _settle(store, chosen or project)
    _tell(imported, refused, db, output)
    if refused:
        context.exit(1)


def _recognised(
    files: Sequence[Path], kind: Kind | None, db: str
) -> tuple[list[tuple[Path, Source | None]], list[TracewatchError]]:
    """The files that can be read, and why the others cannot: asked before a database is made. None is the database."""
    from tracewatch.imports import has_usage, is_store, recognise

    sources: list[tuple[Path, Source | None]] = []
    refused: list[TracewatchError] = []
    for path in files:
        try:
            if is_store(path, db):
                if not has_usage(path):
                    raise ImportRefused(path=path, why="it is the database itself, and has no table llm_usage")
                sources.append((path, None))
            else:
                sources.append((path, recognise(path, kind)[0]))
        except ImportRefused as error:
            refused.append(error)
    return sources, refused


def _book(store: Store) -> PriceBook:
    from tracewatch import watch
    from tracewatch.pricing import PriceBook

    return PriceBook(watch.overrides_of(store))


def _one(
    path: Path,
    source: Source | None,
    store: Store,
    kind: Kind | None,
    project: str | None,
    rejects: Path | None,
    keep: tuple[str, ...],
    book: PriceBook,
) -> Imported | Upgrade:
    from tracewatch.imports import import_file, upgrade

    if source is None:
        return upgrade(store, project=project, book=book)
    done = 0
    with progress_bar(f"{path.name} ({source.unit})", source.total) as advance:

        def progress(step: Step) -> None:
            nonlocal done
            advance(step.done - done)
            done = step.done

        return import_file(
            path, store, kind=kind, project=project, rejects=rejects, keep=keep, book=book, progress=progress
        )


def _settle(store: Store, project: str) -> None:
    """Rollups now, while the user expects to wait, rather than at the next command."""
    from tracewatch import watch

    with progress_bar("Counting into the hourly figures", store.pending()) as progress:
        watch.catch_up(store, project=project, progress=progress)


def _tell(imported: Sequence[Imported | Upgrade], refused: Sequence[TracewatchError], db: str, output: str) -> None:
    from tracewatch.imports import Imported

    files = [each for each in imported if isinstance(each, Imported)]
    following = _next(files, db) if imported else None
    if output == "json":
        show_json(_as_json(imported, refused, following))
        return
    for each in imported:
        for line in _sentences(each) if isinstance(each, Imported) else _upgraded(each):
            click.echo(line)
    for error in refused:
        say(f"tracewatch: {error}")
    if following:
        click.echo(f"Next: {following}")


def _sentences(imported: Imported) -> Iterator[str]:
    """What came of one file, for people."""
    yield f"{imported.path}: {imported.kind} in {imported.format}"
    yield (
        f"  {imported.read:,} rows read: {imported.stored:,} stored, {imported.already_there:,} already there, "
        f"{imported.refused_rows:,} refused"
    )
    if imported.already_there and not imported.stored:
        yield "  Nothing was added: every row that could be read is already in the database."
    for what, rows in sorted(imported.refused.items(), key=lambda each: -each[1]):
        yield f"  refused {rows:,}: {what}"
    if imported.rejects:
        yield f"  The refused rows, each with its reason, are in {imported.rejects}"
    if imported.naive_times:
        yield f"  {imported.naive_times:,} time stamps name no time zone and were taken as UTC."
    for model, rows in list(imported.unpriced.items())[:NAMED]:
        yield f"  No price is known for {model}: the cost of {rows:,} calls stays empty. See: tracewatch prices --help"
    if len(imported.unpriced) > NAMED:
        yield f"  … nor for {len(imported.unpriced) - NAMED:,} more models."
    if imported.in_metadata:
        yield f"  Kept in the metadata: {_some(imported.in_metadata)}"
    if imported.left_out:
        yield f"  Left out, as texts may be prompts or answers (--keep COLUMN keeps one): {_some(imported.left_out)}"


def _upgraded(upgrade: Upgrade) -> Iterator[str]:
    if upgrade.columns_added:
        yield f"The table llm_usage gained the columns {', '.join(upgrade.columns_added)}; every row was kept."
    yield f"{upgrade.rows_brought:,} rows of llm_usage came over; what the app writes from now on follows by itself."
    for what, rows in upgrade.refused.items():
        yield f"  {rows:,} stayed behind: {what}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _next(files: Sequence[Imported], db: str) -> str:
    """The command that looks at what has just come in, in the project and at the time where it lies."""
    words = ["tracewatch", "detect", "--db", db]
    largest = max(files, key=lambda each: sum(each.projects.values()), default=None)
    if largest and largest.projects:
        project = max(largest.projects, key=lambda name: largest.projects[name])
        words += ["--project", project] if project != settings.load().project else []
        words += ["--source", "messages"] if largest.kind == MESSAGES_SOURCE else []
    newest = max((each.newest for each in files if each.newest is not None), default=None)
    if newest is not None and newest < time.time() - DAY_S:
        words += ["--until", iso(int(newest) + 1).replace(".000Z", "Z")]
    return shlex.join(words)


def _as_json(
    imported: Sequence[Imported | Upgrade], refused: Sequence[TracewatchError], following: str | None
) -> dict[str, Any]:
    from tracewatch.imports import Imported

    files = [each for each in imported if isinstance(each, Imported)]
    return {
        "read": sum(each.read for each in files),
        "stored": sum(each.stored for each in files),
        "already_there": sum(each.already_there for each in files),
        "refused": sum(each.refused_rows for each in files),
        "files": [_file_as_json(each) for each in files],
        "upgrades": [dataclasses.asdict(each) for each in imported if not isinstance(each, Imported)],
        "errors": [str(error) for error in refused],
        "next": following,
    }


def _file_as_json(imported: Imported) -> dict[str, Any]:
    described = dataclasses.asdict(imported)
    times = {name: None if described[name] is None else iso(described[name]) for name in ("oldest", "newest")}
    return {**described, **times}
