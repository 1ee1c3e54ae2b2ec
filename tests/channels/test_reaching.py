"""Where channels may lead: looked at with each connection, whoever makes it."""

import socket
import threading

import pytest
from told import a_message

from tracewatch.alerts.book import Book
from tracewatch.channels import open_channel
from tracewatch.channels.reaching import refusal_of
from tracewatch.errors import DeliveryRefused, UnknownChannel
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
