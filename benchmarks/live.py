"""Live detection: how long the engine takes for five minutes of calls with many active segments, and what it keeps.

Two midnights are crossed: one after which every segment is learned anew, as all are young, and one after which a third
are. Between two steps come rounds without one, as the live process makes them every second or so: each does a part of
what the next step needs. Times are processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator

import numpy as np

from tracewatch.detectors.adaptive import Engine
from tracewatch.live.baselines import opened, sealed

OPERATIONS, MODELS = 25, 20  # each with each: 500 segments, 546 slices
SPANS = 500  # of a batch
YOUNG, OLD = 7, 10  # days before a midnight: all segments are learned then; a third, and alerts may be said
BATCHES = 48  # around a midnight: an hour before it and three after it
BEFORE = 12
DAY_S, TICK_S = 86_400, 300
START = 1_772_409_600.0  # a Monday
GOAL_MS = 50


def run() -> Iterator[str]:
    """One line per measurement."""
    rng = np.random.default_rng(1)
    engine = Engine()
    now = START
    for days, what in ((YOUNG, "all segments young"), (OLD, "a third of them due")):
        now = advanced(engine, rng, now, START + days * DAY_S - BEFORE * TICK_S)
        ends, within, between = [], [], []
        for _ in range(BATCHES):
            between += prepared(engine)
            two = both(engine, rng, now)
            within.append(two[0])
            ends.append(two[1])
            now += TICK_S
        midnight = ends.pop(BEFORE - 1)
        if days == YOUNG:
            known = engine.known
            yield f"{len(known.intake.segments)} segments, {len(known.slices.labels)} slices, batches of {SPANS} spans"
        yield f"around a midnight, {what}"
        median, longest = np.median(ends), max(ends)
        yield f"  a batch that ends 5 minutes  median {median:6.1f} ms, at most {longest:.0f} ms (goal {GOAL_MS})"
        yield f"  the one at midnight                 {midnight:6.0f} ms"
        yield f"  a batch within 5 minutes     median {np.median(within):6.1f} ms"
        yield f"  a round in between           median {np.median(between):6.1f} ms, at most {max(between):.0f} ms"
    gc.collect()
    started = time.process_time()
    kept, size = sealed(engine)
    saved = time.process_time() - started
    # Before it is loaded beside itself, which nothing but this does.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1000 if sys.platform != "darwin" else 1_000_000)
    started = time.process_time()
    opened(kept, size)
    loaded = time.process_time() - started
    compressed = sum(map(len, kept))
    yield f"state: {size / 1e6:.0f} MB, {compressed / 1e6:.0f} MB compressed"
    yield f"saved in {saved:.2f} s, loaded in {loaded:.2f} s"
    yield f"peak memory with the saved state: {peak:.0f} MB (goal 700)"


def advanced(engine: Engine, rng: np.random.Generator, now: float, until: float) -> float:
    """The moment, once the engine has read a quarter of the usual calls until then, a day at a time."""
    while now < until:
        stop = min(until, (now // DAY_S + 1) * DAY_S)
        engine.feed(calls(rng, now, stop - now, int(SPANS * (stop - now) // TICK_S // 4)))
        engine.advance(stop)
        now = stop
    return now


def both(engine: Engine, rng: np.random.Generator, now: float) -> tuple[float, float]:
    """Milliseconds of the first half of five minutes' calls, which ends no step, and of the rest."""
    batch = calls(rng, now, TICK_S, SPANS)
    middle, took = SPANS // 2, []
    for part, until in ((slice(0, middle), now + TICK_S / 2), (slice(middle, None), now + TICK_S)):
        engine.feed({name: column[part] for name, column in batch.items()})
        started = time.process_time()
        engine.advance(until)
        took.append((time.process_time() - started) * 1000)
    return took[0], took[1]


def prepared(engine: Engine) -> list[float]:
    """Milliseconds of each round of live detection that comes between two steps and has something to do."""
    took = []
    while True:
        started = time.process_time()
        if not engine.prepare():
            return took
        took.append((time.process_time() - started) * 1000)


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
