"""The metrics that are watched: a line for each, and one in large with its slices.

`/metrics` is also where Prometheus looks: a browser, which asks for HTML, gets the page, and everybody else what
other routes of that path answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.routing import Match
from starlette.types import Scope

from tracewatch import formats
from tracewatch.explaining import saying
from tracewatch.explaining.measures import measure_of
from tracewatch.metrics.base import Metric
from tracewatch.metrics.table import METRIC_OF, Judges, judges_of
from tracewatch.records import Incident, Span
from tracewatch.stores.measures import KEYS
from tracewatch.web import charts, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.pages.overview import title_of
from tracewatch.web.views import feed, incidents
from tracewatch.web.views.period import ending
from tracewatch.web.views.series import series
from tracewatch.web.views.standing import OLD_S, Standing, standing
from tracewatch.web.views.usual import Usual
from tracewatch.web.views.watched import (
    BY,
    Part,
    Watched,
    elsewhere,
    parts,
    scale_of,
    step_for,
    stretches,
    watched,
    worse_of,
)

HOUR_S = 3600.0
RULES_OF = {"down": "less is bad", "up": "more is bad", "either": "both ways are bad"}
SHOWN_FINDINGS = 5


class Page(APIRoute):
    """A route for browsers alone: to whom asks for something else than HTML it is not there."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As any route, for those who take HTML."""
        if scope["type"] == "http" and "text/html" not in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)


router = APIRouter(include_in_schema=False, route_class=Page)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A metric in the list."""

    key: str
    name: str
    href: str
    value: str
    usual: str
    spark: charts.Spark
    ribbon: list[tuple[float, float]]
    outside: str
    hue: str
    incident: Incident | None
    judged: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A slice of a metric as a small picture."""

    name: str
    href: str
    calls: int
    outside: str
    severity: str
    """That of the incident of these very calls; empty where there is none."""
    band: charts.Band


@router.get("/metrics", response_class=HTMLResponse)
def show_metrics(request: Request, asked: Ask) -> HTMLResponse:
    """All metrics of a period, those that were most unusual first."""
    asked, moved = _in_time(asked)
    slice = _slice(asked)
    found = watched(asked.store, asked.caller, asked.period, min(asked.now, asked.period.until), slice)
    return drawing.page(
        request, asked, "metrics.html",
        lines=[_line(asked, each) for each in found], moved=moved, chips=_chips(asked, slice),
        state=_learning(standing(asked.store, asked.caller, asked.now)),
        elsewhere=[(each, _judged(judges)) for each, judges in elsewhere()],
        odd=sum(1 for each in found if each.is_odd),
        is_empty=not found and asked.store.extent(Span, asked.caller.where) is None,
    )  # fmt: skip


@router.get("/metrics/{name:path}", response_class=HTMLResponse)
def show_metric(request: Request, asked: Ask, name: str) -> HTMLResponse:
    """One metric, and its slices."""
    asked, moved = _in_time(asked)
    row = METRIC_OF.get(name)
    slice, period, now = _slice(asked), asked.period, min(asked.now, asked.period.until)
    step = step_for(period, now)
    it = series(
        asked.store, asked.caller, name, slice, period.since, period.until, now, step_s=step, worse=worse_of(name)
    )
    findings = feed.feed(
        asked.store, asked.caller, period, feed.wanted({"metric": name, **slice}), limit=SHOWN_FINDINGS
    ).findings
    if row is None and it is None and not findings:
        said = f"No metric is called {name[:80]}."
        return drawing.page(
            request, asked, "missing.html", status=404, said=said, to="/metrics", instead="See all metrics"
        )
    by = asked.given.get("by", "")
    by = by if by in BY and by not in slice else next(each for each in ("model_name", *BY) if each not in slice)
    small = parts(asked.store, asked.caller, name, period, now, slice, by) if it is not None else []
    known = [
        each for each in incidents.within(asked.store, asked.caller, period.since, period.until)
        if each.metric_name == name and _is_within(each, slice)
    ]  # fmt: skip
    title = title_of(name, step)
    return drawing.page(
        request, asked, "metric.html",
        name=name, title=title, row=row, moved=moved, chips=_chips(asked, slice), by=by,
        choices=[each for each in BY if each not in slice], small=list(_small(asked, name, small, known)),
        one_scale=scale_of(small) is not None,
        is_table=asked.given.get("view") == "table", findings=findings, label_of=feed.label_of,
        facts=list(_facts(name, row, standing(asked.store, asked.caller, asked.now))),
        **_large(asked, name, title, slice, it, known),
    )  # fmt: skip


