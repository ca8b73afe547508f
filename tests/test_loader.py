"""The loader: its order, its cache and its threads never change what a step sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch

from splat import datasets
from splat.loader import Loader, epoch_order, shrunk
from splat.photo import photograph
from splat.seed import frame_of
from splat.types import Batch, Camera, Frame, SceneData

UNMOVED = Frame((0.0, 0.0, 0.0), 1.0)
BYTES = scenes.WIDTH * scenes.HEIGHT * 3


@pytest.fixture
def scene(tmp_path: Path) -> SceneData:
    return datasets.load(scenes.write_colmap(tmp_path, scenes.shots()), eval="none")


@contextmanager
def loading(scene: SceneData, **options: Any) -> Iterator[Loader]:
    loader = Loader(scene.train, **{"frame": UNMOVED, **options})
    try:
        yield loader
    finally:
        loader.close()


def same(a: Batch, b: Batch) -> bool:
    return a.name == b.name and torch.equal(a.pixels, b.pixels)


def test_every_epoch_shows_every_view_once_in_a_fresh_order() -> None:
    orders = [tuple(epoch_order(3, epoch, 20)) for epoch in range(4)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len(set(orders)) == 4
    assert orders[0] == tuple(epoch_order(3, 0, 20)) != tuple(epoch_order(4, 0, 20))


def test_the_order_is_uniform() -> None:
    firsts = np.bincount([epoch_order(0, epoch, 4)[0] for epoch in range(4000)], minlength=4)
    assert np.abs(firsts - 1000).max() < 5 * np.sqrt(1000 * 0.75)


def test_the_order_is_pinned() -> None:
    """A checkpoint resumes in the order it was written in, whatever NumPy is installed."""
    assert epoch_order(42, 1, 8).tolist() == PINNED


PINNED = [4, 5, 3, 0, 2, 7, 1, 6]


@pytest.mark.parametrize("budget", [0, 4 * BYTES, 100 * BYTES])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_is_a_function_of_the_step(scene: SceneData, budget: int, workers: int) -> None:
    with (
        loading(scene, seed=5) as plain,
        loading(scene, seed=5, budget_bytes=budget, workers=workers, ahead=5) as loader,
    ):
        expected = [plain(step) for step in range(30)]
        assert {batch.name for batch in expected[:9]} == {view.name for view in scene.train}
        assert all(same(loader(step), expected[step]) for step in range(30))
        for step in (25, 3, 3, 29, 0):
            assert same(loader(step), expected[step])
        assert loader.bytes_held() == min(budget // BYTES, 9) * BYTES


def test_batches_are_the_photos(scene: SceneData) -> None:
    with loading(scene, downscale=2) as loader:
        assert len(loader) == 9
        for i, view in enumerate(scene.train):
            batch = loader.batch(i)
            pixels, _ = photograph(view, 48, 40)
            assert batch.name == view.name and batch.mask is None
            assert np.array_equal(batch.pixels.numpy(), pixels)
            assert batch.camera is loader.cameras[i] and batch.camera.index == i
            assert np.abs(scenes.centroids(pixels) - scenes.projected(batch.camera)).max() < 0.05


def test_cameras_stand_in_the_frame_of_training(scene: SceneData) -> None:
    frame = frame_of([view.camera for view in scene.train])
    moved = (scenes.POINTS - np.array(frame.centre)) * frame.scale
    with loading(scene, frame=frame) as loader:
        for view, camera in zip(scene.train, loader.cameras, strict=True):
            expected = scenes.projected(view.camera)
            assert np.abs(scenes.projected(camera, moved) - expected).max() < 1e-3
            assert camera.world_to_camera.dtype == torch.float32


def camera_of(width: int, height: int) -> Camera:
    K = torch.tensor([[100.0, 0, width / 2], [0, 100, height / 2], [0, 0, 1]])
    return Camera(torch.eye(4), K, width, height)


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((538, 960), {"downscale": 2}, (269, 480)),
        ((1001, 667), {"downscale": 3}, (334, 222)),
        ((1001, 667), {"max_side": 500}, (500, 333)),
        ((400, 400), {"max_side": 500}, (400, 400)),
        ((1000, 500), {"downscale": 4, "max_side": 500}, (250, 125)),
        ((1000, 500), {"downscale": 2, "max_side": 100}, (100, 50)),
        ((3, 5), {"downscale": 50}, (1, 1)),
    ],
)
def test_sizes(size: tuple[int, int], options: Any, expected: tuple[int, int]) -> None:
    small = shrunk(camera_of(*size), **options)
    assert (small.width, small.height) == expected
    # Focal lengths and middle follow the rounded size, not the factor asked for.
    ratios = [expected[0] / size[0], expected[1] / size[1]]
    assert small.K.diagonal()[:2].tolist() == pytest.approx([100 * r for r in ratios])
    assert small.K[:2, 2].tolist() == pytest.approx([side / 2 for side in expected])


def test_bytes_needed_are_the_bytes_held(scene: SceneData, tmp_path: Path) -> None:
    half = np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint8)
    half[:, :40] = 1
    for view in scene.train[:4]:
        scenes.write_picture(tmp_path / "masks" / view.name, half)
    with loading(datasets.load(tmp_path, eval="none"), downscale=2) as loader:
        for i in range(9):
            batch = loader.batch(i)
            assert (batch.mask is not None) == (i < 4)
        assert loader.bytes_needed() == loader.bytes_held() == (9 * 3 + 4) * 48 * 40


def test_a_broken_photo_surfaces_from_the_thread(scene: SceneData) -> None:
    victim = scene.train[6]
    victim.image.write_bytes(victim.image.read_bytes()[:-30])
    with loading(scene) as loader:
        with pytest.raises(ValueError, match=r"006\.png: cannot be decoded to its end"):
            for step in range(9):
                loader(step)
        # It is an error each time, not only once.
        with pytest.raises(ValueError, match=r"006\.png"):
            loader.batch(6)


def test_a_photo_that_vanished_surfaces(scene: SceneData) -> None:
    scene.train[2].image.unlink()
    with loading(scene) as loader, pytest.raises(FileNotFoundError, match=r"002\.png"):
        loader.batch(2)


def test_closing_ends_the_threads(scene: SceneData) -> None:
    before = threading.active_count()
    with loading(scene, workers=2) as loader:
        loader(0)
        assert threading.active_count() > before
    assert threading.active_count() == before


def test_no_views() -> None:
    with pytest.raises(ValueError, match="no views to load"):
        Loader([], frame=UNMOVED)
