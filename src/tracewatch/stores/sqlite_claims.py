"""Rolling up beside others that write: spans are claimed, measured without the write lock, and then added.

A claim is void as soon as one of its spans has changed, or somebody else has rolled up or claimed: what was measured is
thrown away then. So spans count exactly once, as they are when they are added. See docs/decisions/0003-rollups.md.
"""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass

import pyarrow as pa

from tracewatch.records import Span
from tracewatch.stores import sqlite_rollups
from tracewatch.stores.rollups import MINUTE_S, roll
from tracewatch.stores.sqlite_hours import rolled
from tracewatch.stores.sqlite_reopening import settle_arrivals
from tracewatch.stores.sqlite_schema import CLAIM_CHANGED, META
from tracewatch.stores.sqlite_value_days import Summed, sum_values
from tracewatch.times import HOUR_S

CLAIM_ROWS = 20_000  # spans of one claim: adding what they come to takes 40 ms


@dataclass(frozen=True, slots=True)
class Claim:
    """Spans that somebody is about to add to the rollups: those behind one sequence number, up to another."""

    after: int
    upto: int
    by: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What the spans of a claim come to."""

    spans: int
    hours: pa.Table
    minutes: pa.Table
    values: Summed


def claim(connection: sqlite3.Connection, now: float) -> Claim | None:
    """Claims the next spans; None where they are so few that they are added sooner than claimed."""
    last = rolled(connection)
    upto = sqlite_rollups.last_of_next(connection, last, CLAIM_ROWS)
    settle_arrivals(connection, last, upto)
    left = f"SELECT count(*) FROM {Span.table} WHERE seq > ? AND seq <= ?"
    (count,) = connection.execute(left, (last, upto)).fetchone()
    if count < sqlite_rollups.CHUNK_ROWS:
        return None
    sqlite_rollups.keep_minutes_from(connection, now)
    for sql in CLAIM_CHANGED:
        connection.execute(sql)
    made = Claim(last, upto, secrets.token_hex(8))
    connection.executemany(
        f"INSERT OR REPLACE INTO {META} (name, value) VALUES (?, ?)", (("claimed", upto), ("claimed_by", made.by))
    )
    return made


def measure(connection: sqlite3.Connection, claimed: Claim) -> Measured:
    """What the spans come to, as they are now: nobody has to wait for it."""
    spans = sqlite_rollups.spans_between(connection, claimed.after, claimed.upto)
    values = sum_values(connection, claimed.after, claimed.upto)
    return Measured(spans.num_rows, roll(spans, HOUR_S), roll(spans, MINUTE_S), values)


def add(connection: sqlite3.Connection, claimed: Claim, measured: Measured) -> int:
    """Adds what was measured, if it still is so. Returns how many spans it were; 0 when the claim is void."""
    held = dict(connection.execute(f"SELECT name, value FROM {META} WHERE name IN ('claimed', 'claimed_by')"))
    if rolled(connection) != claimed.after or held != {"claimed": claimed.upto, "claimed_by": claimed.by}:
        return 0
    sqlite_rollups.add_measured(connection, measured.hours, measured.minutes, measured.values, claimed.upto)
    return measured.spans
