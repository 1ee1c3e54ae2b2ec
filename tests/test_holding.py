"""Calls held for a replay: the same rows in the same order, wherever they are held."""

import numpy as np
import pyarrow as pa
import pytest

from tracewatch.holding import Held

NAMES = ["start_time", "trace_id"]


def batches(times, size=7):
    """The calls in batches, numbered in the order they come in."""
    for begin in range(0, len(times), size):
        part = times[begin : begin + size]
        ids = [f"t{begin + i}" for i in range(len(part))]
        yield pa.RecordBatch.from_pydict({"start_time": pa.array(part, pa.float64()), "trace_id": pa.array(ids)})


def ids(held, begin, end):
    return held.rows(slice(begin, end))["trace_id"].to_pylist()


@pytest.mark.parametrize("most", [0, 20, 1000])
@pytest.mark.parametrize("kind", ["sorted", "shuffled", "alike"])
def test_rows_come_in_order_of_start(most, kind):
    times = np.arange(50.0)
    if kind == "shuffled":
        times = np.random.default_rng(1).permutation(times)
    if kind == "alike":
        times = times // 10 % 2
    held = Held(batches(times), NAMES, most)
    order = np.argsort(times, kind="stable")
    assert len(held) == 50
    assert held.times.tolist() == times[order].tolist()
    assert ids(held, 0, 50) == [f"t{i}" for i in order]
    assert ids(held, 13, 31) == [f"t{i}" for i in order[13:31]]


def test_nothing_is_held():
    held = Held([], NAMES)
    assert len(held) == 0
    assert held.rows(slice(0, 0)).column_names == NAMES
