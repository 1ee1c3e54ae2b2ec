"""Why a cost is not what it was, and what it will have come to."""

from __future__ import annotations

from datetime import UTC

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from tracewatch.records import iso
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import Within
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.forecast import Forecast, forecasts
from tracewatch.web.views.spending import bridge

router = APIRouter(prefix="/api/v1/cost", tags=["cost, sessions, users"], responses=shapes.REFUSALS)


class Step(BaseModel):
    """One part of a change of cost."""

    name: str
    change_usd: float = Field(description="What this part added; negative: saved.")
    before: float | None = Field(description="The quantity behind it, in its own unit; null where it is not one.")
    after: float | None


class CostBridge(BaseModel):
    """From the cost of as long a time before to the cost of a time: the parts add up to the difference."""

    since: str
    until: str
    before_usd: float | None = Field(description="Null where nothing was called in one of the times.")
    after_usd: float | None
    parts: list[Step]


class Foreseen(BaseModel):
    """What a day or a month has cost so far, and the range in which it is expected to end; null is not known."""

    ends: str
    so_far_usd: float
    unpriced_calls: int
    low_usd: float | None
    high_usd: float | None


class Forecasts(BaseModel):
    """The day and the month that run, in UTC."""

    day: Foreseen
    month: Foreseen


@router.get("/bridge", response_model=CostBridge)
def get_bridge(server: Server, caller: Reader, within: Within) -> Response:
    """Why a time cost more or less than as long a time before it: calls, tokens, models, cache, prices."""
    found = bridge(server.store, caller, within, server.clock())
    parts = found.parts if found else ()
    return shapes.told(
        {
            "since": iso(within.since),
            "until": iso(within.until),
            "before_usd": found.before if found else None,
            "after_usd": found.after if found else None,
            "parts": [
                {"name": each.name, "change_usd": each.change, "before": each.before, "after": each.after}
                for each in parts
            ],
        }
    )


@router.get("/forecast", response_model=Forecasts)
def get_forecast(server: Server, caller: Reader) -> Response:
    """What the day and the month will have cost, by the hours of the weeks before."""
    day, month = forecasts(server.store, caller, server.clock(), UTC)
    return shapes.told({"day": _told(day), "month": _told(month)})


def _told(it: Forecast) -> dict[str, object]:
    return {
        "ends": iso(it.ends),
        "so_far_usd": it.so_far,
        "unpriced_calls": it.unpriced,
        "low_usd": it.low,
        "high_usd": it.high,
    }
