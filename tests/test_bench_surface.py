"""The measures of surfaces on cases whose figures are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("skimage", reason="needs scikit-image")

import surface
import surface_truth

from splat.core.frame import camera_to_frame
from splat.render import drawing_as
from splat.strategies.sdf.field import Field
from splat.types import (
    Camera,
    Drawing,
    Frame,
    Gaussians,
    SceneData,
    View,
)
from worlds import studio

FRAME = Frame((0.2, -0.1, 0.4), 1.5)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Meshes of few cells, and few points of them."""
    monkeypatch.setattr(surface_truth, "CELLS", 64)
    monkeypatch.setattr(surface_truth, "POINTS", 8_000)
    surface_truth.true_surface.cache_clear()
    yield
    surface_truth.true_surface.cache_clear()


def dots(points: Tensor, opacities: list[float] | float, size: float = 0.02) -> Gaussians:
    n = len(points)
    given = torch.tensor(opacities) if isinstance(opacities, list) else torch.full((n,), opacities)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(n, 4).contiguous()
    colors = torch.zeros(n, 1, 3)
    return Gaussians(points.float(), quats, torch.full((n, 3), size), given, colors, sh_degree=0)


def run_with(gaussians: Gaussians, frame: Frame = FRAME, known: Any = None) -> Any:
    """What measures ask of a trained run."""
    device = torch.device("cpu")
    return SimpleNamespace(
        gaussians=gaussians,
        seen_by=lambda camera: gaussians,
        frame=frame,
        render=drawing_as(Drawing(), frame, device),
        background=None,
        surface=known,
        placed=lambda camera: camera_to_frame(camera, frame),
    )


def test_angles_between_directions_of_any_length() -> None:
    found = torch.tensor([[2.0, 0, 0], [0, 0.5, 0], [-1, 0, 0], [0, 0, 0]])
    truth = torch.tensor([[1.0, 0, 0]]).expand(4, 3)
    assert surface_truth.degrees(found, truth) == pytest.approx((0 + 90 + 180 + 90) / 4)


def test_floaters_are_counted_in_units_of_the_input() -> None:
    # Above the teapot's knob, deep inside the pot, and on the knob.
    out = torch.tensor([[0.0, 0.0, 1.2], [0.0, 0.0, -0.1]])
    sdf = studio.sdf("glossy")
    high = torch.linspace(0.7, 1.0, 3001)
    column = torch.stack([0 * high, 0 * high, high], 1)
    surface_point = column[sdf(column).abs().argmin()]
    points = torch.cat([out, surface_point[None]])
    assert sdf(points).sign().tolist()[:2] == [1, -1]
    placed = FRAME.scale * (points - torch.tensor(FRAME.centre))
    found = surface_truth.floaters(run_with(dots(placed, [0.1, 0.3, 0.6])), "glossy")
    assert found["floaters"] == pytest.approx(2 / 3)
    assert found["floaters_outside"] == pytest.approx(1 / 3)
    assert found["floaters_weighted"] == pytest.approx(0.4)
    assert found["floaters_outside_weighted"] == pytest.approx(0.1)


def test_an_exact_surface_is_no_way_from_the_true_one(coarse: None) -> None:
    sdf, centre = studio.sdf("mirror"), torch.tensor(FRAME.centre)

    class Exact:
        box = ((-3.0, -3.0, -3.0), (3.0, 3.0, 3.0))

        def __call__(self, points: Tensor) -> Tensor:
            return FRAME.scale * sdf(points / FRAME.scale + centre)

    points = torch.from_numpy(surface_truth.true_surface("mirror").points)
    cloud = dots(FRAME.scale * (points - centre), 0.9)
    train, _ = studio.cameras(12, 1, 80)
    views = [View("", camera, Path()) for camera in train]
    found = surface_truth.surfaces(run_with(cloud, known=Exact()), "mirror", views)
    cell = 2 / 64
    apart, by_depth = found["chamfer"], found["chamfer_depth"]
    assert apart is not None and by_depth is not None
    # Points that are drawn apart lie about half their spacing from each other.
    assert apart < 0.4 * cell
    assert apart < by_depth < 1.5 * cell
    shifted = run_with(replace(cloud, means=cloud.means + torch.tensor([0.3, 0, 0])))
    worse = surface_truth.surfaces(shifted, "mirror", views)["chamfer"]
    assert worse is not None and worse > 2 * by_depth


def test_a_distance_to_a_ball_has_gradients_of_length_one() -> None:
    box = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
    ball = Field(box, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ball.second.zero_()
    assert surface_truth.eikonal(ball, 5_000) == pytest.approx(0, abs=1e-5)


def test_gaussians_beside_three_masks_are_floaters(tmp_path: Path) -> None:
    # Four cameras along z; what is in the left half of three pictures is not of the object.
    K = torch.tensor([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]])
    views = []
    for number in range(4):
        pose = torch.eye(4)
        pose[2, 3] = 4.0 + number
        photo = np.full((10, 10, 4), 255, np.uint8)
        photo[:, : 5 if number else 1, 3] = 0
        path = tmp_path / f"{number}.png"
        path.write_bytes(cv2.imencode(".png", photo)[1].tobytes())
        views.append(View(path.name, Camera(pose, K, 10, 10), path))
    points = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0, 0], [-0.5, 0, -5.5], [9, 0, 0]])
    found = run_with(dots(points, 0.5), Frame((0.0, 0.0, 0.0), 1.0))
    scene = SceneData(path=tmp_path, format="", train=tuple(views), test=(), points=None)
    # The third is behind two of the cameras that would tell; the last is in no picture.
    assert surface.beside_masks(found, scene, 450) == pytest.approx(1 / 4)


def test_tables_give_means_and_deviations_over_seeds() -> None:
    same = {"scene": "s", "recipe": "adc", "steps": 7}
    runs = [
        {**same, "seed": 0, "psnr": 20.0, "floaters": 0.25, "relit_room": 10.0},
        {**same, "seed": 1, "psnr": 22.0, "floaters": 0.25, "relit_room": 12.0},
    ]
    shape, light = surface.tables(runs).split("\n\n")
    assert shape.splitlines()[0] == "| scene | recipe | steps | seeds | PSNR, dB | floaters, % |"
    assert shape.splitlines()[2] == "| s | adc | 7 | 2 | 21.00 ± 1.41 | 25.00 ± 0.00 |"
    assert light.splitlines()[2] == "| s | adc | 7 | 2 | 11.00 ± 1.41 |"


def test_scenes_with_masks_are_trained_by_them(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    job = surface.Job(tmp_path, "adc --cap 3k + sdf --no-prune", 60, 2, 450)
    typed = job.arguments(tmp_path / "out")
    assert typed[-6:] == ["adc", "--cap", "3k", "+", "sdf", "--no-prune"]
    assert {"--mask-mode", "transparent", "--max-side", "450"} <= set(typed)
    assert job.name != replace(job, recipe="adc --cap 3k + sdf").name
    (tmp_path / "studio.json").write_text("{}")
    assert "--max-side" not in job.arguments(tmp_path / "out")
