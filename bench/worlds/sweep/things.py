"""What furniture and clutter are made of."""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.colours import dimmed, edge, mixed, over
from splat.datasets.tracer.vectors import Array, Numbers, Vector
from worlds.pattern import Paint, flat, grain, hashed, noise, within, writing


def _rug(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Woven: a border, diamonds within."""
    del face, z
    pile = 0.6 * noise(x * 110, y * 110, 91) + 0.4 * noise(x * 30, y * 30, 92)
    to_rim = np.minimum(1.15 - np.abs(x), 0.8 - np.abs(y))
    i, j = np.floor((x + y) / 0.24), np.floor((x - y) / 0.24)
    a, b = (x + y) / 0.24 - i - 0.5, (x - y) / 0.24 - j - 0.5
    diamond = edge(0.3 - np.maximum(np.abs(a), np.abs(b)), 0.03)
    base = over(
        mixed(pile, "8a4a40", "6a352f"), diamond, mixed(hashed(i, j, 93), "cdbb94", "41566a")
    )
    border = within(to_rim, 0.08, 0.16) + 0 * x
    base = over(base, border, mixed(edge(np.sin((x + y) * 60), 0.3), "d4c39d", "334656"))
    return dimmed(base, 0.65 + 0.6 * pile)


def _wood(light: str, dark: str, seed: int, upright: bool = False) -> Paint:
    def paint(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
        a, b = flat(face, x, y, z)
        along, across = (b, a) if upright else (a, b)
        fibre = grain(along, across + 0.3 * face, seed)
        return mixed(np.clip(1.4 * fibre - 0.25, 0, 1), light, dark)

    return paint


def _cabinet(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Three drawers to the room's side."""
    base = _wood("c2b49a", "8f7c5f", 101)(face, x, y, z)
    front = face == 0
    drawer = np.floor((z + 0.5) / (1 / 3))
    b = (z + 0.5) / (1 / 3) - drawer - 0.5
    rim = edge(np.maximum(np.abs(b) - 0.46, (np.abs(y) - 0.43) * 3), 0.01) * front
    base = dimmed(base, 1 - 0.55 * rim)
    return over(base, within(y, -0.07, 0.07) * within(b, 0.08, 0.17, 0.02) * front, "3c3a38")


def _cloth(light: str, dark: str, seed: int, fine: float = 55.0) -> Paint:
    def paint(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
        a, b = flat(face, x, y, z)
        weave = 0.5 * noise(a * fine, b * fine, seed) + 0.5 * noise(a * 17, b * 17, seed + 1)
        seam = edge(np.abs(np.sin(a * 3.65)) - 0.03, 0.03)
        return dimmed(mixed(np.clip(1.8 * weave - 0.4, 0, 1), light, dark), 0.6 + 0.4 * seam)

    return paint


def _lamp(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """A paper globe with ribs; its foot and pole are the same, too thin to tell."""
    del face
    ribs = edge(np.sin(z * 210), 0.7)
    return mixed(
        np.clip(0.3 * ribs + 0.8 * noise(np.arctan2(y, x) * 9, z * 45, 111), 0, 1),
        "ead9b8",
        "b08f5e",
    )


def _books(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Spines, each of its own width, colour and title; pages on top."""
    slot = np.floor(x / 0.042)
    a = x / 0.042 - slot - 0.5
    own = hashed(slot, slot, 121)
    base = mixed(own, "5d3a36", "b9a27c")
    base = over(
        base,
        edge(np.abs(own - 0.5) - 0.28, 0.01),
        mixed(hashed(slot, slot, 122), "2f4858", "6b8068"),
    )
    title = within(z, -0.05, 0.07) * edge(0.26 - np.abs(a), 0.06)
    base = over(base, title * writing(z, a + slot, 0.45, 123), "efe2c0")
    bands = edge(np.sin(z * 95 + 6.28 * own) - 0.86, 0.1)
    base = over(base, bands * (own > 0.4), "d8b25c")
    base = dimmed(base, 1 - 0.7 * edge(np.abs(a) - 0.45, 0.04))
    return over(base, (face == 5) * 1.0, mixed(noise(x * 300, y * 9, 124), "e9e0cb", "b9ae94"))


def _boxes(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Storage boxes with a label."""
    a, b = flat(face, x, y, z)
    base = mixed(noise(a * 60, b * 60, 131), "7d8f96", "56676f")
    base = dimmed(base, 1 - 0.4 * edge(np.abs(b - 0.05) - 0.045, 0.004) * edge(np.sin(a * 90), 0.6))
    label = within(a, -0.07, 0.07) * within(b, -0.04, 0.04)
    return over(over(base, label, "e9e4d6"), label * writing(a, b, 0.025, 132), "2f2f2f")


def _carton(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Cardboard with tape and print."""
    a, b = flat(face, x, y, z)
    base = mixed(
        0.6 * noise(a * 8, b * 90, 141) + 0.4 * noise(a * 35, b * 35, 142), "bd9362", "94693f"
    )
    tape = np.where(face < 4, within(a, -0.03, 0.03) * (b > 0.02), within(b, -0.03, 0.03))
    base = over(base, 0.7 * tape, "d9c79b")
    ink = writing(a, b, 0.05, 143) * within(a, -0.17, -0.05) * within(b, -0.12, 0.1)
    return over(base, 0.85 * ink, "3b2a1c")


def _ball(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Panels of three colours."""
    del face
    wedge = np.floor((np.arctan2(y, x) / (2 * np.pi) + 0.5) * 6)
    base = mixed((wedge % 2) * 1.0, "c8553d", "e8dcc2")
    base = over(base, edge(np.abs(z) - 0.095, 0.004), "2f4f6b")
    return dimmed(base, 0.75 + 0.35 * noise(x * 70 + z * 31, y * 70, 151))


def _bag(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Canvas with bands."""
    del face
    turn = np.arctan2(y, x)
    weave = 0.5 * noise(turn * 25, z * 90, 161) + 0.5 * noise(turn * 7, z * 25, 162)
    base = mixed(np.clip(1.5 * weave - 0.25, 0, 1), "6f7f5a", "46522f")
    base = over(base, within(z, -0.1, -0.05) + within(z, 0.06, 0.1), "c9a96a")
    return dimmed(base, 1 - 0.4 * (np.abs(z - 0.17) < 0.008))


def _bottle(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """Green, with a paper label."""
    del face
    turn = np.arctan2(y, x)
    base = mixed(noise(turn * 4, z * 40, 171), "3f6b4a", "28503a")
    label = within(z, -0.06, 0.04)
    return over(over(base, label, "e6dfc8"), label * writing(turn * 0.06, z, 0.02, 172), "7a2d2d")


def _person(face: Numbers, x: Array, y: Array, z: Array) -> Vector:
    """A coat with buttons and stripes."""
    del face
    turn = np.arctan2(y, x)
    weave = noise(turn * 12, z * 60, 181)
    base = mixed(np.clip(0.7 * weave + 0.3 * edge(np.sin(z * 42), 0.4), 0, 1), "35506e", "1f2c3d")
    return over(base, edge(np.sin(turn * 6) - 0.9, 0.05), "b98d4a")


PAINTS: dict[str, Paint] = {
    "rug": _rug,
    "table": _wood("b98a5a", "7c5433", 201),
    "cabinet": _cabinet,
    "sofa": _cloth("7f8b92", "4f5b63", 211),
    "lamp": _lamp,
    "shelf": _wood("d9c09a", "a78559", 221),
    "books": _books,
    "boxes": _boxes,
    "carton": _carton,
    "ball": _ball,
    "bag": _bag,
    "bottle": _bottle,
    "person": _person,
}
"""By the names of `OBJECTS`."""
