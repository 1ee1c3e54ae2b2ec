"""What is special about the PostgreSQL store: its partitions, several servers at once, restarts."""

import pytest
from conformance import Conformance
from conftest import NOW
from postgres_server import fresh_url

from tracewatch.stores.postgres import PostgresStore


@pytest.fixture
def url():
    return fresh_url()


@pytest.fixture
def store(url):
    with PostgresStore(url, create=True, clock=lambda: NOW) as store:
        yield store


class TestConformance(Conformance):
    pass