def _large(
    asked: Asked, name: str, title: str, slice: Mapping[str, str], it: charts.Series | None, known: Sequence[Incident]
) -> Mapping[str, Any]:
    """The picture in large, with what it says in words; of a metric that rollups do not hold neither."""
    if it is None or not any(each is not None for each in it.values):
        return {"band": None, "said": "", "u_data": "", "incident": None, "hue": "", "here": "", "around": "/metrics"}
    period, now = asked.period, min(asked.now, asked.period.until)
    whole = next(iter(watched(asked.store, asked.caller, period, now, slice, only=name)), None)
    incident = next(iter(known), None)
    own = incident if incident and (incident.slice or {}) == slice else None  # that of a part moved this line little
    said = _said(asked, title, whole, slice)
    band = charts.band(
        replace(it, label=said or title), asked.zone, asked.now,
        onset=own.started_at if own else None, until=own.closed_at if own else None,
    )  # fmt: skip
    when = {"from": formats.iso(period.since), "to": formats.iso(period.until), "since": None}
    return {
        "band": band, "said": said, "u_data": _for_script(it, band), "incident": incident,
        "hue": own.severity if own else "", "here": asked.address(**{"from": None, "to": None, "since": None}),
        "around": asked.address("/metrics", **when, **slice),
    }  # fmt: skip


def _is_within(incident: Incident, slice: Mapping[str, str]) -> bool:
    return all(str((incident.slice or {}).get(name, value)) == value for name, value in slice.items())


def _for_script(it: charts.Series, band: charts.Band) -> str:
    """The numbers of the picture for the one that can be zoomed; words are those of the server."""
    return json.dumps({
        "start": it.start, "step": it.step_s, "values": list(it.values),
        "low": [each[0] if each else None for each in it.expected],
        "high": [each[1] if each else None for each in it.expected],
        "typical": list(it.typical), "worse": it.worse, "log": band.is_log,
        "window": [it.start + each / charts.WIDE * (it.end - it.start)
                   for each in (band.window[0], sum(band.window))] if band.window else None,
        "y": [[each.at, each.text] for each in band.y], "x": [[each.at, each.text, each.edge] for each in band.x],
        "tips": band.tips, "top": _top(band, it),
    }, separators=(",", ":"))  # fmt: skip


def _top(band: charts.Band, it: charts.Series) -> list[float]:
    """The ends of the axis, so that both pictures have the same one."""
    return list(charts.ends_of(it, ticks=3, is_log=band.is_log))


def _in_time(asked: Asked) -> tuple[Asked, bool]:
    """The time that is asked for; of an old database as long a one up to its last call."""
    reach = asked.store.extent(Span, asked.caller.where)
    own = any(asked.given.get(name) for name in ("from", "to"))
    if reach and not own and asked.now - reach[1] > OLD_S:
        return replace(asked, period=ending(asked.period, reach[1] + 1)), True
    return asked, False


def _slice(asked: Asked) -> dict[str, str]:
    """The calls that are asked for, by what rollups tell apart."""
    return {name: value for name, value in asked.query if name in KEYS and name != "project" and value}


