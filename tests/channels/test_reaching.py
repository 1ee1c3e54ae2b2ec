"""Where channels may lead: looked at with each connection, whoever makes it."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest
from told import a_message

from tracewatch.alerts.book import Book
from tracewatch.channels import open_channel
from tracewatch.channels import reaching as reached
from tracewatch.channels.base import Channel
from tracewatch.channels.reaching import Refused, Within, reaching, refusal_of
from tracewatch.errors import DeliveryFailed, DeliveryRefused, UnknownChannel
from tracewatch.records import AlertChannel
from tracewatch.settings import load


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1", "fd12::1", "fe80::1%eth0",
        "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "224.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_in_every_form(address):
    assert refusal_of(address, private=False) is not None


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_ones_are_not(address):
    assert refusal_of(address, private=False) is None


@pytest.mark.parametrize("scheme", ["http", "slack+http", "json", "xml"])
def test_nothing_reaches_this_machine_where_that_is_refused(receiver, scheme):
    url = receiver.url.replace("http", scheme, 1) + "/in"
    with pytest.raises(DeliveryRefused, match="in a private network"):
        open_channel(url, private=False).send(a_message())
    assert receiver.got == []
    open_channel(url).send(a_message())
    assert len(receiver.got) == 1


def test_mail_is_refused_as_well():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"mailto://127.0.0.1:{listening.getsockname()[1]}?from=a@example.com&to=b@example.com"
        with pytest.raises(DeliveryRefused, match="in a private network"):
            open_channel(url, private=False).send(a_message())


@pytest.mark.parametrize("scheme", ["http", "json"])
def test_a_name_that_leads_elsewhere_when_it_counts_is_refused(receiver, monkeypatch, scheme):
    """The first answer of the resolver is public, as a check beforehand would like it, and all others are not."""
    port, asked, real = receiver.url.rpartition(":")[2], [], socket.getaddrinfo

    def rebinding(host, *given, **named):
        if host != "rebinding.example":
            return real(host, *given, **named)
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 and scheme == "http" else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(DeliveryRefused, match=r"127\.0\.0\.1 is in a private network"):
        open_channel(f"{scheme}://rebinding.example:{port}/", private=False).send(a_message())
    assert receiver.got == []


def test_credentials_of_the_machine_are_refused_of_apprise_too():
    with pytest.raises(DeliveryRefused, match="credentials of this machine"):
        open_channel("json://169.254.169.254/latest").send(a_message())


def test_other_threads_go_where_they_like_meanwhile(receiver):
    open_channel(receiver.url).send(a_message())
    reached = []
    port = int(receiver.url.rpartition(":")[2])
    other = threading.Thread(target=lambda: reached.append(socket.create_connection(("127.0.0.1", port)).close()))
    other.start()
    other.join()
    assert reached == [None]


@pytest.mark.parametrize("scheme", ["https", "webhook+http", "slack+https"])
@pytest.mark.parametrize("host", ["a..example", f"{'a' * 64}.example"])
def test_a_host_that_is_none_is_told_in_a_sentence(scheme, host):
    with pytest.raises(UnknownChannel):
        open_channel(f"{scheme}://{host}/in")


def test_what_the_environment_says_is_trusted_and_what_a_project_keeps_is_not(receiver):
    kept = [
        AlertChannel(project="default", name=name, url=url, changed_at=0.0)
        for name, url in (("own", receiver.url), ("variable", "${TRACEWATCH_CHANNEL_OPS}"))
    ]
    book = Book(kept, f"{receiver.url}/fixed", private=False)
    fixed = next(name for name in book.names if name not in ("own", "variable"))
    book.open("variable", {"TRACEWATCH_CHANNEL_OPS": receiver.url}).send(a_message())
    book.open(fixed).send(a_message())
    with pytest.raises(DeliveryRefused):
        book.open("own").send(a_message())
    assert len(receiver.got) == 2


@pytest.mark.parametrize(
    ("given", "may"),
    [
        ({}, True), ({"TRACEWATCH_HOST": "0.0.0.0"}, False),
        ({"TRACEWATCH_HOST": "0.0.0.0", "TRACEWATCH_CHANNEL_NETWORK": "allow"}, True),
        ({"TRACEWATCH_CHANNEL_NETWORK": "refuse"}, False),
    ],
)  # fmt: skip
def test_a_server_that_others_reach_refuses_private_networks(given, may):
    assert load(given).private_channels is may


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "", b"127.0.0.1"])
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_is_not_led_here_by_a_name_either(host, kind):
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(socket.AF_INET, kind) as sock:
        to = (host, listening.getsockname()[1])
        with reaching(private=False) as refused, pytest.raises(Refused):
            sock.connect(to) if kind == socket.SOCK_STREAM else sock.sendto(b"said", to)
        assert len(refused) == 1


def test_a_name_that_looks_public_is_refused_of_a_socket_as_it_is_resolved_again(monkeypatch):
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: public)
    with socket.socket() as sock, reaching(private=False), pytest.raises(Refused, match="give its address"):
        sock.connect(("localhost", 9))


def test_names_of_private_networks_are_let_through_where_these_are():
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket() as sock,
        reaching(private=True) as refused,
    ):
        sock.connect(("localhost", listening.getsockname()[1]))
    assert refused == []


def _tried(port, tried):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        tried.append("made")
    except Refused:
        tried.append("refused")


def test_threads_that_are_started_within_are_looked_at_and_what_they_start():
    tried = []

    def nested(port):
        _tried(port, tried)
        inner = threading.Thread(target=_tried, args=(port, tried))
        inner.start()
        inner.join()

    with socket.create_server(("127.0.0.1", 0)) as listening, reaching(private=False) as refused:
        port = listening.getsockname()[1]
        outer = threading.Thread(target=nested, args=(port,))
        outer.start()
        outer.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_tried, port, tried).result()
    assert tried == ["refused"] * 3
    assert len(refused) == 3


def test_the_context_of_a_pool_s_work_goes_before_what_its_thread_was_started_in():
    tried = []
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        port = listening.getsockname()[1]
        for private in (True, False, True):
            with reaching(private=private):
                pool.submit(copy_context().run, _tried, port, tried).result()
    assert tried == ["made", "refused", "made"]


class Busy(Channel):
    """Reaches its proxy, and is told to come again."""

    def __init__(self, port):
        self.name, self._port = "busy", port

    def send(self, message):
        socket.create_connection(("127.0.0.1", self._port)).close()
        raise DeliveryFailed(channel=self.name, why="it answered 503")


def test_a_failure_behind_a_proxy_is_tried_again(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(DeliveryFailed, match="503") as raised:
            Within(Busy(port), private=False).send(a_message())
    assert not isinstance(raised.value, DeliveryRefused)


def test_syslog_takes_a_name_where_private_networks_are_let_through():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        log.settimeout(10)
        open_channel(f"rsyslog://localhost:{log.getsockname()[1]}").send(a_message())
        assert b"Calls of rag_answer" in log.recv(65_536)


@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")  # Apprise leaves its own for the collector
@pytest.mark.parametrize(
    ("leads_to", "why"),
    [
        ("127.0.0.1", "127.0.0.1 is in a private network"),
        (
            "93.184.215.14",
            "localhost is resolved only when it is sent to, so that it may lead anywhere: give its address",
        ),
    ],
)
def test_syslog_by_name_is_refused_with_a_sentence_where_they_are_not(monkeypatch, leads_to, why):
    monkeypatch.setattr(reached, "_resolved", lambda _: frozenset({leads_to}))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
        log.bind(("127.0.0.1", 0))
        log.setblocking(False)
        with pytest.raises(DeliveryRefused, match=why):
            open_channel(f"rsyslog://localhost:{log.getsockname()[1]}", private=False).send(a_message())
        with pytest.raises(BlockingIOError):
            log.recv(1)
