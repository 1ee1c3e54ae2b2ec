"""From the fields of a finished span to its row, whatever the program has put into them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tracewatch.capture import noting
from tracewatch.records import STATUSES, Span, columns
from tracewatch.records.bounds import bound, without_content
from tracewatch.stores.values import MOMENTS

SOURCE = "sdk"
BAD_VALUE = "bad_value"
"""The warning on a row one of whose values was no value of its column; what was given is in `metadata.bad_values`."""

MESSAGE_LENGTH = 500
LONGEST_VALUE = 100  # of what is told of a bad value
DEEPEST = 20  # levels of an object that are kept
MOST_VALUES = 5_000  # values of an object that are kept
CUT = "…"
NOT_FINITE = "not a finite number"

CONTENT_LEFT = (
    "texts of prompts and answers are not recorded, so {names} was left out: allow it with "
    "tracewatch.init(capture_content=True), or give it a name of what it is about, such as prompt_version"
)

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
    kept.setdefault("start_time", time.time())
    _settle(kept)
    _add_others(kept, others, bad, content=content)
    bound(kept)
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


def _add_others(kept: dict[str, Any], others: dict[str, Any], bad: dict[str, str], *, content: bool) -> None:
    if bad:
        others["bad_values"] = bad
        kept["warning_flags"] = (*(kept.get("warning_flags") or ()), BAD_VALUE)
    if others:
        kept["metadata"] = {**_object(others), **(kept.get("metadata") or {})}
    if kept.get("metadata") and not content:
        kept["metadata"], left = without_content(kept["metadata"])
        if left:
            noting.once(CONTENT_LEFT.format(names=", ".join(sorted(set(left))[:5])[:LONGEST_VALUE]))
        if not kept["metadata"]:
            del kept["metadata"]


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
    number = _real(value)
    if not MOMENTS[0] <= number <= MOMENTS[1]:
        raise ValueError(value)
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.strip().lower()]
    return bool(value)


def _object(value: Any) -> dict[str, Any]:
    """A JSON object of plain values, as deep and as large as makes sense; anything else stands under `value`."""
    found = _plain(value, _Room(), 0)
    return found if isinstance(found, dict) else {"value": found}


class _Room:
    """How many values an object may still have: one that holds itself has no end."""

    def __init__(self) -> None:
        self.left = MOST_VALUES


def _plain(value: Any, room: _Room, depth: int) -> Any:
    room.left -= 1
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth >= DEEPEST or room.left < 0:
        return CUT
    if isinstance(value, Mapping):
        return {_text(name): _plain(each, room, depth + 1) for name, each in _some(value.items(), room)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each, room, depth + 1) for each in _some(value, room)]
    try:
        return _text(value)
    except Exception as error:
        return _told(value, error)


def _some(values: Iterable[Any], room: _Room) -> Iterator[Any]:
    for each in values:
        if room.left <= 0:
            return
        yield each


def _texts(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(_text(each) for each in value)


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
