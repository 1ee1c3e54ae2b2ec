"""Where an incident stands is said in the same words by commands, pages and the API."""

import pytest
import shop
from click.testing import CliRunner
from shop import COSTLY, looking_at
from test_pages import words

from tracewatch.cli import group
from tracewatch.records import STATES, Incident
from tracewatch.stores import open_store


@pytest.mark.parametrize("state", STATES)
def test_a_state_has_one_word(tmp_path, state):
    db = shop.make(tmp_path / "w.db")
    with open_store(db) as store:
        closed_at = shop.NOW - 60 if state == "closed" else None
        store.annotate(Incident, {"project": "default", "id": COSTLY}, {"state": state, "closed_at": closed_at})
    with looking_at(db) as client:
        page = words(client.get(f"/incidents/{COSTLY}").text)
        told = client.get(f"/api/v1/incidents/{COSTLY}", headers={"accept": "application/json"}).json()
    shown = CliRunner().invoke(group, ["incidents", "show", COSTLY, "--db", db]).output
    assert told["state"] == state
    assert f"Critical {state.capitalize()}" in page
    assert f"Critical · {state}" in shown
