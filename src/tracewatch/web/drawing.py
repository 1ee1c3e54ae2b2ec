"""From values to pages: the templates, the filters they know, and the headers a page is sent with."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from tracewatch import __version__, formats, headlines
from tracewatch.access import Caller
from tracewatch.errors import TracewatchError
from tracewatch.explaining import saying
from tracewatch.times import parse_time
from tracewatch.web import assets, charts, navigation
from tracewatch.web.asking import Asked
from tracewatch.web.serving import serving_of
from tracewatch.web.sessions import FORM_FIELD
from tracewatch.web.views import incidents, people
from tracewatch.web.views.news import news

TEMPLATES = Path(__file__).resolve().parent / "templates"
# Bars and marks are placed by style attributes; styles and scripts of any other kind come from our own files alone.
POLICY = (
    "default-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
SEVERITY_CLASS = {"critical": "crit", "high": "high", "medium": "med", "low": "low"}


@cache
def environment() -> Environment:
    """The templates with all that they may call."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for each in (
        *(formats.duration, formats.seconds, formats.lasting, formats.count, formats.exactly, formats.call_cost),
        *(formats.money, formats.more_money, formats.percent, formats.ratio, formats.amount, formats.between),
        *(formats.short_id, formats.plural, formats.iso),
    ):
        made.filters[each.__name__] = each
    made.filters |= {"moment": moment, "age": age, "day_moment": _plain_moment, "here": here}
    made.globals |= {
        "asset": assets.address,
        "charts": charts,
        "formats": formats,
        "version": __version__,
        "severity_class": SEVERITY_CLASS,
        "state_of": incidents.state_of,
        "tab_of": incidents.tab_of,
        "short": headlines.short,
        "noun": saying.noun,
        "missing": formats.MISSING,
    }
    return made


PACKED = 4  # more saves a twentieth and costs twice the time
MOST_REMEMBERED = 32
_remembered: dict[tuple[str, ...], tuple[float, str]] = {}
_lock = Lock()


