"""The feed of findings and their trends, one finding in full, and dealing with findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tracewatch import formats
from tracewatch.explaining import saying
from tracewatch.records import RESOLUTIONS, SEVERITIES, Anomaly, Span
from tracewatch.web import charts, drawing
from tracewatch.web.asking import LASTING, Ask, Asked
from tracewatch.web.forms import Sent, answered
from tracewatch.web.gate import Writer
from tracewatch.web.pages import dealing
from tracewatch.web.pages.dealing import DONE, UNDONE, snoozes
from tracewatch.web.pages.finding import More, deviation, more_of, usual_of, value_of
from tracewatch.web.pages.overview import step_word
from tracewatch.web.views import feed
from tracewatch.web.views.feed import Counted, Seen, Step
from tracewatch.web.views.period import Period, ending, period_of
from tracewatch.web.views.rolled import counting_calls, rolled, rows_of
from tracewatch.web.views.standing import OLD_S

router = APIRouter(include_in_schema=False)

DAY_S = 86_400
USUAL = "7d"
LANES = 10
TYPES = 15  # small pictures; the lanes below hold all
PARTS = 6  # of a small multiple; what is left is one more
FINGER = 5.0  # per cent of a lane between two marks that can be pressed one by one
LANE_CHOICES = (
    ("type", "type"),
    ("model_name", "model"),
    ("operation_type", "operation"),
    ("user_id", "user"),
    ("model_provider", "provider"),
)
FIELDS = ("severity", "type", "metric", "model", "resolution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A finding in the feed."""

    finding: Anomaly
    label: str
    where: str
    value: str
    usual: str
    deviation: str
    toggle: str
    part: str
    """The address of what stands below it when it is open."""
    more: More | None
    folded: int
    """How many findings of the same incident are folded under it."""
    fold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A stretch of a lane in which something came: its place in per cent, its steps within it, and where it leads."""

    left: float
    width: float
    steps: tuple[tuple[float, float, str], ...]
    title: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One kind of finding over the time."""

    name: str
    href: str
    count: int
    severity: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Findings of one kind by time, as bars: where each stands, how high it is (per cent), how bad, and its words."""

    name: str
    href: str
    count: int
    bars: tuple[tuple[float, float, str, str], ...]
    width: float
    label: str


@router.get("/anomalies", response_class=HTMLResponse)
def show_anomalies(request: Request, asked: Ask) -> HTMLResponse:
    """The feed, or its trends."""
    asked, moved = in_time(asked)
    period = asked.period
    everything = feed.seen(asked.store, asked.caller, period)
    wanted = feed.wanted(asked.given)
    matching = feed.matching(asked.store, asked.caller, period, wanted, everything)
    view = "trends" if asked.given.get("view") == "trends" else "feed"
    by = asked.given.get("lanes", "type")
    by = by if by in dict(LANE_CHOICES) else "type"
    counted = _by(matching, period, by)
    values: dict[str, Any] = {
        "view": view, "by": by, "lane_choices": LANE_CHOICES, "moved": moved, "matched": len(matching),
        "lanes": [_lane(asked, each, by) for each in counted[: None if view == "trends" else LANES]],
        "lanes_of": len(counted), "lane_ticks": _ticks(asked, most=6), "chips": _chips(asked, wanted),
        "selects": list(_selects(asked, everything)), "kept": list(_kept(asked, wanted)),
        "sources": _sources(asked, everything), "step": step_word(feed.step_of(period)),
        "done": DONE.get(asked.given.get("done", ""), ""), "undo": _undo(asked),
        "nothing": "" if matching else _nothing(asked, narrow=wanted.is_narrow),
    }  # fmt: skip
    drawn = _trends(asked, matching) if view == "trends" else _page(asked, wanted)
    return drawing.page(request, asked, "anomalies.html", **values, **drawn)


@router.post("/anomalies")
def deal_with_some(asked: Ask, caller: Writer, form: Sent) -> Response:
    """Does the same about all that were selected."""
    return dealing.with_some(asked, caller, form, feed.one, "/anomalies")


@router.get("/anomalies/{finding_id}", response_class=HTMLResponse)
def show_anomaly(request: Request, asked: Ask, finding_id: str) -> Response:
    """One finding: the feed of its day, with it open; for a page that is there already only what stands below it."""
    finding = feed.one(asked.store, asked.caller, finding_id)
    if finding is None:
        said = "This finding does not exist, or its project is not yours."
        return drawing.page(
            request, asked, "missing.html", status=404, said=said, to="/anomalies", instead="See all findings"
        )
    if asked.given.get("part") == "more":
        return drawing.fragment(request, asked, "anomaly.html", row=_row(asked, finding, is_open=True), to_close=True,
                                snoozes=list(snoozes(asked)), back=asked.given.get("back") or "/anomalies")  # fmt: skip
    day = {"from": formats.iso(finding.occurred_at - DAY_S / 2), "to": formats.iso(finding.occurred_at + DAY_S / 2)}
    to = asked.address("/anomalies", **{**day, "since": None, "open": finding.id})
    return RedirectResponse(f"{to}#a-{finding.id}", status_code=303)


@router.post("/anomalies/{finding_id}")
def deal_with_one(asked: Ask, caller: Writer, finding_id: str, form: Sent) -> Response:
    """Does something about a finding. Raises BadDeed."""
    finding = feed.one(asked.store, caller, finding_id)
    if finding is None:
        return answered("/anomalies")
    verb = dealing.with_one(asked, caller, form, finding)
    back = form.one("back") or "/anomalies"
    return answered(f"{back}{'&' if '?' in back else '?'}done={verb}&about={finding.id}#a-{finding.id}")


def in_time(asked: Asked) -> tuple[Asked, bool]:
    """Seven days where nothing else is said; of an old database the last ones that have calls."""
    given = asked.given
    begins = given.get("from", "")
    own = bool(given.get("since") or given.get("to") or (begins and not begins.isalpha()))
    period = asked.period if own else period_of({**given, "since": USUAL}, asked.now, asked.zone)
    reach = asked.store.extent(Span, asked.caller.where)
    if reach and period.follows and asked.now - reach[1] > OLD_S:
        return replace(asked, period=ending(period, reach[1] + 1)), True
    return replace(asked, period=period), False


def _by(found: Sequence[Seen], period: Period, by: str) -> list[Counted]:
    if by == "type":
        return feed.counted(found, period, lambda each: each.type, named=feed.label_of)
    return feed.counted(found, period, lambda each: str(each.about.get(by) or "") or None)


def _lane(asked: Asked, it: Counted, by: str) -> Lane:
    since, length = it.steps[0].since, it.steps[-1].until - it.steps[0].since
    marks: list[Mark] = []
    runs = sorted(it.runs(), key=lambda each: (-SEVERITIES.index(each.severity), -each.count))
    for run in runs:
        left, width = 100 * (run.since - since) / length, 100 * (run.until - run.since) / length
        middle = left + width / 2
        near = any(abs(middle - each.left - each.width / 2) < (width + each.width) / 2 + FINGER for each in marks)
        inner = [each for each in it.steps if run.since <= each.since < run.until]
        steps = tuple(_stairs(inner, run))
        marks.append(Mark(left=left, width=width, steps=steps, title=_words(asked, run),
                          href="" if near else _window(asked, run, by, it.key)))  # fmt: skip
    href = asked.address(**{by: it.key}, view=None, cursor=None, open=None, done=None, about=None)
    return Lane(name=it.name, href=href, count=it.count, severity=it.severity, marks=tuple(marks))


def _stairs(steps: Sequence[Step], run: Step) -> Iterator[tuple[float, float, str]]:
    """The steps of a run, those of one severity that stand side by side as one."""
    for severity, those in groupby(steps, key=lambda each: each.severity):
        side_by_side = list(those)
        left, right = side_by_side[0].since - run.since, side_by_side[-1].until - run.since
        yield 100 * left / (run.until - run.since), 100 * (right - left) / (run.until - run.since), severity


def _words(asked: Asked, step: Step) -> str:
    when = formats.moment(step.since, asked.zone, asked.now)
    return f"{formats.plural(step.count, 'finding')}, worst {step.severity}, {when}"


def _window(asked: Asked, step: Step, by: str, key: str) -> str:
    """The feed of that stretch of a lane."""
    when: dict[str, str | None] = {"from": formats.iso(step.since), "to": formats.iso(step.until), "since": None}
    gone: dict[str, str | None] = dict.fromkeys(("view", "cursor", "open", "done", "about"))
    return asked.address(**{**gone, **when, by: key})


def _ticks(asked: Asked, most: int) -> list[charts.Tick]:
    step = feed.step_of(asked.period)
    start = asked.period.since // step * step
    end = start + max(-(-(asked.period.until - start) // step), 1) * step
    return charts.time_ticks(start, end, asked.zone, asked.now, most=most)


def _page(asked: Asked, wanted: feed.Wanted) -> Mapping[str, Any]:
    found = feed.feed(asked.store, asked.caller, asked.period, wanted, cursor=asked.given.get("cursor") or None)
    findings = found.findings
    opened = feed.one(asked.store, asked.caller, asked.given.get("open", ""))
    if opened is not None and not any(each.id == opened.id for each in findings):
        findings = (opened, *findings)  # a link to a finding shows it, however many came after it
    rows = list(_rows(asked, findings, folding=not asked.given.get("incident")))
    return {
        "rows": rows,
        "older": asked.address(cursor=found.next, open=None, done=None) if found.next else "",
        "newest": asked.address(cursor=None, done=None) if asked.given.get("cursor") else "",
        "snoozes": list(snoozes(asked)),
        "back": asked.address(done=None, about=None),
    }


def _rows(asked: Asked, findings: Sequence[Anomaly], *, folding: bool) -> Iterator[Row]:
    """The findings; of each incident the first one that comes, with the others folded under it."""
    opened = asked.given.get("open", "")
    several = Counter(each.incident_id for each in findings if each.incident_id and folding)
    told: set[str] = set()
    for each in findings:
        if each.incident_id in told and each.id != opened:
            continue
        folded = several[each.incident_id] - 1 if each.incident_id and each.incident_id not in told else 0
        if each.incident_id and folding:
            told.add(each.incident_id)
        yield _row(asked, each, is_open=each.id == opened, folded=max(folded, 0))


def _row(asked: Asked, finding: Anomaly, *, is_open: bool, folded: int = 0) -> Row:
    about = feed.about_of(finding)
    gone: dict[str, str | None] = {"done": None, "about": None}
    return Row(
        finding=finding,
        label=feed.label_of(finding.anomaly_type),
        where=" · ".join(str(value) for name, value in about.items() if name != "model_provider") or "all calls",
        value=value_of(finding, finding.detected_value),
        usual=usual_of(finding),
        deviation=deviation(finding),
        toggle=asked.address(**gone, open=None if is_open else finding.id) + f"#a-{finding.id}",
        part=asked.address(f"/anomalies/{finding.id}", part="more"),
        more=more_of(asked, finding) if is_open else None,
        folded=folded,
        fold=asked.address(incident=finding.incident_id, open=None, cursor=None, **gone),
    )


def _trends(asked: Asked, found: Sequence[Seen]) -> Mapping[str, Any]:
    period = asked.period
    over_time = feed.counted(found, period, lambda _: "all")
    models = _few(feed.counted(found, period, lambda each: each.model), found, period, lambda each: each.model)
    types = feed.counted(found, period, lambda each: each.type, named=feed.label_of)[:TYPES]
    return {
        "over_time": [_bars(asked, each, _most([each]), "") for each in over_time],
        "models": [_bars(asked, each, _most(models), "model") for each in models],
        "types": [_bars(asked, each, _most(types), "type") for each in types],
        "is_table": asked.given.get("show") == "table",
        "small_ticks": _ticks(asked, most=4),
    }


def _few(counted: list[Counted], found: Sequence[Seen], period: Period, key: Any) -> list[Counted]:
    """The first ones, and all that is left as one."""
    if len(counted) <= PARTS + 1:
        return counted
    shown = {each.key for each in counted[:PARTS]}
    rest = [each for each in found if key(each) and key(each) not in shown]
    return [*counted[:PARTS], *feed.counted(rest, period, lambda _: f"{len(counted) - PARTS} others")]


def _most(counted: Sequence[Counted]) -> int:
    return max((step.count for each in counted for step in each.steps), default=1) or 1


def _bars(asked: Asked, it: Counted, most: int, filter_name: str) -> Bars:
    linked = bool(filter_name) and not it.key.endswith(" others")
    return Bars(
        name=it.name,
        href=asked.address(**{filter_name: it.key}, view=None, show=None) if linked else "",
        count=it.count,
        bars=tuple(
            (100 * place / len(it.steps), 100 * step.count / most, step.severity, _words(asked, step))
            for place, step in enumerate(it.steps)
            if step.count
        ),
        width=100 / len(it.steps),
        label=f"{it.name}: {formats.plural(it.count, 'finding')} over time, the worst {it.severity}",
    )


def _chips(asked: Asked, wanted: feed.Wanted) -> list[tuple[str, str, str]]:
    """What is asked for beside the fields of the form: its name, its value, and the address without it."""
    shown = {each: asked.given[each] for each in ("source", "detector", "incident") if asked.given.get(each)}
    return [
        (saying.noun(name), formats.short_id(value) if name == "incident" else value,
         asked.address(**{name: None}, cursor=None, done=None, about=None))
        for name, value in {**shown, **wanted.slice}.items()
    ]  # fmt: skip


def _selects(asked: Asked, found: Sequence[Seen]) -> Iterator[tuple[str, tuple[tuple[str, str], ...], str]]:
    """The fields of the form: a name, its values with their words, and which is chosen."""
    values: dict[str, list[tuple[str, str]]] = {
        "severity": [(each, each) for each in reversed(SEVERITIES)],
        "type": [(each, feed.label_of(each)) for each in sorted({each.type for each in found}, key=feed.label_of)],
        "metric": [(each, each) for each in sorted({each.metric for each in found})],
        "model": [(each, each) for each in sorted({each.model for each in found if each.model})],
        "resolution": [(each, each) for each in RESOLUTIONS],
    }
    for name in FIELDS:
        chosen = asked.given.get(name, "")
        if chosen and chosen not in dict(values[name]):
            values[name].append((chosen, chosen))
        yield name, tuple(values[name]), chosen


def _kept(asked: Asked, wanted: feed.Wanted) -> Iterator[tuple[str, str]]:
    """What the form sends along besides its fields."""
    kept = {*LASTING, "view", "lanes", "source", "detector", "incident", *wanted.slice}
    yield from ((name, value) for name, value in asked.query if name in kept and value)


def _sources(asked: Asked, found: Sequence[Seen]) -> list[tuple[str, int, str, bool]]:
    """The tables that were looked at, where there is more than one, and how much was found in each."""
    counts = Counter(each.source for each in found)
    names = {"traces": "llm_traces", "messages": "messages"}
    chosen = asked.given.get("source", "")
    if len(counts) < 2 and not chosen:
        return []
    return [("All", len(found), asked.address(source=None, cursor=None), not chosen)] + [
        (names.get(name, name), count, asked.address(source=name, cursor=None), chosen == name)
        for name, count in sorted(counts.items(), reverse=True)
    ]


def _undo(asked: Asked) -> str:
    about = asked.given.get("about", "")
    return f"/anomalies/{about}" if about and asked.given.get("done") in UNDONE else ""


def _nothing(asked: Asked, *, narrow: bool) -> str:
    if narrow:
        return "No finding matches."
    period, store, caller = asked.period, asked.store, asked.caller
    table = rolled(store, caller, period.since, period.until, step_s=DAY_S, by=("operation_type", "model_name"))
    rows = rows_of(table)
    if not rows:
        if store.extent(Span, caller.where) is None:
            return "No calls yet. Add two lines to your program, and what is unusual appears here."
        return "No calls in this time, so nothing was judged. Choose a longer one."
    calls = round(sum(row["calls"] or 0 for row in counting_calls(rows)))
    kinds = len({(row["operation_type"], row["model_name"]) for row in rows})
    when = f"in the {period.said}" if period.name else "in this time"
    return f"Nothing unusual {when}: {formats.plural(calls, 'call')}, {formats.plural(kinds, 'kind')} of call watched."
