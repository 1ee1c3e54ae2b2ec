"""What every store does. A store's tests subclass `Conformance` and give it a fixture `store`, empty, at time NOW."""

import dataclasses
import itertools
import math
import random
import string

import pyarrow as pa
import pytest
from conftest import NOW
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracewatch.alerts import outbox
from tracewatch.alerts.telling import Alerting
from tracewatch.checks import Conditions
from tracewatch.errors import BadCursor, BadFilter, BadRecord, BadStep, BadToken, LeaseLost, UnknownColumn
from tracewatch.records import (
    STATUSES,
    AlertChannel,
    AlertRule,
    Anomaly,
    Baseline,
    Incident,
    Lease,
    PriceOverride,
    Span,
    columns,
)
from tracewatch.stores import Filter, parse_filter, sketch
from tracewatch.stores.columns import arrow_schema
from tracewatch.stores.measures import KEYS, ROLLED, SKETCHED
from tracewatch.stores.values import to_values

HOUR = 3600
UNHEEDED = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.differing_executors,  # the tests of each store share these
]
SOME_DAYS = (NOW - 5 * 86400, NOW + 86400)


def an_anomaly(**odd):
    ordinary = {
        "id": "one",
        "anomaly_type": "duration",
        "severity": "high",
        "confidence_score": 0.9,
        "metric_name": "duration_ms",
        "detected_value": 900.0,
        "expected_value": 100.0,
        "threshold_value": 200.0,
        "deviation_percentage": 800.0,
        "statistics": {"trace_id": "trace-1", "expectedRange": {"lower": 1.0, "upper": None}},
        "description": "A call took 900 ms.",
        "contributing_factors": ("a long prompt", "a full queue"),
        "detected_at": NOW,
        "occurred_at": NOW - 60,
        "detector": "spec",
    }
    return Anomaly(**{**ordinary, **odd})


def a_baseline(**odd):
    ordinary = {
        "detector": "adaptive",
        "part": 0,
        "parts": 1,
        "revision": 1,
        "version": "1",
        "checksum": "c",
        "size": 9,
        "updated_at": NOW,
        "learned_rows": 7,
        "cursor": "llm_traces:7",
        "state": bytes(range(256)),
    }
    return Baseline(**{**ordinary, **odd})


def key(span):
    return {"project": span.project, "trace_id": span.trace_id, "span_id": span.span_id}


