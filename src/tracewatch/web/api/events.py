"""Events as JSON: incidents that opened, changed or closed, findings, and the numbers of today, as they happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.records import Anomaly, Incident, as_dict, iso
from tracewatch.web.events import Channel, Message
from tracewatch.web.gate import Reader
from tracewatch.web.serving import Server
from tracewatch.web.streams import stream
from tracewatch.web.views import happening
from tracewatch.web.views.happening import Happened

router = APIRouter(prefix="/api/v1/events", tags=["events"])


class Happenings(Channel):
    """What callers of one key are told."""

    def __init__(self, store: Any, caller: Caller) -> None:
        super().__init__(("happenings", caller.key, caller.project, caller.user_id), caller)
        self._store = store
        self._incidents: dict[str, Incident] | None = None
        self._token = ""
        self._numbers: dict[str, Any] = {}
        self._at = 0.0

    def read(self, now: float) -> Sequence[Message]:
        token = self._store.tip()
        incidents = happening.standing_now(self._store, self.caller, now)
        numbers = happening.numbers(self._store, self.caller, now)
        told: list[Message] = []
        if self._incidents is not None:
            happened = list(happening.between_looks(self._incidents, incidents))
            found = happening.found_after(self._store, self.caller, self._token)
            told = messages(happened, found, now)
        self._incidents, self._token, self._at = incidents, token, now
        if numbers != self._numbers:
            self._numbers = numbers
            told += self.standing()
        return told

    def standing(self) -> Sequence[Message]:
        numbers = {**self._numbers, "at": iso(self._at)}
        if numbers.get("last_call") is not None:
            numbers["last_call"] = iso(numbers["last_call"])
        return [Message(event="numbers", data=_json(numbers), id=_id(self._at))]


@router.get(
    "",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "A stream without end."}
    },
)
def follow(request: Request, server: Server, caller: Reader) -> Response:
    """Server-sent events: `incident.opened`, `incident.changed`, `incident.closed`, `anomaly`, `numbers`.

    A client that sends `Last-Event-ID` gets what happened since, for up to a day; an event may then come twice.
    """
    last = _moment(request.headers.get("last-event-id", ""))
    now = server.clock()

    def missed() -> Sequence[Message]:
        if last is None or not now - happening.LONGEST_S <= last <= now:
            return ()
        happened, found = happening.since(server.store, caller, last)
        return messages(happened, found, now)

    return stream(server, Happenings(server.store, caller), missed)


def messages(happened: Sequence[Happened], found: Sequence[Anomaly], now: float) -> list[Message]:
    """What happened to incidents, and what was found, as a stream tells it."""
    told = [
        Message(event=f"incident.{each.change}", data=_json(as_dict(each.incident)), id=_id(now)) for each in happened
    ]
    return told + [Message(event="anomaly", data=_json(as_dict(each)), id=_id(now)) for each in found]


def _json(values: Any) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def _id(at: float) -> str:
    return f"{at:.3f}"


def _moment(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
