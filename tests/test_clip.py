"""Scenes that move: times of views, what is held out of a clip, choices of views, sets in time."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scenes
import torch

from splat import datasets
from splat.core.frame import INPUT_FRAME, gaussians_from_frame, gaussians_to_frame, points_to_frame
from splat.core.strategy import Start
from splat.formats.point_cloud import read_points
from splat.math import spread, spread_over
from splat.render import camera_paths
from splat.runs.folder import fingerprint, write_cameras
from splat.seeding.points import rows_from_points
from splat.types import Clip, Frame, Gaussians, Motion, Points, SceneData, joined


def clip_of(root: Path, cameras: int, instants: int, unit: float = 1.0, begin: float = 0.0) -> Path:
    """A rig of so many cameras and instants; times from `begin` on, `unit` in all."""
    shots, times = [], []
    for camera, shot in enumerate(scenes.shots(cameras)):
        for instant in range(instants):
            shots.append(replace(shot, name=f"c{camera:02d}_{instant:03d}.png"))
            times.append(begin + unit * instant / max(1, instants - 1))
    folder = scenes.write_transforms(root, shots)
    content = json.loads((folder / "transforms.json").read_text())
    for frame, time in zip(content["frames"], times, strict=True):
        frame["time"] = time
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def names(scene: SceneData) -> list[str]:
    return [Path(view.name).stem for view in scene.test]


def test_times_become_parts_of_the_clip(tmp_path: Path) -> None:
    scene = datasets.load(clip_of(tmp_path, 2, 5, unit=4.0, begin=10.0), eval="none")
    assert scene.clip == Clip(seconds=4.0, instants=5)
    assert sorted({view.camera.time for view in scene.train}) == [0, 0.25, 0.5, 0.75, 1]
    assert any("5 instants, 4 s" in note for note in scene.notes)


def test_parts_of_a_clip_stay_and_one_instant_is_a_scene_that_stands_still(tmp_path: Path) -> None:
    scene = datasets.load(clip_of(tmp_path / "a", 2, 3, unit=0.5, begin=0.25), eval="none")
    assert scene.clip is not None and scene.clip.instants == 3
    assert sorted({view.camera.time for view in scene.train}) == [0.25, 0.5, 0.75]
    still = datasets.load(clip_of(tmp_path / "b", 4, 1, begin=7.0), eval="none")
    assert still.clip is None and {view.camera.time for view in still.train} == {0.0}


def test_whole_cameras_of_a_rig_are_held_out(tmp_path: Path) -> None:
    scene = datasets.load(clip_of(tmp_path, 9, 3))
    assert {name[:3] for name in names(scene)} == {"c00", "c08"} and len(scene.test) == 6
    assert any("2 of 9 cameras are held out" in note for note in scene.notes)
    third = datasets.load(tmp_path, eval="3")
    assert {name[:3] for name in names(third)} == {"c00", "c03", "c06"}


def test_instants_are_held_out_of_few_cameras_and_never_the_ends(tmp_path: Path) -> None:
    scene = datasets.load(clip_of(tmp_path, 3, 12))
    held = sorted({view.camera.time for view in scene.test})
    assert held == [pytest.approx(4 / 11)] and len(scene.test) == 3
    some = datasets.load(tmp_path, eval="instants:4")
    assert [round(11 * v.camera.time) for v in some.test][:3] == [2, 6, 10]
    with pytest.raises(ValueError, match="instants:1: expected a number of 2"):
        datasets.load(tmp_path, eval="instants:1")


def test_a_moving_camera_is_measured_on_runs_of_instants(tmp_path: Path) -> None:
    ring = scenes.shots(128)
    folder = scenes.write_transforms(tmp_path, ring)
    content = json.loads((folder / "transforms.json").read_text())
    for i, frame in enumerate(content["frames"]):
        frame["time"] = i / 127
    (folder / "transforms.json").write_text(json.dumps(content))
    scene = datasets.load(folder)
    held = sorted(round(127 * view.camera.time) for view in scene.test)
    assert held == [16, 17, 18, 19, 48, 49, 50, 51, 80, 81, 82, 83, 112, 113, 114, 115]
    assert any("in runs of 4" in note for note in scene.notes)


@pytest.mark.parametrize(("cameras", "instants"), [(19, 300), (4, 25), (1, 40), (24, 24)])
def test_any_choice_covers_the_instants_and_soon_the_cameras(cameras: int, instants: int) -> None:
    times = [i / instants for _ in range(cameras) for i in range(instants)]  # sorted as cam/frame
    for most in (1, 7, instants - 1, instants, instants + 3, 3 * instants, 10**6):
        chosen = spread_over(times, most)
        assert chosen == sorted(set(chosen)) and len(chosen) == min(most, len(times))
        seen = {times[index] for index in chosen}
        assert len(seen) == min(most, instants)
        if most >= 3 * cameras:
            assert {index // instants for index in chosen} == set(range(cameras))


def test_a_choice_among_views_of_one_instant_is_what_it_was() -> None:
    for count, most in ((10, 3), (7, 7), (5, 9), (57, 20)):
        assert spread_over([0.0] * count, most) == spread(count, most)


def test_instants_of_few_views_leave_their_share_to_others() -> None:
    times = [0.0] + [1.0] * 10
    assert spread_over(times, 6)[0] == 0 and len(spread_over(times, 6)) == 6


def test_a_run_keeps_the_times_of_its_cameras(tmp_path: Path) -> None:
    scene = datasets.load(clip_of(tmp_path / "scene", 5, 3))
    sizes = {view.name: (48, 40) for view in (*scene.train, *scene.test)}
    write_cameras(tmp_path / "cameras.json", scene, sizes)
    content = json.loads((tmp_path / "cameras.json").read_text())
    assert content["clip"] == {"seconds": 2 / 25, "instants": 3}
    read = camera_paths.from_file(tmp_path / "cameras.json")
    assert [camera.time for camera in read] == [
        view.camera.time for view in (*scene.train, *scene.test)
    ]
    assert fingerprint(scene) != fingerprint(datasets.load(tmp_path / "scene", eval="none"))
    still = replace(scene, clip=None)
    write_cameras(tmp_path / "cameras.json", still, sizes)
    assert "time" not in (tmp_path / "cameras.json").read_text()


def moving(dtype: torch.dtype = torch.float64) -> Gaussians:
    return Gaussians(
        means=torch.tensor([[0.0, 0, 0], [1, 2, 3]], dtype=dtype),
        quats=torch.tensor([[1.0, 0, 0, 0]] * 2, dtype=dtype),
        scales=torch.ones(2, 3, dtype=dtype),
        opacities=torch.tensor([0.5, 0.8], dtype=dtype),
        colors=torch.zeros(2, 1, 3, dtype=dtype),
        sh_degree=0,
        motion=Motion(
            time=torch.tensor([0.5, 0.25], dtype=dtype),
            duration=torch.tensor([0.1, 1e6], dtype=dtype),
            velocity=torch.tensor([[2.0, 0, 0], [0, 0, 0]], dtype=dtype),
        ),
    )


def test_a_set_at_an_instant_by_hand() -> None:
    now = moving().at(0.6)
    assert now.motion is None
    torch.testing.assert_close(now.means[0], torch.tensor([0.2, 0, 0]).double())
    assert float(now.opacities[0]) == pytest.approx(0.5 * math.exp(-0.5))
    assert torch.equal(now.means[1], moving().means[1])
    single = moving(torch.float32)
    assert torch.equal(single.at(0.6).opacities[1], single.opacities[1]), "what lasts stays so"
    assert float(moving().at(5.0).opacities[0]) < 1e-17 and now.at(0.1) is now


def test_gradients_in_time() -> None:
    motion = moving().motion
    assert motion is not None
    values = [moving().means, moving().opacities, motion.time, motion.duration, motion.velocity]
    values = [each.clone().requires_grad_() for each in values]
    values[3].data[1] = 0.3

    def at(means, opacities, time, duration, velocity):  # type: ignore[no-untyped-def]
        moved = replace(
            moving(),
            means=means,
            opacities=opacities,
            motion=Motion(time, duration, velocity),
        ).at(0.55)
        return moved.opacities

    assert torch.autograd.gradcheck(at, values)
    set_ = replace(moving(), means=values[0], motion=Motion(*values[2:]))
    set_.at(0.55).means.sum().backward()
    torch.testing.assert_close(values[4].grad, (0.55 - values[2].detach())[:, None].expand(-1, 3))
    assert values[2].grad is None, "where a Gaussian is in a picture does not move its time"


def test_velocities_follow_the_frame_and_rows_their_choice() -> None:
    frame = Frame((1.0, 2.0, 3.0), 4.0)
    there = gaussians_to_frame(moving(torch.float32), frame)
    torch.testing.assert_close(
        gaussians_to_frame(moving(torch.float32).at(0.6), frame).means, there.at(0.6).means
    )
    back = gaussians_from_frame(there, frame)
    assert back.motion is not None and back.motion.velocity[0].tolist() == [2.0, 0, 0]
    one = moving().take(torch.tensor([1]))
    assert one.motion is not None and one.motion.time.tolist() == [0.25]


def test_what_stands_still_joins_what_moves() -> None:
    still = replace(moving(), motion=None)
    both = joined([moving(), still])
    torch.testing.assert_close(both.at(0.6).means, joined([moving().at(0.6), still]).means)
    assert joined([still, still]).motion is None and len(both) == 4


def test_points_keep_their_instants_and_neighbours_are_of_the_same(tmp_path: Path) -> None:
    rows = np.zeros(6, [(name, "f4") for name in ("x", "y", "z", "time")])
    rows["x"], rows["time"] = [0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1]
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 6\n"
    header += "".join(f"property float {name}\n" for name in rows.dtype.names or ())
    (tmp_path / "points.ply").write_bytes((header + "end_header\n").encode() + rows.tobytes())
    points = read_points(tmp_path / "points.ply")
    assert points.times is not None and points.times.tolist() == [0, 0, 0, 1, 1, 1]
    made = rows_from_points(points_to_frame(points, INPUT_FRAME), Start(), 0)
    middle = made["log_scale"][made["mean"][:, 0] == 1].exp().flatten()
    assert middle.tolist() == pytest.approx([1.0] * 6), "not 0, the distance to itself"
    assert sorted(made["time"].tolist()) == [0, 0, 0, 1, 1, 1]
    with_sky = Points(points.positions, points.colors, torch.full((6,), torch.nan))
    assert rows_from_points(with_sky, Start(), 0)["log_scale"].isfinite().all()


def test_points_of_times_outside_of_the_clip_are_said(tmp_path: Path) -> None:
    folder = clip_of(tmp_path, 2, 5, unit=4.0, begin=10.0)

    def timed(*times: float) -> None:
        rows = np.zeros(4, [(name, "f4") for name in ("x", "y", "z", "time")])
        rows["time"] = times
        header = "ply\nformat binary_little_endian 1.0\nelement vertex 4\n"
        header += "".join(f"property float {name}\n" for name in rows.dtype.names or ())
        (folder / "points.ply").write_bytes((header + "end_header\n").encode() + rows.tobytes())

    content = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps({**content, "ply_file_path": "points.ply"}))
    timed(10, 14.4, math.nan, 20)
    scene = datasets.load(folder)
    assert scene.points is not None and scene.points.times is not None
    torch.testing.assert_close(scene.points.times, torch.tensor([0, 1.1, math.nan]), equal_nan=True)
    assert any("1 of 4 points are of times outside of the clip" in note for note in scene.notes)
    timed(0, 0.25, 0.5, 1)
    with pytest.raises(ValueError, match=r"from -2.5 to -2.25 of the clip; expected 0 to 1"):
        datasets.load(folder)


def nerfies(root: Path, count: int = 6) -> Path:
    """The ring as HyperNeRF has it: photos at half size, every third one of `val_ids`."""
    shots = scenes.shots(count)
    ids = [f"{i:06d}" for i in range(count)]
    for folder in ("camera", "rgb/1x"):
        (root / folder).mkdir(parents=True)
    for name, shot in zip(ids, shots, strict=True):
        cv2.imwrite(str(root / "rgb/1x" / f"{name}.png"), shot.picture()[..., ::-1])
        pose = shot.world_to_camera
        camera = {
            "orientation": pose[:3, :3].tolist(),
            "position": (-pose[:3, :3].T @ pose[:3, 3]).tolist(),
            "focal_length": scenes.FOCAL[0],
            "principal_point": list(scenes.PRINCIPAL),
            "skew": 0.0,
            "pixel_aspect_ratio": scenes.FOCAL[1] / scenes.FOCAL[0],
            "radial_distortion": [0.0, 0.0, 0.0],
            "tangential_distortion": [0.0, 0.0],
            "image_size": [scenes.WIDTH, scenes.HEIGHT],
        }
        (root / "camera" / f"{name}.json").write_text(json.dumps(camera))
    known = {name: {"warp_id": 2 * i, "camera_id": 0} for i, name in enumerate(ids)}
    lists = {"ids": ids, "train_ids": [n for n in ids if int(n) % 3], "val_ids": ids[::3]}
    (root / "metadata.json").write_text(json.dumps(known))
    (root / "dataset.json").write_text(json.dumps({"count": count, **lists}))
    (root / "scene.json").write_text(json.dumps({"scale": 0.1, "center": [0, 0, 0]}))
    np.save(root / "points.npy", scenes.POINTS.astype(np.float32))
    return root


def n3dv(root: Path, cameras: int = 3, instants: int = 4) -> Path:
    """A rig in LLFF's layout."""
    rows = []
    for i, shot in enumerate(scenes.shots(cameras)):
        folder = root / f"cam{i:02d}" / "images"
        folder.mkdir(parents=True)
        for k in range(instants):
            cv2.imwrite(str(folder / f"{k:04d}.png"), shot.picture()[..., ::-1])
        to_world = np.linalg.inv(shot.world_to_camera)
        right, down, ahead = to_world[:3, :3].T
        size = [scenes.HEIGHT, scenes.WIDTH, scenes.FOCAL[0]]
        pose = np.stack([down, right, -ahead, to_world[:3, 3], size], 1)
        rows.append([*pose.ravel(), 1.0, 9.0])
    np.save(root / "poses_bounds.npy", np.array(rows))
    return root


