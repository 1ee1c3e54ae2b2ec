"""One trace on screen: its spans as a tree beside their time, equal ones folded, errors in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from tracewatch.cli.output import Heading, number, plain_table, safe
from tracewatch.cli.times import show_time
from tracewatch.records import Span
from tracewatch.remarks import remarks_on
from tracewatch.trees import parents_of, tree_of

if TYPE_CHECKING:
    from rich.table import Table

STATUS_STYLES = {"ok": "green", "error": "red", "timeout": "red", "fallback": "yellow"}
SHORT_ID = 12  # characters of an id on screen; a prefix that is unique opens the trace
MOST_ROWS = 200  # four screens: beyond them equal spans are folded, and what is left over is counted
FOLDED_FROM = 3  # two equal spans are as short as the line that would stand for them
MOST_INDENTS = 12  # levels that move a name to the right; deeper ones stand beneath each other
MOST_ERRORS = 3  # different errors told of one folded row
MOST_REMARKS = 6  # as many as one span has at most in practice

_HEADINGS = (
    Heading(name="span", rank=0, least=16),
    Heading(name="model", rank=5, least=12, optional=True),
    Heading(name="in", right=True, rank=6, optional=True),
    Heading(name="cached", right=True, rank=8, optional=True),
    Heading(name="out", right=True, rank=7, optional=True),
    Heading(name="cost", right=True, rank=3, optional=True),
    Heading(name="cost is", rank=10, optional=True),
    Heading(name="first token", right=True, rank=9, optional=True),
    Heading(name="latency", right=True, rank=1, optional=True),
    Heading(name="", rank=4, least=8),  # a shorter bar tells nothing
    Heading(name="status", rank=2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the waterfall: a span, or several that are equal."""

    depth: int
    spans: tuple[Span, ...]
    """The spans it stands for, without what is below them."""
    below: tuple[Span, ...] = ()
    """What a folded row hides below its spans."""

    @property
    def failed(self) -> list[Span]:
        """Those that did not end ok."""
        return [each for each in (*self.spans, *self.below) if each.status != "ok" or each.error_message]

    @property
    def name(self) -> str:
        """What it is called, with how many there are."""
        count, below = len(self.spans), len(self.below)
        name = _name(self.spans[0]) + (f" × {count:,}" if count > 1 else "")
        return name + (f" and {below:,} below" if below else "")


def head(spans: Sequence[Span]) -> str:
    """Which trace it is and whose: one line."""
    said = {
        "user": "user_id",
        "conversation": "conversation_id",
        "session": "session_id",
        "service": "service_name",
        "environment": "environment",
    }
    parts = [f"trace [bold]{safe(spans[0].trace_id)}[/]"]
    for word, name in said.items():
        values = list(dict.fromkeys(getattr(span, name) for span in spans if getattr(span, name)))
        more = f" and {len(values) - 1} more" if len(values) > 1 else ""
        parts += [f"{word} {safe(values[0])}{more}"] if values else []
    return " · ".join(parts)


def totals(spans: Sequence[Span]) -> str:
    """When it was, how long it took, what it cost and how it ended: one line."""
    begin = min(span.start_time for span in spans)
    took_ms = (max(map(_end, spans)) - begin) * 1000
    costs = [span.cost_usd for span in spans if span.cost_usd is not None]
    unpriced = sum(span.cost_status == "unpriced" for span in spans)
    failed = sum(span.status != "ok" for span in spans)
    parts = [
        f"{show_time(begin)} UTC",
        f"{len(spans):,} span{'s' if len(spans) != 1 else ''}",
        number(took_ms, "ms") if any(map(_has_duration, spans)) else "no duration",
        number(sum(costs), "USD") if costs else "no cost known",
    ]
    parts += [f"{unpriced:,} without a price"] if unpriced else []
    parts += [f"{failed:,} not ok"] if failed else []
    return " · ".join(parts)


def rows_of(spans: Sequence[Span], *, everything: bool = False) -> tuple[list[Row], int]:
    """The lines of the waterfall, and how many were left out.

    Up to MOST_ROWS spans stand as they are. Of more, equal siblings are folded; of what is still too much the first
    MOST_ROWS are shown, and as many of the failed ones after them. With `everything`, every span has its line.
    """
    ordered = in_tree_order(spans)
    if everything or len(ordered) <= MOST_ROWS:
        return [Row(depth=depth, spans=(span,)) for depth, span in ordered], 0
    rows = list(folded(ordered))
    failed = [each for each in rows[MOST_ROWS:] if each.failed][:MOST_ROWS]
    return [*rows[:MOST_ROWS], *failed], max(0, len(rows) - MOST_ROWS - len(failed))


def waterfall(spans: Sequence[Span], rows: Sequence[Row]) -> Table:
    """The rows as a table, what went wrong under each that failed."""
    from rich.text import Text

    from tracewatch.cli.tables import Bar

    begin = min(span.start_time for span in spans)
    length_s = max(map(_end, spans)) - begin
    table = plain_table(_HEADINGS)
    for row in rows:
        indent = "  " * min(row.depth, MOST_INDENTS)
        starts, ends = min(each.start_time for each in row.spans), max(map(_end, row.spans))
        bar = Bar(
            begin=(starts - begin) / length_s if length_s > 0 else 0.0,
            end=(ends - begin) / length_s if length_s > 0 else 1.0,
            style=STATUS_STYLES["error" if row.failed and len(row.spans) > 1 else row.spans[0].status],
        )
        cells = [safe(row.spans[0].model_name), *_numbers(row.spans)]
        table.add_row(indent + safe(row.name), *cells, bar if any(map(_has_duration, spans)) else "", _status(row))
        for text in (*_errors(row), *_remarks(row)):
            table.add_note(Text(f"{indent}  {text}", "dim"))
    return table


