"""Writes the pages that are read off the code: fields, metrics, settings, commands, otlp-attributes and api.

    .venv/bin/python docs/generate.py

A test compares what is kept with what this gives.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tracewatch.alerts.checking import WRITTEN
from tracewatch.alerts.conditions import CONDITIONS, ENTRIES
from tracewatch.alerts.states import STATES
from tracewatch.channels.envelope import SCHEMA
from tracewatch.cli import COMMANDS, group
from tracewatch.metrics.base import Metric
from tracewatch.metrics.table import METRICS, judges_of
from tracewatch.otlp.content import CONTENT
from tracewatch.otlp.conventions import CONVENTIONS, MODEL_CALLS, OPERATIONS
from tracewatch.records import RECORDS, Column, Record, Span, columns
from tracewatch.remarks import WARNINGS
from tracewatch.settings import PREFIX, Settings
from tracewatch.web import make_app

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {
        "fields.md": fields(),
        "metrics.md": metrics(),
        "settings.md": settings(),
        "alert-rules.md": alert_rules(),
        "commands.md": commands(),
        "otlp-attributes.md": otlp_attributes(),
        "api.md": api(),
        "webhook.schema.json": json.dumps(SCHEMA, indent=2) + "\n",
    }


def fields() -> str:
    """Every record with its columns."""
    parts = [
        "# Fields",
        "What tracewatch keeps, record by record. Written by `docs/generate.py` from `tracewatch.records`.",
        "Times are UTC epoch seconds in the database and ISO 8601 in JSON. *Slice*: findings and filters can be broken "
        "down by it. *Watch*: detection can watch it.",
    ]
    parts += [_record(each) for each in RECORDS]
    return "\n\n".join(parts) + "\n"


def _record(record_type: type[Record]) -> str:
    summary = " ".join((record_type.__doc__ or "").split())
    head = f"## {record_type.__name__} (`{record_type.table}`)\n\n{summary}\n\n"
    rows = [_row(each) for each in columns(record_type)]
    return head + "| field | kind | what it is | also read as | use |\n|---|---|---|---|---|\n" + "\n".join(rows)


def _row(each: Column) -> str:
    kind = each.kind + (f", {each.unit}" if each.unit else "") + (", required" if each.required else "")
    help, names = _said(each), [f"`{name}`" for name in (*each.aliases, *each.otel)]
    marked = {"key": each.key, "slice": each.sliced, "watch": each.watched, "content": each.content}
    return f"| `{each.name}` | {kind} | {help} | {' '.join(names)} | {' '.join(k for k, v in marked.items() if v)} |"


def otlp_attributes() -> str:
    """Which attribute fills which column, by which convention, what is content, and the warnings."""
    filled = [f"| `{each.name}` | {_listed(each.otel)} |" for each in columns(Span) if each.otel]
    known = [
        f"| `{each.name}` | {each.what} | {_listed(each.scopes)} | {_listed(each.markers)} |" for each in CONVENTIONS
    ]
    words: dict[str, list[str]] = {}
    for said, meant in OPERATIONS.items():
        words.setdefault(meant, []).append(said)
    kinds = [
        f"| `{meant}` | {_listed(said)} | {'call' if meant in MODEL_CALLS else 'step'} |"
        for meant, said in words.items()
    ]
    dropped = [f"| {name} | {_listed(begins)} |" for name, begins in CONTENT.items()]
    warned = [f"| `{name}` | {meaning} |" for name, meaning in WARNINGS.items()]
    parts = [
        "# OTLP attributes",
        "How [OTLP](otlp.md) is read. Written by `docs/generate.py` from `tracewatch.records` and `tracewatch.otlp`.",
        "## Columns",
        "The first name of a span that has several counts. `tracewatch.<column>` stands before all of them.",
        "| field | attributes |\n|---|---|\n" + "\n".join(filled),
        "## Conventions",
        "Tried in this order, by the name of the scope, then by what the names of the span's attributes begin with.",
        "| convention | whose | scopes | attributes |\n|---|---|---|---|\n" + "\n".join(known),
        "## Kinds of work",
        "| `operation_type` | also called | is a |\n|---|---|---|\n" + "\n".join(kinds),
        "## Content",
        "Attributes whose names begin like these are dropped, whoever sends them, unless content is allowed.",
        "| convention | attributes |\n|---|---|\n" + "\n".join(dropped),
        "## Warnings",
        "Entries of `warning_flags` that tracewatch sets: on arrival, in the program that records, or in pricing.",
        "| warning | meaning |\n|---|---|\n" + "\n".join(warned),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(names: Iterable[str]) -> str:
    return " ".join(f"`{each}`" for each in names)


OF = {"share": "calls, each 1 or 0", "window": "a stretch of time"}
OWN = """## Your own

