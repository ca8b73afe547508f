"""Deformed Gaussians in files of their own: what is coded is what is read, to the bit."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from elsewhere import digest, digest_elsewhere
from methods import job_of
from torch import Tensor

from splat.core.model import Explicit, module_of
from splat.core.step import Step
from splat.formats import range_coding
from splat.formats.weights import halved
from splat.loop import train
from splat.recipes.recipe import strategy_from_text
from splat.strategies.deform.coded import HarmonicBits
from splat.strategies.deform.coding import exact
from splat.strategies.deform.coding.context import (
    LATENT,
    Expectation,
    Kind,
    Known,
    PlaneContext,
    _bits,
    chessboard,
)
from splat.strategies.deform.coding.rows import (
    STEPS,
    CodedRows,
    _tails_packed,
    _tails_unpacked,
)
from splat.strategies.deform.coding.store import _made, _read, read_clip, settled, write_clip
from splat.strategies.deform.coding.touched import touched
from splat.strategies.deform.container import CLIP, header_of
from splat.strategies.deform.deform import Deform
from splat.strategies.deform.field import KINDS, DeformationField, RoundingStep, Sizes, rounded
from splat.strategies.deform.model import CONTEXT, NAME, Deformed
from splat.system.foreign import Record
from splat.types import Camera, Drawing, Frame

pytest.importorskip("constriction")

FRAME = Frame((1.0, 2.0, 3.0), 0.5)
SIZES = Sizes(sides=(6, 12), instants=3, channels=16, width=16)


def camera(time: float) -> Camera:
    pose = torch.eye(4)
    pose[2, 3] = 4.0
    return Camera(pose, torch.tensor([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]), 40, 40, time=time)


def rows(n: int, degree: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(n)
    return {
        "mean": torch.randn(n, 3, generator=draw) * torch.tensor([0.4, 0.1, 0.3]),
        "quat": torch.randn(n, 4, generator=draw),
        "log_scale": torch.randn(n, 3, generator=draw) - 3,
        "opacity_logit": torch.randn(n, generator=draw) * 3,
        "sh": torch.randn(n, (degree + 1) ** 2, 3, generator=draw) * 0.3,
    }


def trained(n: int = 60, degree: int = 1, kind: Kind = "small") -> Deformed:
    """A model whose planes are as uneven as those that were trained, with a context."""
    draw = torch.Generator().manual_seed(n)
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    field = DeformationField(box, SIZES, draw)
    with torch.no_grad():
        for values in (*field.space, *field.times):
            values.add_(0.1 * torch.randn(values.shape, generator=draw))
        field.last.normal_(0, 0.1, generator=draw)
    field.step = RoundingStep(0.02, 0.03)
    context = PlaneContext(field, field.step, draw, kind)
    with torch.no_grad():
        for weights in context.weights():
            weights.add_(0.05 * torch.randn(weights.shape, generator=draw))
        for latents in context.latents.values():
            latents.normal_(0, 0.5, generator=draw)
    base = Explicit(rows(n, degree), steps=10)
    base.beside[NAME] = field.trained((1e-3, 1e-3), (1e-3, 1e-3), 10)
    base.beside[CONTEXT] = context.trained(10)
    model = Deformed(base, field, coarse=0)
    model.frame = FRAME
    return model


def same(one: Deformed, other: Deformed) -> None:
    for time in (0.0, 0.4, 1.0):
        a, b = one(camera(time)), other(camera(time))
        for name, values in vars(a).items():
            if isinstance(values, Tensor):
                assert torch.equal(values, getattr(b, name)), name


@pytest.mark.parametrize(
    ("n", "degree", "kind"), [(60, 1, "small"), (1, 0, "full"), (300, 3, "small"), (300, 3, "full")]
)
def test_what_is_coded_is_read_to_the_bit(n: int, degree: int, kind: Kind, tmp_path: Path) -> None:
    model, path = trained(n, degree, kind), tmp_path / "a.clip"
    with torch.no_grad():
        write_clip(model, path, FRAME, Drawing(), (1, 0.5, 0))
        again, frame, drawing = read_clip(path)
        same(settled(model), again)
    assert frame == FRAME == again.frame and drawing == Drawing()
    assert header_of(path)["background"] == [1, 0.5, 0] and header_of(path)["kind"] == "coded"
    write_clip(model, tmp_path / "b.clip", FRAME, Drawing(), (1, 0.5, 0))
    assert path.read_bytes() == (tmp_path / "b.clip").read_bytes()


@pytest.mark.parametrize("kind", ["small", "full"])
def test_a_machine_of_few_instructions_reads_the_same_numbers(kind: Kind, tmp_path: Path) -> None:
    with torch.no_grad():
        write_clip(trained(300, 3, kind), tmp_path / "a.clip", FRAME, Drawing())
    assert digest_elsewhere(tmp_path / "a.clip") == digest(tmp_path / "a.clip")


def test_what_is_plain_is_the_model_itself(tmp_path: Path) -> None:
    model, path = trained(), tmp_path / "a.clip"
    write_clip(model, path, FRAME, Drawing(), plain=True)
    with torch.no_grad():
        same(model, read_clip(path)[0])
    assert header_of(path)["kind"] == "plain"


def test_settled_rows_are_near_what_they_were() -> None:
    columns = rows(200, 2)
    found = CodedRows.of(columns).columns()
    # As they lie along the curve; sorted by opacity, of which no two are alike.
    order = columns["opacity_logit"].argsort()
    nearest = (found["mean"][:, None] - columns["mean"]).norm(dim=2).argmin(1)
    assert sorted(nearest.tolist()) == list(range(200)) and len(order) == 200
    away = found["mean"] - columns["mean"][nearest]
    assert float(away.abs().max()) < 3 / 65535
    for name, part in (("log_scale", "log_scale"), ("opacity_logit", "opacity_logit")):
        off = (found[name] - columns[name][nearest]).abs().max()
        assert float(off) <= STEPS[part] / 2 + 1e-5
    quats = torch.nn.functional.normalize(columns["quat"][nearest], dim=1)
    close = (torch.nn.functional.normalize(found["quat"], dim=1) * quats).sum(1).abs()
    assert float(close.min()) > 0.999
    torch.testing.assert_close(found["sh"], columns["sh"][nearest], rtol=0, atol=0.0101)


def test_rows_are_packed_and_unpacked() -> None:
    for degree in (0, 1):
        given = CodedRows.of(rows(77, degree))
        said, sections = given.packed()
        found = CodedRows.unpacked(Record(said), sections)
        assert np.array_equal(found.places, given.places)
        for name, values in given.values.items():
            assert np.array_equal(found.values[name], values), name


def test_rows_that_have_no_harmonics_cost_next_to_nothing() -> None:
    """Nine rows of ten have none: the others take what they would alone, and all how loud they
    are, three bits each."""
    draw, alone = np.random.default_rng(0), 200
    loud = np.rint(draw.normal(0, 30, (alone, 45))).astype(np.int64)
    all_rows = np.zeros((10 * alone, 45), np.int64)
    all_rows[::10] = loud
    both = [_tails_packed(values) for values in (loud, all_rows)]
    sizes = [sum(map(len, sections.values())) for _, sections in both]
    # log2(30) + 2.05 bits of a normal number.
    assert sizes[0] == pytest.approx(alone * 45 * (np.log2(30) + 2.05) / 8, rel=0.02)
    assert sizes[1] < sizes[0] + 10 * alone * 3 / 8
    for values, (said, sections) in zip((loud, all_rows), both, strict=True):
        assert np.array_equal(_tails_unpacked(Record(said), sections, len(values)), values)


def test_values_that_are_read() -> None:
    """A point at (0, -1, 0.6), sides of 5: cells 2, 0 and 3, the first two at their starts."""
    plane, line = touched(torch.tensor([[0.0, -1.0, 0.6]]), 5, 0)
    assert plane.nonzero().tolist() == [[0, 3], [0, 4], [1, 3], [1, 4]]
    assert line.nonzero().flatten().tolist() == [2, 3]
    everywhere, _ = touched(torch.tensor([[9.0, 9, 9], [-9, -9, -9]]), 5, 1)
    assert everywhere.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1],
                                             [3, 3], [3, 4], [4, 3], [4, 4]]  # fmt: skip


@pytest.mark.parametrize("kind", ["small", "full"])
def test_only_values_that_are_read_matter(kind: Kind, tmp_path: Path) -> None:
    model = trained(5, kind=kind)
    path, other = tmp_path / "a.clip", tmp_path / "b.clip"
    write_clip(model, path, FRAME, Drawing())
    read = _read(
        model.field, CodedRows.of(dict(model.cloud.rows(torch.arange(5)))).columns()["mean"]
    )
    with torch.no_grad():
        for kind in KINDS:
            for values, mask in zip(model.field.planes(kind), read[kind], strict=True):
                values[~torch.from_numpy(np.ascontiguousarray(mask))] += 5
    write_clip(model, other, FRAME, Drawing())
    assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("of", ["small", "full"])
def test_expectations_are_those_of_training(of: Kind) -> None:
    """The exact ones, in float64, are torch's but for rounding."""
    model = trained(kind=of)
    context = halved(model.beside[CONTEXT].module)
    everywhere: dict[str, Any] = {
        kind: [np.ones(values.shape[:3], bool) for values in model.field.planes(kind)]
        for kind in KINDS
    }
    steps = {
        kind: [
            (values.detach() / context.step.of(kind)).round().long().numpy()
            for values in model.field.planes(kind)
        ]
        for kind in KINDS
    }
    told: dict[tuple[str, int, int], tuple[Tensor, Tensor]] = {}

    def turn(kind: str, s: int, axis: int, mask: Any, scales: Any, means: Any) -> Any:
        mean, wide = told.setdefault(
            (kind, s, axis), (torch.zeros(*mask.shape, 16), torch.zeros(*mask.shape, 16))
        )
        mean[torch.from_numpy(mask)] = torch.from_numpy(means / range_coding.MEANS).float()
        wide[torch.from_numpy(mask)] = torch.from_numpy(scales / range_coding.PARTS).float()
        return steps[kind][s][axis][mask]

    exact._walked(context, everywhere, turn)
    for (kind, s, axis), (mean, wide) in told.items():
        step = context.step.of(kind)
        with torch.no_grad():
            _, expected, spread = context.expected(model.field, kind, s, axis)
        torch.testing.assert_close(mean, expected / step, rtol=0, atol=0.04)
        torch.testing.assert_close(wide, spread.clamp(-3, 18), rtol=0, atol=0.07)


