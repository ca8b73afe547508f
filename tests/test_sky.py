"""The far shell: where it is put, in which colours, and in which scenes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from methods import METHODS, job_of
from scenes import Shot, looking, shots, write_colmap, write_picture

from splat.options import Options
from splat.seeding.sky import shell, sky_evidence
from splat.types import Batch, Camera, Points

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SIDE = 64
K = torch.tensor([[40.0, 0, 32], [0, 40, 32], [0, 0, 1]])
BLUE, GREEN, RED = (60, 120, 240), (40, 160, 40), (220, 30, 30)


def cameras(count: int = 8) -> list[Camera]:
    """A ring of radius 0.9 about the origin that looks inwards, slightly down; +y is down."""
    return [
        Camera(torch.from_numpy(looking(2 * np.pi * i / count, 0.87)), K, SIDE, SIDE)
        for i in range(count)
    ]


def field(far: bool = True) -> torch.Tensor:
    """Points of a plane below the cameras, dense nearby and, `far`, out to the horizon."""
    draw = torch.Generator().manual_seed(0)
    near = torch.rand(6000, 2, generator=draw) * 5 - 2.5
    # Evenly over the inverse of their distance, as they are in photos.
    angle, inverse = torch.rand(2, 6000, generator=draw)
    away = 1 / (inverse / 3 + (1 - inverse) / 60)
    wide = away[:, None] * torch.stack([(6.2832 * angle).cos(), (6.2832 * angle).sin()], 1)
    flat = torch.cat([near, wide if far else near[:0]])
    return torch.stack([flat[:, 0], torch.full((len(flat),), 0.5), flat[:, 1]], 1)


def photo(camera: Camera, i: int = 0) -> Batch:
    """Blue above the horizon, green below it; photo 0 has something red in its sky."""
    pose = camera.world_to_camera
    rows, columns = torch.meshgrid(
        torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij"
    )
    rays = torch.stack([(columns - 32) / 40, (rows - 32) / 40, torch.ones(SIDE, SIDE)], 2).double()
    sky = (rays @ pose[:3, :3])[:, :, 1] < 0
    pixels = torch.tensor(GREEN).expand(SIDE, SIDE, 3).clone()
    pixels[sky] = torch.tensor(BLUE)
    if i == 0:
        pixels[: SIDE // 2][sky[: SIDE // 2]] = torch.tensor(RED)
    return Batch(camera, pixels.to(torch.uint8))


def test_an_open_field_has_a_sky_and_a_room_has_none() -> None:
    found = sky_evidence(cameras(), field())
    assert found.unbounded and found.far > 0.05 and found.empty > 0.2
    near = sky_evidence(cameras(), field(far=False))
    assert near.far == 0 and not near.unbounded
    # A sphere of points all about, such as a room seen from its middle: many extents wide.
    draw = torch.randn(60_000, 3, generator=torch.Generator().manual_seed(1))
    full = sky_evidence(cameras(), 20 * torch.nn.functional.normalize(draw))
    assert full.far == 0 and full.empty < 0.02 and not full.unbounded
    assert not sky_evidence(cameras(), torch.empty(0, 3)).unbounded


def test_the_shell_is_above_the_horizon_in_the_colour_of_most_views() -> None:
    photos = [photo(camera, i) for i, camera in enumerate(cameras())]
    found = shell(photos, field(), 500)
    assert found is not None and 300 < len(found.positions) < 700
    middle = torch.stack([c.centre for c in cameras()]).mean(0)
    away = found.positions.double() - middle
    radius = away.norm(dim=1)
    assert 50 < float(radius.min()) and float(radius.max() - radius.min()) < 1e-3
    assert float((away[:, 1] / radius).max()) < 0
    blue = torch.tensor(BLUE) / 255
    torch.testing.assert_close(found.colors, blue.expand_as(found.colors))


def test_by_hand_one_direction() -> None:
    """Two cameras look along +z; a point ahead of one of them hides a cell and those about it."""
    ahead = torch.eye(4, dtype=torch.float64)
    aside = ahead.clone()
    aside[0, 3] = -0.5
    pair = [Camera(pose, K, SIDE, SIDE) for pose in (ahead, aside)]
    photos = [
        Batch(camera, torch.full((SIDE, SIDE, 3), 100 + 10 * i, dtype=torch.uint8))
        for i, camera in enumerate(pair)
    ]
    free = shell(photos, torch.empty(0, 3), 2000)
    assert free is not None
    middle = torch.tensor([0.25, 0, 0])
    directions = (free.positions - middle) / 10
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(len(directions)))
    # All of what both see at infinity, and nothing else: 32 / 40 to each side.
    slopes = directions[:, :2].abs() / directions[:, 2:]
    assert bool((directions[:, 2] > 0).all()) and float(slopes.max()) <= 0.8
    solid = 4 * np.arcsin(np.sin(np.arctan(0.8)) ** 2)
    assert len(free.positions) == pytest.approx(2000, rel=0.05)
    assert float(solid) / (4 * np.pi) == pytest.approx(0.125, abs=0.02)
    assert set((255 * free.colors).round().unique().tolist()) <= {100.0, 110.0}
    hidden = shell(photos, torch.tensor([[0.0, 0.0, 5.0]]), 2000)
    assert hidden is not None
    near_axis = (hidden.positions - middle)[:, :2].norm(dim=1) / 10 < 0.02
    assert not bool(near_axis.any())


def test_masked_and_changing_directions_are_left_out() -> None:
    photos = [photo(camera, 1) for camera in cameras()]
    dark = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    assert shell([Batch(p.camera, p.pixels, dark) for p in photos], field(), 500) is None
    draw = torch.Generator().manual_seed(0)
    noisy = [
        Batch(p.camera, torch.randint(0, 256, (SIDE, SIDE, 3), generator=draw).to(torch.uint8))
        for p in photos
    ]
    few, all_ = shell(noisy, field(), 500), shell(photos, field(), 500)
    # Two photos of noise that agree by chance are all that is left.
    assert all_ is not None and (few is None or len(few.positions) < len(all_.positions) / 2)


def test_a_run_starts_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An unbounded scene on disk, by itself; none where it is not wanted; of another size."""
    photos = [Shot(f"{i}.png", c.world_to_camera.numpy()) for i, c in enumerate(cameras())]
    sensor = ("PINHOLE", (40.0, 40.0, 32.0, 32.0))
    known = field().double().numpy()
    write_colmap(
        tmp_path, photos, sensor=sensor, size=(SIDE, SIDE), images=None, points=known, binary=False
    )
    for i, camera in enumerate(cameras()):
        write_picture(tmp_path / "images" / f"{i}.png", photo(camera, i).pixels.numpy())
    counts = {}
    for sky in ("none", "auto", "300"):
        with (
            caplog.at_level(logging.INFO, "splat"),
            closing(job_of(tmp_path, METHODS["fixed"], steps=5, sky=sky)) as job,
        ):
            counts[sky] = len(job.run.model.cloud)
    assert counts["none"] == len(known)
    assert 15_000 < counts["auto"] - len(known) < 25_000
    assert 200 < counts["300"] - len(known) < 400
    assert any("unbounded" in message for message in caplog.messages)


