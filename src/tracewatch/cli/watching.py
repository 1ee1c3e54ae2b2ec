"""What `tracewatch detect` does with the adaptive engine: a pass over what came, and the window by its causes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracewatch.cli.kept import SHORT_ID
from tracewatch.cli.output import (
    SEVERITY_STYLES,
    Heading,
    console,
    counted,
    number,
    plain_table,
    progress_bar,
    safe,
    say,
    to_type,
)
from tracewatch.cli.times import show_time
from tracewatch.records import SEVERITIES, Anomaly, Headway, Incident, Lease, as_dict

if TYPE_CHECKING:
    from rich.table import Table

    from tracewatch.live import Passed
    from tracewatch.stores.base import Filter, Progress, Store

SHOWN = 10  # incidents told; the rest is a command away
PAGE = 1_000  # incidents and findings of a window; more are not read by anybody
WORTH_USD = 0.01  # less money is not worth a number
SILENT_S = 3600.0  # without calls; less is no silence worth a word
MANY = 2_000  # calls that take longer to judge than a blink: a bar is shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A window as the adaptive engine sees it."""

    since: float
    until: float
    passed: Passed
    analyzed: int
    """Calls in the window."""
    incidents: tuple[Incident, ...]
    """Those that were going on in the window, the worst first."""
    findings: tuple[Anomaly, ...]
    """What was found in it, in order of time."""
    rules: tuple[Anomaly, ...]
    """Rules that fired at its end."""
    new: tuple[Anomaly, ...]
    """Those of both that were saved now."""

    @property
    def breakdown(self) -> dict[str, int]:
        """Findings by type; the ten types are always there."""
        from tracewatch.metrics import TYPES

        found = Counter(each.anomaly_type for each in self.findings)
        return {each.key: found.pop(each.key, 0) for each in TYPES} | dict(sorted(found.items()))

    def document(self) -> dict[str, Any]:
        """The answer of the detection API, and what only this engine knows."""
        ids = {each.id for each in self.findings}
        return {
            "success": True,
            "analyzed_traces": self.analyzed,
            "anomaly_types_analyzed": len(self.breakdown),
            "anomalies_detected": len(self.findings),
            "anomalies_saved": sum(each.id in ids for each in self.new),
            "breakdown": self.breakdown,
            "detector": "adaptive",
            "incidents": [as_dict(each) for each in self.incidents],
            "learning": _learning(self.passed),
            "findings": [as_dict(each) for each in (*self.rules, *self.findings)],
        }


def look(store: Store, project: str, since: float, until: float, *, relearn: bool = False) -> Seen:
    """Judges all that came since the last time, then looks at a window."""
    from tracewatch import findings, live, watch

    now = time.time()
    if relearn:
        live.forget(store, project)
    tenure = live.Tenure(store, live.this_process("tracewatch detect"))
    if tenure.take_or_hear():
        with tenure.kept():
            passed = _passed(store, project, now)
    else:
        passed = _passed_by_another(store, project, tenure.current())
    scope = findings.Scope(project=project, source="traces", since=since, until=until, now=now)
    fired, new_rules, _ = ([], [], 0) if passed.learning else watch.ask_rules(store, scope)
    found = _found(store, project, since, until)
    return Seen(
        since=since,
        until=until,
        passed=passed,
        analyzed=_analyzed(store, scope),
        incidents=_going_on(store, project, since, until),
        findings=found,
        rules=tuple(fired),
        new=(*new_rules, *passed.new),  # also what came before the window: nobody has been told of it
    )


def _passed(store: Store, project: str, now: float) -> Passed:
    """Judges what came, and keeps what was learned from it."""
    from tracewatch import live, settings
    from tracewatch.metrics.custom import parse

    watcher = live.Watcher(store, project, parse(settings.load().metrics))
    with ExitStack() as bars:

        def bar(rows: int) -> Progress:
            return bars.enter_context(progress_bar("Judging (calls)", rows)) if rows >= MANY else _unseen

        passed = watcher.run(now, bar)
    if passed.moved:
        watcher.save(now)
    return passed


