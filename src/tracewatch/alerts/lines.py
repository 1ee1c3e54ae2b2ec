"""An incident in the lines of a message: what, how bad, where, why, what next, and its small picture.

The same sentences as on the screens. Texts of prompts and answers are not within reach here: an incident has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from tracewatch import formats, words
from tracewatch.channels import LONGEST_TITLE, Course
from tracewatch.explaining import saying
from tracewatch.explaining.measures import measure_of
from tracewatch.explaining.telling import how_sure
from tracewatch.headlines import called, checked_amount, headline, limit_of, ratio_of, usually
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import CHECKED, AlertRule, Incident

MOST_TEXTS = 4  # factors, and actions: more is a list nobody follows
LONGEST_TEXT = 300  # characters of one of them
LONGEST_LABEL = 80
RATE_FROM_S = 900.0  # money and waiting by the hour are told from a quarter of one on
WORTH_USD, WORTH_S = 0.01, 1.0


def title(incident: Incident, now: float) -> str:
    """What happened, in one line; when it was stands beside it. A condition of a rule has its own words."""
    if incident.rule:
        return line(incident.title, LONGEST_TITLE)
    incident = _finite(incident)
    return line(_spaced(headline(incident, UTC, now, timed=False).text).rstrip("."), LONGEST_TITLE)


def facts(incident: Incident, now: float, before: str | None = None) -> tuple[tuple[str, str], ...]:
    """How bad it is: (label, text) each. `before` is the severity that was told last, where it has grown."""
    told = _facts(_finite(incident), now, before)
    return tuple((line(label, LONGEST_LABEL), line(_spaced(text), LONGEST_TEXT)) for label, text in told)


def labels(rule: AlertRule) -> tuple[tuple[str, str], ...]:
    """Words that go with each message of a rule: (label, text) each."""
    some = list((rule.labels or {}).items())
    return tuple(
        (line(name, LONGEST_LABEL), line(text, LONGEST_TEXT)) for name, text in some if name.strip() and text.strip()
    )


def where(incident: Incident) -> str:
    """Which calls it is about, by their columns."""
    return line(words.sentence(saying.named(incident.slice or {})).rstrip("."), LONGEST_TEXT)


def why(incident: Incident) -> tuple[str, ...]:
    """What led to it, the best explanation first."""
    return tuple(line(_spaced(each), LONGEST_TEXT) for each in incident.contributing_factors[:MOST_TEXTS])


def next_steps(incident: Incident) -> tuple[str, ...]:
    """What to do, the first thing first."""
    return tuple(line(_spaced(each), LONGEST_TEXT) for each in incident.recommended_actions[:MOST_TEXTS])


def course(incident: Incident) -> Course | None:
    """How the metric went, as the explanation kept it; None where it kept nothing to draw."""
    incident = _finite(incident)
    kept: Any = (incident.causes or {}).get("course") or {}
    values = tuple(None if each is None or not isfinite(each) else float(each) for each in kept.get("values") or ())
    if sum(each is not None for each in values) < 2:
        return None
    start, step_s = datetime.fromisoformat(kept["start"]).timestamp(), float(kept["step_s"])
    onset = int((incident.started_at - start) // step_s)
    return Course(
        values=values,
        lower=incident.lower,
        upper=incident.upper,
        onset=onset if 0 <= onset < len(values) else None,
    )


def line(text: str, most: int) -> str:
    """A text in one line of so many characters at most, without what moves a cursor, a direction or a colour.

    >>> line("a  long\\nstory", 8), line("gpt\\x1b[31m\\u202e4", 20)
    ('a long …', 'gpt [31m 4')
    """
    seen = text[: 8 * most]  # blanks may go, and the rest is cut anyway
    seen = seen if seen.isprintable() else "".join(each if each.isprintable() else " " for each in seen)
    words_alone = " ".join(seen.split()) or "An incident"
    return words_alone if len(words_alone) <= most else f"{words_alone[: most - 1]}…"


def _finite(incident: Incident) -> Incident:
    """The incident without numbers that are none."""
    none: dict[str, Any] = {
        name: None
        for name in ("observed", "expected", "lower", "upper", "cost_effect_usd", "time_effect_s")
        if not isfinite(getattr(incident, name) or 0.0)
    }
    return replace(incident, **none) if none else incident


def _facts(incident: Incident, now: float, before: str | None) -> Iterator[tuple[str, str]]:
    if before is not None and before != incident.severity:
        yield "Severity", f"{incident.severity}, was {before}"
    value = _value(incident)
    if value:
        yield _label(incident), value
    lasted = (incident.closed_at or now) - incident.started_at
    for label, text in (
        ("Extra cost", _by_the_hour(incident.cost_effect_usd, WORTH_USD, lasted, incident, formats.money)),
        ("Extra waiting", _by_the_hour(incident.time_effect_s, WORTH_S, lasted, incident, formats.seconds)),
    ):
        if text:
            yield label, text
    if incident.calls and incident.kind not in ("first_seen", "silence"):
        yield "Calls", formats.count(incident.calls)
    if incident.closed_at is not None and lasted > 0:
        yield "Lasted", formats.lasting(lasted)
    if incident.findings > 1:
        yield "Findings", f"{formats.count(incident.findings)} of one cause"
    if incident.detector not in CHECKED:
        yield "Confidence", f"{min(incident.confidence_score, 0.99):.2f}, {how_sure(incident.confidence_score)}"


def _value(incident: Incident) -> str:
    """What came, beside what is usual."""
    if incident.observed is None or incident.kind == "first_seen":
        return ""
    if incident.detector in CHECKED:
        return _beyond(incident)
    measure = measure_of(incident.metric_name)
    volume = measure.family == "volume"
    came = formats.count(round(incident.observed)) if volume else formats.amount(incident.observed, measure.unit)
    usual = usually(incident)
    ratio = ratio_of(incident)
    times = f" ({formats.ratio(ratio)})" if ratio and ratio >= 1.5 and measure.unit not in ("share", "score") else ""
    return f"{came}{f', usually {usual}' if usual else ''}{times}"


def _label(incident: Incident) -> str:
    """What is measured."""
    known = METRIC_OF.get(incident.metric_name) if incident.detector in CHECKED else None
    return known.label if known else called(incident.metric_name)


def _beyond(incident: Incident) -> str:
    """What came, beside its limit, and what is usual where that is known."""
    limit = limit_of(incident)
    if incident.kind == "silence" or incident.observed is None:
        return ""
    usual = usually(incident) if incident.expected is not None else ""
    beside = f", usually {usual}" if usual else "" if limit is None else f", limit {limit}"
    return f"{checked_amount(incident, incident.observed)}{beside}"


def _by_the_hour(
    effect: float | None, worth: float, lasted_s: float, incident: Incident, told: Callable[[float], str]
) -> str:
    """What it took beyond the usual so far, and how fast that grows while it lasts."""
    if effect is None or effect < worth:
        return ""
    if incident.closed_at is not None or incident.kind == "point":
        return told(effect)
    rate = f", about {told(effect / lasted_s * 3600)} an hour" if lasted_s >= RATE_FROM_S else ""
    return f"{told(effect)} so far{rate}"


def _spaced(text: str) -> str:
    """With plain blanks: not every receiver knows narrow ones."""
    return text.replace(formats.THIN, " ")
