"""The disk of a database file is not filled to the last byte: what is needed to make room again needs some itself."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tracewatch.errors import DiskShort
from tracewatch.stores.address import file_of

MB = 10**6
RESERVE_MB = 200  # a log of 128 MB, as large as one gets between two checkpoints, and what detection writes
SHARE = 0.05  # of a small disk: it is told as filling up from a tenth on, before anything is turned away
LOOK_S = 1.0  # a disk of 1 GB/s fills by as much in between as stays free many times over


@dataclass(slots=True)
class Disk:
    """The disk that holds a database, and how much of it stays free."""

    folder: str
    reserve: int
    """Bytes."""
    steady: Callable[[], float] = time.monotonic
    _free: int = 0
    _looked_at: float | None = field(default=None)

    @classmethod
    def of(cls, db: str, reserve_mb: int) -> Disk | None:
        """That of a database file, of which so many MB stay free (0: as many as are sensible); None for a server's."""
        path = file_of(db)
        if path is None:
            return None
        folder = os.path.dirname(os.path.abspath(path))
        usual = min(RESERVE_MB * MB, int(shutil.disk_usage(folder).total * SHARE))
        return cls(folder, reserve_mb * MB or usual)

    def check(self) -> None:
        """Raises DiskShort where less than the reserve is free, as of a second ago."""
        now = self.steady()
        if self._looked_at is None or now - self._looked_at >= LOOK_S:
            self._looked_at, self._free = now, shutil.disk_usage(self.folder).free
        if self._free < self.reserve:
            raise DiskShort(free=self._free // MB, reserve=self.reserve // MB)
