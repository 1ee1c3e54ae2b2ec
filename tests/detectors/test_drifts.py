"""What creeps for weeks, while what is usual follows it, is told once; what sways, steps or wanders is not."""

import pickle

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Ending, Engine
from tracewatch.detectors.adaptive.channels import COST, GROWTH, C
from tracewatch.detectors.adaptive.levels import DAYS, WEEKS, Levels, Weeks
from tracewatch.detectors.adaptive.lines import SERIES, STEPS, lines_of
from tracewatch.detectors.adaptive.rates import ERROR

DAY, MONDAY = 86400.0, 1_772_409_600.0  # 2026-03-02
LAST, BEGINS = 49, 14  # days
TICKS = 288  # of a day


def calls(a_day=96, seed=2):
    """Two operations of one model; the time of one grows by 2 % a day from the third week on."""
    rng = np.random.default_rng(seed)
    n = LAST * a_day
    start = np.sort(MONDAY + rng.uniform(0, LAST * DAY, n)).round(6)
    asks = np.arange(n) % 2 == 0
    crept = 1.02 ** np.where(asks, np.maximum((start - MONDAY) / DAY - BEGINS, 0), 0)
    took = 3000 * rng.lognormal(0, 0.3, n) * crept
    return {
        "start_time": start,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i}" for i in range(n)], object),
        "operation_type": np.where(asks, "ask", "sum").astype(object),
        "model_name": np.full(n, "big", object),
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "success", object),
        "inference_time_ms": took,
        "cost_usd": 0.001 * rng.lognormal(0, 0.3, n),
    }


def judged(columns, edges):
    """Alerts and endings when calls come in batches that end at these moments, the engine begun again after each."""
    engine, alerts, endings = Engine(), [], []
    for low, high in zip((-np.inf, *edges[:-1]), edges, strict=True):
        some = (columns["start_time"] >= low) & (columns["start_time"] < high)
        engine.feed({name: values[some] for name, values in columns.items()})
        alerts += engine.advance(high)
        endings += engine.endings()
        engine = pickle.loads(pickle.dumps(engine))
    return alerts, endings


@pytest.fixture(scope="module")
def stream():
    return calls()


@pytest.fixture(scope="module")
def found(stream):
    return judged(stream, [MONDAY + LAST * DAY])


def test_a_time_that_grows_by_two_per_cent_a_day_is_told_once(found):
    (alert,) = (each for each in found[0] if each.kind == "drift")
    assert (alert.metric, alert.direction) == ("inference_time_ms", "up")
    assert alert.slice == {"operation_type": "ask"}
    assert 21 <= (alert.detected_at - MONDAY) / DAY - BEGINS <= 35
    assert abs((alert.since - MONDAY) / DAY - BEGINS) <= 7
    assert 2700 < alert.expected < 3300
    assert alert.lower < alert.expected < alert.upper < alert.observed
    assert 1.3 < alert.observed / alert.expected < 1.02**35


def test_in_the_end_it_is_the_new_normal(found):
    (alert,) = (each for each in found[0] if each.kind == "drift")
    assert [each for each in found[1] if each.story == alert.story] == [
        Ending(story=alert.story, at=alert.detected_at + 3 * DAY + 300, accepted=True)
    ]


def test_batches_and_restarts_change_nothing(stream, found):
    """Also batches that end within the minutes after midnight in which the day is learned."""
    days = MONDAY + np.arange(33, LAST) * DAY
    edges = np.sort([*days, *(days + 300), *(days + 50_000)])
    assert judged(stream, [*edges[edges < MONDAY + LAST * DAY], MONDAY + LAST * DAY]) == found


def lines(weeks, series=COST, chance=1e-4, fresh=WEEKS):
    """What is found in weekly levels of one series (streams x weeks)."""
    levels = np.full((len(weeks), SERIES, WEEKS), np.nan)
    levels[:, series, WEEKS - weeks.shape[1] :] = weeks
    given = Weeks(level=levels, chance=np.full(levels.shape, chance), fresh=np.full(levels.shape[:2], fresh))
    return lines_of(given, STEPS**2).z[:, series]


