"""A story in one or two sentences: what, how much, since when, where, how sure, and why."""

from __future__ import annotations

from collections.abc import Sequence

from tracewatch import words
from tracewatch.explaining import saying
from tracewatch.explaining.measures import Measure
from tracewatch.explaining.story import Cause, Story

_ONE = {"are": "is", "have": "has", "carry": "carries"}
SURE = ((0.95, "almost certain"), (0.8, "very likely"), (0.6, "likely"), (0.0, "possible"))


def describe(story: Story, measure: Measure, because: Sequence[Cause]) -> str:
    """The sentences.

    >>> from tracewatch.explaining.measures import measure_of
    >>> story = Story(metric="duration_ms", direction="up", kind="spike", slice={"model_name": "m"}, since=1772460120.0,
    ...               observed=6200.0, expected=3000.0, lower=2800.0, upper=3300.0, confidence=0.97)
    >>> describe(story, measure_of("duration_ms"), [])
    'Calls of m take 6.2 s since 2026-03-02 14:02 UTC, usually 2.8–3.3 s (almost certain, 0.97).'
    """
    parts = [_what(story, measure)]
    if story.confidence is not None:
        parts.append(f" ({how_sure(story.confidence)}, {min(story.confidence, 0.99):.2f})")
    told = words.sentence("".join(parts))
    return f"{told} Why: {because[0].text.rstrip('.')}." if because else told


def how_sure(confidence: float) -> str:
    """A confidence in words.

    >>> how_sure(0.97), how_sure(0.3)
    ('almost certain', 'possible')
    """
    return next(word for least, word in SURE if confidence >= least)


def usually(story: Story, measure: Measure) -> str | None:
    """The expected range in words; the expected value where there is no range; None where neither is known."""
    if measure.family == "volume":
        return _usual_count(story)
    lower, upper = story.lower, story.upper
    if lower is not None and upper is not None and upper > lower and not _everything(lower, upper, story, measure):
        if lower <= 0 and measure.unit == "share" and story.expected:
            return words.amount(story.expected, measure.unit)  # up to where few calls raise no alarm is not usual
        if lower <= 0:
            return f"up to {words.amount(upper, measure.unit)}"
        return words.between(lower, upper, measure.unit)
    return words.amount(story.expected, measure.unit) if story.expected is not None else None


def beyond(value: float | None, unit: str, measure: Measure, direction: str) -> str:
    """Money (USD) or waiting (ms) beyond the usual; what is less than usual only where the story is about that.

    >>> from tracewatch.explaining.measures import measure_of
    >>> beyond(2.5, "USD", measure_of("ttft_ms"), "up"), beyond(-2.5, "USD", measure_of("ttft_ms"), "up")
    ('+$2.50 beyond the usual', '')
    >>> beyond(-2.5, "USD", measure_of("cost_usd"), "down")
    '$2.50 less than usual'
    """
    # Of speeds more is the better, of everything else that is measured in time or money less.
    better = "up" if measure.unit == "tokens/s" else "down"
    about = measure.family == ("money" if unit == "USD" else "time") and direction == better
    if value is None or value == 0 or (value < 0 and not about):
        return ""
    return saying.effect(value, unit)


def _what(story: Story, measure: Measure) -> str:
    since = words.moment(story.since)[:16] + " UTC"
    when = f"since {since}" if story.until is None else f"from {since} to {words.moment(story.until)[:16]} UTC"
    if story.kind == "first_seen":
        return _first_seen(story, since)
    if measure.family == "volume":
        return _volume(story, measure, when)
    subject = _subject(story)
    if story.metric.startswith("batch_"):
        return _run(story, measure, since)
    value = (
        words.amount(story.observed, measure.unit) if story.observed is not None else "more" if _up(story) else "less"
    )
    verb = measure.verb.format(value=value)
    if story.kind == "drift":
        return f"{subject} {verb}, {_crept(story, measure)}, {when}"
    if story.kind == "point":
        return f"one of the {subject} {_singular(verb)} at {since}{_compared(story, measure)}"
    return f"{subject} {verb} {when}{_compared(story, measure)}"