def _chips(asked: Asked, slice: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [(saying.noun(name), value, asked.address(**{name: None})) for name, value in slice.items()]


def _line(asked: Asked, it: Watched) -> Line:
    return Line(
        key=it.key,
        name=it.metric.label if it.metric else title_of(it.key, HOUR_S),
        href=asked.address(f"/metrics/{it.key}", **_slice(asked)),
        value=_amount(it.key, it.value),
        usual=_usually(it.key, it.usual),
        spark=charts.spark(it.series.over, it.series.expected),
        ribbon=stretches(it.series),
        outside=f"{formats.percent(it.outside)} of the time" if it.outside else "",
        hue=drawing.SEVERITY_CLASS[it.incident.severity] if it.incident else "",
        incident=it.incident,
        judged=_judged(it.judges),
    )


def _small(asked: Asked, name: str, found: list[Part], known: Sequence[Incident]) -> Iterator[Small]:
    highest = scale_of(found)
    for part in found:
        incident = next((each for each in known if {**(each.slice or {}), **part.slice} == (each.slice or {})), None)
        label = f"{part.value}: {title_of(name, part.series.step_s)}"
        yield Small(
            name=part.value,
            href=asked.address(**part.slice, by=None),
            calls=part.calls,
            outside=f"outside {formats.percent(part.outside)} of the time" if part.outside else "",
            severity=incident.severity if incident else "",
            band=charts.band(
                replace(part.series, label=label), asked.zone, asked.now, ticks=2, across=3, highest=highest,
                onset=incident.started_at if incident else None, until=incident.closed_at if incident else None,
            ),
        )  # fmt: skip


def _said(asked: Asked, title: str, it: Watched | None, slice: Mapping[str, str]) -> str:
    """What the picture says, in a sentence."""
    if it is None or it.value is None:
        return ""
    when = f"in the {asked.period.said}" if asked.period.name else "in this time"
    of = f" of {saying.named(slice)}" if slice else ""
    if measure_of(it.key).family == "volume":
        usual = f", usually {_usually(it.key, it.usual)}" if it.usual else ""
        return f"{formats.plural(round(it.value), 'call')}{of} {when}{usual}."
    known = _usually(it.key, it.usual)
    usual = f", usually {known}" if known else ""
    odd = f"; outside of it {formats.percent(it.outside)} of the time" if it.is_odd and it.outside else ""
    return f"{title}{of}: {_amount(it.key, it.value)} {when}{usual}{odd}."


def _amount(metric: str, value: float | None) -> str:
    if value is None:
        return formats.MISSING
    measure = measure_of(metric)
    return formats.count(round(value)) if measure.family == "volume" else formats.amount(value, measure.unit)


def _usually(metric: str, usual: Usual | None) -> str:
    if usual is None:
        return ""
    measure = measure_of(metric)
    low, high = usual.range
    if low <= 0:
        return f"up to {_amount(metric, high)}"
    if measure.family == "volume":
        return formats.spanning(_amount(metric, low), _amount(metric, high))
    return formats.between(low, min(high, 1.0) if measure.unit in ("share", "score") else high, measure.unit)


def _judged(judges: Judges | None) -> str:
    """Who judges a metric, in words."""
    if judges is None:
        return "shown only"
    if judges.engine:
        return "as calls come"
    if judges.series:
        return "by the hour"
    if judges.type or judges.rule:
        return "when asked"
    if judges.itself:
        return "by a fixed limit"
    return "once declared" if judges.declarable else "shown only"


def _learning(stand: Standing) -> str:
    """How far learning is."""
    if stand.is_empty or stand.learned_until is None:
        return "nothing has been judged yet"
    if stand.is_learning:
        return f"learning, {stand.learned_days} of {stand.of_days} days"
    return (
        "hours of the day and days of the week are known" if stand.learned_days >= 14 else "hours of the day are known"
    )


def _facts(name: str, row: Metric | None, stand: Standing) -> Iterator[tuple[str, str]]:
    if row is not None:
        yield "What it is", row.help
        yield "How", row.formula
        yield "Which way is bad", RULES_OF[row.bad]
        judges = judges_of(row)
        yield "Judged", _judged(judges)
        if judges.engine and judges.engine != name:
            yield "In findings", judges.engine
        if judges.type:
            yield "Anomaly type", f"{judges.type}, beyond {judges.threshold:g} standard deviations"
        if judges.rule:
            yield "Rule", judges.rule
        if row.needs:
            yield "Measured from", ", ".join(row.needs)
    yield "State", _learning(stand)
    yield "Name", name
