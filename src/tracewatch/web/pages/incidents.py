"""The list of incidents, one incident, and dealing with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import formats, headlines
from tracewatch.explaining import saying
from tracewatch.explaining.measures import measure_of
from tracewatch.explaining.telling import how_sure
from tracewatch.records import SEVERITIES, Incident, Lesson
from tracewatch.teaching import TEACHES, each_would_hide, lessons_of
from tracewatch.web import alerting, charts, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.forms import Sent, answered
from tracewatch.web.gate import Writer
from tracewatch.web.pages import dealing
from tracewatch.web.pages.dealing import DONE, UNDONE
from tracewatch.web.pages.overview import EXPECTED, Effect, callout_of, effect_of, title_of, title_of_course
from tracewatch.web.views import incidents
from tracewatch.web.views.evidence import Shown
from tracewatch.web.views.incident import Bridge, Example, Part, Whole, after_onset, is_unexplained, whole

router = APIRouter(include_in_schema=False)

HOUR_S = 3600.0
WORTH_CENTS = 0.1  # dollars: the difference is then told in cents, and so are its parts
PAGE = 50
HEIGHTS = {"symptom": 128, "cause": 84, "normal": 56}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An incident in the list."""

    incident: Incident
    effect: str
    lasted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact on the strip: its name, its value, and what belongs to it."""

    name: str
    value: Any
    note: Any = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture of the evidence as it is drawn."""

    title: str
    role: str
    before: str
    now: str
    band: charts.Band
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridged:
    """A bridge as it is drawn."""

    title: str
    hint: str
    what: str
    rows: list[charts.BridgeRow]


@router.get("/incidents", response_class=HTMLResponse)
def show_incidents(request: Request, asked: Ask) -> HTMLResponse:
    """The list, a tab at a time."""
    tab, severity, found = _listed(asked)
    given = asked.given
    counts = {
        name: len(incidents.listed(asked.store, asked.caller, name, now=asked.now).incidents)
        for name in incidents.TABS[:3]
    }
    recent = incidents.within(asked.store, asked.caller, asked.now - 30 * 24 * HOUR_S, asked.now)
    over = sum(incidents.tab_of(each) == "resolved" for each in recent)
    return drawing.page(
        request, asked, "incidents.html",
        tab=tab, tabs=incidents.TABS, counts=counts, listed=[_row(asked, each) for each in found.incidents],
        metrics=sorted({each.metric_name for each in recent}), filtered=bool(severity or given.get("metric")),
        older=asked.address(cursor=found.next, done=None) if found.next else "",
        first=asked.address(cursor=None, done=None) if given.get("cursor") else "",
        resolved_words=f"{over} {'was' if over == 1 else 'were'} closed or resolved in 30 days." if over else "",
        done=DONE.get(given.get("done", ""), ""),
    )  # fmt: skip


@router.post("/incidents")
def deal_with_some(asked: Ask, caller: Writer, form: Sent) -> Response:
    """Does the same about all that were selected."""
    return dealing.with_some(asked, caller, form, incidents.one, "/incidents")


@router.get("/incidents/{incident_id}", response_class=HTMLResponse)
def show_incident(request: Request, asked: Ask, incident_id: str) -> HTMLResponse:
    """One incident."""
    incident = incidents.one(asked.store, asked.caller, incident_id)
    if incident is None:
        return _missing(request, asked, incident_id)
    explains = asked.given.get("explained") == "now"
    it = whole(asked.store, asked.caller, incident, asked.now, explains=explains)
    done = asked.given.get("done", "")
    values = {**_values(asked, it), "snoozes": list(dealing.snoozes(asked)), "undo": done in UNDONE}
    to = f"/incidents/{incident.id}"
    told = alerting.told_of(asked.store, asked.caller, incident.id)
    unexplained = is_unexplained(asked.caller, it.incident)
    return drawing.page(
        request, asked, "incident.html",
        it=it, to=to, told=told, done=DONE.get(done, ""), unexplained=unexplained, **values,
    )  # fmt: skip


@router.post("/incidents/{incident_id}")
def deal_with_one(request: Request, asked: Ask, caller: Writer, incident_id: str, form: Sent) -> Response:
    """Does something about an incident. Raises BadDeed."""
    incident = incidents.one(asked.store, caller, incident_id)
    if incident is None:
        return _missing(request, asked, incident_id)
    verb = dealing.with_one(asked, caller, form, incident)
    return answered(form.one("back") or f"/incidents/{incident.id}?done={verb}")


def rows_of(asked: Asked) -> list[Row]:
    """The incidents of the list that is asked for."""
    return [_row(asked, each) for each in _listed(asked)[2].incidents]


def _listed(asked: Asked) -> tuple[str, tuple[str, ...], incidents.Listed]:
    """The tab, the severities that are asked for, and what is there."""
    given = asked.given
    tab = given.get("tab", "open")
    tab = tab if tab in incidents.TABS else "open"
    severity = tuple(each for each in given.get("severity", "").split(",") if each in SEVERITIES)
    found = incidents.listed(
        asked.store, asked.caller, tab,
        severity=severity, metric=given.get("metric", ""), limit=PAGE, cursor=given.get("cursor") or None,
        now=asked.now,
    )  # fmt: skip
    return tab, severity, found


