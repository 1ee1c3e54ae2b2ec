"""What routes of the API are asked with: a time, a page of a list, conditions on columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Request

from tracewatch.errors import BadFilter, BadTime, UnknownColumn
from tracewatch.records import Record, columns
from tracewatch.stores.base import Filter, parse_filter
from tracewatch.stores.measures import KEYS
from tracewatch.web.serving import Server
from tracewatch.web.views.period import Period, period_of
from tracewatch.web.views.traces import condition_of

MOST, USUAL = 200, 50
MOST_CONDITIONS = 100  # SQLite takes 1 000 at most

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]

_Since = Annotated[str | None, Query(description="How long the time is: 1h, 24h (the default), 7d, 90m …")]
_From = Annotated[str | None, Query(alias="from", description="Where it begins instead: 2026-03-02T08:00Z.")]
_To = Annotated[str | None, Query(description="Where it ends; now, if not given.")]


def within_of(server: Server, since: _Since = None, begin: _From = None, to: _To = None) -> Period:
    """The time that is asked about. Raises BadTime or PeriodTooLong."""
    if begin and begin.isalpha():
        raise BadTime(given=begin)
    given = {name: value for name, value in (("since", since), ("from", begin), ("to", to)) if value}
    return period_of(given, server.clock())


Within = Annotated[Period, Depends(within_of)]
"""A parameter of this type is the time that is asked about."""


def conditions(request: Request, record_type: type[Record], but: Sequence[str] = ()) -> list[Filter]:
    """The conditions of an address: every column may be one, as in `cost_usd=>0.05`. Raises BadFilter."""
    names = {each.name for each in columns(record_type)} - {"project", *but}
    given = [(name, value) for name, value in request.query_params.multi_items() if name in names and value]
    if len(given) > MOST_CONDITIONS:
        raise BadFilter(given=given[0][0], why=f"there are {len(given):,} conditions, and {MOST_CONDITIONS} may be")
    return [parse_filter(condition_of(name, value), record_type) for name, value in given]


def slice_of(request: Request) -> dict[str, Any]:
    """The calls that are meant, by the columns that rollups tell apart. Raises UnknownColumn."""
    given = {name: value for name, value in request.query_params.items() if value and name not in _OTHERS}
    for name in given:
        if name not in KEYS:
            raise UnknownColumn(table="metrics", name=name, columns=", ".join(KEYS[1:]))
    return given


_OTHERS = ("project", "since", "from", "to", "by")


def described(record_type: type[Record], but: Sequence[str] = ()) -> dict[str, Any]:
    """The same conditions as the schema of the API has them."""
    return _parameters([(each.name, each.help) for each in columns(record_type) if each.name not in {"project", *but}])


def slices_described() -> dict[str, Any]:
    """The columns that rollups tell apart as the schema of the API has them."""
    return _parameters([(name, f"Only calls of this {name}.") for name in KEYS[1:]])


def _parameters(named: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": help, "schema": {"type": "string"}}
            for name, help in named
        ]
    }
