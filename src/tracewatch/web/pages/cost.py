"""Where the money goes: against its range, against the period before, and by whom or what it was spent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tracewatch import formats
from tracewatch.bridges import Bridge as CostBridge
from tracewatch.bridges import Part as CostPart
from tracewatch.explaining import saying
from tracewatch.pricing import STALE_AFTER_DAYS, table_age_days, table_version
from tracewatch.records import Span
from tracewatch.remarks import ASK_FOR_TOKENS
from tracewatch.web import charts, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.pages.incidents import Fact, bridge_rows
from tracewatch.web.pages.overview import step_word
from tracewatch.web.pages.traces import shown_period
from tracewatch.web.views.forecast import Forecast, forecasts
from tracewatch.web.views.incident import Bridge, Part
from tracewatch.web.views.spending import PEOPLE_BY, ROLLED_BY, Provenance, Spending, spending

router = APIRouter(include_in_schema=False)

CENTS = 2  # digits of a dollar, in which the bridge is told as well
ALIKE = 0.05  # of the cost: a smaller change is none to speak of
ALL = 0.95  # of the change: what is left is not worth a number
TELLING = 0.3  # of the change: a part that holds less is not its reason
REASONS = {
    "calls": ("more calls", "fewer calls"),
    "tokens per call": ("more tokens per call", "fewer tokens per call"),
    "model mix": ("dearer models", "cheaper models"),
    "cache share": ("fewer tokens from the cache", "more tokens from the cache"),
    "price": ("higher prices", "lower prices"),
}
SAID = {
    "exact": "listed", "dated": "listed, without the date in its name", "alias": "listed, under another name",
    "override": "your own price", "reported": "as the caller reported", "free": "free", "unpriced": "no price known",
    "default_rate": "listed, at the standard rate", "unmetered": "no tokens reported", None: "not priced yet",
}  # fmt: skip


@router.get("/cost", response_class=HTMLResponse)
def show_cost(request: Request, asked: Ask) -> HTMLResponse:
    """The cost of a period."""
    reach = asked.store.extent(Span, asked.caller.where)
    period, moved = shown_period(asked, reach[1] if reach else None)
    by = asked.given.get("by", "model_name")
    it = spending(asked.store, asked.caller, period, asked.now, by=by)
    now = min(asked.now, period.until)
    age = table_age_days(asked.now)
    return drawing.page(
        request, asked, "cost.html",
        it=it, period=asked.period, moved=moved, last_call=reach[1] if reach else None, said=sentence(it),
        facts=list(_facts(asked, it, forecasts(asked.store, asked.caller, now, asked.zone))),
        chart=charts.band(it.series, asked.zone, asked.now), step_word=step_word(period.step_s),
        bridge=_bridge(it), tabs=_tabs(), show=_shown(it), top=max((each.share for each in it.lines), default=0.0),
        unpriced=[each for each in it.models if each.status in (None, "unpriced")], said_status=said_status,
        uncounted=ASK_FOR_TOKENS if any(each.status == "unmetered" for each in it.models) else "",
        table=f"genai-prices {table_version()}", age=round(age), stale=age > STALE_AFTER_DAYS,
        priced=_priced(it.priced_share), cost_of=formats.cost,
    )  # fmt: skip


def sentence(it: Spending) -> tuple[str, str, str]:
    """What there is to say about a period: before, the number, and after it."""
    when = f"in the {it.period.said}"
    if it.unpriced and not it.usd:
        return (
            "What was spent ",
            "is not known",
            f" {when}: {formats.plural(it.unpriced, 'call')} without a known cost.",
        )
    usd = formats.cost(it.usd, it.unpriced)
    if not it.has_before:
        return "", usd, f" {when}; there were no calls in the time before to compare it with."
    change = it.usd - it.before_usd
    if not it.before_usd:
        return "", usd, f" {when}, after nothing in the time before."
    if abs(change) < ALIKE * it.before_usd:
        return "", usd, f" {when}, about as much as in the time before."
    ratio = it.usd / it.before_usd
    much = f"{formats.ratio(ratio)} as much as" if ratio >= 1.5 else (
        f"{formats.percent(abs(change) / it.before_usd)} {'more' if change > 0 else 'less'} than"
    )  # fmt: skip
    reason = _reason(it.bridge) if it.bridge is not None else ""
    return "", usd, f" {when}, {much} in the time before{reason}."


def _reason(bridge: CostBridge) -> str:
    """The part that holds most of the change, if it holds enough of it to be called the reason."""
    worked: list[CostPart] = [each for each in bridge.parts if each.name in REASONS and each.change * bridge.change > 0]
    most = max(worked, key=lambda each: abs(each.change), default=None)
    if most is None or abs(most.change) < TELLING * abs(bridge.change):
        return ""
    share = min(abs(most.change / bridge.change), 1.0)
    words = REASONS[most.name][0 if bridge.change > 0 else 1]
    if most.name == "cache share":
        words = REASONS[most.name][0 if most.change > 0 else 1]
    return f", because of {words}" if share >= ALL else f", {formats.percent(share)} of it because of {words}"


def _facts(asked: Asked, it: Spending, forecast: tuple[Forecast, Forecast]) -> Iterator[Fact]:
    today, month = forecast
    if it.has_before:
        before, _, (change,) = charts.rounded_together(it.before_usd, it.usd, [it.usd - it.before_usd], CENTS)
        yield Fact(name="The time before", value=formats.money(before), note=f"this time {formats.more_money(change)}")
    yield Fact(name="Today", value=formats.cost(today.so_far, today.unpriced), note=_ends(today, "by midnight"))
    last = datetime.fromtimestamp(month.ends - 1, asked.zone)
    end = f"{last.day} {formats.MONTHS[last.month - 1]}"
    yield Fact(name="This month", value=formats.cost(month.so_far, month.unpriced), note=_ends(month, f"by {end}"))
    if it.priced:
        yield Fact(
            name="Per call", value=formats.call_cost(it.usd / it.priced),
            note=f"{formats.call_cost(it.before_usd / it.before_priced)} before" if it.before_priced else "",
        )  # fmt: skip
    yield Fact(name="Calls", value=formats.count(it.calls), note=f"{formats.count(it.before_calls)} before")
    if it.priced_share is not None:
        note = f"{formats.plural(it.unpriced, 'call')} of unknown cost" if it.unpriced else "nothing is missing"
        yield Fact(name="Tokens priced", value=_priced(it.priced_share), note=note)


def _priced(share: float | None) -> str:
    """How much has a price, with a decimal: 99.6 % and 100 % are not the same."""
    if share is None or share in (0.0, 1.0):
        return formats.percent(share)
    return f"{min(max(int(share * 1000) / 10, 0.1), 99.9):.1f}{formats.THIN}%"


def _ends(it: Forecast, when: str) -> str:
    if it.low is None or it.high is None:
        return "too little is known to foresee more"
    return f"{formats.spanning(formats.money(it.low), formats.money(it.high))} {when}"


def _bridge(it: Spending) -> list[charts.BridgeRow]:
    if it.bridge is None:
        return []
    parts = tuple(
        Part(name=each.name, note=_quantities(each), change=each.change) for each in it.bridge.parts
    )  # fmt: skip
    made = Bridge(unit="USD", before=it.bridge.before, after=it.bridge.after, parts=parts)
    return bridge_rows(made, ("The time before", "This time"))


def _quantities(part: CostPart) -> str:
    if part.before is None or part.after is None:
        return ""
    told = formats.percent if part.name == "cache share" else lambda value: formats.count(round(value))
    return f"{told(part.before)} → {told(part.after)}"


def _tabs() -> list[tuple[str, str]]:
    return [(name, saying.noun(name)) for name in (*ROLLED_BY, *PEOPLE_BY)]


def _shown(it: Spending) -> Mapping[str, bool]:
    """Columns that are empty on the whole page are left out."""

    def any_of(told: Any) -> bool:
        return any(told(each) for each in it.lines)

    return {
        "tokens": any_of(lambda each: each.fresh or each.output),
        "cached": any_of(lambda each: each.read or each.written),
        "reasoning": any_of(lambda each: each.reasoning),
        "before": any_of(lambda each: each.before_usd is not None),
    }


def said_status(each: Provenance) -> str:
    """Where a price comes from, in words."""
    return SAID.get(each.status, str(each.status))
