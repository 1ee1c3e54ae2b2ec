"""One store into another: everything arrives, nothing twice, a killed copy goes on, and detection with it."""

import dataclasses
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_live import GRACE, began, every, kept, passes, put, told_of
from workload import DAY, HOUR, MONDAY, calls, end_of

from tracewatch.cli import group
from tracewatch.copying import Digest, copy, digests
from tracewatch.copying.moving import HOURLY, STAYS
from tracewatch.errors import CopyRefused
from tracewatch.judge import NEEDS, Judge, chosen
from tracewatch.live import Watcher
from tracewatch.records import RECORDS, Anomaly, Baseline, Delivery, Incident, Lease, Span, columns, key_of
from tracewatch.stores import Filter, open_store
from tracewatch.stores.measures import KEYS

NOW = MONDAY + 40 * DAY

texts = st.one_of(st.none(), st.text(max_size=12))
numbers = st.one_of(st.none(), st.floats(allow_nan=False))
rows_of_three = st.lists(st.tuples(texts, numbers, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), max_size=20)


def batch(rows):
    given = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.record_batch(
        [pa.array(v, kind) for v, kind in zip(given, (pa.string(), pa.float64(), pa.int64()), strict=True)],
        names=["a", "b", "c"],
    )


def digest(rows):
    return digests.digest(digests.numbers_of(batch(rows)))


class TestDigests:
    @given(rows_of_three, st.data())
    def test_order_and_batches_do_not_matter(self, rows, data):
        cut = data.draw(st.integers(0, len(rows)))
        turned = data.draw(st.permutations(rows))
        assert digest(turned[:cut]) + digest(turned[cut:]) == digest(rows)

    @given(rows_of_three.filter(bool), st.data())
    def test_another_value_is_another_digest(self, rows, data):
        at, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, 2))
        other = data.draw((texts, numbers, st.one_of(st.none(), st.integers(0, 9)))[column])
        changed = [list(each) for each in rows]
        changed[at][column] = other
        same = [tuple(each) for each in changed] == rows
        assert (digest([tuple(each) for each in changed]) == digest(rows)) == same

    def test_what_is_absent_is_not_empty_and_not_nothing(self):
        found = {digest([row]).total for row in [("", 0.0, 0), (None, 0.0, 0), ("", None, 0), ("", 0.0, None)]}
        assert len(found) == 4

    def test_values_do_not_change_places(self):
        one, other = pa.record_batch({"a": ["x"], "b": ["y"]}), pa.record_batch({"a": ["y"], "b": ["x"]})
        assert digests.numbers_of(one) != digests.numbers_of(other)

    def test_long_texts_are_weighed_in_parts_with_the_same_result(self, monkeypatch):
        long = pa.record_batch({"a": ["a" * 5_000, None, "b" * 70_000, "", "ä" * 999]})
        whole = digests.numbers_of(long)
        monkeypatch.setattr(digests, "_TEXT_BYTES", 1_000)
        assert (digests.numbers_of(long) == whole).all()
        assert len(set(whole.tolist())) == 5

    def test_a_part_of_a_batch_is_its_rows_alone(self):
        whole = batch([("x", 1.0, 2), (None, 2.0, 3), ("longer", None, 4)])
        assert (digests.numbers_of(whole.slice(1, 2)) == digests.numbers_of(whole)[1:]).all()


@pytest.fixture(scope="module")
def rows():
    return calls()


@pytest.fixture
def source(tmp_path):
    with open_store(str(tmp_path / "source.db"), create=True) as store:
        yield store


@pytest.fixture
def target(tmp_path):
    with open_store(str(tmp_path / "target.db"), create=True) as store:
        yield store


def value(column, number):
    """One for a column, another for each number."""
    return column.choices[number % len(column.choices)] if column.choices else VALUES[column.kind](column.name, number)


VALUES = {
    "text": lambda name, number: f"{name}-{number}-ä",
    "integer": lambda name, number: number + 3,
    "real": lambda name, number: number + 0.1,
    "time": lambda name, number: MONDAY + number * 1000.25,
    "boolean": lambda name, number: number % 2 == 0,
    "json": lambda name, number: {"b": number, "a": [1, {"ü": None}]},
    "list": lambda name, number: ("x", f"y{number}"),
    "bytes": lambda name, number: bytes([number, 0, 255]),
}


