"""How PostgreSQL is asked: what it says in words of its own, and the token of what has been written so far."""

from __future__ import annotations

from collections.abc import Iterable

from tracewatch.errors import BadToken
from tracewatch.records import Record
from tracewatch.stores import queries
from tracewatch.stores.base import Filter
from tracewatch.stores.queries import Condition, Dialect

POSTGRES = Dialect(
    holds=queries.entries("json_array_elements_text({name}) AS entries(value)"),
    compared={"json": "{name}::text", "list": "{name}::text", "boolean": "{name}::int::float8"},
)
_TOKEN = "postgresql:"  # noqa: S105 (no secret: where reading goes on)


def condition(record_type: type[Record], where: Iterable[Filter]) -> Condition:
    """Rows that meet all filters. Raises UnknownColumn."""
    return queries.condition(record_type, where, POSTGRES)


def encode_token(transaction: int) -> str:
    """Everything that was written by transactions before this one, as text."""
    return f"{_TOKEN}{transaction}"


def decode_token(token: str) -> int:
    """The oldest transaction whose rows are still to be read; 0 for the token of another sort of store.

    Raises BadToken.
    """
    number = token.removeprefix(_TOKEN)
    if number == token or not number.isdecimal():
        raise BadToken(given=token)
    return min(int(number), 2**63 - 1)
