"""Which values the stored calls have, so that a question that finds nothing can be answered with one that does."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracewatch.records import Span

if TYPE_CHECKING:
    from tracewatch.stores.base import Store

MOST_NAMED = 8  # values named in one sentence; more are not read
CENTURY_S = 36_525 * 86_400  # one bucket for all there is


def values_of(store: Store, project: str, *names: str) -> list[tuple[str | None, ...]]:
    """The values that these columns have together in the rollups, those of the most calls first."""
    from tracewatch.stores.base import Filter

    ours = [Filter("project", "=", (project,))]
    reach = store.extent(Span, ours)
    if reach is None:
        return []
    table = store.rollup(reach[0], reach[1] + 1, step_s=CENTURY_S, by=names, where=ours, measures=["calls"])
    rows = sorted(table.to_pylist(), key=lambda each: -each["calls"])
    return list(dict.fromkeys(tuple(each[name] for name in names) for each in rows))


def instead(word: str, given: str, known: Sequence[str]) -> str:
    """What to ask for instead of a value that no call has: the same in other letters, a similar one, or any.

    >>> instead("provider", "OpenAI", ["openai", "cohere"])
    "No call has the provider 'OpenAI'; did you mean 'openai'?"
    >>> instead("provider", "acme", ["openai", "cohere"])
    "No call has the provider 'acme'; there are: openai, cohere."
    """
    folded = {each.casefold(): each for each in reversed(known)}
    close = difflib.get_close_matches(given.casefold(), folded, n=1)
    if close:
        return f"No call has the {word} '{given}'; did you mean '{folded[close[0]]}'?"
    if not known:
        return f"No call has a {word}."
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"No call has the {word} '{given}'; there are: {', '.join(known[:MOST_NAMED])}{more}."
