"""What failed: which errors, of whom, since when; and the failed call behind an answer that fell back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.measures import MEASURES
from tracewatch.explaining.story import Cause
from tracewatch.records import iso
from tracewatch.slices import Bools

TELLING = 0.2  # of the failures: what is less explains nothing
FEWEST = 3  # failed calls; fewer are chance
MOST_KINDS = 4  # rows of a list people read
MOSTLY = 0.9  # of the failures are of this model or provider: then actions may name it
BESIDE = 0.05  # of the calls must fail beyond the usual before that explains anything else of them
MORE = 1.5  # times the usual share: below, it fails as it always does
FAILED = ("error", "timeout")

_ON = {"model_name": "on", "model_provider": "to", "operation_type": "in"}
_WORDS = {
    "rate_limit": "rate_limit",
    "ratelimit": "rate_limit",
    "429": "rate_limit",
    "too_many_requests": "rate_limit",
    "auth": "auth",
    "401": "auth",
    "403": "auth",
    "permission": "auth",
    "timeout": "timeout",
    "server": "server_error",
    "5xx": "server_error",
    "500": "server_error",
    "503": "server_error",
    "overloaded": "server_error",
    "unavailable": "server_error",
    "connection": "connection",
    "network": "connection",
    "context_length": "too_long",
    "too_long": "too_long",
    "content": "content_filter",
    "invalid": "bad_request",
    "bad_request": "bad_request",
    "400": "bad_request",
    "parse": "bad_answer",
    "json": "bad_answer",
}
"""Parts of the words that providers and apps have for failures, and the row of ACTIONS of each; the first counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """One kind of failure since the onset."""

    category: str | None
    error_type: str | None
    calls: float
    usual: float
    """So many would have been usual."""
    share: float
    """Of all failures beyond the usual, 0 to 1."""
    first_s: float
    """When the first of them began."""
    by: dict[str, tuple[str, float]]
    """For model and provider: the one that has most of them, and its share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """Who failed before another answered in its place."""

    model: str | None
    provider: str | None
    error: str | None
    share: float
    """Of the answers that fell back, 0 to 1."""
    recorded: bool
    """Whether the failed attempts are calls of their own; else it is the model that usually answers."""


def failures(calls: Calls) -> list[Failures]:
    """The kinds of failed calls since the onset that are more than usual, those with most of them first."""
    failed = MEASURES["error_rate"].values(calls.rows) == 1
    now, then = calls.now & failed, calls.then & failed
    expected = calls.weight(calls.now) / max(calls.weight(calls.then), 1e-9)  # as many calls as came
    kinds = _kinds(calls)
    found = []
    for kind, count in Counter(kinds[now].tolist()).most_common():
        of_kind = kinds == kind
        came, usual = calls.weight(now & of_kind), calls.weight(then & of_kind) * expected
        if count >= FEWEST and came >= MORE * usual:
            found.append(_failures(calls, now & of_kind, came, usual))
    extra = sum(each.calls - each.usual for each in found)
    return [_shared(each, extra) for each in sorted(found, key=lambda each: each.usual - each.calls)[:MOST_KINDS]]


def primary(calls: Calls) -> Primary | None:
    """Who failed before the calls that fell back: the failed attempts of their traces, else the usual model."""
    status, statuses = calls.rows.codes("status")
    fallback = np.array([word == "fallback" for word in statuses])[status]
    fell = calls.now & fallback
    if fell.sum() < max(FEWEST, TELLING * np.nansum(calls.values[calls.now])):
        return None
    traces, _ = calls.rows.codes("trace_id")
    failed = MEASURES["error_rate"].values(calls.rows) == 1
    theirs = calls.since & failed & np.isin(traces, traces[fell])
    if theirs.sum() >= FEWEST:
        return _primary(calls, theirs, len(np.unique(traces[theirs])) / max(len(np.unique(traces[fell])), 1), True)
    return _lost_model(calls, fell, fallback | failed)


def document(found: list[Failures], blamed: Primary | None) -> dict[str, Any]:
    """Both, ready for JSON."""
    return {
        "kinds": [
            {
                "category": each.category,
                "error_type": each.error_type,
                "calls": each.calls,
                "usual": each.usual,
                "share": each.share,
                "first": iso(each.first_s),
                "by": {name: {"value": value, "share": share} for name, (value, share) in each.by.items()},
            }
            for each in found
        ],
        "failed_primary": None
        if blamed is None
        else {
            "model_name": blamed.model,
            "model_provider": blamed.provider,
            "error": blamed.error,
            "share": blamed.share,
            "recorded": blamed.recorded,
        },
    }


def causes(calls: Calls, found: list[Failures], blamed: Primary | None) -> Iterator[Cause]:
    """Who failed and how, a sentence each."""
    if blamed is not None:
        yield _cause_of_primary(blamed)
    failed = sum(each.calls - each.usual for each in found)
    if calls.measure.family != "failures" and failed < BESIDE * calls.weight(calls.now):
        return
    for each in found:
        if each.share >= TELLING:
            names = {name: value for name, (value, share) in each.by.items() if share >= MOSTLY}
            kind = action_of(each.category, each.error_type)
            yield Cause(kind=kind, weight=0.9 * each.share, text=_text(calls, each), names=names)


def _text(calls: Calls, each: Failures) -> str:
    """How many failed how, since when, usually how many, and whose they are."""
    error = each.category or each.error_type or "no reason given"
    detail = f" ({each.error_type})" if each.error_type and each.category else ""
    usual = "none is usual" if each.usual < 0.5 else f"usually {each.usual:,.0f}"
    since = words.moment(each.first_s)[11:16]
    text = f"{words.calls(round(each.calls))} failed with {error}{detail} since {since}, {usual}"
    told = [
        f"{saying.share(share)} of them {_ON[name]} {value}"
        for name, (value, share) in each.by.items()
        if share >= 0.5 and name not in calls.story.slice and not (name == "model_provider" and "model_name" in each.by)
    ]
    return "; ".join([text, *told])


def action_of(*given: str | None) -> str:
    """Which row of ACTIONS an error leads to, by the words in its names.

    >>> action_of("rate_limit", None), action_of(None, "InternalServerError"), action_of("odd", None)
    ('rate_limit', 'server_error', 'errors')
    """
    text = " ".join(each.lower() for each in given if each)
    return next((kind for word, kind in _WORDS.items() if word in text), "errors")


def _kinds(calls: Calls) -> Any:
    """Category and type as one number."""
    categories, names = calls.rows.codes("error_category")
    types, _ = calls.rows.codes("error_type")
    width = int(types.max(initial=0)) + 1
    assert len(names) >= 1, "absent has a number too"
    return categories * width + types


def _failures(calls: Calls, which: Bools, came: float, usual: float) -> Failures:
    place = np.flatnonzero(which)[:1]
    by = {}
    for name in ("model_name", "model_provider", "operation_type"):
        counts = Counter(each for each in calls.words(name, which) if each)
        if counts:
            value, count = counts.most_common(1)[0]
            by[name] = (value, count / int(which.sum()))
    return Failures(
        category=calls.rows.texts("error_category", place)[0],
        error_type=calls.rows.texts("error_type", place)[0],
        calls=came,
        usual=usual,
        share=0.0,
        first_s=float(calls.numbers("start_time")[which].min()),
        by=by,
    )


def _shared(each: Failures, extra: float) -> Failures:
    return replace(each, share=(each.calls - each.usual) / extra if extra > 0 else 0.0)


def _primary(calls: Calls, failed: Bools, share: float, recorded: bool) -> Primary:
    def commonest(name: str) -> str | None:
        counts = Counter(each for each in calls.words(name, failed) if each)
        return counts.most_common(1)[0][0] if counts else None

    error = commonest("error_category") or commonest("error_type") if recorded else None
    return Primary(
        model=commonest("model_name"),
        provider=commonest("model_provider"),
        error=error,
        share=min(share, 1.0),
        recorded=recorded,
    )


def _lost_model(calls: Calls, fell: Bools, went_wrong: Bools) -> Primary | None:
    """The model that answered fewer calls than usual while another answered in its place."""
    now, then = (Counter(calls.words("model_name", which & ~went_wrong)) for which in (calls.now, calls.then))
    instead = Counter(calls.words("model_name", fell)).most_common(1)[0][0]
    scale = int(calls.now.sum()) / max(sum(then.values()), 1)
    lost = {model: count * scale - now[model] for model, count in then.items() if model not in (None, instead)}
    if not lost:
        return None
    model = max(lost, key=lambda each: lost[each])
    share = lost[model] / float(fell.sum())
    if share < TELLING:
        return None
    of_model = (
        calls.then
        & np.array([word == model for word in calls.rows.codes("model_name")[1]])[calls.rows.codes("model_name")[0]]
    )
    return _primary(calls, of_model, share, False)


def _cause_of_primary(blamed: Primary) -> Cause:
    who = blamed.model or blamed.provider or "the first choice"
    names = {"failed": who, "failed_provider": blamed.provider or f"the provider of {who}"}
    if not blamed.recorded:
        text = f"the usual model {who} did not answer these calls; its failed attempts are not recorded"
        return Cause(kind="unrecorded_primary", weight=0.5 + 0.4 * blamed.share, text=text, names=names)
    how = f" with {blamed.error}" if blamed.error else ""
    text = f"the first choice {who} failed{how} in {saying.share(blamed.share)} of the traces that fell back"
    return Cause(kind="failed_primary", weight=0.97 * blamed.share, text=text, names=names)