def test_asked_for_where_there_are_no_points(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_colmap(tmp_path, shots(4), points=None)
    with (
        caplog.at_level(logging.INFO, "splat"),
        closing(job_of(root, METHODS["fixed"], steps=5, sky="300")),
    ):
        assert any("no points of sky: a run from random" in said for said in caplog.messages)


@pytest.mark.parametrize("sky", ["always", "0", "-3"])
def test_bad_numbers(sky: str) -> None:
    with pytest.raises(ValueError, match=r"sky|whole number"):
        Options(sky=sky)


def test_an_unbounded_scene_gets_it_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    from splat.seeding.start import _with_sky

    class Photos:
        """What the start asks of a loader."""

        cameras = tuple(cameras())

        def __len__(self) -> int:
            return len(self.cameras)

        def batch(self, index: int) -> Batch:
            return photo(self.cameras[index], index)

        def some(self, indices: Sequence[int]) -> list[Batch]:
            return [self.batch(index) for index in indices]

    known = Points(field(), torch.rand(12_000, 3, generator=torch.Generator().manual_seed(0)))
    with caplog.at_level(logging.INFO, "splat"):
        found = _with_sky(known, Photos(), Options(), 0)  # type: ignore[arg-type]
        none = _with_sky(known, Photos(), Options(sky="none"), 0)  # type: ignore[arg-type]
        few = _with_sky(known, Photos(), Options(), 1000)  # type: ignore[arg-type]
    assert none is known and len(found.positions) > 15_000
    assert len(few.positions) < 12_300
    assert any("unbounded" in message for message in caplog.messages)
