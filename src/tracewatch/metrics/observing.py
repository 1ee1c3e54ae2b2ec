"""Calls in, observations out: everything that is watched beside a call's own measures, as soon as it is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tracewatch.detectors.adaptive.observations import Observations, Thing
from tracewatch.detectors.adaptive.runs import Run
from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.calls import DERIVED, FIELDS
from tracewatch.metrics.crowd import people, weights
from tracewatch.metrics.found import Found, entries, words
from tracewatch.metrics.jobs import NEEDS as JOBS_NEED
from tracewatch.metrics.jobs import runs, summaries
from tracewatch.metrics.requests import NEEDS as REQUESTS_NEED
from tracewatch.metrics.requests import Requests
from tracewatch.metrics.rows import Rows, arrow_of, present
from tracewatch.metrics.shares import CUT_SHORT, SHARES
from tracewatch.metrics.turns import Turns
from tracewatch.times import DAY_S

FAILED = ("error", "timeout", "fallback")
_SLOW = ("latency", "network", "failure")

EACH_CALL = (
    Thing(name="unexplained_time_ms", bad="up", least=20.0, covers=_SLOW, patience=1.5),
    Thing(name="chunk_gap_ms", bad="up", least=50.0, covers=_SLOW, patience=1.5),
    Thing(name="context_share", bad="up", least=0.02, covers=("tokens",), patience=1.5),
    Thing(name="cache_creation_input_tokens", bad="up", least=20.0, covers=("tokens", "cache", "cost"), patience=1.5),
)
"""Numbers that follow from a call that went well, measured as the table of metrics says."""

EACH_ANSWER = (
    Thing(name="ungrounded_rate", share=True, bad="up", covers=("quality",)),
    Thing(name="truncation_rate", share=True, bad="up"),
)
"""Shares of calls, measured as the table of metrics says."""

FLAGS = Thing(name="warning_flags", share=True, told=False)
REASONS = Thing(name="finish_reason", share=True, told=False, covers=("failure",))

_MEASURED = {each.key: each for each in (*FIELDS, *DERIVED, *SHARES)}
NEEDS = tuple(
    dict.fromkeys(
        (
            *REQUESTS_NEED,
            *JOBS_NEED,
            *(name for each in (*EACH_CALL, *EACH_ANSWER) for name in _MEASURED[each.name].needs),
            "warning_flags", "finish_reason", "session_id", "conversation_id", "cost_usd", "input_tokens",
            "response_quality_breakdown", "metadata",
        )
    )
)  # fmt: skip
"""The columns of calls that are read."""

Calls = Mapping[str, Any]
"""Columns as arrays of numbers or objects, or as words."""


class Observing:
    """What is held from one batch of calls to the next. Picklable.

    Same calls in order of time and same last moment, same observations, however batched.
    """

    def __init__(self, declared: frozenset[str] = frozenset()) -> None:
        """Names of metrics that the user declared are left to whoever judges those."""
        self.declared = declared
        self.requests, self.turns = Requests(), Turns()
        self.quality, self.metadata, self.flags, self.reasons = Found(), Found(), Found(), Found()
        self.day: float | None = None  # the end of the day that is not over
        self.runs: list[Run] = []  # not asked for yet

    def take(self, calls: Calls, before: float) -> Iterator[Observations]:
        """What can be known at that moment (epoch seconds) and could not before; all calls began before it."""
        times = calls["start_time"]
        while len(times) or (self.day is not None and self.day <= before):
            if self.day is None:
                self.day = (float(times[0]) // DAY_S + 1) * DAY_S
            cut = int(np.searchsorted(times, self.day))
            part = {name: calls[name][:cut] for name in NEEDS}
            yield from self._take(part, min(self.day, before))
            calls = {name: calls[name][cut:] for name in NEEDS}
            times = calls["start_time"]
            if self.day <= before:
                self._close_day(self.day, float(times[0]) if len(times) else before)
            elif not cut:
                break

    def ended_runs(self) -> list[Run]:
        """The runs of batch jobs that have come since this was last asked."""
        found, self.runs = self.runs, []
        return found

    def _close_day(self, day: float, coming: float) -> None:
        """A day is over; the next one is that of what comes."""
        self.requests.close_day()
        self.turns.close_day(day)
        for found in (self.quality, self.metadata, self.flags, self.reasons):
            found.close_day()
        self.day = max(day, coming // DAY_S * DAY_S) + DAY_S

    def _take(self, calls: Calls, before: float) -> Iterator[Observations]:
        who: Integers = np.zeros(0, np.int64)
        if len(calls["start_time"]):
            named = present(calls["conversation_id"]).any()
            left_out = _OF_REQUESTS if named else _OF_REQUESTS | {"trace_id"}
            rows = Rows(arrow_of({name: values for name, values in calls.items() if name not in left_out}))
            who = people(rows, "session_id")
            yield from self._each(rows, who)
            self.runs += runs(rows, calls["trace_id"])
        for each in self.requests.take(calls, who, before):
            if len(each.t):
                yield Observations(
                    thing=each.thing, words=each.words, operation=each.operation, t=each.t, value=each.value,
                    weight=weights(each.who, each.t), who=each.who,
                )  # fmt: skip

    def _each(self, rows: Rows, session: Integers) -> Iterator[Observations]:
        """What each call says by itself, or with those before it."""
        times = rows.numbers("start_time")
        operation, named = rows.codes("operation_type")
        status, statuses = rows.codes("status")
        known = (operation < len(named) - 1) & ~summaries(rows)
        well = known & ~np.array([word in FAILED for word in statuses])[status]
        conversation = people(rows, "conversation_id")
        weight = weights(session, times)
        texts = tuple(word or "" for word in named)

        def observed(thing: Thing, value: Floats, which: Any, who: Integers = session) -> Iterator[Observations]:
            at = np.flatnonzero(which & np.isfinite(value))
            if len(at):
                yield Observations(
                    thing=thing, words=texts, operation=operation[at], t=times[at], value=value[at],
                    weight=weight[at], who=who[at],
                )  # fmt: skip

        for thing in EACH_CALL:
            yield from observed(thing, self._measured(thing, rows), well)
        for thing in EACH_ANSWER:
            yield from observed(thing, self._measured(thing, rows), well)
        if (conversation >= 0).any():
            for thing, value in self.turns.take(rows, conversation, people(rows, "trace_id")):
                yield from observed(thing, value, known, conversation)
        for thing, value in entries(rows, "response_quality_breakdown", "quality", self.quality, self.declared):
            yield from observed(thing, value, known)
        for thing, value in entries(rows, "metadata", "metadata", self.metadata, self.declared):
            yield from observed(thing, value, well)
        for thing, value in words(rows, "warning_flags", self.flags, FLAGS):
            yield from observed(thing, value, known)
        for thing, value in words(rows, "finish_reason", self.reasons, REASONS, CUT_SHORT):
            yield from observed(thing, value, well)

    @staticmethod
    def _measured(thing: Thing, rows: Rows) -> Floats:
        measured = _MEASURED[thing.name].measured
        assert measured is not None, "what follows from a call is measured on it"
        return measured(rows)


_OF_REQUESTS = frozenset(("span_id", "parent_span_id"))
"""Columns that are read of whole requests alone: every call has another text in them."""
