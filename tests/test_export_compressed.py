"""The .compressed.ply: bytes worked out by hand, files of others, and the order of the rows."""

from __future__ import annotations

import math
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import assert_refused, matched, some
from plyfile import PlyData

from splat import formats
from splat.formats import compressed
from splat.formats.order import spatial_order
from splat.types import Drawing, Gaussians

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "splats"
C0 = 0.28209479177387814
BOUNDS = (
    "min_x min_y min_z max_x max_y max_z min_scale_x min_scale_y min_scale_z max_scale_x"
    " max_scale_y max_scale_z min_r min_g min_b max_r max_g max_b"
).split()


def three() -> Gaussians:
    """The ends of a chunk's bounds, and what is a quarter of the way from one to the other."""
    share = torch.tensor([[1.0], [0.0], [0.25]])
    low, high = torch.tensor([[0.0, -1, 2], [4.0, 1, 10]])
    rgb = torch.tensor([0.5, 0, -0.5]) + share * torch.tensor([1.0, 2, 4])
    rest = torch.arange(27.0).reshape(3, 3, 3) / 32
    rest[0, 0] = torch.tensor([5.0, -5.0, 0.49 / 32])
    return Gaussians(
        means=low + share * (high - low),
        quats=torch.tensor([[1.0, 0, 0, 0], [0.6, -0.8, 0, 0], [0, 0, 0, -3.0]]),
        scales=(torch.tensor([-6.0, -5, -4]) + share * torch.tensor([2.0, 4, 1])).exp(),
        opacities=torch.tensor([0.5, 1.0, 0.0]),
        colors=torch.cat([((rgb - 0.5) / C0)[:, None], rest], 1),
        sh_degree=1,
    )


