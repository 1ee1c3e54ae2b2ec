"""`tracewatch alerts test`, `deliveries` and `resend`: whether messages arrive, and what became of them."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch import settings
from tracewatch.channels.base import SHORT_MARK
from tracewatch.cli.output import Heading, format_option, open_db, plain_table, safe, say, show_rows, store_options
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.times import show_time
from tracewatch.errors import StoreNotFound, TracewatchError
from tracewatch.records import DELIVERY_STATES, Delivery, as_dict

if TYPE_CHECKING:
    from rich.table import Table


@click.command(epilog="\b\nExamples:\n  tracewatch alerts test\n  tracewatch alerts test team")
@store_options
@click.argument("channel", required=False)
def test(db: str, project: str, channel: str | None) -> None:
    """Send a sample to CHANNEL, or to every channel.

    CHANNEL is a name or an address. What came back is said.
    """
    from tracewatch.alerts.book import Book
    from tracewatch.alerts.checking import is_address
    from tracewatch.alerts.kept import book_of
    from tracewatch.alerts.wording import sample

    given = settings.load()
    try:
        with open_db(db) as store:
            book = book_of(store, project, given.alert_channels)
    except StoreNotFound:  # nothing is kept yet, and to try a channel keeps nothing
        book = Book((), given.alert_channels)
    names: Sequence[str] = book.names
    if channel is not None:
        if is_address(channel):
            book = Book((), channel)
        names = book.names if is_address(channel) else (channel,)
    if not names:
        say("There is no channel. Set TRACEWATCH_ALERT_CHANNELS, or describe one under channels in alerts.yaml")
        sys.exit(1)
    failed = False
    for name in names:
        message = sample(project, secrets.token_hex(12), time.time(), given.public_url)
        try:
            book.open(name).send(message)
        except TracewatchError as error:
            failed = True
            say(str(error) if "://" in name and name in str(error) else f"{name}: {error}")
        else:
            click.echo(f"{name}: taken")
    if failed:
        sys.exit(1)


@click.command(epilog="\b\nExamples:\n  tracewatch alerts deliveries --state dead")
@store_options
@click.option("--state", "states", multiple=True, type=OneOf(DELIVERY_STATES), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@format_option()
def deliveries(db: str, project: str, states: tuple[str, ...], limit: int, output: str) -> None:
    """Show what was put on its way, the newest first.

    To whom, how often it was tried, and what came back.
    """
    from tracewatch.alerts.outbox import deliveries_of

    with open_db(db) as store:
        found = deliveries_of(store, project, states, limit)
    rows = [_row(each) for each in found]
    show_rows(rows, output, lambda: _deliveries_table(found), "Nothing was put on its way.")


@click.command(epilog="\b\nExamples:\n  tracewatch alerts resend 5f0c2ab4d9e37c11\n  tracewatch alerts resend --dead")
@store_options
@click.argument("key", required=False)
@click.option("--dead", is_flag=True, help="All that were given up.")
def resend(db: str, project: str, key: str | None, dead: bool) -> None:
    """Have what was not delivered tried again.

    KEY is what `deliveries` shows, or its beginning.
    """
    from tracewatch.alerts.outbox import deliveries_of, given_up
    from tracewatch.alerts.outbox import resend as again

    if (key is None) is not dead:
        raise click.UsageError("Give the KEY of a delivery, or --dead for all that were given up.")
    with open_db(db) as store:
        if dead:
            keys = [each.key for each in given_up(store, project)]
        else:
            found = deliveries_of(store, project, ("dead", "failed", "waiting"), 1000)
            keys = [each.key for each in found if each.key.startswith(key or "")]
            keys = keys if len(keys) == 1 else [key or ""]
        for each in keys:
            again(store, project, each, time.time())
    count = len(keys)
    say(f"{count} {'message is' if count == 1 else 'messages are'} tried again while tracewatch serves or watches.")


def _row(each: Delivery) -> dict[str, Any]:
    """A delivery without its message, whose links are for those who get it."""
    return {name: value for name, value in as_dict(each).items() if name not in ("message", "token")}


def _deliveries_table(found: Sequence[Delivery]) -> Table:
    heads = ("decided", "state", "event", "severity", "rule", "incident", "channel", Heading(name="tries", right=True))
    table = plain_table((*heads, "answer", "key"))
    for each in found:
        table.add_row(
            show_time(each.created_at), each.state, each.event, each.severity, safe(each.rule),
            (each.incident_id or "")[:8], safe(_to(each)), str(each.attempts), safe(each.answer), each.key,
        )  # fmt: skip
    return table


def _to(each: Delivery) -> str:
    return f"{each.channel} ({each.recipient[:SHORT_MARK]})" if each.recipient else each.channel
