"""A trace in a few numbers: when, how long, how much, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tracewatch.access import Caller
from tracewatch.records import ANSWERED, STEPS, Span
from tracewatch.stores.base import Filter, Store

READ = (
    *("span_id", "parent_span_id", "start_time", "end_time", "duration_ms", "ttft_ms", "status", "operation_type"),
    *("model_provider", "cost_usd", "cost_status", "input_tokens", "output_tokens", "cache_read_input_tokens"),
)
"""The columns that `of_long` reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a trace comes to. None stands for what no span of it reports."""

    trace_id: str
    name: str
    start: float
    spans: int
    duration_ms: float | None
    cost_usd: float | None
    unpriced: int
    """Spans of a paid model whose cost is not known."""
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    first_token_ms: float | None
    failed: int
    fallbacks: int
    calls: int
    """Spans that are calls of a model: no steps around them."""

    @property
    def cached_share(self) -> float | None:
        """The share of the input that came from the cache."""
        if self.cached_tokens is None or not self.input_tokens:
            return None
        return min(self.cached_tokens / self.input_tokens, 1.0)


def name_of(span: Span) -> str:
    """What a span is called."""
    return span.span_name or span.usage_type or span.operation_type or span.model_name or span.span_id


def end_of(span: Span) -> float:
    """When a span ended; when it began where that is not known."""
    if span.duration_ms is None and span.end_time is not None:
        return max(span.start_time, span.end_time)
    return span.start_time + max(span.duration_ms or 0.0, 0.0) / 1000


def has_end(span: Span) -> bool:
    """Whether it is known when a span ended."""
    return span.duration_ms is not None or span.end_time is not None


def is_call(span: Span) -> bool:
    """Whether it is a call of a model and no step around one."""
    return span.operation_type not in STEPS


def is_unpriced(span: Span) -> bool:
    """Whether what it cost is not known: there is no price, or a provider answered without telling tokens."""
    if span.cost_usd is not None or span.model_provider is None:
        return span.cost_status == "unpriced"
    return span.cost_status == "unpriced" or (is_call(span) and span.status in ANSWERED)


def summary(spans: Sequence[Span]) -> Summary:
    """What these spans of one trace, at least one, come to."""
    begin = min(each.start_time for each in spans)
    known = {each.span_id for each in spans}
    roots = [each for each in spans if each.parent_span_id is None or each.parent_span_id not in known]
    # Of several with nothing above them the longest says what it was about: an answer, not what was retrieved for it.
    root = max(roots or spans, key=lambda each: (end_of(each) - each.start_time, -each.start_time))
    costs = [each.cost_usd for each in spans if each.cost_usd is not None]
    first = [(each.start_time - begin) * 1000 + each.ttft_ms for each in spans if each.ttft_ms is not None]
    return Summary(
        trace_id=spans[0].trace_id,
        name=name_of(root),
        start=begin,
        spans=len(spans),
        duration_ms=(max(map(end_of, spans)) - begin) * 1000 if any(map(has_end, spans)) else None,
        cost_usd=sum(costs) if costs else None,
        unpriced=sum(map(is_unpriced, spans)),
        input_tokens=_total([each.input_tokens for each in spans]),
        output_tokens=_total([each.output_tokens for each in spans]),
        cached_tokens=_total([each.cache_read_input_tokens for each in spans]),
        first_token_ms=max(first, default=None),
        failed=sum(each.status in ("error", "timeout") for each in spans),
        fallbacks=sum(each.status == "fallback" for each in spans),
        calls=sum(map(is_call, spans)),
    )


def of_long(store: Store, caller: Caller, trace_id: str) -> Summary | None:
    """What `summary` tells, of a trace with so many spans that only some columns of them are read; None without any."""
    batches = list(store.scan(Span, READ, [*caller.where, Filter("trace_id", "=", (trace_id,))]))
    if not batches:
        return None
    spans = pa.Table.from_batches(batches)
    start, status = spans["start_time"], spans["status"]
    begin = pc.min(start).as_py()
    lasted = pc.divide(pc.max_element_wise(spans["duration_ms"], 0.0, skip_nulls=False), 1000.0)
    ended = pc.max_element_wise(start, spans["end_time"], skip_nulls=False)
    ends = pc.coalesce(pc.add(start, lasted), ended, start)
    has_end = pc.or_(pc.is_valid(spans["duration_ms"]), pc.is_valid(spans["end_time"]))
    parents = spans["parent_span_id"]
    is_root = pc.invert(pc.and_(pc.is_valid(parents), pc.is_in(parents, value_set=spans["span_id"].combine_chunks())))
    timed = spans.append_column("lasted", pc.subtract(ends, start))
    roots = timed.filter(is_root) if pc.any(is_root).as_py() else timed
    first = roots.sort_by([("lasted", "descending"), ("start_time", "ascending")])["span_id"][0].as_py()
    root = store.get(Span, {"project": caller.project, "trace_id": trace_id, "span_id": first})
    is_step = pc.is_in(spans["operation_type"], value_set=pa.array(STEPS))
    answered = pc.and_(pc.is_in(status, value_set=pa.array(ANSWERED)), pc.is_valid(spans["model_provider"]))
    unknown = pc.and_(pc.and_(answered, pc.invert(is_step)), pc.is_null(spans["cost_usd"]))
    unpriced = pc.or_(pc.fill_null(pc.equal(spans["cost_status"], "unpriced"), False), unknown)
    tokens = pc.max(pc.add(pc.multiply(pc.subtract(start, begin), 1000.0), spans["ttft_ms"]))
    return Summary(
        trace_id=trace_id,
        name=name_of(root) if isinstance(root, Span) else first,
        start=begin,
        spans=spans.num_rows,
        duration_ms=(pc.max(ends).as_py() - begin) * 1000 if pc.any(has_end).as_py() else None,
        cost_usd=pc.sum(spans["cost_usd"]).as_py(),
        unpriced=pc.sum(unpriced).as_py(),
        input_tokens=pc.sum(spans["input_tokens"]).as_py(),
        output_tokens=pc.sum(spans["output_tokens"]).as_py(),
        cached_tokens=pc.sum(spans["cache_read_input_tokens"]).as_py(),
        first_token_ms=tokens.as_py(),
        failed=pc.sum(pc.is_in(status, value_set=pa.array(["error", "timeout"]))).as_py(),
        fallbacks=pc.sum(pc.equal(status, "fallback")).as_py(),
        calls=pc.sum(pc.invert(is_step)).as_py(),
    )


def _total(values: Sequence[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if known else None
