"""Outside data into a store: usage databases, messages tables and trace exports, as files or in place."""

from tracewatch.imports.base import KINDS, Imported, Kind, Progress, Source, Step
from tracewatch.imports.files import import_file, is_store
from tracewatch.imports.recognising import recognise
from tracewatch.imports.spooling import is_stream, spooled
from tracewatch.imports.upgrading import Upgrade, has_usage, upgrade, usage_project

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
    "is_stream",
    "recognise",
    "spooled",
    "upgrade",
    "usage_project",
]
