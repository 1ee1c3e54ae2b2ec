"""No row of another project or account in any page, answer, export, stream or error, on any route there is."""

import asyncio
import dataclasses
import re
from contextlib import aclosing, contextmanager

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tracewatch.access import create_key
from tracewatch.dealing import deal
from tracewatch.records import (
    AlertChannel,
    AlertRule,
    Anomaly,
    Deed,
    Delivery,
    Incident,
    PriceOverride,
    Project,
    Span,
    Verdict,
)
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import make_app
from tracewatch.web.gate import PUBLIC, PUBLIC_UNDER

NOW = 1_790_000_000.0
HOUR_S = 3600.0
STREAMS = ("/events", "/api/v1/events")
WHOSE = (("ours", "us1"), ("ours", "us2"), ("theirs", "us1"), ("theirs", "us3"))


def mark(project, user):
    """What no answer to anybody else may hold."""
    return f"mark{project}{user}"


def spans_of(project, user, number):
    marked = mark(project, user)
    for place in range(2):
        yield Span(
            project=project, user_id=user, trace_id=f"trace{marked}{number}", span_id=f"{marked}{place}",
            parent_span_id=f"{marked}0" if place else None, start_time=NOW - number * 1800 - 60 + place,
            duration_ms=900.0, ttft_ms=100.0, operation_type="chat", span_name=f"name{marked}",
            model_name=f"model{marked}", model_provider=f"provider{marked}", usage_type=f"usage{marked}",
            session_id=f"session{marked}", conversation_id=f"conversation{marked}", service_name=f"service{marked}",
            environment=f"environment{marked}", error_message=f"error{marked}", status="error" if place else "ok",
            input_tokens=100, output_tokens=10, cost_usd=0.01, cost_status="exact", source="sdk",
            metadata={f"key{marked}": 1},
        )  # fmt: skip
    yield Span(
        project=project, user_id=user, trace_id=f"job{marked}{number}", span_id="0", start_time=NOW - number * 1800,
        model_provider="system", model_name="batch", usage_type=f"job{marked}", metadata={"done": 1}, source="sdk",
    )  # fmt: skip


def records_of(project, user):
    marked = mark(project, user)
    incident = Incident(
        project=project, id=f"incident{marked}", severity="high", title=f"title{marked}", root_id=f"root{marked}",
        metric_name="cost_usd", kind="level_shift", direction="up", slice={"user_id": user, "model_name": marked},
        confidence_score=0.9, started_at=NOW - 7200, detected_at=NOW - 7000, updated_at=NOW - 60,
        trace_ids=(f"trace{marked}0",), contributing_factors=(f"factor{marked}",), observed=2.0, expected=1.0,
        lower=0.5, upper=1.5,
    )  # fmt: skip
    anomaly = Anomaly(
        project=project, id=f"anomaly{marked}", user_id=user, anomaly_type="cost", severity="high",
        confidence_score=0.9, metric_name="cost_usd", model_id=f"model{marked}", detected_value=2.0,
        expected_value=1.0, threshold_value=1.5, deviation_percentage=100.0, statistics={"trace_id": marked},
        description=f"finding{marked}", detected_at=NOW - 60, occurred_at=NOW - 7200, detector="adaptive",
        incident_id=incident.id, trace_id=f"trace{marked}0",
    )  # fmt: skip
    return incident, anomaly


