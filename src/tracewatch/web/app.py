"""The application: its routers in one list, the gate before all of them, and the store they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import Response

from tracewatch import __version__
from tracewatch.errors import AccessRefused, StoreBusy, StoreUnreadable, TracewatchError
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import drawing, health, ingest, pages
from tracewatch.web.bodies import MIB, Room
from tracewatch.web.counters import Counters
from tracewatch.web.gate import Gate, refusal
from tracewatch.web.serving import Serving
from tracewatch.web.storing import Storing
from tracewatch.web.watching import Watching

ROUTERS: tuple[APIRouter, ...] = (health.router, ingest.router, *pages.ROUTERS)


def make_app(settings: Settings, *, open_without_keys: bool = False, detection: bool = False) -> FastAPI:
    """The server's application; its store is opened when it starts and closed when it ends.

    With `open_without_keys` anybody is let in as long as there is no key: for servers that only this machine reaches.
    With `detection` a process beside it prices, counts and judges what comes.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_store(settings.db, create=True, durability=settings.durability) as store:
            counters = Counters()
            storing = Storing(store, counters, content=settings.content == "allow")
            app.state.serving = Serving(
                store=store,
                settings=settings,
                counters=counters,
                room=Room(settings.queue_mb * MIB, counters),
                storing=storing,
                open_without_keys=open_without_keys,
            )
            storing.start()
            watching = Watching(settings.db, settings.project) if detection else None
            if watching:
                watching.start()
            try:
                yield
            finally:
                storing.stop()
                if watching:
                    watching.stop()

    app = FastAPI(
        title="tracewatch",
        version=__version__,
        lifespan=lifespan,
        middleware=[Middleware(Gate)],
        exception_handlers={AccessRefused: _refuse_access, TracewatchError: _refuse},
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


async def _refuse_access(_: Request, error: Exception) -> Response:
    assert isinstance(error, AccessRefused)
    return refusal(error, error.status)


async def _refuse(request: Request, error: Exception) -> Response:
    """An error of ours is one sentence."""
    assert isinstance(error, TracewatchError)
    status = 503 if isinstance(error, (StoreBusy, StoreUnreadable)) else 400
    return drawing.refused(request, error, status) if drawing.wants_page(request) else refusal(error, status)
