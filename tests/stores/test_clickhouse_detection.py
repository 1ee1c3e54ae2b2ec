"""One whole case in ClickHouse: brought in, detected and looked at, as in a file."""

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from clickhouse_engine import fresh_url

from tracewatch.cli import group
from tracewatch.records import Anomaly, Incident, Span
from tracewatch.stores import open_store

sys.path.append(str(Path(__file__).parents[1] / "web"))
from shop import looking_at

pytestmark = pytest.mark.xdist_group("clickhouse")
WORKLOAD = Path(__file__).parents[2] / "examples" / "workload.parquet"
UNTIL = "2026-03-26T15:29:33Z"  # the last call of it
PAGES = ("/?since=30d", "/traces", "/anomalies", "/incidents", "/cost?since=30d", "/users?since=30d", "/metrics")


def command(*words):
    done = CliRunner().invoke(group, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def plain(page):
    """A page without what is another one in each store, and each time: cursors and tokens."""
    return re.sub(r"cursor=[\w%-]+|after=[\w%:,=-]+|nonce-?[=\w\"'+/-]*", "", page)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same case in ClickHouse and in a file."""
    addresses = (fresh_url(), str(tmp_path_factory.mktemp("case") / "watch.db"))
    for db in addresses:
        command("import", WORKLOAD, "--db", db)
        command("detect", "--until", UNTIL, "--db", db)
    return addresses


def test_one_case_is_found_in_it_as_in_a_file(both):
    """The same incidents, with the same figures, from the same calls."""
    told = []
    for db in both:
        with open_store(db) as found:
            told.append([set(map(repr, found.page(record, limit=5000).records)) for record in (Incident, Anomaly)])
    database, file = told
    assert len(file[0]) > 10
    assert file == database


def test_commands_say_the_same_of_it(both):
    for words in (["stats", "--since", "2026-01-01"], ["incidents"], ["anomalies", "--limit", "20"], ["traces"]):
        database, file = (command(*words, "--format", "json", "--db", db) for db in both)
        assert database == file, words
    assert "✓ integrity" in command("doctor", "--db", both[0])


def test_pages_are_those_of_a_file(both):
    shown = []
    for db in both:
        with open_store(db) as store:
            trace = store.page(Span).records[0].trace_id
        with looking_at(db) as client:
            answers = [client.get(path) for path in (*PAGES, f"/traces/{trace}")]
        assert [each.status_code for each in answers] == [200] * len(answers)
        shown.append([plain(each.text) for each in answers])
    for path, database, file in zip((*PAGES, "a trace"), *shown, strict=True):
        assert database == file, path
