"""`splat compare --sizes`: files at equal bytes, made again where they miss their size."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from splat import formats
from splat.comparison import rates
from splat.comparison.compare import read
from splat.comparison.rate_report import rate_chart, table_text
from splat.comparison.rates import Point, kinds_of, sizes_of
from splat.comparison.request import Request
from splat.strategies.forest import Forest
from splat.strategies.mcmc import Mcmc


def test_sizes_and_kinds_are_checked() -> None:
    assert sizes_of("1MB, 0.25MB,500kB") == (250_000, 500_000, 1_000_000)
    for text in ("", "100k", "1MB,200k"):
        with pytest.raises(ValueError, match=r"sizes is .* expected bytes of files"):
            sizes_of(text)
    assert kinds_of(()) == (".sog", ".spz") and kinds_of(("ply",)) == (".ply",)
    with pytest.raises(ValueError, match="is not one file"):
        kinds_of(("lod-meta.json",))
    with pytest.raises(ValueError, match="xyz"):
        kinds_of((".xyz",))


@pytest.mark.parametrize(
    ("fixed", "of_row", "wanted"),
    [
        # A leaf was thought to take 10 bytes and takes 18: made again, then known.
        (0, 18.0, [(1000, 100), (1000, 56), (4000, 222)]),
        # 11 bytes are within a seventh: as they are, and the next by what was measured.
        (0, 11.0, [(1000, 100), (4000, 364)]),
        # Half of a file is of no row, which two files tell.
        (450, 1.0, [(1000, 100), (1000, 182), (1000, 550), (4000, 2200), (4000, 3321)]),
    ],
)
def test_a_file_that_misses_its_size_is_made_again(
    monkeypatch: pytest.MonkeyPatch, fixed: int, of_row: float, wanted: list[Any]
) -> None:
    asked = []

    def point(request: Any, name: str, kind: str, size: int, rows: int, *rest: Any) -> Point:
        asked.append((size, rows))
        return Point("scene", name, size, rows, fixed + of_row * rows, 30.0)

    monkeypatch.setattr(rates, "_point", point)
    monkeypatch.setattr(Forest, "row_bytes", 10)
    found = rates._curve(Request(), "x", Forest(), "own", (1000, 4000), Path("."), None)  # type: ignore[arg-type]
    assert asked == wanted and [each.size for each in found] == [1000, 4000]


def test_of_files_that_all_miss_their_size_the_nearest_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = iter((2000.0, 1200.0, 1500.0))

    def point(request: Any, name: str, kind: str, size: int, rows: int, *rest: Any) -> Point:
        return Point("scene", name, size, rows, next(weights), 30.0)

    monkeypatch.setattr(rates, "_point", point)
    found = rates._curve(Request(), "x", Forest(), "own", (1000,), Path("."), None)  # type: ignore[arg-type]
    assert [each.bytes for each in found] == [1200.0]


def test_gaussians_begin_with_as_many_as_their_format_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def point(request: Any, name: str, kind: str, size: int, rows: int, *rest: Any) -> Point:
        asked.append(rows)
        return Point("scene", name, size, rows, size, 30.0)

    monkeypatch.setattr(rates, "_point", point)
    rates._curve(Request(), "x", Mcmc(), ".spz", (50_000,), Path("."), None)  # type: ignore[arg-type]
    assert asked == [formats.most_in(50_000, Request().options.sh_degree, ".spz")]


@pytest.mark.parametrize(
    ("psnr", "times"),
    [
        (20.0, 10.0),
        (25.0, 10 * 10**0.5),  # halfway in dB is halfway in the logarithm of bytes
        (31.0, 200.0),  # between 1,000 and 4,000 bytes: what 2,000 show is bettered by 1,000
        (32.0, 400.0),
        (19.9, None),  # no file shows as little, none as much
        (32.1, None),
    ],
)
def test_of_how_large_a_ply_a_file_shows_as_much(psnr: float, times: float | None) -> None:
    files = [(4000.0, 32.0), (100.0, 20.0), (2000.0, 29.0), (1000.0, 30.0)]
    written = [rates._Written(*file) for file in files]
    found = rates._times(Point("fox", "x", 10, 1, 10.0, psnr), written)
    assert found == (None if times is None else pytest.approx(times))


def test_one_table_and_one_plot() -> None:
    points = [
        Point("fox", "mrnf, .sog", 250_000, 10_000, 245_000.0, 28.5),
        Point("fox", "mrnf, .sog", 500_000, 20_000, 480_000.0, 29.25),
        Point("fox", "forest, .forest", 500_000, 50_000, 510_000.0, 29.5, 9.6),
    ]
    assert table_text(points).splitlines() == [
        "**fox**", "", "| | 250 kB | 500 kB |", "|---|---|---|",
        "| mrnf, .sog | 28.50 dB (245 kB) | 29.25 dB (480 kB) |",
        "| forest, .forest |  | 29.50 dB (510 kB, 1/10) |",
    ]  # fmt: skip
    chart = rate_chart(points, "fox")
    assert chart.name == "fox-rates" and chart.data[:4] == b"\x89PNG"


@pytest.mark.slow
def test_curves_from_end_to_end(tiny_folder: Path, tmp_path: Path, splat: Any) -> None:
    out = tmp_path / "rates"
    words = (
        "compare", tiny_folder, "--strategies", "mcmc,forest-inspired", "--sizes", "6kB,9kB",
        "--formats", ".spz", "--seeds", "1", "--steps", "20", "--net", "none", "--workers", "0",
        "--max-side", "0", "--exposure", "affine", "--out", out,
    )  # fmt: skip
    said = splat(*words, "--json")
    assert said.code == 0, said.err
    points = json.loads(said.out)
    assert [(p["representation"], p["size"]) for p in points] == [
        ("mcmc, .spz", 6000), ("mcmc, .spz", 9000),
        ("forest-inspired, .forest", 6000), ("forest-inspired, .forest", 9000),
    ]  # fmt: skip
    with (out / "rates.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    assert (out / "rates.md").read_text().count("dB") == 4
    assert len(list((out / "figures").glob("*-rates.png"))) == 1
    weighed = {path.stat().st_size for path in (out / "files").glob("*.spz")}
    weighed |= {path.stat().st_size for path in out.rglob("scene.forest")}
    assert {p["bytes"] for p in points} <= weighed
    plain = {path.stat().st_size for path in out.rglob("mcmc-*/point_cloud.ply")}
    written = rates._written(read(out), tiny_folder, "mcmc", (0,))
    assert {size for size, _ in written} == plain and len(plain) == len(written) > 1
    # A standard file is what `splat export` writes of the run, and is measured as it says.
    run = next(out.rglob("mcmc-*/checkpoints")).parent
    exported = splat("export", run, "-o", tmp_path / "again.spz", "--json")
    kept = next((out / "files").glob(f"*{run.name}.spz"))
    assert kept.read_bytes() == (tmp_path / "again.spz").read_bytes()
    shown = json.loads(exported.out)["psnr_after"]
    assert min(abs(p["psnr"] - shown) for p in points if "spz" in p["representation"]) < 1e-3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    again = splat(*words, "--json")
    assert again.code == 0 and json.loads(again.out) == points
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")} == before
    assert splat(*words, "--budget", "100").code == 2
