"""What dismissals teach: the lessons of a project, what one would have hidden, and what findings were worth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from tracewatch.detectors.adaptive.intake import TICK
from tracewatch.lessons import ADAPTIVE, SAID_BY, WORSE, Movement, covers, of_finding, of_values
from tracewatch.records import Anomaly, Baseline, Deed, Incident, Lesson, column_of
from tracewatch.stores.base import Filter, Store
from tracewatch.stores.values import from_value
from tracewatch.times import DAY_S

NOISE = ("noise", "too_small", "too_short", "wrong_metric")
"""Reasons of a dismissal that say: nobody should have been told."""
TEACHES: Mapping[str, str] = {**dict.fromkeys(NOISE, "noise"), "expected": "expected"}
"""What a dismissal teaches by its reason; by any other reason it teaches nothing."""
MOST_LESSONS = 1_000
MOST_EARLIER = 200  # incidents that a preview looks at
MOST_FINDINGS = 5_000
EARLIER_S = 90 * DAY_S
NAMED = 5  # of the incidents that would have been hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What a lesson would have hidden, had it been taught before."""

    incidents: tuple[Incident, ...]
    findings: int
    """Findings of no incident."""

    def words(self) -> str:
        """That in one sentence."""
        if self.incidents:
            named = ", ".join(each.id[:8] for each in self.incidents[:NAMED])
            more = f" and {len(self.incidents) - NAMED} more" if len(self.incidents) > NAMED else ""
            return f"Would also have hidden {_counted(len(self.incidents), 'earlier incident')}: {named}{more}."
        if self.findings:
            return f"Would also have hidden {_counted(self.findings, 'earlier finding')}."
        return "Would have hidden nothing else of the last 90 days."


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What people said about what was found of a metric, or of a type."""

    metric: str
    useful: int
    """Acknowledged or resolved."""
    expected: int
    noise: int
    undecided: int
    known: int
    """Findings that nobody was told of, because of what was taught."""

    @property
    def precision(self) -> float | None:
        """The share of what people decided on that was no noise; None when that is nothing."""
        decided = self.useful + self.expected + self.noise
        return (self.useful + self.expected) / decided if decided else None


def reached(store: Store, found: Incident | Anomaly, now: float) -> float:
    """The moment up to which the calls of a project have been judged, as far as the store tells; not after `now`.

    What is said later is about later calls: a replay with the same lessons gives the same findings.
    """
    its = found.updated_at if isinstance(found, Incident) else max(found.detected_at, found.occurred_at)
    return min(max(its, judged_until(store, found.project, now)), now)


def judged_until(store: Store, project: str, now: float) -> float:
    """The same of a project; `now` where nothing was judged yet."""
    ours = [Filter("project", "=", (project,))]
    at: list[float] = []
    first = store.scan(Baseline, ["learned_until"], [*ours, Filter("part", "=", (0,))])
    at += [each for batch in first for each in batch["learned_until"].to_pylist() if each is not None]
    newest = store.page(Anomaly, [*ours, Filter("detector", "=", (ADAPTIVE,))], limit=50).records
    at += [each.detected_at for each in newest if isinstance(each, Anomaly)]
    going_on = store.page(Incident, [*ours, Filter("state", "!=", ("closed",))], limit=MOST_EARLIER).records
    at += [each.updated_at for each in going_on if isinstance(each, Incident)]
    return min(max(at, default=now), now)


def lesson_of(store: Store, found: Incident | Anomaly, deed: Deed) -> Lesson | None:
    """What a deed teaches; None when it teaches nothing."""
    teaching = TEACHES.get(deed.reason or "") if deed.verb == "dismiss" else None
    if teaching is None or deed.reason is None:
        return None
    judged = deed.done_at if deed.reached is None else deed.reached
    it = _movement(store, found)
    within = it.expected + WORSE * (it.observed - it.expected)
    return Lesson(
        project=found.project,
        id=deed.id,
        about=found.id,
        title=found.title if isinstance(found, Incident) else found.description,
        teaching=teaching,
        reason=deed.reason,
        detector=it.detector,
        metric_name=it.metric,
        direction=it.direction,
        slice=dict(it.slice),
        single=it.single,
        effect=None if deed.reason == "wrong_metric" else it.size,
        level=within if teaching == "expected" else None,
        lasted_s=_lasted(found, judged) if deed.reason == "too_short" and not it.single else None,
        since=judged,
        taught_at=deed.done_at,
        taught_by=deed.done_by,
    )


def lessons_of(store: Store, project: str, *, about: str | None = None) -> tuple[Lesson, ...]:
    """Everything that was ever taught, the newest first, or what one incident or finding taught.

    Those that were taken back are among them: what they hid while they counted is hidden in a replay, too.
    """
    where = [Filter("project", "=", (project,))] + ([Filter("about", "=", (about,))] if about else [])
    return tuple(each for each in store.page(Lesson, where, limit=MOST_LESSONS).records if isinstance(each, Lesson))


def forget(store: Store, lesson: Lesson, *, who: str, now: float, judged: float) -> None:
    """Takes a lesson back: what is found after `judged` is told again."""
    values = {"until": max(judged, lesson.since), "forgotten_at": now, "forgotten_by": who}
    store.annotate(Lesson, {"project": lesson.project, "id": lesson.id}, values)


def would_hide(store: Store, found: Incident | Anomaly, reason: str, now: float) -> Hidden:
    """What else a dismissal for that reason would have hidden in the last 90 days."""
    return each_would_hide(store, found, (reason,), now)[reason]


def each_would_hide(
    store: Store, found: Incident | Anomaly, reasons: Iterable[str], now: float
) -> Mapping[str, Hidden]:
    """What else dismissals would have hidden in the last 90 days, by their reason. What was found is read once."""
    judged = reached(store, found, now)
    lessons: dict[str, Lesson | None] = {}
    for reason in reasons:
        deed = Deed(
            project=found.project, id="", about=found.id, verb="dismiss", done_at=now, reason=reason, reached=judged
        )
        lessons[reason] = lesson_of(store, found, deed)
    taught = next((each for each in lessons.values() if each is not None), None)
    earlier = _Earlier((), ()) if taught is None else _earlier(store, found, taught, judged - EARLIER_S)
    return {
        reason: Hidden(incidents=(), findings=0) if lesson is None else _hidden(earlier, lesson, judged)
        for reason, lesson in lessons.items()
    }


def quality(store: Store, project: str) -> tuple[Worth, ...]:
    """What findings were worth by metric, those that people said most about first."""
    ours = [Filter("project", "=", (project,))]
    why: dict[str, tuple[float, str | None]] = {}
    for about, at, reason in _rows(store, Deed, ("about", "done_at", "reason"), [*ours, _is("verb", "dismiss")]):
        why[about] = max(why.get(about, (0.0, None)), (at, reason), key=lambda each: each[0])
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    names = ("id", "metric_name", "resolution_status")
    for id_, metric, status in _rows(store, Incident, names, ours):
        counts[metric][_worth(status, why.get(id_, (0.0, None))[1])] += 1
    for name, worth, count in _of_findings(store, ours, why):
        counts[name][worth] += count
    found = [
        Worth(metric=name, **{each: count[each] for each in ("useful", "expected", "noise", "undecided", "known")})
        for name, count in counts.items()
    ]
    return tuple(sorted(found, key=lambda each: (-(each.useful + each.expected + each.noise), each.metric)))


def _movement(store: Store, found: Incident | Anomaly) -> Movement:
    """What an incident or finding says; an incident without figures says what its root does."""
    if isinstance(found, Anomaly):
        return of_finding(found)
    observed, expected = found.observed, found.expected
    if observed is None or expected is None:
        root = store.get(Anomaly, {"project": found.project, "id": found.root_id})
        if isinstance(root, Anomaly):
            observed, expected = root.detected_value, root.expected_value
    return Movement(
        detector=found.detector, metric=found.metric_name, direction=found.direction, slice=dict(found.slice or {}),
        single=found.kind == "point", observed=observed or 0.0, expected=expected or 0.0, at=found.detected_at,
    )  # fmt: skip


def _lasted(found: Incident | Anomaly, judged: float) -> float:
    """How long it lasted, or has until now."""
    if isinstance(found, Incident):
        end = found.recovering_at if found.closed_at is None else found.closed_at
        length = (judged if end is None else end) - found.started_at
    else:
        length = (judged if found.ended_at is None else found.ended_at) - found.occurred_at
    return max(length, float(TICK))


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What else was found by the same detector of the same metric: incidents with their findings, or findings alone."""

    incidents: tuple[tuple[Incident, tuple[Movement, ...]], ...]
    findings: tuple[Movement, ...]


