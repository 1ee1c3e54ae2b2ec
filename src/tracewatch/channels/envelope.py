"""A message for machines: a versioned JSON envelope, its published schema and its signature."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from tracewatch.channels.message import Message
from tracewatch.records import EVENTS, SEVERITIES, VERDICTS, iso

API_VERSION = "1"
"""Grows when a field goes away or changes its meaning; fields that join do not change it."""

SECRET_PREFIX = "whsec_"  # noqa: S105  # how Standard Webhooks marks a secret in base64


def envelope(message: Message) -> dict[str, Any]:
    """The message as JSON-ready values; times as ISO 8601 in UTC."""
    return {
        "id": message.key,
        "type": _type(message.event),
        "api_version": API_VERSION,
        "timestamp": iso(message.sent_at),
        "payload": {
            "event": message.event,
            "project": message.project,
            "rule": message.rule,
            "severity": message.severity,
            "title": message.title,
            "since": None if message.since is None else iso(message.since),
            "until": None if message.until is None else iso(message.until),
            "facts": [{"label": label, "text": text} for label, text in message.facts],
            "where": message.where,
            "why": list(message.why),
            "next": list(message.next),
            "link": message.link,
            "verdict_links": dict(message.verdict_links),
            "incident": dict(message.incident),
        },
    }


def encoded(message: Message) -> bytes:
    """The envelope as the bytes that are sent and signed; raises ValueError for what JSON cannot say (nan, inf).

    Half a character, of which UTF-8 knows nothing, is a question mark.
    """
    told = json.dumps(envelope(message), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return told.encode("utf-8", "replace")


def headers(message: Message, body: bytes, secret: str, now: float) -> dict[str, str]:
    """The headers of an attempt: what it is, by which key it is known, and who it is from, where there is a secret.

    `now` is the moment of the attempt (epoch seconds): receivers refuse a timestamp that is old.

    The names and the signature are those of Standard Webhooks (standardwebhooks.com), for which receivers have
    libraries: base64 of HMAC-SHA256 over "id.timestamp.body".
    """
    stamp = f"{now:.0f}"
    given = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "tracewatch",
        "Idempotency-Key": message.key,
        "Webhook-Id": message.key,
        "Webhook-Timestamp": stamp,
    }
    if secret:
        given["Webhook-Signature"] = f"v1,{signature(secret, message.key, stamp, body)}"
    return given


def signature(secret: str, key: str, stamp: str, body: bytes) -> str:
    """Base64 of HMAC-SHA256 over "key.stamp.body".

    >>> signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330",
    ...           b'{"test": 2432232314}')  # the example of Standard Webhooks
    'g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = f"{key}.{stamp}.".encode() + body
    return base64.b64encode(hmac.new(_key(secret), signed, sha256).digest()).decode()


def _key(secret: str) -> bytes:
    """The bytes of a secret: base64 after whsec_, also without its padding, else the text itself."""
    if secret.startswith(SECRET_PREFIX):
        coded = secret.removeprefix(SECRET_PREFIX).rstrip("=")
        try:
            return base64.b64decode(coded + "=" * (-len(coded) % 4), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()


def _type(event: str) -> str:
    """What an event is called where it stands by itself: those of one incident say so."""
    return event if event in ("digest", "summary", "test") else f"incident.{event}"


def _text(help: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": help, **more}


def _texts(help: str) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "description": help}


def _or_null(of: Mapping[str, Any]) -> dict[str, Any]:
    return {**of, "type": [of["type"], "null"]}


def _whole(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}


SCHEMA: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "tracewatch webhook",
    **_whole(
        {
            "id": _text("The same for every attempt at the same telling: drop what you have seen."),
            "type": _text(
                "What happened.",
                enum=[_type(each) for each in EVENTS],
            ),
            "api_version": _text("The version of this form.", const=API_VERSION),
            "timestamp": _text("When it was sent.", format="date-time"),
            "payload": _whole(
                {
                    "event": _text("What happened, in one word.", enum=list(EVENTS)),
                    "project": _text("The project (tenant) it is about."),
                    "rule": _text("The rule that wants it told."),
                    "severity": _text("How bad it is.", enum=list(SEVERITIES)),
                    "title": _text("What happened, in one line of at most 160 characters."),
                    "since": _or_null(_text("When it began.", format="date-time")),
                    "until": _or_null(_text("When it was over; null while it lasts.", format="date-time")),
                    "facts": {
                        "type": "array",
                        "description": "How bad it is, in words.",
                        "items": _whole({"label": _text("What is told."), "text": _text("The value with its unit.")}),
                    },
                    "where": _text("Which calls it is about, in words."),
                    "why": _texts("What led to it, the best explanation first."),
                    "next": _texts("What to do, the first thing first."),
                    "link": _or_null(_text("The page of the incident.", format="uri")),
                    "verdict_links": {
                        "type": "object",
                        "description": "Pages on which the telling is called useful, expected or noise.",
                        "properties": {each: _text(f"The page for '{each}'.", format="uri") for each in VERDICTS},
                    },
                    "incident": {"type": "object", "description": "The incident as /api/v1/incidents gives it."},
                }
            ),
        }
    ),
}
"""What `envelope` gives, as JSON Schema; published as docs/webhook.schema.json."""
