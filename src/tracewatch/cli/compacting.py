"""`tracewatch compact`: spans that are days old go into compressed files beside the database."""

from __future__ import annotations

import time

import click

from tracewatch import settings
from tracewatch.cli.output import caught_up_db, counted, progress_bar, say, store_options
from tracewatch.times import DAY_S


@click.command(
    epilog="""
\b
Examples:
  tracewatch compact --db watch.db             what the server does by itself, now
  tracewatch compact --db watch.db --days 30   only what is older than a month
"""
)
@click.option(
    "--days", type=click.IntRange(0, 3_650), help="Spans older than that. [default: TRACEWATCH_COMPACT_AFTER, or 3]"
)
@store_options
def compact(days: int | None, db: str, project: str) -> None:
    """Put spans that are days old into compressed files.

    The files lie beside the database. They take a quarter of the room, and every command and page shows them as before.
    It may be stopped and repeated at any time. `tracewatch serve` and `tracewatch watch` do it by themselves, but not
    in a file that holds an application's own tables.
    """
    from tracewatch.live.compacting import compact as compacted
    from tracewatch.live.leasing import this_process

    after = days if days is not None else settings.load().compact_after or 3
    before = time.time() - after * DAY_S
    with caught_up_db(db, project) as store:
        with progress_bar("Compacting") as progress:
            done = compacted(store, this_process("tracewatch compact"), before, least=1, progress=progress)
        about = store.describe()
    say(
        f"Compacted {counted(done, 'span')}."
        if done
        else f"There was nothing to compact that is older than {counted(after, 'day')}."
    )
    if "segments" in about:
        say(f"Segments beside the database: {about['segments']}; the database itself: {about['size']}.")