def alerts_of(project):
    """Who is told what in a project: of it nobody sees anything but whoever sees all of the project."""
    marked = mark(project, "alerts")
    yield AlertRule(project=project, name=f"rule{marked}", channels=(f"channel{marked}",), changed_at=NOW - 60)
    address = f"http://127.0.0.1:1/{marked}?secret={marked}"
    yield AlertChannel(project=project, name=f"channel{marked}", url=address, changed_at=NOW - 60)
    for _, user in (each for each in WHOSE if each[0] == project):
        incident = f"incident{mark(project, user)}"
        yield Delivery(
            project=project, key=f"key{marked}{user}", state="dead", channel=f"channel{marked}", rule=f"rule{marked}",
            event="opened", incident_id=incident, severity="high", title=f"told{marked}", message={"title": marked},
            created_at=NOW - 60, due_at=NOW - 60, answer=f"answer{marked}", token=f"token{marked}",
        )  # fmt: skip
        yield Verdict(project=project, rule=f"rule{marked}", incident_id=incident, verdict="noise", given_at=NOW - 60)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """An app over two projects with two accounts in each, and a client of it."""
    db = str(tmp_path_factory.mktemp("isolation") / "w.db")
    with open_store(db, create=True) as store:
        for project, user in WHOSE:
            for number in range(30):
                store.add(list(spans_of(project, user, number)))
            incident, anomaly = records_of(project, user)
            store.add([incident])
            store.add([anomaly])
            deal(store, incident, "note", who=f"who{mark(project, user)}", now=NOW - 30, text=f"x{mark(project, user)}")
        for project in ("ours", "theirs"):
            store.add([Project(project=project, created_at=NOW)])
            pattern = f"price{mark(project, 'prices')}"
            store.add([PriceOverride(project=project, pattern=pattern, input_per_million=1.0, output_per_million=1.0)])
            create_key(store, project=project, rights=("read",), now=NOW, name=f"key{mark(project, 'keys')}")
            for each in alerts_of(project):
                store.add([each])
        store.roll_up()
    made = make_app(Settings(db=db, project="ours"), open_without_keys=True)
    with TestClient(made, base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False) as client:
        made.state.serving = dataclasses.replace(made.state.serving, clock=lambda: NOW)
        yield client


@pytest.fixture(scope="module")
def callers(app):
    """Key -> what its holder may never see."""
    store = app.app.state.serving.store
    everything = {mark(*each) for each in WHOSE} | {mark(each, "prices") for each in ("ours", "theirs")}
    everything |= {mark(each, what) for each in ("ours", "theirs") for what in ("keys", "alerts")}

    def of(project, user, rights):
        key = create_key(store, project=project, user_id=user, rights=rights, now=NOW)[1]
        own = {each for each in everything if each.startswith(f"mark{project}")}
        # What a project pays for tokens is no row of anybody, and holds for the calls of each account.
        return key, everything - ({mark(project, user), mark(project, "prices")} if user else own)

    whole = [of(project, None, ("admin",)) for project in ("ours", "theirs")]
    return whole + [of(project, user, ("read", "write")) for project, user in WHOSE]


def routes_of(app):
    """Every method and path that the app has."""
    found = []

    def walk(routes):
        for each in routes:
            inner = getattr(each, "routes", None) or getattr(getattr(each, "original_router", None), "routes", None)
            if inner:
                walk(inner)
            elif getattr(each, "methods", None):
                found.extend((method, each.path) for method in sorted(each.methods))

    walk(app.routes)
    return [(method, path) for method, path in found if not path.startswith(PUBLIC_UNDER) and path not in PUBLIC]


ROUTES = routes_of(make_app(Settings()))
ANSWERED = [(method, path) for method, path in ROUTES if path not in STREAMS and method != "HEAD"]
FILLED = re.compile(r"\{[^}]*\}")
PREFIXES = ("incident", "anomaly", "trace", "job", "model", "session", "conversation", "user", "key", "")
IDS = st.builds(
    lambda prefix, whose, tail: f"{prefix}{mark(*whose)}{tail}",
    st.sampled_from(PREFIXES), st.sampled_from(WHOSE), st.sampled_from(("", "0", "1")),
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from((
        *("user_id", "model_name", "trace_id", "session_id", "q", "tab", "severity", "by", "what", "format", "metric"),
        *("since", "page", "usage_type", "status", "incident_id", "view", "span", "open", "project", "user", "model"),
    )),
    st.one_of(
        IDS,
        st.sampled_from(("us1", "us2", "us3", "30d", "24h", "all", "open", "user_id", "model_name", "incidents",
                         "anomalies", "jsonl", "csv", "error", "ours", "theirs", "/incidents", "/traces", "table")),
    ),
    max_size=3,
)  # fmt: skip
ACCEPTS = ("text/html", "application/json", "*/*")
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_there_are_routes_of_every_kind():
    paths = {path for _, path in ROUTES}
    assert {"/", "/traces", "/metrics", "/api/v1/export", "/api/admin/stats", "/v1/traces", *STREAMS} <= paths


