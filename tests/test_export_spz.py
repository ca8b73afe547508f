"""The .spz: bytes worked out by hand, errors of at most half a step, axes, and broken files."""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zstandard
from formats import assert_refused, turned_by
from scipy.spatial import cKDTree
from torch.nn.functional import normalize

from splat import formats
from splat.formats import spz, spz_container
from splat.formats.order import spatial_order
from splat.formats.settings import Settings
from splat.kernels.harmonics import basis
from splat.math import covariances
from splat.render.native import NativeRenderer
from splat.types import Camera, Drawing, Gaussians

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "splats"
VERSIONS = (2, 3, 4)
FLIP = torch.tensor([1.0, -1.0, -1.0])
AXES = 0xADBE0003


def some(n: int = 300, degree: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians whose every value is within the ranges of the format."""
    draw = torch.Generator().manual_seed(seed)
    return Gaussians(
        means=torch.randn(n, 3, generator=draw) * 10,
        quats=torch.randn(n, 4, generator=draw),
        scales=(torch.rand(n, 3, generator=draw) * 15 - 9.5).exp(),
        opacities=torch.rand(n, generator=draw),
        colors=torch.rand(n, (degree + 1) ** 2, 3, generator=draw) * 1.8 - 0.9,
        sh_degree=degree,
    )


def one() -> Gaussians:
    sh = torch.zeros(1, 9, 3)
    sh[0, :5] = torch.tensor(
        [[0, 1, -1], [0.5, -0.5, 0.25], [0.01, -0.01, 0], [2, -2, 0.0625], [0.1, 0.2, -0.1]]
    )
    return Gaussians(
        means=torch.tensor([[1 + 1 / 8192, -2 - 1 / 8192, 0.25]]),
        quats=torch.tensor([[8.0, 2, -10, 1]]),
        scales=torch.tensor([[1, math.exp(-10), math.exp(-2)]]),
        opacities=torch.tensor([0.2]),
        colors=sh,
        sh_degree=2,
    )


def streams(version: int) -> list[bytes]:
    """Those of `one`, by hand."""
    return [
        bytes.fromhex(each)
        for each in (
            "011000 ffdfff 000400",  # 4096 x, in 24 bits, away from 0 at halves
            "33",  # 255 x
            "80a659",  # 38.25 x + 127.5
            "a00080",  # 16 (ln x + 10)
            # x, y and z as 127.5 x + 127.5. Later: y is the largest, 1 in 2 bits, and negative, so
            # x, z and w are, as signs with 511 sqrt(2) / 13 times 2, 1 and 8: 111, 56 and 445.
            "931d89" if version == 2 else "bde3f866",
            # 128 x + 128, the first three rounded to multiples of 8, the others of 16.
            "c040a0 808080 ff0088 90a070" + "808080" * 4,
        )
    ]


def header(version: int, n: int, degree: int, point: int = 12, flags: int = 0) -> bytes:
    return b"NGSP" + struct.pack("<IIBBBB", version, n, degree, point, flags, 0)


def save(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def framed(
    parts: list[bytes], n: int, degree: int, flags: int = 0, extensions: bytes = b""
) -> bytes:
    """A file of version 4."""
    frames = [zstandard.compress(part) for part in parts]
    start = header(4, n, degree, flags=flags)[:-1] + bytes([len(parts)])
    table = b"".join(struct.pack("<QQ", len(f), len(p)) for f, p in zip(frames, parts, strict=True))
    return (
        start + struct.pack("<I12x", 32 + len(extensions)) + extensions + table + b"".join(frames)
    )


def written(gaussians: Gaussians, path: Path, **chosen: object) -> Gaussians:
    spz.write(gaussians, path, settings=Settings(**chosen))  # type: ignore[arg-type]
    return spz.read(path)


def assert_equal(found: Gaussians, expected: Gaussians) -> None:
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert found.sh_degree == expected.sh_degree


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_of_one_gaussian(tmp_path: Path, version: int) -> None:
    path = tmp_path / "one.spz"
    settings = Settings(spz_version=version, spz_sh_bits=(5, 4))  # type: ignore[arg-type]
    formats.write(one(), path, drawing=Drawing(antialiased=True), settings=settings)
    data, parts = path.read_bytes(), streams(version)
    if version < 4:
        assert data[:10] == bytes.fromhex("1f8b08 00 00000000 00 ff")
        assert gzip.decompress(data) == header(version, 1, 2, flags=1) + b"".join(parts)
        return
    assert data[:32] == header(4, 1, 2, flags=1)[:-1] + b"\x06" + struct.pack("<I12x", 32)
    sizes = struct.unpack("<12Q", data[32:128])
    assert sizes[1::2] == (9, 1, 3, 3, 4, 24) and len(data) == 128 + sum(sizes[::2])
    at = 128
    for size, part in zip(sizes[::2], parts, strict=True):
        assert zstandard.decompress(data[at : at + size]) == part
        at += size


def test_streams_without_bytes_are_no_streams(tmp_path: Path) -> None:
    spz.write(some(5, 0), tmp_path / "a.spz", settings=Settings(spz_version=4))
    assert tmp_path.joinpath("a.spz").read_bytes()[15] == 5
    assert spz.read(tmp_path / "a.spz").sh_degree == 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_errors_are_at_most_half_a_step(tmp_path: Path, version: int, degree: int) -> None:
    gaussians = some(degree=degree)
    found = written(gaussians, tmp_path / "a.spz", spz_version=version)
    expected = gaussians.take(spatial_order(gaussians.means))
    slack = 1e-5

    def error(name: str) -> torch.Tensor:
        return (getattr(found, name) - getattr(expected, name)).abs()

    assert error("means").max() <= 1 / 8192 + slack
    assert (found.scales.log() - expected.scales.log()).abs().max() <= 1 / 32 + slack
    assert error("opacities").max() <= 1 / 510 + slack
    assert error("colors")[:, 0].max() <= 0.5 / 38.25 + slack
    # Rounded twice: to 1/128, then to what bits are left.
    assert error("colors")[:, 1:4].amax() <= (4 + 0.5) / 128 + slack if degree else True
    assert error("colors")[:, 4:].amax() <= (8 + 0.5) / 128 + slack if degree > 1 else True
    # Version 2 leaves w out, which is 1/2 at least, by half a turn of the ellipsoid.
    turned = turned_by(found.quats, expected.quats, half_turns=version == 2)
    assert turned.max() < (1.6 if version == 2 else 0.25)
    assert found.sh_degree == degree and len(found) == len(gaussians)


@pytest.mark.parametrize(("version", "axes"), [(2, "ply"), (3, "rub"), (4, "ply")])
def test_quantised_is_what_would_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, axes: str
) -> None:
    gaussians = some(seed=1)
    settings = Settings(spz_version=version, spz_axes=axes)  # type: ignore[arg-type]
    monkeypatch.setattr(spz, "_ROWS", 37)
    spz.write(gaussians, tmp_path / "a.spz", settings=settings)
    found = spz.read(tmp_path / "a.spz")
    moved = replace(gaussians, means=gaussians.means + 0.01, source=torch.arange(300))
    quantised = spz.quantiser(gaussians, settings)
    assert quantised(moved).source is moved.source and len(quantised(moved)) == 300
    ours = quantised(gaussians)
    if axes == "ply":
        grid = spz.harmonics_grid(settings)
        for k in range(1, 16):
            expected = ours.colors[:, k]
            torch.testing.assert_close(grid(gaussians.colors[:, k], k), expected, rtol=0, atol=0)
    ours = ours.take(spatial_order(gaussians.means))
    assert_equal(turned(ours) if axes == "rub" else ours, found)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_every_coefficient_has_its_place(tmp_path: Path, version: int, degree: int) -> None:
    k = (degree + 1) ** 2
    gaussians = replace(some(1, degree), colors=((torch.arange(3 * k) - 22) / 32).view(1, k, 3))
    found = written(gaussians, tmp_path / "a.spz", spz_version=version, spz_sh_bits=(8, 8))
    torch.testing.assert_close(found.colors[:, 1:], gaussians.colors[:, 1:], rtol=0, atol=0)
    torch.testing.assert_close(found.colors[:, 0], gaussians.colors[:, 0], rtol=0, atol=0.0131)


def turned(gaussians: Gaussians) -> Gaussians:
    """By half a turn about x, with harmonics fitted to what they show in turned directions."""
    directions = normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).double(), dim=1
    )
    before, after = (basis(d, gaussians.sh_degree or 0) for d in (directions, directions * FLIP))
    change = torch.linalg.lstsq(after, before).solution
    return replace(
        gaussians,
        means=gaussians.means * FLIP,
        quats=gaussians.quats * torch.cat([torch.ones(1), FLIP]),
        colors=torch.einsum("jk,nkc->njc", change.round(decimals=6).float(), gaussians.colors),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_axes_of_the_specification(tmp_path: Path, version: int) -> None:
    gaussians = replace(some(), scales=torch.tensor([1.0, 0.5, 0.1]).expand(300, 3))
    chosen = {"spz_version": version, "spz_sh_bits": (8, 8)}
    plain = written(gaussians, tmp_path / "a.spz", **chosen)
    other = written(gaussians, tmp_path / "b.spz", **chosen, spz_axes="rub")
    turn = FLIP.diag()
    order = spatial_order(gaussians.means)
    torch.testing.assert_close(other.means, plain.means * FLIP, rtol=0, atol=0)
    expected = turn @ covariances(plain.quats, plain.scales) @ turn
    torch.testing.assert_close(covariances(other.quats, other.scales), expected)
    seen = normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    colors = torch.einsum("nk,nkc->nc", basis(seen, 3), gaussians.colors[order])
    found = torch.einsum("nk,nkc->nc", basis(seen * FLIP, 3), other.colors)
    torch.testing.assert_close(found, colors, rtol=0, atol=0.06)


def test_a_file_along_other_axes_draws_the_same_turned(tmp_path: Path) -> None:
    gaussians = replace(some(200), scales=torch.full((200, 3), 0.7))
    other = written(gaussians, tmp_path / "b.spz", spz_axes="rub", spz_sh_bits=(8, 8))
    plain = written(gaussians, tmp_path / "a.spz", spz_sh_bits=(8, 8))
    pose = torch.eye(4)
    pose[2, 3] = 30.0
    K = torch.tensor([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
    camera = Camera(pose, K, 80, 60)
    turned_back = replace(camera, world_to_camera=pose @ torch.cat([FLIP, torch.ones(1)]).diag())
    render = NativeRenderer()
    pictures = [render(plain, camera).image, render(other, turned_back).image]
    assert pictures[0].std() > 0.05
    torch.testing.assert_close(pictures[1], pictures[0], rtol=0, atol=0.02)


def extended(path: Path, version: int, number: int) -> Path:
    """With axes named by a number, between records of others."""
    records = struct.pack("<II5s", 0x12340001, 5, b"hello")
    records += struct.pack("<III", AXES, 4, number) + struct.pack("<IIfff", 0xADBE0002, 12, 0, 1, 2)
    spz.write(some(20), path, settings=Settings(spz_version=version))  # type: ignore[arg-type]
    data = path.read_bytes()
    if version < 4:
        data = gzip.decompress(data) + records
        return save(path, gzip.compress(data[:14] + b"\2" + data[15:]))
    table = struct.pack("<I12x", 32 + len(records))
    return save(path, data[:14] + b"\2" + data[15:16] + table + records + data[32:])


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(
    ("number", "signs"),
    [(0, (1, 1, 1)), (6, (1, 1, 1)), (4, (1, -1, -1)), (7, (-1, -1, 1)), (8, (1, -1, 1)),
     (1, (-1, 1, -1)), (99, (1, 1, 1))],
)  # fmt: skip
def test_axes_that_the_file_names(
    tmp_path: Path, version: int, number: int, signs: tuple[int, int, int]
) -> None:
    plain = spz.read(extended(tmp_path / "a.spz", version, 6))
    found = spz.read(extended(tmp_path / "b.spz", version, number))
    columns = formats.read_columns(tmp_path / "b.spz")
    np.testing.assert_array_equal(columns.means, found.means.numpy())
    np.testing.assert_array_equal(columns.sh, found.colors.numpy())
    flip = torch.tensor(signs).float()
    torch.testing.assert_close(found.means, plain.means * flip, rtol=0, atol=0)
    expected = flip.diag() @ covariances(plain.quats, plain.scales) @ flip.diag()
    torch.testing.assert_close(covariances(found.quats, found.scales), expected)
    seen = normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    colors = torch.einsum("vk,nkc->vnc", basis(seen, 3), plain.colors)
    same = torch.einsum("vk,nkc->vnc", basis(seen * flip, 3), found.colors)
    torch.testing.assert_close(same, colors)


def test_axes_that_are_swapped_are_left_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = spz.read(extended(tmp_path / "a.spz", 4, 12))
    assert_equal(found, spz.read(extended(tmp_path / "b.spz", 4, 6)))
    assert "axes y and z swapped" in caplog.text


def test_variants_that_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = written(one(), tmp_path / "a.spz", spz_version=2, spz_sh_bits=(5, 4))
    body = b"".join(streams(2))
    assert_equal(spz.read(save(tmp_path / "raw.spz", header(2, 1, 2) + body)), expected)
    halves = np.array([1, -2, 0.25], "<f2").tobytes() + body[9:]
    first = save(tmp_path / "first.spz", gzip.compress(header(1, 1, 2) + halves))
    assert_equal(spz.read(first), replace(expected, means=torch.tensor([[1, -2, 0.25]])))
    assert not caplog.text
    # Band 3 is there, band 4 is left out.
    more = [*streams(4)[:5], streams(4)[5] + bytes([192] * 21) + bytes([64] * 27)]
    found = spz.read(save(tmp_path / "more.spz", framed(more, 1, 4)))
    assert found.sh_degree == 3 and (found.colors[0, 9:] == 0.5).all()
    torch.testing.assert_close(found.colors[:, :9], expected.colors, rtol=0, atol=0)
    assert "more.spz" in caplog.text and "band 4" in caplog.text


def test_positions_far_out_are_coarser(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gaussians = replace(some(50), scales=torch.full((50, 3), 1.0))
    for reach, point in [(2047.9, 12), (2048.0, 11), (-4100.0, 10), (1e6, 3)]:
        gaussians.means[3] = torch.tensor([0, reach, 0])
        found = written(gaussians, tmp_path / "a.spz")
        assert spz_container.header_of(tmp_path / "a.spz").layout.point == point
        expected = gaussians.means[spatial_order(gaussians.means)]
        assert (found.means - expected).abs().max() <= 2**-point / 2 + 1e-6 * abs(reach)
    assert not caplog.text
    gaussians.means[3] = 8e6
    assert written(gaussians, tmp_path / "a.spz").means.max() == 8e6
    assert "rounded to 1," in caplog.text
    gaussians.means[3] = 9e6
    with pytest.raises(
        ValueError, match=r"b\.spz: Gaussians lie 9e\+06 units .* reaches 8,388,607"
    ):
        written(gaussians, tmp_path / "b.spz")
    assert not (tmp_path / "b.spz").exists()


def test_a_few_far_ones_do_not_coarsen_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gaussians = replace(some(2000, 0), scales=torch.full((2000, 3), 0.01))
    gaussians.means[7] = 5000.0  # 1/1024 is fine enough
    assert len(written(gaussians, tmp_path / "a.spz")) == 2000 and not caplog.text
    gaussians.means[7], gaussians.means[8] = 5e5, 5e7
    found = written(gaussians, tmp_path / "a.spz")
    assert len(found) == 1998 and found.means.abs().max() < 60
    assert "2 of 2000 Gaussians lie further out than 2048 units" in caplog.text
    quantised = spz.quantiser(gaussians)(gaussians)
    keep = torch.arange(2000) // 2 != 4
    keep[7], keep[9] = False, True
    kept = quantised.take(keep)
    assert_equal(kept.take(spatial_order(gaussians.means[keep])), found)
    assert (quantised.means[8] - 2048).abs().max() < 0.001


def test_widths_beyond_the_format_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gaussians = some(10)
    gaussians.scales[4, 1] = 1000.0
    gaussians.scales[5] = 0.0
    found = written(gaussians, tmp_path / "a.spz")
    torch.testing.assert_close(found.scales.max(), torch.tensor(5.9375).exp())
    torch.testing.assert_close(found.scales.min(), torch.tensor(-10.0).exp())
    assert "1 of 10 Gaussians have standard deviations beyond 379 units" in caplog.text


def test_opacities_of_0_and_1_stay(tmp_path: Path) -> None:
    gaussians = replace(some(3), opacities=torch.tensor([0.0, 0.5, 1.0]), quats=torch.zeros(3, 4))
    found = written(gaussians, tmp_path / "a.spz")
    assert sorted(found.opacities.tolist()) == pytest.approx([0, 128 / 255, 1])
    torch.testing.assert_close(found.quats, torch.tensor([1.0, 0, 0, 0]).expand(3, 4))
    formats.write(found, tmp_path / "a.ply")
    assert formats.read(tmp_path / "a.ply").opacities.logit().isfinite().all()


@pytest.mark.parametrize("version", VERSIONS)
def test_how_it_was_drawn_is_remembered(tmp_path: Path, version: int) -> None:
    settings = Settings(spz_version=version)  # type: ignore[arg-type]
    for antialiased in (False, True):
        formats.write(some(3), tmp_path / "a.spz", None, Drawing(antialiased, 0.1), settings)
        assert formats.drawing(tmp_path / "a.spz") == Drawing(antialiased)


@pytest.mark.parametrize("version", VERSIONS)
def test_size_is_never_exceeded(tmp_path: Path, version: int) -> None:
    settings = Settings(spz_version=version, spz_sh_bits=(8, 8))  # type: ignore[arg-type]
    for n, degree in [(1, 0), (1, 3), (2000, 0), (2000, 2), (20_000, 1)]:
        gaussians = some(n, degree)
        # Nothing that can be compressed.
        draw = torch.Generator().manual_seed(0)
        gaussians = replace(gaussians, means=(torch.rand(n, 3, generator=draw) - 0.5) * 4090)
        spz.write(gaussians, tmp_path / "a.spz", settings=settings)
        taken = (tmp_path / "a.spz").stat().st_size
        assert taken <= formats.size_of(n, degree, ".spz", settings)
        # Unless it is tiny, not by much.
        assert n == 1 or taken > 0.8 * formats.size_of(n, degree, ".spz", settings)


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_are_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(spz_container, "_PART", 5000)
    made = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        found = written(some(3000), tmp_path / "a.spz", spz_version=version)
        made.append((tmp_path / "a.spz").read_bytes())
    torch.set_num_threads(threads)
    assert made[0] == made[1] == made[2] and len(found) == 3000
    if version < 4:
        assert len(gzip.decompress(made[0])) == 16 + 3000 * (64 if version == 2 else 65)


def test_gaussians_that_are_all_alike(tmp_path: Path) -> None:
    same = one().take(torch.zeros(30_000, dtype=torch.int64))
    assert len(written(same, tmp_path / "a.spz", spz_version=4)) == 30_000
    assert (tmp_path / "a.spz").stat().st_size < 30_000 * 44 / 1032  # less than deflate could do


def test_a_file_of_broken_rows_alone_is_refused(tmp_path: Path) -> None:
    halves = np.array([np.inf, 0, 0], "<f2").tobytes() + b"".join(streams(2))[9:]
    with pytest.raises(ValueError, match="all 1 Gaussians hold NaN"):
        spz.read(save(tmp_path / "inf.spz", header(1, 1, 2) + halves))


@pytest.mark.parametrize(
    "wrong", [{"spz_version": 1}, {"spz_sh_bits": (0, 4)}, {"spz_sh_bits": (5, 9)}]
)
def test_settings_out_of_range(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        written(some(3), tmp_path / "a.spz", **wrong)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """A file and words of its message, by what is wrong with it."""
    body = b"".join(streams(3))

    def zipped(name: str, content: bytes) -> Path:
        return save(folder / name, gzip.compress(content))

    def changed(name: str, at: int, value: bytes) -> Path:
        data = framed(streams(4), 1, 2)
        return save(folder / name, data[:at] + value + data[at + len(value) :])

    whole = gzip.compress(header(3, 1, 2) + body)
    huge = struct.pack("<Q", 1 << 60)
    record = header(3, 1, 2, flags=2) + body + struct.pack("<II", 7, 100) + b"short"
    return {
        "empty": (save(folder / "empty.spz", b""), "is empty"),
        "no spz": (save(folder / "no.spz", b"ply\nformat"), "starts with b'ply"),
        "no spz in gzip": (zipped("ply.spz", b"ply\n" * 9), "starts with b'ply"),
        "header": (zipped("head.spz", header(3, 1, 2)[:9]), "cut off in its header"),
        "cut": (save(folder / "cut.spz", whole[:-12]), "is cut off"),
        "sum": (save(folder / "sum.spz", whole[:-8] + bytes(8)), "incorrect data check"),
        "tail": (save(folder / "tail.spz", whole + b"more"), "goes on after its 1 Gaussians"),
        "short": (zipped("short.spz", header(3, 1, 2) + body[:-1]), "holds 43 bytes"),
        "long": (zipped("long.spz", header(3, 1, 2) + body + b"x"), "goes on for 1 bytes"),
        "raw long": (save(folder / "raw.spz", header(3, 1, 2) + body + b"x"), "goes on for 1"),
        "none": (zipped("zero.spz", header(3, 0, 2)), "no Gaussians"),
        "many": (zipped("many.spz", header(3, 1 << 31, 2) + body), "claims 2,147,483,648"),
        "version": (zipped("v9.spz", header(9, 1, 2) + body), "version 9"),
        "zipped 4": (zipped("v4.spz", header(4, 1, 2) + body), "version 4 inside gzip"),
        "degree": (zipped("d5.spz", header(3, 1, 5) + body), "degree 5"),
        "point": (zipped("p.spz", header(3, 1, 2, 99) + body), "99 fractional bits"),
        "record": (zipped("record.spz", record), "an extension that is cut off"),
        "4 header": (save(folder / "h4.spz", header(4, 1, 2)), "cut off in its header"),
        "4 many": (changed("m4.spz", 8, b"\xff\xff\xff\xff"), "claims 4,294,967,295"),
        "4 more": (changed("n4.spz", 8, b"\2"), "streams of [9, 1, 3, 3, 4, 24] bytes"),
        "4 streams": (changed("s4.spz", 15, b"\5"), "has 5 streams, expected 6"),
        "4 table": (changed("t4.spz", 16, b"\xff\xff"), "table of sizes at byte 65,535"),
        "4 early": (changed("e4.spz", 16, b"\x10"), "table of sizes at byte 16"),
        "4 sizes": (changed("z4.spz", 32, huge), "expected 1,152,921,504"),
        "4 frame": (changed("f4.spz", 128, b"\0\0\0\0"), "is broken"),
        "4 cut": (save(folder / "c4.spz", framed(streams(4), 1, 2)[:-1]), "bytes, expected"),
    }  # fmt: skip


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    for what, (path, words) in bad_files(tmp_path).items():
        assert_refused(path, words, what)


@pytest.mark.parametrize("name", ["minimal-raw", "minimal-v2", "minimal-v3", "minimal-v4"])
def test_small_files_of_others(name: str) -> None:
    path = DATA / f"{name}.spz"
    if not path.is_file():
        pytest.skip(f"needs ../shared/data/splats/{name}.spz")
    found = formats.read(path)
    z = -1.0 if name in ("minimal-raw", "minimal-v2") else 1.0
    expected = torch.tensor([[-1.0, 0, z], [0, 0, z], [-1, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(found.means, expected, rtol=0, atol=0)
    torch.testing.assert_close(found.opacities, torch.full((4,), 0.9), rtol=0, atol=0.002)
    torch.testing.assert_close(found.scales, torch.full((4, 3), 0.1), rtol=0.03, atol=0)
    assert found.quats[:, 0].min() > 0.999 and found.sh_degree == 0
    assert formats.drawing(path) == Drawing()


def test_a_scan_of_others_is_the_same_in_two_formats(tmp_path: Path) -> None:
    """Its .spz has the axes of the specification, and does not say so."""
    one, other = (DATA / f"biker{suffix}" for suffix in (".spz", ".compressed.ply"))
    if not (one.is_file() and other.is_file()):
        pytest.skip("needs ../shared/data/splats/biker.spz and .compressed.ply")
    found = formats.read(one)
    assert len(found) == 152_746 and found.sh_degree == 0
    ours = written(formats.read(other), tmp_path / "a.spz", spz_version=4, spz_axes="rub")
    some_rows = torch.arange(0, len(found), 50)
    distance, nearest = cKDTree(ours.means.numpy()).query(found.means[some_rows].numpy())
    assert distance.max() < 0.001
    cosine = (found.quats[some_rows] * ours.quats[nearest]).sum(1).abs()
    assert cosine.median() > 0.99999


def test_the_axes_of_a_file_that_names_none_may_be_given(tmp_path: Path) -> None:
    settings = Settings(spz_axes="rub")
    given = some(30, degree=2)
    formats.write(given, tmp_path / "a.spz", settings=settings)
    found, turned = formats.read(tmp_path / "a.spz", settings), formats.read(tmp_path / "a.spz")
    torch.testing.assert_close(found.means * torch.tensor([1.0, -1, -1]), turned.means)
    gap = torch.cdist(found.means, given.means, compute_mode="donot_use_mm_for_euclid_dist")
    assert gap.min(1).values.max() < 1e-3
