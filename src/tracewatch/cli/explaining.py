"""`tracewatch explain`: everything known about one finding or incident, in plain words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.charts import Curve, Mark, bars, chart
from tracewatch.cli.kept import find
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    Heading,
    console,
    counted,
    format_option,
    open_db,
    plain_table,
    safe,
    show_json,
    store_options,
    to_type,
    visible,
)
from tracewatch.cli.times import parse_time, show_time
from tracewatch.errors import NotFound
from tracewatch.records import CHECKED, Anomaly, Incident, as_dict

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracewatch.explaining import Explanation, Story
    from tracewatch.stores.base import Store

LEAST_TEXT = 20  # characters of a line; shorter ones are no sentence
WIDEST = 100  # characters of a chart; a wider one is not read better
FIRST_FORM = ("spec", "rules")
MOST_MEMBERS = 8  # symptoms and notes listed under an incident
NEAR_S = 3600.0  # from the beginning of an incident to what may have begun with it: onsets are told by windows of hours
_MARKS = {"since": "▲", "detected": "◆", "now": "■"}


@click.command(epilog="\b\nExamples:\n  tracewatch explain 3f9a12c0\n  tracewatch explain 3f9a12c0 --format json")
@click.argument("anomaly_id", metavar="ID")
@store_options
@format_option("table", "json")
def explain(anomaly_id: str, db: str, project: str, output: str) -> None:
    """Show everything known about a finding or an incident.

    ID is its id or the beginning of it. What came and what was expected, since when and where, what it cost, why it
    happened with everything behind it, what to do next, and which traces to open.
    """
    with open_db(db) as store:
        found = _find(store, project, anomaly_id, db)
        if isinstance(found, Anomaly) and found.detector in FIRST_FORM:
            _show_first_form(store, found, output)
            return
        _show(store, found, output)


def _find(store: Store, project: str, given: str, db: str) -> Anomaly | Incident:
    """The incident or the finding of that id; of an incident and its root finding the incident."""
    try:
        return find(store, Incident, project, given, db)
    except NotFound:
        finding = _finding(store, project, given, db)
    if finding.detector in CHECKED and finding.incident_id:  # of what was checked the incident alone has the words
        return find(store, Incident, project, finding.incident_id, db)
    return finding


def _finding(store: Store, project: str, given: str, db: str) -> Anomaly:
    """The finding of that id. Raises Ambiguous, or a NotFound that names both lists."""
    try:
        return find(store, Anomaly, project, given, db)
    except NotFound as error:
        hint = f"List the newest with: {to_type('incidents')} or {to_type('anomalies')}"
        raise NotFound(what="incident or finding", given=given, where=db, hint=hint) from error


def _show_first_form(store: Store, finding: Anomaly, output: str) -> None:
    from tracewatch.cli.anomalies import told

    if output == "json":
        show_json(as_dict(finding))
        return
    screen = console()
    for part in told(store, finding):
        screen.print(part)


def _show(store: Store, found: Anomaly | Incident, output: str) -> None:
    from tracewatch.explaining import explain, story_of

    story = story_of(found)
    why = _as_checked(found, explain(store, found.project, story, time.time()))
    story = _measured(story, why)
    notes = _notes(store, found)
    if output == "json":
        document = {**as_dict(found), "explanation": _document(found, why)}
        show_json(document | ({"notes": [as_dict(each) for each in notes]} if isinstance(found, Incident) else {}))
        return
    screen = console()
    width = min(screen.width, WIDEST)
    for part in (
        *_head(store, found, story, why, width),
        *_course(story, why, width),
        *_because(found, why, width),
        *_evidence(_causes(found, why), width),
        *_noted(notes, width),
        *_members(store, found, width),
        *_next(found, why, width),
    ):
        screen.print(part)


def _as_checked(found: Anomaly | Incident, why: Explanation) -> Explanation:
    """The explanation; of what was checked against a fixed limit in the words of the check, which knows why."""
    from dataclasses import replace

    if not (isinstance(found, Incident) and found.detector in CHECKED):
        return why
    return replace(why, description=found.title, factors=found.contributing_factors, actions=found.recommended_actions)


def _notes(store: Store, found: Anomaly | Incident) -> list[Anomaly]:
    """What was noted as new near the beginning of an incident, and is part of none."""
    from tracewatch.stores.base import Filter

    if not isinstance(found, Incident):
        return []
    since, until = found.started_at - NEAR_S, max(found.started_at, found.detected_at) + NEAR_S
    where = [
        Filter("project", "=", (found.project,)),
        Filter("kind", "=", ("first_seen",)),
        Filter("incident_id", "=", (None,)),
        Filter("occurred_at", ">=", (since,)),
        Filter("occurred_at", "<=", (until,)),
    ]
    page = store.page(Anomaly, where, limit=MOST_MEMBERS)
    return [each for each in page.records if isinstance(each, Anomaly)]


def _measured(story: Story, why: Explanation) -> Story:
    """The story with what came and what was expected, where only the explanation knows it."""
    from dataclasses import replace

    told = why.causes.get("metric") or {}
    known = {name: told[name] for name in ("observed", "expected") if told.get(name) is not None}
    return replace(story, **known)


def _document(found: Anomaly | Incident, why: Explanation) -> dict[str, Any]:
    """The explanation, ready for JSON."""
    return {
        "description": why.description,
        "factors": list(_factors(found, why)),
        "actions": list(_actions(found, why)),
        "cost_effect_usd": why.cost_effect_usd,
        "time_effect_s": why.time_effect_s,
        "calls": why.calls,
        "users": why.users,
        "trace_ids": list(why.trace_ids),
        "causes": dict(_causes(found, why)),
    }


def _head(
    store: Store, found: Anomaly | Incident, story: Story, why: Explanation, width: int
) -> Iterator[RenderableType]:
    """What it is, in one line, one sentence, and its facts."""
    style = SEVERITY_STYLES[found.severity]
    what = f"incident, {found.state}" if isinstance(found, Incident) else (found.kind or "finding").replace("_", " ")
    yield f"[{style}]{found.severity.capitalize()}[/] · {what} · {found.id}"
    yield f"[bold]{safe(why.description)}[/]\n"
    facts = _facts(found, story, why) | {"Learning": _learning(store, found)}
    facts = {name: value for name, value in facts.items() if value}
    longest = max(map(len, facts)) + 2
    for name, value in facts.items():
        yield from _hanging(f"{name:<{longest}}", value, width, "dim")


def _facts(found: Anomaly | Incident, story: Story, why: Explanation) -> dict[str, str]:
    from tracewatch import words
    from tracewatch.explaining.measures import measure_of
    from tracewatch.explaining.saying import named
    from tracewatch.explaining.telling import beyond, usually

    measure = measure_of(story.metric)
    unit = None if measure.family == "volume" else measure.unit
    waited = None if why.time_effect_s is None else why.time_effect_s * 1000
    return {
        "What came": "" if story.observed is None else words.amount(story.observed, unit),
        "Limit": _limit(found),
        "Expected": usually(story, measure) or "",
        "How sure": _how_sure(found, story),
        "Since": f"{show_time(story.since)} UTC",
        "Detected": "" if story.detected_at is None else f"{show_time(story.detected_at)} UTC",
        "Closed": "" if story.until is None else f"{show_time(story.until)} UTC",
        "Where": named(story.slice),
        "Touched": f"{words.calls(why.calls)}, {why.users:,} {'user' if why.users == 1 else 'users'}",
        "Money": beyond(why.cost_effect_usd, "USD", measure, story.direction),
        "Waiting": beyond(waited, "ms", measure, story.direction),
        "Compared with": _compared(why.causes),
        "Incident": (found.incident_id or "") if isinstance(found, Anomaly) else "",
        "Status": found.resolution_status,
    }


def _limit(found: Anomaly | Incident) -> str:
    """The fixed limit that is crossed, of what was checked against one."""
    from tracewatch.headlines import limit_of

    if not isinstance(found, Incident):
        return ""
    limit = limit_of(found)
    return "" if limit is None else f"{limit}, of the rule {found.rule}" if found.rule else limit


def _how_sure(found: Anomaly | Incident, story: Story) -> str:
    """How sure it is; that a fixed limit is crossed is no question."""
    from tracewatch.explaining.telling import how_sure

    counted = isinstance(found, Incident) and found.detector in CHECKED and found.confidence_score >= 1.0
    if story.confidence is None or counted:
        return ""
    return f"{how_sure(story.confidence)}, {story.confidence:.2f} of 1"


def _compared(causes: Mapping[str, Any]) -> str:
    """Which calls tell what is usual, and whether all were read."""
    told = causes.get("compared") or {}
    windows = told.get("windows") or []
    if causes.get("gone") or not windows:
        return "nothing: there are no calls before it"
    days = "day" if len(windows) == 1 else "days"
    when = f"the same hours of {len(windows)} {days} before" if told["same_hours"] else "all hours of the days before"
    part = "" if told["share_read"] >= 1 else f" (a sample: {told['share_read']:.0%} of the calls were read)"
    return f"{counted(told['usual_calls'], 'call')} of {when}{part}"


def _learning(store: Store, found: Anomaly | Incident) -> str:
    """How much detection knew when it found it, such as 'learning 14/30 days'; nothing once it knows enough."""
    key = {"project": found.project, "id": found.root_id if isinstance(found, Incident) else found.id}
    root = store.get(Anomaly, key)
    state = root.statistics.get("learning") if isinstance(root, Anomaly) else None
    if not isinstance(state, Mapping) or state["days"] >= state["of"]:
        return ""
    return f"learning {state['days']}/{state['of']} days when it was found"


def _course(story: Story, why: Explanation, width: int) -> Iterator[RenderableType]:
    """The metric over time around the onset, with its expected range and what happened when."""
    from tracewatch.explaining.measures import measure_of

    told, measure = why.causes.get("course"), measure_of(story.metric)
    if not told:
        return
    volume = measure.family == "volume"  # what is expected of it is about the whole time, not one step
    curve = Curve(
        values=told["values"],
        calls=told["calls"],
        lower=None if volume else story.lower,
        upper=None if volume else story.upper,
        unit=None if volume else measure.unit,
        adds=volume,
    )
    start, length = parse_time(told["start"]), told["step_s"] * len(told["values"])
    moments = {"since": story.since, "detected": story.detected_at, "now": parse_time(why.causes["compared"]["until"])}
    marks = [Mark(at=(at - start) / length, sign=_MARKS[name]) for name, at in moments.items() if at is not None]
    lines = chart(curve, marks, width)
    if not lines:
        return
    yield f"\n[dim]{'Calls' if volume else story.metric}, {_steps(told['step_s'])}[/]"
    yield safe_lines(lines)
    over = "over" if story.until is not None else "now"
    labels = {"since": "since", "detected": "detected", "now": over}
    legend = [f"{_MARKS[name]} {labels[name]} {show_time(at)}" for name, at in moments.items() if at is not None]
    legend += ["░ expected"] if curve.lower is not None else []
    yield from _hanging("", "  ".join(legend), width)


def safe_lines(lines: Sequence[str]) -> RenderableType:
    """Lines of a drawing, each in one piece whatever the window."""
    from rich.text import Text

    return Text("\n".join(lines), no_wrap=True, overflow="crop")


def _steps(step_s: int) -> str:
    from tracewatch.explaining.saying import lasting

    return f"each point {lasting(step_s)}"


def _because(found: Anomaly | Incident, why: Explanation, width: int) -> Iterator[RenderableType]:
    told = list(_factors(found, why))
    nothing = "The calls of that time are gone (retention), and nothing was kept about it."
    unclear = "No single cause stands out in the numbers."
    yield from _list("Why", told or [nothing if why.causes.get("gone") else unclear], width)


def _factors(found: Anomaly | Incident, why: Explanation) -> Sequence[str]:
    """What led to it; where the calls are gone, as it was kept."""
    return found.contributing_factors if why.causes.get("gone") else why.factors


def _actions(found: Anomaly | Incident, why: Explanation) -> Sequence[str]:
    return found.recommended_actions if why.causes.get("gone") else why.actions


def _causes(found: Anomaly | Incident, why: Explanation) -> Mapping[str, Any]:
    """What is behind it; where the calls are gone, as it was kept."""
    kept = (found.causes if isinstance(found, Incident) else found.statistics.get("causes")) or {}
    return {**kept, "gone": True} if why.causes.get("gone") else why.causes


def _evidence(causes: Mapping[str, Any], width: int) -> Iterator[RenderableType]:
    """Bridges, slices, changes and what else moved."""
    effect = causes.get("effect") or {}
    if effect.get("cost_usd") is not None:
        yield from _bridge("Money, from the usual to what came", causes.get("cost"), width)
    if effect.get("time_s") is not None:
        yield from _bridge("Time of a call, from the usual to what came", causes.get("latency"), width)
    metric = causes.get("metric") or {}
    if (metric.get("family"), metric.get("direction")) != ("volume", "down"):  # who is missing has no calls to show
        yield from _slices(causes.get("slices") or {})
    yield from _changes(causes.get("changes") or [], width)
    yield from _moved(causes.get("moved") or [], width)


def _bridge(title: str, told: Mapping[str, Any] | None, width: int) -> Iterator[RenderableType]:
    """The parts of a change as signed bars; parts too small to be seen are summed as the rest."""
    from tracewatch import words
    from tracewatch.explaining.saying import part as called
    from tracewatch.explaining.saying import signed

    if not told or not told["parts"]:
        return
    unit, most = told["unit"], max(abs(part["change"]) for part in told["parts"])
    if not most:
        return
    shown = [part for part in told["parts"] if abs(part["change"]) >= 0.01 * most]
    rows = [(called(part["name"], part["change"]), part["change"], signed(part["change"], unit)) for part in shown]
    yield f"\n[dim]{title}[/]"
    whole = signed(told["after"] - told["before"], unit)
    yield f"  {words.amount(told['before'], unit)} → {words.amount(told['after'], unit)} ({whole})"
    yield safe_lines([f"  {line}" for line in bars(rows, width - 2)])


def _slices(told: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Who holds the excess."""
    from tracewatch.explaining.saying import named, share

    rows = [*told.get("explaining", []), *told.get("others", [])]
    if not rows:
        return
    yield "\n[dim]Where: its share of the excess beside its share of the calls[/]"
    table = plain_table(
        (Heading(name="slice", least=12), Heading(name="of it", right=True), Heading(name="of calls", right=True))
    )
    for each in rows:
        table.add_row(safe(named(each["slice"])), share(each["of_excess"]), share(each["of_calls"]))
    yield table


