"""Where a reconstruction is put: up, metres and origin, of scenes that were tilted on purpose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from splat.prep.geodesy import ecef, enu
from splat.prep.upright import placement_of

Array = np.ndarray
TILT = Rotation.from_euler("zyx", [40, -65, 110], degrees=True).as_matrix()
"""World of the test (z up) to that of the reconstruction."""
PLACE = (47.37, 8.54, 408.0)


def degrees_between(a: Array, b: Array) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def camera(yaw: float, pitch: float, roll: float) -> Array:
    """World to camera, radians; looking along +x and up by `pitch` where yaw is 0."""
    ahead = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0])
    upright = np.stack([right, np.cross(ahead, right), ahead])
    return Rotation.from_euler("z", roll).as_matrix() @ upright


def ring(seed: int = 0, count: int = 40, sideways: float = 0.3, wild: float = 0.1) -> Array:
    """Rotations of a walk round something: some photos sideways, some held at random."""
    draw = np.random.default_rng(seed)
    found = []
    for i in range(count):
        roll = draw.normal(0, np.radians(3))
        kind = draw.random()
        roll += np.pi / 2 * draw.choice([-1, 1]) if kind < sideways else 0
        pitch = draw.normal(np.radians(-20), np.radians(8))
        found.append(camera(2 * np.pi * i / count, pitch, roll))
        if kind > 1 - wild:
            found[-1] = Rotation.random(random_state=seed + i).as_matrix()
    return np.stack(found)


def tilted(rotations: Array) -> Array:
    return rotations @ TILT.T


def cloud(draw: np.random.Generator, count: int = 4000) -> Array:
    """A floor at z = -1 with noise, a ramp on it, and a ball of clutter."""
    floor = np.column_stack([draw.uniform(-3, 3, (count, 2)), draw.normal(-1, 0.005, count)])
    ramp = np.column_stack([draw.uniform(-1, 1, (count // 8, 2)), np.zeros(count // 8)])
    ramp[:, 2] = 0.2 * ramp[:, 0]
    return np.concatenate([floor, ramp, draw.normal(0, 0.7, (count // 4, 3))])


NOTHING = np.empty((0, 3))


@pytest.mark.parametrize("seed", range(4))
def test_up_of_tilted_walks(seed: int) -> None:
    """To a degree with a roll of three; a third are sideways, a tenth held at random."""
    rotations = ring(seed, 120)
    centres = np.random.default_rng(seed).normal(size=(len(rotations), 3))
    found = placement_of(centres, tilted(rotations), NOTHING)
    assert found.up_found and not found.metric and found.origin is None
    assert degrees_between(found.rotation @ TILT @ np.array([0, 0, 1.0]), np.array([0, 0, 1])) < 1
    assert np.allclose(found.rotation @ found.rotation.T, np.eye(3))
    assert np.linalg.det(found.rotation) > 0


@pytest.mark.parametrize("roll", [np.pi / 2, -np.pi / 2])
def test_all_photos_sideways(roll: float) -> None:
    rotations = np.stack([camera(a, -0.2, roll) for a in np.linspace(0, 3, 20)])
    up = placement_of(np.eye(20, 3), tilted(rotations), NOTHING).rotation @ TILT[:, 2]
    assert degrees_between(up, np.array([0, 0, 1.0])) < 1


def test_photos_that_all_look_the_same_way_stand_as_their_sides_do() -> None:
    """Nothing but the sides of the photos tells; straight ahead they are the vertical."""
    rotations = np.stack([camera(0.5, 0.0, 0.0)] * 8)
    up = placement_of(np.eye(8, 3), tilted(rotations), NOTHING).rotation @ TILT[:, 2]
    assert degrees_between(up, np.array([0, 0, 1.0])) < 0.1


def test_cameras_looking_straight_down_in_many_directions() -> None:
    rotations = np.stack([camera(a, -np.pi / 2 + 0.02, 0) for a in np.linspace(0, 6, 25)])
    up = placement_of(np.eye(25, 3), tilted(rotations), NOTHING).rotation @ TILT[:, 2]
    assert degrees_between(up, np.array([0, 0, 1.0])) < 2


def test_a_floor_sharpens_up() -> None:
    """Cameras that all lean five degrees to one side of the world; the floor does not."""
    draw = np.random.default_rng(1)
    lean = Rotation.from_euler("x", 5, degrees=True).as_matrix()
    rotations = ring(1, sideways=0, wild=0) @ lean.T
    points = cloud(draw) @ TILT.T
    centres = draw.normal(size=(len(rotations), 3))
    alone = placement_of(centres, tilted(rotations), NOTHING)
    found = placement_of(centres, tilted(rotations), points)
    top = np.array([0, 0, 1.0])
    assert degrees_between(alone.rotation @ TILT @ top, top) > 4
    assert degrees_between(found.rotation @ TILT @ top, top) < 0.5
    assert "floor" in found.how
    placed = found.scale * points @ found.rotation.T + found.translation
    assert abs(np.median(placed[:4000, 2])) < 0.3  # the floor is at z = 0
    assert np.abs(np.median(placed, 0)[:2]).max() < 1e-6


def test_two_walls_sharpen_up_where_there_is_no_floor() -> None:
    draw = np.random.default_rng(2)
    lean = Rotation.from_euler("y", 4, degrees=True).as_matrix()
    rotations = ring(2, sideways=0, wild=0) @ lean.T
    first = np.column_stack([draw.uniform(0, 4, 2000), np.zeros(2000), draw.uniform(0, 3, 2000)])
    second = np.column_stack([np.zeros(2000), draw.uniform(0, 4, 2000), draw.uniform(0, 3, 2000)])
    points = np.concatenate([first, second]) + draw.normal(0, 0.004, (4000, 3))
    found = placement_of(draw.normal(size=(40, 3)), tilted(rotations), points @ TILT.T)
    assert "walls" in found.how
    assert degrees_between(found.rotation @ TILT[:, 2], np.array([0, 0, 1.0])) < 0.5


def test_clutter_does_not_move_up() -> None:
    rotations, draw = tilted(ring(3)), np.random.default_rng(3)
    points = draw.normal(size=(3000, 3))
    alone, found = (placement_of(np.eye(40, 3), rotations, each) for each in (NOTHING, points))
    assert np.array_equal(alone.rotation, found.rotation)


def test_cameras_held_every_way_have_no_up() -> None:
    rotations = Rotation.random(60, random_state=0).as_matrix()
    found = placement_of(np.random.default_rng(0).normal(size=(60, 3)), rotations, NOTHING)
    assert not found.up_found and np.array_equal(found.rotation, np.eye(3))
    assert "not known" in found.how


def geodetic(metres: Array) -> Array:
    """Geodetic positions near `PLACE` of metres east, north, up: by Newton on `enu`."""
    guess = np.tile(np.array(PLACE), (len(metres), 1))
    unit = np.array([1 / 111_000, 1 / 75_000, 1.0])
    for _ in range(20):
        left = metres - enu(guess, PLACE)
        guess = guess + left[:, [1, 0, 2]] * unit
    return guess


def test_ecef_of_known_places() -> None:
    """The axes of the ellipsoid, and how far a second of latitude is at its equator."""
    found = ecef(np.array([[0, 0, 0], [0, 90, 10], [90, 0, 0], [-90, 12, 0]]))
    expected = [
        [6378137, 0, 0], [0, 6378147, 0], [0, 0, 6356752.3142], [0, 0, -6356752.3142],
    ]  # fmt: skip
    assert np.abs(found - np.array(expected)).max() < 1e-3
    up = enu(np.array([[0, 0, 5.0], [1 / 3600, 0, 0], [0, 1 / 3600, 0]]), (0.0, 0.0, 0.0))
    assert np.allclose(up, [[0, 0, 5], [0, 30.715, 0], [30.922, 0, 0]], atol=2e-3)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_gps_gives_metres_and_north(noise: float) -> None:
    """20 m of walk: scale within the noise, a sixth of the positions wrong by 100 m."""
    draw = np.random.default_rng(4)
    metres = np.column_stack([draw.uniform(-20, 20, (36, 2)), draw.uniform(0, 6, 36)])
    centres = 0.037 * metres @ TILT.T + np.array([3.0, -1, 2])
    measured = metres + draw.normal(0, noise, (36, 3)) if noise else metres.copy()
    measured[:6] += draw.normal(0, 100, (6, 3))
    gps = geodetic(measured)
    gps[10:14] = np.nan
    found = placement_of(centres, tilted(ring(4, 36)), NOTHING, gps)
    assert found.metric and found.up_found and found.origin is not None
    assert abs(found.scale * 0.037 - 1) < (0.02 if noise else 1e-6)
    placed = found.scale * centres @ found.rotation.T + found.translation
    true = enu(geodetic(metres), found.origin)
    assert np.linalg.norm(placed - true, axis=1).max() < (1.5 if noise else 1e-3)


def test_a_straight_walk_is_levelled_by_the_cameras() -> None:
    """A track on a line does not say how the scene is turned about it; cameras do."""
    draw = np.random.default_rng(5)
    metres = np.column_stack([np.linspace(0, 60, 30), np.linspace(0, 20, 30), np.zeros(30)])
    centres = 2.0 * metres @ TILT.T
    gps = geodetic(metres + draw.normal(0, 0.6, (30, 3)))
    found = placement_of(centres, tilted(ring(5, 30)), NOTHING, gps)
    assert found.metric
    assert degrees_between(found.rotation @ TILT[:, 2], np.array([0, 0, 1.0])) < 2
    assert degrees_between(found.rotation @ TILT[:, 1], np.array([0, 1.0, 0])) < 2
    assert abs(found.scale * 2 - 1) < 0.03


def test_gps_without_altitude() -> None:
    draw = np.random.default_rng(6)
    metres = np.column_stack([draw.uniform(-20, 20, (20, 2)), np.zeros(20)])
    gps = geodetic(metres)
    gps[:, 2] = np.nan
    found = placement_of(metres @ TILT.T / 3, tilted(ring(6, 20)), NOTHING, gps)
    assert found.metric and abs(found.scale - 3) < 0.02 and found.origin is not None
    assert found.origin[2] == 0


def test_too_short_a_track_is_refused() -> None:
    """Three metres of walk, GPS good to three metres; a known distance is taken then."""
    draw = np.random.default_rng(7)
    metres = draw.uniform(-3, 3, (25, 3))
    gps = geodetic(metres + draw.normal(0, 3, (25, 3)))
    rotations = tilted(ring(7, 25))
    found = placement_of(metres @ TILT.T, rotations, NOTHING, gps)
    assert not found.metric and found.origin is None and "GPS was left out" in found.how
    apart = float(np.linalg.norm(metres[2] - metres[9]))
    again = placement_of(metres @ TILT.T, rotations, NOTHING, gps, (2, 9, 5 * apart))
    assert again.metric and again.scale == pytest.approx(5)


def test_gps_of_three_photos_is_refused() -> None:
    metres = np.random.default_rng(8).uniform(-50, 50, (12, 3))
    gps = geodetic(metres)
    gps[3:] = np.nan
    found = placement_of(metres, tilted(ring(8, 12)), NOTHING, gps)
    assert not found.metric and "3 photos only" in found.how


def test_a_distance_goes_before_the_scale_of_gps() -> None:
    metres = np.random.default_rng(9).uniform(-50, 50, (12, 3))
    found = placement_of(
        metres @ TILT.T, tilted(ring(9, 12)), NOTHING, geodetic(metres),
        (0, 1, 1.1 * float(np.linalg.norm(metres[0] - metres[1]))),
    )  # fmt: skip
    assert found.scale == pytest.approx(1.1) and found.origin is not None
    placed = found.scale * metres @ TILT.T @ found.rotation.T + found.translation
    expected = enu(geodetic(metres), found.origin)
    assert np.allclose(placed.mean(0), expected.mean(0), atol=1e-2)


@pytest.mark.parametrize(
    ("distance", "said"),
    [((0, 0, 1.0), "two different"), ((0, 9, 1.0), "from 0 to 2"), ((0, 1, 0.0), "above 0"),
     ((0, 1, np.nan), "above 0"), ((1, 2, 1.0), "same place")],
)  # fmt: skip
def test_useless_distances(distance: tuple[int, int, float], said: str) -> None:
    centres = np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]])
    with pytest.raises(ValueError, match=said):
        placement_of(centres, ring(0, 3), NOTHING, None, distance)
