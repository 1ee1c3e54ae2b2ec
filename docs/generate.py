"""Writes the pages that are read off the code: fields.md, metrics.md, settings.md, commands.md, otlp-attributes.md.

    .venv/bin/python docs/generate.py

A test compares what is kept with what this gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import click

from tracewatch.cli import COMMANDS, group
from tracewatch.metrics.base import Metric
from tracewatch.metrics.table import METRICS, judges_of
from tracewatch.otlp.content import CONTENT
from tracewatch.otlp.conventions import CONVENTIONS, MODEL_CALLS, OPERATIONS
from tracewatch.otlp.usage import WARNINGS
from tracewatch.records import RECORDS, Column, Record, Span, columns
from tracewatch.settings import PREFIX, Settings

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {
        "fields.md": fields(),
        "metrics.md": metrics(),
        "settings.md": settings(),
        "commands.md": commands(),
        "otlp-attributes.md": otlp_attributes(),
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
    help = each.help + (f" One of: {', '.join(each.choices)}." if each.choices else "")
    names = [f"`{name}`" for name in (*each.aliases, *each.otel)]
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
        "Entries of `warning_flags` that are set on arrival.",
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


def main() -> None:
    """Rewrites the pages."""
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
