"""The incident of an alert: the same one that asking each member of each incident would give."""

import random

import pytest

from tracewatch.course import CLOSED, Course
from tracewatch.detectors.adaptive import Alert
from tracewatch.homes import Homes
from tracewatch.kinship import OTHER_CALLS, SAME_CALLS, kinship

NOON = 1_772_452_800.0  # 2026-03-02T12:00:00Z
METRICS = ("duration_ms", "error_rate", "cost_usd", "call_count", "timeout_rate", "ttft_ms", "tokens_per_second")
KINDS = ("spike", "level_shift", "point", "rate")


def an_alert(source, story):
    calls = {"operation_type": f"op{source.randrange(6)}"} if source.random() < 0.8 else {}
    calls |= {"model_name": f"m{source.randrange(4)}"} if source.random() < 0.5 else {}
    at = NOON + source.randrange(100) * 300.0
    return Alert(
        detected_at=at, metric=source.choice(METRICS), direction=source.choice(("up", "down")), slice=calls,
        severity=6.0, kind=source.choice(KINDS), since=at - 6000 * source.random() if source.random() < 0.8 else None,
        observed=source.choice((0.0, 30.0, 60.0)), expected=10.0, lower=8.0, upper=12.0, n=40,
        score=source.choice((0.5, 0.7)), story=story,
    )  # fmt: skip


def an_incident(source, number):
    found = [an_alert(source, 100 * number + each) for each in range(source.randrange(1, 9))]
    changed = NOON + source.randrange(20) * 300.0
    incident = Course(id=f"{number}", root=found[0], severity="low", updated_at=changed)
    for each in found:
        incident.join(each)
        incident.ended[each.story] = each.detected_at
    if source.random() < 0.4:
        incident.close(changed)
    return incident


def asked_one_by_one(incidents, alert):
    """The surest incident, of several the one that changed last, of these the last."""
    best, most = None, (0, 0.0)
    for incident in incidents:
        if incident.state == CLOSED:
            sure = OTHER_CALLS * (alert.kind != "point" and incident.same_again(alert))
        else:
            kin = [(kinship(each, alert), incident.of_root(each)) for each in incident.members]
            sure = max((sure for sure, of_root in kin if sure == SAME_CALLS or of_root), default=0)
        if sure and (sure, incident.updated_at) >= most:
            best, most = incident, (sure, incident.updated_at)
    return most[0], best


@pytest.mark.parametrize("seed", range(20))
def test_the_home_is_what_asking_every_member_gives(seed):
    source = random.Random(seed)
    incidents = [an_incident(source, number) for number in range(source.randrange(30))]
    homes, found = Homes(incidents), []
    for story in range(60):
        alert = an_alert(source, 10_000 + story)
        found.append(homes.of(alert)[1])
        assert homes.of(alert) == asked_one_by_one(incidents, alert)
    assert len(incidents) < 5 or any(found)
