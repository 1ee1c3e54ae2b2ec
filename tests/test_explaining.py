"""What explanations say about rows made for each cause, from a real store."""

import doctest
import importlib
import json
import pkgutil
from math import fsum

import pytest
from explained import DAY_S, END, FIRST, HOUR_S, ONSET, a_story, kept, ordinary, since_onset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracewatch import explaining
from tracewatch.explaining import acting, calls, explain, story_of
from tracewatch.records import Anomaly, Incident

MODULES = [
    importlib.import_module(f"tracewatch.explaining.{each.name}") for each in pkgutil.iter_modules(explaining.__path__)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.fixture
def rows():
    return ordinary()


@pytest.fixture
def explained(tmp_path, rows):
    """Explains a story of the rows as the test has changed them."""

    def run(story, now=END):
        with kept(tmp_path / "why.db", rows) as store:
            why = explain(store, "default", story, now)
        json.dumps(why.causes, allow_nan=False)
        assert not any("{" in each for each in why.actions)
        return why

    return run


def best_slice(why):
    return (why.causes["slices"]["best"] or {}).get("slice")


def slow_down(some, times=2.0):
    for row in some:
        answering = row["output_tokens"] / row["tokens_per_second"] * 1000
        row["tokens_per_second"] /= times
        row["duration_ms"] += answering * (times - 1)


def test_a_slow_model_is_named_with_what_is_slow_about_it_and_whom_to_ask(rows, explained):
    slow_down(since_onset(rows, model_name="gpt-4o"))
    why = explained(a_story("duration_ms"))
    assert why.factors[0].startswith("model gpt-4o") or why.factors[0].startswith("slower speed")
    assert any(each.startswith("slower speed (") for each in why.factors)
    assert best_slice(why) == {"model_name": "gpt-4o"}
    assert any("Ask openai about the speed of gpt-4o" in each for each in why.actions)
    extra = sum(row["output_tokens"] / row["tokens_per_second"] / 2 for row in since_onset(rows, model_name="gpt-4o"))
    assert why.time_effect_s == pytest.approx(extra, rel=0.3)
    assert "almost certain, 0.97" in why.description
    assert why.description.startswith("All calls take ")


def test_a_slice_of_two_attributes_is_found_and_told_before_anything_else(rows, explained):
    slow_down([row for row in since_onset(rows, user_id="u3") if row["operation_type"] != "summarize"], 4.0)
    why = explained(a_story("duration_ms"))
    assert best_slice(why) == {"model_name": "gpt-4o", "user_id": "u3"}
    assert any("model gpt-4o, user u3" in each for each in why.factors)


def test_a_price_is_told_in_dollars_that_add_up(rows, explained):
    for row in since_onset(rows, model_name="gpt-4o"):
        row["cost_usd"] *= 1.5
    why = explained(a_story("cost_usd", slice={"model_name": "gpt-4o"}))
    assert why.factors[0].startswith("price, 1.5× for the same tokens: +$")
    assert "Check what openai charges for gpt-4o" in why.actions[0]
    paid = sum(row["cost_usd"] for row in since_onset(rows, model_name="gpt-4o"))
    assert why.cost_effect_usd == pytest.approx(paid / 3, rel=0.25)


def test_a_new_version_near_the_onset_comes_first(rows, explained):
    for row in rows:
        if row["start_time"] >= ONSET - 120:
            row["app_version"] = "1.1"
    for row in since_onset(rows, operation_type="chat"):
        row["input_tokens"] += 2000
    why = explained(a_story("input_tokens", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("version 1.1 (before 1.0) was first seen ")
    assert "go back to 1.0" in why.actions[0]
    assert any("added to every prompt" in each for each in why.factors)
    [change, *_] = why.causes["changes"]
    assert (change["column"], change["was"], change["value"]) == ("app_version", "1.0", "1.1")
    assert change["after"] > change["before"] + 1500


def test_long_prompts_that_grew_are_told_apart_from_something_added_to_all(rows, explained):
    for row in since_onset(rows, operation_type="chat"):
        row["input_tokens"] = round(row["input_tokens"] ** 2 / 900)
    why = explained(a_story("input_tokens", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("the long prompts grew most")


def test_answers_that_a_limit_cuts_are_told_with_the_limit(rows, explained):
    for row in since_onset(rows, operation_type="chat"):
        row["output_tokens"] = min(row["output_tokens"], 100)
    why = explained(a_story("output_tokens", "down", slice={"operation_type": "chat"}))
    assert "exactly 100 tokens: a limit cuts them" in why.factors[0]
    assert "Raise max_tokens of chat on gpt-4o" in why.actions[0]


def test_failures_are_told_by_category_since_when_and_whose(rows, explained):
    hit = since_onset(rows, model_name="claude-haiku-4-5")[5:]
    for row in hit:
        row |= {"status": "error", "error_category": "rate_limit", "error_type": "RateLimitError"}
    why = explained(a_story("error_rate", kind="rate"))
    assert why.factors[0].startswith(f"{len(hit)} calls failed with rate_limit (RateLimitError) since 10:")
    assert "on claude-haiku-4-5" in why.factors[0]
    assert "Slow down or spread the calls to claude-haiku-4-5" in why.actions[0]
    assert why.calls == len(hit)


def test_a_fallback_is_blamed_on_the_primary_that_failed(rows, explained):
    for row in since_onset(rows, operation_type="chat")[::2]:
        failed = {"span_id": f"{row['span_id']}-first", "status": "error", "error_category": "server_error"}
        rows.append({**row, **failed, "duration_ms": 100.0})
        row |= {"model_name": "llama3", "model_provider": "ollama", "status": "fallback"}
    why = explained(a_story("fallback_rate", kind="rate", slice={"operation_type": "chat"}))
    assert why.factors[0] == "the first choice gpt-4o failed with server_error in all of the traces that fell back"
    assert why.actions[0].startswith("Mend gpt-4o, not the fallback")
    assert "openai's status page" in why.actions[1]


def test_a_primary_whose_attempts_are_not_recorded_is_told_as_missing(rows, explained):
    for row in since_onset(rows, operation_type="chat"):
        row |= {"model_name": "llama3", "model_provider": "ollama", "status": "fallback"}
    why = explained(a_story("fallback_rate", kind="rate", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("the usual model gpt-4o did not answer")
    assert why.actions[0].startswith("Mend gpt-4o, not the fallback: check openai's status page")
    assert "tracewatch.attempts" in why.actions[1]
    assert not any("read the errors" in each for each in why.actions)


def test_a_parent_is_slow_because_of_its_child(rows, explained):
    for row in list(rows):
        if row["operation_type"] == "chat":
            searching = 900.0 if row["start_time"] >= ONSET else 200.0
            row["duration_ms"] += searching
            child = {"span_id": f"{row['span_id']}-r", "parent_span_id": row["span_id"], "operation_type": "retrieval"}
            rows.append(
                {
                    **{name: row[name] for name in ("start_time", "trace_id", "user_id", "session_id", "source")},
                    **child,
                    "span_name": "search",
                    "status": "ok",
                    "duration_ms": searching,
                }
            )
    why = explained(a_story("duration_ms", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("search inside chat took 700 ms too long")
    assert why.actions[0] == "Look at search inside chat: when it is quick again, chat is."


def test_a_cache_that_misses_even_soon_is_a_changed_prefix(rows, explained):
    rows[:] = ordinary(per_hour=90)
    for row in rows:
        row["session_id"] = f"session-{int(row['start_time'] // 600)}-{row['operation_type']}"
        row["start_time"] = row["start_time"] // 600 * 600 + row["start_time"] % 60
    for row in since_onset(rows, operation_type="chat"):
        row["cost_usd"] += row["cache_read_input_tokens"] * 1.25e-6
        row["cache_read_input_tokens"] = 0
    why = explained(a_story("cache_hit_rate", "down", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("even calls within 2 min of the one before miss")
    assert any(each.startswith("cache share 0 %, usually 50 %: +$") for each in why.factors)


def test_answers_are_less_grounded_because_their_context_is_less_relevant(rows, explained):
    for row in since_onset(rows, operation_type="chat"):
        row["rag_relevance_score"] -= 0.3
        row["groundedness_score"] -= 0.2
    why = explained(a_story("groundedness_score", "down", slice={"operation_type": "chat"}))
    assert why.factors[0].startswith("these calls are given context of relevance 0.")
    assert why.actions[0].startswith("Check the index and the embeddings behind chat on gpt-4o")


def test_another_model_behind_the_same_name(rows, explained):
    some = since_onset(rows, model_name="claude-haiku-4-5")
    for row in some:
        row["output_tokens"] = round(row["output_tokens"] * 1.6)
    slow_down(some)
    why = explained(a_story("tokens_per_second", "down", slice={"model_name": "claude-haiku-4-5"}))
    assert any("as if another model answered under that name" in each for each in why.factors)
    assert any("pin a dated snapshot" in each for each in why.actions)


def test_a_user_who_calls_too_often(rows, explained):
    rows[:] = ordinary(per_hour=90)
    for row in since_onset(rows, user_id="u2"):
        rows += [{**row, "span_id": f"{row['span_id']}-{copy}"} for copy in range(8)]
    why = explained(a_story("call_count", kind="surge"))
    assert best_slice(why) == {"user_id": "u2"}
    assert "Talk to user u2" in why.actions[0]
    assert why.cost_effect_usd > 0


def test_a_session_in_a_loop(rows, explained):
    step = next(row for row in rows if row["start_time"] >= ONSET and row["operation_type"] == "chat")
    for number in range(60):
        turn = {"session_id": "loop", "trace_id": "loop", "span_id": f"loop-{number}"}
        rows.append(step | turn | {"start_time": ONSET + 60 * number, "input_tokens": 1000 + 200 * number})
    why = explained(a_story("call_count", kind="surge", slice={"session_id": "loop"}, expected=4.0))
    assert why.factors[0].startswith(
        "session loop made 60 calls in 59 min, usually 4, mostly chat; the prompt grew from"
    )
    assert "Stop session loop: it calls chat over and over" in why.actions[0]
    assert (why.calls, why.users, why.trace_ids) == (60, 1, ("loop",))


def test_more_users_are_told_apart_from_more_calls_of_each(rows, explained):
    for number, row in enumerate(since_onset(rows, operation_type="chat")):
        rows += [{**row, "span_id": f"{row['span_id']}-{copy}", "user_id": f"new{number}-{copy}"} for copy in range(3)]
    why = explained(a_story("call_count", kind="surge", slice={"operation_type": "chat"}))
    assert any(each.startswith("more users: ") for each in why.factors)


def test_a_job_that_did_not_run_is_told_with_its_habit(rows, explained):
    for day in range(8):
        for number in range(20):
            at = FIRST + day * DAY_S + 10 * HOUR_S + number * 30
            rows.append({**rows[0], "start_time": at, "span_id": f"job-{day}-{number}", "operation_type": "digest"})
    story = a_story("call_count", "down", kind="silence", slice={"operation_type": "digest"}, observed=0, expected=20)
    why = explained(story)
    assert why.description.startswith("No calls of digest since 2026-03-10 10:00 UTC, usually about 20 by then")
    assert "a job that usually starts around 10:00 UTC (8 runs in 14 days, about 20 calls each)" in why.factors[0]
    assert "its last run began 2026-03-09 10:00 with 20 calls" in why.factors[0]
    assert "See why the job digest did not run" in why.actions[0]
    assert why.calls == 0
    assert why.trace_ids


def test_a_stream_that_fell_silent_is_told_with_its_last_call(rows, explained):
    rows[:] = [row for row in rows if not (row["start_time"] >= ONSET and row["operation_type"] == "extract")]
    why = explained(a_story("call_count", "down", kind="silence", slice={"operation_type": "extract"}))
    assert why.factors[0].startswith("the last call came at 2026-03-10 09:")
    assert "usually one every" in why.factors[0]


def test_a_single_call_is_explained_and_shown(rows, explained):
    odd = since_onset(rows, operation_type="chat")[3]
    odd["duration_ms"] = 60_000.0
    here = {"operation_type": "chat", "model_name": "gpt-4o"}
    point = {"kind": "point", "slice": here, "trace_ids": (odd["trace_id"],), "observed": 60_000.0, "expected": 2500.0}
    why = explained(a_story("duration_ms", **point, since=odd["start_time"]))
    assert why.description.startswith("One of the calls of chat on gpt-4o takes 1 min 0 s at ")
    assert why.trace_ids[0] == odd["trace_id"]
    assert why.causes["examples"]["usual"]


def test_where_nothing_is_wrong_no_cause_is_made_up(explained):
    why = explained(a_story("duration_ms", slice={"operation_type": "chat"}))
    assert [each for each in why.causes["because"] if each["weight"] > 0.5] == []
    assert why.causes["changes"] == []
    assert why.cost_effect_usd is None


def test_examples_are_calls_of_the_slice_since_the_onset_and_a_usual_one_before(rows, explained):
    slow_down(since_onset(rows, user_id="u5"), 5.0)
    why = explained(a_story("duration_ms"))
    theirs = {row["trace_id"] for row in since_onset(rows, user_id="u5")}
    assert set(why.trace_ids) <= theirs
    assert len(why.trace_ids) == 5
    usual = why.causes["examples"]["usual"]
    before = next(row for row in rows if row["trace_id"] == usual["trace_id"])
    assert before["start_time"] < ONSET


def days(begins):
    """Which days of the product they are on, all at ten o'clock; the fifth and the sixth are a weekend."""
    assert all(abs((begin - FIRST) % DAY_S - 10 * HOUR_S) < 60 for begin in begins)
    return [int((begin + 60 - FIRST) // DAY_S) for begin in begins]


def test_what_is_usual_are_the_same_hours_of_earlier_days_without_other_incidents(tmp_path, rows):
    slow_down(since_onset(rows))
    day = FIRST + 7 * DAY_S
    other = Incident(
        id="other",
        state="closed",
        severity="high",
        title="x",
        root_id="r",
        metric_name="duration_ms",
        kind="spike",
        direction="up",
        confidence_score=0.9,
        started_at=day + 9 * HOUR_S,
        detected_at=day,
        updated_at=day,
        closed_at=day + 12 * HOUR_S,
    )
    with kept(tmp_path / "why.db", rows) as store:
        story = a_story("duration_ms")
        begins = [begin for begin, _ in calls.gather(store, "default", story, END).windows]
        store.put([other])
        without = [begin for begin, _ in calls.gather(store, "default", story, END).windows]
    assert days(begins) == [7, 4, 3, 2, 1, 0]
    assert days(without) == [4, 3, 2, 1, 0]


def test_reading_is_bounded_and_says_so_and_finds_the_same(rows, explained, monkeypatch):
    slow_down(since_onset(rows, model_name="gpt-4o"), 3.0)
    monkeypatch.setattr(calls, "MOST_SINCE", 45)
    monkeypatch.setattr(calls, "MOST_USUAL", 200)
    why = explained(a_story("duration_ms"))
    assert why.causes["compared"]["share_read"] < 0.6
    assert why.calls == pytest.approx(90, rel=0.2)
    assert best_slice(why) == {"model_name": "gpt-4o"}


def test_calls_after_the_given_moment_are_not_looked_at(rows, explained):
    slow_down(since_onset(rows))
    half = ONSET + HOUR_S
    early = explained(a_story("duration_ms"), now=half)
    assert early.calls == len([row for row in since_onset(rows) if row["start_time"] < half])


def test_when_the_calls_are_gone_it_says_so(explained, rows):
    rows.clear()
    why = explained(a_story("duration_ms", observed=5000.0, expected=2000.0, trace_ids=("t1",)))
    assert "no longer in the database (retention)" in why.description
    assert why.causes["gone"] is True
    assert (why.factors, why.trace_ids) == ((), ("t1",))


def test_a_first_day_has_nothing_to_compare_with_and_still_answers(explained, rows):
    rows[:] = since_onset(rows)
    why = explained(a_story("duration_ms", slice={"operation_type": "chat"}))
    assert why.causes["compared"]["usual_calls"] == 0
    assert why.causes["latency"] is None
    assert why.calls > 0


@pytest.mark.parametrize("metric", ["metadata.depth", "rag_chunks_used", "turn_count", "streaming_enabled"])
def test_a_metric_nobody_planned_for_is_explained_as_far_as_it_can_be(explained, metric):
    assert explained(a_story(metric, observed=3.0, expected=1.0)).description


def test_a_slice_by_something_calls_do_not_have_is_left_aside(explained):
    assert explained(a_story("duration_ms", slice={"galaxy": "far away"})).calls > 0


def test_every_action_can_be_said_with_and_without_names():
    names = {"model_name": "m", "model_provider": "p", "operation_type": "o", "user_id": "u", "was": "w"}
    for kind, texts in acting.ACTIONS.items():
        for text in texts:
            for given_names in (names, {}):
                said = acting.filled(text, given_names)
                assert said.endswith((".", "?", "check")), kind
                assert "{" not in said
                assert "  " not in said


def test_stories_come_from_what_was_kept():
    finding = Anomaly(
        id="f",
        anomaly_type="duration",
        severity="high",
        confidence_score=0.9,
        metric_name="duration_ms",
        detected_value=9.0,
        expected_value=3.0,
        threshold_value=4.0,
        deviation_percentage=200.0,
        statistics={"expectedRange": {"lower": 2.0, "upper": 4.0}},
        description="x",
        detected_at=ONSET,
        occurred_at=ONSET,
        trace_id="t9",
        detector="adaptive",
        slice={"model_name": "m"},
    )
    story = story_of(finding)
    assert (story.direction, story.lower, story.upper, story.slice) == ("up", 2.0, 4.0, {"model_name": "m"})
    assert story.trace_ids == ("t9",)


AMOUNTS = st.one_of(st.none(), st.floats(0, 1e6), st.sampled_from([0.0, 1.0, 1e9]))
SOME_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "start_time": st.floats(ONSET - 3 * DAY_S, END - 1),
            "operation_type": st.sampled_from(["chat", "extract", None]),
            "model_name": st.sampled_from(["a", "b", None]),
            "status": st.sampled_from(["ok", "ok", "error", "fallback", "timeout"]),
            "user_id": st.sampled_from(["u1", "u2", None]),
            **dict.fromkeys(("duration_ms", "ttft_ms", "queue_time_ms", "cost_usd"), AMOUNTS),
            **{name: st.one_of(st.none(), st.integers(0, 10_000)) for name in ("input_tokens", "output_tokens")},
            "cache_read_input_tokens": st.one_of(st.none(), st.integers(0, 5000)),
        }
    ),
    max_size=60,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=SOME_ROWS, metric=st.sampled_from(["duration_ms", "cost_usd", "error_rate", "call_count", "cache_hit_rate"])
)
def test_bridges_add_up_whatever_the_rows(tmp_path_factory, some, metric):
    named = [row | {"trace_id": f"t{place}", "span_id": "s", "source": "traces"} for place, row in enumerate(some)]
    with kept(tmp_path_factory.mktemp("any") / "any.db", named) as store:
        why = explain(store, "default", a_story(metric, slice={"operation_type": "chat"}), END)
    json.dumps(why.causes, allow_nan=False)
    for name in ("cost", "latency"):
        bridge = why.causes.get(name)
        if bridge:
            change = bridge["after"] - bridge["before"]
            largest = max(
                abs(bridge["after"]), abs(bridge["before"]), *(abs(each["change"]) for each in bridge["parts"])
            )
            assert fsum(each["change"] for each in bridge["parts"]) == pytest.approx(
                change, abs=1e-9 * max(largest, 1.0)
            )
    assert set(why.trace_ids) <= {row["trace_id"] for row in named}


def test_a_change_in_one_operation_is_found_where_the_story_is_wider_and_begins_too_early(rows, explained):
    for row in since_onset(rows, operation_type="chat"):
        if row["start_time"] >= ONSET + 3600:
            row["app_version"] = "2.0"
            row["input_tokens"] *= 3
    why = explained(a_story("input_tokens", slice={"model_provider": "openai"}))
    assert why.factors[0].startswith("version 2.0 (before 1.0), new since 11:0")
    assert "See what version 2.0 changed in chat on gpt-4o; go back to 1.0" in why.actions[0]


def test_what_could_not_be_seen_is_not_claimed(rows, explained):
    for row in rows:
        del row["rag_relevance_score"]
    for row in since_onset(rows, operation_type="chat"):
        row["groundedness_score"] -= 0.2
    why = explained(a_story("groundedness_score", "down", slice={"operation_type": "chat"}))
    assert why.factors == ("answers of calls of chat on gpt-4o are less grounded",)


def test_retries_without_recorded_attempts_say_so(rows, explained):
    for row in since_onset(rows, operation_type="chat")[::2]:
        row["retry_count"] = 2
    why = explained(a_story("retry_rate", kind="rate", slice={"operation_type": "chat"}))
    assert why.factors == ("calls of chat on gpt-4o are tried again inside the client; no failed attempt is recorded",)
    assert "Check openai's status page and rate limits." in why.actions


def test_a_part_that_is_more_than_all_of_the_extra_time_is_told_without_a_share(rows, explained):
    odd = next(row for row in since_onset(rows, operation_type="chat"))
    odd |= {"output_tokens": 14, "tokens_per_second": 1.4, "duration_ms": 10_600.0, "ttft_ms": 100.0}
    here = {"operation_type": "chat", "model_name": "gpt-4o"}
    point = {"kind": "point", "slice": here, "trace_ids": (odd["trace_id"],), "observed": 10_600.0, "expected": 2500.0}
    why = explained(a_story("duration_ms", **point, since=odd["start_time"]))
    changes = {each["name"]: each["change"] for each in why.causes["latency"]["parts"]}
    assert changes["longer answers"] < 0 < changes["slower speed"] < 10_600
    assert changes["slower speed"] > 1.05 * (why.causes["latency"]["after"] - why.causes["latency"]["before"])
    assert why.factors[0].startswith("slower speed (1.4 tokens/s, usually ")
    assert why.factors[0].endswith(" s")


def test_slices_are_told_only_where_the_story_has_calls(rows, explained):
    def listed(slice):
        told = explained(a_story("duration_ms", slice=slice)).causes["slices"]
        return [each["slice"] for each in (*told["explaining"], *told["others"])]

    slow_down(since_onset(rows))
    others = [each for each in listed({}) if each.get("operation_type", "summarize") != "summarize"]
    assert others
    assert [each for each in listed({"operation_type": "summarize"}) if each in others] == []


def test_without_an_excess_there_is_nothing_to_share(rows, explained):
    slow_down(since_onset(rows, operation_type="chat"), 0.5)
    told = explained(a_story("duration_ms", slice={"operation_type": "chat"})).causes["slices"]
    assert (told["explaining"], told["others"]) == ([], [])


def test_the_silence_of_everything_is_no_calls_at_all(rows, explained):
    rows[:] = [row for row in rows if row["start_time"] < ONSET]
    why = explained(a_story("call_count", "down", kind="silence", observed=0, expected=90))
    assert why.description.startswith("No calls at all since 2026-03-10 10:00 UTC, usually about 90 by then")
