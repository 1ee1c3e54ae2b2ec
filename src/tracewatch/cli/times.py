"""Times and durations as people type them and read them, for commands."""

from tracewatch.times import parse_duration, parse_time, show_time

__all__ = ["parse_duration", "parse_time", "show_time"]
