"""Anchors as plain Gaussians for all views; verbs and the viewer on a run of anchors."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pretend
import pytest
import torch
from torch import Tensor

from splat import datasets, formats, kernels
from splat.core.strategy import Strategy
from splat.evaluation.evaluate import mean_psnr
from splat.kernels import one_torch_thread
from splat.kernels.harmonics import basis
from splat.loop import advance
from splat.math import covariances, quaternions, rotation_matrices
from splat.options import Options
from splat.recipes.restored import model_of
from splat.runs import checkpoint
from splat.runs.folder import read_config
from splat.strategies.scaffold import Scaffold, bake
from splat.strategies.scaffold.bake import baked
from splat.strategies.scaffold.coded import Coded
from splat.training.prepare import Job, prepare
from splat.types import Camera, Gaussians
from splat.viewer.chronicle import Chronicle
from splat.viewer.look import Look
from splat.viewer.paint import Easel
from splat.viewer.source import Live, Photos, Unbaked
from splat.viewer.timeline import Snapshots, Timeline
from splat.viewer.values import Sweep, heatmap_names, values

SLOTS, ANCHORS, DEGREE = 3, 5, 3
SCAFFOLD = Scaffold(grow_gradient=5e-5, seen_share=0.5, observe_from=5, refine_from=10,
                    refine_until=150, refine_every=20)  # fmt: skip


def looking_from(eye: Tensor) -> Camera:
    pose = torch.eye(4)
    pose[:3, 3] = -eye
    return Camera(pose, torch.tensor([[50.0, 0, 20], [0, 50, 15], [0, 0, 1]]), 40, 30)


class Fake:
    """Slots of known harmonics: slot 0 of each anchor is drawn always, slot 1 where x of the camera
    is above 0, slot 2 never."""

    def __init__(self) -> None:
        draws = torch.Generator().manual_seed(3)
        self.means = torch.randn(ANCHORS, SLOTS, 3, generator=draws)
        self.sh = 0.05 * torch.randn(ANCHORS, SLOTS, 16, 3, generator=draws)
        self.quats = torch.nn.functional.normalize(torch.randn(ANCHORS, SLOTS, 4, generator=draws))
        self.scales = torch.rand(ANCHORS, SLOTS, 3, generator=draws) + 0.1
        directions = torch.randn(150, 3, generator=draws)
        self.views = [looking_from(8 * d / d.norm()) for d in directions]

    def rows_for(self, camera: Camera) -> Tensor:
        """The last anchor is in half of the frusta only."""
        return torch.arange(ANCHORS if camera.centre[1] > 0 else ANCHORS - 1)

    def __call__(self, camera: Camera, rows: Tensor) -> Gaussians:
        right = camera.centre[0] > 0
        slots = [0, 1] if right else [0]
        source = torch.tensor([SLOTS * int(row) + slot for row in rows for slot in slots])
        row, slot = source // SLOTS, source % SLOTS
        means = self.means[row, slot]
        direction = torch.nn.functional.normalize(means - camera.centre, dim=1)
        colors = 0.5 + torch.einsum("nk,nkc->nc", basis(direction, 3), self.sh[row, slot])
        factor = 2.0 if right else 1.0
        opacity = torch.full((len(source),), 0.4 if right else 0.2)
        return Gaussians(means, self.quats[row, slot], factor * self.scales[row, slot], opacity,
                         colors, source=source)  # fmt: skip


@pytest.mark.parametrize("block", [10_000, 2])
def test_least_squares_find_the_harmonics_that_were_drawn(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bake, "BLOCK", block)
    monkeypatch.setattr(bake, "RIDGE", 1e-7)
    fake = Fake()
    found = baked(fake, fake.rows_for, ANCHORS, SLOTS, fake.views, DEGREE)
    assert found.source is not None
    assert found.source.tolist() == [SLOTS * a + s for a in range(ANCHORS) for s in (0, 1)]
    row, slot = found.source // SLOTS, found.source % SLOTS
    assert torch.allclose(found.means, fake.means[row, slot])
    always = slot == 0
    assert torch.allclose(found.colors[always], fake.sh[row, slot][always], atol=1e-3)
    # Opacity is the mean over the views in whose frustum the anchor is; sizes by opacity.
    for a in range(ANCHORS):
        own = [v for v in fake.views if a in fake.rows_for(v).tolist()]
        right = sum(float(v.centre[0]) > 0 for v in own)
        left = len(own) - right
        first, second = (found.source == SLOTS * a + s for s in (0, 1))
        mean = (0.4 * right + 0.2 * left) / len(own)
        assert float(found.opacities[first]) == pytest.approx(mean, abs=1e-5)
        assert float(found.opacities[second]) == pytest.approx(0.4 * right / len(own), abs=1e-5)
        square = (0.4 * right * 4 + 0.2 * left) / (0.4 * right + 0.2 * left)
        expected = square * covariances(fake.quats[a], fake.scales[a])[0]
        whole = covariances(found.quats[first], found.scales[first])[0]
        assert torch.allclose(whole, expected, atol=1e-4)


def test_quaternions_are_of_their_rotations() -> None:
    quats = torch.nn.functional.normalize(torch.randn(50, 4).double(), dim=1)
    again = quaternions(rotation_matrices(quats))
    assert torch.allclose((again * quats).sum(1).abs(), torch.ones(50).double())


def test_without_views_nothing_is_baked() -> None:
    fake = Fake()
    with pytest.raises(ValueError, match="no views"):
        baked(fake, fake.rows_for, ANCHORS, SLOTS, [])


@pytest.fixture(scope="module")
def job(tiny_folder: Path) -> Iterator[Job]:
    options = Options(steps=200, schedule="published", resolution="full", device="cpu", threads=2)
    with one_torch_thread():
        made = prepare(datasets.load(tiny_folder), SCAFFOLD, options)
    with closing(made), one_torch_thread():
        chronicle = Chronicle(made.run)
        chronicle.gathers = True
        made.run.watchers = [chronicle]
        while not made.run.over:
            advance(made.run)
        made.run.watchers = [chronicle]
        yield made


def test_a_bake_stays_near_what_views_are_shown(job: Job) -> None:
    """And a bake for a camera is what it is shown."""
    run = job.run
    whole = run.baked()
    assert whole.sh_degree == 3 and whole.colors.shape[1:] == (16, 3)
    assert bool(whole.opacities.gt(0).all() and whole.opacities.lt(1).all())
    for batch in job.test_batches():
        with torch.no_grad():
            one = run.render(run.model(batch.camera), batch.camera).image
            two = run.render(whole, batch.camera).image
            three = run.render(run.model.bake(batch.camera), batch.camera).image
        assert -10 * math.log10(float((one - two).square().mean())) > 24
        assert torch.equal(one, three)


def test_snapshots_are_sketches_of_all_that_views_see(job: Job, tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline")
    Snapshots(timeline, 200, 4, lambda act: act()).keep(job.run)
    source = Live(job.run, Photos(job.photos, job.held_out), "tiny")
    found = timeline.source(200, source)
    assert found is not None
    one, two = found.baked(), job.run.model.sketch()
    assert len(one) == len(two) and abs(len(two) / len(job.run.baked()) - 1) < 0.2


def test_a_bake_is_the_same_twice(job: Job) -> None:
    one, two = job.run.baked(), job.run.baked()
    assert torch.equal(one.colors, two.colors) and torch.equal(one.quats, two.quats)


MODES = ("colour", "depth", "alpha", "normals", "error", "photo", "heatmap", "events")


def test_the_viewer_shows_anchors_in_every_mode(job: Job) -> None:
    run = job.run
    (chronicle,) = run.watchers
    assert isinstance(chronicle, Chronicle)
    photos = Photos(job.photos, job.held_out)
    still = Unbaked(run.model, name="still", frame=run.frame, render=run.render,
                    drawing=run.drawing, background=run.background, photos=photos,
                    cameras=run.views)  # fmt: skip
    for source, known in ((Live(run, photos, "tiny"), chronicle), (still, None)):
        easel = Easel(source, known)
        camera = source.cameras[1]
        pictures = [easel.picture(Look(mode=mode), camera).pixels for mode in MODES]  # type: ignore[arg-type]
        assert len({picture.tobytes() for picture in pictures}) >= len(MODES) - (known is None)
        gaussians = source.gaussians(camera)
        rows, sweep = source.rows_of(gaussians), Sweep(source)
        while not sweep.fresh:
            sweep.look()
        for heat in heatmap_names(source, known):
            found = values(heat, source, gaussians, rows, known, sweep)
            assert found is not None and found.shape == (len(gaussians),), heat
            assert bool(found.isfinite().all())
        assert len(source.positions) == source.count == len(run.model.cloud)
        whole = source.baked()
        part = easel.left(Look(faintest=0.2), whole)
        assert torch.equal(part.means, whole.means[whole.opacities >= 0.2])
        assert bool(source.rows_where(whole, torch.ones_like(whole.opacities) > 0).any())


def test_rows_are_marked_where_all_their_gaussians_are(job: Job) -> None:
    source = Live(job.run, Photos(job.photos, job.held_out), "tiny")
    whole = source.baked()
    rows = source.rows_of(whole)
    each = torch.ones(len(whole), dtype=torch.bool)
    each[(rows == rows[0]).nonzero()[0]] = False
    found = source.rows_where(whole, each)
    assert not found[rows[0]] and int(found.sum()) == len(rows.unique()) - 1


def test_verbs_take_a_run_of_anchors(
    splat: Callable[..., Any], tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    trained = splat("train", tiny_folder, "scaffold", "--steps", 60, "--out", run, "--quiet",
                    "--json")  # fmt: skip
    assert trained.code == 0, trained.err
    record = json.loads(trained.out)
    assert record["anchors"] > 100 and record["gaussians"] > record["anchors"]
    receipt = record["export"]
    assert abs(receipt["psnr_after"] - receipt["psnr_before"]) < 1.5
    assert "least squares" in receipt["dropped"][0]
    assert len(formats.read(run / "point_cloud.ply")) == receipt["gaussians"]
    measured = json.loads(splat("eval", run, "--json", "--quiet").out)
    assert measured["psnr"] == pytest.approx(record["psnr"], abs=1e-6)
    again = json.loads(splat("export", run, "-o", "x.spz", "--json").out)
    assert again["psnr_before"] == pytest.approx(receipt["psnr_before"], abs=1e-4)
    shown = splat("render", run, "--path", "views", "-o", "pictures", "--quiet")
    assert shown.code == 0 and len(list(Path("pictures").glob("*.png"))) == 12
    own = record["anchors_file"]
    assert (own["kind"], own["anchors"]) == ("plain", record["anchors"])
    assert own["bytes"] == (run / "scene.anchors").stat().st_size
    assert own["same_db"] == 100 and own["psnr_after"] == pytest.approx(record["psnr"], abs=1e-4)
    asked = ("--scene", tiny_folder, "--json", "--quiet")
    of_file = json.loads(splat("eval", run / "scene.anchors", *asked).out)
    assert of_file["psnr"] == pytest.approx(record["psnr"], abs=1e-4)
    cameras = ("--cameras", run / "cameras.json")
    shown = splat("render", run / "scene.anchors", "--path", "views", "-o", "two", *cameras)
    assert shown.code == 0
    for name in ("00000.png", "00007.png"):
        assert Path("two", name).read_bytes() == Path("pictures", name).read_bytes()
    assert splat("resume", run, "--steps", 70, "--quiet").code == 0
    # Other verbs write them where the photos' cameras are.
    there = formats.read(run / "point_cloud.ply")
    for verb in (("convert", run / "scene.anchors", "z.ply"),
                 ("clean", run / "scene.anchors", "-o", "c.ply")):  # fmt: skip
        assert splat(*verb).code == 0
        found = formats.read(Path(verb[-1]))
        apart = (found.means.median(0).values - there.means.median(0).values).norm()
        assert apart < 0.05 * (there.means - there.means.median(0).values).norm(dim=1).median()
    refused = splat("export", run, "-o", "y.anchors", "--target-size", "1MB")
    assert refused.code != 0 and "a model as it was trained" in refused.err


def test_a_restored_model_is_the_one_that_was_saved(
    splat: Callable[..., Any], tiny_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    asked = ("scaffold", "--codes", 8, "--steps", 40, "--out", run, "--quiet", "--json")
    assert splat("train", tiny_folder, *asked).code == 0
    config = read_config(run / "config.json")
    path = checkpoint.checkpoints_in(run / "checkpoints")[-1]
    one, two = (model_of(config, checkpoint.load(path)) for _ in range(2))
    camera = one.views[0]
    assert torch.equal(one(camera).colors, two(camera).colors)
    assert len(one.views) == 10 and np.isfinite(one(camera).means.detach().numpy()).all()
    refused = splat("train", tiny_folder, "scaffold", "--steps", 9, "--finish-for", ".spz")
    assert refused.code != 0 and "finish-for" in refused.err


@pytest.mark.gpu
@pytest.mark.parametrize("strategy", [SCAFFOLD, Coded(SCAFFOLD)], ids=["scaffold", "coded"])
def test_anchors_train_on_cuda(strategy: Strategy, tiny_folder: Path, cuda_kernels: None) -> None:
    """Through the same loop; and what the networks make there is what they make on the CPU."""
    options = Options(
        steps=200, schedule="published", resolution="full", device="cuda",
        renderer=pretend.quick_renderer(),
    )  # fmt: skip
    with closing(prepare(datasets.load(tiny_folder), strategy, options)) as job:
        run = job.run
        before = mean_psnr(run.model, run.render, job.test_batches(), run.background)
        while not run.over:
            advance(run)
        after = mean_psnr(run.model, run.render, job.test_batches(), run.background)
        assert after > before + 3
        assert len(run.baked()) > len(run.model.cloud)
        cloud, camera = run.model.cloud, run.views[0]
        names = ("anchor", "feature", "reach", "offset")
        columns = [cloud[name].detach() for name in names]
        network: Any = run.model.networks()["heads"].module
        rows = run.model.rows_for(camera)
        there = kernels.decode(*columns, network.heads(None), rows, camera.centre)
        here = kernels.decode(
            *(column.cpu() for column in columns), network.cpu().heads(None), rows.cpu(),
            camera.centre.cpu(),
        )  # fmt: skip
        assert torch.equal(there.source.cpu(), here.source)
        for name in ("means", "quats", "scales", "opacities", "colors"):
            torch.testing.assert_close(
                getattr(there, name).cpu(), getattr(here, name), atol=1e-4, rtol=1e-3
            )
