"""Harmonics rounded for their views: on the grid, and nearer to what the views saw."""

from __future__ import annotations

import pytest
import torch
from formats import some
from torch import Tensor

from splat import formats
from splat.export.harmonics import compensated_constants, rounded_harmonics
from splat.export.view_weights import ViewWeights, harmonics_gram
from splat.formats.settings import Settings
from splat.kernels.harmonics import basis
from splat.types import Gaussians


def sixteenths(values: Tensor, k: int) -> Tensor:
    assert 1 <= k < 16
    return (16 * values).round() / 16


def around(views: int, n: int) -> ViewWeights:
    """Cameras in one part of the sky, as photographers stand."""
    draw = torch.Generator().manual_seed(1)
    centres = torch.randn(views, 3, generator=draw) + torch.tensor([0.0, 0.0, -12.0])
    return ViewWeights(centres, torch.rand(views, n, generator=draw), torch.ones(n))


def errors(found: Gaussians, given: Gaussians, looked: ViewWeights) -> Tensor:
    """Squared differences of the colours that the views see, [n]."""
    direction = torch.nn.functional.normalize(given.means[None] - looked.centres[:, None], dim=-1)
    every = basis(direction.reshape(-1, 3), 3).reshape(*direction.shape[:2], 16)
    off = torch.einsum("vnk,nkc->vnc", every, found.colors - given.colors).square().sum(-1)
    return (off * looked.masses / looked.masses.sum(0)).sum(0)


def test_errors_are_taken_over_by_what_is_rounded_later() -> None:
    given = some(400)
    looked = around(20, 400)
    found = rounded_harmonics(given, looked, sixteenths)
    rest = found.colors[:, 1:]
    torch.testing.assert_close(rest, (16 * rest).round() / 16, rtol=0, atol=0)
    plain = given.colors.clone()
    plain[:, 1:] = (16 * plain[:, 1:]).round() / 16
    before = errors(Gaussians(**{**vars(given), "colors": plain}), given, looked)
    after = errors(found, given, looked)
    assert after.mean() < before.mean() / 10


def test_rows_that_no_view_sees_are_rounded_as_they_are() -> None:
    given, looked = some(50), around(5, 50)
    looked.masses[:, 10:20] = 0
    found = rounded_harmonics(given, looked, sixteenths)
    expected = (16 * given.colors[10:20, 1:]).round() / 16
    torch.testing.assert_close(found.colors[10:20, 1:], expected, rtol=0, atol=0)
    torch.testing.assert_close(found.colors[10:20, 0], given.colors[10:20, 0])


def test_one_view_and_one_coefficient_by_hand() -> None:
    """Seen along z alone, the constant takes over exactly what band 1's z loses."""
    given = some(1, degree=1)
    given.means[0] = 0
    given.colors[0, 2] = torch.tensor([0.30, -0.29, 0.0])
    looked = ViewWeights(torch.tensor([[0.0, 0.0, -3.0]]), torch.ones(1, 1), torch.ones(1))
    found = rounded_harmonics(given, looked, lambda values, k: (4 * values).round() / 4)
    along = torch.tensor([[0.0, 0.0, 1.0]])
    before, after = (torch.einsum("nk,nkc->nc", basis(along, 1), g.colors) for g in (given, found))
    torch.testing.assert_close(after, before, rtol=0, atol=5e-4)
    torch.testing.assert_close(found.colors[0, 2], torch.tensor([0.25, -0.25, 0.0]))


def test_what_is_seen_together() -> None:
    given, looked = some(3), around(4, 3)
    found = harmonics_gram(given.means, looked, slice(0, 3), 1)
    expected = torch.zeros(3, 4, 4)
    for v in range(4):
        direction = torch.nn.functional.normalize(given.means - looked.centres[v], dim=1)
        b = basis(direction, 1)
        expected += (
            (looked.masses[v] / looked.masses.sum(0))[:, None, None] * b[:, :, None] * b[:, None]
        )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("suffix", [".spz", ".html", ".compressed.ply"])
def test_the_grid_is_what_the_format_keeps(suffix: str) -> None:
    given = some(200)
    grid = formats.harmonics_grid(suffix, Settings())
    assert grid is not None
    found = formats.quantiser(suffix, given)(given).colors
    for k in range(1, 16):
        on_grid = grid(given.colors[:, k], k)
        torch.testing.assert_close(on_grid, found[:, k])
        torch.testing.assert_close(grid(on_grid, k), on_grid)


def test_constants_make_up_for_what_a_palette_loses() -> None:
    given, looked = some(300), around(20, 300)
    drawn = given.colors + 0.1 * torch.randn(300, 16, 3, generator=torch.Generator().manual_seed(2))
    found = compensated_constants(given, looked, drawn)
    plain, made_up = (torch.cat([g.colors[:, :1], drawn[:, 1:]], 1) for g in (given, found))
    before, after = (
        errors(Gaussians(**{**vars(given), "colors": colors}), given, looked)
        for colors in (plain, made_up)
    )
    assert (after <= before + 1e-6).all() and after.mean() < 0.7 * before.mean()


def test_formats_without_a_grid() -> None:
    assert formats.harmonics_grid(".ply") is None and formats.harmonics_grid(".glb") is None
