"""Requests as they end: what the metrics of whole traces are of each, and of the steps in it.

A request is over when a quarter of an hour has passed without a span of it; what comes later is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tracewatch.detectors.adaptive.names import Words
from tracewatch.detectors.adaptive.observations import Thing
from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.crowd import NOBODY
from tracewatch.metrics.rows import Rows, arrow_of, present
from tracewatch.metrics.traces import FEW_WORDS, forest, measured_of

LULL_S = 900.0  # without a span: the request is over
LEAST_REQUESTS = 20  # of a root in a day, before it is learned which steps they have
USUAL = 0.5  # of a root's requests have such a step: that it is missing is then judged by how often it was before
MOST_STEPS = 8  # of a root that may be missed
NEEDS = ("start_time", "trace_id", "span_id", "parent_span_id", "operation_type", "model_name", "status", "duration_ms")
_HELD = (*NEEDS, "who")

_TROUBLE = ("latency", "network", "failure")


def _of_requests(name: str, least: float, patience: float, group: str = "") -> Thing:
    return Thing(
        name=name, bad="up", least=least, covers=_TROUBLE, everywhere=True, patience=patience, group=group
    )  # fmt: skip


LOOPS, DEPTH = _of_requests("trace_loops", 1.0, 1.2, "shape"), _of_requests("trace_depth", 0.5, 1.2, "shape")
# Self time is not among them: without the tokens of the call, a longer answer or another model would be an alarm.
SPANS = _of_requests("spans_per_trace", 1.0, 2.0, "shape")
MISSING = "missing_child"
"""The first word of the shares of requests that lack a step."""

Calls = Mapping[str, Any]
"""Columns as arrays of numbers or objects, or as words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Values of a thing of requests, or of steps in them, in order of time."""

    thing: Thing
    words: tuple[str, ...]
    """Operations."""
    operation: Integers
    t: Floats
    """When the request was over (epoch seconds)."""
    value: Floats
    who: Integers


class Requests:
    """Holds the spans of requests that are not over. Picklable."""

    def __init__(self) -> None:
        self.open: dict[str, NDArray[Any]] = {}
        self.steps: dict[str, tuple[str, ...]] = {}
        """The usual steps of each root, by operation."""
        self.today: dict[str, dict[str, int]] = {}
        """Of each root the requests of today that have each step; under "" all."""

    def take(self, calls: Calls, who: Integers, before: float) -> Iterator[Ended]:
        """What is known of the requests that were over by that moment; calls come in order of time.

        `who` is the number of each call's session.
        """
        named = present(calls["trace_id"])
        new = {name: values if named.all() else values[named] for name, values in self._held(calls, who)}
        spans = {name: np.concatenate([self.open[name], new[name]]) for name in _HELD} if self.open else new
        if not len(spans["start_time"]):
            return
        order, first = _in_requests(spans)
        last = np.append(first[1:], len(order)) - 1
        ended = spans["start_time"][order][last] + LULL_S
        over = np.repeat(ended <= before, np.diff(np.append(first, len(order))))
        # Copies, because a slice would keep and store all of what it is a slice of.
        self.open = {name: values[np.sort(order[~over])].copy() for name, values in spans.items()}
        if over.any():
            request = (np.cumsum(np.bincount(first, minlength=len(order))) - 1)[over]
            yield from self._of({name: values[order[over]] for name, values in spans.items()}, request, ended)

    def close_day(self) -> None:
        """Learns which steps the requests of each root have."""
        for root, counts in self.today.items():
            if counts.get("", 0) >= LEAST_REQUESTS:
                usual = {step: count for step, count in counts.items() if step and count >= USUAL * counts[""]}
                kept = [step for step in self.steps.get(root, ()) if step in counts]
                self.steps[root] = tuple(dict.fromkeys([*kept, *sorted(usual)]))[:MOST_STEPS]
        self.today = {}

    @staticmethod
    def _held(calls: Calls, who: Integers) -> Iterator[tuple[str, NDArray[Any]]]:
        for name in NEEDS:
            values = calls[name]
            yield name, values.objects() if isinstance(values, Words) else values
        yield "who", who

    def _of(self, spans: Calls, request: Integers, ended: Floats) -> Iterator[Ended]:
        """Each thing of requests that are over; `ended` by the number of a request."""
        numbers, sizes = np.unique(request, return_counts=True)
        first = np.cumsum(sizes) - sizes
        several = np.repeat(sizes > 1, sizes)
        alone = np.flatnonzero(~several)
        if len(alone):
            yield _ended(SPANS, _coded(spans["operation_type"][alone]), ended[numbers[sizes == 1]],
                         np.ones(len(alone)), _someone(spans["who"][alone], first[sizes == 1]))  # fmt: skip
        if several.any():
            place = np.repeat(np.arange(int((sizes > 1).sum())), sizes[sizes > 1])
            some = {name: values[several] for name, values in spans.items()}
            yield from self._of_several(Rows(_table(some, place)), some["who"], place, ended[numbers[sizes > 1]])

    def _of_several(self, rows: Rows, who: Integers, place: Integers, ended: Floats) -> Iterator[Ended]:
        """Of requests of several spans; `place` is the request of each, `ended` by that."""
        sizes = np.bincount(place)
        operation, words = rows.codes("operation_type")
        root = _roots(rows, place, sizes)
        whose = _someone(who[root], np.arange(len(root)))
        values = [(SPANS, sizes.astype(float)), (DEPTH, measured_of("trace_depth", rows)),
                  (LOOPS, measured_of("trace_loops", rows)), *self._missing(rows, place, root)]  # fmt: skip
        for thing, value in values:
            yield _ended(thing, (operation[root], words), ended, value, whose)

    def _missing(self, rows: Rows, place: Integers, root: Integers) -> Iterator[tuple[Thing, Floats]]:
        """Of requests that ended well, whether each usual step of their root is missing; the rest is counted."""
        operation, words = rows.codes("operation_type")
        status, statuses = rows.codes("status")
        well = ~np.array([word in ("error", "timeout", "fallback") for word in statuses])[status][root]
        kinds = min(len(words) - 1, FEW_WORDS)
        has = np.zeros((len(root), kinds + 1), bool)
        has[place, np.minimum(operation, kinds)] = True
        for kind in np.unique(operation[root]).tolist():
            word = words[kind]
            mine = np.flatnonzero((operation[root] == kind) & well)
            if word is None or kind >= kinds or not len(mine):
                continue
            today = self.today.setdefault(word, {"": 0})
            today[""] += len(mine)
            for other, count in enumerate(has[mine].sum(0)[:kinds].tolist()):
                if count and other != kind:
                    today[str(words[other])] = today.get(str(words[other]), 0) + count
            for step in self.steps.get(word, ()):
                code = words.index(step) if step in words else kinds
                value = np.full(len(root), np.nan)
                value[mine] = 1.0 - has[mine, code] if code < kinds else 1.0
                thing = Thing(name=f"{MISSING}.{step}", share=True, bad="up", covers=("failure",), everywhere=True)
                yield thing, value


def _ended(
    thing: Thing, operation: tuple[Integers, Sequence[str | None]], ended: Floats, value: Floats, who: Integers
) -> Ended:
    """Those that have a value, in order of time."""
    codes, words = operation
    there = np.flatnonzero(np.isfinite(value) & (codes < len(words) - 1))
    there = there[np.argsort(ended[there], kind="stable")]
    return Ended(
        thing=thing, words=tuple(word or "" for word in words), operation=codes[there], t=ended[there],
        value=value[there], who=who[there],
    )  # fmt: skip


def _someone(who: Integers, instead: Integers) -> Integers:
    """The session, or the request where there is none."""
    return np.where(who == NOBODY, instead, who)


def _coded(texts: NDArray[Any]) -> tuple[Integers, list[str | None]]:
    return Rows(pa.table({"text": pa.array(texts, pa.string())})).codes("text")


def _in_requests(spans: Calls) -> tuple[Integers, Integers]:
    """The order of spans by request and time, and where in it each request begins."""
    codes = pa.array(spans["trace_id"], pa.string()).dictionary_encode().indices.to_numpy().astype(np.int64)
    times = spans["start_time"]
    order = np.argsort(codes, kind="stable")
    if (np.diff(times) < 0).any():
        order = np.lexsort((times, codes))
    new = (np.diff(codes[order]) != 0) | (np.diff(times[order]) > LULL_S)
    return order, np.flatnonzero(np.concatenate([[True], new]))


def _roots(rows: Rows, place: Integers, sizes: Integers) -> Integers:
    """The first span of each request whose parent is not in it; spans stand by request and time."""
    root = np.cumsum(sizes) - sizes
    orphans = np.flatnonzero(rows.once(forest).parent < 0)[::-1]
    root[place[orphans]] = orphans  # the first one is written last
    return root


def _table(spans: Calls, place: Integers) -> pa.Table:
    """Spans as Arrow has them; the trace is the number of the request."""
    texts = arrow_of({name: spans[name] for name in NEEDS if name != "trace_id"})
    return texts.append_column("trace_id", pa.array(place))
