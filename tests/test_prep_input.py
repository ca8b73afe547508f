"""What `splat prep` reads: EXIF, orientation, HEIC, videos, and pictures that are no good."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import textured
from PIL import Image
from test_prep import TURNED, save, write_video

from splat.prep.gather import check_enough, gather
from splat.prep.options import PrepOptions
from splat.prep.photos import import_photo
from splat.prep.quality import same, sharpness, thumbnail
from splat.prep.video import pick_frames
from splat.system.foreign import Broken


@cache
def picture(number: int = 0) -> np.ndarray:
    return textured.picture(textured.eyes(8)[number])


def quiet(done: int, total: int) -> None:
    assert 0 < done and done <= total


@pytest.mark.parametrize("orientation", list(TURNED))
def test_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    source = save(tmp_path / "a.jpg", picture(), orientation)
    photo, _ = import_photo(source, tmp_path / "out/a.jpg")
    assert (photo.width, photo.height, photo.turned) == (320, 240, orientation != 1)
    with Image.open(tmp_path / "out/a.jpg") as image:
        assert image.size == (320, 240) and image.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(image).astype(float) - picture()).mean() < 4
    again, _ = import_photo(tmp_path / "out/a.jpg", tmp_path / "out/b.jpg")
    assert not again.turned
    assert (tmp_path / "out/b.jpg").read_bytes() == (tmp_path / "out/a.jpg").read_bytes()


def test_what_exif_says(tmp_path: Path) -> None:
    gps = {1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 36.0), 5: b"\x01", 6: 12.5}
    tags = {"0xA405": 28, "0x829A": 1 / 125, "0x829D": 2.0, "0x8827": 200}
    source = save(tmp_path / "a.jpg", picture(), gps=gps, **tags)
    photo, _ = import_photo(source, tmp_path / "out.jpg")
    assert photo.camera == "Maker Model 1"
    assert photo.focal == pytest.approx(28 / math.hypot(36, 24) * 400)
    assert photo.latitude == pytest.approx(-(33 + 51 / 60 + 30 / 3600))
    assert photo.longitude == pytest.approx(151.21)
    assert photo.altitude == pytest.approx(-12.5)
    assert photo.ev == pytest.approx(math.log2(4 * 125) - 1, abs=1e-3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic(tmp_path: Path, orientation: int) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    with Image.open(save(tmp_path / "a.jpg", picture(), orientation, **{"0xA405": 28})) as image:
        image.save(tmp_path / "a.heic", quality=95)
    photo, grey = import_photo(tmp_path / "a.heic", tmp_path / "b.jpg")
    assert (photo.width, photo.height) == (320, 240) and photo.focal_35mm == 28
    shown = cv2.imread(str(tmp_path / "b.jpg"), cv2.IMREAD_GRAYSCALE).astype(float)
    # HEIC has colours at half the resolution.
    assert np.abs(shown - cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)).mean() < 4
    assert grey.shape == (240, 320)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16", "CMYK"])
def test_kinds_of_pictures(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.quantize(256) if mode == "P" else image.convert(mode)
    name = "a.jpg" if mode == "CMYK" else "a.png"
    image.save(tmp_path / name)
    _, grey = import_photo(tmp_path / name, tmp_path / "out" / name)
    expected = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY).astype(float)
    assert np.abs(grey - expected).mean() < 12
    assert cv2.imread(str(tmp_path / "out" / name)).shape == (240, 320, 3)


def test_what_cannot_be_decoded(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.jpg", picture()).read_bytes()
    for name, content in (("b.jpg", whole[: len(whole) // 2]), ("c.jpg", b"text"), ("d.png", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Broken):
            import_photo(tmp_path / name, tmp_path / "out" / name)
        assert not (tmp_path / "out" / name).exists()
    found = gather(tmp_path, tmp_path / "images", tmp_path / "j", PrepOptions(), quiet)
    with pytest.raises(ValueError, match=r"1 different .*3 cannot be read, the first b.jpg: "):
        check_enough(tmp_path, found)


def test_the_same_and_the_nearly_same(tmp_path: Path) -> None:
    grey = cv2.cvtColor(picture(), cv2.COLOR_RGB2GRAY)
    worse = cv2.imdecode(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1], 0)
    moved = cv2.warpAffine(grey, np.float64([[1, 0, 1.5], [0, 1, 0]]), (320, 240))
    small = thumbnail(np.asarray(grey, np.uint8))
    assert same(thumbnail(np.asarray(worse, np.uint8)), [small]) == 0
    assert same(thumbnail(np.asarray(moved, np.uint8)), [small]) is None
    blurred = cv2.GaussianBlur(grey, None, 3)
    assert sharpness(np.asarray(blurred, np.uint8)) < 0.1 * sharpness(np.asarray(grey, np.uint8))


def test_names_in_the_scene(tmp_path: Path) -> None:
    for i, name in enumerate(("a b.jpg", "a.jpg", "a.webp", "sub/a.bmp", ".hidden/x.jpg")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(tmp_path / "in" / name)
    found = gather(tmp_path / "in", tmp_path / "images", tmp_path / "journal", PrepOptions(), quiet)
    names = [photo.name for photo in found.photos]
    assert names == ["a_b.jpg", "a.jpg", "a.webp.jpg", "sub/a.png"]
    assert all((tmp_path / "images" / name).is_file() for name in names)


def test_the_sharpest_frames_evenly(tmp_path: Path) -> None:
    """Of 48 frames in 8 spans of 6, one of each is sharp: at another place in each span."""
    frames = [cv2.GaussianBlur(picture(i // 6), None, 2 + i % 3) for i in range(48)]
    sharp = [6 * i + (5 * i) % 6 for i in range(8)]
    for number in sharp:
        frames[number] = picture(number // 6)
    write_video(tmp_path / "v.mp4", frames)
    found = pick_frames(tmp_path / "v.mp4", tmp_path / "out", 8, None, quiet)
    assert [round(10 * (photo.time or 0)) for photo in found.photos] == sharp
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        f"frame_{i:05d}.jpg" for i in range(1, 9)
    ]
    every = pick_frames(tmp_path / "v.mp4", tmp_path / "every", 150, 1.2, quiet)
    # Of 12 frames every second one is judged.
    assert [round(10 * (photo.time or 0)) for photo in every.photos] == [0, 16, 26, 36]


def test_videos_that_are_no_good(tmp_path: Path) -> None:
    write_video(tmp_path / "still.mp4", [picture()] * 30)
    found = gather(
        tmp_path / "still.mp4", tmp_path / "a", tmp_path / "j", PrepOptions(frames=6), quiet
    )
    assert len(found.photos) == 1 and "stands still" in found.notes[0]
    with pytest.raises(ValueError, match="expected at least 3"):
        check_enough(tmp_path / "still.mp4", found)
    whole = (tmp_path / "still.mp4").read_bytes()
    for content in (b"", b"text" * 100, whole[: len(whole) // 2]):
        (tmp_path / "bad.mp4").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.mp4: cannot be opened|bad.mp4: holds no frame"):
            pick_frames(tmp_path / "bad.mp4", tmp_path / "b", 6, None, quiet)
    with pytest.raises(ValueError, match="every is 0"):
        PrepOptions(every=0)
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(ValueError, match="neither a folder of photos nor a video"):
        gather(tmp_path / "text.txt", tmp_path / "c", tmp_path / "j2", PrepOptions(), quiet)
