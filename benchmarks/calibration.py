"""Are confident findings real? Alerts with known truth, by the confidence they claim; `--fit` learns the curve anew."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tracewatch
from benchmarks.quality import TRACEWATCH
from benchmarks.suites import CASES, MEASURING, TUNING, Asked, begin_of, judge, made
from tracewatch.detectors.adaptive import Alert
from tracewatch.detectors.adaptive.confidence import AT_LIMIT, confidence, doublings, sort_of

EDGES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
SHRINK = 0.5  # of what is fitted: a sort with few alerts stays near the mean of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An alert, and whether the truth of its case knows what it is about."""

    world: str
    alert: Alert
    real: bool


def run() -> Iterator[str]:
    """The reliability on the measuring cases; with `--fit` that on the tuning ones, and the constants they ask for."""
    if "--fit" in sys.argv:
        tuned = list(_verdicts(TUNING))
        yield from _table("now, on the tuning cases", tuned)
        yield ""
        yield from _constants(tuned)
    else:
        yield from _table("never tuned on", list(_verdicts(MEASURING)))


def _verdicts(cases: Sequence[Asked]) -> Iterator[Verdict]:
    for asked in cases:
        folder = made(asked)
        score, case = judge(folder)
        for line in _alerts(asked, folder):
            real = _real(score, case, line)
            if real is not None:
                yield Verdict(world=asked.world.split(",")[0], alert=_alert(line), real=real)


def _alerts(asked: Asked, folder: Path) -> list[dict[str, Any]]:
    """What the engine says of a case; asked again if its code is younger than what was kept."""
    out = CASES / f"{asked.name}.adaptive.jsonl"
    code = max(file.stat().st_mtime for file in Path(tracewatch.__file__).parent.rglob("*.py"))
    if not out.exists() or out.stat().st_mtime < code:
        words = ["backtest", str(folder / "traces.parquet"), "--from", begin_of(folder), "--alerts", str(out)]
        subprocess.run([str(TRACEWATCH), *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def _real(score: Any, case: Any, line: dict[str, Any]) -> bool | None:
    """Whether a single alert is about an incident or a point; None if the score neither counts nor blames it."""
    result = score(case, [line])
    if result["recall"] or result["point_recall"]:
        return True
    return False if result["false"] else None


def _alert(line: dict[str, Any]) -> Alert:
    known = {each.name for each in fields(Alert)}
    values = {name: value for name, value in line.items() if name in known}
    for name in ("detected_at", "since"):
        if values.get(name) is not None:
            values[name] = datetime.fromisoformat(values[name]).astimezone(UTC).timestamp()
    return Alert(**values | {"trace_ids": tuple(line.get("trace_ids") or ())})


def _table(title: str, verdicts: Sequence[Verdict]) -> Iterator[str]:
    claimed = np.array([confidence(each.alert) for each in verdicts])
    real = np.array([each.real for each in verdicts])
    yield f"{title}: {len(verdicts)} alerts".ljust(34) + f"{'alerts':>8}{'claimed':>10}{'real':>8}"
    for low, high in pairwise(EDGES):
        yield _row(f"confidence {low:.1f} to {high:.1f}", (claimed >= low) & (claimed < high), claimed, real)
    yield _row("confidence 0.9 or more", claimed >= 0.9, claimed, real)
    sorts = np.array([sort_of(each.alert) for each in verdicts])
    for sort in AT_LIMIT:
        yield _row(f"of sort {sort}", sorts == sort, claimed, real)
    worlds = np.array([each.world for each in verdicts])
    for world in dict.fromkeys(worlds.tolist()):
        yield _row(f"of {world}, 0.9 or more", (worlds == world) & (claimed >= 0.9), claimed, real)


def _row(name: str, some: np.ndarray, claimed: np.ndarray, real: np.ndarray) -> str:
    if not some.any():
        return f"{name:<34}{0:>8}"
    return f"{name:<34}{some.sum():>8}{claimed[some].mean():>10.2f}{real[some].mean():>8.2f}"


def _constants(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """The lines of confidence.py that these alerts ask for.

    Every alert has the same weight, so the third world, which the engine was never tuned on, has the most.
    """
    sorts = list(AT_LIMIT)
    known = np.array([[sort_of(each.alert) == sort for sort in sorts] for each in verdicts], float)
    far = np.array([doublings(each.alert) for each in verdicts])
    found = fit(np.column_stack([known, far]), np.array([each.real for each in verdicts], float))
    pairs = ", ".join(f'"{sort}": {value:.2f}' for sort, value in zip(sorts, found, strict=False))
    yield f"AT_LIMIT: Mapping[str, float] = {{{pairs}}}"
    yield f"PER_DOUBLING = {found[-1]:.2f}"


def fit(inputs: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Weights of a logistic curve by Newton's method, each shrunk towards the mean log odds (the last towards 1).

    >>> x = np.column_stack([np.ones(400), np.tile([0.0, 1.0], 200)])
    >>> bool(abs(fit(x, np.tile([0.0, 1.0, 1.0, 1.0], 100))[0]) < 0.05)  # half of those at the limit are real
    True
    """
    mean = np.clip(real.mean(), 0.02, 0.98)
    prior = np.full(inputs.shape[1], np.log(mean / (1 - mean)))
    prior[-1] = 1.0
    found = prior.copy()
    for _ in range(200):
        p = 1 / (1 + np.exp(-inputs @ found))
        slope = inputs.T @ (real - p) - SHRINK * (found - prior)
        curve = (inputs * (p * (1 - p))[:, None]).T @ inputs + SHRINK * np.eye(len(found))
        step = np.linalg.solve(curve, slope)
        found = found + step / max(1.0, float(np.abs(step).max()))  # whole steps may run away from a flat stretch
    return found
