"""Real scenes, where `../shared/data` is there: counts, and points where SfM saw them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import Array, projected

from splat import datasets
from splat.photos.photo import photograph
from splat.types import SceneData, View

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def load(name: str) -> SceneData:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs ../shared/data/{name}")
    return datasets.load(DATA / name)


@pytest.mark.parametrize(
    ("name", "kind", "train", "test", "points", "masks"),
    [
        ("fox", "colmap", 43, 7, 13_711, 0),
        ("plush_phone", "colmap", 81, 12, 10_430, 0),
        ("fountain-P11", "colmap", 9, 2, 14_304, 0),
        ("gold_cape", "colmap", 52, 8, 6_373, 52),
        ("fox_ngp", "nerfstudio", 43, 7, None, 0),
        ("lego_400", "blender", 100, 25, None, 0),
    ],
)
def test_counts(
    name: str, kind: str, train: int, test: int, points: int | None, masks: int
) -> None:
    scene = load(name)
    assert (scene.format, len(scene.train), len(scene.test)) == (kind, train, test)
    assert (scene.points and len(scene.points.positions)) == points
    assert sum(view.mask is not None for view in scene.train) == masks


@pytest.mark.parametrize(
    ("name", "pixels"),
    [("fox", 0.6), ("plush_phone", 0.9), ("fountain-P11", 0.6), ("gold_cape", 0.6)],
)
def test_points_project_to_where_sfm_saw_them(name: str, pixels: float) -> None:
    """Mean distance over all observations, of the size of SfM's own residual."""
    scene = load(name)
    model = DATA / name / "sparse/0"
    seen, positions = observations(model / "images.bin"), point_positions(model / "points3D.bin")
    distances = []
    for view in (*scene.train, *scene.test):
        where, which = seen[view.name]
        points = np.array([positions[int(i)] for i in which[which >= 0]])
        distances.append(np.linalg.norm(projected(view.camera, points) - where[which >= 0], axis=1))
    assert np.concatenate(distances).mean() < pixels


def test_two_calibrations_of_one_scene_agree() -> None:
    """fox_ngp holds the distorted photos of fox with its authors' poses and lens.

    Undistorted with them and turned as the other calibration has it, a photo must look as fox's.
    """
    fox, ngp = load("fox"), load("fox_ngp")
    others = {view.name: view for view in (*ngp.train, *ngp.test)}
    views = sorted((*fox.train, *fox.test), key=lambda view: view.name)
    assert {view.name for view in views} == set(others)
    ours, theirs = (
        np.array([v.camera.centre.numpy() for v in chosen])
        for chosen in (views, [others[view.name] for view in views])
    )
    rotation, misfit = aligned(ours, theirs)
    assert misfit < 0.005
    for view in views[::16]:
        bent = others[view.name]
        with_lens, without = (
            likeness(view, other, rotation) for other in (bent, replace(bent, lens=None))
        )
        assert with_lens > 31 and with_lens > without + 3


def likeness(view: View, other: View, rotation: Array) -> float:
    """PSNR (dB) of two photos from one place, the other turned and taken through `view`'s pinhole.

    `rotation` leads from the world of `other` to that of `view`.
    """
    truth, _ = photograph(view, view.camera.width, view.camera.height)
    pixels, _ = photograph(other, other.camera.width, other.camera.height)
    # OpenCV counts from the centre of the first pixel.
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    K, K_other = (half @ v.camera.K.double().numpy() for v in (view, other))
    R, R_other = (v.camera.world_to_camera[:3, :3].numpy() for v in (view, other))
    turned = K @ R @ rotation @ R_other.T @ np.linalg.inv(K_other)
    warped = cv2.warpPerspective(pixels, turned, (truth.shape[1], truth.shape[0]))
    inner = (slice(80, -80), slice(80, -80))
    squared = (truth[inner].astype(float) - warped[inner]) ** 2
    return float(-10 * np.log10(squared.mean() / 255**2))


def aligned(a: Array, b: Array) -> tuple[Array, float]:
    """Rotation of the best similarity from b to a (Umeyama), and its largest misfit / extent."""
    a0, b0 = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(a0.T @ b0)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    moved = b0 @ (u @ sign @ vt).T * ((s * sign.diagonal()).sum() / (b0**2).sum())
    worst = np.linalg.norm(moved - a0, axis=1).max() / np.linalg.norm(a0, axis=1).max()
    return u @ sign @ vt, float(worst)


def observations(file: Path) -> dict[str, tuple[Array, Array]]:
    """Pixels and numbers of the points seen, by name of the image."""
    data, found = file.read_bytes(), {}
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        end = data.index(b"\0", at + 64)
        name, (n,) = data[at + 64 : end].decode(), struct.unpack_from("<Q", data, end + 1)
        rows = np.frombuffer(data, [("xy", "<f8", 2), ("point", "<i8")], n, end + 9)
        found[name] = rows["xy"], rows["point"]
        at = end + 9 + 24 * n
    return found


def point_positions(file: Path) -> dict[int, tuple[float, ...]]:
    data, found = file.read_bytes(), {}
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, x, y, z = struct.unpack_from("<Q3d", data, at)
        found[number] = (x, y, z)
        at += 51 + 8 * struct.unpack_from("<Q", data, at + 43)[0]
    return found
