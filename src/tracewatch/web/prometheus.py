"""`/metrics` for Prometheus: how the server does, what calls come to, and the bands of each operation and model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from tracewatch import __version__
from tracewatch.access import Caller
from tracewatch.live.pulse import pulse
from tracewatch.pricing import table_age_days
from tracewatch.records import SEVERITIES
from tracewatch.web.counters import COMMIT_BUCKETS_S, Counters
from tracewatch.web.exposition import MEDIA_TYPE, Family, Sample, one, written
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server, Serving
from tracewatch.web.views import incidents
from tracewatch.web.views.bands import Band, Pair, bands, totals
from tracewatch.web.views.standing import standing

STRATEGY = "tracewatch"


class ForScrapers(APIRoute):
    """A route that a browser, which asks for a page, passes by: the page of the metrics has the same path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """No match for who wants HTML."""
        if scope["type"] == "http" and "text/html" in Headers(scope=scope).get("accept", ""):
            return Match.NONE, {}
        return super().matches(scope)


router = APIRouter(tags=["prometheus"], route_class=ForScrapers)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(server: Server, caller: Reader) -> Response:
    """The metrics of the key's project. Those of the server itself are told to keys of a whole project alone."""
    families = [*_llm(server, caller)]
    if caller.user_id is None:
        families = [*_own(server, caller), *families]
    return Response(written(families), media_type=MEDIA_TYPE)


def _own(server: Serving, caller: Caller) -> Iterator[Family]:
    """How the server does."""
    counters, now = server.counters, server.clock()
    stand = standing(server.store, caller, now)
    beat = pulse(server.store, caller.project, now)
    for name, kind, help, samples in (
        ("build_info", "gauge", "The version that runs.", one(1, version=__version__)),
        ("ingest_accepted_spans_total", "counter", "Spans stored before they were acknowledged.",
         one(counters.accepted_spans)),
        ("ingest_repeated_spans_total", "counter", "Accepted spans that were there already.",
         one(counters.repeated_spans)),
        ("ingest_rejected_spans_total", "counter", "Spans that can never be stored, by reason.",
         _by_reason(counters.rejected_spans)),
        ("ingest_refused_requests_total", "counter", "Requests turned away whole, by reason.",
         _by_reason(counters.refused_requests)),
        ("ingest_requests_total", "counter", "Requests that brought spans.", one(counters.requests)),
        ("ingest_queued_spans", "gauge", "Spans that wait to be stored.", one(counters.queued_spans)),
        ("ingest_queued_bytes", "gauge", "Bytes of requests that wait to be stored.", one(counters.queued_bytes)),
        ("commit_seconds", "histogram", "How long one transaction took.", _commits(counters)),
        ("failed_commits_total", "counter", "Transactions that failed.", one(counters.failed_commits)),
        ("rollup_pending_spans", "gauge", "Spans that are not in the rollups yet.", one(stand.waiting)),
        ("detection_lag_seconds", "gauge", "For how long calls could have been judged that are not.",
         one(beat.behind_s)),
        ("detection_judged_seconds", "gauge", "The moment up to which calls were judged (epoch).",
         one(beat.judged_until)),
        ("detection_waiting_rows", "gauge", "Rows that detection has not read yet.", one(beat.waiting)),
        ("detection_late_rows", "gauge", "Calls that came too late to be judged, since learning began.",
         one(beat.late)),
        ("detection_grace_seconds", "gauge", "How long a step of five minutes waits for late calls.",
         one(beat.grace_s)),
        ("detection_watching", "gauge", "Whether a process watches the store.", one(float(bool(beat.holder)))),
        ("price_table_age_seconds", "gauge", "Age of the newest price in the price table.",
         one(table_age_days(now) * 86_400)),
        ("event_listeners", "gauge", "Streams of events that are open.", one(server.events.listeners)),
    ):  # fmt: skip
        kinds: Any = kind
        yield Family(name=f"tracewatch_{name}", kind=kinds, help=help, samples=samples)


