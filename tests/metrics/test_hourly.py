"""Series of aggregates: what is told, what is not, and what they cost."""

import io
import pickle
import random
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from tracewatch.detectors.aggregates import ROOM, STALE_S, Aggregates
from tracewatch.live.sealing import seal, unseal
from tracewatch.metrics import Rows
from tracewatch.metrics.custom import metric_of, parse
from tracewatch.metrics.hourly import LEAST_VALUES, LONGEST_SILENCE, Hourly, columns_for, judge_hour, matters, values_of
from tracewatch.metrics.table import METRIC_OF
from tracewatch.records import Span, column_of

HOUR = 3600.0
BEGIN = 1_772_409_600.0  # 2026-03-02, a Monday


def days(count, seed=1):
    """Cost by the hour: more by day than by night."""
    source = random.Random(seed)
    hours = ((BEGIN + HOUR * row, 3.0 if 8 <= row % 24 < 20 else 1.0) for row in range(24 * count))
    return [(at, usual * source.lognormvariate(0, 0.15)) for at, usual in hours]


def told(hours, aggregates=None):
    aggregates = Aggregates() if aggregates is None else aggregates
    return [each for at, value in hours for each in aggregates.take(at, {"cost": value})]


def test_an_hour_unlike_all_before_is_told_once():
    hours = days(28)
    at = hours[600][0]
    hours[600:604] = [(when, 30.0) for when, _ in hours[600:604]]
    found = told(hours)
    assert [each.at for each in found] == [at]
    assert (found[0].name, found[0].direction, found[0].observed) == ("cost", "up", 30.0)
    assert 0.5 < found[0].expected < 5
    assert found[0].score > 0.8
    assert found[0].severity > 20


@pytest.mark.parametrize("seed", range(4))
def test_four_quiet_weeks_say_nothing(seed):
    assert told(days(28, seed)) == []


def test_an_hour_given_twice_counts_once():
    hours = days(20)
    twice = [each for pair in zip(hours, hours, strict=True) for each in pair]
    one, other = Aggregates(), Aggregates()
    assert told(hours, one) == told(twice, other) == []
    assert pickle.dumps(one) == pickle.dumps(other)
    assert one.take(hours[-1][0] - HOUR, {"cost": 1e9}) == []


def test_stored_and_read_again_it_goes_on():
    hours = [*days(28), (BEGIN + 28 * 24 * HOUR, 50.0)]
    halfway = Aggregates()
    told(hours[:400], halfway)
    assert told(hours[400:], pickle.loads(pickle.dumps(halfway))) == told(hours) != []


def test_there_is_room_for_so_many_and_the_stale_leave():
    aggregates = Aggregates()
    for name in range(3 * ROOM):
        aggregates.take(BEGIN + name, {f"series {name}": 1.0})
    assert len(aggregates.names) == ROOM
    aggregates.take(BEGIN + 2 * STALE_S, {"new": 1.0})
    assert len(aggregates.names) == ROOM
    assert len(pickle.dumps(aggregates)) < ROOM * 64 * 1024


def test_what_is_no_number_is_left_out():
    aggregates = Aggregates()
    assert aggregates.take(BEGIN, {"a": float("nan"), "b": float("inf")}) == []
    assert aggregates.names == ()


def an_hour(number, scores=(), cost=1.0):
    """Calls of the hour that begins at that number, with a judge's scores."""
    times = [BEGIN + HOUR * number + row for row in range(len(scores))]
    texts = pa.array([f'{{"judge": {score}}}' for score in scores], pa.string())
    return Rows(
        pa.table({"start_time": pa.array(times, pa.float64()), "metadata": texts, "cost_usd": [cost] * len(scores)})
    )


def test_an_hour_has_a_value_for_each_metric_with_enough_calls():
    metrics = [*map(metric_of, parse("metadata.judge")), METRIC_OF["cost_per_hour"], METRIC_OF["trace_loops"]]
    assert {"start_time", "metadata", "cost_usd", "trace_id"} <= set(columns_for(metrics))
    metrics.pop()
    few = values_of(metrics, an_hour(0, [0.5] * (LEAST_VALUES - 1)))
    assert few == {"cost_per_hour": LEAST_VALUES - 1}
    assert values_of(metrics, an_hour(0, [0.25, 0.75] * LEAST_VALUES))["metadata.judge"] == 0.5
    assert values_of(metrics, an_hour(0)) == {"cost_per_hour": 0.0}


@pytest.mark.parametrize(("line", "expected"), [("metadata.judge:down", 1), ("metadata.judge:up", 0)])
def test_only_bad_news_is_told(line, expected):
    metrics = {each.name: metric_of(each) for each in parse(line)}
    aggregates, source, found = Aggregates(), random.Random(1), []
    for number in range(24 * 14):
        fault = 0.5 if number == 300 else 0.0
        scores = [min(max(source.gauss(0.8 - fault, 0.05), 0), 1) for _ in range(20)]
        found += judge_hour(aggregates, metrics, an_hour(number, scores), BEGIN + HOUR * (number + 1)).told
    assert len(found) == expected
    for metric, surprise in found:
        assert metric.key == surprise.name
        assert datetime.fromtimestamp(surprise.at, UTC).isoformat() == "2026-03-14T13:00:00+00:00"