def in_tree_order(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Each span with its depth, parents before children, siblings by start."""
    tree = tree_of(
        [span.span_id for span in spans], [span.parent_span_id for span in spans], [span.start_time for span in spans]
    )
    return [(depth, spans[number]) for depth, number in zip(tree.depths, tree.numbers, strict=True)]


def folded(ordered: Sequence[tuple[int, Span]]) -> Iterator[Row]:
    """Rows in tree order; siblings equal in name, model and all that is below them share one."""
    parents, ends = parents_of([depth for depth, _ in ordered])
    shapes = _shapes(ordered, parents)
    groups: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(zip(parents, shapes, strict=True)):
        groups.setdefault(key, []).append(place)
    place = 0
    while place < len(ordered):
        depth, span = ordered[place]
        equal = groups[parents[place], shapes[place]]
        if len(equal) < FOLDED_FROM:
            yield Row(depth=depth, spans=(span,))
            place += 1
            continue
        if equal[0] == place:
            below = tuple(each for first in equal for _, each in ordered[first + 1 : ends[first]])
            yield Row(depth=depth, spans=tuple(ordered[each][1] for each in equal), below=below)
        place = ends[place]


def _shapes(ordered: Sequence[tuple[int, Span]], parents: Sequence[int]) -> list[int]:
    """A number for each place; the same for spans with the same name, model and kinds of children, all the way down."""
    numbers: dict[tuple[str, str | None, frozenset[int]], int] = {}
    below: list[set[int]] = [set() for _ in ordered]
    shapes = [0] * len(ordered)
    for place in range(len(ordered) - 1, -1, -1):
        span = ordered[place][1]
        key = (_name(span), span.model_name, frozenset(below[place]))
        shapes[place] = numbers.setdefault(key, len(numbers))
        if parents[place] >= 0:
            below[parents[place]].add(shapes[place])
    return shapes


def cost_of(span: Span) -> str:
    """What it cost, or that nobody knows."""
    return "no price" if span.cost_status == "unpriced" else number(span.cost_usd, "USD")


def _numbers(spans: Sequence[Span]) -> list[str]:
    """The cells from `in` to `latency`: sums and medians over the spans."""
    typical = "median " if len(spans) > 1 else ""
    statuses = {each.cost_status for each in spans if each.cost_usd is not None} - {"exact", None}
    cost = number(_over(sum, spans, "cost_usd"), "USD") or cost_of(spans[0])
    first_token, latency = (number(_over(median, spans, name), "ms") for name in ("ttft_ms", "duration_ms"))
    return [
        number(_over(sum, spans, "input_tokens")),
        number(_over(sum, spans, "cache_read_input_tokens")),
        number(_over(sum, spans, "output_tokens")),
        cost,
        ", ".join(sorted(each for each in statuses if each)),
        first_token and typical + first_token,
        latency and typical + latency,
    ]


def _over(summed_up: Callable[[list[float]], float], spans: Sequence[Span], name: str) -> float | None:
    values = [getattr(each, name) for each in spans if getattr(each, name) is not None]
    return summed_up(values) if values else None


def _status(row: Row) -> str:
    if len(row.spans) == 1 and not row.below:
        status = row.spans[0].status
        return f"[{STATUS_STYLES[status]}]{status}[/]"
    failed = len(row.failed)
    return f"[red]{failed:,} error{'s' if failed != 1 else ''}[/]" if failed else "[green]ok[/]"


def _errors(row: Row) -> Iterator[str]:
    """What went wrong, each different error once."""
    told = list(dict.fromkeys(filter(None, map(error_of, row.failed))))
    yield from told[:MOST_ERRORS]
    if len(told) > MOST_ERRORS:
        yield f"and {len(told) - MOST_ERRORS:,} other errors"


def _remarks(row: Row) -> Iterator[str]:
    """What is to be known about the data, each different remark once; folded rows say how many have it."""
    told = Counter(one_line(each) for span in (*row.spans, *row.below) for each in remarks_on(span))
    many = len(row.spans) + len(row.below) > 1
    for text, count in told.most_common(MOST_REMARKS):
        yield f"{count:,} × {text}" if many else text
    if len(told) > MOST_REMARKS:
        yield f"and {len(told) - MOST_REMARKS:,} other remarks"


def error_of(span: Span) -> str:
    """Category, type and message of what went wrong, on one line; empty where nothing is known of it."""
    kind = " · ".join(dict.fromkeys(each for each in (span.error_category, span.error_type) if each))
    text = ": ".join(each for each in (kind, span.error_message) if each)
    return one_line(text)


def one_line(text: str) -> str:
    """A text on one line, without anything that steers a terminal."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _name(span: Span) -> str:
    return span.span_name or span.usage_type or span.operation_type or span.span_id[:SHORT_ID]


def _has_duration(span: Span) -> bool:
    return span.duration_ms is not None or span.end_time is not None


def _end(span: Span) -> float:
    if span.duration_ms is None and span.end_time is not None:
        return max(span.start_time, span.end_time)
    return span.start_time + (span.duration_ms or 0.0) / 1000
