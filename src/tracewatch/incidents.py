"""From alerts to incidents: one per cause, from its opening to its end. Pure: no clock, no store.

The same alerts and endings in any batches give the same changes. State is bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from tracewatch.course import BACK, CLOSED, GROWING, GROWTH, OPEN, QUIET, RECOVERING, Change, Course
from tracewatch.detectors.adaptive import Alert, Ending, Return
from tracewatch.homes import Homes
from tracewatch.kinship import SAME_CALLS
from tracewatch.records import Anomaly, iso
from tracewatch.severity import severity_of

__all__ = ["Change", "Grouping", "identity", "severity_of"]

MOST_OPEN = 200  # beyond, the one that has not changed for longest is closed: nobody reads so many
MOST_CLOSED = 1000


class Grouping:
    """Which incidents of a project are open, and which were within a day."""

    def __init__(self, project: str = "default") -> None:
        self.project = project
        self.incidents: dict[str, Course] = {}
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
        there = Homes(self.incidents.values()) if alerts else None
        homes = [(*there.of(each), each) for each in alerts] if there else []
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

    def _beside(self, alert: Alert, sure: int, joined: Mapping[str, Sequence[Alert]]) -> Course | None:
        """The incident with which alerts of the same moment tie an alert, if that is surer than what was known."""
        best, most = None, sure
        if sure == SAME_CALLS:
            return None
        for id_, some in joined.items():
            incident = self.incidents[id_]
            kin = incident.kinship(alert, some)
            if kin > most:
                best, most = incident, kin
                if kin == SAME_CALLS:
                    break
        return best

    def _open(self, alert: Alert) -> Course:
        id_ = identity(self.project, alert, "incident")
        incident = Course(id=id_, root=alert, severity=severity_of(alert), updated_at=alert.detected_at)
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

    def _return(self, incident: Course, back: Return, of_root: bool) -> Iterator[Change]:
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


def closes_at(findings: Sequence[Anomaly]) -> float | None:
    """When an incident with these findings closes if nothing more comes; None while one of them lasts."""
    ends = [each.ended_at for each in findings]
    if not ends or None in ends:
        return None
    return max(*(end for end in ends if end is not None), *(each.detected_at for each in findings)) + QUIET


def identity(project: str, alert: Alert, noun: str = "finding") -> str:
    """An id of an alert, or of the incident it opened, made from what was found: a replay gives the same one."""
    calls = (f"{name}={value}" for name, value in sorted(alert.slice.items()))
    parts = (noun, project, alert.metric, alert.direction, alert.kind, iso(alert.detected_at), *calls, *alert.trace_ids)
    text = "\x1f".join(parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
