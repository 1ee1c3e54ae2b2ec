"""Sessions and users: their lists, one session turn by turn, and one user."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tracewatch import formats
from tracewatch.explaining import saying
from tracewatch.records import Span
from tracewatch.stores.base import Filter
from tracewatch.web import drawing
from tracewatch.web.asking import LASTING, Ask, Asked
from tracewatch.web.pages.incidents import Fact
from tracewatch.web.pages.traces import shown_period
from tracewatch.web.views import people
from tracewatch.web.views.people import ORDERS, PAGE, Session, User, path_of

router = APIRouter(include_in_schema=False)

GREW = 1.5  # from the first turn to the largest: less is not worth a word
FIELDS = ("begins", "user_id", "order", "page")


@router.get("/sessions", response_class=HTMLResponse)
def show_sessions(request: Request, asked: Ask) -> HTMLResponse:
    """The sessions of a period."""
    column = people.session_column(asked.store, asked.caller, asked.now)
    user_id = asked.given.get("user_id", "").strip()
    where = [Filter("user_id", "=", (user_id,))] if user_id else []
    return _list(request, asked, "sessions", column, where=where, user_id=user_id)


@router.get("/users", response_class=HTMLResponse)
def show_users(request: Request, asked: Ask) -> HTMLResponse:
    """The users of a period."""
    known = asked.store.exists(Span, [*asked.caller.where, Filter("user_id", ">", ("",))])
    return _list(request, asked, "users", "user_id" if known else "")


def _list(
    request: Request, asked: Asked, kind: str, column: str, *, where: list[Filter] | None = None, user_id: str = ""
) -> HTMLResponse:
    given = asked.given
    reach = asked.store.extent(Span, asked.caller.where) if column else None
    period, moved = shown_period(asked, reach[1] if reach else None)
    order = given.get("order", "latest" if kind == "sessions" else "cost")
    order = order if order in ORDERS else "latest"
    number = given.get("page", "1")
    page = int(number) if number.isascii() and number.isdigit() and 0 < int(number) <= 10_000 else 1
    begins = given.get("begins", "").strip()
    found = (
        people.listed(
            asked.store,
            asked.caller,
            column,
            period,
            where=where or (),
            begins=begins,
            order=order,
            skip=(page - 1) * PAGE,
        )
        if column
        else None
    )
    hit = people.incidents_by_user(asked.store, asked.caller, period) if kind == "users" and column else {}
    return drawing.page(
        request, asked, "people.html",
        kind=kind, one=kind[:-1], found=found, moved=moved, last_call=reach[1] if reach else None, period=asked.period,
        order=order, orders=tuple(ORDERS), begins=begins, user_id=user_id, hit=hit, path_of=path_of,
        kept=[(name, value) for name, value in asked.query if name in LASTING],
        newer=asked.address(page=str(page - 1) if page > 2 else None) if page > 1 else "",
        older=asked.address(page=str(page + 1)) if found and found.has_more else "",
        is_filtered=bool(begins or user_id),
    )  # fmt: skip


@router.get("/sessions/{session_id:path}", response_class=HTMLResponse)
def show_session(request: Request, asked: Ask, session_id: str) -> HTMLResponse:
    """One session, turn by turn."""
    column = people.session_column(asked.store, asked.caller, asked.now) or "session_id"
    it = people.session(asked.store, asked.caller, column, session_id)
    if it is None:
        said = f"There is no session {session_id[:40]}, or its project is not yours."
        return _missing(request, asked, said, "/sessions", "See all sessions")
    costs = [each.summary.cost_usd or 0.0 for each in it.turns]
    contexts = [each.context or 0 for each in it.turns]
    return drawing.page(
        request, asked, "session.html",
        it=it, said=_sentence(it), column=column, path_of=path_of, facts=list(_session_facts(asked, it)),
        top_cost=max(costs, default=0.0), top_context=max(contexts, default=0),
    )  # fmt: skip


@router.get("/users/{user_id:path}", response_class=HTMLResponse)
def show_user(request: Request, asked: Ask, user_id: str) -> HTMLResponse:
    """One user."""
    if not people.is_known(asked.store, asked.caller, user_id):
        said = f"There is no user {user_id[:40]}, or the project is not yours."
        return _missing(request, asked, said, "/users", "See all users")
    reach = asked.store.extent(Span, [*asked.caller.where, Filter("user_id", "=", (user_id,))])
    period, moved = shown_period(asked, reach[1] if reach else None)
    it = people.user(asked.store, asked.caller, user_id, period, asked.now)
    return drawing.page(
        request, asked, "user.html",
        it=it, user_id=user_id, period=asked.period, moved=moved, last_call=reach[1] if reach else None,
        said=_of_user(it, period.said), path_of=path_of, facts=list(_user_facts(it)),
        top=max((each.cost_usd or 0.0 for each in it.models), default=0.0),
    )  # fmt: skip


def _missing(request: Request, asked: Asked, said: str, to: str, instead: str) -> HTMLResponse:
    return drawing.page(request, asked, "missing.html", status=404, said=said, to=to, instead=instead)


def _sentence(it: Session) -> tuple[str, str, str]:
    turns = formats.plural(len(it.turns), "turn")
    cost = formats.money(it.cost_usd) if it.cost_usd is not None else "an unknown amount"
    lasted = f" over {formats.lasting(it.last - it.first)}" if it.last - it.first >= 1 else ""
    contexts = [each.context for each in it.turns if each.context]
    grown = ""
    if len(contexts) > 1 and max(contexts) >= GREW * contexts[0]:
        grew = formats.ratio(max(contexts) / contexts[0])
        grown = f"; the prompt grew {grew}, from {formats.count(contexts[0])} to {formats.count(max(contexts))} tokens"
    return f"{turns}{lasted} cost ", cost, f"{grown}."


def _session_facts(asked: Asked, it: Session) -> Iterator[Fact]:
    yield Fact(name="Began", value=formats.moment(it.first, asked.zone, asked.now))
    if it.users:
        more = len(it.users) - 1
        yield Fact(name="User", value=it.users[0], note=f"and {formats.plural(more, 'other')}" if more else "")
    yield Fact(name="Calls", value=formats.count(it.calls), note=f"in {formats.plural(len(it.turns), 'trace')}")
    if it.cost_usd is not None and it.turns:
        unknown = f"{formats.plural(it.unpriced, 'call')} of unknown cost" if it.unpriced else ""
        yield Fact(name="Cost per turn", value=formats.call_cost(it.cost_usd / len(it.turns)), note=unknown)
    yield Fact(name="Failed", value=formats.count(it.failed), note="calls" if it.failed else "none")
    if it.models:
        yield Fact(name="Models", value=it.models[0], note=_more(it.models[1:]))


def _more(names: tuple[str, ...]) -> str:
    return f"and {len(names)} more" if len(names) > 2 else ", ".join(names)


def _of_user(it: User, when: str) -> tuple[str, str, str]:
    if it.whole is None:
        return "No calls ", f"in the {when}", "."
    whole = it.whole
    cost = "an unknown amount" if whole.cost_usd is None else formats.cost(whole.cost_usd, whole.unpriced)
    failed = f"; {formats.count(whole.failed)} failed" if whole.failed else ""
    return f"{formats.plural(whole.calls, 'call')} in the {when} cost ", cost, f"{failed}."


def _user_facts(it: User) -> Iterator[Fact]:
    whole: Any = it.whole
    if whole is None:
        return
    yield Fact(name="Calls", value=formats.count(whole.calls))
    if whole.cost_usd is not None:
        note = f"{formats.plural(whole.unpriced, 'call')} of unknown cost" if whole.unpriced else ""
        yield Fact(name="Cost per call", value=formats.call_cost(whole.cost_usd / whole.priced), note=note)
    failed = formats.percent(whole.failed / whole.calls) if whole.calls else ""
    yield Fact(name="Failed", value=formats.count(whole.failed), note=failed)
    tokens = whole.input_tokens + whole.output_tokens
    if tokens:
        yield Fact(name="Tokens", value=formats.count(tokens), note=f"{formats.count(whole.output_tokens)} answered")
    yield Fact(name="Incidents", value=formats.count(len(it.incidents)), note=f"of this {saying.noun('user_id')} alone")
