"""Conversations as they go on: at each turn how many there were, what they cost so far, what the prompt grew by."""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import numpy as np

from tracewatch.detectors.adaptive.ledger import Groups, Ledger
from tracewatch.detectors.adaptive.observations import Thing
from tracewatch.detectors.spec import Floats, Integers
from tracewatch.metrics.base import or_nothing
from tracewatch.metrics.rows import Rows

OVER_S = 7 * 86_400.0  # of silence
MOST = 100_000  # conversations remembered: 8 MB

_MONEY = ("cost", "tokens", "output", "cache")
TURNS = Thing(name="turns_per_conversation", bad="up", least=1.0)
COST = Thing(name="cost_per_conversation", bad="up", covers=_MONEY, patience=1.5)
GROWTH = Thing(name="growth_per_turn", bad="up", least=20.0, covers=("tokens",), patience=1.5)

Values = Iterator[tuple[Thing, Floats]]


class Turns:
    """What is known of each conversation, and of each kind of call in it. Picklable."""

    def __init__(self) -> None:
        self.conversations = Ledger((0.0, 0.0, -2.0, -np.inf))  # turns, cost, request and time of the last
        self.prompts = Ledger((np.nan, -np.inf))  # of the last call of a kind, and its time

    def take(self, rows: Rows, who: Integers, request: Integers) -> Values:
        """Each thing with the value of each row, NaN where it has none; rows come in order of time.

        Calls of one request are one turn, and the first of them stands for it.
        """
        named = np.flatnonzero(who >= 0)
        if not len(named):
            return
        times = rows.numbers("start_time")[named]
        groups = Groups(who[named])
        at, order = self.conversations.at(groups.keys), named[groups.order]
        before = self.conversations.values[at]
        cost = or_nothing(rows.numbers("cost_usd"))[order]
        run = np.cumsum(cost)
        spent = run - groups.spread(run[groups.starts] - cost[groups.starts]) + groups.spread(before[:, 1])
        asked = request[order].astype(float)
        new = (asked != _previous(asked, groups, before[:, 2])) | (asked < 0)
        run = np.cumsum(new)
        turns = run - groups.spread(run[groups.starts] - new[groups.starts]) + groups.spread(before[:, 0])
        last = groups.starts + groups.sizes - 1
        self.conversations.values[at] = np.stack([turns[last], spent[last], asked[last], times[groups.order][last]], 1)
        yield TURNS, _spread(len(rows), order, np.where(new, turns, np.nan))
        # Rounded, because the order in which sums are made depends on the batches.
        yield COST, _spread(len(rows), order, np.where(spent > 0, np.round(spent, 9), np.nan))
        yield GROWTH, self._growth(rows, who, named)

    def _growth(self, rows: Rows, who: Integers, named: Integers) -> Floats:
        operation, words = rows.codes("operation_type")
        kinds = np.array([_short(word) for word in words], np.int64)[operation]
        groups = Groups((who * _KINDS + kinds)[named])
        at, order = self.prompts.at(groups.keys), named[groups.order]
        prompt = rows.numbers("input_tokens")[order]
        earlier = _previous(prompt, groups, self.prompts.values[at, 0])
        last = groups.starts + groups.sizes - 1
        self.prompts.values[at] = np.stack([prompt[last], rows.numbers("start_time")[order][last]], 1)
        return _spread(len(rows), order, prompt - earlier)

    def close_day(self, now: float) -> None:
        """Forgets conversations that are over, and of too many those that were silent for longest."""
        for ledger in (self.conversations, self.prompts):
            heard = ledger.values[:, -1]
            least = now - OVER_S
            if len(heard) > MOST:
                least = max(least, float(np.sort(heard)[-MOST]))
            ledger.split(heard < least)


_KINDS = 1 << 16


def _short(word: str | None) -> int:
    """A word as a number below _KINDS."""
    return crc32((word or "").encode("utf-8", "replace")) % _KINDS


def _previous(values: Floats, groups: Groups, before: Floats) -> Floats:
    """The value before each in its group; of the first what was there before."""
    earlier = np.concatenate([values[:1], values[:-1]])
    earlier[groups.first] = before
    return earlier


def _spread(count: int, order: Integers, values: Floats) -> Floats:
    out: Floats = np.full(count, np.nan)
    out[order] = values
    return out
