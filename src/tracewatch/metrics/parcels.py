"""Calls on their way to another process: what is absent in all of them is not sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracewatch.detectors.adaptive.intake import WORDS
from tracewatch.detectors.adaptive.names import Words
from tracewatch.metrics.rows import is_text, present


@dataclass(frozen=True, slots=True)
class Parcel:
    """Columns of some calls."""

    names: tuple[str, ...]
    rows: int
    columns: Mapping[str, Any]
    """Those of the names that have anything in them."""

    def calls(self) -> dict[str, Any]:
        """All of the columns."""
        return {name: self.columns[name] if name in self.columns else _nothing(name, self.rows) for name in self.names}


def parcel(calls: Mapping[str, Any], names: Iterable[str]) -> Parcel:
    """Those columns of calls."""
    some = {name: calls[name] for name in names}
    return Parcel(
        names=tuple(some),
        rows=len(some["start_time"]),
        columns={name: values for name, values in some.items() if _has_any(values)},
    )


def _has_any(values: Any) -> bool:
    if isinstance(values, Words):
        return bool(values.words)
    return bool((present(values) if values.dtype == object else ~np.isnan(values)).any())


def _nothing(name: str, rows: int) -> Any:
    if name in WORDS:
        return Words(np.full(rows, -1), [])
    return np.full(rows, None, object) if is_text(name) else np.full(rows, np.nan)
