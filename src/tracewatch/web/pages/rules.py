"""One alert rule: a form for what most rules say, YAML for the rest, and what it would have told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import formats
from tracewatch.alerts.book import shown_rule
from tracewatch.alerts.matching import DEFAULT
from tracewatch.errors import BadDeed, BadRules, TracewatchError
from tracewatch.records import SEVERITIES, AlertRule, Incident
from tracewatch.times import DAY_S
from tracewatch.web import alerting, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.forms import Form, Sent, answered, name_of
from tracewatch.web.gate import Admin
from tracewatch.web.saying import rule_in_words
from tracewatch.web.serving import Server, Serving

router = APIRouter(include_in_schema=False)

DAYS = 30
NAMED = 5  # incidents of a preview; their number is told
LONGEST_YAML = 20_000
TEXTS = ("name", "description", "severity", "for", "cooldown", "digest")
LISTS = ("metrics", "types")
"""What the form has of its own, besides the channels, the slice and the two switches."""
FIELDS = (*TEXTS, *LISTS, "slice", "recovery", "enabled", "more")
STARTING = AlertRule(name="", severity="high", changed_at=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a rule would have told in the last days."""

    said: str
    incidents: tuple[Incident, ...]
    more: int
    missed: str


@router.get("/alerts/rule", response_class=HTMLResponse)
def show_rule(request: Request, asked: Ask, server: Server) -> HTMLResponse:
    """The form, of the rule that is named or of a new one."""
    name = asked.given.get("name", "")
    alerting.whole(asked.caller)
    rule = _kept(asked, name) or (DEFAULT if name == DEFAULT.name else STARTING)
    return _page(request, asked, server, _fields(rule), was=name if _kept(asked, name) else "", rule=rule)


@router.post("/alerts/rule")
def change_rule(request: Request, asked: Ask, server: Server, caller: Admin, form: Sent) -> Response:
    """Tries a rule on the past, keeps it, or deletes it."""
    alerting.whole(caller)
    verb, was = form.one("verb") or "", _kept(asked, form.one("was") or "")
    fields = {name: form.one(name) or "" for name in FIELDS} | {"channels": form.every("channels")}
    try:
        if verb == "delete":
            if was is None:
                raise BadDeed(why="there is no such rule any more")
            alerting.remove_rule(asked.store, was)
            return answered(asked.address("/alerts", done="deleted"))
        rule = alerting.checked_rule(
            asked.store, caller.project, _given(form),
            settings=server.settings, who=name_of(asked.store, caller), now=asked.now, was=was,
        )  # fmt: skip
        if verb == "save":
            alerting.keep_rule(asked.store, rule, was)
            return answered(asked.address("/alerts", done="saved"))
        preview = _preview(asked, server, rule, was)
    except TracewatchError as error:
        wrong = f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}."
        return _page(request, asked, server, fields, was=was.name if was else "", rule=None, wrong=wrong, status=400)
    return _page(request, asked, server, fields, was=was.name if was else "", rule=rule, preview=preview)


def _page(
    request: Request, asked: Asked, server: Serving, fields: Mapping[str, Any], *, was: str, rule: AlertRule | None,
    wrong: str = "", preview: Preview | None = None, status: int = 200,
) -> HTMLResponse:  # fmt: skip
    found = alerting.ways(asked.store, asked.caller.project, server.settings.alert_channels)
    names = tuple(dict.fromkeys([*(each.name for each in found), *fields.get("channels", ())]))
    return drawing.page(
        request, asked, "rule.html", status=status,
        fields=fields, was=was, may=asked.caller.may("admin"), wrong=wrong, preview=preview, names=names,
        severities=SEVERITIES, days=DAYS, yaml=alerting.as_yaml(rule) if rule and rule.name else "",
        said=rule_in_words(rule, rule.channels or [each.name for each in found if each.enabled]) if rule else "",
    )  # fmt: skip


def _kept(asked: Asked, name: str) -> AlertRule | None:
    found = asked.store.get(AlertRule, {"project": asked.caller.project, "name": name}) if name else None
    return found if isinstance(found, AlertRule) else None


