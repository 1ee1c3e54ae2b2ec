"""Capture: what a span costs in the calling thread and altogether, and what `import tracewatch` costs a program.

Times are processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tracewatch

BLOCKS, CALLS = 60, 200  # a block of calls is timed as one, below what the queue holds
STARTS = 21
ROWS = 20_000
GOAL_US, GOAL_MS = 100, 40

IMPORT = "import time; began = time.process_time(); {what}; print((time.process_time() - began) * 1e3)"
TYPICAL = "import typing, threading, contextvars"  # what nearly every program loads anyway, and we load as well


def run() -> Iterator[str]:
    """One line per measurement."""
    with tempfile.TemporaryDirectory() as folder:
        tracewatch.init(str(Path(folder) / "watch.db"), service="benchmark", queue_rows=10 * ROWS)
        yield from _in_the_calling_thread()
        yield from _altogether()
        tracewatch.shutdown(60)
    yield from _imports()


def _in_the_calling_thread() -> Iterator[str]:
    # The thread that writes sleeps 200 ms between batches, so most blocks run alone, as calls of a program do.
    with tracewatch.trace("benchmark", user_id="u", conversation_id="c"):
        for name, call in CALLS_OF.items():
            median, worst = _microseconds(call)
            yield f"{name:<44} {median:6.1f} µs median, {worst:6.1f} µs at most (goal {GOAL_US})"


def _call() -> None:
    span = tracewatch.start("chat", model_provider="openai", model_name="gpt-4o-mini", operation_type="chat")
    span.set(input_tokens=1200, output_tokens=300, ttft_ms=200.0, finish_reason="stop", streaming_enabled=True)
    span.end()


def _block() -> None:
    with tracewatch.span("step"):
        pass


@tracewatch.observe
def _observed() -> None:
    pass


def _logged() -> None:
    tracewatch.log_usage("openai", "gpt-4o-mini", "chat_answer", 1200, 300, latency_ms=900, metadata={"attempt": 1})


CALLS_OF: dict[str, Callable[[], None]] = {
    "start, set, end": _call,
    "with span(...)": _block,
    "@observe on a function": _observed,
    "log_usage(...)": _logged,
}


def _microseconds(call: Callable[[], None]) -> tuple[float, float]:
    """Median and largest over blocks of calls, of the time of this thread alone."""
    took = []
    for _ in range(BLOCKS):
        began = time.thread_time()
        for _ in range(CALLS):
            call()
        took.append((time.thread_time() - began) / CALLS * 1e6)
        tracewatch.flush(60)
    return statistics.median(took), max(took)


def _altogether() -> Iterator[str]:
    tracewatch.flush(60)
    began = time.process_time()
    for _ in range(ROWS):
        _call()
    assert tracewatch.flush(120)
    took_s = time.process_time() - began
    yield f"a call, until it is in the file, both threads {took_s / ROWS * 1e6:6.1f} µs ({ROWS:,} rows)"


def _imports() -> Iterator[str]:
    ours, typical, bare = (_milliseconds(what) for what in ("import tracewatch", TYPICAL, "pass"))
    count = _child("import sys; before = set(sys.modules); import tracewatch; print(len(set(sys.modules) - before))")
    yield f"import tracewatch, over bare Python          {ours - bare:6.1f} ms, {count:.0f} modules (goal {GOAL_MS})"
    yield f"  yardstick: {TYPICAL} {typical - bare:6.1f} ms"


def _milliseconds(what: str) -> float:
    return statistics.median(_child(IMPORT.format(what=what)) for _ in range(STARTS))


def _child(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)
