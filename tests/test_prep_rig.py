"""From the videos of a rig, with the pose of each, to a clip."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scenes
from test_clip import model_of, n3dv

from splat import datasets
from splat.prep.films import film_of
from splat.prep.options import PrepOptions
from splat.prep.rig import RigReport, is_rig, prepare_rig

Splat = Callable[..., Any]
WIDTH, HEIGHT = scenes.WIDTH, scenes.HEIGHT


def picture(camera: int, number: int) -> np.ndarray:
    """A frame that says which it is: a level of grey of the camera, another of the number."""
    image = np.full((HEIGHT, WIDTH, 3), 40 * camera + 40, np.uint8)
    image[: HEIGHT // 2] = 10 * number + 20
    return image


def told(path: Path) -> tuple[int, int]:
    """The camera and the number that a frame says."""
    image = cv2.imread(str(path))
    h, w = image.shape[:2]
    low, high = image[-h // 4, w // 2].mean(), image[h // 4, w // 2].mean()
    return round((low - 40) / 40), round((high - 20) / 10)


def video(path: Path, camera: int, frames: range, rate: float = 10) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip("OpenCV cannot write videos here")
    for number in frames:
        writer.write(picture(camera, number))
    writer.release()


def rig(root: Path, cameras: int = 3, frames: int = 6, *, model: bool = True) -> Path:
    """Videos of a moment, and a COLMAP model or a `transforms.json` of their cameras."""
    root.mkdir()
    for camera in range(cameras):
        video(root / f"cam{camera}.avi", camera, range(frames))
    if model:
        model_of(root, "cam{camera}.png", cameras, "sparse/0")
    else:
        scenes.write_transforms(root, scenes.shots(cameras))
        content = json.loads((root / "transforms.json").read_text())
        for camera, frame in enumerate(content["frames"]):
            frame["file_path"] = f"cam{camera}.avi"
        (root / "transforms.json").write_text(json.dumps(content))
        shutil.rmtree(root / "images")
    return root


def prepared(source: Path, out: Path, **options: Any) -> RigReport:
    def find(photos: Path, posed: Path) -> None:
        raise AssertionError("poses were given")

    asked = PrepOptions(**options)
    return prepare_rig(source, out, asked, overwrite=False, tick=lambda *_: None, find=find)


@pytest.mark.parametrize("model", [True, False])
def test_frames_of_a_rig_become_a_clip(tmp_path: Path, model: bool) -> None:
    source = rig(tmp_path / "rig", model=model)
    assert is_rig(source)
    report = prepared(source, tmp_path / "out", side=48)
    assert report.cameras == ("cam0", "cam1", "cam2") and report.instants == 6
    assert report.frames == 18 and report.size == (48, 40) and not report.notes
    scene = datasets.load(tmp_path / "out", eval="none")
    assert scene.clip is not None and scene.clip.instants == 6
    assert scene.clip.seconds == pytest.approx(0.5)
    assert (scene.points is not None) == model
    for view in scene.train:
        camera, number = told(view.image)
        pose = scenes.shots(3)[camera].world_to_camera
        np.testing.assert_allclose(view.camera.world_to_camera.numpy(), pose, atol=1e-6)
        assert view.name == f"cam{camera}/{number:05d}.jpg"
        assert view.camera.time == pytest.approx(number / 5)
        # The poses' photos are of scenes.WIDTH; frames of 96 pixels were shrunk to 48.
        wide = scenes.FOCAL[0] * 48 / scenes.WIDTH
        assert float(view.camera.K[0, 0]) == pytest.approx(wide)
        assert view.camera.sensor == camera


def test_videos_begin_when_their_offsets_say(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig")
    # The second began 0.2 s after the first, the third 0.13 s.
    offsets = {"cam0": 5.0, "cam1.avi": 5.2, "cam2": 5.13}
    (source / "offsets.json").write_text(json.dumps(offsets))
    report = prepared(source, tmp_path / "out")
    assert report.instants == 4
    said = " ".join(report.notes)
    assert "those of cam2 are 0.3 of a frame off" in said
    assert "4 that all have (cam0.avi is the shortest)" in said
    numbers = [told(tmp_path / f"out/images/cam{c}/00000.jpg")[1] for c in range(3)]
    assert numbers == [2, 0, 1]


def test_some_instants_are_taken_and_one_is_a_scene_that_stands_still(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig")
    report = prepared(source, tmp_path / "some", instants=3)
    assert report.instants == 3 and report.seconds == pytest.approx(0.4)
    assert "every 2 frames were taken, 3 of 6" in report.text()
    assert [told(f)[1] for f in sorted((tmp_path / "some/images/cam1").iterdir())] == [0, 2, 4]
    report = prepared(source, tmp_path / "one", instants=1)
    assert "one instant only, and so a scene that stands still" in report.text()
    assert datasets.load(tmp_path / "one", eval="none").clip is None


def test_a_second_call_takes_what_is_missing(tmp_path: Path) -> None:
    source, out = rig(tmp_path / "rig"), tmp_path / "out"
    first = prepared(source, out)
    content = (out / "transforms.json").read_bytes()
    kept = (out / "images/cam0/00003.jpg").stat().st_mtime_ns
    (out / "images/cam1/00002.jpg").unlink()
    assert prepared(source, out) == first
    assert (out / "transforms.json").read_bytes() == content
    assert (out / "images/cam0/00003.jpg").stat().st_mtime_ns == kept
    assert (out / "images/cam1/00002.jpg").is_file()
    assert prepared(source, out, instants=2).frames == 6  # other options: anew
    assert len([*(out / "images/cam0").iterdir()]) == 2


def test_videos_of_unequal_length_and_without_poses_are_said(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig")
    video(source / "cam1.avi", 1, range(4))
    video(source / "cam7.avi", 1, range(9))
    report = prepared(source, tmp_path / "out")
    assert report.instants == 4 and report.cameras == ("cam0", "cam1", "cam2")
    said = " ".join(report.notes)
    assert "4 to 6 frames" in said and "cam1.avi is the shortest" in said
    assert "1 of 4 videos have no pose and were skipped (the first is cam7.avi)" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: video(s / "cam1.avi", 1, range(6), 25), "cam1.avi: has 25 frames a second"),
        (lambda s: (s / "cam1.avi").write_bytes(b"none"), "cam1.avi: holds no frame"),
        (lambda s: (s / "offsets.json").write_text('{"cam0": 0}'), "no offset of cam1.avi"),
        (lambda s: (s / "offsets.json").write_text('{"cam0": "x"}'), "cam0`: 'x'"),
        (
            lambda s: (s / "offsets.json").write_text('{"cam0": 0, "cam1": 9, "cam2": 0}'),
            "no moment that all videos show: cam0.avi ends at 0.6 s and cam1.avi begins at 9",
        ),
        (
            lambda s: [f.rename(s / f"{i}x{i}.avi") for i, f in enumerate(sorted(s.glob("*.avi")))],
            "of none of the 3 cameras",
        ),
        (lambda s: [(s / f"cam{i}.avi").rename(s / f"x{i}y{i}.avi") for i in (0, 2)],
         "1 of its 3 videos has a pose"),
        (lambda s: shutil.copy(s / "cam1.avi", s / "cam1.mkv"), "avi: has the name of cam1.mkv"),
        (lambda s: (s / "sparse/0/images.bin").write_bytes(b"\1" * 9), "images.bin"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_clip_is_said(
    tmp_path: Path, change: Callable[[Path], Any], said: str
) -> None:
    source = rig(tmp_path / "rig")
    change(source)
    with pytest.raises(ValueError, match=said):
        prepared(source, tmp_path / "out")


def test_a_camera_of_another_shape_than_its_video_is_named(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig", model=False)
    content = json.loads((source / "transforms.json").read_text())
    content["w"], content["h"] = 100, 20
    (source / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"cam0.avi: is 96x80 pixels, its camera 100x20"):
        prepared(source, tmp_path / "out")


def test_poses_are_found_in_the_first_instant(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig")
    (tmp_path / "model").mkdir()
    (source / "sparse").rename(tmp_path / "model/sparse")
    (source / "offsets.json").write_text('{"cam0": 0, "cam1": 0.2, "cam2": 0}')
    assert is_rig(source)
    seen = {}

    def find(photos: Path, posed: Path) -> None:
        seen.update({file.stem: told(file) for file in photos.iterdir()})
        shutil.copytree(tmp_path / "model/sparse", posed / "sparse")

    report = prepare_rig(
        source, tmp_path / "out", PrepOptions(), overwrite=False, tick=lambda *_: None, find=find
    )
    assert seen == {"cam0": (0, 2), "cam1": (1, 0), "cam2": (2, 2)} and report.instants == 4


def test_videos_of_neural_3d_video(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig")
    shutil.rmtree(source / "sparse")
    n3dv(tmp_path / "poses", 3, 1)
    shutil.copy(tmp_path / "poses/poses_bounds.npy", source)
    prepared(source, tmp_path / "out")
    for view in datasets.load(tmp_path / "out", eval="none").train:
        pose = scenes.shots(3)[told(view.image)[0]].world_to_camera
        np.testing.assert_allclose(view.camera.world_to_camera.numpy(), pose, atol=1e-6)
    (source / "cam2.avi").unlink()
    with pytest.raises(ValueError, match=r"poses_bounds.npy: .* expected \(2, 17\)"):
        prepared(source, tmp_path / "other")


def test_a_lens_is_written_as_it_was_given(tmp_path: Path) -> None:
    source = rig(tmp_path / "rig", model=False)
    content = json.loads((source / "transforms.json").read_text())
    content |= {"camera_model": "OPENCV", "k1": 0.1, "k2": -0.02, "p1": 0.003, "p2": -0.004}
    (source / "transforms.json").write_text(json.dumps(content))
    prepared(source, tmp_path / "out")
    bent = datasets.load(tmp_path / "out", eval="none").train[0].lens
    assert bent is not None and bent.coefficients == (0.1, -0.02, 0.003, -0.004, 0.0)


def test_the_verb_and_a_static_method_on_what_it_makes(
    tmp_path: Path, splat: Splat, caplog: pytest.LogCaptureFixture
) -> None:
    source = rig(tmp_path / "rig")
    done = splat("prep", source, "-o", "scene", "--side", 64)
    assert done.code == 0, done.said
    assert "3 cameras, 6 instants in 0.5 s: 18 frames of 64x53" in done.out
    assert "now: splat train scene" in done.out
    record = json.loads(splat("prep", source, "-o", "scene", "--side", 64, "--json").out)
    assert record["instants"] == 6 and record["advice"] == []
    caplog.set_level(logging.WARNING, "splat")
    trained = splat("train", "scene", "--steps", 1, "--no-pictures", "mcmc", "--cap", 200)
    assert trained.code == 0, trained.said
    assert "mcmc makes one picture of all of its 6 instants; add `+ moving`" in trained.said


def test_headers_of_videos(tmp_path: Path) -> None:
    video(tmp_path / "a.avi", 0, range(3), 12.5)
    film = film_of(tmp_path / "a.avi")
    assert (film.name, film.rate, film.frames, film.width, film.height) == ("a", 12.5, 3, 96, 80)
