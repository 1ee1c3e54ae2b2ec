"""What a server starts beside itself to decode bodies: python -m tracewatch.receiving CONTENT

Which database it is stands in its environment. Messages in and out are those of `workers`: the parts of a Request in,
rows and reasons out; what refused the body and with which words; or None for a body that raised anything else, which
the server meets again. It ends with its standard input.
"""

from __future__ import annotations

import logging
import marshal
import signal
import sys
from typing import Any

from tracewatch import settings
from tracewatch.errors import TracewatchError
from tracewatch.receiving.decoding import Decoder, Request
from tracewatch.receiving.workers import REFUSALS, keep_what_is_there, receive, send
from tracewatch.stores import open_store


def main(content: str) -> None:
    """Decodes until nobody holds the other end of standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C comes to both; the server tells when to stop
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    with open_store(settings.load().db) as store:
        decoder = Decoder(store, content=content == "content")
        keep_what_is_there()
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()
        while True:
            try:
                message = receive(sys.stdin.buffer)
            except EOFError:
                return
            send(sys.stdout.buffer, marshal.dumps(_answer(decoder, message)))


def _answer(decoder: Decoder, message: bytes) -> Any:
    body, json, project, or_project, user_id = marshal.loads(message)  # noqa: S302 - of our own process
    request = Request(body=body, json=json, project=project, or_project=or_project, user_id=user_id)
    try:
        decoded = decoder.decode(request)
    except tuple(REFUSALS.values()) as error:
        return type(error).__name__, error.given
    except Exception:  # of any other kind: the server comes upon it itself when it decodes the body, and answers for it
        return None
    return decoded.rows, dict(decoded.reasons)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except TracewatchError as error:
        sys.exit(f"tracewatch: {error}")
    except BrokenPipeError:  # the server has gone
        sys.exit(0)
