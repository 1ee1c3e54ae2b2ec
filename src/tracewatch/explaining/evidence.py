"""Everything that is found out about the calls of a story, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracewatch.attribution import Attribution
from tracewatch.bridges import Bridge
from tracewatch.explaining import (
    alongside,
    blamed,
    caching,
    changed,
    course,
    examples,
    failing,
    money,
    sizes,
    volume,
    waits,
    where,
)
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause, Story
from tracewatch.records import iso
from tracewatch.stores.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found out about a story's calls."""

    slices: Attribution
    cost: Bridge | None
    latency: Bridge | None
    child: blamed.Child | None
    failures: list[failing.Failures]
    primary: failing.Primary | None
    changes: changed.Changed
    moved: list[alongside.Moved]
    sizes: list[sizes.Size]
    hits: caching.Hits | None
    habit: volume.Habit | None
    burst: volume.Burst | None
    people: volume.People | None
    shown: examples.Examples


def find(store: Store, project: str, calls: Calls) -> Findings:
    """What there is to find out about a story of its family."""
    family = calls.measure.family
    slices = where.attributed(calls)
    narrowed = where.matching(calls, slices.best.slice) if slices.best else calls.inside
    known = where.matching(calls, where.seen_before(calls, slices.best.slice)) if slices.best else calls.inside
    shown = examples.examples(calls, narrowed)
    quiet = family == "volume" and calls.story.direction == "down"
    slow = [each.trace_id for each in shown.clearest] if family == "time" else []
    return Findings(
        slices=slices,
        cost=money.bridge_of(calls),
        latency=waits.bridge_of(calls),
        child=blamed.child(store, project, calls, slow) if slow else None,
        failures=failing.failures(calls),
        primary=failing.primary(calls),
        changes=changed.changes(calls, known),
        moved=alongside.moved(calls),
        sizes=sizes.sizes(calls),
        hits=caching.hits(calls) if family == "cache" else None,
        habit=volume.habit(store, project, calls) if quiet else None,
        burst=volume.burst(calls) if family == "volume" and not quiet else None,
        people=volume.people(calls) if family == "volume" and not quiet else None,
        shown=shown,
    )


def document(calls: Calls, story: Story, found: Findings, because: list[Cause]) -> dict[str, Any]:
    """Everything behind it: see docs/explain.md."""
    return {
        "version": 1,
        "metric": _metric(calls, story),
        "because": [{"kind": each.kind, "weight": each.weight, "text": each.text} for each in because],
        "compared": compared(calls),
        "slices": where.document(calls, found.slices),
        "cost": _bridge(found.cost, "USD"),
        "latency": _bridge(found.latency, "ms"),
        "child": blamed.document(found.child) if found.child else None,
        "failures": failing.document(found.failures, found.primary),
        "changes": changed.document(found.changes),
        "sizes": sizes.document(found.sizes),
        "moved": alongside.document(found.moved),
        "cache": caching.document(found.hits) if found.hits else None,
        "volume": volume.document(found.habit, found.burst, found.people),
        "course": course.document(calls),
        "examples": examples.document(found.shown),
    }


def _metric(calls: Calls, story: Story) -> dict[str, Any]:
    """What the story is about, in numbers."""
    return {
        "name": story.metric,
        "family": calls.measure.family,
        "unit": calls.measure.unit,
        "direction": story.direction,
        "observed": story.observed,
        "expected": story.expected,
        "lower": story.lower,
        "upper": story.upper,
    }


def compared(calls: Calls) -> dict[str, Any]:
    """Which calls were compared with which."""
    return {
        "since": iso(calls.story.since),
        "until": iso(calls.until),
        "calls": round(calls.weight(calls.now)),
        "usual_calls": int(calls.then.sum()),
        "windows": [{"since": iso(begin), "until": iso(end)} for begin, end in calls.windows],
        "same_hours": calls.same_hours,
        "share_read": calls.share_read,
    }


def _bridge(found: Bridge | None, unit: str) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "unit": unit,
        "before": found.before,
        "after": found.after,
        "parts": [
            {"name": part.name, "change": part.change, "before": part.before, "after": part.after}
            for part in found.parts
        ],
    }