def test_bits_are_those_of_a_normal_distribution() -> None:
    found = _bits(torch.tensor([0.0, 1.0, -2.0]), torch.tensor(0.5), torch.tensor(1.0), 1.0)
    scale = torch.distributions.Normal(0.5, 2.0)
    chance = [scale.cdf(torch.tensor(v + 0.5)) - scale.cdf(torch.tensor(v - 0.5))
              for v in (0.0, 1.0, -2.0)]  # fmt: skip
    torch.testing.assert_close(found, -torch.stack(chance).log2(), rtol=1e-4, atol=1e-4)


def test_the_first_turn_reads_nothing_of_its_own_plane() -> None:
    draw = torch.Generator().manual_seed(0)
    expectation = Expectation(16, torch.full((16,), 0.3), Known(), 16, draw)
    with torch.no_grad():
        expectation.second.normal_(generator=draw)
    values = torch.randn(7, 6, 16, generator=draw)
    white = chessboard(7, 6, values.device)
    mean, _ = expectation(values, None)
    other, _ = expectation(torch.where(white[:, :, None], values + 1, values), None)
    assert torch.equal(mean, other)  # white ones are read by nobody
    moved, _ = expectation(torch.where(white[:, :, None], values, values + 1), None)
    assert torch.equal(mean[~white], moved[~white]) and not torch.equal(mean[white], moved[white])


