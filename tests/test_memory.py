"""What a run takes of memory, and `--memory`: what gives way for it, by numbers worked by hand."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from methods import METHODS

from splat import api
from splat.options import Options
from splat.photos.bulk import reduction
from splat.photos.photo import photograph
from splat.planning import memory, predict
from splat.planning.ladder import step_parts
from splat.planning.memory import photos_of
from splat.planning.memory_budget import LARGEST_SMALL, Ration, Wanted, ration_memory
from splat.runs.folder import Folder, read_config
from splat.strategies.mcmc import Mcmc
from splat.training import row_budget
from splat.types import Camera, Cut, Lens, SceneData, View

CPU = torch.device("cpu")
LIBRARIES = 64 << 20
PICTURE = 1600 * 1200
PASSING = 4 * (PICTURE * 3 * 3 // 2) + 4000 * 3000 * 4
"""Four pictures, each with one of half its area, and one photo of 12 megapixels that is decoded."""
LEFT = LIBRARIES + 80 * PICTURE + PASSING
"""What is taken without photos that are kept, and without Gaussians."""
ROW = 830 + 2070
"""Bytes of a Gaussian, and of what is done with it."""
ALL = 100 * PICTURE * 3 * 3 // 2
LEAST = 64 << 20
OPTIONS = Options(steps=1000, max_side=1600, threads=1, device="cpu")
WANTED = Wanted(start=20_000, cap=100_000)


def camera_of(width: int, height: int) -> Camera:
    K = torch.tensor([[0.9 * width, 0, width / 2], [0, 0.9 * width, height / 2], [0, 0, 1]])
    return Camera(torch.eye(4), K, width, height)


def scene_of(count: int = 100, held_out: int = 0) -> SceneData:
    """Photos that are not there: nothing is decoded."""
    camera = camera_of(4000, 3000)
    views = tuple(View(f"{i}.jpg", camera, Path(f"{i}.jpg")) for i in range(count + held_out))
    return SceneData(Path("scene"), "colmap", views[:count], views[count:], None)


@pytest.fixture(autouse=True)
def one_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "decoders", lambda: 1)


def within(size: float, wanted: Wanted = WANTED, **asked: Any) -> Ration:
    options = replace(OPTIONS, memory=int(size), **asked)
    return ration_memory(scene_of(), options, CPU, wanted, LIBRARIES)


def kinds(found: Ration) -> tuple[str, str]:
    return found.options.moments, found.options.harmonics


def test_nothing_gives_way_where_there_is_room() -> None:
    # All photos are kept, so none is on its way but the one that is decoded.
    needed = LIBRARIES + 80 * PICTURE + 4000 * 3000 * 4 + ALL + 100_000 * ROW
    found = within(needed)
    assert (found.options.cache, *kinds(found), found.cap) == (ALL, "float32", "auto", 0)
    found = within(needed - 1)
    assert found.options.cache == ALL - 4 * (PICTURE * 3 * 3 // 2) - 1


def test_photos_then_moments_then_harmonics_then_gaussians_give_way() -> None:
    rows = 100_000 * ROW
    found = within(LEFT + rows + LEAST)
    assert (found.options.cache, *kinds(found), found.cap) == (LEAST, "float32", "auto", 0)
    found = within(LEFT + rows + LEAST - 1)
    spared = 100_000 * 236
    assert (found.options.cache, *kinds(found)) == (LEAST + spared - 1, "bfloat16", "auto")
    found = within(LEFT + rows + LEAST - spared - 1)
    spared = 100_000 * 96
    assert (found.options.cache, *kinds(found)) == (LEAST + spared - 1, "bfloat16", "bfloat16")
    assert found.cap == 0
    found = within(LEFT + LEAST + 100_000 * (ROW - 236 - 96) - 1)
    # One Gaussian too many for 100,000: 99,999 in two digits. What is left over is the cache's.
    assert found.cap == 99_000 and kinds(found) == ("bfloat16", "bfloat16")
    assert found.options.cache == LEAST + 1000 * (ROW - 236 - 96) - 1
    assert "at most 99,000 Gaussians" in found.text


def test_what_was_asked_for_stays() -> None:
    size = LEFT + LEAST + 100_000 * ROW - 1
    assert kinds(within(size, moments="float32"))[0] == "float32"
    assert within(size, moments="float32", harmonics="float32").cap == 99_000
    assert kinds(within(size, moments="float32")) == ("float32", "bfloat16")
    found = within(size + 2 * LEAST, cache=3 * LEAST)
    assert found.options.cache == 3 * LEAST and kinds(found) == ("bfloat16", "auto")
    anchors = replace(WANTED, half_harmonics=False)
    assert kinds(within(LEFT + LEAST + 50_000_000, anchors)) == ("bfloat16", "auto")


def test_what_is_offloaded_gives_way_as_on_the_cpu() -> None:
    """Of a run on CUDA only that is in the machine's memory: 664 bytes a Gaussian, or 332."""
    away: dict[str, Any] = {"offload": True, "adam": "visible"}

    ending = memory.ending_bytes(100_000, 0, on_cpu=False)
    least = LIBRARIES + max(PASSING, ending) + LEAST

    def on_cuda(bytes_of_one: int, spare: int = 0, **more: Any) -> tuple[str, str]:
        size = least + 100_000 * bytes_of_one + spare
        options = replace(OPTIONS, memory=size, **away, **more)
        found = ration_memory(scene_of(), options, torch.device("cuda"), WANTED, LIBRARIES)
        assert not found.cap
        return kinds(found)

    assert on_cuda(664) == ("float32", "auto")
    assert on_cuda(664, -1) == on_cuda(664 - 236) == ("bfloat16", "auto")
    assert on_cuda(664 - 236, -1) == on_cuda(332) == ("bfloat16", "bfloat16")
    with pytest.raises(AssertionError):  # fewer Gaussians are allowed
        on_cuda(332, -1)
    with pytest.raises(AssertionError):  # gsplat draws no harmonics of 16 bits
        on_cuda(664 - 236, -1, renderer="gsplat")


