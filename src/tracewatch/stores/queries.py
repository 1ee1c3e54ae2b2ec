"""Filters, keys and pages as SQL: names are checked against the columns, values are always bound.

What databases say differently is a `Dialect`; all else is said in words that each of them understands. Values stand as
question marks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracewatch.errors import BadCursor, BadToken
from tracewatch.records import ANSWERED, RECORDS, STEPS, Column, Record, Span, key_of
from tracewatch.stores.base import Filter, checked_column
from tracewatch.stores.values import comparable, to_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one database says in words of its own."""

    holds: str
    """Whether the list in `{name}` has an entry that is one of `{marks}`."""
    compared: Mapping[str, str] = field(default_factory=dict)
    """How a column of each kind is written to be compared with a text or a number, where its name alone will not do."""

    def named(self, column: Column) -> str:
        """The column, to be compared."""
        return self.compared.get(column.kind, "{name}").format(name=column.name)


def entries(rows: str) -> str:
    """`Dialect.holds` of a database that has the entries of a list as rows with the column `value`."""
    return f"EXISTS (SELECT 1 FROM (SELECT value FROM {rows}) AS held WHERE value IN ({{marks}}))"


SQLITE = Dialect(holds=entries("json_each({name}) WHERE json_valid({name})"))


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL to stand after WHERE, and the values for its question marks."""

    sql: str
    values: tuple[Any, ...] = ()

    def and_(self, *others: Condition) -> Condition:
        """All of them together."""
        together = [each for each in (self, *others) if each.sql != EVERYTHING.sql] or [EVERYTHING]
        return Condition(
            " AND ".join(each.sql for each in together), tuple(value for each in together for value in each.values)
        )


EVERYTHING = Condition("TRUE")
NOTHING = Condition("FALSE")

_IS_CALL = f"coalesce(operation_type, '') NOT IN ({', '.join(repr(each) for each in STEPS)})"
_IS_ANSWERED = (
    f"({_IS_CALL} AND model_provider IS NOT NULL AND status IN ({', '.join(repr(each) for each in ANSWERED)}))"
)

GROUPED = {
    "value": "{column}",
    "calls": f"sum(CASE WHEN {_IS_CALL} THEN 1 ELSE 0 END)",
    "cost_usd": "sum(cost_usd)",
    "priced": "count(cost_usd)",
    "unpriced": f"sum(CASE WHEN cost_usd IS NULL AND (cost_status = 'unpriced' OR {_IS_ANSWERED}) THEN 1 ELSE 0 END)",
    "failed": f"sum(CASE WHEN status IN ('error', 'timeout') AND {_IS_CALL} THEN 1 ELSE 0 END)",
    "input_tokens": "CAST(coalesce(sum(input_tokens), 0) AS BIGINT)",
    "output_tokens": "CAST(coalesce(sum(output_tokens), 0) AS BIGINT)",
    "first": "min(start_time)",
    "last": "max(start_time)",
}
"""What is added up of the spans that share a value of a column: the fields of Group, and how SQL makes them."""

SUMMED = {name: {"first": "min", "last": "max"}.get(name, "sum") for name in GROUPED if name != "value"}
"""How parts of a group are put together."""


def condition(record_type: type[Record], where: Iterable[Filter], dialect: Dialect = SQLITE) -> Condition:
    """Rows that meet all filters. Raises UnknownColumn."""
    return EVERYTHING.and_(*(_filter(checked_column(record_type, each.name), each, dialect) for each in where))


def of_key(record_type: type[Record], key: Mapping[str, Any]) -> Condition:
    """The row with this key. Raises BadRecord where a part of it is missing."""
    names = key_of(record_type)
    values = tuple(to_value(record_type, checked_column(record_type, name), key.get(name)) for name in names)
    return Condition(" AND ".join(f"{name} = ?" for name in names), values)


def changes(record_type: type[Record], values: Mapping[str, Any]) -> Condition:
    """New values of some columns, to stand after SET. Raises UnknownColumn or BadRecord."""
    changed = [checked_column(record_type, name) for name in values]
    assert changed, "there is nothing to change"
    assert not any(each.key for each in changed), "the key of a record does not change: put another record"
    news = tuple(to_value(record_type, each, values[each.name]) for each in changed)
    return Condition(", ".join(f"{each.name} = ?" for each in changed), news)


def groups_sql(column: str, met: Condition, order: str) -> str:
    """The question of `Store.groups`; it ends with the most rows and how many to leave out."""
    return (
        f"SELECT {', '.join(f'{sums.format(column=column)} AS {alias}' for alias, sums in GROUPED.items())} "
        f"FROM {Span.table} WHERE {met.sql} AND {column} IS NOT NULL "
        f"GROUP BY {column} ORDER BY {order} DESC NULLS LAST, {column} LIMIT ? OFFSET ?"
    )


def encode_cursor(record_type: type[Record], time_s: float, seq: int) -> str:
    """Where a page ended, as text that is safe in an address."""
    text = json.dumps([record_type.table, time_s, seq], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(record_type: type[Record], cursor: str) -> tuple[float, int]:
    """Where the page before ended. Raises BadCursor."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        table, time_s, seq = json.loads(text)
    except (ValueError, TypeError) as error:
        raise BadCursor(given=cursor) from error
    if table != record_type.table or type(time_s) not in (int, float) or type(seq) is not int:
        raise BadCursor(given=cursor)
    return time_s, seq


