"""`tracewatch copy`: a whole database into another one, of the same kind or not."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import (
    caught_up_db,
    console,
    counted,
    format_option,
    open_db,
    plain_table,
    progress_bar,
    say,
    show_json,
)
from tracewatch.errors import CopyRefused, CopyUnproven
from tracewatch.stores.address import file_of, without_secrets

if TYPE_CHECKING:
    from tracewatch.copying import Copied


@click.command(
    epilog="""
\b
Examples:
  tracewatch copy tracewatch.db postgresql://watch@db.example.com/watch
  tracewatch copy postgresql://watch@db.example.com/watch backup.db
"""
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@format_option("table", "json")
def copy(source: str, target: str, output: str) -> None:
    """Copy a whole database to another one, and prove it.

    TO is made where it is not there; counts and checksums are the proof. Both are a file or an address, as for --db.
    What is in TO already is not copied again: a copy that was stopped goes on with the same command, and so does one
    whose FROM has grown. Nothing of FROM is changed, and nothing that TO has besides. Servers may run meanwhile; before
    the last copy stop that of FROM, so that nothing more comes to it.
    """
    from tracewatch import settings
    from tracewatch.copying import copy as copied
    from tracewatch.records import Span

    _check(source, target)
    with (
        caught_up_db(source, settings.load().project) as one,
        open_db(target, create=True) as other,
        progress_bar("Copying calls", one.count(Span)) as progress,
    ):
        done = copied(one, other, time.time(), progress)
    tell(done, output)
    if not done.proven:
        raise CopyUnproven(source=without_secrets(source), target=without_secrets(target), parts=done.unproven)


def _check(source: str, target: str) -> None:
    """Raises CopyRefused where both are the same."""
    files = [file_of(each) for each in (source, target)]
    same = files[0] is not None and files[1] is not None and os.path.realpath(files[0]) == os.path.realpath(files[1])
    if same or source == target:
        why = "they are the same database"
        raise CopyRefused(source=without_secrets(source), target=without_secrets(target), why=why)


def tell(done: Copied, output: str) -> None:
    """Prints what came of a copy."""
    if output == "json":
        show_json(_as_json(done))
        return
    table = plain_table(
        ["what", "rows", "copied", "there before", "checksum", "read back"], right=["rows", "copied", "there before"]
    )
    for each in done.parts:
        proof = "the same" if each.proven else each.target.checksum
        table.add_row(
            each.name, f"{each.rows:,}", f"{each.copied:,}", f"{each.rows - each.copied:,}", each.source.checksum, proof
        )
    if done.parts:
        console().print(table)
    else:
        say("There is nothing in it yet.")
    for sentence in _sentences(done):
        say(sentence)


def _sentences(done: Copied) -> list[str]:
    told = []
    more = {each.name: each.more for each in done.parts if each.more}
    if more:
        told.append(
            "Left as it was, for only the second one has it: "
            + ", ".join(f"{counted(rows, 'row')} of {name}" for name, rows in more.items())
            + "."
        )
    if done.learned:
        told.append(f"Detection goes on there where it stood, for {_named(done.learned)}.")
    if done.anew:
        told.append(
            f"Detection learns anew from history there, for {_named(done.anew)}: what was learned cannot go along."
        )
    if done.left:
        told.append(
            f"Still to be sent, {counted(done.left, 'message')} stayed behind: whoever watches the first one does it."
        )
    return told


def _named(projects: Any) -> str:
    return f"the project{'s' if len(projects) > 1 else ''} {', '.join(projects)}"


def _as_json(done: Copied) -> dict[str, Any]:
    parts = {
        each.name: {
            "rows": each.rows,
            "copied": each.copied,
            "more": each.more,
            "checksum": each.source.checksum,
            "read_back": each.target.checksum,
        }
        for each in done.parts
    }
    return {
        "proven": done.proven,
        "parts": parts,
        "detection_goes_on": list(done.learned),
        "detection_learns_anew": list(done.anew),
        "messages_left": done.left,
    }
