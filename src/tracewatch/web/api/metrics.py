"""Metrics: what is watched, and one metric over time with what was to be expected."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from tracewatch.errors import NotFound
from tracewatch.metrics.table import METRICS, judges_of
from tracewatch.records import iso
from tracewatch.web.api import shapes
from tracewatch.web.api.asking import Within, slice_of, slices_described
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.views.series import series, source_of

router = APIRouter(prefix="/api/v1/metrics", tags=["metrics"], responses=shapes.REFUSALS)


class Metric(BaseModel):
    """Something that is watched."""

    key: str
    label: str
    help: str
    family: str
    unit: str | None
    bad: str
    grain: str
    formula: str
    alert: str
    judged_by: list[str]
    has_series: bool


class Point(BaseModel):
    """One step of time: the value, and the range in which nine of ten such values lie; null is not known."""

    at: str
    value: float | None
    lower: float | None
    upper: float | None


class Series(BaseModel):
    """A metric of some calls over time."""

    metric: str
    unit: str | None
    slice: dict[str, str]
    step_s: int
    points: list[Point]


@router.get("", response_model=list[Metric])
def list_metrics(caller: Reader) -> Response:
    """All that is watched."""
    found = []
    for each in METRICS:
        judges = judges_of(each)
        named = (("engine", judges.engine), ("type", judges.type), ("rule", judges.rule), ("itself", judges.itself))
        found.append(
            {
                **{name: getattr(each, name) for name in ("key", "label", "help", "family", "unit", "bad", "grain")},
                "formula": each.formula,
                "alert": each.alert,
                "judged_by": [name for name, judge in named if judge],
                "has_series": source_of(each.key) is not None,
            }
        )
    return shapes.told(found)


@router.get("/{metric}/series", response_model=Series, responses=shapes.MISSING, openapi_extra=slices_described())
def get_series(request: Request, server: Server, caller: Reader, within: Within, metric: str) -> Response:
    """A metric over time, of all calls or of those that a condition such as `model_name=gpt-4o` leaves."""
    slice = slice_of(request)
    found = series(server.store, caller, metric, slice, within.since, within.until, server.clock())
    if found is None:
        hint = "Those that have one say has_series in GET /api/v1/metrics"
        raise NotFound(what="series of metric", given=metric, where="the rollups", hint=hint)
    ranges = [*found.expected, *[None] * (len(found.values) - len(found.expected))]
    points = [
        {
            "at": iso(found.start + place * found.step_s),
            "value": value,
            "lower": None if around is None else around[0],
            "upper": None if around is None else around[1],
        }
        for place, (value, around) in enumerate(zip(found.values, ranges, strict=True))
    ]
    return shapes.told({"metric": metric, "unit": found.unit, "slice": slice, "step_s": found.step_s, "points": points})
