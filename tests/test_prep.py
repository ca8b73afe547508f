"""From photos or a video to a posed scene."""

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
import textured
import torch
from PIL import Image

pytest.importorskip("pycolmap")

from splat import datasets
from splat.prep import (
    PrepOptions,
    Report,
    RigReport,
    child,
    pairs,
    preparation,
    prepare,
    prepare_any,
)
from splat.prep.cameras import Group, cameras_text

Splat = Callable[..., Any]
TURNED = {1: None, 3: cv2.ROTATE_180, 6: cv2.ROTATE_90_COUNTERCLOCKWISE, 8: cv2.ROTATE_90_CLOCKWISE}
"""How pixels must be stored for an orientation of EXIF to put them upright."""
FAST = PrepOptions(max_side=320, features=2000, threads=1)


def save(path: Path, image: Any, orientation: int = 1, **tags: Any) -> Path:
    """A JPEG with EXIF; tags are those of the Exif folder, `gps` of the GPS folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = orientation, "Maker", "Model 1"
    exif.get_ifd(0x8825).update(tags.pop("gps", {}))
    exif.get_ifd(0x8769).update({int(tag, 16): value for tag, value in tags.items()})
    turn = TURNED[orientation]
    stored = image if turn is None else cv2.rotate(image, turn)
    Image.fromarray(stored).save(path, quality=95, subsampling=0, exif=exif.tobytes())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[textured.Eye]]:
    """Nine good photos, one of them stored sideways, one in portrait, and much that is not."""
    root = tmp_path_factory.mktemp("photos")
    stand = textured.eyes(9)
    stand[6] = textured.Eye(stand[6].world_to_camera, stand[6].focal, 240, 320)
    for i, eye in enumerate(stand):
        save(root / f"p{i}.jpg", textured.picture(eye), 6 if i == 3 else 1, **{"0xA405": 31})
    shutil.copy(root / "p1.jpg", root / "q copy.jpg")
    (root / "broken.jpg").write_bytes((root / "p2.jpg").read_bytes()[:9000])
    (root / "empty.png").touch()
    (root / "more").mkdir()
    (root / "more" / "notes.txt").write_text("no photo")
    textured.save(root / "more" / "blur.jpg", cv2.GaussianBlur(textured.picture(stand[4]), None, 9))
    return root, stand


@pytest.fixture(scope="module")
def scene(folder: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """What was made of it."""
    out = tmp_path_factory.mktemp("made") / "scene"
    return out, prepare(folder[0], out, FAST)


def centres(scene: Path) -> dict[str, np.ndarray]:
    loaded = datasets.load(scene, eval="none")
    poses = {view.image.name: view.camera.world_to_camera.double() for view in loaded.train}
    return {name: (-pose[:3, :3].T @ pose[:3, 3]).numpy() for name, pose in poses.items()}


def misplaced(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Distances after the best similarity, in shares of the extent."""
    a, b = found - found.mean(0), true - true.mean(0)
    u, s, v = np.linalg.svd(b.T @ a)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = (s * np.diag(flip)).sum() / (a**2).sum()
    off = scale * a @ (u @ flip @ v).T - b
    extent = np.linalg.norm(true[:, None] - true[None], axis=-1).max()
    return np.linalg.norm(off, axis=1) / extent


def test_a_folder_becomes_a_scene(folder: Any, scene: Any) -> None:
    out, report = scene
    assert report.registered == 9 and report.photos == 10 and report.error < 0.5
    found = centres(out)
    true = np.stack([eye.centre for eye in folder[1]])
    assert misplaced(np.stack([found[f"p{i}.jpg"] for i in range(9)]), true).max() < 0.005
    views = {view.image.name: view.camera for view in datasets.load(out, eval="none").train}
    for i, eye in enumerate(folder[1]):
        camera = views[f"p{i}.jpg"]
        assert (camera.width, camera.height) == (eye.width, eye.height)
        assert abs(float(camera.K[0, 0]) / eye.focal - 1) < 0.02


def test_z_is_up_and_recorded(scene: Any) -> None:
    out, report = scene
    assert report.frame is not None and report.frame["up_found"] and not report.frame["metric"]
    ups = [
        -view.camera.world_to_camera[1, :3].numpy()
        for view in datasets.load(out, eval="none").train
    ]
    true = [-eye.world_to_camera[1, :3] for eye in textured.eyes(9)]
    assert abs(np.mean(ups, 0)[2] - np.mean(true, 0)[2]) < 0.02


