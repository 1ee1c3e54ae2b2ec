"""Pictures as numbers: where each line, band, mark and label stands; templates draw them as SVG and HTML.

Geometry is in a box of 1000 × 100 that stretches to any width, words are placed in per cent: so nothing needs script.
"""

from tracewatch.web.charts.axes import WIDE, Tick, ends_of, time_ticks
from tracewatch.web.charts.bands import Band, band
from tracewatch.web.charts.bridges import BridgeRow, bridge, rounded_together
from tracewatch.web.charts.series import Flag, Numbers, Range, Series
from tracewatch.web.charts.sparks import Spark, spark

__all__ = [
    "WIDE",
    "Band",
    "BridgeRow",
    "Flag",
    "Numbers",
    "Range",
    "Series",
    "Spark",
    "Tick",
    "band",
    "bridge",
    "ends_of",
    "rounded_together",
    "spark",
    "time_ticks",
]
