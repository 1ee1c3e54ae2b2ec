"""`tracewatch backtest`: replays the past as it would have arrived, and says what would have been told when."""

from __future__ import annotations

import csv
import ctypes
import dataclasses
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from tracewatch import settings
from tracewatch.cli.output import caught_up_db, counted, progress_bar, say, store_options, to_type
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.telling import summarise, told_alerts, told_incidents
from tracewatch.cli.times import parse_time, show_time
from tracewatch.errors import OutputRefused
from tracewatch.records import iso
from tracewatch.times import DAY_S

if TYPE_CHECKING:
    from tracewatch.backtest import Alert, Grouped, History, Member, Series
    from tracewatch.detectors.adaptive.errands import Second
    from tracewatch.imports import Source
    from tracewatch.records import Lesson

REASONS = 5  # reasons for refused rows told; `tracewatch import` tells all
LARGE = 1_000_000  # bytes of a file: less is replayed while a second process would start
DIGITS = 3  # of a confidence: more are not known
# To the C library (mallopt): blocks of less than 32 MB (it takes no more) come from memory that is kept, 256 MB free.
KEEP_MEMORY = ((-3, 32 << 20), (-1, 256 << 20), (-2, 16 << 20))
MOMENTS = ("detected_at", "since", "until")  # fields of an alert that are times
DETECTORS = ("adaptive", "spec")  # names in backtest.DETECTORS, repeated here so that --help loads nothing heavy
EXAMPLES = """
\b
Examples:
  tracewatch backtest traces.parquet                            alerts to stdout, one JSON object a line
  tracewatch backtest traces.parquet --alerts alerts.jsonl      alerts to a file, the summary on screen
  tracewatch backtest traces.csv --from 2026-03-11              learn from the first row on, tell from then on
  tracewatch backtest --since 30d --db watch.db                 the last 30 days of a database
  tracewatch backtest load.csv --scores scores.csv              a score for each row of a file timestamp,value
"""


@click.command(epilog=EXAMPLES)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--since", help="Instead of a file: replay the database's calls since then (30d, 2026-03-02 …).")
@click.option("--from", "begin", help="Tell alerts from then on: a time, or so long before the last row (18d).")
@click.option("--alerts", type=click.Path(path_type=Path), help="Where alerts go, one JSON object a line. [stdout]")
@click.option(
    "--scores", type=click.Path(path_type=Path), help="For a file timestamp,value: a score for each row, as CSV."
)
@click.option(
    "--detector", type=OneOf(DETECTORS), default=DETECTORS[0], show_default=True, help="Who judges the calls."
)
@store_options
def backtest(
    file: Path | None,
    since: str | None,
    begin: str | None,
    alerts: Path | None,
    scores: Path | None,
    detector: str,
    db: str,
    project: str,
) -> None:
    """Replay past calls, and tell each alert when it could be known.

    Calls are replayed row by row. FILE holds calls (Parquet, JSONL, CSV, SQLite; any column names that `import` knows),
    or one series of timestamp,value. Everything from its first row on is learned from; nothing is saved.
    """
    from tracewatch.backtest import is_series
    from tracewatch.imports import recognise

    if (file is None) == (since is None):
        raise click.UsageError("Name a FILE, or say --since 30d to replay the calls of a database.")
    if file is None:
        assert since is not None
        if scores:
            raise click.UsageError("--scores is for a file of timestamp,value, not for calls.")
        with _second(LARGE) as second:
            history, lessons = _from_store(db, project, since, detector)
            _calls(history, detector, begin, alerts, db, project, second=second, lessons=lessons)
        return
    _keep(file, alerts, scores)
    _keep_memory()
    source, kind = recognise(file)
    if is_series(source):
        if detector != DETECTORS[0]:
            raise click.UsageError(f"--detector is for calls; {file} is a series of timestamp,value. Leave it out.")
        _series(source, begin, alerts, scores)
    elif scores:
        raise click.UsageError(f"--scores is for a file of timestamp,value; {file} holds calls. Leave it out.")
    else:
        with _second(file.stat().st_size) as second:
            _calls(_from_file(source, kind, detector), detector, begin, alerts, str(file), second=second)


def _from_file(source: Source, kind: Any, detector: str) -> History:
    from tracewatch import backtest

    with progress_bar(f"Reading {source.path.name} ({source.unit})", source.total) as progress:
        history = backtest.read_file(source, kind, _member(detector)[0].needs, progress)
    _tell_refused(source, history)
    return history


