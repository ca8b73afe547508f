"""Masks alone open the holes of a mesh: a torus out of its convex hull, and what must stay."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plyfile
import pytest
import torch
from numpy.typing import NDArray
from scenes import facing
from scipy.spatial import ConvexHull

from splat import formats, mesh
from splat.math import quaternions
from splat.mesh.masks import Trim, without_disproved
from splat.mesh.raster import face_coverage, silhouette
from splat.types import Camera, Gaussians

Splat = Callable[..., Any]

RING, TUBE = 1.0, 0.4
PLAIN = Trim(fewest=0)


def stand(i: int, count: int, width: int = 96, height: int = 72, far: float = 4.0) -> Camera:
    """One of many cameras all around the origin, which look at it; the first from above."""
    z = 1 - 2 * (i + 0.5) / count
    turn, level = i * math.pi * (3 - math.sqrt(5)), math.sqrt(1 - z * z)
    eye = far * np.array([level * math.cos(turn), level * math.sin(turn), z])
    pose = facing(eye, np.zeros(3), (0.0, 1.0, 0.0) if abs(z) > 0.9 else (0.0, 0.0, 1.0))
    K = torch.tensor([[1.1 * width, 0, width / 2], [0, 1.1 * width, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(pose).float(), K, width, height, index=i)


def revolved(profile: list[tuple[float, float]], count: int = 48) -> mesh.Mesh:
    """A surface of revolution about z of points (radius, z)."""
    angle = 2 * math.pi * np.arange(count) / count
    radius, z = np.array(profile).T
    x, y = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    vertices = np.stack([x, y, np.repeat(z[:, None], count, 1)], -1).reshape(-1, 3)
    row, turn = np.divmod(np.arange((len(profile) - 1) * count), count)
    a, b = row * count + turn, row * count + (turn + 1) % count
    c, d = a + count, b + count
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    return mesh.merged(mesh.Mesh(vertices, faces))


@cache
def torus() -> mesh.Mesh:
    turns = np.linspace(0, -2 * math.pi, 25)
    return revolved([(RING + TUBE * math.cos(t), TUBE * math.sin(t)) for t in turns])


@cache
def hull() -> mesh.Mesh:
    """The convex hull of the torus, finely divided: two discs and the outer half."""
    turns = np.linspace(math.pi / 2, -math.pi / 2, 10)
    outer = [(RING + TUBE * math.cos(t), TUBE * math.sin(t)) for t in turns]
    radii = np.linspace(0, RING, 10)[:-1]
    top, bottom = [(float(r), TUBE) for r in radii], [(float(r), -TUBE) for r in radii[::-1]]
    return revolved([*top, *outer, *bottom])


@cache
def views() -> tuple[list[Camera], list[NDArray[np.uint8]]]:
    cameras = [stand(i, 14) for i in range(14)]
    return cameras, [np.uint8(255) * silhouette(torus(), camera) for camera in cameras]


def euler(made: mesh.Mesh) -> int:
    """Vertices less edges plus faces."""
    edges = np.concatenate([made.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return len(made.vertices) - len(np.unique(np.sort(edges, 1), axis=0)) + len(made.faces)


def loops(made: mesh.Mesh) -> int:
    """Closed ways that the border is made of; every vertex on it has one edge in and one out."""
    follow = dict(made.border.tolist())
    assert len(follow) == len(made.border)
    count = 0
    while follow:
        count += 1
        at = next(iter(follow))
        while at in follow:
            at = follow.pop(at)
    return count


def overlap(made: mesh.Mesh) -> float:
    """Mean intersection over union of the outlines."""
    found = []
    for camera, mask in zip(*views(), strict=True):
        drawn = silhouette(made, camera)
        found.append((drawn & (mask > 0)).sum() / (drawn | (mask > 0)).sum())
    return float(np.mean(found))


def centres(made: mesh.Mesh) -> set[tuple[float, ...]]:
    """Where faces are."""
    return set(map(tuple, np.sort(made.vertices[made.faces], 1).sum(1).round(9).tolist()))


def test_the_start_is_the_convex_hull() -> None:
    volume = ConvexHull(torus().vertices).volume
    assert hull().watertight and hull().volume == pytest.approx(volume, rel=0.01)
    assert euler(hull()) == 2 and euler(torus()) == 0


@pytest.mark.parametrize("behind", [False, True])
def test_the_hole_of_a_torus_opens(behind: bool) -> None:
    made = without_disproved(hull(), *views(), Trim(hull=behind))
    # A ring without a floor and a ceiling: one part, with two borders.
    assert euler(made) == 0 and loops(made) == 2
    hole = np.hypot(made.vertices[:, 0], made.vertices[:, 1]).min()
    assert hole == pytest.approx(RING - TUBE, abs=0.12)
    assert overlap(made) > overlap(hull()) + 0.03
    # What lies on the torus, its outer half, is all there still.
    outer = hull().vertices[hull().faces].mean(1)
    outer = outer[np.hypot(outer[:, 0], outer[:, 1]) > RING + 0.05]
    left = made.vertices[made.faces].mean(1)
    assert {tuple(place) for place in outer.round(9)} <= {tuple(place) for place in left.round(9)}


def test_trimesh_sees_the_same() -> None:
    trimesh = pytest.importorskip("trimesh", reason="needs trimesh")
    made = without_disproved(hull(), *views())
    theirs = trimesh.Trimesh(made.vertices, made.faces, process=False)
    assert theirs.euler_number == 0 and theirs.body_count == 1 and theirs.is_winding_consistent


def test_what_all_masks_show_stays() -> None:
    cameras, masks = views()
    inside = np.ones(len(hull().faces), bool)
    for camera, mask in zip(cameras, masks, strict=True):
        pose, K = camera.world_to_camera.double().numpy(), camera.K.double().numpy()
        local = hull().vertices @ pose[:3, :3].T + pose[:3, 3]
        pixel = (local @ K.T)[:, :2] / local[:, 2:]
        corners = pixel[hull().faces]
        low = np.floor(corners.min(1)).astype(int)
        high = np.ceil(corners.max(1)).astype(int)
        for face, ((x, y), (X, Y)) in enumerate(zip(low, high, strict=True)):
            inside[face] &= bool((mask[y:Y, x:X] > 0).all())
    assert 40 < inside.sum() < len(inside)
    for behind in (False, True):
        made = without_disproved(hull(), cameras, masks, replace(PLAIN, hull=behind, views=1))
        assert centres(hull().with_faces(inside)) <= centres(made)
        assert len(made.faces) < len(hull().faces)


def test_the_order_of_faces_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(hull().faces))
    shuffled = mesh.Mesh(hull().vertices, hull().faces[order])
    made, other = (without_disproved(each, *views(), Trim(rounds=2)) for each in (hull(), shuffled))
    assert len(made.faces) == len(other.faces) and centres(made) == centres(other)
    assert euler(made) == euler(other)


def test_outlines_agree_better_with_every_round() -> None:
    found, left = [overlap(hull())], [len(hull().faces)]
    for rounds in (1, 2, 0):
        made = without_disproved(hull(), *views(), replace(PLAIN, rounds=rounds))
        found.append(overlap(made))
        left.append(len(made.faces))
    assert found == sorted(found) and found[1] > found[0] + 0.01 < found[2]
    assert left == sorted(left, reverse=True) and left[1] > left[2]


def plate(z: float, low: tuple[float, float], high: tuple[float, float]) -> mesh.Mesh:
    """Two triangles across the view of `CAMERA`, at a depth; corners in its pixels."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    vertices = np.array([((u - 20) * z / 40, (v - 15) * z / 40, z) for u, v in corners])
    return mesh.Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]))