def _missing(request: Request, asked: Asked, incident_id: str) -> HTMLResponse:
    said = f"Incident {formats.short_id(incident_id)} does not exist, or its project is not yours."
    return drawing.page(
        request, asked, "missing.html", status=404, said=said, to="/incidents", instead="See all incidents"
    )


def _row(asked: Asked, incident: Incident) -> Row:
    end = incident.closed_at if incident.closed_at is not None else asked.now
    single = incident.kind == "point"
    lasted = "one call" if single else formats.lasting(end - incident.started_at)
    return Row(incident=incident, effect=effect_of(incident, asked.now).text or formats.MISSING, lasted=lasted)


def _values(asked: Asked, it: Whole) -> Mapping[str, Any]:
    incident = it.incident
    measure = measure_of(incident.metric_name)
    sure = min(incident.confidence_score, 0.99)
    usual = next((each for each in it.examples if each.is_usual), None)
    return {
        "sure": f"{sure:.2f}",
        "sure_title": f"Of findings like this, {sure * 100:.0f} in 100 were real.",
        "facts": list(_facts(asked, it)),
        "where": saying.named(incident.slice or {}),
        "evidence": list(_pictures(asked, it)),
        "callout": callout_of(incident),
        "expected_title": EXPECTED,
        "limit": any(each.series.limit is not None for each in it.evidence.shown),
        "show_value": any(each.value is not None for each in it.examples) and measure.family != "volume",
        "bridges": list(_bridges(asked, it)),
        "slice_query": lambda slice: {name: _in_query(value) for name, value in slice.items()},
        "all_traces": _all_traces(asked, incident),
        "value_title": "vs usual" if usual and usual.value else measure.name.replace("_", " "),
        "value_of": lambda each: _value_of(each, usual, measure.unit),
        "show_tokens": any(each.summary.input_tokens is not None for each in it.examples),
        "show_cache": any(each.summary.cached_share is not None for each in it.examples),
        "belief": list(_belief(asked, it)),
        "hides": _hides(asked, incident),
        "lesson": _lesson(asked, incident),
    }


def _hides(asked: Asked, incident: Incident) -> Mapping[str, str]:
    """What a dismissal would also have hidden, by its reason."""
    if incident.resolution_status in ("resolved", "dismissed"):
        return {}
    hidden = each_would_hide(asked.store, incident, TEACHES, asked.now)
    return {reason: each.words() for reason, each in hidden.items()}


def _lesson(asked: Asked, incident: Incident) -> Lesson | None:
    """What it taught, as long as that counts."""
    if incident.resolution_status != "dismissed":
        return None
    taught = lessons_of(asked.store, incident.project, about=incident.id)
    return next((each for each in taught if each.until is None), None)


def _facts(asked: Asked, it: Whole) -> Iterator[Fact]:
    incident = it.incident
    measure = measure_of(incident.metric_name)
    end = incident.closed_at if incident.closed_at is not None else asked.now
    lasted = formats.lasting(end - incident.started_at)
    single = incident.kind == "point"
    state = "one call" if single else f"{lasted}, {'not closed' if incident.closed_at is None else 'closed'}"
    yield Fact(
        name="When" if single else "Since", value=formats.moment(incident.started_at, asked.zone, asked.now), note=state
    )
    if headlines.is_budget(incident) and incident.observed is not None:
        yield Fact(name="Comes to", value=headlines.checked_amount(incident, incident.observed),
                   note=f"of {headlines.limit_of(incident)}")  # fmt: skip
    elif incident.observed is not None:
        unit = None if measure.family == "volume" else measure.unit
        usual, limit = headlines.usually(incident), headlines.limit_of(incident)
        value = formats.amount(incident.observed if unit else round(incident.observed), unit)
        yield Fact(name=title_of(incident.metric_name).partition(",")[0] if unit else "Calls", value=value,
                   note=f"limit {limit}" if limit else f"expected {usual}" if usual else "")  # fmt: skip
    effect: Effect = effect_of(incident, asked.now)
    if effect.text:
        yield Fact(name=effect.name, value=effect.text, note=effect.rate)
    if incident.calls is not None and incident.kind != "silence":
        yield Fact(
            name="Calls hit",
            value=formats.count(incident.calls),
            note=f"in {incident.findings} findings" if incident.findings > 1 else "",
        )
    if it.users:
        yield Fact(name="People", value=formats.plural(it.users, "user"), note="")
    slice = list((incident.slice or {}).items())
    first = str(slice[0][1]) if slice else "all calls"
    yield Fact(
        name="Where",
        value=first,
        note=", ".join(str(value) for _, value in slice[1:]) or (saying.noun(slice[0][0]) if slice else ""),
    )


