"""The application: its routers in one list, the gate before all of them, and the store they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from tracewatch import __version__
from tracewatch.receiving import Workers
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import api, health, ingest, pages, prometheus
from tracewatch.web.admitting import Projects
from tracewatch.web.bodies import MIB, Room
from tracewatch.web.counters import Counters
from tracewatch.web.events import Events
from tracewatch.web.gate import Gate
from tracewatch.web.guarding import Guard
from tracewatch.web.refusing import HANDLERS
from tracewatch.web.reporting import Reporting
from tracewatch.web.serving import Serving
from tracewatch.web.sparing import Disk
from tracewatch.web.storing import Storing
from tracewatch.web.watching import Watching

ROUTERS: tuple[APIRouter, ...] = (health.router, ingest.router, prometheus.router, *api.ROUTERS, *pages.ROUTERS)


def make_app(settings: Settings, *, open_without_keys: bool = False, detection: bool = False) -> FastAPI:
    """The server's application; its store is opened when it starts and closed when it ends.

    With `open_without_keys` anybody is let in as long as there is no key: for servers that only this machine reaches.
    With `detection` a process beside it prices, counts and judges what comes.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_store(settings.db, create=True, durability=settings.durability) as store:
            counters = Counters()
            content = settings.content == "allow"
            workers = Workers(settings.db, content=content)
            projects = Projects(store, most=settings.max_projects, always=settings.project)
            storing = Storing(store, counters, projects, content=content, workers=workers)
            app.state.serving = Serving(
                store=store,
                settings=settings,
                counters=counters,
                room=Room(settings.queue_mb * MIB, counters, Disk.of(settings.db, settings.disk_reserve_mb)),
                storing=storing,
                events=Events(store, lambda: _clock(app)),
                open_without_keys=open_without_keys,
            )
            storing.start()
            reporting = Reporting(store, counters, app.state.serving.room)
            reporting.start()
            watching = Watching(settings) if detection else None
            if watching:
                watching.start()
            try:
                yield
            finally:
                app.state.serving.events.close()
                reporting.stop()
                storing.stop()
                if watching:
                    watching.stop()

    app = FastAPI(
        title="tracewatch",
        version=__version__,
        lifespan=lifespan,
        middleware=[Middleware(Guard), Middleware(Gate)],
        exception_handlers={**HANDLERS},
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


def _clock(app: FastAPI) -> float:
    serving: Serving = app.state.serving
    return serving.clock()
