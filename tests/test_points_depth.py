"""Depth between the points of the scene itself, and what it takes out of the air."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.interpolate import LinearNDInterpolator
from steps import model_of, step_of
from torch import Tensor

from splat import api
from splat.guidance import PointsDepth
from splat.guidance.points import (
    EVERY,
    NEAR_ENOUGH,
    SIDE,
    TEXTURE,
    depth_between,
    plainness,
)
from splat.guidance.terms import GROSS, LATE
from splat.options import Options, Watching
from splat.runs import checkpoint
from splat.strategies.mcmc import Mcmc
from splat.types import Batch, Camera, Points

CAMERA = Camera(
    torch.eye(4), torch.tensor([[90.0, 0, 48], [0, 90.0, 36], [0, 0, 1]]), 96, 72, index=3
)


def lifted(pixels: Tensor, depth: Tensor) -> Tensor:
    """Points behind pixels."""
    x = (pixels[:, 0] - 48) / 90 * depth
    y = (pixels[:, 1] - 36) / 90 * depth
    return torch.stack([x, y, depth], 1).float()


def spread(count: int, seed: int = 0) -> Tensor:
    """Places all over the picture, its corners among them."""
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 2, generator=draw, dtype=torch.float64)
    corners = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], dtype=torch.float64)
    return torch.cat([places, corners]) * torch.tensor([95.98, 71.98]) + 0.01


def slanted(pixels: Tensor) -> Tensor:
    """Depth of the plane z = 5 + 0.4 x - 0.3 y."""
    x, y = ((pixels - torch.tensor([48.0, 36.0], dtype=torch.float64)) / 90).unbind(1)
    return 5 / (1 - 0.4 * x + 0.3 * y)


def middles() -> Tensor:
    v, u = torch.meshgrid(torch.arange(72) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    return torch.stack([u, v], 2).reshape(-1, 2).double()


def test_a_plane_is_met_exactly() -> None:
    """One over depth is linear in the picture on a plane, and so between three of its points."""
    pixels = spread(400)
    known = depth_between(CAMERA, lifted(pixels, slanted(pixels)))
    assert known.shape == (72, SIDE)
    inside = known > 0
    assert float(inside.double().mean()) > 0.97
    wanted = slanted(middles()).reshape(72, 96)
    assert float((known - wanted)[inside].abs().max()) < 1e-4


def test_points_beside_a_picture_tell_of_its_edges() -> None:
    """Of a wall whose points all lie beside the picture everything is known, as long as they are
    within a quarter of its longer side, which is 24 pixels."""

    def about(off: float) -> Tensor:
        beside = [[-off, -off], [96 + off, -off], [-off, 72 + off], [96 + off, 72 + off]]
        return lifted(torch.tensor(beside).double(), torch.full((4,), 5.0).double())

    assert torch.allclose(depth_between(CAMERA, about(23)), torch.tensor(5.0))
    assert not depth_between(CAMERA, about(25)).any()


def test_between_points_it_is_what_scipy_interpolates() -> None:
    pixels = spread(3000, 4)
    draw = torch.Generator().manual_seed(5)
    depth = 5 + 0.1 * torch.rand(len(pixels), generator=draw, dtype=torch.float64)
    known = depth_between(CAMERA, lifted(pixels, depth)).flatten().double()
    # A pixel is a cell here, and of points in one the first counts.
    cells = [tuple(cell) for cell in pixels.long().tolist()]
    first = torch.tensor([i for i in range(len(cells)) if cells[i] not in cells[:i]])
    assert len(first) < 0.9 * len(cells)
    pixels, depth = pixels[first], depth[first]
    inverse = LinearNDInterpolator(pixels.numpy(), 1 / depth.numpy())(middles().numpy())
    wanted = torch.from_numpy(1 / inverse).nan_to_num(0)  # beyond the outermost points
    assert float((known > 0).double().mean()) > 0.99
    torch.testing.assert_close(known, wanted, rtol=1e-5, atol=0)


def test_nothing_is_known_across_an_edge_or_behind_what_is_nearer() -> None:
    """A wall at 8 before whose left half a board stands at 4; the wall has points behind it too."""
    left, wall = spread(600, 1) * torch.tensor([0.5, 1.0]), spread(900, 2)
    points = torch.cat(
        [lifted(left, torch.full((604,), 4.0)), lifted(wall, torch.full((904,), 8.0))]
    )
    known = depth_between(CAMERA, points)
    assert float((known[:, :44] - 4)[known[:, :44] > 0].abs().max()) < 1e-4
    assert float((known[:, 54:] - 8)[known[:, 54:] > 0].abs().max()) < 1e-4
    assert float((known[:, :44] > 0).double().mean()) > 0.9
    assert bool((known[:, 44:54] > 0).double().mean() < 0.7)
    assert bool(((known - 4).abs() < 1e-4).logical_or((known - 8).abs() < 1e-4)[known > 0].all())


@pytest.mark.parametrize("count", [0, 2, 3])
def test_few_points_tell_nothing(count: int) -> None:
    points = torch.tensor([[0.0, 0, 3], [0.1, 0, 3], [0.2, 0, 3]])[:count]
    assert not depth_between(CAMERA, points).any()


def looked(drawn: Tensor, number: int = 0, **more: Any) -> Any:
    step = step_of(model_of(1), number + 1)
    rendered = replace(step.rendered, depth=drawn, alpha=torch.ones(72, 96))
    pixels = torch.zeros(72, 96, 3, dtype=torch.uint8)
    views = [CAMERA] * (CAMERA.index + 1)
    return replace(step, batch=Batch(CAMERA, pixels, **more), rendered=rendered, views=views)


def test_the_term_by_hand() -> None:
    pixels = spread(300)
    places = lifted(pixels, torch.full((304,), 5.0))
    term = PointsDepth(2.0, 96, Points(places, torch.zeros_like(places)))
    share = float((depth_between(CAMERA, places) > 0).double().mean())
    fog = torch.full((72, 96), 4.0, requires_grad=True)
    apart = GROSS * math.log(1 + (math.log(5 / 4) - NEAR_ENOUGH) / GROSS)
    value = term(looked(fog))
    (gradient,) = torch.autograd.grad(value, fog)
    value = value.detach()
    assert float(value) == pytest.approx(EVERY * 2 * share * apart, rel=1e-5)
    assert float(term(looked(fog.detach(), 1))) == 0 and not term.needs_at(1).depth
    assert bool((gradient <= 0).all()) and float((gradient < 0).double().mean()) > 0.95
    late = term(looked(fog.detach(), 96))
    assert float(late) == pytest.approx(2 * LATE * float(value), rel=1e-4)
    assert [step for step in range(40, 65) if term.needs_at(step).depth] == [40, 48, 64]
    assert float(term(looked(torch.full((72, 96), 5.0)))) == 0
    almost = torch.full((72, 96), 5 * math.exp(-0.9 * NEAR_ENOUGH))
    assert float(term(looked(almost))) == 0
    assert float(term(looked(fog.detach(), mask=torch.zeros(72, 96, dtype=torch.uint8)))) == 0
    # A picture of another size of the same view has the same depth.
    small = CAMERA.resized(24, 18)
    step = looked(torch.full((18, 24), 4.0))
    step = replace(
        step,
        batch=Batch(small, torch.zeros(18, 24, 3, dtype=torch.uint8)),
        rendered=replace(step.rendered, alpha=torch.ones(18, 24)),
    )
    assert float(term(step)) == pytest.approx(float(value), rel=1e-5)


def test_depth_counts_less_where_the_photo_has_texture() -> None:
    pixels = torch.full((72, 96, 3), 100, dtype=torch.uint8)
    pixels[:, 48::2] = 151  # stripes on the right half: a step of 0.2 from pixel to pixel
    plain = plainness(Batch(CAMERA, pixels), (9, 12)).view(9, 12)
    assert bool((plain[:, :6] == 1).all())
    torch.testing.assert_close(plain[:, 7:], torch.full((9, 5), math.exp(-0.2 / TEXTURE)))
    places = lifted(spread(300), torch.full((304,), 5.0))
    term = PointsDepth(2.0, 96, Points(places, torch.zeros_like(places)))
    fog = torch.full((72, 96), 4.0)
    whole = float(term(looked(fog)))
    step = looked(fog)
    half = float(term(replace(step, batch=Batch(CAMERA, pixels))))
    assert half == pytest.approx(whole / 2, rel=0.02)


def test_a_view_of_a_clip_is_held_against_points_of_its_instant_or_of_all() -> None:
    near, far = (lifted(spread(300), torch.full((304,), depth)) for depth in (3.0, 5.0))
    times = torch.tensor([0.0, 1.0]).repeat_interleave(304)
    points = Points(torch.cat([near, far]), torch.zeros(608, 3), times)
    still = Points(torch.cat([far, far]), torch.zeros(608, 3), times)

    def of(points: Points, time: float, depth: float = 5.0) -> float:
        step, camera = looked(torch.full((72, 96), depth)), replace(CAMERA, time=time)
        views = [camera] * len(step.views)
        step = replace(step, batch=replace(step.batch, camera=camera), views=views)
        return float(PointsDepth(1.0, 96, points)(step))

    assert of(points, 1.0) < 1e-6 < 0.1 < of(points, 0.0) and of(points, 0.5) == 0
    assert of(still, 0.5) < 1e-6 < 0.1 < of(still, 0.5, depth=4.0), "where all times agree"


@pytest.mark.parametrize("refined", [False, True])
def test_a_run_by_it_goes_on_exactly_and_says_so(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, refined: bool
) -> None:
    # Long enough for photos to come again after the cut, when poses have moved.
    steps = 80 if refined else 12
    options = Options(
        steps=steps, max_side=0, device="cpu", points_weight=1.0, refine_poses=refined
    )
    watching = Watching(checkpoint_every=steps // 2 - 1, keep=9, pictures=False, quiet=True)
    for name in ("whole", "again"):
        with caplog.at_level("INFO"):
            api.train(
                api.load(tiny_folder), Mcmc(cap=600), options, out=tmp_path / name,
                watching=watching, lpips=None,
            )  # fmt: skip
    assert "by the depth between the points of the scene, weight 1" in caplog.text
    for path in checkpoint.checkpoints_in(tmp_path / "again" / "checkpoints")[1:]:
        path.unlink()
    (tmp_path / "again" / "metrics.json").unlink()
    api.resume(tmp_path / "again", lpips=None)
    whole, again = (tmp_path / name / "point_cloud.ply" for name in ("whole", "again"))
    assert whole.read_bytes() == again.read_bytes()
