"""Contact sheet, curves, camera paths and the files that frames go to."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from splat.evaluation.pictures import Row, contact_sheet, curves, tick_text
from splat.render import camera_paths
from splat.render.video import usual_suffix, write_video
from splat.types import Camera


def decoded(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None, path
    return image[..., ::-1]


def looking(eye: Tensor, target: Tensor, up: Tensor, **changes: float) -> Camera:
    ahead = torch.nn.functional.normalize(target - eye, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(ahead, up), dim=0)
    rotation = torch.stack([right, torch.linalg.cross(ahead, right), ahead])
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    K = torch.tensor([[80.0, 0, 30], [0, 80, 22], [0, 0, 1]])
    return Camera(pose, K, 64, 48, **changes)  # type: ignore[arg-type]


FOCUS, UP = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, -1.0, 0.0])


def ring(
    degrees: np.ndarray, radii: tuple[float, float] = (5, 5), height: float = 2
) -> list[Camera]:
    cameras = []
    for angle in np.deg2rad(degrees):
        offset = torch.tensor([radii[0] * np.cos(angle), 0, radii[1] * np.sin(angle)]).float()
        cameras.append(looking(FOCUS + offset + height * UP, FOCUS, UP))
    return cameras


def projected(camera: Camera, point: Tensor) -> Tensor:
    local = camera.world_to_camera[:3, :3] @ point + camera.world_to_camera[:3, 3]
    assert local[2] > 0
    return (camera.K @ local)[:2] / local[2]


def assert_rigid(cameras: list[Camera]) -> None:
    for camera in cameras:
        rotation = camera.world_to_camera[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), rtol=0, atol=1e-5)
        assert torch.linalg.det(rotation) > 0


def test_contact_sheet_shows_truth_render_and_error(tmp_path: Path) -> None:
    truth = torch.full((60, 240, 3), 0.5)
    image = truth + torch.tensor([0.3, 0.0, 0.0])
    mask = torch.ones(60, 240, dtype=torch.uint8)
    mask[:, 120:] = 0
    rows = [Row.of(f"{i}.png", 20.0 + i, truth, image, mask) for i in range(2)]
    contact_sheet(rows, tmp_path / "new" / "sheet.png", "a title")
    sheet = decoded(tmp_path / "new" / "sheet.png")
    assert sheet.shape == (44 + 2 * (60 + 30) + 30, 2 * 16 + 3 * 240 + 2 * 8, 3)
    for row in range(2):
        y = 44 + row * 90 + 30
        np.testing.assert_allclose(sheet[y, 16 + 50], [128, 128, 128], atol=1)
        np.testing.assert_allclose(sheet[y, 16 + 248 + 50], [204, 128, 128], atol=1)
        counted, hidden = sheet[y, 16 + 496 + 50], sheet[y, 16 + 496 + 200]
        # An error of 0.1 and more has the brightest colour, none the darkest.
        assert counted.astype(int).sum() > 600 and hidden.sum() < 10
        caption = sheet[44 + row * 90 + 60 : 44 + row * 90 + 90, 16:200]
        assert (caption < 128).any()


def test_contact_sheet_shrinks_large_and_many_views(tmp_path: Path) -> None:
    large = torch.rand(900, 1600, 3)
    row = Row.of("x" * 100, 30.0, large, large)
    assert row.truth.shape == (270, 480, 3)
    np.testing.assert_allclose(row.truth.mean(), 127.5, atol=2)
    contact_sheet([row] * 100, tmp_path / "sheet.png")
    assert decoded(tmp_path / "sheet.png").shape[0] == 44 + 24 * 300 + 30
    tiny = Row.of("tiny", 30.0, large[:20, :30], large[:20, :30])
    assert tiny.error.shape == (20 * 7, 30 * 7, 3)
    with pytest.raises(ValueError, match="no views for the contact sheet"):
        contact_sheet([], tmp_path / "sheet.png")


def test_curves(tmp_path: Path) -> None:
    log: list[dict[str, object]] = []
    for step in range(1, 301):
        log.append({"step": step, "loss": math.exp(-step / 50), "psnr": 20.0, "gaussians": 9})
    log.append({"step": 200, "counts": {"append:clone": 5, "drop:split": 3, "overwrite:reset": 9}})
    log.append({"step": 250, "counts": {"assign:relocate": 5}})
    log.append({"step": 300, "test_psnr": 25.0, "loss": math.nan})
    curves(log, tmp_path / "all.png")
    curves([{"step": 1, "loss": 0.0}], tmp_path / "one.png")
    curves([], tmp_path / "none.png")
    inks = {}
    for name in ("all", "one", "none"):
        image = decoded(tmp_path / f"{name}.png")
        assert image.shape == (720, 1100, 3)
        inks[name] = int((image.max(2) - image.min(2) > 60).sum())
    assert inks["all"] > 2000 and inks["none"] == 0


def test_numbers_beside_axes_say_no_milli() -> None:
    shown = [tick_text(v) for v in (0.4, 0.061, 0, -2.5, 999, 1000, 50_000, 1.5e6)]
    assert shown == ["0.4", "0.061", "0", "-2.5", "999", "1k", "50k", "1.5M"]


def test_turntable_goes_round_at_the_cameras_height() -> None:
    cameras = ring(np.arange(0, 360, 30), (6, 4))
    path = camera_paths.turntable(cameras, 40)
    assert len(path) == 40
    assert_rigid(path)
    offsets = torch.stack([camera.centre for camera in path]) - FOCUS
    torch.testing.assert_close(offsets[:, 1], torch.full((40,), -2.0), rtol=0, atol=0.02)
    on_ellipse = (offsets[:, 0] / 6) ** 2 + (offsets[:, 2] / 4) ** 2
    torch.testing.assert_close(on_ellipse, torch.ones(40), rtol=0, atol=0.02)
    gaps = (offsets - offsets.roll(1, 0)).norm(dim=1)
    assert gaps.max() < 3 * gaps.min(), "closed, without a jump at its end"
    for camera in path:
        torch.testing.assert_close(
            projected(camera, FOCUS), torch.tensor([32.0, 24.0]), rtol=0, atol=0.5
        )
        assert abs(float(camera.world_to_camera[0, :3] @ UP)) < 1e-3
        assert float(camera.world_to_camera[1, :3] @ UP) < 0


def test_turntable_sways_where_cameras_stand_on_an_arc() -> None:
    cameras = ring(np.linspace(-50, 50, 11))
    path = camera_paths.turntable(cameras, 60)
    offsets = torch.stack([camera.centre for camera in path]) - FOCUS
    angles = torch.rad2deg(torch.atan2(offsets[:, 2], offsets[:, 0]))
    assert 48 < angles.max() < 51 and -51 < angles.min() < -48
    torch.testing.assert_close(offsets[:, 1], torch.full((60,), -2.0), rtol=0, atol=0.05)


def test_turntable_looks_out_where_the_cameras_do() -> None:
    cameras = []
    for angle in torch.arange(0, 6.2, 0.5):
        out = torch.tensor([torch.cos(angle), 0.0, torch.sin(angle)])
        cameras.append(looking(FOCUS + out, FOCUS + 9 * out, UP))
    for camera in camera_paths.turntable(cameras, 12):
        assert float(camera.world_to_camera[2, :3] @ (camera.centre - FOCUS)) > 0.9


@pytest.mark.parametrize("count", [1, 2])
def test_turntable_of_hardly_any_cameras(count: int) -> None:
    path = camera_paths.turntable(ring(np.array([10, 12])[:count]), 8)
    assert_rigid(path)
    assert all(torch.isfinite(camera.world_to_camera).all() for camera in path)


def test_turntable_straight_down() -> None:
    cameras = [looking(torch.tensor([0.0, -4, 0]), torch.zeros(3), torch.tensor([0, 0, 1.0]))] * 3
    path = camera_paths.turntable(cameras, 8)
    assert_rigid(path)


def test_along_passes_through_the_cameras() -> None:
    cameras = ring(np.arange(0, 100, 20))
    path = camera_paths.along(cameras, 81)
    assert_rigid(path)
    for ours, theirs in ((path[0], cameras[0]), (path[40], cameras[2]), (path[-1], cameras[-1])):
        torch.testing.assert_close(ours.world_to_camera, theirs.world_to_camera, rtol=0, atol=1e-3)
    centres = torch.stack([camera.centre for camera in path])
    speed = (centres[1:] - centres[:-1]).norm(dim=1)
    assert speed.max() < 1.3 * speed.min()
    radii = (centres - FOCUS - 2 * UP).norm(dim=1)
    assert (radii - 5).abs().max() < 0.1
    assert camera_paths.along(cameras[:1], 3) == [cameras[0]] * 3


def test_along_blends_lens_time_and_standing_still() -> None:
    first = ring(np.array([0]))[0]
    wide = Camera(
        first.world_to_camera, first.K * torch.tensor([[2.0], [2.0], [1.0]]), 128, 96, 1.0
    )
    zoom = Camera(first.world_to_camera, first.K * torch.tensor([[3.0], [3.0], [1.0]]), 64, 48, 1.0)
    middle = camera_paths.along([first, wide, zoom], 3)[1]
    assert (middle.width, middle.height) == (64, 48)
    torch.testing.assert_close(middle.K, first.K)
    assert camera_paths.along([first, zoom], 3)[1].time == pytest.approx(0.5)
    assert float(camera_paths.along([first, zoom], 3)[1].K[0, 0]) == pytest.approx(160)


def test_paths_need_cameras_and_frames() -> None:
    for make in (camera_paths.turntable, camera_paths.along):
        with pytest.raises(ValueError, match="at least one of each"):
            make([], 5)
        with pytest.raises(ValueError, match="0 frames from 1 cameras"):
            make(ring(np.array([0])), 0)


def test_path_of_nerfstudio(tmp_path: Path) -> None:
    # OpenGL: this camera at (1, 2, 3) with the identity looks along -z, y is up.
    pose = np.eye(4)
    pose[:3, 3] = [1, 2, 3]
    entry = {"camera_to_world": pose.ravel().tolist(), "fov": 90, "aspect": 2.0}
    data = {"render_width": 200, "render_height": 100, "fps": 24, "camera_path": [entry] * 2}
    (tmp_path / "path.json").write_text(json.dumps(data))
    first, _ = camera_paths.from_file(tmp_path / "path.json")
    assert (first.width, first.height) == (200, 100)
    torch.testing.assert_close(first.centre, torch.tensor([1.0, 2.0, 3.0]))
    # Half of 100 pixels at 45 degrees: up and right of the axis lands up and right of the centre.
    seen = projected(first, torch.tensor([1.5, 2.25, 2.0]))
    torch.testing.assert_close(seen, torch.tensor([125.0, 37.5]))


def test_path_of_our_own(tmp_path: Path) -> None:
    cameras = ring(np.array([0, 90]))
    entries = [{"world_to_camera": camera.world_to_camera.tolist()} for camera in cameras]
    data = {"width": 64, "height": 48, "K": cameras[0].K.tolist(), "cameras": entries}
    (tmp_path / "path.json").write_text(json.dumps(data))
    for found, camera in zip(camera_paths.from_file(tmp_path / "path.json"), cameras, strict=True):
        torch.testing.assert_close(found.world_to_camera, camera.world_to_camera)
        torch.testing.assert_close(found.K, camera.K)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "expected a JSON object with `camera_path`"),
        ('{"cameras": []}', "holds no camera path"),
        ('{"cameras": [{"K": 1}]}', "camera 0: has no `world_to_camera`; expected"),
        ('{"camera_path": [3]}', "has `camera_path` 0: 3; expected an object"),
        (
            json.dumps({"width": 4, "height": 4, "K": [[1, 0, 2], [0, 1, 2], [0, 0, 1]],
                        "cameras": [{"world_to_camera": [[2.0, 0, 0, 0]] * 4}]}),
            "its pose is no rotation and translation",
        ),
        (
            json.dumps({"width": 4, "height": 4, "K": [[0, 0, 2], [0, 1, 2], [0, 0, 1]],
                        "cameras": [{"world_to_camera": np.eye(4).tolist()}]}),
            "its focal length is not positive",
        ),
    ],
)  # fmt: skip
def test_bad_path_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        camera_paths.from_file(tmp_path / "path.json")
    assert "path.json" in str(caught.value)


def frames(count: int, height: int = 49, width: int = 65) -> list[Tensor]:
    shades = torch.linspace(0.2, 0.8, max(count, 1))
    colour = torch.tensor([1.0, 0.5, 0.25])
    return [torch.ones(height, width, 3) * shades[i] * colour for i in range(count)]


def test_video(tmp_path: Path) -> None:
    assert write_video(iter(frames(7)), tmp_path / "new" / "a.mp4", fps=10.0) == 7
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.mp4"]
    video = cv2.VideoCapture(str(tmp_path / "new" / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 10
    found = []
    while (read := video.read())[0]:
        found.append(read[1][..., ::-1])
    assert len(found) == 7 and found[0].shape == (48, 64, 3)
    np.testing.assert_allclose(found[-1].mean((0, 1)), [204, 102, 51], atol=6)


@pytest.mark.parametrize(("name", "codecs"), [("a.mp4", {"h264", "vp9"}), ("a.webm", {"vp9"})])
def test_videos_are_what_browsers_play(tmp_path: Path, name: str, codecs: set[str]) -> None:
    av = pytest.importorskip("av")
    write_video(iter(frames(5)), tmp_path / name, fps=29.97)
    with av.open(str(tmp_path / name)) as film:
        video = film.streams.video[0]
        context = video.codec_context
        assert context.name in codecs and context.pix_fmt == "yuv420p"
        assert (context.colorspace, context.width, context.height) == (1, 64, 48)
        assert float(video.average_rate) == pytest.approx(29.97, abs=0.01)
        last = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)][-1]
    np.testing.assert_allclose(last.mean((0, 1)), [204, 102, 51], atol=3)
    again = tmp_path / f"again{(tmp_path / name).suffix}"
    write_video(iter(frames(5)), again, fps=29.97)
    assert again.read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_pictures_that_move(tmp_path: Path, name: str) -> None:
    assert write_video(iter(frames(5)), tmp_path / name, fps=10) == 5
    with Image.open(tmp_path / name) as moving:
        assert (moving.n_frames, moving.size, moving.info["loop"]) == (5, (64, 48), 0)
        moving.seek(4)
        moving.load()
        assert moving.info["duration"] == 100
        shown = np.asarray(moving.convert("RGB"))
    np.testing.assert_allclose(shown.mean((0, 1)), [204, 102, 51], atol=6)


def test_without_pyav_a_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r"'splat-toolkit\[video\]', or give a name"):
        write_video(iter(frames(1)), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_without_pyav_names_that_nobody_gave_are_of_pictures_that_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("av")
    assert usual_suffix() == ".mp4"
    monkeypatch.setitem(sys.modules, "av", None)
    assert usual_suffix() == ".webp"


def test_folder_of_pngs(tmp_path: Path) -> None:
    assert write_video(iter(frames(3)), tmp_path / "frames") == 3
    names = sorted(file.name for file in (tmp_path / "frames").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    np.testing.assert_array_equal(decoded(tmp_path / "frames" / names[2])[5, 5], [204, 102, 51])


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "frames"])
def test_no_frames(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no frames"):
        write_video(iter([]), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_frames_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"name ending in \.mp4, \.webm, \.gif, \.webp, or a"):
        write_video(iter(frames(1)), tmp_path / "a.avi")
    with pytest.raises(ValueError, match="frame 2 has another size"):
        write_video([*frames(1), *frames(1, 30)], tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