Numbers and truths that an app keeps in `metadata`, the dimensions of `response_quality_breakdown`, warning flags,
reasons to stop and the usual steps of a request are found by themselves, up to 24 names of each. Their alerts are
named like `metadata.pages`, `metadata_true.reused`, `quality.tone`, `warning_flags.low_context`,
`finish_reason.content_filter` and `missing_child.rerank`. A name that ends in `id`, `at`, `index` and the like, or a
number over 100,000,000, is left out. To say which direction is bad, or to have what was left out watched as well,
declare it by one line:

    TRACEWATCH_METRICS="metadata.judge_score:down, quality.faithfulness, cost_per_hour"

The adaptive engine judges it for each operation, every five minutes. A metric above that says *series, once declared*
is declared by its name; then its hours are judged, over all calls. After the colon stands the bad direction: `up`,
`down` or `either`. Without it, it is that of the table; down is bad of a quality, and either of anything else.
`tracewatch metrics` offers what it finds in your calls and does not watch. True and false count as 1 and 0.

`tracewatch detect` and `tracewatch backtest` judge what is declared when they run. When that changes, what was learned
is learned again from history."""


def metrics() -> str:
    """Everything that is watched, by family."""
    parts = [
        "# Metrics",
        "What tracewatch watches, one row each; `tracewatch metrics` shows where each stands. Written by "
        "`docs/generate.py` from `tracewatch.metrics.table`.",
        "*Bad*: the direction that is bad news. *One value per*: what a value belongs to. *Judged by*: *engine* is "
        "the adaptive engine (*as* the name its alerts have); a *type* is one of the ten z-score detections, with its "
        "threshold in standard deviations; a *rule* is one of the four rules; *series* is the mean or sum of an hour, "
        "judged by its own past (see decisions/0007) once you declare it (see Your own). What nobody judges is shown "
        "only.",
    ]
    for family in dict.fromkeys(each.family for each in METRICS):
        rows = [_metric(each) for each in METRICS if each.family == family]
        head = "| metric | what it is | unit | bad | one value per | how | judged by |\n|---|---|---|---|---|---|---|\n"
        parts.append(f"## {family.capitalize()}\n\n{head}" + "\n".join(rows))
    return "\n\n".join([*parts, OWN]) + "\n"


def _metric(each: Metric) -> str:
    help = f"{each.label}. {each.help}" + (f" One for each `{each.by}`." if each.by else "")
    values = (help, each.unit or "", each.bad, OF.get(each.grain, each.grain), f"`{each.formula}`", _judges(each))
    return f"| `{each.key}` | " + " | ".join(values) + " |"


def _judges(each: Metric) -> str:
    judges = judges_of(each)
    engine = "engine" if judges.engine == each.key else f"engine, as `{judges.engine}`"
    parts = [
        engine if judges.engine else "",
        f"type `{judges.type}` ({judges.threshold:g})" if judges.type else "",
        f"rule `{judges.rule}`" if judges.rule else "",
        "series, once declared" if judges.declarable else "",
        "tracewatch itself, by a fixed limit" if judges.itself else "",
    ]
    return "; ".join(part for part in parts if part)


def settings() -> str:
    """Every setting with its default."""
    lines = [
        "# Settings",
        "",
        "Set them in the environment. Written by `docs/generate.py` from `tracewatch.settings`.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for field in dataclasses.fields(Settings):
        choices = field.metadata["choices"]
        text = field.metadata["help"] + (f" One of: {', '.join(choices)}." if choices else "")
        lines.append(f"| `{PREFIX}{field.name.upper()}` | `{field.default}` | {text} |")
    return "\n".join(lines) + "\n"


def alert_rules() -> str:
    """Every entry of a rule, the conditions it may set, and its states."""
    rules = [f"| `{name}` | {_form(name, each)} | {_said(each)} |" for name, each in WRITTEN.items()]
    conditions = [
        f"| `{kind}` | {CONDITIONS[kind].__doc__} | {', '.join(f'`{name}`' for name in names)} |"
        for kind, names in ENTRIES.items()
    ]
    return "\n".join([
        "# Alert rules",
        "",
        "What may stand in a rule of `alerts.yaml` (see [alerts](alerts.md)). Written by `docs/generate.py` from the",
        "record `AlertRule`, which also says what the API takes.",
        "",
        "| entry | written as | what it says |",
        "|---|---|---|",
        *rules,
        "",
        "## Conditions",
        "",
        "| condition | what makes an incident | entries |",
        "|---|---|---|",
        *conditions,
        "",
        "## States",
        "",
        "Where a rule stands with an incident; of several the worst counts.",
        "",
        "| state | when |",
        "|---|---|",
        *(f"| `{name}` | {text} |" for name, text in STATES.items()),
        "",
    ])  # fmt: skip


def _form(name: str, each: Column) -> str:
    """How people write an entry."""
    if each.unit == "s":
        return "a time: `30m`, `24h`, `7d`"
    forms = {"text": "a text", "boolean": "`true` or `false`", "real": "a number", "list": "a list of texts"}
    return forms.get(each.kind, f"entries, see [alerts](alerts.md#{name.replace('_', '-')})")


def _said(each: Column) -> str:
    return each.help + (f" One of: {', '.join(each.choices)}." if each.choices else "")


def commands() -> str:
    """Every command's help."""
    parts = ["# Commands", "What `tracewatch COMMAND --help` says. Written by `docs/generate.py`."]
    context = click.Context(group, info_name="tracewatch", **group.context_settings)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        parts += _help(command, context, name)
    return "\n\n".join(parts) + "\n"


