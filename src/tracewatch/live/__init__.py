"""Watching a project as it goes on: what came is read once, judged, told once, and remembered."""

from tracewatch.live.baselines import forget
from tracewatch.live.passing import Passed, Watcher

__all__ = ["Passed", "Watcher", "forget"]
