"""Calls as they arrive: words become small numbers, rows wait for their tick, each learns its place in its session."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Flags, Floats, Ints, Rows
from .ledger import Groups, Ledger
from .names import Names, Words, joined, words_of

TICK = 300  # seconds; the grain of all sums and alerts
NUMBERS = (
    "retry_count", "duration_ms", "ttft_ms", "tokens_per_second", "queue_time_ms", "inference_time_ms",
    "network_time_ms", "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    "cost_usd", "retrieval_latency_ms", "rag_relevance_score", "groundedness_score", "hallucination_detected",
)  # fmt: skip
WATCHED = ("reasoning_tokens", "rag_nodes_retrieved", "rag_chunks_used")  # numbers without a model of their own
SIGNED = ("rag_relevance_score", "groundedness_score")  # every other number below zero is a mistake of the reporter
LARGEST = 1e12  # of any number; more is a mistake, and its square must not overflow
WORDS = {  # how many of each are told apart at a time; what comes beyond is counted, but without a name
    "operation_type": 500,
    "model_name": 500,
    "model_provider": 200,
    "session_id": 200_000,
    "user_id": 4_000,
    "status": 50,
    "error_category": 50,
    "app_version": 500,
    "usage_type": 500,
    "environment": 50,
    "service_name": 200,
    "streaming_enabled": 2,
    "rag_retrieval_method": 50,
    "rag_graph_used": 2,
    "error_type": 500,
    "cost_status": 20,
}
PARTS = (
    "user_id", "app_version", "usage_type", "environment", "service_name", "streaming_enabled", "rag_retrieval_method",
    "rag_graph_used",
)  # beside slices  # fmt: skip
TRUTHS = frozenset(("streaming_enabled", "rag_graph_used"))
SEGMENT = ("operation_type", "model_name", "model_provider")
SEGMENTS = 500  # beyond, new ones share a segment of their operation, until the least recently used are forgotten
STRIDE = 1 << 20  # two codes in one key: session x STRIDE + operation
STANDS_FOR = "stands_for"  # of calls that came, where a row is one of a sample
CONVERSATION = "conversation\0"  # before the word of a conversation that stands for a session
SESSION_OVER = 86400.0  # s: a session silent for a day is over
Waiting = dict[str, Any]  # equally long columns, those of words as `Words`


class Intake:
    """Rows that wait, the codes of their words and where each session stands."""

    def __init__(self, extra: tuple[str, ...] = ()) -> None:
        self.extra = (*WATCHED, *extra)
        self.names = {word: Names(limit) for word, limit in WORDS.items()}
        self.segments: list[tuple[int, int, int]] = []
        self.segment_of: dict[tuple[int, int, int], int] = {}
        self.last_call = np.zeros(0)  # of each segment
        self.waiting: list[Waiting] = []
        self.ordered = True  # the rows that wait are one table in order of start
        self.sessions = Ledger((0.0, -np.inf, np.nan))  # calls, time and prompt of the last one

    def feed(self, batch: Waiting) -> None:
        """Take a dict of equally long columns; only start_time is required."""
        t = batch["start_time"]
        t = t.astype("datetime64[us]").astype(float) / 1e6 if t.dtype.kind == "M" else np.asarray(t, float)
        n, ok = len(t), np.isfinite(t) & (t > 0)  # a missing datetime is the least integer
        rows: Waiting = {"t": t, "trace_id": column_of_objects(batch.get("trace_id"), n)}
        for word in WORDS:
            rows[word] = words_of(batch.get(word), n)
        rows["session_id"] = sessions_of(rows["session_id"], words_of(batch.get("conversation_id"), n))
        parent = batch.get("parent_span_id")
        rows["root"] = np.array([x is None or x != x for x in parent], bool) if parent is not None else np.ones(n, bool)
        rows[STANDS_FOR] = np.asarray(batch.get(STANDS_FOR, np.ones(n)), float)
        for name in NUMBERS:
            rows[name] = column_of_numbers(batch.get(name), n, name in SIGNED)
        for name in self.extra:
            rows[name] = column_of_numbers(batch.get(name), n, True)
        if ok.any():
            self.waiting.append(rows if ok.all() else {k: v[ok] for k, v in rows.items()})
            self.ordered = False

    def reach(self, first: float, stop: float, step: float, most: int) -> float:
        """Up to when rows are to be taken, in whole steps: no more than `most` unless one step has more."""
        if sum(len(rows["t"]) for rows in self.waiting) <= most:
            return stop
        self.order()
        last = float(self.waiting[0]["t"][most])
        return min(stop, max(first + step, last // step * step))

    def order(self) -> None:
        """Make one table, in order of start, of all rows that wait."""
        if self.ordered or not self.waiting:
            return
        parts, self.ordered = self.waiting, True
        rows = {k: joined([part[k] for part in parts]) for k in parts[0]}
        if (np.diff(rows["t"]) < 0).any():
            order = np.argsort(rows["t"], kind="stable")
            rows = {k: v[order] for k, v in rows.items()}
        self.waiting = [rows]

    def next_row(self) -> float | None:
        """When the earliest waiting row starts."""
        return min((float(rows["t"].min()) for rows in self.waiting), default=None)

    def take(self, before: float) -> Rows | None:
        """Rows that start before the moment, in order of start, with codes, segment, turn and idle times."""
        if not self.waiting:
            return None
        self.order()
        rows = self.waiting[0]
        cut = int(np.searchsorted(rows["t"], before))
        self.waiting = [{k: v[cut:] for k, v in rows.items()}] if cut < len(rows["t"]) else []
        if not cut:
            return None
        rows = {k: v[:cut] for k, v in rows.items()}
        for word in WORDS:
            rows[word] = self.names[word].encode(rows[word], float(rows["t"][-1]))
        rows["segment"] = self.encode_segments(rows)
        self.place_in_sessions(rows)
        self.place_in_segments(rows)
        return rows

    def encode_segments(self, rows: Rows) -> Ints:
        """The segment of each row; new ones are added while there is room."""
        packed = (rows[SEGMENT[0]] + 1) * STRIDE**2 + (rows[SEGMENT[1]] + 1) * STRIDE + rows[SEGMENT[2]] + 1
        keys, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
        order = np.argsort(first)
        codes = (rows[word][first[order]].tolist() for word in SEGMENT)
        found = np.zeros(len(keys), np.int64)
        found[order] = [self.admit(each) for each in zip(*codes, strict=True)]
        return found[inverse]

    def admit(self, codes: tuple[int, int, int]) -> int:
        """The segment of these codes: its own, or that of its operation's rest, or that of everything else."""
        rest, nothing = (codes[0], -1, -1), (-1, -1, -1)
        for choice, room in ((codes, SEGMENTS), (rest, SEGMENTS * 9 // 8), (nothing, SEGMENTS * 2)):
            if choice not in self.segment_of and len(self.segments) < room:
                self.segment_of[choice] = len(self.segments)
                self.segments.append(choice)
                self.last_call = np.append(self.last_call, -np.inf)
            if choice in self.segment_of:
                return self.segment_of[choice]
        raise AssertionError("there is always room for the segment of everything else")

    def place_in_sessions(self, rows: Rows) -> None:
        """Turn within the session and operation, seconds since its previous call, and that call's prompt."""
        n = len(rows["t"])
        rows["turn"], rows["idle_session"] = np.zeros(n, np.int64), np.full(n, np.inf)
        rows["prompt_before"] = np.full(n, np.nan)
        named = np.flatnonzero(rows["session_id"] >= 0)
        if not len(named):
            return
        groups = Groups((rows["session_id"] * STRIDE + rows["operation_type"] + 1)[named])
        at, order = self.sessions.at(groups.keys), named[groups.order]
        t, prompt = rows["t"][order], rows["input_tokens"][order]
        state = self.sessions.values[at]
        rows["turn"][order] = groups.rank + groups.spread(state[:, 0]).astype(np.int64)
        rows["idle_session"][order] = np.maximum(since_previous(t, groups.first, state[:, 1]), 0)
        rows["prompt_before"][order] = previous(prompt, groups.first, state[:, 2])
        last = groups.starts + groups.sizes - 1
        self.sessions.values[at] = np.stack([state[:, 0] + groups.sizes, t[last], prompt[last]], 1)

    def place_in_segments(self, rows: Rows) -> None:
        """Seconds since the segment's previous call."""
        groups = Groups(rows["segment"])
        t = rows["t"][groups.order]
        rows["idle"] = np.zeros(len(t))
        rows["idle"][groups.order] = np.maximum(since_previous(t, groups.first, self.last_call[groups.keys]), 0)
        self.last_call[groups.keys] = t[groups.starts + groups.sizes - 1]

    def forget(self, now: float) -> None:
        """Sessions that are over, and their names."""
        self.sessions.split(self.sessions.values[:, 1] <= now - SESSION_OVER)
        names = self.names["session_id"]
        alive = np.zeros(names.size, bool)
        alive[self.sessions.keys // STRIDE] = True
        names.forget(names.stale(now - SESSION_OVER, alive))

    def retire(self, now: float, silence: float, busy: Flags) -> Ints:
        """Segments worth keeping: those with calls within `silence` seconds, and of too many the busy and the latest.

        What is in use is not forgotten for what may come: it would be learned anew every day.
        """
        keep = np.flatnonzero(self.last_call > now - silence)
        if len(self.segments) > SEGMENTS * 3 // 4:
            order = np.lexsort((-self.last_call[keep], ~busy[keep]))
            keep = np.sort(keep[order[: max(SEGMENTS * 5 // 8, np.count_nonzero(busy[keep]))]])
        return keep

    def keep_segments(self, keep: Ints, before: float) -> None:
        """Renumber the segments, and forget words that no segment needs and nobody used since."""
        self.segments = [self.segments[i] for i in keep]
        self.last_call = self.last_call[keep]
        self.segment_of = {codes: i for i, codes in enumerate(self.segments)}
        for j, word in enumerate(SEGMENT):
            used = np.zeros(self.names[word].size, bool)
            used[[s[j] for s in self.segments if s[j] >= 0]] = True
            self.names[word].forget(self.names[word].stale(before, used))

    def describe(self, segment: int) -> dict[str, object]:
        """The words of a segment; None where it has none."""
        return {
            word: self.names[word].word.get(code) for word, code in zip(SEGMENT, self.segments[segment], strict=True)
        }


def sessions_of(sessions: Words, conversations: Words) -> Words:
    """The session of each row, or the conversation of one that says no session."""
    alone = (sessions.places < 0) & (conversations.places >= 0)
    if not alone.any():
        return sessions
    words: list[object] = [*sessions.words, *(f"{CONVERSATION}{word}" for word in conversations.words)]
    return Words(np.where(alone, conversations.places + len(sessions.words), sessions.places), words)


def session_slice(word: object) -> dict[str, object]:
    """Which rows are those of a session, by the word that it has here.

    >>> session_slice("s1"), session_slice(CONVERSATION + "c1")
    ({'session_id': 's1'}, {'conversation_id': 'c1'})
    """
    if isinstance(word, str) and word.startswith(CONVERSATION):
        return {"conversation_id": word.removeprefix(CONVERSATION)}
    return {"session_id": word}


def since_previous(t: Floats, first: Flags, before: Floats) -> Floats:
    """Seconds since the previous row of the same group; the first looks at `before`."""
    return t - previous(t, first, before)


def previous(value: Floats, first: Flags, before: Floats) -> Floats:
    """The previous row's value within each group; the first has `before`."""
    out = np.concatenate([value[:1], value[:-1]])
    out[first] = before
    return out


def column_of_objects(values: NDArray[Any] | None, n: int) -> NDArray[Any]:
    """As objects; all None where the column is missing."""
    return np.full(n, None, object) if values is None else np.asarray(values, object)


def column_of_numbers(values: NDArray[Any] | None, n: int, signed: bool) -> Floats:
    """As floats; missing, infinite, impossibly large or negative is not a number."""
    if values is None:
        return np.full(n, np.nan)
    try:
        out = np.array(values, float)
    except (TypeError, ValueError):
        out = np.array([number_or_nan(x) for x in values], float)
    with np.errstate(invalid="ignore"):
        out[~(np.abs(out) < LARGEST) | ((out < 0) & (not signed))] = np.nan
    return out


def number_or_nan(value: object) -> float:
    """A value as a float, or nan when it is none."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
