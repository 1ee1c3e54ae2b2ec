"""From alerts to incidents: one per cause, from its opening to its end. Pure: no clock, no store.

The same alerts and endings in any batches give the same changes. State is bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.kinship import HOUR, OTHER_CALLS, SAME_CALLS, apart, began, contains, kinship, leads, move
from tracewatch.records import SEVERITIES, iso
from tracewatch.severity import severity_of

__all__ = ["Change", "Grouping", "identity", "severity_of"]

EARLY = HOUR  # after its opening what hurts more may still take the front; later only a cause may
SETTLED = HOUR / 2  # healed for so long: recovering. Back earlier, it has only crossed the line and come back
CALM = HOUR  # without growth: no longer growing
QUIET = 2 * HOUR  # with everything healed: closed
BACK = 24 * HOUR  # within which the same movement is the same incident; the engine remembers as long
SAME_SIZE = 4.0  # times the difference told before, or a quarter: beyond, it is another movement
WORSE = 1.5  # times the log move told before
MOST_MEMBERS = 50  # findings kept of an incident; more are counted
MOST_OPEN = 200  # beyond, the one that has not changed for longest is closed: nobody reads so many
MOST_CLOSED = 1000

OPEN, GROWING, RECOVERING, CLOSED = "open", "growing", "recovering", "closed"
GROWTH = ("symptom", "wider", "worse")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an incident is from a moment on, and what made it so. Times are UTC epoch seconds."""

    at: float
    what: str
    """`opened`, `symptom`, `wider`, `worse`, `joined`, `steady`, `recovering`, `back`, `closed`, `accepted` (the new
    level is now normal) or `reopened`."""
    id: str
    state: str
    """`open`, `growing`, `recovering` or `closed`."""
    severity: str
    """How bad it has been at its worst."""
    root: Alert
    """The finding that stands for it: the cause, as far as the metrics tell, or what hurts most."""
    members: tuple[Alert, ...]
    """The findings folded under it, the root included, in order; 50 at most."""
    joined: tuple[Alert, ...]
    """Those that are new in this change."""
    findings: int
    """How many there were in all."""
    since: float
    """When it began, as far as can be told."""
    detected: float
    """When it was first known."""
    recovering: float | None
    """Since when it looks healed."""
    closed: float | None
    """When it was over: at its last ending, which is earlier than `at`."""
    accepted: bool
    """Whether it did not heal: the new level is now normal."""
    reopened: int
    """How often it came back after it was closed."""


