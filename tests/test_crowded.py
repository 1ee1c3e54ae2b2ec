"""Of very many calls at once an even sample is judged: what is held is bounded, and batches change nothing about it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tracewatch import crowded, judge
from tracewatch.detectors.adaptive.volume import DAY, KEEP, Volume
from tracewatch.judge import Judge

MOST, CALLS, TICK = 200, 3000, 300
MONDAY = 1_772_409_600.0


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(crowded, "MOST", MOST)
    monkeypatch.setattr(judge, "MOST", MOST)


def calls(seed=1):
    """Calls of one step, three to a trace, in no order; and some of the next."""
    rng = np.random.default_rng(seed)
    number = rng.permutation(CALLS)
    words = {
        "trace_id": [f"trace {n // 3}" for n in number],
        "span_id": [f"span {n}" for n in number],
        "session_id": [f"session {n // 3}" for n in number],
        "operation_type": ["search" if n % 30 < 3 else "chat" for n in number],
        "status": ["ok"] * CALLS,
    }
    late = np.where(number < 100, TICK, 0)
    numbers = {"start_time": MONDAY + late + rng.uniform(0, TICK, CALLS), "duration_ms": rng.uniform(1, 9, CALLS)}
    columns = {name: np.full(CALLS, np.nan) for name in judge.NEEDS} | numbers
    texts = [name for name in judge.NEEDS if judge.is_text(name)]
    columns |= {name: np.full(CALLS, None, object) for name in texts}
    return columns | {name: np.array(values, object) for name, values in words.items()}


def judged(columns, batch):
    """What a judge handed over when it got the calls in batches, and the most that it held."""
    mine, held, given = Judge(), [], []
    mine.engine.feed = given.append
    for low in range(0, CALLS, batch):
        mine.feed({name: values[low : low + batch] for name, values in columns.items()})
        held.append(sum(len(each["start_time"]) for each in mine.waiting))
    for step in (1, 2):
        mine.judge(MONDAY + step * TICK)
    return given, max(held)


def test_what_waits_is_bounded():
    held = judged(calls(), 50)[1]
    assert held <= 2 * MOST + 100 + 50  # of the step and the next one, and what came since it was looked


@pytest.mark.parametrize("batch", [7, 100, 1000])
def test_the_same_calls_are_judged_however_they_come(batch):
    columns = calls()
    whole, some = (judged(columns, size)[0] for size in (CALLS, batch))
    assert [len(each["start_time"]) for each in whole] == [MOST, 100]
    for one, other in zip(whole, some, strict=True):
        for name in ("span_id", "start_time", "duration_ms"):
            assert one[name].tolist() == other[name].tolist()
        assert one.get("stands_for", np.ones(100)).tolist() == other.get("stands_for", np.ones(100)).tolist()


def test_a_sample_has_whole_traces_and_stands_for_all():
    (rows, rest), _ = judged(calls(), 100)
    _, many = np.unique(rows["trace_id"].astype(str), return_counts=True)
    assert np.count_nonzero(many < 3) <= 2  # at the edge of the sample, and at the end of the step
    assert rows["stands_for"].sum() == pytest.approx(CALLS - 100)
    searches = rows["stands_for"][rows["operation_type"] == "search"].sum()
    assert searches == pytest.approx((CALLS - 100) / 10, rel=0.5)
    assert rest.get("stands_for", np.ones(100)).tolist() == [1.0] * 100


def test_volume_counts_what_came_and_not_what_was_kept():
    columns, mine = calls(), Judge()
    mine.feed(columns)
    mine.judge(MONDAY + TICK)
    assert mine.engine.volume.starts[-1].sum() == pytest.approx((CALLS - 100) / 3, rel=0.1)


def told_of_the_rare(usual, now, hours, seed=1):
    """What is said of the second of two operations, by starts of a step, when of more than 1,000 a sample is seen."""
    rng, volume, first = np.random.default_rng(seed), Volume(), 20 * DAY
    names = {each: SimpleNamespace(size=2, word=["chat", "rare"]) for each in ("operation_type", "user_id")}
    volume.starts = rng.poisson(usual, (KEEP, 2)).astype(float)
    volume.learn(first, first - KEEP, set(), [])
    found = []
    for tick in range(first, first + 12 * hours):
        came = rng.poisson(now)
        seen = rng.binomial(came, min(1.0, 1000 / came.sum()))
        many = seen.sum()
        rows = {
            "turn": np.zeros(many, int), "root": np.ones(many, bool), "t": np.full(many, tick * 300.0 + 1),
            "tick": np.zeros(many, int), "operation_type": np.repeat([0, 1], seen),
            "stands_for": np.full(many, came.sum() / many), "user_id": np.full(many, -1),
        }  # fmt: skip
        said = volume.scan(tick, 1, rows, set(), names, [], alarming=True).values()
        found += [each.alert.kind for some in said for each in some if each.alert.slice == {"operation_type": "rare"}]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_operation_of_which_a_sample_has_none_is_not_told_as_silent(seed):
    assert told_of_the_rare((400, 6), (12_000, 6), hours=4, seed=seed) == []


def test_one_that_falls_silent_in_a_flood_is_told():
    assert told_of_the_rare((400, 60), (4_000, 0), hours=2)[:1] == ["silence"]


def test_words_of_calls_that_were_left_out_are_not_kept():
    mine, columns = Judge(), calls()
    columns["session_id"] = judge.words_of(columns["session_id"], CALLS)
    mine.feed(columns)
    (held,) = mine.waiting
    assert len(held["start_time"]) == MOST + 100
    assert len(held["session_id"].words) <= MOST + 100
    assert held["session_id"].objects().tolist() == [f"session {name.split()[1]}" for name in held["trace_id"].tolist()]
