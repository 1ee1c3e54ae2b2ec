"""Confidence is a probability that grows with how far an alert is beyond its limit."""

import math
from itertools import pairwise

import pytest

from tracewatch.detectors.adaptive import Alert
from tracewatch.detectors.adaptive.alerts import score_of
from tracewatch.detectors.adaptive.confidence import AT_LIMIT, MOST, confidence, doublings, sort_of


def an_alert(times=1.0, kind="spike", metric="ttft_ms"):
    return Alert(
        detected_at=0.0, metric=metric, direction="up", slice={}, severity=5.5 * times, kind=kind, observed=2.0,
        expected=1.0, lower=0.5, upper=1.5, n=9, score=score_of(5.5 * times, limit=5.5),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "metric", "sort"),
    [("point", "inference_time_ms", "point"), ("surge", "call_count", "volume"), ("rate", "error_rate", "rest"),
     ("rate", "output_tokens", "size"), ("silence", "call_count", "volume"), ("drop", "cache_hit_rate", "rest")],
)  # fmt: skip
def test_alerts_are_sorted_by_what_they_are_about(kind, metric, sort):
    assert sort_of(an_alert(kind=kind, metric=metric)) == sort


@pytest.mark.parametrize("metric", ["ttft_ms", "call_count", "input_tokens"])
def test_farther_beyond_the_limit_is_surer_and_never_certain(metric):
    sure = [confidence(an_alert(times=times, metric=metric)) for times in (0.5, 1, 1.2, 2, 50)]
    assert all(0 < one <= other <= MOST < 1 for one, other in pairwise(sure))


def test_doublings_are_counted_from_the_limit():
    assert doublings(an_alert(times=1)) == pytest.approx(0, abs=1e-12)
    assert doublings(an_alert(times=4)) == pytest.approx(2)
    assert doublings(an_alert(times=0.3)) == 0


def test_at_the_limit_it_is_what_was_fitted():
    assert confidence(an_alert()) == pytest.approx(1 / (1 + math.exp(-AT_LIMIT["rest"])))


def test_a_score_of_one_does_no_harm():
    assert confidence(an_alert(times=1e9)) == MOST
