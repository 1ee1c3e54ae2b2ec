"""The API answers as its own schema says, whatever it is asked: no 500, no answer that is not documented."""

import pytest
import schemathesis
import shop
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tracewatch.records import ApiKey
from tracewatch.settings import Settings
from tracewatch.web import make_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LEFT_OUT = ("/api/v1/events", "/v1/", "/api/public/")  # streams without end, and OTLP, which has tests of its own
APP = make_app(Settings())
OPERATIONS = [
    (method, path)
    for path, methods in APP.openapi()["paths"].items()
    for method in methods
    if not path.startswith(LEFT_OUT)
]
BOUNDED = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The schema of a server that runs, and its client."""
    db = shop.make(tmp_path_factory.mktemp("schema") / "w.db")
    with shop.looking_at(db) as client:
        del client.headers["accept"]
        yield schemathesis.openapi.from_dict(client.get("/api/v1/openapi.json").json()), client


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_the_api_answers_as_its_schema_says(served, method, path):
    schema, client = served
    answered = set()

    @BOUNDED
    @given(case=schema[path][method].as_strategy())
    def ask(case):
        given = case.as_transport_kwargs(base_url="http://127.0.0.1")
        given.pop("cookies", None)
        answer = client.request(**given)
        client.app.state.serving.store.remove(ApiKey, [])  # one that was made would shut the rest out
        answered.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    assert not answered & {401, 405}
    assert answered & {200, 201, 403, 404}, "no question was one that can be answered"


def test_every_route_of_the_api_is_in_the_schema():
    assert len(OPERATIONS) > 25
    for method, path in OPERATIONS:
        described = APP.openapi()["paths"][path][method]
        assert described["description"], (method, path)
