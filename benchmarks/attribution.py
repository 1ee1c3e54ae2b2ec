"""How often the slice that an incident was put into is the one that explanations name, and whether bridges add up.

Into calls of quiet weeks (nobody's incident in them) a known fault is put: slower answers, slower first tokens, a
price, longer prompts, errors, retries, less relevant context or more calls, in a slice of one or of two attributes. It
is then explained as if detection had said which metric moved, since when, and of a slice of two attributes the first.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.suites import Asked, made
from tracewatch.bridges import Bridge
from tracewatch.explaining import Story, explain, money, waits, where
from tracewatch.explaining.calls import Calls, gather
from tracewatch.metrics import Rows
from tracewatch.records import Span
from tracewatch.stores import open_store
from tracewatch.stores.base import Store

# Quiet weeks of four products, from seeds on which nothing was tuned.
QUIET = ("--suite", "quiet")
ASKED = (
    Asked(name="quiet231", world="quiet", words=("llmbench.generate", "--seed", "231", *QUIET)),
    Asked(name="quiet232renamed", world="quiet", words=("llmbench.generate", "--seed", "232", "--world", "6", *QUIET)),
    Asked(name="saas91q", world="quiet", words=("bench2.generate", "--world", "saas", "--seed", "91", *QUIET)),
    Asked(name="brain91q", world="quiet", words=("bench2.generate", "--world", "brain", "--seed", "91", *QUIET)),
)
TRACEWATCH = Path(sys.executable).with_name("tracewatch")
TRIALS = 24  # of each case and number of attributes: the standard error of a rate of .9 over four cases is .03
HOURS = (3.0, 6.0, 12.0, 24.0)  # how long it had lasted
FEWEST = 30  # calls of the slice
LEAST, MOST = 0.05, 0.5  # its share of the calls that have the metric: with less nobody would be told of all calls
BOTH_MATTER = 1.5  # times the calls of both attributes that each one alone has, at least
SAME = 0.9  # of the calls with the metric of either slice in the other: nearly the same slice by another name
GOALS = {1: 0.9, 2: 0.8}

Injected = Callable[["Calls", Any, np.random.Generator], "Calls"]


def run() -> Iterator[str]:
    """Top-1 accuracy by number of attributes, fault and case; how far bridges are from adding up; and the time."""
    results: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        for asked in ASKED:
            db = _imported(asked, Path(folder))
            with open_store(str(db)) as store:
                results += measured(store, asked.name)
                took = list(_timed(store))
            yield f"explain {asked.name:<18} median {statistics.median(took):6.0f} ms, most {max(took):6.0f} ms of CPU"
    yield ""
    yield from told(results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fault and what was said about it."""

    case: str
    fault: str
    attributes: int
    right: bool
    """Whether the best slice is that of the fault."""
    named: bool
    """Whether any slice was named as the best."""
    rest: float | None
    """How far the parts of the bridges are from their change, as a share of the larger end; None without bridges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A kind of fault: the metric in which it shows, and what it does to calls."""

    name: str
    metric: str
    direction: str
    put: Injected


def measured(store: Store, case: str, trials: int = TRIALS) -> list[Trial]:
    """Faults put into windows of that store, as many for slices of one attribute as of two."""
    rng = np.random.default_rng(1)
    first, last = store.extent(Span) or (0.0, 0.0)
    found: list[Trial] = []
    for attributes in GOALS:
        done = 0
        for _ in range(trials * 20):  # a window or slice may have too few calls
            if done == trials:
                break
            fault = FAULTS[rng.integers(len(FAULTS))]
            hours = float(rng.choice(HOURS))
            since = float(rng.uniform(first + 8 * 86400, last - hours * 3600))
            trial = _trial(store, case, fault, (since, since + hours * 3600), attributes, rng)
            if trial is not None:
                found.append(trial)
                done += 1
    return found


