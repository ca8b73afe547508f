"""The generated district: rays against geometry worked by hand, poses, files, the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import files_of

from splat.datasets import load
from splat.datasets.tracer.folders import quaternion
from splat.formats.rotations import matrix_of
from splat.types import Camera
from worlds import district
from worlds.district.layout import BLOCK, STREET, pieces
from worlds.district.light import SUN, lit, sky
from worlds.district.pattern import band, grain, lines
from worlds.district.pieces import FACES, GROUND, SKY, Piece, Pieces, Stuff, packed
from worlds.district.trace import lens_along, lens_of, look

TINY = {"views": 12, "width": 64, "height": 48, "blocks": (2, 1), "points": 2_000}
GREY = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return district.cached(tmp_path_factory.mktemp("district"), depth=True, **TINY)


def camera(eye: tuple[float, float, float], width: int = 41, height: int = 31) -> Camera:
    """Looks along +y, z up, 90 degrees across."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor(eye, dtype=torch.float32)
    half = width / 2
    K = torch.tensor([[half, 0, half], [0, half, height / 2], [0, 0, 1]])
    return Camera(pose, K, width, height)


def alone(**changes: object) -> Pieces:
    box = {
        "low": (-1.0, 4.0, 0.0), "high": (1.0, 6.0, 2.0), "sides": (Stuff.WALL, Stuff.BRICK),
        "top": Stuff.TILES, "colour": GREY, "second": GREY, "seed": 3,
    }  # fmt: skip
    return packed([Piece(**{**box, **changes})])  # type: ignore[arg-type]


def test_a_box_is_met_where_it_stands() -> None:
    seen = look(lens_of(camera((0, 0, 1))), alone())
    # The middle of the picture is 4 m from the wall that faces -y, the third face.
    assert seen.code[15, 20] == 1 + 2 and seen.near[15, 20] == pytest.approx(0.25)
    # Its edge at x = 1 is a quarter of the focal length, 5.1 pixels, from the middle at 20.5.
    assert seen.code[15, 25] == 3 and seen.code[15, 26] == SKY
    assert seen.code[2, 20] == SKY and seen.code[29, 3] == GROUND
    # Row 29 has its centre 14 pixels below the horizon: 1 m further down at 20.5 / 14 m.
    assert 1 / seen.near[29, 3] == pytest.approx(20.5 / 14)


def test_a_ridge_is_met_on_its_slope() -> None:
    made = alone(low=(-1.0, 4.0, 0.0), high=(1.0, 6.0, 1.0), inset=(0.0, 1.0))
    seen = look(lens_of(camera((0, 0, 0.5))), made)
    # y = 4 + z: the level ray at 0.5 m ends at 4.5 m.
    assert seen.code[15, 20] == 3 and 1 / seen.near[15, 20] == pytest.approx(4.5)
    assert made.normal[3] == pytest.approx([0, -(0.5**0.5), 0.5**0.5])


def test_a_ball_is_met_where_the_quadratic_says() -> None:
    made = alone(low=(-1.0, 3.0, -0.5), high=(1.0, 7.0, 1.5), ball=True)
    for lens, start in (
        (lens_of(camera((0, 0, 0.5))), None),
        (lens_along(np.array([0, 0.8, -0.6]), np.array([1.0, 0, 0]), np.array([-2, -1.0, -2]),
                    np.array([2, 8.0, 3]), 0.25), -2.0),
    ):  # fmt: skip
        seen = look(lens, made)
        hits = np.argwhere(seen.code == 1)
        assert len(hits) > 20
        for row, column in hits:
            pixel, near = np.array([column, row, 1.0]), float(seen.near[row, column])
            far = 1 / near if start is None else -near
            point = pixel @ lens.start + far * (pixel @ lens.direction)
            local = (point - [0, 5, 0.5]) / [1, 2, 1]
            assert (
                local @ local == pytest.approx(1, abs=2e-4)
                and local @ (pixel @ lens.direction / [1, 2, 1]) < 1e-3
            )


