"""A table of somebody else's, read where it is as it grows; nothing is written to it."""

from tracewatch.following.bringing import Follower, follower_of
from tracewatch.following.mapping import ENTRIES, Mapped, read_mapping

__all__ = ["ENTRIES", "Follower", "Mapped", "follower_of", "read_mapping"]
