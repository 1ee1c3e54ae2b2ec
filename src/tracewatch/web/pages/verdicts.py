"""What a message was worth, said from a link in it: without signing in, for that message alone, never by a mere look.

Whoever has the link has the message. Programs that look at links before people do only see a page with a button.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch.alerts.verdicts import BY_LINK, delivery_of, judge
from tracewatch.errors import NotFound
from tracewatch.records import VERDICTS, Delivery
from tracewatch.web import drawing
from tracewatch.web.forms import Sent
from tracewatch.web.gate import VERDICT_UNDER
from tracewatch.web.serving import Server, Serving

router = APIRouter(include_in_schema=False)

MEANS = {
    "useful": "It was right to be told of this.",
    "expected": "It happened, and is nothing to be told of.",
    "noise": "There was nothing.",
}
LONGEST = 200  # characters of a key or a token


@router.get(VERDICT_UNDER + "{key}", response_class=HTMLResponse)
def ask_verdict(request: Request, server: Server, key: str) -> HTMLResponse:
    """Asks for the verdict that a link of a message means; nothing is kept by that."""
    query = request.query_params
    return _page(request, _delivery(server, key, query.get("token", "")), query.get("verdict", ""), said=False)


@router.post(VERDICT_UNDER + "{key}")
def take_verdict(request: Request, server: Server, key: str, form: Sent) -> Response:
    """Keeps a verdict. Raises NotFound where the link is not whole."""
    token, verdict = form.one("token") or "", form.one("verdict") or ""
    delivery = _delivery(server, key, token)
    judge(server.store, delivery.project, delivery.key, verdict, who=BY_LINK, now=server.clock(), token=token)
    return _page(request, delivery, verdict, said=True)


def _delivery(server: Serving, key: str, token: str) -> Delivery:
    found = delivery_of(server.store, key[:LONGEST], token[:LONGEST]) if token else None
    if found is None:
        hint = "The link may have been cut on its way: copy it whole from the message"
        raise NotFound(what="message", given=key[:12], where="this server", hint=hint)
    return found


def _page(request: Request, delivery: Delivery, verdict: str, *, said: bool) -> HTMLResponse:
    return drawing.alone(
        request, "verdict.html", status=200,
        delivery=delivery, verdict=verdict if verdict in VERDICTS else "", said=said, means=MEANS, verdicts=VERDICTS,
        action=request.url.path,
    )  # fmt: skip
