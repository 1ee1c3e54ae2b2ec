#!/bin/sh
# Makes the private environment that every make target runs in: sh environment.sh .venv [demo]
# With `demo` it holds what the product needs and nothing else.
set -eu
venv=$1
wanted=${2:-everything}

newest_python() {
    for name in python3.14 python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "tracewatch needs Python 3.11 or newer, and none was found on the PATH. Install one, then run make again." >&2
    return 1
}

make_venv() {
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    # Debian keeps venv in a package of its own.
    package="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    rm -rf "$venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Installing $package ..."
        apt-get install -y -qq "$package" >/dev/null 2>&1 ||
            { apt-get update -qq && apt-get install -y -qq "$package" >/dev/null; }
        "$python" -m venv "$venv"
    else
        echo "$python cannot make a virtual environment. On Debian: sudo apt-get install $package" >&2
        return 1
    fi
}

python=$(newest_python)
[ -x "$venv/bin/python" ] || { echo "Making a private environment in $venv (once) ..."; make_venv; }
# pip 25.1 is the first that knows dependency groups.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
if [ "$wanted" = demo ]; then
    echo "Installing tracewatch into it (once, about a minute) ..."
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[server]'
    exit
fi
echo "Installing what it is tested with (once, some minutes) ..."
# The screens are looked at in Chromium; where it can be had without asking it is had, and tests say when there is none.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && ! command -v chromium >/dev/null 2>&1; then
    echo "Installing chromium, to look at the screens with ..."
    { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } >/dev/null 2>&1 ||
        echo "Chromium could not be installed: the screens will not be looked at." >&2
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[server]' --group dev
# The client libraries of the major versions before, which the tests of capture run with as well.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade --no-deps \
    --target "$venv/previous" --group previous
