"""Files of forests: what is read draws what was settled, bits are those expected, lies are told."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Outcome
from elsewhere import digest, digest_elsewhere
from methods import METHODS, job_of
from test_forest import scattered, trees_at
from torch.special import ndtr

from splat.core.model import Making
from splat.formats import range_coding
from splat.loop import Run, train
from splat.recipes.model_files import MODEL_FILES, model_file
from splat.strategies.forest import Forest, container, files
from splat.strategies.forest.context import gaussian_bits
from splat.strategies.forest.layout import laid_out, within
from splat.strategies.forest.model import Trees
from splat.strategies.forest.settled import SMALLEST
from splat.strategies.forest.store import read_forest, restored, write_forest
from splat.strategies.mcmc import Mcmc
from splat.types import Drawing, Frame, Gaussians

FRAME, DRAWING = Frame((0.5, -1.0, 2.25), 0.3), Drawing(antialiased=True, near=0.125)
DRAWN = ("means", "quats", "scales", "opacities", "colors")


@dataclass
class Trained:
    """A short run on the tiny scene, and its file."""

    run: Run
    model: Trees
    path: Path


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    given = METHODS["forest"]
    assert isinstance(given, Forest)
    strategy = replace(given, round_from=80)
    path = tmp_path_factory.mktemp("forest") / "tiny.forest"
    with closing(job_of(tiny_folder, strategy, steps=160)) as job:
        train(job.run)
        model = job.run.model
        assert isinstance(model, Trees)
        write_forest(model, path, job.run.frame, job.run.drawing, (0.25, 0.5, 1.0))
        yield Trained(job.run, model, path)


def alike(one: Gaussians, other: Gaussians) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in DRAWN)


def test_a_file_draws_what_is_settled_to_the_bit(trained: Trained) -> None:
    run, found = trained.run, trained.model.settled()
    read, frame, drawing = read_forest(trained.path)
    assert (frame, drawing) == (run.frame, run.drawing)
    again = restored(found)
    assert len(read.cloud) == len(trained.model.cloud) and len(read.mids) > len(read.roots) > 1
    with torch.no_grad():
        for view in run.views[:3]:
            assert alike(read(view), again(view))
    assert torch.equal(read.view_centres(), trained.model.view_centres())
    assert torch.allclose(read.bake().colors, trained.model.bake().colors[found_order(trained)],
                          atol=0.2)  # fmt: skip
    header = container.header_of(trained.path)
    assert header["kind"] == "coded" and header["background"] == [0.25, 0.5, 1.0]


def found_order(trained: Trained) -> torch.Tensor:
    return trained.model.layout().leaves


def test_rounding_in_training_is_that_of_the_file(trained: Trained) -> None:
    """But for half precision, a run draws after rounding what its file holds."""
    model, order = trained.model, found_order(trained)
    assert model.rounds(None) and not model.rounds(10)
    drawn, (leaves, mids, roots) = model.drawn(None), model.settled().columns()
    layout = model.layout()
    for here, there in (
        (drawn.opacity_logit[order], leaves["opacity_logit"]),
        (drawn.light[order], leaves["light"]), (drawn.size[order], leaves["size"]),
        (drawn.mid[layout.mids], mids["feature"]),
        (drawn.rgb[layout.mids], mids["rgb"]), (drawn.root[layout.roots], roots["feature"]),
    ):  # fmt: skip
        assert torch.allclose(here, there, atol=1e-4)
    # A place that lies between two steps may go to either.
    steps = torch.from_numpy(model.settled().place_steps)[torch.from_numpy(model.settled().mid_of)]
    off = (drawn.mean[order] - leaves["mean"]).abs().amax(1) / steps
    assert float((off.detach() < 1e-3).float().mean()) > 0.999 and float(off.detach().max()) < 1.01
    with torch.no_grad():
        view = trained.run.views[0]
        one, other = (
            trained.run.shown(m(view), view).image for m in (model, restored(model.settled()))
        )
    assert float((one - other).square().mean()) < 1e-3


def test_bits_of_a_file_are_those_that_training_counts(trained: Trained) -> None:
    model = trained.model
    values, layout = model.values(model.layout(), model.drawn(None)), model.layout()
    with torch.no_grad():
        counted = float(model.context.bits(layout, values))
    _, sections = container.FOREST.read(trained.path)
    kinds = ("root", "mid", "size", "own", "first places", "places")
    written = 8 * sum(len(sections[kind]) for kind in kinds)
    assert written == pytest.approx(counted, rel=0.03, abs=500)
    assert written < 0.35 * 32 * values.count


def test_what_is_expected_is_what_the_numbers_are(trained: Trained) -> None:
    """Moves of the context alone, on all numbers as they came to be, make them hardly smaller."""
    model = trained.model
    with torch.no_grad():
        layout = model.layout()
        values = model.values(layout, model.drawn(None))
    context = copy.deepcopy(model.context)
    optimizer = torch.optim.Adam(context.parameters(), lr=5e-3)
    counted = []
    for _ in range(200):
        optimizer.zero_grad()
        bits = context.bits(layout, values) / values.count
        bits.backward()
        optimizer.step()
        counted.append(bits.item())
    assert counted[-1] > 0.9 * counted[0]


def test_a_machine_of_few_instructions_reads_the_same_numbers(trained: Trained) -> None:
    assert digest_elsewhere(trained.path) == digest(trained.path)


def test_what_is_read_is_written_as_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    read, frame, drawing = read_forest(trained.path)
    write_forest(read, tmp_path / "again.forest", frame, drawing, (0.25, 0.5, 1.0))
    assert (tmp_path / "again.forest").read_bytes() == trained.path.read_bytes()


def test_a_plain_file_holds_every_number(trained: Trained, tmp_path: Path) -> None:
    path, model = tmp_path / "plain.forest", trained.model
    write_forest(model, path, FRAME, DRAWING, plain=True)
    read, frame, drawing = read_forest(path)
    assert (frame, drawing) == (FRAME, DRAWING)
    clouds = ((model.cloud, read.cloud), (model.mids, read.mids), (model.roots, read.roots))
    for one, other in clouds:
        assert all(torch.equal(one[name], other[name]) for name in one.names)
    with torch.no_grad():
        view = trained.run.views[0]
        assert alike(model(view), read(view)), "rounded alike"
    assert path.stat().st_size > 3 * trained.path.stat().st_size


def test_without_the_coder_files_are_plain(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(range_coding, "constriction", None)
    write_forest(trained.model, tmp_path / "a.forest", FRAME, DRAWING)
    assert container.header_of(tmp_path / "a.forest")["kind"] == "plain"
    drawn = dict.fromkeys(("same_db", "psnr_before", "psnr_after"))
    receipt = files.receipt_of(tmp_path / "a.forest", trained.model, trained.model, **drawn)
    assert range_coding.INSTALL in receipt.text(), "and how to have small ones is said"
    with pytest.raises(ValueError, match="constriction, which is not installed"):
        read_forest(trained.path)


def test_the_gradient_of_bits_is_that_of_what_they_count() -> None:
    draw = torch.Generator().manual_seed(0)
    apart = torch.randn(40, 1, generator=draw, dtype=torch.float64) * 3
    wide = torch.randn(40, 1, generator=draw, dtype=torch.float64).clamp_min(-2.5)
    far, wider = -apart.abs(), wide.exp2()
    mass = ndtr((far + 0.5) / wider) - ndtr((far - 0.5) / wider)
    near = mass > 1e-9
    assert torch.allclose(gaussian_bits(apart, wide)[near], -mass.log2()[near], rtol=1e-5)
    inputs = (apart.clone().requires_grad_(), wide.clone().requires_grad_())
    assert torch.autograd.gradcheck(gaussian_bits, inputs)
    beyond = torch.tensor([[60.0]], requires_grad=True)
    gaussian_bits(beyond, torch.zeros(1, 1)).backward()
    assert beyond.grad is not None and float(beyond.grad) > 10


def test_a_layout_by_hand() -> None:
    """Two roots: of one mid with leaves at 0 and 1, and of mids at 9 and at 5 with a leaf each."""
    mean = torch.tensor([[9.0, 0, 0], [1, 0, 0], [5, 0, 0], [0, 0, 0]])
    mid_of, root_of = torch.tensor([0, 2, 1, 2]), torch.tensor([0, 0, 1])
    found = laid_out(mean, mid_of, root_of, 2)
    assert found.roots.tolist() == [1, 0] and found.mids.tolist() == [2, 1, 0]
    assert found.leaves.tolist() == [3, 1, 2, 0]
    assert found.root_of.tolist() == [0, 1, 1] and found.mid_of.tolist() == [0, 0, 1, 2]
    assert found.place.tolist() == [0, 0, 1] and found.first.tolist() == [True, False, True, True]
    assert found.leaf_counts.tolist() == [2, 1, 1]
    assert found.centres[:, 0].tolist() == [0.5, 7]
    assert within(torch.tensor([3, 3, 3, 5, 6, 6])).tolist() == [0, 1, 2, 0, 0, 1]


def test_far_leaves_and_tiny_ones_have_their_places(tmp_path: Path) -> None:
    """A leaf of 1e-9 in a scene of 1e4 is told in steps of a millionth part of that."""
    points = torch.cat([scattered(20), torch.tensor([[1e4, 0, 0]])])
    model = trees_at(points)
    with torch.no_grad():
        model.cloud["size"][:5] = -20.0
    write_forest(model, tmp_path / "far.forest", FRAME, DRAWING)
    read, _, _ = read_forest(tmp_path / "far.forest")
    order = model.layout().leaves
    off = (read.cloud["mean"] - model.cloud["mean"][order]).detach().abs().max()
    assert float(off) < 1e4 / SMALLEST
    assert float(read.cloud["mean"].detach().max()) == pytest.approx(1e4, rel=1e-6)


def test_leaves_that_have_vanished_stay_where_they_are_when_they_are_rounded() -> None:
    model = trees_at(scattered(6))
    model.round_from = 1
    with torch.no_grad():
        model.cloud["size"].fill_(-200.0)
        model.done = 1
        assert model.rounds(None)
        assert torch.allclose(model.drawn(None).mean, model.cloud["mean"], atol=1e-6)


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    rows = {
        "mean": scattered(3), "quat": torch.ones(3, 4), "log_scale": torch.zeros(3, 3),
        "opacity_logit": torch.zeros(3), "sh": torch.zeros(3, 1, 3),
    }  # fmt: skip
    with pytest.raises(ValueError, match="hold forests, and this model has Gaussians; train with"):
        write_forest(Mcmc().model(rows, Making(steps=1)), tmp_path / "a.forest", FRAME, DRAWING)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mids": 3}, "other numbers of mids or leaves|cut off|does not fit"),
        ({"leaves": 10**9}, "claims|GB|MB|fit together"),
        ({"numbers": 0}, "are others than were coded"),
        ({"box": [[0, 0, 0]]}, "no two corners"),
        ({"steps": {"root": "a"}}, "does not fit together"),
        ({"ranges": [[5, 1]] * 6}, "ranges of numbers that are none"),
    ],
)
def test_headers_that_lie(
    trained: Trained, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    header, sections = container.FOREST.read(trained.path)
    container.FOREST.write(tmp_path / "lie.forest", {**header, **change}, sections)
    with pytest.raises(ValueError, match=said) as raised:
        read_forest(tmp_path / "lie.forest")
    assert "lie.forest" in str(raised.value) and "\n" not in str(raised.value)


def test_files_of_an_earlier_version_are_refused(trained: Trained, tmp_path: Path) -> None:
    path, data = tmp_path / "old.forest", bytearray(trained.path.read_bytes())
    data[8:12] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"old.forest has version 1 .* reads 2 or later; train"):
        read_forest(path)


def test_files_that_are_cut_or_changed(trained: Trained, tmp_path: Path) -> None:
    data, path = trained.path.read_bytes(), tmp_path / "cut.forest"
    for end in (0, 7, 30, 300, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"cut.forest (is|starts|has) "):
            read_forest(path)
    for at in np.linspace(12, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :])
        with pytest.raises(ValueError, match=r"cut.forest "):
            read_forest(path)


def test_a_run_writes_its_file_and_every_verb_takes_it(
    tiny_folder: Path, tmp_path: Path, splat: Any
) -> None:
    out = tmp_path / "run"
    common = ("--steps", "60", "--max-side", "0", "--out", out, "--eval-every", "0")
    said: Outcome = splat("train", tiny_folder, *common, "forest-inspired", "--cap", "400")
    assert said.code == 0 and "scene.forest" in said.out and "roots, coded" in said.out
    found = splat("info", out / "scene.forest")
    assert found.code == 0 and ".forest, coded" in found.out and "leaves" in found.out
    assert splat("eval", out / "scene.forest", "--scene", tiny_folder).code == 0
    for name in ("a.spz", "b.forest"):
        assert splat("export", out, "-o", tmp_path / name).code == 0
    assert (tmp_path / "b.forest").read_bytes() == (out / "scene.forest").read_bytes()
    assert splat("export", out, "-o", tmp_path / "c.forest", "--plain").code == 0
    path = ("--cameras", out / "cameras.json", "--frames", 2)
    frames = splat("render", out / "scene.forest", *path, "-o", tmp_path / "pictures")
    assert frames.code == 0
    own = model_file(".forest")
    assert own is not None and ".forest" in MODEL_FILES
