"""Adaptive detection: rows of LLM calls in, alerts out."""

from .alerts import Alert
from .engine import Engine
from .settings import Settings
from .stories import Ending, Return

__all__ = ["Alert", "Ending", "Engine", "Return", "Settings"]
