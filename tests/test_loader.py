"""The loader: its order, its cache and its threads never change what a step sees."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch

from splat import datasets
from splat.core.frame import frame_of
from splat.photos.decoder import Decoder
from splat.photos.disk_cache import Shelf
from splat.photos.loader import Loader, epoch_order
from splat.photos.photo import photograph
from splat.scene import shrunk
from splat.system import machine
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


def many(scene: SceneData, count: int) -> SceneData:
    """The scene with its views again and again, under names of their own."""
    views = [scene.train[i % len(scene.train)] for i in range(count)]
    named = tuple(replace(view, name=f"{i:03d}") for i, view in enumerate(views))
    return replace(scene, train=named)


def test_a_budget_holds_however_many_photos_there_are(
    scene: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 photos, room for 20: no more are kept, and no more are on their way than asked for."""
    begun, whole = 0, Decoder.whole

    def counted(self: Decoder, index: int) -> Any:
        nonlocal begun
        begun += 1
        return whole(self, index)

    crowd = many(scene, 200)
    shelf = Shelf(tmp_path / "shelf", 1 << 30)
    with (
        loading(crowd) as plain,
        loading(crowd, budget_bytes=20 * BYTES, shelf=shelf, ahead=3, workers=2) as loader,
    ):
        expected = {i: plain.batch(i).pixels for i in range(9)}
        monkeypatch.setattr(Decoder, "whole", counted)
        for step in range(400):
            batch = loader(step)
            assert torch.equal(batch.pixels, expected[loader.index_at(step) % 9])
            assert loader.bytes_held() <= 20 * BYTES
            assert begun <= step + 1 + 3
        assert loader.bytes_held() == 20 * BYTES
    # Photos of one file and one camera are one, whatever their views are called.
    assert len(list((tmp_path / "shelf").glob("*.photo"))) == 9


def undecodable(*_: Any, **__: Any) -> Any:
    raise AssertionError("a photo was decoded")


def test_what_lies_on_a_shelf_is_what_is_decoded(
    scene: SceneData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint8)
    half[:, :40] = 1
    for view in scene.train[:4]:
        scenes.write_picture(tmp_path / "masks" / view.name, half)
    scene = datasets.load(tmp_path, eval="none")
    options: dict[str, Any] = {"downscale": 2, "outlines": True, "budget_bytes": 0}
    with loading(scene, **options) as loader:
        expected = [loader.batch(i) for i in range(9)]
    for decodes in (True, False):
        if not decodes:
            monkeypatch.setattr("splat.photos.decoder.photograph", undecodable)
        with loading(scene, **options, shelf=Shelf(tmp_path / "shelf", 1 << 30)) as loader:
            for i, batch in enumerate(expected):
                found = loader.batch(i)
                assert same(found, batch)
                for a, b in ((found.mask, batch.mask), (found.outline, batch.outline)):
                    assert (a is None) == (b is None)
                    assert a is None or b is None or torch.equal(a, b)
    # Made otherwise it is another photo.
    with (
        loading(scene, **options | {"downscale": 4}, shelf=Shelf(tmp_path / "shelf", 1)) as loader,
        pytest.raises(AssertionError, match="a photo was decoded"),
    ):
        loader.batch(0)


def test_nothing_is_kept_on_disk_where_memory_holds_all(scene: SceneData, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "shelf", 1 << 30)
    with loading(scene, budget_bytes=9 * BYTES, shelf=shelf) as loader:
        loader.batch(0)
    assert not (tmp_path / "shelf").exists()


def test_files_that_are_not_whole_are_made_anew(scene: SceneData, tmp_path: Path) -> None:
    folder = tmp_path / "shelf"

    def batches() -> list[Batch]:
        with loading(scene, budget_bytes=0, shelf=Shelf(folder, 1 << 30)) as loader:
            return [loader.batch(i) for i in range(9)]

    expected = batches()
    files = sorted(folder.glob("*.photo"))
    whole = [file.read_bytes() for file in files]
    damaged = [
        whole[0][:-1],
        whole[1][:-500] + bytes([whole[1][-500] ^ 1]) + whole[1][-499:],
        b"",
        b"{}\n" + whole[3],
        b"\xff" * 100,
        whole[5] + b"\0",
    ]
    for file, raw in zip(files, damaged, strict=False):
        file.write_bytes(raw)
    assert all(map(same, batches(), expected))
    assert [file.read_bytes() for file in files] == whole