def told(results: Sequence[Trial]) -> Iterator[str]:
    """The table."""
    for attributes, goal in GOALS.items():
        some = [each for each in results if each.attributes == attributes]
        yield f"slice of {attributes} attribute{'s' * (attributes > 1)}: {_rate(some)} (goal {goal})"
        for key in ("fault", "case"):
            for value in dict.fromkeys(getattr(each, key) for each in some):
                yield f"  {value:<22} {_rate([each for each in some if getattr(each, key) == value])}"
    rests = [each.rest for each in results if each.rest is not None]
    yield f"bridges: {len(rests)}, the largest rest {max(rests):.1e} of the larger end"


def _rate(some: Sequence[Trial]) -> str:
    right, named = (sum(getattr(each, name) for each in some) / max(len(some), 1) for name in ("right", "named"))
    return f"top-1 right {right:.2f}, any named {named:.2f}, {len(some)} faults"


def _trial(
    store: Store, case: str, fault: Fault, window: tuple[float, float], attributes: int, rng: np.random.Generator
) -> Trial | None:
    kind = "surge" if fault.metric == "call_count" else "level_shift"
    story = Story(metric=fault.metric, direction=fault.direction, kind=kind, slice={}, since=window[0], until=window[1])
    calls = gather(store, "default", story, window[1])
    slice = _slice(calls, attributes, rng)
    if slice is None:
        return None
    if attributes > 1:
        told = dict(list(slice.items())[:1])
        calls = replace(calls, story=replace(story, slice=told), inside=where.matching(calls, told))
    calls = fault.put(calls, calls.since & where.matching(calls, slice), rng)
    if fault.metric == "call_count" and calls.weight(calls.now) <= calls.weight(calls.then):
        return None  # nobody would have been told
    best = where.attributed(calls).best
    right = best is not None and _same(calls, {**calls.story.slice, **best.slice}, slice)
    bridges = [each for each in (money.bridge_of(calls), waits.bridge_of(calls)) if each is not None]
    return Trial(
        case=case,
        fault=fault.name,
        attributes=attributes,
        right=right,
        named=best is not None,
        rest=max(map(_rest, bridges)) if bridges else None,
    )


def _slice(calls: Calls, attributes: int, rng: np.random.Generator) -> dict[str, Any] | None:
    """A slice of the calls since the onset that is neither too small nor nearly everything."""
    counted = calls.since & (np.isfinite(calls.values) if calls.measure.is_rate else calls.values > 0)
    if counted.sum() < 2 * FEWEST:
        return None
    names = ["operation_type", "model_name", "model_provider", "user_id", "streaming_enabled"]
    if calls.measure.family != "volume":  # every release is a surge of its version, and explanations know that
        names.append("app_version")
    for _ in range(30):
        row = int(rng.choice(np.flatnonzero(counted)))
        chosen = rng.choice(names, attributes, replace=False).tolist()
        slice = {name: calls.coded(name)[1][calls.coded(name)[0][row]] for name in chosen}
        size = int((counted & where.matching(calls, slice)).sum())
        alone = [int((counted & where.matching(calls, {name: value})).sum()) for name, value in slice.items()]
        matter = attributes == 1 or min(alone) >= BOTH_MATTER * size
        if None not in slice.values() and size >= FEWEST and LEAST <= size / counted.sum() <= MOST and matter:
            return slice
    return None


def _same(calls: Calls, one: dict[str, Any], other: dict[str, Any]) -> bool:
    counted = calls.since & np.isfinite(calls.values)
    mine, theirs = (counted & where.matching(calls, each) for each in (one, other))
    return float((mine & theirs).sum()) >= SAME * max(float(mine.sum()), float(theirs.sum()), 1.0)


def _rest(bridge: Bridge) -> float:
    missing = abs(fsum(part.change for part in bridge.parts) - bridge.change)
    return missing / max(abs(bridge.before), abs(bridge.after), 1e-12)


def _with(calls: Calls, columns: dict[str, Any]) -> Calls:
    """The calls with other values in some columns."""
    table = calls.rows.since(-np.inf)
    for name, values in columns.items():
        field = table.schema.field(name)
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            array = pa.array(values, mask=np.isnan(values)).cast(field.type, safe=False)
        else:
            array = pa.array(values, field.type)
        table = table.set_column(table.schema.get_field_index(name), field, array)
    return replace(calls, rows=Rows(table))


