"""Panoramas and wide fisheyes as several pinhole views: colour is direction, at every pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scenes

from splat import datasets
from splat.cli import info
from splat.datasets.cuts import panorama as panorama_views
from splat.datasets.cuts import photo_of
from splat.photos.lens import angle_at, directed
from splat.photos.photo import outline, photograph
from splat.photos.warp import _in_photo as in_panorama
from splat.types import Lens, SceneData, View

Array = np.ndarray
SIZE = (256, 128)
"""Of the panoramas."""
SIDE, FOCAL = 240, 62.0
"""Of the fisheye: equidistant, 110 degrees to each side, in a circle."""
POSES = [scenes.looking(angle, 3.0) for angle in (0.0, 0.7, 1.9)]


def colored(directions: Array) -> Array:
    """RGB out of unit vectors."""
    return np.rint(255 * (0.5 + 0.5 * directions)).astype(np.uint8)


def panorama() -> Array:
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]] + 0.5
    longitude = (columns / SIZE[0] - 0.5) * 2 * np.pi
    latitude = (rows / SIZE[1] - 0.5) * np.pi
    ahead = np.cos(latitude)
    return colored(
        np.stack([ahead * np.sin(longitude), np.sin(latitude), ahead * np.cos(longitude)], 2)
    )


def fisheye(focal: float = FOCAL) -> Array:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    angle = np.hypot(rows, columns) / focal
    sine = np.sin(angle) / np.maximum(np.hypot(rows, columns), 1e-9)
    image = colored(np.stack([columns * sine, rows * sine, np.cos(angle)], 2))
    image[np.hypot(rows, columns) > SIDE / 2 + 1] = 0
    return image


def write(root: Path, model: str, parameters: tuple[float, ...], image: Array) -> Path:
    photos = [scenes.Shot(f"{i}.png", pose) for i, pose in enumerate(POSES)]
    size = (image.shape[1], image.shape[0])
    scenes.write_colmap(root, photos, sensor=(model, parameters), size=size, images=None)
    for shot in photos:
        scenes.write_picture(root / "images" / shot.name, image)
    return root


def views_of(scene: SceneData, name: str) -> list[View]:
    return [view for view in scenes.views_of(scene) if photo_of(view) == name]


def in_photo(view: View, pose: Array, width: int, height: int) -> Array:
    """Unit directions of a view's pixels, in the axes of its photo's camera; [h, w, 3]."""
    camera = view.camera.resized(width, height)
    K, own = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
    rows, columns = np.mgrid[:height, :width] + 0.5
    rays = np.stack(
        [(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones(rows.shape)], 2
    )
    rays /= np.linalg.norm(rays, axis=2, keepdims=True)
    return rays @ own[:3, :3] @ pose[:3, :3].T


@pytest.fixture
def panoramas(tmp_path: Path) -> Path:
    return write(tmp_path, "EQUIRECTANGULAR", tuple(map(float, SIZE)), panorama())


def test_each_cut_of_a_panorama_shows_its_directions(panoramas: Path) -> None:
    scene = datasets.load(panoramas, eval="none")
    assert [view.name for view in scene.train[:7]] == [f"0.png@{i}" for i in range(7)]
    for view in views_of(scene, "1.png"):
        for shrink in (1, 2):
            side = view.camera.width // shrink
            pixels, counts = photograph(view, side, side)
            assert counts is None
            expected = colored(in_photo(view, POSES[1], side, side))
            off = np.abs(pixels.astype(int) - expected.astype(int))
            # Half a pixel from the poles neighbours are across the picture.
            assert off.max() <= (4 if view.name[-1] != "6" else 30)
            assert np.percentile(off, 99) <= 3


def test_cuts_overlap_and_cover_all_but_what_is_below(panoramas: Path) -> None:
    views = views_of(datasets.load(panoramas, eval="none"), "0.png")
    draw = np.random.default_rng(0).normal(size=(5000, 3))
    draw /= np.linalg.norm(draw, axis=1, keepdims=True)
    seen = np.zeros(len(draw), int)
    for view in views:
        turn = view.camera.world_to_camera.double().numpy()[:3, :3] @ POSES[0][:3, :3].T
        x, y, z = turn @ draw.T
        seen += (z > 0) & (np.abs(x) <= 1.09 * z) & (np.abs(y) <= 1.09 * z)
    above = draw[:, 1] < np.sin(np.radians(40))
    assert (seen[above] >= 1).all() and seen[above].mean() > 1.2
    assert all(np.allclose(v.camera.centre, views[0].camera.centre) for v in views)


@pytest.mark.parametrize("focal", [FOCAL, 85.0])
def test_a_wide_fisheye_is_cut_and_its_circle_masked(tmp_path: Path, focal: float) -> None:
    """Of 221 and of 162 degrees; of the latter the views' corners lie beyond the circle."""
    parameters = (focal, focal, SIDE / 2, SIDE / 2, 0.0, 0.0, 0.0, 0.0)
    image = fisheye(focal)
    scene = datasets.load(write(tmp_path, "OPENCV_FISHEYE", parameters, image), eval="none")
    views = views_of(scene, "2.png")
    assert len(views) == 5
    masked = 0
    for view in views:
        side = view.camera.width
        pixels, counts = photograph(view, side, side)
        directions = in_photo(view, POSES[2], side, side)
        angle = np.degrees(np.arccos(directions[:, :, 2].clip(-1, 1)))
        limit = np.degrees(SIDE / 2 / focal)
        counts = np.ones(angle.shape, np.uint8) if counts is None else counts
        masked += int((counts == 0).sum())
        assert ((counts == 1) == (angle <= limit))[np.abs(angle - limit) > 0.5].all()
        sure = (counts == 1) & (angle < limit - 1)
        off = np.abs(pixels.astype(int) - colored(directions).astype(int))[sure]
        assert off.max() <= 4
    assert (masked > 0) == (focal == 85.0)