def test_a_photo_that_changed_is_decoded_again(scene: SceneData, tmp_path: Path) -> None:
    view, other = scene.train[:2]
    for pixels in (photograph(view, 96, 80)[0], photograph(other, 96, 80)[0]):
        with loading(scene, budget_bytes=0, shelf=Shelf(tmp_path / "s", 1 << 30)) as loader:
            assert np.array_equal(loader.batch(0).pixels.numpy(), pixels)
        view.image.write_bytes(other.image.read_bytes())


@pytest.mark.parametrize("what", ["no folder", "full"])
def test_a_shelf_that_takes_nothing_is_said_of_once(
    scene: SceneData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    folder = tmp_path / "place"
    if what == "no folder":
        folder.write_text("a file")
    else:

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("splat.photos.disk_cache.os.replace", full)
    with (
        loading(scene, seed=1) as plain,
        loading(scene, seed=1, budget_bytes=BYTES, shelf=Shelf(folder, 1 << 30)) as loader,
    ):
        assert all(same(loader(step), plain(step)) for step in range(20))
    [record] = [r for r in caplog.records if "no more photos are kept" in r.message]
    assert str(folder) in record.message
    assert what == "no folder" or not list(folder.iterdir())


def test_a_shelf_stays_within_its_bytes(tmp_path: Path) -> None:
    def photo(value: int) -> list[Any]:
        return [np.full((10, 100, 3), value, np.uint8), None]

    size = 3072 + 64  # a multiple of 64 and a line of as many bytes
    shelf = Shelf(tmp_path, 5 * size)
    shelf.make_room({f"old{i}": 3000 for i in range(8)})
    for i in range(8):
        shelf.put(f"old{i}", photo(i))
    files = sorted(tmp_path.iterdir())
    assert [file.stem for file in files] == [f"old{i}" for i in range(5)]
    for age, file in enumerate(files):
        os.utime(file, (1000 - age, 1000 - age))
    # Another scene's photos go, the longest unused first, as far as room is wanted.
    other = Shelf(tmp_path, 5 * size)
    other.make_room({"new": size, "old4": size, "newer": size})
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["old0", "old1", "old4"]
    other.put("new", photo(9))
    found = other.get("new")
    assert found is not None and found[0] is not None and found[1] is None
    assert found[0].shape == (10, 100, 3) and bool((found[0] == 9).all())
    assert other.get("old3") is None


SHARED = """
import sys
import numpy as np
from pathlib import Path
from splat.photos.disk_cache import Shelf
made = 0
shelf = Shelf(Path(sys.argv[1]), 1 << 30)
shelf.make_room({str(i): 30000 for i in range(60)})
for turn in range(4):
    for i in range(60):
        right = np.full((100, 100, 3), i, np.uint8)
        found = shelf.get(str(i))
        if found is None:
            shelf.put(str(i), [right])
            made += 1
        elif not np.array_equal(found[0], right):
            sys.exit("a photo is another")
        elif turn == int(sys.argv[2]) and i % 7 == 0:
            (Path(sys.argv[1]) / f"{i}.photo").unlink(missing_ok=True)
print(made)
"""


def test_processes_share_a_shelf(tmp_path: Path) -> None:
    """Two fill it, read each other's files and remove some under each other's eyes."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED, str(tmp_path), str(turn)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for turn in (1, 2)
    ]  # fmt: skip
    made = []
    for process in processes:
        out, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        made.append(int(out))
    assert 60 <= sum(made) <= 120 + 4 * 9
    assert not [file for file in tmp_path.iterdir() if file.suffix != ".photo"]


def test_the_disk_is_asked_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    free = machine.disk_free(tmp_path / "not" / "there")
    assert free is not None and free > 0
