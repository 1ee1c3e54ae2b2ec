"""Who is told what: the rules with where they stand, the channels with a test, and what was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from tracewatch import formats
from tracewatch.access import Caller
from tracewatch.alerts import outbox
from tracewatch.alerts.standing import Standing, standings
from tracewatch.alerts.states import STATES
from tracewatch.channels import mask
from tracewatch.errors import BadDeed, TracewatchError
from tracewatch.records import Delivery
from tracewatch.web import alerting, drawing
from tracewatch.web.asking import Ask, Asked
from tracewatch.web.forms import Form, Sent, answered, name_of
from tracewatch.web.gate import Admin
from tracewatch.web.saying import rule_in_words
from tracewatch.web.serving import Server, Serving

router = APIRouter(include_in_schema=False)

MOST_NAMED = 4  # rules in the headline, the last one how many more there are
SHOWN = 50  # deliveries; all are in the API
SHAPES = {"firing": "high", "no_data": "high", "pending": "medium", "ok": "ok", "recovered": "ok"}
"""How a state is drawn; one that is not here is silent on purpose."""
WORDS = {"no_data": "no data"}
DONE = {
    "add_channel": "The channel is kept. See with Test that messages arrive.",
    "test_channel": "The channel took a test message.",
    "switch_channel": "Kept.",
    "remove_channel": "The channel is removed.",
    "resend": "It is tried again within moments, while tracewatch serves or watches.",
    "pause": "The rule tells nothing until it is resumed.",
    "resume": "The rule is in force again.",
    "saved": "The rule is in force.",
    "deleted": "The rule is deleted; what it told stays told.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A rule in the list."""

    standing: Standing
    said: str
    shape: str
    word: str
    means: str
    href: str
    kept: bool
    """Whether it can be changed as it is; the default can only be replaced."""
    worth: str


@router.get("/alerts", response_class=HTMLResponse)
def show_alerts(request: Request, asked: Ask, server: Server) -> HTMLResponse:
    """The page."""
    return _page(request, asked, server)


@router.post("/alerts")
def change_alerts(request: Request, asked: Ask, server: Server, caller: Admin, form: Sent) -> Response:
    """Does what a form of the page says."""
    verb = form.one("verb") or ""
    try:
        doing = VERBS.get(verb)
        if doing is None:
            raise BadDeed(why=f"'{verb[:40]}' is nothing that can be done here")
        doing(asked, server, alerting.whole(caller), form)
    except TracewatchError as error:
        return _page(request, asked, server, wrong=f"{str(error)[:1].upper()}{str(error)[1:].rstrip('.')}.", status=400)
    return answered(asked.address("/alerts", done=verb))


def _page(request: Request, asked: Asked, server: Serving, *, wrong: str = "", status: int = 200) -> HTMLResponse:
    caller = asked.caller
    if caller.user_id is not None:
        return drawing.page(request, asked, "alerts.html", own_only=True, wrong="", done="")
    addresses = server.settings.alert_channels
    found = standings(asked.store, caller.project, addresses, asked.now)
    sent = outbox.deliveries_of(asked.store, caller.project, (), SHOWN)
    stuck = outbox.deliveries_of(asked.store, caller.project, ("dead", "failed"), SHOWN)
    newest: dict[str, Delivery] = {}
    for each in sent:
        newest.setdefault(each.channel, each)
    return drawing.page(
        request, asked, "alerts.html", status=status,
        own_only=False, may=caller.may("admin"), wrong=wrong, done=DONE.get(asked.given.get("done", ""), ""),
        rules=[_row(asked, each) for each in found.rules],
        channels=alerting.ways(asked.store, caller.project, addresses), last_of=newest,
        sent=sent, stuck=stuck, said=_sentence(found.rules, len(found.channels), found.undelivered),
        undelivered=found.undelivered, public_url=server.settings.public_url, states=STATES,
    )  # fmt: skip


def _row(asked: Asked, standing: Standing) -> Row:
    rule, quality = standing.rule, standing.quality
    worth = f"{quality.useful} of {quality.judged} useful" if quality.judged else ""
    return Row(
        standing=standing,
        said=rule_in_words(rule, standing.audience),
        shape=SHAPES.get(standing.state, ""),
        word=WORDS.get(standing.state, standing.state),
        means=STATES[standing.state],
        href=asked.address("/alerts/rule", name=rule.name),
        kept=rule.changed_at > 0,
        worth=worth,
    )


def _sentence(rules: tuple[Standing, ...], channels: int, undelivered: int) -> str:
    """How alerting stands, in a sentence."""
    if not channels:
        return "Nobody is told of anything yet: there is no channel."
    firing = [each.rule.name for each in rules if each.state in ("firing", "no_data")]
    named = formats.listed(firing, most=MOST_NAMED)
    what = f"{named} {'is' if len(firing) == 1 else 'are'} firing" if firing else "No rule is firing"
    lost = f"; {formats.plural(undelivered, 'message')} did not arrive" if undelivered else ""
    in_force = sum(each.rule.enabled for each in rules)
    return f"{what}{lost}. {formats.plural(in_force, 'rule')} in force, {formats.plural(channels, 'channel')}."


def _add_channel(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
    url = (form.one("url") or "").strip()
    name = (form.one("name") or "").strip() or mask(url).partition("://")[0]
    who = name_of(asked.store, caller)
    alerting.keep_channel(asked.store, caller.project, name, url, given=server.settings, who=who, now=asked.now)


def _test_channel(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
    alerting.try_channel(asked.store, caller.project, form.one("name") or "", given=server.settings, now=asked.now)


def _switch_channel(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
    channel = alerting.channel_named(asked.store, caller.project, form.one("name") or "")
    asked.store.put([
        replace(
            channel, enabled=form.one("to") == "on", changed_at=asked.now, changed_by=name_of(asked.store, caller)
        )
    ])  # fmt: skip


def _remove_channel(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
    alerting.remove_channel(asked.store, alerting.channel_named(asked.store, caller.project, form.one("name") or ""))


def _resend(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
    keys = form.every("key")
    if form.one("all"):
        keys = tuple(each.key for each in outbox.given_up(asked.store, caller.project))
    for key in keys:
        outbox.resend(asked.store, caller.project, key, asked.now)


def _switch_rule(*, to: bool) -> Callable[[Asked, Serving, Caller, Form], None]:
    def doing(asked: Asked, server: Serving, caller: Caller, form: Form) -> None:
        rule = alerting.rule_named(asked.store, caller.project, form.one("name") or "")
        who = name_of(asked.store, caller)
        asked.store.put([replace(rule, enabled=to, changed_at=asked.now, changed_by=who)])

    return doing


VERBS: Mapping[str, Callable[[Asked, Serving, Caller, Form], None]] = {
    "add_channel": _add_channel,
    "test_channel": _test_channel,
    "switch_channel": _switch_channel,
    "remove_channel": _remove_channel,
    "resend": _resend,
    "pause": _switch_rule(to=False),
    "resume": _switch_rule(to=True),
}
