"""A message as an HTML mail: tables and inline styles, which is what mail programs read; nothing is loaded.

Inks and grounds are the reader's own, light or dark; a colour of ours stands only where it reads well on both.
"""

from __future__ import annotations

from html import escape

from tracewatch.channels.message import Course, Message
from tracewatch.channels.rendering import (
    COLOURS,
    MOST_COURSE,
    VERDICT_WORDS,
    Section,
    badge,
    colour,
    footer,
    levels,
    sections,
    when,
)

WIDTH, HEIGHT = 560, 44  # pixels: of the mail, of the small picture
USUAL = "#5583c4"
WORDS = {"digest": "See incidents", "summary": "See incidents", "test": "Open tracewatch"}
EDGE = "#8b8881"
BARE = 'cellspacing="0" cellpadding="0"'
FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif"
HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
    '<meta name="supported-color-schemes" content="light dark"><style>:root{color-scheme:light dark}</style>'
)


def html(message: Message) -> str:
    """The whole mail."""
    parts = (
        _badge(message),
        _title(message),
        _facts(message),
        _picture(message.course, COLOURS[message.severity]) if message.course else "",
        *map(_section, sections(message)),
        _button(message),
        _verdicts(message),
        f'<p style="margin:24px 0 0;padding:12px 0 0;border-top:1px solid {EDGE};font-size:12px">'
        f"{escape(footer(message))}</p>",
    )
    return (
        f"{HEAD}<title>{escape(message.title)}</title></head>"
        f'<body style="margin:0;padding:16px;{FONT};font-size:15px;line-height:1.45">'
        f'<table role="presentation" width="100%" {BARE} style="max-width:{WIDTH}px;margin:0 auto">'
        f'<tr><td style="word-break:break-word;overflow-wrap:anywhere">{"".join(parts)}</td></tr></table></body></html>'
    )


def _badge(message: Message) -> str:
    return (
        f'<p style="margin:0 0 12px"><span style="display:inline-block;padding:3px 10px;border-radius:4px;'
        f'background:{colour(message)};color:#ffffff;font-size:13px;font-weight:600">{escape(badge(message))}</span></p>'
    )


def _title(message: Message) -> str:
    moment = f'<p style="margin:0 0 16px;font-size:13px">{escape(when(message))}</p>' if when(message) else ""
    style = "margin:0 0 6px;font-size:19px;line-height:1.3;font-weight:600"
    return f'<h1 style="{style}">{escape(message.title)}</h1>{moment}'


def _facts(message: Message) -> str:
    rows = "".join(
        '<tr><th scope="row" align="left" valign="top" style="padding:4px 16px 4px 0;font-weight:400">'
        f'{escape(label)}</th><td valign="top" style="padding:4px 0;font-weight:600">{escape(text)}</td></tr>'
        for label, text in message.facts
    )
    return f'<table {BARE} style="margin:0 0 16px;font-size:14px">{rows}</table>' if rows else ""


def _picture(course: Course, mark: str) -> str:
    """Columns of coloured cells: the one chart that every mail program draws."""
    found = levels(course)
    first = len(course.values) - len(found)
    onset = None if course.onset is None else course.onset - first
    cells = "".join(
        f'<td valign="bottom" width="{100 // MOST_COURSE}%" style="padding:0 1px 0 0;height:{HEIGHT}px">'
        f"{_bar(level, mark if onset is not None and number >= onset else USUAL)}</td>"
        for number, level in enumerate(found)
    )
    return (
        f'<table role="img" aria-label="{escape(_course_in_words(course))}" width="100%" {BARE}'
        f' style="margin:0 0 16px;table-layout:fixed;border-bottom:1px solid {EDGE}"><tr>{cells}</tr></table>'
    )


def _bar(level: float | None, ink: str) -> str:
    if level is None:
        return ""
    tall = max(round(level * HEIGHT), 2)
    return f'<div style="height:{tall}px;background:{ink};font-size:0;line-height:0">&nbsp;</div>'


def _course_in_words(course: Course) -> str:
    steps = len(course.values)
    since = "" if course.onset is None else f", unusual in the last {steps - course.onset} of them"
    return f"The metric in {steps} steps of time{since}"


def _section(section: Section) -> str:
    lines = "".join(f'<li style="margin:0 0 4px">{escape(line)}</li>' for line in section.lines)
    kind = "ol" if section.numbered else "ul"
    single = len(section.lines) == 1 and not section.numbered
    told = (
        f'<p style="margin:0">{escape(section.lines[0])}</p>'
        if single
        else f'<{kind} style="margin:0;padding:0 0 0 22px">{lines}</{kind}>'
    )
    return f'<h2 style="margin:16px 0 4px;font-size:14px;font-weight:600">{escape(section.heading)}</h2>{told}'


def _button(message: Message) -> str:
    if not message.link:
        return ""
    return (
        f'<p style="margin:20px 0 0"><a href="{escape(message.link)}" style="display:inline-block;padding:11px 18px;'
        'border-radius:6px;background:#2a56c6;color:#ffffff;font-weight:600;text-decoration:none">'
        f"{WORDS.get(message.event, 'Open incident')}</a></p>"
    )


def _verdicts(message: Message) -> str:
    if not message.verdict_links:
        return ""
    links = " &nbsp; ".join(
        f'<a href="{escape(link)}" style="display:inline-block;padding:8px 0;color:inherit;text-decoration:underline">'
        f"{VERDICT_WORDS[each]}</a>"
        for each, link in message.verdict_links.items()
    )
    return f'<p style="margin:16px 0 0;font-size:14px">Was this worth telling? &nbsp; {links}</p>'
