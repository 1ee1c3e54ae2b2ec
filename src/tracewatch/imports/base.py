"""What an import is made of: a source gives chunks of rows as they stand in the file; refused rows say why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["usage-db", "messages", "traces"]
KINDS: tuple[Kind, ...] = ("usage-db", "messages", "traces")

# Rows per chunk: Arrow's cost per call (~20 µs) vanishes in it, a chunk of 60 columns stays around 10 MB,
# and the transaction that stores it keeps other writers waiting well under a second.
CHUNK_ROWS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row that stays out: where it stands, why, and what it was."""

    number: int
    what: str
    value: str | None
    row: Any

    @property
    def reason(self) -> str:
        """The whole reason: what is wrong, and the value that is."""
        return self.what if self.value is None else f"{self.what}: {self.value!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows as columns named as in the file, the place of each, and the rows that could not even be read."""

    columns: Mapping[str, pa.Array]
    numbers: Sequence[int]
    refused: tuple[Refusal, ...] = ()
    done: int


class Source(ABC):
    """A file that has been recognised."""

    path: Path
    format: str
    table: str | None = None
    place: Literal["line", "row_number"] = "line"
    unit: Literal["bytes", "rows"] = "bytes"
    total: int
    names: tuple[str, ...]
    all_names: bool = True
    """Whether `names` are all the columns there are, not only those of the first rows."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """The rows, in the order of the file, in bounded memory. Raises ImportRefused where reading ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far an import has come. `stored` and `already_there` count what the store has committed."""

    done: int
    total: int
    unit: str
    stored: int
    already_there: int


Progress = Callable[[Step], None]


@dataclass(slots=True, kw_only=True)
class Imported:
    """What came of importing one file."""

    path: str
    kind: Kind
    format: str
    read: int = 0
    stored: int = 0
    already_there: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    rejects: str | None = None
    naive_times: int = 0
    unpriced: dict[str, int] = field(default_factory=dict)
    in_metadata: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    not_there: tuple[str, ...] = ()
    """Columns that were to be kept and never came."""
    projects: dict[str, int] = field(default_factory=dict)
    oldest: float | None = None
    newest: float | None = None

    @property
    def refused_rows(self) -> int:
        """How many rows were refused."""
        return sum(self.refused.values())
