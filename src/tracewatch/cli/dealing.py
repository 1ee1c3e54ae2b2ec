"""What people do about findings and incidents from the command line, and what that taught."""

from __future__ import annotations

import getpass
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from tracewatch.cli.kept import SHORT_ID, Kept, find
from tracewatch.cli.output import (
    Heading,
    format_option,
    open_db,
    plain_table,
    safe,
    say,
    show_rows,
    store_options,
    to_type,
)
from tracewatch.cli.suggesting import OneOf
from tracewatch.cli.times import parse_time, show_time
from tracewatch.errors import NotFound
from tracewatch.records import Anomaly, Incident, Lesson, as_dict
from tracewatch.times import parse_duration

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.stores.base import Store
    from tracewatch.teaching import Worth

NOUNS: dict[type[Any], str] = {Anomaly: "finding", Incident: "incident"}
RESOLVED = ("fixed", "went-away", "other")
DISMISSED = ("too-small", "too-short", "wrong-metric", "noise", "expected", "expected-once")
MORNING = 9  # o'clock: when "tomorrow" begins
_NOTE = click.option("--note", "text", help="What is worth knowing about it.")
_WHO = click.option("--who", help="Who does it. [default: the user of this machine]")
_IDS = click.argument("ids", nargs=-1, required=True, metavar="ID…")
_DONE = {
    "acknowledge": "acknowledged",
    "resolve": "resolved",
    "dismiss": "dismissed",
    "snooze": "snoozed",
    "note": "noted",
    "reopen": "open again",
    "undo": "as it was before",
}


def verbs(record: type[Kept]) -> list[click.Command]:
    """The commands by which people say what they did about records of that type."""
    return [make(record) for make in (_ack, _resolve, _dismiss, _snooze, _note, _reopen, _undo)]


def _ack(record: type[Kept]) -> click.Command:
    @_IDS
    @_NOTE
    @_WHO
    @store_options
    def ack(ids: tuple[str, ...], text: str | None, who: str | None, db: str, project: str) -> None:
        _do(record, "acknowledge", ids, db, project, who=who, text=text)

    return click.command(name="ack", help=f"Say that you take note of {NOUNS[record]}s.")(ack)


def _resolve(record: type[Kept]) -> click.Command:
    @_IDS
    @click.option("--because", type=OneOf(RESOLVED), help="Why it is over.")
    @_NOTE
    @_WHO
    @store_options
    def resolve(
        ids: tuple[str, ...], because: str | None, text: str | None, who: str | None, db: str, project: str
    ) -> None:
        _do(record, "resolve", ids, db, project, who=who, text=text, reason=because)

    told = "\n\nAn incident that is back within 24 hours opens again." if record is Incident else ""
    return click.command(name="resolve", help=f"Say that {NOUNS[record]}s are dealt with.{told}")(resolve)


def _dismiss(record: type[Kept]) -> click.Command:
    @_IDS
    @click.option("--because", type=OneOf(DISMISSED), help="Why nobody should have been told.")
    @click.option("--preview", is_flag=True, help="Only say what else that would have hidden.")
    @click.option("--yes", is_flag=True, help="Do not ask, even when it would have hidden more.")
    @_NOTE
    @_WHO
    @store_options
    def dismiss(
        ids: tuple[str, ...], because: str | None, preview: bool, yes: bool, text: str | None, who: str | None,
        db: str, project: str,
    ) -> None:  # fmt: skip
        reason = _reason(because)
        hides = _preview(record, ids, db, project, reason) if reason else False
        if preview:
            return
        if hides and not yes and sys.stdin.isatty():
            click.confirm("Dismiss it all the same?", abort=True, err=True)
        _do(record, "dismiss", ids, db, project, who=who, text=text, reason=reason)
        if reason is None:
            say(f"Nothing is learned from that: add --because {DISMISSED[0]}, or another reason, and it is.")

    noun = NOUNS[record]
    text = f"Say that {noun}s are noise or expected.\n\nWith --because the detectors learn not to tell the like."
    return click.command(name="dismiss", help=text)(dismiss)


