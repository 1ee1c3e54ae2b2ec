"""Runs the benchmarks and keeps what they say: python -m benchmarks [NAME …]

Results go to benchmarks/results/NAME.txt, with the machine they were measured on.
"""

from __future__ import annotations

import platform
import sys
import time
from importlib import import_module
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = (
    *("speed", "scaling", "quality", "live", "calibration", "series", "incidents", "attribution"),
    *("capture", "clients", "otlp", "ingest", "startup", "pages", "listeners", "promptness", "soak", "segments"),
    *("clickhouse", "postgresql"),
)


def main() -> None:
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")] or list(NAMES)
    for name in wanted:
        if name not in NAMES:
            raise SystemExit(f"there is no benchmark '{name}': there are {', '.join(NAMES)}")
        print(f"== {name}", flush=True)
        lines = [f"python -m benchmarks {name}", _machine(), ""]
        for line in import_module(f"benchmarks.{name}").run():
            print(line, flush=True)
            lines.append(line)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _machine() -> str:
    import os

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{day}, {platform.system()} {platform.machine()}, {cores} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
