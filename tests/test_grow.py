"""The benchmark of growth: its lines, and that its photos are of one scene."""

from __future__ import annotations

from pathlib import Path

import cv2
import grow
import grow_one
import numpy as np
import pytest

from splat.datasets import load


def test_a_line_is_the_least_squares_one() -> None:
    exact = grow.line({50: 12.0, 200: 15.0, 800: 27.0})
    assert exact == pytest.approx({"slope": 0.02, "intercept": 11.0, "r2": 1.0})
    # Worked by hand: means 1 and 2, sums 2 and 3; the line 0.5 + 1.5 x leaves 1/4 + 1 + 1/4.
    found = grow.line({0: 1.0, 1: 1.0, 2: 4.0})
    assert found == pytest.approx({"slope": 1.5, "intercept": 0.5, "r2": 1 - 1.5 / 6})
    assert grow.line({1: 3.0, 2: 3.0})["r2"] == 1.0
    with pytest.raises(ValueError, match="expected at least 2"):
        grow.line({1: 3.0})


def test_what_scale_wrote_is_fitted_on_its_most_threads() -> None:
    counts = [
        {
            "gaussians": n,
            "threads": {"1": {"iteration_ms": 9.0}, "2": {"iteration_ms": 100 + n * 1e-4}},
            "peak_memory_mb": 300 + n * 1e-3,
        }
        for n in (50_000, 200_000, 1_000_000)
    ]
    fits = grow.of_gaussians({"counts": counts})
    assert fits["step_ms"] == pytest.approx({"slope": 1e-4, "intercept": 100, "r2": 1.0})
    assert fits["peak_mb"] == pytest.approx({"slope": 1e-3, "intercept": 300, "r2": 1.0})


def test_photos_show_the_ground_where_their_cameras_are(tmp_path: Path) -> None:
    grow_one.make(tmp_path / "scene", 5, 64, 48, 20_000, 3)
    scene, picture = load(tmp_path / "scene", eval="none"), grow_one.ground(3)
    assert len(scene.train) == 5 and scene.points is not None
    place = scene.points.positions.double()
    known = 0
    for view in scene.train:
        photo = cv2.imread(str(view.image))
        pose = view.camera.world_to_camera.double()
        flat = (place @ pose[:3, :3].T + pose[:3, 3]) @ view.camera.K.double().T
        column, row = ((flat[:, k] / flat[:, 2]).numpy() for k in (0, 1))
        inside = (column >= 0) & (column < 64) & (row >= 0) & (row < 48)
        u, v = (place[:, k].numpy()[inside] / grow_one.PITCH for k in (0, 1))
        # The same pixel of the ground, found by the camera and by the point; JPEG blurs colours.
        shown = photo[row[inside].astype(int), column[inside].astype(int)].mean(-1)
        true = picture[v.astype(int), u.astype(int)].mean(-1)
        assert inside.sum() == 0 or np.abs(shown - true).mean() < 6
        known += int(inside.sum())
    assert known > 0
    grow_one.make(tmp_path / "other", 4, 64, 48, 10, 0, distinct=2)
    each = [path.read_bytes() for path in sorted((tmp_path / "other" / "images").iterdir())]
    assert each[:2] == each[2:] and each[0] != each[1]
