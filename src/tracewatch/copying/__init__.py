"""Everything from one store into another: what is there already is not copied again, and what was copied is proven."""

from tracewatch.copying.digests import Digest
from tracewatch.copying.moving import Copied, Part, copy

__all__ = ["Copied", "Digest", "Part", "copy"]