def test_the_report_names_what_went_wrong(scene: Any) -> None:
    out, report = scene
    assert [name for name, _ in report.failed] == ["more/blur.jpg"]
    assert "blurry" in report.failed[0][1] and report.blurry == ("more/blur.jpg",)
    assert report.doubles == (("q copy.jpg", "p1.jpg"),)
    assert [name for name, _ in report.broken] == ["broken.jpg", "empty.png"]
    assert (report.others, report.turned) == (1, 1)
    assert "camera poses found for 9 of 10 photos" in (out / "prep.txt").read_text()
    assert json.loads((out / "prep.json").read_text())["registered"] == 9


def test_copies_keep_bytes_and_turned_ones_are_upright(folder: Any, scene: Any) -> None:
    out, root = scene[0], folder[0]
    assert (out / "images/p0.jpg").read_bytes() == (root / "p0.jpg").read_bytes()
    with Image.open(out / "images/p3.jpg") as image:
        assert image.size == (320, 240)
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif().get_ifd(0x8769)[0xA405] == 31
        seen = np.asarray(image).astype(float)
    assert np.abs(seen - textured.picture(folder[1][3])).mean() < 4


def test_a_second_run_changes_nothing(
    folder: Any, scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file: file.stat().st_mtime_ns for file in scene[0].rglob("sparse/**/*.bin")}
    monkeypatch.setattr("splat.prep.preparation.run_stage", None)
    again = prepare(folder[0], scene[0], FAST)
    assert again == scene[1]
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    folder: Any, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    stop = "matches"

    def until(stage: str, *rest: Any) -> Any:
        ran.append(stage)
        found = child.run_stage(stage, *rest)
        if stage == stop:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr("splat.prep.preparation.run_stage", until)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder[0], tmp_path / "scene", FAST)
    stop = ""
    prepare(folder[0], tmp_path / "scene", FAST)
    assert ran == ["features", "matches", "matches", "mapping", "placing"]
    for name in ("cameras", "images", "points3D"):
        file = f"sparse/0/{name}.bin"
        assert (tmp_path / "scene" / file).read_bytes() == (scene[0] / file).read_bytes()


def test_a_known_distance_sets_the_scale(folder: Any, scene: Any, tmp_path: Path) -> None:
    out = shutil.copytree(scene[0], tmp_path / "scene")
    options = PrepOptions(
        max_side=320, features=2000, threads=1, distance=("p0.jpg", "p8.jpg", 2.5)
    )
    report = prepare(folder[0], out, options)
    assert report.frame is not None and report.frame["metric"]
    found = centres(out)
    assert abs(np.linalg.norm(found["p0.jpg"] - found["p8.jpg"]) - 2.5) < 1e-3
    wrong = PrepOptions(max_side=320, features=2000, threads=1, distance=("p0.jpg", "x.jpg", 2.5))
    with pytest.raises(ValueError, match=r"x\.jpg, which is no photo of the scene"):
        prepare(folder[0], out, wrong)


def test_photos_without_overlap_end_in_a_sentence(splat: Splat, tmp_path: Path) -> None:
    for i in range(3):
        textured.save(tmp_path / f"in/{i}.jpg", textured.picture(textured.eyes(1)[0], seed=i + 1))
    done = splat("prep", "in", "-o", "out", "--quiet", "--features", 1000, "--threads", 1)
    assert done.code == 2 and "of 3 photos (the first without" in done.err
    assert done.err.count("\n") == 1 and "overlap by two thirds" in done.err
    assert "no overlap found" in (tmp_path / "out/prep.txt").read_text()


