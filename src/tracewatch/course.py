"""One incident in its course: what joins it, where it stands, and when it is over. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tracewatch.detectors.adaptive import Alert
from tracewatch.kinship import HOUR, SAME_CALLS, Calls, apart, began, calls_of, contains, kinship, leads, move, nested
from tracewatch.records import SEVERITIES
from tracewatch.severity import severity_of

EARLY = HOUR  # after its opening what hurts more may still take the front; later only a cause may
SETTLED = HOUR / 2  # healed for so long: recovering. Back earlier, it has only crossed the line and come back
CALM = HOUR  # without growth: no longer growing
QUIET = 2 * HOUR  # with everything healed: closed
BACK = 24 * HOUR  # within which the same movement is the same incident; the engine remembers as long
SAME_SIZE = 4.0  # times the difference told before, or a quarter: beyond, it is another movement
WORSE = 1.5  # times the log move told before
MOST_MEMBERS = 50  # findings kept of an incident; more are counted

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
    figures: Alert
    """The finding whose figures stand for it: of the root's movement on the root's calls the one that went furthest."""
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
class Course:
    """An incident that is open, or was within a day."""

    id: str
    root: Alert
    severity: str
    updated_at: float
    members: list[Alert] = field(default_factory=list)
    by_calls: dict[Calls, list[Alert]] = field(default_factory=dict)  # the members once more, by their slice
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

    def kinship(self, alert: Alert, some: Iterable[Alert]) -> int:
        """How sure it is that an alert has the cause of some members. Through symptoms only their own calls count.

        Else causes would chain: each symptom of one may be a symptom of another as well.
        """
        best, calls = 0, calls_of(alert)
        for each in some:
            of_root = self.of_root(each)
            if not of_root and not nested(calls_of(each), calls):
                continue  # as it could not be SAME_CALLS
            kin = kinship(each, alert)
            if kin == SAME_CALLS:
                return kin
            best = max(best, kin if of_root else 0)
        return best

    def ended_at(self, some: Iterable[Alert]) -> float | None:
        """When the last of some members ended; None while one lasts."""
        ends = [self.ended.get(each.story) for each in some]
        return None if None in ends else max(end for end in ends if end is not None)

    @property
    def figures(self) -> Alert:
        """Of the root's movement, on its calls or on more, the finding that went furthest: what came at the worst."""
        if self.root.kind == "point":
            return self.root
        same = [each for each in self.members if self.of_root(each) and contains(each.slice, self.root.slice)]
        return max([self.root, *same], key=move)

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
            self.by_calls.setdefault(calls_of(alert), []).append(alert)
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
            figures=self.figures, members=tuple(self.members), joined=tuple(joined), findings=self.findings,
            since=began(self.root), detected=self.members[0].detected_at, closed=self.over_at,
            accepted=self.accepted, reopened=self.reopened,
            recovering=self.healed_at if self.state in (RECOVERING, CLOSED) else None,
        )  # fmt: skip