LINE = "metadata.judge:down, tokens_per_hour, context_tokens"


def ten_days(silent=()):
    """Calls with a judge's scores, ten days of them, and a bad hour in the last one; all other columns are empty."""
    source, times, texts = random.Random(2), [], []
    for hour in range(24 * 10):
        fault = 0.5 if hour == 24 * 9 + 5 else 0.0
        for _ in range(0 if hour in silent else source.randint(12, 16)):
            times.append(BEGIN + HOUR * hour + source.uniform(0, HOUR - 1))
            texts.append(f'{{"judge": {source.gauss(0.8 - fault, 0.05):.4f}}}')
    order = sorted(range(len(times)), key=times.__getitem__)
    return calls_of([times[row] for row in order], [texts[row] for row in order])


def calls_of(times, texts):
    """Calls with these times and this metadata."""
    kinds = {name: column_of(Span)[name].kind for name in (*Hourly(parse(LINE)).needs, "metadata")}
    empty = {
        name: pa.nulls(len(times), pa.string() if kind in ("text", "json", "list") else pa.float64())
        for name, kind in kinds.items()
    }
    tokens = pa.array([50.0] * len(times))
    given = {"start_time": pa.array(times, pa.float64()), "metadata": pa.array(texts, pa.string())}
    table = pa.table(empty | given | {"input_tokens": tokens})
    return {name: table[name].to_numpy() for name in table.column_names}


def part(calls, begin, end):
    return {name: values[begin:end] for name, values in calls.items()}


def bare(hour):
    return hour.end, hour.calls, hour.values, [surprise for _, surprise in hour.told]


def judged(hours):
    return [each for hour in hours for each in hour.told]


def watched(batches, until=BEGIN + 10 * 24 * HOUR + 1):
    hourly, found = Hourly(parse(LINE)), []
    for batch in batches:
        hourly.feed(batch)
        found += hourly.advance(batch["start_time"][-1])
        sealed = io.BytesIO()
        seal(hourly, sealed)
        hourly = unseal(io.BytesIO(sealed.getvalue()))
    return found + hourly.advance(until)


@pytest.mark.parametrize("size", [100_000, 677])
def test_any_batches_say_the_same(size):
    calls = ten_days()
    rows = len(calls["start_time"])
    found = judged(watched(part(calls, begin, begin + size) for begin in range(0, rows, size)))
    assert [(metric.key, each.at) for metric, each in found] == [("metadata.judge", BEGIN + (24 * 9 + 6) * HOUR)]


def test_an_hour_without_calls_has_a_volume_of_0():
    found = judged(watched([ten_days(silent=range(24 * 9, 24 * 9 + 3))]))
    assert [(each.observed, each.at) for metric, each in found if metric.key == "tokens_per_hour"] == [
        (0.0, BEGIN + (24 * 9 + 1) * HOUR)
    ]


def test_years_of_silence_are_not_walked_hour_by_hour():
    begin, end = [ten_days(), calls_of([BEGIN + 1e9], [None])], BEGIN + 1e9 + 2 * HOUR
    hours = watched(begin, end)
    assert len(hours) <= 24 * 10 + LONGEST_SILENCE + 3  # else a quarter of a million
    hourly = Hourly(parse(LINE))
    hourly.feed(begin[0])
    steps = [each for day in range(200) for each in hourly.advance(BEGIN + day * 24 * HOUR)]
    hourly.feed(begin[1])
    assert list(map(bare, [*steps, *hourly.advance(end)])) == list(map(bare, hours))


def test_a_call_of_an_hour_that_was_judged_is_left_out():
    hourly, calls = Hourly(parse(LINE)), ten_days()
    hourly.feed(calls)
    hourly.advance(BEGIN + 11 * 24 * HOUR)
    before = pickle.dumps(hourly)
    hourly.feed(part(calls, 0, 500))
    assert hourly.advance(BEGIN + 11 * 24 * HOUR) == []
    assert pickle.loads(before).advance(BEGIN + 12 * 24 * HOUR) == hourly.advance(BEGIN + 12 * 24 * HOUR)


def test_the_first_of_a_thousand_is_no_news():
    aggregates, metrics = Aggregates(), {"missing_child_rate": METRIC_OF["missing_child_rate"]}
    for number in range(300):
        assert aggregates.take(BEGIN + HOUR * number, {"missing_child_rate": 0.0}) == []
    told = aggregates.take(BEGIN + HOUR * 300, {"missing_child_rate": 0.003})
    assert [each.name for each in told] == ["missing_child_rate"]
    assert not matters(metrics["missing_child_rate"], told[0])
    assert matters(metrics["missing_child_rate"], replace(told[0], observed=0.03))
