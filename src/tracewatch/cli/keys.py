"""`tracewatch keys`: API keys are made, listed and taken back here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.output import format_option, open_db, plain_table, safe, say, show_json, show_rows, store_options
from tracewatch.cli.suggesting import Suggesting
from tracewatch.cli.times import parse_duration
from tracewatch.records import ApiKey, iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table


@click.group(
    cls=Suggesting,
    epilog="\b\nExamples:\n  tracewatch keys create --name 'the owner'\n  tracewatch keys revoke 1f0c2ab4d9e3",
)
def keys() -> None:
    """Make, list and revoke the API keys of a server."""


@keys.command(
    epilog="""
\b
Examples:
  tracewatch keys create --name 'the owner'
  tracewatch keys create --name 'the shop' --rights write
  tracewatch keys create --user u42 --rights read --expires 90d
"""
)
@store_options
@click.option(
    "--rights",
    help="What it may do: read (see), write (send spans, deal with findings), admin (everything). The first key needs "
    "admin. [default: read,write; all for the first key]",
)
@click.option("--user", help="The only account whose rows it sees and writes.")
@click.option("--name", default="", help="What it is for, in your words.")
@click.option("--expires", help="How long it opens anything: 12h, 90d … [default: for good]")
@format_option("table", "json")
def create(
    db: str, project: str, rights: str | None, user: str | None, name: str, expires: str | None, output: str
) -> None:
    """Make a key to a project. It is shown once, for only a digest of it is kept."""
    from tracewatch.access import create_key, keys_needed, rights_of_new

    now = time.time()
    with open_db(db, create=True) as store:
        first = not keys_needed(store)
        key, text = create_key(
            store,
            project=project,
            rights=rights_of_new(
                store, None if rights is None else [each for each in map(str.strip, rights.split(",")) if each]
            ),
            now=now,
            user_id=user,
            name=name,
            expires_at=None if expires is None else now + parse_duration(expires),
        )
    if output == "json":
        show_json({"key": text, **_row(key, now)})
        return
    click.echo(text)
    say(f"This is the only time it is shown. It may {' and '.join(key.rights)} in project {project}.")
    if first:
        say("From now on a server of this database lets nobody in without a key.")


@keys.command(name="list", epilog="\b\nExample:\n  tracewatch keys list --format json")
@store_options
@format_option()
def list_(db: str, project: str, output: str) -> None:
    """Show the keys of a project and what they may do.

    Whether they still open it is shown as well.
    """
    from tracewatch.access import keys_of

    now = time.time()
    with open_db(db) as store:
        rows = [_row(each, now) for each in keys_of(store, project)]
    empty = f"There is no key to project {project}. Make one with: tracewatch keys create --db {db}"
    show_rows(rows, output, lambda: _table(rows), empty)


@keys.command(epilog="\b\nExample:\n  tracewatch keys revoke 1f0c2ab4d9e3")
@store_options
@click.argument("id_", metavar="ID")
def revoke(db: str, project: str, id_: str) -> None:
    """Take a key back. It opens nothing from the next request on."""
    from tracewatch.access import keys_needed, revoke_key

    with open_db(db) as store:
        key = revoke_key(store, id_, time.time())
        needed = keys_needed(store)
    say(f"Key {key.id} of project {key.project} opens nothing any more.")
    if not needed:
        say("It was the last one: a server that listens on this machine alone lets everybody on it in again.")


def _row(key: ApiKey, now: float) -> dict[str, Any]:
    from tracewatch.access import state_of

    return {
        "id": key.id,
        "project": key.project,
        "user_id": key.user_id,
        "name": key.name,
        "rights": list(key.rights),
        "created_at": iso(key.created_at),
        "expires_at": None if key.expires_at is None else iso(key.expires_at),
        "revoked_at": None if key.revoked_at is None else iso(key.revoked_at),
        "state": state_of(key, now),
    }


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    table = plain_table(("id", "state", "rights", "user", "created", "expires", "name"))
    for row in rows:
        table.add_row(
            row["id"],
            row["state"],
            ", ".join(row["rights"]),
            safe(row["user_id"]),
            _day(row["created_at"]),
            _day(row["expires_at"]),
            safe(row["name"]),
        )
    return table


def _day(moment: str | None) -> str:
    return (moment or "")[:10]
