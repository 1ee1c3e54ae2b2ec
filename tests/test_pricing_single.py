"""One row by itself costs what it costs in a batch."""

import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracewatch.pricing import COLUMNS_READ, COLUMNS_WRITTEN, INCONSISTENT_USAGE, PriceBook, price_batch, price_row
from tracewatch.records import PriceOverride

OWN = PriceOverride(pattern="my-.*", input_per_million=1.0, output_per_million=5.0, cache_read_per_million=0.1)
TOKENS = st.none() | st.integers(-5, 400_000)
ROWS = st.fixed_dictionaries(
    {
        "project": st.sampled_from(["default", "other"]),
        "start_time": st.floats(1.6e9, 1.9e9),
        "operation_type": st.sampled_from([None, "chat", "TOOL", "retrieval", "batch"]),
        "model_provider": st.sampled_from([None, "", "openai", "anthropic", "google", "ollama", "system", "nobody"]),
        "model_name": st.sampled_from(
            [None, "", "gpt-4o-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "my-model", "batch", "unheard-of"]
        ),
        "input_tokens": TOKENS,
        "output_tokens": TOKENS,
        "reasoning_tokens": TOKENS,
        "cache_creation_input_tokens": TOKENS,
        "cache_read_input_tokens": TOKENS,
        "metadata": st.sampled_from(
            [
                None,
                {},
                {"cache_hit": True},
                {"service_tier": "flex"},
                {"processing": "batch", "deep": {"speed": "fast"}},
                {"cache_creation": {"ephemeral_1h_input_tokens": 100}},
            ]
        ),
        "cost_usd": st.sampled_from([None, 0.0, 0.25, -1.0, float("inf"), float("nan")]),
        "cost_status": st.sampled_from([None, "reported", "exact"]),
    }
)


@pytest.mark.parametrize("believe", [True, False])
@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=20))
def test_a_row_costs_what_it_costs_in_a_batch(believe, rows):
    book, other = (PriceBook([OWN], believe_reported=believe) for _ in range(2))
    texts = [
        {**row, "metadata": None if row["metadata"] is None else json.dumps(row["metadata"]), "warning_flags": None}
        for row in rows
    ]
    types = {"start_time": pa.float64(), "cost_usd": pa.float64()}
    columns = {
        name: pa.array(
            [row[name] for row in texts], types.get(name, pa.int64() if name.endswith("_tokens") else pa.string())
        )
        for name in COLUMNS_READ
    }
    batch = price_batch(pa.RecordBatch.from_pydict(columns), book).to_pylist()
    for row, priced in zip(rows, batch, strict=True):
        price, inconsistent = price_row(row, other)
        assert [getattr(price, name) for name in COLUMNS_WRITTEN] == [priced[name] for name in COLUMNS_WRITTEN]
        assert inconsistent == (INCONSISTENT_USAGE in (priced["warning_flags"] or ""))
    assert dict(book.unpriced) == dict(other.unpriced)