def frames_of(folder: Path, name: str, cameras: int, instants: int) -> None:
    """Frames of a rig, under a name with {camera} and {instant} in it."""
    for camera, shot in enumerate(scenes.shots(cameras)):
        for instant in range(instants):
            file = folder / name.format(camera=camera, instant=instant)
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), shot.picture()[..., ::-1])


def model_of(root: Path, name: str, cameras: int, model: str) -> None:
    """A COLMAP model of one photo a camera."""
    shots = [
        replace(shot, name=name.format(camera=camera))
        for camera, shot in enumerate(scenes.shots(cameras))
    ]
    scenes.write_colmap(root / "colmap", shots)
    (root / model).parent.mkdir(exist_ok=True, parents=True)
    (root / "colmap/sparse/0").rename(root / model)
    shutil.rmtree(root / "colmap")


def multipleview(root: Path, cameras: int = 3, instants: int = 4) -> Path:
    """As 4DGaussians has rigs: the model is of photos image0.png, image1.png, ..."""
    frames_of(root, "cam{camera:02d}/frame_{instant:05d}.png", cameras, instants)
    model_of(root, "image{camera}.png", cameras, "sparse_")
    return root


def freetime(root: Path, cameras: int = 3, instants: int = 4) -> Path:
    """As FreeTimeGsVanilla has rigs, with points of every second instant."""
    frames_of(root, "images/cam{camera:02d}_frame{instant:06d}.png", cameras, instants)
    model_of(root, "cam{camera:02d}_frame000000.png", cameras, "sparse/0")
    for instant in range(0, instants, 2):
        np.save(root / f"points3d_frame{instant:06d}.npy", np.float32(scenes.POINTS))
        np.save(root / f"colors_frame{instant:06d}.npy", np.full((3, 3), 51.0 * instant))
    return root


