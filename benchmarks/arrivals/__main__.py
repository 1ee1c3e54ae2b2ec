"""Writes a case: python -m benchmarks.arrivals --seed N --out DIR [--quiet]"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .case import case_of


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seed", type=int, required=True)
    words.add_argument("--out", type=Path, required=True)
    words.add_argument("--quiet", action="store_true", help="nothing goes wrong: every alert is false")
    words.add_argument("--days", type=int, default=28)
    words.add_argument("--warmup", type=int, default=10, help="days without faults at the beginning")
    chosen = words.parse_args()
    case = case_of(chosen.seed, quiet=chosen.quiet, days=chosen.days, warmup=chosen.warmup)
    chosen.out.mkdir(parents=True, exist_ok=True)
    case.traces.to_parquet(chosen.out / "traces.parquet", index=False)
    case.labels.to_parquet(chosen.out / "labels.parquet", index=False)
    (chosen.out / "truth.json").write_text(json.dumps(case.truth, indent=1), encoding="utf-8")
    meta, incidents = case.truth["meta"], case.truth["incidents"]
    print(f"{chosen.out}: {meta['rows']} rows of '{meta['world']}'", end=", ")
    print(f"{len(incidents)} incidents, {len(case.truth['points'])} points")
    for each in incidents:
        roots = {name: each["effects"][name] for name in each["metrics"]}
        when = f"{each['start'][5:16]} to {each['end'][5:16]}"
        print(" ", each["id"], each["kind"], each["level"], when, each["slice"], each["affected_calls"], roots)


if __name__ == "__main__":
    main()
