"""What every GET route is asked with: the routes are read off the application, the parameters off the store.

A route that nothing is said about here is asked over three lengths of time, so a new page is measured by being there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from fastapi import FastAPI

from benchmarks.traffic import LONG_TRACE
from tracewatch.records import Anomaly, Incident, Record, Span, iso
from tracewatch.stores import Store
from tracewatch.stores.base import Filter

LEFT_OUT = ("/static/", "/events", "/api/v1/events", "/api/v1/export", "/health/")
"""Files, streams without end, and answers that are as long as what is asked for."""
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
PERIODS = ("24h", "7d", "30d")
METRICS = ("cost_usd", "latency_ms", "call_count", "error_rate")
MINE = Filter("project", "=", ("default",))
FILTERS: Sequence[Mapping[str, str]] = (
    {"model_name": "claude-sonnet-4-5"}, {"model_name": "o3"}, {"status": "error,timeout"}, {"status": "ok"},
    {"operation_type": "chat", "status": "timeout"}, {"operation_type": "legal_review"},
    {"usage_type": "indexing_batch"},
    {"service_name": "support-bot", "model_name": "gpt-4.1"}, {"environment": "staging", "model_name": "o3"},
    {"cost_usd": ">0.4"}, {"duration_ms": ">100000"}, {"app_version": "v2"}, {"error_type": "RateLimitError"},
    {"retry_count": "3"}, {"model_name": "none"}, {"operation_type": "none", "status": "error"}, {"cost_usd": ">1000"},
    {"error_type": "none"}, {"user_id": "none"},
)  # fmt: skip
"""Conditions on columns with an index, on such without one, and such that nothing meets."""


@dataclass(frozen=True, slots=True)
class Question:
    """One address, of which route it is, and what is taken for an answer."""

    path: str
    address: str
    accept: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a store holds to ask for: values of the parameters of paths, and where deep pages begin."""

    values: Mapping[str, Sequence[str]]
    cursors: Mapping[type[Record], Sequence[str]]
    years: str
    """A time that holds all there is."""


def questions(app: FastAPI, store: Store) -> Iterator[Question]:
    """Every route with every parameter that is known for it."""
    known = _known(store)
    for path, accept in _routes(app):
        for filled in _filled(path, known):
            for query in _queries(path, known):
                yield Question(path, f"{filled}?{urlencode(query)}" if query else filled, accept)


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    """Each path, with what is asked for there: a page, or what stands in the schema of the API."""
    found: list[tuple[str, str]] = []

    def walk(routes: Sequence[object]) -> None:
        for each in routes:
            inner = getattr(each, "routes", None) or getattr(getattr(each, "original_router", None), "routes", None)
            if inner:
                walk(inner)
            elif "GET" in (getattr(each, "methods", None) or ()):
                found.append((each.path, "*/*" if getattr(each, "include_in_schema", False) else "text/html"))

    walk(app.routes)
    return [each for each in dict.fromkeys(found) if not each[0].startswith(LEFT_OUT)]


def _filled(path: str, known: Known) -> Iterator[str]:
    """The path with each value of its first parameter, and the first of any other."""
    names = PARAMETER.findall(path)
    if not names:
        yield path
        return
    unknown = [name for name in names if name not in known.values]
    if unknown:
        raise SystemExit(f"benchmarks/questions.py does not know what to ask {path} for as {', '.join(unknown)}")
    for value in known.values[names[0]]:
        given = {name: known.values[name][0] for name in names} | {names[0]: value}
        yield PARAMETER.sub(lambda found, given=given: quote(given[found[1]], safe=""), path)


def _queries(path: str, known: Known) -> Iterator[Mapping[str, str]]:
    yield {}
    more = MORE.get(path)
    if more is None or more.in_time:
        yield from ({"since": each} for each in PERIODS[1:])
    if more is not None:
        yield from more.asked(known)


@dataclass(frozen=True, slots=True)
class More:
    """What else a route is asked for, and whether it is about a time."""

    asked: Callable[[Known], Iterator[Mapping[str, str]]]
    in_time: bool = True


def _calls(known: Known) -> Iterator[Mapping[str, str]]:
    yield {"from": known.years}
    for each in FILTERS:
        yield from ({"since": period, **each} for period in ("24h", "30d"))
    for name in ("user_id", "session_id", "trace_id"):
        yield from ({"since": "30d", name: value} for value in known.values[name])
    yield from ({"from": known.years, "cursor": each} for each in known.cursors[Span])
    yield {"since": "30d", "status": "error", "cursor": known.cursors[Span][0]}


