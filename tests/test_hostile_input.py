"""What nobody means to give gets one sentence: absurd amounts, times no calendar has, bytes that are no text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tracewatch.errors import BadTime
from tracewatch.records import Span
from tracewatch.stores import open_store
from tracewatch.times import parse_time

TRACEWATCH = Path(sys.executable).with_name("tracewatch")
HEADER = "timestamp,model,provider,input_tokens,output_tokens,cost_usd\n"
GOOD = "2026-03-02T10:00:00Z,gpt-4o,openai,10,10,0.1\n"


@pytest.fixture
def run(tmp_path):
    def run(*words):
        return subprocess.run([TRACEWATCH, *words], cwd=tmp_path, capture_output=True, timeout=60)

    return run


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e300", "-1e11", "99999999999999d"])
def test_a_time_that_no_calendar_has_is_refused(text):
    with pytest.raises(BadTime):
        parse_time(text)


def test_bytes_that_are_no_text_are_refused(run):
    done = run("trace", b"\xff")
    assert done.returncode == 1
    assert done.stderr.startswith(b"tracewatch: cannot read the argument")


def test_an_absurd_amount_stays_out_and_the_rest_goes_on(run, tmp_path):
    (tmp_path / "calls.csv").write_text(HEADER + GOOD + GOOD.replace("0.1", "1.7e308"))
    assert b"1 stored, 0 already there, 1 refused" in run("import", "calls.csv").stdout
    assert b"$0.10" in run("stats", "--until", "newest").stdout


def test_control_characters_do_not_reach_the_terminal(run, tmp_path):
    (tmp_path / "calls.csv").write_text(HEADER + GOOD.replace("gpt-4o", "\x1b[31mred\x07").replace("0.1", ""))
    done = run("import", "calls.csv")
    assert b"red" in done.stdout
    assert not {b"\x1b", b"\x07"} & {bytes([each]) for each in done.stdout + done.stderr}


def test_large_reads_run_nothing_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tracewatch.stores.sqlite.SMALL_ROWS", 0)
    with open_store("watch.db", create=True) as store:
        store.add([Span(start_time=1.0, trace_id="t", span_id="s")])
        assert [each for batch in store.scan(Span, ["trace_id"]) for each in batch["trace_id"].to_pylist()] == ["t"]
    assert not os.path.exists("ran")
