"""Every route and every command, over a store full of secrets and of names that want more than to be read."""

import asyncio
import io
import logging
import re
import stat
from contextlib import aclosing
from datetime import UTC
from html.parser import HTMLParser
from urllib.parse import quote

import alerted
import pytest
import shop
from click.testing import CliRunner
from pyarrow import parquet
from test_isolation import ROUTES, STREAMS

from tracewatch.access import create_key, find_caller
from tracewatch.cli import group
from tracewatch.records import AlertChannel, AlertRule, Anomaly, Delivery, Span
from tracewatch.stores import open_store
from tracewatch.web.api import events as happenings
from tracewatch.web.asking import Asked
from tracewatch.web.events import Events
from tracewatch.web.pages.live import Screen
from tracewatch.web.views import happening
from tracewatch.web.views.period import period_of

NAME = "<script>alert(1)</script><img src=x onerror=y>\"' \x1b[31m\x07\u202eevil\u2066 <!channel>\r\nBcc: x@example.com"
SECRETS = ("s3cretfixed", "s3cretkept", "s3cretvariable", "s3crettoken", "s3cretrule", alerted.SECRET, alerted.TOKEN)
ENVIRONMENT = {
    "TRACEWATCH_ALERT_CHANNELS": "slack+http://127.0.0.1:1/s3cretfixed json://me:s3cretfixed@127.0.0.1:1/s3cretfixed",
    "TRACEWATCH_CHANNEL_OPS": "http://127.0.0.1:1/s3cretvariable",
    "TRACEWATCH_PUBLIC_URL": "https://watch.example.com",
}
TEXTS = (
    "model_name", "model_provider", "operation_type", "user_id", "session_id", "usage_type", "service_name",
    "span_name", "error_message", "conversation_id", "app_version",
)  # fmt: skip
TURNING = {"\u202e", "\u2066"}
BODIES = (None, {"verb": "test_channel", "name": "kept"}, {"verb": "resend", "key": "odd"}, {"channel": "variable"},
          {"rules": [{"name": "x", "channels": ["http://127.0.0.1:1/s3cretgiven"], "severty": "low"}]})  # fmt: skip


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """The shop that is told of, and an incident, calls, rules and messages with names of the worst kind."""
    path = alerted.make(tmp_path_factory.mktemp("odd") / "w.db")
    texts = dict.fromkeys(TEXTS, NAME)
    with open_store(path) as store:
        store.add([
            Span(trace_id=f"odd{number % 3}", span_id=f"s{number}", start_time=shop.NOW - 300 + number, status="error",
                 duration_ms=900.0, cost_usd=0.1, cost_status="exact", input_tokens=10, metadata={NAME: NAME},
                 source="sdk", **texts)
            for number in range(40)
        ])  # fmt: skip
        odd = {"title": NAME, "slice": {"model_name": NAME, "user_id": NAME}, "contributing_factors": (NAME,),
               "recommended_actions": (NAME,), "started_at": shop.NOW - 300, "detected_at": shop.NOW - 200,
               "trace_ids": ("odd0",), "observed": 2.0, "expected": 1.0, "lower": 0.5, "upper": 1.5}  # fmt: skip
        store.add([shop.an_incident("odd", "critical", **odd)])
        store.add([shop.an_incident("odd2", "high", rule="budget", detector="rules", **odd)])
        store.add([
            Anomaly(id="root-odd", anomaly_type="cost", severity="critical", confidence_score=0.9,
                    metric_name="cost_usd", model_id=NAME, user_id=NAME, detected_value=2.0, expected_value=1.0,
                    threshold_value=1.5, deviation_percentage=100.0, description=NAME,
                    statistics={"operation_type": NAME},
                    detected_at=shop.NOW - 200, occurred_at=shop.NOW - 300, detector="adaptive", incident_id="odd",
                    slice={"model_name": NAME}, trace_id="odd0", trace_ids=("odd0",))
        ])  # fmt: skip
        kept = "http://me:s3cretkept@127.0.0.1:1/s3cretkept?secret=s3cretkept"
        store.add([AlertChannel(name="kept", url=kept, changed_at=shop.NOW)])
        store.add([AlertChannel(name="variable", url="${TRACEWATCH_CHANNEL_OPS}", changed_at=shop.NOW)])
        store.add([
            AlertRule(name="odd", description=NAME, labels={NAME: NAME}, slice={"model_name": [NAME]}, channels=("kept",
                      "http://127.0.0.1:1/s3cretrule"), escalate=("pagerduty://s3cretrule@s3cretrule",),
                      changed_by=NAME, changed_at=shop.NOW)
        ])  # fmt: skip
        store.add([
            Delivery(key="odd", state="dead", channel="kept", rule="odd", event="opened", incident_id="odd",
                     severity="critical", title=NAME, message={"title": NAME}, created_at=shop.NOW - 100, answer=NAME,
                     due_at=shop.NOW - 100, token="s3crettoken")
        ])  # fmt: skip
        create_key(store, project="default", rights=("read",), now=shop.NOW, name=NAME)
        store.roll_up()
    return path


