"""The server: `make_app(settings)` is the application that `tracewatch serve` runs."""

from tracewatch.web.app import make_app

__all__ = ["make_app"]
