"""A webhook as its receiver sees it: signed, versioned, once; and what each answer leads to."""

import base64
import contextlib
import doctest
import hashlib
import hmac
import json
import re
import socket
import threading
import time
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import jsonschema_rs
import pytest
from told import MONDAY, a_message

from tracewatch.channels import envelope, open_channel, posting, webhook
from tracewatch.channels.message import as_json, from_json
from tracewatch.errors import DeliveryFailed, DeliveryRefused, UnknownChannel
from tracewatch.records import EVENTS

CHAPTER = Path(__file__).parents[2] / "docs" / "alerts-channels.md"


def test_the_envelope_says_what_the_message_says(receiver):
    open_channel(receiver.url + "/in?team=a").send(a_message())
    ((path, headers, body),) = receiver.got
    told = json.loads(body)
    assert path == "/in?team=a"
    assert headers["Idempotency-Key"] == headers["Webhook-Id"] == told["id"] == "inc-1:opened:ops"
    assert "Webhook-Signature" not in headers
    assert told["type"] == "incident.opened"
    assert told["timestamp"] == "2026-03-02T14:09:00.000Z"
    assert told["payload"]["since"] == "2026-03-02T14:02:00.000Z"
    assert told["payload"]["until"] is None
    assert told["payload"]["facts"][1] == {"label": "Extra so far", "text": "$38.31"}
    assert told["payload"]["incident"] == {"id": "inc-1", "metric_name": "cost_usd"}


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_keeps_to_the_published_schema(event):
    published = json.loads((CHAPTER.parent / "webhook.schema.json").read_text())
    check = jsonschema_rs.validator_for(published)
    told = envelope.envelope(a_message(event=event, until=MONDAY + 60))
    check.validate(told)
    assert not check.is_valid({**told, "api_version": "2"})
    assert not check.is_valid({**told, "payload": {**told["payload"], "severity": "awful"}})


def test_the_signature_is_over_key_time_and_body_and_the_secret_stays_here(receiver):
    webhook.Webhook(receiver.url + "/in?secret=s3cret-word&a=1", clock=lambda: 1772460999.4).send(a_message())
    ((path, headers, body),) = receiver.got
    assert path == "/in?a=1"
    assert headers["Webhook-Timestamp"] == "1772460999"
    signed = b"inc-1:opened:ops.1772460999." + body
    digest = hmac.new(b"s3cret-word", signed, hashlib.sha256).digest()
    assert headers["Webhook-Signature"] == "v1," + base64.b64encode(digest).decode()
    assert "s3cret" not in str(receiver.got)


def receiver_of_the_docs():
    (code,) = re.findall(r"```python\n(.*?def is_genuine.*?)```", CHAPTER.read_text(), re.DOTALL)
    room = {}
    exec(compile(code, str(CHAPTER), "exec"), room)
    return room


@pytest.mark.parametrize("written", ["whsec_+/8+c2VjcmV0LXdvcmQ=", "whsec_%2B%2F8%2Bc2VjcmV0LXdvcmQ%3D", "pass+word"])
def test_a_secret_is_pasted_as_it_is_and_the_receiver_of_the_docs_knows_it(receiver, written):
    open_channel(f"{receiver.url}/in?secret={written}").send(a_message())
    ((path, headers, body),) = receiver.got
    assert path == "/in"
    assert receiver_of_the_docs()["is_genuine"](headers, body, unquote(written))


def test_a_secret_in_base64_may_lack_its_padding():
    whole, bare = (envelope.signature(f"whsec_c2VjcmV0LXdvcmQ{end}", "k", "1", b"{}") for end in ("=", ""))
    assert whole == bare
    assert whole != envelope.signature("secret-word ", "k", "1", b"{}")
    assert whole == envelope.signature("secret-word", "k", "1", b"{}")


def test_the_receiver_of_the_docs_takes_what_is_genuine_and_nothing_else(receiver):
    room = receiver_of_the_docs()
    open_channel(receiver.url + "/in?secret=word-of-ours").send(a_message())
    ((_, headers, body),) = receiver.got
    assert room["is_genuine"](headers, body, "word-of-ours")
    assert not room["is_genuine"](headers, body + b" ", "word-of-ours")
    assert not room["is_genuine"](headers, body, "another")
    assert not room["is_genuine"]({**headers, "Webhook-Timestamp": "1"}, body, "word-of-ours")
    assert not room["is_genuine"]({}, body, "word-of-ours")


def test_a_user_in_the_address_is_sent_as_basic_authorization(receiver):
    open_channel(receiver.url.replace("//", "//me:p%40ss@") + "/in").send(a_message())
    ((path, headers, _),) = receiver.got
    assert path == "/in"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:p@ss"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_pass_is_to_be_tried_again(receiver, status):
    receiver.answers.append((status, {"Retry-After": "17"}, b"come back"))
    with pytest.raises(DeliveryFailed, match=rf"answered {status} \(come back\)") as raised:
        open_channel(receiver.url + "/in").send(a_message())
    assert raised.value.retry_after_s == 17.0


