"""Contributions from a list of pixels and Gaussians, and the hooks of the zero-feature trick."""

from __future__ import annotations

from dataclasses import replace

import pytest
import reference
import torch
from test_kernels import NAMES, intrinsics, leaves, scene
from test_survey import CASES, SCORES, case, maps_of, oracle, surveyed
from torch import Tensor

from splat.render.hooks import weigh_in, zeros_for
from splat.render.pairs import (
    Pairs,
    bands,
    contributions,
    no_contributions,
    strongest,
    summed_parts,
)
from splat.types import Gaussians, Needs, ScreenGradient


def listed(
    given: dict[str, Tensor], degree: int | None, size: tuple[int, int], antialiased: bool
) -> tuple[Pairs, Tensor, Tensor]:
    """The pairs that the reference draws, and all opacities and colours as drawn."""
    picture, _ = oracle(given, degree, size, antialiased)
    order, n = picture["order"], len(given["means"])
    weights, _, _ = reference.blend(picture["values"], picture["opacities"])
    pixels, columns = (weights > 0).nonzero().unbind(1)
    opacities = torch.zeros(n, dtype=torch.float64).index_copy_(0, order, picture["opacities"])
    colors = torch.zeros(n, 3, dtype=torch.float64).index_copy_(0, order, picture["rgb"])
    return Pairs(pixels, order[columns], picture["values"][pixels, columns]), opacities, colors


def worst(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-9))


@pytest.mark.parametrize(("kind", "count", "degree", "size", "antialiased"), CASES)
def test_equal_brute_force_and_the_native_survey(
    kind: str, count: int, degree: int | None, size: tuple[int, int], antialiased: bool
) -> None:
    given, truth = case(kind, count, degree, size, antialiased)
    maps = maps_of(size)
    native, _ = surveyed(given, degree, size, antialiased, maps)
    found = contributions(
        *listed(given, degree, size, antialiased), given["background"], maps.flatten(0, 1)
    )
    for name in SCORES:
        value = getattr(found, name)
        assert value.shape == truth[name].shape
        assert worst(value, truth[name]) <= 1e-9, name
        assert worst(value, getattr(native, name)) <= 1e-9, name


def test_a_picture_in_bands(size: tuple[int, int] = (61, 45)) -> None:
    given, truth = case("plain", 90, 3, size, False)
    pairs, opacities, colors = listed(given, 3, size, False)
    maps, parts = maps_of(size).flatten(0, 1), []
    for first, end in ((0, 16), (16, 32), (32, 45)):
        low, high = first * size[0], end * size[0]
        here = (pairs.pixels >= low) & (pairs.pixels < high)
        part = Pairs(pairs.pixels[here] - low, pairs.rows[here], pairs.values[here])
        parts.append(contributions(part, opacities, colors, given["background"], maps[low:high]))
    found = summed_parts(parts)
    for name in SCORES:
        assert worst(getattr(found, name), truth[name]) <= 1e-9, name


def test_nothing_drawn() -> None:
    none = Pairs(*torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0))
    for m in (0, 2):
        found = contributions(none, torch.ones(5), torch.ones(5, 3), None, torch.ones(12, m))
        for part in (found, no_contributions(torch.ones(5), m)):
            for name in SCORES:
                value = getattr(part, name)
                assert value.shape == ((5, m) if name == "weighted" else (5,))
                assert (value == 0).all()


def test_the_nearest_of_equals_is_the_strongest() -> None:
    w = torch.tensor([0.25, 0.25, 0.1, 0.2, 0.3, 0.3])
    pixel = torch.tensor([0, 0, 1, 2, 2, 2])
    assert strongest(w, pixel, 3).tolist() == [0, 2, 4]


def test_bands_hold_what_they_may() -> None:
    starts = [0, 5, 5, 9, 30, 31, 33]
    assert list(bands(starts, 10)) == [(0, 3), (3, 4), (4, 6)]
    assert list(bands(starts, 100)) == [(0, 6)]
    assert list(bands(starts, 1)) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]
    assert list(bands([0, 4], 1)) == [(0, 1)]


SIZE = (61, 45)


def drawn_by_torch(
    given: dict[str, Tensor], zeros: Tensor | None, background: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Channels as gsplat lays them out: 3, then those of `zeros`."""
    picture = reference.render(
        *(given[name] for name in NAMES[:5]), 3, given["pose"], *intrinsics(*SIZE), *SIZE,
        background=background, features=zeros,
    )  # fmt: skip
    return torch.cat([picture["image"], picture["features"]], -1)[None], picture


def test_zero_features_sum_weights_and_change_nothing() -> None:
    given, truth = case("plain", 90, 3, SIZE, False)
    plain, tricked = leaves(given, torch.float64), leaves(given, torch.float64)
    drawn, _ = drawn_by_torch(plain, None, plain["background"])
    drawn[0, ..., :3].square().sum().backward()

    maps = maps_of(SIZE)
    needs = Needs(weights=tuple(Unused(k) for k in range(maps.shape[2])))
    zeros = zeros_for(Gaussians(*(tricked[name] for name in NAMES[:5]), sh_degree=3), needs)
    assert zeros is not None and zeros.shape == (90, 3)
    drawn, _ = drawn_by_torch(tricked, zeros, tricked["background"])
    gradient = ScreenGradient()
    weigh_in(drawn, zeros, 3, gradient)
    gradient.pixels = maps
    drawn[0, ..., :3].square().sum().backward()
    assert gradient.sums is not None
    assert worst(gradient.sums, truth["weighted"]) <= 1e-9
    for name in ("means", "quats", "scales", "opacities", "colors", "pose", "background"):
        assert torch.equal(plain[name].grad, tricked[name].grad), name


def test_without_maps_there_are_no_sums() -> None:
    given = leaves(scene("plain", 20, 3), torch.float64)
    needs = Needs(weights=(Unused(0),))
    gaussians = Gaussians(*(given[name] for name in NAMES[:5]), sh_degree=3)
    assert zeros_for(gaussians, replace(needs, weights=())) is None
    with torch.no_grad():
        assert zeros_for(gaussians, needs) is None
    for pixels in (None, torch.zeros(SIZE[1], SIZE[0], 2)):
        zeros = zeros_for(gaussians, needs)
        assert zeros is not None
        drawn, _ = drawn_by_torch(given, zeros, given["background"])
        gradient = ScreenGradient(pixels=pixels)
        weigh_in(drawn, zeros, 3, gradient)
        if pixels is None:
            drawn.sum().backward()
            assert gradient.sums is None
        else:
            with pytest.raises(ValueError, match="given 2 maps, the picture was drawn for 1"):
                drawn.sum().backward()


class Unused:
    """A map that is only counted."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, rendered: object, batch: object) -> Tensor:
        raise AssertionError("it was made")