def test_what_has_no_limit_gets_one() -> None:
    endless = Wanted(start=20_000, cap=0)
    found = within(LEFT + LEAST + 345_678 * ROW, endless)
    assert found.cap == 340_000 and kinds(found)[0] == "float32"
    constant = replace(endless, grows=False)
    assert within(LEFT + LEAST + 345_678 * ROW, constant).cap == 0


def test_what_cannot_be_is_said_with_what_would_be_needed() -> None:
    asked = replace(WANTED, cap_asked=True)
    with pytest.raises(ValueError, match=r"100,000 Gaussians on these photos take 627 MB at least"):
        within(400e6, asked)
    assert LEFT + LEAST + 100_000 * 2568 == pytest.approx(627e6, rel=2e-3)
    with pytest.raises(ValueError, match=r"memory is 200 MB; 1,000 Gaussians .* take 373 MB"):
        within(200e6)
    with pytest.raises(ValueError, match="memory is 0; expected 1 or more"):
        Options(memory=0)


@pytest.mark.parametrize("held_out", [0, 30])
@pytest.mark.parametrize("size", [4e8, 5e8, 7e8, 1e9, 1.25e9, 3e9])
def test_what_is_predicted_is_within_it(size: float, held_out: int) -> None:
    scene = scene_of(held_out=held_out)
    found = ration_memory(scene, replace(OPTIONS, memory=int(size)), CPU, WANTED, LIBRARIES)
    fitted = predict.with_device_defaults(found.options, CPU)
    rows = found.cap or WANTED.cap
    predicted = predict.predict(
        scene.train, fitted, CPU, min(rows, WANTED.start), rows, LARGEST_SMALL,
        held_out=scene.test, libraries=LIBRARIES,
    )  # fmt: skip
    assert predicted.total <= size + 1
    if size < 1.25e9:
        assert predicted.total > 0.85 * size  # and it is made use of


def test_the_photos_of_a_run_add_up() -> None:
    options = predict.with_device_defaults(replace(OPTIONS, cache=10 * PICTURE * 3), CPU)
    found = photos_of(scene_of().train, scene_of(0, 9).test, options)
    assert found.whole == 100 * PICTURE * 3 and found.everything == 109 * PICTURE * 3
    assert found.kept == 10 * PICTURE * 3 + 10 * PICTURE * 3 // 8
    assert found.passing == 4 * PICTURE * 3 + 4000 * 3000 * 4
    # A quarter of 12 megapixels is decoded, where that is enough; those held out are whole.
    reduced = replace(options, decoding="reduced")
    assert photos_of(scene_of().train, (), reduced).passing == 12 * PICTURE + 4 * 2000 * 1500
    aside = photos_of(scene_of().train, scene_of(0, 9).test, reduced)
    assert aside.passing == found.passing


def test_many_photos_are_decoded_no_larger_than_needed() -> None:
    assert not memory.reduces(OPTIONS, scene_of(333).train)
    assert memory.reduces(OPTIONS, scene_of(334).train)
    assert not memory.reduces(replace(OPTIONS, decoding="full"), scene_of(334).train)


def write_jpeg(path: Path, width: int, height: int) -> View:
    draw = np.random.default_rng(0)
    picture = np.full((height, width, 3), 128.0, np.float32)
    for level in range(1, 6):
        noise = draw.standard_normal((height >> level, width >> level, 3)).astype(np.float32)
        picture += 12 * cv2.resize(noise, (width, height))
    pixels = picture.clip(0, 255).astype(np.uint8)
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return View(path.name, camera_of(width, height), path)


