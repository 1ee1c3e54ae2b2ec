"""From a file into PostgreSQL and back: what arrives is what was there, to the last digit of every value."""

import sys
from pathlib import Path

import pytest
from conformance import SOME_DAYS, busy_days
from conftest import NOW
from postgres_server import fresh_url

from tracewatch.copying import Archive, copy, export, restore
from tracewatch.copying.moving import STAYS
from tracewatch.records import RECORDS, Baseline, Span, key_of
from tracewatch.stores import open_store
from tracewatch.stores.measures import KEYS

sys.path.append(str(Path(__file__).parents[1]))
from test_copying import everything, some

pytestmark = pytest.mark.xdist_group("postgres")


def figures(store):
    """Hourly figures by place; sums of reals depend in their last digits on the order of adding."""
    rows = store.rollup(*SOME_DAYS, by=KEYS).to_pylist()
    return {
        (row["bucket"], *(row[name] for name in KEYS)): {
            name: pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for name, value in row.items()
        }
        for row in rows
    }


def test_a_file_goes_into_postgresql_and_comes_back(tmp_path):
    with (
        open_store(str(tmp_path / "one.db"), create=True) as one,
        open_store(fresh_url(), create=True) as there,
        open_store(str(tmp_path / "back.db"), create=True) as back,
    ):
        one.add(busy_days(700))
        for record_type in RECORDS:
            one.put(some(record_type))
        one.roll_up()
        to, fro = copy(one, there, NOW), copy(there, back, NOW)
        assert to.proven
        assert fro.proven
        assert [each.source for each in to.parts] == [each.source for each in fro.parts]
        for record_type in set(RECORDS) - {*STAYS, Baseline}:
            assert everything(back, record_type) == everything(there, record_type) == everything(one, record_type)
        assert figures(there) == figures(one)
        assert figures(back) == figures(one)


def test_an_archive_of_postgresql_is_that_of_the_file_it_came_from(tmp_path):
    with open_store(str(tmp_path / "one.db"), create=True) as one, open_store(fresh_url(), create=True) as there:
        fill_and_forget(one)
        files = export(one, tmp_path / "archive", "parquet")
        source = Archive(tmp_path / "archive")
        source.check()
        assert restore(source, there).proven
        assert export(there, tmp_path / "again", "jsonl") == files
        assert [each.copied for each in restore(Archive(tmp_path / "again"), one).parts if each.copied] == []


def fill_and_forget(store):
    """Some of everything, with hours whose calls are gone."""
    store.add(busy_days(400))
    for record_type in RECORDS:
        store.put(some(record_type))
    store.retain(NOW - 2 * 86_400)


def test_figures_without_calls_go_along(tmp_path):
    with (
        open_store(str(tmp_path / "one.db"), create=True) as one,
        open_store(fresh_url(), create=True) as there,
        open_store(str(tmp_path / "back.db"), create=True) as back,
    ):
        one.add(busy_days(700))
        one.retain(NOW - 2 * 86_400)
        assert copy(one, there, NOW).proven
        assert copy(there, back, NOW).proven
        assert there.retained() == back.retained() == one.retained()
        assert figures(there) == figures(one)
        assert figures(back) == figures(one)
        assert copy(one, there, NOW).parts[0].copied == 0


def test_what_changed_in_the_file_is_changed_there(tmp_path):
    with open_store(str(tmp_path / "one.db"), create=True) as one, open_store(fresh_url(), create=True) as there:
        one.add(busy_days(300))
        one.roll_up()
        copy(one, there, NOW)
        span = one.page(Span).records[7]
        one.annotate(
            Span, {name: getattr(span, name) for name in key_of(Span)}, {"cost_usd": 9.75, "status": "timeout"}
        )
        one.roll_up()
        done = copy(one, there, NOW)
        assert done.proven
        assert [each.copied for each in done.parts] == [1]
        assert figures(there) == figures(one)
