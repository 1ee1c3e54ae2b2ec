"""The HTTP API: one file for each noun, everything under `/api`."""

from __future__ import annotations

from fastapi import APIRouter

from tracewatch.web.api import (
    about,
    admin,
    alerts,
    anomalies,
    cost,
    detection,
    events,
    export,
    groups,
    incidents,
    jobs,
    keys,
    lessons,
    metrics,
    prices,
    projects,
    stats,
    traces,
)

ROUTERS: tuple[APIRouter, ...] = tuple(
    each.router
    for each in (
        *(traces, incidents, anomalies, lessons, metrics, stats, groups, cost, jobs, alerts, export, events),
        *(projects, keys, prices, detection, about, admin),
    )
)
"""The routers of the API: a noun joins them here."""