def some(record_type, how_many=3):
    """Records of a type with a value in every column."""
    return [
        record_type(**{each.name: value(each, number) for each in columns(record_type)}) for number in range(how_many)
    ]


def fill(store):
    """Some of everything."""
    for record_type in RECORDS:
        store.put(some(record_type))
    store.roll_up()


def everything(store, record_type):
    return sorted(
        store.page(record_type, limit=1000).records, key=lambda each: [getattr(each, k) for k in key_of(record_type)]
    )


def test_figures_of_hours_of_which_the_target_has_spared_calls_arrive(source, target):
    hours = [MONDAY + 6 * HOUR * number for number in range(40)]
    for store, project in ((source, "ours"), (target, "theirs")):
        store.add([Span(project=project, trace_id=f"{at}", span_id="1", start_time=at) for at in hours])
        store.roll_up()
    source.retain(MONDAY + 5 * DAY)
    target.retain(MONDAY + 5 * DAY, [("theirs", f"{hours[4]}", "1")])
    assert copy(source, target, NOW).proven
    for project in ("ours", "theirs"):
        theirs = [Filter("project", "=", (project,))]
        assert sum(target.rollup(MONDAY, NOW, where=theirs, measures=("calls",))["calls"].to_pylist()) == len(hours)


def test_every_kind_of_record_arrives_as_it_is(source, target):
    fill(source)
    done = copy(source, target, NOW)
    assert done.proven
    for record_type in set(RECORDS) - {*STAYS, Baseline}:
        assert everything(target, record_type) == everything(source, record_type), record_type
    assert not any(target.exists(each) for each in STAYS)
    assert done.anew == ["project-0-ä", "project-1-ä", "project-2-ä"]  # whose states are none


def test_what_is_there_is_not_copied_again(source, target):
    fill(source)
    copy(source, target, NOW)
    before = target.stamp()
    again = copy(source, target, NOW)
    assert again.proven
    assert [each.copied for each in again.parts] == [0] * len(again.parts)
    assert target.stamp() == before


def test_what_has_changed_since_is_brought_up_to_date(source, target):
    fill(source)
    copy(source, target, NOW)
    span, incident = source.page(Span).records[0], source.page(Incident).records[0]
    source.annotate(Span, {name: getattr(span, name) for name in key_of(Span)}, {"cost_usd": 12.5})
    source.put([dataclasses.replace(incident, title="another")])
    source.add([dataclasses.replace(span, span_id="new")])
    source.roll_up()
    done = copy(source, target, NOW)
    assert done.proven
    assert {each.name: each.copied for each in done.parts if each.copied} == {Span.table: 2, Incident.table: 1}
    assert everything(target, Span) == everything(source, Span)
    assert rolled(target) == rolled(source)


def test_what_only_the_target_has_is_left_alone_and_told(source, target):
    fill(source)
    own = dataclasses.replace(some(Span)[0], span_id="own")
    target.put([own])
    done = copy(source, target, NOW)
    assert done.proven
    assert {each.name: each.more for each in done.parts if each.more} == {Span.table: 1}
    assert own in everything(target, Span)


def rolled(store, step_s=3600):
    table = store.rollup(MONDAY - DAY, NOW, step_s=step_s, by=KEYS)
    # Sums of reals depend in their last digits on the order in which they were added.
    plain = lambda value: float(f"{value:.9g}") if isinstance(value, float) else value  # noqa: E731
    return sorted(repr({name: plain(value) for name, value in row.items()}) for row in table.to_pylist())


def test_the_figures_are_those_of_the_source(source, target, rows):
    put(source, rows)
    source.roll_up()
    assert copy(source, target, NOW).proven
    assert rolled(target) == rolled(source)


def test_figures_whose_calls_are_gone_come_along(source, target, rows):
    put(source, rows)
    source.roll_up()
    spared = source.page(Span, [Filter("start_time", "<", (MONDAY + 5 * DAY,))]).records[0]
    source.retain(MONDAY + 5 * DAY + 3 * HOUR, [(spared.project, spared.trace_id, spared.span_id)])
    done = copy(source, target, NOW)
    assert done.proven
    assert done.parts[0].name == HOURLY
    assert done.parts[0].copied == done.parts[0].rows > 0
    assert rolled(target) == rolled(source)
    assert target.retained() == source.retained() == MONDAY + 5 * DAY + 3 * HOUR
    assert copy(source, target, NOW).parts[0].copied == 0
    put(target, rows)  # what is older is not counted a second time
    target.roll_up()
    assert rolled(target) == rolled(source)


