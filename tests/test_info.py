"""`splat info` of files: the same record for every format, figures that add up, bars for people."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from splat import formats
from splat.cli.info import of_file, record_text
from splat.formats.columns import Columns
from splat.formats.rows import columns_of
from splat.formats.settings import Settings
from splat.math import ALWAYS
from splat.types import Drawing, Gaussians, Motion

Splat = Callable[..., Any]


def some(n: int = 200, degree: int = 2) -> Gaussians:
    draw = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(n, 3, generator=draw),
        quats=torch.randn(n, 4, generator=draw),
        scales=0.01 + 0.1 * torch.rand(n, 3, generator=draw),
        opacities=0.05 + 0.9 * torch.rand(n, generator=draw),
        colors=torch.randn(n, (degree + 1) ** 2, 3, generator=draw),
        sh_degree=degree,
    )


def written(gaussians: Gaussians, path: Path) -> dict[str, Any]:
    formats.write(gaussians, path, drawing=Drawing(True, 0.5))
    return of_file(path)


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".compressed.ply", ".spz"])
def test_every_format_has_the_same_record(tmp_path: Path, suffix: str) -> None:
    if suffix not in formats.suffixes(written=True):
        pytest.skip(f"{suffix} is not written")
    path = tmp_path / f"a{suffix}"
    record = written(some(), path)
    assert list(record) == list(written(some(), tmp_path / "b.ply"))
    assert record["format"] == suffix.removeprefix(".") and record["gaussians"] == 200
    assert record["bytes"] == path.stat().st_size
    assert record["bytes_per_gaussian"] == pytest.approx(record["bytes"] / 200, abs=0.01)
    assert record["sh_degree"] == 2
    assert sum(record["opacity_histogram"]["counts"]) == 200
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("suffix", formats.suffixes(written=True, folders=True))
@pytest.mark.parametrize("degree", [0, 3])
def test_numpy_reads_what_torch_reads(tmp_path: Path, suffix: str, degree: int) -> None:
    path = tmp_path / f"a{suffix}"
    formats.write(moving(some(500, degree), suffix), path, drawing=Drawing(True, 0.25))
    same(formats.read_columns(path), columns_of(formats.read(path), formats.drawing(path)))


@pytest.mark.parametrize("version", [2, 3, 4])
def test_numpy_reads_every_spz(tmp_path: Path, version: Literal[2, 3, 4]) -> None:
    path = tmp_path / "a.spz"
    formats.write(some(500, 3), path, settings=Settings(spz_version=version))
    same(formats.read_columns(path), columns_of(formats.read(path), formats.drawing(path)))


def test_either_leaves_out_what_moves_infinitely_fast(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    formats.write(moving(some(30), ".html"), path)
    text, found = re.subn(r'"fastest": [^,}]+', '"fastest": 1e300', path.read_text("utf-8"))
    assert found == 1
    path.write_text(text, "utf-8")
    # Every third stands still.
    assert len(formats.read(path)) == len(formats.read_columns(path)) == 10


def moving(gaussians: Gaussians, suffix: str) -> Gaussians:
    """The set with a motion where the format has a place for one; some of it stands still."""
    if not formats.takes_motion(suffix):
        return gaussians
    draw = torch.Generator().manual_seed(1)
    n = len(gaussians)
    duration = 0.05 + torch.rand(n, generator=draw)
    duration[::3] = ALWAYS
    motion = Motion(torch.rand(n, generator=draw), duration, torch.randn(n, 3, generator=draw))
    return replace(gaussians, motion=motion)


def same(found: Columns, expected: Columns) -> None:
    assert (found.antialiased, found.near) == (expected.antialiased, expected.near)
    assert (found.moving is None) == (expected.moving is None)
    pairs = [(getattr(found, n), getattr(expected, n)) for n in ("means", "opacities", "sh")]
    pairs.append((np.log(found.scales), np.log(expected.scales)))
    if found.moving is not None and expected.moving is not None:
        names = ("time", "duration", "velocity")
        pairs += [(getattr(found.moving, n), getattr(expected.moving, n)) for n in names]
    for one, other in pairs:
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_what_was_there_before_is_there(tmp_path: Path) -> None:
    record = written(some(), tmp_path / "a.ply")
    means = some().means
    assert record["low_corner"] == [round(v, 4) for v in means.amin(0).tolist()]
    assert record["high_corner"] == [round(v, 4) for v in means.amax(0).tolist()]
    assert (record["antialiased"], record["near"]) == (True, 0.5)
    assert record["opacity_5_50_95"][1] == pytest.approx(0.5, abs=0.1)
    assert record["largest_scale_5_50_95"][2] == pytest.approx(0.11, abs=0.01)


def test_the_bulk_leaves_strays_out(tmp_path: Path) -> None:
    rows = some(1000)
    rows.means[:3] = torch.tensor([[1e4, 0, 0], [0, -1e4, 0], [0, 0, 1e4]])
    record = written(rows, tmp_path / "a.ply")
    assert record["high_corner"][0] == 1e4 and record["low_corner"][1] == -1e4
    np.testing.assert_allclose(record["bulk_high_corner"], 2.33, atol=0.5)
    np.testing.assert_allclose(record["bulk_low_corner"], -2.33, atol=0.5)


def test_energies_of_bands(tmp_path: Path) -> None:
    colors = torch.zeros(10, 9, 3)
    colors[:, 0], colors[:, 2], colors[:, 4:9] = 2.0, 3.0, 1.0
    record = written(replace(some(10), colors=colors), tmp_path / "a.ply")
    # Harmonics are orthonormal: the mean of a square over the sphere is its sum over 4 pi.
    expected = [4 / (4 * math.pi), 9 / (4 * math.pi), 5 / (4 * math.pi)]
    np.testing.assert_allclose(record["sh_energy_by_band"], expected, rtol=1e-3)


def test_problems_are_counted(tmp_path: Path) -> None:
    rows = some(300)
    rows.means[0, 1] = math.nan
    rows.colors[:, 4:] = 0
    rows.opacities[1:4], rows.opacities[4:6], rows.opacities[6] = 0.0, 1.0, 0.002
    rows.scales[7:9] = torch.tensor([2.0, 1e-4, 1e-4])
    rows.scales[9] = 50.0
    # Another program may write what we do not.
    formats.write(replace(rows, means=rows.means.nan_to_num(7777.0)), tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes()
    broken = data.replace(np.float32(7777).tobytes(), np.float32(np.nan).tobytes())
    (tmp_path / "a.ply").write_bytes(broken)
    record = of_file(tmp_path / "a.ply")
    assert record["gaussians"] == 299 and record["problems"] == {
        "broken_and_left_out": 1,
        "opacity_0": 3,
        "opacity_1": 2,
        "never_drawn": 4,
        "giants": 1,
        "needles": 2,
        "sh_bands_of_zeros": [2],
    }


def test_histograms_hold_every_row(tmp_path: Path) -> None:
    rows = replace(some(1000), opacities=torch.arange(1000) / 1000 + 0.0005)
    rows = replace(rows, scales=10 ** (torch.arange(3000).reshape(1000, 3) / 1000 - 2))
    record = written(rows, tmp_path / "a.ply")
    assert record["opacity_histogram"]["edges"] == [round(i / 10, 1) for i in range(11)]
    assert record["opacity_histogram"]["counts"] == [100] * 10
    scales = record["largest_scale_histogram"]
    np.testing.assert_allclose(np.log10(scales["edges"]), np.arange(-2, 1.1, 0.5), atol=1e-3)
    # Longest axes are 10^(0.003 i - 2), so a sixth of the rows is in each bin.
    np.testing.assert_allclose(scales["counts"], 1000 / 6, atol=2)
    lonely = replace(some(1), scales=torch.full((1, 3), 0.01))
    assert written(lonely, tmp_path / "b.ply")["largest_scale_histogram"]["counts"] == [1]


def test_bars(splat: Splat) -> None:
    formats.write(replace(some(40), opacities=torch.tensor([0.05] * 30 + [0.95] * 10)), "a.ply")
    said = splat("info", "a.ply").out.splitlines()
    at = said.index("opacity histogram:")
    assert said[at + 1] == "    0 to 0.1 30 " + 40 * "#"
    assert said[at + 2] == "  0.1 to 0.2  0"
    assert said[at + 10] == "    0.9 to 1 10 " + 13 * "#"
    assert "format: ply" in said and "  sh bands of zeros: -" in said
    record = json.loads(splat("info", "a.ply", "--json").out)
    assert record == of_file(Path("a.ply"))


def test_told_keeps_to_a_line_a_field() -> None:
    record = {"a_b": 1234, "c": {"d": None, "e": [1, 2]}, "f": ["x", "y"], "g": 0.1234567}
    assert record_text(record) == "a b: 1,234\nc:\n  d: -\n  e: 1, 2\nf:\n  x\n  y\ng: 0.123457"