def page(request: Request, asked: Asked, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in its frame: navigation, top bar and what is going on everywhere."""
    paths = _paths(request)
    frame = {
        "asked": asked,
        "now": asked.now,
        "origin": str(request.base_url).rstrip("/"),
        "entries": navigation.shown(paths - people.unreported(asked.store, asked.caller, asked.now)),
        "here": navigation.current(asked.path),
        "there": paths.__contains__,
        "news": news(asked.store, asked.caller, asked.path, asked.now),
        "stream": _stream_of(asked) if not asked.given.get("to") and status == 200 else "",
        "said_headline": lambda incident: headlines.headline(incident, asked.zone, asked.now),
        "signed_in": _session_of(request) is not None,
        "short_headline": lambda incident: headlines.headline(incident, asked.zone, asked.now, effect=False),
    }
    html = _drawn(template, {**frame, **values})
    if status == 200:
        _remember(asked, request, html)
    return _sent(request, html, status)


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_TURNED = str.maketrans(dict.fromkeys(TURNING, "\ufffd"))


def _drawn(template: str, values: Mapping[str, Any]) -> str:
    """A template filled in. No name in it turns around how the words after it read: what would is shown as a mark."""
    html = environment().get_template(template).render(values)
    return html.translate(_TURNED) if any(each in html for each in TURNING) else html


def _sent(request: Request, html: str, status: int = 200) -> HTMLResponse:
    """The page, packed where the browser takes it so: 100 kB are then 10, for 2 ms of work."""
    html = _with_tokens(request, html)
    headers = {**HEADERS, "vary": "accept-encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return HTMLResponse(html, status_code=status, headers=headers)
    packed = gzip.compress(html.encode(), compresslevel=PACKED)
    return HTMLResponse(packed, status_code=status, headers={**headers, "content-encoding": "gzip"})


def refused(request: Request, error: TracewatchError, status: int) -> HTMLResponse:
    """What a browser sees instead of a page: one sentence, and what to do.

    Where the database does not answer, the page is shown as it was read last, and says so.
    """
    said = f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}."
    is_down = status == 503
    before = _last_of(request) if is_down else None
    if before is not None:
        at, html = before
        strip = Markup('<p class="strip crit" role="alert">{} Showing what was read at {} UTC.</p>').format(
            f"The database does not answer: {said}", datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        )
        return HTMLResponse(html.replace(NOTICE, f"{NOTICE}{strip}", 1), status_code=status, headers=HEADERS)
    title = "The database does not answer" if is_down else "This cannot be shown"
    again = str(request.url.path) + (f"?{request.url.query}" if request.url.query else "") if is_down else "/"
    html = _drawn("refused.html", {"title": title, "said": said, "again": again})
    return HTMLResponse(html, status_code=status, headers=HEADERS)


def wants_page(request: Request) -> bool:
    """Whether a browser asks, which shows a page."""
    return "text/html" in request.headers.get("accept", "")


NOTICE = '<div class="notice" id="notice">'


def _remember(asked: Asked, request: Request, html: str) -> None:
    key = _key_of(request, asked.caller)
    with _lock:
        _remembered.pop(key, None)
        _remembered[key] = (asked.now, html)
        while len(_remembered) > MOST_REMEMBERED:
            del _remembered[next(iter(_remembered))]


def _last_of(request: Request) -> tuple[float, str] | None:
    """The page as it was sent last to the same caller; nothing where it is not known who asks."""
    caller = getattr(request.state, "caller", None)
    if caller is None:
        return None
    with _lock:
        return _remembered.get(_key_of(request, caller))


def _key_of(request: Request, caller: Caller) -> tuple[str, ...]:
    """Whose page it is, and which: nobody is ever shown what somebody else has read."""
    who = (caller.project, caller.key or "", caller.user_id or "")
    return (str(serving_of(request).store.url), *who, request.url.path, request.url.query)


_FORM = re.compile(r'<form\b[^>]*\bmethod="post"[^>]*>', re.IGNORECASE)


def _with_tokens(request: Request, html: str) -> str:
    """The page of somebody who has signed in: each of its forms carries what shows that it is a form of ours.

    Put in here and not in the templates, so that no form can be without.
    """
    session = _session_of(request)
    if session is None:
        return html
    token = serving_of(request).sessions.form_token(session)
    field = f'<input type="hidden" name="{FORM_FIELD}" value="{token}">'
    return _FORM.sub(lambda form: form[0] + field, html)


def _session_of(request: Request) -> str | None:
    session: str | None = getattr(request.state, "session", None)
    return session


def alone(request: Request, template: str, *, status: int, **values: Any) -> HTMLResponse:
    """A page without the frame, for those who have not come in yet."""
    return _sent(request, _drawn(template, values), status)


def part(asked: Asked, template: str, **values: Any) -> str:
    """A part of a page as text."""
    return _drawn(template, {"asked": asked, "now": asked.now, **values}).strip()


def fragment(request: Request, asked: Asked, template: str, **values: Any) -> HTMLResponse:
    """A part of a page, for a page that is there already."""
    return _sent(request, part(asked, template, **values))


def _stream_of(asked: Asked) -> str:
    """Where the changes of a page come from while it is open."""
    kept = [(name, value) for name, value in asked.query if name not in ("done", "about")]
    return f"/events?{urlencode([*kept, ('page', asked.path)])}"


def _paths(request: Request) -> frozenset[str]:
    """The paths of all routes that the application has."""
    found: frozenset[str] | None = getattr(request.app.state, "paths", None)
    if found is None:
        found = frozenset(_every(request.app.routes))
        request.app.state.paths = found
    return found


def _every(routes: Any) -> list[str]:
    """The paths of pages among routes, and among those that lie within them; what stands in the schema is no page."""
    found: list[str] = []
    for each in routes:
        found += [each.path] if getattr(each, "path", None) and not getattr(each, "include_in_schema", False) else []
        inner = getattr(each, "routes", None) or getattr(getattr(each, "original_router", None), "routes", None)
        found += _every(inner) if inner else []
    return found


@pass_context
def moment(context: Context, time_s: float | None, *, to_the_second: bool = False) -> Markup | str:
    """A moment as it is shown, in full in its title and for machines."""
    if time_s is None:
        return formats.MISSING
    asked: Asked = context["asked"]
    text = formats.moment(time_s, asked.zone, asked.now, to_the_second=to_the_second)
    title = formats.full_moment(time_s, asked.zone)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(formats.iso(time_s), title, text)


@pass_context
def _plain_moment(context: Context, time_s: float) -> str:
    asked: Asked = context["asked"]
    return formats.moment(time_s, asked.zone, asked.now)


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d(?::\d\d)?) UTC")


@pass_context
def here(context: Context, text: str) -> str:
    """A sentence that was kept, with its moments in the zone of the page instead of UTC."""

    def told(found: re.Match[str]) -> str:
        return _plain_moment(context, parse_time(f"{found[1]}T{found[2]}Z"))

    return _MOMENT.sub(told, text)


@pass_context
def age(context: Context, time_s: float | None) -> str:
    """How long ago a moment was."""
    return formats.MISSING if time_s is None else formats.ago(max(context["asked"].now - time_s, 0.0))