def test_figures_of_other_projects_stay_in_the_target(source, target, rows):
    for store, project in ((source, "mine"), (target, "theirs")):
        some_rows = began(rows, MONDAY, MONDAY + 2 * DAY)
        store.add([dataclasses.replace(each, project=project) for each in _spans_of(some_rows)])
        store.retain(MONDAY + 2 * DAY)
    mine, theirs = rolled(source), rolled(target)
    done = copy(source, target, NOW)
    assert done.proven
    assert done.parts[0].more == len(theirs)
    assert rolled(target) == sorted([*mine, *theirs])


def _spans_of(rows):
    kinds = [each for each in columns(Span) if each.name in rows.schema.names]
    return [Span(**{each.name: row[each.name] for each in kinds}) for row in rows.to_pylist()]


def test_calls_the_target_still_has_are_not_given_up_for_figures(source, target, rows):
    put(source, rows)
    source.roll_up()
    copy(source, target, NOW)
    before = rolled(target)
    source.retain(MONDAY + 5 * DAY)
    assert copy(source, target, NOW).proven
    assert target.count(Span) == len(rows)
    assert rolled(target) == before


def test_messages_still_to_be_sent_stay_with_who_sends_them(source, target):
    sent, waiting = (
        dataclasses.replace(each, state=state) for each, state in zip(some(Delivery), ("sent", "waiting"), strict=False)
    )
    source.put([sent, waiting])
    watching = Lease(name="watching", holder="a server", epoch=1, taken_at=NOW - 60, renewed_at=NOW - 1)
    source.put([watching])
    done = copy(source, target, NOW)
    assert (done.left, done.proven) == (1, True)
    assert everything(target, Delivery) == [sent]
    source.put([dataclasses.replace(watching, holder="")])
    assert copy(source, target, NOW).left == 0
    assert len(everything(target, Delivery)) == 2


@pytest.fixture(scope="module")
def judged(rows):
    judge = Judge()
    for part in rows.to_batches():
        needed = chosen(part, NEEDS)
        judge.feed({name: needed.column(name).to_numpy(zero_copy_only=False) for name in needed.schema.names})
    return judge.judge(end_of(rows))


class TestDetection:
    """What was learned goes along."""

    HALF = MONDAY + 8 * DAY + 10 * HOUR

    def half_way(self, store, rows):
        watcher = Watcher(store, "default")
        passes(store, rows, [self.HALF], watcher)
        watcher.save(self.HALF)
        store.roll_up()

    def test_it_goes_on_where_it_stood(self, source, target, rows, judged):
        self.half_way(source, rows)
        assert copy(source, target, self.HALF).learned == ("default",)
        put(target, began(rows, self.HALF - DAY, np.inf))
        watcher = Watcher(target, "default")
        passed = watcher.run(end_of(rows) + GRACE)
        assert watcher.state.reading.rows == len(rows)
        assert passed.rows < len(rows) / 2
        assert kept(target) == told_of(judged.alerts)
        assert {each.id for each in every(target, Incident)} == {each.id for each in judged.changes}

    def test_calls_that_it_had_not_read_are_read_there(self, source, target, rows, judged):
        self.half_way(source, rows)
        put(source, rows)
        source.roll_up()
        assert copy(source, target, self.HALF).learned == ("default",)
        Watcher(target, "default").run(end_of(rows) + GRACE)
        assert kept(target) == told_of(judged.alerts)

    def test_calls_an_earlier_copy_had_left_there_are_not_passed_over(self, source, target, rows, judged):
        put(source, rows)
        source.roll_up()
        copy(source, target, self.HALF)
        watcher = Watcher(source, "default")
        watcher.run(self.HALF)
        watcher.state.reading.cursor = source.tip()
        put(source, rows)
        state = watcher.state.reading
        state.cursor = None  # as of somebody who has read none of them
        watcher.save(self.HALF)
        done = copy(source, target, self.HALF)
        assert (done.learned, done.anew) == ((), ["default"])
        Watcher(target, "default").run(end_of(rows) + GRACE)
        assert kept(target) == told_of(judged.alerts)

    def test_a_state_that_is_further_is_not_put_back(self, source, target, rows):
        self.half_way(source, rows)
        copy(source, target, self.HALF)
        put(target, rows)
        further = Watcher(target, "default")
        further.run(end_of(rows) + GRACE)
        further.save(end_of(rows) + GRACE)
        before = everything(target, Baseline)
        assert copy(source, target, self.HALF).learned == ("default",)
        assert everything(target, Baseline) == before


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


