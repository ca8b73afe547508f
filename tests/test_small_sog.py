"""`.sog` with few bits: even steps, labels that cost little, bits dealt by what views see, and
as few rows as training makes good."""

from __future__ import annotations

import json
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import some
from numpy.typing import NDArray
from PIL import Image
from test_compress import searched

from splat import formats
from splat.evaluation.evaluate import HeldOutView
from splat.export.bits import dealt_bits
from splat.export.choice import trials_table, variants
from splat.export.search import Variant
from splat.export.smallest import smallest
from splat.export.view_weights import ViewWeights
from splat.formats import codebook
from splat.formats.order import spatial_order
from splat.formats.settings import Settings
from splat.types import Gaussians

FEW = Settings(sog_bits=(12, 5, 6, 6, 4), sog_palette=64)


def test_even_levels_are_multiples_from_the_least_to_the_greatest() -> None:
    levels = codebook.even_levels(torch.tensor([-0.26, 0.9, 0.1]), 0.25)
    assert levels[:6].tolist() == [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0] and (levels[6:] == 1).all()
    # 256 levels have to reach.
    wide = codebook.even_levels(torch.tensor([-100.0, 100.0]), 0.25)
    assert wide[0] == pytest.approx(-100, abs=1) and wide[-1] == pytest.approx(100, abs=1)


def test_even_levels_are_found_without_a_search() -> None:
    draw = torch.Generator().manual_seed(0)
    values = 3 * torch.randn(10_000, generator=draw)
    for levels in (
        codebook.even_levels(values, 0.25),
        codebook.even_levels(values, 0.0625),
        codebook.levels_of(values),
        torch.full((256,), 0.5),
    ):
        nearest = (values[:, None] - levels).abs().amin(1)
        found = codebook.nearest_level(levels, 2 * values / 2)
        torch.testing.assert_close((values - levels[found.long()]).abs(), nearest)
    levels = codebook.even_levels(values, 0.25)
    assert levels[codebook.nearest_level(levels, levels).long()].equal(levels)
    assert codebook.nearest_level(levels, torch.tensor([-99.0, 99.0])).tolist()[0] == 0


def test_vectors_that_are_shared_stay_so() -> None:
    palette = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 1, 1, 4, 0, 2, 3])
    found = codebook.shared_labels(palette[labels], 5)
    assert found is not None
    assert torch.equal(found[:, None] == found, labels[:, None] == labels)
    assert codebook.shared_labels(palette[labels], 4) is None


def test_who_weighs_little_takes_the_label_that_costs_least() -> None:
    # 8 rows at 0, one each at 1 and at 2: labels of 0.32, 3.32 and 3.32 bits.
    vectors = torch.tensor([0.0] * 8 + [1.0, 2.0])[:, None]
    labels = torch.tensor([0] * 8 + [1, 2])
    weights = torch.tensor([1.0] * 9 + [0.1])
    # At 1: 1 * 1 is more than 0.2 * 3 bits; at 2: 0.1 * 4 is less, and then 0.2 * 2.8 is more.
    found = codebook.cheap_labels(vectors, labels, weights, 0.2)
    assert found.tolist() == [0] * 8 + [1, 0]
    # For nothing all keep their own.
    assert codebook.cheap_labels(vectors, labels, weights, 0.0).tolist() == labels.tolist()
    # An entry is the mean of its rows by what they weigh.
    assert codebook.averages(vectors, found, 2, weights)[0].item() == pytest.approx(0.2 / 8.1)


def test_codes_are_on_steps_and_read_by_the_quantiser(tmp_path: Path) -> None:
    given, path = some(3000, 2), tmp_path / "a.sog"
    weights = torch.rand(3000, generator=torch.Generator().manual_seed(1))
    formats.write(given, path, settings=FEW, weights=weights)
    found = formats.read(path)
    order = spatial_order(given.means)
    short = formats.quantiser(".sog", given, FEW, weights)(given).take(order)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(short, name), getattr(found, name), rtol=0, atol=0)
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        low, quats, colors = (_texels(archive, name) for name in ("means_l", "quats", "sh0"))
    # The greatest code is one of them too.
    low, opacity = low[:, :3], colors[:, 3]
    assert not (low[low < 255] % 16).any() and not (opacity[opacity < 255] % 16).any()
    assert not ((quats[:, :3] - 127) % 8).any()
    steps = np.diff(meta["scales"]["codebook"])
    assert np.allclose(steps[steps > 1e-9], 0.25)
    assert meta["shN"]["count"] <= 64
    # Half of a step at most.
    log = given.scales[order].log()
    assert (found.scales.log() - log).abs().max() <= 0.1251
    assert path.stat().st_size < 0.75 * _size(given, tmp_path / "b.sog", Settings(sog_palette=64))


