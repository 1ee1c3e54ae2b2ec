"""Cost by what it was for, sessions, users: calls added up by the value of a column."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.records import iso
from tracewatch.stores.base import Store
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import Within
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.groups import grouped
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import PRICED, TOLD_APART, between, counting_calls, with_unpriced
from tracewatch.web.views.spending import number_of

router = APIRouter(prefix="/api/v1", tags=["cost, sessions, users"], responses=shapes.REFUSALS)

By = Literal["model_name", "model_provider", "usage_type", "operation_type", "user_id", "session_id", "conversation_id"]
Most = Annotated[
    int, Query(ge=1, le=10_000, description="How many groups at most; those of the most money come first.")
]


class Summed(BaseModel):
    """What the calls of one value come to."""

    value: str | None
    calls: int
    failed: int
    unpriced_calls: int
    cost_usd: float
    input_tokens: int
    output_tokens: int


class Cost(BaseModel):
    """The cost of a time. `priced_share` is how much of the tokens has a price, 0 to 1; null without tokens."""

    since: str
    until: str
    cost_usd: float
    calls: int
    unpriced_calls: int
    priced_share: float | None
    by: str
    parts: list[Summed]


class Lasting(Summed):
    """What the calls of one session, or of one user, come to, and when the first and the last began."""

    first: str
    last: str


class Listed(BaseModel):
    """Some of all groups."""

    data: list[Lasting]
    total: int | None
    """How many there are; null where counting them would take seconds: some 200,000 and more."""


@router.get("/cost", response_model=Cost)
def get_cost(server: Server, caller: Reader, within: Within, by: By = "model_name", limit: Most = 100) -> Response:
    """What the calls of a time cost, in parts."""
    names = (*PRICED, "priced_tokens", "unpriced_tokens")
    whole = between(server.store, caller, within.since, within.until, by=TOLD_APART, measures=names)
    rows = counting_calls(with_unpriced(whole))
    sums = {name: sum(row[name] or 0 for row in rows) for name in names}
    tokens = sums["priced_tokens"] + sums["unpriced_tokens"]
    parts = grouped(server.store, caller, within, by, limit)
    return shapes.told(
        {
            "since": iso(within.since),
            "until": iso(within.until),
            "cost_usd": float(sums["cost_usd_sum"]),
            "calls": int(sums["calls"]),
            "unpriced_calls": int(sums["unpriced_calls"]),
            "priced_share": sums["priced_tokens"] / tokens if tokens else None,
            "by": by,
            "parts": [{name: each[name] for name in Summed.model_fields} for each in parts],
        }
    )


@router.get("/sessions", response_model=Listed)
def list_sessions(server: Server, caller: Reader, within: Within, limit: Most = 100) -> Response:
    """The sessions of a time, those of the most money first."""
    return _listed(server.store, caller, within, "session_id", limit)


@router.get("/conversations", response_model=Listed)
def list_conversations(server: Server, caller: Reader, within: Within, limit: Most = 100) -> Response:
    """The conversations of a time, those of the most money first."""
    return _listed(server.store, caller, within, "conversation_id", limit)


@router.get("/users", response_model=Listed)
def list_users(server: Server, caller: Reader, within: Within, limit: Most = 100) -> Response:
    """The users of a time, those of the most money first."""
    return _listed(server.store, caller, within, "user_id", limit)


def _listed(store: Store, caller: Caller, within: Period, name: str, limit: int) -> Response:
    groups = grouped(store, caller, within, name, limit)
    data: list[dict[str, Any]] = [{**each, "first": iso(each["first"]), "last": iso(each["last"])} for each in groups]
    total = len(groups) if len(groups) < limit else number_of(store, caller, name, within)
    return shapes.told({"data": data, "total": total})
