"""A webhook: the message as signed JSON to an address of one's own."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from tracewatch.channels.base import Channel
from tracewatch.channels.envelope import encoded, headers
from tracewatch.channels.masking import mask
from tracewatch.channels.message import Message
from tracewatch.channels.posting import post
from tracewatch.errors import UnknownChannel

PREFIX = "webhook+"


class Webhook(Channel):
    """Posts the envelope of a message; what is answered beyond its status is not looked at."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """`url` is http(s)://… or webhook+http(s)://…; its `?secret=` signs, and is not sent. Raises UnknownChannel."""
        self.name, self._given = mask(url), url
        self._url, self._authorization, self._secret = taken_apart(url.strip().removeprefix(PREFIX), self.name)
        self._clock = clock

    def send(self, message: Message) -> None:
        body = encoded(message)
        told = headers(message, body, self._secret, self._clock()) | self._authorization
        post(self._url, body, told, self._given)


def taken_apart(url: str, name: str) -> tuple[str, dict[str, str], str]:
    """The address to post to, the header for its user and password, and the secret that was in its query.

    Raises UnknownChannel.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")  # as it is looked up: an empty label, or one of more than 63 letters, is none
    except ValueError as error:
        raise UnknownChannel(given=name, why="its host or port cannot be read") from error
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise UnknownChannel(given=name, why="it has no host, or characters that an address does not have")
    authorization = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    asked = parse_qsl(parts.query, keep_blank_values=True)
    secret = next((value for key, value in _as_typed(parts.query) if key == "secret"), "")
    kept = urlencode([(key, value) for key, value in asked if key != "secret"])
    # What is not changed stays as it was written: some receivers sign over their own query.
    query = kept if any(key == "secret" for key, _ in asked) else parts.query
    bare = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=bare, query=query, fragment="").geturl(), authorization, secret


def _as_typed(query: str) -> Iterator[tuple[str, str]]:
    """The pairs of a query in which a + is a plus, not a space: base64 has it, and is pasted as it is."""
    for each in query.split("&"):
        key, _, value = each.partition("=")
        yield unquote(key), unquote(value)
