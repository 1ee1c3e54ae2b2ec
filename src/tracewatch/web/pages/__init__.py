"""The routes of the screens: each asks `views` for what it shows, and draws it."""

from __future__ import annotations

from fastapi import APIRouter

from tracewatch.web import assets
from tracewatch.web.pages import (
    alerts,
    anomalies,
    cost,
    help,
    incidents,
    jobs,
    live,
    metrics,
    overview,
    people,
    rules,
    settings,
    signing,
    taught,
    trace,
    traces,
    verdicts,
)

ROUTERS: tuple[APIRouter, ...] = (
    *(assets.router, signing.router, live.router, overview.router, taught.router),
    *(incidents.router, anomalies.router, trace.router, traces.router, metrics.router),
    *(
        cost.router,
        jobs.router,
        alerts.router,
        rules.router,
        verdicts.router,
        people.router,
        settings.router,
        help.router,
    ),
)
"""The routers of all screens: a page joins them here. In the navigation it then stands by its path."""
