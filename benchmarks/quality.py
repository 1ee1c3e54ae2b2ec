"""Detection quality on cases nobody tuned on, of three worlds: ours through the command line, others beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites import CASES, MEASURING, Asked, begin_of, judge, made

TRACEWATCH = Path(sys.executable).with_name("tracewatch")
HEADINGS = ("summary", "recall", "false/day", "delay min", "slice F1", "root", "points R/P", "alerts", "rows/s", "MB")
AVERAGED = ("summary", "recall", "false_per_day", "ttd_median_min", "slice_f1", "root_metric")
SOME = ("dev201", "dev203sparse", "renamed204", "quiet207", "brain81", "saas81", "arrivals401", "arrivals402")
FEW = ("dev201", "brain81", "saas81", "arrivals401")  # one case of each world: it takes half a minute a case
FEWER = ("brain81", "arrivals401")  # half-space trees walk row by row in Python: minutes a case
OTHERS = {
    "robust_segment": ("robust z-score per segment", FEW, None),
    "ewma_hourly": ("EWMA chart per segment and hour", SOME, None),
    "isolation_forest": ("isolation forest (scikit-learn)", SOME, "sklearn"),
    "half_space_trees": ("half-space trees (river)", FEWER, "river"),
}
"""Baselines of llmbench/baselines.py: what they are, on which cases they run, which library they need."""


def run() -> Iterator[str]:
    """The table of each detector: a line per case, then the mean of each world."""
    from tracewatch.backtest import DETECTORS

    for asked in MEASURING:
        made(asked)
    for detector in DETECTORS:
        yield from measured(f"--detector {detector}", MEASURING, lambda asked, name=detector: _ours(asked, name))
        yield ""
    for name, (title, cases, library) in OTHERS.items():
        if library and importlib.util.find_spec(library) is None:
            yield f"{title}: not measured, {library} is not installed (pip install --group bench)"
        else:
            some = [asked for asked in MEASURING if asked.name in cases]
            yield from measured(title, some, lambda asked, name=name: _other(asked, name))
        yield ""


def measured(title: str, cases: Sequence[Asked], scored: Callable[[Asked], dict[str, Any]]) -> Iterator[str]:
    """The table of one detector."""
    yield title.ljust(32) + "".join(f"{heading:>12}" for heading in HEADINGS)
    results: dict[str, list[dict[str, Any]]] = {}
    for asked in cases:
        result = scored(asked)
        results.setdefault(asked.world, []).append(result)
        yield _line(asked.name, result)
    for world, some in results.items():
        yield _line(f"mean of {world}", _mean(some))


def _ours(asked: Asked, detector: str) -> dict[str, Any]:
    """What llmbench's score says of our alerts, and what the command took."""
    folder = made(asked)
    alerts = CASES / f"{asked.name}.{detector}.jsonl"
    words = ["backtest", str(folder / "traces.parquet"), "--from", begin_of(folder), "--detector", detector]
    took_s, peak_mb = child([str(TRACEWATCH), *words, "--alerts", str(alerts)])
    found = [json.loads(line) for line in alerts.read_text(encoding="utf-8").splitlines()]
    return _scored(folder, found, took_s, peak_mb)


def _other(asked: Asked, name: str) -> dict[str, Any]:
    """The same of a baseline, which runs in this process."""
    import pandas as pd

    folder = made(asked)
    _, case = judge(folder)
    from llmbench import baselines  # type: ignore[import-not-found]  # `judge` has put it within reach

    rows = pd.read_parquet(folder / "traces.parquet")
    # Tools and spans around others have no model; the baselines group by it.
    rows["model_name"] = rows.model_name.fillna("none")
    started = time.perf_counter()
    found = baselines.ALL[name](rows, case.start)
    return _scored(folder, found, time.perf_counter() - started, None)


def _scored(folder: Path, found: list[dict[str, Any]], took_s: float, peak_mb: float | None) -> dict[str, Any]:
    score, case = judge(folder)
    result = {**score(case, found), "rows_per_s": len(case.rows) / took_s, "peak_mb": peak_mb}
    # The score of points that are not there is no score.
    return result if case.truth["points"] else {**result, "point_recall": None, "point_precision": None}


def child(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a whole process, which keeps its bytecode as an installed command does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=kept)
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    # Linux counts kilobytes, macOS bytes.
    return took_s, usage.ru_maxrss / (1000 if sys.platform != "darwin" else 1_000_000)


def _mean(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over the cases that have it."""
    names = (*AVERAGED, "point_recall", "point_precision", "alerts", "rows_per_s", "peak_mb")
    given = {name: [each[name] for each in results if each[name] is not None] for name in names}
    return {name: statistics.fmean(values) if values else None for name, values in given.items()}


def _line(name: str, result: dict[str, Any]) -> str:
    figures = [_figure(result[key]) for key in AVERAGED]
    recall, precision, peak_mb = result["point_recall"], result["point_precision"], result["peak_mb"]
    points = "" if recall is None else f"{recall:.2f}/{precision:.2f}"
    size = "" if peak_mb is None else f"{peak_mb:.0f}"
    figures += [points, f"{result['alerts']:.0f}", f"{result['rows_per_s']:,.0f}", size]
    return name.ljust(32) + "".join(f"{figure:>12}" for figure in figures)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
