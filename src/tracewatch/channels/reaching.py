"""Where a message may be sent: checked with each connection itself, so that no name can lead elsewhere meanwhile.

Whatever opens a connection for a channel, the standard library or Apprise, Python tells of it before it is made (audit
events, PEP 578), once, with the address as it was given. Clients of HTTP and SMTP resolve a name and give the address;
a name that is given to a socket itself is resolved after the event, and so is refused where private networks are.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies
from weakref import WeakKeyDictionary

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
    """How far a message may go, and why it did not."""

    private: bool
    refused: list[str] = field(default_factory=list)


_reach: ContextVar[_Reach | None] = ContextVar("reach", default=None)
_of_threads: WeakKeyDictionary[threading.Thread, _Reach] = WeakKeyDictionary()
"""What threads that were started within hold to; a context of their own, as Apprise gives to its pool, goes before."""


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

    @property
    def parts(self) -> Mapping[str, Channel]:
        return {mark: Within(each, private=self._private) for mark, each in self.channel.parts.items()}


@contextmanager
def reaching(*, private: bool) -> Iterator[list[str]]:
    """Within, connections of this thread, and of threads it starts, are looked at; gives what was refused.

    A pool whose threads are there already has to be given the context with the work (contextvars), as Apprise does.
    """
    _listen()
    reach = _Reach(private)
    token = _reach.set(reach)
    try:
        yield reach.refused
    finally:
        _reach.reset(token)


def look_at(address: str) -> None:
    """Raises Refused where nothing may be sent to an address (of IPv4 or IPv6)."""
    reach = _held()
    why = refusal_of(address, private=reach is None or reach.private)
    if why is not None:
        raise _refused(reach, why)


def _held() -> _Reach | None:
    return _reach.get() or _of_threads.get(threading.current_thread())


def _refused(reach: _Reach | None, why: str) -> Refused:
    if reach is not None:
        reach.refused.append(why)
    return Refused(why)


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
    """Has Python tell of connections from now on, and threads inherit; an audit hook cannot be taken back.

    Neither does anything where nothing is sent.
    """
    sys.addaudithook(_told)
    start = threading.Thread.start  # replaced, since older Pythons tell of no thread that starts

    @wraps(start)
    def inheriting(thread: threading.Thread) -> None:
        reach = _held()
        if reach is not None:
            _of_threads[thread] = reach
        start(thread)

    threading.Thread.start = inheriting  # type: ignore[method-assign, assignment]


def _told(event: str, arguments: tuple[Any, ...]) -> None:
    if event in CONNECTING and (reach := _held()) is not None:
        sock, address = arguments[0], arguments[-1]
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
            return  # one of this machine's own, or connected already
        why = _refusal_of_host(address[0], private=reach.private)
        if why is not None and not _is_proxy(address):  # the way out of this machine makes the connection itself
            raise _refused(reach, why)


def _refusal_of_host(given: Any, *, private: bool) -> str | None:
    """Why nothing is sent to a host as a socket was given it: an address, or a name it would resolve by itself."""
    host = given.decode("ascii", "replace") if isinstance(given, bytes | bytearray) else str(given)
    try:
        return refusal_of(host, private=private)
    except ValueError:
        found = [refusal_of(each, private=private) for each in sorted(_resolved(host))]
    why = next(filter(None, found), None)
    if why is None and not private:
        return f"{host} is resolved only when it is sent to, so that it may lead anywhere: give its address instead"
    return why


def _is_proxy(address: tuple[Any, ...]) -> bool:
    """Whether it is that of a proxy of this machine, which makes the connection itself."""
    for each in getproxies().values():
        parts = urlsplit(each if "://" in each else f"http://{each}")
        if (
            parts.hostname
            and (parts.port or 80) == address[1]
            and str(address[0]) in {parts.hostname, *_resolved(parts.hostname)}
        ):
            return True
    return False


def _resolved(host: str) -> frozenset[str]:
    try:
        return frozenset(str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()