def _help(command: click.Command, parent: click.Context, name: str) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    parts = [f"## {context.command_path}", f"```text\n{text}\n```"]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            parts += [each.replace("## ", "### ", 1) for each in _help(found, context, child)]
    return parts


API = """# HTTP API

Everything that the screens show, as JSON. `GET /api/v1/openapi.json` is its schema, with every shape; this page is
written from it by `docs/generate.py`.

    curl -H "Authorization: Bearer $KEY" "http://127.0.0.1:4319/api/v1/traces?since=24h&status=error,timeout"

**Access.** A key as the [server](server.md#access) takes it. It opens its project, and where it is bound to one user
only that user's rows. `read` sees, `write` deals with findings and asks for a detection, `admin` changes the project.
Where no key is needed, `?project=` says which project is meant.

**Times** are ISO 8601 in UTC. `since=24h` (the default), `7d`, `90m` is how long the time is that is asked about,
`from` and `to` say where it begins and ends.

**Conditions.** Every [field](fields.md) is a parameter of the lists of calls and findings: `model_name=a,b`,
`status=!=ok`, `cost_usd=>0.05`, `user_id=` (empty). Encode `>` and `<` where your client does not.

**Pages.** A list answers `{"data": [...], "next": "..."}`, the newest first. Give `next` as `cursor` until it is
null: rows that arrive meanwhile neither repeat nor push out others.

**Errors** are one sentence: `{"error": "cannot read 'tomorow' as a time. …"}` with 400 (cannot be read), 401 (no
key), 403 (no right), 404 (none such, or not yours), 405, 422 (a parameter or the body is not of its type), 503 (the
database does not answer).

**Files.** `/api/v1/export` sends CSV, JSON Lines or Parquet as it reads, in bounded memory; `tracewatch export` does
the same, and `tracewatch import` reads it back.

**Events.** `/api/v1/events` is a stream ([server-sent
events](https://html.spec.whatwg.org/multipage/server-sent-events.html)) of `incident.opened`, `incident.changed`,
`incident.closed` and `anomaly`, each with the whole record, and `numbers`, those of today. A client that comes back
with `Last-Event-ID` (browsers do by themselves) is told what it missed, up to a day; then an event may come twice.
What happens within a second is told together. A comment comes every 15 seconds, so that proxies keep the connection."""


def api() -> str:
    """Every route of the API, by its noun."""
    described = make_app(Settings()).openapi()
    parts = [API]
    routes = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if operation.get("tags")
    ]
    for tag in dict.fromkeys(each[0] for each in routes):
        rows = [_route(*each[1:]) for each in routes if each[0] == tag]
        head = "| route | what it does | parameters |\n|---|---|---|\n"
        parts.append(f"## {tag[:1].upper()}{tag[1:]}\n\n{head}" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    help = " ".join(operation.get("description", "").split())
    names = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    fields = [name for name in names if name in _FIELDS]
    parts = [" ".join(f"`{name}`" for name in names if len(fields) <= FEW or name in ("limit", "cursor", *_TIMES))]
    parts += ["every field"] if len(fields) > FEW else []
    parts += ["a body (see the schema)"] if "requestBody" in operation else []
    return f"| `{method} {path}` | {help} | {', '.join(filter(None, parts))} |"


FEW = 10
_TIMES = ("since", "from", "to", "format", "what")
_FIELDS = {each.name for record in RECORDS for each in columns(record)}


def main() -> None:
    """Rewrites the pages."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
