"""nerfstudio and instant-ngp: what a `transforms.json` may say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from scenes import check_axes, views_of

from splat import datasets
from splat.types import Lens


def nerfstudio(root: Path) -> Path:
    return scenes.write_transforms(root, scenes.shots())


def edited(root: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The scene with its transforms.json changed."""
    content = json.loads((root / "transforms.json").read_text())
    change(content)
    (root / "transforms.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize(
    ("meta", "lens"),
    [
        ({"k1": -0.1, "k2": 0.02, "p1": 1e-3}, Lens("radial", (-0.1, 0.02, 1e-3, 0, 0))),
        ({"is_fisheye": True, "k1": 0.1}, Lens("fisheye", (0.1, 0, 0, 0))),
        ({"camera_model": "OPENCV_FISHEYE", "k4": 0.1}, Lens("fisheye", (0, 0, 0, 0.1))),
        ({"camera_model": "PINHOLE"}, None),
    ],
)
def test_nerfstudio_lenses(tmp_path: Path, meta: dict[str, Any], lens: Lens | None) -> None:
    photos = scenes.shots(3, lens=lens)
    scene = datasets.load(scenes.write_transforms(tmp_path, photos, {**scenes.MEASURES, **meta}))
    assert views_of(scene)[0].lens == lens
    check_axes(scene, 0.05 if lens is None else 0.15)


def test_nerfstudio_frames_may_have_their_own_camera(tmp_path: Path) -> None:
    nerfstudio(tmp_path)

    def change(content: dict[str, Any]) -> None:
        for key, value in scenes.MEASURES.items():
            del content[key]
            for frame in content["frames"]:
                frame[key] = value
        del content["frames"][0]["w"]

    check_axes(datasets.load(edited(tmp_path, change)))


def test_nerfstudio_angles(tmp_path: Path) -> None:
    angles = [2 * np.arctan(side / 2 / 90) for side in (scenes.WIDTH, scenes.HEIGHT)]
    meta = {"camera_angle_x": angles[0], "camera_angle_y": angles[1]}
    camera = datasets.load(scenes.write_transforms(tmp_path, scenes.shots(), meta)).train[0].camera
    expected = [[90, 0, scenes.WIDTH / 2], [0, 90, scenes.HEIGHT / 2], [0, 0, 1]]
    assert torch.allclose(camera.K, torch.tensor(expected))


def test_nerfstudio_skips_and_counts_frames_without_photo(tmp_path: Path) -> None:
    nerfstudio(tmp_path)
    (tmp_path / "images/002.png").unlink()
    edited(tmp_path, lambda content: content["frames"].append(content["frames"][0]))
    scene = datasets.load(tmp_path)
    assert len(views_of(scene)) == 8
    assert scene.notes[:2] == (
        "1 of 10 frames in transforms.json have no photo and were skipped (the first is "
        "images/002.png)",
        "1 frames in transforms.json name a photo again and were skipped",
    )


@pytest.mark.parametrize("binary", [True, False])
def test_nerfstudio_points(tmp_path: Path, binary: bool) -> None:
    nerfstudio(tmp_path)
    scenes.write_ply(tmp_path / "cloud.ply", scenes.POINTS, binary=binary)
    edited(tmp_path, lambda content: content.update(ply_file_path="cloud.ply"))
    points = datasets.load(tmp_path).points
    assert points is not None
    assert np.abs(points.positions.numpy() - scenes.POINTS).max() < 1e-6
    assert torch.equal(points.colors, torch.eye(3))


def test_nerfstudio_own_split(tmp_path: Path) -> None:
    nerfstudio(tmp_path)
    lists = {
        "train_filenames": [f"images/{i:03d}.png" for i in range(5)],
        "test_filenames": ["./images/007.png", "images/008.png"],
    }
    scene = datasets.load(edited(tmp_path, lambda content: content.update(lists)))
    assert [view.name for view in scene.test] == ["007.png", "008.png"]
    assert [view.name for view in scene.train] == [f"{i:03d}.png" for i in range(5)]
    assert "2 frames belong to neither" in " ".join(scene.notes)


def test_nerfstudio_names_masks(tmp_path: Path) -> None:
    nerfstudio(tmp_path)
    blank = np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint8)
    scenes.write_picture(tmp_path / "any/where.png", blank)
    edited(tmp_path, lambda content: content["frames"][3].update(mask_path="any/where.png"))
    views = views_of(datasets.load(tmp_path))
    assert [view.mask is not None for view in views] == [i == 3 for i in range(9)]
