"""What every command shares: its options, its store, and how it prints."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tracewatch import settings
from tracewatch.cli.suggesting import OneOf
from tracewatch.stores.address import file_of, without_secrets

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tracewatch.cli.tables import FittingTable
    from tracewatch.stores.base import Progress, Store

Command = TypeVar("Command", bound=Callable[..., Any])
PIPED_WIDTH = 160  # characters of a line where there is no terminal and COLUMNS does not say: room for every column
SEVERITY_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "blue"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The head of a table's column, and what becomes of the column where the window is narrow."""

    name: str
    right: bool = False
    """Numbers stand to the right, and are never shortened."""
    rank: int | None = None
    """The highest goes first, 0 never; by default those further to the right go first, and long texts never."""
    least: int | None = None
    """To how many characters a text may be shortened; by default it is wrapped between words, and short ones stay."""
    optional: bool = False
    """Whether the column is left out when no row has anything in it."""


class WholeNumber(click.IntRange):
    """A whole number between two others."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number in a text; anything else is refused in a sentence that says what would do."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"'{value}' is not a whole number from {self.min:,} to {self.max:,}.", param, ctx)


def store_options(command: Command) -> Command:
    """Adds `--db` and `--project`, with their defaults from the environment."""
    given = settings.load()
    shown = without_secrets(given.db)
    db = click.option(
        "--db",
        default=given.db,
        show_default=True if shown == given.db else shown,
        help="Database file or address (TRACEWATCH_DB).",
    )
    project = click.option(
        "--project", default=given.project, show_default=True, help="The project to look at (TRACEWATCH_PROJECT)."
    )
    return db(project(command))


def format_option(*formats: str) -> Callable[[Command], Command]:
    """Adds `--format`."""
    return click.option(
        "--format",
        "output",
        type=OneOf(formats or ("table", "json", "jsonl")),
        default=formats[0] if formats else "table",
        show_default=True,
        help="How to print it.",
    )


def open_db(db: str, *, create: bool = False) -> Store:
    """The store at an address, in the durability of the settings; `create` makes one that is not there."""
    from tracewatch.stores import open_store

    return open_store(db, create=create, durability=settings.load().durability)


def _is_usage_db(db: str) -> bool:
    from tracewatch.imports import has_usage

    path = file_of(db)
    try:
        return path is not None and os.path.isfile(path) and has_usage(path)
    except (sqlite3.Error, OSError):
        return False  # what is wrong with the file is said when it is opened


@contextmanager
def caught_up_db(db: str, project: str) -> Iterator[Store]:
    """The store at an address, brought up to date first: rows priced, rollups current; said when it was needed.

    The usage database of an app becomes a store by being pointed at.
    """
    from tracewatch import watch

    with open_db(db, create=_is_usage_db(db)) as store:
        with progress_bar("Catching up") as progress:
            caught_up = watch.catch_up(store, project=project, progress=progress)
        for sentence in caught_up.sentences():
            say(sentence)
        yield store


def console(*, stderr: bool = False) -> Console:
    """Where people read: as wide as the terminal, and wide enough for a table when there is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _columns() or PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def _columns() -> int | None:
    """How many characters a line has, as the environment says."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isascii() and given.isdigit() and int(given) else None


def number(value: float | None, unit: str | None = None) -> str:
    """A number as people read it, with its unit; nothing for a number that is not there."""
    from tracewatch import words

    return "" if value is None else words.amount(value, unit)


def counted(count: int, noun: str) -> str:
    """So many of them, to the last one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def safe(text: str | None) -> str:
    """Text from outside, fit for the terminal: markup is shown, not obeyed, and control characters are dropped."""
    from rich.markup import escape

    return escape("".join(each if each.isprintable() else " " for each in text or ""))


def visible(text: str) -> str:
    """Text without the control characters that a terminal would obey; lines stay lines."""
    return "".join(each if each.isprintable() or each == "\n" else " " for each in text)


def say(text: str) -> None:
    """One line for the person, on stderr so that it never mixes with the data."""
    click.echo(visible(without_secrets(text)), err=True)


def to_type(words: str) -> str:
    """The command to type next: with the database and the project that were named with this one."""
    named: dict[str, str] = {}
    context = click.get_current_context(silent=True)
    while context is not None:
        for name in ("db", "project"):
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                named.setdefault(name, context.params[name])
        context = context.parent  # options before a verb count for it as well
    return f"tracewatch {words}" + "".join(f" --{name} {shlex.quote(named[name])}" for name in sorted(named))


def show_json(value: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def show_rows(rows: Sequence[Mapping[str, Any]], output: str, table: Callable[[], Table], empty: str) -> None:
    """Rows as a table, a JSON array or one JSON object a line; `empty` is said when there are none."""
    if output == "json":
        show_json(list(rows))
    elif output == "jsonl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False, allow_nan=False))
    elif rows:
        console().print(table())
    if not rows:
        say(empty)


def plain_table(headings: Iterable[str | Heading], *, right: Iterable[str] = ()) -> FittingTable:
    """An empty table in the house's look; the columns named in `right` are numbers, set to the right."""
    from tracewatch.cli.tables import FittingTable

    numbers = set(right)
    return FittingTable(
        [each if isinstance(each, Heading) else Heading(name=each, right=each in numbers) for each in headings]
    )


@contextmanager
def progress_bar(text: str, total: float | None = None) -> Iterator[Progress]:
    """A bar on stderr while something long runs; call what it gives with how much more is done."""
    if not sys.stderr.isatty():  # nobody watches, and to load the bar takes a tenth of a second
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Wiped when done: what was done is said in words afterwards.
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=total)
        yield lambda more: bar.advance(task, more)
