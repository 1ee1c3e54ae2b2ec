"""The figures of all calls that a caller may see: those of the project, or of one account in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracewatch import watch
from tracewatch.access import Caller
from tracewatch.findings import Scope
from tracewatch.overview import Overview, totals
from tracewatch.records import MESSAGES_SOURCE, STATUSES, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.web.views.rolled import OTHERS, between, kept, rows_of, settled

DAY_S = 86_400
MANY = 50_000  # calls; of more, what each of them has to be looked at for is up to a minute old
BY = ("operation_type", "model_provider")  # a step is no call of a model, and what no provider did has no price
MEASURES = (
    *("calls", "unpriced_calls", "priced_tokens", "unpriced_tokens", "cost_usd_sum", "cost_usd_count"),
    *("input_tokens_sum", "output_tokens_sum", "duration_ms_sum", "duration_ms_count", "duration_ms_sketch"),
    *(f"{status}_calls" for status in STATUSES),
)


def figures(store: Store, caller: Caller, now: float) -> Overview:
    """The figures since the first call. `now` is UTC epoch seconds."""
    midnight = now // DAY_S * DAY_S
    today = between(store, caller, midnight, now, by=BY, measures=MEASURES)
    whole = totals([*_days_before(store, caller, midnight, now), *today])
    scope = Scope(project=caller.project, source="traces", since=midnight, until=now, now=now)
    return Overview(
        since=0.0,
        until=now,
        totals=whole,
        queries=_different(store, caller, "trace_id", whole.calls, now),
        conversations=_different(store, caller, "conversation_id", whole.calls, now),
        today=totals(today),
        shares={},
        # The rules are about the whole project.
        fired=tuple(watch.judge_rules(store, scope)) if caller.user_id is None else (),
        messages_left_out=0,
    )


def _days_before(store: Store, caller: Caller, midnight: float, now: float) -> Sequence[dict[str, Any]]:
    """What the days came to that are over, each in one row."""
    begin = _first_day(store, caller)
    if begin is None or begin >= midnight:
        return ()
    return rows_of(settled(store, caller, begin, midnight, now, by=BY, step_s=DAY_S, measures=MEASURES))


def _first_day(store: Store, caller: Caller) -> float | None:
    reach = store.extent(Span, caller.where)
    return None if reach is None else reach[0] // DAY_S * DAY_S


def _different(store: Store, caller: Caller, name: str, calls: int, now: float) -> int:
    """How many values of a column there are, but for those of the old view of the same calls."""

    def count() -> int:
        # Where there is no such view it is not asked for: the index of traces does not know it, and all rows were read.
        others = [OTHERS] if _has_both(store, caller, now) else []
        return store.distinct(Span, name, [*caller.where, *others])

    return kept(store, caller, ("different", name), now, count) if calls > MANY else count()


def _has_both(store: Store, caller: Caller, now: float) -> bool:
    """Whether there are rows of the messages source beside others."""
    begin = _first_day(store, caller)
    if begin is None:
        return False
    where = [Filter("project", "=", (caller.project,))]
    rolled_up = store.rollup(begin, now, step_s=DAY_S, by=("source",), where=where, measures=("calls",))
    sources = set(rolled_up["source"].to_pylist())
    return MESSAGES_SOURCE in sources and len(sources) > 1