def _from_store(db: str, project: str, since: str, detector: str) -> tuple[History, tuple[Lesson, ...]]:
    """The calls, and what was taught about them."""
    from tracewatch import backtest, teaching

    now = time.time()
    with caught_up_db(db, project) as store, progress_bar("Reading the calls"):
        history = backtest.read_store(
            store,
            project,
            parse_time(since, now=now),
            math.nextafter(now, math.inf),
            _member(detector)[0].needs,
        )
        return history, teaching.lessons_of(store, project)


def _calls(
    history: History, detector: str, begin: str | None, out: Path | None, name: str, project: str = "default",
    second: Second | None = None, lessons: Sequence[Lesson] = (),
) -> None:  # fmt: skip
    """Replays calls and tells what was found."""
    from tracewatch.detectors.adaptive.errands import SecondEnded

    if not len(history):
        say(f"There are no calls to replay in {name}.")
    first, last = _ends(history.times)
    told_from = _told_from(begin, first, last, name)
    started = time.monotonic()
    with _opened(out) as file:
        try:
            found, member, grouped = _replayed(history, detector, project, lessons, told_from, second)
        except SecondEnded:
            found, member, grouped = _replayed(history, detector, project, lessons, told_from)
        homes = {alert.story: change.id for change in grouped.changes for alert in change.joined}
        ids = _write(found, file, homes if member.groups else None)
    if len(history) and told_from <= last:
        notes = [each for each in grouped.notes if each.detected_at >= told_from]
        told = told_incidents(grouped.changes, ids, len(found), notes) if member.groups else told_alerts(found)
        period = (max(told_from, first), last)
        summarise(told, counted(len(history), "call"), period, time.monotonic() - started, out)
        _tell_known(sum(each.detected_at >= told_from for each in grouped.known))
        _tell_learning(detector, last - first)


def _replayed(
    history: History,
    detector: str,
    project: str,
    lessons: Sequence[Lesson],
    told_from: float,
    second: Second | None = None,
) -> tuple[list[Alert], Member, Grouped]:
    """What is found from a moment on, who found it and what noted its incidents."""
    from tracewatch import backtest

    member, grouped = _member(detector, project, lessons)
    if member.groups:
        grouped.share_with(second)
    with progress_bar("Replaying (calls)", len(history)) as progress:
        found = [alert for alert in backtest.replay(history, member, progress) if alert.detected_at >= told_from]
    return found, member, grouped


def _member(detector: str, project: str = "default", lessons: Sequence[Lesson] = ()) -> tuple[Member, Grouped]:
    """The detector, and what notes its incidents, if it has any; it judges the metrics that the user declared as
    well."""
    from tracewatch import backtest
    from tracewatch.metrics.custom import parse

    member = backtest.DETECTORS[detector]
    grouped = backtest.Grouped(project, parse(settings.load().metrics), lessons)
    if member.groups:
        member = dataclasses.replace(member, make=lambda: grouped, needs=grouped.needs)
    return member, grouped


def _series(source: Source, begin: str | None, out: Path | None, scores: Path | None) -> None:
    """Scores one series and tells what stood out."""
    from tracewatch import backtest

    with progress_bar(f"Reading {source.path.name} ({source.unit})", source.total) as progress:
        series = backtest.read_series(source, progress)
    if not len(series):
        say(f"There are no rows to score in {source.path}.")
    first, last = _ends(series.times[series.times == series.times])
    told_from = _told_from(begin, first, last, str(source.path))
    started = time.monotonic()
    with _opened(out) as file, _opened(scores) as table:
        with progress_bar("Scoring (rows)", len(series)) as progress:
            scored, surprises = backtest.score_series(series, progress)
        found = [each for each in surprises if each.detected_at >= told_from]
        _write(found, file)
        if scores:
            _write_scores(series, scored.tolist(), table)
    _tell_gaps(series)
    if len(series) and told_from <= last:
        period = (max(told_from, first), last)
        summarise(told_alerts(found), counted(len(series), "row"), period, time.monotonic() - started, out)


def _keep(file: Path, *outputs: Path | None) -> None:
    """Raises OutputRefused when the output would replace what is to be read."""
    for each in outputs:
        if each is not None and each.exists() and file.exists() and each.samefile(file):
            raise OutputRefused(path=each, why="it is the file to be read")
    if outputs[0] is not None and outputs[0] == outputs[1]:
        raise OutputRefused(path=outputs[0], why="alerts and scores need a file each")


def _keep_memory() -> None:
    """Freed memory is used again instead of given back, where the C library can be told so.

    Tables that live for a moment then cost no new pages: two thirds fewer page faults and a tenth of the time.
    """
    with suppress(OSError, AttributeError, TypeError):  # only GNU's C library has it
        tell = ctypes.CDLL(None).mallopt
        for what, size in KEEP_MEMORY:
            tell(what, size)


