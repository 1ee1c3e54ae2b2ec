"""How clients' answers are read: objects of any library and plain dictionaries alike, and only what is there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_NONE: Mapping[str, Any] = {}
_NUMBERS = (int, float)


def fields_of(thing: Any) -> Mapping[str, Any]:
    """The fields of an object, those that its library does not know included; of a dictionary itself.

    Read from where pydantic keeps them: to ask its objects for a field they have not got takes 10 us.
    """
    if isinstance(thing, dict):
        return thing
    own: Mapping[str, Any] = getattr(thing, "__dict__", _NONE)
    extra = getattr(thing, "__pydantic_extra__", None)
    return {**own, **extra} if extra else own


def read(thing: Any, *names: str) -> Any:
    """What is found by going down the names, None where the way ends.

    >>> read({"usage": {"details": {"cached": 3}}}, "usage", "details", "cached"), read({}, "usage", "details")
    (3, None)
    """
    for name in names:
        thing = fields_of(thing).get(name)
    return thing


def count(found: Any) -> int | None:
    """A number of tokens, None unless it is a number that can be one.

    >>> count(7), count(None), count(-1), count("7"), count(True)
    (7, None, None, None, None)
    """
    if isinstance(found, _NUMBERS) and found is not True and found is not False and 0 <= found < 2**63:
        return int(found)
    return None


def number(found: Any) -> float | None:
    """A number, None unless it is one that is not below zero."""
    if isinstance(found, _NUMBERS) and found is not True and found is not False and found >= 0:
        return found
    return None


def text(found: Any) -> str | None:
    """A text that says something, None otherwise."""
    return found if isinstance(found, str) and found else None


def joined(found: Any) -> str | None:
    """The texts among these in a row, None if they say nothing."""
    return "".join(each for each in found if isinstance(each, str)) or None


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