@contextmanager
def unchanged(store):
    """Deeds are taken back, so that notes of one account do not stand in the answers to another."""
    before = {each.id for each in store.page(Deed, limit=1000).records}
    yield
    for each in store.page(Deed, limit=1000).records:
        if each.id not in before:
            store.remove(Deed, [_is(each.id)])


def _is(id_):
    from tracewatch.stores import Filter

    return Filter("id", "=", (id_,))


@pytest.mark.parametrize(("method", "path"), ANSWERED)
def test_no_answer_holds_what_is_somebody_elses(app, callers, method, path):
    @BOUNDED
    @given(data=st.data())
    def ask(data):
        key, foreign = data.draw(st.sampled_from(callers))
        filled = FILLED.sub(lambda _: data.draw(IDS), path)
        query = {"since": "30d", **data.draw(QUERIES)}
        headers = {"accept": data.draw(st.sampled_from(ACCEPTS)), "x-api-key": key, "origin": "http://127.0.0.1"}
        given_back = {filled, *query.values()}
        body = data.draw(st.sampled_from(({"verb": "note", "text": "x"}, {"verb": "acknowledge"}, None)))
        if "form" in data.draw(st.sampled_from(("form", "json"))):
            sent = {"data": {**(body or {}), "id": data.draw(IDS), "back": "/incidents"}}
        else:
            sent = {"json": body}
        with unchanged(app.app.state.serving.store):
            answer = app.request(method, filled, params=query, headers=headers, **({} if method == "GET" else sent))
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        said = answer.text + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        for each in foreign - {each for each in foreign for back in given_back if each in back}:
            assert each not in said, f"{method} {filled} {query}"
        for each in foreign:  # what was asked for may be said back, but nothing more of it
            assert f"title{each}" not in said or any(f"title{each}" in back for back in given_back)
            assert f"error{each}" not in said or any(f"error{each}" in back for back in given_back)

    ask()


@pytest.mark.parametrize("path", STREAMS)
def test_no_stream_holds_what_is_somebody_elses(app, callers, path):
    """What a stream tells is made from the same store: it is read as its channel reads it."""
    from tracewatch.access import find_caller
    from tracewatch.web.api.events import Happenings
    from tracewatch.web.asking import Asked
    from tracewatch.web.events import Events
    from tracewatch.web.pages.live import Screen
    from tracewatch.web.views import happening
    from tracewatch.web.views.period import period_of

    store = app.app.state.serving.store
    for key, foreign in callers:
        caller = find_caller(store, key, NOW)

        def channel(caller=caller):
            if path == "/api/v1/events":
                return Happenings(store, caller)
            from datetime import UTC

            asked = Asked(
                store=store, caller=caller, now=NOW, zone=UTC, zone_name="UTC", period=period_of({}, NOW), path="/",
                query=(),
            )  # fmt: skip
            return Screen(asked)

        async def first(made):
            events = Events(store, lambda: NOW, every_s=0.001)
            async with aclosing(events.listen(made)) as stream:
                return [await anext(stream) for _ in range(2)]

        said = b"".join(asyncio.run(asyncio.wait_for(first(channel()), 30))).decode()
        happened, found = happening.since(store, caller, NOW - 86_400)
        said += repr(happened) + repr(found)
        assert len(said) > 100
        assert [each for each in foreign if each in said] == []
