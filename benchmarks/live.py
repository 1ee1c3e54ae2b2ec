"""Live detection: how long the engine takes for five minutes of calls with many active segments, and what it keeps.

Times are processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import gc
import pickle
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from tracewatch.detectors.adaptive import Engine

OPERATIONS, MODELS = 25, 20  # each with each: 500 segments, 546 slices
SPANS = 500  # of a batch
DAYS = 9  # until alerts may be said and everything is learned
BATCHES = 36  # three hours: whole hours, and windows of every length, are among them
DAY_S, TICK_S = 86_400, 300
START = 1_772_409_600.0  # a Monday
GOAL_MS = 50


def run() -> Iterator[str]:
    """One line per measurement."""
    rng = np.random.default_rng(1)
    engine = Engine()
    for day in range(DAYS):
        engine.feed(calls(rng, START + day * DAY_S, DAY_S, SPANS * DAY_S // TICK_S // 4))
        engine.advance(START + (day + 1) * DAY_S)
    now = START + DAYS * DAY_S
    took, small = [], []
    for _ in range(BATCHES):
        batch = calls(rng, now, TICK_S, SPANS)
        middle = len(batch["start_time"]) // 2
        for part in (slice(0, middle), slice(middle, None)):
            engine.feed({name: column[part] for name, column in batch.items()})
            until = now + TICK_S if part.start else now + TICK_S / 2
            started = time.process_time()
            engine.advance(until)
            (took if part.start else small).append((time.process_time() - started) * 1000)
        now += TICK_S
    known = engine.known
    yield f"{len(known.intake.segments)} segments, {len(known.slices.labels)} slices, batches of {SPANS} spans"
    yield f"a batch that ends 5 minutes  median {np.median(took):6.1f} ms, at most {max(took):.0f} ms (goal {GOAL_MS})"
    yield f"a batch within 5 minutes     median {np.median(small):6.1f} ms"
    started = time.process_time()
    engine.feed(calls(rng, now, TICK_S, SPANS))
    engine.advance(START + (DAYS + 1) * DAY_S)
    yield f"the rest of the day, without calls, and the lesson at midnight {time.process_time() - started:.1f} s"
    gc.collect()
    started = time.process_time()
    kept = pickle.dumps(engine, 5)
    saved = time.process_time() - started
    started = time.process_time()
    pickle.loads(kept)
    loaded = time.process_time() - started
    yield f"state: {len(kept) / 1e6:.0f} MB, saved in {saved:.2f} s, loaded in {loaded:.2f} s"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform != "darwin" else 1_000_000)
    yield f"peak memory: {peak:.0f} MB (goal 700)"


def calls(rng: np.random.Generator, since: float, seconds: float, rows: int) -> dict[str, np.ndarray]:
    """Calls at even chances whose times and cost depend on their tokens."""
    start = np.sort(since + rng.uniform(0, seconds, rows))
    kind = rng.integers(0, OPERATIONS * MODELS, rows)
    prompt, answer = rng.lognormal(6, 0.5, rows).round(), rng.lognormal(4, 0.5, rows).round() + 1
    ttft = (200 + prompt / 10) * rng.lognormal(0, 0.2, rows)
    generation = answer * 20 * rng.lognormal(0, 0.2, rows)
    return {
        "start_time": start,
        "trace_id": words("t", rng.integers(0, 2**40, rows)),
        "session_id": words("s", (start // 900).astype(int) * 400 + rng.integers(0, 400, rows)),
        "user_id": words("u", rng.integers(0, 2000, rows)),
        "operation_type": words("operation", kind % OPERATIONS),
        "model_name": words("model", kind // OPERATIONS),
        "model_provider": words("provider", kind // OPERATIONS // 5),
        "status": np.where(rng.random(rows) < 0.01, "error", "ok").astype(object),
        "ttft_ms": ttft,
        "inference_time_ms": ttft + generation,
        "duration_ms": ttft + generation + 30,
        "tokens_per_second": answer / generation * 1000,
        "input_tokens": prompt,
        "output_tokens": answer,
        "cache_read_input_tokens": np.where(rng.random(rows) < 0.5, prompt // 2, 0),
        "cost_usd": prompt * 1e-6 + answer * 4e-6,
    }


def words(stem: str, numbers: np.ndarray) -> np.ndarray:
    """A word for each number."""
    return np.array([f"{stem}{number}" for number in numbers.tolist()], object)
