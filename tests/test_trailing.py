"""Counts in trailing windows: what is looked at only where calls are is what is there at every tick."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracewatch.detectors.adaptive.trailing import Trailing

SPANS = (3, 7)


@given(
    before=st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=5),
    calls=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 11)), max_size=40),
    ticks=st.integers(1, 12),
)
def test_windows_are_those_of_every_tick(before, calls, ticks):
    rows = len(before)
    calls = [(row, tick) for row, tick in calls if row < rows and tick < ticks]
    row, tick = (np.array([each[i] for each in calls], np.int64) for i in (0, 1))
    dense = np.concatenate([np.array(before, float), np.zeros((rows, ticks))], 1)
    np.add.at(dense, (row, tick + 7), 1)
    seen = Trailing(np.array(before, np.float32), row, tick, ticks)
    sums = [np.stack([dense[:, t + 1 - span : t + 1].sum(1) for t in range(7, 7 + ticks)], 1) for span in SPANS]
    assert seen.most(SPANS).tolist() == np.stack([each.max(1) for each in sums], 1).tolist()
    assert seen.calls.tolist() == dense[:, 7:].sum(1).tolist()
    assert seen.last.tolist() == dense[:, -7:].tolist()
    some = np.arange(rows)[::2]
    for window, expected in zip(seen.windows(some, SPANS), sums, strict=True):
        assert window.tolist() == expected[some].tolist()