def _changes(told: Sequence[Mapping[str, Any]], width: int) -> Iterator[RenderableType]:
    """What became different near the onset."""
    from tracewatch.explaining.saying import noun

    if told:
        yield from _list(
            "What changed around then",
            [
                f"{noun(each['column'])}: {_said(each['was'])} → {_said(each['value'])} at "
                f"{show_time(parse_time(each['at']))}, {each['coverage']:.0%} of the calls"
                for each in told
            ],
            width,
        )


def _said(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, float) else "none" if value is None else str(value)


def _moved(told: Sequence[Mapping[str, Any]], width: int) -> Iterator[RenderableType]:
    """Other numbers of the same calls."""
    from tracewatch import words

    if told:
        lines = []
        for each in told[:MOST_MEMBERS]:
            before, after = (words.amount(each[name], each["unit"]) for name in ("before", "after"))
            lines.append(f"{each['metric']}: {after}, usually {before}")
        yield from _list("What else is different about these calls", lines, width)


def _noted(notes: Sequence[Anomaly], width: int) -> Iterator[RenderableType]:
    """What was new around then."""
    if notes:
        yield from _list("First seen around then", [each.description for each in notes], width)


def _members(store: Store, found: Anomaly | Incident, width: int) -> Iterator[RenderableType]:
    """The findings folded under an incident, besides the one that stands for it."""
    from tracewatch.stores.base import Filter

    if not isinstance(found, Incident):
        return
    mine = [Filter("project", "=", (found.project,)), Filter("incident_id", "=", (found.id,))]
    page = store.page(Anomaly, mine, limit=200)
    others = [each for each in page.records if isinstance(each, Anomaly) and each.id != found.root_id]
    if not others:
        return
    yield from _list("Also part of it", [each.description for each in others[:MOST_MEMBERS]], width)
    if len(others) > MOST_MEMBERS:
        yield f"  … and {len(others) - MOST_MEMBERS} more"