def test_the_full_order_is_that_of_light4gs() -> None:
    """Time before space, coarse before fine, and what each plane is expected by."""
    context = module_of(trained(kind="full"), CONTEXT, PlaneContext)
    order = list(context.order(2))
    first = [(kind, s) for kind, s, axis in order if axis == 0]
    assert first == [("times", 0), ("space", 0), ("times", 1), ("space", 1)]
    assert len(order) == len({*order}) == 12
    assert context.expectation("times", 0).known == Known(latents=True)
    assert context.expectation("space", 0).known == Known(lines=True)
    finest = Known(turns=False, coarser=True, latents=True)
    assert context.expectation("times", 1).known == finest == context.expectation("space", 1).known
    # Three instants, 6 and 12 places along a side: a quarter each way, an eighth of 16 channels.
    assert {name: tuple(values.shape) for name, values in context.latents.items()} == {
        "space1": (3, 3, 3, 2), "times0": (3, 1, 2, 2), "times1": (3, 1, 3, 2),
    }  # fmt: skip


def test_planes_of_space_are_expected_by_those_of_time_that_share_an_axis() -> None:
    model = trained(kind="full")
    context = module_of(model, CONTEXT, PlaneContext)
    with torch.no_grad():
        context.expectation("space", 0).second.normal_(generator=torch.Generator().manual_seed(0))
        _, before, _ = context.expected(model.field, "space", 0, 0)
        model.field.times[0][1, :, 4] += 1  # of axis 1, along which rows of plane 0 lie
        _, after, _ = context.expected(model.field, "space", 0, 0)
        changed = (before != after).any(2)
        assert changed.any(1).tolist() == [False, False, True, True, True, True]  # 2 to each side
        model.field.times[0][0] += 1  # of its own axis: it lies across both of its own
        assert torch.equal(context.expected(model.field, "space", 0, 0)[1], after)


