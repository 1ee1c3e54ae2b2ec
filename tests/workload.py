"""A small product with incidents in it, as rows of spans: what live detection is tried on."""

import numpy as np
import pyarrow as pa

DAY, HOUR, TICK = 86_400.0, 3600.0, 300.0
MONDAY = 1_772_409_600.0  # 2026-03-02
DAYS = 9


def calls(days=DAYS, a_day=300, seed=1, start=MONDAY):
    """An even stream of two kinds of call. On the ninth day one is slow for four hours, then the other fails often."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    t = np.sort(start + rng.uniform(0, days * DAY, n)).round(3)
    kind = rng.integers(0, 2, n)
    inp, out = rng.lognormal(6, 0.5, n).round(), rng.lognormal(4, 0.5, n).round() + 1
    slow = (kind == 0) & within(t, start, 8 * 24 + 9, 4)
    ttft, generation = (200 + inp / 10) * rng.lognormal(0, 0.2, n), out * 20 * rng.lognormal(0, 0.2, n) * (1 + 3 * slow)
    failing = (kind == 1) & within(t, start, 8 * 24 + 18, 3) & (rng.random(n) < 0.7)
    return pa.table(
        {
            "start_time": t,
            "end_time": t + (ttft + generation) / 1000,
            "project": ["default"] * n,
            "trace_id": [f"t{i:06}" for i in range(n)],
            "span_id": ["s"] * n,
            "session_id": [f"c{i // 4}" for i in range(n)],
            "user_id": [f"u{i}" for i in rng.integers(0, 20, n)],
            "operation_type": np.array(("ask", "sum"), object)[kind],
            "model_name": np.array(("big", "small"), object)[kind],
            "model_provider": ["cloud"] * n,
            "status": np.where(failing, "error", "ok"),
            "error_category": [("overloaded" if bad else None) for bad in failing],
            "ttft_ms": ttft,
            "inference_time_ms": ttft + generation,
            "duration_ms": ttft + generation + 30,
            "input_tokens": inp.astype(int),
            "output_tokens": out.astype(int),
            "cost_usd": inp * 1e-6 + out * 4e-6,
            "cost_status": ["exact"] * n,
        }
    )


def within(t, start, hour, hours):
    """Which times are in some hours after the start."""
    return (t >= start + hour * HOUR) & (t < start + (hour + hours) * HOUR)


def end_of(rows):
    """The end of the five minutes that the last call began in."""
    return float(rows["start_time"].to_numpy().max() // TICK + 1) * TICK
