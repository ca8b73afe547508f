"""Lens families against OpenCV, against numbers of COLMAP, and their reach."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from splat.photos.lens import distort, reach
from splat.types import Lens

Array = npt.NDArray[np.float64]

# What pycolmap 4.2.1 gives (Camera.img_from_cam) for the points (0.35, -0.22), (-0.6, 0.5).
COLMAP = {
    ("radial", (-0.1,)): [[0.3440185, -0.2162402], [-0.5634, 0.4695]],
    ("radial", (-0.1, 0.03)): [[0.344325172, -0.216432965], [-0.5700978, 0.4750815]],
    ("radial", (-0.1, 0.03, 1e-3, -2e-3)): [[0.343339372, -0.215857265], [-0.5733578, 0.4773915]],
    ("radial", (-0.1, 0.03, 1e-3, -2e-3, 0.01, 0.02, -0.01, 0.005)): [
        [0.342275264, -0.215188397],
        [-0.569278042, 0.473991702],
    ],
    ("fisheye", ()): [[0.331885691, -0.208613863], [-0.509379288, 0.42448274]],
    ("fisheye", (-0.05,)): [[0.329335683, -0.207011], [-0.498181785, 0.415151487]],
    ("fisheye", (-0.05, 0.02)): [[0.329492424, -0.207109524], [-0.500150991, 0.416792492]],
    ("fisheye", (-0.05, 0.02, -0.004, 0.001)): [
        [0.329487792, -0.207106612],
        [-0.499996869, 0.416664058],
    ],
    ("thin_prism_fisheye", (-0.05, 0.02, 1e-3, -2e-3, -0.004, 0.001, 3e-3, -1e-3)): [
        [0.329062396, -0.206742629],
        [-0.501027531, 0.41788932],
    ],
    (
        "rad_tan_thin_prism_fisheye",
        (-0.05, 0.02, -0.004, 0.001, 2e-4, -1e-4, 1e-3, -2e-3, 3e-3, -1e-3, 5e-4, -7e-4),
    ): [[0.330560761, -0.207657906], [-0.497149863, 0.41479302]],
    ("fov", (0.8,)): [[0.355892167, -0.223703648], [-0.560483087, 0.467069239]],
    ("division", (-0.1,)): [[0.34421461, -0.216363469], [-0.567282686, 0.472735572]],
    ("eucm", (0.6, 1.1)): [[0.33207785, -0.208734649], [-0.510376381, 0.425313651]],
}
LENSES = [Lens(family, coefficients) for family, coefficients in COLMAP]


def named(lens: Lens) -> str:
    return f"{lens.model}{len(lens.coefficients)}"


def grid(side: int = 21, extent: float = 0.6) -> tuple[Array, Array]:
    x, y = np.meshgrid(np.linspace(-extent, extent, side), np.linspace(-extent, extent, side))
    return x.ravel(), y.ravel()


@pytest.mark.parametrize("lens", LENSES, ids=named)
def test_agrees_with_colmap(lens: Lens) -> None:
    x, y = distort(lens, np.array([0.35, -0.6]), np.array([-0.22, 0.5]))
    assert np.stack([x, y], 1) == pytest.approx(
        np.array(COLMAP[lens.model, lens.coefficients]), abs=2e-9
    )


@pytest.mark.parametrize("lens", LENSES, ids=named)
def test_is_one_to_one_within_its_reach(lens: Lens) -> None:
    """Newton's method leads back from the distorted points to those that we began with."""
    assert reach(lens, 0.9) == 0.9
    x, y = grid()
    u, v = distort(lens, x, y)
    a, b, h = u.copy(), v.copy(), 1e-6
    for _ in range(20):
        (at, right, up) = (
            np.stack(distort(lens, a + da, b + db)) for da, db in ((0, 0), (h, 0), (0, h))
        )
        (ux, vx), (uy, vy) = (right - at) / h, (up - at) / h
        du, dv = at - np.stack([u, v])
        det = ux * vy - uy * vx
        a, b = a - (vy * du - uy * dv) / det, b - (ux * dv - vx * du) / det
    assert np.abs(np.stack([a - x, b - y])).max() < 1e-9


@pytest.mark.parametrize(
    "coefficients", [(-0.2, 0.05, 1e-3, 2e-3), (0.1, -0.05, 1e-3, 2e-3, 0.02, 0.1, -0.02, 0.01)]
)
def test_radial_is_opencvs(coefficients: tuple[float, ...]) -> None:
    x, y = grid()
    points = np.stack([x, y, np.ones_like(x)], 1)
    found, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), np.eye(3), coefficients)
    assert np.stack(distort(Lens("radial", coefficients), x, y), 1) == pytest.approx(
        found[:, 0], abs=1e-12
    )


def test_fisheye_is_opencvs() -> None:
    x, y = grid()
    coefficients = (0.1, -0.05, 0.01, 0.002)
    points = np.stack([x, y], 1)[None]
    found = cv2.fisheye.distortPoints(points, np.eye(3), np.array(coefficients))
    assert np.stack(distort(Lens("fisheye", coefficients), x, y), 1) == pytest.approx(
        found[0], abs=1e-12
    )


@pytest.mark.parametrize("lens", [*LENSES, Lens("fov", (1e-9,))], ids=named)
def test_the_axis_is_finite(lens: Lens) -> None:
    x, y = distort(lens, np.zeros(1), np.zeros(1))
    assert np.isfinite(x).all() and np.isfinite(y).all()
    assert abs(x[0]) < 1e-9 and abs(y[0]) < 1e-9


def test_reach_ends_where_the_lens_folds_back() -> None:
    # r (1 - 0.3 r^2) grows up to r = 1 / sqrt(0.9).
    assert reach(Lens("radial", (-0.3,)), 2.0) == pytest.approx(1 / np.sqrt(0.9), abs=2 / 512)
    # The division model with k > 0 has no real solution beyond r = 1 / sqrt(4 k).
    assert reach(Lens("division", (0.25,)), 2.0) == pytest.approx(1.0, abs=2 / 512)
