"""What a project says about prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tracewatch.records.base import Record, Time, column


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOverride(Record):
    """A price the project set itself, for every model whose name matches, between two dates."""

    table: ClassVar[str] = "price_overrides"
    noun: ClassVar[str] = "price"
    newest_by: ClassVar[str] = "starts_at"

    project: str = column("The project (tenant) it belongs to.", default="default", key=True)
    pattern: str = column("A regular expression that the whole model name must match.", key=True)
    starts_at: Time = column("The price holds from here on.", default=0.0, key=True, label="From")
    ends_at: Time | None = column("The price holds until here; empty is for good.", default=None, label="Until")
    model_provider: str | None = column("Only for this provider; empty is any.", default=None, label="Provider")
    input_per_million: float = column("Fresh input tokens.", label="Input", unit="USD per million tokens")
    output_per_million: float = column("Output tokens.", label="Output", unit="USD per million tokens")
    cache_read_per_million: float | None = column(
        "Input tokens read from cache; empty is the input price.",
        default=None,
        label="Cache read",
        unit="USD per million tokens",
    )
    cache_write_per_million: float | None = column(
        "Input tokens written to cache; empty is the input price.",
        default=None,
        label="Cache write",
        unit="USD per million tokens",
    )
