"""Metrics of whole traces and conversations: depth, loops, children that are missing or slow; turns, cost, growth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.base import Family, Grain, Metric, added_up, groups, or_nothing, ratio
from tracewatch.metrics.rows import Rows

USUAL = 0.9  # of the traces with the same root: what so many have is missed in the others
LEAST_TRACES = 20  # with that root, before anything is usual
DEEPEST = 64  # levels followed; a deeper trace, or one that goes round in a circle, counts as so deep
FEW_WORDS = 200  # operations told apart in what belongs to a trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """How calls hang together, by position."""

    trace: Integers
    """The number of each call's trace."""
    traces: int
    parent: Integers
    """The position of each call's parent; -1 of a root, and of one whose parent is not there."""


def forest(rows: Rows) -> Forest:
    """The parents of all calls. Of spans with the same id in a trace the first counts."""
    trace, traces = groups(rows, "trace_id")
    own, parent = rows.joint_codes("span_id", "parent_span_id")
    wide = int(max(own.max(initial=0), parent.max(initial=0))) + 1
    keys = np.where((own >= 0) & (trace >= 0), trace * wide + own, -1)
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    wanted = np.where((parent >= 0) & (trace >= 0), trace * wide + parent, -2)
    place = np.minimum(np.searchsorted(sorted_keys, wanted), max(len(keys) - 1, 0))
    found = sorted_keys[place] == wanted if len(keys) else np.zeros(0, bool)
    parents = np.where(found, order[place], -1) if len(keys) else np.zeros(0, np.int64)
    return Forest(trace=trace, traces=traces, parent=np.where(parents == np.arange(len(keys)), -1, parents))


def _spans(rows: Rows) -> Floats:
    return added_up(rows, "trace_id")


def _depth(rows: Rows) -> Floats:
    """Levels of each trace, 1 for a call alone."""
    woods = rows.once(forest)
    depth, above = np.ones(len(woods.parent), np.int64), woods.parent.copy()
    for _ in range(DEEPEST - 1):
        there = above >= 0
        if not there.any():
            break
        depth += there
        above = np.where(there, woods.parent[above], -1)
    deepest = np.zeros(woods.traces, np.int64)
    known = woods.trace >= 0
    np.maximum.at(deepest, woods.trace[known], depth[known])
    return deepest.astype(float)


def _loops(rows: Rows) -> Floats:
    """The most often a trace runs the same operation and model under the same parent."""
    woods = rows.once(forest)
    known = np.flatnonzero(woods.trace >= 0)
    keys = (woods.trace, woods.parent, *(rows.codes(name)[0] for name in ("operation_type", "model_name")))
    order = known[np.lexsort([key[known] for key in reversed(keys)])]
    most = np.zeros(woods.traces)
    if len(order):
        new = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
        begin = np.flatnonzero(np.concatenate([[True], new]))
        np.maximum.at(most, woods.trace[order[begin]], np.diff(np.append(begin, len(order))))
    return most


def _covered(rows: Rows) -> Floats:
    """Milliseconds of each call during which any of its children ran."""
    woods = rows.once(forest)
    child = np.flatnonzero(woods.parent >= 0)
    if not len(child):
        return np.zeros(len(rows))
    start = rows.numbers("start_time")[child] * 1000
    end = start + np.maximum(or_nothing(rows.numbers("duration_ms")[child]), 0)
    order = np.lexsort((start, woods.parent[child]))
    parent, start, end = woods.parent[child][order], start[order], end[order]
    first = np.concatenate([[True], parent[1:] != parent[:-1]])
    # The latest end so far within each family: ends of later families are lifted above those of all before.
    lift = np.cumsum(first) * (float(end.max() - start.min()) + 1)
    latest = np.maximum.accumulate(end + lift) - lift
    begin = np.where(first, start, np.maximum(start, np.concatenate([start[:1], latest[:-1]])))
    return np.bincount(parent, np.maximum(end - begin, 0), minlength=len(rows)).astype(float)


def _self_time(rows: Rows) -> Floats:
    """Of the calls that have children."""
    woods = rows.once(forest)
    parents = np.bincount(woods.parent[woods.parent >= 0], minlength=len(rows)) > 0
    own = np.maximum(rows.numbers("duration_ms") - _covered(rows), 0)
    return np.where(parents, own, np.nan)


def _slow_child(rows: Rows) -> Floats:
    woods, duration = rows.once(forest), rows.numbers("duration_ms")
    child = np.flatnonzero((woods.parent >= 0) & np.isfinite(duration))
    slowest = np.full(len(rows), np.nan)
    np.fmax.at(slowest, woods.parent[child], duration[child])
    return np.minimum(ratio(slowest, duration), 1.0)


def _missing(rows: Rows) -> Floats:
    """1 for a trace without an operation that nearly all traces with its root have."""
    woods = rows.once(forest)
    operation, words = rows.codes("operation_type")
    kinds = min(len(words), FEW_WORDS)
    known = (woods.trace >= 0) & (operation < kinds)
    has = np.zeros((woods.traces, kinds), bool)
    has[woods.trace[known], operation[known]] = True
    root = np.full(woods.traces, -1)
    roots = np.flatnonzero(known & (woods.parent < 0))[::-1]  # the first one is written last
    root[woods.trace[roots]] = operation[roots]
    missing = np.full(woods.traces, np.nan)
    for kind in np.unique(root[root >= 0]).tolist():
        alike = np.flatnonzero(root == kind)
        if len(alike) >= LEAST_TRACES:
            usual = has[alike].mean(0) >= USUAL
            missing[alike] = (~has[alike][:, usual]).any(1)
    return missing