def _snooze(record: type[Kept]) -> click.Command:
    @_IDS
    @click.option("--for", "length", help="For so long: 1h, 2d …  [default: 1h]")
    @click.option("--until", help=f"Until then: a time, or 'tomorrow' for {MORNING}:00 of this machine's clock.")
    @_NOTE
    @_WHO
    @store_options
    def snooze(
        ids: tuple[str, ...], length: str | None, until: str | None, text: str | None, who: str | None, db: str,
        project: str, until_worse: bool = False,
    ) -> None:  # fmt: skip
        if (length is not None) + (until is not None) + until_worse > 1:
            raise click.UsageError("Say one of --for, --until and --until-worse.")
        now = time.time()
        end = None if until_worse else now + parse_duration(length or "1h") if until is None else _moment(until, now)
        _do(record, "snooze", ids, db, project, who=who, text=text, until=end, until_worse=until_worse)
        said = "it is 1.5 times as far off" if end is None else f"{show_time(end)} UTC"
        say(f"Nobody is told until {said}.")

    if record is Incident:
        snooze = click.option("--until-worse", is_flag=True, help="Until it is 1.5 times as far off.")(snooze)
    return click.command(name="snooze", help=f"Hear no more of {NOUNS[record]}s for some time.")(snooze)


def _note(record: type[Kept]) -> click.Command:
    @click.argument("given", metavar="ID")
    @click.argument("text")
    @_WHO
    @store_options
    def note(given: str, text: str, who: str | None, db: str, project: str) -> None:
        _do(record, "note", (given,), db, project, who=who, text=text)

    return click.command(name="note", help=f"Write something down about one of the {NOUNS[record]}s.")(note)


def _reopen(record: type[Kept]) -> click.Command:
    text = f"Open {NOUNS[record]}s again that were dealt with.\n\nWhat a dismissal taught is taken back."
    return _plain(record, "reopen", text)


def _undo(record: type[Kept]) -> click.Command:
    return _plain(record, "undo", "Take back what was done last, within a minute.")


def _plain(record: type[Kept], verb: str, text: str) -> click.Command:
    @_IDS
    @_WHO
    @store_options
    def command(ids: tuple[str, ...], who: str | None, db: str, project: str) -> None:
        _do(record, verb, ids, db, project, who=who)

    return click.command(name=verb, help=text)(command)


def _do(
    record: type[Kept], verb: str, ids: Sequence[str], db: str, project: str, *, who: str | None, **how: Any
) -> None:
    """Deals with each, and says so."""
    from tracewatch.dealing import deal

    with open_db(db) as store:
        for given in ids:
            kept = find(store, record, project, given, db)
            deal(store, kept, verb, who=who or _user(), now=time.time(), **how)
            title = kept.title if isinstance(kept, Incident) else kept.description
            say(f"{kept.id[:SHORT_ID]} is {_DONE[verb]}: {title}")


def _preview(record: type[Kept], ids: Sequence[str], db: str, project: str, reason: str) -> bool:
    """Says what else dismissals would have hidden; whether that is anything."""
    from tracewatch.teaching import would_hide

    hides = False
    with open_db(db) as store:
        for given in ids:
            kept = find(store, record, project, given, db)
            hidden = would_hide(store, kept, reason, time.time())
            hides |= bool(hidden.incidents or hidden.findings)
            if hidden.incidents or hidden.findings or len(ids) == 1:
                say(f"{kept.id[:SHORT_ID]}: {hidden.words()}")
    return hides


def _reason(because: str | None) -> str | None:
    return None if because is None else because.replace("-", "_")


