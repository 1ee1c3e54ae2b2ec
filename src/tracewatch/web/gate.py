"""The gate: nobody gets past it without a key, unless the server is this machine's own and there are no keys.

It stands before all routes, so a route that is added later cannot forget it. What a route needs beyond being let in it
says by the type of a parameter: `Reader`, `Writer` or `Admin` give the caller, and with it the rows that may be seen.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qs, quote

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tracewatch.access import Caller, caller_with, find_caller, keys_needed
from tracewatch.errors import (
    AccessRefused,
    ForeignOrigin,
    FormForeign,
    KeyMissing,
    KeyUnknown,
    ProjectRefused,
    RightMissing,
    StoreBusy,
    StoreUnreadable,
    TracewatchError,
)
from tracewatch.settings import is_loopback
from tracewatch.web.serving import Serving
from tracewatch.web.sessions import COOKIE

STORE_RETRY_S = 5  # a disk that is full, a file that is locked or a database that is away takes a while
SIGN_IN = "/signin"
PUBLIC = ("/health/live", "/health/ready", SIGN_IN)
"""Paths that anybody may ask, for they tell nothing about anybody's rows."""

VERDICT_UNDER = "/alerts/verdict/"
"""Where people who were told say what it was worth: the link in the message is their key, to that one message."""

PUBLIC_UNDER = ("/static/", VERDICT_UNDER)
"""Paths below which no key is asked for: files of the pages, which the page that asks for a key needs, too."""

PROJECT_HEADER = "x-tracewatch-project"
_WITHOUT_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_SAFE = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Puts the caller of each request where routes find it, or answers that there is no way in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through with `scope["state"]["caller"]`, or answers 401, 403 or 503."""
        if scope["type"] != "http" or scope["path"] in PUBLIC or scope["path"].startswith(PUBLIC_UNDER):
            await self.app(scope, receive, send)
            return
        serving: Serving = scope["app"].state.serving
        try:
            caller = await run_in_threadpool(_caller, serving, scope)
        except (StoreBusy, StoreUnreadable) as error:
            await refusal(error, 503)(scope, receive, send)
            return
        except AccessRefused as error:
            serving.counters.refuse("access")
            await _no_way_in(scope, error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, receive, send)


def refusal(error: TracewatchError, status: int) -> JSONResponse:
    """The answer that says in one sentence why not."""
    told = {401: {"www-authenticate": 'Bearer realm="tracewatch"'}, 503: {"retry-after": str(STORE_RETRY_S)}}
    headers = told.get(status)
    return JSONResponse({"error": str(error)}, status_code=status, headers=headers)


def _no_way_in(scope: Scope, error: AccessRefused) -> Response:
    """A browser that shows a page is asked for a key, everybody else is told why not."""
    asks_for_page = "text/html" in Headers(scope=scope).get("accept", "")
    if error.status == 401 and scope["method"] == "GET" and asks_for_page:
        query = scope["query_string"].decode("latin-1")
        to = quote(scope["path"] + (f"?{query}" if query else ""), safe="")
        return RedirectResponse(f"{SIGN_IN}?to={to}", status_code=303)
    return refusal(error, error.status)


def key_given(headers: Headers) -> str | None:
    """The key that a request shows: as Bearer token, as x-api-key, or as password (or name) of Basic."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return password or name
    return headers.get("x-api-key")


def _caller(serving: Serving, scope: Scope) -> Caller:
    """Who asks. Raises AccessRefused."""
    headers = Headers(scope=scope)
    wanted = project_asked(scope)
    given = key_given(headers)
    if given is not None:
        caller = find_caller(serving.store, given, serving.clock())
        if caller is None:
            raise KeyUnknown()
        if wanted is not None and wanted != caller.project:
            raise ProjectRefused(given=wanted)
        return caller
    signed_in = _signed_in(serving, scope, headers)
    if signed_in is not None:
        if wanted is not None and wanted != signed_in.project:
            raise ProjectRefused(given=wanted)
        return signed_in
    if not serving.open_without_keys or keys_needed(serving.store):
        raise KeyMissing()
    _check_local(scope, headers)
    return Caller(project=wanted or serving.settings.project)


def _signed_in(serving: Serving, scope: Scope, headers: Headers) -> Caller | None:
    """Who has signed in with this browser; None when nobody has, or the key opens nothing any more."""
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    now = serving.clock()
    key = serving.sessions.key_of(cookie, now) if cookie else None
    caller = None if key is None else caller_with(serving.store, key, now)
    if caller is None:
        return None
    if scope["method"] not in _SAFE:
        check_origin(scope)
    scope.setdefault("state", {})["session"] = cookie
    return caller


def check_origin(scope: Scope) -> None:
    """What changes something comes from a page of this server: a browser says where it comes from. Raises FormForeign.

    Programs that show their key in a header need not say it; they have no cookie that somebody else could use.
    """
    headers = Headers(scope=scope)
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    own = origin is not None and origin.partition("://")[2] == headers.get("host", "")
    if not own and not (origin is None and site == "same-origin"):
        raise FormForeign()


def project_asked(scope: Scope) -> str | None:
    """The project that a request names, in a header or in its address; None when it names none."""
    in_query = parse_qs(scope["query_string"].decode("latin-1")).get("project", [])
    return Headers(scope=scope).get(PROJECT_HEADER) or (in_query[-1] if in_query else None) or None


def _check_local(scope: Scope, headers: Headers) -> None:
    """Without keys, a page of somebody else in a browser on this machine is kept out.

    Another name in Host is a foreign name that was made to point here; another Origin is a foreign page that posts.
    """
    host = headers.get("host", "")
    name = _WITHOUT_PORT.fullmatch(host)
    if host and (name is None or not is_loopback(name[1].strip("[]"))):
        raise ForeignOrigin(given=host)
    origin = headers.get("origin")
    if scope["method"] not in _SAFE and origin is not None and origin.partition("://")[2] != host:
        raise ForeignOrigin(given=origin)


def _with_right(right: str) -> Callable[[Request], Caller]:
    def caller(request: Request) -> Caller:
        found: Caller = request.state.caller
        if not found.may(right):
            raise RightMissing(right=right)
        return found

    return caller


Reader = Annotated[Caller, Depends(_with_right("read"))]
"""The caller of a route that shows rows."""

Writer = Annotated[Caller, Depends(_with_right("write"))]
"""The caller of a route that stores spans or deals with findings."""

Admin = Annotated[Caller, Depends(_with_right("admin"))]
"""The caller of a route that changes the project itself: keys, prices, retention."""