def encode_token(sequences: dict[str, int]) -> str:
    """How far each table had been written, as text such as `llm_traces:41,anomaly_detections:7`."""
    return ",".join(f"{record.table}:{sequences.get(record.table, 0)}" for record in RECORDS)


def decode_token(record_type: type[Record], token: str) -> int:
    """The sequence number of that table in the token; 0 for a table the token does not know. Raises BadToken."""
    try:
        pairs = dict(each.split(":") for each in token.split(","))
        return max(0, min(int(pairs.get(record_type.table, "0")), 2**63 - 1))
    except ValueError as error:
        raise BadToken(given=token) from error


def _filter(column: Column, given: Filter, dialect: Dialect) -> Condition:
    if column.kind == "list" and given.operator in ("=", "!="):
        return _contains(column, given, dialect)
    values = tuple(comparable(column, each) for each in given.values)
    present = tuple(each for each in values if each is not None)
    empty_too = len(present) < len(values)
    name = dialect.named(column)
    if given.operator == "=":
        return _any_of(name, present, empty_too=empty_too)
    if given.operator == "!=":
        return _none_of(name, present, empty_too=empty_too)
    if not present:
        return NOTHING  # nothing is more or less than empty
    return Condition(f"{name} {given.operator} ?", present[:1])


def _any_of(name: str, values: Sequence[Any], *, empty_too: bool) -> Condition:
    if not values:
        return Condition(f"{name} IS NULL") if empty_too else NOTHING
    one_of = f"{name} = ?" if len(values) == 1 else f"{name} IN ({', '.join('?' * len(values))})"
    return Condition(f"({name} IS NULL OR {one_of})" if empty_too else one_of, tuple(values))


def _none_of(name: str, values: Sequence[Any], *, empty_too: bool) -> Condition:
    """Rows whose value is none of these; an empty value is none of them, unless empty is among them."""
    if not values:
        return Condition(f"{name} IS NOT NULL") if empty_too else EVERYTHING
    none_of = f"{name} NOT IN ({', '.join('?' * len(values))})"
    return Condition(none_of if empty_too else f"({name} IS NULL OR {none_of})", tuple(values))


def _contains(column: Column, given: Filter, dialect: Dialect) -> Condition:
    """A list is asked for what it contains; empty asks for a list that is not there or has no entry."""
    texts = tuple(str(each) for each in given.values if each is not None)
    held = dialect.holds.format(name=column.name, marks=", ".join("?" * len(texts)))
    parts = [held] if texts else []
    if len(texts) < len(given.values):
        parts.append(f"coalesce({dialect.named(column)}, '[]') = '[]'")
    any_of = f"({' OR '.join(parts) or NOTHING.sql})"
    return Condition(any_of if given.operator == "=" else f"NOT {any_of}", texts)
