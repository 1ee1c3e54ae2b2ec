"""Real request streams, cut into conversations, and their replay at any rate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DATA = Path(__file__).resolve().parent.parent / "data" / "real_arrivals.npz"
BLOCK = 512  # tokens of a prompt block, as published with the hashes
LONGEST = 30  # turns of a conversation
WIDEST = 12.0  # mean gaps: one stream has a hole of minutes, which would become a day without calls
NAMES = ("azure_conv", "azure_code", "moon_conversation", "moon_synthetic")
FIRST_BLOCK = 1_000_000  # the streams number their blocks from 0; here no two streams share one


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Requests by conversation. The i-th conversation is the requests begin[i]:begin[i + 1]."""

    gap: Floats  # between starts of conversations, in their mean
    begin: Ints
    offset: Floats  # s since the conversation began
    n_in: Ints
    n_out: Ints
    first: Ints  # the prompt of the i-th request is blocks[first[i]:first[i + 1]]
    blocks: Ints

    @property
    def turns(self) -> float:
        """Requests per conversation."""
        return len(self.n_in) / len(self.gap)


@cache
def stream(name: str) -> Stream:
    """One of the real streams."""
    with np.load(DATA) as data:
        t, n_in, n_out = (data[f"{name}_{each}"] for each in ("t", "in", "out"))
        lengths = data[f"{name}_len"] if f"{name}_len" in data else np.zeros(len(t), int)
        blocks = data[f"{name}_hash"] if lengths.any() else np.zeros(0, int)
    first = np.concatenate([[0], np.cumsum(lengths)])
    talk = _conversations(first, blocks)
    order = np.lexsort((np.arange(len(t)), talk))
    begin = np.concatenate([[0], np.flatnonzero(np.diff(talk[order])) + 1, [len(t)]])
    start = t[order][begin[:-1]]
    by_start = np.argsort(start, kind="stable")
    order = np.concatenate([order[begin[i] : begin[i + 1]] for i in by_start])
    sizes = np.diff(begin)[by_start]
    parts = [blocks[first[i] : first[i + 1]] for i in order]
    return Stream(
        gap=_gaps(start[by_start]),
        begin=np.concatenate([[0], np.cumsum(sizes)]),
        offset=t[order] - np.repeat(start[by_start], sizes),
        n_in=n_in[order].astype(np.int64),
        n_out=n_out[order].astype(np.int64),
        first=np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64),
        blocks=np.concatenate(parts).astype(np.int64) + FIRST_BLOCK * NAMES.index(name),
    )


def _conversations(first: Ints, blocks: Ints) -> Ints:
    """The conversation of each request: that of the last block of its prompt which was seen before."""
    talk = np.zeros(len(first) - 1, np.int64)
    of_block: dict[int, int] = {}
    size: list[int] = []
    for i in range(len(talk)):
        own = blocks[first[i] + 1 : first[i + 1]].tolist()  # the first block is often a prompt that all share
        known = next((of_block[block] for block in reversed(own) if block in of_block), None)
        if known is None or size[known] >= LONGEST:
            known = len(size)
            size.append(0)
        size[known] += 1
        talk[i] = known
        of_block.update(dict.fromkeys(own, known))
    return talk


def _gaps(start: Floats) -> Floats:
    gaps = np.diff(start, append=start[-1] + (start[-1] - start[0]) / len(start))
    gaps = np.minimum(gaps, WIDEST * gaps.mean())
    return gaps / gaps.mean()


def replay(source: Stream, a_minute: Floats, rng: np.random.Generator) -> tuple[Ints, Floats, Ints]:
    """Requests, their times (s) and the number of their conversation.

    Conversations start with the real gaps, in a time that runs as fast as calls `a_minute` are wanted; the turns
    within one keep their real distance.
    """
    wanted = np.concatenate([[0.0], np.cumsum(a_minute)]) / source.turns
    count = int(wanted[-1] * 1.2) + 50
    which = (rng.integers(len(source.gap)) + np.arange(count)) % len(source.gap)
    passed = np.cumsum(source.gap[which])
    which = which[passed < wanted[-1]]
    start = np.interp(passed[: len(which)], wanted, np.arange(len(wanted)) * 60.0)
    sizes = np.diff(source.begin)[which]
    talk = np.repeat(np.arange(len(which)), sizes)
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    request = np.repeat(source.begin[which], sizes) + within
    t = start[talk] + source.offset[request]
    inside = t < 60.0 * len(a_minute)
    return request[inside], t[inside], talk[inside]
