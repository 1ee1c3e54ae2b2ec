"""When a call began, when its first token came and when it ended; how its stream flowed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tracewatch.otlp.own import NANOSECONDS, seconds
from tracewatch.otlp.usage import Values
from tracewatch.otlp.wire import WireSpan

LATEST_NS = 10**20  # the year 5138: beyond it a time is no time, see `stores.values.MOMENTS`
SHORTEST_MS = 1.0  # no model's first token comes sooner: it is a clock that was started late, or twice

# Events that instrumentations write for chunks of a stream, or for the first of them.
_CHUNKS = ("gen_ai.content.completion.chunk", "llm.content.completion.chunk", "mlflow.chunk.item.")
_FIRSTS = ("First Token Stream Event", "ai.stream.firstChunk", "gen_ai.first_token")


def read_times(span: WireSpan, values: Values) -> Iterator[str]:
    """Sets start, end, duration, time to first token and the stream's summary; yields the warnings."""
    start = span.start_ns
    values["start_time"] = seconds(start)
    if 0 < span.end_ns < LATEST_NS:
        if span.end_ns >= start:
            values["end_time"] = seconds(span.end_ns)
            values.setdefault("duration_ms", (span.end_ns - start) / 1e6)
        else:
            yield "ends_before_it_begins"
    if span.events:
        _read_events(span, values)
    first, duration = values.get("ttft_ms"), values.get("duration_ms")
    if first is None:
        return
    if values.get("streaming_enabled") is False:
        del values["ttft_ms"]
    elif first < SHORTEST_MS or (duration is not None and first > duration):
        del values["ttft_ms"]
        yield "impossible_first_token"
    else:
        values["streaming_enabled"] = True


def read_pace(values: Values) -> None:
    """Sets tokens per second: of what came after the first token, where that is known and takes time at all."""
    answered, duration, first = (values.get(name) for name in ("output_tokens", "duration_ms", "ttft_ms"))
    if answered and duration is not None and first is not None and duration - first >= SHORTEST_MS:
        values.setdefault("tokens_per_second", answered / ((duration - first) / 1e3))


def _read_events(span: WireSpan, values: Values) -> None:
    chunks = [time for name, time, _ in span.events if name.startswith(_CHUNKS)]
    first = min(chunks, default=0) or next((time for name, time, _ in span.events if name in _FIRSTS), 0)
    if first >= span.start_ns:
        values.setdefault("streaming_enabled", True)
        values.setdefault("ttft_ms", (first - span.start_ns) / 1e6)
    if len(chunks) > 1:
        chunks.sort()
        gaps = [(after - before) / 1e6 for before, after in pairwise(chunks)]
        found = {"count": len(chunks), "mean_gap_ms": sum(gaps) / len(gaps), "max_gap_ms": max(gaps)}
        values.setdefault("chunk_usage", {name: round(number, 3) for name, number in found.items()})


def moment_ns(text: str) -> int | None:
    """Nanoseconds of an ISO 8601 time, which may stand in quotes; None for what is none."""
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text.strip('"'))
    except ValueError:
        return None
    return int(moment.timestamp() * 1e6) * (NANOSECONDS // 10**6) if moment.tzinfo else None
