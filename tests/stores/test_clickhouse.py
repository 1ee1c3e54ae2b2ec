import pytest
from clickhouse_engine import fresh_url
from conformance import Conformance
from conftest import NOW

from tracewatch.stores.clickhouse import ClickHouseStore

pytestmark = pytest.mark.xdist_group("clickhouse")


@pytest.fixture
def url():
    return fresh_url()


@pytest.fixture
def store(url):
    with ClickHouseStore(url, create=True, clock=lambda: NOW) as store:
        yield store


class TestConformance(Conformance):
    pass