CAMERA = Camera(torch.eye(4), torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]), 40, 30)


def test_coverage_is_an_area() -> None:
    mask = np.zeros((30, 40))
    mask[:, :20] = 1
    found = face_coverage(plate(2.0, (10, 5), (34, 25)), CAMERA, mask)
    # 24 x 20 pixels, of which 14 x 20 are outside; soft edges share out what they blur.
    assert found.total.sum() == pytest.approx(480, rel=0.01)
    assert found.outside.sum() == pytest.approx(280, rel=0.01)
    assert found.whole.all()
    cut = face_coverage(plate(2.0, (-10, 5), (20, 25)), CAMERA, mask)
    assert not cut.whole.any() and cut.total.sum() == pytest.approx(400, rel=0.05)
    behind = plate(2.0, (10, 5), (34, 25))
    behind = replace(behind, vertices=behind.vertices * [1, 1, -1])
    assert not face_coverage(behind, CAMERA, mask).total.any()
    quick = face_coverage(plate(2.0, (10, 5), (34, 25)), CAMERA, mask, doubtful=True)
    assert np.array_equal(quick.outside, found.outside)
    left = face_coverage(plate(2.0, (3, 5), (17, 25)), CAMERA, mask, doubtful=True)
    assert not left.total.any() and not left.outside.any()
    dot = face_coverage(plate(2.0, (12.4, 7.1), (12.5, 7.2)), CAMERA, mask)
    assert (dot.total > 0.3).all() and not dot.outside.any()


