"""Prices that a project sets itself."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch import watch
from tracewatch.errors import NotFound
from tracewatch.pricing import checked
from tracewatch.records import PriceOverride, as_dict
from tracewatch.stores.base import Filter
from tracewatch.times import parse_time
from tracewatch.web.api import shapes
from tracewatch.web.gate import Admin, Reader
from tracewatch.web.serving import Server

router = APIRouter(prefix="/api/v1/prices", tags=["prices"], responses=shapes.REFUSALS)

PRICE = shapes.shape(PriceOverride)
Dollars = Annotated[float, Field(ge=0, le=1e9, description="USD per million tokens.")]


class Wanted(BaseModel):
    """A price for every model whose whole name matches a regular expression."""

    pattern: str = Field(min_length=1, max_length=500)
    starts_at: str | None = Field(default=None, description="From when on it holds; always, if not given.")
    ends_at: str | None = Field(default=None, description="Until when it holds; for good, if not given.")
    model_provider: str | None = None
    input_per_million: Dollars
    output_per_million: Dollars
    cache_read_per_million: Dollars | None = None
    cache_write_per_million: Dollars | None = None


class Removed(BaseModel):
    """How many prices were removed."""

    removed: int


@router.get("", response_model=list[PRICE])  # type: ignore[valid-type]
def list_prices(server: Server, caller: Reader) -> Response:
    """The project's own prices."""
    return shapes.told(shapes.plain(watch.overrides_of(server.store, caller.project)))


@router.put("", response_model=PRICE)
def put_price(server: Server, caller: Admin, wanted: Wanted) -> Response:
    """Sets a price; one of the same pattern and beginning is replaced. It holds for calls to come."""
    now = server.clock()
    override = PriceOverride(
        project=caller.project,
        pattern=wanted.pattern,
        starts_at=0.0 if wanted.starts_at is None else parse_time(wanted.starts_at, now),
        ends_at=None if wanted.ends_at is None else parse_time(wanted.ends_at, now),
        model_provider=wanted.model_provider or None,
        input_per_million=wanted.input_per_million,
        output_per_million=wanted.output_per_million,
        cache_read_per_million=wanted.cache_read_per_million,
        cache_write_per_million=wanted.cache_write_per_million,
    )
    checked(override)
    server.store.put([override])
    return shapes.told(as_dict(override))


@router.delete("", response_model=Removed, responses=shapes.MISSING)
def remove_price(
    server: Server,
    caller: Admin,
    pattern: Annotated[str, Query(description="The pattern of the price.")],
    starts_at: Annotated[str | None, Query(description="Only the price that begins then.")] = None,
) -> Response:
    """Removes the prices of a pattern."""
    where = [Filter("project", "=", (caller.project,)), Filter("pattern", "=", (pattern,))]
    where += [] if starts_at is None else [Filter("starts_at", "=", (parse_time(starts_at, server.clock()),))]
    removed = server.store.remove(PriceOverride, where)
    if not removed:
        hint = "See which there are with GET /api/v1/prices"
        raise NotFound(what="price", given=pattern, where=f"project {caller.project}", hint=hint)
    return shapes.told({"removed": removed})