def _passed_by_another(store: Store, project: str, lease: Lease | None) -> Passed:
    """Where the process that watches this database stands: what it has found is there to be shown."""
    from tracewatch.live import Passed

    found = store.get(Headway, {"project": project})
    headway = found if isinstance(found, Headway) else None
    judged = headway.judged_until if headway else None
    until = f", up to {show_time(judged)} UTC" if judged is not None else ""
    say(f"{lease.holder if lease else 'Another process'} watches this database; what it has found is shown{until}.")
    return Passed(rows=0, late=0, ahead=False, judged=judged, learned_days=headway.learned_days if headway else 0)


def tell(seen: Seen) -> None:
    """The window in words: what goes on in it, the breakdown, and where to look next."""
    screen = console()
    screen.print(_summary(seen))
    for each in seen.rules:
        style = SEVERITY_STYLES[each.severity]
        screen.print(
            f"  {each.id[:SHORT_ID]}  [{style}]{each.severity:<8}[/]  {safe(each.description)}", soft_wrap=True
        )
    if seen.incidents:
        screen.print(_incidents(seen))
    if len(seen.incidents) > SHOWN:
        screen.print(f"  … and {len(seen.incidents) - SHOWN:,} more.")
    if seen.findings:
        screen.print(_breakdown(seen.breakdown))
    known = sum(map(is_known, seen.findings))
    if known:
        of = f"{known:,} {'finding is' if known == 1 else 'findings are'} of no incident"
        screen.print(f"{of}, known from what was dismissed; see: {safe(to_type('incidents taught'))}", soft_wrap=True)
    if seen.incidents:
        first = seen.incidents[0]
        next_ones = {"Why, and what to do:": f"explain {first.id[:SHORT_ID]}", "All:": "incidents"}
        tell_next(next_ones | ({"The trace:": f"trace {first.trace_ids[0]}"} if first.trace_ids else {}))


def tell_next(commands: Mapping[str, str]) -> None:
    """What to type next, and why; a command is on one line, so that it can be copied whole."""
    screen = console()
    screen.print()
    longest = max(map(len, commands))
    for why, words in commands.items():
        screen.print(f"{why:<{longest}} [bold]{safe(to_type(words))}[/]", soft_wrap=True)


def tell_silence(seen: Seen, now: float) -> None:
    """That nobody looks at the time after the calls, where it is long: the end of an import is no silence."""
    judged = seen.passed.judged
    if judged is not None and not seen.passed.learning and min(seen.until, now) - judged > SILENT_S:
        say(f"Calls are judged up to {show_time(judged)} UTC; silence after that is not judged.")


def tell_pass(passed: Passed) -> None:
    """What people should know about the pass itself."""
    for sentence in passed.sentences:
        say(sentence)
    if passed.late:
        they, were = ("it", "was") if passed.late == 1 else ("they", "were")
        say(
            f"{counted(passed.late, 'call')} came more than an hour after {they} had ended and after later ones were "
            f"judged: {they} {were} left out. Judge all of history again with: {to_type('detect --relearn')}"
        )
    if passed.ahead:
        say(
            "There are calls that begin in the future, by a clock that is ahead: they are judged when their time comes."
        )


def learning_in_words(passed: Passed) -> str:
    """How far it is, while nothing is said yet."""
    from tracewatch.judge import WARMUP_DAYS

    return f"learning {min(passed.learned_days, int(WARMUP_DAYS))} of {WARMUP_DAYS:g} days"


def _learning(passed: Passed) -> dict[str, Any]:
    from tracewatch.judge import WARMUP_DAYS

    return {"learning": passed.learning, "days": passed.learned_days, "of": int(WARMUP_DAYS)}


def _unseen(_: int) -> None:
    """The progress of what is done in a blink."""


def _analyzed(store: Store, scope: Any) -> int:
    from tracewatch.findings import between
    from tracewatch.records import Span

    return store.count(Span, [*scope.rows(), *between(scope.since, scope.until)])


