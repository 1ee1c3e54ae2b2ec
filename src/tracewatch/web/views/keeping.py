"""What is kept of a project: how much and since when, its keys, its prices and what detection has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracewatch.access import Caller, keys_of
from tracewatch.errors import BadDeed
from tracewatch.judge import WARMUP_DAYS
from tracewatch.live.baselines import DETECTOR
from tracewatch.live.pulse import Pulse, pulse
from tracewatch.live.retaining import projects_of
from tracewatch.records import Anomaly, ApiKey, Baseline, Incident, PriceOverride, Project, Span
from tracewatch.stores.base import Filter, Store
from tracewatch.watch import overrides_of
from tracewatch.web.views.rolled import kept

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What detection has learned of a project. Times are UTC epoch seconds."""

    calls: int
    until: float | None
    at: float
    size: int
    """Bytes."""
    days: int
    of_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of a project. Times are UTC epoch seconds."""

    project: Project
    spans: int
    findings: int
    incidents: int
    first: float | None
    last: float | None
    disk: Mapping[str, str]
    """What the store says of itself: its kind, where it lies, its size."""
    keys: Sequence[ApiKey]
    prices: Sequence[PriceOverride]
    learned: Learned | None
    pulse: Pulse
    others: tuple[str, ...]
    """Other projects in the same database; only for who may see them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What deleting would take: spans and the whole days they span."""

    before: float
    spans: int
    days: int


def what_is_kept(store: Store, caller: Caller, now: float) -> Kept:
    """Everything about a project that its settings show."""
    reach = store.extent(Span, caller.where)
    first, last = reach or (None, None)
    own = [Filter("project", "=", (caller.project,))]
    return Kept(
        project=described(store, caller.project, now),
        spans=kept(store, caller, ("spans",), now, lambda: store.count(Span, caller.where)),
        findings=kept(store, caller, ("findings",), now, lambda: store.count(Anomaly, own)),
        incidents=kept(store, caller, ("incidents",), now, lambda: store.count(Incident, own)),
        first=first,
        last=last,
        disk=store.describe(),
        keys=keys_of(store, caller.project),
        prices=overrides_of(store, caller.project),
        learned=_learned(store, caller.project, first),
        pulse=pulse(store, caller.project, now),
        others=others(store, caller),
    )


def described(store: Store, name: str, now: float) -> Project:
    """What a project says of itself; one that says nothing has the defaults."""
    found = store.get(Project, {"project": name})
    return found if isinstance(found, Project) else Project(project=name, created_at=now)


def change(store: Store, name: str, now: float, *, content: bool | None = None, days: int | None = None) -> None:
    """Sets whether texts may be kept, or for how many days spans are (0: for good)."""
    project = described(store, name, now)
    if content is not None:
        project = replace(project, content_allowed=content)
    if days is not None:
        project = replace(project, retention_days=days or None)
    store.put([project])


def loss(store: Store, caller: Caller, days: int, now: float) -> Loss:
    """What deleting the spans older than so many days would take. Raises BadDeed where others would lose theirs."""
    before = (now - days * DAY_S) // 3600 * 3600
    older = Filter("start_time", "<", (before,))
    if store.exists(Span, [Filter("project", "!=", (caller.project,)), older]):
        raise BadDeed(why="other projects keep spans of that age in the same database, and they would go as well")
    mine = [*caller.where, older]
    reach = store.extent(Span, mine)
    length = 0 if reach is None else max(int(-(-(reach[1] - reach[0]) // DAY_S)), 1)
    return Loss(before=before, spans=store.count(Span, mine), days=length)


def _learned(store: Store, project: str, first: float | None) -> Learned | None:
    found = store.get(Baseline, {"project": project, "detector": DETECTOR, "part": 0})
    if not isinstance(found, Baseline):
        return None
    until = found.learned_until
    days = int(max(until - first, 0.0) // DAY_S) if until is not None and first is not None else 0
    return Learned(
        calls=found.learned_rows, until=until, at=found.updated_at, size=found.size, days=days, of_days=int(WARMUP_DAYS)
    )


def others(store: Store, caller: Caller) -> tuple[str, ...]:
    """The other projects with calls; a key opens none of them."""
    return () if caller.key is not None else tuple(each for each in projects_of(store) if each != caller.project)