def _moment(text: str, now: float) -> float:
    """When a snooze ends."""
    if text.strip().lower() != "tomorrow":
        return parse_time(text, now=now)
    there = datetime.fromtimestamp(now).astimezone() + timedelta(days=1)
    return there.replace(hour=MORNING, minute=0, second=0, microsecond=0, tzinfo=None).astimezone().timestamp()


def _user() -> str:
    """The user of this machine, where it has names for them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


@click.command(epilog="\b\nExample:\n  tracewatch incidents taught")
@click.option("--all", "everything", is_flag=True, help="Also what was taken back.")
@store_options
@format_option()
def taught(everything: bool, db: str, project: str, output: str) -> None:
    """List what dismissals taught the detectors.

    These are movements that are noise or expected, and told to nobody.
    """
    from tracewatch.teaching import lessons_of

    with open_db(db) as store:
        found = [each for each in lessons_of(store, project) if everything or each.until is None]
    empty = f"Nothing was taught yet. Dismiss an incident with: {to_type('incidents dismiss ID --because too-small')}"
    show_rows([as_dict(each) for each in found], output, lambda: _lessons(found), empty)


@click.command(epilog="\b\nExample:\n  tracewatch incidents unlearn 3f9a12c0")
@_IDS
@_WHO
@store_options
def unlearn(ids: tuple[str, ...], who: str | None, db: str, project: str) -> None:
    """Take back what was taught, so that the like is told again.

    ID is one of those that `taught` lists.
    """
    from tracewatch.teaching import forget, judged_until

    with open_db(db) as store:
        for given in ids:
            lesson = _lesson(store, project, given, db)
            now = time.time()
            forget(store, lesson, who=who or _user(), now=now, judged=judged_until(store, project, now))
            say(f"{lesson.id[:SHORT_ID]} is taken back: {lesson.title}")


def show_quality(db: str, project: str, output: str) -> None:
    """What findings were worth, by metric."""
    from tracewatch.teaching import quality

    with open_db(db) as store:
        found = quality(store, project)
    rows = [
        {"metric": each.metric, "useful": each.useful, "expected": each.expected, "noise": each.noise,
         "undecided": each.undecided, "known": each.known, "precision": each.precision}
        for each in found
    ]  # fmt: skip
    show_rows(rows, output, lambda: _worth(found), f"Nothing was found yet in {db} (project {project}).")


def _lesson(store: Store, project: str, given: str, db: str) -> Lesson:
    """The lesson whose id begins with `given`, and that still counts. Raises NotFound."""
    from tracewatch.teaching import lessons_of

    found = [each for each in lessons_of(store, project) if each.id.startswith(given) and each.until is None]
    if not given or len(found) != 1:
        raise NotFound(what="lesson", given=given, where=db, hint=f"List them with: {to_type('incidents taught')}")
    return found[0]


def _lessons(found: Sequence[Lesson]) -> Table:
    from tracewatch.headlines import told_again

    headings = ("id", Heading(name="taught", rank=2), Heading(name="by", rank=3), "what", "told again", "came of")
    table = plain_table(headings)
    for each in found:
        where = ", ".join(f"{name} {value}" for name, value in (each.slice or {}).items()) or "all calls"
        what = f"{each.reason.replace('_', ' ')}: {each.metric_name} {each.direction} ({where})"
        gone = f"taken back {show_time(each.forgotten_at)}" if each.forgotten_at is not None else told_again(each)
        table.add_row(
            each.id[:SHORT_ID], show_time(each.taught_at), safe(each.taught_by), safe(what), gone, each.about[:SHORT_ID]
        )
    return table


def _worth(found: Sequence[Worth]) -> Table:
    names = ("useful", "expected", "noise", "undecided", "known", "worth it")
    table = plain_table(("metric", *names), right=names)
    for each in found:
        share = "" if each.precision is None else f"{each.precision:.0%}"
        counts = (each.useful, each.expected, each.noise, each.undecided, each.known)
        table.add_row(safe(each.metric), *(f"{count:,}" for count in counts), share)
    return table