def test_lens_beyond_a_right_angle_by_hand() -> None:
    """Equidistant: a direction 120 degrees off the axis lies at a radius of its angle."""
    x, y, z = np.array([np.sin(2.0)]), np.array([0.0]), np.array([np.cos(2.0)])
    for model in ("fisheye", "brown_fisheye", "thin_prism_fisheye", "rad_tan_thin_prism_fisheye"):
        u, v = directed(Lens(model, ()), x, y, z)
        assert u[0] == pytest.approx(2.0) and v[0] == 0
    u, v = directed(Lens("fisheye", (0.1,)), x, y, z)
    assert u[0] == pytest.approx(2.0 * (1 + 0.1 * 4))
    assert angle_at(Lens("fisheye", (0.1,)), 2.8) == pytest.approx(2.0, abs=1e-5)
    assert angle_at(Lens("fisheye", (-0.1,)), 9.0) == pytest.approx(np.sqrt(1 / 0.3), abs=2e-3)


def test_a_narrow_fisheye_stays_one_view(tmp_path: Path) -> None:
    parameters = (120.0, 120.0, SIDE / 2, SIDE / 2, 0.0, 0.0, 0.0, 0.0)
    scene = datasets.load(write(tmp_path, "OPENCV_FISHEYE", parameters, fisheye()), eval="none")
    assert len(scene.train) == 3 and scene.train[0].cut is None


def test_masks_go_through_the_same_map(panoramas: Path) -> None:
    """What lies to the right of the camera does not count: the right half of the panorama."""
    mask = np.full(SIZE[::-1], 255, np.uint8)
    mask[:, SIZE[0] // 2 :] = 0
    for i in range(3):
        scenes.write_picture(panoramas / "masks" / f"{i}.png", mask)
    for view in views_of(datasets.load(panoramas, eval="none"), "0.png"):
        side = view.camera.width
        counts = photograph(view, side, side)[1]
        counts = np.ones((side, side), np.uint8) if counts is None else counts
        left = in_photo(view, POSES[0], side, side)[:, :, 0] < 0
        assert (counts == left)[1:-1, 1:-1].mean() > 0.97
        covered = outline(view, side, side)
        assert covered is not None and ((covered == 255) == (counts == 1)).all()


def test_all_cuts_of_a_photo_are_held_out_together(panoramas: Path) -> None:
    for eval in ("auto", "2", "0.png", "0.png@3"):
        scene = datasets.load(panoramas, eval=eval)
        test, train = ({photo_of(v) for v in side} for side in (scene.test, scene.train))
        assert test and not test & train
        assert len(scene.test) == 7 * len(test) and len(scene.train) == 7 * len(train)


def test_half_sized_copies(panoramas: Path) -> None:
    """Photos of another size than their cameras'; another shape is refused."""
    for i in range(3):
        scenes.write_picture(panoramas / "images" / f"{i}.png", panorama()[::2, ::2])
    scene = datasets.load(panoramas, eval="none")
    view = scene.train[2]
    assert view.cut is not None and view.cut.size == (128, 64)
    side = view.camera.width
    assert abs(side - 44) <= 1
    pixels, _ = photograph(view, side, side)
    expected = colored(in_photo(view, POSES[0], side, side)).astype(int)
    assert np.percentile(np.abs(pixels - expected), 95) <= 8
    scenes.write_picture(panoramas / "images" / "0.png", panorama()[:, ::2])
    with pytest.raises(ValueError, match="same shape"):
        datasets.load(panoramas)


def test_info_counts_them(panoramas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info.main([str(panoramas)]) == 0
    said = capsys.readouterr().out
    assert "3 panoramas are cut into 21 pinhole views" in said


def test_one_panorama_is_no_scene(panoramas: Path) -> None:
    for i in (1, 2):
        (panoramas / "images" / f"{i}.png").unlink()
    with pytest.raises(ValueError, match="one posed photo only"):
        datasets.load(panoramas)


def test_panoramas_project_as_colmap_has_them() -> None:
    """By COLMAP's own projection of its EQUIRECTANGULAR model."""
    pycolmap = pytest.importorskip("pycolmap")
    if "EQUIRECTANGULAR" not in pycolmap.CameraModelId.__members__:
        pytest.skip("a COLMAP without panoramas")
    rays = np.random.default_rng(0).normal(size=(200, 3))
    camera = pycolmap.Camera(model="EQUIRECTANGULAR", width=256, height=128, params=SIZE)
    (view, *_) = panorama_views("a.png", Path("a.png"), np.eye(4), SIZE)
    assert view.cut is not None
    u, v, seen = in_panorama(view.cut, rays.T)
    assert seen.all() and np.abs(np.stack([u, v], 1) - camera.img_from_cam(rays)).max() < 1e-9
