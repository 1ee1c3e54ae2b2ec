"""One case: a product, its faults where they can be seen, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from . import fairness
from .calls import run_starts, stamp
from .effects import reshaped, turned
from .faults import KINDS, LEVELS, Fault, placed
from .knobs import Knobs
from .machine import DRAWS, Room, busy_s
from .planning import main, planned
from .rows import frame_of
from .shapes import MINUTES
from .world import World, world_of

DAY_S = 86_400.0
POINTS = 24
BOOST = 1.5  # for a fault that cannot be seen; after two of them it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Rows, labels and truth, as the other benches write them."""

    traces: pd.DataFrame
    labels: pd.DataFrame
    truth: dict[str, Any]


def case_of(seed: int, *, quiet: bool = False, days: int = 28, warmup: int = 10) -> Case:
    """The case of a seed."""
    world = world_of(seed, days, warmup)
    stalls = {} if quiet else _stalls(world)
    without = run_of(world, [], stalls)
    faults = [] if quiet else _fair(world, planned(world), stalls)
    frame = run_of(world, faults, stalls) if faults else without
    return _told(world, faults, frame, without, stalls, quiet)


def run_of(world: World, faults: list[Fault], stalls: dict[int, float]) -> pd.DataFrame:
    """The rows, with these faults."""
    table = {name: values.copy() for name, values in world.table.items()}
    gone = np.zeros(len(table["t"]), bool)
    for i, fault in enumerate(faults):
        table, lost = reshaped(world.product, table, fault, world.rng(1, i))
        gone = np.concatenate([gone, np.zeros(len(lost) - len(gone), bool)]) | lost
    base = len(world.table["t"])
    draws = np.concatenate([world.rng(2).random((base, DRAWS)), world.rng(3).random((len(gone) - base, DRAWS))])
    table = {name: values[~gone] for name, values in table.items()}
    draws = draws[~gone]
    knobs = Knobs(len(table["t"]))
    place = np.flatnonzero(np.isin(table["id"], list(stalls)))
    stalled = np.zeros(len(table["t"]), bool)
    stalled[place] = True
    knobs.put("stall", 1.0, stalled, np.array([stalls[i] for i in table["id"][place].tolist()]))
    for fault in faults:
        turned(world.product, table, knobs, fault, draws)
    done = Room(world.product, world.weather, table, knobs, draws).run()
    return frame_of(world.product, table, knobs, draws, done)


def _stalls(world: World) -> dict[int, float]:
    """Single calls that hang: the step, and how many times longer it takes."""
    table, rng = world.table, world.rng(4)
    usual_s = np.zeros(len(table["t"]))
    for m, model in enumerate(world.product.models):
        mine = table["model"] == m
        usual_s[mine] = busy_s(model, table["n_in"][mine], table["n_out"][mine])
    most_s = np.array([site.timeout_s for site in world.product.sites])[table["site"]] * 0.75
    scheduled = np.array([site.cron is not None for site in world.product.sites])[table["site"]]
    able = (usual_s > 0.35) & (usual_s * 10 < most_s) & (table["t"] > world.warmup * DAY_S) & ~scheduled
    picked = rng.choice(np.flatnonzero(able), POINTS, replace=False)
    factor = np.minimum(rng.uniform(9, 16, POINTS), most_s[picked] / usual_s[picked])
    return dict(zip(picked.tolist(), factor.tolist(), strict=True))


def _fair(world: World, faults: list[Fault], stalls: dict[int, float]) -> list[Fault]:
    """The faults that can be told from nothing, some of them made harder for it."""
    for attempt in range(3):
        frame = run_of(world, faults, stalls)
        weak = [fault for fault in faults if not _seen(world, fault, faults, frame)]
        if not weak:
            return faults
        if attempt < 2:
            for fault in weak:
                fault.boost *= BOOST
        else:
            faults = [fault for fault in faults if fault not in weak]
    return faults


def _seen(world: World, fault: Fault, faults: list[Fault], frame: pd.DataFrame) -> bool:
    """Whether a root metric of the fault's slice stands out, the way it should; keeps what it found."""
    rows = frame[_selected(frame, fault.slice)]
    busy = [(other.since, other.until + 3600) for other in faults if other is not fault]
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4)
    if KINDS[fault.kind].place == "cron":
        cron = world.product.sites[fault.site].cron
        assert cron is not None, "a fault of a cron strikes a site with one"
        weekdays = cron.weekdays
    fault.effects = fairness.judge(rows, fault.since, fault.until, busy, world.product.days, weekdays)
    kind = KINDS[fault.kind]
    right = {
        name: abs(z) for name, (z, _) in fault.effects.items() if name in kind.roots and (z < 0) == (name in kind.down)
    }
    fault.roots = tuple(name for name in kind.roots if right.get(name, 0) >= fairness.TELLING)
    return max(right.values(), default=0.0) >= fairness.NEEDED[fault.level]


def _selected(frame: pd.DataFrame, columns: dict[str, str]) -> np.ndarray:
    mask = np.ones(len(frame), bool)
    for name, value in columns.items():
        mask &= (frame[name] == value).to_numpy()
    return mask


