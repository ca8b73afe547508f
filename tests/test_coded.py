"""Coded anchors: trained to be rounded, told in few bits, drawn from a file as they were."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import digest, digest_elsewhere
from methods import job_of
from steps import CAMERA, fill_moments, refined, step_of
from torch import Tensor
from torch.autograd import gradcheck
from torch.special import ndtr

from splat.core.model import Making
from splat.formats import range_coding
from splat.formats.range_coding import PARTS, power
from splat.loop import Run, train
from splat.recipes.recipe import strategy_from_text
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold, cellcode
from splat.strategies.scaffold.anchors import Anchored
from splat.strategies.scaffold.coded import Bits, Coded, bits_of
from splat.strategies.scaffold.compact import MASK_START, STEPS, CodedAnchors, Sample
from splat.strategies.scaffold.container import ANCHORS, header_of
from splat.strategies.scaffold.context import KINDS, Expected
from splat.strategies.scaffold.exact import filed, told
from splat.strategies.scaffold.settled import laid_out
from splat.strategies.scaffold.shaken import noise, shaken
from splat.strategies.scaffold.store import read_anchors, write_anchors
from splat.types import Drawing, Frame, Gaussians

BASE = (0.4, 0.06, 0.1)
"""Steps that anchors are shaken by at first."""
EMPTY = torch.empty(0, dtype=torch.int64)
DRAWN = ("means", "quats", "scales", "opacities", "colors")
FRAME, DRAWING = Frame((0.5, -1.0, 2.25), 0.3), Drawing(antialiased=True, near=0.125)
SMALL = Scaffold(
    cap=600, grow_gradient=5e-5, seen_share=0.5, observe_from=5, refine_from=10, refine_until=90,
    refine_every=20, slots=5, features=8, hidden=16,
)  # fmt: skip


@dataclass
class Trained:
    """A short run on the tiny scene, and its file."""

    run: Run
    model: CodedAnchors
    path: Path


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    strategy = Coded(SMALL, mask_weight=0.3, noise_from=30, pause_until=50, adapt_from=60)
    path = tmp_path_factory.mktemp("coded") / "tiny.anchors"
    with closing(job_of(tiny_folder, strategy, steps=120)) as job:
        train(job.run)
        model = job.run.model
        assert isinstance(model, CodedAnchors)
        with torch.no_grad():  # more than so few steps take out
            model.cloud["mask"][::3, 1] = -9.0
            model.cloud["mask"][7] = -9.0
        write_anchors(model, path, job.run.frame, job.run.drawing, (0.25, 0.5, 1.0))
        yield Trained(job.run, model, path)


def model_at(points: Any, **options: Any) -> CodedAnchors:
    """Anchors that begin at points, tracked as the strategy does."""
    strategy = coded(**options)
    model = strategy.model({"mean": torch.as_tensor(points)}, Making(steps=30_000))
    assert isinstance(model, CodedAnchors)
    strategy.begin(model)
    return model


def coded(**options: Any) -> Coded:
    return Coded(Scaffold(voxel=0.25, slots=3, features=2, hidden=16), **options)


def opaque(model: Anchored) -> None:
    """Let every offset make a Gaussian."""
    with torch.no_grad():
        weights = model.networks()["heads"].module.get_parameter("opacity_out")
        weights.zero_()
        weights[-1] = 0.5


def seen(n: int = 12) -> Tensor:
    """Points before the camera of steps, each in a cell of its own."""
    place = torch.arange(n)
    return torch.stack([place % 3 - 1.0, place // 3 % 2 - 0.5, 4.0 + place // 6], 1)


def alike(one: Gaussians, other: Gaussians) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in DRAWN)


def test_a_file_draws_what_was_drawn_to_the_bit(trained: Trained) -> None:
    run, model = trained.run, trained.model
    read, frame, drawing = read_anchors(trained.path)
    assert (frame, drawing, read.voxel) == (run.frame, run.drawing, model.voxel)
    assert isinstance(read, CodedAnchors)
    found, kept = model.settled(), read.settled()
    assert found is not None and kept is not None
    assert np.array_equal(found.values, kept.values) and np.abs(found.values).max() > 1
    assert torch.equal(found.masks, kept.masks) and 0.5 < float(found.masks.float().mean()) < 1
    assert len(found.rows) == len(model.cloud) - int((~model.on).all(1).sum()) < len(model.cloud)
    for name, values in found.columns.items():
        assert torch.equal(values, read.cloud[name])
    with torch.no_grad():
        for camera in run.views[:4]:
            one, other = model(camera), read(camera)
            assert len(one) > 100 and alike(one, other)
            assert torch.equal(run.render(one, camera).image, run.render(other, camera).image)
            assert one.source is not None and other.source is not None
            assert torch.equal(one.source, found.rows[other.source // 5] * 5 + other.source % 5)
            assert bool(torch.isin(one.source // 5, model.rows_for(camera)).all())
    assert alike(model.bake(), read.bake())
    for one_view, other_view in zip(model.views, read.views, strict=True):
        assert torch.equal(one_view.world_to_camera, other_view.world_to_camera)
        assert torch.equal(one_view.K, other_view.K) and one_view.index == other_view.index
    header = header_of(trained.path)
    assert header["kind"] == "coded" and header["background"] == [0.25, 0.5, 1.0]


def test_a_machine_of_few_instructions_reads_the_same_numbers(trained: Trained) -> None:
    assert digest_elsewhere(trained.path) == digest(trained.path)


def test_what_is_read_is_written_as_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    read, frame, drawing = read_anchors(trained.path)
    assert isinstance(read, CodedAnchors)
    again = tmp_path / "again.anchors"
    for forget in (False, True):
        if forget:
            read._settled = None  # round anew what was rounded
        write_anchors(read, again, frame, drawing, (0.25, 0.5, 1.0))
        assert again.read_bytes() == trained.path.read_bytes()


def test_bits_are_those_that_the_context_expects(trained: Trained) -> None:
    found = trained.model.settled()
    assert found is not None
    _, sections = ANCHORS.read(trained.path)
    scale = torch.from_numpy(power(found.told.scale))
    values = torch.from_numpy(found.values).double()
    mass = ndtr((values + 0.5) / scale) - ndtr((values - 0.5) / scale)
    bits = -mass.clamp_min(2.0**-24).log2()[torch.from_numpy(found.kept)].sum()
    written = 8 * sum(len(sections[kind]) for kind in ("feature", "reach", "offset"))
    assert written == pytest.approx(float(bits), rel=0.02, abs=500)
    # And it expects more than nothing: less than the same numbers by one scale for each column.
    spread = values.std(0, correction=0).clamp_min(0.1)
    blind = ndtr((values - values.mean(0) + 0.5) / spread)
    blind -= ndtr((values - values.mean(0) - 0.5) / spread)
    assert written < 1.1 * float(
        -blind.clamp_min(2.0**-24).log2()[torch.from_numpy(found.kept)].sum()
    )


def test_a_plain_file_holds_every_number(trained: Trained, tmp_path: Path) -> None:
    path, model = tmp_path / "plain.anchors", trained.model
    write_anchors(model, path, FRAME, DRAWING, plain=True)
    read, frame, drawing = read_anchors(path)
    assert (frame, drawing) == (FRAME, DRAWING) and isinstance(read, CodedAnchors)
    assert read.settled() is None
    for name in model.cloud.names:
        assert torch.equal(read.cloud[name], model.cloud[name])
    for name, part in model.networks().items():
        for key, values in part.module.state_dict().items():
            assert torch.equal(values, read.networks()[name].module.state_dict()[key])
    assert path.stat().st_size > 4 * trained.path.stat().st_size


def test_anchors_that_are_not_coded_have_a_file_too(tmp_path: Path) -> None:
    strategy = Scaffold(voxel=0.25, slots=3, features=2, hidden=16, codes=4)
    making = Making(steps=9, views=(CAMERA, replace(CAMERA, index=1)))
    model = strategy.model({"mean": seen()}, making)
    assert isinstance(model, Anchored)
    opaque(model)
    path = tmp_path / "plain.anchors"
    write_anchors(model, path, FRAME, DRAWING)
    read, _, _ = read_anchors(path)
    assert type(read) is Anchored and len(read.views) == 2 and read.voxel == 0.25
    with torch.no_grad():
        assert len(model(CAMERA)) and alike(model(CAMERA), read(CAMERA))
        assert alike(model(CAMERA, 3), read(CAMERA, 3))  # with the photo's code
    with pytest.raises(ValueError, match=r"hold anchors, and this model has Gaussians"):
        rows = {"mean": seen(), "quat": torch.ones(12, 4), "log_scale": torch.zeros(12, 3)}
        rows |= {"opacity_logit": torch.zeros(12), "sh": torch.zeros(12, 1, 3)}
        write_anchors(Mcmc().model(rows, Making(steps=1)), path, FRAME, DRAWING)


BROKEN: dict[str, tuple[Any, str]] = {
    "empty": (lambda data: b"", "is empty"),
    "another kind": (lambda data: b"PK" + data[2:], "it is no .anchors file"),
    "newer": (lambda data: data[:8] + struct.pack("<I", 9) + data[12:], "version 9 of the format"),
    "header cut": (lambda data: data[:200], "cut off in its header"),
    "cut": (lambda data: data[:-600], "is cut off in"),
    "a bit": (lambda data: data[:-2000] + bytes([data[-2000] ^ 4]) + data[-1999:], "checksum"),
    "header bit": (lambda data: data[:60] + b"7" + data[61:], "another header"),
    "longer": (lambda data: data + b"more", "goes on for 4 bytes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_files(what: str, trained: Trained, tmp_path: Path) -> None:
    change, said = BROKEN[what]
    path = tmp_path / "broken.anchors"
    path.write_bytes(change(trained.path.read_bytes()))
    with pytest.raises(ValueError, match=said):
        read_anchors(path)


def test_numbers_that_come_out_otherwise_are_one_sentence(trained: Trained, tmp_path: Path) -> None:
    header, sections = ANCHORS.read(trained.path)
    path = tmp_path / "other.anchors"
    # As where the context says other scales: the bytes are whole, and mean something else.
    weights = np.frombuffer(sections["context"], "<f2") * np.float16(1.01)
    ANCHORS.write(path, header, {**sections, "context": weights.astype("<f2").tobytes()})
    with pytest.raises(ValueError, match="does not fit together"):
        read_anchors(path)
    ANCHORS.write(path, {**header, "numbers": 1}, sections)
    with pytest.raises(ValueError, match="packages compute otherwise"):
        read_anchors(path)
    with pytest.raises(FileNotFoundError, match="is not a file"):
        read_anchors(tmp_path / "none.anchors")


def test_without_the_coder(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_coding, "constriction", None)
    for work in (lambda: read_anchors(trained.path), lambda: write_anchors(
        trained.model, trained.path, FRAME, DRAWING)):  # fmt: skip
        with pytest.raises(ValueError, match=r"pip install 'splat-toolkit\[anchors\]'"):
            work()


@pytest.mark.parametrize("n", [1, 2, 300])
def test_cells_are_told_and_found(n: int) -> None:
    draw = np.random.default_rng(n)
    cells = np.unique(draw.integers(-700, 90, (n, 3)), axis=0)
    told_so = cellcode.packed(draw.permutation(cells))
    assert np.array_equal(cellcode.unpacked(told_so), cells[cellcode.order(cells)])
    far = (1 << 20) - 1
    ends = np.array([[far, -far, 0], [-far, far, far]])
    assert np.array_equal(np.sort(cellcode.unpacked(cellcode.packed(ends)), 0), np.sort(ends, 0))


def test_cells_of_a_surface_take_few_bits() -> None:
    x, y = np.meshgrid(np.arange(60), np.arange(60), indexing="ij")
    plane = np.stack([x, y, (x + y) // 3], -1).reshape(-1, 3)
    told_so = cellcode.packed(plane)
    assert 8 * (len(told_so.bits) + len(told_so.chances)) < 4 * len(plane)


def test_places_off_the_grid_and_twice_in_a_cell_are_kept() -> None:
    on = torch.tensor([[3.0, -2.0, 1.0], [-8.0, 0.0, 16.0], [3.0, -2.0, 1.0]]) * 0.1
    places = torch.cat([on, torch.tensor([[0.123, 0.4, 0.5]])])
    order, side, cells = laid_out(places, 0.1)
    assert side == 0.1 and len(cells) == 2
    assert torch.equal(torch.from_numpy(cells).float() * side, places[order[:2]])
    assert sorted(order.tolist()) == [0, 1, 2, 3] and 3 in order[2:]
    # Cells finer than the voxel are found.
    assert laid_out(on / 2, 0.1)[1] == 0.05 and len(laid_out(on / 2, 0.1)[2]) == 2
    assert len(laid_out(places, 0.0)[2]) == 0


def test_one_anchor_has_a_file(tmp_path: Path) -> None:
    model = model_at([[-0.26, 0.1, 4.0]])
    opaque(model)
    model.done = 10_001
    path = tmp_path / "one.anchors"
    write_anchors(model, path, FRAME, DRAWING)
    read, _, _ = read_anchors(path)
    with torch.no_grad():
        assert len(model(CAMERA)) == 3 and alike(model(CAMERA), read(CAMERA))
        model.cloud["mask"].fill_(-9.0)
        model._settled = None
        assert len(model(CAMERA)) == 0
    with pytest.raises(ValueError, match="no anchor draws anything"):
        write_anchors(model, path, FRAME, DRAWING)


def test_a_context_says_the_same_in_both_spellings() -> None:
    model = model_at(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) * 3)
    context = model.context
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in (context.table, context.second):
            weights.copy_(0.3 * torch.randn(weights.shape, generator=draw))
    context = filed(context)
    places = model.cloud["anchor"].detach()
    places = torch.cat([places, 50 * places[:9]])  # far outside, too
    exact, soft = told(context, places), context(places)
    mean, step = torch.from_numpy(exact.mean).float(), torch.from_numpy(power(exact.step)).float()
    torch.testing.assert_close(mean, soft.mean, rtol=1e-4, atol=1e-5)
    base = torch.tensor(context.shape.steps)
    assert float((step * base / soft.step).log2().abs().max()) < 0.51 / PARTS
    scale = torch.from_numpy(power(exact.scale)).float() * context.wide(step * base)
    inside = scale / context.wide(step * base) > 0.13
    assert float((scale / soft.scale)[inside].log2().abs().max()) < 0.51 / PARTS
    torch.testing.assert_close(context.steps(places), soft.step)
    assert soft.mean.std(0).min() > 0  # places differ


def test_powers() -> None:
    numbers = np.arange(-40, 80)
    np.testing.assert_allclose(power(numbers), 2.0 ** (numbers / PARTS), rtol=1e-15)
    assert power(np.array([16]))[0] == 4.0


def test_gradient_of_the_bits() -> None:
    model = model_at(seen(4))
    context = model.context.double()
    draw = torch.Generator().manual_seed(3)
    places = model.cloud["anchor"].detach()
    d = sum(context.widths)
    values = torch.randn(4, d, generator=draw, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(4, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        context.second.copy_(0.2 * torch.randn(context.second.shape, generator=draw))
    read = context.read(places).detach()

    def bits(values: Tensor, masks: Tensor, first: Tensor, second: Tensor) -> Tensor:
        del first, second
        expected: Expected = context.told(read)
        return bits_of(model, Sample(0, values, masks, expected)).sum()

    assert gradcheck(bits, (values, masks, context.first, context.second))
    value = bits(values, masks, context.first, context.second)
    off = bits(values, torch.zeros_like(masks), context.first, context.second)
    assert float(off.detach()) < float(value.detach())


def test_the_term_of_the_loss() -> None:
    model = model_at(seen(), adapt_from=5000)
    term = Bits(rate=0.5, mask_weight=2.0)
    masks = 2 * model.cloud["mask"].sigmoid().mean()
    assert float(term(step_of(model, 3000, source=EMPTY)).detach()) == 0  # nothing is shaken yet
    step = step_of(model, 6000, source=EMPTY)  # which draws without gradients
    torch.testing.assert_close(term(step), masks)
    model(CAMERA, 5999)
    assert model.sample is not None
    numbers = sum(model.context.widths)
    bits = bits_of(model, model.sample).mean() + model.context.bits() / (12 * numbers)
    torch.testing.assert_close(term(step), masks + 0.5 * bits)
    # The signs by themselves: of equal chances one bit each, of one kind none.
    table = model.context.table
    with torch.no_grad():
        table.copy_(torch.tensor([1.0, -1.0]).expand_as(table))
        assert float(model.context.bits()) == pytest.approx(table.numel())
        table.fill_(0.5)
        assert float(model.context.bits()) < 0.01 * table.numel()


def test_noise_stays_within_half_a_step_and_is_drawn_anew() -> None:
    model = model_at(seen())
    columns = {name: model.cloud[name] for name in ("anchor", "feature", "reach", "offset")}
    masks, rows = model.on.float(), model.rows_for(CAMERA)
    for step, steps in ((3000, BASE), (10_000, BASE), (12_000, (3.0, 4.0, 5.0))):
        if step == 12_000:
            model.cloud.statistic(STEPS).copy_(torch.tensor(steps))
            with torch.no_grad():  # what is sampled has the same
                model.context.second[-1, -3:] = -9.0
        found = model._shaken(columns, masks, rows[:4], step)
        again = model._shaken(columns, masks, rows[:4], step)
        other = model._shaken(columns, masks, rows[:4], step + 1)
        for name, size, base in zip(KINDS, steps, BASE, strict=True):
            moved = (found[name] - columns[name]).detach().flatten(1)
            assert torch.equal(found[name], again[name])
            assert not torch.equal(found[name], other[name])
            # Of twelve anchors four are in view, and sampled: their steps are the context's.
            small = base / 16 if step == 12_000 else base
            assert 0.3 * small < float(moved[rows[:4]].abs().max()) <= small / 2 * 1.0001
            assert 0.3 * size < float(moved[rows[4:]].abs().max()) <= size / 2 * 1.0001
    with torch.no_grad():
        assert alike(model(CAMERA, 12_000), model(CAMERA, 100))  # for a look: as it is


def test_noise_is_even_and_its_rows_differ() -> None:
    found = noise(4000, 20, torch.Generator().manual_seed(0))
    assert found.shape == (4000, 20) and noise(0, 3, torch.Generator()).shape == (0, 3)
    assert -0.5 <= float(found.min()) < -0.49 and 0.49 < float(found.max()) <= 0.5
    related = torch.corrcoef(found.T) - torch.eye(20)
    assert float(related.abs().max()) < 0.08
    assert float(found.var(0).mean()) == pytest.approx(1 / 12, rel=0.02)


def test_what_noise_says_of_steps() -> None:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(6, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    live = torch.rand(2, 1, generator=draw, dtype=torch.float64, requires_grad=True)
    picked = torch.tensor([5, 0])
    drawn = torch.rand(6, 3, generator=draw, dtype=torch.float64)
    steps = torch.full((6, 1), 2.0, dtype=torch.float64)

    def whole(values: Tensor, live: Tensor) -> Tensor:
        found, some = shaken(values, live, picked, drawn, steps, 1.0)
        return (found**2).sum() + (some**3).sum()

    assert gradcheck(whole, (values, live))
    found, some = shaken(values, live, picked, drawn, steps, 3.0)
    assert torch.equal(some, found[picked])
    torch.testing.assert_close(found[2], values[2] + 2 * drawn[2])
    torch.testing.assert_close(found[5], values[5] + live[0] * drawn[5])
    (gradient,) = torch.autograd.grad((found**2).sum(), live)
    # Two of six rows speak for all.
    torch.testing.assert_close(gradient, 3 * (2 * found * drawn)[picked].sum(1, keepdim=True))


def test_a_mask_draws_or_not_and_has_the_gradient_of_its_logistic_function() -> None:
    model = model_at(seen())
    opaque(model)
    with torch.no_grad():
        model.cloud["mask"][4, 1] = -4.6
        model.cloud["mask"][5, 2] = -4.59
    found = model(CAMERA, 10)
    assert found.source is not None
    assert 4 * 3 + 1 not in found.source and 5 * 3 + 2 in found.source
    torch.testing.assert_close(found.opacities, torch.full((35,), 0.5).tanh())
    found.opacities.sum().backward()
    logits = model.cloud["mask"]
    soft = logits.detach().sigmoid()
    wanted = torch.full_like(soft, 0.5).tanh() * soft * (1 - soft)
    wanted[4, 1] = 0
    torch.testing.assert_close(logits.grad, wanted)


def edits(strategy: Coded, steps: int) -> list[int]:
    (when,) = strategy.scheduled(steps).acts(steps).values()
    return list(when)


def test_anchors_neither_come_nor_go_while_they_get_used_to_noise() -> None:
    whole = edits(coded(), 30_000)
    assert whole == [*range(1600, 3000, 100), *range(4000, 15_000, 100)]
    assert edits(coded(), 3000) == [*range(200, 300, 50), *range(400, 1500, 50)]
    strategy = coded()
    model = model_at(seen())
    for done, acts in ((2900, True), (3000, False), (3900, False), (4000, True)):
        assert (strategy.refine(step_of(model, done, source=EMPTY)) is not None) == acts
    fitted = coded().scheduled(3000)
    assert (fitted.noise_from, fitted.pause_until, fitted.adapt_from) == (300, 400, 1000)


def test_an_anchor_without_an_offset_goes_and_a_born_one_has_all() -> None:
    model = model_at(seen())
    cloud = model.cloud
    fill_moments(cloud)
    with torch.no_grad():
        cloud["mask"][3] = -9.0
        cloud["mask"][4, :2] = -9.0
        cloud["offset"][6, 0] = 7.0
    cloud.statistic("offset_gradient")[6, 0] = 100.0
    cloud.statistic("offset_views")[6, 0] = 50.0
    change = refined(coded(), step_of(model, 5000, source=EMPTY))
    born = change.counts.get("append:grow", 0)
    assert born and change.counts["drop:masked"] == 1
    assert len(cloud) == 12 - 1 + born and bool(model.on.any(1).all())
    assert torch.equal(cloud["mask"][-born:].detach(), torch.full((born, 3), MASK_START))
    # What would leave nothing is left alone.
    with torch.no_grad():
        cloud["mask"].fill_(-9.0)
    assert not refined(coded(), step_of(model, 5100, source=EMPTY))
    assert len(cloud) == 11 + born


def test_the_steps_of_all_anchors_are_asked_for_now_and_then() -> None:
    strategy, model = coded(adapt_from=20_000), model_at(seen())
    with torch.no_grad():
        model.context.second[-1, -3:] = torch.tensor([0.0, 1.0, -1.0])
    for number, known in ((19_999, False), (20_000, True)):
        step = step_of(model, number + 1, source=EMPTY)
        strategy.observe(step)
        assert model.done == number + 1
        assert bool((model.cloud.statistic(STEPS) > 0).all()) == known
    wanted = torch.tensor(BASE) * (1 + torch.tensor([0.0, 1.0, -1.0]).tanh())
    torch.testing.assert_close(model.cloud.statistic(STEPS), wanted.expand(12, 3))


@pytest.mark.parametrize("recipe", ["mcmc + coded", "scaffold + coded + coded"])
def test_where_it_cannot_stand(recipe: str) -> None:
    strategy = strategy_from_text(recipe)
    rows = {"mean": seen(), "quat": torch.ones(12, 4), "log_scale": torch.zeros(12, 3)}
    rows |= {"opacity_logit": torch.zeros(12), "sh": torch.zeros(12, 1, 3)}
    with pytest.raises(ValueError, match=r"put it once after scaffold: scaffold \+ coded"):
        strategy.model(rows, Making(steps=1))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rate", -1.0, "rate is -1; expected 0 or more"),
        ("reach_step", 0.0, "reach_step is 0; expected"),
        ("entries", 30, "entries is 30; expected from 4 to 20"),
        ("share", 0.0, "share is 0"),
        ("pause_until", 99, "in this order"),
    ],
)
def test_numbers_that_cannot_be(field: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Coded(**{field: value})


def test_the_header_is_json(trained: Trained) -> None:
    data = trained.path.read_bytes()
    magic, version, length, crc = struct.unpack_from("<8sIII", data)
    assert (magic, version) == (b"SPLATANC", 1)
    text = data[20 : 20 + length]
    assert zlib.crc32(text) == crc and json.loads(text)["settings"]["slots"] == 5
