"""`tracewatch import`: outside data into the database, with a count of what came of it."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.cli.output import counted, format_option, open_db, progress_bar, say, show_json, store_options, visible
from tracewatch.cli.suggesting import OneOf
from tracewatch.errors import ImportRefused, ImportStopped, StoreBusy, StoreUnwritable, TracewatchError
from tracewatch.records import MESSAGES_SOURCE, iso
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    from tracewatch.imports import Imported, Kind, Source, Step, Upgrade
    from tracewatch.pricing import PriceBook
    from tracewatch.stores import Store

NAMED = 10  # models and columns named in full; a file has seldom more, and the JSON form has them all
KINDS = ("usage-db", "messages", "traces")
STDIN = "standard input"
_ITSELF = "it is the database itself, and has no table llm_usage. Bring rows of another table into another --db"
EXAMPLES = """
\b
Examples:
  tracewatch import traces.parquet --db watch.db           an export of llm_traces
  tracewatch import old/*.csv.gz --as messages             exports of a messages table
  tracewatch import usage.db --db watch.db                 what an app wrote into llm_usage
  tracewatch import usage.db --db usage.db                 the same in place: the app's file becomes the database
  tracewatch import shop.db --table calls --db watch.db    a table of another name
  zcat old.csv.gz | tracewatch import - --db watch.db      what another program writes
  tracewatch import backup --db watch.db                   all that export --what everything has written
"""


@click.command("import", epilog=EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=click.Path(path_type=Path))
@click.option("--as", "kind", type=OneOf(KINDS), help="What the files are, where their columns do not tell.")
@click.option("--table", help="Which table of a SQLite file. [default: the one that has the columns of calls]")
@click.option("--rejects", type=click.Path(path_type=Path), help="Where refused rows go. [default: FILE.rejects.jsonl]")
@click.option("--keep", multiple=True, metavar="COLUMN", help="Keep this text column in the metadata; repeatable.")
@store_options
@format_option("table", "json")
@click.pass_context
def import_(
    context: click.Context,
    files: tuple[Path, ...],
    kind: Kind | None,
    table: str | None,
    rejects: Path | None,
    keep: tuple[str, ...],
    db: str,
    project: str,
    output: str,
) -> None:
    """Bring CSV, JSONL, Parquet or SQLite files into the database.

    Rows that are already there are left alone, so a file may be imported again. Rows that cannot be believed are
    refused one by one, with the reason, and kept in a file of their own; the rest goes in. FILE may be - for standard
    input, or a folder with everything of another database.
    """
    from tracewatch.cli import archiving

    named = context.get_parameter_source("project") is not click.core.ParameterSource.DEFAULT
    folder = archiving.only_archive(files, others=bool(kind or table or rejects or keep or named))
    if folder is not None:
        archiving.bring(folder, db, output)
        return
    # Models without a price are said below, with counts; the pricing log would say them a second time.
    logging.getLogger("tracewatch").addHandler(logging.NullHandler())
    _spare_memory()
    chosen = project if named or project != settings.Settings().project else None
    with ExitStack() as streams:
        wanted = _Wanted(kind=kind, table=table, project=chosen, keep=keep)
        inputs, refused = _inputs(files, wanted, db, rejects, streams)
        imported: list[Imported] = []
        if inputs:
            with open_db(db, create=True) as store:
                refused += _bring(inputs, store, imported, wanted)
                if not any(isinstance(each, ImportStopped) for each in refused):
                    refused += _settle(store, chosen or project)
    _tell(imported, refused, db, output)
    if refused:
        context.exit(1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """A file to import: the name the user gave it, where its bytes are, and as what; no source: the database itself."""

    name: str
    path: Path
    source: Source | None
    rejects: Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What the user asked for, for all files."""

    kind: Kind | None
    table: str | None
    project: str | None
    keep: tuple[str, ...]


def _spare_memory() -> None:
    """Has Arrow give memory back at once: its own pool keeps 100 MB more, and gains nothing here (measured)."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def _inputs(
    files: Sequence[Path], wanted: _Wanted, db: str, rejects: Path | None, streams: ExitStack
) -> tuple[list[_Input], list[TracewatchError]]:
    """The files that can be read, and why the others cannot: asked before a database is made."""
    inputs: list[_Input] = []
    refused: list[TracewatchError] = []
    for file in files:
        try:
            with _named(file):
                inputs.append(_input(file, wanted, db, rejects, streams))
        except ImportRefused as error:
            refused.append(error)
    return inputs, refused


def _input(file: Path, wanted: _Wanted, db: str, rejects: Path | None, streams: ExitStack) -> _Input:
    from tracewatch.imports import has_usage, is_store, is_stream, recognise, spooled

    name = _name(file)
    if is_stream(file):
        path = streams.enter_context(spooled(file))
        # Beside a pipe (/dev/fd/63) there is no place for a file; here there is.
        given = rejects or Path(f"{'stdin' if name == STDIN else file.name}.rejects.jsonl")
        return _Input(name=name, path=path, source=recognise(path, wanted.kind, wanted.table)[0], rejects=given)
    given = rejects or file.with_name(file.name + ".rejects.jsonl")
    if not is_store(file, db):
        return _Input(name=name, path=file, source=recognise(file, wanted.kind, wanted.table)[0], rejects=given)
    if not has_usage(file):
        raise ImportRefused(path=file, why=_ITSELF)
    return _Input(name=name, path=file, source=None, rejects=given)


def _name(file: Path) -> str:
    return STDIN if str(file) == "-" else str(file)


@contextmanager
def _named(file: Path | str) -> Iterator[None]:
    """Errors name the file as the user did, not where its bytes are for now."""
    try:
        yield
    except (ImportRefused, ImportStopped) as error:
        name = _name(file) if isinstance(file, Path) else file
        raise type(error)(**{**error.given, "path": name}) from error


def _book(store: Store) -> PriceBook:
    from tracewatch import watch
    from tracewatch.pricing import PriceBook

    return PriceBook(watch.overrides_of(store))


def _bring(inputs: Sequence[_Input], store: Store, imported: list[Imported], wanted: _Wanted) -> list[TracewatchError]:
    """Imports one after another into `imported`, and says what could not be. A store that gives up ends it."""
    book = _book(store)
    refused: list[TracewatchError] = []
    for each in inputs:
        try:
            with _named(each.name):
                imported.append(_one(each, store, wanted, book))
        except ImportRefused as error:
            refused.append(error)
        except ImportStopped as error:
            return [*refused, error]
    return refused


def _one(each: _Input, store: Store, wanted: _Wanted, book: PriceBook) -> Imported:
    from tracewatch.imports import import_file

    if each.source is None:
        return _in_place(each, store, wanted, book)
    done = 0
    with progress_bar(f"{Path(each.name).name} ({each.source.unit})", each.source.total) as advance:

        def progress(step: Step) -> None:
            nonlocal done
            advance(step.done - done)
            done = step.done

        return import_file(
            each.path,
            store,
            name=each.name,
            kind=wanted.kind,
            table=wanted.table,
            project=wanted.project,
            rejects=each.rejects,
            keep=wanted.keep,
            book=book,
            progress=progress,
        )


def _in_place(each: _Input, store: Store, wanted: _Wanted, book: PriceBook) -> Imported:
    from tracewatch.imports import upgrade, usage_project

    before = usage_project(store)
    if before is not None and wanted.project not in (None, before):
        why = (
            f"its rows went to the project '{before}' when it was first brought in, and new ones follow them there. "
            "Leave --project out, or import it into another --db"
        )
        raise ImportRefused(path=each.name, why=why)
    if wanted.keep:
        why = "in place its other columns stay where they are, in llm_usage. Leave --keep out, or use another --db"
        raise ImportRefused(path=each.name, why=why)
    return upgrade(store, project=wanted.project, book=book, rejects=each.rejects)


def _settle(store: Store, project: str) -> list[TracewatchError]:
    """Rollups now, while the user expects to wait, rather than at the next command. Gives what went wrong."""
    from tracewatch import watch

    try:
        with progress_bar("Counting into the hourly figures", store.pending()) as progress:
            watch.catch_up(store, project=project, progress=progress)
    except (StoreBusy, StoreUnwritable, ImportStopped) as error:
        return [error]
    return []


def _tell(imported: Sequence[Imported], refused: Sequence[TracewatchError], db: str, output: str) -> None:
    from tracewatch.imports import Upgrade

    following = _next(imported, db) if imported else None
    if output == "json":
        show_json(_as_json(imported, refused, following))
        return
    for each in imported:
        for line in _upgraded(each) if isinstance(each, Upgrade) else _sentences(each):
            click.echo(visible(line))
    for error in refused:
        say(f"tracewatch: {error}")
    if following:
        click.echo(visible(f"Next: {following}"))


def _sentences(imported: Imported) -> Iterator[str]:
    """What came of one file, for people."""
    yield f"{imported.path}: {imported.kind} in {imported.format}"
    yield (
        f"  {counted(imported.read, 'row')} read: {imported.stored:,} stored, "
        f"{imported.already_there:,} already there, {imported.refused_rows:,} refused"
    )
    if imported.already_there and not imported.stored:
        yield "  Nothing was added: every row that could be read is already in the database."
    yield from _reasons("refused", imported.refused)
    if imported.rejects:
        yield f"  The refused rows, each with its reason, are in {imported.rejects}"
    yield from _remarks(imported)
    if imported.in_metadata:
        yield f"  Kept in the metadata: {_some(imported.in_metadata)}"
    if imported.not_there:
        yield f"  Not kept, as no row had such a column: {_some(imported.not_there)}"
    if imported.left_out:
        yield f"  Left out, as texts may be prompts or answers (--keep COLUMN keeps one): {_some(imported.left_out)}"


def _reasons(word: str, refused: Mapping[str, int]) -> Iterator[str]:
    for what, rows in sorted(refused.items(), key=lambda each: -each[1]):
        yield f"  {word} {rows:,}: {what}"


def _remarks(imported: Imported) -> Iterator[str]:
    """What is to be known of the rows that went in."""
    if imported.naive_times:
        one = imported.naive_times == 1
        named = "names no time zone and was" if one else "name no time zone and were"
        yield f"  {counted(imported.naive_times, 'time stamp')} {named} taken as UTC."
    for model, rows in list(imported.unpriced.items())[:NAMED]:
        calls = counted(rows, "call")
        yield f"  No price is known for {model}: the cost of {calls} stays empty. See: tracewatch prices --help"
    if len(imported.unpriced) > NAMED:
        yield f"  … nor for {counted(len(imported.unpriced) - NAMED, 'more model')}."


def _upgraded(upgrade: Upgrade) -> Iterator[str]:
    if upgrade.columns_added:
        yield f"The table llm_usage gained the columns {', '.join(upgrade.columns_added)}; every row was kept."
    brought = counted(upgrade.rows_brought, "row")
    yield f"{brought} of llm_usage came over; what the app writes from now on follows by itself."
    behind = sum(upgrade.stayed_behind.values())
    if behind:
        since = f", {upgrade.refused_rows:,} of them now" if upgrade.refused_rows != behind else ""
        yield f"  {counted(behind, 'row')} of llm_usage stayed behind in all{since}; see {upgrade.rejects}"
        yield from _reasons("stayed behind", upgrade.stayed_behind)
    yield from _remarks(upgrade)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _next(imported: Sequence[Imported], db: str) -> str:
    """The command that looks at what has just come in, in the project and at the time where it lies."""
    words = ["tracewatch", "detect", "--db", db]
    largest = max(imported, key=lambda each: sum(each.projects.values()), default=None)
    if largest and largest.projects:
        project = max(largest.projects, key=lambda name: largest.projects[name])
        words += ["--project", project] if project != settings.load().project else []
        words += ["--source", "messages"] if largest.kind == MESSAGES_SOURCE else []
    newest = max((each.newest for each in imported if each.newest is not None), default=None)
    if newest is not None and newest < time.time() - DAY_S:
        words += ["--until", iso(int(newest) + 1).replace(".000Z", "Z")]
    return shlex.join(words)


def _as_json(imported: Sequence[Imported], refused: Sequence[TracewatchError], following: str | None) -> dict[str, Any]:
    from tracewatch.imports import Upgrade

    files = [each for each in imported if not isinstance(each, Upgrade)]
    upgrades = [each for each in imported if isinstance(each, Upgrade)]
    return {
        "read": sum(each.read for each in files),
        "stored": sum(each.stored for each in files),
        "already_there": sum(each.already_there for each in files),
        "refused": sum(each.refused_rows for each in files),
        "files": [_file_as_json(each) for each in files],
        "upgrades": [{**_file_as_json(each), "rows_brought": each.rows_brought} for each in upgrades],
        "errors": [str(error) for error in refused],
        "next": following,
    }


def _file_as_json(imported: Imported) -> dict[str, Any]:
    described = dataclasses.asdict(imported)
    times = {name: None if described[name] is None else iso(described[name]) for name in ("oldest", "newest")}
    return {**described, **times}
