"""What rollups hold for every bucket of time and every slice: read off the columns of Span (standard library only)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tracewatch.errors import UnknownColumn
from tracewatch.records import STATUSES, Span, columns


@dataclass(frozen=True, slots=True)
class Measure:
    """One number, or one sketch, that is added up over calls; `of` is the column it comes from."""

    name: str
    kind: Literal["integer", "real", "sketch"]
    help: str
    of: str = ""


SLICES: tuple[str, ...] = tuple(each.name for each in columns(Span) if each.rolled == "slice")
"""The columns by whose values rollups are kept apart, besides `project`."""

KEYS = ("project", *SLICES)

ROLLED: tuple[str, ...] = tuple(each.name for each in columns(Span) if each.rolled in ("sum", "sketch"))
SKETCHED: tuple[str, ...] = tuple(each.name for each in columns(Span) if each.rolled == "sketch")


def _measures() -> Iterator[Measure]:
    yield Measure("calls", "integer", "Spans that began in the bucket.")
    for status in STATUSES:
        yield Measure(f"{status}_calls", "integer", f"Spans whose status is {status}.", status)
    yield Measure("retried_calls", "integer", "Spans whose client tried more than once.", "retry_count")
    yield Measure("unpriced_calls", "integer", "Spans with tokens whose cost is not known.", "cost_usd")
    yield Measure("priced_tokens", "integer", "Tokens of spans whose cost is known.", "cost_usd")
    yield Measure("unpriced_tokens", "integer", "Tokens of spans whose cost is not known.", "cost_usd")
    for name in ROLLED:
        yield Measure(f"{name}_count", "integer", f"Spans that have {name}.", name)
        yield Measure(f"{name}_sum", "real", f"Sum of {name}.", name)
    for name in SKETCHED:
        yield Measure(f"{name}_sketch", "sketch", f"Distribution of {name} (see sketch.py); null when empty.", name)


MEASURES: tuple[Measure, ...] = tuple(_measures())


def chosen_measures(names: Sequence[str] | None) -> Sequence[Measure]:
    """The measures of those names; all of them for None. Raises UnknownColumn."""
    known = {each.name: each for each in MEASURES}
    for name in names or ():
        if name not in known:
            raise UnknownColumn(table="rollups", name=name, columns=", ".join(known))
    return MEASURES if names is None else [known[name] for name in names]
