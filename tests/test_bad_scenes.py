"""Bad input: each kind ends in one sentence that names the file and says what to do."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch

from splat import datasets
from splat.types import SceneData


def refused(error: type[Exception], path: Path, *parts: str, **options: Any) -> str:
    """The message of loading `path`, which must hold all of `parts`, in this order."""
    pattern = ".*".join(map(re.escape, parts))
    with pytest.raises(error, match=pattern) as caught:
        datasets.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    return message


def colmap(root: Path, **options: Any) -> Path:
    return scenes.write_colmap(root, scenes.shots(), **options)


def nerfstudio(root: Path, **changes: Any) -> Path:
    scenes.write_transforms(root, scenes.shots(), {**scenes.MEASURES, **changes})
    return root


def broken_frame(root: Path, **changes: Any) -> Path:
    """A transforms.json whose frame 2 is changed; None deletes a key."""
    file = nerfstudio(root) / "transforms.json"
    content = json.loads(file.read_text())
    content["frames"][2] |= changes
    file.write_text(json.dumps(content))
    return root


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    refused(FileNotFoundError, tmp_path / "nowhere", "nowhere", "does not exist")


def test_a_file_for_a_folder(tmp_path: Path) -> None:
    (file := tmp_path / "transforms.json").touch()
    refused(NotADirectoryError, file, "transforms.json", "is a file", f"give {tmp_path}")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(ValueError, tmp_path, str(tmp_path), "is an empty folder", "COLMAP", "nerfstudio")


def test_an_unknown_layout(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    refused(
        ValueError, tmp_path, str(tmp_path), "is not a known scene", "sparse/0/cameras.bin",
        "transforms.json", "transforms_train.json",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_a_truncated_binary_file(tmp_path: Path, name: str) -> None:
    file = colmap(tmp_path) / "sparse/0" / name
    whole = file.read_bytes()
    for length in {*range(0, len(whole), 11), *range(60), len(whole) - 1}:
        file.write_bytes(whole[:length])
        refused(ValueError, tmp_path, name, f"ends after {length} bytes", "expected a whole")
    file.write_bytes(whole)
    datasets.load(tmp_path)


def test_a_binary_file_of_garbage(tmp_path: Path) -> None:
    file = colmap(tmp_path) / "sparse/0/cameras.bin"
    file.write_bytes(struct.pack("<QiiQQ", 1, 7, 99, 96, 80) + bytes(99))
    refused(ValueError, tmp_path, "cameras.bin", "model number 99", "expected 0 to 17")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cameras.txt", "7 PINHOLE 96 80 90 88 49"),
        ("cameras.txt", "7 STRANGE 96 80 90 88 49 40"),
        ("images.txt", "1 1 0 0 0 x 0 0 7 000.png"),
        ("images.txt", "1 1 0 0 0 0 0 0 7"),
        ("points3D.txt", "1 0 0 zero 255 0 0 0.5"),
        ("points3D.txt", "1 0 0 0 255 0 0"),
    ],
)
def test_a_broken_line_of_text(tmp_path: Path, name: str, line: str) -> None:
    file = colmap(tmp_path, binary=False) / "sparse/0" / name
    file.write_text(f"# a comment\n{line}\n")
    refused(ValueError, tmp_path, name, "line 2 cannot be read", "expected")


def test_an_image_of_an_unknown_camera(tmp_path: Path) -> None:
    file = colmap(tmp_path, binary=False) / "sparse/0/cameras.txt"
    file.write_text(file.read_text().replace("7 PINHOLE", "8 PINHOLE"))
    refused(
        ValueError,
        tmp_path,
        "images.txt: image '000.png'",
        "taken by camera 7",
        "not among the 1 cameras",
    )


def test_a_camera_of_zero_focal_length(tmp_path: Path) -> None:
    colmap(tmp_path, sensor=("PINHOLE", (0, 88, 49, 39.5)))
    refused(ValueError, tmp_path, "cameras.bin: camera 7", "focal lengths 0, 88", "above 0")


def test_nan_in_a_pose(tmp_path: Path) -> None:
    photos = scenes.shots()
    photos[3].world_to_camera[0, 3] = np.nan
    model = scenes.write_colmap(tmp_path, photos, images=None, binary=False)
    colmap(tmp_path / "whole")
    refused(ValueError, model, "images.txt: image '003.png'", "NaN", images="whole/images")


def test_no_folder_of_photos(tmp_path: Path) -> None:
    colmap(tmp_path, images=None)
    refused(FileNotFoundError, tmp_path, "images: there is no such folder", "--images")
    refused(FileNotFoundError, tmp_path, "other: there is no such folder", images="other")


def test_no_photo_of_those_registered(tmp_path: Path) -> None:
    colmap(tmp_path, images=None)
    (tmp_path / "images").mkdir()
    refused(FileNotFoundError, tmp_path, "holds none of the 9 photos", "such as 000.png")


def test_a_photo_of_another_shape_than_its_camera(tmp_path: Path) -> None:
    colmap(tmp_path, size=(scenes.HEIGHT, scenes.WIDTH))
    refused(ValueError, tmp_path, "000.png: is 96x80 pixels, its camera 80x96", "same shape")


def test_a_photo_that_is_none(tmp_path: Path) -> None:
    for content in (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"no picture"):
        (colmap(tmp_path) / "images/004.png").write_bytes(content)
        refused(ValueError, tmp_path, "004.png", "cannot be decoded to its end")


def test_points_behind_all_cameras(tmp_path: Path) -> None:
    # Cameras that look outwards leave the middle, where the points are, behind them.
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    photos = [scenes.Shot(s.name, turned @ s.world_to_camera) for s in scenes.shots()]
    scenes.write_colmap(tmp_path, photos)
    refused(ValueError, tmp_path, "none of the 3 points lies before any of the 9 cameras", "axes")


def notes_of(path: Path) -> tuple[SceneData, str]:
    scene = datasets.load(path)
    return scene, " | ".join(scene.notes)


def test_nan_in_points_is_dropped_aloud(tmp_path: Path) -> None:
    points = np.concatenate([scenes.POINTS, [[0, np.nan, 0], [np.inf, 0, 0]]])
    scene, notes = notes_of(colmap(tmp_path, points=points))
    assert scene.points is not None and len(scene.points.positions) == 3
    assert torch.isfinite(scene.points.positions).all()
    assert "2 of 5 points hold NaN or infinity and were dropped" in notes


@pytest.mark.parametrize("points", [None, np.zeros((0, 3)), np.full((2, 3), np.nan)])
@pytest.mark.parametrize("binary", [True, False])
def test_no_points_are_said_aloud(
    tmp_path: Path, points: scenes.Array | None, binary: bool
) -> None:
    scene, notes = notes_of(colmap(tmp_path, points=points, binary=binary))
    assert scene.points is None
    assert "there are no points: training starts from random points" in notes


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    small = np.zeros((40, 48), np.uint8)
    scenes.write_picture(colmap(tmp_path) / "masks/002.png", small)
    refused(ValueError, tmp_path, "002.png: is 48x40 pixels, its photo 96x80", "--masks none")
    assert datasets.load(tmp_path, masks="none").train


def test_a_folder_of_masks_that_is_not_there(tmp_path: Path) -> None:
    refused(FileNotFoundError, colmap(tmp_path), "outlines: there is no", masks="outlines")


def test_one_photo_only(tmp_path: Path) -> None:
    scenes.write_colmap(tmp_path, scenes.shots(1))
    refused(ValueError, tmp_path, "one posed photo only", "expected at least 2")


def test_two_photos_are_both_trained_on(tmp_path: Path) -> None:
    scenes.write_colmap(tmp_path, scenes.shots(2))
    scene, notes = notes_of(tmp_path)
    assert len(scene.train) == 2 and "no view of 2 is held out" in notes
    refused(ValueError, tmp_path, "1 of 2 photos is left to train on", "--eval none", eval="8")


@pytest.mark.parametrize(
    ("eval", "parts"),
    [
        ("nothing", ("there is no view called nothing", "expected auto, path, all, none")),
        ("1", ("--eval 1: leaves no view to train on",)),
        ("000,9.png", ("there is no view called 9.png", "000.png")),
    ],
)
def test_a_split_that_cannot_be(tmp_path: Path, eval: str, parts: tuple[str, ...]) -> None:
    refused(ValueError, colmap(tmp_path), *parts, eval=eval)


def test_broken_json(tmp_path: Path) -> None:
    file = nerfstudio(tmp_path) / "transforms.json"
    file.write_text('{\n"w": 96,\n"frames": [')
    refused(ValueError, tmp_path, "transforms.json: line 3 is not JSON")
    file.write_text("[]")
    refused(ValueError, tmp_path, "transforms.json: is []; expected a JSON object with `frames`")
    file.write_text("{}")
    refused(ValueError, tmp_path, "transforms.json: has no `frames`; expected a list")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"transform_matrix": None}, ("has no `transform_matrix`",)),
        (
            {"transform_matrix": [[1, 2], [3]]},
            ("[[1, 2], [3]] as `transform_matrix`; expected n x 4",),
        ),
        ({"transform_matrix": np.zeros((4, 4)).tolist()}, ("is no rotation",)),
        ({"transform_matrix": np.diag([1, 1, -1, 1]).tolist()}, ("is no rotation",)),
        ({"fl_x": "wide"}, ("`fl_x`: 'wide'", "expected a number")),
        ({"fl_x": 0}, ("has no focal length", "`fl_x`", "`camera_angle_x`")),
        ({"camera_model": "EQUIRECTANGULAR"}, ("camera_model 'EQUIRECTANGULAR'", "PINHOLE")),
        ({"k4": 0.1}, ("k4 = 0.1", "undistort")),
        ({"mask_path": "no.png"}, ("mask 'no.png' does not exist",)),
    ],
)
def test_a_broken_frame(tmp_path: Path, change: dict[str, Any], parts: tuple[str, ...]) -> None:
    broken_frame(tmp_path, **change)
    refused(ValueError, tmp_path, "transforms.json: frame 2:", *parts)


def test_frames_without_any_photo(tmp_path: Path) -> None:
    for photo in (nerfstudio(tmp_path) / "images").iterdir():
        photo.unlink()
    refused(FileNotFoundError, tmp_path, "none of the photos of its 9 frames", "images/000.png")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def headless(path: Path) -> None:
    path.write_bytes(b"solid stl")


def faces_only(path: Path) -> None:
    path.write_bytes(b"ply\nformat ascii 1.0\nelement face 0\nend_header\n")


def flat(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"float z", b"float w"))


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (cut, "is cut off: it has 2 rows, expected 3"),
        (headless, "it is no .ply file"),
        (faces_only, "has no element 'vertex'"),
        (flat, "lacks the columns z"),
    ],
)
def test_a_broken_ply(tmp_path: Path, spoil: Callable[[Path], None], part: str) -> None:
    nerfstudio(tmp_path, ply_file_path="cloud.ply")
    assert "the points cloud.ply that transforms.json names do not exist" in notes_of(tmp_path)[1]
    scenes.write_ply(tmp_path / "cloud.ply", scenes.POINTS)
    spoil(tmp_path / "cloud.ply")
    refused(ValueError, tmp_path, "cloud.ply", part)


@pytest.mark.parametrize("name", ["../cloud.ply", "{}/cloud.ply"])
def test_points_outside_of_the_scene_are_left_alone(tmp_path: Path, name: str) -> None:
    scenes.write_ply(tmp_path / "cloud.ply", scenes.POINTS)
    (tmp_path / "scene").mkdir()
    place = nerfstudio(tmp_path / "scene", ply_file_path=name.format(tmp_path))
    scene, notes = notes_of(place)
    assert "lie outside of its folder and are not read" in notes and scene.points is None