@dataclass(slots=True, kw_only=True)
class _Incident:
    """An incident that is open, or was within a day."""

    id: str
    root: Alert
    severity: str
    updated_at: float
    members: list[Alert] = field(default_factory=list)
    findings: int = 0
    ended: dict[int, float] = field(default_factory=dict)  # story -> when
    state: str = OPEN
    heard_at: float = 0.0  # of the last alert, kept or not
    back_at: float = 0.0
    grew_at: float = 0.0
    closed_at: float | None = None  # when that became known
    over_at: float | None = None
    accepted: bool = False
    reopened: int = 0

    def of_root(self, alert: Alert) -> bool:
        """Whether an alert is of the movement that the root stands for, on whichever calls."""
        return (alert.metric, alert.direction) == (self.root.metric, self.root.direction)

    def kinship(self, alert: Alert, some: Sequence[Alert]) -> int:
        """How sure it is that an alert has the cause of some members. Through symptoms only their own calls count.

        Else causes would chain: each symptom of one may be a symptom of another as well.
        """
        sure = ((kinship(each, alert), each) for each in some)
        return max((kin for kin, each in sure if kin == SAME_CALLS or self.of_root(each)), default=0)

    def ended_at(self, some: Iterable[Alert]) -> float | None:
        """When the last of some members ended; None while one lasts."""
        ends = [self.ended.get(each.story) for each in some]
        return None if None in ends else max(end for end in ends if end is not None)

    @property
    def healed_at(self) -> float | None:
        """When the root's movement ended."""
        return self.ended_at(filter(self.of_root, self.members))

    def due(self) -> tuple[float, str] | None:
        """When something happens by time alone, and what."""
        if self.state == CLOSED:
            return None
        healed, over, coming = self.healed_at, self.ended_at(self.members), list[tuple[float, str]]()
        if over is not None:
            coming.append((max(over, self.heard_at) + QUIET, "closed"))
        if healed is not None and self.state != RECOVERING:
            coming.append((max(healed, self.back_at) + SETTLED, "recovering"))
        if self.state == GROWING:
            coming.append((self.grew_at + CALM, "steady"))
        return min(coming, default=None)

    def join(self, alert: Alert) -> str:
        """Fold an alert in; what that changes."""
        why = self.growth(alert) if self.members else "opened"
        self.findings, self.heard_at = self.findings + 1, alert.detected_at
        self.severity = max(self.severity, severity_of(alert), key=SEVERITIES.index)
        if len(self.members) < MOST_MEMBERS:
            self.members.append(alert)
            if leads(alert, self.root, alert.detected_at - self.members[0].detected_at <= EARLY):
                self.root = alert
        return why

    def growth(self, alert: Alert) -> str:
        """What a further alert adds: a symptom, calls, size, or nothing."""
        if alert.metric not in {each.metric for each in self.members}:
            return "symptom"
        calls, more = self.root.slice, alert.slice
        if apart(calls, more) or (contains(more, calls) and more != calls):
            return "wider"
        told = max(move(each) for each in self.members if each.metric == alert.metric)
        return "worse" if move(alert) >= WORSE * told else "joined"

    def reopen(self, at: float) -> None:
        """It is back after it was closed."""
        self.state, self.closed_at, self.over_at, self.back_at = OPEN, None, None, at
        self.reopened += 1

    def close(self, at: float) -> None:
        """It is over, which is known later than it was so."""
        self.state, self.closed_at, self.over_at = CLOSED, at, max(self.ended.values(), default=at)

    def same_again(self, alert: Alert) -> bool:
        """Whether an alert is the movement of its root within a day of its end: on the same calls, about as large."""
        root = self.root
        if self.accepted or not self.of_root(alert) or "point" in (root.kind, alert.kind):
            return False
        size = abs(alert.observed - alert.expected) / max(abs(root.observed - root.expected), 1e-12)
        nested = contains(root.slice, alert.slice) or contains(alert.slice, root.slice)
        recent = alert.detected_at - (self.over_at or 0.0) <= BACK
        return nested and recent and 1 / SAME_SIZE <= size <= SAME_SIZE

    def change(self, at: float, what: str, joined: Sequence[Alert] = ()) -> Change:
        """How it stands from now on."""
        self.updated_at = at
        return Change(
            at=at, what=what, id=self.id, state=self.state, severity=self.severity, root=self.root,
            members=tuple(self.members), joined=tuple(joined), findings=self.findings, since=began(self.root),
            detected=self.members[0].detected_at, closed=self.over_at, accepted=self.accepted, reopened=self.reopened,
            recovering=self.healed_at if self.state in (RECOVERING, CLOSED) else None,
        )  # fmt: skip