def _found(store: Store, project: str, since: float, until: float) -> tuple[Anomaly, ...]:
    from tracewatch.stores.base import Filter

    where = [*_ours(project), Filter("occurred_at", "<", (until,)), Filter("detected_at", ">=", (since,))]
    found = [each for each in store.page(Anomaly, where, limit=PAGE).records if isinstance(each, Anomaly)]
    return tuple(sorted(found, key=lambda each: (each.detected_at, each.id)))


def _going_on(store: Store, project: str, since: float, until: float) -> tuple[Incident, ...]:
    """Incidents that had begun and were not over, or changed, in the window."""
    from tracewatch.stores.base import Filter

    begun = [*_ours(project), Filter("started_at", "<", (until,))]
    ways = [
        [*begun, Filter("state", "!=", ("closed",))],
        [*begun, Filter("state", "=", ("closed",)), Filter("closed_at", ">=", (since,))],
    ]
    found = [
        each for way in ways for each in store.page(Incident, way, limit=PAGE).records if isinstance(each, Incident)
    ]
    return tuple(
        sorted(found, key=lambda each: (-SEVERITIES.index(each.severity), each.state == "closed", -each.started_at))
    )


def _ours(project: str) -> list[Filter]:
    from tracewatch.stores.base import Filter

    return [Filter("project", "=", (project,)), Filter("detector", "=", ("adaptive",))]


def _summary(seen: Seen) -> str:
    window = f"{show_time(seen.since)} to {show_time(seen.until)} UTC"
    calls = f"{seen.analyzed:,} {'call' if seen.analyzed == 1 else 'calls'}"
    if seen.passed.learning:
        return f"No incident can be told yet: {learning_in_words(seen.passed)} ({calls} from {window})."
    if not seen.incidents:
        return f"[bold]No incident[/] in {calls} from {window}."
    states = Counter(each.state for each in seen.incidents)
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    folded = sum(each.findings for each in seen.incidents)
    many = len(seen.incidents)
    new = sum(seen.since <= each.detected_at for each in seen.incidents)
    return (
        f"[bold]{many:,} {'incident' if many == 1 else 'incidents'}[/] in {calls} from {window}: {told}; "
        f"{new:,} opened in it, {folded:,} {'finding' if folded == 1 else 'findings'} folded under them"
        f"{'' if seen.new else '; nothing is new since the last time'}."
    )


def _incidents(seen: Seen) -> Table:
    headings = ("id", "since", "state", "severity", Heading(name="findings", right=True), "cost", "incident")
    table = plain_table(headings)
    roots = {each.id: each for each in seen.findings}
    for each in seen.incidents[:SHOWN]:
        table.add_row(
            each.id[:SHORT_ID],
            show_time(each.started_at),
            f"{each.state} again" if each.reopened and each.state != "closed" else each.state,
            f"[{SEVERITY_STYLES[each.severity]}]{each.severity}[/]",
            f"{each.findings:,}",
            number(each.cost_effect_usd, "USD") if (each.cost_effect_usd or 0) >= WORTH_USD else "",
            safe(each.title + _known(roots.get(each.root_id))),
        )
    return table


def _known(root: Anomaly | None) -> str:
    """How much of what it is compared with had been learned, while that is not all."""
    known: Mapping[str, int] = (root.statistics.get("learning") if root else None) or {}
    days, of = known.get("days", 0), known.get("of", 0)
    return f" (learning {days}/{of} days)" if days < of else ""


def _breakdown(counts: Mapping[str, int]) -> Table:
    from tracewatch import words
    from tracewatch.metrics import TYPE_OF

    table = plain_table(("type", "", "metric", "findings"), right=("findings",))
    for key, count in counts.items():
        known = TYPE_OF.get(key)
        table.add_row(key, words.label_of(key) if known else "", known.name if known else key, f"{count:,}")
    return table


def as_bad(findings: Sequence[Anomaly], severity: str) -> bool:
    """Whether any of these is as bad as that, or worse; what is known to be noise is not."""
    told = [each for each in findings if not is_known(each)]
    return any(SEVERITIES.index(each.severity) >= SEVERITIES.index(severity) for each in told)


def is_known(finding: Anomaly) -> bool:
    """Whether people had said that it is noise or expected."""
    return "known" in finding.statistics
