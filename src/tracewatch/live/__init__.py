"""Watching a project as it goes on: what came is read once, judged, told once, and remembered."""

from tracewatch.live.baselines import forget
from tracewatch.live.going import Teller, keep_going
from tracewatch.live.leasing import Tenure, current_lease, this_process
from tracewatch.live.passing import Passed, Watcher

__all__ = ["Passed", "Teller", "Tenure", "Watcher", "current_lease", "forget", "keep_going", "this_process"]
