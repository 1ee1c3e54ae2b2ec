"""The kinds of array that pass between the rooms of this package."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Rows = dict[str, NDArray[Any]]  # equally long columns
