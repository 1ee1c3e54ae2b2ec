"""The routes of the screens: each asks `views` for what it shows, and draws it."""

from __future__ import annotations

from fastapi import APIRouter

from tracewatch.web import assets
from tracewatch.web.pages import incidents, live, overview, signing, taught, trace, traces

ROUTERS: tuple[APIRouter, ...] = (
    *(assets.router, live.router, overview.router, taught.router, incidents.router, trace.router, traces.router),
    signing.router,
)
"""The routers of all screens: a page joins them here. In the navigation it then stands by its path."""
