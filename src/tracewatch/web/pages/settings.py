"""Settings of a project: keys, prices, what is kept, and what detection has learned; each change is a form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import __version__, formats, live
from tracewatch.access import Caller, create_key, keys_needed, revoke_key, rights_of_new, state_of
from tracewatch.errors import BadDeed, BadKey, BadPrice, NotFound, TracewatchError
from tracewatch.pricing import STALE_AFTER_DAYS, checked, table_age_days, table_version
from tracewatch.records import RIGHTS, ApiKey, PriceOverride
from tracewatch.settings import PREFIX
from tracewatch.stores.base import Filter
from tracewatch.times import parse_duration
from tracewatch.web import alerting, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.forms import Form, Sent, answered
from tracewatch.web.gate import Admin
from tracewatch.web.serving import Server, Serving
from tracewatch.web.views import keeping
from tracewatch.web.views.keeping import Kept, Loss

router = APIRouter(include_in_schema=False)

SECRET = "api_key"  # noqa: S105  # the name of a setting, whose value is never shown
ADDRESSES = "alert_channels"
MOST_DAYS = 36_500
DONE = {
    "revoke_key": ("keys", "The key opens nothing any more."),
    "set_price": (
        "prices",
        "The price holds for calls to come. Price the stored ones anew with: tracewatch prices reprice",
    ),
    "remove_price": ("prices", "The price is removed. Price the stored calls anew with: tracewatch prices reprice"),
    "retention": ("retention", "Kept. What is older goes once a day while the server runs, or at once below."),
    "delete": ("retention", "Deleted. The sums by the hour stay."),
    "content": ("content", "Kept."),
    "learn_again": ("detectors", "Forgotten. Detection learns from all calls again; until then nothing is told."),
}


class Unconfirmed(Exception):  # a question, and no error
    """What a change would delete, for which the name of the project was not typed yet."""

    def __init__(self, loss: Loss, days: int) -> None:
        super().__init__()
        self.loss, self.days = loss, days


@router.get("/settings", response_class=HTMLResponse)
def show_settings(request: Request, asked: Ask, server: Server) -> HTMLResponse:
    """All settings."""
    return _page(request, asked, server)


@router.post("/settings")
def change_settings(request: Request, asked: Ask, server: Server, caller: Admin, form: Sent) -> Response:
    """Does what a form of the page says."""
    verb = form.one("verb") or ""
    try:
        if verb == "create_key":
            made, text = _create_key(asked, caller, form)
            return _page(request, asked, server, new_key=text, made=made)
        doing = VERBS.get(verb)
        if doing is None:
            raise BadDeed(why=f"'{verb[:40]}' is nothing that can be done here")
        doing(asked, caller, form)
    except Unconfirmed as asking:
        return _page(request, asked, server, unconfirmed=asking)
    except (BadDeed, BadKey, BadPrice, NotFound) as error:
        return _page(request, asked, server, wrong=f"{str(error)[:1].upper()}{str(error)[1:]}.", status=400)
    section, _ = DONE[verb]
    return answered(asked.address("/settings", done=verb) + f"#{section}")


def _page(
    request: Request, asked: Asked, server: Serving, *, new_key: str = "", made: ApiKey | None = None, wrong: str = "",
    status: int = 200, unconfirmed: Unconfirmed | None = None,
) -> HTMLResponse:  # fmt: skip
    may = asked.caller.may("admin")
    it = keeping.what_is_kept(asked.store, asked.caller, asked.now)
    age = table_age_days(asked.now)
    lost, whole = _losses(asked, it) if may else (None, "")
    return drawing.page(
        request, asked, "settings.html", status=status,
        it=it, may=may, new_key=new_key, made=made, wrong=wrong,
        done=DONE.get(asked.given.get("done", ""), ("", ""))[1],
        rights=RIGHTS, keys_needed=keys_needed(asked.store), key_state=lambda key: state_of(key, asked.now),
        said=_sentence(it), loss=lost, unconfirmed=unconfirmed, cannot=whole,
        table=f"genai-prices {table_version()}", age=round(age),
        stale=age > STALE_AFTER_DAYS, pattern=asked.given.get("pattern", ""), settings=list(_settings(server)),
        content_refused=server.settings.content != "allow", version=__version__, prefix=PREFIX,
    )  # fmt: skip


def _sentence(it: Kept) -> str:
    if it.first is None or it.last is None:
        return f"Project {it.project.project} has no calls yet."
    length = formats.plural(max(round((it.last - it.first) / keeping.DAY_S), 1), "day")
    return f"Project {it.project.project} keeps {formats.plural(it.spans, 'span')} of {length}."


def _losses(asked: Asked, it: Kept) -> tuple[Loss | None, str]:
    """What deleting would take now, or why nothing can be deleted."""
    days = it.project.retention_days
    if days is None:
        return None, ""
    try:
        return keeping.loss(asked.store, asked.caller, days, asked.now), ""
    except BadDeed as error:
        return None, f"{str(error)[:1].upper()}{str(error)[1:]}."


def _settings(server: Serving) -> list[Mapping[str, Any]]:
    """Every setting with its variable; what is secret is only said to be set."""
    found: list[Mapping[str, Any]] = []
    for field in dataclasses.fields(server.settings):
        value = getattr(server.settings, field.name)
        shown = ("set" if value else "") if field.name == SECRET else str(value)
        shown = alerting.masked_addresses(shown) if field.name == ADDRESSES else shown
        found.append({"name": PREFIX + field.name.upper(), "value": shown, "help": field.metadata["help"]})
    return found


def _create_key(asked: Asked, caller: Caller, form: Form) -> tuple[ApiKey, str]:
    rights = rights_of_new(asked.store, [each for each in form.every("right") if each])
    user_id = form.one("user_id")
    expires = form.one("expires")
    try:
        length = parse_duration(expires) if expires else None
    except TracewatchError as error:
        raise BadKey(why=f"'{expires}' is no length of time such as 12h or 90d") from error
    return create_key(
        asked.store, project=caller.project, rights=rights, now=asked.now, user_id=user_id,
        name=(form.one("name") or "")[:200], expires_at=None if length is None else asked.now + length,
    )  # fmt: skip


def _revoke_key(asked: Asked, caller: Caller, form: Form) -> None:
    id_ = form.one("id") or ""
    key = asked.store.get(ApiKey, {"id": id_})
    if not isinstance(key, ApiKey) or key.project != caller.project:
        raise NotFound(what="key", given=id_[:40], where="this project", hint="It may have been another project's.")
    revoke_key(asked.store, id_, asked.now)


def _set_price(asked: Asked, caller: Caller, form: Form) -> None:
    override = PriceOverride(
        project=caller.project,
        pattern=(form.one("pattern") or "")[:500],
        model_provider=form.one("model_provider"),
        input_per_million=_number(form, "input") or 0.0,
        output_per_million=_number(form, "output") or 0.0,
        cache_read_per_million=_number(form, "cache_read"),
        cache_write_per_million=_number(form, "cache_write"),
    )
    if _number(form, "input") is None or _number(form, "output") is None:
        raise BadPrice(why="the input and the output price are needed")
    asked.store.put([checked(override)])


def _number(form: Form, name: str) -> float | None:
    text = form.one(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise BadPrice(why=f"'{text[:40]}' is no number of dollars") from error


def _remove_price(asked: Asked, caller: Caller, form: Form) -> None:
    where = [Filter("project", "=", (caller.project,)), Filter("pattern", "=", (form.one("pattern"),))]
    try:
        where.append(Filter("starts_at", "=", (float(form.one("starts_at") or 0),)))
    except ValueError as error:
        raise BadDeed(why="the price begins at no time") from error
    if not asked.store.remove(PriceOverride, where):
        raise BadDeed(why="there is no such price any more")


def _retention(asked: Asked, caller: Caller, form: Form) -> None:
    text = form.one("days") or "0"
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_DAYS):
        raise BadDeed(why=f"'{text[:40]}' is no number of days; leave it empty to keep everything")
    if int(text) and form.one("confirm") != caller.project:
        with suppress(BadDeed):  # nothing goes that other projects still keep
            lost = keeping.loss(asked.store, caller, int(text), asked.now)
            if lost.spans:
                raise Unconfirmed(lost, int(text))
    keeping.change(asked.store, caller.project, asked.now, days=int(text))


def _delete(asked: Asked, caller: Caller, form: Form) -> None:
    days = keeping.described(asked.store, caller.project, asked.now).retention_days
    if days is None:
        raise BadDeed(why="no retention is set, so nothing is too old")
    if form.one("confirm") != caller.project:
        raise BadDeed(why=f"to delete, type the name of the project: {caller.project}")
    asked.store.retain(keeping.loss(asked.store, caller, days, asked.now).before)


def _content(asked: Asked, caller: Caller, form: Form) -> None:
    keeping.change(asked.store, caller.project, asked.now, content=form.one("allowed") == "yes")


def _learn_again(asked: Asked, caller: Caller, _: Form) -> None:
    live.forget(asked.store, caller.project)


Doing = Callable[[Asked, Caller, Form], None]
VERBS: Mapping[str, Doing] = {
    "revoke_key": _revoke_key,
    "set_price": _set_price,
    "remove_price": _remove_price,
    "retention": _retention,
    "delete": _delete,
    "content": _content,
    "learn_again": _learn_again,
}
