"""Photographs: depths and channels, alpha and masks, lenses, sizes, damage."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import scenes
import torch

from splat.photos.modes import MaskMode
from splat.photos.photo import photograph
from splat.types import Camera, Lens, View

RNG = np.random.default_rng(7)
WIDTH, HEIGHT = 12, 8
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
BACKGROUND = (0.2, 0.4, 1.0)


def view_of(path: Path, image: npt.NDArray[Any], **options: Any) -> View:
    scenes.write_picture(path, image)
    height, width = image.shape[:2]
    K = torch.tensor([[10.0, 0, width / 2], [0, 10, height / 2], [0, 0, 1]])
    return View(path.name, Camera(torch.eye(4), K, width, height), path, **options)


def full(view: View, masks: MaskMode = "auto") -> tuple[Any, Any]:
    return photograph(view, view.camera.width, view.camera.height, BACKGROUND, masks)


def test_eight_bits_pass_unchanged(tmp_path: Path) -> None:
    pixels, mask = full(view_of(tmp_path / "a.png", RGB))
    assert np.array_equal(pixels, RGB) and mask is None
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous


def test_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    deep = RGB.astype(np.uint16) * 257
    for shift in (-128, 0, 128):
        moved = np.clip(deep.astype(int) + shift, 0, 65535).astype(np.uint16)
        pixels, _ = full(view_of(tmp_path / "a.png", moved))
        assert np.array_equal(pixels, RGB)


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    pixels, _ = full(view_of(tmp_path / "a.png", RGB[:, :, 0]))
    assert np.array_equal(pixels, RGB[:, :, :1].repeat(3, 2))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_shows_the_background(tmp_path: Path, dtype: type) -> None:
    alpha = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
    stored = np.dstack([RGB, alpha]).astype(dtype) * (257 if dtype is np.uint16 else 1)
    pixels, mask = full(view_of(tmp_path / "a.png", stored))
    weight = alpha / 255
    expected = RGB * weight + 255 * np.array(BACKGROUND) * (1 - weight)
    assert np.abs(pixels - expected).max() <= 0.5 + 1e-3
    assert mask is None


def test_alpha_may_be_ignored_instead(tmp_path: Path) -> None:
    alpha = np.where(np.arange(WIDTH) < 4, 127, 128).astype(np.uint8) + np.zeros(
        (HEIGHT, 1), np.uint8
    )
    pixels, mask = full(view_of(tmp_path / "a.png", np.dstack([RGB, alpha])), "ignore")
    assert np.array_equal(pixels, RGB)
    assert np.array_equal(mask, (alpha >= 128).astype(np.uint8))


COUNTS = np.zeros((HEIGHT, WIDTH), bool)
COUNTS[2:6, 3:9] = True
MASKS = {
    "grey": np.where(COUNTS, 255, 0).astype(np.uint8),
    "ones": COUNTS.astype(np.uint8),
    "deep": COUNTS.astype(np.uint16) * 300,
    "colour": np.dstack([COUNTS * 0, COUNTS * 0, COUNTS * 9]).astype(np.uint8),
    "cut-out": np.dstack([COUNTS * 0 + 255] * 3 + [COUNTS * 255]).astype(np.uint8),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_any_depth(tmp_path: Path, kind: str) -> None:
    scenes.write_picture(tmp_path / "mask.png", MASKS[kind])
    view = view_of(tmp_path / "a.png", RGB, mask=tmp_path / "mask.png")
    for mode in ("auto", "ignore"):
        pixels, mask = full(view, mode)
        assert np.array_equal(pixels, RGB) and np.array_equal(mask, COUNTS.astype(np.uint8))
    pixels, mask = full(view, "transparent")
    behind = np.rint(255 * np.array(BACKGROUND)).astype(np.uint8)
    assert mask is None and np.array_equal(pixels, np.where(COUNTS[:, :, None], RGB, behind))


def test_a_bilevel_mask(tmp_path: Path) -> None:
    """One bit a pixel, as image editors save a mask."""
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in COUNTS)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, chunks)))
    _, mask = full(view_of(tmp_path / "a.png", RGB, mask=tmp_path / "mask.png"))
    assert np.array_equal(mask, COUNTS.astype(np.uint8))


def chunk(item: tuple[bytes, bytes]) -> bytes:
    name, body = item
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_a_mask_that_leaves_nothing_out_is_none(tmp_path: Path) -> None:
    scenes.write_picture(tmp_path / "mask.png", np.ones((HEIGHT, WIDTH), np.uint8))
    assert full(view_of(tmp_path / "a.png", RGB, mask=tmp_path / "mask.png"))[1] is None


def test_shrinking_averages_areas(tmp_path: Path) -> None:
    scenes.write_picture(tmp_path / "mask.png", MASKS["grey"])
    view = view_of(tmp_path / "a.png", RGB, mask=tmp_path / "mask.png")
    pixels, mask = photograph(view, WIDTH // 2, HEIGHT // 2)
    blocks = RGB.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    assert np.abs(pixels - blocks).max() <= 0.5
    # Columns 2-3 and 8-9 are masked in part: they do not count.
    expected = np.zeros((4, 6), np.uint8)
    expected[1:3, 2:4] = 1
    assert np.array_equal(mask, expected)


def test_what_the_lens_never_saw_does_not_count(tmp_path: Path) -> None:
    """With k1 > 0 the corners of the pinhole picture lie outside the photo."""
    view = view_of(tmp_path / "a.png", np.full((80, 96, 3), 200, np.uint8))
    bent = replace(view, lens=Lens("radial", (0.02,)))
    pixels, mask = full(bent)
    assert mask is not None and mask[0, 0] == 0 and mask[40, 48] == 1
    assert (pixels[mask == 1] == 200).all()
    x, y = (0.5 - 48) / 10, (0.5 - 40) / 10
    assert 10 * x * (1 + 0.02 * (x * x + y * y)) + 48 < 0
    assert full(replace(view, lens=Lens("fisheye", ())))[1] is None


def test_a_lens_that_folds_back_shows_nothing_twice(tmp_path: Path) -> None:
    view = view_of(tmp_path / "a.png", np.full((80, 96, 3), 200, np.uint8))
    _, mask = full(replace(view, lens=Lens("radial", (-0.05,))))
    rows, columns = np.mgrid[:80, :96] + 0.5
    radius = np.hypot(columns - 48, rows - 40) / 10
    fold = 1 / np.sqrt(0.15)
    assert mask is not None and mask[radius > fold + 0.02].max() == 0
    assert mask[radius < fold - 0.02].min() == 1


def test_masks_are_bent_with_the_photo(tmp_path: Path) -> None:
    """A mask equal to a channel of the photo stays so."""
    lens = Lens("radial", (0.1, 0.02, 3e-3, -5e-3))
    bright = np.dstack([scenes.dot(30, 20 + 20 * i, 8) for i in range(3)])
    blocky = np.where(bright > 100, 255, 0).astype(np.uint8)
    scenes.write_picture(tmp_path / "mask.png", blocky[:, :, 1])
    view = view_of(tmp_path / "a.png", blocky, mask=tmp_path / "mask.png", lens=lens)
    pixels, mask = full(view)
    assert mask is not None and mask.sum() > 100
    assert (pixels[:, :, 1][mask == 1] == 255).all()
    assert (pixels[:, :, 1][mask == 0] < 255).all()


def test_stored_pixels_are_not_turned(tmp_path: Path) -> None:
    """EXIF may ask for a quarter turn; poses belong to the pixels as they are stored."""
    _, data = cv2.imencode(".jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    tag = struct.pack("<2sHIHHHIIIH", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    body = b"Exif\0\0" + tag
    exif = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    view = view_of(tmp_path / "a.jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    raw = data.tobytes()
    view.image.write_bytes(raw[:2] + exif + raw[2:])
    assert cv2.imread(str(view.image)).shape[:2] == (WIDTH, HEIGHT), "OpenCV would turn it"
    assert full(view)[0].shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_truncated_photo_is_an_error_not_grey(tmp_path: Path, name: str) -> None:
    large = RNG.integers(0, 256, (200, 300, 3), np.uint8)
    view = view_of(tmp_path / name, large)
    whole = view.image.read_bytes()
    full(view)
    for length in (0, 1, 9, 700, len(whole) // 2, len(whole) - 13):
        view.image.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{name}: cannot be decoded to its end; expected"):
            full(view)


def test_a_photo_changed_since_the_scene_was_read(tmp_path: Path) -> None:
    view = view_of(tmp_path / "a.png", RGB)
    scenes.write_picture(view.image, RGB[:4])
    with pytest.raises(ValueError, match="is 12x4 pixels, its camera 12x8"):
        full(view)


def test_a_float_picture_is_refused(tmp_path: Path) -> None:
    view = view_of(tmp_path / "a.tiff", RGB.astype(np.float32))
    with pytest.raises(ValueError, match="pixels are float32; expected 8 or 16 bits"):
        full(view)


def test_a_colour_profile_is_dropped_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view = view_of(tmp_path / "a.png", RGB[:, :, 0])
    raw = view.image.read_bytes()
    end = raw.index(b"IHDR") + 4 + 13 + 4
    profile = chunk((b"iCCP", b"ICC Profile\0\0" + zlib.compress(bytes(200))))
    view.image.write_bytes(raw[:end] + profile + raw[end:])
    assert cv2.imread(str(view.image)) is not None
    assert "libpng warning" in capfd.readouterr().err, "else this test shows nothing"
    assert np.array_equal(full(view)[0][:, :, 0], RGB[:, :, 0])
    assert capfd.readouterr().err == ""