def _crept(story: Story, measure: Measure) -> str:
    """How far a level has crept, and from where.

    >>> from tracewatch.explaining.measures import measure_of
    >>> story = Story(metric="ttft_ms", direction="up", kind="drift", slice={}, since=0.0, observed=670.0,
    ...               expected=500.0)
    >>> _crept(story, measure_of("ttft_ms"))
    'crept up 34 % from 500 ms'
    """
    observed, expected = story.observed, story.expected
    ratio = observed / expected if observed and expected and measure.unit not in ("share", "score") else None
    before = None if expected is None else words.amount(expected, measure.unit)
    return saying.crept(story.direction, ratio, before)


def _volume(story: Story, measure: Measure, when: str) -> str:
    subject = _subject(story)
    usual = usually(story, measure)
    if story.kind == "silence":
        return f"no {subject if story.slice else 'calls at all'} {when}" + (
            f", usually {usual} by then" if usual else ""
        )
    count = f"{story.observed:,.0f}" if story.observed is not None else "more" if _up(story) else "fewer"
    noun = subject.removeprefix("calls")
    told = f"{count} calls{noun} {when}"
    return told + (f", usually {usual}" if usual else "")


def _run(story: Story, measure: Measure, at: str) -> str:
    """One run of a job.

    >>> from tracewatch.explaining.measures import measure_of
    >>> of_job = Story(metric="batch_failure_rate", direction="up", kind="rate", slice={"usage_type": "sync"},
    ...                since=0.0, observed=1.0, expected=0.0, lower=0.0, upper=0.0)
    >>> _run(of_job, measure_of("batch_failure_rate"), "2026-03-12 10:11 UTC")
    'a run of sync failed (ended at 2026-03-12 10:11 UTC), usually 0 % of them do'
    """
    job = next((str(value) for value in story.slice.values()), "a job")
    if story.metric == "batch_failure_rate":
        usual = words.amount(story.expected or 0.0, "share")
        return f"a run of {job} failed (ended at {at}), usually {usual} of them do"
    took = words.amount(story.observed or 0.0, measure.unit)
    return f"a run of {job} took {took} (ended at {at}){_compared(story, measure)}"


def _first_seen(story: Story, since: str) -> str:
    """Something new, by its name.

    >>> _first_seen(Story(metric="first_seen_model", direction="up", kind="first_seen", slice={"model_name": "m"},
    ...                   since=0.0, observed=61.0), "2026-03-02 14:02 UTC")
    'model m is new since 2026-03-02 14:02 UTC: 61 calls so far'
    """
    what = "has no price and is new" if story.metric == "unpriced_rate" else "is new"
    calls = f": {words.calls(round(story.observed))} so far" if story.observed is not None else ""
    return f"{saying.named(story.slice)} {what} since {since}{calls}"


def _singular(verb: str) -> str:
    """What one call does, from what calls do.

    >>> _singular("carry 5 tokens"), _singular("are tried again"), _singular("take 6 s")
    ('carries 5 tokens', 'is tried again', 'takes 6 s')
    """
    first, _, rest = verb.partition(" ")
    return f"{_ONE.get(first, f'{first}s')} {rest}"


def _everything(lower: float, upper: float, story: Story, measure: Measure) -> bool:
    """Whether a range tells nothing, because it has no end on the side to which the metric moved."""
    return lower <= 0 and (story.direction == "down" or (measure.unit in ("share", "score") and upper >= 1))


def _usual_count(story: Story) -> str | None:
    """Calls in whole numbers."""
    lower, upper = story.lower, story.upper
    if lower is not None and upper is not None and upper > lower:
        return f"{max(lower, 0):,.0f}–{upper:,.0f}" if lower >= 1 else f"up to {upper:,.0f}"
    return f"about {story.expected:,.0f}" if story.expected is not None else None


def _subject(story: Story) -> str:
    return "all calls" if not story.slice else saying.calls_of(story.slice)


def _compared(story: Story, measure: Measure) -> str:
    usual = usually(story, measure)
    return f", usually {usual}" if usual else ""


def _up(story: Story) -> bool:
    return story.direction == "up"
