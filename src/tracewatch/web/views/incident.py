"""One incident with everything there is to know: its findings, evidence, bridges, slices, traces and what was done."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracewatch import formats, words
from tracewatch.access import Caller
from tracewatch.dealing import deeds_about
from tracewatch.errors import TracewatchError
from tracewatch.explaining import explain, saying, story_of, with_why
from tracewatch.incidents import closes_at
from tracewatch.judge import KNOWN_DAYS
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import CHECKED, Anomaly, Deed, Incident
from tracewatch.stores.base import Store
from tracewatch.times import parse_time
from tracewatch.web.views import incidents
from tracewatch.web.views.evidence import Evidence, evidence
from tracewatch.web.views.summary import Summary, summary

MOST_SLICES = 6
MOST_TRACES = 4

_log = logging.getLogger("tracewatch.web")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A step of a bridge: what it is, the quantity behind it, and what it changed."""

    name: str
    note: str
    change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """From what was usual to what came, in parts that add up."""

    unit: str
    before: float
    after: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Some calls and their share of the excess, beside their share of all calls."""

    slice: Mapping[str, Any]
    of_excess: float
    of_calls: float
    explains: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A trace to open, and how it compares; the usual one is of before."""

    summary: Summary
    value: float | None
    is_usual: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something in the course of an incident."""

    at: float
    text: str
    note: str = ""
    weighs: bool = False
    """Whether it is part of the trouble itself."""
    flag: str = ""
    """The same in the few words that a picture has room for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An incident with all that belongs to it."""

    incident: Incident
    findings: tuple[Anomaly, ...]
    deeds: tuple[Deed, ...]
    evidence: Evidence
    cost: Bridge | None
    latency: Bridge | None
    slices: tuple[Slice, ...]
    examples: tuple[Example, ...]
    changes: tuple[Moment, ...]
    timeline: tuple[Moment, ...]
    users: int | None
    usual_calls: int | None
    known_days: int | None
    """On how many days its calls had been learned from when it was found; None where that was not kept."""
    other_findings: tuple[Anomaly, ...]
    before: Incident | None
    """The incident that comes before it in the list, and the one after it."""
    after: Incident | None
    is_gone: bool
    """Whether its calls were deleted since (retention)."""
    stuck: str = ""
    """Why it could not be explained when that was asked for."""

    @property
    def closes_at(self) -> float | None:
        """When it closes if nothing more comes, while it is back in its range."""
        return closes_at(self.findings) if self.incident.state == "recovering" else None

    @property
    def owner(self) -> str:
        """Who took note of it last."""
        done = next((each for each in self.deeds if each.verb in ("acknowledge", "snooze", "resolve")), None)
        return done.done_by if done is not None and self.incident.acknowledged else ""

    @property
    def of_days(self) -> int:
        """How many days make up a week of learning."""
        return KNOWN_DAYS


def is_unexplained(caller: Caller, incident: Incident) -> bool:
    """Whether nobody has looked yet why it came, and the caller may see all calls that say so."""
    return incident.causes is None and incident.detector not in CHECKED and caller.user_id is None


def whole(store: Store, caller: Caller, incident: Incident, now: float, *, explains: bool = False) -> Whole:
    """Everything about an incident; with `explains` one that nobody has explained yet is, for this answer."""
    findings = incidents.findings_of(store, caller, incident)
    stuck = ""
    if explains and is_unexplained(caller, incident):
        incident, stuck = _explained(store, incident, findings, now)
    notes = incidents.notes_near(store, caller, incident)
    deeds = deeds_about(store, incident.project, [incident.id])
    causes: Mapping[str, Any] = incident.causes or {}
    before, after = _neighbours(store, caller, incident, now)
    effect = causes.get("effect") or {}
    changes = _changes(causes)
    root = next((each for each in findings if each.id == incident.root_id), None)
    learning = (root.statistics.get("learning") if root else None) or {}
    return Whole(
        incident=incident,
        findings=tuple(findings),
        deeds=deeds,
        evidence=evidence(store, caller, incident, now),
        cost=_for_as_many(_bridge(causes.get("cost")), causes) if _worth(causes, "cost_usd", "money") else None,
        latency=_bridge(causes.get("latency")) if _worth(causes, "time_s", "time") else None,
        slices=_slices(causes),
        examples=_examples(store, caller, incident, causes),
        changes=changes,
        timeline=_timeline(incident, findings, notes, deeds, changes),
        users=effect.get("users"),
        usual_calls=(causes.get("compared") or {}).get("usual_calls"),
        known_days=learning.get("days"),
        other_findings=tuple(each for each in findings if each.id != incident.root_id),
        before=before,
        after=after,
        is_gone=bool(causes.get("gone")),
        stuck=stuck,
    )


def _explained(store: Store, incident: Incident, findings: Sequence[Anomaly], now: float) -> tuple[Incident, str]:
    """An incident with why it came; or as it was, with why that cannot be said."""
    others = tuple((each.metric_name, each.slice or {}) for each in findings if each.id != incident.root_id)
    story = replace(story_of(incident), members=others)
    try:
        return with_why(incident, explain(store, incident.project, story, now)), ""
    except TracewatchError as error:
        return incident, f"It cannot be explained now: {error}."
    except Exception:  # of any kind: what is known of the incident is shown all the same
        _log.exception("incident %s of project %s cannot be explained", incident.id, incident.project)
        return incident, "It cannot be explained: something went wrong here, and the server's log says what."


def _neighbours(
    store: Store, caller: Caller, incident: Incident, now: float
) -> tuple[Incident | None, Incident | None]:
    tab = incidents.tab_of(incident, now)
    listed = incidents.listed(store, caller, tab, limit=200, now=now).incidents
    place = next((number for number, each in enumerate(listed) if each.id == incident.id), None)
    if place is None:
        return None, None
    return (listed[place - 1] if place else None), (listed[place + 1] if place + 1 < len(listed) else None)


def _bridge(told: Mapping[str, Any] | None) -> Bridge | None:
    if not told or not told.get("parts"):
        return None
    parts = [
        Part(
            name=saying.part(each["name"], each["change"]) if each["change"] else each["name"],
            note=_quantity(each),
            change=each["change"],
        )
        for each in told["parts"]
    ]
    return Bridge(unit=told["unit"], before=told["before"], after=told["after"], parts=tuple(parts))


def _worth(causes: Mapping[str, Any], effect: str, family: str) -> bool:
    """Whether there is an effect to be laid out: less than usual only where the incident is about that."""
    value = (causes.get("effect") or {}).get(effect) or 0.0
    return bool(value > 0 or (value < 0 and (causes.get("metric") or {}).get("family") == family))


def _for_as_many(bridge: Bridge | None, causes: Mapping[str, Any]) -> Bridge | None:
    """From what as many calls would usually cost: that there were more of them is a story of its own.

    So the bridge comes to the very money that the incident is said to have cost.
    """
    if bridge is None or (causes.get("metric") or {}).get("family") == "volume":
        return bridge
    more = sum(each.change for each in bridge.parts if each.name in saying.SIGNED["calls"])
    parts = tuple(each for each in bridge.parts if each.name not in saying.SIGNED["calls"])
    return replace(bridge, before=bridge.before + more, parts=parts)


_UNITS = {
    "cache share": "share",
    "queue": "ms",
    "network": "ms",
    "first token": "ms",
    "retrieval": "ms",
    "retries": "ms",
    "slower speed": "tokens/s",
}
"""What the quantities behind parts are counted in; the others in tokens or calls, as their names say."""


def _quantity(part: Mapping[str, Any]) -> str:
    """The quantity behind a part, such as '252 → 295'."""
    before, after = part.get("before"), part.get("after")
    if before is None or after is None:
        return ""
    unit = _UNITS.get(part["name"])
    return f"{_counted(before, unit)} → {_counted(after, unit)}"


def _counted(value: float, unit: str | None) -> str:
    return f"{value:,.0f}" if unit is None else formats.amount(value, unit)


def _slices(causes: Mapping[str, Any]) -> tuple[Slice, ...]:
    told = causes.get("slices") or {}
    metric = causes.get("metric") or {}
    if (metric.get("family"), metric.get("direction")) == ("volume", "down"):  # who is missing has no calls to show
        return ()
    explaining = [_slice(each, explains=True) for each in told.get("explaining") or ()]
    others = [_slice(each, explains=False) for each in told.get("others") or ()]
    return (*explaining[: MOST_SLICES - min(len(others), 2)], *others[:2])


def _slice(told: Mapping[str, Any], *, explains: bool) -> Slice:
    share = min(max(told["of_excess"], 0.0), 1.0)
    return Slice(slice=told["slice"], of_excess=share, of_calls=min(max(told["of_calls"], 0.0), 1.0), explains=explains)


def _examples(store: Store, caller: Caller, incident: Incident, causes: Mapping[str, Any]) -> tuple[Example, ...]:
    told = causes.get("examples") or {}
    values = {each["trace_id"]: each.get("value") for each in told.get("clearest") or ()}
    usual = told.get("usual") or {}
    wanted = [*incident.trace_ids[:MOST_TRACES], *([usual["trace_id"]] if usual.get("trace_id") else [])]
    values.setdefault(usual.get("trace_id", ""), usual.get("value"))
    found = []
    for trace_id in dict.fromkeys(wanted):
        spans = [each for each in store.trace(caller.project, trace_id) if caller.user_id in (None, each.user_id)]
        if spans:
            is_usual = trace_id == usual.get("trace_id")
            found.append(Example(summary=summary(spans), value=values.get(trace_id), is_usual=is_usual))
    return tuple(found)


def _changes(causes: Mapping[str, Any]) -> tuple[Moment, ...]:
    """What became different near the onset."""
    found = []
    for each in causes.get("changes") or ():
        was, value = _said(each.get("was")), _said(each.get("value"))
        flag = f"{saying.noun(each['column']).capitalize()} {value}"
        text = flag + (f", before it {was}" if was else "")
        coverage = formats.percent(each["coverage"])
        found.append(Moment(at=parse_time(each["at"]), text=text, note=f"{coverage} of the calls", flag=flag))
    return tuple(found)


def _said(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}" if isinstance(value, float) else str(value)


def _timeline(
    incident: Incident, findings: Sequence[Anomaly], notes: Sequence[Anomaly], deeds: Sequence[Deed],
    changes: Sequence[Moment],
) -> tuple[Moment, ...]:  # fmt: skip
    """Everything that happened, in order."""
    found = [*changes, Moment(at=incident.started_at, text=_began(incident), weighs=True)]
    found += [Moment(at=each.occurred_at, text=f"First seen: {saying.named(each.slice or {})}") for each in notes]
    late = max(incident.detected_at - incident.started_at, 0.0)
    found.append(Moment(at=incident.detected_at, text="Detected", note=after_onset(late)))
    found += [
        Moment(
            at=each.detected_at,
            text=f"Joined by {_named(each.metric_name)}",
            note=saying.named(each.slice or {}),
        )
        for each in findings
        if each.id != incident.root_id
    ]
    if incident.recovering_at is not None and incident.recovering_at != incident.closed_at:
        found.append(Moment(at=incident.recovering_at, text="Back to the usual"))
    if incident.closed_at is not None:
        found.append(Moment(at=incident.closed_at, text="Closed"))
    found += [Moment(at=each.done_at, text=_done(each), note=each.text or "") for each in deeds]
    return tuple(sorted(found, key=lambda each: each.at))


def after_onset(late_s: float) -> str:
    """How long after it began something was noticed.

    >>> after_onset(0.0), after_onset(900.0).replace(formats.THIN, " ")
    ('as it began', '15 m after it began')
    """
    return f"{formats.lasting(late_s)} after it began" if late_s >= 1 else "as it began"


def _began(incident: Incident) -> str:
    """What happened first: calls stopped, a limit was crossed, or a metric left what is usual of it."""
    if incident.kind == "silence":
        return "Calls stop"
    if incident.kind == "first_seen":
        return "The first call"
    what = words.sentence(_named(incident.metric_name)).removesuffix(".")
    if incident.detector in CHECKED:
        return f"{what} beyond the limit"
    return f"{what} out of the expected range"


def _named(metric: str) -> str:
    """A metric as lists call it, within a sentence."""
    row = METRIC_OF.get(metric)
    label = (row.label if row else saying.noun(metric)).replace("_", " ")
    return label[:1].lower() + label[1:]


_DONE = {
    "acknowledge": "Acknowledged",
    "resolve": "Resolved",
    "dismiss": "Dismissed",
    "snooze": "Snoozed",
    "note": "Note",
    "reopen": "Opened again",
    "undo": "Undone",
}
_BY_ITSELF = {"regressed": "Regressed: it is back after it was settled", "worse": "Open again: clearly worse"}


def _done(deed: Deed) -> str:
    if deed.verb == "reopen" and deed.reason in _BY_ITSELF:
        return _BY_ITSELF[deed.reason]
    why = f", {deed.reason.replace('_', ' ')}" if deed.reason else ""
    return f"{_DONE[deed.verb]}{why}" + (f" by {deed.done_by}" if deed.done_by else "")