@pytest.mark.slow
def test_train_on_photos_and_on_a_video(splat: Splat, tmp_path: Path) -> None:
    textured.photos(tmp_path / "in", 3)
    refused = splat("train", "in")
    assert refused.code == 2 and "`splat train in --prep`" in refused.err
    video = tmp_path / "walk.mp4"
    write_video(video, [textured.picture(eye) for eye in textured.eyes(8) for _ in (0, 1, 2)])
    refused = splat("train", video)
    assert refused.code == 2 and "is a video" in refused.err and "--prep" in refused.err
    done = splat(
        "train", video, "--prep", "--out", "run", "--steps", 2, "--no-pictures", "--quiet",
        "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert len(list((tmp_path / "walk_scene/images").iterdir())) == 8
    assert json.loads((tmp_path / "run/metrics.json").read_text())["steps"] == 2


def write_video(path: Path, frames: list[Any]) -> None:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    if not writer.isOpened():
        pytest.skip("OpenCV cannot write videos here")
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()


def test_videos_of_a_rig_are_posed_by_their_first_instant(tmp_path: Path) -> None:
    """Six cameras that stand before the corner; a square crosses their pictures later on."""
    (tmp_path / "rig").mkdir()
    for i, eye in enumerate(textured.eyes(6)):
        still = textured.picture(eye)
        later = still.copy()
        later[100:140, 100:140] = 255
        write_video(tmp_path / f"rig/cam{i}.mp4", [still, still, later])
    report = prepare_any(tmp_path / "rig", tmp_path / "clip", FAST)
    assert isinstance(report, RigReport)
    assert report.cameras == tuple(f"cam{i}" for i in range(6)) and report.instants == 3
    scene = datasets.load(tmp_path / "clip", eval="none")
    assert scene.clip is not None and scene.clip.seconds == pytest.approx(0.2)
    assert scene.points is not None and len(scene.points.positions) > 100
    first = [view.camera for view in scene.train if view.name.endswith("00000.jpg")]
    there = torch.stack([camera.centre for camera in first])
    truth = torch.from_numpy(np.stack([eye.centre for eye in textured.eyes(6)]))
    ratio = torch.cdist(there, there)[0, 1:] / torch.cdist(truth, truth)[0, 1:]
    assert float(ratio.max() / ratio.min()) < 1.05


def test_without_pycolmap_a_sentence_names_the_extra(
    splat: Splat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    textured.photos(tmp_path / "in", 1)
    monkeypatch.setattr(child, "find_spec", lambda name: None)
    done = splat("prep", "in")
    assert done.code == 2 and "splat-toolkit[prep]" in done.err and done.err.count("\n") == 1


def test_colmap_that_fails_is_passed_on_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "database.db").write_bytes(b"no database" * 100)
    job = {
        "database": str(tmp_path / "database.db"), "images": "", "seed": 0, "threads": 1,
        "max_side": 64, "features": 64, "groups": [],
    }  # fmt: skip
    with pytest.raises(RuntimeError, match=r"COLMAP's features ended .* run the command again"):
        child.run_stage("features", job, tmp_path, lambda *_: None)


def test_folders_that_are_not_ours_are_left_alone(splat: Splat, tmp_path: Path) -> None:
    textured.photos(tmp_path / "in", 1)
    textured.photos(tmp_path / "other/images", 1)
    for out, said in (("other", "did not make"), ("in/scene", "lies within")):
        for extra in ((), ("--overwrite",)):
            done = splat("prep", "in", "-o", out, *extra)
            assert done.code == 2 and said in done.err
    assert (tmp_path / "other/images/p00.jpg").is_file()


def test_without_a_terminal_a_stage_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "splat")
    monkeypatch.setattr(preparation, "SAY_EVERY", -1.0)
    for quiet in (True, False):
        own = preparation._Preparation(
            tmp_path, tmp_path, PrepOptions(), preparation.Stages(tmp_path), quiet
        )
        with own._bar("finding features", "photo") as tick:
            tick(1200, 4000)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["finding features: 0 s", "finding features: 1,200 of 4,000, 0 s", *said[:1]]


def test_cameras_are_told_in_words() -> None:
    def group(known: bool) -> Group:
        return Group(("a",), "", 10, 10, "OPENCV", 9.0, known)

    told = "told apart by photo size, make and focal length"
    assert cameras_text([group(True)]) == f"one camera, {told}; EXIF has its focal length"
    assert cameras_text([group(False)] * 2) == (
        f"2 cameras, {told}; EXIF does not have their focal length"
    )
    assert cameras_text([group(False), group(True)]).endswith("EXIF has the focal length of 1")


def test_pairs() -> None:
    assert len(pairs.exhaustive(10)) == 45
    near = pairs.sequential(40, 3)
    assert {(5, 6), (5, 7), (5, 8), (5, 9)} <= set(near) and (5, 10) not in near
    looks = np.eye(6, dtype=np.float32)
    looks[5] = looks[0]
    assert (0, 5) in pairs.nearest(looks, 1)
    assert (0, 5) not in pairs.nearest(looks, 1, apart=5)
    places = [(47.0, 8.0), (47.001, 8.0), None, (47.0, 8.1), (47.0, 8.1001)]
    assert pairs.nearby(places, 1) == [(0, 1), (3, 4)]
    portions = list(pairs.blocks(pairs.exhaustive(30), 8))
    assert sorted(pair for portion in portions for pair in portion) == pairs.exhaustive(30)
    assert [pairs.matching_for("auto", *n) for n in ((20, False), (900, False), (20, True))] == [
        "exhaustive", "similar", "sequential",
    ]  # fmt: skip
