"""When people call: activity by minute, from local hours, weekdays, lunch and the clocks of their country."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .streams import Floats

ZONES = {
    "de": "Europe/Berlin",
    "us": "America/New_York",
    "jp": "Asia/Tokyo",
    "br": "America/Sao_Paulo",
    "in": "Asia/Kolkata",
}
# Local hour -> activity, and the factor of Saturday and Sunday.
SHAPES = {
    "office": ([0, 6, 8, 9, 11.5, 12.3, 13.5, 16.5, 18, 20, 24],
               [0.03, 0.03, 0.4, 1, 1, 0.45, 0.95, 0.9, 0.3, 0.1, 0.03], 0.1),
    "evening": ([0, 2, 6, 9, 12, 17, 20, 22.5, 24], [0.4, 0.1, 0.08, 0.4, 0.55, 0.6, 1, 0.95, 0.4], 1.25),
    "service": ([0, 6, 8, 12, 17, 21, 24], [0.35, 0.4, 0.85, 1, 0.95, 0.6, 0.35], 0.85),
    "flat": ([0, 24], [1, 1], 0.95),
}  # fmt: skip
MINUTES = 1440


def local_times(start: pd.Timestamp, days: int, country: str) -> pd.DatetimeIndex:
    """Local wall time of each minute."""
    minutes = pd.date_range(start, periods=days * MINUTES, freq="min", tz="UTC")
    return minutes.tz_convert(ZONES[country]).tz_localize(None)


def activity(start: pd.Timestamp, days: int, country: str, shape: str) -> Floats:
    """Activity of each minute, one on the average of the days."""
    local = local_times(start, days, country)
    hours, heights, weekend = SHAPES[shape]
    level = np.interp(local.hour + local.minute / 60, hours, heights)
    level = level * np.where(local.day_of_week >= 5, weekend, 1.0)
    return np.asarray(level / level.mean())