class Grouping:
    """Which incidents of a project are open, and which were within a day."""

    def __init__(self, project: str = "default") -> None:
        self.project = project
        self.incidents: dict[str, _Incident] = {}
        self.of: dict[int, str] = {}  # story -> incident

    def take(self, alerts: Sequence[Alert], endings: Sequence[Ending | Return], now: float) -> list[Change]:
        """What changes by what an engine said since the last call, in its order, and by the time that passed until now.

        Every alert is in `joined` of exactly one change.
        """
        out: list[Change] = []
        told = {at: list(some) for at, some in groupby(alerts, key=attrgetter("detected_at"))}
        ended = {at: list(some) for at, some in groupby(endings, key=attrgetter("at"))}
        for at in sorted({*told, *ended}):
            out += self._pass(at)
            out += self._add(at, told.get(at, ()))
            out += self._end(at, ended.get(at, ()))
        return [*out, *self._pass(now)]

    def _pass(self, now: float) -> Iterator[Change]:
        """What time alone changes until now, in order of time."""
        while True:
            coming = ((due, x) for x in self.incidents.values() if (due := x.due()) and due[0] <= now)
            (at, what), incident = min(coming, key=lambda each: each[0][0], default=((0.0, ""), None))
            if incident is None:
                break
            if what == "closed":
                incident.close(at)
            else:
                incident.state = RECOVERING if what == "recovering" else OPEN
            yield incident.change(at, what)
        for id_ in [x.id for x in self.incidents.values() if x.closed_at is not None and now - x.closed_at > BACK]:
            self._drop(id_)

    def _add(self, at: float, alerts: Sequence[Alert]) -> Iterator[Change]:
        """Each alert into its incident; one change for each of these, by the first of its reasons."""
        joined: dict[str, list[Alert]] = {}
        reasons: dict[str, list[str]] = {}
        homes = [(*self._home(each), each) for each in alerts]
        # The surest first: it may be what ties the others to the same incident.
        for sure, home, alert in sorted(homes, key=lambda each: -each[0]):
            incident = self._beside(alert, sure, joined) or home or self._open(alert)
            why = reasons.setdefault(incident.id, [])
            if incident.state == CLOSED:
                incident.reopen(at)
                why.append("reopened")
            why.append(incident.join(alert))
            if alert in incident.members:
                self.of[alert.story] = incident.id
            joined.setdefault(incident.id, []).append(alert)
        for id_, some in joined.items():
            incident = self.incidents[id_]
            what = next((each for each in reasons[id_] if each != "joined"), "joined")
            if what in GROWTH and incident.state in (OPEN, GROWING):
                incident.state, incident.grew_at = GROWING, at
            yield incident.change(at, what, some)
        yield from self._make_room(at)

    def _home(self, alert: Alert) -> tuple[int, _Incident | None]:
        """How sure it is that an alert has the cause of some incident, and which: the surest, then the latest."""
        best, most = None, (0, 0.0)
        for incident in self.incidents.values():
            if incident.state != CLOSED:
                sure = incident.kinship(alert, incident.members)
            else:
                sure = OTHER_CALLS * incident.same_again(alert) if alert.kind != "point" else 0
            if sure and (sure, incident.updated_at) >= most:
                best, most = incident, (sure, incident.updated_at)
        return most[0], best

    def _beside(self, alert: Alert, sure: int, joined: Mapping[str, Sequence[Alert]]) -> _Incident | None:
        """The incident with which alerts of the same moment tie an alert, if that is surer than what was known."""
        best, most = None, sure
        for id_, some in joined.items():
            incident = self.incidents[id_]
            kin = incident.kinship(alert, some)
            if kin > most:
                best, most = incident, kin
        return best

    def _open(self, alert: Alert) -> _Incident:
        id_ = identity(self.project, alert, "incident")
        incident = _Incident(id=id_, root=alert, severity=severity_of(alert), updated_at=alert.detected_at)
        self.incidents[id_] = incident
        return incident

    def _end(self, at: float, endings: Sequence[Ending | Return]) -> Iterator[Change]:
        """Movements that ended, or are back. After a level was accepted nothing of it is news."""
        for each in endings:
            incident = self.incidents.get(self.of.get(each.story, ""))
            if incident is None or incident.accepted:
                continue
            of_root = any(incident.of_root(x) for x in incident.members if x.story == each.story)
            if isinstance(each, Return):
                yield from self._return(incident, each, of_root)
            else:
                incident.ended[each.story] = at
                normal = each.accepted and of_root and incident.healed_at is not None
                if normal and incident.state != CLOSED:
                    incident.accepted = True
                    incident.close(at)
                    yield incident.change(at, "accepted")

    def _return(self, incident: _Incident, back: Return, of_root: bool) -> Iterator[Change]:
        """A symptom that comes back alone does not reopen an incident: its cause has not come back."""
        if incident.state == CLOSED and not of_root:
            return
        incident.ended.pop(back.story, None)
        if incident.state == CLOSED:
            incident.reopen(back.at)
            yield incident.change(back.at, "reopened")
        elif incident.state == RECOVERING and of_root:
            incident.state = OPEN
            yield incident.change(back.at, "back")

    def _make_room(self, at: float) -> Iterator[Change]:
        """Close and drop what is beyond the bounds."""
        lasting = sorted((x for x in self.incidents.values() if x.state != CLOSED), key=attrgetter("updated_at"))
        for incident in lasting[: max(len(lasting) - MOST_OPEN, 0)]:
            incident.close(at)
            yield incident.change(at, "closed")
        closed = [x.id for x in self.incidents.values() if x.state == CLOSED]
        for id_ in closed[: max(len(closed) - MOST_CLOSED, 0)]:
            self._drop(id_)

    def _drop(self, id_: str) -> None:
        for member in self.incidents.pop(id_).members:
            self.of.pop(member.story, None)


def identity(project: str, alert: Alert, noun: str = "finding") -> str:
    """An id of an alert, or of the incident it opened, made from what was found: a replay gives the same one."""
    calls = (f"{name}={value}" for name, value in sorted(alert.slice.items()))
    parts = (noun, project, alert.metric, alert.direction, alert.kind, iso(alert.detected_at), *calls, *alert.trace_ids)
    text = "\x1f".join(parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
