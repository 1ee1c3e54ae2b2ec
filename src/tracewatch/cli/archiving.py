"""Archives on the command line: everything into a folder (`export --what everything`), and back (`import FOLDER`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracewatch.cli.copying import tell
from tracewatch.cli.output import counted, open_db, progress_bar, say
from tracewatch.errors import CopyUnproven
from tracewatch.stores.address import without_secrets

if TYPE_CHECKING:
    from tracewatch.copying.archive_files import Form
    from tracewatch.stores import Store


def write(store: Store, folder: Path, form: Form) -> None:
    """Writes all that a store keeps into a folder, and says what that is. Raises OutputRefused."""
    from tracewatch.copying import export, kept_rows

    with progress_bar("Exporting", kept_rows(store)) as progress:
        files = export(store, folder, form, progress)
    for table, file in files.items():
        if file.rows:
            say(f"  {file.rows:>12,}  {table}, checksum {file.checksum}")
    written = counted(sum(each.rows for each in files.values()), "row")
    say(f"Wrote {written} to {folder}. tracewatch import {folder} reads it.")


def bring(folder: Path, db: str, output: str) -> None:
    """Puts all that a folder holds into a database, and tells it. Raises ImportRefused, CopyUnproven, Store… errors."""
    from tracewatch.copying import Archive, restore
    from tracewatch.records import Span

    source = Archive(folder)
    with progress_bar("Looking it through", sum(each.rows for each in source.files.values())) as progress:
        source.check(progress)
    with (
        progress_bar("Importing calls", source.rows(Span)) as progress,
        open_db(db, create=True) as store,
    ):
        done = restore(source, store, progress)
    tell(done, output)
    if not done.proven:
        raise CopyUnproven(source=folder, target=without_secrets(db), parts=done.unproven)


def only_archive(files: tuple[Path, ...], others: bool) -> Path | None:
    """The archive to import; None where there is none. Raises UsageError for anything beside it."""
    folders = [each for each in files if each.is_dir()]
    if not folders:
        return None
    from tracewatch.copying import is_archive

    folders = [each for each in folders if is_archive(each)]
    if not folders:
        return None  # what a folder of files is, the reader of files says
    if len(files) > 1 or others:
        raise click.UsageError(f"{folders[0]} holds everything of a database: import it alone, with --db only.")
    return folders[0]
