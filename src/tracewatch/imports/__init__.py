"""Outside data into a store: usage databases, messages tables and trace exports, as files or in place."""

from tracewatch.imports.base import KINDS, Imported, Kind, Progress, Source, Step
from tracewatch.imports.files import import_file, is_store
from tracewatch.imports.recognising import recognise
from tracewatch.imports.upgrading import Upgrade, has_usage, upgrade

__all__ = [
    "KINDS",
    "Imported",
    "Kind",
    "Progress",
    "Source",
    "Step",
    "Upgrade",
    "has_usage",
    "import_file",
    "is_store",
    "recognise",
    "upgrade",
]
