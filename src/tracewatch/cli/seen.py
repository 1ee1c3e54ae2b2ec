"""Which values the stored calls have, so that a question that finds nothing can be answered with one that does."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracewatch.cli.output import visible
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


def elsewhere(store: Store, project: str) -> str:
    """Where the calls are when a project has none: in which other ones. Empty when it has some, or nobody has."""
    from tracewatch.live.retaining import projects_of

    others = [each for each in projects_of(store) if each != project]
    if not others or values_of(store, project, "model_provider"):
        return ""
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    named = ", ".join(map(visible, others[:MOST_NAMED]))
    return f"There are calls in {'another project' if len(others) == 1 else 'other projects'}: {named}{more}. " + (
        f"Look there with: --project {shlex.quote(visible(others[0]))}"
    )


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
