"""What a program has recorded, and programs to record it."""

import os
import textwrap

from tracewatch.records import Span
from tracewatch.stores import open_store


class Recorded:
    """What a file holds, read as the commands and pages read it."""

    def __init__(self, path):
        self.path = str(path)

    def rows(self, **where):
        """All spans of the file that have these values, oldest first."""
        if not os.path.exists(self.path):
            return []
        with open_store(self.path) as store:
            found = store.page(Span, [], limit=100_000).records
        met = [each for each in found if all(getattr(each, name) == value for name, value in where.items())]
        return sorted(met, key=lambda each: each.start_time)

    def row(self, **where):
        """The one span that has these values."""
        (found,) = self.rows(**where)
        return found


def script(code):
    """Source text of a program, without the indentation that it has in a test."""
    return textwrap.dedent(code)
