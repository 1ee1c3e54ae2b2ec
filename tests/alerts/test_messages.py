"""Every kind of message as people get it: as it was read and found good (messages.txt).

After a change of words, write the file anew and read what changed: python tests/alerts/test_messages.py
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_lines import BROKEN, HOUR_S, NOW, an_incident

from tracewatch.alerts.ledger import Telling
from tracewatch.alerts.wording import digest_of, message_of, sample
from tracewatch.channels import Channel
from tracewatch.channels.envelope import encoded
from tracewatch.channels.mail import html
from tracewatch.channels.rendering import plain, subject
from tracewatch.channels.slack import payload
from tracewatch.records import AlertRule
from tracewatch.records.detection import KINDS

GOLDEN = Path(__file__).parent / "messages.txt"
RULE = AlertRule(name="costly", labels={"team": "search"}, changed_at=0.0)
METRIC_OF_KIND = {
    "spike": "duration_ms", "drop": "cache_hit_rate", "level_shift": "cost_usd", "ramp": "input_tokens",
    "drift": "ttft_ms", "rate": "error_rate",
    "silence": "call_count", "surge": "call_count", "first_seen": "first_seen_model",
    "point": "ttft_ms",
}  # fmt: skip
COURSE = {"start": "2026-03-02T12:02:00.000Z", "step_s": 900, "values": [1.4, 1.5, None, 1.4, 1.6, 5.8, 5.9, 5.9]}


def a_message_of(kind, event, **odd):
    """The message of an ordinary incident of a kind."""
    over = {"state": "closed", "closed_at": NOW - 600} if event == "recovered" else {}
    incident = an_incident(METRIC_OF_KIND[kind], kind, causes={"course": COURSE}, **{**over, **odd})
    telling = Telling(
        rule="costly", channel="ops", event=event, severity=incident.severity, at=NOW, incident_id="inc-1", episode="0"
    )
    return message_of(
        telling, RULE, incident, key="key-1", token="token-1", public_url="https://watch.example.com", before="high"
    )


def the_rest():
    some = [an_incident("error_rate", "rate", severity="high"), an_incident(id="inc-2", closed_at=NOW, state="closed")]
    telling = Telling(
        rule="costly", channel="ops", event="digest", severity="critical", at=NOW, about=("inc-1", "inc-2")
    )
    public = "https://watch.example.com"
    yield digest_of(telling, RULE, some, project="default", key="key-2", public_url=public)
    yield sample("default", "key-3", NOW, public)


def everything():
    """All messages, one under the other."""
    told = [a_message_of(kind, event) for kind in KINDS for event in ("opened", "grown", "reopened", "recovered")]
    return "\n".join(f"==== {subject(each)}\n{plain(each)}\n" for each in (*told, *the_rest()))


def test_messages_are_those_that_were_read():
    assert everything() == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_no_channel_says_anything_broken(kind):
    for event in ("opened", "grown", "reopened", "recovered"):
        message = a_message_of(kind, event)
        for text in (subject(message), plain(message)):
            for line in text.splitlines():
                assert not BROKEN.search(line), line
        for told in (html(message), str(payload(message)), encoded(message).decode()):
            assert ">None<" not in told
            assert "NaN" not in told


def test_texts_of_prompts_and_answers_do_not_get_into_a_message():
    """What an incident holds of a call are ids and numbers: an odd cause is handed on to machines, not to people."""
    message = a_message_of("spike", "opened", title="ignored", detected_at=NOW - HOUR_S)
    assert "ignored" not in plain(message) + html(message) + str(payload(message))


def test_a_channel_is_one_method():
    assert Channel.__abstractmethods__ == {"send"}


if __name__ == "__main__":
    GOLDEN.write_text(everything(), encoding="utf-8")
