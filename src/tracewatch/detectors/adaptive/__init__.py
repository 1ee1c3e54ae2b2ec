"""Adaptive detection: rows of LLM calls in, alerts out."""

from .alerts import Alert
from .engine import Engine
from .settings import Settings

__all__ = ["Alert", "Engine", "Settings"]
