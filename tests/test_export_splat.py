"""The .splat and the .ksplat: bytes worked out by hand, files of others, bad files."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import assert_refused, matched, some, turned_by

from splat import formats
from splat.types import Drawing, Gaussians

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "splats"
C0 = 0.28209479177387814


def data(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"needs ../shared/data/splats/{name}")
    return DATA / name


# .splat


def test_splat_bytes_by_hand(tmp_path: Path) -> None:
    rgb = torch.tensor([[0.25, 0.5, 0.75], [-1.0, 0.999, 2.0], [0, 0, 0]])
    given = Gaussians(
        means=torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]),
        quats=torch.tensor([[1.0, 0, 0, 0], [0.6, 0, -0.8, 0], [-2, 0, 0, 0]]),
        scales=torch.tensor([[0.5, 0.5, 0.5], [1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]),
        opacities=torch.tensor([1.0, 0.25, 0.0]),
        colors=torch.cat([((rgb - 0.5) / C0)[:, None], torch.ones(3, 15, 3)], 1),
        sh_degree=3,
    )
    formats.write(given, tmp_path / "a.splat", drawing=Drawing(True))
    # Size times opacity: 0.125, 2 and 0. Bytes are rounded: 63.75, 127.5 and 191.25; 254.745.
    expected = struct.pack("<6f8B", 4, 5, 6, 1, 2, 4, 0, 255, 255, 64, 205, 128, 26, 128)
    expected += struct.pack("<6f8B", 1, 2, 3, *[0.5] * 3, 64, 128, 191, 255, 255, 128, 128, 128)
    expected += struct.pack("<6f8B", 7, 8, 9, 1, 1, 1, 0, 0, 0, 0, 0, 128, 128, 128)
    assert (tmp_path / "a.splat").read_bytes() == expected
    assert formats.size_of(3, 3, ".splat") == len(expected)
    assert formats.drawing(tmp_path / "a.splat") == Drawing()
    found = formats.read(tmp_path / "a.splat")
    close = torch.testing.assert_close
    close(found.opacities, torch.tensor([64 / 255, 1, 0]))
    close(found.colors[1, 0] * C0 + 0.5, torch.tensor([64, 128, 191]) / 255)
    close(found.quats, torch.tensor([[77 / 128, 0, -102 / 128, 0], [1, 0, 0, 0], [-1, 0, 0, 0]]),
          rtol=0, atol=2e-3)  # fmt: skip
    assert found.sh_degree == 0 and found.colors.shape == (3, 1, 3)


def test_splat_is_in_falling_order(tmp_path: Path) -> None:
    given = some(500)
    formats.write(given, tmp_path / "a.splat")
    found = formats.read(tmp_path / "a.splat")
    like = given.take(torch.cdist(found.means, given.means).argmin(1))
    weight = like.scales.prod(1) * like.opacities
    assert (weight.diff() <= 1e-6 * weight[:-1]).all()


def test_splat_agrees_with_gsplat(tmp_path: Path) -> None:
    """Its bytes are cut off, ours are rounded, so they are at most one apart."""
    exporter = pytest.importorskip("gsplat.exporter")
    given = some(300, degree=0)
    given = replace(given, quats=torch.nn.functional.normalize(given.quats, dim=1))
    bytes_of = exporter.export_splats(
        means=given.means,
        scales=given.scales.log(),
        quats=given.quats,
        opacities=given.opacities.logit(),
        sh0=given.colors,
        shN=given.colors[:, 1:],
        format="splat",
    )
    (tmp_path / "gsplat.splat").write_bytes(bytes_of)
    formats.write(given, tmp_path / "ours.splat")
    read = [formats.read(tmp_path / f"{name}.splat") for name in ("gsplat", "ours")]
    theirs, ours = (matched(found, given) for found in read)
    torch.testing.assert_close(ours.means, theirs.means, rtol=0, atol=0)
    torch.testing.assert_close(ours.scales, theirs.scales, rtol=1e-5, atol=0)
    assert (ours.opacities - theirs.opacities).abs().max() < 1.01 / 255
    assert (ours.colors - theirs.colors).abs().max() < 1.01 / 255 / C0
    assert turned_by(ours.quats, theirs.quats).max() < 1.8
    error = [turned_by(found.quats, given.quats).mean() for found in (theirs, ours)]
    assert error[1] < 0.8 * error[0]


def test_splat_quantiser_takes_plain_colours(tmp_path: Path) -> None:
    given = some(50, degree=0)
    plain = replace(given, colors=given.colors[:, 0] * C0 + 0.5, sh_degree=None)
    found = formats.quantiser(".splat", plain)(plain)
    formats.write(plain, tmp_path / "a.splat")
    torch.testing.assert_close(
        matched(formats.read(tmp_path / "a.splat"), given).colors, found.colors
    )


@pytest.mark.parametrize(("length", "words"), [(0, "has 0 bytes"), (95, "has 95 bytes")])
def test_splat_of_a_wrong_length(tmp_path: Path, length: int, words: str) -> None:
    (tmp_path / "a.splat").write_bytes(b"\0" * length)
    with pytest.raises(ValueError, match=rf"a\.splat {words}, expected 32 for each Gaussian"):
        formats.read(tmp_path / "a.splat")


def test_splat_of_others() -> None:
    found = formats.read(data("plant.splat"))
    raw = np.fromfile(data("plant.splat"), np.uint8).reshape(-1, 32)
    assert len(found) == len(raw) == 113_648
    assert np.allclose(found.opacities.numpy() * 255, raw[:, 27])
    assert (found.means.numpy() == raw[:, :12].copy().view("<f4")).all()


def test_the_same_scene_in_both_formats() -> None:
    one, other = formats.read(data("minimal.splat")), formats.read(data("minimal.ksplat"))
    for field in ("means", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(one, field), getattr(other, field))
    assert turned_by(one.quats, other.quats).max() < 0.1


# .ksplat


class Section:
    """A section of a .ksplat as its writer packs it, from lists of values."""

    def __init__(self, given: Gaussians, level: int, buckets: Sequence[int], size: int) -> None:
        self.given, self.level = given, level
        self.full = sum(count == size for count in buckets)
        self.partial = list(buckets[self.full :])
        self.size = size
        self.of = np.repeat(np.arange(len(buckets)), buckets)
        self.centres = np.array([given.means[self.of == b].mean(0).numpy() for b in
                                 range(len(buckets))], np.float32)  # fmt: skip

    def head(self, room: int) -> bytes:
        block, reach = (0.0, 0) if self.level == 0 else (40.0, 32767)
        fields = (len(self.given), room, self.size, len(self.centres), block, 12, reach, 0)
        degree = self.given.sh_degree
        head = struct.pack("<4IfH2x4IH", *fields, self.full, len(self.partial), degree)
        return head.ljust(1024, b"\0")

    def body(self, room: int) -> bytes:
        rows = [self.row(i) for i in range(len(self.given))]
        rows += [b"\0" * len(rows[0])] * (room - len(rows))
        lengths = np.array(self.partial, "<u4").tobytes()
        return lengths + self.centres.astype("<f4").tobytes() + b"".join(rows)

    def row(self, i: int) -> bytes:
        given, real = self.given, "f" if self.level == 0 else "e"
        if self.level == 0:
            mean = struct.pack("<3f", *given.means[i])
        else:
            offset = (given.means[i].numpy() - self.centres[self.of[i]]) * 32767 / 20
            mean = struct.pack("<3H", *np.round(offset + 32767).astype(int))
        shape = struct.pack(f"<7{real}", *given.scales[i], *given.quats[i])
        rgba = [*(given.colors[i, 0] * C0 + 0.5), given.opacities[i]]
        rest: list[float] = []
        for band in range(1, given.sh_degree + 1):
            for channel in range(3):
                rest += given.colors[i, band * band : (band + 1) ** 2, channel].tolist()
        if self.level == 2:
            coded = bytes(round((value + 2) / 4 * 255) for value in rest)
        else:
            coded = struct.pack(f"<{len(rest)}{real}", *rest)
        return mean + shape + bytes(round(float(value) * 255) for value in rgba) + coded


def ksplat(sections: Sequence[Section], room: int = 0, version: int = 1) -> bytes:
    n = sum(len(section.given) for section in sections)
    head = struct.pack("<BB2x4IH", 0, version, len(sections), 0, 0, n, sections[0].level)
    head = head.ljust(36, b"\0") + struct.pack("<2f", -2, 2)
    rooms = [max(room, len(section.given)) for section in sections]
    parts = [head.ljust(4096, b"\0")]
    parts += [section.head(most) for section, most in zip(sections, rooms, strict=True)]
    return b"".join(parts + [s.body(most) for s, most in zip(sections, rooms, strict=True)])


def upright(n: int, degree: int, seed: int = 0) -> Gaussians:
    given = some(n, degree, seed)
    # Every coefficient of every channel has a value of its own.
    k = (degree + 1) ** 2
    rest = torch.linspace(-1.9, 1.9, 3 * (k - 1)).reshape(1, k - 1, 3).expand(n, -1, -1)
    quats = torch.nn.functional.normalize(given.quats, dim=1)
    return replace(given, colors=torch.cat([given.colors[:, :1], rest], 1), quats=quats)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_ksplat_of_every_level(tmp_path: Path, level: int, degree: int) -> None:
    given = upright(20, degree)
    section = Section(given, level, (8, 8, 3, 1), 8)
    record = {0: (44, 80, 140), 1: (24, 42, 72), 2: (24, 33, 48)}[level][degree]
    assert len(section.row(0)) == record
    (tmp_path / "a.ksplat").write_bytes(ksplat([section]))
    found = formats.read(tmp_path / "a.ksplat")
    half = 0 if level == 0 else 1e-3
    assert found.sh_degree == degree and found.colors.shape == given.colors.shape
    torch.testing.assert_close(found.means, given.means, rtol=0, atol=0 if level == 0 else 4e-4)
    torch.testing.assert_close(found.scales, given.scales, rtol=half, atol=0)
    assert (found.opacities - given.opacities).abs().max() <= 0.501 / 255
    assert turned_by(found.quats, given.quats).max() < (0.1 if level else 1e-3)
    colors = (found.colors - given.colors).abs()
    assert colors[:, 0].max() <= 0.501 / 255 / C0
    if degree:
        assert colors[:, 1:].max() <= (0, 1e-3, 0.501 * 4 / 255)[level]
    assert formats.drawing(tmp_path / "a.ksplat") == Drawing()


def test_ksplat_of_several_sections(tmp_path: Path) -> None:
    """With room for more Gaussians than there are, and harmonics of different degrees."""
    parts = [upright(5, 2, 1), upright(3, 0, 2), upright(9, 1, 3)]
    sections = [Section(parts[0], 1, (5,), 5), Section(parts[1], 1, (2, 1), 9),
                Section(parts[2], 1, (4, 4, 1), 4)]  # fmt: skip
    (tmp_path / "a.ksplat").write_bytes(ksplat(sections, room=11))
    found = formats.read(tmp_path / "a.ksplat")
    assert len(found) == 17 and found.sh_degree == 2
    means = torch.cat([part.means for part in parts])
    torch.testing.assert_close(found.means, means, rtol=0, atol=4e-4)
    torch.testing.assert_close(found.colors[8:, 1:4], parts[2].colors[:, 1:], rtol=0, atol=1e-3)
    assert (found.colors[5:8, 1:] == 0).all() and (found.colors[8:, 4:] == 0).all()


def test_ksplat_that_does_not_say_its_ranges(tmp_path: Path) -> None:
    given = upright(4, 1)
    data = bytearray(ksplat([Section(given, 2, (4,), 4)]))
    data[36:44] = bytes(8)
    data[4096 + 24 : 4096 + 28] = bytes(4)
    (tmp_path / "a.ksplat").write_bytes(data)
    found = formats.read(tmp_path / "a.ksplat")
    torch.testing.assert_close(found.means, given.means, rtol=0, atol=4e-4)
    # The bytes were made for -2 to 2.
    expected = given.colors[:, 1:] * 0.75
    torch.testing.assert_close(found.colors[:, 1:], expected, rtol=0, atol=0.501 * 3 / 255)


def test_ksplat_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read only"):
        formats.write(some(3), tmp_path / "a.ksplat")


def bad_ksplats() -> dict[str, tuple[bytes, str]]:
    section = Section(upright(20, 1), 2, (8, 8, 3, 1), 8)
    good = ksplat([section])

    def changed(at: int, value: int) -> bytes:
        return good[:at] + struct.pack("<I", value) + good[at + 4 :]

    most = 0xFFFFFFFF
    return {
        "empty": (b"", "has 0 bytes, expected a header"),
        "version": (ksplat([section], version=2), "version 0.2 and level 2"),
        "level": (changed(20, 3), "level 3"),
        "cut off": (good[:-1], "is cut off"),
        "sections cut off": (good[:5000], "for 1 sections"),
        "sections": (changed(4, most), f"for {most} sections"),
        "total": (changed(16, 21), "has 20 Gaussians in its sections, expected 21"),
        "count": (changed(4096, 21), "21 Gaussians in room for 20"),
        "huge count": (changed(4096, most)[:4100] + b"\xff" * 4 + good[4104:], "is cut off"),
        "buckets": (changed(4096 + 12, most), "is cut off"),
        "partial": (changed(4096 + 36, most), "is cut off"),
        "lengths": (changed(5120 + 4, 0), "outside its 4 buckets"),
        "degree": (changed(4096 + 40, 3), "degree 3"),
    }


def test_bad_ksplats_say_what_is_wrong(tmp_path: Path) -> None:
    for what, (content, words) in bad_ksplats().items():
        path = tmp_path / "bad.ksplat"
        path.write_bytes(content)
        assert_refused(path, words, what)