def test_what_is_hidden_is_judged_by_the_hull_only() -> None:
    front, back = plate(2.0, (5, 5), (35, 25)), plate(3.0, (25, 8), (33, 22))
    both = mesh.Mesh(
        np.concatenate([front.vertices, back.vertices]),
        np.concatenate([front.faces, back.faces + 4]),
    )
    mask = np.zeros((30, 40))
    mask[:, :20] = 1
    assert not face_coverage(both, CAMERA, mask).total[2:].any()
    seen = face_coverage(both, CAMERA, mask, hull=True)
    assert seen.total[2:].sum() == pytest.approx(112, rel=0.05)
    assert np.array_equal(seen.total[2:], seen.outside[2:])
    eight = np.uint8(255 * mask)
    assert len(without_disproved(both, [CAMERA], [eight], replace(PLAIN, hull=True)).faces) == 2
    # The front plate is half inside: one view is no three, and what it hides is not seen.
    assert len(without_disproved(both, [CAMERA], [eight], PLAIN).faces) == 4
    assert len(without_disproved(both, [CAMERA] * 3, [eight] * 3, PLAIN).faces) < 4


def test_crumbs_go() -> None:
    mask = np.full((30, 40), 255, np.uint8)
    two = plate(2.0, (5, 5), (35, 25))
    assert len(without_disproved(two, [CAMERA], [mask], replace(PLAIN, fewest=2)).faces) == 2
    assert not len(without_disproved(two, [CAMERA], [mask], replace(PLAIN, fewest=3)).faces)
    # Parts that touch in a corner are two.
    bow = mesh.Mesh(two.vertices, np.array([[0, 1, 2]]))
    tip = np.array([[9.0, 9, 2], [9, 8, 2]])
    bow = mesh.Mesh(np.concatenate([bow.vertices, tip]), np.array([[0, 1, 2], [2, 4, 5]]))
    made = without_disproved(bow, [CAMERA], [mask], PLAIN)
    assert len(made.vertices) == 6 and len(made.faces) == 2


def test_what_does_not_fit_is_said() -> None:
    mask = np.full((30, 40), 255, np.uint8)
    with pytest.raises(ValueError, match="1 cameras and 2 masks"):
        without_disproved(hull(), [CAMERA], [mask, mask])
    with pytest.raises(ValueError, match=r"a mask is 40x29 pixels, its camera 40x30"):
        without_disproved(hull(), [CAMERA], [mask[:29]])
    with pytest.raises(ValueError, match="share is 1"):
        Trim(share=1.0)
    with pytest.raises(ValueError, match="views is 0"):
        Trim(views=0)


def test_the_command_opens_it(splat: Splat, tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="needs scikit-image")
    cameras, masks = views()
    corners = torch.from_numpy(hull().vertices[hull().faces])
    normals = torch.nn.functional.normalize(torch.from_numpy(hull().crosses), dim=1)
    first = torch.nn.functional.normalize(corners[:, 1] - corners[:, 0], dim=1)
    turn = torch.stack([first, torch.linalg.cross(normals, first), normals], -1)
    n = len(corners)
    rows = Gaussians(
        means=corners.mean(1).float(),
        quats=quaternions(turn).float(),
        scales=torch.tensor([0.05, 0.05, 0.002]).repeat(n, 1),
        opacities=torch.full((n,), 0.98),
        colors=torch.zeros(n, 1, 3),
        sh_degree=0,
    )
    formats.write(rows, tmp_path / "hull.ply")
    (tmp_path / "masks").mkdir()
    entries = []
    for i, (camera, mask) in enumerate(zip(cameras, masks, strict=True)):
        pose = {"K": camera.K.tolist(), "world_to_camera": camera.world_to_camera.tolist()}
        size = {"width": camera.width, "height": camera.height}
        entries.append({"name": f"v{i}.jpg", "split": "train", **size, **pose})
        assert cv2.imwrite(str(tmp_path / "masks" / f"v{i}.png"), mask)
    (tmp_path / "cameras.json").write_text(json.dumps({"cameras": entries}))
    box = ("--box", -1.6, -1.6, -0.7, 1.6, 1.6, 0.7, "--resolution", 24, "--json", "--quiet")
    usual = ("mesh", "hull.ply", "--cameras", "cameras.json", *box)
    faces = []
    for more in ((), ("--masks", "masks", "--hull")):
        done = splat(*usual, "-o", "a.ply", "--overwrite", *more)
        assert done.code == 0, done.said
        faces.append(json.loads(done.out)["faces"])
        data = plyfile.PlyData.read("a.ply")["vertex"]
        hole = np.hypot(data["x"], data["y"]).min()
        assert hole < 0.1 if not more else hole > 0.4
    assert faces[1] < faces[0] and "faces that masks disprove" in done.said
    auto = splat(*usual, "-o", "b.ply", "--masks", "auto")
    assert auto.code != 0 and "the scene of the cameras is not known" in auto.said
    for path in (tmp_path / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros((72, 96), np.uint8))
    black = splat(*usual, "-o", "b.ply", "--masks", "masks")
    assert black.code != 0 and "masks must be white where the object is" in black.said
