"""Everything from one store into another: what is there already is not copied again, and what was copied is proven."""

from tracewatch.copying.archives import Archive, is_archive
from tracewatch.copying.digests import Digest
from tracewatch.copying.moving import Copied, Part, copy, export, kept_rows, restore

__all__ = ["Archive", "Copied", "Digest", "Part", "copy", "export", "is_archive", "kept_rows", "restore"]
