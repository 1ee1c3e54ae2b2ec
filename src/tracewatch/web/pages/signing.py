"""Signing in with a key, and out again."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch.access import find_caller, keys_needed
from tracewatch.web import drawing
from tracewatch.web.forms import Sent, answered
from tracewatch.web.gate import SIGN_IN, check_origin
from tracewatch.web.serving import Server
from tracewatch.web.sessions import COOKIE, LASTS_S

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN, response_class=HTMLResponse)
def show_sign_in(request: Request, server: Server, to: str = "/") -> Response:
    """The page that asks for a key; who needs none goes on."""
    if server.open_without_keys and not keys_needed(server.store):
        return answered(to)
    return drawing.alone(request, "signing.html", to=to, wrong="", status=200)


@router.post(SIGN_IN)
def sign_in(request: Request, server: Server, form: Sent) -> Response:
    """Takes the key and gives a cookie for it. Raises ForeignOrigin."""
    check_origin(request.scope)
    to, now = form.one("to") or "/", server.clock()
    caller = find_caller(server.store, (form.one("key") or "").strip(), now)
    if caller is None or caller.key is None:
        server.counters.refuse("access")
        wrong = "This key opens nothing: it is not one of this server, has expired or was revoked."
        return drawing.alone(request, "signing.html", to=to, wrong=wrong, status=401)
    answer = answered(to)
    answer.set_cookie(
        COOKIE, server.sessions.begin(caller.key, now), max_age=int(LASTS_S), path="/", httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/signout")
def sign_out(request: Request, server: Server, form: Sent) -> Response:
    """Ends the sign-in, also for whoever has a copy of the cookie."""
    server.sessions.end(request.cookies.get(COOKIE, ""), server.clock())
    answer = answered(f"{SIGN_IN}?to={quote(form.one('to') or '/', safe='')}")
    answer.delete_cookie(COOKIE, path="/")
    return answer
