"""Tables that fit the window: where it is narrow a column goes or a text is shortened, and no number is ever torn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tracewatch.cli.output import Heading

GAP = 2  # blanks between columns
SHORT = 20  # a text column up to this wide is a name, a date or an id (a date has 19), and stays in one piece
WRAPPED = 32  # characters a line of a longer text has at least: four or five words
BAR_WIDTH = 32  # characters of a bar where there is room
LEAST_BAR = 8  # below this a bar tells nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of a scale from 0 to 1, as wide as there is room."""

    begin: float
    end: float
    style: str

    def drawn(self, width: int) -> Text:
        """The bar on a scale of so many characters; at least one of them is filled."""
        first = min(width - 1, round(self.begin * width))
        last = max(first + 1, min(width, round(self.end * width)))
        return Text(" " * first).append("█" * (last - first), self.style)

    def __rich__(self) -> Text:
        return self.drawn(BAR_WIDTH)


Cell = Text | Bar


class FittingTable(Table):
    """Rows under headings; lines have no trailing blanks, and notes may stand under a row."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        super().__init__()
        self.headings = tuple(headings)
        self._notes: dict[int, list[Text]] = {}
        for each in headings:
            self.add_column(each.name, justify="right" if each.right else "left")

    def add_note(self, text: Text) -> None:
        """Puts a text as wide as the table's window under the row added last."""
        self._notes.setdefault(self.row_count - 1, []).append(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[_cell(console, each) for each in column.cells] for column in self.columns]
        columns = [_Column.of(*each) for each in zip(range(len(cells)), self.headings, cells, strict=True)]
        shown = fit([each for each in columns if not each.left_out], options.max_width)
        for line in self._lines(console, shown, options.max_width):
            line.rstrip()
            yield from line.render(console)
            yield Segment.line()

    def _lines(self, console: Console, shown: Sequence[_Column], width: int) -> Iterator[Text]:
        yield Text()
        yield _joined([each.aligned(Text(each.heading.name, "bold")) for each in shown])
        yield Text("─" * _total(shown))
        for row in range(self.row_count):
            parts = [each.lines(console, row) for each in shown]
            for number in range(max(map(len, parts))):
                yield _joined(
                    [
                        each.aligned(lines[number] if number < len(lines) else Text())
                        for each, lines in zip(shown, parts, strict=True)
                    ]
                )
            for note in self._notes.get(row, ()):
                yield from _indented(console, note, width)
        yield Text()


@dataclass(slots=True, kw_only=True)
class _Column:
    """One column while its width is being found."""

    place: int
    heading: Heading
    cells: Sequence[Cell]
    width: int
    least: int
    wraps: bool
    rank: int

    @classmethod
    def of(cls, place: int, heading: Heading, cells: Sequence[Cell]) -> _Column:
        """The column at its natural width."""
        widths = (BAR_WIDTH if isinstance(each, Bar) else each.cell_len for each in cells)
        width = max(cell_len(heading.name), max(widths, default=0))
        wraps = heading.least is None and not heading.right and width > SHORT
        least = min(width, WRAPPED) if wraps else min(width, heading.least or width)
        rank = (0 if wraps else place) if heading.rank is None else heading.rank
        return cls(place=place, heading=heading, cells=cells, width=width, least=least, wraps=wraps, rank=rank)

    @property
    def left_out(self) -> bool:
        """Whether it is a column for what nothing here has."""
        return self.heading.optional and not any(isinstance(each, Bar) or each.plain for each in self.cells)

    def lines(self, console: Console, row: int) -> list[Text]:
        """The cell in that row, in the column's width."""
        cell = self.cells[row]
        if isinstance(cell, Bar):
            return [cell.drawn(self.width)]
        if cell.cell_len <= self.width:
            return [cell]
        if self.wraps:
            return list(cell.wrap(console, self.width))
        short = cell.copy()
        short.truncate(self.width, overflow="ellipsis")
        return [short]

    def aligned(self, text: Text) -> Text:
        """The text padded to the column's width."""
        blanks = " " * max(0, self.width - text.cell_len)
        return Text(blanks).append_text(text) if self.heading.right else text.copy().append(blanks)


def fit(columns: Sequence[_Column], width: int) -> list[_Column]:
    """The columns that have room, each with its width set: first the highest ranks go, then the widest texts shrink."""
    shown = list(columns)
    while _total(shown, least=True) > width and any(each.rank for each in shown):
        shown.remove(max(shown, key=lambda each: (each.rank, each.place)))
    while _total(shown) > width:
        able = [each for each in shown if each.width > each.least]
        able = able or [each for each in shown if each.wraps and each.width > SHORT]  # no letter is lost by wrapping
        if not able:
            break
        max(able, key=lambda each: each.width).width -= 1
    return shown


def _total(columns: Sequence[_Column], *, least: bool = False) -> int:
    return sum(each.least if least else each.width for each in columns) + GAP * (len(columns) - 1)


def _cell(console: Console, given: object) -> Cell:
    if isinstance(given, Bar | Text):
        return given
    assert isinstance(given, str), "a cell is a text or a bar"
    return console.render_str(given, highlight=False) if "[" in given or "\\" in given else Text(given)


def _joined(parts: Sequence[Text]) -> Text:
    return Text(" " * GAP).join(parts)


def _indented(console: Console, note: Text, width: int) -> Iterator[Text]:
    """The note in lines of that width, each as far in as the first."""
    inset = len(note.plain) - len(note.plain.lstrip())
    body = note[inset:]
    for line in body.wrap(console, max(SHORT, width - inset)):
        yield Text(" " * inset).append_text(line)