def _growth(name: str) -> Callable[[Rows], Floats]:
    """Tokens by which each prompt is longer than that of the previous call of the same group and operation."""

    def measured(rows: Rows) -> Floats:
        group, _ = groups(rows, name)
        operation = rows.codes("operation_type")[0]
        order = np.lexsort((rows.numbers("start_time"), operation, group))
        same = (np.diff(group[order]) == 0) & (np.diff(operation[order]) == 0) & (group[order][1:] >= 0)
        grown: Floats = np.diff(rows.numbers("input_tokens")[order])[same]
        return grown

    return measured


def _of_trace(
    key: str,
    label: str,
    help: str,
    needs: tuple[str, ...],
    formula: str,
    measured: Callable[[Rows], Floats],
    unit: str | None = None,
    grain: Grain = "trace",
    told_as: str = "",
) -> Metric:
    return Metric(
        key=key, label=label, help=help, family="hierarchy", grain=grain, unit=unit, bad="up",
        needs=("trace_id", *needs), formula=formula, measured=measured,
        shown="mean" if unit == "share" and grain == "trace" else "median", told_as=told_as,
    )  # fmt: skip


_LINKS = ("span_id", "parent_span_id")

HIERARCHY = (
    _of_trace("spans_per_trace", "Spans per trace", "Calls and steps of one request.", (), "spans by trace_id", _spans,
              "spans"),
    _of_trace("trace_depth", "Depth", "How deep the calls of a request are nested.", _LINKS,
              "longest chain of parent_span_id by trace_id", _depth, "levels"),
    _of_trace("trace_loops", "Loops", "How often a request repeats one step under the same parent.",
              (*_LINKS, "operation_type", "model_name"),
              "most spans of one operation_type × model_name under one parent, by trace_id", _loops, "times"),
    _of_trace("missing_child_rate", "Missing step", "Requests without a step that nine in ten of their like have.",
              (*_LINKS, "operation_type"), "an operation_type of 90 % of traces with this root is absent", _missing,
              "share", told_as="missing_child.…"),
    _of_trace("self_time_ms", "Self time", "Time of a step during which none of its children ran.",
              (*_LINKS, "start_time", "duration_ms"), "duration_ms - time covered by children", _self_time, "ms",
              "call", "duration_ms"),
    _of_trace("slow_child_share", "Slow child", "Share of a step's time that its slowest child explains.",
              (*_LINKS, "duration_ms"), "largest duration_ms of the children / duration_ms", _slow_child, "share",
              "call", "duration_ms"),
)  # fmt: skip


def measured_of(key: str, rows: Rows) -> Floats:
    """What one of these is of some calls."""
    measured = next(each.measured for each in HIERARCHY if each.key == key)
    assert measured is not None, "what belongs to a trace is measured on its calls"
    return measured(rows)


def _of_group(
    key: str,
    label: str,
    help: str,
    grain: Grain,
    needs: tuple[str, ...],
    formula: str,
    measured: Callable[[Rows], Floats],
    *,
    unit: str,
    family: Family = "conversation",
    told_as: str = "",
) -> Metric:
    return Metric(
        key=key, label=label, help=help, family=family, grain=grain, unit=unit, bad="up", needs=needs,
        formula=formula, measured=measured, told_as=told_as,
    )  # fmt: skip


def _turns(rows: Rows) -> Floats:
    """The requests of each conversation."""
    conversation, count = groups(rows, "conversation_id")
    trace, traces = groups(rows, "trace_id")
    trace = np.where(trace < 0, traces + np.arange(len(trace)), trace)
    traces += len(trace)
    there = conversation >= 0
    pairs = np.unique(conversation[there] * (traces + 1) + trace[there])
    return np.bincount(pairs // (traces + 1), minlength=count).astype(float)


_GROWTH_NEEDS = ("operation_type", "start_time", "input_tokens")

CONVERSATIONS = (
    _of_group("turns_per_conversation", "Turns", "Requests of one conversation.", "conversation",
              ("conversation_id", "trace_id"), "different trace_id by conversation_id", _turns, unit="turns"),
    _of_group("cost_per_conversation", "Cost per conversation", "What a conversation costs.", "conversation",
              ("conversation_id", "cost_usd"), "sum of cost_usd by conversation_id",
              lambda rows: added_up(rows, "conversation_id", rows.numbers("cost_usd")), unit="USD"),
    _of_group("growth_per_turn", "Context growth per turn", "Tokens the prompt grows by from turn to turn.",
              "conversation", ("conversation_id", *_GROWTH_NEEDS),
              "input_tokens - input_tokens of the previous call of conversation_id × operation_type",
              _growth("conversation_id"), unit="tokens"),
    _of_group("calls_per_session", "Calls per session", "Calls of one session: more is a runaway.", "session",
              ("session_id",), "calls by session_id", lambda rows: added_up(rows, "session_id"), unit="calls",
              told_as="call_count"),
    _of_group("cost_per_session", "Cost per session", "What a session costs: more is told as a runaway.", "session",
              ("session_id", "cost_usd"), "sum of cost_usd by session_id",
              lambda rows: added_up(rows, "session_id", rows.numbers("cost_usd")), unit="USD",
              told_as="call_count"),
    _of_group("prompt_growth", "Prompt growth", "Tokens the prompt grows by from call to call.", "session",
              ("session_id", *_GROWTH_NEEDS),
              "input_tokens - input_tokens of the previous call of session_id × operation_type",
              _growth("session_id"), unit="tokens", told_as="input_tokens"),
)  # fmt: skip
