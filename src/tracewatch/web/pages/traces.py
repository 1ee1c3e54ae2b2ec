"""The table of calls, filtered by the address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tracewatch import formats
from tracewatch.errors import BadFilter, TracewatchError
from tracewatch.records import STATUSES, Span
from tracewatch.web import drawing
from tracewatch.web.asking import LASTING, Ask, Asked
from tracewatch.web.views.period import Period, ending
from tracewatch.web.views.summary import is_unpriced, name_of
from tracewatch.web.views.trace import find
from tracewatch.web.views.traces import Chip, Found, calls, chips, choices, sequence, typed
from tracewatch.web.views.typical import Typical

router = APIRouter(include_in_schema=False)

DAY_S = 86_400
OLD_S = 2 * DAY_S
MOST_CALLS = 30  # of a trace under its row
SELECTS = (("status", "status"), ("operation_type", "operation"), ("model_name", "model"))


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRange:
    """A latency on its usual range; places in per cent."""

    low: float
    width: float
    at: float
    hot: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call in the sequence under a row."""

    name: str
    took: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A call as it is drawn."""

    span: Span
    name: str
    kind: str
    cached: float | None
    cost: str
    range: OnRange | None
    severity: str
    href: str
    toggle: str
    is_open: bool
    calls: tuple[Call, ...]


@router.get("/traces", response_class=HTMLResponse)
def show_traces(request: Request, asked: Ask) -> Response:
    """The calls that match."""
    typed_text = asked.given.get("q", "").strip()
    wrong = ""
    if typed_text:
        to, wrong = _meant(asked, typed_text)
        if to:
            return RedirectResponse(to, status_code=303)
    try:
        wanted = chips(asked.given)
    except TracewatchError as error:
        wanted, wrong = (), f"{str(error)[:1].upper()}{str(error)[1:]}."
    reach = asked.store.extent(Span, asked.caller.where)
    last = reach[1] if reach else None
    period, moved = shown_period(asked, last)
    found = calls(asked.store, asked.caller, period, wanted, asked.now, asked.given.get("cursor") or None)
    return drawing.page(
        request, asked, "traces.html",
        chips=wanted, wrong=wrong, moved=moved, period=asked.period, last_call=last, match=found.match,
        matched=_matched(found), top_bar=max(found.match.bars, default=1) or 1, without=found.without,
        rows=list(_rows(asked, found)), show=_shown(found), nothing=_nothing(wanted, last),
        older=asked.address(cursor=found.next, open=None) if found.next else "",
        selects=_selects(asked, period), kept=list(_kept(asked, wanted)),
    )  # fmt: skip


def _meant(asked: Asked, text: str) -> tuple[str, str]:
    """Where a typed text leads: to a filter of the address, or to the trace of that id; else what is wrong with it."""
    trace_id = find(asked.store, asked.caller, text)
    if trace_id is not None:
        return asked.trace(trace_id), ""
    try:
        name, value = typed(text)
    except BadFilter as error:
        return "", f"{str(error)[:1].upper()}{str(error)[1:]}. No trace begins with that, either."
    except TracewatchError as error:
        return "", f"{str(error)[:1].upper()}{str(error)[1:]}."
    return asked.address(q=None, cursor=None, **{name: value}), ""


def shown_period(asked: Asked, last: float | None) -> tuple[Period, bool]:
    """The time that is shown: the one that was asked for, or as long a one up to the last call of an old database."""
    given = asked.given
    explicit = any(given.get(name) for name in ("from", "to"))
    if last is not None and not explicit and asked.now - last > OLD_S:
        return ending(asked.period, last + 1), True
    return asked.period, False


def _matched(found: Found) -> str:
    if found.match.calls is None:
        return f"more than {len(found.spans)} calls" if found.next else formats.plural(len(found.spans), "call")
    calls, steps = formats.plural(found.match.calls, "call"), formats.plural(found.match.steps, "step")
    if not found.match.steps:
        return calls
    return f"{calls}, {steps} around them" if found.match.calls else steps


def _nothing(wanted: tuple[Chip, ...], last: float | None) -> str:
    if last is None:
        return "No calls yet. Add two lines to your program, and the first one appears here by itself."
    if not wanted:
        return "No calls in this time. Choose a longer one."
    return f"No call matches {'this filter' if len(wanted) == 1 else f'these {len(wanted)} filters'}."


def _rows(asked: Asked, found: Found) -> Iterator[Row]:
    opened = asked.given.get("open", "")
    shown: set[str] = set()
    for span in found.spans:
        is_open = opened == span.span_id
        name = name_of(span)
        kind = next((each for each in (span.usage_type, span.operation_type) if each and each != name), "")
        toggle = asked.address(open=None if is_open else span.span_id) + f"#t-{span.span_id}"
        sent, read = span.input_tokens, span.cache_read_input_tokens
        yield Row(
            span=span,
            name=name,
            kind=kind,
            cached=min(read / sent, 1.0) if read is not None and sent else None,
            cost=_cost(span),
            range=_on_range(span.duration_ms, found.usual.get((span.operation_type, span.model_name))),
            severity=found.severities.get(span.trace_id, "") if span.trace_id not in shown else "",
            href=asked.trace(span.trace_id, span=span.span_id),
            toggle=toggle,
            is_open=is_open,
            calls=tuple(_calls(asked, span.trace_id)) if is_open else (),
        )
        shown.add(span.trace_id)


def _calls(asked: Asked, trace_id: str) -> Iterator[Call]:
    spans = sequence(asked.store, asked.caller, trace_id)
    for each in spans[:MOST_CALLS]:
        yield Call(name=name_of(each), took=formats.duration(each.duration_ms), status=each.status)
    if len(spans) > MOST_CALLS:
        yield Call(name=f"and {len(spans) - MOST_CALLS:,} more", took="", status="ok")


def _cost(span: Span) -> str:
    if span.cost_status == "free":
        return "free"
    if span.cost_usd is None:
        return "unknown" if is_unpriced(span) else formats.MISSING
    return formats.call_cost(span.cost_usd)


def _on_range(duration_ms: float | None, usual: Typical | None) -> OnRange | None:
    if duration_ms is None or usual is None:
        return None
    top = max(usual.high * 1.6, duration_ms) or 1.0
    return OnRange(
        low=round(100 * usual.low / top, 1),
        width=round(100 * (usual.high - usual.low) / top, 1),
        at=round(min(100 * duration_ms / top, 95.0), 1),
        hot=duration_ms > usual.high * 1.15,
        title=f"usually {formats.between(usual.low, usual.high, 'ms')}",
    )


def _shown(found: Found) -> Mapping[str, bool]:
    """Columns that are empty on the whole page are left out."""
    return {
        "tokens": any(each.input_tokens is not None or each.output_tokens is not None for each in found.spans),
        "cached": any(each.cache_read_input_tokens is not None for each in found.spans),
        "cost": any(each.cost_usd is not None or each.cost_status for each in found.spans),
    }


def _selects(asked: Asked, period: Period) -> list[tuple[str, str, tuple[str, ...]]]:
    known = {**choices(asked.store, asked.caller, period, asked.now), "status": STATUSES}
    return [(name, label, known[name]) for name, label in SELECTS if len(known[name]) > 1]


def _kept(asked: Asked, wanted: tuple[Chip, ...]) -> Iterator[tuple[str, Any]]:
    """What the form sends along: the period, and filters that it has no field for."""
    fields = {name for name, _ in SELECTS}
    yield from ((name, value) for name, value in asked.query if name in LASTING)
    yield from ((each.name, each.value) for each in wanted if each.name not in fields)
