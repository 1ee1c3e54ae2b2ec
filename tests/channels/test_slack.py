"""Slack as a receiver shaped like Slack sees it: blocks within its limits, in which nothing is a command."""

import doctest
import json

import pytest
from told import MONDAY, a_message

from tracewatch.channels import open_channel, slack
from tracewatch.channels.apprise import Apprised
from tracewatch.channels.slack import Slack, SlackBot, escaped, payload
from tracewatch.errors import DeliveryFailed, DeliveryRefused, UnknownChannel


def test_an_incident_in_blocks(receiver):
    open_channel(f"slack+{receiver.url}/services/T0/B0/x").send(a_message())
    ((path, headers, body),) = receiver.got
    assert path == "/services/T0/B0/x"
    assert headers["Content-Type"].startswith("application/json")
    told = json.loads(body)
    assert told["text"] == "⬣ Critical · New: Calls of rag_answer on claude-sonnet-4-5 cost 5.9¢, usually 1.2–1.8¢"
    kinds = [each["type"] for each in told["blocks"]]
    assert kinds == ["header", "section", "section", "section", "section", "section", "section", "context"]
    header, title, facts, picture, where, why, following, last = told["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "⬣ Critical · New"}
    assert title["text"]["text"] == (
        "*<https://watch.example.com/incidents/inc-1?from=slack|"
        "Calls of rag_answer on claude-sonnet-4-5 cost 5.9¢, usually 1.2–1.8¢>*"
    )
    assert [each["text"] for each in facts["fields"]] == [
        "*When*\nsince 2026-03-02 14:02 UTC",
        "*Cost per call*\n5.9¢, usually 1.2–1.8¢",
        "*Extra so far*\n$38.31",
    ]
    assert picture["text"]["text"] == "`▃▃▃ ▃███`"
    assert where["text"]["text"] == "*Where*\nrag_answer on claude-sonnet-4-5"
    assert why["text"]["text"].startswith("*Why*\n- The prompt cache stopped hitting")
    assert following["text"]["text"].endswith("\n2. Go back to v2.7.4")
    assert last["elements"][0]["text"] == (
        "Was this worth telling? <https://watch.example.com/verdicts/a|Useful> · "
        "<https://watch.example.com/verdicts/b|Noise>\ntracewatch · rule costly · project shop"
    )


def test_recovery_is_told_as_such():
    told = payload(a_message(event="recovered", until=MONDAY + 3600, course=None))
    assert told["blocks"][0]["text"]["text"] == "✓ Recovered"
    assert "2026-03-02 14:02 – 15:02 UTC" in told["blocks"][2]["fields"][0]["text"]


def test_names_are_no_commands_of_slack():
    hostile = "<!channel> <@U1> <https://evil.example|click> *b* `c` ~d~ _e_ a_b & c"
    told = json.dumps(
        payload(
            a_message(
                title=hostile, where=hostile, why=(hostile,), next=(hostile,), facts=((hostile, hostile),),
                rule=hostile, link=None, verdict_links={},
            )
        ),
        ensure_ascii=False,
    )  # fmt: skip
    assert "<" not in told
    assert ">" not in told
    assert "*b*" not in told
    assert "a_b" in told
    assert escaped("_e_") == "\u02cde\u02cd"


def test_all_stays_within_the_limits_of_slack():
    long = "word " * 2_000
    told = payload(
        a_message(
            title="t" * 160, where=long, why=(long,) * 9, next=(long,) * 9, facts=tuple((long, long) for _ in range(23))
        )
    )
    assert len(told["blocks"]) <= 50
    for block in told["blocks"]:
        for each in [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]:
            assert each is None or 0 < len(each["text"]) <= (3000 if block["type"] != "header" else 150)
        assert len(block.get("fields", ())) <= 10
        assert all(len(each["text"]) <= 2000 for each in block.get("fields", ()))


@pytest.mark.parametrize(("status", "raised"), [(404, DeliveryRefused), (403, DeliveryRefused), (429, DeliveryFailed)])
def test_what_slack_answers_decides(receiver, status, raised):
    receiver.answers.append((status, {"Retry-After": "30"}, b"channel_is_archived"))
    with pytest.raises(raised, match="channel_is_archived"):
        Slack(f"slack+{receiver.url}/services/T0/B0/x").send(a_message())


def test_a_bot_tells_each_channel(receiver):
    receiver.answers += [(200, {}, b'{"ok": true}'), (200, {}, b'{"ok": true}')]
    bot = SlackBot("slack://xoxb-1234-5678-abcdef/#alerts/ops", api=receiver.url + "/api/chat.postMessage")
    bot.send(a_message())
    assert [json.loads(body)["channel"] for _, _, body in receiver.got] == ["alerts", "ops"]
    assert receiver.got[0][1]["Authorization"] == "Bearer xoxb-1234-5678-abcdef"
    assert "xoxb" not in bot.name


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b'{"ok": false, "error": "channel_not_found"}', DeliveryRefused),
        (b'{"ok": false, "error": "ratelimited"}', DeliveryFailed),
        (b"<html>", DeliveryFailed),
        (b"[]", DeliveryRefused),
    ],
)
def test_a_bot_hears_what_is_wrong_from_the_body(receiver, answer, raised):
    receiver.answers.append((200, {}, answer))
    with pytest.raises(raised):
        SlackBot("slack://xoxb-1234-5678-abcdef/alerts", api=receiver.url).send(a_message())


def test_which_addresses_are_slack():
    assert isinstance(open_channel("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk").channel, Slack)
    assert isinstance(open_channel("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7").channel, Slack)
    assert isinstance(open_channel("slack://xoxb-1234-1234-4ddbc191d40e/general").channel, SlackBot)
    assert isinstance(open_channel("https://hooks.slack.com/triggers/T012/123456789/abcdefghijk").channel, Apprised)
    for wrong in ("slack://", "slack://xoxb-1234-5678-abcdef", "slack+https://", "slack://a/b"):
        with pytest.raises(UnknownChannel):
            open_channel(wrong)


def test_the_examples_of_slack_hold():
    assert doctest.testmod(slack).failed == 0
    assert doctest.testmod(slack).attempted > 0
