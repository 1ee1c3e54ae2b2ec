"""`alerts.yaml`: the channels and rules of a project in one file, read with the line of every mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from tracewatch.alerts.checking import read_rule
from tracewatch.alerts.mistakes import LONGEST_WORD, Mistake, Path, entries
from tracewatch.alerts.reading import Reader
from tracewatch.errors import BadRules, NotFound
from tracewatch.records import AlertChannel, AlertRule

LARGEST = 1_000_000  # bytes; a thousand rules have 200 kB
MOST_RULES = 500
MOST_CHANNELS = 500
MOST_MISTAKES = 100
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # twelve times as fast, where it was built
_TOP = ("channels", "rules")
_OF_CHANNEL = ("url", "enabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a file says there should be."""

    channels: tuple[AlertChannel, ...]
    rules: tuple[AlertRule, ...]


def read_file(path: str, *, project: str, now: float, who: str) -> Written:
    """The channels and rules of a file. Raises BadRules with one sentence for each mistake, or NotFound."""
    file = FilePath(path)
    try:
        text = file.read_bytes()[: LARGEST + 1].decode()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise BadRules(why=f"{path} cannot be read ({error.strerror})") from error
        folder = str(file.absolute().parent)
        raise NotFound(what="file", given=file.name, where=folder, hint="Name a file like alerts.yaml") from error
    except UnicodeDecodeError as error:
        raise BadRules(why=f"{path} is not UTF-8 text") from error
    if len(text) > LARGEST:
        raise BadRules(why=f"{path} is larger than {LARGEST:,} bytes")
    return read_text(text, project=project, now=now, who=who, name=file.name)


def read_text(text: str, *, project: str, now: float, who: str, name: str = "alerts.yaml") -> Written:
    """The same of the text of a file. Raises BadRules."""
    try:
        loader = _LOADER(text)
        node = loader.get_single_node()
        values = None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise BadRules(why=f"{name}{line} this is no YAML: {problem}") from error
    except ValueError as error:  # a day that no calendar has, a number of thousands of digits
        raise BadRules(why=f"{name} has a value that is none: {error}") from error
    except RecursionError as error:
        raise BadRules(why=f"{name} is nested too deeply") from error
    written, mistakes = _read(values, project, now, who)
    if mistakes:
        lines = _Lines(node)
        told = sorted({(lines.of(each.path), _told(each, values)) for each in mistakes[:MOST_MISTAKES]})
        raise BadRules(why="\n".join(f"{name} line {line}: {why}" for line, why in told))
    return written


def _read(values: object, project: str, now: float, who: str) -> tuple[Written, list[Mistake]]:
    its, mistakes = entries({} if values is None else values, _TOP, (), "the file")
    channels, wrong = _channels(its.get("channels"), project, now, who)
    mistakes += wrong
    rules: list[AlertRule] = []
    listed = its.get("rules")
    if not isinstance(listed, list) and listed is not None:
        mistakes.append(Mistake(("rules",), "rules is a list: begin each rule with - name: its name"))
        listed = None
    known = [each.name for each in channels] if not wrong else None
    for place, each in enumerate((listed or [])[:MOST_RULES]):
        if len(mistakes) >= MOST_MISTAKES:
            break
        rule, wrong = read_rule(each, project=project, now=now, who=who, path=("rules", place), known=known)
        mistakes += wrong
        if rule is not None and any(other.name == rule.name for other in rules):
            mistakes.append(Mistake(("rules", place, "name"), f"there is a rule '{rule.name}' above: name one anew"))
        elif rule is not None:
            rules.append(rule)
    if len(listed or []) > MOST_RULES:
        mistakes.append(Mistake(("rules",), f"there are {len(listed or []):,} rules, and {MOST_RULES} are the most"))
    return Written(channels=tuple(channels), rules=tuple(rules)), mistakes


def _channels(given: object, project: str, now: float, who: str) -> tuple[list[AlertChannel], list[Mistake]]:
    if given is None:
        return [], []
    if not isinstance(given, dict):
        return [], [Mistake(("channels",), "channels have names: write each as name: address")]
    if len(given) > MOST_CHANNELS:
        return [], [Mistake(("channels",), f"there are {len(given):,} channels, and {MOST_CHANNELS} are the most")]
    reader, read = Reader(), list[AlertChannel]()
    for name, value in given.items():
        path = ("channels", str(name))
        its = {"url": value} if isinstance(value, str) else value
        if not str(name).isprintable():
            reader.wrong(path, "a channel has a name in one line, without control characters")
        some, wrong = entries(its, _OF_CHANNEL, path, "a channel")
        reader.mistakes += wrong
        if "url" not in some:
            if not wrong:
                reader.wrong(path, "a channel needs a url, such as ${SLACK_WEBHOOK_URL} or https://…")
            continue
        url = reader.text(some["url"], (*path, "url"))
        enabled = reader.truth(some.get("enabled", True), (*path, "enabled"))
        if url is not None and enabled is not None:
            read.append(
                AlertChannel(project=project, name=str(name), url=url, enabled=enabled, changed_at=now, changed_by=who)
            )
    return read, reader.mistakes


def _told(mistake: Mistake, values: Any) -> str:
    """A mistake with the name of the rule it is in."""
    if mistake.path[:1] != ("rules",) or len(mistake.path) < 2:
        return mistake.why
    rule = values["rules"][mistake.path[1]]
    name = rule.get("name") if isinstance(rule, dict) else None
    return f"rule '{str(name)[:LONGEST_WORD]}': {mistake.why}" if isinstance(name, str) and name else mistake.why


class _Lines:
    """In which line of a YAML text something stands."""

    def __init__(self, node: yaml.Node | None) -> None:
        self.node = node

    def of(self, path: Path) -> int:
        """The line of what a path leads to, or of the last there is on the way."""
        node, line = self.node, 1
        for step in path:
            found = self._step(node, step)
            if found is None:
                break
            line, node = found
        return line

    @staticmethod
    def _step(node: yaml.Node | None, step: str | int) -> tuple[int, yaml.Node] | None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    return key.start_mark.line + 1, value
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark.line + 1, node.value[step]
        return None


def as_text(channels: Sequence[AlertChannel], rules: Sequence[Mapping[str, Any]]) -> str:
    """The text of a file that says the same."""
    listed = {each.name: each.url if each.enabled else {"url": each.url, "enabled": False} for each in channels}
    return yaml.safe_dump({"channels": listed, "rules": list(rules)}, sort_keys=False, allow_unicode=True, width=100)
