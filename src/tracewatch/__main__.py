"""`python -m tracewatch` is the command `tracewatch`."""

from tracewatch.cli import main

main()
