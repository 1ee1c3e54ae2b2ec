"""From the fields of a finished span to its row, whatever the program has put into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tracewatch.records import STATUSES, Span, columns

SOURCE = "sdk"
BAD_VALUE = "bad_value"
"""The warning on a row one of whose values was no value of its column; what was given is in `metadata.bad_values`."""

MESSAGE_LENGTH = 500
LONGEST_VALUE = 100  # of what is told of a bad value
NOT_FINITE = "not a finite number"

# The words of log_usage, which apps have from the usage tables they had before.
OTHER_NAMES = {"provider": "model_provider", "model": "model_name", "latency_ms": "duration_ms"}

STATUS_WORDS = {
    "success": "ok",
    "succeeded": "ok",
    "successful": "ok",
    "completed": "ok",
    "done": "ok",
    "failed": "error",
    "failure": "error",
    "failed_over": "fallback",
    "degraded": "fallback",
    "timed_out": "timeout",
    "timedout": "timeout",
}


def row_of(fields: Mapping[str, Any], defaults: Mapping[str, Any], *, content: bool) -> Span:
    """The row of these fields: unknown names go to `metadata`, and a value that fits no column is told there.

    `defaults` hold where the fields say nothing. Columns of content are left out unless `content`.
    """
    given = {**defaults, **{name: value for name, value in fields.items() if value is not None}}
    kept: dict[str, Any] = {}
    others: dict[str, Any] = {}
    bad: dict[str, str] = {}
    for name, value in given.items():
        column = name if name in _READERS else OTHER_NAMES.get(name)
        if column is None:
            others[str(name)] = value
        elif column not in _CONTENT or content:
            _keep(kept, bad, column, value)
    kept["source"] = SOURCE
    _settle(kept)
    _add_others(kept, others, bad)
    return Span(**kept)


def _keep(kept: dict[str, Any], bad: dict[str, str], column: str, value: Any) -> None:
    try:
        kept[column] = _READERS[column](value)
    except Exception as error:  # a value of the program's own classes may raise anything
        bad[column] = _told(value, error)


def _told(value: Any, error: Exception) -> str:
    try:
        return repr(value)[:LONGEST_VALUE]
    except Exception:
        return f"{type(value).__name__} ({type(error).__name__})"


def _settle(kept: dict[str, Any]) -> None:
    """A row that carries an error has failed, unless it says how it ended."""
    if kept.get("status") is None:
        failed = kept.get("error_message") or kept.get("error_type") or kept.get("error_category")
        kept["status"] = "error" if failed else "ok"
    if kept.get("error_message"):
        kept["error_message"] = kept["error_message"][:MESSAGE_LENGTH]


def _add_others(kept: dict[str, Any], others: dict[str, Any], bad: dict[str, str]) -> None:
    if bad:
        others["bad_values"] = bad
        kept["warning_flags"] = (*(kept.get("warning_flags") or ()), BAD_VALUE)
    if others:
        kept["metadata"] = {**others, **(kept.get("metadata") or {})}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else str(getattr(value, "value", value))  # of an enum, what it stands for


def _status(value: Any) -> str:
    word = _text(value).strip().lower()
    word = STATUS_WORDS.get(word, word)
    if word not in STATUSES:
        raise ValueError(word)
    return word


def _integer(value: Any) -> int:
    number = value if isinstance(value, int) else _real(value)
    return int(number) if isinstance(number, int) else round(number)


def _real(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(NOT_FINITE)
    return number


def _moment(value: Any) -> float:
    """Epoch seconds; a datetime without a zone is taken as UTC."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return _real(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.strip().lower()]
    return bool(value)


def _object(value: Any) -> dict[str, Any]:
    return {str(name): each for name, each in value.items()} if isinstance(value, Mapping) else {"value": value}


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(_text(each) for each in _each(value))


def _each(value: Iterable[Any]) -> Iterable[Any]:
    return value


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "time": _moment,
    "boolean": _boolean,
    "json": _object,
    "list": _texts,
}
_READERS: Mapping[str, Callable[[Any], Any]] = {
    each.name: _status if each.name == "status" else _KINDS[each.kind] for each in columns(Span)
}
_CONTENT = frozenset(each.name for each in columns(Span) if each.content)
