"""Normals of Gaussians and outlines of photos, which the surface beside a run learns from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from splat.photos.loader import Loader
from splat.photos.photo import outline
from splat.render import renderer_for
from splat.render.normals import facing_normals
from splat.types import Camera, Frame, Gaussians, Needs, View

CAMERA = Camera(torch.eye(4), torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]]), 32, 32)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def disc(quat: Tensor, features: Tensor | None = None) -> Gaussians:
    """A flat Gaussian before the camera, thin along its own z."""
    return Gaussians(
        means=torch.tensor([[0.0, 0.0, 2.0]]),
        quats=quat[None],
        scales=torch.tensor([[0.4, 0.4, 0.01]]),
        opacities=torch.tensor([0.9]),
        colors=torch.tensor([[0.5, 0.5, 0.5]]),
        features=features,
    )


def turned(degrees: float) -> Tensor:
    """A quaternion about x."""
    half = np.radians(degrees) / 2
    return torch.tensor([np.cos(half), np.sin(half), 0, 0], dtype=torch.float32)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 150.0, 180.0])
def test_the_shortest_axis_faces_the_camera(degrees: float) -> None:
    # z turned about x by a: (0, -sin a, cos a); towards the camera, which looks along +z.
    angle = np.radians(degrees)
    axis = torch.tensor([0.0, -np.sin(angle), np.cos(angle)], dtype=torch.float32)
    normal = facing_normals(disc(turned(degrees)), CAMERA)[0]
    torch.testing.assert_close(normal, -axis if degrees < 90 else axis, atol=1e-6, rtol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_normals_blend_like_any_channel_beside_features(device: str) -> None:
    render = renderer_for(device)
    own = torch.tensor([[0.25]])
    set_ = disc(turned(30), own).to(device)
    drawn = render(set_, CAMERA.to(device), Needs(normal=True, depth=True))
    plain = render(set_, CAMERA.to(device), Needs(depth=True))
    assert drawn.normal is not None and plain.normal is None and drawn.features is not None
    expected = facing_normals(set_, CAMERA.to(device))[0] * drawn.alpha[..., None]
    torch.testing.assert_close(drawn.normal, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(drawn.features, plain.features)
    torch.testing.assert_close(drawn.image, plain.image)
    assert drawn.gaussians is set_


def test_a_normal_pulls_its_gaussian_round() -> None:
    quat = turned(30).requires_grad_()
    drawn = renderer_for("cpu")(disc(quat), CAMERA, Needs(normal=True))
    assert drawn.normal is not None
    drawn.normal[16, 16, 1].backward()

    def seen(degrees: float) -> float:
        found = renderer_for("cpu")(disc(turned(degrees)), CAMERA, Needs(normal=True)).normal
        assert found is not None
        return float(found[16, 16, 1])

    step = 0.5
    slope = (seen(30 + step) - seen(30 - step)) / (2 * np.radians(step))
    half = np.radians(15)
    assert quat.grad is not None
    along = 0.5 * float(quat.grad[1] * np.cos(half) - quat.grad[0] * np.sin(half))
    assert along == pytest.approx(slope, rel=0.02)


def test_an_outline_is_alpha_and_mask_together(tmp_path) -> None:
    picture = np.full((8, 8, 4), 255, np.uint8)
    picture[:, :4, 3] = 0  # the left half is background
    mask = np.full((8, 8), 255, np.uint8)
    mask[:4] = 0  # and the upper half
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    camera = CAMERA.resized(8, 8)
    both = View("a", camera, tmp_path / "a.png", tmp_path / "m.png")
    expected = np.zeros((8, 8), np.uint8)
    expected[4:, 4:] = 255
    np.testing.assert_array_equal(outline(both, 8, 8), expected)
    # A pixel of half the size that is half inside.
    assert outline(View("a", camera, tmp_path / "a.png"), 1, 1)[0, 0] == pytest.approx(127.5, abs=1)
    cv2.imwrite(str(tmp_path / "b.png"), picture[..., :3])
    assert outline(View("b", camera, tmp_path / "b.png"), 8, 8) is None
    picture[..., 3] = 255
    cv2.imwrite(str(tmp_path / "c.png"), picture)
    assert outline(View("c", camera, tmp_path / "c.png"), 8, 8).min() == 255  # it fills the photo


@pytest.mark.parametrize("outlines", [True, False])
def test_a_loader_brings_outlines_where_asked(tmp_path, outlines: bool) -> None:
    picture = np.full((8, 8, 4), 255, np.uint8)
    picture[:, :4, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    view = View("a", CAMERA.resized(8, 8), tmp_path / "a.png")
    loader = Loader([view], frame=Frame((0, 0, 0), 1), downscale=2, outlines=outlines)
    batch = loader(0)
    loader.close()
    assert batch.mask is None
    if not outlines:
        assert batch.outline is None
        return
    assert batch.outline is not None and batch.outline.shape == (4, 4)
    assert batch.outline[0].tolist() == [0, 0, 255, 255]
    assert loader.bytes_needed() == 4 * 4 * 4 and loader.bytes_held() == 4 * 4 * 4
