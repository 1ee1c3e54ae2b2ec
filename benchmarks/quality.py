"""Detection quality on cases nobody tuned on: the two worlds of llmbench and bench2, through the command line."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases"
TRACEWATCH = Path(sys.executable).with_name("tracewatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case to be generated: its name, the world its mean counts for, and the words that make it."""

    name: str
    world: str
    words: tuple[str, ...]


def _llmbench(name: str, seed: int, *words: str, world: str = "llmbench") -> Asked:
    made = ("llmbench.generate", "--seed", str(seed), *words)
    return Asked(name=name, world=world, words=made)


def _bench2(product: str, seed: int, *words: str) -> Asked:
    quiet = "quiet" in words
    return Asked(
        name=f"{product}{seed}{'q' if quiet else ''}",
        world=f"{product}, quiet" if quiet else product,
        words=("bench2.generate", "--world", product, "--seed", str(seed), *words),
    )


# Seeds from 200 (llmbench) and 80 (bench2) on: the engine was tuned on lower ones.
ASKED = (
    _llmbench("dev201", 201),
    _llmbench("dev202", 202),
    _llmbench("dev203sparse", 203, "--rate", "0.3"),
    _llmbench("renamed204", 204, "--world", "3"),
    _llmbench("renamed205", 205, "--world", "7"),
    _llmbench("renamed206busy", 206, "--world", "5", "--rate", "2"),
    _llmbench("quiet207", 207, "--suite", "quiet", world="llmbench, quiet"),
    _llmbench("quiet208", 208, "--suite", "quiet", "--world", "4", world="llmbench, quiet"),
    _bench2("brain", 81),
    _bench2("brain", 82),
    _bench2("brain", 83, "--suite", "quiet"),
    _bench2("saas", 81),
    _bench2("saas", 82),
    _bench2("saas", 83, "--suite", "quiet"),
)
HEADINGS = ("summary", "recall", "false/day", "delay min", "slice F1", "root", "points R/P", "alerts", "rows/s", "MB")
AVERAGED = ("summary", "recall", "false_per_day", "ttd_median_min", "slice_f1", "root_metric")


def run() -> Iterator[str]:
    """The table of each detector: a line per case, then the mean of each world."""
    from tracewatch.backtest import DETECTORS

    for asked in ASKED:
        _generate(asked)
    for detector in DETECTORS:
        yield from measured(detector, ASKED)
        yield ""


def measured(detector: str, cases: Sequence[Asked]) -> Iterator[str]:
    """The table of one detector."""
    yield f"--detector {detector}".ljust(24) + "".join(f"{heading:>12}" for heading in HEADINGS)
    results: dict[str, list[dict[str, Any]]] = {}
    for asked in cases:
        result = _scored(asked, detector)
        results.setdefault(asked.world, []).append(result)
        yield _line(asked.name, result)
    for world, some in results.items():
        yield _line(f"mean of {world}", _mean(some))


def _generate(asked: Asked) -> None:
    """Makes a case unless it is there; it takes its name when it is whole."""
    folder = CASES / asked.name
    if folder.exists():
        return
    CASES.mkdir(exist_ok=True)
    partial = CASES / f".{asked.name}"
    subprocess.run(
        [sys.executable, "-m", *asked.words, "--out", str(partial)], cwd=HERE, check=True, stdout=subprocess.DEVNULL
    )
    partial.rename(folder)


def _scored(asked: Asked, detector: str) -> dict[str, Any]:
    """What llmbench's score says of the alerts, and what the command took."""
    folder = CASES / asked.name
    alerts = CASES / f"{asked.name}.{detector}.jsonl"
    begin = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["meta"]["eval_start"]
    words = ["backtest", str(folder / "traces.parquet"), "--from", begin, "--detector", detector]
    took_s, peak_mb = _child([str(TRACEWATCH), *words, "--alerts", str(alerts)])
    score, case = _judge(folder)
    found = [json.loads(line) for line in alerts.read_text(encoding="utf-8").splitlines()]
    result = {**score(case, found), "rows_per_s": len(case.rows) / took_s, "peak_mb": peak_mb}
    # The score of points that are not there is no score.
    return result if case.truth["points"] else {**result, "point_recall": None, "point_precision": None}


def _judge(folder: Path) -> tuple[Any, Any]:
    """The score of llmbench, which is a package beside this one, and the case as it reads it."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    from llmbench.score import Case, score

    return score, Case(str(folder))


def _child(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak megabytes of a whole process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
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
    recall, precision = result["point_recall"], result["point_precision"]
    points = "" if recall is None else f"{recall:.2f}/{precision:.2f}"
    figures += [points, f"{result['alerts']:.0f}", f"{result['rows_per_s']:,.0f}", f"{result['peak_mb']:.0f}"]
    return name.ljust(24) + "".join(f"{figure:>12}" for figure in figures)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