def _findings(known: Known) -> Iterator[Mapping[str, str]]:
    yield {"from": known.years}
    for query in ({"severity": "critical"}, {"view": "trends"}, {"model": "o3"}, {"operation_type": "chat"}):
        yield from ({"since": period, **query} for period in PERIODS)
    yield from ({"from": known.years, "cursor": each} for each in known.cursors[Anomaly])


def _groups(known: Known) -> Iterator[Mapping[str, str]]:
    yield from ({"since": "7d", "order": each} for each in ("cost", "calls", "errors", "latest"))
    yield {"since": "7d", "page": "40"}
    yield {"since": "30d", "begins": known.values["user_id"][0][:5]}


def _incidents(known: Known) -> Iterator[Mapping[str, str]]:
    yield from ({"tab": each} for each in ("open", "acknowledged", "snoozed", "resolved", "dismissed"))
    yield from ({"tab": "resolved", "cursor": each} for each in known.cursors[Incident])


def _slices(known: Known) -> Iterator[Mapping[str, str]]:
    yield {"from": known.years}
    yield from ({"since": period, "model_name": "claude-sonnet-4-5"} for period in PERIODS)
    yield {"since": "7d", "model_name": "none"}


def _ways(name: str, *values: str) -> Callable[[Known], Iterator[Mapping[str, str]]]:
    return lambda known: ({"since": period, name: each} for period in ("24h", "30d") for each in values)


MORE: Mapping[str, More] = {
    "/": More(_ways("lanes", "model_name", "usage_type")),
    "/traces": More(_calls),
    "/api/v1/traces": More(_calls),
    "/api/v1/traces/totals": More(_calls),
    "/anomalies": More(_findings),
    "/api/v1/anomalies": More(_findings),
    "/incidents": More(_incidents, in_time=False),
    "/api/v1/incidents": More(_incidents, in_time=False),
    "/sessions": More(_groups),
    "/users": More(_groups),
    "/cost": More(_ways("by", "model_provider", "operation_type", "user_id", "session_id")),
    "/api/v1/cost": More(_ways("by", "model_provider", "operation_type", "user_id", "session_id")),
    "/metrics/{name:path}": More(_slices),
    "/api/v1/metrics/{metric}/series": More(_slices),
    "/metrics": More(_slices),
    "/api/admin/traces": More(_ways("status", "error", "timeout")),
}
"""By the path of a route. Those that are not here are asked over the three lengths of time."""


def _known(store: Store) -> Known:
    reach = store.extent(Span, [MINE])
    assert reach is not None
    newest, oldest = (_span(store, [MINE, *part]) for part in ([], [Filter("start_time", "<=", (reach[0] + 3600,))]))
    user = _span(store, [MINE, Filter("start_time", "<=", ((reach[0] + reach[1]) / 2,))])
    incidents = [each.id for each in store.page(Incident, [MINE], limit=120).records if isinstance(each, Incident)]
    findings = [each.id for each in store.page(Anomaly, [MINE], limit=1000).records if isinstance(each, Anomaly)]
    values = {
        "trace_id": (newest.trace_id, oldest.trace_id, LONG_TRACE, "nothing-like-it"),
        "other_id": (user.trace_id,),
        "incident_id": (incidents[0], incidents[-1]),
        "anomaly_id": (findings[0], findings[-1]),
        "finding_id": (findings[0], findings[-1]),
        "metric": METRICS,
        "key": METRICS,
        "name": METRICS,
        "session_id": (str(newest.session_id), str(oldest.session_id)),
        "user_id": (str(newest.user_id), str(user.user_id)),
    }
    deep: dict[type[Record], Sequence[str]] = {
        record_type: [each for each in (_cursor(store, record_type, reach, part) for part in (0.9, 0.5, 0.02)) if each]
        for record_type in (Span, Anomaly, Incident)
    }
    return Known(values=values, cursors=deep, years=iso(reach[0]))


def _span(store: Store, where: Sequence[Filter]) -> Span:
    spans = store.page(Span, where, limit=200).records
    return next(each for each in spans if isinstance(each, Span) and each.user_id)


def _cursor(store: Store, record_type: type[Record], reach: tuple[float, float], part: float) -> str | None:
    """Where a page that begins so far into the store ends."""
    at = reach[0] + part * (reach[1] - reach[0])
    return store.page(record_type, [MINE, Filter(record_type.newest_by, "<=", (at,))], limit=1).next
