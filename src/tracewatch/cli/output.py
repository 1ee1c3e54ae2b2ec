"""What every command shares: its options, its store, and how it prints."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracewatch import settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tracewatch.stores.base import Progress, Store

Command = TypeVar("Command", bound=Callable[..., Any])
SEVERITY_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "blue"}


def store_options(command: Command) -> Command:
    """Adds `--db` and `--project`, with their defaults from the environment."""
    given = settings.load()
    db = click.option("--db", default=given.db, show_default=True, help="Database file or address (TRACEWATCH_DB).")
    project = click.option(
        "--project", default=given.project, show_default=True, help="The project to look at (TRACEWATCH_PROJECT)."
    )
    return db(project(command))


def format_option(*formats: str) -> Callable[[Command], Command]:
    """Adds `--format`."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(formats or ("table", "json", "jsonl")),
        default="table",
        show_default=True,
        help="How to print it.",
    )


def open_db(db: str, *, create: bool = False) -> Store:
    """The store at an address, in the durability of the settings; `create` makes one that is not there.

    The usage database of an app becomes a store by being pointed at.
    """
    from tracewatch.stores import open_store

    return open_store(db, create=create or _is_usage_db(db), durability=settings.load().durability)


def _is_usage_db(db: str) -> bool:
    from tracewatch.imports import has_usage
    from tracewatch.stores.address import parse_address

    path = parse_address(db).path
    try:
        return os.path.isfile(path) and has_usage(path)
    except (sqlite3.Error, OSError):
        return False  # what is wrong with the file is said when it is opened


@contextmanager
def caught_up_db(db: str, project: str) -> Iterator[Store]:
    """The store at an address, brought up to date first: rows priced, rollups current; said when it was needed."""
    from tracewatch import watch

    with open_db(db) as store:
        with progress_bar("Catching up") as progress:
            caught_up = watch.catch_up(store, project=project, progress=progress)
        for sentence in caught_up.sentences():
            say(sentence)
        yield store


def console(*, stderr: bool = False) -> Console:
    """Where people read: as wide as the terminal, and wide enough for a table when there is none."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 160, highlight=False, soft_wrap=False)


def number(value: float | None, unit: str | None = None) -> str:
    """A number as people read it, with its unit; nothing for a number that is not there."""
    from tracewatch import words

    return "" if value is None else words.amount(value, unit)


def safe(text: str | None) -> str:
    """Text from outside, fit for the terminal: markup is shown, not obeyed, and control characters are dropped."""
    from rich.markup import escape

    return escape("".join(each if each.isprintable() else " " for each in text or ""))


def say(text: str) -> None:
    """One line for the person, on stderr so that it never mixes with the data."""
    click.echo(text, err=True)


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


def plain_table(headings: Iterable[str], *, right: Iterable[str] = ()) -> Table:
    """An empty table in the house's look; the columns named in `right` are set to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in set(right) else "left", overflow="fold")
    return table


@contextmanager
def progress_bar(text: str, total: float | None = None) -> Iterator[Progress]:
    """A bar on stderr while something long runs; call what it gives with how much more is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Shown on a terminal alone, and wiped when done: what was done is said in words afterwards.
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(text, total=total)
        yield lambda more: bar.advance(task, more)