@pytest.mark.parametrize("status", [301, 307, 308, 400, 401, 403, 404, 410, 422])
def test_what_will_not_pass_is_final_and_nobody_else_is_told(receiver, status):
    receiver.answers.append((status, {"Location": receiver.url + "/elsewhere"}, b'{"error": "no"}'))
    with pytest.raises(DeliveryRefused, match=f"answered {status}"):
        open_channel(receiver.url + "/in").send(a_message())
    assert [path for path, _, _ in receiver.got] == ["/in"]


def test_retry_after_may_be_a_date_and_is_never_longer_than_a_day(receiver):
    wanted = (formatdate(time.time() + 3600, usegmt=True), "99999999", "soon", formatdate(0, usegmt=True))
    found = []
    for given in wanted:
        receiver.answers.append((503, {"Retry-After": given}, b""))
        with pytest.raises(DeliveryFailed) as raised:
            open_channel(receiver.url).send(a_message())
        found.append(raised.value.retry_after_s)
    assert found[0] == pytest.approx(3600, abs=60)
    assert found[1:] == [86_400.0, None, 0.0]


def test_a_long_answer_is_read_no_further_than_it_helps(receiver):
    receiver.answers.append((500, {}, b"x" * 5_000_000))
    with pytest.raises(DeliveryFailed) as raised:
        open_channel(receiver.url).send(a_message())
    assert len(str(raised.value)) < 400


def test_nobody_there_is_to_be_tried_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(DeliveryFailed, match="nothing listens there"):
        open_channel(f"http://127.0.0.1:{port}/in").send(a_message())


def test_who_answers_by_single_bytes_is_left_in_time(monkeypatch):
    monkeypatch.setattr(posting, "WHOLE_S", 0.3)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dribble():
            peer, _ = server.accept()
            with peer:
                while not over.wait(0.05):
                    try:
                        peer.sendall(b"H")
                    except OSError:
                        return

        slow = threading.Thread(target=dribble)
        slow.start()
        with pytest.raises(DeliveryFailed, match="did not answer within"):
            open_channel(f"http://127.0.0.1:{server.getsockname()[1]}").send(a_message())
        over.set()
        slow.join()


def test_who_takes_longer_to_answer_than_to_connect_is_waited_for(monkeypatch):
    monkeypatch.setattr(posting, "CONNECT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def think():
            peer, _ = server.accept()
            with peer:
                threading.Event().wait(0.4)
                peer.recv(65_536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        slow = threading.Thread(target=think)
        slow.start()
        open_channel(f"http://127.0.0.1:{server.getsockname()[1]}").send(a_message())
        slow.join()


def test_who_takes_no_connection_is_left_sooner(monkeypatch):
    monkeypatch.setattr(posting, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, contextlib.ExitStack() as room:
        for _ in range(3):  # nobody accepts: what has no place among those that wait is not answered
            waiting = room.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        with pytest.raises(DeliveryFailed, match="no connection within 0 s"):
            open_channel(f"http://127.0.0.1:{server.getsockname()[1]}").send(a_message())


def test_what_is_not_http_is_said_to_be_so():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble():
            peer, _ = server.accept()
            with peer:
                peer.recv(65_536)
                peer.sendall(b"220 mail.example.com ESMTP\r\n")

        other = threading.Thread(target=babble)
        other.start()
        with pytest.raises(DeliveryFailed, match="does not answer as HTTP"):
            open_channel(f"http://127.0.0.1:{server.getsockname()[1]}").send(a_message())
        other.join()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "100.100.100.200", "[fd00:ec2::254]"]
)
def test_addresses_with_credentials_of_the_machine_are_refused(host):
    with pytest.raises(DeliveryRefused, match="credentials of this machine"):
        open_channel(f"http://{host}/latest/meta-data").send(a_message())


@pytest.mark.parametrize(
    "url",
    [
        "https://",
        "https:///in",
        "https://ho st/",
        "http://[::1",
        "http://h:99999999/",
        "https://bücher.example/",
        "",
        "x",
    ],
)
def test_an_address_that_is_none_is_told_when_it_is_given(url):
    with pytest.raises(UnknownChannel):
        open_channel(url)


def test_a_message_waits_in_json_as_it_is():
    message = a_message()
    assert from_json(json.loads(json.dumps(as_json(message)))) == message
    assert from_json(as_json(a_message(course=None))) == a_message(course=None)


def test_numbers_that_json_cannot_say_are_not_sent(receiver):
    with pytest.raises(ValueError, match="JSON"):
        open_channel(receiver.url).send(a_message(incident={"observed": float("nan")}))
    assert receiver.got == []


def test_the_examples_hold():
    assert doctest.testmod(envelope).failed == 0
    assert doctest.testmod(envelope).attempted > 0
