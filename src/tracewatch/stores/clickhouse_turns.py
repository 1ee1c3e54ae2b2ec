"""Turns: what only one of all servers may do at a time, where nothing can be compared and set.

Who wants a turn writes a ticket, waits until it can be seen, and then reads all tickets. It is its turn if there is no
other. Two cannot both have it: the one whose ticket was seen later has read the earlier one. Where there are others,
all but the one with the smallest number take theirs back, and try again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tracewatch.errors import StoreBusy
from tracewatch.stores.clickhouse_connecting import Connection, batch_number
from tracewatch.stores.clickhouse_queries import written
from tracewatch.stores.clickhouse_schema import TURNS

BUSY_S = 30  # a turn that takes longer is taken by somebody who hangs
FORGOTTEN_S = 20  # whoever has not ended a turn after that has been killed, and its ticket counts no more
VALID_S = 10  # within which a turn must come to its write; the server looks, so that a stopped process writes nothing
_TRY_S = 0.02


@contextmanager
def turn(connection: Connection, name: str, wait: Callable[[float], object] = time.sleep) -> Iterator[str]:
    """Within, nobody else has the turn of that name. Gives the condition to which what is written must be bound.

    Raises StoreBusy.
    """
    ticket = batch_number()
    until = time.monotonic() + BUSY_S
    while not _taken(connection, name, ticket, wait):
        if time.monotonic() > until:
            raise StoreBusy(path=connection.name, seconds=BUSY_S)
        wait(_TRY_S * (1 + random.random()))  # noqa: S311 (so that two do not meet again)
    mine = written(
        f"SELECT count() FROM {TURNS} WHERE name = ? AND ticket = ? AND row_written > {_since(VALID_S)}", (name, ticket)
    )
    try:
        yield f"({mine}) = 1"
    finally:
        _give_back(connection, name, ticket)


def _taken(connection: Connection, name: str, ticket: int, wait: Callable[[float], object]) -> bool:
    connection.execute(
        f"INSERT INTO {TURNS} (name, ticket, row_version) VALUES (?, ?, {time.time_ns()})", (name, ticket)
    )
    until = time.monotonic() + VALID_S / 2
    while time.monotonic() < until:
        others = _tickets(connection, name)
        if ticket in others:
            others.discard(ticket)
            if not others:
                return True
            if min(others) < ticket:
                break
        wait(_TRY_S)
    _give_back(connection, name, ticket)
    return False


def _tickets(connection: Connection, name: str) -> set[int]:
    sql = f"SELECT ticket FROM {TURNS} WHERE name = ? AND row_written > {_since(FORGOTTEN_S)}"
    return {ticket for (ticket,) in connection.rows(sql, (name,))}


def _give_back(connection: Connection, name: str, ticket: int) -> None:
    sql = f"INSERT INTO {TURNS} (name, ticket, row_version, row_gone) VALUES (?, ?, {time.time_ns() + 1}, 1)"
    connection.execute(sql, (name, ticket))


def _since(seconds: float) -> str:
    return f"toUnixTimestamp64Nano(now64(9)) - {int(seconds * 1e9)}"