def _told(
    world: World, faults: list[Fault], frame: pd.DataFrame, without: pd.DataFrame, stalls: dict[int, float], quiet: bool
) -> Case:
    """Labels and truth."""
    incidents, labels = [], []
    for fault in faults:
        struck, lost = _struck(world, fault, frame, without)
        labels += [_labels(struck, fault, removed=False), _labels(lost, fault, removed=True)]
        same = without[without.id.isin(set(struck.id))]
        moved = fairness.consequences(struck, same) if len(same) else set()
        kind = KINDS[fault.kind]
        incidents.append({
            "id": fault.id, "kind": fault.kind, "level": LEVELS[fault.level],
            "start": stamp(world.product, fault.since / 60), "end": stamp(world.product, fault.until / 60),
            "slice": fault.slice, "metrics": list(fault.roots),
            "related": sorted((moved | set(kind.roots)) - set(fault.roots)),
            "direction": "down" if "call_count" in kind.down else "up", "category": kind.category,
            "affected_calls": len(struck) + len(lost), "boost": round(fault.boost, 2),
            "effects": {name: (round(float(z), 1), round(float(r), 3)) for name, (z, r) in fault.effects.items()},
        })  # fmt: skip
    truth = {
        "meta": _meta(world, frame, quiet), "incidents": incidents,
        "points": _points(world, frame, stalls),
        "negatives": _negatives(world),
    }  # fmt: skip
    empty = _labels(frame.iloc[:0], Fault(id="", kind="", level=0, since=0, until=0), removed=False)
    traces = frame.drop(columns=["id", "call", "attempt", "t"])
    traces["error_type"] = traces.error_category
    return Case(traces=traces, labels=pd.concat([empty, *labels], ignore_index=True), truth=truth)


def _struck(
    world: World, fault: Fault, frame: pd.DataFrame, without: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that the fault touched, and rows that are missing because of it."""
    table = world.table
    own = placed(world.product, table, fault)
    around = np.isin(table["call"], table["call"][own]) & (table["step"] < 0) & KINDS[fault.kind].parents
    ids = set(table["id"][own | around].tolist())
    lasting = (frame.t >= fault.since - 60) & (frame.t < fault.until + 60)
    # What a fault adds has no place in the table without it.
    added = lasting & (frame.id >= len(table["t"])) & _belongs(world, fault, frame)
    struck = frame[frame.id.isin(ids) | added]
    if fault.kind == "wrong_routing":
        struck = struck[_selected(struck, fault.slice)]
    calls = set(table["call"][own].tolist())
    lost = without[without.call.isin(calls) & ~without.id.isin(set(frame.id))]
    return struck, lost


def _belongs(world: World, fault: Fault, frame: pd.DataFrame) -> np.ndarray:
    if fault.site < 0:
        return np.zeros(len(frame), bool)
    site = world.product.sites[fault.site]
    ops = {step.op for step in site.steps} | {site.root}
    return frame.operation_type.isin(ops).to_numpy()


def _labels(rows: pd.DataFrame, fault: Fault, *, removed: bool) -> pd.DataFrame:
    names = [
        "span_id", "start_time", "trace_id", "operation_type", "model_name", "model_provider", "user_id", "session_id",
        "app_version",
    ]  # fmt: skip
    return rows[names].assign(incident=fault.id, removed=removed)


def _meta(world: World, frame: pd.DataFrame, quiet: bool) -> dict[str, Any]:
    days = world.product.days
    return {
        "generator": "arrivals", "seed": world.seed, "world": world.product.kind, "suite": "quiet" if quiet else "full",
        "days": days, "eval_start": stamp(world.product, world.warmup * MINUTES),
        "eval_end": stamp(world.product, days * MINUTES), "rows": len(frame),
    }  # fmt: skip


def _points(world: World, frame: pd.DataFrame, stalls: dict[int, float]) -> list[dict[str, Any]]:
    """Stalled calls that came through."""
    rows = frame[frame.id.isin(set(stalls)) & (frame.status == "ok") & (frame.t >= world.warmup * DAY_S)]
    metrics = ["duration_ms", "inference_time_ms", "ttft_ms", "tokens_per_second"]
    return [
        {"trace_id": row.trace_id, "span_id": row.span_id, "time": str(row.start_time),
         "operation_type": row.operation_type, "metrics": metrics}
        for row in rows.itertuples()
    ]  # fmt: skip


def _negatives(world: World) -> list[dict[str, Any]]:
    """Legitimate oddities, for telling what a false alarm was about."""
    product, story = world.product, world.story
    at = lambda minute: stamp(product, minute)  # noqa: E731
    op = lambda s: {"operation_type": product.sites[s].steps[main(product.sites[s])].op}  # noqa: E731
    day, end = story.holiday[1] * MINUTES, product.days * MINUTES
    out: list[dict[str, Any]] = [
        {"name": "holiday", "start": at(day - 720), "end": at(day + MINUTES + 720), "slice": {}},
        {
            "name": "deploy",
            "start": at(story.deploy[1]),
            "end": at(story.deploy[1] + MINUTES),
            "slice": op(story.deploy[0]),
        },
        {"name": "growth", "start": at(0), "end": at(end), "slice": op(story.growth), "metrics": ["call_count"]},
        {"name": "campaign", "start": at(story.spike[1]), "end": at(story.spike[2]), "slice": op(story.spike[0])},
    ]
    first = world.warmup * MINUTES
    out += [
        {"name": "hiccup", "start": at(begin), "end": at(until), "slice": {"model_name": product.models[model].name}}
        for model, begin, until in world.weather.hiccups
        if begin >= first
    ]
    for s, site in enumerate(product.sites):
        due = run_starts(product, site.cron) if site.cron else []
        runs = [(minute, minute + site.cron.minutes) for minute in due if site.cron and minute >= first]
        out += [
            {"name": "scheduled run", "start": at(begin), "end": at(until), "slice": op(s)} for begin, until in runs
        ]
    return out
