"""What bench/generated.py says of things, of themselves and of wrong ones."""

from __future__ import annotations

from dataclasses import replace

import generated
import numpy as np
import pytest

from splat.datasets.objects import surface
from splat.datasets.objects.words import Thing

PLAIN = Thing("sphere", "large", "", "red", "", "", 0.0, (0.0, 0.0, 0.0, 0.0, 0.0))


def test_holes_are_told_by_the_euler_characteristic() -> None:
    block = np.zeros((6, 6, 6), bool)
    block[1:5, 1:5, 1:5] = True
    assert generated.characteristic(block) == 1
    through = block.copy()
    through[2, 2, :] = False
    assert generated.characteristic(through) == 0
    through[4, 4, :] = True  # a speck apart changes nothing, nor does a second piece
    through[0, 0, 0] = False
    assert generated.characteristic(through) == 0
    twice = through.copy()
    twice[3, 3, :] = False  # beside the first, edge to edge: still a hole of its own
    assert generated.characteristic(twice) == -1


@pytest.mark.parametrize(
    ("shape", "size", "opened"),
    [("torus", "small", True), ("mug", "large", True), ("mug", "small", True),
     ("sphere", "large", False), ("bowl", "large", False), ("chair", "large", False)],
)  # fmt: skip
def test_true_things_have_the_holes_that_they_have(shape: str, size: str, opened: bool) -> None:
    thing = replace(PLAIN, shape=shape, size=size, yaw=0.4)
    body = generated.solid(surface.of_thing(thing).means)
    assert (generated.characteristic(body) <= 0) == opened


def test_overlap_is_whole_of_itself_and_less_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "TURNS", 8)
    cube = replace(PLAIN, shape="cube", yaw=np.pi / 4)
    means = surface.of_thing(cube).means
    assert generated.best_overlap(means, cube) > 0.95
    assert generated.best_overlap(means, replace(PLAIN, shape="torus")) < 0.5
    assert generated.extent(means) == pytest.approx(2 * 0.38 * 0.68 * np.sqrt(2), rel=0.05)


def test_colours_are_told_under_patterns_and_light() -> None:
    for pattern in ("", "striped"):
        thing = replace(PLAIN, colour="orange", pattern=pattern, finish="glossy")
        rgb = surface.of_thing(replace(thing, jitter=(1.0, -1.0, 1.0, -1.0, 0.5))).rgb.mean(0)
        assert generated.nearest_colour(rgb, thing) == "orange"
        assert generated.nearest_colour(rgb[::-1], thing) != "orange"
