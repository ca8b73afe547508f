"""`.sog`: files made by hand are read to the digit, and codebooks and palettes lose little."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from formats import some, turned_by
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from splat import formats
from splat.formats import codebook, sog, sog_container
from splat.formats.order import spatial_order
from splat.formats.settings import Settings
from splat.formats.sog_texels import Levels, Palette, Texels
from splat.types import Drawing

Meta = dict[str, Any]
Pictures = dict[str, NDArray[np.uint8]]


def save(path: Path, meta: Any, images: Pictures, kind: str = "WEBP", squeeze: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", squeeze) as archive:
        for name, texels in images.items():
            file = io.BytesIO()
            Image.fromarray(texels).save(file, kind, lossless=True, exact=True)
            archive.writestr(name, file.getvalue())
        archive.writestr("meta.json", meta if isinstance(meta, bytes) else json.dumps(meta))
    return path


def by_hand() -> tuple[Meta, Pictures]:
    """Five Gaussians of degree 1 in images of 4 x 4 texels, a palette of two entries."""
    steps = [i / 100 for i in range(256)]
    meta = {
        "version": 2,
        "count": 5,
        "means": {"mins": [-1, 0, 2], "maxs": [1, 4, 2], "files": ["low.webp", "high.webp"]},
        "scales": {"codebook": [each - 2 for each in steps], "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"codebook": steps, "files": ["c.webp"]},
        "shN": {"count": 2, "bands": 1, "codebook": steps, "files": ["p.webp", "labels.webp"]},
    }
    names = ("low", "high", "s", "q", "c", "labels")
    images = {f"{name}.webp": np.zeros((4, 4, 4), np.uint8) for name in names}
    low, high, s, q, c, labels = (images[f"{name}.webp"] for name in names)
    q[..., 3] = 252
    low[0, 0, :3], high[0, 0, :3] = (0, 255, 9), (0, 255, 9)
    low[1, 0, 0], high[1, 0, 0] = 0x34, 0x12  # the fifth
    s[0, 1, :3], c[0, 1] = (7, 8, 9), (10, 20, 30, 51)
    q[0, 2] = (255, 0, 128, 254)
    labels[0, 3, :3] = (1, 0, 77)
    images["p.webp"] = np.zeros((1, 192, 4), np.uint8)
    images["p.webp"][0, 3:6, :3] = np.arange(100, 109).reshape(3, 3)
    return meta, images


def test_a_file_made_by_hand(tmp_path: Path) -> None:
    found = formats.read(save(tmp_path / "a.sog", *by_hand()))
    close = torch.testing.assert_close
    assert len(found) == 5 and found.sh_degree == 1
    e = math.e
    close(found.means[0], torch.tensor([1 - e, e**4 - 1, e**2 - 1]))
    log = -1 + 2 * 0x1234 / 65535
    close(found.means[4, 0], torch.tensor(math.copysign(math.exp(abs(log)) - 1, log)))
    close(found.scales[1].log(), torch.tensor([-1.93, -1.92, -1.91]))
    close(found.colors[1, 0], torch.tensor([0.1, 0.2, 0.3]))
    assert found.opacities[1] == 0.2
    # y is the largest, and a third of what is left of the unit after w and x is nothing at all.
    w, x, z = (np.array([255, 0, 128]) / 255 - 0.5) * math.sqrt(2)
    quat = torch.tensor([w, x, math.sqrt(max(0, 1 - w * w - x * x - z * z)), z]).float()
    close(found.quats[2], quat / quat.norm())
    close(found.colors[3, 1:], torch.arange(100, 109).reshape(3, 3) / 100)
    close(found.colors[2, 1:], torch.zeros(3, 3))


@pytest.mark.parametrize("kind", ["PNG", "deflated", "null", "more texels"])
def test_variants_of_the_format(tmp_path: Path, kind: str) -> None:
    meta, images = by_hand()
    plain = formats.read(save(tmp_path / "a.sog", meta, images))
    if kind == "null":
        meta["scales"]["codebook"][0] = None
    if kind == "more texels":
        images = {n: np.pad(t, ((0, 60), (0, 0), (0, 0))) for n, t in images.items()}
    options = {"PNG": {"kind": "PNG"}, "deflated": {"squeeze": zipfile.ZIP_DEFLATED}}
    found = formats.read(save(tmp_path / "b.sog", meta, images, **options.get(kind, {})))
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(found, name), getattr(plain, name))


def test_version_1(tmp_path: Path) -> None:
    _, images = by_hand()
    meta = {
        "means": {
            "shape": [5, 3],
            "mins": [-1, 0, 2],
            "maxs": [1, 4, 2],
            "files": ["low.webp", "high.webp"],
        },
        "scales": {"mins": [-2, -3, -4], "maxs": [0, 0, 0], "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"mins": [0, 1, 2, -5], "maxs": [1, 2, 4, 5], "files": ["c.webp"]},
        "shN": {"shape": [5, 9], "mins": -0.5, "maxs": 0.5, "files": ["p.webp", "labels.webp"]},
    }
    found = formats.read(save(tmp_path / "a.sog", meta, images))
    close = torch.testing.assert_close
    close(found.means[0], torch.tensor([1 - math.e, math.e**4 - 1, math.e**2 - 1]))
    close(found.scales[1].log(), torch.tensor([-2 + 14 / 255, -3 + 24 / 255, -4 + 36 / 255]))
    close(found.colors[1, 0], torch.tensor([10 / 255, 1 + 20 / 255, 2 + 60 / 255]))
    close(found.opacities[1], torch.tensor(-5 + 51 / 25.5).sigmoid())
    close(found.colors[3, 1:], torch.arange(100, 109).reshape(3, 3) / 255 - 0.5)
    without_torch = formats.read_columns(tmp_path / "a.sog")
    for name in ("means", "scales", "opacities"):
        close(torch.tensor(getattr(without_torch, name)), getattr(found, name))
    close(torch.tensor(without_torch.sh), found.colors)


def test_what_is_written(tmp_path: Path) -> None:
    given = some(70, degree=1)
    formats.write(given, tmp_path / "a.sog", drawing=Drawing(antialiased=True))
    with zipfile.ZipFile(tmp_path / "a.sog") as archive:
        entries = archive.infolist()
        meta = json.loads(archive.read("meta.json"))
        texels = {
            entry.filename: np.array(Image.open(io.BytesIO(archive.read(entry))))
            for entry in entries[1:]
        }
    assert {e.compress_type for e in entries} == {0}
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert list(texels) == [
        "means_l.webp", "means_u.webp", "scales.webp", "quats.webp", "sh0.webp",
        "shN_labels.webp", "shN_centroids.webp",
    ]  # fmt: skip
    assert (meta["version"], meta["count"], meta["model"]) == (2, 70, "antialiased")
    assert (meta["shN"]["count"], meta["shN"]["bands"]) == (70, 1)
    for name, image in texels.items():
        # 70 of 12 x 8 texels; 70 entries of 3 coefficients, 64 in a row.
        assert image.shape[:2] == ((2, 192) if "centroids" in name else (8, 12))
    order = spatial_order(given.means)
    last = int(order[69])
    low, high = texels["means_l.webp"][5, 9].astype(int), texels["means_u.webp"][5, 9].astype(int)
    lows, highs = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    logs = lows + (highs - lows) * (low + 256 * high)[:3] / 65535
    means = np.sign(logs) * np.expm1(np.abs(logs))
    np.testing.assert_allclose(means, given.means[last], atol=2e-4)
    scales = np.array(meta["scales"]["codebook"])[texels["scales.webp"][5, 9, :3]]
    np.testing.assert_allclose(scales, given.scales[last].log(), atol=0.02)
    label = texels["shN_labels.webp"][5, 9, 0] + 256 * int(texels["shN_labels.webp"][5, 9, 1])
    shared = texels["shN_centroids.webp"][label // 64, label % 64 * 3 :][:3, :3]
    rest = np.array(meta["shN"]["codebook"])[shared]
    np.testing.assert_allclose(rest, given.colors[last, 1:], atol=0.02)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 3000])
def test_within_the_quanta(tmp_path: Path, n: int) -> None:
    given = some(n, degree=0)
    given.means[0] = torch.tensor([2000.0, -0.01, 0])
    formats.write(given, tmp_path / "a.sog")
    found, like = formats.read(tmp_path / "a.sog"), given.take(spatial_order(given.means))
    logs = like.means.double().sign() * like.means.double().abs().log1p()
    step = (logs.amax(0) - logs.amin(0)) / 65535
    off = (found.means.double() - like.means.double()).abs()
    assert (off <= 0.51 * step * (1 + like.means.abs()) + 1e-6).all()
    assert (found.opacities - like.opacities).abs().max() <= 1 / 510 + 1e-6
    assert turned_by(found.quats, like.quats).max() < 1
    assert (found.scales.log() - like.scales.log()).abs().max() < 0.05


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_few_values_and_few_vectors_are_kept(tmp_path: Path, degree: int) -> None:
    """Exact, where there are no more values than levels and no more vectors than entries."""
    k = (degree + 1) ** 2
    given = some(900, degree)
    draw = torch.Generator().manual_seed(1)
    values = torch.randn(256, generator=draw)
    pick = torch.randint(256, (900, k, 3), generator=draw)
    given = replace(
        given,
        colors=values[pick],
        scales=values[pick[:, :1].squeeze(1)].exp(),
        opacities=(pick[:, 0, 0] / 255),
    )
    formats.write(given, tmp_path / "a.sog")
    found, like = formats.read(tmp_path / "a.sog"), given.take(spatial_order(given.means))
    torch.testing.assert_close(found.colors, like.colors, rtol=0, atol=0)
    torch.testing.assert_close(found.opacities, like.opacities)
    torch.testing.assert_close(found.scales, like.scales)


def test_levels_of_even_numbers_are_even() -> None:
    numbers = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    levels = codebook.levels_of(numbers)
    off = levels[codebook.nearest_level(levels, numbers).long()] - numbers
    # The least there can be is that of 256 even steps.
    assert off.square().mean() < 1.05 / 256**2 / 12


def test_levels_of_skewed_numbers() -> None:
    draw = torch.Generator().manual_seed(0)
    numbers = torch.cat([torch.randn(20_000, generator=draw), torch.tensor([-1e30, 500.0, 1e30])])
    levels = codebook.levels_of(numbers)
    assert (levels.diff() >= 0).all() and levels.isfinite().all()
    off = (levels[codebook.nearest_level(levels, numbers).long()] - numbers).abs()
    assert off[:20_000].max() < 0.1 and off[20_001] == 0


def loss(vectors: Tensor, labels: Tensor) -> float:
    means = codebook.averages(vectors, labels, int(labels.max()) + 1)
    return float((means[labels] - vectors).square().mean())


def clumps(n: int, centres: int, noise: float) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    middles = torch.randn(centres, 45, generator=draw)
    which = torch.randint(centres, (n,), generator=draw)
    return middles[which] + noise * torch.randn(n, 45, generator=draw)


def test_a_palette_finds_clumps() -> None:
    vectors = clumps(20_000, 500, 0.01)
    labels = codebook.palette_labels(vectors, 2048, 0)
    assert sorted(labels.unique().tolist()) == list(range(int(labels.max()) + 1))
    assert labels.max() < 2048 and loss(vectors, labels) <= 0.01**2


def test_a_palette_is_as_good_as_plain_k_means() -> None:
    vectors = clumps(6000, 1500, 0.5)
    start = vectors[torch.randperm(6000, generator=torch.Generator().manual_seed(0))[:1024]]
    for _ in range(10):
        labels = torch.cdist(vectors, start).argmin(1)
        start = codebook.averages(vectors, labels, 1024)
    assert loss(vectors, codebook.palette_labels(vectors, 1024, 0)) < 1.02 * loss(vectors, labels)


@pytest.mark.parametrize("kind", ["one apart", "enormous", "half alike"])
def test_palettes_of_odd_vectors(kind: str) -> None:
    vectors = clumps(2000, 300, 0.1)
    plain = loss(vectors, codebook.palette_labels(vectors, 600, 0))
    if kind == "one apart":
        vectors[7] = 300
    if kind == "enormous":
        vectors[7], vectors[8] = 1e30, -1e30
    if kind == "half alike":
        vectors[::2] = 0
    labels = codebook.palette_labels(vectors, 600, 0)
    others = torch.arange(2000) > 8
    assert loss(vectors[others], labels[others].unique(return_inverse=True)[1]) < 1.5 * plain


def test_a_palette_of_vectors_that_are_all_alike() -> None:
    labels = codebook.palette_labels(torch.ones(2000, 9), 600, 0)
    assert labels.shape == (2000,) and labels.max() < 2


def test_a_palette_of_the_same_rows_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    one = codebook._palette

    def counted(*asked: Any) -> Any:
        made.append(asked)
        return one(*asked)

    monkeypatch.setattr(codebook, "_palette", counted)
    given = some(3000, degree=1)
    formats.write(given, tmp_path / "a.sog")
    formats.write(replace(given, opacities=given.opacities / 2), tmp_path / "b.sog")
    formats.quantiser(".sog", given)(given)
    assert len(made) == 1
    formats.write(replace(given, colors=given.colors * 0.9), tmp_path / "c.sog")
    formats.write(given, tmp_path / "d.sog")
    assert len(made) == 3
    assert (tmp_path / "a.sog").read_bytes() == (tmp_path / "d.sog").read_bytes()


def test_the_size_of_the_palette(tmp_path: Path) -> None:
    count = {n: sog.entries_of(n, Settings()) for n in (1, 1000, 1024, 4096, 8192, 99_999, 1 << 20)}
    assert list(count.values()) == [1, 1000, 1024, 1024, 2048, 16_384, 65_536]
    formats.write(some(500, degree=1), tmp_path / "a.sog", settings=Settings(sog_palette=20))
    colors = formats.read(tmp_path / "a.sog").colors
    assert len(colors[:, 1:].flatten(1).unique(dim=0)) <= 20
    with pytest.raises(ValueError, match="has 1 to 65,536 rows, not 65,537"):
        formats.write(some(), tmp_path / "b.sog", settings=Settings(sog_palette=65_537))


def test_the_seed_and_the_threads(tmp_path: Path) -> None:
    given, before = some(5000, degree=1), torch.get_num_threads()
    data = []
    try:
        for threads, seed in ((1, 0), (2, 0), (2, 1)):
            torch.set_num_threads(threads)
            formats.write(given, tmp_path / "a.sog", settings=Settings(seed=seed))
            data.append((tmp_path / "a.sog").read_bytes())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert data[0] == data[1] != data[2]


@pytest.mark.parametrize("degree", [0, 3])
def test_the_quantiser_is_what_is_read(tmp_path: Path, degree: int) -> None:
    given = some(3000, degree)
    formats.write(given, tmp_path / "a.sog")
    found = formats.read(tmp_path / "a.sog")
    short = formats.quantiser(".sog", given)(given).take(spatial_order(given.means))
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(short, name), getattr(found, name), rtol=0, atol=0)


def test_the_quantiser_goes_with_a_set_that_moves() -> None:
    given = some(3000, degree=1)
    quantised = formats.quantiser(".sog", given)
    first = quantised(given).colors[:, 1:].flatten(1)
    labels = first.unique(dim=0, return_inverse=True)[1]
    moved = replace(given, colors=given.colors * 0.8, means=given.means * 10)
    then = quantised(moved)
    means = codebook.averages(moved.colors[:, 1:], labels, int(labels.max()) + 1)[labels]
    # The entries are those of the moved rows, rounded to levels of the set fitted to.
    torch.testing.assert_close(then.colors[:, 1:].flatten(1), means, rtol=0, atol=0.02)
    assert then.means.amax(0).allclose(given.means.amax(0))


@pytest.mark.parametrize("n", [1, 17, 300, 5000, 20_000])
def test_noise_takes_no_more_than_is_said(tmp_path: Path, n: int) -> None:
    draw = torch.Generator().manual_seed(n)

    def noise(*shape: int, most: int = 256) -> Tensor:
        return torch.randint(most, shape, generator=draw, dtype=torch.int32)

    def numbers(*shape: int) -> Tensor:
        return -torch.rand(*shape, generator=draw) * 1e-7

    entries = sog.entries_of(n, Settings())
    texels = Texels(
        means=noise(n, 3, most=1 << 16),
        quats=torch.cat([noise(n, 3), 252 + noise(n, 1, most=4)], 1).to(torch.uint8),
        scales=noise(n, 3).to(torch.uint8),
        colors=noise(n, 4).to(torch.uint8),
        palette=Palette(noise(n, most=entries), noise(entries, 15, 3).to(torch.uint8)),
    )
    levels = Levels(
        numbers(2, 3).double() / 3, numbers(256, 3), numbers(256, 3), numbers(256), numbers(256)
    )
    sog_container.write(tmp_path / "a.sog", levels, texels, Drawing(True, -1e-300 / 3))
    size = (tmp_path / "a.sog").stat().st_size
    assert 0.8 * sog.size(n, 3) - 20_000 < size <= sog.size(n, 3)


def broken() -> Iterator[tuple[str, Callable[[Meta, Pictures], Any], str]]:
    """A name, a change to a file made by hand, and words of the message."""
    yield "version", lambda m, i: m.update(version=3), "is a .sog of version 3, expected 1 or 2"
    yield "no count", lambda m, i: m.pop("count"), "has None as 'count'"
    yield "zero", lambda m, i: m.update(count=0), "has 0 as 'count'"
    yield "many", lambda m, i: m.update(count=10**12), "has 1000000000000 as 'count'"
    yield "more", lambda m, i: m.update(count=17), "has 16 texels in 'low.webp' for 17"
    yield "true", lambda m, i: m.update(count=True), "has True as 'count'"
    yield "no part", lambda m, i: m.pop("sh0"), "has None as 'sh0'"
    yield "a list", lambda m, i: m.update(quats=[]), r"has \[\] as 'quats'"
    yield "short", lambda m, i: m["scales"]["codebook"].pop(), "expected a list of 256"
    yield (
        "text",
        lambda m, i: m["sh0"]["codebook"].insert(0, m["sh0"]["codebook"].pop() and "a"),
        "expected finite numbers",
    )
    yield "infinite", lambda m, i: m["means"].update(mins=[0, 0, math.inf]), "expected finite"
    yield "huge", lambda m, i: m["means"].update(mins=[0, 0, 1e200]), "expected finite"
    yield "names", lambda m, i: m["quats"].update(files=[7]), "expected names"
    yield "lacking", lambda m, i: m["quats"].update(files=["../q"]), "lacks '../q'"
    yield (
        "labels",
        lambda m, i: i["labels.webp"].__setitem__((0, 0), 9),
        "has labels up to 2,313 for",
    )
    yield "kind", lambda m, i: i["q.webp"].__setitem__((0, 0), 251), "has rotations without"
    yield (
        "palette",
        lambda m, i: i.update({"p.webp": np.zeros((1, 64, 4), np.uint8)}),
        "has a palette of 64 x 1",
    )
    yield (
        "wide",
        lambda m, i: i.update({"s.webp": np.zeros((16000, 160, 4), np.uint8)}),
        "has 2,560,000 texels",
    )


@pytest.mark.parametrize(("change", "words"), [pytest.param(*c, id=n) for n, *c in broken()])
def test_files_that_lie(
    tmp_path: Path, change: Callable[[Meta, Pictures], Any], words: str
) -> None:
    meta, images = by_hand()
    change(meta, images)
    with pytest.raises(ValueError, match=words) as caught:
        formats.read(save(tmp_path / "a.sog", meta, images))
    assert "a.sog" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"7", b"{", b"\xff\xfe", b" " * (2 << 20)])
def test_a_document_that_is_none(tmp_path: Path, text: bytes) -> None:
    path = save(tmp_path / "a.sog", text, {}, squeeze=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"a\.sog: .*export it again"):
        formats.read(path)
    with pytest.raises(ValueError, match=r"a\.sog: .*export it again"):
        formats.drawing(path)


def test_other_files(tmp_path: Path) -> None:
    for data, words in ((b"", "it is empty"), (b"ply\nformat", "it starts with b'ply")):
        (tmp_path / "a.sog").write_bytes(data)
        with pytest.raises(ValueError, match=rf"a\.sog: is no \.sog file.*{words}"):
            formats.read(tmp_path / "a.sog")


def test_infinite_scales_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    meta, images = by_hand()
    meta["scales"]["codebook"][7] = 1000
    found = formats.read(save(tmp_path / "a.sog", meta, images))
    assert len(found) == 4 and "1 of 5 Gaussians" in caplog.text