def _earlier(store: Store, found: Incident | Anomaly, taught: Lesson, since: float) -> _Earlier:
    """What a lesson might be about, whatever the reason of it."""
    ours = [_is("project", found.project), _is("detector", taught.detector)]
    if taught.detector != ADAPTIVE:
        where = [*ours, _is("anomaly_type", taught.metric_name), Filter("occurred_at", ">=", (since,))]
        some = store.page(Anomaly, where, limit=MOST_FINDINGS).records
        others = (each for each in some if isinstance(each, Anomaly) and each.id != found.id)
        return _Earlier((), tuple(map(of_finding, others)))
    where = [*ours, _is("metric_name", taught.metric_name), Filter("started_at", ">=", (since,))]
    itself = found.id if isinstance(found, Incident) else found.incident_id
    page = store.page(Incident, where, limit=MOST_EARLIER).records
    incidents = [each for each in page if isinstance(each, Incident) and each.id != itself]
    of = _movements(store, found.project, incidents)
    return _Earlier(tuple((each, of[each.id] or (_movement(store, each),)) for each in incidents), ())


def _movements(store: Store, project: str, incidents: Sequence[Incident]) -> Mapping[str, tuple[Movement, ...]]:
    """The findings of each of some incidents."""
    of: dict[str, list[Movement]] = {each.id: [] for each in incidents}
    where = [_is("project", project), Filter("incident_id", "=", tuple(of))]
    # A thousand findings in full take ten times as long as what is asked for of each.
    for id_, *values in _rows(store, Anomaly, ("incident_id", *SAID_BY), where) if of else ():
        told = zip(SAID_BY, values, strict=True)
        of[id_].append(of_values({name: from_value(column_of(Anomaly)[name], value) for name, value in told}))
    return {id_: tuple(its) for id_, its in of.items()}