def _next(found: Anomaly | Incident, why: Explanation, width: int) -> Iterator[RenderableType]:
    """What to do, and which traces to open."""
    told = _actions(found, why)
    if told:
        yield from _list("What to do next", told, width)
    if not why.trace_ids:
        return
    yield "\n[dim]Traces that show it[/]" if not why.causes.get("gone") else "\n[dim]Traces (their calls are gone)[/]"
    for trace_id in why.trace_ids:
        yield f"  [bold]{safe(to_type(f'trace {trace_id}'))}[/]"
    usual = (why.causes.get("examples") or {}).get("usual")
    if usual:
        yield f"  [bold]{safe(to_type('trace ' + usual['trace_id']))}[/]  (a usual one, to compare)"
    yield ""


def _list(title: str, entries: Sequence[str], width: int) -> Iterator[RenderableType]:
    yield f"\n[dim]{title}[/]"
    for each in entries:
        yield from _hanging("  • ", each, width)


def _hanging(label: str, text: str, width: int, style: str = "") -> Iterator[RenderableType]:
    """A text behind its label; its further lines stand as far in."""
    from rich.text import Text

    room = max(width - len(label), LEAST_TEXT)
    for number, line in enumerate(Text(visible(text)).wrap(console(), room)):
        line.rstrip()
        yield Text(label if not number else " " * len(label), style).append(line.plain, "not dim" if style else "")
