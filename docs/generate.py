"""Writes the pages that are read off the code: fields.md, settings.md and commands.md.

    .venv/bin/python docs/generate.py

A test compares what is kept with what this gives.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from tracewatch.cli import COMMANDS, group
from tracewatch.records import RECORDS, Column, Record, columns
from tracewatch.settings import PREFIX, Settings

HERE = Path(__file__).resolve().parent


def pages() -> dict[str, str]:
    """File name -> text of each generated page."""
    return {"fields.md": fields(), "settings.md": settings(), "commands.md": commands()}


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
