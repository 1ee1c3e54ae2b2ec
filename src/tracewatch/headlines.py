"""An incident in one sentence of a screen: who, what, how much, since when, and what it cost so far.

The same words as in `explaining`, so that terminal and page say the same; numbers and times as screens write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from tracewatch import formats, words
from tracewatch.explaining import saying
from tracewatch.explaining.measures import Measure, measure_of
from tracewatch.lessons import WORSE, is_share
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import CHECKED, Incident, Lesson

LONGEST = 160  # characters; a longer sentence is not read at once
TOLD_AS_RATIO = 1.5  # of what is usual; below it per cent are told
WORTH_USD, WORTH_S = 0.01, 1.0

_RATIO = {"money": "{ratio} as much", "time": "{ratio} as long", "tokens": "{ratio} as many tokens"}
_PAST = {
    "take": "took",
    "are": "were",
    "answer": "answered",
    "spend": "spent",
    "wait": "waited",
    "cost": "cost",
    "send": "sent",
    "use": "used",
    "carry": "carried",
    "find": "found",
    "read": "read",
    "fail": "failed",
    "time": "timed",
    "fall": "fell",
    "come": "came",
    "have": "had",
    "pause": "paused",
    "lack": "lacked",
    "write": "wrote",
    "stop": "stopped",
    "reason": "reasoned",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """A sentence in three parts: the middle one is the number that matters."""

    before: str
    strong: str
    after: str

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.before}{self.strong}{self.after}"


def headline(incident: Incident, zone: tzinfo, now: float, *, effect: bool = True, timed: bool = True) -> Headline:
    """What happened. Clauses are left out where nothing is known, and from the end where it would be too long.

    Without `timed` it is for places that say the time beside it.
    """
    if incident.detector in CHECKED:
        return Headline(before=incident.title, strong="", after="")
    measure = measure_of(incident.metric_name)
    before, strong, compared = _what(incident, measure)
    when = _when(incident, zone, now) if timed else ""
    cost = _effect(incident, measure) if effect else ""
    for clauses in ((compared, when, cost), (compared, when), ("", when)):
        comma = "," if clauses[0] and when and not clauses[0].endswith(")") else ""
        after = comma.join((clauses[0], when)) + "".join(clauses[2:])
        found = Headline(before=_capital(before), strong=_capital(strong) if not before else strong, after=f"{after}.")
        if len(found.text) <= LONGEST:
            return found
    room = LONGEST - len(strong) - len(when) - len("… .")
    return Headline(before=f"{_capital(before)[:room].rstrip()}… ", strong=strong, after=f"{when}.")


def short(incident: Incident) -> str:
    """The movement in three words, for lanes and lists: 'Cost 4.1×', 'Errors 18 %'."""
    if is_budget(incident):
        return "Budget"
    if incident.detector in CHECKED and incident.metric_name in METRIC_OF and incident.kind != "silence":
        return METRIC_OF[incident.metric_name].label
    measure = measure_of(incident.metric_name)
    noun = called(incident.metric_name)
    if incident.kind == "silence":
        return "Silent"
    if incident.kind == "first_seen":
        return "New"
    if measure.unit in ("share", "score") and incident.observed is not None:
        return f"{noun} {formats.amount(incident.observed, measure.unit)}"
    ratio = ratio_of(incident)
    return f"{noun} {formats.ratio(ratio)}" if ratio else noun


def called(metric: str) -> str:
    """What a metric is called in front of its value.

    >>> called("cost_usd"), called("ttft_ms")
    ('Cost', 'First token')
    """
    return _NOUNS.get(metric) or saying.noun(metric).capitalize()


def ratio_of(incident: Incident) -> float | None:
    """How many times as much as expected came; None where that says nothing."""
    observed, expected = incident.observed, incident.expected
    return observed / expected if observed is not None and expected and expected > 0 and observed > 0 else None


def usually(incident: Incident) -> str:
    """The expected range as screens write it; empty where none is known."""
    return usual_range(incident.metric_name, incident.lower, incident.upper, incident.expected)


def usual_range(metric: str, lower: float | None, upper: float | None, expected: float | None) -> str:
    """What is usual of a metric, from a range or from what was expected; empty where neither is known.

    >>> usual_range("fallback_rate", 0.0, 0.16, 0.0029).replace(formats.THIN, " ")
    '0.29 %'
    """
    measure = measure_of(metric)
    unit = measure.unit
    if measure.family == "volume":
        if lower is not None and upper is not None:
            return (
                f"{formats.count(max(round(lower), 0))}–{formats.count(round(upper))}"
                if lower >= 1
                else f"up to {formats.count(round(upper))}"
            )
        return "" if expected is None else f"about {formats.count(round(expected))}"
    if measure.unit == "share" and (lower or 0.0) <= 0 and expected:
        return formats.percent(expected)  # up to where few calls raise no alarm is not usual
    if lower is not None and upper is not None and upper > lower:
        return formats.between(lower, upper, unit)
    return "" if expected is None else formats.amount(expected, unit)


def is_budget(incident: Incident) -> bool:
    """Whether it is about what was spent in a day, a week or a month, not about single calls."""
    return incident.detector in CHECKED and incident.kind == "surge"


def limit_of(incident: Incident) -> str | None:
    """The limit that what was checked is beyond, with its unit; None of what detection learned, or where there is none.

    Of silence it is a time, which the incident's own sentence names.
    """
    limit = incident.upper if incident.direction == "up" else incident.lower
    if incident.detector not in CHECKED or limit is None or incident.kind == "silence":
        return None
    return checked_amount(incident, limit)


def checked_amount(incident: Incident, value: float) -> str:
    """A value of what was checked, in the unit of its metric."""
    known = METRIC_OF.get(incident.metric_name)
    if known is not None and known.family == "volume" and known.unit == "calls":
        return formats.count(round(value))
    unit = known.unit if known else measure_of(incident.metric_name).unit
    return formats.money(value) if unit == "USD" and is_budget(incident) else formats.amount(value, unit)


_NOUNS = {
    "cost_usd": "Cost",
    "duration_ms": "Latency",
    "latency_ms": "Latency",
    "ttft_ms": "First token",
    "error_rate": "Errors",
    "fallback_rate": "Fallbacks",
    "timeout_rate": "Timeouts",
    "retry_rate": "Retries",
    "call_count": "Calls",
    "cache_hit_rate": "Cache hits",
    "tokens_per_second": "Speed",
    "inference_time_ms": "Provider",
    "queue_time_ms": "Queue",
    "retrieval_latency_ms": "Retrieval",
    "rag_relevance_score": "Relevance",
    "groundedness_score": "Groundedness",
    "input_tokens": "Prompt",
    "output_tokens": "Answer",
    "total_tokens": "Tokens",
    "unpriced_rate": "No price",
}


def _what(incident: Incident, measure: Measure) -> tuple[str, str, str]:
    """Subject and verb, the number that matters, and what it is compared with."""
    subject = saying.calls_of(incident.slice or {}) if incident.slice else "all calls"
    observed, usual = incident.observed, usually(incident)
    if incident.kind == "first_seen":
        new = "is new and has no price" if incident.metric_name == "unpriced_rate" else "is new"
        known = round(observed or 0) if measure.unit is None else incident.calls
        seen = f", {formats.plural(known, 'call')} so far" if known else ""
        return f"{saying.named(incident.slice or {})} ", new, seen
    if incident.kind == "silence":
        have = "have stopped" if incident.closed_at is None else "stopped"
        return f"{subject} ", have, f", usually {usual} by then" if usual and measure.family == "volume" else ""
    if measure.family == "volume":
        calls = "fewer calls" if incident.direction == "down" else "more calls"
        if observed is not None:
            calls = formats.plural(round(observed), "call")
        return "", calls, f"{subject.removeprefix('calls')}{f', usually {usual}' if usual else ''}"
    compared = f", usually {usual}" if usual else ""
    if incident.kind == "point":
        value = _amount(observed, measure.unit)
        lead, _, rest = _past(measure.verb).partition("{value}")
        # What is said of many is said of one: not each, and its own.
        rest = rest.removesuffix(" each").replace(" their ", " its ")
        return f"one of the {subject} {lead}".replace(" were ", " was "), value, f"{rest}{compared}"
    lead, _, rest = (_past(measure.verb) if incident.closed_at is not None else measure.verb).partition("{value}")
    ratio = ratio_of(incident)
    if incident.kind == "drift":
        return f"{subject} {lead}", _amount(observed, measure.unit), f"{rest}, {_crept(incident, measure.unit)}"
    told = (
        _RATIO.get(measure.family)
        if measure.unit in ("ms", "USD", "tokens") and lead.split()[0] in ("take", "took", "cost", "send", "sent")
        else None
    )
    if told and ratio and ratio >= TOLD_AS_RATIO and incident.direction == "up":
        value = formats.amount(observed, measure.unit)
        beside = f" ({value}{rest}{compared})"
        return f"{subject} {lead}", told.format(ratio=formats.ratio(ratio)), beside
    value = _amount(observed, measure.unit)
    return f"{subject} {lead}", value, f"{rest}{compared}"


def _crept(incident: Incident, unit: str | None) -> str:
    """How far it has crept, and from where; of a share the numbers say so."""
    ratio = None if unit in ("share", "score") else ratio_of(incident)
    before = None if incident.expected is None else _amount(incident.expected, unit)
    return saying.crept(incident.direction, ratio, before)


def _amount(value: float | None, unit: str | None) -> str:
    """A number within a sentence, where tokens are said to be such."""
    told = formats.amount(value, unit)
    return f"{told} token{'' if told == '1' else 's'}" if unit == "tokens" else told


def _when(incident: Incident, zone: tzinfo, now: float) -> str:
    since = formats.moment(incident.started_at, zone, now)
    if incident.kind == "point":
        return f" at {since}"
    if incident.closed_at is None:
        return f" since {since}"
    return f" from {since} to {formats.moment(incident.closed_at, zone, now).removeprefix(since[:-5])}"


def _effect(incident: Incident, measure: Measure) -> str:
    """What it cost so far, in the unit that it is about."""
    cost, waited = incident.cost_effect_usd, incident.time_effect_s
    lasting = " so far" if incident.closed_at is None else ""
    if cost is not None and cost >= WORTH_USD and measure.family in ("money", "tokens", "cache", "volume"):
        return f"; {formats.more_money(cost)}{lasting}"
    if waited is not None and waited >= WORTH_S and measure.family == "time" and incident.kind != "point":
        return f"; {formats.seconds(waited)} of waiting{lasting}"
    return ""


def _past(verb: str) -> str:
    """What calls did, from what they do.

    >>> _past("are kept waiting {value}"), _past("cost {value} each")
    ('were kept waiting {value}', 'cost {value} each')
    """
    first, _, rest = verb.partition(" ")
    return f"{_PAST.get(first, first)} {rest}"


def _capital(text: str) -> str:
    return words.sentence(text).removesuffix(".") if text else ""


def told_again(lesson: Lesson) -> str:
    """From where on a movement is told in spite of a lesson."""
    ways = []
    if lesson.level is not None:
        unit = measure_of(lesson.metric_name).unit
        ways.append(f"{'above' if lesson.direction == 'up' else 'below'} {formats.amount(lesson.level, unit)}")
    elif lesson.effect is not None:
        most = WORSE * lesson.effect
        if is_share(lesson.metric_name):
            ways.append(f"more than {most * 100:.0f} points off")
        elif lesson.metric_name == "call_count":
            ways.append(f"more than {formats.count(most)} calls off")
        else:
            ways.append(f"more than {formats.ratio(most + 1)} off")
    if lesson.lasted_s is not None:
        ways.append(f"after {formats.lasting(WORSE * lesson.lasted_s)}")
    return ", or ".join(ways) or "never"