def _hidden(earlier: _Earlier, lesson: Lesson, judged: float) -> Hidden:
    """Incidents of which every finding would have been known; one that lasted too long would have been told."""
    return Hidden(
        incidents=tuple(
            incident
            for incident, its in earlier.incidents
            if (lesson.lasted_s is None or _lasted(incident, judged) <= WORSE * lesson.lasted_s)
            and all(covers(lesson, each) for each in its)
        ),
        findings=sum(covers(lesson, each) for each in earlier.findings),
    )


def _of_findings(
    store: Store, ours: Sequence[Filter], why: Mapping[str, tuple[float, str | None]]
) -> Iterator[tuple[str, str, int]]:
    """What findings that are of no incident were worth: the metric, the word, and how many."""
    names = ("id", "anomaly_type", "metric_name", "detector", "resolution_status", "statistics")
    for batch in store.scan(Anomaly, names, [*ours, Filter("incident_id", "=", (None,))]):
        # Texts of some hundred letters, which nothing but this is asked of.
        hidden = pc.fill_null(pc.match_substring(batch["statistics"], '"known"'), False).to_pylist()
        told = (batch[name].to_pylist() for name in names[:-1])
        alike = Counter(
            (metric if detector == ADAPTIVE else type_, detector, status, why[id_][1] if id_ in why else None,
             known or (detector == ADAPTIVE and status == "dismissed" and id_ not in why))
            for id_, type_, metric, detector, status, known in zip(*told, hidden, strict=True)
        )  # fmt: skip
        for (name, _, status, reason, known), count in alike.items():
            yield name, "known" if known else _worth(status, reason), count


def _worth(status: str, reason: str | None) -> str:
    if status == "dismissed":
        return "expected" if reason in ("expected", "expected_once") else "noise"
    return "undecided" if status == "pending" else "useful"


def _rows(store: Store, record: type[Any], names: Sequence[str], where: Sequence[Filter]) -> Iterator[tuple[Any, ...]]:
    for batch in store.scan(record, names, where):
        yield from zip(*(batch[name].to_pylist() for name in names), strict=True)


def _is(name: str, value: str) -> Filter:
    return Filter(name, "=", (value,))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