def _fields(rule: AlertRule) -> dict[str, Any]:
    """A rule as the fields of the form."""
    its = shown_rule(rule)
    fields: dict[str, Any] = {name: its.pop(name, "") for name in TEXTS} | {"severity": rule.severity}
    fields |= {name: ", ".join(its.pop(name, ())) for name in LISTS}
    slice = its.pop("slice", None) or {}
    plain = all(each is not None and "," not in each for some in slice.values() for each in some)
    if not plain:
        its["slice"], slice = slice, {}
    fields["slice"] = "\n".join(f"{name}: {', '.join(some)}" for name, some in slice.items())
    fields["channels"] = tuple(its.pop("channels", ()))
    for switch in ("recovery", "enabled"):
        fields[switch] = "yes" if its.pop(switch, True) else ""
    fields["more"] = yaml.safe_dump(its, sort_keys=False, allow_unicode=True) if its else ""
    return fields


def _given(form: Form) -> dict[str, Any]:
    """The written form of what the fields say. Raises BadRules."""
    its = _more(form.one("more") or "")
    its |= {name: value for name in TEXTS if (value := (form.one(name) or "").strip())}
    for name in LISTS:
        some = [each.strip() for each in (form.one(name) or "").split(",") if each.strip()]
        its |= {name: some} if some else {}
    slice = dict(map(_condition, filter(str.strip, (form.one("slice") or "").splitlines())))
    its |= {"slice": slice} if slice else {}
    channels = [each for each in form.every("channels") if each]
    its |= {"channels": channels} if channels else {}
    return its | {switch: form.one(switch) == "yes" for switch in ("recovery", "enabled")}


def _more(text: str) -> dict[str, Any]:
    """The rest of the rule, which is written as YAML."""
    if len(text) > LONGEST_YAML:
        raise BadRules(why=f"the YAML has more than {LONGEST_YAML:,} characters")
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise BadRules(why=f"under Everything else: this is no YAML: {problem}") from error
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise BadRules(why="under Everything else: write each entry as name: value")
    return {str(name): value for name, value in read.items()}


def _condition(line: str) -> tuple[str, list[str]]:
    """A line such as `model_name: gpt-5, claude-*`."""
    name, colon, values = line.partition(":")
    if not colon:
        raise BadRules(why=f"under Which calls: write '{line.strip()[:60]}' like model_name: gpt-5, claude-*")
    return name.strip(), [each.strip() for each in values.split(",") if each.strip()]


def _preview(asked: Asked, server: Serving, rule: AlertRule, was: AlertRule | None) -> Preview:
    rules = alerting.with_rule(asked.store, asked.caller.project, rule, was)
    found = alerting.planned(
        asked.store, asked.caller.project, rules,
        addresses=server.settings.alert_channels, since=asked.now - DAYS * DAY_S, now=asked.now,
    )  # fmt: skip
    ruled = found.ruled.get(rule.name)
    if ruled is None:
        said = "It is switched off, so it would have told nothing."
        return Preview(said=said, incidents=(), more=0, missed="")
    times = "once" if ruled.fired == 1 else f"{ruled.fired:,} times"
    said = f"It would have fired {times} in {DAYS} days: {formats.plural(ruled.messages, 'message')}, "
    said += f"{found.a_week(rule.name):.1f} a week."
    if not ruled.fired:
        said = f"It would have told nothing in {DAYS} days, of {formats.plural(found.incidents, 'incident')}."
    if ruled.made:
        when = "The last time" if ruled.fired else "Its condition was met, and the rule silent; the last time"
        said += f" {when}: {ruled.made[-1].title}"
    if why := found.untried.get(rule.name):
        said += f" Not all of it is known: {why}."
    some = [asked.store.get(Incident, {"project": rule.project, "id": id_}) for id_ in ruled.incidents[:NAMED]]
    missed = len(found.missed)
    return Preview(
        said=said,
        incidents=tuple(each for each in some if isinstance(each, Incident)),
        more=max(len(ruled.incidents) - len(ruled.made) - NAMED, 0),
        missed=f"{formats.plural(missed, 'high or critical incident')} would have been told to nobody."
        if missed
        else "",
    )