def _pictures(asked: Asked, it: Whole) -> Iterator[Picture]:
    incident, shown = it.incident, it.evidence.shown
    for number, each in enumerate(shown):
        flags = _flags(it, each)
        last = number == len(shown) - 1
        title = title_of_course(each.metric, each.series)
        label = (
            f"{title}: {headlines.headline(incident, asked.zone, asked.now).text}" if each.role == "symptom" else title
        )
        yield Picture(
            title=title,
            role=each.role,
            before=_amount(each, each.before),
            now=_amount(each, each.now),
            band=charts.band(
                replace(each.series, label=label), asked.zone, asked.now,
                onset=incident.started_at, until=incident.closed_at, marked=each.role != "normal",
                flags=flags, labelled=last,
                ticks=3 if each.role == "symptom" else 2,
            ),
            height=HEIGHTS[each.role],
        )  # fmt: skip


def _amount(each: Shown, value: float | None) -> str:
    if value is None:
        return ""
    return formats.amount(value if each.series.unit else round(value), each.series.unit)


def _flags(it: Whole, each: Shown) -> list[charts.Flag]:
    """What changed, where it changed; with words on the first picture only."""
    start, length = each.series.start, each.series.end - each.series.start
    return [
        charts.Flag(at=(change.at - start) / length, text=change.flag if each.role == "symptom" else "")
        for change in it.changes
    ]


def _bridges(asked: Asked, it: Whole) -> Iterator[Bridged]:
    incident = it.incident
    since = formats.moment(incident.started_at, asked.zone, asked.now)
    until = "now" if incident.closed_at is None else formats.moment(incident.closed_at, asked.zone, asked.now)
    if it.cost is not None:
        hint = f"{since} to {until}, against as many usual calls"
        yield Bridged(title="Where the money went", hint=hint, what="Money", rows=bridge_rows(it.cost))
    if it.latency is not None:
        yield Bridged(title="Where the time of a call went", hint="from the usual to what came", what="Time",
                      rows=bridge_rows(it.latency))  # fmt: skip


def bridge_rows(
    bridge: Bridge, names: tuple[str, str] = ("Expected", "Observed"), *, as_named: bool = False
) -> list[charts.BridgeRow]:
    """The rows of a bridge: rounded together, the unexplained left out where it rounds to nothing.

    Names of spans stay `as_named`; words begin with a capital.
    """
    money = bridge.unit == "USD"
    scale = max(abs(bridge.before), abs(bridge.after))
    change = abs(bridge.after - bridge.before)
    digits = (2 if scale >= 0.5 or change >= WORTH_CENTS else 4 if scale >= 0.005 else 6) if money else 0
    before, after, changes = charts.rounded_together(
        bridge.before, bridge.after, [each.change for each in bridge.parts], digits
    )
    parts: list[tuple[str, str, float]] = [
        (each.name if as_named else each.name[:1].upper() + each.name[1:], each.note, change)
        for each, change in zip(bridge.parts, changes, strict=True)
        if change or not _is_rest(each)
    ]

    def told(value: float) -> str:
        if not money:
            return formats.duration(value)
        return f"{'-' if value < 0 else ''}${abs(value):,.{digits}f}"

    return charts.bridge(before, after, parts, told, names=names)


def _is_rest(part: Part) -> bool:
    return part.name == "unexplained"


def _belief(asked: Asked, it: Whole) -> Iterator[tuple[str, str]]:
    incident = it.incident
    yield "Confidence", f"{min(incident.confidence_score, 0.99):.2f}, {how_sure(incident.confidence_score)}"
    if it.usual_calls:
        yield "Compared with", formats.plural(it.usual_calls, "usual call")
    if it.known_days is not None:
        yield (
            "Learned from",
            f"{it.known_days} of {it.of_days} days" if it.known_days < it.of_days else "a week or more",
        )
    yield "Detected", after_onset(max(incident.detected_at - incident.started_at, 0.0))
    yield "Findings", formats.count(incident.findings)
    yield "Detector", incident.detector
    yield "Kind", incident.kind.replace("_", " ")
    yield "Metric", incident.metric_name


def _value_of(each: Example, usual: Example | None, unit: str | None) -> str:
    if each.value is None:
        return formats.MISSING
    if usual is not None and usual.value and each.value > 0 and unit not in ("share", "score"):
        return formats.ratio(each.value / usual.value)
    return formats.amount(each.value, unit)


def _all_traces(asked: Asked, incident: Incident) -> str:
    end = incident.closed_at if incident.closed_at is not None else asked.now
    wanted = {name: _in_query(value) for name, value in (incident.slice or {}).items()}
    when = {"from": formats.iso(incident.started_at), "to": formats.iso(end)}
    status = {"error_rate": "error,timeout", "fallback_rate": "fallback", "timeout_rate": "timeout"}.get(
        incident.metric_name
    )
    return asked.address("/traces", **{**wanted, **when, **({"status": status} if status else {}), "since": None})


def _in_query(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