def test_a_palette_stays_while_its_rows_go_their_ways() -> None:
    given = some(2000, 1)
    first = formats.quantiser(".sog", given, FEW)
    moved = Gaussians(
        given.means, given.quats, given.scales, given.opacities,
        given.colors + 0.1 * torch.randn(given.colors.shape, generator=torch.manual_seed(3)),
        given.sh_degree,
    )  # fmt: skip
    then = formats.quantiser(".sog", moved, FEW, before=first)
    before = first(given).colors[:, 1:].flatten(1).unique(dim=0, return_inverse=True)[1]
    after = then(moved).colors[:, 1:].flatten(1)
    for label in before.unique():
        assert (after[before == label] == after[before == label][0]).all()


def _texels(archive: zipfile.ZipFile, name: str) -> NDArray[np.int64]:
    image = Image.open(archive.open(f"{name}.webp")).convert("RGBA")
    return np.array(image).reshape(-1, 4)[:3000].astype(np.int64)


def _size(given: Gaussians, path: Path, settings: Settings) -> int:
    formats.write(given, path, settings=settings)
    return path.stat().st_size


def test_bits_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sog-bits has 9 for scales; expected 1 to 8"):
        formats.write(some(10, 0), tmp_path / "a.sog", settings=Settings(sog_bits=(12, 5, 9, 6, 4)))


def test_bits_are_dealt_by_what_views_see() -> None:
    search = searched(some(400, spread=0.6))
    fine, coarse = dealt_bits(search, (0.03, 0.5))
    assert all(a >= b for a, b in zip(fine, coarse, strict=True)) and fine != coarse
    ways = variants([".sog"], 3, Settings(), [fine, coarse])
    assert {way.settings.sog_bits for way in ways} == {None, fine, coarse}
    # Rows far away among which nothing moves in the pictures need their places less well.
    wide = some(400, spread=0.6)
    wide.means[:, 2] *= 1e-3
    assert dealt_bits(searched(wide), (0.03,))[0] != (16, 8, 8, 8, 8)


def test_as_few_rows_as_lose_no_more_than_is_allowed() -> None:
    given = some(400, spread=0.6)
    search = searched(given)
    trained: list[Variant] = []

    def kept(rows: Gaussians, sight: ViewWeights, variant: Variant) -> Gaussians:
        trained.append(variant)
        assert len(rows) == len(sight.seen)
        return rows

    most = 12.0
    found = smallest(search, [".sog"], Settings(), most, kept)
    assert found.tried.loss <= most and len(found.gaussians) == found.tried.gaussians
    assert found.tried.bytes == min(each.bytes for each in search.tried if each.loss <= most)
    # One deal of bits; first all bands, then fewer of as many rows.
    assert len({each.settings.sog_bits for each in trained}) == 1
    degrees = [each.degree for each in trained]
    assert degrees == sorted(degrees, reverse=True) and degrees[:2] == [3, 3] and degrees[-1] < 3
    with pytest.raises(ValueError, match=r"no file loses at most -99 dB: the nearest is \.sog"):
        smallest(search, [".sog"], Settings(), -99.0, kept)


def test_losses_are_counted_in_photos_that_no_training_saw() -> None:
    given = some(200, spread=0.6)
    search = searched(given)
    dark = replace(search.batches[0], pixels=torch.zeros_like(search.batches[0].pixels))
    judged = replace(search, judges=[HeldOutView(dark)], tried=[])
    drawn = judged.drawn(given, dark).clamp(0, 1).double()
    assert judged.before == pytest.approx(-10 * drawn.square().mean().log10().item(), abs=1e-3)
    assert judged.before < search.before
    # Fewer rows draw less light: what is worse by the views of training is better by this photo.
    way = Variant(".ply", Settings(), 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ply"
        weight = judged.written(judged.final(way, 50), judged.sight_of(50), way, path)
        assert (
            judged.noted(way, 50, weight, path).loss < 0 < search.noted(way, 50, weight, path).loss
        )
    # Losses may be counted from another set than the whole one.
    judged.count_from(given.take(torch.arange(50)))
    assert judged.before > replace(search, judges=judged.judges).before
    assert "against photos that were kept out (1)" in trials_table(judged, judged.tried[0])
