"""One trace: its waterfall over what is usual, its selected span, and beside another trace."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tracewatch import formats
from tracewatch.records import CONTENT_ENTRIES, Span, columns
from tracewatch.remarks import ASK_FOR_TOKENS, is_uncounted, remarks_on
from tracewatch.web import drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.pages.incidents import bridge_rows
from tracewatch.web.views.bars import Row, places_of, window
from tracewatch.web.views.summary import Summary, is_unpriced, name_of
from tracewatch.web.views.trace import WINDOW, Pair, Trace, compare, find, trace, usual_of
from tracewatch.web.views.typical import Typical, alike
from tracewatch.web.views.waterfall import Waterfall, minimap, waterfall

router = APIRouter(include_in_schema=False)

MOST_ROWS = 300  # of a window that is asked for
MOST_PAIRS = 200
WORTH_MS = 50.0  # between two traces: less is no bridge
ODD = 1.15  # times p95: beyond it a number is marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """A number of the trace beside what is usual of it; places in per cent."""

    name: str
    value: str
    usual: str
    low: float
    high: float
    at: float
    hot: bool


@router.get("/traces/{trace_id}", response_class=HTMLResponse)
def show_trace(request: Request, asked: Ask, trace_id: str) -> HTMLResponse:
    """One trace."""
    found = find(asked.store, asked.caller, trace_id)
    first, opened = _number(asked.given.get("from-row")), _opened(asked)
    told = found and trace(
        asked.store, asked.caller, found, asked.now, first=first, span_id=asked.given.get("span"), opened=opened
    )
    if not told:
        return _missing(request, asked, trace_id)
    return drawing.page(request, asked, "trace.html", trace=told, **_values(asked, told))


@router.get("/traces/{trace_id}/rows", response_class=HTMLResponse)
def show_rows(request: Request, asked: Ask, trace_id: str) -> HTMLResponse:
    """A window of rows, for a page that scrolls."""
    it = waterfall(asked.store, asked.caller, trace_id, asked.now, _opened(asked))
    if it is None:
        return HTMLResponse("", status_code=404)
    first, count = _number(asked.given.get("from-row")), min(_number(asked.given.get("n")) or WINDOW, MOST_ROWS)
    root = asked.store.get(
        Span, {"project": asked.caller.project, "trace_id": trace_id, "span_id": it.columns["span_id"][0]}
    )
    assert isinstance(root, Span), "the first span of a trace that was just read is there"
    usual = usual_of(
        asked.store, asked.caller, it, alike(asked.store, asked.caller, root), places_of(it, first, count), asked.now
    )
    rows = window(it, first, count, usual)
    href = _row_href(asked, it, f"/traces/{trace_id}")
    return drawing.fragment(request, asked, "rows.html", rows=rows, it=it, selected=asked.given.get("span"), href=href)


@router.get("/traces/{trace_id}/compare", response_class=HTMLResponse)
def choose_other(request: Request, asked: Ask, trace_id: str) -> Response:
    """Goes on to the comparison with the trace whose id was typed."""
    other = find(asked.store, asked.caller, asked.given.get("other", "").strip())
    if other is None:
        return _missing(request, asked, asked.given.get("other", ""))
    return RedirectResponse(asked.trace(trace_id, "compare", other), status_code=303)


@router.get("/traces/{trace_id}/compare/{other_id}", response_class=HTMLResponse)
def show_comparison(request: Request, asked: Ask, trace_id: str, other_id: str) -> HTMLResponse:
    """Two traces beside each other."""
    here, there = (find(asked.store, asked.caller, each) for each in (trace_id, other_id))
    told = compare(asked.store, asked.caller, here, there) if here and there else None
    if told is None:
        return _missing(request, asked, trace_id if here is None else other_id)
    by_change = asked.given.get("sort") == "change"
    pairs: Sequence[Pair] = told.pairs
    if by_change:
        pairs = sorted(pairs, key=lambda pair: -abs(pair.change_ms or 0.0))
    labels = {each.name: each.label for each in columns(Span)}
    return drawing.page(
        request, asked, "compare.html", here_id=here, there_id=there, pairs=pairs[:MOST_PAIRS],
        left_out=max(len(pairs) - MOST_PAIRS, 0), by_change=by_change, totals=list(_totals(told.here, told.there)),
        fields=[(labels[name], one, other) for name, one, other in told.fields],
        sentence=_difference(told.here, told.there),
    )  # fmt: skip


def _values(asked: Asked, told: Trace) -> Mapping[str, Any]:
    it, chosen = told.it, told.selected
    length_ms = it.length_s * 1000
    tick = _tick(length_ms)
    medoid = told.alike.medoid
    later = told.first + len(told.rows)
    rows = bridge_rows(told.bridge, ("Typical", "This trace"), as_named=True) if told.bridge and _worth(told) else []
    return {
        "sentence": list(_sentence(told)),
        "counts": _counts(it),
        "remarks": list(_remarks(it)),
        "belongs": list(_belongs(asked, told.root)),
        "minimap": minimap(it),
        "tick": tick / length_ms,
        "axis": [
            (tick * number / length_ms, _axis(tick * number)) for number in range(int(length_ms / tick * 0.97) + 1)
        ],
        "selected_id": chosen.span_id if chosen else "",
        "selected_name": name_of(chosen) if chosen else "",
        "details": list(_details(chosen, told.selected_usual)) if chosen else [],
        "said_of_it": list(_said(chosen)) if chosen else [],
        "texts_are_kept": chosen is not None and any(each in (chosen.metadata or {}) for each in CONTENT_ENTRIES),
        "metadata": json.dumps(dict(chosen.metadata), indent=1, ensure_ascii=False)
        if chosen and chosen.metadata
        else "",
        "row_href": _row_href(asked, it, ""),
        "rows_address": asked.trace(it.trace_id, "rows", open=asked.given.get("open"), span=asked.given.get("span")),
        "earlier": asked.address(**{"from-row": str(max(told.first - WINDOW, 0))}) if told.first else "",
        "later": asked.address(**{"from-row": str(later)}) if later < len(it.shown) else "",
        "typical_id": medoid[0].trace_id if medoid else "",
        "against": list(_against(told)),
        "bridge_rows": rows,
        "bridge_title": _bridge_title(told),
    }


def _worth(told: Trace) -> bool:
    return told.bridge is not None and abs(told.bridge.after - told.bridge.before) >= WORTH_MS and len(told.rows) > 1


def _bridge_title(told: Trace) -> str:
    if told.bridge is None:
        return ""
    change = told.bridge.after - told.bridge.before
    return f"Where {formats.duration(abs(change))} {'went' if change > 0 else 'were saved'}"


def _row_href(asked: Asked, it: Waterfall, path: str) -> Any:
    """Where a row leads: a folded one is opened, any other is selected."""

    def href(row: Row) -> str:
        if row.folded > 0:
            opened = ",".join(map(str, sorted({*_opened(asked), row.place})))
            return asked.trace(it.trace_id, **{"open": opened, "from-row": str(max(row.index - 10, 0))}) + "#spans"
        first = str(max(row.index - 20, 0)) if path else asked.given.get("from-row")
        shown = {"open": asked.given.get("open"), "from-row": first, "span": row.span_id}
        return asked.trace(it.trace_id, **shown) + "#span"

    return href


def _sentence(told: Trace) -> Iterator[tuple[str, bool]]:
    """What this trace took and cost beside what is usual, and why, in parts; the numbers that matter are marked."""
    sum, like = told.summary, told.alike
    took, cost = like.of("duration_ms"), like.of("cost_usd")
    yield f"{sum.name} took ", False
    yield formats.duration(sum.duration_ms), _beyond(sum.duration_ms, took)
    yield (f", typically {formats.duration(took.middle)}" if took else ""), False
    if sum.cost_usd is not None:
        yield ", and cost ", False
        yield formats.call_cost(sum.cost_usd), _beyond(sum.cost_usd, cost)
        yield (f", typically {formats.call_cost(cost.middle)}" if cost else ""), False
    reasons = list(_reasons(told))
    yield (": " + formats.listed(reasons) if reasons else "") + ".", False


def _reasons(told: Trace) -> Iterator[str]:
    sum, share = told.summary, told.alike.of("cached_share")
    if sum.failed:
        names = {
            told.it.name(place) for place, each in enumerate(told.it.columns["status"]) if each in ("error", "timeout")
        }
        of = f" of {names.pop()}" if len(names) == 1 and told.it.spans > 1 else ""
        yield (
            f"{sum.failed} {'attempt' if sum.failed == 1 else 'attempts'}{of} failed"
            if told.it.spans > 1
            else "it failed"
        )
    if sum.fallbacks:
        yield "a substitute answered"
    if share and share.middle > 0.5 and (sum.cached_share or 0.0) < 0.1:
        yield "the prompt was not cached"


def _beyond(value: float | None, usual: Typical | None) -> bool:
    return value is not None and usual is not None and value > usual.high * ODD


def _counts(it: Waterfall) -> str:
    parts = [formats.count(it.spans)]
    parts += [f"{it.failed} failed"] if it.failed else []
    parts += [formats.plural(it.fallbacks, "fallback")] if it.fallbacks else []
    return " · ".join(parts)


def _remarks(it: Waterfall) -> Iterator[str]:
    """What cannot be seen in the picture."""
    if it.orphans:
        one = it.orphans == 1
        yield f"{formats.plural(it.orphans, 'span')} {'has' if one else 'have'} no parent here; shown at the top."
    if it.running:
        one = it.running == 1
        spans = formats.plural(it.running, "span")
        yield f"{spans} {'has' if one else 'have'} not ended: still running, or the end was not sent."
    for service, late_ms in it.skews()[:2]:
        yield f"Spans of {service} begin up to {formats.duration(late_ms)} before their parent: clocks differ."


def _belongs(asked: Asked, root: Span) -> Iterator[tuple[str, tuple[str, str]]]:
    for word, name in (("user", "user_id"), ("conversation", "conversation_id"), ("session", "session_id")):
        value = getattr(root, name)
        if value:
            yield word, (value, asked.address("/traces", **{name: value}))
    if root.app_version:
        yield "version", (root.app_version, "")


def _details(span: Span, usual: Typical | None) -> Iterator[tuple[str, str, str, bool]]:
    """Name, value, what is usual, whether it is beyond it: everything that the span reports."""
    around = f"usually {formats.between(usual.low, usual.high, 'ms')}" if usual else ""
    wanted: tuple[tuple[str, Any, str | None], ...] = (
        ("Operation", span.operation_type, "text"), ("Model", span.model_name, "text"),
        ("Provider", span.model_provider, "text"), ("Status", span.status, "text"), ("Took", span.duration_ms, "ms"),
        ("First token", span.ttft_ms, "ms"), ("Speed", span.tokens_per_second, "tokens/s"),
        ("Queue", span.queue_time_ms, "ms"), ("Inference", span.inference_time_ms, "ms"),
        ("Network", span.network_time_ms, "ms"), ("Retrieval", span.retrieval_latency_ms, "ms"),
        ("Input", span.input_tokens, "tokens"), ("Cache read", span.cache_read_input_tokens, "tokens"),
        ("Cache write", span.cache_creation_input_tokens, "tokens"), ("Context", span.context_tokens, "tokens"),
        ("Output", span.output_tokens, "tokens"), ("Reasoning", span.reasoning_tokens, "tokens"),
        ("Relevance", span.rag_relevance_score, "score"), ("Groundedness", span.groundedness_score, "score"),
        ("Retries", span.retry_count or None, None), ("Finished by", span.finish_reason, "text"),
        ("Error", span.error_type, "text"), ("Usage", span.usage_type, "text"), ("Service", span.service_name, "text"),
        ("Environment", span.environment, "text"), ("Session tag", span.session_tag, "text"),
    )  # fmt: skip
    for name, value, unit in wanted:
        if value is not None and value != "":
            told = str(value) if unit == "text" else formats.amount(value, unit)
            hot = name == "Took" and _beyond(value, usual)
            yield name, told, around if name == "Took" else "", hot
    yield "Cost", _cost(span), (span.cost_status or "").replace("_", " "), False


def _said(span: Span) -> Iterator[str]:
    """What is to be known about the data of a span, as sentences."""
    for each in remarks_on(span):
        yield f"{each[0].upper()}{each[1:]}." if " " in each else each
    if is_uncounted(span):
        yield ASK_FOR_TOKENS


def _cost(span: Span) -> str:
    if span.cost_status == "free":
        return "free"
    if span.cost_usd is None:
        return "unknown" if is_unpriced(span) else formats.MISSING
    return formats.call_cost(span.cost_usd)


def _against(told: Trace) -> Iterator[Against]:
    sum = told.summary
    for name, key, unit in (
        ("Total", "duration_ms", "ms"), ("First token", "first_token_ms", "ms"), ("Cost", "cost_usd", "USD"),
        ("Input tokens", "input_tokens", "tokens"), ("From cache", "cached_share", "share"),
        ("Output tokens", "output_tokens", "tokens"), ("Spans", "spans", None),
    ):  # fmt: skip
        value, usual = getattr(sum, key), told.alike.of(key)
        if value is None or usual is None:
            continue
        top = max(value, usual.high) * 1.08 or 1.0
        low_is_bad = key == "cached_share"
        hot = value < usual.low * 0.85 if low_is_bad else _beyond(value, usual)
        yield Against(
            name=name, value=formats.amount(value, unit), usual=formats.amount(usual.middle, unit),
            low=100 * max(usual.low, 0) / top, high=100 * usual.high / top, at=min(100 * value / top, 96.0), hot=hot,
        )  # fmt: skip


def _totals(here: Summary, there: Summary) -> Iterator[tuple[str, str, str]]:
    for name, key, unit in (
        ("Total", "duration_ms", "ms"), ("Cost", "cost_usd", "USD"), ("Input tokens", "input_tokens", "tokens"),
        ("From cache", "cached_share", "share"), ("Output tokens", "output_tokens", "tokens"), ("Spans", "spans", None),
        ("Failed", "failed", None), ("Fallbacks", "fallbacks", None),
    ):  # fmt: skip
        one, other = getattr(here, key), getattr(there, key)
        if one is not None or other is not None:
            yield name, formats.amount(one, unit), formats.amount(other, unit)


def _difference(here: Summary, there: Summary) -> str:
    """How two traces differ, in one sentence."""
    if here.duration_ms is None or there.duration_ms is None:
        return "One of the two has no duration."
    change = here.duration_ms - there.duration_ms
    took = f"{formats.duration(abs(change))} {'longer' if change >= 0 else 'shorter'}"
    cost = ""
    if here.cost_usd is not None and there.cost_usd is not None:
        more = here.cost_usd - there.cost_usd
        cost = (
            f", and cost {formats.call_cost(abs(more))} {'more' if more >= 0 else 'less'}"
            if more
            else ", at the same cost"
        )
    return f"{here.name} took {took} than the other{cost}."


def _tick(length_ms: float) -> float:
    """A step of the time axis: about five of them."""
    rough = max(length_ms, 1e-3) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(each for each in (1, 2, 5, 10) if each * power >= rough)


def _axis(ms: float) -> str:
    return "0" if ms == 0 else formats.duration(ms).replace(".00", "")


def _opened(asked: Asked) -> frozenset[int]:
    return frozenset(int(each) for each in asked.given.get("open", "").split(",") if each.isascii() and each.isdigit())


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0


def _missing(request: Request, asked: Asked, trace_id: str) -> HTMLResponse:
    said = (
        f"There is no trace {formats.short_id(trace_id)}, or its project is not yours. Retention may have deleted it."
    )
    return drawing.page(request, asked, "missing.html", status=404, said=said, to="/traces", instead="See calls")
