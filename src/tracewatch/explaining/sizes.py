"""How the tokens of calls changed: something added to all of them, the long ones longer, or answers cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch import words
from tracewatch.explaining import saying
from tracewatch.explaining.calls import Calls
from tracewatch.explaining.story import Cause
from tracewatch.slices import Floats

FEWEST = 10  # calls on either side; a tenth of fewer is no call
LOW, HIGH = 0.1, 0.9  # quantiles for the shortest and the longest
FIXED = 0.6  # of the mean's move that the shortest made too: then the same was added to all
WIDE = 1.5  # times as long the longest are as the shortest: else a factor and a sum cannot be told apart
ALIKE = 0.75  # of the growth of the shortest, for their size, is that of the longest at least, when it is a factor
LEAST = 0.05  # of the usual size; less is no change
PILED, USUALLY = 0.15, 0.05  # shares of answers of exactly one length, now and usually, when a limit cuts them


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How the sizes of one kind of tokens are spread, usually and since the onset."""

    column: str
    before: tuple[float, float, float]
    """A tenth of the calls are smaller, the mean, a tenth are larger."""
    after: tuple[float, float, float]
    piled_at: float | None
    """The length at which answers pile up, where a limit seems to cut them."""
    piled: float
    """The share of answers of that length."""

    @property
    def change(self) -> float:
        """Tokens of a call more than usual, in the mean."""
        return self.after[1] - self.before[1]

    @property
    def by_a_factor(self) -> bool:
        """Whether short and long ones grew by the same factor, rather than by the same number of tokens.

        >>> Size(column="", before=(100, 200, 300), after=(200, 400, 600), piled_at=None, piled=0).by_a_factor
        True
        >>> Size(column="", before=(100, 200, 300), after=(300, 400, 500), piled_at=None, piled=0).by_a_factor
        False
        """
        (small, _, large), (now_small, _, now_large) = self.before, self.after
        if min(small, now_small - small, now_large - large) <= 0 or large < WIDE * small:
            return False
        grew = (now_large - large) / (now_small - small)  # 1 when the same was added to both
        return bool(ALIKE * (large / small) <= grew <= large / small / ALIKE)


def sizes(calls: Calls) -> list[Size]:
    """The sizes of prompts and answers of the slice that changed, the larger change first; those that move it first."""
    found = [each for name in ("input_tokens", "output_tokens") if (each := _size(calls, name)) is not None]
    return sorted(found, key=lambda each: -abs(each.change))


def document(found: list[Size]) -> list[dict[str, Any]]:
    """The sizes, ready for JSON."""
    return [
        {
            "column": each.column,
            "before": dict(zip(("low", "mean", "high"), each.before, strict=True)),
            "after": dict(zip(("low", "mean", "high"), each.after, strict=True)),
            "piled_at": each.piled_at,
            "piled_share": each.piled,
        }
        for each in found
    ]


def causes(calls: Calls, found: list[Size]) -> Iterator[Cause]:
    """How they changed, a sentence each, of those that moved in the story's direction."""
    up = calls.story.direction == "up"
    whole = sum(abs(each.change) for each in found)
    for each in found:
        if (each.change > 0) == up and whole > 0:
            yield _cause(each, abs(each.change) / whole, _compared_with(calls, each))


def _compared_with(calls: Calls, each: Size) -> str:
    """What the sizes before are called: usual, unless detection expected others of these very calls.

    It may know that such calls have grown for days; what was before is then no more what is usual of them.
    """
    story = calls.story
    if story.metric != each.column or story.lower is None or story.upper is None:
        return "usually"
    return "usually" if story.lower <= each.before[1] <= story.upper else "earlier"


def _cause(each: Size, share: float, usually: str) -> Cause:
    noun = saying.noun(each.column)
    before, after = (words.amount(side[1], "tokens") for side in (each.before, each.after))
    if each.piled_at is not None:
        limit = words.amount(each.piled_at, "tokens")
        text = f"{saying.share(each.piled)} of the answers have exactly {limit}: a limit cuts them"
        return Cause(kind="cut_answers", weight=0.9, text=text)
    if each.column == "output_tokens":
        return Cause(kind="longer_answers", weight=0.6 * share, text=f"answers have {after}, {usually} {before}")
    shortest = each.after[0] - each.before[0]
    small = f"a tenth have under {each.after[0]:,.0f} tokens, {usually} under {each.before[0]:,.0f}"
    if each.change > 0 and each.by_a_factor:
        text = f"every {noun} has become about {words.times(each.after[1] / each.before[1])} as long: {small}"
        return Cause(kind="tokens", weight=0.7 * share, text=text)
    if each.change > 0 and shortest >= FIXED * each.change:
        text = f"about {words.amount(each.change, 'tokens')} were added to every {noun}: {small}"
        return Cause(kind="prompt", weight=0.7 * share, text=text)
    if each.change > 0:
        long, were = (f"{side[2]:,.0f}" for side in (each.after, each.before))
        text = f"the long {noun}s grew most: a tenth have over {long} tokens, {usually} {were}"
        return Cause(kind="context", weight=0.6 * share, text=text)
    return Cause(kind="tokens", weight=0.6 * share, text=f"{noun}s have {after}, {usually} {before}")


def _size(calls: Calls, name: str) -> Size | None:
    values = calls.numbers(name)
    known = np.isfinite(values) & (values > 0)
    now, then = values[calls.now & known], values[calls.then & known]
    if min(len(now), len(then)) < FEWEST:
        return None
    before, after = _spread(then), _spread(now)
    if abs(after[1] - before[1]) < LEAST * before[1]:
        return None
    length, share = _commonest(now)
    piled = name == "output_tokens" and share >= PILED and float((then == length).mean()) <= USUALLY
    return Size(column=name, before=before, after=after, piled_at=length if piled else None, piled=share)


def _spread(values: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(values, (LOW, HIGH)).tolist()
    return low, float(values.mean()), high


def _commonest(values: Floats) -> tuple[float, float]:
    """The value that comes most often, and its share."""
    found, counts = np.unique(values, return_counts=True)
    place = int(np.argmax(counts))
    return float(found[place]), float(counts[place] / len(values))
