"""Why calls no longer find their input in the cache: a prefix that changed, or entries that expired sooner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause
from tracewatch.slices import Bools, Floats

SOON_S = 120.0  # after the previous call of the kind no cache has expired: providers keep entries for five minutes
FEWEST = 8  # calls on either side
NEARLY_ALL = 0.9  # of the calls must have been read, or the call before is not known
KEPT = 0.7  # of the usual hit rate: as good as before


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """The share of calls that found anything in the cache, soon after the previous call of their kind and later."""

    soon: float
    usual_soon: float
    later: float | None
    usual_later: float | None

    @property
    def expired(self) -> bool:
        """Whether calls that come soon still hit as often: then it is the lifetime of the entries."""
        return self.soon >= KEPT * self.usual_soon


def hits(calls: Calls) -> Hits | None:
    """How often the slice's calls hit the cache, now and usually; None where too few of them come soon after another.

    A kind is a session and operation, else (for calls without a session) an operation and model.
    """
    idle = _idle(calls)
    reported = np.isfinite(calls.numbers("cache_read_input_tokens"))
    hit = calls.numbers("cache_read_input_tokens") > 0
    soon, later = idle <= SOON_S, np.isfinite(idle) & (idle > SOON_S)
    now, then = calls.now & reported, calls.then & reported
    if min((now & soon).sum(), (then & soon).sum()) < FEWEST or calls.share_read < NEARLY_ALL:
        return None
    return Hits(
        soon=float(hit[now & soon].mean()),
        usual_soon=float(hit[then & soon].mean()),
        later=_rate(hit, now & later),
        usual_later=_rate(hit, then & later),
    )


def document(found: Hits) -> dict[str, Any]:
    """The hits, ready for JSON."""
    return {
        "soon_s": SOON_S,
        "soon": found.soon,
        "usual_soon": found.usual_soon,
        "later": found.later,
        "usual_later": found.usual_later,
        "expired": found.expired,
    }


def causes(found: Hits) -> Iterator[Cause]:
    """Which of the two it is, in a sentence."""
    within = saying.lasting(SOON_S)
    rates = f"{found.soon:.0%} hit, usually {found.usual_soon:.0%}"
    if not found.usual_soon:
        return
    if found.expired:
        text = f"only calls more than {within} after the one before miss: entries of the cache expire sooner"
        yield Cause(kind="cache_lifetime", weight=0.75, text=text)
    else:
        why = "the prompt starts differently, or nothing is kept"
        text = f"even calls within {within} of the one before miss ({rates}): {why}"
        yield Cause(kind="cache_prefix", weight=0.75, text=text)


def _idle(calls: Calls) -> Floats:
    """Seconds since the previous call of the same kind, among the calls that were read; infinite for the first."""
    sessions, names = calls.rows.codes("session_id")
    operations, models = calls.coded("operation_type")[0], calls.coded("model_name")[0]
    named = sessions < len(names) - 1
    kinds = np.where(named, sessions, len(names) + models) * (int(operations.max(initial=0)) + 1) + operations
    times = calls.numbers("start_time")
    order = np.lexsort((times, kinds))
    gaps = np.diff(times[order], prepend=-np.inf)
    gaps[1:][np.diff(kinds[order]) != 0] = np.inf
    idle: Floats = np.empty(len(times))
    idle[order] = gaps
    return idle


def _rate(hit: Bools, which: Bools) -> float | None:
    return float(hit[which].mean()) if which.sum() >= FEWEST else None