def test_latents_are_read_as_they_were_written() -> None:
    context = halved(trained(kind="full").beside[CONTEXT].module)
    said, data = exact.latents_packed(context)
    kept = {name: rounded(values, LATENT) for name, values in context.latents.items()}
    for values in context.latents.values():
        values.zero_()
    exact.fill_latents(context, data, (said["low"], said["high"]))
    for name, values in context.latents.items():
        assert torch.equal(values, kept[name]) and float(values.abs().max()) > 0.5


def test_rounding_is_exact_and_passes_gradients() -> None:
    values = torch.randn(1000).requires_grad_()
    found = rounded(values, 0.02)
    steps = (values.detach() / 0.02).round()
    assert torch.equal(found.detach(), steps * 0.02)
    found.sum().backward()
    assert values.grad is not None and bool((values.grad == 1).all())


def test_files_that_are_broken_say_so(tmp_path: Path) -> None:
    path = tmp_path / "a.clip"
    write_clip(trained(), path, FRAME, Drawing())
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"a\.clip is cut off in planes"):
        read_clip(path)
    path.write_bytes(b"SPLATANC" + whole[8:])
    with pytest.raises(ValueError, match=r"no \.clip file"):
        read_clip(path)
    header, sections = CLIP.read(Path(_again(path, whole)))
    for wrong in ({"sizes": {**header["sizes"], "channels": 32}}, {"low": 1 << 19}, {"rows": 0},
                  {"step": {"space": 0.02, "times": 0}}, {"box": [1]}):  # fmt: skip
        CLIP.write(path, {**header, **wrong}, sections)
        with pytest.raises(ValueError, match="does not fit together"):
            read_clip(path)
    write_clip(trained(kind="full"), path, FRAME, Drawing())
    header, sections = CLIP.read(path)
    for wrong in ({"context": "large"}, {"context": "small"}, {"latents": {"low": 2, "high": 1}},
                  {"latents": {"low": 0, "high": 1 << 30}}):  # fmt: skip
        CLIP.write(path, {**header, **wrong}, sections)
        with pytest.raises(ValueError, match="does not fit together"):
            read_clip(path)
    newer = struct.pack("<8sIII", b"SPLATCLP", 2, 2, zlib.crc32(b"{}")) + b"{}"
    path.write_bytes(newer)
    with pytest.raises(ValueError, match="version 2 of the format"):
        read_clip(path)


