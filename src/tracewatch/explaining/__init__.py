"""Why something happened: a story told by detection, explained from the calls of its time and of a fair time before."""

from tracewatch.explaining.explain import explain
from tracewatch.explaining.story import Cause, Explanation, Story, story_of, with_why

__all__ = ["Cause", "Explanation", "Story", "explain", "story_of", "with_why"]