@pytest.mark.parametrize("weeks", range(4, WEEKS + 1))
def test_a_step_is_no_drift_wherever_a_week_is_cut(weeks):
    parts = np.linspace(0, 1, 8)  # of the step, in the week in which it falls
    for at in range(weeks):
        steps = np.where(np.arange(weeks) > at, 1.0, 0.0) + np.multiply.outer(parts, np.arange(weeks) == at)
        assert not lines(0.5 * steps).any()


def test_a_line_is_one():
    assert (lines(np.multiply.outer([0.07, 0.14], np.arange(8))) > 5.5).all()
    assert lines(np.array([-0.07 * np.arange(8)]))[0] < -5.5  # money that falls is a change, neither good nor bad
    assert lines(np.array([-0.2 * np.arange(8)]), series=0)[0] == 0  # what becomes faster is no drift
    assert lines(np.array([0.2 * np.arange(8)]), series=GROWTH)[0] == 0  # prompts have a series of their own


def test_less_than_a_fifth_is_no_drift():
    assert lines(np.array([0.02 * np.arange(8)]))[0] == 0


def test_a_share_must_rise_by_what_matters():
    shares = np.array([[0.02, 0.028, 0.037, 0.045, 0.052, 0.06], [0.02, 0.021, 0.022, 0.024, 0.025, 0.027]])
    rise, small = lines(np.arcsin(np.sqrt(shares)), series=C + ERROR, chance=1e-6)
    assert rise > 2.5
    assert small == 0


def test_weeks_that_sway_or_wander_are_not_told():
    """A year of months of 2,000 series; both would be told as lines by their slopes alone."""
    rng = np.random.default_rng(4)
    swaying, wandering = rng.normal(0, 0.1, (2000, WEEKS)), np.cumsum(rng.normal(0, 0.03, (2000, WEEKS)), 1)
    assert (np.abs(lines(swaying)) > 5.5).sum() == 0
    assert (np.abs(lines(wandering)) > 5.5).sum() <= 2


def some_levels(step):
    levels, tick = Levels(), 200 * TICKS
    levels.grow(1)
    days = (200 - np.arange(DAYS)) % DAYS
    levels.level[0, :, days] = np.where(np.arange(DAYS) < 20, step, 0.0)[:, None]  # the last 20 days
    return levels, tick, days


def test_a_step_that_was_accepted_is_taken_out():
    levels, tick, days = some_levels(step=0.3)
    levels.take_out(np.array([0]), np.arange(C) == COST, tick - 20 * TICKS, tick)
    assert np.allclose(levels.level[0, COST, days], 0.3)
    assert np.allclose(levels.level[0, 0, days[20:]], 0.0)


def test_what_was_told_is_not_told_again():
    told = np.array([0.07 * np.arange(8)])
    assert lines(told, fresh=4)[0] < 5.5 < lines(told)[0]


def test_a_block_whose_segments_were_forgotten_says_nothing(stream):
    engine = Engine()
    engine.feed({name: values[:200] for name, values in stream.items()})
    engine.advance(MONDAY + DAY)
    tick = engine.known.first + DAYS * TICKS
    for low in (0, 16):
        engine.drifts.close_day(engine.known, engine.incidents, low, tick)
        engine.drifts.judge(engine.known, low, tick)
    assert engine.drifts.scan(tick, alarming=True) == {}


def test_the_days_of_a_series_take_less_than_two_kilobytes():
    levels = Levels()
    levels.grow(100)
    tables = [levels.level, levels.count, levels.n, levels.k, levels.begun]
    tables += [each for each in vars(levels.yardstick).values() if isinstance(each, np.ndarray)]
    assert sum(each.nbytes for each in tables) / 100 / SERIES < 2048
