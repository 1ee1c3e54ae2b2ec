"""What tokens cost, and how honestly it is said."""

import json
import logging
import math
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.errors import BadPrice
from tracewatch.pricing import (
    COLUMNS_WRITTEN,
    INCONSISTENT_USAGE,
    NO_MODEL,
    REPORTED_KEY,
    Price,
    PriceBook,
    checked,
    price_batch,
    price_span,
)
from tracewatch.pricing.names import is_local, spellings, undated
from tracewatch.records import COST_STATUSES, PriceOverride, Span

MILLION = 1_000_000
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook()


@pytest.fixture
def book():
    return BOOK


def a_span(**given):
    ordinary = {
        "trace_id": "t",
        "span_id": "s",
        "start_time": NOON,
        "operation_type": "chat",
        "model_provider": "anthropic",
        "model_name": "claude-haiku-4-5",
        "input_tokens": 1000,
        "output_tokens": 100,
    }
    return Span(**{**ordinary, **given})


def an_override(**given):
    return PriceOverride(**{"pattern": "acme-1", "input_per_million": 2.0, "output_per_million": 8.0, **given})


def a_batch(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.RecordBatch.from_pydict({name: [row.get(name) for row in rows] for name in names})


def entries():
    """Every model of the table under a name by which its own provider finds it."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            if provider.find_model(model.id, all_providers=get_snapshot().providers) is model:
                yield provider, model


# What is priced


@pytest.mark.parametrize(
    ("provider", "model", "input_usd", "output_usd"),
    [
        ("anthropic", "claude-haiku-4-5", 1.0, 5.0),
        ("anthropic", "claude-sonnet-4-5", 3.0, 15.0),
        ("openai", "gpt-4o-mini", 0.15, 0.60),
    ],
)
def test_list_prices_per_million_tokens(book, provider, model, input_usd, output_usd):
    call = {"model_provider": provider, "model_name": model}
    assert price_span(a_span(**call, input_tokens=100_000, output_tokens=0), book).cost_usd == pytest.approx(
        input_usd / 10
    )
    price = price_span(a_span(**call, input_tokens=0, output_tokens=MILLION), book)
    assert price.cost_usd == pytest.approx(output_usd)
    assert price.cost_status == "exact"
    assert price.cost_source.endswith(f"{provider}/{model}")
    assert price.cost_source.startswith("genai-prices ")


def test_the_whole_table_agrees_with_its_own_calculator(book):
    chance = random.Random(7)
    moments = [
        datetime(2026, 1, 5, 2, tzinfo=UTC),
        datetime(2026, 9, 10, 7, tzinfo=UTC),
        datetime(2027, 2, 1, tzinfo=UTC),
    ]
    contexts = [{}, {"service_tier": "flex"}, {"service_tier": "priority"}, {"processing": "batch"}, {"speed": "fast"}]
    rows, expected = [], []
    for provider, model in entries():
        for moment in moments if isinstance(model.prices, list) or model.price_variants else moments[:1]:
            context = chance.choice(contexts)
            tokens = {
                "input_tokens": chance.choice([0, 900, 150_000, 250_000, MILLION]),
                "output_tokens": chance.choice([0, 700, 90_000]),
            }
            read, write = int(tokens["input_tokens"] * 0.5), int(tokens["input_tokens"] * 0.3)
            hour, reasoning = write // 3, tokens["output_tokens"] // 2
            usage = Usage(
                **tokens,
                cache_read_tokens=read,
                cache_write_tokens=write,
                cache_write_1h_tokens=hour,
                output_reasoning_tokens=reasoning,
            )
            told = calc_price(
                usage, model.id, provider_id=provider.id, genai_request_timestamp=moment, price_context=context
            )
            expected.append(float(told.total_price))
            rows.append(
                {
                    **tokens,
                    "model_provider": provider.id,
                    "model_name": model.id,
                    "start_time": moment.timestamp(),
                    "cache_read_input_tokens": read,
                    "cache_creation_input_tokens": write,
                    "reasoning_tokens": reasoning,
                    "metadata": json.dumps({"cache_creation_1h_input_tokens": hour, **context}),
                }
            )
    priced = price_batch(a_batch(rows), book)
    costs, statuses = priced["cost_usd"].to_pylist(), priced["cost_status"].to_pylist()
    assert len(costs) > 2000
    assert {"exact", "default_rate", "free", "unpriced"} >= set(statuses)
    wrong = [
        (row, cost, told)
        for row, cost, told, status in zip(rows, costs, expected, statuses, strict=True)
        if status != "unpriced" and not math.isclose(cost, told, rel_tol=1e-12, abs_tol=1e-18)
    ]
    assert wrong == []
    # What the table lists without a price per token is left open, where its calculator says 0 (or a fee per request).
    assert {told for told, status in zip(expected, statuses, strict=True) if status == "unpriced"} == {0.0}


usages = st.fixed_dictionaries(
    {
        name: st.one_of(st.none(), st.integers(-5, 3 * MILLION))
        for name in (
            "input_tokens",
            "output_tokens",
            "reasoning_tokens",
            "cache_read_input_tokens",
            "cache_creation_input_tokens",
        )
    }
)
calls = st.sampled_from(
    [
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "gpt-5"),
        ("ollama", "llama3"),
        ("acme", "acme-0"),
        ("system", "batch"),
        (None, None),
    ]
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(calls, usages), min_size=1, max_size=8))
def test_no_usage_whatever_costs_less_than_nothing_and_order_does_not_matter(given_rows):
    book = BOOK
    rows = [
        {"start_time": NOON, "model_provider": provider, "model_name": model, **usage}
        for (provider, model), usage in given_rows
    ]
    together = price_batch(a_batch(rows), book).to_pylist()
    alone = [price_batch(a_batch([row]), book).to_pylist()[0] for row in rows]
    for each, other in zip(together, alone, strict=True):
        assert [each[name] for name in COLUMNS_WRITTEN] == [other[name] for name in COLUMNS_WRITTEN]
        assert each["cost_status"] in COST_STATUSES
        assert each["cost_usd"] is None or each["cost_usd"] >= 0
        assert (each["cost_usd"] is None) == (each["cost_status"] in ("unpriced", "unmetered"))


def test_tiers_go_by_the_whole_context_cached_input_included(book):
    call = {"model_name": "claude-sonnet-4-5", "input_tokens": 200_001, "output_tokens": 0}
    below = price_span(a_span(**{**call, "input_tokens": 200_000}), book)
    above = price_span(a_span(**call), book)
    cached = price_span(a_span(**call, cache_read_input_tokens=200_000), book)
    assert below.cost_usd == pytest.approx(200_000 * 3 / MILLION)
    assert above.cost_usd == pytest.approx(200_001 * 6 / MILLION)
    assert cached.cost_usd == pytest.approx((200_000 * 0.6 + 6) / MILLION)


def test_cached_input_is_part_of_the_input_and_not_on_top_of_it(book):
    span = a_span(
        input_tokens=1000,
        output_tokens=0,
        cache_read_input_tokens=600,
        cache_creation_input_tokens=300,
        metadata={"cache_creation_1h_input_tokens": 100},
    )
    assert price_span(span, book).cost_usd == pytest.approx((100 * 1 + 600 * 0.1 + 200 * 1.25 + 100 * 2) / MILLION)


def test_the_hour_long_cache_is_read_where_the_anthropic_answer_has_it(book):
    span = a_span(cache_creation_input_tokens=1000, metadata={"cache_creation": {"ephemeral_1h_input_tokens": 1000}})
    assert price_span(span, book).cost_usd == pytest.approx((1000 * 2 + 100 * 5) / MILLION)


def test_reasoning_is_part_of_the_output(book):
    span = a_span(model_provider="openai", model_name="gpt-5", output_tokens=1000)
    thought = a_span(model_provider="openai", model_name="gpt-5", output_tokens=1000, reasoning_tokens=900)
    assert price_span(span, book).cost_usd == pytest.approx(price_span(thought, book).cost_usd, rel=1e-12)


def test_a_span_has_the_price_of_its_day(book):
    long = {"model_name": "claude-sonnet-4-6", "input_tokens": 300_000, "output_tokens": 0}
    before = price_span(a_span(**long, start_time=datetime(2026, 3, 12, 23, tzinfo=UTC).timestamp()), book)
    after = price_span(a_span(**long, start_time=datetime(2026, 3, 13, 0, tzinfo=UTC).timestamp()), book)
    assert before.cost_usd == pytest.approx(1.8)
    assert after.cost_usd == pytest.approx(0.9)
    assert after.cost_source.endswith("from 2026-03-13")


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_the_service_tier_has_its_own_price(book, tier):
    span = a_span(model_provider="openai", model_name="gpt-5")
    standard = price_span(span, book)
    asked = price_span(a_span(model_provider="openai", model_name="gpt-5", metadata={"service_tier": tier}), book)
    assert asked.cost_usd != standard.cost_usd
    assert asked.cost_source.endswith(f"service_tier={tier}")


def test_a_batch_tier_is_half_the_price(book):
    span = a_span(metadata={"service_tier": "batch"})
    assert price_span(span, book).cost_usd == pytest.approx(price_span(a_span(), book).cost_usd / 2)


def test_a_tier_the_table_does_not_know_is_priced_as_standard_and_says_so(book):
    span = a_span(metadata={"service_tier": "priority"})
    price = price_span(span, book)
    assert (price.cost_usd, price.cost_status) == (price_span(a_span(), book).cost_usd, "default_rate")


def test_embeddings_have_no_output_to_pay(book):
    span = a_span(
        operation_type="embedding",
        model_provider="openai",
        model_name="text-embedding-3-small",
        input_tokens=MILLION,
        output_tokens=None,
    )
    assert price_span(span, book).cost_usd == pytest.approx(0.02)


# Names


@pytest.mark.parametrize(
    ("provider", "model", "status", "entry"),
    [
        ("Anthropic", "claude-haiku-4-5", "exact", "anthropic/claude-haiku-4-5"),
        ("anthropic", "Claude-Haiku-4.5", "alias", "anthropic/claude-haiku-4-5"),
        ("anthropic", "claude-haiku-4-5-20251001", "date_stripped", "anthropic/claude-haiku-4-5"),
        ("anthropic", "claude-sonnet-4-5-20250929", "date_stripped", "anthropic/claude-sonnet-4-5"),
        ("openai", "gpt-4o-mini-2024-07-18", "exact", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2031-07-18", "date_stripped", "openai/gpt-4o-mini"),
        (None, "gpt-4o-mini", "alias", "openai/gpt-4o-mini"),
        (None, "claude-haiku-4-5", "alias", "anthropic/claude-haiku-4-5"),
        ("vertex_ai", "claude-haiku-4-5@20251001", "date_stripped", "google/claude-haiku-4-5"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", "alias", "google/gemini-2.5-flash"),
        ("google", "models/gemini-2.5-flash", "alias", "google/gemini-2.5-flash"),
        ("azure", "gpt-4o", "alias", "openai/gpt-4o"),
        (None, "azure/gpt-4o", "alias", "openai/gpt-4o"),
        ("azure.ai.openai", "gpt-5", "alias", "openai/gpt-5"),
        ("openrouter", "anthropic/claude-haiku-4.5", "exact", "openrouter/anthropic/claude-haiku-4.5"),
        (None, "openrouter/anthropic/claude-haiku-4.5", "alias", "openrouter/anthropic/claude-haiku-4.5"),
        (None, "openrouter/anthropic/claude-haiku-4-5", "alias", "anthropic/claude-haiku-4-5"),
        ("openai", "anthropic/claude-haiku-4-5", "alias", "anthropic/claude-haiku-4-5"),
        ("litellm", "anthropic/claude-haiku-4-5", "alias", "anthropic/claude-haiku-4-5"),
        ("xai", "grok-4.3", "exact", "x-ai/grok-4.3"),
    ],
)
def test_a_model_is_found_under_its_other_names(book, provider, model, status, entry):
    price = price_span(a_span(model_provider=provider, model_name=model), book)
    assert price.cost_status == status
    assert price.cost_source.partition(": ")[2].split(" ")[0].rstrip(",") == entry


@pytest.mark.parametrize(
    "model",
    [
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "eu.anthropic.claude-haiku-4-5-20251001-v1:0",
        "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
    ],
)
@pytest.mark.parametrize("provider", ["aws bedrock", "aws.bedrock", "bedrock", None])
def test_a_regional_bedrock_model_costs_its_regional_price(book, provider, model):
    price = price_span(a_span(model_provider=provider, model_name=model, input_tokens=MILLION, output_tokens=0), book)
    assert price.cost_usd == pytest.approx(1.1)
    assert price.cost_status == "alias"


def test_a_global_bedrock_model_costs_its_global_price(book):
    span = a_span(model_provider="bedrock", model_name="global.anthropic.claude-haiku-4-5-20251001-v1:0")
    assert price_span(span, book).cost_usd == pytest.approx((1000 * 1 + 100 * 5) / MILLION)


def test_an_open_model_without_a_provider_is_not_guessed(book):
    assert price_span(a_span(model_provider=None, model_name="llama-3.3-70b"), book).cost_status == "unpriced"


def test_a_free_variant_of_a_paid_model_is_free(book):
    span = a_span(model_provider="openrouter", model_name="deepseek/deepseek-r1:free")
    assert (price_span(span, book).cost_usd, price_span(span, book).cost_status) == (0.0, "free")


def test_a_price_that_is_not_per_token_is_no_silent_zero(book):
    price = price_span(a_span(model_provider="openai", model_name="whisper-1"), book)
    assert (price.cost_usd, price.cost_status) == (None, "unpriced")
    assert "audio_hours" in price.cost_source


@pytest.mark.parametrize("name", ["gpt-4o", "claude-opus-4-1", "llama-3.1-8b-instant", "mistral-small-2506"])
def test_only_a_date_is_taken_off(name):
    assert undated(name) == name
    assert spellings(name)[0].name == name


# What costs nothing, and what has no cost


@pytest.mark.parametrize(
    "provider",
    ["ollama", "Ollama", "vllm", "hosted_vllm", "lmstudio", "LM Studio", "llama.cpp", "localai", "self-hosted"],
)
def test_local_models_are_free(book, provider, caplog):
    span = a_span(model_provider=provider, model_name="some-model", input_tokens=None, output_tokens=None)
    assert price_span(span, book) == Price(0.0, "free", "a local model")
    assert is_local(provider)
    assert not caplog.records


def test_a_local_model_behind_a_gateway_is_free(book):
    assert price_span(a_span(model_provider="litellm", model_name="ollama/llama3.2"), book).cost_status == "free"


def test_an_answer_from_the_clients_cache_is_free_whatever_the_model(book):
    for model in ("claude-haiku-4-5", "unknown-and-cached"):
        price = price_span(a_span(model_name=model, metadata={"cache_hit": True}), book)
        assert (price.cost_usd, price.cost_status) == (0.0, "free")
    for metadata in ({"cache_hit": False}, {"cache_hit": "yes"}, {"retrieval": {"cache_hit": True}}):
        assert price_span(a_span(metadata=metadata), book).cost_status == "exact"


@pytest.mark.parametrize(
    "given",
    [
        {"model_provider": "system", "model_name": "batch", "operation_type": "batch"},
        {"model_provider": None, "model_name": "batch"},
        {"model_provider": None, "model_name": None, "operation_type": "tool"},
        {"model_provider": "openai", "model_name": None, "operation_type": "AGENT"},
        {"model_provider": None, "model_name": "", "operation_type": "retrieval"},
        {"model_name": "never-heard-of", "input_tokens": None, "output_tokens": None},
    ],
)
def test_what_calls_no_model_or_reports_no_tokens_has_no_cost_and_no_warning(given, caplog):
    book = PriceBook()
    assert price_span(a_span(**given), book) == Price(None, "unmetered", None)
    assert not caplog.records
    assert not book.unpriced


# What is not known


def test_an_unknown_paid_model_warns_once_by_name_and_is_counted(caplog):
    book = PriceBook()
    rows = [{"start_time": NOON, "model_provider": "openai", "model_name": "gpt-from-mars", "input_tokens": 5}] * 3
    with caplog.at_level(logging.WARNING, "tracewatch"):
        priced = price_batch(a_batch(rows), book)
        price_batch(a_batch(rows), PriceBook())
    assert priced["cost_usd"].to_pylist() == [None] * 3
    assert priced["cost_status"].to_pylist() == ["unpriced"] * 3
    assert dict(book.unpriced) == {"gpt-from-mars": 3}
    assert [record.getMessage().count("gpt-from-mars") for record in caplog.records] == [2]


def test_tokens_of_a_call_without_a_model_are_counted_without_a_warning(caplog):
    book = PriceBook()
    assert price_span(a_span(model_name=None), book).cost_status == "unpriced"
    assert dict(book.unpriced) == {NO_MODEL: 1}
    assert not caplog.records


# What the caller reported


def test_a_reported_cost_is_kept(book):
    for status in (None, "reported"):
        price = price_span(a_span(cost_usd=0.5, cost_status=status), book)
        assert price == Price(0.5, "reported", "reported by the caller")


def test_a_cost_of_ours_is_no_report(book):
    assert price_span(a_span(cost_usd=0.5, cost_status="exact"), book).cost_usd == pytest.approx(0.0015)


@pytest.mark.parametrize("reported", [0.0, -0.5, math.nan, math.inf])
def test_an_incredible_report_is_priced(book, reported):
    assert price_span(a_span(cost_usd=reported), book).cost_usd == pytest.approx(0.0015)
    unknown = price_span(a_span(cost_usd=reported, model_name="reported-but-unknown"), book)
    assert (unknown.cost_usd, unknown.cost_status) == (None, "unpriced")


def test_reports_can_be_overruled_where_a_price_is_known():
    book = PriceBook(believe_reported=False)
    assert price_span(a_span(cost_usd=0.5, cost_status="reported"), book).cost_status == "exact"
    assert price_span(a_span(cost_usd=0.5, model_name="overruled-unknown"), book).cost_status == "reported"


# Usage that cannot be true


@pytest.mark.parametrize(
    "given",
    [
        {"input_tokens": 21, "cache_read_input_tokens": 1024},
        {"input_tokens": -5},
        {"output_tokens": 10, "reasoning_tokens": 20},
    ],
)
def test_impossible_usage_is_clamped_and_flagged_once(book, given):
    row = {**as_row(), **given, "warning_flags": '["slow"]'}
    once = price_batch(a_batch([row]), book)
    twice = price_batch(once, book)
    assert once["cost_usd"][0].as_py() > 0
    assert once["warning_flags"].to_pylist() == [f'["slow", "{INCONSISTENT_USAGE}"]']
    assert twice.equals(once)


def as_row():
    return {"start_time": NOON, "model_provider": "anthropic", "model_name": "claude-haiku-4-5", "output_tokens": 100}


def test_more_cached_input_than_input_is_charged_as_cached(book):
    span = a_span(input_tokens=21, cache_read_input_tokens=1024, output_tokens=0)
    assert price_span(span, book).cost_usd == pytest.approx(1024 * 0.1 / MILLION)


def test_a_batch_without_our_columns_gets_them_and_keeps_the_rest(book):
    priced = price_batch(a_batch([{**as_row(), "user_id": "u"}]), book)
    assert set(COLUMNS_WRITTEN) <= set(priced.schema.names)
    assert priced["user_id"].to_pylist() == ["u"]
    assert "warning_flags" not in priced.schema.names


def test_an_empty_batch_is_priced_to_an_empty_batch(book):
    assert price_batch(a_batch([as_row()]).slice(0, 0), book).num_rows == 0


def test_metadata_that_is_no_object_does_not_matter(book):
    for text in ('["service_tier"]', '{"service_tier": ', '"service_tier"'):
        priced = price_batch(a_batch([{**as_row(), "metadata": text}]), book)
        assert priced["cost_status"].to_pylist() == ["exact"]


# A project's own prices


def test_an_override_prices_what_the_table_does_not_know_and_beats_what_it_does():
    book = PriceBook([an_override(), an_override(pattern="claude-haiku-.*", cache_read_per_million=0.0)])
    price = price_span(a_span(model_name="acme-1"), book)
    assert price == Price(pytest.approx(0.0028), "override", "override 'acme-1'")
    known = price_span(a_span(cache_read_input_tokens=1000), book)
    assert known.cost_usd == pytest.approx(0.0008)


def test_an_override_can_price_a_machine_of_ones_own():
    book = PriceBook([an_override(pattern=".*", model_provider="ollama")])
    assert price_span(a_span(model_provider="ollama", model_name="llama3"), book).cost_status == "override"
    assert price_span(a_span(), book).cost_status == "exact"


def test_an_override_matches_the_whole_name_of_its_projects_models():
    book = PriceBook([an_override(pattern="acme")])
    assert price_span(a_span(model_name="acme-2"), book).cost_status == "unpriced"
    assert price_span(a_span(model_name="ACME"), book).cost_status == "override"
    assert price_span(a_span(model_name="acme", project="other"), book).cost_status == "unpriced"


def test_an_override_for_a_provider_takes_all_its_spellings():
    book = PriceBook([an_override(model_provider="bedrock")])
    assert price_span(a_span(model_provider="aws.bedrock", model_name="acme-1"), book).cost_status == "override"
    assert price_span(a_span(model_provider="openai", model_name="acme-1"), book).cost_status == "unpriced"


def test_overrides_hold_between_their_dates_and_the_latest_start_wins():
    book = PriceBook(
        [
            an_override(starts_at=100.0, ends_at=300.0),
            an_override(starts_at=200.0, input_per_million=4.0, output_per_million=0.0),
        ]
    )
    rows = [
        {"start_time": at, "model_name": "acme-1", "input_tokens": MILLION} for at in (99.9, 100.0, 199.9, 200.0, 300.0)
    ]
    assert price_batch(a_batch(rows), book)["cost_usd"].to_pylist() == [None, 2.0, 2.0, 4.0, 4.0]


def test_a_named_provider_beats_a_plain_name_which_beats_a_pattern():
    general, plain, narrow = (
        an_override(pattern="acme.*", input_per_million=1.0, starts_at=500.0),
        an_override(input_per_million=2.0),
        an_override(pattern=".*", model_provider="acme", input_per_million=3.0),
    )
    span = a_span(model_provider="acme", model_name="acme-1", input_tokens=MILLION, output_tokens=0)
    for overrides, usd in (([general], 1.0), ([plain, general], 2.0), ([general, plain, narrow], 3.0)):
        assert price_span(span, PriceBook(overrides)).cost_usd == usd


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"pattern": "acme-("}, "regular expression"),
        ({"pattern": " "}, "empty"),
        ({"input_per_million": -1.0}, "0 or more"),
        ({"cache_write_per_million": math.nan}, "0 or more"),
        ({"starts_at": 200.0, "ends_at": 200.0}, "before it begins"),
    ],
)
def test_a_price_that_cannot_be_is_refused(given, why):
    with pytest.raises(BadPrice, match=why):
        checked(an_override(**given))
    with pytest.raises(BadPrice, match=why):
        PriceBook([an_override(**given)])


# The table


def test_the_table_knows_how_old_it_is(book):
    now = time.time()
    assert 0 < book.table.as_of(now) <= now
    # What was announced for later than the day of the installation is no news.
    assert book.table.as_of(now + 3650 * 86_400) <= now
    assert book.table.as_of(0.0) == 0.0


def test_every_status_is_explained_to_users():
    page = (Path(__file__).parent.parent / "docs" / "pricing.md").read_text(encoding="utf-8")
    for name in (*COST_STATUSES, INCONSISTENT_USAGE, REPORTED_KEY):
        assert f"`{name}`" in page
