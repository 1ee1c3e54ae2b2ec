"""The application: its routers in one list, the gate before all of them, and the store they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request
from starlette.middleware import Middleware
from starlette.responses import Response

from tracewatch import __version__
from tracewatch.errors import AccessRefused, TracewatchError
from tracewatch.settings import Settings
from tracewatch.stores import open_store
from tracewatch.web import health
from tracewatch.web.gate import Gate, refusal
from tracewatch.web.serving import Serving

ROUTERS: tuple[APIRouter, ...] = (health.router,)


def make_app(settings: Settings, *, open_without_keys: bool = False) -> FastAPI:
    """The server's application; its store is opened when it starts and closed when it ends.

    With `open_without_keys` anybody is let in as long as there is no key: for servers that only this machine reaches.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_store(settings.db, create=True, durability=settings.durability) as store:
            app.state.serving = Serving(store=store, settings=settings, open_without_keys=open_without_keys)
            yield

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


async def _refuse(_: Request, error: Exception) -> Response:
    """An error of ours is one sentence."""
    assert isinstance(error, TracewatchError)
    return refusal(error, 400)
