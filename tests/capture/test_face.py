"""What `import tracewatch` gives, and what using it loads."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracewatch

DOCS = Path(__file__).resolve().parents[2] / "docs" / "capture.md"
SOURCE = Path(tracewatch.__file__).resolve().parent.parent

CLIENTS = ("instrument", "uninstrument", "wrap")  # which have a page of their own
HEAVY = ("sqlite3", "http.client", "ssl", "json", "logging", "dataclasses", "asyncio", "inspect", "tracewatch.records")

USED = """
import json, os, sys, tempfile
sys.path.insert(0, {source!r})
import tracewatch
path = os.path.join(tempfile.mkdtemp(), "watch.db")
tracewatch.init({url})
with tracewatch.trace("ask"), tracewatch.span("call", model="m"):
    tracewatch.log_usage("openai", "gpt", error_message="boom")
tracewatch.flush(1)
print(json.dumps(sorted(sys.modules)))
tracewatch.shutdown(0.1)
"""


@pytest.mark.parametrize("name", sorted({*tracewatch.__all__} - {"__version__", *CLIENTS}))
def test_every_name_is_there_and_told_of(name):
    thing = getattr(tracewatch, name)
    assert inspect.getdoc(thing)
    assert re.search(rf"\b{name}\b", DOCS.read_text(encoding="utf-8")), name


@pytest.mark.parametrize("url", ["path", "'http://127.0.0.1:9'"])
def test_using_it_loads_the_standard_library_alone(url):
    # -I -S: no site-packages at all, so a third-party import would fail outright.
    command = [sys.executable, "-I", "-S", "-c", USED.format(source=str(SOURCE), url=url)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert loaded <= {*sys.stdlib_module_names, "tracewatch", "__main__"}


def test_importing_it_opens_nothing():
    code = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
import tracewatch
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
