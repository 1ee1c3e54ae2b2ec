"""What is answered instead of what was asked: one sentence, as JSON, or as a page where a browser asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tracewatch.errors import (
    AccessRefused,
    BadRequest,
    MethodRefused,
    NotFound,
    NothingThere,
    StoreBusy,
    StoreUnreadable,
    TooManyListeners,
    TracewatchError,
    WentWrong,
)
from tracewatch.web import drawing
from tracewatch.web.gate import refusal

_UNAVAILABLE = (StoreBusy, StoreUnreadable, TooManyListeners)

_log = logging.getLogger("tracewatch.web")


async def _access(request: Request, error: Exception) -> Response:
    assert isinstance(error, AccessRefused)
    return _refused(request, error, error.status)


async def _ours(request: Request, error: Exception) -> Response:
    """An error of ours is one sentence."""
    assert isinstance(error, TracewatchError)
    status = 503 if isinstance(error, _UNAVAILABLE) else 404 if isinstance(error, NotFound) else 400
    return _refused(request, error, status)


async def _http(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    assert isinstance(error, HTTPException)
    path, allowed = request.url.path[:200], Headers(dict(error.headers or {})).get("allow", "")
    if error.status_code == 405:
        answer = _refused(request, MethodRefused(path=path, method=request.method, allowed=allowed), 405)
        answer.headers["allow"] = allowed
        return answer
    if error.status_code == 404:
        return _refused(request, NothingThere(path=path), 404)
    return _refused(request, BadRequest(why=error.detail), error.status_code)


async def _unread(request: Request, error: Exception) -> Response:
    """A parameter or a body that is not of its type."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(each) for each in first["loc"][1:]) or str(first["loc"][0])
    return _refused(request, BadRequest(why=f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}"), 422)


async def _wrong(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _refused(request, WentWrong(), 500)


def _refused(request: Request, error: TracewatchError, status: int) -> Response:
    return drawing.refused(request, error, status) if drawing.wants_page(request) else refusal(error, status)


Answering = Callable[[Request, Exception], Coroutine[Any, Any, Response]]

HANDLERS: dict[int | type[Exception], Answering] = {
    AccessRefused: _access,
    TracewatchError: _ours,
    HTTPException: _http,
    RequestValidationError: _unread,
    Exception: _wrong,
}
"""What answers for each kind of error."""
