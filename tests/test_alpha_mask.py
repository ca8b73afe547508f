"""Outlines of photos open the hole of a torus whose Gaussians start on its convex hull."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS
from steps import model_of, refined, step_of
from test_mesh_masks import RING, hull, stand, torus
from torch import Tensor

from splat.conformance.checks import check_strategy
from splat.core.model import Explicit
from splat.core.objective import Objective, Photometric
from splat.core.rates import Rates
from splat.loop import Run, train
from splat.math import quaternions, sh_from_rgb
from splat.mesh import Mesh
from splat.mesh.raster import silhouette
from splat.recipes.recipe import strategy_from_text
from splat.render import renderer_for
from splat.strategies.adc import Adc
from splat.strategies.alpha_mask import (
    AGAINST,
    OUTSIDE,
    PROOFS,
    SHOWN,
    WINDOW,
    AlphaMask,
    Beyond,
    Outlined,
    beyond,
)
from splat.strategies.mcmc import Mcmc
from splat.types import Batch, Camera, Gaussians, Rendered

VIEWS = 14


def columns(made: Mesh, colour: Tensor) -> dict[str, Tensor]:
    """A flat Gaussian on every face, opaque."""
    corners = torch.from_numpy(made.vertices[made.faces]).float()
    first = torch.nn.functional.normalize(corners[:, 1] - corners[:, 0], dim=1)
    normal = torch.nn.functional.normalize(torch.from_numpy(made.crosses).float(), dim=1)
    turn = torch.stack([first, torch.linalg.cross(normal, first), normal], -1)
    area = torch.from_numpy(made.crosses).float().norm(dim=1) / 2
    scale = torch.stack([0.7 * area.sqrt(), 0.7 * area.sqrt(), torch.full_like(area, 1e-3)], 1)
    n = len(corners)
    return {
        "mean": corners.mean(1),
        "quat": quaternions(turn).float(),
        "log_scale": scale.log(),
        "opacity_logit": torch.full((n,), 4.0),
        "sh": sh_from_rgb(colour).expand(n, 1, 3).clone(),
    }


@cache
def batches() -> list[Batch]:
    """Photos of a red torus before black."""
    cameras = [stand(i, VIEWS) for i in range(VIEWS)]
    drawn = Explicit(columns(torus(), torch.tensor([0.8, 0.2, 0.1])), steps=1).bake()
    found = []
    for camera in cameras:
        pixels = (255 * renderer_for("cpu")(drawn, camera).image.clamp(0, 1)).to(torch.uint8)
        inside = 255 * torch.from_numpy(silhouette(torus(), camera)).to(torch.uint8)
        found.append(Batch(camera, pixels, outline=inside))
    return found


def run_of(strategy: AlphaMask, photos: Sequence[Batch], steps: int) -> Run:
    """Training from the hull, in which next to nothing moves but by the part."""
    still = Rates(1e-9, 1e-9, 1e-9, 1e-9, 1e-9, 1e-9)
    objectives: dict[str, Objective] = {"photometric": Photometric(), **strategy.objectives()}
    return Run(
        model=Explicit(columns(hull(), torch.tensor([0.8, 0.2, 0.1])), steps=steps, rates=still),
        strategy=strategy,
        objectives=objectives,
        render=renderer_for("cpu"),
        batches=lambda step: photos[step % len(photos)],
        views=[photo.camera for photo in photos],
        photos=lambda index, step: photos[index],
        steps=steps,
    )


def inside_all(means: Tensor) -> Tensor:
    """Points in every outline."""
    found = torch.ones(len(means), dtype=torch.bool)
    for photo in batches():
        camera = photo.camera
        pose, K = camera.world_to_camera, camera.K
        x, y, z = (means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        u = (K[0, 0] * x / z + K[0, 2]).long().clamp(0, camera.width - 1)
        v = (K[1, 1] * y / z + K[1, 2]).long().clamp(0, camera.height - 1)
        assert photo.outline is not None
        found &= photo.outline[v, u] > 0
    return found


@pytest.mark.parametrize("behind", [False, True])
def test_the_hole_of_a_torus_opens(behind: bool) -> None:
    part = AlphaMask(hull=behind, prune_from=1, prune_until=999, prune_every=VIEWS)
    run = run_of(part, batches(), 4 * VIEWS)
    start = run.model.cloud["mean"].detach().clone()
    safe = start[inside_all(start)]
    train(run)
    means = run.model.cloud["mean"].detach()
    radius, began = means[:, :2].norm(dim=1), start[:, :2].norm(dim=1)
    assert (began < 0.45).sum() > 500 and not (radius < 0.45).any()
    # What is on the torus stays: its outer half, and of what is in all outlines every row.
    assert (radius > RING).sum() > 0.95 * (began > RING).sum()
    near = torch.cdist(safe, means).amin(1)
    assert len(safe) > 500 and float(near.max()) < 1e-3


def test_rows_go_by_their_share() -> None:
    model = model_of(7)
    part = AlphaMask(above=0.5, views=3, proof=2, prune_from=0, prune_until=99, prune_every=10)
    part.begin(model)
    cloud = model.cloud
    cloud.statistic(SHOWN).copy_(torch.tensor([4.0, 4.0, 0.3, 4.0, 9, 9, 9]))
    cloud.statistic(OUTSIDE).copy_(torch.tensor([1.0, 2.1, 0.3, 2.0, 3, 3, 3]))
    cloud.statistic(AGAINST).copy_(torch.tensor([0.0, 0, 0, 0, 2, 3, 0]))
    cloud.statistic(PROOFS).copy_(torch.tensor([0.0, 0, 0, 0, 1, 0, 2]))
    before = cloud["mean"].detach().clone()
    assert not refined(part, step_of(model, 9)).counts and cloud.statistic(SHOWN).any()
    change = refined(part, step_of(model, 10))
    assert change.counts == {"drop:mask": 3} and change.kept is not None
    # Less than half a pixel of the third was ever drawn.
    assert change.kept.tolist() == [0, 2, 3, 4]
    assert torch.equal(cloud["mean"].detach(), before[[0, 2, 3, 4]])
    assert not any(cloud.statistic(name).any() for name in WINDOW)


def test_the_last_rows_stay(caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(3)
    part = AlphaMask(prune_from=0, prune_until=99, prune_every=10)
    part.begin(model)
    assert not refined(part, step_of(model, 10)).counts
    assert "no photo that was shown has an outline" in caplog.text
    for name in (SHOWN, OUTSIDE):
        model.cloud.statistic(name).fill_(5)
    assert not refined(part, step_of(model, 20)).counts


def test_who_moves_rows_moves_them() -> None:
    model = model_of(40, opacity=0.5)
    base = Mcmc(cap=40, refine_from=500, refine_until=900, refine_every=100)
    part = AlphaMask(base, prune_from=0, prune_until=99, prune_every=10)
    part.begin(model)
    model.cloud.statistic(SHOWN).fill_(5)
    model.cloud.statistic(OUTSIDE)[:7] = 5
    change = refined(part, step_of(model, 10))
    assert change.after == 40 and sum(change.counts.values()) >= 7
    assert not model.cloud.statistic(SHOWN).any()


def test_maps_are_zero_without_an_outline() -> None:
    step = step_of(model_of(2))
    for map in (Outlined(), Beyond()):
        assert not map(step.rendered, step.batch).any()
    inside = torch.zeros(20, 20, dtype=torch.uint8)
    inside[5:10, 5:10] = 255
    batch = Batch(step.batch.camera, step.batch.pixels, outline=inside)
    assert float(Beyond(1)(step.rendered, batch).sum()) == 400 - 49
    assert float(Beyond(0)(step.rendered, batch).sum()) == 400 - 25
    assert float(Outlined()(step.rendered, batch).sum()) == 400


def test_beyond_is_farther_than_its_reach() -> None:
    camera = Camera(torch.eye(4), torch.tensor([[20.0, 0, 10], [0, 20, 10], [0, 0, 1]]), 20, 20)
    inside = torch.zeros(20, 20, dtype=torch.uint8)
    inside[:, :8] = 255
    places = torch.tensor([[0.4, 0, 1], [0.4, 0, 1], [-0.4, 0, 1], [0.4, 0, -1], [3, 0, 1]])
    n = len(places)
    rows = Gaussians(places, torch.ones(n, 4), torch.ones(n, 3), torch.ones(n), torch.ones(n, 3))
    # The centre of the first two is 10.5 pixels from the nearest one inside, of a margin of 0.
    radii = torch.tensor([9.0, 12, 1, 1, 1])
    zeros = torch.zeros(20, 20)
    rendered = Rendered(zeros[..., None].expand(20, 20, 3), zeros, radii, rows)
    batch = Batch(camera, torch.zeros(20, 20, 3, dtype=torch.uint8), outline=inside)
    assert beyond(rendered, batch, 0).tolist() == [True, False, False, False, False]
    batch = Batch(camera, batch.pixels, outline=torch.zeros_like(inside))
    assert beyond(rendered, batch, 0)[:2].all()


def test_a_recipe_names_it_and_schedules_fit() -> None:
    part = strategy_from_text("adc + alpha-mask --hull --above 0.7")
    assert isinstance(part, AlphaMask) and isinstance(part.base, Adc) and part.hull
    fitted = part.scheduled(3000)
    assert fitted.acts(3000)["prune by masks"][:2] == [100, 150]
    assert part.needs.outline and part.objectives()["silhouette"].needs.outline
    with pytest.raises(ValueError, match="above is 1"):
        AlphaMask(above=1.0)
    with pytest.raises(ValueError, match="proof is 0"):
        AlphaMask(proof=0)


def test_the_term_compares_alpha_with_the_outline() -> None:
    step = step_of(model_of(2))
    inside = torch.full((20, 20), 255, dtype=torch.uint8)
    inside[:5] = 0
    batch = Batch(step.batch.camera, step.batch.pixels, outline=inside)
    step = step_of(model_of(2))
    step = type(step)(**{**vars(step), "batch": batch})
    term = AlphaMask(silhouette=0.1).objectives()["silhouette"]
    assert float(term(step)) == pytest.approx(0.1 * 0.75)
    assert float(AlphaMask().objectives()["silhouette"](step)) == 0


def test_the_contract_with_outlines(tiny_folder: Path, tmp_path: Path) -> None:
    import shutil

    import cv2
    import numpy as np

    folder = tmp_path / "scene"
    shutil.copytree(tiny_folder, folder)
    (folder / "masks").mkdir()
    for path in sorted((folder / "images").iterdir()):
        mask = np.zeros((72, 96), np.uint8)
        cv2.ellipse(mask, (48, 40), (36, 26), 0, 0, 360, 255, -1)
        cv2.imwrite(str(folder / "masks" / f"{path.name}.png"), mask)
    base: Any = METHODS["adc_alpha_mask"]
    found = check_strategy(
        base, steps=60, fitted=False, gain=0.5, folder=folder, only=("rows", "repeats")
    )
    assert not [each for each in found if not each.passed], found