def _times(*names: str, between: tuple[float, float], inverse: tuple[str, ...] = ()) -> Injected:
    """Makes some columns so many times as large, and others as much smaller."""

    def put(calls: Calls, which: Any, rng: np.random.Generator) -> Calls:
        by = rng.uniform(*between)
        changed = {name: np.where(which, calls.numbers(name) * by, calls.numbers(name)) for name in names}
        changed |= {name: np.where(which, calls.numbers(name) / by, calls.numbers(name)) for name in inverse}
        return _with(calls, changed)

    return put


def _less(name: str, between: tuple[float, float]) -> Injected:
    def put(calls: Calls, which: Any, rng: np.random.Generator) -> Calls:
        by = rng.uniform(*between)
        return _with(calls, {name: np.where(which, calls.numbers(name) - by, calls.numbers(name))})

    return put


def _fails(calls: Calls, which: Any, rng: np.random.Generator) -> Calls:
    hit = which & (rng.random(len(which)) < rng.uniform(0.2, 0.6))
    words = calls.rows.texts("status", np.arange(len(which)))
    return _with(calls, {"status": ["error" if bad else word for bad, word in zip(hit, words, strict=True)]})


def _retries(calls: Calls, which: Any, rng: np.random.Generator) -> Calls:
    hit = which & (rng.random(len(which)) < rng.uniform(0.2, 0.6))
    return _with(calls, {"retry_count": np.where(hit, 1.0, calls.numbers("retry_count"))})


def _more(calls: Calls, which: Any, rng: np.random.Generator) -> Calls:
    """Each call of the slice comes one to three times more."""
    copies = np.where(which, int(rng.integers(2, 5)), 1)
    rows = np.repeat(np.arange(len(which)), copies)
    table = calls.rows.since(-np.inf).take(pa.array(rows))
    arrays = {name: getattr(calls, name)[rows] for name in ("since", "usual", "inside", "weights")}
    return replace(calls, rows=Rows(table), **arrays)


FAULTS = (
    Fault(
        name="slower answers",
        metric="duration_ms",
        direction="up",
        put=_times("duration_ms", "inference_time_ms", between=(1.5, 2.5), inverse=("tokens_per_second",)),
    ),
    Fault(name="slower first token", metric="ttft_ms", direction="up", put=_times("ttft_ms", between=(1.5, 3.0))),
    Fault(name="price", metric="cost_usd", direction="up", put=_times("cost_usd", between=(1.4, 2.5))),
    Fault(
        name="longer prompts",
        metric="input_tokens",
        direction="up",
        put=_times("input_tokens", "context_tokens", between=(1.5, 2.5)),
    ),
    Fault(name="errors", metric="error_rate", direction="up", put=_fails),
    Fault(name="retries", metric="retry_rate", direction="up", put=_retries),
    Fault(
        name="relevance",
        metric="rag_relevance_score",
        direction="down",
        put=_less("rag_relevance_score", (0.1, 0.3)),
    ),
    Fault(name="more calls", metric="call_count", direction="up", put=_more),
)


def _timed(store: Store) -> Iterator[float]:
    """CPU milliseconds of a whole explanation, over windows of a quiet store."""
    first, last = store.extent(Span) or (0.0, 0.0)
    for place, hours in enumerate((1.0, 3.0, 6.0, 12.0, 24.0, 48.0)):
        since = first + (last - first) * (0.6 + 0.05 * place)
        until = min(since + hours * 3600, last)
        story = Story(metric="duration_ms", direction="up", kind="level_shift", slice={}, since=since, until=until)
        started = time.process_time()
        explain(store, "default", story, until)
        yield (time.process_time() - started) * 1000


def _imported(asked: Asked, folder: Path) -> Path:
    """The case as a store."""
    db = folder / f"{asked.name}.db"
    command = [str(TRACEWATCH), "import", str(made(asked) / "traces.parquet"), "--db", str(db)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return db
