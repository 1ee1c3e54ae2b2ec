"""How far things have come in a ClickHouse store: what has been written, rolled up, forgotten, and been read."""

from __future__ import annotations

import time

from tracewatch.stores.clickhouse_connecting import Connection
from tracewatch.stores.clickhouse_queries import (
    BATCHES,
    BEGINNING,
    OVERLAP_NS,
    Token,
    decode_token,
    encode_token,
    literal,
)
from tracewatch.stores.sqlite_schema import META
from tracewatch.times import DAY_S, HOUR_S

_LOOKED_BACK_S = 2 * OVERLAP_NS // 10**9


class Marks:
    """The marks of one store. Several servers may set them: the later one of each holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def tip(self) -> Token:
        """What has been written so far."""
        now = self._connection.now_ns()
        recent = " UNION ALL ".join(
            f"SELECT row_batch, max(row_written) AS latest FROM {table} "
            f"WHERE row_written >= {now - OVERLAP_NS} GROUP BY row_batch"
            for table in self._written_lately()
        )
        if not recent:
            return Token(now)
        sql = f"SELECT row_batch FROM ({recent}) ORDER BY latest DESC LIMIT {BATCHES} SETTINGS final = 0"
        return Token(now, tuple(batch for (batch,) in self._connection.rows(sql)))

    def stamp(self) -> int:
        """Another number when somebody has written since."""
        parts = "SELECT max(max_block_number) AS last FROM system.parts WHERE database = currentDatabase()"
        return self._connection.number(f"SELECT sum(last) FROM ({parts} GROUP BY table, partition_id)")

    def rolled(self) -> Token:
        """What the rollups have been measured with."""
        text = self._value("rolled")
        return decode_token(text) if text else BEGINNING

    def set_rolled(self, token: Token) -> None:
        """The rollups have all of this."""
        self._set("rolled", encode_token(token), token.until_ns)

    def retained(self) -> float:
        """Before this time spans are not kept any more, and their rollups stay as they are."""
        kept = float(self._value("retained") or -1e11)
        days = self._connection.address.ttl_days
        return max(kept, (time.time() - days * DAY_S) // HOUR_S * HOUR_S + HOUR_S) if days else kept

    def set_retained(self, time_s: float) -> None:
        """Spans before that are not kept any more."""
        self._set("retained", repr(float(time_s)), int(time_s) + 2**60)

    def minutes_from(self) -> int:
        """From when on there are minutes; older ones are made from the spans."""
        return int(self._value("minutes_from") or 0)

    def set_minutes_from(self, time_s: int) -> None:
        """There are no older minutes any more."""
        self._set("minutes_from", str(time_s), time_s + 2**60)

    def _value(self, name: str) -> str:
        found = self._connection.rows(f"SELECT value FROM {META} WHERE name = ?", (name,))
        return found[0][0].decode() if found else ""

    def _set(self, name: str, value: str, version: int) -> None:
        row = f"({literal(name)}, {literal(value)}, {version})"
        self._connection.execute(f"INSERT INTO {META} (name, value, version) VALUES {row}")

    def _written_lately(self) -> list[str]:
        """The tables of records in which a token's batches may lie."""
        sql = (
            "SELECT DISTINCT table FROM system.parts WHERE database = currentDatabase() AND active "
            f"AND modification_time >= now() - {_LOOKED_BACK_S} "
            "AND table IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'row_batch')"
        )
        return [table.decode() for (table,) in self._connection.rows(sql)]