def easyvolcap(root: Path, cameras: int = 3, instants: int = 4) -> Path:
    """As EasyVolcap has rigs, as OpenCV writes its files; the last camera's turn as a vector."""
    frames_of(root, "images/{camera:02d}/{instant:06d}.png", cameras, instants)
    for name in ("intri.yml", "extri.yml"):
        storage = cv2.FileStorage(str(root / name), cv2.FILE_STORAGE_WRITE)
        storage.startWriteStruct("names", cv2.FILE_NODE_SEQ)
        for camera in range(cameras):
            storage.write("", f"{camera:02d}")
        storage.endWriteStruct()
        for camera, shot in enumerate(scenes.shots(cameras)):
            pose, key = shot.world_to_camera, f"{camera:02d}"
            if name == "intri.yml":
                (fx, fy), (cx, cy) = scenes.FOCAL, scenes.PRINCIPAL
                storage.write(f"K_{key}", np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
                storage.write(f"D_{key}", np.zeros((5, 1)))
                storage.write(f"H_{key}", float(scenes.HEIGHT))
                storage.write(f"W_{key}", float(scenes.WIDTH))
            elif camera < cameras - 1:
                storage.write(f"Rot_{key}", pose[:3, :3])
            else:
                storage.write(f"R_{key}", cv2.Rodrigues(pose[:3, :3])[0])
            if name == "extri.yml":
                storage.write(f"T_{key}", pose[:3, 3:])
        storage.release()
    return root


@pytest.mark.parametrize("make", [multipleview, freetime, easyvolcap])
def test_rigs_as_others_lay_them_out(tmp_path: Path, make: Any) -> None:
    scene = datasets.load(make(tmp_path), eval="instants:4")
    assert scene.format == make.__name__
    assert scene.clip is not None and scene.clip.instants == 4
    views = sorted((*scene.train, *scene.test), key=lambda view: view.name)
    assert [round(3 * view.camera.time) for view in views] == [0, 1, 2, 3] * 3
    assert [round(3 * view.camera.time) for view in scene.test] == [2] * 3
    given = scenes.shots(3)
    for view, camera in zip(views, [0] * 4 + [1] * 4 + [2] * 4, strict=True):
        pose = given[camera].world_to_camera
        np.testing.assert_allclose(view.camera.world_to_camera.numpy(), pose, atol=1e-6)
        assert view.camera.K[0, 2] == scenes.PRINCIPAL[0] and f"{camera:02d}" in view.name
    assert [view.camera.sensor for view in scene.train] == [0] * 3 + [1] * 3 + [2] * 3


def test_points_of_instants_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = datasets.load(freetime(tmp_path)).points
    assert points is not None and points.times is not None
    torch.testing.assert_close(points.times, torch.tensor([0, 0, 0, 2, 2, 2]) / 3)
    torch.testing.assert_close(points.colors[:, 0], torch.tensor([0, 0, 0, 0.4, 0.4, 0.4]))
    monkeypatch.setattr("splat.datasets.rig.MOST_POINTS", 20)
    scene = datasets.load(tmp_path)
    assert scene.points is not None and len(scene.points.positions) == 3
    assert any("one instant in 2" in note for note in scene.notes)


def test_photos_of_cameras_that_move_stay_those_of_colmap(tmp_path: Path) -> None:
    """Names with `_frame` alone make no rig: COLMAP has posed every frame of two videos."""
    shots = [
        replace(shot, name=f"{'ab'[i % 2]}_frame{i // 2:04d}.png")
        for i, shot in enumerate(scenes.shots(6))
    ]
    scene = datasets.load(scenes.write_colmap(tmp_path, shots))
    assert scene.format == "colmap" and scene.clip is None


def test_a_rig_says_what_it_lacks(tmp_path: Path) -> None:
    multipleview(tmp_path, 4)
    (tmp_path / "cam01/frame_00002.png").unlink()
    (tmp_path / "cam02").rename(tmp_path / "cam09")
    notes = " ".join(datasets.load(tmp_path, eval="none").notes)
    assert "1 of 4 cameras have frames and no pose, and were skipped (the first is cam09)" in notes
    assert "1 of 3 cameras lack frames that others have (the first is cam01, with 3 of 4)" in notes


def test_nerfies(tmp_path: Path) -> None:
    scene = datasets.load(nerfies(tmp_path))
    scenes.check_axes(scene, 0.3)
    assert scene.format == "nerfies" and scene.clip is not None and scene.clip.instants == 6
    assert [round(5 * view.camera.time) for view in scene.test] == [0, 3]
    assert [round(5 * view.camera.time) for view in scene.train] == [1, 2, 4, 5]
    assert scene.points is not None and len(scene.points.positions) == 3


def test_neural_3d_video(tmp_path: Path) -> None:
    scene = datasets.load(n3dv(tmp_path))
    assert scene.format == "n3dv" and scene.clip is not None and scene.clip.instants == 4
    assert {view.name.split("/")[0] for view in scene.test} == {"cam00"}
    assert len(scene.train) == 8 and scene.train[0].name == "cam01/0000.png"
    # Its cameras have one focal length and their middle as principal point.
    given = scenes.shots(3)
    for view in (*scene.train, *scene.test):
        pose = given[int(view.name[3:5])].world_to_camera
        np.testing.assert_allclose(view.camera.world_to_camera.numpy(), pose, atol=1e-6)


def edited(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("make", "break_", "said"),
    [
        (nerfies, lambda p: (p / "camera/000002.json").write_text("{}"), "000002.json"),
        (nerfies, lambda p: (p / "metadata.json").unlink(), "metadata.json"),
        (nerfies, lambda p: np.save(p / "points.npy", np.zeros((2, 4))), "points.npy"),
        (nerfies, lambda p: (p / "rgb/1x").rename(p / "rgb/photos"), "rgb/1x"),
        (n3dv, lambda p: np.save(p / "poses_bounds.npy", np.zeros((3, 15))), "poses_bounds.npy"),
        (n3dv, lambda p: np.save(p / "poses_bounds.npy", np.zeros((3, 17))), "the row of cam00"),
        (n3dv, lambda p: [f.unlink() for f in p.glob("cam01/images/*")], "cam01"),
        (multipleview, lambda p: [shutil.rmtree(f) for f in p.glob("cam*")], "holds no folder of"),
        (
            multipleview,
            lambda p: (
                [f.rename(p / f"x{f.name[-1]}") for f in p.glob("cam*")]
                and (p / "sparse_/images.bin").write_bytes(b"\1" * 9)
            ),
            "images.bin",
        ),
        (
            multipleview,
            lambda p: (
                [f.rename(p / "ab"[i]) for i, f in enumerate(p.glob("cam*")) if i < 2]
                and shutil.rmtree(next(p.glob("cam*")))
            ),
            "of none of the 2 cameras",
        ),
        (
            freetime,
            lambda p: np.save(p / "points3d_frame000002.npy", np.zeros((2, 2))),
            "points3d_frame000002.npy: has an array",
        ),
        (
            freetime,
            lambda p: np.save(p / "colors_frame000002.npy", np.zeros((2, 3))),
            "colors_frame000002.npy: has 2 colours; expected 3",
        ),
        (
            easyvolcap,
            lambda p: (p / "extri.yml").write_text("%YAML:1.0\n"),
            "extri.yml: has no pose",
        ),
        (
            easyvolcap,
            lambda p: edited(p / "intri.yml", "rows: 3", "rows: 2"),
            "intri.yml: camera 00",
        ),
        (easyvolcap, lambda p: edited(p / "extri.yml", "data: [", "data: [ .Nan, "), "extri.yml"),
        (easyvolcap, lambda p: shutil.rmtree(p / "images"), "images: there is no such folder"),
    ],
)
def test_broken_clips_are_named(tmp_path: Path, make: Any, break_: Any, said: str) -> None:
    make(tmp_path)
    break_(tmp_path)
    with pytest.raises((ValueError, OSError), match=said):
        datasets.load(tmp_path)


def test_videos_of_a_rig_are_to_be_taken_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "poses_bounds.npy", np.zeros((1, 17)))
    (tmp_path / "cam00.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="1 videos and no frames"):
        datasets.load(tmp_path)
