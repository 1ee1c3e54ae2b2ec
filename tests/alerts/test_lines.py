"""What a message says of an incident: whole lines, whatever is missing, and nothing that is none of its business."""

import re
from itertools import product

import pytest

from tracewatch.alerts.lines import MOST_TEXTS, course, facts, next_steps, title, where, why
from tracewatch.channels import LONGEST_TITLE
from tracewatch.explaining.measures import measure_of
from tracewatch.metrics.table import ENGINE, METRICS
from tracewatch.records import SEVERITIES, Incident
from tracewatch.records.detection import KINDS

NOW = 1_772_463_720.0  # 2026-03-02 15:02 UTC
HOUR_S = 3600.0
VALUES = {
    "ms": (9840.0, 4100.0, 3800.0, 4600.0), "s": (98.0, 41.0, 38.0, 46.0), "USD": (0.0589, 0.0144, 0.012, 0.018),
    "tokens": (21_053.0, 5_722.0, 4_900.0, 6_800.0), "tokens/s": (22.0, 61.0, 55.0, 68.0),
    "share": (0.18, 0.01, 0.0, 0.03), "score": (0.48, 0.74, 0.61, 0.92), None: (340.0, 120.0, 90.0, 150.0),
}  # fmt: skip
BROKEN = re.compile(r"\b(None|nan|inf|-0)\b|\b(?<![.,])1 (calls|tokens)\b|[{}]|  |\.\.| ,|,,|\u202f")


def an_incident(metric="cost_usd", kind="level_shift", **odd):
    """An incident of an hour that is still open."""
    observed, expected, lower, upper = VALUES.get(measure_of(metric).unit, VALUES[None])
    down = kind in ("drop", "silence")
    return Incident(**{
        "id": "inc-1", "severity": "critical", "title": "The title that is kept.", "root_id": "0",
        "metric_name": metric, "kind": kind, "direction": "down" if down else "up",
        "confidence_score": 0.98, "started_at": NOW - HOUR_S,
        "detected_at": NOW - HOUR_S + 420, "updated_at": NOW, "calls": 841,
        "slice": {"operation_type": "rag_answer", "model_name": "claude-sonnet-4-5"},
        "observed": expected / 4 if down else observed, "expected": expected, "lower": lower, "upper": upper,
        "cost_effect_usd": 38.31, "time_effect_s": 4_800.0, "findings": 5,
        "contributing_factors": ("Cache hits: 89 % → 1 %, 93 % of the extra cost", "Version v2.8.0 came as it began"),
        "recommended_actions": ("Compare the start of the prompts with earlier ones.", "Go back to v2.7.4."),
    } | odd)  # fmt: skip


def test_an_incident_that_lasts():
    told = an_incident()
    assert title(told, NOW) == (
        "Calls of rag_answer on claude-sonnet-4-5 cost 4.1× as much (5.89¢ each, usually 1.2–1.8¢); +$38.31 so far"
    )
    assert facts(told, NOW, before="high") == (
        ("Severity", "critical, was high"),
        ("Cost", "5.89¢, usually 1.2–1.8¢ (4.1×)"),
        ("Extra cost", "$38.31 so far, about $38.31 an hour"),
        ("Extra waiting", "1 h 20 m so far, about 1 h 20 m an hour"),
        ("Calls", "841"),
        ("Findings", "5 of one cause"),
        ("Confidence", "0.98, almost certain"),
    )
    assert where(told) == "Operation rag_answer, model claude-sonnet-4-5"
    assert why(told)[0] == "Cache hits: 89 % → 1 %, 93 % of the extra cost"
    assert next_steps(told)[1] == "Go back to v2.7.4."


def test_an_incident_that_is_over():
    told = an_incident(closed_at=NOW - 600, state="closed")
    assert title(told, NOW).endswith("; +$38.31")
    assert dict(facts(told, NOW))["Extra cost"] == "$38.31"
    assert dict(facts(told, NOW))["Lasted"] == "50 m"


def test_the_condition_of_a_rule_speaks_for_itself():
    told = an_incident(rule="budget", detector="rules", title="$512 of the budget of $500 for March are spent")
    assert title(told, NOW) == "$512 of the budget of $500 for March are spent"
    assert "Confidence" not in dict(facts(told, NOW))


@pytest.mark.parametrize("kind", KINDS)
def test_no_line_is_broken_or_too_long_whatever_is_missing(kind):
    long = "a-model-with-a-name-that-never-ends-" * 6
    holes = [
        {}, {"slice": {}}, {"slice": None}, {"slice": {"model_name": long, "user_id": long}}, {"observed": None},
        {"expected": None, "lower": None, "upper": None}, {"observed": 0.0, "expected": 0.0}, {"calls": 1},
        {"calls": None},
        {"observed": 1e12, "cost_effect_usd": 123_456_789_012.34}, {"cost_effect_usd": None, "time_effect_s": None},
        {"closed_at": NOW}, {"started_at": NOW}, {"observed": float("inf"), "cost_effect_usd": float("nan")},
        {"contributing_factors": (), "recommended_actions": ()}, {"contributing_factors": ("x\n\ny " * 400,) * 9},
    ]  # fmt: skip
    names = sorted({each.key for each in METRICS} | {each.replace("…", "something") for each in ENGINE})
    for metric, hole in product(names, holes):
        told = an_incident(metric, kind, **hole)
        lines = [
            title(told, NOW),
            where(told),
            *why(told),
            *next_steps(told),
            *(f"{a}: {b}" for a, b in facts(told, NOW)),
        ]
        for line in lines:
            assert not BROKEN.search(line), (metric, line)
            assert "\n" not in line
            assert 0 < len(line) <= 320
        assert len(lines[0]) <= LONGEST_TITLE
        assert len(why(told)) <= MOST_TEXTS


@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_severity_that_has_not_grown_is_not_told_twice(severity):
    assert "Severity" not in dict(facts(an_incident(severity=severity), NOW, before=severity))


def test_the_picture_is_that_of_the_explanation():
    kept = {"start": "2026-03-02T13:02:00.000Z", "step_s": 1800, "values": [1.0, None, 4.0, 5.0], "calls": [1, 0, 2, 2]}
    drawn = course(an_incident(causes={"course": kept}))
    assert drawn.values == (1.0, None, 4.0, 5.0)
    assert drawn.onset == 2
    assert course(an_incident(causes={"course": kept | {"values": [1.0, None]}})) is None
    assert course(an_incident()) is None
    assert course(an_incident(causes={"course": kept}, started_at=0.0)).onset is None


def test_what_is_beyond_a_limit_is_told_beside_the_limit_and_not_beside_what_is_usual():
    of_rule = {"rule": "failures", "detector": "rules", "expected": None, "lower": None, "confidence_score": 1.0}
    failing = an_incident(metric_name="error_rate", observed=0.31, upper=0.2, **of_rule)
    assert dict(facts(failing, NOW))["Error rate"] == "31 %, limit 20 %"
    few = an_incident(
        metric_name="calls_per_hour", direction="down", observed=3.0, **of_rule | {"lower": 10.0, "upper": None}
    )
    assert dict(facts(few, NOW))["Calls per hour"] == "3, limit 10"
    silent = an_incident(
        metric_name="call_count", kind="silence", direction="down", observed=0.0, upper=None, **of_rule
    )
    assert "usually" not in str(facts(silent, NOW))
    assert "limit" not in str(facts(silent, NOW))
    lost = an_incident(metric_name="orphan_rate", detector="self", expected=0.01, observed=0.2, lower=None, upper=0.04)
    assert "usually 1" in dict(facts(lost, NOW))["Spans without their parent"]
