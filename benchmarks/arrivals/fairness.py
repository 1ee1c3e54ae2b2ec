"""Is the truth fair? With the labels in hand, an incident must stand out of the same hours of other days."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Effect = tuple[float, float]  # deviations from the other days, ratio to their mean
NEEDED = (4.0, 4.0, 3.0)  # deviations of the clearest root metric, by level
TELLING = 2.5  # deviations from which a root metric is named in the truth
BY_LOG = (
    "duration_ms", "ttft_ms", "tokens_per_second", "queue_time_ms", "inference_time_ms", "network_time_ms",
    "input_tokens", "output_tokens", "total_tokens", "context_tokens", "cache_read_input_tokens",
    "cache_creation_input_tokens", "cost_usd", "retrieval_latency_ms",
)  # fmt: skip
BY_MEAN = ("rag_relevance_score", "groundedness_score", "rag_chunks_used")
LEAST_SD = {"rag_relevance_score": 0.01, "groundedness_score": 0.01, "rag_chunks_used": 0.1}
LEAST_ROWS = 12
LEAST_MS = 20.0  # a wait that moves by less is nobody's incident
Figures = dict[str, tuple[float, int]]


def figures(rows: pd.DataFrame) -> Figures:
    """Each metric's mean over some rows (of its logarithm, if it is one that multiplies), and how many have it."""
    out: Figures = {"call_count": (float(len(rows)), len(rows))}
    for name in (*BY_LOG, *BY_MEAN):
        values = rows[name].to_numpy(float)
        values = values[np.isfinite(values)]
        if len(values):
            out[name] = (float(np.log1p(values).mean() if name in BY_LOG else values.mean()), len(values))
    for name, hits in rates(rows).items():
        if len(hits):
            out[name] = (float(hits.mean()), len(hits))
    return out


def rates(rows: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """What counts for each rate, a number for each row that could."""
    status = rows.status.to_numpy()
    read, whole = rows.cache_read_input_tokens.to_numpy(float), rows.input_tokens.to_numpy(float)
    told = np.isfinite(read)
    invented = rows.hallucination_detected.to_numpy(float)
    return {
        "error_rate": np.isin(status, ("error", "timeout")).astype(float),
        "timeout_rate": (status == "timeout").astype(float),
        "fallback_rate": (status == "fallback").astype(float),
        "retry_rate": (rows.retry_count.to_numpy() > 0).astype(float),
        "hallucination_rate": invented[np.isfinite(invented)],
        "cache_hit_rate": read[told] / np.maximum(whole[told], 1),
    }


def judge(
    rows: pd.DataFrame,
    since: float,
    until: float,
    busy: Sequence[tuple[float, float]],
    days: int,
    weekdays: tuple[int, ...],
) -> dict[str, Effect]:
    """Effects of a window (seconds) on the rows of a slice, by metric, against the same hours of the other days.

    `busy` are the windows of other incidents. Counts are compared with days of the same sort: those in `weekdays`
    or not.
    """
    t = rows.t.to_numpy()
    now = _between(rows, t, since, until)
    same_sort = int(since // 86_400) % 7 in weekdays
    others: list[tuple[bool, Figures]] = []
    for k in range(-days, days + 1):
        a, b = since + 86_400 * k, until + 86_400 * k
        touched = any(a < end and b > begin for begin, end in [*busy, (since - 3600, until + 3600)])
        if a < 0 or b > 86_400 * days or touched:
            continue
        others.append(((int(a // 86_400) % 7 in weekdays) == same_sort, _between(rows, t, a, b)))
    return {name: effect for name in now if (effect := _effect(name, now[name], others)) is not None}


def _between(rows: pd.DataFrame, t: NDArray[np.float64], since: float, until: float) -> Figures:
    return figures(rows.iloc[np.searchsorted(t, since) : np.searchsorted(t, until)])


def _effect(name: str, now: tuple[float, int], others: Sequence[tuple[bool, Figures]]) -> Effect | None:
    value, n = now
    values = np.array([each[name][0] for same, each in others if name in each and (same or name != "call_count")])
    if len(values) < 3 or (name != "call_count" and n < LEAST_ROWS):
        return None
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    if name == "call_count":
        logs = np.log1p(values)
        by_log = (np.log1p(value) - logs.mean()) / max(float(logs.std(ddof=1)), 1 / np.sqrt(max(mean, 1)), 0.05)
        by_count = (value - mean) / max(sd, np.sqrt(max(mean, 1)))
        return float(max(by_log, by_count, key=abs)), (value + 0.5) / (mean + 0.5)
    if name in BY_MEAN:
        return (value - mean) / max(sd, LEAST_SD[name]), (value + 0.01) / (mean + 0.01)
    if name.endswith("_ms") and abs(np.expm1(value) - np.expm1(mean)) < LEAST_MS:
        return None
    if name in BY_LOG:
        return (value - mean) / max(sd, 0.02), float(np.exp(value - mean))
    p = float(np.clip(mean, 0.02, 0.98))
    return (value - mean) / max(sd, np.sqrt(p * (1 - p) / n)), (value + 0.005) / (mean + 0.005)


def consequences(now: pd.DataFrame, without: pd.DataFrame) -> set[str]:
    """Metrics that the same calls would not have had so without the incident."""
    seen, free = figures(now), figures(without)
    moved = set()
    for name in seen.keys() & free.keys():
        change = abs(seen[name][0] - free[name][0])
        least = 0.05 if name in BY_LOG else 0.05 * max(abs(free[name][0]), 0.2)
        if change > least and min(seen[name][1], free[name][1]) >= LEAST_ROWS:
            moved.add(name)
    return moved
