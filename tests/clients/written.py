"""What was recorded, as it lies in the file."""

import json
import sqlite3

import tracewatch


def read_rows(path):
    """All rows of the file as dictionaries without NULLs, JSON columns read."""
    assert tracewatch.flush()
    if not path.exists():
        return []
    store = sqlite3.connect(path)
    store.row_factory = sqlite3.Row
    try:
        found = [dict(each) for each in store.execute("SELECT * FROM llm_traces ORDER BY start_time, seq")]
    finally:
        store.close()
    for each in found:
        for name in ("metadata", "chunk_usage", "warning_flags"):
            each[name] = json.loads(each[name]) if each[name] else None
        each.setdefault("response_id", (each["metadata"] or {}).get("response_id"))
    return [{name: value for name, value in each.items() if value is not None} for each in found]
