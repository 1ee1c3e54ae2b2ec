"""Metrics of tracewatch itself: what it loses, how late it is, and what it cannot price. Judged by fixed limits."""

from __future__ import annotations

from tracewatch.metrics.base import Metric


def _own(key: str, label: str, help: str, needs: tuple[str, ...], formula: str, unit: str) -> Metric:
    return Metric(
        key=key, label=label, help=help, family="health", grain="window", unit=unit, bad="up", needs=needs,
        formula=formula,
    )  # fmt: skip


HEALTH = (
    _own(
        "ingest_loss_rate", "Rows lost", "Rows that programs had to drop, as they tell themselves, of 15 minutes.",
        ("warning_flags", "metadata", "service_name"), "dropped / (dropped + kept)", "share",
    ),
    _own(
        "orphan_rate", "Spans without their parent", "Spans of ten minutes whose parent did not come: rows are lost.",
        ("trace_id", "span_id", "parent_span_id", "service_name"), "spans whose parent is missing / with a parent",
        "share",
    ),
    _own(
        "late_rate", "Rows too late", "Rows of an hour that came so late that they could not be judged any more.",
        ("start_time", "end_time"), "ended over an hour before what was judged / rows", "share",
    ),
    _own(
        "detection_lag_s", "Detection behind", "How far the judged moment lies behind the one that could be judged.",
        ("start_time",), "now - grace - judged", "s",
    ),
    _own(
        "ingest_queue_share", "Ingest queue", "How full the queue of requests that wait to be stored is.",
        (), "bytes that wait / TRACEWATCH_QUEUE_MB", "share",
    ),
    _own(
        "ingest_refused_rate", "Requests refused", "Spans and requests that the server could not take, of 15 minutes.",
        (), "refused for lack of room or by the database / all", "share",
    ),
    _own(
        "failed_deliveries", "Alerts not delivered", "Messages of an hour that could not be delivered, by channel.",
        (), "messages given up, or tried three times and more", "messages",
    ),
    _own(
        "unpriced_share", "Calls without a price", "Calls of a day of paid models of which the price is not known.",
        ("cost_status", "model_name"), "calls with tokens and without a cost / calls", "share",
    ),
    _own(
        "disk_used_share", "Disk used", "How full the disk is that holds the database: when it is, nothing is stored.",
        (), "used / (used + free)", "share",
    ),
    _own(
        "price_table_age_days", "Age of the price table", "How long ago the newest price in the price table was set.",
        (), "now - newest price", "days",
    ),
)  # fmt: skip
