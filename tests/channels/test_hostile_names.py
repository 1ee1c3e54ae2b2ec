"""Names and texts that want more than to be read: to every receiver they are words, in one line, of bounded length."""

import doctest
import json
import re

import pytest
from test_mail_and_the_rest import Checked, address, mailbox  # noqa: F401  # a fixture
from told import MONDAY

from tracewatch.alerts.ledger import Telling
from tracewatch.alerts.wording import digest_of, message_of
from tracewatch.channels import apprise, open_channel
from tracewatch.channels.mail import html
from tracewatch.channels.message import as_json, from_json
from tracewatch.channels.rendering import plain, subject
from tracewatch.records import AlertRule, Incident

UNSEEN = "\x00\x07\x1b\x7f\x85\u200b\u2028\u202e\u2066\r\n"
HOSTILE = {
    "markup": '<script>alert(1)</script><img src="http://evil.example/x" onerror=alert(1)>\'"&amp;',
    "slack": "<!channel> <!here> <@U1> <http://evil.example|click> *b* `c` ~d~ _e_",
    "mentions": "@everyone <@here> gpt@everyone <@123> <@&4> @**all** [click](http://evil.example) <b>b</b>",
    "header": "gpt-4\r\nBcc: evil@example.com\r\n\r\n<p>another mail</p>",
    "unseen": f"gpt{UNSEEN}4",
    "half": "gpt\ud800-4",
    "long": "m<@" * 34_000,
}


def told_of(text, event="opened"):
    """What is told of an incident in which everything that others name is such a text."""
    rule = AlertRule(name=text[:80], labels={text: text}, changed_at=0.0)
    incident = Incident(
        id="inc-1", project=text, severity="high", title=text, root_id="r", metric_name="error_rate", kind="rate",
        direction="up", slice={"model_name": text, "user_id": text, "metadata.tenant": text}, confidence_score=0.9,
        started_at=MONDAY, detected_at=MONDAY, updated_at=MONDAY, observed=0.2, expected=0.01, lower=0.0, upper=0.02,
        contributing_factors=(text,) * 9, recommended_actions=(text,) * 9, causes={"error_message": text},
    )  # fmt: skip
    telling = Telling(rule=rule.name, channel="ops", event=event, severity="high", at=MONDAY, about=("inc-1",) * 30)
    public = "https://watch.example.com"
    if event == "digest":
        return digest_of(telling, rule, [incident] * 30, project=text, key="k", public_url=public)
    return message_of(telling, rule, incident, key="k", token="t", public_url=public, before=None)


def kept(message):
    """The message as it comes out of the store, into which half a character cannot be written."""
    return from_json(json.loads(json.dumps(as_json(message)).encode("utf-8", "replace")))


EVERY = [pytest.param(told_of(text, event), id=f"{name}-{event}") for name, text in HOSTILE.items() for event in
         ("opened", "digest")]  # fmt: skip


@pytest.mark.parametrize("message", EVERY)
def test_people_read_words_in_lines_of_bounded_length(message):
    for text in (subject(message), plain(message), html(message)):
        assert not set(UNSEEN) - {"\n"} & set(text)
        assert len(text) < 30_000
    assert "\n" not in subject(message)
    assert all(len(line) < 500 for line in plain(message).splitlines())
    assert plain(message).endswith("https://watch.example.com/incidents" + "/inc-1" * (message.event == "opened"))


@pytest.mark.parametrize("message", EVERY)
def test_a_mail_has_its_own_headers_tags_and_links_alone(message, mailbox):  # noqa: F811
    open_channel(address(mailbox)).send(message)
    (mail,) = mailbox.mails
    assert mail["Bcc"] is None
    assert mail["To"] == "ops@example.com"
    assert len(mail["Subject"]) < 300
    assert not set(UNSEEN) & set(mail["Subject"])
    rich = mail.get_body(("html",)).get_content()
    reader = Checked()
    reader.feed(rich)
    assert reader.open == reader.loads == []
    assert all(each.startswith("https://watch.example.com/") for each in re.findall(r'href="([^"]*)', rich))
    assert "<script" not in rich
    assert "<img" not in rich


@pytest.mark.parametrize("message", EVERY)
def test_slack_finds_no_command_and_nothing_beyond_its_limits(message, receiver):
    open_channel(f"slack+{receiver.url}/services/T0/B0/x").send(message)
    told = json.loads(receiver.got[0][2])
    assert len(told["blocks"]) <= 50
    texts = [each for block in told["blocks"] for each in (block.get("text"), *block.get("fields", ())) if each]
    texts += told["blocks"][-1]["elements"]
    for each in texts:
        assert 0 < len(each["text"]) <= 3000
        assert each["type"] == "plain_text" or each["verbatim"]
        links = re.findall(r"<([^>]*)>", each["text"])
        assert all(link.startswith("https://watch.example.com/") for link in links)
        assert not set(UNSEEN) - {"\n"} & set(each["text"])
        assert not re.search(r"&(?!amp;|lt;|gt;)", re.sub(r"<[^>]*>", "", each["text"]))
    assert "<" not in told["text"]


@pytest.mark.parametrize("message", EVERY)
@pytest.mark.parametrize("scheme", ["mmost://{}/3ccdd113474722377935511fc85d3dd4", "json://{}/x", "ntfy://{}/topic"])
def test_other_services_find_no_mention_and_no_link_with_another_face(message, scheme, receiver):
    open_channel(scheme.format(receiver.url.removeprefix("http://"))).send(message)
    ((_, _, body),) = receiver.got
    said = body.decode().replace("\\u2039", "‹")
    assert not re.search(r"@(everyone|here|\*)|(?<!\w)@[&!]?\d|<[@!#&a-zA-Z/]|\]\(", said)
    assert "https://watch.example.com/incidents" in said


@pytest.mark.parametrize("message", EVERY)
def test_programs_get_json_of_bounded_size(message, receiver):
    open_channel(f"{receiver.url}/in").send(message)
    told = json.loads(receiver.got[0][2])
    assert len(receiver.got[0][2]) < 1_000_000
    assert told["payload"]["title"] == message.title.encode("utf-8", "replace").decode()


def test_what_was_written_down_is_told_as_it_was():
    assert kept(told_of(HOSTILE["slack"])) == told_of(HOSTILE["slack"])


def test_names_that_are_harmless_stay_as_they_are():
    for name in ("claude-3-5-sonnet@20240620", "me@example.com", "a_b < 3", "gpt-4o [eu] (new)", "モデル", "p95 <3 s"):
        assert apprise.disarmed(name) == name


def test_the_examples_of_apprise_hold():
    assert doctest.testmod(apprise).attempted > doctest.testmod(apprise).failed == 0
