"""The cases that benchmarks run on: made when they are first asked for, then kept under benchmarks/cases/."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASES = HERE / "cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case: its name, the world whose mean it counts for, and the words that make it."""

    name: str
    world: str
    words: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return CASES / self.name


def _llmbench(name: str, seed: int, *words: str) -> Asked:
    quiet = ", quiet" if "quiet" in words else ""
    return Asked(name=name, world=f"llmbench{quiet}", words=("llmbench.generate", "--seed", str(seed), *words))


def _bench2(product: str, seed: int, *words: str) -> Asked:
    quiet = "quiet" in words
    return Asked(
        name=f"{product}{seed}{'q' if quiet else ''}",
        world=f"{product}, quiet" if quiet else product,
        words=("bench2.generate", "--world", product, "--seed", str(seed), *words),
    )


def _arrivals(seed: int, *words: str) -> Asked:
    quiet = "--quiet" in words
    return Asked(
        name=f"arrivals{seed}{'q' if quiet else ''}",
        world="arrivals, quiet" if quiet else "arrivals",
        words=("arrivals", "--seed", str(seed), *words),
    )


# Seeds on which nothing was ever tuned: llmbench from 200, bench2 from 80, arrivals from 400 on.
MEASURING = (
    _llmbench("dev201", 201),
    _llmbench("dev202", 202),
    _llmbench("dev203sparse", 203, "--rate", "0.3"),
    _llmbench("renamed204", 204, "--world", "3"),
    _llmbench("renamed205", 205, "--world", "7"),
    _llmbench("renamed206busy", 206, "--world", "5", "--rate", "2"),
    _llmbench("quiet207", 207, "--suite", "quiet"),
    _llmbench("quiet208", 208, "--suite", "quiet", "--world", "4"),
    _bench2("brain", 81),
    _bench2("brain", 82),
    _bench2("brain", 83, "--suite", "quiet"),
    _bench2("saas", 81),
    _bench2("saas", 82),
    _bench2("saas", 83, "--suite", "quiet"),
    _arrivals(401),
    _arrivals(402),
    _arrivals(403),
    _arrivals(404, "--quiet"),
)

# What constants may be fitted to: other seeds of the same worlds.
TUNING = (
    _llmbench("dev104", 104),
    _llmbench("renamed105", 105, "--world", "3"),
    _llmbench("quiet150", 150, "--suite", "quiet"),
    _bench2("brain", 11),
    _bench2("brain", 12),
    _bench2("saas", 13),
    _arrivals(301),
    _arrivals(302),
    _arrivals(303),
    _arrivals(305, "--quiet"),
)


def made(asked: Asked) -> Path:
    """The folder of a case, which is made unless it is there; it takes its name when it is whole."""
    if asked.folder.exists():
        return asked.folder
    CASES.mkdir(exist_ok=True)
    partial = CASES / f".{asked.name}"
    command = [sys.executable, "-m", *asked.words, "--out", str(partial)]
    subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.DEVNULL)
    partial.rename(asked.folder)
    return asked.folder


def begin_of(folder: Path) -> str:
    """When a case begins to count: what comes before is for learning."""
    return str(json.loads((folder / "truth.json").read_text(encoding="utf-8"))["meta"]["eval_start"])


def judge(folder: Path) -> tuple[Any, Any]:
    """The score of llmbench, which is a package beside this one, and the case as it reads it."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    from llmbench.score import Case, score

    return score, Case(str(folder))
