"""Detectors: pure functions from numbers to numbers. They know no span, no metric and no word."""
