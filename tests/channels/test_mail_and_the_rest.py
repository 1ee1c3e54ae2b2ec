"""E-mail through a real SMTP server, and other services through Apprise, as their receivers see them."""

import doctest
import email
import email.policy
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from aiosmtpd.controller import Controller
from told import MONDAY, a_message

from tracewatch.channels import Course, open_channel, rendering
from tracewatch.channels.mail import html
from tracewatch.channels.rendering import plain
from tracewatch.errors import DeliveryFailed, DeliveryRefused
from tracewatch.records import EVENTS


class Mailbox:
    """What came by SMTP; answers RCPT with what is laid ready."""

    def __init__(self):
        self.mails, self.answer = [], "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class AnyPort(Controller):
    """A mail server on a port that was free."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture
def mailbox():
    """A mail server on loopback."""
    kept = Mailbox()
    controller = AnyPort(kept, hostname="127.0.0.1", port=0)
    controller.start()
    kept.port = controller.port
    yield kept
    controller.stop()


def address(mailbox):
    return f"mailto://127.0.0.1:{mailbox.port}?from=watch@example.com&to=ops@example.com&mode=insecure"


def test_a_mail_says_it_as_html_and_as_text(mailbox):
    open_channel(address(mailbox)).send(a_message())
    (mail,) = mailbox.mails
    assert mail["Subject"] == "⬣ Critical · New: Calls of rag_answer on claude-sonnet-4-5 cost 5.9¢, usually 1.2–1.8¢"
    assert mail["To"] == "ops@example.com"
    assert mail["References"] == "<inc-1@tracewatch>"
    rich, text = mail.get_body(("html",)).get_content(), mail.get_body(("plain",)).get_content()
    for said in ("5.9¢, usually 1.2–1.8¢", "$38.31", "Go back to v2.7.4", "since 2026-03-02 14:02 UTC", "rule costly"):
        assert said in rich
        assert said in text
    assert 'href="https://watch.example.com/incidents/inc-1?from=slack"' in rich


@pytest.mark.parametrize(("answer", "raised"), [("550 no such user", DeliveryRefused), ("451 later", DeliveryFailed)])
def test_a_mail_server_that_refuses_the_recipient(mailbox, answer, raised):
    mailbox.answer = answer
    with pytest.raises(raised) as error:
        open_channel(address(mailbox)).send(a_message())
    assert "ops@example.com" not in str(error.value)
    assert mailbox.mails == []


def test_no_mail_server_is_to_be_tried_again(mailbox):
    url = address(mailbox).replace(str(mailbox.port), "1")
    with pytest.raises(DeliveryFailed):
        open_channel(url).send(a_message())


class Checked(HTMLParser):
    """A reader that wants each tag closed, and remembers what a mail would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "background") or "url(" in (value or "")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("severity", ["low", "medium", "high", "critical"])
def test_a_mail_is_whole_loads_nothing_and_takes_names_as_text(event, severity):
    hostile = "<script>alert(1)</script>\"'&"
    told = html(
        a_message(
            event=event, severity=severity, title=hostile, where=hostile, why=(hostile,), facts=((hostile, hostile),)
        )
    )
    reader = Checked()
    reader.feed(told)
    assert reader.open == []
    assert reader.loads == []
    assert "<script" not in told
    assert "color-scheme" in told


def test_a_short_message_has_no_empty_parts():
    told = a_message(
        facts=(), where="", why=(), next=(), link=None, verdict_links={}, since=None, course=None, event="test"
    )
    assert plain(told) == "tracewatch · rule costly · project shop"
    assert "<h2" not in html(told)
    assert '<table role="img"' not in html(told)


def test_plain_text_gives_up_what_matters_least_and_keeps_the_link():
    whole = plain(a_message())
    assert whole.endswith("https://watch.example.com/incidents/inc-1?from=slack")
    assert re.search(r"1\. Compare the start.*\n2\. Go back", whole)
    for most in range(60, len(whole) + 10, 7):
        cut = plain(a_message(), most)
        assert len(cut) <= most
        assert cut.endswith("from=slack")
    assert "since 2026-03-02" in plain(a_message(), 300)


def test_courses_of_any_numbers_are_drawn():
    for values in ((), (None,), (0.0, 0.0), (-3.0, None, 4.0), (5.0, 5.0), tuple(float(each) for each in range(200))):
        told = a_message(course=Course(values=values, onset=1 if values else None))
        assert "nan" not in html(told)
        assert len(rendering.spark(told.course)) == min(len(values), rendering.MOST_COURSE)


def test_services_that_keep_incidents_know_it_again(receiver, monkeypatch):
    from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP

    for region in list(PAGERDUTY_API_LOOKUP):
        monkeypatch.setitem(PAGERDUTY_API_LOOKUP, region, receiver.url)
    receiver.answers += [(202, {}, b"{}"), (202, {}, b"{}")]
    url = "pagerduty://integrationkey1@apikey12345"
    open_channel(url).send(a_message())
    open_channel(url).send(a_message(key="inc-1:recovered:ops", event="recovered", until=MONDAY + 60))
    opened, over = (json.loads(body) for _, _, body in receiver.got)
    assert (opened["event_action"], over["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == over["dedup_key"] == "inc-1"
    assert opened["payload"]["summary"].startswith("⬣ Critical · New: Calls of rag_answer")
    assert len(opened["payload"]["summary"]) <= 1024


def test_a_text_service_gets_plain_text(receiver):
    open_channel(receiver.url.replace("http://", "ntfy://") + "/topic").send(a_message())
    ((_, headers, body),) = receiver.got
    assert "Extra so far: $38.31" in body.decode() + str(headers)


@pytest.mark.parametrize(("status", "raised"), [(404, DeliveryRefused), (503, DeliveryFailed), (429, DeliveryFailed)])
def test_the_status_that_apprise_heard_decides(receiver, status, raised):
    receiver.answers.append((status, {}, b"{}"))
    with pytest.raises(raised):
        open_channel(receiver.url.replace("http://", "json://") + "/x").send(a_message())


def test_redirects_are_not_followed_by_apprise_either(receiver):
    receiver.answers.append((307, {"Location": receiver.url + "/elsewhere"}, b""))
    with pytest.raises(DeliveryFailed):
        open_channel(receiver.url.replace("http://", "json://") + "/x").send(a_message())
    assert [path for path, _, _ in receiver.got] == ["/x"]


def test_apprise_is_loaded_by_those_alone_who_need_it():
    code = (
        "import sys; from tracewatch.channels import open_channel; open_channel('https://h.example.com/x');"
        "open_channel('slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7'); print('apprise' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_examples_of_rendering_hold():
    assert doctest.testmod(rendering).failed == 0
    assert doctest.testmod(rendering).attempted > 2