@pytest.fixture(scope="module")
def client(db):
    given = {"alert_channels": ENVIRONMENT["TRACEWATCH_ALERT_CHANNELS"], "public_url": "https://watch.example.com"}
    with pytest.MonkeyPatch.context() as patch, shop.looking_at(db, **given) as client:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        client.headers["origin"] = "http://127.0.0.1"
        store = client.app.state.serving.store
        _, key = create_key(store, project="default", rights=("read", "write", "admin"), now=shop.NOW)
        client.headers["authorization"] = f"Bearer {key}"
        assert "What was unusual" in client.get("/").text  # not the page that asks for a key
        yield client


class Tags(HTMLParser):
    """What a browser would make of a page, as far as it runs or loads anything."""

    def __init__(self, html):
        super().__init__()
        self.wrong = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        its = dict(attrs)
        if any(name.startswith("on") for name in its) or (tag == "script" and not its.get("src", "").startswith("/")):
            self.wrong.append((tag, attrs))
        if tag == "img" or "evil" in (its.get("src") or "") or (its.get("href") or "").startswith(("javascript:", "<")):
            self.wrong.append((tag, attrs))


def filled(path):
    """The path with names of the worst kind, and with those that are there."""
    for given in ("odd", "odd0", shop.COSTLY, "kept", NAME.replace("/", "")):
        yield re.sub(r"\{[^}]*\}", lambda _, given=given: quote(given, safe=""), path)
        if "{" not in path:
            return


def said(answer):
    return answer.text + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())


@pytest.mark.parametrize("path", sorted({path for method, path in ROUTES if method == "GET"} - set(STREAMS)))
def test_every_page_and_answer_shows_names_as_names_and_no_secret(client, path, caplog):
    caplog.set_level(logging.DEBUG)
    for each in filled(path):
        for query in ({"since": "30d"}, {"since": "30d", "user_id": NAME, "model_name": NAME, "q": NAME}):
            answer = client.get(each, params=query, headers={"accept": "text/html"})
            assert answer.status_code < 500, answer.text
            assert not [secret for secret in SECRETS if secret in said(answer)]
            if answer.headers.get("content-type", "").startswith("text/html"):
                assert Tags(answer.text).wrong == []
                assert not TURNING & set(answer.text)
    assert not [secret for secret in SECRETS if secret in caplog.text]


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path in ROUTES if method not in ("GET", "HEAD")]
)
def test_no_deed_says_a_secret_however_it_fails(client, method, path, caplog):
    caplog.set_level(logging.DEBUG)
    for body in BODIES:
        for each in filled(path):
            for sent in ({"json": body}, {"data": {name: str(its) for name, its in (body or {}).items()}}):
                answer = client.request(method, each, headers={"accept": "text/html"}, **sent)
                assert answer.status_code < 500, answer.text
                found = said(answer) + caplog.text
                assert not [secret for secret in SECRETS if secret in found], f"{method} {each} {body}"


def caller_of(client):
    key = client.headers["authorization"].removeprefix("Bearer ")
    return find_caller(client.app.state.serving.store, key, shop.NOW)


