"""Server time and size of every GET route, on stores of one and of ten million spans, and when pages are seen.

The routes are those that the application has, so a new page is measured by being there; what each is asked with stands
in questions.py. Times are processor time of the whole process, from the request to the last byte of the answer: the
machine may do other things meanwhile. *Cold* is the first time with nothing remembered of the rollups, the others are
times later on, which remember hours that are over, as a server that is looked at does.
"""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.testclient import TestClient

from benchmarks.paints import paints
from benchmarks.questions import MINE, Question, questions
from benchmarks.traffic import busy_store
from tracewatch.records import Span
from tracewatch.settings import Settings
from tracewatch.web import make_app
from tracewatch.web.views import rolled

SIZES = tuple(int(each) for each in os.environ.get("BENCHMARK_ROWS", "1000000,10000000").split(","))
TIMES = int(os.environ.get("BENCHMARK_TIMES", "7"))
GOALS_MS = {1_000_000: 100.0}
GOAL_MS = 300.0
LONG_GOAL_MS = 150.0
MOST_HTML, MOST_NODES = 100_000, 1_500
SLOWEST = 40
TAG = re.compile(rb"<[a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Measured:
    """What one question took, in ms of processor time and of the clock, and what came."""

    question: Question
    cold: float
    p50: float
    p95: float
    wall: float
    size: int
    packed: int
    nodes: int
    status: int

    @property
    def worst(self) -> float:
        return max(self.cold, self.p95)


def run() -> Iterator[str]:
    """The stores one after the other, then the browser."""
    for rows in SIZES:
        yield from _store(rows)
        yield ""
    yield from paints(str(busy_store(SIZES[0])))


def _store(rows: int) -> Iterator[str]:
    goal = GOALS_MS.get(rows, GOAL_MS)
    app = make_app(Settings(db=str(busy_store(rows))), open_without_keys=True)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        store = app.state.serving.store
        reach = store.extent(Span, [MINE])
        assert reach is not None
        app.state.serving = dataclasses.replace(app.state.serving, clock=lambda: reach[1] + 30.0)
        days = (reach[1] - reach[0]) / 86_400
        yield f"{rows:,} spans of {days:.0f} days; {TIMES} times each; goal {goal:.0f} ms"
        found = [_measured(client, each) for each in questions(app, store)]
    yield from _by_route(found, goal)
    yield ""
    yield f"the slowest questions\n{_HEAD}"
    for each in sorted(found, key=lambda each: -each.worst)[:SLOWEST]:
        yield _line(each.question.address, each, goal)
    over, cold = sum(each.p95 > goal for each in found), sum(each.cold > goal for each in found)
    yield f"{len(found)} questions: {over} over the goal, {cold} over it when nothing is remembered"
    pages = [each for each in found if each.nodes]
    heavy = sum(each.size > MOST_HTML or each.nodes > MOST_NODES for each in pages)
    yield f"{len(pages)} pages: {heavy} heavier than {MOST_HTML:,} bytes or {MOST_NODES:,} nodes"
    largest = max(each.size for each in pages), max(each.packed for each in pages), max(each.nodes for each in pages)
    yield "the largest page: {:,} bytes, {:,} packed, {:,} nodes; goals {:,} and {:,}".format(
        *largest, MOST_HTML, MOST_NODES
    )


_HEAD = f"{'':<86} {'cold ms':>8} {'p50 ms':>8} {'p95 ms':>8} {'clock':>8} {'kB':>7}"


def _by_route(found: Sequence[Measured], goal: float) -> Iterator[str]:
    routes: dict[str, list[Measured]] = defaultdict(list)
    for each in found:
        routes[each.question.path].append(each)
    yield f"every route, by its slowest question\n{_HEAD}"
    slowest = [(path, len(those), max(those, key=lambda each: each.worst)) for path, those in routes.items()]
    for path, number, each in sorted(slowest, key=lambda found: -found[2].worst):
        yield _line(f"{path} ({number})", each, goal)


def _line(name: str, each: Measured, goal: float) -> str:
    times = f"{each.cold:8.1f} {each.p50:8.1f} {each.p95:8.1f} {each.wall:8.1f} {each.size / 1000:7.1f}"
    said = ["over the goal"] * (each.p95 > goal) + ["cold over the goal"] * (each.cold > goal >= each.p95)
    said += ["too heavy"] * (each.nodes > MOST_NODES or (each.nodes > 0 and each.size > MOST_HTML))
    said += [f"answered {each.status}"] * (each.status != 200)
    return f"{name[:86]:<86} {times}  {', '.join(said)}".rstrip()


def _measured(client: TestClient, question: Question) -> Measured:
    cpu, clock = [], []
    rolled.forget()
    for _ in range(TIMES + 1):
        began, at = time.process_time(), time.perf_counter()
        answer = client.get(question.address, headers={"accept": question.accept}, follow_redirects=False)
        cpu.append((time.process_time() - began) * 1000)
        clock.append((time.perf_counter() - at) * 1000)
    later = sorted(cpu[1:])
    body = answer.content
    is_page = "text/html" in answer.headers.get("content-type", "")
    return Measured(
        question, cpu[0], later[len(later) // 2], later[-1], max(clock), len(body), len(gzip.compress(body, 6)),
        len(TAG.findall(body)) if is_page else 0, answer.status_code,
    )  # fmt: skip