def _llm(server: Serving, caller: Caller) -> Iterator[Family]:
    """What the calls come to, and the bands."""
    now = server.clock()
    sums = totals(server.store, caller, now)
    opened = [each for each in incidents.going_on(server.store, caller) if incidents.tab_of(each) == "open"]
    statuses = ("ok", "error", "timeout", "fallback")
    for name, kind, help, samples in (
        ("calls_total", "counter", "Calls by how they ended.",
         [_of(pair, each[f"{status}_calls"], caller, status=status) for pair, each in sums.items()
          for status in statuses]),
        ("cost_usd_total", "counter", "Known cost of calls in US dollars.",
         [_of(pair, each["cost_usd_sum"], caller) for pair, each in sums.items()]),
        ("unpriced_calls_total", "counter", "Calls with tokens whose cost is not known.",
         [_of(pair, each["unpriced_calls"], caller) for pair, each in sums.items()]),
        ("tokens_total", "counter", "Tokens by direction.",
         [_of(pair, each[f"{way}_tokens_sum"], caller, direction=way) for pair, each in sums.items()
          for way in ("input", "output")]),
        ("call_duration_seconds", "summary", "How long calls took.",
         [_of(pair, value, caller, suffix=suffix) for pair, each in sums.items()
          for suffix, value in (("_sum", each["duration_ms_sum"] / 1000), ("_count", each["duration_ms_count"]))]),
        ("open_incidents", "gauge", "Incidents that nobody has taken note of, by severity.",
         [Sample(value=sum(each.severity == severity for each in opened),
                 labels={"project": caller.project, "severity": severity}) for severity in SEVERITIES]),
    ):  # fmt: skip
        kinds: Any = kind
        yield Family(name=f"tracewatch_{name}", kind=kinds, help=help, samples=samples)
    found = bands(server.store, caller, now)
    yield Family(
        name="anomaly:level", kind="gauge", help="The last whole hour.",
        samples=[_banded(each, each.level, caller) for each in found],
    )  # fmt: skip
    for name, help in (("lower", "the lower end"), ("upper", "the upper end")):
        yield Family(
            name=f"anomaly:{name}_band", kind="gauge", help=f"Of the expected range of that hour {help}.",
            samples=[_banded(each, getattr(each, name), caller) for each in found if each.lower is not None],
        )  # fmt: skip


def _of(pair: Pair, value: float, caller: Caller, *, suffix: str = "", **labels: str) -> Sample:
    return Sample(value=value, labels={**_labels(pair, caller), **labels}, suffix=suffix)


def _banded(band: Band, value: float, caller: Caller) -> Sample:
    labels = {
        "anomaly_name": f"tracewatch_{band.metric.name}",
        "anomaly_type": band.metric.type,
        "anomaly_strategy": STRATEGY,
        "anomaly_select": "1",
        **_labels(band.pair, caller),
    }
    return Sample(value=value, labels=labels)


def _labels(pair: Pair, caller: Caller) -> dict[str, str]:
    return {"project": caller.project, "operation": pair[0] or "", "model": pair[1] or ""}


def _by_reason(counts: Any) -> list[Sample]:
    return [Sample(value=count, labels={"reason": reason}) for reason, count in sorted(counts.copy().items())]


def _commits(counters: Counters) -> list[Sample]:
    counts = list(accumulate(counters.commit_buckets))
    bounds = [*map(str, COMMIT_BUCKETS_S), "+Inf"]
    buckets = [
        Sample(value=count, labels={"le": bound}, suffix="_bucket") for bound, count in zip(bounds, counts, strict=True)
    ]
    return [
        *buckets,
        Sample(value=counters.commit_seconds, labels={}, suffix="_sum"),
        Sample(value=counts[-1], labels={}, suffix="_count"),
    ]
