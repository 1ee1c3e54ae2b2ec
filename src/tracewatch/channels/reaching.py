"""Where a message may be sent: checked with each connection itself, so that no name can lead elsewhere meanwhile.

Whatever opens a connection for a channel, the standard library or Apprise, Python tells of it before it is made (audit
events, PEP 578) with the very address it goes to.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from tracewatch.channels.base import Channel
from tracewatch.channels.message import Message
from tracewatch.errors import DeliveryFailed, DeliveryRefused

METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))
"""Where clouds that do not use a link-local address keep the credentials of a machine (Alibaba, Oracle, Amazon)."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(OSError):
    """A connection that is not made."""


@dataclass(slots=True)
class _Reach:
    """How far the messages of this thread may go, and why one did not."""

    private: bool
    refused: list[str] = field(default_factory=list)


_reach: ContextVar[_Reach | None] = ContextVar("reach", default=None)


class Within(Channel):
    """A channel that reaches no further than it may."""

    def __init__(self, channel: Channel, *, private: bool) -> None:
        """`private` is whether it may lead into private networks, this machine included."""
        self.name, self.channel, self._private = channel.name, channel, private

    def send(self, message: Message) -> None:
        with reaching(private=self._private) as refused:
            try:
                self.channel.send(message)
            except DeliveryFailed as error:
                if refused:  # another try will not be let through either
                    raise DeliveryRefused(channel=self.name, why=refused[0]) from error
                raise


@contextmanager
def reaching(*, private: bool) -> Iterator[list[str]]:
    """Within, connections of this thread, and of those it starts work in, are looked at; gives what was refused."""
    _listen()
    reach = _Reach(private)
    token = _reach.set(reach)
    try:
        yield reach.refused
    finally:
        _reach.reset(token)


def look_at(address: str) -> None:
    """Raises Refused where nothing may be sent to an address (of IPv4 or IPv6)."""
    reach = _reach.get()
    why = refusal_of(address, private=reach is None or reach.private)
    if why is not None:
        if reach is not None:
            reach.refused.append(why)
        raise Refused(why)


def refusal_of(address: str, *, private: bool) -> str | None:
    """Why nothing is sent to an address; None where something may be.

    >>> refusal_of("169.254.169.254", private=True)
    '169.254.169.254 is where clouds keep the credentials of this machine: nothing is sent there'
    >>> refusal_of("::ffff:10.0.0.7", private=True), refusal_of("93.184.215.14", private=False)
    (None, None)
    """
    plain = _plain(ipaddress.ip_address(address.partition("%")[0]))
    if plain.is_link_local or plain in METADATA:
        return f"{plain} is where clouds keep the credentials of this machine: nothing is sent there"
    if not private and (not plain.is_global or plain.is_multicast):
        return (
            f"{plain} is in a private network, where no channel of a project leads on this server. Whoever runs it may "
            "allow that with TRACEWATCH_CHANNEL_NETWORK=allow, or give the channel in TRACEWATCH_ALERT_CHANNELS"
        )
    return None


def _plain(found: Address) -> Address:
    """The address of IPv4 that one of IPv6 stands for, where it does."""
    if isinstance(found, ipaddress.IPv6Address):
        if found in NAT64:
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return found.ipv4_mapped or found.sixtofour or found
    return found


@cache
def _listen() -> None:
    """Has Python tell of connections from now on; that cannot be taken back, and costs nothing where nobody sends."""
    sys.addaudithook(_told)


def _told(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in CONNECTING or _reach.get() is None:
        return
    address = arguments[-1]
    if not isinstance(address, tuple):
        return  # a socket of this machine's own
    try:
        look_at(str(address[0]))
    except ValueError:
        return  # a name: it is resolved first, and told of again
    except Refused:
        if not _is_proxy(address):  # the way out that this machine was given makes the connection itself
            raise


def _is_proxy(address: tuple[Any, ...]) -> bool:
    """Whether it is that of a proxy of this machine, which makes the connection itself."""
    for each in getproxies().values():
        parts = urlsplit(each if "://" in each else f"http://{each}")
        if parts.hostname and (parts.port or 80) == address[1] and str(address[0]) in _resolved(parts.hostname):
            return True
    return False


def _resolved(host: str) -> frozenset[str]:
    try:
        return frozenset(str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()
