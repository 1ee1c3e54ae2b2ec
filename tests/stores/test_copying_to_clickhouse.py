"""From a file into ClickHouse and back: what arrives is what was there, to the last digit of every value."""

import sys
from pathlib import Path

import pytest
from clickhouse_engine import fresh_url
from conformance import SOME_DAYS, busy_days, expected_rollup, rolled_up
from conftest import NOW

from tracewatch.copying import Archive, copy, export, restore
from tracewatch.copying.moving import HOURLY, STAYS
from tracewatch.records import RECORDS, Baseline
from tracewatch.stores import open_store

sys.path.append(str(Path(__file__).parents[1]))
from test_copying import everything, some

pytestmark = pytest.mark.xdist_group("clickhouse")


def test_a_file_goes_into_clickhouse_and_comes_back_with_figures_of_calls_that_are_gone(tmp_path):
    given = list(busy_days(400))
    with (
        open_store(str(tmp_path / "one.db"), create=True) as one,
        open_store(fresh_url(), create=True) as there,
        open_store(str(tmp_path / "back.db"), create=True) as back,
    ):
        one.add(given)
        for record_type in RECORDS:
            one.put(some(record_type))
        one.retain(NOW - 2 * 86_400)
        assert copy(one, there, NOW).proven
        assert copy(there, back, NOW).proven
        for record_type in set(RECORDS) - {*STAYS, Baseline}:
            assert everything(back, record_type) == everything(there, record_type) == everything(one, record_type)
        assert there.retained() == back.retained() == one.retained()
        by = ("project", "model_name")
        figures = [rolled_up(store.rollup(*SOME_DAYS, by=by), by) for store in (one, there, back)]
        assert figures[0].keys() == figures[1].keys() == figures[2].keys()
        files = export(there, tmp_path / "archive", "parquet")
        done = restore(Archive(tmp_path / "archive"), back)
        assert done.proven
        assert {each.name: each.copied for each in done.parts if each.copied} == {}
        assert {name for name, each in files.items() if each.rows} >= {each.name for each in done.parts} - {HOURLY}
        late = {place: row for place, row in expected_rollup(given, 3600, by).items() if place[0] >= NOW - 2 * 86_400}
        assert {place: row for place, row in figures[1].items() if place in late} == late
        assert copy(one, there, NOW).parts[0].copied == 0
