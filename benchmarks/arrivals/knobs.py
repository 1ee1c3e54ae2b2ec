"""What faults can turn."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .streams import Floats

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class Knobs:
    """What faults turn, a number for each row; what is not turned stays at its default."""

    rows: int
    turned: dict[str, Floats] = field(default_factory=dict)
    categories: NDArray[np.object_] = field(init=False)  # of the errors that a fault brings

    def __post_init__(self) -> None:
        self.categories = np.full(self.rows, None, object)

    def at(self, name: str, default: float) -> Floats:
        """The setting of each row."""
        return self.turned.get(name, np.full(self.rows, default))

    def put(self, name: str, default: float, mask: Mask, value: float | Floats) -> None:
        """Turn a knob for some rows."""
        now = self.at(name, default).copy()
        now[mask] = value
        self.turned[name] = now
