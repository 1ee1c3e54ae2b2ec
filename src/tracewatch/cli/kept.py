"""What lists of findings and of incidents share: finding one by the beginning of its id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from tracewatch.cli.output import to_type
from tracewatch.errors import Ambiguous, NotFound
from tracewatch.records import Anomaly, Incident

if TYPE_CHECKING:
    from tracewatch.stores.base import Store

SHORT_ID = 8  # characters of an id on screen; commands take any beginning that is unique
LISTS = {Anomaly: "anomalies", Incident: "incidents"}
NOUNS = {Anomaly: "finding", Incident: "incident"}
Kept = TypeVar("Kept", Anomaly, Incident)


def pass_on(context: click.Context, verb: str, shared: Mapping[str, str], what: str) -> None:
    """Options before the verb count for it as well; those of the list are refused."""
    for option in context.command.params:
        given = context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
        if given and option.name not in shared:
            raise click.UsageError(f"{option.opts[-1]} is about the list: '{verb}' takes {what}.")
    context.default_map = {verb: dict(shared)}


def find(store: Store, record: type[Kept], project: str, given: str, db: str) -> Kept:
    """The finding or incident whose id begins with `given`. Raises NotFound or Ambiguous."""
    from tracewatch.stores.base import Filter

    # U+10FFFF is the last character there is: everything that begins with `given` sorts before it.
    ends: list[Filter] = [Filter("id", ">=", (given,)), Filter("id", "<", (given + "\U0010ffff",))]
    page = store.page(record, [Filter("project", "=", (project,)), *ends], limit=200)
    found = [each for each in page.records if isinstance(each, record)]
    if not given or not found:
        hint = f"List the newest with: {to_type(LISTS[record])}"
        raise NotFound(what=NOUNS[record], given=given, where=db, hint=hint)
    exact = [each for each in found if each.id == given] or found
    if len(exact) > 1:
        some = ", ".join(sorted(each.id for each in exact)[:3])
        raise Ambiguous(what=NOUNS[record], given=given, count=len(exact), some=some)
    return exact[0]
