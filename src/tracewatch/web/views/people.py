"""Sessions and users: who called, how much it cost and what went wrong, and one session turn by turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from tracewatch.access import Caller
from tracewatch.records import ANSWERED, Incident, Span
from tracewatch.stores.base import Filter, Group, GroupOrder, Store
from tracewatch.web.views import incidents
from tracewatch.web.views.jobs import have_run
from tracewatch.web.views.period import Period
from tracewatch.web.views.rolled import between, kept
from tracewatch.web.views.spending import are_too_many, spans_by
from tracewatch.web.views.summary import Summary, is_call, is_unpriced, summary

PAGE = 50
MOST_OF_SESSION = 2_000  # spans of one session that are read; the newest
LOOKED_AT = 200  # newest spans that are asked whether they name a conversation: it has no index
ORDERS: Mapping[str, GroupOrder] = {"cost": "cost_usd", "calls": "calls", "errors": "failed", "latest": "last"}
LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of sessions or users."""

    groups: tuple[Group, ...]
    has_more: bool
    too_many: bool
    """Whether there are too many calls in the period to add them up one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A trace of a session: what it came to, and how much went into the largest prompt of it."""

    summary: Summary
    context: int | None
    """Tokens; None where no call reports them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One session. Times are UTC epoch seconds, money is in dollars."""

    id: str
    turns: tuple[Turn, ...]
    """The oldest first."""
    users: tuple[str, ...]
    models: tuple[str, ...]
    calls: int
    cost_usd: float | None
    unpriced: int
    failed: int
    first: float
    last: float
    is_cut: bool
    """Whether only its newest spans were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """What one user did in a period."""

    whole: Group | None
    """None: no call in the period."""
    models: tuple[Group, ...]
    sessions: tuple[Group, ...]
    incidents: tuple[Incident, ...]


def session_column(store: Store, caller: Caller, now: float) -> str:
    """The column that tells sessions apart here: of the session or of the conversation; empty where neither is said."""
    if store.exists(Span, [*caller.where, Filter("session_id", ">", ("",))]):
        return "session_id"

    def look() -> str:
        newest = store.page(Span, caller.where, limit=LOOKED_AT).records
        return "conversation_id" if any(isinstance(each, Span) and each.conversation_id for each in newest) else ""

    return kept(store, caller, ("conversations",), now, look)


def unreported(store: Store, caller: Caller, now: float) -> frozenset[str]:
    """The paths of pages that nothing was ever reported for."""
    found = set()
    if not have_run(store, caller):
        found.add("/jobs")
    if not store.exists(Span, [*caller.where, Filter("user_id", ">", ("",))]):
        found.add("/users")
    if not session_column(store, caller, now):
        found.add("/sessions")
    return frozenset(found)


def listed(
    store: Store, caller: Caller, column: str, period: Period, *, where: Sequence[Filter] = (), begins: str = "",
    order: str = "latest", skip: int = 0,
) -> Listed:  # fmt: skip
    """The values of a column in a period, a page at a time; with `begins` only those that do so.

    The latest ones are found however many calls there are: only theirs are added up.
    """
    calls = sum(row["calls"] for row in between(store, caller, period.since, period.until))
    prefix = [Filter(column, ">=", (begins,)), Filter(column, "<=", (begins + LAST_CHARACTER,))] if begins else []
    is_ranked = ORDERS.get(order, "last") != "last"
    if is_ranked and are_too_many(store, caller, column, period, calls, [*where, *prefix]):
        return Listed(groups=(), has_more=False, too_many=True)
    groups = spans_by(
        store,
        caller,
        column,
        period,
        where=[*where, *prefix],
        order=ORDERS.get(order, "last"),
        limit=PAGE + 1,
        skip=skip,
    )
    return Listed(groups=groups[:PAGE], has_more=len(groups) > PAGE, too_many=False)


def session(store: Store, caller: Caller, column: str, id_: str) -> Session | None:
    """One session; None where no call belongs to it."""
    page = store.page(Span, [*caller.where, Filter(column, "=", (id_,))], limit=MOST_OF_SESSION)
    spans = [each for each in reversed(page.records) if isinstance(each, Span)]
    if not spans:
        return None
    by_trace: dict[str, list[Span]] = {}
    for each in spans:
        by_trace.setdefault(each.trace_id, []).append(each)
    costs = [each.cost_usd for each in spans if each.cost_usd is not None]
    return Session(
        id=id_,
        turns=tuple(Turn(summary=summary(each), context=_context(each)) for each in by_trace.values()),
        users=tuple(dict.fromkeys(each.user_id for each in spans if each.user_id)),
        models=tuple(dict.fromkeys(each.model_name for each in spans if each.model_name)),
        calls=sum(map(is_call, spans)),
        cost_usd=sum(costs) if costs else None,
        unpriced=sum(map(is_unpriced, spans)),
        failed=sum(is_call(each) and each.status not in ANSWERED for each in spans),
        first=spans[0].start_time,
        last=spans[-1].start_time,
        is_cut=page.next is not None,
    )


def _context(spans: Sequence[Span]) -> int | None:
    """The tokens of the largest prompt."""
    sizes = [each.input_tokens or each.context_tokens for each in spans if each.input_tokens or each.context_tokens]
    return max((each for each in sizes if each is not None), default=None)


def user(store: Store, caller: Caller, id_: str, period: Period, now: float) -> User:
    """What one user did."""
    mine = [Filter("user_id", "=", (id_,))]
    column = session_column(store, caller, now)
    whole = spans_by(store, caller, "user_id", period, where=mine, limit=1)
    within = incidents.within(store, caller, period.since, period.until)
    return User(
        whole=whole[0] if whole else None,
        models=spans_by(store, caller, "model_name", period, where=mine, limit=12) if whole else (),
        sessions=spans_by(store, caller, column, period, where=mine, order="last", limit=20)
        if whole and column
        else (),
        incidents=tuple(each for each in within if (each.slice or {}).get("user_id") == id_),
    )


def is_known(store: Store, caller: Caller, id_: str) -> bool:
    """Whether this user ever called."""
    return store.exists(Span, [*caller.where, Filter("user_id", "=", (id_,))])


def incidents_by_user(store: Store, caller: Caller, period: Period) -> Mapping[str, int]:
    """How many incidents of a period are of one user's calls alone, by user."""
    found: dict[str, int] = {}
    for each in incidents.within(store, caller, period.since, period.until):
        name = (each.slice or {}).get("user_id")
        if isinstance(name, str):
            found[name] = found.get(name, 0) + 1
    return found


def path_of(kind: str, id_: str) -> str:
    """Where a session or a user has its page."""
    return f"/{kind}/{quote(id_, safe='')}"
