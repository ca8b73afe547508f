"""The viewer's parts: rows followed through edits, photos seen from elsewhere, modes, curves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from visitors import guest

from splat import datasets
from splat.core.edit import Append, Assign, Change, Drop, Edit
from splat.core.frame import (
    camera_from_frame,
    camera_to_frame,
    gaussians_from_frame,
    gaussians_to_frame,
)
from splat.core.step import Step
from splat.core.strategy import Fixed, Strategy
from splat.kernels import one_torch_thread
from splat.loop import Run, advance
from splat.math import ALWAYS, LASTING
from splat.options import Options
from splat.render import camera_paths, renderer_for
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategies.moving import Moving
from splat.strategies.mrnf import Mrnf
from splat.training.prepare import Job, prepare
from splat.types import Batch, Camera, Drawing, Frame, Gaussians
from splat.viewer import colors
from splat.viewer.chronicle import (
    BORN,
    FADED,
    GATHER_EVERY,
    HALVED,
    MEMORY,
    MOTION,
    MOVED,
    Chronicle,
    plain_copy,
)
from splat.viewer.curves import MOST, Curves, events_of_log, of_log
from splat.viewer.film import Film, Shooting
from splat.viewer.gallery import UNKNOWN, Gallery
from splat.viewer.guest import LONGEST, Playing, camera_at, quaternion
from splat.viewer.look import Look
from splat.viewer.pace import IDLE, MARGIN, Pace
from splat.viewer.paint import Easel
from splat.viewer.photo import nearest, nearest_now, same_place, warped
from splat.viewer.source import Live, Photos, Still
from splat.viewer.timeline import Snapshots, Timeline
from splat.viewer.tint import bars, normals
from splat.viewer.values import SWEPT, Sweep, heatmap_names, values

STEPS = 240


@pytest.fixture(scope="module")
def scene(tiny_folder: Path) -> Any:
    return datasets.load(tiny_folder)


def job_of(scene: Any, strategy: Strategy, steps: int = STEPS) -> Job:
    options = Options(steps=steps, resolution="full", device="cpu", threads=2)
    with one_torch_thread():
        return prepare(scene, strategy, options)


@pytest.fixture(scope="module")
def trained(scene: Any) -> Iterator[tuple[Job, Chronicle]]:
    """A short run that was watched."""
    with closing(job_of(scene, Mrnf(cap=900))) as job, one_torch_thread():
        chronicle = Chronicle(job.run)
        chronicle.gathers = True
        job.run.watchers = [chronicle]
        while not job.run.over:
            advance(job.run)
        yield job, chronicle


@pytest.fixture
def live(trained: tuple[Job, Chronicle]) -> Live:
    job, _ = trained
    return Live(job.run, Photos(job.photos, job.held_out), "tiny")


@pytest.mark.parametrize("strategy", [Adc(cap=1500), Mcmc(cap=900), Mrnf(cap=900)], ids=str)
def test_what_is_known_of_rows_follows_them(scene: Any, strategy: Strategy) -> None:
    """A number written on every row before the run is where the cloud's own statistic has it."""
    with closing(job_of(scene, strategy)) as job, one_torch_thread():
        run = job.run
        chronicle = Chronicle(run)
        run.model.cloud.track("probe")
        first = torch.arange(1.0, len(run.model.cloud) + 1)
        run.model.cloud.statistic("probe").copy_(first)
        chronicle.rows["probe"] = first.clone()
        followed = [first.clone()]
        chronicle.followers.append(lambda after: followed.append(after(followed[-1])))
        edits = halved = 0

        def look(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
            nonlocal edits, halved
            chronicle(run, step, losses, change)
            edits += bool(change)
            halved += change.counts.get("drop:split", 0)
            own, kept = chronicle.rows["probe"], run.model.cloud.statistic("probe")
            assert len(own) == len(run.model.cloud)
            assert torch.equal(own[kept != 0], kept[kept != 0])
            assert torch.equal(followed[-1], own)
            fresh = chronicle.lately(run.step, 1)
            assert bool((own[fresh] == 0).all())
            assert bool((chronicle.rows["since"][fresh] == run.step).all())

        run.watchers = [look]
        while not run.over:
            advance(run)
        assert edits and chronicle.births.total()
        born = sum(n for reason, n in chronicle.births.items() if reason != "relocate")
        died = sum(n for reason, n in chronicle.deaths.items() if reason != "relocate")
        assert len(run.model.cloud) == len(first) + born - died - halved


def test_events_are_told_apart(scene: Any) -> None:
    """Clone, split, relocation and death of rows in one edit written by hand."""
    with closing(job_of(scene, Mcmc(cap=900))) as job, one_torch_thread():
        run, cloud = job.run, job.run.model.cloud
        chronicle, n = Chronicle(run), len(cloud)
        rows = cloud.rows(torch.tensor([0, 1, 1]))
        some = cloud.rows(torch.tensor([3]))
        edit = Edit(
            append=(Append(rows, torch.tensor([0, 1, 1]), "grow"),),
            assign=(
                Assign(torch.tensor([2]), some, "relocate", parents=torch.tensor([3])),
                Assign(torch.tensor([3]), some, "share"),
            ),
            drop=(Drop(torch.tensor([1]), "split"), Drop(torch.tensor([5, 6]), "opacity")),
        )
        held: list[Step] = []
        run.watchers = [lambda run, step, losses, change: held.append(step)]
        advance(run)
        before = held[0].rendered.gaussians.means[[5, 6]].clone()
        change = cloud.apply(edit)
        chronicle(run, held[0], {}, change)
        kind = chronicle.rows["kind"].tolist()
        # Rows 1, 5 and 6 went; 0, 2, 3, 4, 7 ... moved up, and three came at the end.
        assert kind[:4] == [0, MOVED, 0, 0]
        assert kind[-3:] == [BORN, HALVED, HALVED]
        assert len(kind) == n
        assert dict(chronicle.births) == {"grow": 3, "relocate": 1}
        assert dict(chronicle.deaths) == {"opacity": 2, "relocate": 1}
        (dead,) = chronicle.dead(run.step, 1)
        assert torch.equal(dead.means, before)
        assert chronicle.dead(run.step + 10, 1) == []


def test_gradients_are_means_over_the_steps_in_which_a_row_was_seen(scene: Any) -> None:
    """Of late: each look leaves 0.97 of those before it, by hand for the first two looks."""
    with closing(job_of(scene, Fixed())) as job, one_torch_thread():
        run, found = job.run, []
        chronicle = Chronicle(run)
        chronicle.gathers = True

        def look(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
            chronicle(run, step, losses, change)
            if run.step % GATHER_EVERY == 0:
                visible = step.rendered.visible
                found.append((step.rendered.screen_gradient().norm(dim=1) * visible, visible))

        run.watchers = [look]
        for _ in range(2 * GATHER_EVERY):
            advance(run)
        (first, seen), (second, again) = found
        weights = MEMORY * seen.float() + again.float()
        expected = (MEMORY * first + second) / weights.clamp_min(1e-6)
        assert chronicle.gradient is not None
        assert torch.allclose(chronicle.gradient, expected, rtol=1e-5)
        assert float(expected.max()) > 0


def test_a_photo_seen_from_its_own_place_is_turned_exactly() -> None:
    """A picture that is a function of the direction: what another turn of the camera sees of it."""

    def shade(direction: Tensor) -> Tensor:
        return 0.5 + 0.4 * torch.sin(4 * direction / direction.norm(dim=-1, keepdim=True))

    photo = standing([0.0, 0, 0], 0.0, 200, 150)
    camera = standing([0.0, 0, 0], 0.15, 90, 90, fov=0.5)
    picture = shade(rays(photo) @ photo.world_to_camera[:3, :3])
    batch = Batch(photo, (picture * 255).round().to(torch.uint8), name="p")
    assert same_place(camera, photo)
    found = warped(batch, camera, None, None)
    expected = shade(rays(camera) @ camera.world_to_camera[:3, :3])
    assert bool(found.shown.all())
    assert float((found.image - expected).abs().max()) < 0.01
    half = replace(batch, mask=torch.ones(150, 200, dtype=torch.uint8))
    half.mask[:, :100] = 0  # type: ignore[index]
    assert not bool(warped(half, camera, None, None).shown.all())


def test_a_photo_from_elsewhere_is_carried_by_depth_and_hidden_by_what_is_before_it() -> None:
    """A plane at z = 3 with a wall before half of what the photo sees of it."""

    def shade(points: Tensor) -> Tensor:
        return (0.5 + 0.3 * torch.sin(3 * points)).clamp(0, 1)

    photo = standing([0.5, 0, 0], 0.0, 240, 180, fov=0.9)
    camera = standing([0.0, 0, 0], 0.0, 80, 60, fov=0.5)
    at = rays(photo) * 3 + torch.tensor([0.5, 0, 0])
    batch = Batch(photo, (shade(at) * 255).round().to(torch.uint8), name="p")
    depth = torch.full((60, 80), 3.0)
    behind = torch.full((180, 240), 3.0)
    behind[:, 120:] = 1.0
    found = warped(batch, camera, depth, behind)
    seen = rays(camera) * 3
    assert float((found.image - shade(seen)).abs()[found.shown].max()) < 0.01
    # The photo's centre column is the plane's x = 0.5: beyond it there is the wall.
    assert bool((found.shown == (seen[..., 0] < 0.5)).float().mean() > 0.97)
    assert not bool(warped(batch, camera, torch.zeros(60, 80), behind).shown.any())


def test_the_nearest_photo_stands_and_looks_alike() -> None:
    cameras = [standing([0.0, 0, 0], 0.0), standing([0.0, 0, 0], 1.0), standing([3.0, 0, 0], 0.0)]
    assert nearest(standing([0.2, 0, 0], 0.1), cameras) == 0
    assert nearest(standing([0.2, 0, 0], 0.8), cameras) == 1
    assert nearest(standing([2.5, 0, 0], 0.1), cameras) == 2


def test_colours_are_the_renderer_s_own(live: Live) -> None:
    camera = live.cameras[0]
    with torch.no_grad():
        drawn = live.render(live.gaussians(camera), camera, background=live.background).image
    expected = (drawn * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    assert np.array_equal(Easel(live).picture(Look(), camera).pixels, expected)


def test_every_mode_is_another_picture(live: Live, trained: tuple[Job, Chronicle]) -> None:
    easel = Easel(live, trained[1])
    camera = live.cameras[1]
    modes = ("colour", "depth", "alpha", "normals", "error", "photo", "heatmap", "events")
    found = {mode: easel.picture(Look(mode=mode), camera) for mode in modes}  # type: ignore[arg-type]
    for one in modes:
        assert found[one].pixels.shape == (camera.height, camera.width, 3)
        for other in modes:
            if one < other:
                difference = np.abs(found[one].pixels.astype(int) - found[other].pixels).mean()
                assert difference > 2, (one, other)
    assert {m for m in modes if found[m].legend is not None} == {
        "depth", "error", "heatmap", "events",
    }  # fmt: skip
    assert "photo" in found["error"].note and "dB" in found["error"].note


def test_the_error_at_a_photo_is_its_own(live: Live) -> None:
    """At the photo's own camera and size the figure in the note is the one that is measured."""
    assert live.photos is not None
    camera, gallery = live.photos.seen[2].camera, Gallery(live, live.photos)
    gallery.psnr = [0.0 if i != 2 else math.nan for i in range(len(gallery.psnr))]
    assert gallery.measure()
    note = Easel(live).picture(Look(mode="error"), camera).note
    assert float(note.split(", ")[1].split()[0]) == pytest.approx(gallery.psnr[2], abs=0.01)


def test_depth_and_normals_of_a_wall() -> None:
    """Flat Gaussians facing the camera: one depth, one normal, towards the viewer."""
    grid = torch.cartesian_prod(torch.linspace(-1, 1, 15), torch.linspace(-1, 1, 15))
    n = len(grid)
    wall = Gaussians(
        torch.cat([grid, torch.full((n, 1), 2.0)], 1),
        torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        torch.tensor([0.12, 0.12, 0.001]).repeat(n, 1),
        torch.full((n,), 0.98),
        torch.rand(n, 3),
    )
    frame = Frame((0.0, 0.0, 0.0), 0.5)
    source = Still(wall, name="wall", frame=frame, render=renderer_for("cpu"), drawing=Drawing())
    camera = standing([0.0, 0, 0], 0.0, 60, 60, fov=0.7)
    facing = normals(wall, camera)
    assert torch.allclose(facing, torch.tensor([0.0, 0, 1]).expand(n, 3), atol=1e-5)
    pixels = Easel(source).picture(Look(mode="normals"), camera).pixels[20:40, 20:40]
    assert np.abs(pixels.astype(int) - [128, 128, 255]).max() <= 6
    legend = Easel(source)._shown(Look(mode="depth"), camera)
    assert legend[1].depth is not None
    # 2 units of the frame, which are half as long as those of the input.
    assert float(legend[1].depth[30, 30]) / frame.scale == pytest.approx(4, rel=1e-3)
    sent = Easel(source).picture(Look(overlay=True), camera).depth
    assert sent is not None and sent[30, 30] == pytest.approx(2, rel=1e-3)


def test_the_box_and_the_filters_leave_what_they_say(live: Live) -> None:
    whole = live.baked()
    low, high = whole.means.quantile(0.3, 0), whole.means.quantile(0.7, 0)
    box = (*low.tolist(), *high.tolist())
    left = Easel(live).left(Look(box=box), whole)  # type: ignore[arg-type]
    inside = ((whole.means >= low) & (whole.means <= high)).all(1)
    assert torch.equal(live.rows_of(left), inside.nonzero()[:, 0])
    assert torch.equal(left.means, whole.means[inside])
    left = Easel(live).left(Look(faintest=0.3), whole)
    assert torch.equal(left.opacities, whole.opacities[whole.opacities >= 0.3])
    debris = torch.zeros(len(whole), dtype=torch.bool)
    debris[::3] = True
    left = Easel(live, debris=lambda: debris).left(Look(floaters=False), whole)
    assert torch.equal(left.means, whole.means[~debris])


def test_from_outside_of_the_ring_the_scene_is_looked_into() -> None:
    """Three units away the cameras stand, the walls behind them at four."""
    turns = [math.pi / 2 * i for i in range(4)]
    around = [standing([-3 * math.sin(t), 0, -3 * math.cos(t)], t) for t in turns]
    places = [[0.0, 0, 0], *[[-4 * math.sin(t), 0, -4 * math.cos(t)] for t in turns]]
    scene = Gaussians(
        means=torch.tensor(places),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(5, 1),
        scales=torch.full((5, 3), 0.1),
        opacities=torch.full((5,), 0.99),
        colors=torch.rand(5, 3),
    )
    frame = Frame((0.0, 0.0, 0.0), 1.0)
    drawing = Drawing()
    render = renderer_for("cpu")
    known = dict(name="room", frame=frame, render=render, drawing=drawing)
    easel = Easel(Still(scene, cameras=around, **known))  # type: ignore[arg-type]

    def rows(easel: Easel, away: float, **look: Any) -> list[int]:
        return easel.filtered(Look(**look), standing([0, 0, -away], 0.0))[1].tolist()

    assert rows(easel, 3) == rows(easel, 2) == [0, 1, 2, 3, 4]
    # From behind a wall all is drawn but that wall, unless it is asked for.
    assert rows(easel, 6) == [0, 2, 3, 4]
    assert rows(easel, 6, inward=False) == [0, 1, 2, 3, 4]
    outward = [standing([math.sin(t), 0, math.cos(t)], t) for t in turns]
    for cameras in ([], around[:1], outward):
        other = Easel(Still(scene, cameras=cameras, **known))  # type: ignore[arg-type]
        assert rows(other, 6) == [0, 1, 2, 3, 4]


def test_a_run_held_against_itself_differs_nowhere(live: Live) -> None:
    """From another frame of training of the same input, too."""
    frame = Frame((0.3, -0.2, 0.1), 1.7)
    moved = gaussians_to_frame(gaussians_from_frame(live.baked(), live.frame), frame)
    from splat.render import drawing_as

    other = Still(
        moved, name="other", frame=frame, drawing=live.drawing, background=live.background,
        render=drawing_as(live.drawing, frame, "cpu", beside=False),
    )  # fmt: skip
    easel, camera = Easel(live, other=Easel(other)), live.cameras[0]
    look = Look(against="other", difference=True, gain=1)
    assert easel.picture(look, camera).pixels.max() <= 3
    wiped = easel.picture(Look(against="other", wipe=0.25), camera).pixels
    single = easel.picture(Look(), camera).pixels
    cut = round(0.25 * camera.width)
    assert np.array_equal(wiped[:, : cut - 1], single[:, : cut - 1])
    assert (wiped[:, cut - 1 : cut + 1] == 255).all()
    assert "tiny | other" in easel.picture(look, camera).note


def test_a_camera_goes_into_a_frame_and_out_of_it() -> None:
    """A point is seen where it was, at a depth in other units."""
    camera, frame = standing([1.0, 2, 3], 0.4), Frame((0.5, -1.0, 2.0), 3.0)
    back = camera_from_frame(camera_to_frame(camera, frame), frame)
    assert torch.allclose(back.world_to_camera, camera.world_to_camera, atol=1e-5)
    point, there = torch.tensor([2.0, 1, 9]), camera_from_frame(camera, frame)
    outside = (point / frame.scale + torch.tensor(frame.centre))[None]
    assert float(there.depths(outside)) == pytest.approx(
        float(camera.depths(point[None])) / frame.scale, rel=1e-5
    )


def test_browser_cameras_are_ours() -> None:
    camera = standing([1.0, -2, 0.5], 0.7, 64, 48, fov=0.8)
    rotation = camera.world_to_camera[:3, :3].double().T.numpy()
    again = camera_at(quaternion(rotation), camera.centre.numpy().astype(float), 0.8, 64, 48)
    assert torch.allclose(again.world_to_camera, camera.world_to_camera, atol=1e-6)
    assert torch.allclose(again.K, camera.K, atol=1e-4)


def test_a_sweep_finds_the_scores_and_follows_edits(live: Live) -> None:
    sweep = Sweep(live)
    views = sweep.progress[1]
    while sweep.number == 0:
        sweep.look()
    assert sweep.fresh and sweep.scores is not None
    mass = sum(live.surveyed(i).mass.double() for i in range(views))
    assert torch.allclose(sweep.scores.mass, mass, rtol=1e-5)
    camera = live.cameras[0]
    gaussians = live.gaussians(camera)
    rows = live.rows_of(gaussians)
    for name in heatmap_names(live, None):
        found = values(name, live, gaussians, rows, None, sweep)
        assert found is not None and found.shape == (len(gaussians),), name
    assert set(SWEPT) < set(heatmap_names(live, None))
    sweep.follow(lambda each: each[:10])
    assert len(sweep.scores.mass) == 10 and len(sweep.scores.weighted) == 10


def test_a_span_ends_at_percentiles_and_by_logarithms() -> None:
    numbers = torch.arange(0.0, 101)
    assert colors.span(numbers, (10, 90)) == colors.Span(10.0, 90.0)
    span = colors.span(torch.tensor([0.0, 1, 10, 100]), (0, 100), log=True)
    assert (span.low, span.high) == (1.0, 100.0)
    assert span.shares(torch.tensor([10.0])).item() == pytest.approx(0.5)
    assert span.at(0.5) == pytest.approx(10)
    same = colors.span(torch.full((5,), 3.0))
    assert same.low < same.high
    ends = colors.colours_of(torch.tensor([-1.0, 0.0, 1.0, math.nan]), colors.Span(0, 1), "grey")
    assert torch.equal(ends[:, 0], torch.tensor([0.0, 0, 1, 0]))
    assert colors.legend(span, "turbo", "title").shape[1] == colors.WIDTH


def test_curves_thin_out_and_keep_both_ends() -> None:
    curves = Curves()
    for step in range(0, 5000, 2):
        curves.add(step, loss=1 / (step + 1), gaussians=step)
    steps, loss, gaussians = curves.data("loss", "gaussians")
    assert len(steps) <= MOST and steps[0] == 0 and steps[-1] > 4900
    assert np.array_equal(gaussians, steps) and np.allclose(loss, 1 / (steps + 1))
    assert curves.knows("loss") and not curves.knows("test_psnr")


def test_curves_of_a_log_count_births_and_deaths() -> None:
    lines = [
        {"step": 10, "gaussians": 5, "loss": 0.5, "psnr": 20.0},
        {"step": 12, "gaussians": 8, "counts": {"append:split": 6, "drop:split": 3}},
        {"step": 15, "gaussians": 7, "counts": {"drop:opacity": 1}},
        {"step": 20, "gaussians": 7, "loss": 0.4, "psnr": 21.0},
    ]
    steps, born, died = of_log(lines).data("born", "died")
    assert (steps.tolist(), born.tolist(), died.tolist()) == ([10, 20], [0, 6], [0, 1])


def test_the_events_of_a_run_that_nobody_watched_are_told_from_its_log() -> None:
    lines = [
        {"step": 12, "counts": {"append:split": 6, "drop:split": 3, "assign:re_locate": 2}},
        {"step": 15, "counts": {"drop:opacity": 1}},
        {"step": 40, "counts": {"append:split": 1000}},
        {"step": 50, "command": {"name": "cap", "value": 900, "before": 800}},
    ]
    assert events_of_log(lines) == [
        "born: split 1,006 (from 12 to 40)",
        "died: opacity 1 (at 15)",
        "moved: re&#95;locate 2 (at 12)",
        "changed: cap &#61; 900 at 50",
    ]
    assert events_of_log([{"step": 10, "loss": 0.5}]) == []


def test_the_pace_gives_pictures_their_share_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 10 ms whenever it lets one be drawn, over a minute of steps of 5 ms."""
    now = 100.0
    monkeypatch.setattr("splat.viewer.pace.time.monotonic", lambda: now)
    for moving, share in ((True, 0.1), (False, 0.1 * IDLE)):
        now = 100.0
        pace, drawn = Pace(0.1), 0.0
        while now < 160:
            now += 0.005
            if pace.ready(moving):
                now += 0.010
                drawn += 0.010
                pace.spent(0.010, moving)
        assert 0.7 * MARGIN * share < drawn / 60 <= 1.05 * MARGIN * share


def test_snapshots_are_the_run_as_it_was(scene: Any, tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "timeline")
    with closing(job_of(scene, Mcmc(cap=700), steps=40)) as job, one_torch_thread():
        run = job.run
        snapshots = Snapshots(timeline, 40, 4, lambda act: act())
        was: dict[int, Any] = {}

        def note(run: Run, *_: Any) -> None:
            was[run.step] = plain_copy(run.model(run.views[0], run.step))

        run.watchers = [snapshots, note]
        while not run.over:
            advance(run)
        assert timeline.steps == [1, 10, 20, 30, 40]
        source = Live(run, Photos(job.photos), "tiny")
        then = timeline.source(25, source)
        assert then is not None and then.step == 20
        assert timeline.source(0, source) is None
        camera = run.views[0]
        with torch.no_grad():
            kept = run.render(then.gaussians(camera), camera).image
            drawn = run.render(was[20], camera).image
        error = float((kept - drawn).square().mean())
        assert -10 * math.log10(error) > 32
        timeline.beyond(20)
        assert timeline.steps == [1, 10, 20]


def test_cameras_are_coloured_by_their_figures(live: Live) -> None:
    assert live.photos is not None
    gallery = Gallery(live, live.photos)
    assert set(gallery.colors()) == {UNKNOWN} and gallery.held_out is None
    while gallery.measure():
        pass
    assert not any(map(math.isnan, gallery.psnr)) and gallery.held_out is not None
    worst, best = int(np.argmin(gallery.psnr)), int(np.argmax(gallery.psnr))
    red, green = gallery.colors()[worst], gallery.colors()[best]
    assert red[0] > red[1] and green[1] > green[0]
    gallery.note("nobody", 3.0)


def rays(camera: Camera) -> Tensor:
    """Directions of the pixels, z = 1, axes of the camera; [h, w, 3]."""
    y, x = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    K = camera.K
    return torch.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], torch.ones_like(x)], -1)


def standing(
    eye: list[float], turn: float, width: int = 64, height: int = 48, fov: float = 0.9
) -> Camera:
    """A camera turned about y."""
    wxyz = np.array([math.cos(turn / 2), 0.0, math.sin(turn / 2), 0.0])
    return camera_at(wxyz, np.array(eye), fov, width, height)


def test_a_path_leads_through_its_views_and_is_read_by_render(live: Live, tmp_path: Path) -> None:
    visitor, window = guest(width=64, height=48)
    film = Film(visitor)
    with pytest.raises(ValueError, match="at least two"):
        film.cameras(1, 10, 64)
    for x in (-0.5, 0.0, 0.5):
        window.move(x)
        film.add()
    cameras = film.cameras(2, 10, 64)
    assert len(cameras) == 20 and (cameras[0].width, cameras[0].height) == (64, 48)
    assert float(cameras[0].centre[0]) == pytest.approx(-0.5)
    assert float(cameras[-1].centre[0]) == pytest.approx(0.5)
    for seconds, side in ((1e9, 64), (1, 10**6), (1, 1)):
        with pytest.raises(ValueError, match="at most"):
            film.cameras(seconds, 10, side)
    path = tmp_path / "camera_path.json"
    path.write_bytes(film.written(lambda camera: camera_from_frame(camera, live.frame)))
    back = [camera_to_frame(camera, live.frame) for camera in camera_paths.from_file(path)]
    for one, other in zip(back, film.stops, strict=True):
        assert torch.allclose(one.world_to_camera, other.world_to_camera, atol=1e-4)


def test_a_video_has_every_frame(live: Live, tmp_path: Path) -> None:
    films: list[bytes] = []
    trouble: list[str] = []
    cameras = [live.cameras[0].resized(64, 48)] * 11
    shooting = Shooting(Easel(live), Look(mode="depth"), cameras, 10, films.append, trouble.append)
    end = time.monotonic() + 20
    while not (films or trouble) and time.monotonic() < end:
        shooting.turn()
    assert not trouble and shooting.progress == 1
    path = tmp_path / "path.mp4"
    path.write_bytes(films[0])
    assert int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)) == 11


def test_no_visitor_gets_a_picture_that_takes_all_memory() -> None:
    visitor, window = guest(width=30_000, height=20_000)
    visitor.change(longest=10**9)
    assert max(visitor.size()) == LONGEST
    window.camera.image_width = window.camera.image_height = 0
    assert min(visitor.size()) >= 1
    visitor.change(longest=100)
    window.camera.image_width, window.camera.image_height = 200, 100
    assert visitor.size() == (100, 50) and visitor.size(800) == (40, 20)


def test_standing_at_a_photo_shows_all_of_it() -> None:
    """Whatever the shape of the window, the field of view holds the photo's."""
    photo = standing([1.0, 0, 0], 0.4, 200, 100, fov=0.6)
    for width, height in ((400, 100), (100, 400), (200, 100)):
        visitor, window = guest(width=width, height=height)
        visitor.stand(photo)
        own = visitor.camera(width, height)
        window.camera.wxyz = np.array(window.camera.wxyz)
        assert torch.allclose(own.world_to_camera, photo.world_to_camera, atol=1e-5)
        for axis, (mine, its) in enumerate(((width, 200), (height, 100))):
            assert mine / float(own.K[axis, axis]) >= its / float(photo.K[axis, axis]) - 1e-5


@pytest.fixture(scope="module")
def clip_job(clip_folder: Path) -> Iterator[Job]:
    with closing(job_of(datasets.load(clip_folder), Moving(Mrnf(cap=900)), 60)) as job:
        with one_torch_thread():
            while job.run.step < 40:
                advance(job.run)
        yield job


def test_what_moves_is_drawn_at_the_moment(clip_job: Job) -> None:
    photos = Photos(clip_job.photos, clip_job.held_out)
    live = Live(clip_job.run, photos, "run")
    easel, camera = Easel(live), clip_job.run.views[0]
    pictures = [easel.picture(Look(moment=moment), camera).pixels for moment in (0.0, 1.0, 0.0)]
    assert (pictures[0] == pictures[2]).all() and (pictures[0] != pictures[1]).any()
    whole = replace(clip_job.run.baked(), sh_degree=live.gaussians(camera).sh_degree)
    file = Still(
        whole, name="file", frame=live.frame, render=live.render, drawing=Drawing(),
        cameras=live.cameras,
    )  # fmt: skip
    assert (Easel(file).picture(Look(moment=1.0), camera).pixels == pictures[1]).mean() > 0.99
    for source in (live, file):
        assert {"duration", "speed"} <= {*heatmap_names(source, None)}
        numbers = {
            name: values(name, source, whole.at(0.5), torch.arange(len(whole)), None, Sweep(source))
            for name in ("duration", "speed")
        }
        assert all(n is not None and bool((n >= 0).all()) for n in numbers.values())
        assert numbers["duration"] is not None and float(numbers["duration"].max()) == 1


def test_events_of_a_clip_are_of_moments(clip_job: Job) -> None:
    """Rows that went are where they were at a moment, and only there; events are counted by it."""
    run = clip_job.run
    chronicle = Chronicle(run)
    held: list[Step] = []
    run.watchers = [lambda run, step, losses, change: held.append(step)]
    advance(run)
    motion = run.model.motion()
    assert motion is not None
    (comes,) = ((motion.duration < LASTING) & (motion.velocity != 0).any(1)).nonzero()[:1].T
    whole = run.model.bake()
    row, time = comes[:1], float(motion.time[comes[0]])
    expected = {t: whole.take(row).at(t) for t in (time, 1.0 if time < 0.5 else 0.0)}
    columns = (motion.time, motion.duration, motion.velocity)
    chronicle.rows |= dict(zip(MOTION, columns, strict=True))
    change = run.model.cloud.apply(Edit(drop=(Drop(row, "opacity"),)))
    chronicle(run, held[0], {}, change)
    for moment, there in expected.items():
        (dead,) = chronicle.dead(run.step, 5, moment)
        seen = bool(there.opacities[0] > FADED * whole.opacities[row[0]])
        assert len(dead) == seen
        if seen:
            # As they were drawn, a step of the optimizer ago.
            torch.testing.assert_close(dead.means, there.means, atol=1e-2, rtol=0)
            torch.testing.assert_close(dead.opacities, there.opacities, atol=1e-2, rtol=0)
    # Three events at a quarter of the clip, one of what is always there.
    n = len(run.model.cloud)
    chronicle.rows["kind"][:4], chronicle.rows["when"][:4] = BORN, run.step
    chronicle.rows["time"], chronicle.rows["duration"] = torch.full((n,), 0.3), torch.ones(n)
    chronicle.rows["duration"][3] = ALWAYS
    assert chronicle.by_moment(run.step, 5, 4) == [0, 3, 0, 0]
    assert bars([0, 1, 2, 8]) == " ▁▂█"
    photos = Photos(clip_job.photos, clip_job.held_out)
    easel = Easel(Live(run, photos, "run"), chronicle=chronicle)
    picture = easel.picture(Look(mode="events"), run.views[0])
    assert picture.note.startswith("3 that come and go, by moment: ")


def test_the_nearest_photo_is_of_the_instant(clip_job: Job) -> None:
    cameras = clip_job.run.views
    for index in (3, 17):
        there = replace(cameras[index], time=cameras[index].time + 0.01)
        assert nearest_now(there, cameras) == index
        later = replace(there, time=1.0)
        found = cameras[nearest_now(later, cameras)]
        assert found.time == 1 and torch.equal(
            found.world_to_camera, cameras[index].world_to_camera
        )


def test_a_clip_plays_again_and_again() -> None:
    visitor, _ = guest()
    assert Playing(since=10.0, first=0.5, seconds=4.0).moment(11.0) == 0.75
    assert Playing(since=10.0, first=0.5, seconds=4.0).moment(13.0) == 0.25
    told: list[float] = []
    visitor.at_moment = told.append
    visitor.go_to(0.3)
    assert visitor.look.moment == 0.3 and told == [0.3]
    visitor.play(1e-3)
    time.sleep(0.01)
    visitor.pass_time()
    assert visitor.look.moment != 0.3
    visitor.play(None)
    moment = visitor.look.moment
    visitor.pass_time()
    assert visitor.look.moment == moment