def header(n: int, bounds: list[str], rest: int, comments: tuple[str, ...] = ()) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {-(-n // 256)}"]
    lines += [f"comment {comment}" for comment in comments]
    lines += [f"property float {name}" for name in bounds]
    lines += [f"element vertex {n}"]
    words = ("position", "rotation", "scale", "color")
    lines += [f"property uint packed_{name}" for name in words]
    if rest:
        lines += [f"element sh {n}", *(f"property uchar f_rest_{i}" for i in range(rest))]
    return "\n".join([*lines, "end_header", ""]).encode()


def test_bytes_by_hand(tmp_path: Path) -> None:
    drawn = Drawing(antialiased=True, near=0.25)
    formats.write(three(), tmp_path / "a.compressed.ply", drawing=drawn)
    data = (tmp_path / "a.compressed.ply").read_bytes()
    start = header(3, BOUNDS, 9, ("SplatRenderMode: mip", "SplatNearPlane: 0.25"))
    assert data[: len(start)] == start
    bounds = struct.unpack_from("<18f", data, len(start))
    expected = [0, -1, 2, 4, 1, 10, -6, -5, -4, -4, -1, -3, 0.5, 0, -0.5, 1.5, 2, 3.5]
    assert bounds == pytest.approx(expected, abs=1e-6)
    # Along the curve: the least, the quarter, the greatest. A quarter of 2047, 1023 and 255 is
    # rounded to 512, 256 and 64. Alphas 1 and 0 are kept off the ends.
    quarter = 512 << 21 | 256 << 11 | 512
    middle = 512 << 20 | 512 << 10 | 512
    # (-0.6, 0.8, 0, 0): the second is the largest; -0.6 / sqrt(2) + 0.5 is 0.0757, of 1023: 77.
    turned = 1 << 30 | 77 << 20 | 512 << 10 | 512
    words = [0, turned, 0, 254]
    words += [quarter, 3 << 30 | middle, quarter, 64 << 24 | 64 << 16 | 64 << 8 | 1]
    words += [0xFFFFFFFF, middle, 0xFFFFFFFF, 0xFFFFFF00 | 128]
    assert struct.unpack_from("<12I", data, len(start) + 72) == tuple(words)
    # Red of all three coefficients, then green, then blue, in steps of 1/32 from -4.
    rest = [128 + i for i in (9, 12, 15, 10, 13, 16, 11, 14, 17)]
    rest += [128 + i for i in (18, 21, 24, 19, 22, 25, 20, 23, 26)]
    rest += [255, 131, 134, 0, 132, 135, 128, 133, 136]
    assert list(data[len(start) + 72 + 48 :]) == rest
    assert formats.drawing(tmp_path / "a.compressed.ply") == drawn


def test_read_by_hand(tmp_path: Path) -> None:
    formats.write(three(), tmp_path / "a.compressed.ply")
    found = formats.read(tmp_path / "a.compressed.ply")
    low, high = torch.tensor([[0.0, -1, 2], [4.0, 1, 10]])
    share = torch.tensor([512 / 2047, 256 / 1023, 512 / 2047])
    close = torch.testing.assert_close
    close(found.means, torch.stack([low, low + share * (high - low), high]))
    close(found.scales[1].log(), torch.tensor([-6.0, -5, -4]) + share * torch.tensor([2.0, 4, 1]))
    close(found.opacities, torch.tensor([254 / 255, 1 / 255, 128 / 255]))
    rgb = torch.tensor([0.5, 0, -0.5]) + 64 / 255 * torch.tensor([1.0, 2, 4])
    close(found.colors[1, 0], (rgb - 0.5) / C0)
    close(found.colors[2, 1], torch.tensor([4.0, -4, 1 / 64]))
    close(found.colors[0, 1:, 1], torch.tensor([10.5, 13.5, 16.5]) / 32)
    w = (77 / 1023 - 0.5) * math.sqrt(2)
    bias = (512 / 1023 - 0.5) * math.sqrt(2)
    x = math.sqrt(1 - w * w - 2 * bias * bias)
    close(found.quats[0], torch.tensor([w, x, bias, bias]))


def test_old_files_have_no_bounds_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "old.ply"
    row = struct.pack("<12f", *[0.0] * 12) + struct.pack("<4I", 0, 0, 0, 0xFF330040)
    path.write_bytes(header(1, BOUNDS[:12], 0, ("made by hand",)) + row)
    found = formats.read(path)
    rgb = torch.tensor([1.0, 0.2, 0.0])
    torch.testing.assert_close(found.colors, ((rgb - 0.5) / C0)[None, None])
    assert found.sh_degree == 0


@pytest.mark.parametrize("byte", [0, 255])
def test_opacities_of_others_have_finite_logits(tmp_path: Path, byte: int) -> None:
    path = tmp_path / "a.compressed.ply"
    row = struct.pack("<18f", *[0.0] * 18) + struct.pack("<4I", 0, 0, 0, byte)
    path.write_bytes(header(1, BOUNDS, 0) + row)
    found = formats.read(path).opacities.logit()
    assert found.isfinite().all() and 13 < found.abs().item() < 15


def test_a_rotation_nobody_writes_is_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.compressed.ply"
    row = struct.pack("<18f", *[0.0] * 18) + struct.pack("<4I", 0, 0x3FFFFFFF, 0, 128)
    path.write_bytes(header(1, BOUNDS, 0) + row)
    found = formats.read(path).quats[0]
    torch.testing.assert_close(found, torch.tensor([0.0, 1, 1, 1]) / math.sqrt(3))


def test_the_last_chunk_has_bounds_of_its_own(tmp_path: Path) -> None:
    given = some(257, degree=0)
    given.means[100] = torch.tensor([1e4, 2e4, 3e4])
    formats.write(given, tmp_path / "a.compressed.ply")
    chunk = PlyData.read(tmp_path / "a.compressed.ply")["chunk"].data
    assert len(chunk) == 2
    for axis, name in enumerate("xyz"):
        assert chunk[f"min_{name}"][1] == chunk[f"max_{name}"][1] == given.means[100, axis]
    assert chunk["max_x"][0] < 100


def test_values_that_overflow_do_no_harm(tmp_path: Path) -> None:
    given = some(5, degree=1)
    given.means[0, 0], given.means[1, 0] = 3e38, -3e38
    given.scales[2, 1], given.colors[3, 0, 0], given.colors[4, 1, 0] = 3e38, 3e38, 3e38
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        formats.write(given, tmp_path / "a.compressed.ply")
        found = formats.read(tmp_path / "a.compressed.ply")
    assert len(found) == 5 and found.means.abs().max() == 1e38
    assert found.scales.log().max() == pytest.approx(20) and found.colors[:, 1:].max() == 4


def test_either_kind_under_either_name(tmp_path: Path) -> None:
    given, drawn = some(300, degree=1), Drawing(True, 0.5)
    for name in ("plain.ply", "packed.compressed.ply"):
        formats.write(given, tmp_path / name, drawing=drawn)
    (tmp_path / "plain.ply").rename(tmp_path / "a.compressed.ply")
    (tmp_path / "packed.compressed.ply").rename(tmp_path / "b.ply")
    torch.testing.assert_close(formats.read(tmp_path / "a.compressed.ply").means, given.means)
    found = matched(formats.read(tmp_path / "b.ply"), given)
    assert 0 < (found.means - given.means).abs().max() < 0.02
    assert formats.drawing(tmp_path / "a.compressed.ply") == drawn
    assert formats.drawing(tmp_path / "b.ply") == drawn
    assert formats.holds_gaussians(tmp_path / "b.ply")


def test_any_number_of_threads_gives_the_same_bytes(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            formats.write(some(40_000, 1), tmp_path / f"{threads}.compressed.ply")
    finally:
        torch.set_num_threads(before)
    first, second = (tmp_path / f"{threads}.compressed.ply" for threads in (1, 2))
    assert first.read_bytes() == second.read_bytes()


def test_the_quantiser_knows_the_ends_of_ranges(tmp_path: Path) -> None:
    formats.write(three(), tmp_path / "a.compressed.ply")
    read, short = (
        formats.read(tmp_path / "a.compressed.ply"),
        compressed.quantiser(three())(three()),
    )
    order = [1, 2, 0]
    assert (short.colors[order] == read.colors).all() and short.colors[:, 1:].max() == 4
    assert (short.opacities[order] == read.opacities).all()
    assert (short.means[order] == read.means).all()


def test_the_quantiser_follows_a_set_that_moves(tmp_path: Path) -> None:
    given = some(700, degree=1)
    short = compressed.quantiser(given)
    moved = replace(given, means=given.means * 2, opacities=torch.ones(700))
    found = short(moved)
    assert (found.opacities == 254 / 255).all()
    error = (found.means - moved.means).abs().max()
    assert 0 < error <= (short(given).means - given.means).abs().max() * 2 + 1e-5
    torch.testing.assert_close(found.quats, short(given).quats)


def bad_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    formats.write(some(300, degree=1), folder / "good.compressed.ply")
    good = (folder / "good.compressed.ply").read_bytes()
    return {
        "cut off": (good[:-1], "bytes, expected"),
        "longer": (good + b"0", "bytes, expected"),
        "too few rows": (good.replace(b"vertex 300", b"vertex 299"), "'element sh 300'"),
        "far too many": (good.replace(b"vertex 300", b"vertex " + b"9" * 40), "claims more rows"),
        "chunks": (good.replace(b"chunk 2", b"chunk 3"), "expected 'element chunk 2'"),
        "no rows": (good.replace(b"element vertex", b"element points"), "no element 'vertex'"),
        "types": (good.replace(b"uint packed_scale", b"int packed_scale"), "int packed_scale"),
        "harmonics": (good.replace(b"property uchar f_rest_8\n", b""), "'element sh 300'"),
        "big-endian": (good.replace(b"little", b"big"), "expected 'format binary_little_endian"),
        "no end": (good.replace(b"end_header\n", b"end header\n"), "no end_header"),
        "nothing": (header(0, BOUNDS, 0), "there are no Gaussians"),
    }


def test_bad_files_say_what_is_wrong(tmp_path: Path) -> None:
    for what, (content, words) in bad_files(tmp_path).items():
        path = tmp_path / "bad.compressed.ply"
        path.write_bytes(content)
        assert_refused(path, words, what)


@pytest.mark.parametrize("degree", [0, 3])
def test_agrees_with_gsplat(tmp_path: Path, degree: int) -> None:
    """A chunk has the same words, whoever writes it."""
    exporter = pytest.importorskip("gsplat.exporter")
    given = some(256, degree)
    given = replace(given, quats=torch.nn.functional.normalize(given.quats, dim=1))
    data = exporter.export_splats(
        means=given.means,
        scales=given.scales.log(),
        quats=given.quats,
        opacities=given.opacities.logit(),
        sh0=given.colors[:, :1],
        shN=given.colors[:, 1:],
        format="ply_compressed",
    )
    (tmp_path / "gsplat.compressed.ply").write_bytes(data)
    formats.write(given, tmp_path / "ours.compressed.ply")
    read = [formats.read(tmp_path / f"{name}.compressed.ply") for name in ("gsplat", "ours")]
    theirs, ours = (matched(found, given) for found in read)
    torch.testing.assert_close(ours.means, theirs.means, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.quats, theirs.quats, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.scales, theirs.scales, rtol=1e-5, atol=0)
    torch.testing.assert_close(ours.opacities, theirs.opacities, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.colors, theirs.colors, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "n"), [("biker", 152_746), ("guitar", 90_854)])
def test_files_of_others(name: str, n: int) -> None:
    path = DATA / f"{name}.compressed.ply"
    if not path.is_file():
        pytest.skip(f"needs ../shared/data/splats/{path.name}")
    found, data = formats.read(path), PlyData.read(path)
    assert len(found) == n and found.sh_degree == 0
    for i in (0, 255, 256, n // 2, n - 1):
        chunk = data["chunk"].data[i // 256]
        word, scale, color = (
            int(data["vertex"].data[f"packed_{what}"][i]) for what in ("position", "scale", "color")
        )

        def between(kind: str, share: float, chunk: np.void = chunk) -> float:
            return float(chunk[f"min_{kind}"] * (1 - share) + chunk[f"max_{kind}"] * share)

        y = (word >> 11 & 1023) / 1023
        assert found.means[i, 1].item() == pytest.approx(between("y", y), abs=1e-6)
        z = (scale & 2047) / 2047
        assert found.scales[i, 2].log().item() == pytest.approx(between("scale_z", z), abs=1e-5)
        red = between("r", (color >> 24) / 255)
        assert found.colors[i, 0, 0].item() == pytest.approx((red - 0.5) / C0, abs=1e-5)
        assert found.opacities[i].item() == pytest.approx((color & 255) / 255, abs=1e-5)


def spread(means: torch.Tensor) -> float:
    """Mean extent of the chunks of an order."""
    ordered = means[spatial_order(means)]
    whole = ordered[: len(ordered) // 256 * 256].reshape(-1, 256, 3)
    return (whole.amax(1) - whole.amin(1)).median().item()


def test_the_order_brings_neighbours_together() -> None:
    means = torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0))
    assert sorted(spatial_order(means).tolist()) == list(range(50_000))
    # 256 of them would fill a cube of side 0.17.
    assert spread(means) < 0.3


@pytest.mark.parametrize("far", [1e3, 1e9, 1e38])
def test_floaters_do_not_spoil_the_order(far: float) -> None:
    means = torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0))
    alone = spread(means)
    means[:3] = torch.tensor([[far, 0, 0], [0, -far, 0], [far, far, far]])
    assert spread(means) < 1.3 * alone


def test_rows_at_one_place_keep_their_order() -> None:
    means = torch.ones(1000, 3)
    assert spatial_order(means).tolist() == list(range(1000))
    means[::2] = 0.5
    assert spatial_order(means).tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]
    assert spatial_order(means[:1]).tolist() == [0] and len(spatial_order(means[:0])) == 0
