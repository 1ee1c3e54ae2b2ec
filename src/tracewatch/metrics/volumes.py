"""Metrics of how much there is: calls, people, tokens and money by the hour and day, batch runs, silence, news."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracewatch.detectors.adaptive.streaks import COLUMN_OF
from tracewatch.detectors.spec import Floats
from tracewatch.metrics.base import Bad, Grain, Metric, distinct_per_step, is_word, or_nothing, per_step
from tracewatch.metrics.rows import Rows
from tracewatch.records import STEPS
from tracewatch.times import DAY_S, HOUR_S


def _sum(step_s: int, *names: str) -> Callable[[Rows], Floats]:
    return lambda rows: per_step(rows, step_s, sum((or_nothing(rows.numbers(n)) for n in names), np.zeros(len(rows))))


def _calls(step_s: int) -> Callable[[Rows], Floats]:
    """Calls of a model: steps around them are not counted."""
    return lambda rows: per_step(rows, step_s, 1.0 - is_word(rows, "operation_type", *STEPS))


def _distinct(name: str) -> Callable[[Rows], Floats]:
    return lambda rows: distinct_per_step(rows, HOUR_S, name)


def _volume(
    key: str,
    label: str,
    help: str,
    needs: tuple[str, ...],
    formula: str,
    measured: Callable[[Rows], Floats],
    *,
    grain: Grain = "hour",
    unit: str,
    bad: Bad = "either",
    told_as: str = "",
) -> Metric:
    return Metric(
        key=key, label=label, help=help, family="cost" if unit == "USD" else "volume", grain=grain, unit=unit, bad=bad,
        needs=("start_time", *needs), formula=formula, measured=measured, told_as=told_as,
    )  # fmt: skip


def _gaps(rows: Rows) -> Floats:
    return np.diff(np.sort(rows.numbers("start_time")))


def _runs(rows: Rows, name: str) -> Floats:
    """A column of the summary records of batch runs: one a run."""
    summary = is_word(rows, "model_provider", "system") * is_word(rows, "model_name", "batch")
    return np.where(summary > 0, rows.numbers(name), np.nan)


def _failed_runs(rows: Rows) -> Floats:
    well = _runs(rows, "start_time")
    return np.where(np.isfinite(well), 1 - is_word(rows, "status", "ok"), np.nan)


VOLUMES = (
    Metric(
        key="call_count",
        label="Calls",
        help="Calls of a kind, user or session within minutes or hours; also those that fail to come.",
        family="volume",
        grain="window",
        unit="calls",
        bad="either",
        needs=("start_time", "session_id", "user_id", "operation_type"),
        formula="calls, and sessions that start, by operation_type; calls by user_id and session_id",
        measured=_calls(HOUR_S),
    ),
    _volume("calls_per_hour", "Calls per hour", "Calls of a model that began.", ("operation_type",), "calls by hour",
            _calls(HOUR_S), unit="calls", told_as="call_count"),
    _volume("calls_per_day", "Calls per day", "Calls of a model that began on a day (UTC).", ("operation_type",),
            "calls by day", _calls(DAY_S), grain="day", unit="calls"),
    _volume("cost_per_hour", "Cost per hour", "What an hour's calls cost: more calls are told as call_count.",
            ("cost_usd",), "sum of cost_usd by hour",
            _sum(HOUR_S, "cost_usd"), unit="USD", bad="up", told_as="cost_usd"),
    _volume("cost_per_day", "Cost per day", "What a day's calls cost (UTC).", ("cost_usd",), "sum of cost_usd by day",
            _sum(DAY_S, "cost_usd"), grain="day", unit="USD", bad="up"),
    _volume("tokens_per_hour", "Tokens per hour", "Tokens of an hour: more calls are told as call_count.",
            ("input_tokens", "output_tokens"), "sum of input_tokens + output_tokens by hour",
            _sum(HOUR_S, "input_tokens", "output_tokens"), unit="tokens", told_as="input_tokens"),
    _volume("sessions_per_hour", "Sessions per hour", "Sessions with calls.", ("session_id",),
            "different session_id by hour", _distinct("session_id"), unit="sessions", told_as="call_count"),
    _volume("users_per_hour", "Users per hour", "Users with calls.", ("user_id",), "different user_id by hour",
            _distinct("user_id"), unit="users"),
    Metric(
        key="silence_s",
        label="Silence",
        help="Time since the last call of a kind or user: a stream of calls that stopped.",
        family="volume",
        grain="window",
        unit="s",
        bad="up",
        needs=("start_time", "operation_type", "user_id"),
        formula="now - start_time of the last call, against the calls expected since",
        measured=_gaps,
        told_as="call_count",
    ),
)  # fmt: skip

BATCHES = (
    Metric(
        key="batch_start",
        label="Batch run missing or late",
        help="A scheduled run that did not come, or came at another time than usual.",
        family="batch",
        grain="job",
        bad="either",
        needs=("start_time", "operation_type", "parent_span_id"),
        formula="when the first of a run's calls began, against the learned schedule of operation_type",
        told_as="call_count",
    ),
    Metric(
        key="batch_calls",
        label="Batch run thin or fat",
        help="Calls of a scheduled run, against those of the runs before.",
        family="batch",
        grain="job",
        unit="calls",
        bad="either",
        needs=("start_time", "operation_type", "parent_span_id"),
        formula="calls of a run",
        told_as="call_count",
    ),
    Metric(
        key="batch_duration_ms",
        label="Batch run slow",
        help="How long a run took, as its summary record says.",
        family="batch",
        grain="job",
        unit="ms",
        bad="up",
        needs=("model_provider", "model_name", "duration_ms"),
        formula="duration_ms of the records of model batch by provider system",
        measured=lambda rows: _runs(rows, "duration_ms"),
    ),
    Metric(
        key="batch_failure_rate",
        label="Batch runs failed",
        help="Runs whose summary record did not end ok.",
        family="batch",
        grain="job",
        unit="share",
        bad="up",
        needs=("model_provider", "model_name", "status", "start_time"),
        formula="status is not ok, of the records of model batch by provider system",
        measured=_failed_runs,
        shown="mean",
    ),
)


def _first_seen(key: str, label: str, help: str, column: str, told_as: str = "") -> Metric:
    return Metric(
        key=key,
        label=label,
        help=help,
        family="novelty",
        grain="window",
        bad="up",
        needs=(column,),
        formula=f"a {column} that no call had before",
        told_as=told_as,
    )


NEWS = (
    Metric(key="unreported_rate", label="Number gone", help="Calls without a number that their like used to report.",
           family="novelty", grain="window", bad="up", needs=COLUMN_OF[1:],
           formula="calls in a row without the number, against twice the most of two weeks", told_as="unreported.…"),
    _first_seen("first_seen_model", "New model", "A model that was not called before.", "model_name"),
    _first_seen("first_seen_provider", "New provider", "A provider that was not called before.", "model_provider",
                "first_seen_model"),
    _first_seen("first_seen_error_type", "New error", "An error that did not come before.", "error_type"),
    _first_seen("first_seen_version", "New version", "A version of the app not seen before: a cause.",
                "app_version"),
    _first_seen("first_seen_method", "New retrieval method", "A way to retrieve text not seen before: a cause.",
                "rag_retrieval_method"),
)  # fmt: skip