def heard(store, made, missed):
    """What a listener gets at first: a sign of life, what was missed, and how things stand."""

    async def first():
        events = Events(store, lambda: shop.NOW, every_s=0.001)
        async with aclosing(events.listen(made, missed)) as stream:
            return [await anext(stream) for _ in range(2 + len(missed()))]

    return b"".join(asyncio.run(asyncio.wait_for(first(), 60))).decode()


def test_the_stream_of_what_happens_says_no_secret(client, caplog):
    caplog.set_level(logging.DEBUG)
    store = client.app.state.serving.store
    caller = caller_of(client)
    messages = happenings.messages(*happening.since(store, caller, shop.NOW - 86_400), shop.NOW)
    told = heard(store, happenings.Happenings(store, caller), lambda: messages)
    assert {"incident.opened", "anomaly"} <= {each.event for each in messages}
    assert "evil" in told
    assert all(line.startswith(("id: ", "event: ", "data: ", ": still here")) for line in told.split("\n") if line)
    assert not [secret for secret in SECRETS if secret in told + caplog.text]


@pytest.mark.parametrize("path", ["/", "/incidents", "/incidents/odd", "/anomalies", "/alerts", "/settings"])
def test_the_stream_of_no_page_says_a_secret(client, path, caplog):
    caplog.set_level(logging.DEBUG)
    store = client.app.state.serving.store
    screen = Screen(
        Asked(store=store, caller=caller_of(client), now=shop.NOW, zone=UTC, zone_name="UTC",
              period=period_of({"since": "30d"}, shop.NOW), path=path, query=(("since", "30d"), ("q", NAME)))
    )  # fmt: skip
    told = heard(store, screen, tuple)
    assert "hx-partial" in told
    assert not [secret for secret in SECRETS if secret in told + caplog.text]
    assert Tags(told).wrong == []


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("what", ["traces", "anomalies", "incidents"])
def test_no_export_says_a_secret(client, db, what, form, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    sent = client.get("/api/v1/export", params={"what": what, "format": form, "since": "30d"})
    assert sent.status_code == 200
    file = tmp_path / f"out.{form}"
    done = CliRunner(env=ENVIRONMENT).invoke(group, ["export", str(file), "--what", what, "--db", db])
    assert done.exit_code == 0, done.output
    for each in (sent.content, file.read_bytes()):
        rows = str(parquet.read_table(io.BytesIO(each)).to_pylist()) if form == "parquet" else each.decode()
        assert "evil" in rows
        assert not [secret for secret in SECRETS if secret in rows]
    assert not [secret for secret in SECRETS if secret in done.output + caplog.text]


def test_an_archive_says_no_secret_and_only_its_owner_reads_it(db, tmp_path, caplog):
    """The addresses of channels are in it, or it could not bring them back; those of the environment are not."""
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "backup"
    done = CliRunner(env=ENVIRONMENT).invoke(group, ["export", "--what", "everything", str(folder), "--db", db])
    assert done.exit_code == 0, done.output
    assert not [secret for secret in SECRETS if secret in done.output + caplog.text]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    held = b"".join(each.read_bytes() for each in sorted(folder.iterdir()))
    assert not [each for each in (b"s3cretfixed", b"s3cretvariable") if each in held]


COMMANDS = (
    ("alerts", "list"), ("alerts", "list", "--format", "json"), ("alerts", "deliveries"),
    ("alerts", "deliveries", "--format", "json"), ("alerts", "plan"), ("alerts", "plan", "--format", "json"),
    ("alerts", "test", "kept"), ("incidents",), ("incidents", "odd"), ("anomalies",),
    ("explain", "odd"), ("traces", "--limit", "50"), ("trace", "odd0"), ("stats", "--since", "10d"), ("metrics",),
    ("keys", "list"), ("doctor",), ("jobs",), ("incidents", "--format", "json"), ("prices", "check"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_says_a_secret_or_moves_the_cursor(db, words, caplog):
    caplog.set_level(logging.DEBUG)
    done = CliRunner(env={**ENVIRONMENT, "COLUMNS": "200"}).invoke(group, [*words, "--db", db])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    told = done.stdout + done.stderr
    assert not [secret for secret in SECRETS if secret in told + caplog.text]
    assert not {each for each in told if not each.isprintable()} - {"\n"} or "json" in words