@contextmanager
def _second(size: int) -> Iterator[Second | None]:
    """For a file of so many bytes a second process for a share of the work, if that is worth it and there is a second
    processor; it starts while calls are read."""
    from tracewatch.detectors.adaptive.errands import Second

    if size < LARGE or processors() < 2:
        yield None
        return
    second = Second("tracewatch.cli.second")
    try:
        yield second
    finally:
        second.close()


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _opened(path: Path | None) -> Iterator[TextIO]:
    """The file to write to, or stdout. Opened before the work begins, so that a wrong path costs no waiting."""
    if path is None:
        yield sys.stdout
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise OutputRefused(path=path, why=error.strerror or str(error)) from error


def _ends(times: Any) -> tuple[float, float]:
    return (float(times.min()), float(times.max())) if len(times) else (0.0, 0.0)


def _told_from(begin: str | None, first: float, last: float, name: str) -> float:
    """From when on alerts are told; said when nothing is left to tell."""
    if begin is None:
        return first
    told_from = parse_time(begin, now=last)
    if last and told_from > last:
        say(f"{name} ends at {show_time(last)} UTC, before --from {show_time(told_from)}: there is nothing to tell.")
    return told_from


def _write(found: Iterable[Alert], file: TextIO, homes: Mapping[int, str] | None = None) -> set[str]:
    """The alerts; where they have incidents (`homes`: that of each story) with these, which it returns, and how sure
    each is."""
    from tracewatch.detectors import adaptive
    from tracewatch.detectors.adaptive.confidence import confidence

    incidents: set[str] = set()
    for alert in found:
        line = line_of(alert)
        if homes is not None:
            assert isinstance(alert, adaptive.Alert), "no other detector has incidents"
            line["incident"] = homes[line.pop("story")]
            line["confidence"] = round(confidence(alert), DIGITS)
            incidents.add(line["incident"])
        file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
    return incidents


def line_of(alert: Any) -> dict[str, Any]:
    """An alert as one JSON object: its times as ISO 8601, what is not a number as null."""
    fields = {field.name: _plain(getattr(alert, field.name)) for field in dataclasses.fields(alert)}
    return {name: iso(value) if name in MOMENTS and value is not None else value for name, value in fields.items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it; numpy's scalars become Python's."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_scores(series: Series, scored: Sequence[float], file: TextIO) -> None:
    """The rows as they stood in the file, each with its score."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("timestamp", "value", "score"))
    rows = zip(series.stamps, series.texts, scored, strict=True)
    writer.writerows((stamp, text, f"{score:.6f}") for stamp, text, score in rows)


def _tell_refused(source: Source, history: History) -> None:
    """What was left out in reading, and why."""
    refused = sorted(history.refused.items(), key=lambda each: -each[1])
    for what, rows in refused[:REASONS]:
        say(f"  left out {counted(rows, 'row')}: {what}")
    if len(refused) > REASONS:
        file = shlex.quote(str(source.path))
        say(f"  … and rows for {len(refused) - REASONS} more reasons; all are kept by: tracewatch import {file}")
    if history.naive_times:
        say(f"  {history.naive_times:,} time stamps name no time zone and were taken as UTC.")


def _tell_gaps(series: Series) -> None:
    """What of a series could not be scored."""
    from tracewatch.detectors.gaps import LEARNING

    unread = int((series.times != series.times).sum())
    empty = int((series.values != series.values).sum())
    if series.lost:
        say(f"  left out {counted(series.lost, 'row')} that could not be split into columns")
    if unread:
        say(f"  {counted(unread, 'row')} without a time that can be read: the score is 0")
    if empty:
        say(f"  {counted(empty, 'row')} without a number as value: the score is 0")
    if 0 < len(series) - empty <= LEARNING:
        say(f"  The first {LEARNING} values are only learned from, and there are no more in it.")


def _tell_known(known: int) -> None:
    """How much is left out because people said that it is noise or expected."""
    if known:
        taught = to_type("incidents taught")
        say(f"  {counted(known, 'alert')} left out, known from what was dismissed; what was taught lists: {taught}")


def _tell_learning(detector: str, length_s: float) -> None:
    """Why a short history says nothing."""
    from tracewatch.backtest import DETECTORS

    learns_s = DETECTORS[detector].learns_s
    if length_s < learns_s:
        say(f"  {detector} tells nothing in its first {learns_s / DAY_S:g} days, and these are {length_s / DAY_S:.1f}.")
