"""What a request to the provider holds, and what it answers."""

from __future__ import annotations

import dataclasses
import itertools
import json

WORDS = ("Paris", " is", " the", " capital", " of", " France", ".")
TEXT = "".join(WORDS)

BREAK = object()
"""A piece of a stream at which the connection breaks."""

STOP = object()
"""A piece of a stream at which it ends as if all were well."""

_IDS = itertools.count(1)


@dataclasses.dataclass
class Request:
    """One request; `scenario` is what its key asks for: `sk-cache` is the scenario `cache`."""

    path: str
    headers: dict[str, str]
    body: dict
    scenario: str
    attempt: int  # how often this key has asked before, from 1


@dataclasses.dataclass
class Answer:
    """A whole answer, or one in pieces."""

    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    pieces: list | None = None


def new_id(prefix):
    """An identifier that no other answer of this process has."""
    return f"{prefix}{next(_IDS):024x}"


def whole(value, headers=None, status=200):
    """An answer that is one JSON object."""
    return Answer(status, {"content-type": "application/json", **(headers or {})}, json.dumps(value).encode())


def events(pieces, headers=None):
    """An answer of server-sent events, each an object, a text, or a pair of name and object."""
    return Answer(
        headers={"content-type": "text/event-stream; charset=utf-8", **(headers or {})},
        pieces=[each if each in (BREAK, STOP) else _event(each) for each in pieces],
    )


def lines(pieces):
    """An answer of one JSON object a line."""
    written = [each if each in (BREAK, STOP) else (json.dumps(each) + "\n").encode() for each in pieces]
    return Answer(headers={"content-type": "application/x-ndjson"}, pieces=written)


def cut(pieces, scenario, after):
    """The pieces of a stream, as far as they come in this scenario."""
    ends = {"midfail": BREAK, "truncated": STOP}
    return [*pieces[:after], ends[scenario]] if scenario in ends else pieces


def _event(piece):
    name, data = piece if isinstance(piece, tuple) else (None, piece)
    text = data if isinstance(data, str) else json.dumps(data)
    return ((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode()
