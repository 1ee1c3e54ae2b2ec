"""What a second process of a command loads before it is asked for anything."""

import sys

from tracewatch.cli import WithoutPandas

sys.meta_path.insert(0, WithoutPandas())

import tracewatch.judge  # noqa: E402, F401 - Arrow comes with it, and looks for pandas
