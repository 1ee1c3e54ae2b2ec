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


# Everything but what is for other stores than a file, where the server's own packages are all there is.
WITH_THE_SERVER_ALONE = """
import importlib, pkgutil, re, sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires


def closure(name, extras, found):
    if (name, extras) in found:
        return found
    found.add((name, extras))
    try:
        wanted = requires(name) or []
    except PackageNotFoundError:
        return found
    for text in wanted:
        asked = re.search(r"extra == ['\\"]([^'\\"]+)", text)
        if asked and asked[1] not in extras:
            continue
        inner = re.match(r"([\\w.-]+)(?:\\[([^]]*)\\])?", text)
        closure(inner[1].lower().replace("_", "-"), tuple((inner[2] or "").split(",")), found)
    return found


allowed = {name for name, _ in closure("tracewatch", ("server",), set())}
of = packages_distributions()


class Missing:
    def find_spec(self, name, path=None, target=None):
        owners = {each.lower().replace("_", "-") for each in of.get(name.partition(".")[0], ())}
        if owners and not owners & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import tracewatch

others = re.compile(r"\\.(postgres|clickhouse)|\\.following\\.table$|__main__$")
found = pkgutil.walk_packages(tracewatch.__path__, "tracewatch.")
names = [each.name for each in found if not others.search(each.name)]
for name in names:
    importlib.import_module(name)
print(len(names), "psycopg" in sys.modules)
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


def test_the_extra_of_the_server_is_all_that_a_file_takes():
    done = subprocess.run([sys.executable, "-c", WITH_THE_SERVER_ALONE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    count, has_others = done.stdout.split()
    assert int(count) > 300
    assert has_others == "False"
