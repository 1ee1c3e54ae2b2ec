"""Rows for what nobody wraps: finished calls told in one line, retrieval, and quality that is known later."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tracewatch.capture import noting, sending
from tracewatch.capture.tracing import LiveSpan, current, moment_of, new_span_id, place, start


def record(name: str, **fields: Any) -> None:
    """Records something that is over, as a child of the current span.

    `fields` are columns of `llm_traces`; others go to `metadata`. Without `start_time` (epoch seconds or a datetime) it
    ends now and began `duration_ms` ago; `end_time` alone gives the duration.
    """
    try:
        if not any(fields.get(each) for each in ("model_name", "model_provider", "model", "provider")):
            fields.setdefault("operation_type", "step")
        _recorded(name, fields)
    except Exception as error:
        noting.swallowed(error)


def log_usage(
    provider: str | None = None,
    model: str | None = None,
    usage_type: str | None = None,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    cost_usd: float | None = None,
    conversation_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    trace_id: str | None = None,
    latency_ms: float | None = None,
    status: str | None = None,
    error_message: str | None = None,
    **fields: Any,
) -> None:
    """Records one call of a model that is over, in the words that usage tables have.

    The status is ok (or `success`), `error`, `timeout` or `fallback`; without one, a call with an error message has
    failed. With a `trace_id` it belongs to that trace, otherwise to the current one. A cost of 0 or none is reckoned
    from the tokens. `fields` are other columns of `llm_traces`, and go to `metadata` if they are none.
    """
    given = {
        "model_provider": provider,
        "model_name": model,
        "usage_type": usage_type,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost_usd": cost_usd,
        "conversation_id": conversation_id,
        "metadata": metadata,
        "trace_id": trace_id,
        "duration_ms": latency_ms,
        "status": status,
        "error_message": error_message,
    }
    try:
        from tracewatch.records import operation_of

        fields.update({name: value for name, value in given.items() if value is not None})
        if not fields.get("cost_usd"):
            fields.pop("cost_usd", None)
        if provider == "system" and model == "batch":
            fields.setdefault("operation_type", "batch")
        elif usage_type and (operation := operation_of(str(usage_type))):
            fields.setdefault("operation_type", operation)
        _recorded(str(usage_type or model or "call"), fields)
    except Exception as error:
        noting.swallowed(error)


def _recorded(name: str, fields: dict[str, Any]) -> None:
    start_s, end_s = moment_of(fields.get("start_time")), moment_of(fields.pop("end_time", None))
    took_ms = fields.get("duration_ms")
    if start_s is None:
        fields["start_time"] = (end_s or time.time()) - (took_ms / 1e3 if isinstance(took_ms, (int, float)) else 0.0)
    if fields.get("error_message") and not fields.get("error_category"):
        _categorise(fields)
    recorded = start(name, **fields)
    if took_ms is None and (start_s is None or end_s is None):
        recorded.fields["duration_ms"] = None  # nobody said how long it took
    recorded.end(at=end_s or recorded.start_time)


def _categorise(fields: dict[str, Any]) -> None:
    from tracewatch.categories import category_of

    code = fields.get("error_type")
    fields["error_category"] = category_of(str(fields["error_message"]), code=code if isinstance(code, str) else None)


def rag(
    method: str | None = None,
    *,
    latency_ms: float | None = None,
    relevance: float | None = None,
    nodes: int | None = None,
    chunks: int | None = None,
    context_tokens: int | None = None,
    graph: bool | None = None,
    groundedness: float | None = None,
    grounded: bool | None = None,
    hallucination: bool | None = None,
    **fields: Any,
) -> None:
    """Says on the current span what was retrieved for it, and how good it was (scores from 0 to 1).

    It may be called again with what is known only later. Within a `retrieval` it is said of the span around that;
    where there is no current span, by a row of its own.
    """
    given = {
        "rag_retrieval_method": method,
        "retrieval_latency_ms": latency_ms,
        "rag_relevance_score": relevance,
        "rag_nodes_retrieved": nodes,
        "rag_chunks_used": chunks,
        "context_tokens": context_tokens,
        "rag_graph_used": graph,
        "groundedness_score": groundedness,
        "rag_answer_grounded": grounded,
        "hallucination_detected": hallucination,
    }
    fields.update({name: value for name, value in given.items() if value is not None})
    here = current()
    if isinstance(here, Retrieval) and here.around is not None:
        here = here.around
    if here is not None:
        here.set(**fields)
    else:
        record("retrieve", operation_type="retrieval", **fields)


class Retrieval(LiveSpan):
    """A retrieval under way, whose time is also told on the span around it."""

    __slots__ = ("around",)

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        self.around = current()
        super().__init__(name, place(), fields)

    def end(self, at: float | None = None) -> None:
        """Ends it; the span around it gets `retrieval_latency_ms`."""
        first = not self.ended
        super().end(at)
        if first and self.around is not None:
            before = self.around.fields.get("retrieval_latency_ms")
            took = self.fields.get("duration_ms")
            if isinstance(took, (int, float)):
                self.around.set(retrieval_latency_ms=took + (before if isinstance(before, (int, float)) else 0.0))


def retrieval(name: str = "retrieve", **fields: Any) -> Retrieval:
    """A retrieval, for a `with` block: a span of its own, whose time becomes the `retrieval_latency_ms` around it.

        with tracewatch.trace("ask"):
            with tracewatch.retrieval():
                chunks = index.search(question)
                tracewatch.rag(method="vector", chunks=len(chunks), relevance=chunks[0].score)

    Several in one span add up.
    """
    fields.setdefault("operation_type", "retrieval")
    return Retrieval(name, fields)


def score(
    trace_id: str,
    *,
    span_id: str | None = None,
    groundedness: float | None = None,
    relevance: float | None = None,
    grounded: bool | None = None,
    hallucination: bool | None = None,
    project: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    **quality: float,
) -> None:
    """Adds quality to a span that is already recorded: of an evaluation, or of a user's thumb.

    It is put onto the span with that id, or else onto the last call of a model in the trace. `quality` are dimensions
    of your own, each from 0 to 1 (helpfulness=0.8), which join `response_quality_breakdown`.
    """
    given = {
        "groundedness_score": groundedness,
        "rag_relevance_score": relevance,
        "rag_answer_grounded": grounded,
        "hallucination_detected": hallucination,
        "response_quality_breakdown": quality or None,
        "metadata": metadata,
        "project": project,
    }
    amend(trace_id, span_id, **given)


def amend(trace_id: str, span_id: str | None, **fields: Any) -> None:
    """Sends what is to be put onto a span that has been handed over already: quality, or how it ended after all."""
    try:
        from tracewatch.records import SCORE

        told = {"trace_id": str(trace_id), "span_id": new_span_id(), "operation_type": SCORE, "span_name": SCORE}
        given = {name: value for name, value in fields.items() if value is not None}
        sending.send({**given, **told, "parent_span_id": span_id, "start_time": time.time()})
    except Exception as error:
        noting.swallowed(error)
