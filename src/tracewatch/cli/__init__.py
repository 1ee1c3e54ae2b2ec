"""The command line: one file per noun. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import NoReturn

from tracewatch.errors import BadArgument, MissingExtra, OutputLost, TracewatchError
from tracewatch.stores.address import without_secrets

try:
    import click

    from tracewatch.cli.suggesting import Suggesting
except ImportError as missing:
    raise SystemExit(str(MissingExtra(what="The tracewatch command", package="click", extra="server"))) from missing

# Command name -> "module:attribute", in the order in which a newcomer meets them.
COMMANDS = {
    "demo": "demo:demo",
    "serve": "serving:serve",
    "watch": "following:watch",
    "import": "importing:import_",
    "detect": "detecting:detect",
    "backtest": "backtesting:backtest",
    "incidents": "incidents:incidents",
    "anomalies": "anomalies:anomalies",
    "explain": "explaining:explain",
    "traces": "traces:traces",
    "trace": "traces:trace",
    "metrics": "metrics:metrics",
    "stats": "stats:stats",
    "prices": "prices:prices",
    "alerts": "alerting:alerts",
    "keys": "keys:keys",
    "export": "exporting:export",
    "copy": "copying:copy",
    "compact": "compacting:compact",
    "doctor": "doctor:doctor",
}

EXAMPLES = """
\b
Examples:
  tracewatch demo                                   see it work on a real workload
  tracewatch import usage.db --db watch.db          bring in what an app has kept
  tracewatch detect --db watch.db                   find what is abnormal in the last 24 hours
  tracewatch traces --status error --since 24h      the newest failed calls
"""


class LazyCommands(Suggesting):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Names in reading order, not by alphabet."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name].split(":")
        command: click.Command = getattr(importlib.import_module(f"tracewatch.cli.{module}"), attribute)
        return command


class WithoutPandas(MetaPathFinder):
    """As if pandas were not installed: Arrow loads it where it is (0.2 to 0.4 s), and no command has a use for it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Says of pandas that there is none, of other modules nothing."""
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


@click.group(
    cls=LazyCommands,
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="tracewatch")
def group() -> None:
    """tracewatch notices by itself what is abnormal in your application's LLM calls."""


_EXTRA_OF = {"psycopg": "postgres", "clickhouse_connect": "clickhouse"}
"""Which extra brings a package, where it is not the server's."""


def main() -> None:
    """Runs the command line; an error of ours is one sentence on stderr and exit code 1."""
    sys.meta_path.insert(0, WithoutPandas())
    try:
        try:
            _check_arguments(sys.argv[1:])
            group(prog_name="tracewatch")
        finally:
            sys.stdout.flush()
    except TracewatchError as error:
        _fail(error)
    except BrokenPipeError:
        _give_up_output()  # the reader (`| head`) has gone, and has what it wanted
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _give_up_output()
        _fail(OutputLost(why=error.strerror))
    except ImportError as missing:
        if (missing.name or "tracewatch").partition(".")[0] == "tracewatch":
            raise
        _fail(
            MissingExtra(what="This command", package=missing.name, extra=_EXTRA_OF.get(missing.name or "", "server"))
        )


def _check_arguments(given: Sequence[str]) -> None:
    """Bytes that are no text come as surrogates, which neither a database nor a terminal takes."""
    for each in given:
        if not each.isascii() and each != each.encode(errors="replace").decode():
            raise BadArgument(given=ascii(each))


def _give_up_output() -> None:
    """Leaves Python nothing to flush at exit, where it would fail again and say so in its own way."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: TracewatchError) -> NoReturn:
    click.echo(
        "".join(each if each.isprintable() else " " for each in without_secrets(f"tracewatch: {error}")), err=True
    )
    sys.exit(1)
