"""OTLP over HTTP: what exporters post is stored, and acknowledged only then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from starlette.responses import Response

from tracewatch.access import Caller
from tracewatch.errors import (
    BadOtlp,
    BodyRefused,
    ContentTypeUnknown,
    DiskShort,
    StoreBusy,
    StoreUnreadable,
    StoreUnwritable,
    StoringSlow,
    TracewatchError,
)
from tracewatch.receiving import Request, Work
from tracewatch.web.bodies import MIB, Body, read_into
from tracewatch.web.gate import STORE_RETRY_S, Writer, project_asked
from tracewatch.web.serving import Server, Serving
from tracewatch.web.storing import Delivery, Stored

router = APIRouter(tags=["OTLP"])

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
_FORMS = {PROTOBUF: PROTOBUF, "application/protobuf": PROTOBUF, JSON: JSON}
JSON_SHARE = 4  # JSON takes 24 times its size once it is read, so of JSON a body may have a quarter of the bytes
PATIENCE_S = 8.0  # exporters give up after 10 s, and then do not know whether their spans were stored
RETRY_S = 1  # the queue is stored within a second or two; senders add a random share of their own
DISK_RETRY_S = 30  # somebody has to make room first
_REFUSED = 3  # INVALID_ARGUMENT of google.rpc.Code
_LATER = 14  # UNAVAILABLE


@router.post("/v1/traces")
@router.post("/api/public/otel/v1/traces", include_in_schema=False)
async def traces(request: HttpRequest, server: Server, caller: Writer) -> Response:
    """Takes spans as OTLP, protobuf or JSON, and answers 200 when they are stored.

    Spans that can never be stored are named in `partialSuccess`. 429 and 503 ask to send the same again later.
    """
    server.counters.requests += 1
    project = caller.project if caller.key is not None else project_asked(request.scope)
    try:
        form = _form(request)
    except BodyRefused as error:
        return _refused(server, error, JSON)
    body = Body(server.room, server.settings.max_body_mb * MIB // (JSON_SHARE if form == JSON else 1))
    try:
        whole = await read_into(body, request)
        stored = await _store(server, whole, form, caller, project)
    except (BodyRefused, BadOtlp) as error:
        return _refused(server, error, form)
    except (StoreBusy, StoreUnreadable, StoreUnwritable) as error:
        server.counters.refuse("store")
        return _error(error, 503, form, retry_s=STORE_RETRY_S)
    finally:
        body.done()
    return _partial(stored, form)


@router.post("/v1/metrics")
@router.post("/v1/logs")
@router.post("/api/public/otel/v1/metrics", include_in_schema=False)
@router.post("/api/public/otel/v1/logs", include_in_schema=False)
async def others(request: HttpRequest, server: Server, _: Writer) -> Response:
    """Takes metrics and logs without keeping them, so that exporters which send all three are content."""
    try:
        form = _form(request)
    except BodyRefused as error:
        return _refused(server, error, JSON)
    async for _part in request.stream():
        pass
    return _answer({} if form == JSON else b"", 200, form)


async def _store(server: Serving, body: bytes, form: str, caller: Caller, project: str | None) -> Stored:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Stored] = loop.create_future()
    server.storing.submit(
        Delivery(
            work=Work(
                Request(
                    body=body,
                    json=form == JSON,
                    project=project,
                    or_project=server.settings.project,
                    user_id=caller.user_id,
                )
            ),
            has_key=caller.key is not None,
            loop=loop,
            answer=answer,
        )
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await answer
    except TimeoutError as error:
        raise StoringSlow(seconds=int(PATIENCE_S)) from error


def _form(request: HttpRequest) -> str:
    """The content type of the request, and so of its answer. Raises ContentTypeUnknown."""
    given = request.headers.get("content-type", "")
    form = _FORMS.get(given.partition(";")[0].strip().lower())
    if form is None:
        raise ContentTypeUnknown(given=given[:80])
    return form


def _refused(server: Serving, error: BodyRefused | BadOtlp, form: str) -> Response:
    status, reason = (error.status, error.reason) if isinstance(error, BodyRefused) else (400, "unreadable")
    server.counters.refuse(reason)
    later = DISK_RETRY_S if isinstance(error, DiskShort) else RETRY_S
    return _error(error, status, form, retry_s=later if status in (429, 503) else None)


def _partial(stored: Stored, form: str) -> Response:
    """The answer to what was stored: ExportTraceServiceResponse, with what was rejected if anything was."""
    rejected = sum(stored.reasons.values())
    if not rejected:
        return _answer({} if form == JSON else b"", 200, form)
    why = "; ".join(f"{count} rejected: {reason}" for reason, count in stored.reasons.items())
    if form == JSON:
        return _answer({"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": why}}, 200, form)
    return _answer(_field(1, _number(1, rejected) + _field(2, why.encode(errors="replace"))), 200, form)


def _error(error: TracewatchError, status: int, form: str, *, retry_s: int | None = None) -> Response:
    """The sentence as google.rpc.Status, which is how OTLP says that something went wrong."""
    code = _LATER if retry_s is not None else _REFUSED
    message = str(error)
    content: Mapping[str, Any] | bytes
    content = {"code": code, "message": message}
    if form != JSON:
        content = _number(1, code) + _field(2, message.encode(errors="replace"))
    answer = _answer(content, status, form)
    if retry_s is not None:
        answer.headers["retry-after"] = str(retry_s)
    return answer


def _answer(content: Mapping[str, Any] | bytes, status: int, form: str) -> Response:
    whole = content if isinstance(content, bytes) else json.dumps(content)
    return Response(whole, status_code=status, media_type=form)


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    """A protobuf field that holds a number."""
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
