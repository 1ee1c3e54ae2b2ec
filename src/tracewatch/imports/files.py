"""One file into a store: chunk by chunk, each priced and stored whole before the next is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracewatch.errors import ImportRefused, ImportStopped, StoreBusy, StoreUnwritable, TracewatchError
from tracewatch.imports.base import Chunk, Imported, Kind, Progress, Source, Step
from tracewatch.imports.recognising import recognise
from tracewatch.imports.rejects import Rejects
from tracewatch.imports.spans import Converter, Spans
from tracewatch.records import MESSAGES_SOURCE, Span
from tracewatch.stores.address import file_of
from tracewatch.stores.base import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from tracewatch.pricing import PriceBook

DEFAULT_PROJECT = "default"


def import_file(
    path: str | Path,
    store: Store,
    *,
    name: str | None = None,
    kind: Kind | None = None,
    table: str | None = None,
    project: str | None = None,
    rejects: str | Path | None = None,
    keep: Sequence[str] = (),
    book: PriceBook | None = None,
    progress: Progress | None = None,
) -> Imported:
    """Brings the rows of a file into a store as spans, those that are not there yet.

    `name` is what people call the file, if not its path. `kind` overrules what the file looks like, `project` what its
    rows say; `table` is the one to read of a SQLite file. Refused rows go to `rejects` (by default beside the file).
    `keep` names text columns to be kept in the
    metadata. With a `book` rows are priced first.
    `progress` is called after each commit. Raises ImportRefused, and ImportStopped where the store gives up; what was
    stored until then stays.
    """
    path = Path(path)
    rejected = Path(rejects) if rejects else path.with_name(path.name + ".rejects.jsonl")
    if is_store(path, store.url):
        raise ImportRefused(path=path, why="it is the database itself; its own llm_usage rows come over by upgrade()")
    source, its_kind = recognise(path, kind, table)
    imported = Imported(path=name or str(path), kind=its_kind, format=source.format)
    converter = Converter(its_kind, project=project, keep=keep)
    _look_for_kept(source, converter)
    with Rejects(rejected) as refused:
        try:
            for chunk, spans, new in _stored(source, converter, store, book, imported):
                refused.add(imported.path, source.place, spans.refused)
                refused.flush()
                count(imported, spans, new)
                if progress:
                    progress(_step(chunk, source, imported))
        except OSError as error:
            raise ImportRefused(path=path, why=f"reading it failed ({error.strerror})") from error
        except (StoreBusy, StoreUnwritable) as error:
            raise stopped(imported, error) from error
    imported.rejects = str(refused.path) if refused.path else None
    imported.in_metadata = tuple(converter.extras.in_metadata)
    imported.left_out = tuple(converter.extras.left_out)
    imported.not_there = converter.extras.missing(source.names)
    return imported


def stopped(imported: Imported, error: TracewatchError) -> ImportStopped:
    """What is said when the store gives up half way."""
    return ImportStopped(path=imported.path, why=error, stored=imported.stored + imported.already_there)


def _look_for_kept(source: Source, converter: Converter) -> None:
    """Raises ImportRefused for columns to be kept that the file has not: once its rows are in, it is too late."""
    missing = converter.extras.missing(source.names)
    if missing and source.all_names:
        why = f"it has no column {', '.join(missing)} to keep; its columns are {', '.join(source.names)}"
        raise ImportRefused(path=source.path, why=why)


def is_store(path: Path, url: str) -> bool:
    """Whether the file is that store's own. Not opened for it: closing a file gives up this process's locks on it."""
    own = file_of(url)
    try:
        return own is not None and path.samefile(own)
    except OSError:
        return False


def _stored(
    source: Source, converter: Converter, store: Store, book: PriceBook | None, imported: Imported
) -> Iterator[tuple[Chunk, Spans, int]]:
    """Each chunk with its spans and how many of them were new, once they are committed."""
    taken: deque[tuple[Chunk, Spans]] = deque()

    def batches() -> Iterator[pa.RecordBatch]:
        for chunk in source.chunks():
            spans = converter.convert(chunk)
            taken.append((chunk, spans))
            batch = priced(spans.batch, book)
            count_unpriced(imported, batch)
            yield batch

    for new in store.load(Span, batches()):
        yield *taken.popleft(), new


def priced(batch: pa.RecordBatch, book: PriceBook | None) -> pa.RecordBatch:
    """The batch with its costs, if there is a book to look them up in. Messages are not calls, and never priced."""
    if not batch.num_rows:
        return batch
    import pyarrow as pa
    import pyarrow.compute as pc

    from tracewatch.pricing import price_batch

    messages = pc.fill_null(pc.equal(batch.column("source"), MESSAGES_SOURCE), False)
    calls, others = batch.filter(pc.invert(messages)), batch.filter(messages)
    if book is not None and calls.num_rows:
        calls = price_batch(calls, book)
    parts = [part for part in (calls, _unmetered(others)) if part.num_rows]
    if len(parts) == 1:
        return parts[0]
    both = pa.concat_tables([pa.Table.from_batches([part]) for part in parts], promote_options="default")
    return both.combine_chunks().to_batches()[0]


def _unmetered(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Messages: the old view of calls whose cost is counted where the calls are, so only a reported cost is kept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = pa.scalar(None, pa.string())
    given = {name: batch.column(name) for name in batch.schema.names}
    cost = given.get("cost_usd", pa.nulls(batch.num_rows, pa.float64()))
    known = pc.fill_null(pc.greater(cost, 0.0), False)
    status, source = (given.get(name, pa.nulls(batch.num_rows, pa.string())) for name in ("cost_status", "cost_source"))
    given["cost_usd"] = pc.if_else(known, cost, pa.scalar(None, pa.float64()))
    given["cost_status"] = pc.if_else(known, pc.fill_null(status, "reported"), "unmetered")
    given["cost_source"] = pc.if_else(known, source, none)
    return pa.RecordBatch.from_pydict(given)


def count_unpriced(imported: Imported, batch: pa.RecordBatch) -> None:
    """Adds the models for whose calls no price was found."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "cost_status" not in batch.schema.names:
        return
    unpriced = pc.fill_null(pc.equal(batch.column("cost_status"), "unpriced"), False)
    named = "model_name" in batch.schema.names
    models = batch.column("model_name") if named else pa.nulls(batch.num_rows, pa.string())
    _count_values(imported.unpriced, pc.fill_null(pc.filter(models, unpriced), "(no model named)"))


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
