"""What a thing is, and the words for it: a closed vocabulary, one word for each property."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from splat.datasets.objects.shapes import SHAPES

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.85, 0.10, 0.10),
    "orange": (0.95, 0.50, 0.08),
    "yellow": (0.95, 0.85, 0.12),
    "green": (0.15, 0.62, 0.20),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.52, 0.15, 0.70),
    "white": (0.93, 0.93, 0.93),
    "black": (0.07, 0.07, 0.08),
}
"""RGB as displayed, of each word."""
SIZES: Mapping[str, float] = {"small": 0.26, "large": 0.38}
"""Half of what a thing measures, of an edge of the cube that it lies in."""
FORMS: Mapping[str, tuple[float, float, float]] = {
    "": (1.0, 1.0, 1.0), "tall": (0.7, 0.7, 1.15), "flat": (1.1, 1.1, 0.55),
}  # fmt: skip
"""Factors along x, y and z (up); of the usual form no word is said."""
PATTERNS = ("", "striped", "checkered", "dotted")
FINISHES = ("", "glossy")
PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "form": tuple(FORMS),
    "finish": FINISHES,
    "pattern": PATTERNS,
    "colour": tuple(COLOURS),
    "shape": tuple(SHAPES),
}
"""The words of each property, in the order in which they are said; an empty one is not said."""
ARTICLES = ("a", "an", "the")
VOCABULARY = tuple(word for words in PROPERTIES.values() for word in words if word)
"""All words but articles."""
SILENT = 0.2
"""Share of captions that do not say the size, so that texts without one mean any."""
HELD_OUT = 0.1
"""Share of the pairs of a shape and a colour that no thing to learn from has."""
SIZE_JITTER, FORM_JITTER, COLOUR_JITTER = 0.06, 0.05, 0.05
"""Most by which things of the same words differ: shares, and of colours steps of 0 to 1."""


@dataclass(frozen=True)
class Thing:
    """One thing: its words, and what is its own."""

    shape: str
    size: str
    form: str
    colour: str
    pattern: str
    finish: str
    yaw: float
    """Turn about z, radians."""
    jitter: tuple[float, float, float, float, float]
    """-1 to 1: of size, form and the three channels."""

    def text(self, *, sized: bool = True) -> str:
        """The words for it, with or without its size."""
        said = [getattr(self, name) for name in PROPERTIES if sized or name != "size"]
        words = [word for word in said if word]
        article = "an" if words[0][0] in "aeiou" else "a"
        return " ".join((article, *words))

    @property
    def scale(self) -> tuple[float, float, float]:
        """What the unit shape is stretched by along each axis."""
        size = SIZES[self.size] * (1 + SIZE_JITTER * self.jitter[0])
        x, y, z = FORMS[self.form]
        change = FORM_JITTER * self.jitter[1]
        return size * x * (1 + change), size * y * (1 + change), size * z * (1 - change)

    @property
    def rgb(self) -> tuple[float, float, float]:
        """Its colour, where nothing lights or patterns it."""
        r, g, b = (
            min(max(c + COLOUR_JITTER * j, 0.0), 1.0)
            for c, j in zip(COLOURS[self.colour], self.jitter[2:], strict=True)
        )
        return r, g, b


@cache
def held_out(seed: int) -> frozenset[tuple[str, str]]:
    """Pairs of a shape and a colour that are held out whole: of each shape at most a third, and of
    each colour, so that every word is learned."""
    pairs = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    chosen: list[tuple[str, str]] = []
    for number in np.random.default_rng([seed, 1]).permutation(len(pairs)):
        shape, colour = pairs[number]
        shapes, colours = zip(*chosen, strict=True) if chosen else ((), ())
        if shapes.count(shape) < len(COLOURS) // 3 and colours.count(colour) < len(SHAPES) // 3:
            chosen.append((shape, colour))
        if len(chosen) >= HELD_OUT * len(pairs):
            break
    return frozenset(chosen)


def drawn(seed: int, number: int, *, of_held_out: bool = False) -> tuple[Thing, str]:
    """A thing and its caption, which depend on the seed and the number alone."""
    draw = np.random.default_rng([seed, 2 + of_held_out, number])
    apart = held_out(seed)
    pairs = sorted(pair for pair in _all_pairs() if (pair in apart) == of_held_out)
    shape, colour = pairs[draw.integers(len(pairs))]
    chosen = {
        name: str(draw.choice(words))
        for name, words in PROPERTIES.items()
        if name not in ("shape", "colour")
    }
    # Half of all things are plain, as most that is asked for is.
    if draw.random() < 0.5:
        chosen["pattern"] = ""
    jitter = draw.uniform(-1, 1, 5)
    yaw = float(draw.uniform(0, 2 * np.pi))
    a, b, c, d, e = (float(each) for each in jitter)
    thing = Thing(shape=shape, colour=colour, yaw=yaw, jitter=(a, b, c, d, e), **chosen)
    return thing, thing.text(sized=bool(draw.random() >= SILENT))


def allowed(said: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The words of each property of things that are told by some words only: those of them; where
    it has none of them, all, but of a property that may go unsaid none. ValueError for others."""
    if unknown := [word for word in said if word not in VOCABULARY]:
        raise ValueError(
            f"{', '.join(map(repr, unknown))}: no words for things; expected some of"
            f" {', '.join(VOCABULARY)}"
        )
    found = {}
    for name, words in PROPERTIES.items():
        chosen = tuple(word for word in words if word in said)
        unsaid = ("",) if "" in words else ()
        found[name] = (*unsaid, *chosen) or words
    return found


def _all_pairs() -> list[tuple[str, str]]:
    return [(shape, colour) for shape in SHAPES for colour in COLOURS]
