"""What a server starts beside itself: python -m tracewatch.live, with the settings in its environment.

It goes on until its standard input ends, which it does even when the server is killed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from tracewatch import settings
from tracewatch.errors import TracewatchError
from tracewatch.live.going import keep_going
from tracewatch.live.leasing import this_process
from tracewatch.live.priority import step_back

NICE = 19  # ingest comes first


def main() -> None:
    """Watches until nobody holds the other end of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C comes to both; the server tells when to stop
    hurried = step_back(NICE)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    given, stop = settings.load(), threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(stop,), daemon=True).start()
    try:
        holder, hurry = this_process("tracewatch serve"), hurried.run if hurried else None
        keep_going(given.db, given.project, stop, holder=holder, hurry=hurry)
    except TracewatchError as error:
        sys.exit(f"tracewatch: {error}")


def _wait_for_the_end(stop: threading.Event) -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock Python wants when it ends for another reason
        pass
    stop.set()


if __name__ == "__main__":
    main()