def _again(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def test_other_models_are_refused(tmp_path: Path) -> None:
    strategy = strategy_from_text("adc + planes-coded")
    from splat.core.model import Making

    with pytest.raises(ValueError, match="put it behind deform"):
        strategy.model(rows(5), Making(steps=10))
    model = trained()
    with pytest.raises(ValueError, match=r"deforms .* of another kind"):
        write_clip(Deformed(model, model.field, 0), tmp_path / "a.clip", FRAME, Drawing())


def test_bits_of_harmonics_are_about_those_that_they_take() -> None:
    """By hand: of a row of none nothing, of one a step from none everywhere log2(13) / 2."""
    model = trained(200, 1)
    objective = HarmonicBits(weight=2.0, begin=6, every=3)

    def bits(values: Tensor, number: int = 9) -> float:
        with torch.no_grad():
            model.cloud["sh"][:, 1:] = STEPS["tail"] * values
        return objective(cast(Step, SimpleNamespace(model=model, number=number))).item()

    assert bits(torch.zeros(200, 3, 3)) == 0 == bits(torch.ones(200, 3, 3), number=10)
    half = torch.zeros(200, 3, 3)
    half[:100] = -1
    assert bits(half) == pytest.approx(2 * 0.5 * 0.5 * np.log2(13), rel=1e-5)
    for deviation in (
        0.3,
        1.0,
        8.0,
    ):  # of normal numbers what they really take, to a third of a bit
        draw = torch.Generator().manual_seed(1)
        values = deviation * torch.randn(200, 3, 3, generator=draw)
        said, sections = _tails_packed(values.round().long().view(200, 9).numpy())
        really = 8 * len(sections["tail"]) / values.numel()
        assert abs(bits(values) / 2 - really) < 0.34 and said["high"] > 0


@pytest.mark.parametrize("kind", ["small", "full"])
def test_bits_fall_as_they_are_learned(kind: Kind, clip_folder: Path, tmp_path: Path) -> None:
    """The same run, with bits that cost nothing and with bits that cost much."""
    sizes = []
    for rate in (0.0, 0.05):
        text = "mrnf --cap 500 + deform --coarse 0 --resolution 8 + planes-coded"
        text += f" --coded-from 0 --rate {rate} --context {kind}"
        with closing(job_of(clip_folder, strategy_from_text(text), steps=60)) as job:
            train(job.run)
            model = job.run.model
            assert isinstance(model, Deformed)
            write_clip(model, tmp_path / "a.clip", FRAME, Drawing())
        sections = CLIP.read(tmp_path / "a.clip")[1]
        sizes.append(len(sections["planes"]) + len(sections.get("latents", b"")))
    assert sizes[1] < 0.8 * sizes[0], sizes


def test_the_names_are_there() -> None:
    assert isinstance(strategy_from_text("adc + deform + light4gs + planes-coded"), object)
    assert Deform().width == 32 and _made is not None


def test_info_says_what_a_file_is(tmp_path: Path, splat: Callable[..., Any]) -> None:
    write_clip(trained(), tmp_path / "a.clip", FRAME, Drawing())
    said = json.loads(splat("info", tmp_path / "a.clip", "--json").out)
    assert said["format"] == ".clip, coded" and said["gaussians"] == 60
    assert said["planes"] == {"sides": [6, 12], "instants": 3, "channels": 16}
    (tmp_path / "b.clip").write_bytes(b"")
    outcome = splat("info", tmp_path / "b.clip")
    assert outcome.code == 2 and "b.clip" in outcome.err
