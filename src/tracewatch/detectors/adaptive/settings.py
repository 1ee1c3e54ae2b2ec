"""What an operator may choose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of alarm and lengths of memory."""

    warmup_days: float = 7.0  # no alerts before a week is known
    z: float = 5.5  # of a window's mean or rate: one false in months over some thousand correlated tests a tick
    good: float = 2.5  # times z for moves in the good direction (faster, cheaper): seldom an incident
    remember_days: int = 14  # of rows for the baselines
    rows_a_day: int = 110  # remembered per segment; 80 cost two points on the benchmark
    extra: tuple[str, ...] = ()  # columns of one's own numbers, such as "metadata.pages" or "quality.tone"
