"""One file into a store: chunk by chunk, each priced and stored whole before the next is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracewatch.errors import ImportRefused
from tracewatch.imports.base import Chunk, Imported, Kind, Progress, Source, Step
from tracewatch.imports.recognising import recognise
from tracewatch.imports.rejects import Rejects
from tracewatch.imports.spans import Converter, Spans
from tracewatch.records import Span
from tracewatch.stores.address import parse_address
from tracewatch.stores.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from tracewatch.pricing import PriceBook

DEFAULT_PROJECT = "default"


def import_file(
    path: str | Path,
    store: Store,
    *,
    kind: Kind | None = None,
    project: str | None = None,
    rejects: str | Path | None = None,
    keep: Sequence[str] = (),
    book: PriceBook | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Brings the rows of a file into a store as spans, those that are not there yet.

    `kind` overrules what the file looks like, `project` what its rows say. Refused rows go to `rejects` (by default
    beside the file). `keep` names text columns to be kept in the metadata. With a `book` rows are priced first.
    `progress` is called after each commit. Raises ImportRefused; what was stored until then stays.
    """
    path = Path(path)
    if is_store(path, store.url):
        raise ImportRefused(path=path, why="it is the database itself; its own llm_usage rows come over by upgrade()")
    source, its_kind = recognise(path, kind)
    imported = Imported(path=str(path), kind=its_kind, format=source.format)
    converter = Converter(its_kind, project=project, keep=keep)
    with Rejects(Path(rejects) if rejects else path.with_name(path.name + ".rejects.jsonl")) as refused:
        try:
            for chunk in source.chunks():
                _take(chunk, source, converter, store, book, refused, imported)
                if progress:
                    progress(_step(chunk, source, imported))
        except OSError as error:
            raise ImportRefused(path=path, why=f"reading it failed ({error.strerror})") from error
    imported.rejects = str(refused.path) if refused.path else None
    imported.in_metadata = tuple(converter.extras.in_metadata)
    imported.left_out = tuple(converter.extras.left_out)
    return imported


def is_store(path: Path, url: str) -> bool:
    """Whether the file is that store's own. Not opened for it: closing a file gives up this process's locks on it."""
    try:
        return path.samefile(parse_address(url).path)
    except OSError:
        return False


def _take(
    chunk: Chunk,
    source: Source,
    converter: Converter,
    store: Store,
    book: PriceBook | None,
    refused: Rejects,
    imported: Imported,
) -> None:
    spans = converter.convert(chunk)
    batch = priced(spans.batch, book)
    if book is not None and batch.num_rows:
        _count_values(imported.unpriced, _unpriced_models(batch))
    new = store.add_batch(Span, batch) if batch.num_rows else 0
    refused.add(source.path, source.place, spans.refused)
    refused.flush()
    count(imported, spans, new)


def priced(batch: pa.RecordBatch, book: PriceBook | None) -> pa.RecordBatch:
    """The batch with its costs, if there is a book to look them up in."""
    if book is None or not batch.num_rows:
        return batch
    from tracewatch.pricing import price_batch

    return price_batch(batch, book)


def _unpriced_models(batch: pa.RecordBatch) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    unpriced = pc.fill_null(pc.equal(batch.column("cost_status"), "unpriced"), False)
    named = "model_name" in batch.schema.names
    models = batch.column("model_name") if named else pa.nulls(batch.num_rows, pa.string())
    return pc.fill_null(pc.filter(models, unpriced), "(no model named)")


def count(imported: Imported, spans: Spans, new: int) -> None:
    """Adds what became of a chunk to the counts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = spans.batch.num_rows
    imported.read += rows + len(spans.refused)
    imported.stored += new
    imported.already_there += rows - new
    imported.naive_times += spans.naive
    for refusal in spans.refused:
        imported.refused[refusal.what] = imported.refused.get(refusal.what, 0) + 1
    if not rows:
        return
    named = "project" in spans.batch.schema.names
    projects = spans.batch.column("project") if named else pa.nulls(rows, pa.string())
    _count_values(imported.projects, pc.fill_null(projects, DEFAULT_PROJECT))
    ends = pc.min_max(spans.batch.column("start_time")).as_py()
    imported.oldest = min(ends["min"], imported.oldest if imported.oldest is not None else ends["min"])
    imported.newest = max(ends["max"], imported.newest if imported.newest is not None else ends["max"])


def _count_values(counts: dict[str, int], values: pa.Array) -> None:
    import pyarrow.compute as pc

    for each in pc.value_counts(values).to_pylist():
        counts[each["values"]] = counts.get(each["values"], 0) + each["counts"]


def _step(chunk: Chunk, source: Source, imported: Imported) -> Step:
    return Step(
        done=chunk.done,
        total=source.total,
        unit=source.unit,
        stored=imported.stored,
        already_there=imported.already_there,
    )
