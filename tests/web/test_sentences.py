"""Every headline there can be, by metric and kind of movement: as it was read and found good (headlines.txt).

After a change of words, write the file anew and read what changed: python tests/web/test_sentences.py
"""

import re
from datetime import UTC
from pathlib import Path

import pytest

from tracewatch.explaining.measures import measure_of
from tracewatch.formats import THIN
from tracewatch.headlines import LONGEST, headline, short
from tracewatch.metrics.table import ENGINE, METRICS
from tracewatch.records import Incident
from tracewatch.records.detection import KINDS

GOLDEN = Path(__file__).parent / "headlines.txt"
NOW = 1_790_000_000.0
HOUR_S = 3600.0
VALUES = {  # by unit: what came, what was usual, and its range
    "ms": (9840.0, 4100.0, 3800.0, 4600.0), "s": (98.0, 41.0, 38.0, 46.0), "USD": (0.0589, 0.0144, 0.012, 0.018),
    "tokens": (21_053.0, 5_722.0, 4_900.0, 6_800.0), "tokens/s": (22.0, 61.0, 55.0, 68.0),
    "share": (0.18, 0.01, 0.0, 0.03), "score": (0.48, 0.74, 0.61, 0.92), None: (340.0, 120.0, 90.0, 150.0),
}  # fmt: skip
LONG = "a-model-with-a-name-that-never-ends-" * 6
BAD = re.compile(
    r"\b(None|nan|inf|0 calls so far|-0)\b|\b(?<![.,])1 (calls|tokens)\b|[{}]|  |\.\.| ,|,,|\beach, usually .* at "
)


def names():
    """Metrics as alerts call them, and parts of those whose names follow from what is found.

    Of tracewatch's own metrics the title of the incident says what is wrong.
    """
    judged = [each for each in METRICS if each.family != "health"]
    told = {each.key for each in judged} | {each.alert for each in judged} | set(ENGINE)
    return sorted({each.replace("…", "something") for each in told})


def an_incident(metric, kind, *, slice=None, closed=False, **odd):
    observed, expected, lower, upper = VALUES.get(measure_of(metric).unit, VALUES[None])
    down = kind in ("drop", "silence")
    if down and measure_of(metric).unit != "tokens/s":
        observed = expected / 4
    return Incident(**{
        "id": "0", "severity": "high", "title": "", "root_id": "0", "metric_name": metric, "kind": kind,
        "direction": "down" if down else "up", "confidence_score": 0.98, "started_at": NOW - HOUR_S,
        "detected_at": NOW - HOUR_S, "updated_at": NOW, "closed_at": NOW - 600 if closed else None,
        "slice": slice if slice is not None else {"operation_type": "rag_answer", "model_name": "claude-sonnet-4-5"},
        "observed": observed, "expected": expected, "lower": lower, "upper": upper, "calls": 841,
        "cost_effect_usd": 38.31, "time_effect_s": 4_800.0,
    } | odd)  # fmt: skip


def said(incident):
    return headline(incident, UTC, NOW).text.replace(THIN, " ")


def everything():
    """A line for each sentence, with the kinds of movement it stands for; incidents that are over come second."""
    return [
        f"{metric} · {', '.join(kinds)} · {text}"
        for metric in names()
        for closed in (False, True)
        for text, kinds in _sentences(metric, closed=closed).items()
    ]


def _sentences(metric, *, closed):
    found = {}
    for kind in KINDS:
        found.setdefault(said(an_incident(metric, kind, closed=closed)), []).append(kind)
    return found


def test_headlines_are_those_that_were_read():
    assert everything() == GOLDEN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_no_headline_is_broken_or_too_long_whatever_is_missing(kind):
    holes = [
        {}, {"slice": {}}, {"slice": {"model_name": LONG}}, {"slice": {"user_id": LONG, "operation_type": LONG}},
        {"observed": None}, {"expected": None, "lower": None, "upper": None}, {"observed": 0.0, "expected": 0.0},
        {"observed": 1.0, "expected": 1.0, "lower": 1.0, "upper": 1.0}, {"calls": 1}, {"calls": None},
        {"observed": 1e12, "cost_effect_usd": 123_456_789_012.34}, {"cost_effect_usd": None, "time_effect_s": None},
    ]  # fmt: skip
    for metric in names():
        for hole in holes:
            for closed in (False, True):
                text = said(an_incident(metric, kind, closed=closed, **hole))
                assert not BAD.search(text), text
                assert len(text) <= LONGEST, text
                assert text[0].isupper() or not text[0].isalpha() or "slice" in hole, text
                assert text.endswith("."), text


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(everything()) + "\n", encoding="utf-8")


def test_what_was_checked_is_said_in_the_words_of_the_check():
    checked = an_incident("ingest_loss_rate", "rate", detector="self", title="You are losing 14 % of the rows.")
    assert said(checked) == "You are losing 14 % of the rows."
    assert short(checked) == "Rows lost"
    assert short(an_incident("call_count", "silence", detector="rules", title="No call.")) == "Silent"
