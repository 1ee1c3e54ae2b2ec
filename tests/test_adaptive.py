"""The adaptive engine through its door: rows in, alerts out."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tracewatch.detectors.adaptive import Alert, Engine
from tracewatch.detectors.adaptive.errands import CAN_SHARE, Second
from tracewatch.detectors.adaptive.series import K

DAY, WEEK = 86400.0, 7 * 86400.0
MONDAY = 1_772_409_600.0  # 2026-03-02
NUMBERS = ("ttft_ms", "inference_time_ms", "duration_ms", "input_tokens", "output_tokens", "cost_usd")


def calls(days=10, a_day=400, seed=1, start=MONDAY, operations=("ask", "sum"), models=("big", "small")):
    """An even stream of calls whose time depends on their tokens."""
    rng = np.random.default_rng(seed)
    n = int(days * a_day)
    t = np.sort(start + rng.uniform(0, days * DAY, n)).round(6)
    inp, out = rng.lognormal(6, 0.5, n).round(), rng.lognormal(4, 0.5, n).round() + 1
    ttft, generation = (200 + inp / 10) * rng.lognormal(0, 0.2, n), out * 20 * rng.lognormal(0, 0.2, n)
    kind = rng.integers(0, len(operations), n)
    return {
        "start_time": t,
        "trace_id": np.array([f"t{i}" for i in range(n)], object),
        "session_id": np.array([f"s{i // 4}" for i in range(n)], object),
        "user_id": np.array([f"u{i}" for i in rng.integers(0, 20, n)], object),
        "operation_type": np.array(operations, object)[kind],
        "model_name": np.array(models, object)[kind],
        "model_provider": np.full(n, "cloud", object),
        "status": np.full(n, "success", object),
        "ttft_ms": ttft,
        "inference_time_ms": ttft + generation,
        "duration_ms": ttft + generation + 30,
        "input_tokens": inp,
        "output_tokens": out,
        "cost_usd": inp * 1e-6 + out * 4e-6,
    }


def slow(columns, hour, times=3.0, hours=4.0):
    """The same stream with slow generation from an hour on."""
    hit = np.abs(columns["start_time"] - MONDAY - (hour + hours / 2) * 3600) < hours * 1800
    more = (columns["inference_time_ms"] - columns["ttft_ms"]) * (times - 1) * hit
    return columns | {k: columns[k] + more for k in ("inference_time_ms", "duration_ms")}


def end_of(columns):
    return float(np.nanmax(columns["start_time"])) + 600


def part(columns, mask):
    return {k: v[mask] for k, v in columns.items()}


def run(columns, until=None):
    engine = Engine()
    engine.feed(columns)
    return engine.advance(end_of(columns) if until is None else until)


@pytest.fixture(scope="module")
def stream():
    return slow(calls(), hour=9 * 24 + 10)


@pytest.fixture(scope="module")
def found(stream):
    return run(stream)


def test_finds_slow_generation_and_tells_it_in_the_metrics_unit(found):
    assert found
    first = found[0]
    assert isinstance(first, Alert)
    assert (first.metric, first.direction) == ("inference_time_ms", "up")
    assert MONDAY + 9 * DAY + 10 * 3600 <= first.detected_at <= MONDAY + 9 * DAY + 12 * 3600
    assert first.lower < first.expected < first.upper < first.observed
    assert 1.5 < first.observed / first.expected < 3.5
    assert 0.5 <= first.score < 1


def test_says_nothing_of_an_even_stream():
    assert run(calls(days=10, seed=3)) == []


def prepared(engine):
    """The engine, which has done all that the next step needs."""
    while engine.prepare():
        pass
    return engine


def in_batches(stream, hours, engine):
    """What is told when rows come in batches of so many hours."""
    out, low, now = [], 0, MONDAY
    coarse = 24.0  # the quiet first days in larger steps, to be quick
    while low < len(stream["start_time"]):
        now += 3600 * (hours if now >= MONDAY + 9.4 * DAY else max(hours, coarse / 4))
        now = min(now, end_of(stream))  # later, that nothing follows would be a silence
        high = int(np.searchsorted(stream["start_time"], now))
        engine.feed({k: v[low:high] for k, v in stream.items()})
        out += engine.advance(now)
        low = high
    return out + engine.advance(end_of(stream))


class Prepared(Engine):
    """One that does a part of what the next step needs whenever calls come."""

    def feed(self, batch):
        self.prepare()
        super().feed(batch)


def test_what_is_prepared_between_steps_changes_nothing(stream, monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.engine.AT_MIDNIGHT", 1)
    assert in_batches(stream, 1 / 12, Prepared()) == run(stream)


@pytest.mark.parametrize("hours", [1 / 12, 7, 31])
def test_batches_do_not_matter(stream, found, hours):
    assert in_batches(stream, hours, Engine()) == found


@pytest.mark.parametrize("hours", [1 / 12, 7])
def test_lessons_that_are_spread_over_ticks_do_not_depend_on_batches(stream, found, hours, monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.engine.AT_MIDNIGHT", 1)
    spread = run(stream)
    assert in_batches(stream, hours, Engine()) == spread
    assert [(a.metric, a.slice) for a in spread] == [(a.metric, a.slice) for a in found]


def test_lessons_under_way_survive_pickling(stream, monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.engine.AT_MIDNIGHT", 1)
    engine, begin = Engine(), MONDAY + 7 * DAY + 600  # all are young
    engine.feed(part(stream, stream["start_time"] < begin))
    out = engine.advance(begin)
    assert engine.lessons
    engine = pickle.loads(pickle.dumps(engine))
    engine.feed(part(stream, stream["start_time"] >= begin))
    assert out + engine.advance(end_of(stream)) == run(stream)


@pytest.fixture
def second():
    process = Second()
    yield process
    process.close()


@pytest.mark.parametrize("killed", [None, 3.0, 9.2])
def test_a_second_process_changes_nothing_even_when_it_is_killed(stream, found, second, killed):
    engine = Engine()
    engine.share_with(second)
    engine.feed(stream)
    out = engine.advance(MONDAY + 3 * DAY) if killed is None else engine.advance(MONDAY + killed * DAY)
    if killed is not None:
        second.process.kill()
        second.process.wait()
    assert out + engine.advance(end_of(stream)) == found
    assert engine.known.series.shared or not CAN_SHARE
    pickle.dumps(engine)


def test_segments_in_use_are_not_forgotten_for_what_may_come(monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.intake.SEGMENTS", 4)
    columns = calls(days=3)  # of two segments, and names that come once
    names = np.array([f"once{i}" for i in range(len(columns["start_time"]))], object)
    rare = np.random.default_rng(1).random(len(names)) < 0.05
    columns["model_name"] = np.where(rare, names, columns["model_name"])
    engine = Engine()
    engine.feed(columns)
    engine.advance(MONDAY + 3 * DAY)
    prepared(engine)
    words = engine.known.intake.names["model_name"].word
    segments = enumerate(engine.known.intake.segments)
    usual = [g for g, codes in segments if words.get(codes[1]) in ("big", "small")]
    assert [len(engine.known.memory.days[g]) for g in usual] == [3, 3]


def test_looks_at_no_later_row(stream, found):
    moment = MONDAY + 9 * DAY + 15 * 3600
    early = run(part(stream, stream["start_time"] < moment), moment)
    assert early == [a for a in found if a.detected_at <= moment]


def test_survives_pickling(stream, found):
    engine = Engine()
    middle = stream["start_time"] < MONDAY + 8.3 * DAY
    engine.feed(part(stream, middle))
    out = engine.advance(MONDAY + 8.3 * DAY // 300 * 300)
    engine = pickle.loads(pickle.dumps(engine))
    engine.feed(part(stream, ~middle))
    assert out + engine.advance(end_of(stream)) == found


def test_names_do_not_matter(stream, found):
    names = {"ask": "x1", "sum": "x2", "big": "y1", "small": "y2", "cloud": "z"}
    words = ("operation_type", "model_name", "model_provider")
    renamed = stream | {k: np.array([names[x] for x in stream[k]], object) for k in words}
    other = run(renamed)
    assert [(a.detected_at, a.metric, a.severity) for a in other] == [
        (a.detected_at, a.metric, a.severity) for a in found
    ]
    assert [a.slice for a in other] == [{k: names[v] for k, v in a.slice.items()} for a in found]


def test_whole_weeks_do_not_matter(stream, found):
    later = run(stream | {"start_time": stream["start_time"] + 9 * WEEK})
    assert [(a.detected_at - 9 * WEEK, a.metric, a.slice) for a in later] == [
        (a.detected_at, a.metric, a.slice) for a in found
    ]


def test_datetimes_are_seconds(stream, found):
    times = (stream["start_time"] * 1e6).round().astype("datetime64[us]")
    assert run(stream | {"start_time": times}, end_of(stream)) == found


def test_only_start_time_is_required():
    assert run({"start_time": calls(days=9)["start_time"]}) == []


def test_columns_of_nothing():
    columns = calls(days=9)
    nothing = {k: np.full(len(v), None, object) for k, v in columns.items() if k != "start_time"}
    assert run(columns | nothing) == []
    assert run(columns | {k: np.full(len(columns[k]), np.nan) for k in NUMBERS}) == []


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, -1.0, 1e300, 0.0])
def test_junk_among_the_numbers(junk):
    columns = calls(days=9, seed=5)
    bad = np.random.default_rng(2).random(len(columns["start_time"])) < 0.3
    out = run(columns | {k: np.where(bad, junk, columns[k]) for k in NUMBERS})
    assert all(np.isfinite([a.observed, a.expected, a.lower, a.upper, a.severity]).all() for a in out)


def test_junk_in_the_times():
    columns = calls(days=9)
    t = columns["start_time"].copy()
    t[::7], t[1::7] = np.nan, np.inf
    assert run(columns | {"start_time": t}, MONDAY + 9 * DAY) == []


def test_objects_that_are_no_numbers():
    columns = calls(days=2)
    words = np.array(["many"] * len(columns["start_time"]), object)
    assert run(columns | {"input_tokens": words}) == []


def test_time_goes_backwards_and_rows_come_late(stream):
    engine = Engine()
    late = np.random.default_rng(4).random(len(stream["start_time"])) < 0.1
    engine.feed({k: v[::-1] for k, v in part(stream, ~late).items()})
    engine.advance(MONDAY + 9 * DAY)
    engine.feed(part(stream, late))
    assert engine.advance(MONDAY + 8 * DAY) == []
    assert engine.advance(end_of(stream))


def test_years_of_silence():
    first, second = calls(days=9), calls(days=9, start=MONDAY + 520 * WEEK)
    engine = Engine()
    engine.feed(first)
    engine.feed(second)
    out = engine.advance(end_of(second))
    assert all(a.detected_at < MONDAY + 31 * DAY or a.detected_at > MONDAY + 520 * WEEK for a in out)
    assert engine.advance(end_of(second) + 3650 * DAY) is not None


def test_a_time_of_1970_does_no_harm(stream, found):
    t = stream["start_time"].copy()
    t[0] = 1.0
    assert [(a.metric, a.slice) for a in run(stream | {"start_time": t})] == [(a.metric, a.slice) for a in found]


def test_a_segment_and_a_user_for_every_row_is_bounded():
    columns = calls(days=9, a_day=700)
    unique = np.array([f"w{i}" for i in range(len(columns["start_time"]))], object)
    words = ("operation_type", "model_name", "model_provider", "session_id", "user_id", "status", "error_category")
    engine = Engine()
    engine.feed(columns | dict.fromkeys(words, unique))
    engine.advance(end_of(columns))
    known = engine.known
    assert len(known.intake.segments) <= 1000
    assert len(known.slices.labels) <= 600
    assert all(len(names.word) <= names.limit for names in known.intake.names.values())


def test_state_is_at_most_64_kb_a_series():
    columns = calls(days=2, a_day=2400)
    kind = np.random.default_rng(1).integers(0, 360, len(columns["start_time"]))
    columns["model_name"] = np.array([f"m{i % 18}" for i in kind], object)
    columns["operation_type"] = np.array([f"o{i // 18}" for i in kind], object)
    engine = Engine()
    engine.feed(columns)
    engine.advance(MONDAY + 2 * DAY)
    known = engine.known
    assert len(known.intake.segments) == 360
    series = len(known.slices.labels) * K
    held = [known.series.total, known.wobble.n, known.wobble.s, known.rates.n, known.rates.k]
    held += [x for days in known.memory.days.values() for _, rows in days for x in rows.values()]
    held += [x for _, rows in known.recent for x in rows.values()]
    assert sum(x.nbytes for x in held) / series < 64_000
    assert len(pickle.dumps(engine)) / series < 32_000


def test_a_busy_segment_is_bounded():
    columns = calls(days=1, a_day=60_000, operations=("ask",), models=("big",))
    t = columns["start_time"]
    engine = Engine()
    for burst in (slice(0, 20_000), slice(20_000, None)):  # the last within five minutes
        engine.feed(
            {k: v[burst] for k, v in columns.items()} | {"start_time": t[burst] if burst.stop else t[burst] * 0 + t[-1]}
        )
    engine.advance(MONDAY + DAY - 300)
    assert sum(len(rows["t"]) for _, rows in engine.known.recent) <= 288 * 1000
    engine.advance(MONDAY + DAY)
    prepared(engine)
    assert sum(len(rows["t"]) for _, rows in engine.known.recent) <= 20_000 + 1000
    assert sum(len(rows["t"]) for _, rows in engine.known.memory.days[0]) == 110


def test_rows_of_a_busy_day_are_read_in_pieces(stream, found, monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.engine.AT_ONCE", 150)
    assert run(stream) == found


def test_samples_of_a_busy_day_do_not_depend_on_batches(monkeypatch):
    monkeypatch.setattr("tracewatch.detectors.adaptive.memory.MOST", 64)
    monkeypatch.setattr("tracewatch.detectors.adaptive.memory.TODAY", 256)
    columns, kept = calls(days=2), []
    for steps in (1, 40):
        engine = Engine()
        engine.feed(columns)
        for step in range(steps):
            engine.advance(MONDAY + 2 * DAY * (step + 1) / steps)
        kept.append(
            [(g, day, rows["t"].tolist()) for g, days in engine.known.memory.days.items() for day, rows in days]
        )
    assert kept[0] == kept[1]
    assert all(len(times) <= 64 for _, _, times in kept[0])


def test_users_beyond_those_told_apart_are_no_user():
    columns = calls(a_day=1200)
    hour = (columns["start_time"] - MONDAY) / 3600 - (9 * 24 + 10)
    theirs = (np.abs(hour) < 2) & (np.arange(len(hour)) % 5 < 2)
    columns["user_id"] = np.where(theirs, [f"late{i}" for i in range(len(hour))], columns["user_id"])
    for name in ("inference_time_ms", "duration_ms"):
        columns[name] = columns[name] * np.where(theirs, 8.0, 1.0)
    engine = Engine()
    engine.known.intake.names["user_id"].limit = 20
    engine.feed(columns)
    out = engine.advance(end_of(columns))
    assert "inference_time_ms" in {a.metric for a in out}
    assert not any("user_id" in a.slice for a in out)


def test_sessions_that_are_over_are_forgotten():
    engine = Engine()
    columns = calls(days=6)
    engine.feed(columns)
    engine.advance(end_of(columns))
    assert len(engine.known.intake.names["session_id"].word) < 300
    assert len(engine.sessions.thing.today.keys) < 300


def test_nothing_fed_is_nothing_found():
    engine = Engine()
    engine.feed({"start_time": np.zeros(0)})
    assert engine.advance(MONDAY) == []


def test_unhashable_nothing_words():
    columns = calls(days=2)
    n = len(columns["start_time"])
    assert run(columns | {"user_id": np.array([float("nan")] * n, object)}) == []


def test_silence_of_everything_is_told_once():
    t = np.concatenate([MONDAY + day * DAY + np.linspace(9, 17, 80) * 3600 for day in range(11)])
    calls = {
        "start_time": t,
        "operation_type": np.array(["ask", "sum"] * (len(t) // 2), object),
        "session_id": np.array([f"s{i}" for i in range(len(t))], object),
    }
    engine = Engine()
    engine.feed(calls)
    assert not engine.advance(MONDAY + 11 * DAY)
    told = engine.advance(MONDAY + 13 * DAY)
    assert [(alert.kind, alert.slice, alert.metric) for alert in told] == [("silence", {}, "call_count")]
    assert told[0].detected_at < MONDAY + 11 * DAY + 15 * 3600


def test_sessions_that_get_out_of_hand_together_are_one_story():
    ordinary = [(MONDAY + day * DAY + 36000 + i * 60, f"d{day}-{i}") for day in range(9) for i in range(120)]
    storm = [(MONDAY + 9 * DAY + 36000 + k, f"storm{i}") for i in range(40) for k in range(60)]
    rows = sorted([(t + 5 * k, s) for t, s in ordinary for k in range(3)] + storm)
    engine = Engine()
    engine.feed(
        {
            "start_time": np.array([t for t, _ in rows]),
            "session_id": np.array([s for _, s in rows], object),
            "operation_type": np.array(["ask"] * len(rows), object),
        }
    )
    told = [alert for alert in engine.advance(MONDAY + 10 * DAY) if alert.detected_at > MONDAY + 9 * DAY]
    assert {"operation_type": "ask"} in [alert.slice for alert in told]
    assert not [alert for alert in told if "session_id" in alert.slice]


def test_a_conversation_that_runs_away_is_told_where_no_session_is_named():
    """An app that says conversation_id alone is judged as one that says session_id, however its calls are batched."""
    columns = calls(days=10, a_day=800)
    names = columns.pop("session_id")
    names[-500:-300] = "loop"
    nothing = np.full(len(names), None, object)
    by_session = run(columns | {"session_id": names})
    by_conversation = run(columns | {"session_id": nothing, "conversation_id": names})
    assert {"session_id": "loop"} in [alert.slice for alert in by_session]
    renamed = [
        replace(
            alert, slice={"conversation_id" if name == "session_id" else name: x for name, x in alert.slice.items()}
        )
        for alert in by_session
    ]
    assert by_conversation == renamed
    engine, told = Engine(), []
    for low in range(0, len(names), 700):
        part_of = {name: values[low : low + 700] for name, values in columns.items()}
        engine.feed(part_of | {"conversation_id": names[low : low + 700]})
        told += engine.advance(float(part_of["start_time"][-1]) // 300 * 300)
        engine = pickle.loads(pickle.dumps(engine))
    assert [*told, *engine.advance(end_of(columns))] == by_conversation


def test_calls_of_ever_new_operations_are_no_silence():
    t = MONDAY + np.arange(0, 10 * DAY, 120.0)
    engine = Engine()
    engine.feed({"start_time": t, "operation_type": np.array([f"step {i}" for i in range(len(t))], object)})
    assert [alert.kind for alert in engine.advance(MONDAY + 10 * DAY)] == []


def test_silence_lasts_until_a_call_comes():
    t = np.concatenate([MONDAY + np.arange(0, 9 * DAY, 60.0), MONDAY + 11 * DAY + np.arange(0, 4 * 3600, 60.0)])
    engine = Engine()
    engine.feed({"start_time": t, "operation_type": np.array(["ask"] * len(t), object)})
    told = engine.advance(MONDAY + 11 * DAY + 4 * 3600)
    everything = next(alert for alert in told if not alert.slice)
    [ending] = [each for each in engine.endings() if each.story == everything.story]
    assert MONDAY + 11 * DAY <= ending.at <= MONDAY + 11 * DAY + 2 * 3600
    assert {alert.since for alert in told if alert.kind == "silence"} == {MONDAY + 9 * DAY}


def test_the_range_of_a_large_move_is_around_what_was_usual():
    columns = calls(days=10, seed=5)
    late = columns["start_time"] >= MONDAY + 9.4 * DAY
    for name in ("inference_time_ms", "duration_ms"):
        columns[name] = np.where(late, columns[name] * 4, columns[name])
    told = next(alert for alert in run(columns) if alert.kind != "point")
    assert 3 < told.observed / told.expected < 5
    assert told.upper < told.observed / 2


def one_heavy_user(seed, **kinds):
    """A stream in which one user has many calls, from an evening on in two sessions; and which are those."""
    columns = calls(days=10, a_day=900, seed=seed, **kinds)
    late = columns["start_time"] >= MONDAY + 9.4 * DAY
    his = np.random.default_rng(seed).random(len(late)) < 0.3
    session = np.where(np.arange(len(late)) % 2, "h1", "h0")
    columns["user_id"] = np.where(his, "heavy", columns["user_id"])
    columns["session_id"] = np.where(his & late, session, columns["session_id"])
    return columns, his & late


def test_who_alone_explains_a_slow_slice_is_told_with_figures_of_its_own():
    columns, his = one_heavy_user(seed=1, operations=("ask",), models=("big",))
    for name in ("inference_time_ms", "duration_ms"):
        columns[name] = np.where(his, columns[name] * 4, columns[name])
    told = next(alert for alert in run(columns) if alert.kind == "spike")
    before = told.detected_at - columns["start_time"]
    assert told.slice == {"user_id": "heavy"}
    assert 3 < told.observed / told.expected < 5  # half of that for all calls
    assert told.lower < told.expected < told.upper < told.observed
    assert told.n <= ((columns["user_id"] == "heavy") & (before > 0) & (before < 7200)).sum()


def test_who_alone_explains_failures_is_told_with_figures_of_its_own():
    columns, his = one_heavy_user(seed=8)
    failed = his & (columns["operation_type"] == "ask")
    columns["status"] = np.where(failed, "error", columns["status"])
    told = next(alert for alert in run(columns) if alert.metric == "error_rate")
    mine = his & (columns["start_time"] < told.detected_at)
    assert told.slice == {"user_id": "heavy"}
    assert told.observed == pytest.approx((columns["status"][mine] == "error").mean(), abs=0.2)
    assert told.lower <= told.expected < 0.01 < told.upper < told.observed
    assert told.n <= mine.sum()


def test_an_operation_that_falls_silent_is_told_as_soon_as_a_dozen_starts_are_overdue():
    columns = calls(days=10, a_day=700, seed=11)
    columns["session_id"] = np.array([f"s{i}" for i in range(len(columns["start_time"]))], object)
    began = MONDAY + 9.4 * DAY + 60
    columns = part(columns, (columns["start_time"] < began) | (columns["operation_type"] != "ask"))
    told = next(alert for alert in run(columns) if alert.metric == "call_count")
    assert (told.kind, told.slice, told.observed) == ("silence", {"operation_type": "ask"}, 0)
    assert 12 <= told.expected < 14  # 15 an hour are usual
    assert began + 2100 < told.detected_at < began + 3600


def test_a_stalled_call_that_reports_no_time_of_its_own_is_told_by_its_duration():
    columns = calls(days=10, seed=7)
    silent = np.random.default_rng(7).random(len(columns["start_time"])) < 0.2
    stalled = np.flatnonzero(silent & (columns["start_time"] > MONDAY + 9 * DAY))[3]
    columns["inference_time_ms"] = np.where(silent, np.nan, columns["inference_time_ms"])
    columns["duration_ms"][stalled] *= 30
    told = [alert for alert in run(columns) if alert.kind == "point"]
    assert [(alert.metric, alert.trace_ids) for alert in told] == [("duration_ms", (f"t{stalled}",))]
