"""The first screen: is something wrong now?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tracewatch import formats, headlines
from tracewatch.explaining import saying
from tracewatch.explaining.measures import measure_of
from tracewatch.headlines import Headline
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import SEVERITIES, Incident
from tracewatch.web import alerting, charts, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.views.keeping import others
from tracewatch.web.views.overview import Number, Overview, overview

router = APIRouter(include_in_schema=False)

HOUR_S, DAY_S = 3600, 86_400
MOST_NAMED = 8  # other projects that are named where this one is empty
LANE_CHOICES = (
    ("kind", "operation and model"),
    ("model_name", "model"),
    ("operation_type", "operation"),
    ("model_provider", "provider"),
    ("usage_type", "usage type"),
)
_NAMES = {"cost": "Cost", "calls": "Calls", "latency": "Latency, average", "errors": "Errors", "fallbacks": "Fallbacks"}
_FILTERS = {"errors": {"status": "error,timeout"}, "fallbacks": {"status": "fallback"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One of the numbers as it is drawn."""

    name: str
    value: str
    small: str
    usual: str
    title: str
    href: str
    spark: charts.Spark
    worst: Incident | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What an incident cost so far: in which word, how much, and how much an hour."""

    name: str = ""
    text: str = ""
    rate: str = ""


@router.get("/", response_class=HTMLResponse)
def show_overview(request: Request, asked: Ask) -> HTMLResponse:
    """The first screen."""
    it = overview(asked.store, asked.caller, asked.period, asked.now, asked.zone, by=asked.given.get("lanes", "kind"))
    lost = alerting.undelivered(asked.store, asked.caller, asked.now)
    return drawing.page(request, asked, "overview.html", overview=it, undelivered=lost, **_values(asked, it))


def numbers_of(asked: Asked) -> Mapping[str, Any]:
    """What the numbers of the first screen are drawn from, of a page that is open."""
    it = overview(asked.store, asked.caller, asked.period, asked.now, asked.zone)
    return {
        "it": it,
        "numbers": [_shown(asked, it, each) for each in it.numbers],
        "open_words": _open_words(it.opened),
    }


def _values(asked: Asked, it: Overview) -> Mapping[str, Any]:
    until = it.period.until
    cost, calls = it.charts
    return {
        **_verdict(asked, it),
        "calm": _calm(asked, it),
        "elsewhere": others(asked.store, asked.caller)[:MOST_NAMED] if it.standing.is_empty else (),
        "numbers": [_shown(asked, it, each) for each in it.numbers],
        "open_words": _open_words(it.opened),
        "lane_ticks": charts.time_ticks(it.period.since, until, asked.zone, asked.now, most=6),
        "lane_href": lambda slice: asked.address("/traces", **slice),
        "counted_href": lambda **filters: _counted_calls(asked, it, **filters),
        "lane_choices": LANE_CHOICES,
        "step_word": step_word(it.period.step_s),
        "cost_chart": charts.band(_labelled(cost, "Cost over time, with its usual range"), asked.zone, asked.now),
        "calm_chart": charts.band(
            _labelled(cost, "Cost over time, with its usual range"), asked.zone, asked.now, across=4
        ),
        "calls_chart": charts.band(_labelled(calls, "Calls over time, with their usual range"), asked.zone, asked.now),
        "cost_hint": f"{formats.cost(it.shown[1], it.shown[2])} in {_long(it)}"
        + (f" · {formats.percent(it.priced_share)} of tokens priced" if it.priced_share is not None else ""),
        "calls_hint": f"{formats.count(it.shown[0])} in {_long(it)}",
    }


def _verdict(asked: Asked, it: Overview) -> Mapping[str, Any]:
    incident = it.verdict
    if incident is None:
        return {"chart": None, "effect": Effect(), "where": "", "chart_title": "", "callout": "", "expected_title": ""}
    drawn = None
    if it.chart is not None:
        label = headlines.headline(incident, asked.zone, asked.now).text
        drawn = charts.band(_labelled(it.chart, label), asked.zone, asked.now, onset=incident.started_at, across=5)
    return {
        "chart": drawn,
        "effect": effect_of(incident, asked.now),
        "where": saying.named(incident.slice or {}),
        "chart_title": title_of_course(incident.metric_name, it.chart) if it.chart else "",
        "expected_title": EXPECTED,
        "callout": callout_of(incident),
    }


def title_of(metric: str, step_s: float = HOUR_S) -> str:
    """What the chart of a metric is called."""
    if measure_of(metric).family == "volume":
        return f"Calls per {step_word(step_s)}"
    return _TITLES.get(metric) or _label(metric)


def title_of_course(metric: str, course: charts.Series) -> str:
    """What the chart of what was judged is called: of single calls it says that each of them is drawn."""
    title = title_of(metric, course.step_s)
    if course.unit == "sum USD" or (course.unit is None and measure_of(metric).family != "volume"):
        return f"{'Cost' if course.unit else 'Tokens'} per {step_word(course.step_s)}"  # of a budget
    return f"{title}, call by call" if course.calls else title


EXPECTED = (
    "Before the incident: of such hours in the two weeks before. From its beginning on: what was expected of these "
    "very calls, as the sentence says it."
)
"""What the band of a picture of an incident means."""

_TITLES = {
    "cost_usd": "Cost per call",
    "error_rate": "Calls that fail",
    "fallback_rate": "Calls that fall back",
    "timeout_rate": "Calls that time out",
    "retry_rate": "Calls tried again",
    "cache_hit_rate": "Cache hit rate",
    "input_tokens": "Prompt, tokens",
    "output_tokens": "Answer, tokens",
}


def _label(metric: str) -> str:
    """A metric as the list of metrics calls it."""
    known = METRIC_OF.get(metric)
    named = known.label if known else saying.noun(metric)
    return named[:1].upper() + named[1:]


def callout_of(incident: Incident) -> str:
    """The number in the picture: how many times as much, or what it is now, and what it cost."""
    ratio = incident.observed / incident.expected if incident.observed is not None and incident.expected else None
    measure = measure_of(incident.metric_name)
    shown = ""
    if measure.unit in ("share", "score") and incident.observed is not None:
        shown = formats.amount(incident.observed, measure.unit)
    elif ratio is not None and ratio > 0:
        shown = formats.ratio(ratio)
    cost = incident.cost_effect_usd
    return f"{shown} {formats.more_money(cost)}".strip() if cost and cost >= headlines.WORTH_USD else shown


def effect_of(incident: Incident, now: float) -> Effect:
    """What an incident cost so far, in money or in waiting; nothing where neither is known."""
    hours = max(((incident.closed_at or now) - incident.started_at) / HOUR_S, 1 / 60)
    cost, waited = incident.cost_effect_usd, incident.time_effect_s
    name = "So far" if incident.closed_at is None else "In all"
    measure = measure_of(incident.metric_name)
    if cost is not None and cost >= headlines.WORTH_USD and measure.family in ("money", "tokens", "cache", "volume"):
        return Effect(name=name, text=formats.more_money(cost), rate=f"≈ {formats.money(cost / hours)}/h")
    if waited is not None and waited >= headlines.WORTH_S and measure.family in ("time", "failures"):
        rate = f"≈ {formats.seconds(waited / hours)} an hour" if incident.kind != "point" else ""
        return Effect(name=name, text=f"+{formats.seconds(waited)}", rate=rate)
    if cost is not None and cost >= headlines.WORTH_USD:
        return Effect(name=name, text=formats.more_money(cost), rate=f"≈ {formats.money(cost / hours)}/h")
    return Effect()


def step_word(step_s: float) -> str:
    """A step of a chart in words.

    >>> [step_word(each).replace(formats.THIN, " ") for each in (60, 300, 3600, 10800, 86400)]
    ['minute', '5 min', 'hour', '3 hours', 'day']
    """
    for unit_s, one, several in (
        (7 * DAY_S, "week", "weeks"),
        (DAY_S, "day", "days"),
        (HOUR_S, "hour", "hours"),
        (60, "minute", "min"),
    ):
        number = round(step_s / unit_s)
        if step_s >= unit_s and abs(number * unit_s - step_s) < 1:
            return one if number == 1 else f"{number}{formats.THIN}{several}"
    return formats.lasting(step_s)


def _calm(asked: Asked, it: Overview) -> Headline:
    calls = formats.plural(it.calls, "call")
    when = _day(asked, it, before="on ") if it.period.name == "24h" else f"in the {it.period.said}"
    usual = {each.key: each for each in it.numbers}
    cost = formats.cost(it.cost_usd, it.unpriced_calls)
    odd = [name for name in ("calls", "cost") if _outside(usual.get(name))]
    expected = (
        ", both as expected"
        if not odd and all(usual.get(name) and usual[name].usual for name in ("calls", "cost"))
        else ""
    )
    said = "" if it.standing.is_unwatched or it.standing.is_learning else "Nothing unusual. "
    return Headline(before=said, strong=f"{calls} {when}", after=f", {_said(cost)}{expected}.")


def _day(asked: Asked, it: Overview, *, before: str) -> str:
    """The day whose numbers are shown: that of the last call where none have come for long."""
    return "today" if it.period.follows else before + formats.day(it.today, asked.zone, asked.now)


def _said(cost: str) -> str:
    return "at a cost that is not known" if cost == formats.money(None) else cost


def _outside(number: Number | None) -> bool:
    if number is None or number.usual is None or number.value is None:
        return False
    return not number.usual[0] <= number.value <= number.usual[1]


def _shown(asked: Asked, it: Overview, number: Number) -> Shown:
    name, small, title = _NAMES[number.key], "", ""
    if number.key in ("cost", "calls"):
        name += " " + _day(asked, it, before="of ") if it.period.name == "24h" else f", {it.period.said}"
    if number.key == "cost":
        value, _, small = formats.cost(number.value, it.unpriced_calls).partition(" ")
        title = f"{formats.plural(it.unpriced_calls, 'call')} whose cost is not known" if it.unpriced_calls else ""
        usual = _usually(number, formats.money)
    elif number.key == "latency":
        value = formats.duration(number.value)
        small = f"p95 {formats.duration(it.p95_ms)}"
        usual = _usually(number, formats.duration)
    elif number.key == "calls":
        value, title = formats.count(number.value), formats.exactly(number.value)
        usual = _usually(number, lambda value: formats.count(round(value)))
    else:
        value, usual = formats.percent(number.value), _usually(number, formats.percent)
    known = number.series
    assert known is not None, "every number has a course"
    first = None
    if number.worst is not None:
        first = max(int((number.worst.started_at - known.start) // known.step_s), 0)
    return Shown(
        name=name, value=value, small=small, usual=usual, title=title, worst=number.worst,
        href=_counted_calls(asked, it, **_FILTERS.get(number.key, {})),
        spark=charts.spark(known.over, known.expected, first),
    )  # fmt: skip


def _counted_calls(asked: Asked, it: Overview, **filters: str) -> str:
    """The address of the calls that the numbers count: of a day those since midnight, not those of 24 hours."""
    if it.period.name != "24h":
        return asked.address("/traces", **filters)
    return asked.address("/traces", **{"since": None, "from": formats.iso(it.today), **filters})


def _usually(number: Number, told: Callable[[float], str]) -> str:
    if number.usual is None:
        return "usual range not known yet"
    low, high = number.usual
    if low <= 0:
        return f"usually up to {told(high)}"
    return f"usually {formats.spanning(told(low), told(high))}"


def _open_words(opened: Sequence[Incident]) -> str:
    return " · ".join(_counted(opened))


def _counted(opened: Sequence[Incident]) -> Iterator[str]:
    for severity in reversed(SEVERITIES):
        count = sum(each.severity == severity for each in opened)
        if count:
            yield f"{count} {severity}"


def _long(it: Overview) -> str:
    return it.period.said.removeprefix("last ")


def _labelled(series: charts.Series, label: str) -> charts.Series:
    from dataclasses import replace

    return replace(series, label=label)
