"""The docs say what the code does: generated pages are current, and README's code runs."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _generated():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


@pytest.mark.parametrize("name", ["fields.md", "metrics.md", "settings.md", "commands.md"])
def test_generated_pages_are_current(name):
    kept = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert kept == _generated()[name], f"docs/{name} is out of date; run: .venv/bin/python docs/generate.py"
