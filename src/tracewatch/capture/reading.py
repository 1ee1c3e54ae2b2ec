"""How clients' answers are read: objects of any library and plain dictionaries alike, and nothing that is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NUMBERS = (int, float)
_NOTHING = object()


def read(thing: Any, *names: str) -> Any:
    """What is found by going down the names, None where the way ends.

    >>> read({"usage": {"details": {"cached": 3}}}, "usage", "details", "cached"), read({}, "usage", "details")
    (3, None)
    """
    for name in names:
        if thing is None:
            return None
        thing = thing.get(name) if isinstance(thing, dict) else _attribute(thing, name)
    return thing


def _attribute(thing: Any, name: str) -> Any:
    """An attribute, None without one. A model of pydantic's takes 10 us to say by itself that it has none."""
    extra: Any = getattr(thing, "__pydantic_extra__", _NOTHING)
    if extra is _NOTHING:
        return getattr(thing, name, None)
    fields = thing.__dict__
    return fields[name] if name in fields else extra.get(name) if extra else None


def count(thing: Any, *names: str) -> int | None:
    """A number of tokens, None unless a number is there that can be one."""
    found = read(thing, *names)
    if isinstance(found, bool) or not isinstance(found, _NUMBERS) or found < 0:
        return None
    return int(found)


def first_count(thing: Any, *paths: tuple[str, ...]) -> int | None:
    """The first of several places that holds a number."""
    for path in paths:
        found = count(thing, *path)
        if found is not None:
            return found
    return None


def text(thing: Any, *names: str) -> str | None:
    """A text that says something, None otherwise."""
    found = read(thing, *names)
    return found if isinstance(found, str) and found else None


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def document(response: Any) -> Any:
    """What a response says whose body has been read already; None if it is no JSON."""
    try:
        body = response.content
        return json.loads(body) if body else None
    except Exception:
        return None  # not read after all, or a text of another kind: there is nothing of ours in it