def test_pixels_of_the_sun_and_of_a_camera_agree_on_surfaces() -> None:
    """Every point that a camera sees lies on a plane of its piece, inside all the others."""
    town = district.District(2, 1)
    made, stand = pieces(town), district.cameras(town, 10, 48, 36)
    for view in stand:
        lens = lens_of(view)
        seen = look(lens, made)
        for row, column in np.argwhere(seen.code > GROUND)[::7]:
            pixel = np.array([column, row, 1.0])
            ray = pixel @ lens.direction
            point = lens.start[2] + ray / float(seen.near[row, column])
            piece, face = divmod(int(seen.code[row, column]) - 1, FACES)
            if made.ball[piece]:
                continue
            off = made.planes[piece, :, :3] @ point - made.planes[piece, :, 3]
            assert abs(off[face]) < 2e-3 and off.max() < 2e-3
            assert made.normal[1 + FACES * piece + face] @ ray < 0


def test_the_sun_reaches_what_nothing_hides() -> None:
    town = district.District(1, 1)
    light, made = lit(town), pieces(town)
    up = np.array([[0, 0, 1]], np.float32)
    lit_share = []
    for number in range(0, len(made.low), 9):
        centre = (made.low[number] + made.high[number]) / 2
        # Right behind a piece, seen from the sun, there is shadow; high above it there is none.
        behind = (centre - SUN * 0.2).astype(np.float32)[None]
        above = (centre + SUN * 40).astype(np.float32)[None]
        lit_share.append(float(light._reached(above)[0]))
        assert float(light._reached(behind)[0]) == 0
    assert set(lit_share) == {1.0}
    shaded, open_sky = (light.on(p, up, np.zeros(1, np.float32)) for p in (behind, above))
    assert (shaded < open_sky).all()
    assert 0 <= float(light.open.min()) and float(light.open.max()) <= 1
    # Next to the district's rim nothing stands: the sky is open.
    assert float(light.open[1, 1]) > 0.9


def test_patterns_keep_their_mean_when_seen_from_afar() -> None:
    a = np.linspace(0, 30, 4_001, dtype=np.float32)
    fine, coarse = (lines(a, 0.3, 0.06, np.full_like(a, span)) for span in (0.002, 3.0))
    assert float(fine.mean()) == pytest.approx(0.2, abs=0.01) and set(fine) > {0.0, 1.0}
    assert coarse == pytest.approx(np.full_like(a, 0.2), abs=0.02)
    assert band(np.float32([0, 0.5, 1, 3]), 0.0, 2.0, np.float32(1.0)) == pytest.approx(
        [0.5, 1, 1, 0]
    )
    spread = [float(grain(a, a * 0.7, 0.02, np.full_like(a, s)).std()) for s in (0.01, 0.2, 4.0)]
    assert spread[0] > 0.7 and spread[0] > 2 * spread[1] > 4 * spread[2]


def test_each_block_is_the_same_however_many_there_are() -> None:
    small, large = pieces(district.District(1, 1, 4)), pieces(district.District(3, 2, 4))
    # The first block is built first; its place differs by what lies between the lower corners.
    shift = np.array(district.District(1, 1).corner(0, 0)) - district.District(3, 2).corner(0, 0)
    moved = large.low[: len(small.low)] + np.array([*shift, 0])
    assert moved == pytest.approx(small.low, abs=1e-4)
    assert (large.seed[: len(small.seed)] == small.seed).all()
    # Nothing stands outside; parked cars reach into the streets about a block.
    assert (np.abs(large.high[:, :2]) < district.District(3, 2).half).all()
    width = district.District(3, 2).half[0] * 2
    assert width == pytest.approx(3 * (BLOCK[0] + STREET) + STREET)


def test_cameras_stand_over_the_district_and_in_its_streets() -> None:
    town = district.District(3, 2)
    stand = district.cameras(town, 52, 64, 48, street=0.25)
    rows = [view.world_to_camera[:3, :3].double() for view in stand]
    for turn in rows:
        assert torch.allclose(turn @ turn.T, torch.eye(3).double(), atol=1e-6)
        assert float(torch.det(turn)) == pytest.approx(1)
    heights = [float(view.centre[2]) for view in stand]
    assert min(heights[:39]) > 20 and heights[39:] == pytest.approx([4.0] * 13, abs=1e-4)
    low, high = pieces(town).low, pieces(town).high
    for view in stand:
        eye = view.centre.numpy()
        assert not ((eye > low) & (eye < high)).all(1).any()
    # What readers hold out are views of all kinds: some look straight down too.
    down = [float(turn[2, 2]) < -0.99 for turn in rows[:39]]
    assert sum(down[::8]) == 1 and sum(down) == 8


