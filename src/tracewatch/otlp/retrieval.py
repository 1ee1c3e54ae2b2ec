"""What a retrieval says of itself: how long it took, how many documents it gave and how relevant they were."""

from __future__ import annotations

import re

from tracewatch.otlp.own import real_of
from tracewatch.otlp.usage import Values
from tracewatch.otlp.wire import Attributes, WireSpan

_DOCUMENT = re.compile(r"(?:retrieval\.documents|reranker\.output_documents)\.(\d+)\.document\.(score)?")
_ITEM = '"page_content"'
_LONGEST = 1_000_000  # characters of a list of documents that are looked through


def read_retrieval(span: WireSpan, values: Values) -> None:
    """Sets the columns of a span that retrieves; what was said under our own names stays."""
    duration = values.get("duration_ms")
    if duration is not None:
        values.setdefault("retrieval_latency_ms", duration)
    count, scores = documents(span.attributes)
    if count:
        values.setdefault("rag_chunks_used", count)
    if scores and all(0 <= each <= 1 for each in scores):
        values.setdefault("rag_relevance_score", sum(scores) / len(scores))


def documents(attributes: Attributes) -> tuple[int, list[float]]:
    """How many documents a span lists, and the scores of those that have one."""
    places: set[str] = set()
    scores: list[float] = []
    for name, value in attributes.items():
        found = _DOCUMENT.match(name)
        if found:
            places.add(found[1])
            score = real_of(value) if found[2] and name.endswith(".score") else None
            if score is not None:
                scores.append(score)
    listed = attributes.get("mlflow.spanOutputs")
    if not places and isinstance(listed, str) and len(listed) <= _LONGEST:
        return listed.count(_ITEM), scores
    return len(places), scores
