"""The docs say what the code does: generated pages are current, what is named exists, and what exists is named."""

import importlib.util
import re
import shlex
from collections import Counter
from pathlib import Path

import click
import pytest

from tracewatch.backtest import DETECTORS
from tracewatch.cli import group
from tracewatch.records import KINDS, SEVERITIES, STATES, STEPS

ROOT = Path(__file__).resolve().parent.parent
GENERATED = (
    "alert-rules.md",
    "fields.md",
    "metrics.md",
    "settings.md",
    "commands.md",
    "otlp-attributes.md",
    "api.md",
    "webhook.schema.json",
)
PAGES = [
    *ROOT.glob("*.md"),
    *(page for page in (ROOT / "docs").rglob("*.md") if page.name not in GENERATED),
]
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```\w*\n(.*?)^```|^( {4}[^\n]*)$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^ *(?:\$ )?(?:TRACEWATCH_\w+=\S+ )?tracewatch (\S.*)$", re.MULTILINE)
QUOTED = re.compile(r"`tracewatch ([^`]+)`")
OPTION = re.compile(r"`(?!pip |python )[^`\n]*?(--[a-z][a-z-]*)[^`\n]*`")  # of ours, not of another program
EXPLAINED = re.compile(r" {3,}.*| +#.*| +\|\|.*")  # what stands behind a command in a block


def _generated():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def _text(page):
    return page.read_text(encoding="utf-8")


def _anchors(page):
    titles = re.findall(r"^#+ (.+)$", _text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _commands(page):
    """The words of each command that the page shows, in a block or in a sentence."""
    blocks = "\n".join(fenced or indented for fenced, indented in CODE.findall(_text(page)))
    for command in COMMAND.findall(blocks) + QUOTED.findall(_text(page)):
        yield shlex.split(EXPLAINED.sub("", command))


def _resolved(words):
    """The command that these words call, and the options that it knows."""
    context = click.Context(group)
    command, rest = group, list(words)
    while rest and isinstance(command, click.Group) and (found := command.get_command(context, rest[0])):
        command, rest = found, rest[1:]
    return command, {option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_pages_are_current(name):
    kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert kept == _generated()[name], f"docs/{name} is out of date; run: .venv/bin/python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(_text(page)):
        if target.startswith(("https://", "http://")):
            continue
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there), (target, anchor)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_named_exist(page):
    for words in _commands(page):
        command, options = _resolved(words)
        if not words[0].startswith("-"):
            assert command is not group, words
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert given <= options | {"--help", "--version"}, words


def _all_options(command):
    context = click.Context(command)
    yield from (option for each in command.get_params(context) for option in (*each.opts, *each.secondary_opts))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _all_options(command.get_command(context, name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_are_named_exist(page):
    assert set(OPTION.findall(_text(page))) <= set(_all_options(group))


def test_every_command_is_told_of():
    told = " ".join(map(_text, PAGES))
    named = group.list_commands(click.Context(group))
    assert [name for name in named if not re.search(rf"tracewatch {name}\b", told)] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("detection.md", KINDS),
        ("incidents.md", STATES),
        ("incidents.md", SEVERITIES),
        ("backtest.md", tuple(DETECTORS)),
    ],
)
def test_words_of_a_finding_are_explained(page, names):
    text = _text(ROOT / "docs" / page)
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_decisions_have_numbers_of_their_own():
    numbers = Counter(page.name.split("-")[0] for page in (ROOT / "docs" / "decisions").glob("*.md"))
    assert sorted(numbers) == [f"{number:04}" for number in range(1, len(numbers) + 1)]
    assert max(numbers.values()) == 1


def test_what_is_no_call_is_told():
    text = (ROOT / "docs/capture.md").read_text(encoding="utf-8")
    told = re.search(r"A row is a call\s+unless its `operation_type` is one of these:(.*?)\. So", text, re.DOTALL)[1]
    assert set(re.findall(r"`(\w+)` ?", told)) - {"trace", "span", "observe"} == set(STEPS)
