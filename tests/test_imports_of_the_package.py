"""What `import tracewatch` may load: the guest is light."""

import json
import subprocess
import sys

LOADED = """
import json, sys
before = set(sys.modules)
import tracewatch
print(json.dumps({"all": len(sys.modules), "ours": sorted(set(sys.modules) - before)}))
"""


def _loaded():
    # -I -S: no site-packages at all, so a third-party import would fail outright.
    code = f"import sys; sys.path.insert(0, {str(_source())!r})\n" + LOADED
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _source():
    from pathlib import Path

    import tracewatch

    return Path(tracewatch.__file__).resolve().parent.parent


def test_import_loads_the_standard_library_alone():
    ours = {name.partition(".")[0] for name in _loaded()["ours"]}
    assert ours <= {*sys.stdlib_module_names, "tracewatch"}


def test_import_loads_few_modules():
    assert _loaded()["all"] < 120


def test_addresses_are_taken_apart_only_when_there_are_any():
    assert "urllib.parse" not in _loaded()["ours"]  # a tenth of what the import costs
