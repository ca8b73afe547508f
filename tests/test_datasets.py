"""Formats: a point projects to the pixel that we drew, and what readers say and skip."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scenes
import torch
from scenes import check_axes, views_of

from splat import datasets
from splat.photos.photo import photograph
from splat.types import Lens, Points


def colmap_binary(root: Path) -> Path:
    return scenes.write_colmap(root, scenes.shots())


def colmap_text(root: Path) -> Path:
    return scenes.write_colmap(root, scenes.shots(), binary=False)


def nerfstudio(root: Path) -> Path:
    return scenes.write_transforms(root, scenes.shots())


def blender(root: Path) -> Path:
    # Blender's script writes one angle, square pixels and the principal point in the middle.
    meta = {**scenes.MEASURES, "fl_y": None}
    photos = scenes.shots(focal=(scenes.FOCAL[0],) * 2)
    alpha = np.full((scenes.HEIGHT, scenes.WIDTH), 255, np.uint8)
    for part, chosen in (("train", photos[1:]), ("test", photos[:1])):
        scenes.write_transforms(
            root, chosen, meta, file=f"transforms_{part}.json", folder=part, suffix="", alpha=alpha
        )
    return root


@pytest.mark.parametrize("write", [colmap_binary, colmap_text, nerfstudio, blender])
def test_points_project_to_the_pixels_we_drew(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    scene = datasets.load(write(tmp_path), eval="all")
    assert len(scene.train) == 9
    assert scene.format == write.__name__.split("_")[0]
    check_axes(scene)


BENT: list[tuple[str, tuple[float, ...], Lens | None]] = [
    ("SIMPLE_PINHOLE", (), None),
    ("PINHOLE", (), None),
    ("SIMPLE_RADIAL", (-0.1,), Lens("radial", (-0.1,))),
    ("RADIAL", (-0.1, 0.05), Lens("radial", (-0.1, 0.05))),
    ("OPENCV", (0.1, 0.02, 3e-3, -5e-3), Lens("radial", (0.1, 0.02, 3e-3, -5e-3))),
    ("OPENCV_FISHEYE", (0.1, 0.02, 0.01, 0.01), Lens("fisheye", (0.1, 0.02, 0.01, 0.01))),
    ("FULL_OPENCV", (0.1,) * 2 + (0.01,) * 6, Lens("radial", (0.1,) * 2 + (0.01,) * 6)),
    ("FOV", (0.9,), Lens("fov", (0.9,))),
    ("SIMPLE_RADIAL_FISHEYE", (0.1,), Lens("fisheye", (0.1,))),
    ("RADIAL_FISHEYE", (0.1, 0.05), Lens("fisheye", (0.1, 0.05))),
    ("THIN_PRISM_FISHEYE", (0.01,) * 8, Lens("thin_prism_fisheye", (0.01,) * 8)),
    (
        "RAD_TAN_THIN_PRISM_FISHEYE",
        (0.01,) * 12,
        Lens("rad_tan_thin_prism_fisheye", (0.01,) * 12),
    ),
    ("SIMPLE_DIVISION", (-0.2,), Lens("division", (-0.2,))),
    ("DIVISION", (-0.2,), Lens("division", (-0.2,))),
    ("SIMPLE_FISHEYE", (), Lens("fisheye", ())),
    ("FISHEYE", (), Lens("fisheye", ())),
    ("EUCM", (0.6, 1.1), Lens("eucm", (0.6, 1.1))),
]


@pytest.mark.parametrize("binary", [True, False], ids=["bin", "txt"])
@pytest.mark.parametrize(("model", "coefficients", "lens"), BENT, ids=[row[0] for row in BENT])
def test_every_colmap_model_is_undistorted(
    tmp_path: Path, model: str, coefficients: tuple[float, ...], lens: Lens | None, binary: bool
) -> None:
    one = model.startswith("SIMPLE") or model in ("RADIAL", "RADIAL_FISHEYE")
    focal = scenes.FOCAL[:1] * 2 if one else scenes.FOCAL
    photos = scenes.shots(3, focal=focal, lens=lens)
    parameters = (*focal[: 1 if one else 2], *scenes.PRINCIPAL, *coefficients)
    scenes.write_colmap(tmp_path, photos, sensor=(model, parameters), binary=binary)
    scene = datasets.load(tmp_path)
    assert {view.lens for view in views_of(scene)} == {lens}
    # A dot is bent with the photo, so its light moves a little against its middle.
    check_axes(scene, 0.05 if lens is None else 0.15)


def test_the_largest_of_several_models_is_taken(tmp_path: Path) -> None:
    photos = scenes.shots()
    scenes.write_colmap(tmp_path, photos[:2], sparse="sparse/0")
    scenes.write_colmap(tmp_path, photos, sparse="sparse/1", binary=False)
    scenes.write_colmap(tmp_path, photos[:3], sparse="sparse/2")
    scene = datasets.load(tmp_path)
    assert len(views_of(scene)) == 9
    assert scene.notes[0] == (
        "sparse/1 was taken, with 9 registered images (sparse/0 has 2, sparse/2 has 3)"
    )


@pytest.mark.parametrize("sparse", ["sparse", "."])
def test_a_model_may_lie_in_sparse_or_beside_the_photos(tmp_path: Path, sparse: str) -> None:
    scenes.write_colmap(tmp_path, scenes.shots(), sparse=sparse)
    assert len(views_of(datasets.load(tmp_path))) == 9


def test_points_and_colours(tmp_path: Path) -> None:
    for i, binary in enumerate((True, False)):
        scenes.write_colmap(tmp_path / str(i), scenes.shots(), binary=binary)
        points = datasets.load(tmp_path / str(i)).points
        assert points is not None
        assert np.abs(points.positions.numpy() - scenes.POINTS).max() < 1e-12
        assert torch.equal(points.colors, torch.eye(3))


def test_points_in_view(tmp_path: Path) -> None:
    scene = datasets.load(colmap_binary(tmp_path))
    camera = scene.train[0].camera
    behind = 2 * camera.centre - torch.from_numpy(scenes.POINTS[0])
    beside = camera.centre + camera.world_to_camera[:3, :3].T @ torch.tensor([5.0, 0, 1]).double()
    positions = torch.stack([torch.from_numpy(scenes.POINTS[0]), behind, beside])
    seen = datasets.points_in_view(Points(positions, torch.zeros(3, 3)), [camera])
    assert seen.tolist() == [True, False, False]


def test_photos_missing_or_not_registered_are_counted(tmp_path: Path) -> None:
    colmap_binary(tmp_path)
    (tmp_path / "images/004.png").unlink()
    shutil.copy(tmp_path / "images/003.png", tmp_path / "images/other.png")
    scene = datasets.load(tmp_path)
    assert len(views_of(scene)) == 8
    assert scene.notes[0].startswith("1 of 9 registered photos are missing in images/")
    assert scene.notes[1] == "COLMAP registered 8 of the 9 photos in images/"


def test_scaled_photos(tmp_path: Path) -> None:
    """Another folder is taken if named or if there is no other; its cameras are resized."""
    colmap_binary(tmp_path)
    for view in views_of(datasets.load(tmp_path)):
        half, _ = photograph(view, scenes.WIDTH // 2, scenes.HEIGHT // 2)
        scenes.write_picture(tmp_path / "images_2" / view.name, half)
    assert views_of(datasets.load(tmp_path))[0].camera.width == scenes.WIDTH
    named = datasets.load(tmp_path, images="images_2")
    shutil.rmtree(tmp_path / "images")
    found = datasets.load(tmp_path)
    assert found.notes[0] == "there is no images/; the photos were taken from images_2/"
    assert found.notes[1].startswith("9 photos have another size than their cameras (the first is")
    for scene in (named, found):
        for view in views_of(scene):
            assert (view.camera.width, view.camera.height) == (48, 40)
            pixels, _ = photograph(view, 48, 40)
            expected = scenes.projected(view.camera)
            assert np.abs(scenes.centroids(pixels) - expected).max() < 0.05


def test_names_with_spaces_and_folders(tmp_path: Path) -> None:
    photos = [
        scenes.Shot(f"left eye/a photo {i}.png", shot.world_to_camera)
        for i, shot in enumerate(scenes.shots(3))
    ]
    for i, binary in enumerate((True, False)):
        scenes.write_colmap(tmp_path / str(i), photos, binary=binary)
        scene = datasets.load(tmp_path / str(i))
        assert [view.name for view in views_of(scene)] == [shot.name for shot in photos]


def test_many_points_are_read_fast(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(100_000, 3)) * 0.3
    scenes.write_colmap(tmp_path, scenes.shots(), points=points)
    start = time.perf_counter()
    found = datasets.load(tmp_path).points
    assert time.perf_counter() - start < 2
    assert found is not None and np.array_equal(found.positions.numpy(), points)


def test_blender_own_split(tmp_path: Path) -> None:
    scene = datasets.load(blender(tmp_path))
    assert [view.name for view in scene.test] == ["test/000.png"]
    assert len(scene.train) == 8 and scene.points is None
    assert [view.camera.index for view in scene.train] == list(range(8))


@pytest.mark.parametrize(
    ("eval", "train", "test"),
    [
        ("auto", 7, [0, 8]),
        ("8", 7, [0, 8]),
        ("4", 6, [0, 4, 8]),
        ("all", 9, list(range(9))),
        ("none", 9, []),
        ("001, 003.png", 7, [1, 3]),
    ],
)
def test_split(tmp_path: Path, eval: str, train: int, test: list[int]) -> None:
    scene = datasets.load(colmap_binary(tmp_path), eval=eval)
    assert [int(view.name[:3]) for view in scene.test] == test
    assert len(scene.train) == train
    assert eval == "all" or not {v.name for v in scene.train} & {v.name for v in scene.test}


def test_split_by_a_file_of_names(tmp_path: Path) -> None:
    (names := tmp_path / "held_out.txt").write_text("002.png\n\n005\n")
    scene = datasets.load(colmap_binary(tmp_path / "scene"), eval=str(names))
    assert [view.name for view in scene.test] == ["002.png", "005.png"]


def test_masks_are_found_by_either_name(tmp_path: Path) -> None:
    colmap_binary(tmp_path)
    blank = np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint8)
    scenes.write_picture(tmp_path / "masks/000.png", blank)
    scenes.write_picture(tmp_path / "masks/001.png.png", blank)
    scenes.write_picture(tmp_path / "other/002.png", blank)
    views = views_of(scene := datasets.load(tmp_path))
    assert [view.mask and view.mask.name for view in views[:3]] == ["000.png", "001.png.png", None]
    assert "2 of 9 photos have a mask (the first without is 002.png)" in scene.notes
    assert views_of(datasets.load(tmp_path, masks="none"))[0].mask is None
    other = views_of(datasets.load(tmp_path, masks="other"))
    assert [view.mask is not None for view in other[:3]] == [False, False, True]


def test_photos_outside_of_the_folder_are_the_user_s_word(tmp_path: Path) -> None:
    """A stranger's scene reads no other files of mine; links in it, and what I name, are my own."""
    root = nerfstudio(tmp_path / "scene")
    record = json.loads((root / "transforms.json").read_text())
    first = root / record["frames"][0]["file_path"]
    shutil.copy(first, tmp_path / "secret.png")
    for name in ("../secret.png", str(tmp_path / "secret.png")):
        record["frames"][0]["file_path"] = name
        (root / "transforms.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"outside of its folder, .*secret.png; .*--allow-out"):
            datasets.load(root)
        assert len(datasets.load(root, allow_outside=True).train)
    first.unlink()
    first.symlink_to(tmp_path / "secret.png")
    record["frames"][0]["file_path"] = str(first.relative_to(root))
    (root / "transforms.json").write_text(json.dumps(record))
    assert len(datasets.load(root).train)
