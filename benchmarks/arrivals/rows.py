"""What instrumentation sees of it: span rows with prices, qualities, holes and clocks that are wrong."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .calls import ROOT, Table
from .knobs import Knobs, Mask
from .machine import Attempts
from .products import Product
from .streams import Floats, Ints

CACHED_PRICE = 0.1  # of the price of a token read
WRITTEN_PRICE = 1.25
DRIFT_S = 1.5  # a host's clock runs away this far before it is set right
SET_RIGHT_S = 8 * 3600.0
HOLES = {"ttft_ms": 0.02, "network_time_ms": 0.03, "cost_usd": 0.01, "queue_time_ms": 0.02}  # share lost at random
COUNTS = ("retry_count", "input_tokens", "output_tokens", "total_tokens")


def frame_of(product: Product, table: Table, knobs: Knobs, draws: Floats, done: Attempts) -> pd.DataFrame:
    """Rows as cases have them, in order of start, with `id` of the step, `call` and `attempt` beside them."""
    made = _attempt_rows(product, table, knobs, draws, done)
    roots = _root_rows(product, table, draws, done)
    frame = pd.concat([made, roots], ignore_index=True)
    site = frame.pop("site").to_numpy()
    _lose(product, frame, site)
    frame["t"] = np.maximum(frame.t + _clock_error(frame.id.to_numpy(), site, frame.t.to_numpy()), 0.0)
    frame = frame.sort_values("t", kind="stable", ignore_index=True)
    start = product.start + pd.to_timedelta(np.round(frame.t.to_numpy() * 1000), unit="ms")
    frame.insert(0, "start_time", start.astype("datetime64[ns]"))
    return frame


def _attempt_rows(product: Product, table: Table, knobs: Knobs, draws: Floats, done: Attempts) -> pd.DataFrame:
    """A row for each attempt where the site reports them, otherwise one for each step with its whole duration."""
    a = done.columns
    by_attempt = np.array([site.attempt_rows for site in product.sites])[table["site"][a["row"]]]
    order = np.lexsort((a["attempt"], a["row"]))
    last = np.zeros(len(order), bool)
    last[order] = np.diff(a["row"][order], append=-1) != 0
    begin = _step_starts(table, done)
    alive = ~_after_failure(table, done)[a["row"]]
    keep = alive & (by_attempt | last)
    whole = ~by_attempt[keep]
    a = {name: values[keep] for name, values in a.items()}
    rows = a["row"]
    ok = np.isin(a["status"], ("ok", "fallback"))
    duration = np.where(whole, done.elapsed[rows], a["duration_ms"])
    offset = np.where(whole, 0.0, a["offset"])
    frame = _identity(product, table, draws, rows, a["attempt"])
    frame["t"] = table["t"][rows] + (begin[rows] + offset) / 1000
    frame["status"], frame["error_category"] = a["status"], a["error_category"]
    frame["retry_count"] = a["attempt"]
    model = a["model"]
    frame["model_name"] = _named([m.name for m in product.models], model)
    frame["model_provider"] = _named([m.provider for m in product.models], model)
    frame["streaming_enabled"] = _streams(product, table, rows, knobs, draws) & (model >= 0)
    _times(product, table, frame, a, ok, duration)
    _tokens(product, table, knobs, frame, a, ok)
    _quality(product, table, knobs, draws, frame, rows, ok)
    return frame


def _identity(product: Product, table: Table, draws: Floats, rows: Ints, attempt: Ints) -> pd.DataFrame:
    """Names of a row: trace, span, parent, session, user, version, operation."""
    sites = product.sites
    site, call = table["site"][rows], table["call"][rows]
    users = [t.name for t in product.tenants] + [s.tenant or "" for s in sites]
    rooted = np.array([s.root is not None for s in sites])[site]
    ops = np.array([[s.steps[i].op if i < len(s.steps) else None for i in range(4)] + [s.root] for s in sites], object)
    traces = [f"tr{c:07x}" for c in range(int(call.max(initial=0)) + 1)]
    trace = np.array(traces, object)[call]
    numbers = np.array([f"{v // 100 + 1}.{v % 100}" for v in range(200)], object)
    return pd.DataFrame({
        "id": table["id"][rows], "call": call, "attempt": attempt, "site": site, "luck": draws[rows, 7],
        "trace_id": trace,
        "span_id": [f"sp{i:07x}{k}" for i, k in zip(table["id"][rows].tolist(), attempt.tolist(), strict=True)],
        "parent_span_id": np.where(rooted & (table["step"][rows] != ROOT), "rt" + trace, None),
        "session_id": [f"{s}-{t}" for s, t in zip(site.tolist(), table["talk"][rows].tolist(), strict=True)],
        "user_id": np.array(users, object)[table["tenant"][rows]],
        "app_version": numbers[table["version"][rows].astype(int)],
        "operation_type": ops[site, table["step"][rows]],
    })  # fmt: skip


def _root_rows(product: Product, table: Table, draws: Floats, done: Attempts) -> pd.DataFrame:
    """The spans around the steps: as long as all of them, failed when one failed."""
    rows = np.flatnonzero(table["step"] == ROOT)
    calls = int(table["call"].max(initial=0)) + 1
    ran = (table["step"] != ROOT) & ~_after_failure(table, done)
    total = np.bincount(table["call"][ran], done.elapsed[ran], calls)[table["call"][rows]]
    failed = np.bincount(table["call"][done.failed & ran], minlength=calls)[table["call"][rows]] > 0
    frame = _identity(product, table, draws, rows, np.zeros(len(rows), np.int64))
    frame["span_id"] = "rt" + frame.trace_id
    frame["t"] = table["t"][rows]
    frame["status"] = np.where(failed, "error", "ok")
    frame["duration_ms"] = np.round(total * 1.01 + 3, 1)
    frame["streaming_enabled"], frame["retry_count"] = False, 0
    return frame


def _step_starts(table: Table, done: Attempts) -> Floats:
    """Milliseconds from the beginning of the trace to each step: one after the other."""
    order = np.lexsort((table["order"], table["call"]))
    spent = np.cumsum(done.elapsed[order])
    before = spent - done.elapsed[order]
    first = np.diff(table["call"][order], prepend=-1) != 0
    base = np.maximum.accumulate(np.where(first, before, 0.0))
    out = np.zeros(len(order))
    out[order] = before - base
    return out


def _after_failure(table: Table, done: Attempts) -> Mask:
    """Steps that never ran because one before them failed for good."""
    order = np.lexsort((table["order"], table["call"]))
    failures = np.cumsum(done.failed[order])
    first = np.diff(table["call"][order], prepend=-1) != 0
    at_first = np.maximum.accumulate(np.where(first, failures - done.failed[order], 0))
    out = np.zeros(len(order), bool)
    out[order] = failures - done.failed[order] - at_first > 0
    return out & (table["step"] != ROOT)


def _named(names: list[str], codes: Ints) -> NDArray[np.object_]:
    return np.array([*names, None], object)[codes]


def _streams(product: Product, table: Table, rows: Ints, knobs: Knobs, draws: Floats) -> Mask:
    share = np.array([site.streams for site in product.sites])[table["site"][rows]]
    llm = np.array(
        [
            [i < len(s.steps) and bool(s.steps[i].models) and s.steps[i].most_out > 100 for i in range(4)]
            for s in product.sites
        ]
    )
    wanted = (draws[rows, 7] * 7919 % 1) < share
    return (
        wanted & llm[table["site"][rows], table["step"][rows]] & (draws[rows, 0] >= knobs.at("unstreamed", 0.0)[rows])
    )


def _times(product: Product, table: Table, frame: pd.DataFrame, a: Table, ok: Mask, duration: Floats) -> None:
    """Where the time of each attempt went, as far as it is reported."""
    model, rows = a["model"], a["row"]
    called = ok & (model >= 0)
    streamed = frame.streaming_enabled.to_numpy()
    says_first = np.array([site.streams > 0 for site in product.sites])[table["site"][rows]]
    answers = table["n_out"][rows] > 0
    whole = a["queue"] + np.where(
        streamed, a["ttft"], a["inference"]
    )  # unstreamed, the first token comes with the last
    tells = np.array([each.tells_queue for each in product.models])[model] & (model >= 0)
    searches = np.array([[i < len(s.steps) and s.steps[i].searches for i in range(4)] for s in product.sites])
    search = ok & searches[table["site"][rows], table["step"][rows]]
    generating = np.maximum(a["inference"] - np.where(streamed, a["ttft"], 0), 1)
    empty = np.full(len(rows), np.nan)
    frame["duration_ms"] = np.round(duration, 1)
    frame["ttft_ms"] = np.round(np.where(called & says_first & answers, whole, empty), 1)
    frame["tokens_per_second"] = np.round(np.where(called & answers, _out(table, rows) / generating * 1000, empty), 2)
    frame["queue_time_ms"] = np.round(np.where(called & tells, a["queue"], empty), 1)
    frame["inference_time_ms"] = np.round(np.where(called, a["inference"], empty), 1)
    frame["network_time_ms"] = np.round(np.where(called, a["network"], empty), 1)
    frame["retrieval_latency_ms"] = np.round(np.where(search, a["inference"], empty), 1)


def _out(table: Table, rows: Ints) -> Floats:
    return np.maximum(np.round(table["n_out"][rows]), 0.0)


def _tokens(product: Product, table: Table, knobs: Knobs, frame: pd.DataFrame, a: Table, ok: Mask) -> None:
    """Tokens and their price. Whoever failed wrote nothing and costs nothing, unless the answer was unreadable."""
    model, rows = a["model"], a["row"]
    called = model >= 0
    paid = ok | (a["error_category"] == "invalid_output")
    n_in = np.where(called, np.round(table["n_in"][rows]), np.nan)
    n_out = np.where(called, np.where(paid, _out(table, rows), 0.0), np.nan)
    cached = np.array([each.keep_s > 0 for each in product.models])[model] & called
    writes = np.array([0 < each.keep_s <= 300 for each in product.models])[model] & called
    read = np.where(cached & paid, np.nan_to_num(a["read"]), np.nan)
    written = np.where(writes & paid, n_in - np.nan_to_num(read), np.nan)
    price = np.array([each.price for each in product.models])[model]
    plain = n_in - np.nan_to_num(read) - np.nan_to_num(written)
    cost = (plain + CACHED_PRICE * np.nan_to_num(read) + WRITTEN_PRICE * np.nan_to_num(written)) * price[:, 0]
    cost = (cost + n_out * price[:, 1]) / 1e6 * knobs.at("price", 1.0)[rows]
    free = np.array([each.local for each in product.models])[model] | ~called
    frame["input_tokens"], frame["output_tokens"], frame["total_tokens"] = n_in, n_out, n_in + n_out
    frame["context_tokens"] = np.where(table["part"][rows] > 0, n_in, np.nan)
    frame["cache_read_input_tokens"], frame["cache_creation_input_tokens"] = read, written
    frame["cost_usd"] = np.round(np.where(free, np.nan, np.where(paid, cost, 0.0)), 8)


def _quality(
    product: Product, table: Table, knobs: Knobs, draws: Floats, frame: pd.DataFrame, rows: Ints, ok: Mask
) -> None:
    """Relevance, passages used, groundedness of a half, and what a judge calls invented."""
    grounded = np.array([[i < len(s.steps) and s.steps[i].grounded for i in range(4)] for s in product.sites])
    answer = ok & grounded[table["site"][rows], table["step"][rows]]
    empty = draws[rows, 3] < knobs.at("empty", 0.0)[rows]
    bell = np.sqrt(-2 * np.log(np.maximum(draws[rows, 4:6], 1e-12))) * np.cos(2 * np.pi * draws[rows, 6:8])
    relevance = _squeezed(1.1 + knobs.at("relevance", 0.0)[rows] + 0.55 * bell[:, 0])
    ground = _squeezed(1.9 + knobs.at("grounded", 0.0)[rows] + 0.6 * bell[:, 1] - 2.2 * empty)
    judged = answer & (draws[rows, 2] < 0.5)
    chunks = np.where(empty, 0.0, 3 + np.floor(draws[rows, 5] * 5))
    frame["rag_relevance_score"] = np.round(np.where(answer & ~empty, relevance, np.nan), 4)
    frame["rag_chunks_used"] = np.where(answer, chunks, np.nan)
    frame["groundedness_score"] = np.round(np.where(judged, ground, np.nan), 4)
    invented = draws[rows, 1] < 0.03 + 0.5 * np.maximum(0, 0.65 - ground)
    frame["hallucination_detected"] = np.where(judged, invented, np.nan)


def _squeezed(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _lose(product: Product, frame: pd.DataFrame, site: Ints) -> None:
    """Take away what a site never reports, and a little of everything."""
    for s, each in enumerate(product.sites):
        for column in each.lacks:
            frame.loc[site == s, column] = np.nan if frame[column].dtype.kind == "f" else None
    luck = frame.pop("luck").to_numpy()
    for i, (column, share) in enumerate(HOLES.items()):
        frame.loc[luck * (1009 + i) % 1 < share, column] = np.nan


def _clock_error(ids: Ints, site: Ints, t: Floats) -> Floats:
    """Seconds that the clock of each host is off: two a site drift and are set right, those of one site are fast."""
    phase = 0.37 * (2 * site + ids % 2)
    drift = DRIFT_S * ((t / SET_RIGHT_S + phase) % 1 - 0.5)
    return drift + np.where(site == 1, 20.0, 0.0)