def rows(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def a_batch(names, **more):
    """One row of the trace t for each letter, with more columns: an array, or the same value in all rows."""
    given = {"trace_id": ["t"] * len(names), "span_id": list(names), "start_time": [NOW] * len(names)}
    columns = {name: value if isinstance(value, pa.Array) else [value] * len(names) for name, value in more.items()}
    return pa.RecordBatch.from_pydict(given | columns)


def batch_of(spans):
    """The plain columns of some spans as one batch."""
    names = [each.name for each in columns(Span) if each.kind not in ("json", "list")]
    return pa.RecordBatch.from_pydict(
        {name: pa.array([getattr(span, name) for span in spans], arrow_schema(Span).field(name).type) for name in names}
    )


def busy_days(spans=400, seed=3):
    """Spans of some days, two projects, with values and slices missing now and then."""
    chance = random.Random(seed)

    def maybe(value, share=0.8):
        return value if chance.random() < share else None

    for number in range(spans):
        tokens = chance.randrange(5000)
        yield Span(
            project=chance.choice(["default", "default", "other"]),
            trace_id=f"t{number // 2}",
            span_id=f"s{number}",
            start_time=NOW - chance.random() * 4 * 86400,
            duration_ms=maybe(chance.lognormvariate(6, 1)),
            ttft_ms=maybe(chance.lognormvariate(5, 1), 0.3),
            cost_usd=maybe(chance.choice([0.0, tokens * 3e-6])),
            input_tokens=maybe(tokens),
            output_tokens=maybe(tokens // 7),
            total_tokens=maybe(tokens + tokens // 7, 0.5),
            retry_count=maybe(chance.randrange(3)),
            status=chance.choices(STATUSES, (90, 5, 3, 2))[0],
            model_name=maybe(chance.choice(["small", "large"])),
            model_provider=chance.choice(["openai", "anthropic"]),
            usage_type=maybe(chance.choice(["chat", "rerank"]), 0.5),
            user_id=maybe(f"user-{chance.randrange(9)}"),
        )


def expected_rollup(spans, step, by):
    """Rollups the slow and plain way: measures by (bucket, value of each `by` column)."""
    groups = {}
    for span in spans:
        bucket = math.floor(span.start_time / step) * step
        groups.setdefault((bucket, *(getattr(span, name) for name in by)), []).append(span)
    return {place: _measured(group) for place, group in groups.items()}


def _measured(spans):
    def tokens(span):
        return (
            span.total_tokens if span.total_tokens is not None else (span.input_tokens or 0) + (span.output_tokens or 0)
        )

    measured = {"calls": len(spans), "retried_calls": sum((span.retry_count or 0) > 0 for span in spans)}
    measured |= {f"{status}_calls": sum(span.status == status for span in spans) for status in STATUSES}
    measured["priced_tokens"] = sum(tokens(span) for span in spans if span.cost_usd is not None)
    measured["unpriced_tokens"] = sum(tokens(span) for span in spans if span.cost_usd is None)
    measured["unpriced_calls"] = sum(span.cost_usd is None and tokens(span) > 0 for span in spans)
    for name in ROLLED:
        values = [getattr(span, name) for span in spans if getattr(span, name) is not None]
        measured |= {f"{name}_count": len(values), f"{name}_sum": pytest.approx(sum(values))}
        if name in SKETCHED:
            measured[f"{name}_sketch"] = sketch.of(values) if values else None
    return measured


def rolled_up(table, by):
    return {
        (row.pop("bucket"), *(row.pop(name) for name in by)): row
        for row in sorted(table.to_pylist(), key=lambda row: row["bucket"])
    }


texts = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
VALUES = {
    "text": texts,
    "integer": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "time": st.floats(-1e10, 1e11, allow_nan=False),
    "json": st.dictionaries(texts, json_values, max_size=3),
    "list": st.lists(texts, max_size=3).map(tuple),
}
spans = st.fixed_dictionaries(
    {"start_time": VALUES["time"], "status": st.sampled_from(STATUSES)},
    optional={
        each.name: VALUES[each.kind] | st.none()
        for each in columns(Span)
        if not each.key and each.name not in ("start_time", "status")
    },
)
fresh_names = (f"fresh-{number}" for number in itertools.count())


def any_span_comes_back_as_it_went_in(self, store, values, odd_key):
    span = Span(**values, project=next(fresh_names), trace_id=odd_key, span_id=odd_key)
    assert store.add([span]) == 1
    here = [Filter("project", "=", (span.project,))]
    assert store.get(Span, key(span)) == span
    assert store.page(Span, here).records == (span,)
    assert store.trace(span.project, span.trace_id) == (span,)
    plain = [each.name for each in columns(Span) if each.kind not in ("json", "list")]
    assert rows(store.scan(Span, plain, here)) == [{name: getattr(span, name) for name in plain}]


def rows_are_stored_as_records_are(self, store, many):
    project = next(fresh_names)
    whole = [Span(**values, project=project, trace_id="t", span_id=str(at)) for at, values in enumerate(many)]
    given = [{**values, "project": project, "trace_id": "t", "span_id": str(at)} for at, values in enumerate(many)]
    assert store.add_rows(Span, given) == len(whole)
    assert [store.get(Span, key(each)) for each in whole] == whole
    assert store.add_rows(Span, [{**given[0], "model_name": "again"}]) == 0
    assert store.get(Span, key(whole[0])) == whole[0]
    again = [to_values(Span, {**each, "trace_id": "converted"}) for each in given]
    assert (store.add_values(Span, again), store.add_values(Span, again), store.add_values(Span, [])) == (
        len(given),
        0,
        0,
    )
    assert [store.get(Span, key(each) | {"trace_id": "converted"}) for each in whole] == [
        dataclasses.replace(each, trace_id="converted") for each in whole
    ]


def any_span(examples):
    """The test of one span, with so many examples: each costs what a store takes for half a dozen questions."""
    tried = settings(max_examples=examples, deadline=None, suppress_health_check=UNHEEDED)
    return tried(given(values=spans, odd_key=texts)(any_span_comes_back_as_it_went_in))


def some_rows(examples):
    """The test of some rows, with so many examples."""
    tried = settings(max_examples=examples, deadline=None, suppress_health_check=UNHEEDED)
    return tried(given(many=st.lists(spans, min_size=1, max_size=4))(rows_are_stored_as_records_are))


class Conformance:
    # What goes in comes out.

    test_any_span_comes_back_as_it_went_in = any_span(examples=60)

    def test_values_that_no_database_holds_are_kept_as_near_as_they_can_be(self, store, a_span):
        odd = a_span(
            error_message="a\x00b\ud800c",
            duration_ms=math.nan,
            cost_usd=math.inf,
            input_tokens=10**30,
            end_time=NOW * 1000,
            metadata={"\ud800": math.nan, "when": NOW},
        )
        store.add([odd])
        found = store.get(Span, key(odd))
        assert found.error_message == "a\ufffdb\ufffdc"
        assert (found.duration_ms, found.cost_usd, found.input_tokens, found.end_time) == (None, None, None, None)
        assert found.metadata == {"\ufffd": None, "when": NOW}

    def test_a_span_without_a_time_is_refused_and_nothing_of_its_write_is_kept(self, store, a_span):
        with pytest.raises(BadRecord, match="start_time is nan, but it must not be empty"):
            store.add([a_span(), a_span(start_time=math.nan)])
        assert store.count(Span) == 0

    def test_a_write_that_breaks_off_is_not_kept(self, store, a_span):
        def broken():
            yield from (a_span() for _ in range(5000))
            raise RuntimeError("the source broke off")

        with pytest.raises(RuntimeError):
            store.add(broken())
        assert store.count(Span) == 0
        assert store.add([a_span()]) == 1

    def test_add_keeps_what_is_there_and_counts_what_is_new(self, store, a_span):
        first, second = a_span(model_name="first"), a_span()
        assert store.add([first]) == 1
        assert store.add([a_span(**key(first), model_name="again"), second]) == 1
        assert store.get(Span, key(first)).model_name == "first"
        assert store.add([]) == 0

    test_rows_are_stored_as_records_are = some_rows(examples=60)

    def test_rows_that_no_database_holds_are_treated_as_records_are(self, store):
        at = {"trace_id": "t", "start_time": NOW}
        odd = {
            "error_message": "a\x00b\ud800c\n",
            "duration_ms": math.nan,
            "input_tokens": 10**30,
            "end_time": NOW * 1000,
        }
        assert store.add_rows(Span, []) == 0
        assert store.add_rows(Span, [{**at, **odd, "span_id": "odd"}, {**at, "span_id": "plain", "status": None}]) == 2
        found = store.get(Span, {"project": "default", "trace_id": "t", "span_id": "odd"})
        assert (found.error_message, found.duration_ms, found.input_tokens) == ("a\ufffdb\ufffdc\n", None, None)
        assert (found.end_time, found.status) == (None, "ok")

    def test_a_row_that_is_refused_takes_the_others_with_it(self, store):
        good = {"trace_id": "t", "span_id": "s", "start_time": NOW}
        for bad in ({**good, "start_time": math.inf}, {"trace_id": "t", "span_id": "s"}, {**good, "input_tokens": []}):
            with pytest.raises(BadRecord):
                store.add_rows(Span, [good, bad])
        with pytest.raises(UnknownColumn, match="modle"):
            store.add_rows(Span, [{**good, "modle": "x"}])
        assert store.count(Span) == 0

    def test_put_replaces_by_key(self, store, a_span):
        first = a_span(model_name="first")
        assert store.put([first, a_span()]) == 2
        assert store.put([a_span(**key(first), model_name="again")]) == 1
        assert store.get(Span, key(first)).model_name == "again"
        assert store.count(Span) == 2

    def test_a_score_joins_the_span_that_it_is_about(self, store, a_span):
        span = a_span(metadata={"a": 1}, status="error", error_message="boom")
        other = a_span(trace_id=span.trace_id, span_id="other")
        score = a_span(
            trace_id=span.trace_id,
            span_id="score",
            parent_span_id=span.span_id,
            operation_type="score",
            groundedness_score=0.5,
            metadata={"b": 2},
        )
        assert store.add([score]) == 1  # its span has not come: it is a row of its own for the time being
        assert store.get(Span, key(score)).groundedness_score == 0.5
        store.add([other, span])
        found = store.get(Span, key(span))
        assert (found.groundedness_score, found.metadata) == (0.5, {"a": 1, "b": 2})
        assert (found.status, found.error_message) == ("error", "boom")
        assert store.get(Span, key(score)) is None
        assert store.get(Span, key(other)).groundedness_score is None
        assert store.count(Span) == 2

    def test_a_score_that_has_failed_says_how_its_span_ended(self, store, a_span):
        span = a_span(model_name="m", output_tokens=5)
        store.add([span])
        told = {"operation_type": "score", "status": "fallback", "error_message": "no JSON"}
        store.add([a_span(trace_id=span.trace_id, span_id="score", **told)])
        found = store.get(Span, key(span))
        assert (found.status, found.error_message, found.output_tokens) == ("fallback", "no JSON", 5)

    def test_every_record_has_its_table(self, store):
        price = PriceOverride(pattern="gpt-.*", input_per_million=1.0, output_per_million=2.0)
        store.put([an_anomaly()])
        store.put([price])
        assert store.get(Anomaly, {"project": "default", "id": "one"}) == an_anomaly()
        assert store.page(PriceOverride).records == (price,)
        assert store.get(Anomaly, {"project": "default", "id": "two"}) is None

    def test_annotate_changes_some_columns_of_one_record(self, store, a_span):
        span = a_span()
        store.add([span])
        assert store.annotate(Span, key(span), {"cost_usd": 0.5, "warning_flags": ("slow",)})
        found = store.get(Span, key(span))
        assert (found.cost_usd, found.warning_flags, found.duration_ms) == (0.5, ("slow",), 100.0)
        assert not store.annotate(Span, {**key(span), "span_id": "other"}, {"cost_usd": 0.5})
        with pytest.raises(UnknownColumn, match="its columns are"):
            store.annotate(Span, key(span), {"cots_usd": 0.5})

    def test_annotate_all_changes_many_or_none(self, store, a_span):
        some = [a_span() for _ in range(3)]
        store.add(some)
        assert store.annotate_all(Span, [(key(each), {"cost_usd": 1.0}) for each in some]) == 3
        with pytest.raises(UnknownColumn):
            store.annotate_all(Span, [(key(some[0]), {"cost_usd": 2.0}), (key(some[1]), {"nonsense": 1})])
        assert {each.cost_usd for each in store.page(Span).records} == {1.0}

    def test_remove_deletes_what_matches(self, store):
        store.add([an_anomaly(id=name, severity="low") for name in "ab"] + [an_anomaly(id="c")])
        assert store.remove(Anomaly, [Filter("severity", "=", ("low",))]) == 2
        assert [each.id for each in store.page(Anomaly).records] == ["c"]

    # Bytes.

    @pytest.mark.parametrize(
        "state",
        [b"", b"\x00", bytes(range(256)) * 20_000, bytearray(b"ab"), memoryview(b"abc")[1:]],
        ids=["none", "zero", "many", "array", "view"],
    )
    def test_bytes_come_back_as_they_were(self, store, state):
        store.put([a_baseline(state=state)])
        (found,) = store.page(Baseline).records
        assert found == a_baseline(state=bytes(state))
        (row,) = rows(store.scan(Baseline, ["state", "part"]))
        assert row == {"state": bytes(state), "part": 0}

    @pytest.mark.parametrize("state", ["text", 7, [1, 2]])
    def test_what_is_no_bytes_is_refused(self, store, state):
        with pytest.raises(BadRecord, match="it must be bytes"):
            store.put([a_baseline(state=state)])
        with pytest.raises(BadFilter, match="holds bytes"):
            parse_filter("state=x", Baseline)

    def test_bytes_may_come_as_columns(self, store):
        names = [each.name for each in columns(Baseline)]
        given = [a_baseline(part=number, state=bytes([number, 0])) for number in range(3)]
        values = {name: [getattr(each, name) for each in given] for name in names}
        assert store.add_batch(Baseline, pa.RecordBatch.from_pydict(values)) == 3
        assert {each.state for each in store.page(Baseline).records} == {b"\x00\x00", b"\x01\x00", b"\x02\x00"}

    # One set of records in place of another.

    def test_swap_puts_records_in_place_of_others(self, store):
        where = [Filter("project", "=", ("default",)), Filter("detector", "=", ("adaptive",))]
        store.add([a_baseline(detector="other"), a_baseline(project="other")])
        assert store.swap(Baseline, where, [a_baseline(part=part) for part in range(3)], expected=0)
        assert store.swap(Baseline, where, [a_baseline(part=part, revision=2) for part in range(2)], expected=3)
        assert store.count(Baseline, where) == store.count(Baseline, [*where, Filter("revision", "=", (2,))]) == 2
        assert store.count(Baseline) == 4

    def test_swap_does_nothing_when_somebody_was_quicker(self, store):
        mine = [Filter("detector", "=", ("adaptive",)), Filter("revision", "=", (1,))]
        store.add([a_baseline(revision=2)])
        assert not store.swap(Baseline, mine, [a_baseline(revision=3)], expected=1)
        assert not store.swap(Baseline, mine[:1], [a_baseline(revision=3)], expected=0)
        assert [each.revision for each in store.page(Baseline).records] == [2]

    def test_a_swap_that_breaks_off_changes_nothing(self, store):
        store.add([a_baseline()])

        def broken():
            yield a_baseline(part=1)
            raise RuntimeError("the source broke off")

        with pytest.raises(RuntimeError):
            store.swap(Baseline, [], broken(), expected=1)
        with pytest.raises(BadRecord):
            store.swap(Baseline, [], [a_baseline(part=1), a_baseline(part=2, state=None)], expected=1)
        assert store.page(Baseline).records == (a_baseline(),)

    # Arrow in.

    def test_a_batch_takes_the_defaults_of_missing_columns(self, store):
        batch = pa.RecordBatch.from_pydict(
            {"trace_id": ["t", "t"], "span_id": ["a", "b"], "start_time": [NOW, NOW + 1]}
        )
        assert store.add_batch(Span, batch) == 2
        expected = tuple(Span(trace_id="t", span_id=name, start_time=NOW + at) for at, name in enumerate("ab"))
        assert store.trace("default", "t") == expected
        assert store.add_batch(Span, batch) == 0

    def test_a_batch_may_be_typed_as_other_tools_type_it(self, store):
        batch = pa.RecordBatch.from_pydict(
            {
                "trace_id": pa.array(["t"]).dictionary_encode(),
                "span_id": pa.array([7]),
                "start_time": pa.array([int(NOW * 1e9) + 500_000_000], pa.timestamp("ns", "UTC")),
                "status": pa.array([None], pa.string()),
                "input_tokens": pa.array([12.0]),
                "duration_ms": pa.array([math.nan]),
                "streaming_enabled": pa.array([1.0]),
                "warning_flags": pa.array([["slow", "big"]]),
                "metadata": pa.array([{"a": 1}]),
                "error_message": pa.array(["a\x00b"], pa.large_string()),
            }
        )
        assert store.add_batch(Span, batch) == 1
        assert store.trace("default", "t") == (
            Span(
                trace_id="t",
                span_id="7",
                start_time=NOW + 0.5,
                input_tokens=12,
                streaming_enabled=True,
                warning_flags=("slow", "big"),
                metadata={"a": 1},
                error_message="a\ufffdb",
            ),
        )

    def test_a_batch_with_an_empty_key_is_refused_whole(self, store):
        batch = pa.RecordBatch.from_pydict({"trace_id": ["t", None], "span_id": ["a", "b"], "start_time": [NOW, NOW]})
        with pytest.raises(BadRecord, match="trace_id is empty"):
            store.add_batch(Span, batch)
        with pytest.raises(UnknownColumn):
            store.add_batch(Span, batch.rename_columns(["trace_id", "span_id", "nonsense"]))
        assert store.count(Span) == 0

    # Many batches.

    def test_loading_counts_what_was_new_in_each_batch(self, store):
        given = [a_batch("abc"), a_batch(""), a_batch("cdd", cost_usd=0.5), a_batch("abcd"), a_batch("e", user_id="u")]
        assert list(store.load(Span, given)) == [3, 0, 1, 0, 1]
        assert list(store.load(Span, given)) == [0, 0, 0, 0, 0]
        assert list(store.load(Span, [])) == []
        found = {each.span_id: each for each in store.trace("default", "t")}
        assert sorted(found) == list("abcde")
        assert (found["c"].cost_usd, found["d"].cost_usd, found["e"].user_id) == (None, 0.5, "u")

    def test_loading_stores_what_batches_store_one_by_one(self, store):
        odd = {
            "streaming_enabled": [True, False, None],
            "error_message": ["a\x00b", "Zo\u00eb \U0001f600", ""],
            "input_tokens": [2**63 - 1, -(2**63), 0],
            "duration_ms": [math.nan, 5e-324, -0.0],
            "metadata": ['{"k": [1, "\u00e9"]}', "{}", None],
            "warning_flags": ['["slow"]', "[]", None],
        }
        batch = a_batch("abc", **{name: pa.array(values) for name, values in odd.items()})
        one, other = (batch.append_column("project", pa.array([name] * 3)) for name in ("one", "other"))
        store.add_batch(Span, one)
        assert list(store.load(Span, [a_batch("x"), other])) == [1, 3]
        by_batch, loaded = store.trace("one", "t"), store.trace("other", "t")
        assert [dataclasses.replace(each, project="one") for each in loaded] == list(by_batch)
        assert loaded[0].input_tokens == 2**63 - 1

    def test_loading_keeps_all_that_came_before_the_source_broke_off(self, store):
        def broken():
            yield a_batch("ab")
            yield a_batch("cd")
            yield a_batch("de")
            raise RuntimeError("the source broke off")

        counts = []
        with pytest.raises(RuntimeError, match="broke off"):
            counts.extend(store.load(Span, broken()))
        assert store.count(Span) == 5
        with pytest.raises(BadRecord, match="must not be"):
            list(store.load(Span, [a_batch("f"), a_batch("g"), a_batch("h").drop_columns(["span_id"])]))
        assert store.count(Span) == 7

    def test_loading_that_is_abandoned_keeps_what_it_reported(self, store):
        counts = store.load(Span, (a_batch(name) for name in "abcdef"))
        assert [next(counts), next(counts)] == [1, 1]
        counts.close()
        there = store.count(Span)
        assert 2 <= there <= 3
        assert sum(store.load(Span, (a_batch(name) for name in "abcdef"))) == 6 - there

    def test_loaded_rows_come_to_the_same_rollups(self, store):
        given = list(busy_days(300))
        store.add(given[:50])  # not rolled up yet
        list(store.load(Span, map(batch_of, (given[:100], given[100:200], given[150:]))))
        store.roll_up()
        by = ("project", "model_name")
        assert rolled_up(store.rollup(*SOME_DAYS, by=by), by) == expected_rollup(given, HOUR, by)

    # Questions.

    @pytest.mark.parametrize(
        ("filter", "holds"),
        [
            (Filter("model_name", "=", ("small",)), lambda span: span.model_name == "small"),
            (Filter("model_name", "=", ("small", "large")), lambda span: span.model_name is not None),
            (Filter("model_name", "=", (None,)), lambda span: span.model_name is None),
            (Filter("model_name", "=", ("small", None)), lambda span: span.model_name != "large"),
            (Filter("model_name", "!=", ("small",)), lambda span: span.model_name != "small"),
            (Filter("model_name", "!=", ("small", "large")), lambda span: span.model_name is None),
            (Filter("model_name", "!=", (None,)), lambda span: span.model_name is not None),
            (Filter("model_name", "!=", ("small", None)), lambda span: span.model_name == "large"),
            (Filter("status", "=", ("error", "timeout")), lambda span: span.status in ("error", "timeout")),
            (Filter("status", "=", ("ok", "error")), lambda span: span.status in ("ok", "error")),
            (Filter("user_id", "=", ("user-3",)), lambda span: span.user_id == "user-3"),
            (Filter("project", "=", ("other",)), lambda span: span.project == "other"),
            (Filter("project", "!=", ("other",)), lambda span: span.project != "other"),
            (Filter("duration_ms", ">", (400.0,)), lambda span: (span.duration_ms or 0) > 400),
            (Filter("duration_ms", ">=", (400.0,)), lambda span: (span.duration_ms or 0) >= 400),
            (
                Filter("input_tokens", "<", (99.5,)),
                lambda span: span.input_tokens is not None and span.input_tokens < 99.5,
            ),
            (Filter("input_tokens", "<=", (9,)), lambda span: span.input_tokens is not None and span.input_tokens <= 9),
            (Filter("start_time", ">=", (NOW - 86400,)), lambda span: span.start_time >= NOW - 86400),
            (Filter("cost_usd", ">", (None,)), lambda span: False),
            (Filter("trace_id", "=", ("'; DROP TABLE llm_traces; --",)), lambda span: False),
        ],
        ids=lambda value: f"{value.name}{value.operator}{value.values}" if isinstance(value, Filter) else "",
    )
    def test_filters_mean_what_they_say(self, store, filter, holds):
        given = list(busy_days(200))
        store.add(given)
        expected = sorted((span for span in given if holds(span)), key=lambda span: -span.start_time)
        assert store.count(Span, [filter]) == len(expected)
        assert store.page(Span, [filter], limit=300).records == tuple(expected)
        assert sorted(row["span_id"] for row in rows(store.scan(Span, ["span_id"], [filter]))) == sorted(
            span.span_id for span in expected
        )
        assert store.extent(Span, [filter]) == ((expected[-1].start_time, expected[0].start_time) if expected else None)

    def test_lists_are_asked_for_what_they_contain(self, store, a_span):
        store.add(
            [a_span(warning_flags=("slow", "big"), model_name="both"), a_span(warning_flags=(), model_name="none")]
        )
        store.add([a_span(model_name="empty"), a_span(warning_flags=("big",), model_name="big")])

        def models(operator, *values):
            return {each.model_name for each in store.page(Span, [Filter("warning_flags", operator, values)]).records}

        assert models("=", "slow") == {"both"}
        assert models("=", "slow", "big") == {"both", "big"}
        assert models("=", None) == {"none", "empty"}
        assert models("!=", "slow") == {"none", "empty", "big"}

    def test_unknown_columns_are_named(self, store):
        for ask in (
            lambda: store.page(Span, [Filter("modle", "=", ("x",))]),
            lambda: store.count(Span, [Filter("modle", "=", ("x",))]),
            lambda: store.scan(Span, ["modle"]),
            lambda: store.scan(Span, ["status"], [Filter("modle", "=", ("x",))]),
        ):
            with pytest.raises(UnknownColumn, match="cannot ask llm_traces for 'modle'"):
                ask()

    def test_pages_neither_repeat_nor_lose_rows_while_new_ones_arrive(self, store, a_span):
        first = [a_span(start_time=NOW + number // 3) for number in range(20)]  # times that are the same, too
        store.add(first)
        seen, cursor = [], None
        while True:
            page = store.page(Span, limit=7, cursor=cursor)
            assert len(page.records) <= 7
            seen += page.records
            cursor = page.next
            store.add([a_span(start_time=NOW + 1000)])
            if cursor is None:
                break
        assert sorted(each.trace_id for each in seen) == sorted(each.trace_id for each in first)
        assert [each.start_time for each in seen] == sorted((each.start_time for each in first), reverse=True)

    def test_a_page_that_holds_all_has_no_next(self, store, a_span):
        store.add([a_span(), a_span()])
        assert store.page(Span, limit=2).next is None
        assert store.page(Anomaly).records == ()

    @pytest.mark.parametrize("cursor", ["", "nonsense", "bnVsbA", "WzEsMl0", "é", "W10=", "a" * 1000])
    def test_a_cursor_of_somebody_elses_is_refused(self, store, a_span, cursor):
        store.add([a_span(), a_span()])
        with pytest.raises(BadCursor, match="Start again without a cursor"):
            store.page(Span, cursor=cursor)
        with pytest.raises(BadCursor):
            store.page(Anomaly, cursor=store.page(Span, limit=1).next)

    def test_a_trace_is_told_oldest_first(self, store, a_span):
        late, early = a_span(trace_id="t", span_id="late"), a_span(trace_id="t", span_id="early", start_time=NOW - 9)
        store.add([late, early, a_span(trace_id="t", project="other")])
        assert store.trace("default", "t") == (early, late)
        assert store.trace("default", "none") == ()

    def test_scans_are_typed_even_where_all_is_empty(self, store, a_span):
        store.add([a_span(duration_ms=None)])
        names = [
            "start_time",
            "duration_ms",
            "input_tokens",
            "streaming_enabled",
            "status",
            "metadata",
            "warning_flags",
        ]
        (batch,) = store.scan(Span, names)
        text = pa.string()
        assert batch.schema.types == [pa.float64(), pa.float64(), pa.int64(), pa.bool_(), text, text, text]

    def test_a_scan_is_one_view_of_the_store(self, store, a_span):
        store.add([a_span() for _ in range(9_000)])
        batches = iter(store.scan(Span, ["span_id"]))
        seen = next(batches).num_rows
        store.add([a_span()])
        assert seen + sum(batch.num_rows for batch in batches) == 9_000

    def test_after_a_token_only_what_was_written_since_comes(self, store, a_span):
        old = [a_span(), a_span()]
        assert rows(store.scan(Span, ["trace_id"], after=store.tip())) == []
        store.add(old)
        token = store.tip()
        store.put([an_anomaly()])
        again, new = a_span(**key(old[0]), model_name="again"), a_span(start_time=NOW - 10**6)
        store.put([again])
        store.add([new])
        assert {row["trace_id"] for row in rows(store.scan(Span, ["trace_id"], after=token))} == {
            again.trace_id,
            new.trace_id,
        }
        assert rows(store.scan(Span, ["trace_id"], after=store.tip())) == []
        with pytest.raises(BadToken):
            store.scan(Span, ["trace_id"], after="nonsense")

    # Rollups.

    @pytest.mark.parametrize("step", [60, 600, HOUR, 6 * HOUR, 86400])
    @pytest.mark.parametrize("by", [(), ("model_name",), ("project", "usage_type"), KEYS], ids=",".join)
    def test_rollups_are_what_the_spans_add_up_to(self, store, step, by):
        given = list(busy_days())
        store.add(given)
        assert store.pending() == len(given)
        assert store.roll_up() == len(given)
        assert store.pending() == store.roll_up() == 0
        assert rolled_up(store.rollup(*SOME_DAYS, step_s=step, by=by), by) == expected_rollup(given, step, by)

    def test_rollups_are_filtered_by_their_slices(self, store):
        given = list(busy_days())
        store.add(given)
        store.roll_up()
        where = [Filter("project", "=", ("default",)), Filter("model_name", "=", (None, "large"))]
        kept = [span for span in given if span.project == "default" and span.model_name != "small"]
        for step in (600, HOUR):
            table = store.rollup(*SOME_DAYS, step_s=step, where=where)
            assert rolled_up(table, ()) == expected_rollup(kept, step, ())
        for ask in ({"by": ["user_id"]}, {"where": [Filter("user_id", "=", ("x",))]}, {"measures": ["user_id"]}):
            with pytest.raises(UnknownColumn, match="cannot ask rollups for 'user_id'"):
                store.rollup(*SOME_DAYS, **ask)
        with pytest.raises(BadStep):
            store.rollup(*SOME_DAYS, step_s=90)

    def test_rollups_widen_to_whole_buckets_and_may_be_empty(self, store, a_span):
        store.add([a_span(start_time=NOW + 10), a_span(start_time=NOW + HOUR + 10)])
        store.roll_up()
        assert store.rollup(NOW + 20, NOW + 30, measures=["calls"]).to_pylist() == [{"bucket": int(NOW), "calls": 1}]
        nothing = store.rollup(NOW - 9000, NOW - 5000, by=["model_name"])
        assert nothing.num_rows == 0
        assert nothing.schema.field("calls").type == pa.int64()

    def test_rollups_follow_what_is_put_and_annotated_afterwards(self, store, a_span):
        given = {span.span_id: span for span in busy_days(150)}
        store.add(given.values())
        store.roll_up()
        chance = random.Random(5)
        for span in chance.sample(list(given.values()), 40):
            moved = Span(**{**key(span), "start_time": span.start_time + chance.choice([0, 5000]), "duration_ms": 7.0})
            given[span.span_id] = moved
            store.put([moved])
        store.roll_up()
        for span in chance.sample(list(given.values()), 40):
            values = {each.name: getattr(span, each.name) for each in columns(Span)} | {"cost_usd": 9.0}
            given[span.span_id] = Span(**values)
            store.annotate(Span, key(span), {"cost_usd": 9.0})
        assert store.pending() > 0
        store.roll_up()
        for step in (60, HOUR):
            table = store.rollup(*SOME_DAYS, step_s=step, by=("project",))
            assert rolled_up(table, ("project",)) == expected_rollup(given.values(), step, ("project",))

    def test_batches_come_to_the_same_rollups_as_records(self, store):
        given = list(busy_days(300))
        names = [each.name for each in columns(Span)]
        batch = pa.Table.from_pylist([{name: getattr(span, name) for name in names} for span in given]).combine_chunks()
        for part in batch.to_batches(max_chunksize=70):
            assert store.add_batch(Span, part) == part.num_rows
            assert store.add_batch(Span, part) == 0
        store.roll_up()
        assert rolled_up(store.rollup(*SOME_DAYS, by=KEYS), KEYS) == expected_rollup(given, HOUR, KEYS)

    def test_a_span_changed_before_it_was_rolled_up_counts_once(self, store, a_span):
        span = a_span()
        store.add([span])
        store.put([a_span(**key(span), duration_ms=7.0)])
        store.annotate(Span, key(span), {"cost_usd": 2.0})
        store.roll_up()
        (row,) = store.rollup(NOW, NOW + 60, measures=["calls", "duration_ms_sum", "cost_usd_sum"]).to_pylist()
        assert row == {"bucket": int(NOW), "calls": 1, "duration_ms_sum": 7.0, "cost_usd_sum": 2.0}

    def test_spans_before_1970_have_their_hour_too(self, store, a_span):
        old = a_span(start_time=-1800.5)
        store.add([old])
        store.roll_up()
        store.annotate(Span, key(old), {"cost_usd": 2.0})
        store.roll_up()
        asked = store.rollup(-4000, 0, measures=["calls", "cost_usd_sum"]).to_pylist()
        assert asked == [{"bucket": -3600, "calls": 1, "cost_usd_sum": 2.0}]

    def test_retention_deletes_whole_hours_and_keeps_their_rollups(self, store, a_span):
        given = [a_span(start_time=NOW - 3 * HOUR + minute * 60) for minute in range(180)]
        store.add(given)
        asked = (NOW - 4 * HOUR, NOW)
        assert store.retain(NOW - HOUR + 1800) == 120  # not rolled up yet: it sees to that first
        before = store.rollup(*asked)
        assert store.count(Span) == 60
        assert sum(before["calls"].to_pylist()) == 180
        assert store.retain(NOW - HOUR) == 0
        store.roll_up()
        assert store.rollup(*asked).equals(before)
        assert store.pending() == 0

    def test_retention_spares_spans_and_counts_nothing_anew(self, store, a_span):
        day = 24 * HOUR
        given = [a_span(start_time=NOW - hours * HOUR, status="error") for hours in range(100)]
        store.add(given)
        store.roll_up()
        store.compact(NOW - 2 * day, least=1)
        asked = (NOW - 5 * day, NOW + HOUR)
        before = store.rollup(*asked)
        spared = [key(each) for each in (given[30], given[70], given[99])]
        keys = [tuple(each[name] for name in ("project", "trace_id", "span_id")) for each in spared]
        assert store.retain(NOW - day, keys) == 72
        assert store.count(Span) == 28
        assert [store.trace(*each[:2]) for each in keys] == [(given[30],), (given[70],), (given[99],)]
        assert store.add([given[31]]) == 0  # gone, and counted
        store.add([given[70]])
        store.annotate(Span, spared[0], {"cost_usd": 2.0})
        store.compact(NOW - HOUR, least=1)
        store.roll_up()
        assert store.count(Span) == 28
        assert store.rollup(*asked).equals(before)
        assert store.verify() is None
        assert store.retain(NOW - day, keys[:1]) == 2
        assert store.get(Span, spared[0]).trace_id == given[30].trace_id
        assert store.retain(NOW - day) == 1
        assert (store.count(Span), store.pending()) == (25, 0)
        assert store.rollup(*asked).equals(before)

    def test_spans_are_added_up_by_the_values_of_a_column(self, store, a_span):
        usual = {"input_tokens": 10, "output_tokens": 1}
        store.add([
            a_span(start_time=NOW - 3, user_id="b", cost_usd=0.25, **usual),
            a_span(start_time=NOW - 2, user_id="b", cost_usd=None, cost_status="unpriced", **usual),
            a_span(start_time=NOW - 1, user_id="a", cost_usd=1.0, status="timeout", **usual),
            a_span(start_time=NOW - 1, user_id="c", cost_usd=None),
            a_span(start_time=NOW - 1, user_id=None, cost_usd=5.0),
        ])  # fmt: skip
        by_cost = store.groups("user_id")
        assert [(each.value, each.calls, each.cost_usd) for each in by_cost] == [
            ("a", 1, 1.0), ("b", 2, 0.25), ("c", 1, None),
        ]  # fmt: skip
        both = by_cost[1]
        assert (both.priced, both.unpriced, both.failed, both.input_tokens, both.output_tokens) == (1, 1, 0, 20, 2)
        assert (both.first, both.last) == (NOW - 3, NOW - 2)
        assert [each.value for each in store.groups("user_id", order="calls", limit=1)] == ["b"]
        assert [each.value for each in store.groups("user_id", order="failed", skip=1)] == ["b", "c"]
        late = [Filter("start_time", ">=", (NOW - 2,))]
        assert [each.calls for each in store.groups("user_id", late, order="last")] == [1, 1, 1]
        with pytest.raises(UnknownColumn):
            store.groups("nobody")

    def test_the_latest_groups_come_by_pages_in_the_order_of_all(self, store, a_span):
        store.add(a_span(start_time=NOW - number // 3, user_id=f"u{number % 20:02}") for number in range(200))
        store.add([a_span(start_time=NOW - 5, user_id="long ago", project="another")])
        mine = [Filter("project", "=", ("default",))]
        every = store.groups("user_id", mine, order="calls", limit=100)
        wanted = sorted(every, key=lambda each: (-each.last, each.value))
        pages = [store.groups("user_id", mine, order="last", limit=7, skip=skip) for skip in (0, 7, 14, 21)]
        assert [each for page in pages for each in page] == wanted
        assert len(wanted) == 20

    def test_whether_there_is_any_such_record(self, store, a_span):
        assert not store.exists(Span)
        store.add([a_span(user_id="a")])
        assert store.exists(Span)
        assert store.exists(Span, [Filter("user_id", ">", ("",))])
        assert not store.exists(Span, [Filter("user_id", "=", ("b",))])

    def test_spans_of_one_moment_or_not_priced_yet_are_found_by_it(self, store, a_span):
        given = [a_span(start_time=NOW - 5, cost_status="exact"), a_span(start_time=NOW - 4, cost_status=None)]
        store.add(given)
        assert store.page(Span, [Filter("project", "=", ("default",)), Filter("start_time", "=", (NOW - 5,))]).records
        waiting = list(store.scan(Span, ["start_time"], [Filter("cost_status", "=", (None,))]))
        assert [time for batch in waiting for time in batch["start_time"].to_pylist()] == [NOW - 4]

    def test_spans_that_retention_removed_do_not_come_back(self, store, a_span):
        given = [a_span(start_time=NOW - 3 * HOUR + minute * 60) for minute in range(180)]
        store.add(given)
        store.retain(NOW - HOUR)
        before = store.rollup(NOW - 4 * HOUR, NOW)
        late = a_span(start_time=NOW - 2.5 * HOUR)
        assert store.add([*given, late]) == 0
        store.put([late])
        store.roll_up()
        assert store.count(Span) == 60
        assert store.rollup(NOW - 4 * HOUR, NOW).equals(before)

    def test_text_of_every_script_can_be_asked_for(self, store, a_span):
        odd = a_span(span_name="Größe 大小 🙂 " + string.punctuation)
        store.add([odd])
        assert store.page(Span, [Filter("span_name", "=", (odd.span_name,))]).records == (odd,)

    def test_whoever_lost_a_lease_can_write_no_more(self, store, a_span):
        lease = Lease(name="watching", holder="one", epoch=1, taken_at=NOW, renewed_at=NOW)
        store.add([lease])
        store.fence(lease)
        assert store.add([a_span()]) == 1
        assert store.annotate(Lease, {"name": "watching"}, {"beat": 1})
        store.fence(None)
        store.put([dataclasses.replace(lease, holder="two", epoch=2)])
        store.fence(lease)
        writes = (
            lambda: store.add([a_span()]),
            lambda: store.put([a_baseline()]),
            lambda: store.annotate(Lease, {"name": "watching"}, {"beat": 2}),
            lambda: store.swap(Baseline, [], [a_baseline()], expected=0),
            lambda: store.remove(Lease, []),
            store.roll_up,
        )
        for write in writes:
            with pytest.raises(LeaseLost, match="two"):
                write()
        store.fence(None)
        assert (store.count(Span), store.count(Baseline), store.pending()) == (1, 0, 1)
        assert store.add([a_span()]) == 1

    def test_who_is_told_is_decided_once_and_each_recipient_told_once(self, store):
        store.add([AlertChannel(name="team", url="ntfy://127.0.0.1:1/a/b", changed_at=NOW)])
        store.add([
            AlertRule(name="daily", digest_s=86_400.0, cooldown_s=0.0, changed_at=NOW - 9 * 86_400, severity="high"),
            AlertRule(name="odd", slice={"model_name": ["gpt-*"]}, cooldown_s=60.0, changed_at=NOW),
            AlertRule(name="small", auto_acknowledge="low", changed_at=NOW, kinds=("drop",)),
        ])  # fmt: skip
        store.add([
            an_incident(id=f"i{number}", detected_at=NOW - 86_400 - number, slice=slice, severity=severity, kind=kind)
            for number, (slice, severity, kind) in enumerate(
                (({"model_name": "gpt-5"}, "high", "spike"), ({}, "critical", "spike"), (None, "low", "drop"))
            )
        ])  # fmt: skip
        told = Alerting(store, "default").run(NOW)
        assert sorted((each.event, each.rule) for each in told) == [
            ("digest", "daily"), ("opened", "default"), ("opened", "odd"),
        ]  # fmt: skip
        assert Alerting(store, "default").run(NOW + 1) == ()
        low = store.get(Incident, {"project": "default", "id": "i2"})
        assert low.resolution_status == "acknowledged"
        assert {each.key for each in outbox.due(store, NOW)} == {each.key for each in told}
        parts = outbox.apart(store, told[0], ["x", "y"])
        assert [each.recipient for each in parts] == ["x", "y"]
        assert outbox.apart(store, told[0], ["x", "y"]) == ()
        assert store.add([told[0]]) == 0
        claimed = outbox.claim(store, parts[0], "one", NOW)
        assert outbox.claim(store, parts[0], "another", NOW) is None
        assert outbox.sent(store, claimed, NOW)
        assert len(outbox.due(store, NOW)) == len(told)

    def test_the_condition_of_a_rule_is_looked_at(self, store, a_span):
        condition = {"threshold": {"metric": "error_rate", "above": 0.2, "by": "model_name"}}
        store.add([AlertRule(name="failures", condition=condition, changed_at=NOW - 60)])
        store.add([
            a_span(span_id=f"s{number}", start_time=NOW - 60 - number, model_name="gpt-5", operation_type="chat",
                   status="error", duration_ms=10.0)
            for number in range(20)
        ])  # fmt: skip
        store.roll_up()
        found = Conditions(store, "default").checks(NOW)
        assert [(each.bad, each.slice) for each in found if each.bad] == [(True, {"model_name": "gpt-5"})]


def an_incident(**odd):
    usual = {
        "severity": "high", "title": "Calls wait.", "root_id": "r", "metric_name": "ttft_ms", "kind": "spike",
        "direction": "up", "confidence_score": 0.9, "started_at": NOW - 90_000, "detected_at": NOW - 90_000,
        "updated_at": NOW, "observed": 4000.0, "expected": 1000.0, "lower": 800.0, "upper": 1200.0,
    }  # fmt: skip
    return Incident(**usual | odd)
