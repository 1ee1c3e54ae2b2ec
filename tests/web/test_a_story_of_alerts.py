"""Calls come live: of what is critical in them a webhook and Slack are told, and what is low acknowledges itself."""

import json
import time

import pytest
from receivers import receiving
from web.conftest import JSON, a_body
from workload import DAY, calls

from tracewatch.records import Span
from tracewatch.stores import open_store

AT = "/api/v1/alerts"
MINUTES, CALLS = 30, 20  # of live calls, and how many of them come a minute
RULES = {
    "failing": {"condition": {"threshold": {
        "metric": "error_rate", "above": 0.2, "window": "1h", "severity": "critical"}}},
    "wordy": {"condition": {"threshold": {
        "metric": "input_tokens", "above": 900, "window": "1h", "severity": "low"}}, "auto_acknowledge": "low"},
}  # fmt: skip


@pytest.fixture
def people():
    """Two receivers: one that takes webhooks, one that takes what Slack takes."""
    with receiving() as webhook, receiving() as slack:
        yield webhook, slack


def told(receiver):
    return [json.loads(body) for _, _, body in receiver.got]


def incidents(running):
    status, _, answer = running.ask("GET", "/api/v1/incidents")
    assert status == 200, answer
    return json.loads(answer)["data"]


def low(running):
    """The incident of low severity, once there is one."""
    return next((each for each in incidents(running) if each["severity"] == "low"), {"acknowledged": False})


def of_the_rule(webhook):
    """What the rule told of; what detection found besides is told by the default."""
    return [each for each in told(webhook) if each["payload"]["rule"] == "failing"]


def slack_lines(slack):
    return [each["text"] for each in told(slack) if "of the rule failing" in each["text"]]


def put(running, path, value):
    status, _, answer = running.ask("PUT", f"{AT}/{path}", json.dumps(value), JSON)
    assert status in (200, 201), answer


def until(is_so):
    deadline = time.monotonic() + 240
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that within four minutes"


def test_what_is_critical_is_told_and_what_is_low_acknowledges_itself(serve, tmp_path, people):
    webhook, slack = people
    now = time.time()
    with open_store(str(tmp_path / "w.db"), create=True) as store:
        for batch in calls(days=8, start=now - 8 * DAY - 3600, seed=3).to_batches():
            store.add_batch(Span, batch)
    with serve() as running:
        put(running, "channels/hook", {"url": f"{webhook.url}/hook"})
        put(running, "channels/team", {"url": f"slack+{slack.url}/services/T0/B0/x"})
        for name, rule in RULES.items():
            put(running, f"rules/{name}", rule)
        for minute in range(MINUTES):
            body = a_body(
                CALLS, trace=f"live{minute}", start_s=int(now) - 60 * (MINUTES - minute),
                attributes={"error.type": "overloaded"} if minute % 2 else {},
            )  # fmt: skip
            assert running.post(body)[::2] == (200, b"")
        until(lambda: of_the_rule(webhook) and slack_lines(slack) and low(running)["acknowledged"])
        quiet, found = low(running), {each["id"]: each for each in incidents(running)}
    (message,) = of_the_rule(webhook)
    assert message["type"] == "incident.opened"
    assert found[message["payload"]["incident"]["id"]]["severity"] == "critical"
    assert slack_lines(slack) == [f"⬣ Critical · New: {message['payload']['title']}"]
    assert "50 %" in message["payload"]["title"]
    assert (quiet["rule"], quiet["resolution_status"]) == ("wordy", "acknowledged")
    assert quiet["id"] not in {each["payload"]["incident"]["id"] for each in told(webhook)}
