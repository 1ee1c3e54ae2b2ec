"""How ClickHouse is asked: what it says in words of its own, values as literals, and the token of what was written."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tracewatch.errors import BadToken
from tracewatch.records import Record, Span
from tracewatch.stores import queries
from tracewatch.stores.base import Filter
from tracewatch.stores.queries import GROUPED, Condition, Dialect

CLICKHOUSE = Dialect(
    holds="hasAny(JSONExtract(coalesce({name}, '[]'), 'Array(String)'), [{marks}])",
    compared={"boolean": "toFloat64({name})"},
)
OVERLAP_NS = 60 * 10**9
"""For so long an insert may have been under way before it can be seen; what came within is told by its batch."""

BATCHES = 512  # that a token names, 11 letters each; with more within a minute, rows of the others come twice
_TOKEN = "clickhouse:"  # noqa: S105 (no secret: where reading goes on)


@dataclass(frozen=True, slots=True)
class Token:
    """What has been read: all that was written until `until_ns` (less OVERLAP_NS), and those batches after that."""

    until_ns: int
    batches: tuple[int, ...] = ()

    def after(self) -> Condition:
        """The rows that are still to be read."""
        since = Condition("row_written >= ?", (self.until_ns - OVERLAP_NS,))
        if not self.batches:
            return since
        return since.and_(Condition(f"row_batch NOT IN ({', '.join('?' * len(self.batches))})", self.batches))


BEGINNING = Token(-(2**62))


def condition(record_type: type[Record], where: Iterable[Filter]) -> Condition:
    """Rows that meet all filters. Raises UnknownColumn."""
    return queries.condition(record_type, where, CLICKHOUSE)


def any_of_keys(names: Sequence[str], keys: Sequence[tuple[Any, ...]]) -> Condition:
    """The rows with those keys, given by the values of these columns."""
    if not keys:
        return queries.NOTHING
    mark = f"({', '.join('?' * len(names))})"
    values = tuple(value for key in keys for value in key)
    return Condition(f"({', '.join(names)}) IN ({', '.join([mark] * len(keys))})", values)


def groups_sql(column: str, met: Condition, order: str) -> str:
    """The question of `Store.groups`; ends with the most rows and how many to leave out.

    An alias of ClickHouse hides the column of its name, so sums are called otherwise until they are all made.
    """
    sums = ", ".join(f"{said.format(column=column)} AS {name}_of_group" for name, said in GROUPED.items())
    names = ", ".join(f"{name}_of_group" for name in GROUPED)
    return (
        f"SELECT {names} FROM (SELECT {sums} FROM {Span.table} WHERE {met.sql} AND {column} IS NOT NULL "
        f"GROUP BY {column}) ORDER BY {order}_of_group DESC NULLS LAST, value_of_group LIMIT ? OFFSET ?"
    )


def written(sql: str, values: Sequence[Any]) -> str:
    """The statement with a literal for each question mark.

    >>> written("SELECT ? = ?", ("it's", 0.1))
    "SELECT 'it\\\\'s' = 0.1"
    """
    parts = sql.split("?")
    assert len(parts) == len(values) + 1, "there is a value for each question mark"
    texts = [parts[0]]
    for value, part in zip(values, parts[1:], strict=True):
        texts += (literal(value), part)
    return "".join(texts)


def literal(value: Any) -> str:
    """A value as ClickHouse reads it. Numbers are written so that the very same ones are read."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def encode_token(token: Token) -> str:
    """A token as text."""
    packed = struct.pack(f">{len(token.batches)}Q", *token.batches)
    return f"{_TOKEN}{token.until_ns}:{base64.urlsafe_b64encode(packed).decode()}"


def decode_token(text: str) -> Token:
    """The token that a text is. Raises BadToken."""
    head, _, packed = text.removeprefix(_TOKEN).partition(":")
    try:
        if not text.startswith(_TOKEN):
            raise ValueError(text)
        data = base64.b64decode(packed, altchars=b"-_", validate=True)
        return Token(int(head), struct.unpack(f">{len(data) // 8}Q", data))
    except (ValueError, struct.error) as error:
        raise BadToken(given=text) from error
