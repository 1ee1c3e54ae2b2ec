"""How long texts of a row may be, and which names of metadata mean text of people or of models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tracewatch.records.base import columns
from tracewatch.records.span import CONTENT_ENTRIES, Span

LONGEST_TEXT = 256
"""Characters of an id or a label."""
LONGEST_MESSAGE = 500
"""Characters of an error message."""
LONGEST_ENTRY = 1_000
"""Characters of one text in metadata."""
LARGEST_METADATA = 32_768
"""Characters of all texts and names in the metadata of a row."""
MOST_TEXTS = 64
"""Entries of a list of texts."""
LONGEST_CONTENT = 1_000_000
"""Characters of a text of a prompt or an answer, where those are kept."""
TOO_LONG = "too_long"
"""The entry of `warning_flags` of a row one of whose texts was cut."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONTENT_WORDS = _words(
    """answer answers argument arguments args body choices completion completions content contents conversation
    description document documents html input inputs instruction instructions message messages output outputs prompt
    prompts query question result results statement text thinking transcript value values snippet stacktrace traceback
    headers authorization password secret cookie"""
)
"""A part of a name like these means text of people or of models, or a secret."""

# Too vague to take what a program of ours says by that name for text.
_VAGUE = _words("value values")

# After such a word, a name is of something about a text: prompt_version, message_id, result_count.
_ABOUT = _words(
    """id ids version name names hash count number index length size type kind language lang locale score rating
    template tokens ms s url source format status model category tag tags"""
)
_CERTAIN = CONTENT_WORDS - _VAGUE
_PARTS = re.compile(r"[._\-\s]+|(?<=[a-z])(?=[A-Z])")
_LIMITS = {
    each.name: LONGEST_CONTENT if each.content else LONGEST_MESSAGE if each.name == "error_message" else LONGEST_TEXT
    for each in columns(Span)
    if each.kind == "text"
}
_LISTS = tuple(each.name for each in columns(Span) if each.kind == "list")


def means_content(name: str) -> bool:
    """Whether a name is one of text of people or of models.

    >>> means_content("prompt"), means_content("userPrompt"), means_content("prompt_version"), means_content("tenant")
    (True, True, False, False)
    """
    parts = [each.lower() for each in _PARTS.split(name) if each]
    return name in CONTENT_ENTRIES or (bool(parts) and parts[-1] not in _ABOUT and not _CERTAIN.isdisjoint(parts))


def without_content(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The entries, also within others, that are no text of people or of models, and the names of those left out.

    Numbers and truths are kept under any name.

    >>> without_content({"prompt": "Who am I?", "answer": 42, "app": {"question": "Why?", "tenant": "a"}})
    ({'answer': 42, 'app': {'tenant': 'a'}}, ['prompt', 'question'])
    """
    kept: dict[str, Any] = {}
    left: list[str] = []
    for name, value in metadata.items():
        if _may_hold_text(value) and means_content(str(name)):
            left.append(str(name))
        elif isinstance(value, Mapping):
            kept[name], within = without_content(value)
            left += within
        else:
            kept[name] = value
    return kept, left


def _may_hold_text(value: Any) -> bool:
    return not (value is None or isinstance(value, (bool, int, float)))


def bound(values: dict[str, Any]) -> None:
    """Cuts what is too long in the columns of a row, in place, and says so in its `warning_flags`."""
    cut = False
    for name, limit in _LIMITS.items():
        text = values.get(name)
        if isinstance(text, str) and len(text) > limit:
            values[name], cut = text[:limit], True
    for name in _LISTS:
        texts = values.get(name)
        if texts and (len(texts) > MOST_TEXTS or any(len(each) > LONGEST_TEXT for each in texts)):
            values[name], cut = tuple(each[:LONGEST_TEXT] for each in texts[:MOST_TEXTS]), True
    metadata = values.get("metadata")
    if metadata:
        room = _Room()
        values["metadata"] = room.within(metadata)
        cut = cut or room.is_cut
    if cut:
        flags: Sequence[str] = values.get("warning_flags") or ()
        values["warning_flags"] = tuple(dict.fromkeys((*flags, TOO_LONG)))


class _Room:
    """What there is room for in the metadata of a row."""

    def __init__(self) -> None:
        self.left = LARGEST_METADATA
        self.is_cut = False

    def within(self, value: Any, limit: int = LONGEST_ENTRY) -> Any:
        """The value, its texts cut to their limits; what there is no room for is left out."""
        if isinstance(value, str):
            return self._text(value, limit)
        if isinstance(value, Mapping):
            found = {}
            for name, each in value.items():
                if self.left <= 0:
                    self.is_cut = True
                    break
                allowed = LONGEST_CONTENT if name in CONTENT_ENTRIES else limit
                kept_name = self._text(str(name), LONGEST_TEXT)
                found[kept_name] = self.within(each, allowed)
            return found
        if isinstance(value, (list, tuple)):
            kept = []
            for each in value:
                if self.left <= 0:
                    self.is_cut = True
                    break
                kept.append(self.within(each, limit))
            return kept
        self.left -= 1
        return value

    def _text(self, text: str, limit: int) -> str:
        if limit >= LONGEST_CONTENT:  # allowed content has room of its own
            self.is_cut = self.is_cut or len(text) > limit
            return text[:limit]
        kept = text[: min(limit, max(self.left, 0))]
        self.left -= len(kept) + 1
        self.is_cut = self.is_cut or len(kept) < len(text)
        return kept