def test_quaternions_turn_back_into_their_rotations() -> None:
    for view in district.cameras(district.District(2, 2), 30):
        pose = view.world_to_camera.double().numpy()
        found = np.array(quaternion(pose))
        assert found[0] >= 0 and matrix_of(found) == pytest.approx(pose[:3, :3], abs=1e-6)


def test_the_reader_finds_what_was_written(folder: Path) -> None:
    scene = load(folder)
    assert len(scene.train) + len(scene.test) == 12
    assert scene.points is not None and len(scene.points.positions) == 2_000
    stand = district.cameras(district.District(2, 1), 12, 64, 48)
    for view in (*scene.train, *scene.test):
        known = stand[int(Path(view.name).stem[-4:])]
        pose = view.camera.world_to_camera.double()
        assert torch.allclose(pose, known.world_to_camera.double(), atol=1e-5)
        assert torch.allclose(view.camera.K.double(), known.K.double())


def test_points_lie_on_surfaces_that_training_photos_show(folder: Path) -> None:
    scene = load(folder)
    assert scene.points is not None
    place, best = scene.points.positions.double(), torch.full((2_000,), torch.inf).double()
    for view in district.cameras(district.District(2, 1), 12, 64, 48):
        if view.index % 8 == 0:
            continue
        depth = torch.from_numpy(np.load(folder / f"truth/depth/view_{view.index:04d}.npy"))
        pose = view.world_to_camera.double()
        local = place @ pose[:3, :3].T + pose[:3, 3]
        flat = local @ view.K.double().T
        column, row = (flat[:, k] / flat[:, 2] for k in (0, 1))
        inside = (local[:, 2] > 0) & (column > 1) & (column < 63) & (row > 1) & (row < 47)
        own = torch.nonzero(inside).ravel()
        shown = depth[row[own].long(), column[own].long()].double()
        gap = (shown / local[own, 2] - 1).abs()
        best[own] = torch.minimum(best[own], gap)
    # At rims a pixel's centre shows another surface than the point's ray.
    assert float((best < 0.03).double().mean()) > 0.93


def test_true_depth_is_the_ground_where_nothing_stands(folder: Path) -> None:
    town = district.District(2, 1)
    view = district.cameras(town, 12, 64, 48)[2]
    depth = torch.from_numpy(np.load(folder / "truth" / "depth" / "view_0002.npy"))
    assert torch.equal(depth, district.depth(view, town))
    # Straight down, the deepest that is seen is the ground: the camera's height.
    assert float(depth.max()) == pytest.approx(float(view.centre[2]), rel=1e-5)
    upward = district.depth(camera((0, -200, 3)), town)
    assert bool(torch.isinf(upward[0]).all())
    haze, blue = sky(np.array([[1.0, 0, 0], [0, 0, 1.0]]))
    assert haze[0] > blue[0] and blue[2] > blue[0]


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 if threads == 1 else 1)
        other = district.cached(tmp_path, depth=True, **TINY)
    finally:
        torch.set_num_threads(threads)
    assert other.name == folder.name and district.cached(tmp_path, depth=True, **TINY) == other
    files = files_of(folder)
    assert len(files) == 12 * 2 + 3 and files == files_of(other)


def test_what_cannot_be_drawn_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        district.write(folder, **TINY)
    with pytest.raises(ValueError, match="blocks is 0x2"):
        district.write(tmp_path / "a", **{**TINY, "blocks": (0, 2)})
    with pytest.raises(ValueError, match="expected from 1 to 15360"):
        district.write(tmp_path / "a", **{**TINY, "points": 50_000})
    with pytest.raises(ValueError, match="the first is held out"):
        district.write(tmp_path / "a", **{**TINY, "views": 1})
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        district.write(tmp_path / "a", street=2, **TINY)
    assert not list(tmp_path.iterdir())