@pytest.mark.parametrize(("size", "factor"), [((240, 160), 2), ((120, 80), 4), ((50, 30), 8)])
def test_a_jpeg_is_decoded_no_larger_than_needed(
    tmp_path: Path, size: tuple[int, int], factor: int
) -> None:
    view = write_jpeg(tmp_path / "a.jpg", 480, 320)
    bent = replace(view, lens=Lens("radial", (-0.1, 0.02)))
    for seen in (view, bent):
        assert reduction(seen, *size) == factor
        full, counts = photograph(seen, *size)
        small, counts_small = photograph(seen, *size, reduced=True)
        assert small.shape == full.shape and not np.array_equal(small, full)
        error = np.mean((small.astype(float) - full) ** 2)
        assert 10 * np.log10(255**2 / error) > 33
        if counts is not None and counts_small is not None:
            assert (counts != counts_small).mean() < 0.05


def test_where_it_would_not_fit_a_photo_is_decoded_whole(tmp_path: Path) -> None:
    odd, even = write_jpeg(tmp_path / "odd.jpg", 481, 320), write_jpeg(tmp_path / "b.jpg", 480, 320)
    cut = Cut((1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), (100.0, 100.0), (240.0, 160.0), (480, 320))
    others = (
        (odd, 240, 160),  # half a pixel would be left
        (even, 250, 160),  # smaller than what is wanted
        (replace(even, mask=tmp_path / "mask.png"), 240, 160),
        (replace(even, cut=cut), 240, 160),
    )
    assert [reduction(*other) for other in others] == [1, 1, 1, 1]
    assert reduction(even, 239, 160) == reduction(replace(even, mask=None), 240, 160) == 2
    # What is no JPEG is decoded as it is.
    png = replace(even, image=tmp_path / "c.png")
    cv2.imwrite(str(png.image), cv2.imread(str(even.image)))
    full, small = (photograph(png, 240, 160, reduced=reduced)[0] for reduced in (False, True))
    assert np.array_equal(full, small)
    # A photo of another size than its camera's is said of as ever.
    wrong = replace(even, camera=camera_of(960, 640))
    with pytest.raises(ValueError, match=r"is 480x320 pixels, its camera 960x640"):
        photograph(wrong, 240, 160, reduced=True)


def test_a_run_within_memory_keeps_what_was_chosen(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A resume, or the same run asked for by what was chosen, is the same to the byte."""
    monkeypatch.setattr(memory, "held", lambda: LIBRARIES)
    scene = api.load(tiny_folder)
    options = Options(steps=4, max_side=0, threads=1, device="cpu", seed=3)
    wanted = Wanted(start=500, cap=10**6, cap_asked=True)
    with pytest.raises(ValueError) as raised:
        ration_memory(scene, replace(options, memory=1), CPU, wanted)
    assert "1,000,000 Gaussians" in str(raised.value)
    strategy = Mcmc(cap=10**6)
    least = replace(options, memory=LIBRARIES + (224 << 20), moments="float32", harmonics="float32")
    with caplog.at_level(logging.INFO):
        first = api.train(scene, strategy, least, out=tmp_path / "a", lpips=None, cap_asked=False)
    [said] = [r.getMessage() for r in caplog.records if "memory    within" in r.getMessage()]
    config = read_config(Folder(tmp_path / "a").config)
    cap = config.method["fields"]["cap"]
    assert 1000 <= cap < 4000 and f"at most {cap:,} Gaussians" in said
    assert config.options.cache is not None and config.options.decoding == "full"
    second = api.train(scene, replace(strategy, cap=cap), options, lpips=None)
    for a, b in zip(vars(first.gaussians).values(), vars(second.gaussians).values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    with pytest.raises(ValueError, match=r"1,000,000 Gaussians .* at least"):
        api.train(scene, strategy, least, lpips=None)


def test_rows_of_anchors_are_counted_by_the_gaussians_they_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "held", lambda: LIBRARIES)
    options = replace(OPTIONS, memory=LEFT + LEAST + 50_000 * (ROW - 236))
    strategy, options = row_budget.within_memory(
        scene_of(), METHODS["scaffold"], options, CPU, cap_asked=False
    )
    assert strategy.cap * 5 <= 50_000
    assert options.harmonics == "auto"


def test_the_end_takes_longer_with_more_photos_held_out_and_a_set_that_is_refined() -> None:
    options = predict.with_device_defaults(OPTIONS, CPU)
    views = scene_of(9).train

    def end(held_out: int, refined: int = 0) -> float:
        return predict.predict(
            views,
            options,
            CPU,
            500,
            500,
            pace=predict.Pace(),
            held_out=views[:held_out],
            refined=refined,
        ).ending_seconds

    assert end(9) - end(5) == pytest.approx(4 * predict.FIGURE_SECONDS * PICTURE)
    step = sum(step_parts(CPU, PICTURE, 500, 1))
    assert end(5, refined=30) - end(5) == pytest.approx(30 * step)
