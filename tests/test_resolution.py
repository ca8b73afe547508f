"""Sizes of the training pictures: when they change, what they show, and that resume follows."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scenes
import torch
from methods import METHODS
from test_checkpoint import at, kill

from splat import api, datasets
from splat.math import spread
from splat.options import Options, Watching
from splat.photos import resolution
from splat.photos.loader import Loader
from splat.photos.photo import averaged, photograph
from splat.photos.resolution import Sizes, dash_phases, sizes, spectrum_shares
from splat.planning import predict
from splat.runs import checkpoint
from splat.runs.folder import Folder
from splat.scene import shrunk
from splat.strategies.adc import RADIUS, Adc
from splat.training.prepare import prepare
from splat.training.stop import Stopped
from splat.types import Frame, SceneData

UNMOVED = Frame((0.0, 0.0, 0.0), 1.0)
QUARTERS = Sizes(36, ((0.0, 4.0), (0.25, 2.0), (0.5, 1.0)))


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    scene = datasets.load(scenes.write_colmap(tmp_path, scenes.shots()), eval="none")
    with closing(Loader(scene.train, frame=UNMOVED, seed=3)) as loader:
        loader.sizes = QUARTERS
        yield loader


def test_warm_up_is_the_first_tenth_at_half() -> None:
    found = sizes("warm-up", 300)
    assert [found.factor(step) for step in (0, 29, 30, 299)] == [2.0, 2.0, 1.0, 1.0]
    assert found.area == pytest.approx(0.1 / 4 + 0.9)
    assert sizes("full", 300).factor(0) == 1.0 and sizes("full", 300).area == 1.0
    assert found.text() and not sizes("full", 300).text()


def test_a_spectrum_that_fills_its_square_evenly_is_dashed_by_hand() -> None:
    """Within a window of a share q of each side lies q of it, as 1/f spectra have it."""
    found = dash_phases(np.linspace(0, 1, 1025))
    shares, factors = zip(*found, strict=True)
    # A quarter is kept at 4; sides grow by sqrt 2, and so do equal shares of the logarithm of 4.
    assert factors == pytest.approx([4, 2 * math.sqrt(2), 2, math.sqrt(2), 1])
    assert shares == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    area = Sizes(1000, found).area
    assert area == pytest.approx(0.125 * (1 / 16 + 1 / 8 + 1 / 4 + 1 / 2) + 0.5)


@pytest.mark.parametrize("power", [0.05, 0.5, 1.0, 2.0, 8.0])
def test_factors_never_rise_and_end_at_one(power: float) -> None:
    found = Sizes(997, dash_phases(np.linspace(0, 1, 1025) ** power))
    factors = [found.factor(step) for step in range(997)]
    assert all(a >= b for a, b in pairwise(factors))
    assert 1 <= factors[0] <= 8 and factors[499:] == [1.0] * 498
    assert np.mean([1 / f**2 for f in factors]) == pytest.approx(found.area, abs=5e-3)


def test_smooth_photos_begin_smaller_than_noise() -> None:
    grid = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    wave = 128 + 100 * np.sin(2 * grid)[:, None, None] * np.sin(3 * grid)[None, :, None]
    smooth = np.repeat(wave, 3, 2).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert dash_phases(spectrum_shares([smooth]))[0][1] == pytest.approx(8)
    # White noise keeps 1/r^2 of its amplitudes: half at sqrt 2, and at 2 a quarter, more or less.
    kept = spectrum_shares([noise])
    assert kept[512] == pytest.approx(0.25, abs=0.01)
    assert dash_phases(kept)[0][1] in (math.sqrt(2), 2)


def test_significance_counts_every_frequency_once() -> None:
    kept = spectrum_shares(
        [np.random.default_rng(1).integers(0, 256, (31, 46, 3)).astype(np.uint8)]
    )
    assert kept[0] == 0 and kept[-1] == pytest.approx(1) and (np.diff(kept) >= 0).all()
    # Of a single wave with 4 periods along 64 pixels all lies at an eighth of the highest.
    wave = 100 + 50 * np.cos(2 * np.pi * 4 * np.arange(64) / 64)
    flat = np.repeat(np.repeat(wave[None, :, None], 48, 0), 3, 2)
    kept = spectrum_shares([flat.astype(np.float64)])  # type: ignore[list-item]
    assert kept[len(kept) // 8 - 2] < 1e-9 and kept[len(kept) // 8 + 2] == pytest.approx(1)


def test_a_photo_of_one_colour_needs_no_small_sizes() -> None:
    assert dash_phases(spectrum_shares([np.full((20, 30, 3), 90, np.uint8)])) == ((0.0, 1.0),)


def test_small_batches_are_the_whole_ones_averaged(loader: Loader) -> None:
    for step in (0, 8, 9, 17, 18, 35, 3, 12, 30):
        index, factor = loader.shown_at(step)
        batch, view = loader(step), loader.views[index]
        assert factor == QUARTERS.factor(step)
        whole, _ = photograph(view, view.camera.width, view.camera.height)
        camera = shrunk(loader.cameras[index], factor)
        expected, _ = averaged(whole, None, camera.width, camera.height)
        assert np.array_equal(batch.pixels.numpy(), expected)
        assert (batch.camera.width, batch.camera.height) == (camera.width, camera.height)
        assert torch.equal(batch.camera.K, camera.K)
        assert batch.shrink == scenes.WIDTH / camera.width
    assert loader.batch(2).pixels.shape == (scenes.HEIGHT, scenes.WIDTH, 3)


@pytest.mark.parametrize("budget", [0, 5 * scenes.WIDTH * scenes.HEIGHT, 1 << 30])
def test_a_small_batch_is_a_function_of_the_step(loader: Loader, budget: int) -> None:
    expected = [loader(step).pixels for step in range(36)]
    with closing(
        Loader(loader.views, frame=UNMOVED, seed=3, budget_bytes=budget, workers=2)
    ) as other:
        other.sizes = QUARTERS
        for step in (*range(36), 25, 3, 11, 3, 35, 0):
            assert torch.equal(other(step).pixels, expected[step])
            assert other.bytes_held() <= budget


def test_bytes_needed_count_the_largest_small_size_and_it_is_let_go(loader: Loader) -> None:
    whole = 9 * 3 * scenes.WIDTH * scenes.HEIGHT
    for step in range(18):
        loader(step)
    assert loader.bytes_held() == loader.bytes_needed() == whole + whole // 4
    loader(18)
    assert loader.bytes_held() == whole


def test_a_small_pixel_counts_where_all_below_it_count() -> None:
    pixels, counts = np.zeros((4, 6, 3), np.uint8), np.ones((4, 6), np.uint8)
    counts[0, 3] = 0
    _, small = averaged(pixels, counts, 3, 2)
    assert small is not None and small.tolist() == [[1, 0, 1], [1, 1, 1]]


def test_the_plan_counts_fewer_pixels_and_the_small_photos(tiny_folder: Path) -> None:
    views, device = api.load(tiny_folder).train, torch.device("cpu")
    options = predict.with_device_defaults(
        Options(steps=500, max_side=0, cache=1 << 30, threads=1), device
    )
    full = predict.predict(views, options, device, 500, 1000)
    dash = Sizes(500, dash_phases(np.linspace(0, 1, 1025)))
    smaller = predict.predict(views, options, device, 500, 1000, dash)
    assert smaller.seconds < full.seconds
    assert smaller.photos == pytest.approx(1.5 * full.photos)


def test_a_fitted_schedule_takes_the_default_and_a_published_one_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predict, "DEFAULT_RESOLUTION", "warm-up")
    device = torch.device("cpu")
    assert predict.with_device_defaults(Options(), device).resolution == "warm-up"
    assert predict.with_device_defaults(Options(schedule="published"), device).resolution == "full"
    asked = Options(schedule="published", resolution="dash")
    assert predict.with_device_defaults(asked, device).resolution == "dash"


def options_of(kind: resolution.Resolution) -> Options:
    return Options(steps=60, max_side=0, schedule="published", resolution=kind, threads=2)


def trained(scene: SceneData, out: Path, kind: resolution.Resolution, stop_at: int = 0) -> None:
    api.train(
        scene,
        METHODS["adc_revised"],
        options_of(kind),
        out=out,
        watching=Watching(quiet=True, pictures=False),
        watchers=(at(stop_at, kill(signal.SIGTERM)),) if stop_at else (),
        lpips=None,
    )


def test_no_picture_is_smaller_than_32_pixels() -> None:
    kept = np.linspace(0, 1, 1025) ** 0.1  # nearly all of it is in the lowest frequencies
    assert dash_phases(kept)[0][1] == pytest.approx(8)
    assert dash_phases(kept, 300)[0][1] == pytest.approx(8)  # 37.5 pixels
    assert dash_phases(kept, 100)[0][1] == pytest.approx(2 * math.sqrt(2))  # 35.4; 4 would leave 25
    assert dash_phases(kept, 40) == ((0.0, 1.0),)


@pytest.mark.parametrize("kind", ["warm-up", "dash"])
def test_resume_is_exact_across_a_switch(
    tiny_folder: Path, tmp_path: Path, kind: resolution.Resolution
) -> None:
    scene = api.load(tiny_folder)
    trained(scene, tmp_path / "whole", kind)
    with pytest.raises(Stopped):
        trained(scene, tmp_path / "part", kind, stop_at=4)
    with closing(prepare(scene, METHODS["adc"], options_of(kind))) as job:
        assert job.photos.sizes.factor(4) > job.photos.sizes.factor(30) == 1
    api.resume(tmp_path / "part", lpips=None)
    first, second = (Folder(tmp_path / name).latest() for name in ("whole", "part"))
    assert checkpoint.load(first)["step"] == 60 and first.read_bytes() == second.read_bytes()
    # Figures and cameras are those of the whole photos.
    assert '"width": 96' in Folder(tmp_path / "whole").cameras.read_text()


def test_radii_are_compared_at_full_size(tiny_folder: Path) -> None:
    """What a small picture shows of a row counts as it would be in the whole one."""
    from splat.loop import advance

    strategy = replace(METHODS["adc_revised"], split_screen_px=60)
    assert isinstance(strategy, Adc)
    found = []
    for factor in (1.0, 2.0):
        options = replace(options_of("full"), ssim_weight=0.0)
        with closing(prepare(api.load(tiny_folder), strategy, options)) as job:
            job.photos.sizes = Sizes(60, ((0.0, factor),))
            advance(job.run)
            found.append(job.run.model.cloud.statistic(RADIUS).clone())
    large = (found[0] > 12) & (found[1] > 0)
    assert large.any()
    ratio = found[1][large] / found[0][large]
    assert 0.95 < ratio.median() < 1.15, "the low-pass filter alone is larger in a small picture"


def test_spread_takes_evenly_and_at_most_all() -> None:
    assert spread(9, 3) == [0, 3, 6] and spread(2, 5) == [0, 1] and spread(10, 4) == [0, 2, 5, 7]
