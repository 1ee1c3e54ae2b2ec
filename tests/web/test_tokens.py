"""The colours: words can be read on every ground, and severities be told apart by eyes of all kinds."""

import itertools
import math
import re

import pytest

from tracewatch.web.assets import FOLDER

TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+):\s*light-dark\((#\w{6}),\s*(#\w{6})\)", (FOLDER / "app.css").read_text(encoding="utf-8")
    )
}
GROUNDS = ("bg", "surface", "sunken", "hover")
WORDS = ("text", "text-2", "text-3", "accent", "crit", "high", "med", "low", "ok")
SEVERITIES = ("crit", "high", "med", "low")
# Machado, Oliveira & Fernandes 2009, full severity.
EYES = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def _linear(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _light(colour):
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    dark, light = sorted((_light(one), _light(other)))
    return (light + 0.05) / (dark + 0.05)


def _oklab(colour, eye):
    seen = [sum(row[at] * part for at, part in enumerate(_linear(colour))) for row in EYES[eye]]
    red, green, blue = (max(0.0, part) for part in seen)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.793617785 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.428592205 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.808675766 * short,
    )


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_can_be_read(theme):
    low = {
        (word, ground): _contrast(TOKENS[word][theme], TOKENS[ground][theme]) for word in WORDS for ground in GROUNDS
    }
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    washes = {each: _contrast(TOKENS[each][theme], TOKENS[f"{each}-wash"][theme]) for each in (*SEVERITIES, "ok")}
    assert min(washes.values()) >= 4.5
    assert _contrast(TOKENS["on-accent"][theme], TOKENS["accent"][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_marks_can_be_seen(theme):
    marks = [
        *(f"{each}-mark" for each in (*SEVERITIES, "ok")),
        *(f"c{number}" for number in range(1, 7)),
        "control",
        "series",
    ]
    assert min(_contrast(TOKENS[each][theme], TOKENS["surface"][theme]) for each in marks) >= 3


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eye", EYES)
def test_severities_can_be_told_apart(theme, eye):
    seen = [_oklab(TOKENS[f"{each}-mark"][theme], eye) for each in SEVERITIES]
    assert min(math.dist(one, other) for one, other in itertools.combinations(seen, 2)) * 100 >= 5
