"""How a call ended, from status, attributes and exception events: status, error type, category and message."""

from __future__ import annotations

import re
from typing import Any

from tracewatch.categories import category_of
from tracewatch.otlp.own import text_of, whole_of
from tracewatch.otlp.usage import Values
from tracewatch.otlp.wire import Attributes, WireSpan

MESSAGE = 500  # characters of an error that are kept
_ERROR, _OK = 2, 1
_HTTP = ("http.response.status_code", "http.status_code", "rpc.grpc.status_code")
_HTTP_NAMES = frozenset(_HTTP)
_STATUS = re.compile(r"(?:[Ee]rror code|status code|HTTP)[: ]+(\d{3})\b")
_TRACEBACK = "Traceback (most recent call last)"
_LONGEST_TYPE = 120


def read_failure(span: WireSpan, values: Values) -> None:
    """Sets the outcome's columns. What is there already stays when it was said under our own names."""
    attributes = span.attributes
    thrown = _thrown(span) if span.events else None
    http = None
    if not _HTTP_NAMES.isdisjoint(attributes):
        http = next(whole_of(attributes[name]) for name in _HTTP if name in attributes)
    said = values.pop("error_type", None)
    failed = span.code == _ERROR or attributes.get("langfuse.observation.level") == "ERROR"
    if span.code != _OK:  # what went wrong inside and was dealt with leaves its traces on spans that are ok
        failed = failed or bool(said) or thrown is not None or (http is not None and http >= 400 and span.kind == 3)
    if not failed:
        return
    kind = _short(said) if said and said != "_OTHER" else None
    kind = kind or (_short(text_of((thrown or {}).get("exception.type"))) if thrown else None)
    message = span.message or text_of((thrown or {}).get("exception.message"))
    message = message or text_of(attributes.get("langfuse.observation.status_message"))
    message = message or text_of(attributes.get("exception.message")) or text_of(attributes.get("error.message"))
    status = http if http is not None and 400 <= http < 600 else _status(message, kind)
    category = category_of(message or "", status=status, code=kind, name=kind)
    values["error_type"] = kind or (str(status) if status else None)
    values.setdefault("error_category", category)
    values["error_message"] = shortened(message)
    values.setdefault("status", "timeout" if category == "timeout" else "error")


def shortened(message: str | None) -> str | None:
    """The message as it is kept: without a traceback, 500 characters at most.

    >>> shortened('Boom("x")Traceback (most recent call last):  File ...')
    'Boom("x")'
    """
    if not message:
        return None
    said = message.partition(_TRACEBACK)[0].strip() or message
    return said[:MESSAGE]


def _thrown(span: WireSpan) -> Attributes | None:
    """The attributes of the last exception that the span tells of."""
    return next((held for name, _, held in reversed(span.events) if name in ("exception", "error")), None)


def _short(name: str | None) -> str | None:
    """A class without its module: `openai.RateLimitError` and `RateLimitError` are one."""
    return name.rpartition(".")[2][:_LONGEST_TYPE] or None if name else None


def _status(message: str | None, kind: Any) -> int | None:
    if kind and kind.isdecimal() and len(kind) == 3:
        return int(kind)
    found = _STATUS.search(message[:2000]) if message else None
    return int(found[1]) if found else None
