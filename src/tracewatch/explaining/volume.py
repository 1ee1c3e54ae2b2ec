"""Calls that are too many, too few or missing: of whom, against which habit, since the last of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.explaining import saying
from tracewatch.explaining.calls import UNIQUE, Calls, between
from tracewatch.explaining.story import Cause, Story
from tracewatch.metrics import Rows, table_of
from tracewatch.records import MESSAGES_SOURCE, Span, iso
from tracewatch.slices import Floats
from tracewatch.stores.base import Filter, Store
from tracewatch.times import DAY_S, HOUR_S

REMEMBERED_S = 14 * DAY_S  # of calls before the onset, to learn a habit from
GAP_S = 3 * HOUR_S  # of quiet between two runs of a job
STREAM = 500  # calls within a day: no job, and a day of them tells the gaps
LONGEST_S = 5 * HOUR_S  # of a job's run; what goes on for longer are people at work
AGREE_S = 1 * HOUR_S  # runs of one job start within so much of the same time of day
FEWEST_RUNS = 3  # two may be chance
MOST_OF_RUNS = 0.8  # that start at the usual time, else it is no job
GROWS = 1.5  # times: the prompt of the last calls against that of the first ones; a loop feeds itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How calls of a slice used to come: as a job with runs, or as a stream with gaps."""

    last_s: float
    """When the last call before the onset, or the last one at all, began."""
    runs: int
    """Runs in the days remembered; 0 of a stream."""
    starts_s: float | None
    """Of a job: seconds after midnight (UTC) at which runs usually start."""
    run_calls: float | None
    """Of a job: calls of a usual run."""
    last_run_s: float | None
    """Of a job: when the last run began."""
    last_run_calls: int | None
    gap_s: float | None
    """Of a stream: the usual time between two calls."""
    longest_gap_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """The calls of one session or user since the onset."""

    calls: float
    usual: float | None
    operations: Mapping[str, int]
    prompt_first: float | None
    """Input tokens of a call among the first quarter of them, at the median."""
    prompt_last: float | None
    first_s: float
    last_s: float


def habit(store: Store, project: str, calls: Calls) -> Habit | None:
    """How the calls of the story's slice used to come in the two weeks before it; None when there were none."""
    story = calls.story
    times = _times(store, project, story, calls.until)
    before = times[times < story.since]
    before = before if len(before) else times
    if not len(before):
        return None
    starts = before[np.concatenate([[True], np.diff(before) > GAP_S])]
    job = _job(starts, before)
    gaps = np.diff(before)
    return Habit(
        last_s=_last_heard(times, story.since, calls.until) if story.kind == "silence" else float(before[-1]),
        runs=len(starts) if job is not None else 0,
        starts_s=job,
        run_calls=float(np.median(np.diff([*np.searchsorted(before, starts), len(before)]))) if job else None,
        last_run_s=float(starts[-1]) if job is not None else None,
        last_run_calls=int((before >= starts[-1]).sum()) if job is not None else None,
        gap_s=float(np.median(gaps)) if len(gaps) else None,
        longest_gap_s=float(gaps.max()) if len(gaps) else None,
    )