class TestCommand:
    def test_it_says_what_it_has_done(self, source, tmp_path):
        fill(source)
        done = run("copy", source.url, tmp_path / "there.db")
        assert done.exit_code == 0, done.output
        assert "llm_traces" in done.stdout
        assert done.stdout.count("the same") == len(RECORDS) - len(STAYS) - 1
        assert "learns anew" in done.stderr
        with open_store(str(tmp_path / "there.db")) as there:
            assert everything(there, Anomaly) == everything(source, Anomaly)

    def test_the_same_database_is_refused(self, source, tmp_path):
        (tmp_path / "link.db").symlink_to(source.url)
        for same in (source.url, tmp_path / "link.db", f"sqlite:///{source.url}"):
            refused = run("copy", source.url, same)
            assert isinstance(refused.exception, CopyRefused)

    def test_a_source_that_is_not_there_makes_no_target(self, tmp_path):
        assert run("copy", tmp_path / "none.db", tmp_path / "there.db").exception is not None
        assert not list(tmp_path.iterdir())

    def test_an_empty_one_is_said_to_be_empty(self, source, tmp_path):
        done = run("copy", source.url, tmp_path / "there.db")
        assert done.exit_code == 0
        assert "nothing in it yet" in done.stderr


KILLED = """
import sys
from tracewatch.copying import comparing, copy
from tracewatch.stores import open_store

put, many, steps = comparing._scan, int(sys.argv[3]), 0

def scan(*given):
    global steps
    for batch in put(*given):
        for begin in range(0, batch.num_rows, 97):
            steps += 1
            if steps == many:
                print("now", flush=True)
                sys.stdin.readline()
            yield batch.slice(begin, 97)

comparing._scan = scan
with open_store(sys.argv[1]) as one, open_store(sys.argv[2], create=True) as other:
    copy(one, other, 0.0)
    print("done", flush=True)
"""


@pytest.mark.parametrize("step", [1, 2, 6, 9])
def test_a_killed_copy_goes_on(source, tmp_path, rows, step):
    put(source, began(rows, MONDAY, MONDAY + 3 * DAY))
    fill(source)
    there = tmp_path / "there.db"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, source.url, str(there), str(step)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:  # fmt: skip
        assert child.stdout.readline() == "now\n"
        os.kill(child.pid, signal.SIGKILL)
    with open_store(str(there), create=True) as target:
        had = target.count(Span)
        assert had < source.count(Span)
        done = copy(source, target, NOW)
        assert done.proven
        assert done.parts[0].copied == source.count(Span) - had
        assert everything(target, Span) == everything(source, Span)
        assert rolled(target) == rolled(source)
        assert target.verify() is None


def test_a_full_disk_is_said_and_the_copy_goes_on(source, tmp_path, rows):
    put(source, rows)
    source.roll_up()
    there = str(tmp_path / "there.db")
    with open_store(there, create=True):
        pass
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += (
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)); from tracewatch.cli import main; main()"
    )
    full = subprocess.run(
        [sys.executable, "-c", limited, "copy", source.url, there], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120, check=False,
    )  # fmt: skip
    assert full.returncode == 1
    assert "tracewatch: cannot write to" in full.stderr
    assert "Traceback" not in full.stderr
    with open_store(there) as target:
        assert copy(source, target, NOW).proven
        assert target.count(Span) == len(rows)


def test_nothing_is_digested_to_nothing():
    assert Digest() == digest([])
    assert Digest().checksum == "0" * 16


def test_everything_that_can_be_filtered_is_walked_once(source, target, rows):
    put(source, rows)
    source.roll_up()
    seen = []
    copy(source, target, NOW, seen.append)
    assert sum(seen) == source.count(Span, [Filter("project", "=", ("default",))])
