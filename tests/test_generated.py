"""What bench/generated.py and bench/dreamt.py say of things, of themselves and of wrong ones."""

from __future__ import annotations

import math
from dataclasses import replace

import dreamt
import generated
import numpy as np
import pytest
import torch

from splat.datasets.objects import surface
from splat.datasets.objects.words import Thing
from splat.generate.field import field_of
from splat.generate.words import Vocabulary
from splat.math import SH_C0
from splat.types import Gaussians

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
    body = generated.solid(surface.of_thing(thing, surface.Cube.about(thing)).means)
    assert (generated.characteristic(body) <= 0) == opened


def test_gaps_are_no_holes_of_things_that_have_none() -> None:
    def of(holed: bool, opened: bool) -> generated.Judged:
        return generated.Judged("", True, 1.0, 1.0, holed, opened, 1.0, 1.0)

    found = generated.summary([of(True, True), of(True, False), *[of(False, False)] * 3])
    assert found["holes open"] == 0.5 and found["no hole of others"] == 1
    gaps = generated.summary([of(True, True), of(False, True), *[of(False, False)] * 3])
    assert gaps["holes open"] == 1 and gaps["no hole of others"] == 0.75
    assert generated.summary([of(False, False)])["holes open"] is None


def test_overlap_is_whole_of_itself_and_less_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "TURNS", 8)
    cube = replace(PLAIN, shape="cube", yaw=np.pi / 4)
    about = surface.Cube.about(cube)
    means = surface.of_thing(cube, about).means
    assert generated.best_overlap(means, cube) > 0.95
    assert generated.best_overlap(means, replace(PLAIN, shape="torus")) < 0.5
    extent = about.edge * generated.extent(means)
    assert extent == pytest.approx(2 * 0.38 * 0.68 * np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_thing_that_is_made_as_it_is_meant_is_right(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "TURNS", 1)
    thing = replace(PLAIN, shape="mug", size=size)
    about = surface.Cube.about(thing)
    framed = _of_thing(thing, about)
    learned = field_of(about.edge * framed.means.double().numpy(), 16).numpy().reshape(1, -1)

    def judged(large: float) -> generated.Judged:
        made = replace(framed, means=large * about.edge * framed.means)
        return generated.judged(made, large * about.edge, "", thing, learned)

    right, larger = judged(1.0), judged(1.3)
    assert right.colour and right.opened and right.size == pytest.approx(1, abs=1e-6)
    assert right.overlap > 0.98 and right.nearest == pytest.approx(0, abs=1e-5)
    # A wrong size is a wrong size, and no other shape.
    assert larger.size == pytest.approx(1.3, abs=1e-6) and larger.overlap < 0.8
    assert larger.opened and larger.nearest > 0.1


def test_colours_are_told_under_patterns_and_light() -> None:
    for pattern in ("", "striped"):
        thing = replace(PLAIN, colour="orange", pattern=pattern, finish="glossy")
        rgb = surface.of_thing(replace(thing, jitter=(1.0, -1.0, 1.0, -1.0, 0.5))).rgb.mean(0)
        assert generated.nearest_colour(rgb, thing) == "orange"
        assert generated.nearest_colour(rgb[::-1], thing) != "orange"


def test_the_kernel_distance_by_hand() -> None:
    one, other = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    # (xy + 1)^3: 1 of either pair within, and 1, 1, 1 and 27 across.
    assert generated.kid(one, other) == pytest.approx(1 + 1 - 2 * 30 / 4)
    draw = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 400, 8, generator=draw)
    alike = generated.kid(first, second)
    assert abs(alike) < 0.01 < generated.kid(first, second + 0.2)


def _of_thing(thing: Thing, cube: surface.Cube = surface.WORLD) -> Gaussians:
    """A thing of the corpus as Gaussians, in the frame of a cube."""
    found = surface.of_thing(thing, cube)
    n = len(found.means)
    return Gaussians(
        torch.from_numpy(found.means).float(), torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        torch.full((n, 3), 0.5 * surface.CELL), torch.full((n,), 0.95),
        ((torch.from_numpy(found.rgb).float() - 0.5) / SH_C0)[:, None], 0,
    )  # fmt: skip


def test_a_gaussian_is_solid_where_it_stops_half_of_the_light() -> None:
    one = Gaussians(
        torch.zeros(1, 3), torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0.1, 0.2, 0.1]]),
        torch.tensor([0.9]), torch.zeros(1, 1, 3), 0,
    )  # fmt: skip
    reach = math.sqrt(2 * math.log(0.9 / dreamt.SOLID))
    volume = 4 / 3 * math.pi * reach**3 * 0.1 * 0.2 * 0.1
    assert dreamt.filled(one, 40).sum() / 39**3 == pytest.approx(volume, rel=0.1)


def test_a_dream_that_is_the_thing_itself_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dreamt, "TURNS", 1)
    thing = replace(PLAIN, shape="torus", colour="blue")
    right = dreamt.judged(_of_thing(thing), thing, "", 1.0)
    assert right.colour and right.overlap > 0.8 and right.opened
    wrong = dreamt.judged(_of_thing(PLAIN), thing, "", 1.0)
    assert not wrong.colour and wrong.overlap < 0.75 and not wrong.opened


def test_what_is_dreamt_is_in_words_that_the_teacher_knows() -> None:
    few = Vocabulary(
        ("large", "red", "blue", "cube", "torus"),
        {"size": ("large",), "colour": ("red", "blue"), "shape": ("cube", "torus")},
    )
    texts = [text for text, _ in dreamt.things(few, 4)]
    assert texts == ["a large red cube", "a large blue torus", "a large blue cube",
                     "a large red torus"]  # fmt: skip
    for text in texts:
        few.read(text)