def burst(calls: Calls) -> Burst | None:
    """What one session or one user did since the onset; None when the story is about neither."""
    if not ({"user_id"} | UNIQUE) & calls.story.slice.keys() or not calls.now.any():
        return None
    which = np.flatnonzero(calls.now)
    which = which[np.argsort(calls.numbers("start_time")[which], kind="stable")]
    prompts = calls.numbers("input_tokens")[which]
    quarter = max(1, len(which) // 4)
    times = calls.numbers("start_time")[which]
    return Burst(
        calls=calls.weight(calls.now),
        usual=calls.story.expected,
        operations=Counter(each or "a call" for each in calls.rows.texts("operation_type", which)),
        prompt_first=_median(prompts[:quarter]),
        prompt_last=_median(prompts[-quarter:]),
        first_s=float(times[0]),
        last_s=float(times[-1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Whether more users came, or each called more often."""

    users: float
    usual_users: float
    calls_each: float
    usual_calls_each: float

    @property
    def by_users(self) -> float:
        """The share of the rise that more users explain, 0 to 1."""
        more, each = np.log(self.users / self.usual_users), np.log(self.calls_each / self.usual_calls_each)
        whole = more + each
        return float(np.clip(more / whole, 0, 1)) if whole > 0 else 0.5


def people(calls: Calls) -> People | None:
    """Users and calls of each, since the onset and in the same hours of other days; None where users are not named."""
    codes, words_of = calls.rows.codes("user_id")
    named = codes < len(words_of) - 1
    times = calls.numbers("start_time")
    now = calls.now & named
    days = []
    for begin, _ in calls.windows if calls.same_hours else ():
        shift = round((calls.story.since - begin) / DAY_S) * DAY_S
        day = calls.then & named & (times >= calls.story.since - shift) & (times < calls.until - shift)
        days.append((len(np.unique(codes[day])), float(day.sum())))
    usual_users = float(np.mean([users for users, _ in days])) if days else 0.0
    usual_calls = float(np.mean([count for _, count in days])) if days else 0.0
    users = len(np.unique(codes[now]))
    if not users or not usual_users or not usual_calls or calls.share_read < 1:
        return None
    return People(
        users=users,
        usual_users=usual_users,
        calls_each=float(now.sum()) / users,
        usual_calls_each=usual_calls / usual_users,
    )


def document(found: Habit | None, loud: Burst | None, crowd: People | None) -> dict[str, Any]:
    """All of it, ready for JSON."""
    return {
        "people": None
        if crowd is None
        else {
            "users": crowd.users,
            "usual_users": crowd.usual_users,
            "calls_each": crowd.calls_each,
            "usual_calls_each": crowd.usual_calls_each,
        },
        "habit": None
        if found is None
        else {
            "last_call": iso(found.last_s),
            "runs": found.runs,
            "starts_s_of_day": found.starts_s,
            "calls_per_run": found.run_calls,
            "last_run": iso(found.last_run_s) if found.last_run_s is not None else None,
            "last_run_calls": found.last_run_calls,
            "gap_s": found.gap_s,
            "longest_gap_s": found.longest_gap_s,
        },
        "burst": None
        if loud is None
        else {
            "calls": loud.calls,
            "usual": loud.usual,
            "operations": dict(loud.operations),
            "input_tokens_first": loud.prompt_first,
            "input_tokens_last": loud.prompt_last,
            "first": iso(loud.first_s),
            "last": iso(loud.last_s),
        },
    }


def causes(calls: Calls, found: Habit | None, loud: Burst | None, crowd: People | None) -> Iterator[Cause]:
    """What is missing, or who calls so often, a sentence each."""
    names = {name: str(value) for name, value in calls.story.slice.items()}
    if found is not None and calls.story.direction == "down":
        yield Cause(kind=_missing_kind(calls.story, found), weight=0.9, text=_missed(calls, found), names=names)
    if loud is not None:
        yield _loud(calls.story, loud, names)
    elif crowd is not None and calls.story.direction == "up":
        users = f"{crowd.users:,.0f} users, usually {crowd.usual_users:,.0f}"
        each = f"{crowd.calls_each:.1f} calls each, usually {crowd.usual_calls_each:.1f}"
        many = crowd.by_users >= 0.5
        text = f"more users: {users}; {each}" if many else f"more calls of each user: {each}; {users}"
        yield Cause(kind="more_users" if many else "more_calls", weight=0.5, text=text, names=names)


def _missing_kind(story: Story, found: Habit) -> str:
    if found.starts_s is not None:
        return "job" if story.kind == "silence" or not story.observed else "thin_job"
    return "silence" if story.kind == "silence" or not story.observed else "fewer_calls"


def _missed(calls: Calls, found: Habit) -> str:
    """What used to come, and when the last of it came."""
    last = words.moment(found.last_s)[:16]
    if found.starts_s is not None and found.last_run_s is not None:
        clock = f"{int(found.starts_s // 3600):02}:{int(found.starts_s % 3600 // 60):02} UTC"
        run = f"{words.moment(found.last_run_s)[:16]} with {words.calls(found.last_run_calls or 0)}"
        if calls.now.any():
            return (
                f"this run of a job made {words.calls(round(calls.weight(calls.now)))}; the {found.runs} runs of the "
                f"14 days before began around {clock} and made about {found.run_calls or 0:,.0f} each"
            )
        return (
            f"a job that usually starts around {clock} ({found.runs} runs in 14 days, about "
            f"{words.calls(round(found.run_calls or 0))} each); its last run began {run}"
        )
    gap = f"; usually one every {saying.lasting(found.gap_s)}" if found.gap_s else ""
    longest = f", never more than {saying.lasting(found.longest_gap_s)} apart" if found.longest_gap_s else ""
    if calls.story.kind == "silence":
        return f"the last call came at {last} UTC{gap}{longest}"
    return f"{words.calls(round(calls.weight(calls.now)))} came, {calls.weight(calls.then):,.0f} are usual{gap}"


def _loud(story: Story, loud: Burst, names: Mapping[str, str]) -> Cause:
    """Who calls so often, and whether it feeds itself."""
    subject = saying.named(story.slice)
    span = saying.lasting(loud.last_s - loud.first_s)
    most = max(loud.operations, key=lambda each: loud.operations[each])
    usual = f", usually {loud.usual:,.0f}" if loud.usual is not None else ""
    text = f"{subject} made {words.calls(round(loud.calls))} in {span}{usual}, mostly {most}"
    first, last = loud.prompt_first, loud.prompt_last
    grows = first is not None and last is not None and last >= GROWS * first
    if grows:
        text += f"; the prompt grew from {words.amount(first or 0, 'tokens')} to {words.amount(last or 0, 'tokens')}"
    kind = "loop" if UNIQUE & story.slice.keys() else "user"
    return Cause(kind=kind, weight=0.95 if grows else 0.9, text=text, names={**names, "operation": most})


def _times(store: Store, project: str, story: Story, until: float) -> Floats:
    """When calls of the slice began, oldest first."""
    mine = [Filter("project", "=", (project,)), Filter("source", "!=", (MESSAGES_SOURCE,))]
    mine += [Filter(name, "=", (value,)) for name, value in story.slice.items()]
    times: Floats = np.empty(0)
    for back in (DAY_S, REMEMBERED_S):
        found = store.scan(Span, ("start_time",), [*mine, *between(story.since - back, until)])
        times = np.sort(Rows(table_of(found, ("start_time",))).numbers("start_time"))
        if len(times) >= STREAM:
            break
    return times


def _last_heard(times: Floats, since: float, until: float) -> float:
    """The call after which it was still for longest, of those from the last one before the onset on.

    >>> _last_heard(np.array([0.0, 60.0, 120.0, 9000.0, 9060.0]), since=90.0, until=9100.0)
    120.0
    """
    heard = times[max(int(np.searchsorted(times, since)) - 1, 0) :]
    return float(heard[np.argmax(np.diff(heard, append=until))])


def _job(starts: Floats, times: Floats) -> float | None:
    """The time of day, in seconds after midnight, at which runs start; None when they do not agree."""
    if len(starts) < FEWEST_RUNS or len(times) <= len(starts):
        return None
    ends = times[np.concatenate([np.searchsorted(times, starts[1:]) - 1, [len(times) - 1]])]
    if np.median(ends - starts) > LONGEST_S:
        return None
    angles = starts % DAY_S / DAY_S * 2 * np.pi
    middle = float(np.arctan2(np.sin(angles).mean(), np.cos(angles).mean()) / (2 * np.pi) * DAY_S % DAY_S)
    off = np.abs((starts % DAY_S - middle + DAY_S / 2) % DAY_S - DAY_S / 2)
    return middle if (off <= AGREE_S).mean() >= MOST_OF_RUNS else None


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None
