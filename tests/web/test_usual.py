"""What is usual of an hour: the same whether hours are worked out one by one or all at once."""

import random

import pytest

from tracewatch.web.views.usual import HOUR_S, KnownHours, ranges, usual_at, usual_over

DAY_S = 86_400
START = 20_000 * DAY_S


def hours_of(kind, days, seed=1):
    """Hours of some days, some of them missing: costs, counts of calls, means or shares."""
    chance = random.Random(seed)
    found = {}
    for number in range(days * 24):
        if chance.random() < 0.1:
            continue
        calls = chance.randrange(0, 60)
        above = {"sum": calls, "mean": calls * chance.lognormvariate(6, 1), "share": chance.randrange(calls // 4 + 1)}
        found[START + number * HOUR_S] = (float(above[kind]), 1.0 if kind == "sum" else float(calls))
    return found


@pytest.mark.parametrize("kind", ["sum", "mean", "share"])
@pytest.mark.parametrize("days", [2, 5, 40])
def test_all_hours_at_once_are_as_each_by_itself(kind, days):
    hours = hours_of(kind, days)
    known = KnownHours(hours)
    since, until = START + 1800, START + days * DAY_S + 1200
    usual_over(known, since, until, kind=kind)
    if days > 10:
        assert len(known.worked_out) > 24
    for at in range(START, START + days * DAY_S, HOUR_S):
        one, other = usual_at(hours, at, kind=kind), usual_at(known, at, kind=kind)
        if one is None:
            assert other is None
        else:
            assert (other.middle, other.low, other.high) == pytest.approx((one.middle, one.low, one.high))
    step = 6 * HOUR_S
    assert [each and pytest.approx(each) for each in ranges(hours, START, step, days * 4, kind=kind)] == ranges(
        KnownHours(hours), START, step, days * 4, kind=kind
    )
