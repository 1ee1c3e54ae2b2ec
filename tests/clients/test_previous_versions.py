"""All of this with the major versions before: the same tests, in programs that find those first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PREVIOUS = Path(sys.prefix) / "previous"  # environment.sh puts them there
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PREVIOUS)}
VERSIONS = """
from importlib.metadata import version
print(*(version(each) for each in ("openai", "anthropic", "ollama")))
"""


def _versions(**environment):
    done = subprocess.run([sys.executable, "-c", VERSIONS], check=True, capture_output=True, text=True, **environment)
    return [tuple(int(part) for part in each.split(".")[:2]) for each in done.stdout.split()]


def test_these_are_older():
    older, newer = _versions(env=ENVIRONMENT), _versions()
    assert [was < now for was, now in zip(older, newer, strict=True)] == [True, True, True]
    assert older[0][0] + 1 == newer[0][0]
    assert older[1][0] + 1 == newer[1][0]


@pytest.mark.parametrize("name", sorted(each.name for each in HERE.glob("test_*.py") if each != Path(__file__)))
def test_the_same_with_the_versions_before(name, tmp_path):
    # A folder of its own: pytest clears what earlier runs left in the common one, and those around us use it as well.
    own = f"--basetemp={tmp_path / 'own'}"
    command = [sys.executable, "-m", "pytest", str(HERE / name), "-n", "0", "-x", "-q", own]
    done = subprocess.run(command, env=_plain(ENVIRONMENT), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4_000:]


def _plain(environment):
    """Without what says that this is a worker of pytest's."""
    return {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
