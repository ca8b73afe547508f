"""Gaussians that move: what stands still, what goes, and runs of clips."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, clip_run, ends_with_and_without_a_break, job_of
from moving_rows import camera, rows, timed, with_motion
from steps import step_of

from splat import api, formats
from splat import results as files
from splat.conformance.checks import check_strategy
from splat.core.edit import Assign
from splat.core.strategy import Fixed, Strategy
from splat.datasets.demo import clip
from splat.loop import train
from splat.math import SH_C0
from splat.recipes.recipe import strategy_from_text
from splat.recipes.restored import model_of
from splat.render.native import NativeRenderer
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.strategies.mcmc import Mcmc
from splat.strategies.moving import Moving
from splat.strategies.moving.model import Timed, least_duration
from splat.strategies.moving.start import UNKNOWN_DURATION, begun, standing_still
from splat.strategies.moving.still import stilled
from splat.training.flow import FAST, flow_error
from splat.types import ALWAYS, Gaussians, Motion

EARLY: dict[str, Strategy] = {
    "mcmc": Moving(METHODS["mcmc"], still_at=(40,), every=20),
    "mrnf": Moving(METHODS["mrnf"], still_at=(40,), every=20, split_share=0.5),
    "adc": Moving(METHODS["adc"], still_at=(40,), every=20, split_share=0.5),
}


def test_points_of_every_keyframe_stand_still_and_others_do_not() -> None:
    draw = torch.Generator().manual_seed(0)
    table = torch.rand(50, 3, generator=draw)
    far = 40 * torch.rand(30, 3, generator=draw)  # sparse, as a backdrop is
    places, times = [], []
    for time in (0.0, 0.5, 1.0):
        shaken = 0.05 * torch.rand(80, 3, generator=draw)
        ball = torch.rand(20, 3, generator=draw) * 0.2 + 5 + 3 * time
        places.append(torch.cat([torch.cat([table, far]) + shaken, ball]))
        times.append(torch.full((100,), time))
    still = standing_still(torch.cat(places), torch.cat(times)).view(3, 100)
    assert bool(still[:, :80].float().mean() > 0.95) and not still[:, 80:].any()
    assert not standing_still(table, torch.zeros(50)).any(), "one keyframe tells nothing"


def test_rows_begin_about_their_instant_or_always() -> None:
    given = rows(4, time=torch.tensor([0.0, 1.0, 0.25, math.nan]))
    given["mean"] = 10 * torch.eye(4, 3)
    found = begun(given, 0.2)
    assert found["log_duration"].exp().tolist() == pytest.approx([0.2, 0.2, 0.2, ALWAYS])
    assert found["time"].tolist() == [0, 1, 0.25, 0.5] and not found["velocity"].any()
    unknown = begun(rows(3), 0.2)
    assert unknown["log_duration"].exp().tolist() == pytest.approx([UNKNOWN_DURATION] * 3)
    told = begun(rows(3), 0.2, torch.tensor([True, False, True]))
    lasting = [UNKNOWN_DURATION, ALWAYS, UNKNOWN_DURATION]
    assert told["log_duration"].exp().tolist() == pytest.approx(lasting)


def test_rows_that_are_known_to_go_begin_so_and_are_short() -> None:
    given = rows(5, time=torch.tensor([0.0, 0.25, 0.5, 0.5, math.nan]))
    given["velocity"] = torch.full((5, 3), math.nan)
    given["velocity"][1:3] = torch.tensor([3.0, 0, 0])
    found = begun(given, 0.6)
    durations = found["log_duration"].exp().tolist()
    assert durations == pytest.approx([0.6, 0.25, 0.25, 0.6, ALWAYS]), "one instant to the next"
    assert found["velocity"][:, 0].tolist() == [0, 3, 3, 0, 0]
    assert found["time"].tolist() == [0, 0.25, 0.5, 0.5, 0.5]
    given["time"][[0, 3]] = math.nan
    lasting = begun(given, 0.6)["log_duration"].exp()[[0, 3, 4]].tolist()
    assert lasting == pytest.approx([UNKNOWN_DURATION] * 3), "of the others nothing is known"


def test_no_row_is_shorter_than_an_instant() -> None:
    model = with_motion([0.5], [1e-9])
    assert float(model.durations.detach()) == pytest.approx(least_duration(5))
    assert least_duration(5) == pytest.approx(0.15)
    assert least_duration(1000) == 0.02


def test_the_set_of_a_camera_is_the_baked_one_at_its_time() -> None:
    model = with_motion([0.2, 0.8, 0.5], [0.3, 0.1, ALWAYS], velocity=0.4)
    baked = model.bake()
    assert baked.motion is not None and model.bake(camera(0.6)).motion is None
    for time in (0.0, 0.6, 1.0):
        now, same = model(camera(time)), baked.at(time)
        torch.testing.assert_close(now.means, same.means)
        torch.testing.assert_close(now.opacities, same.opacities)
        assert now.peaks is not None and torch.equal(now.peaks, torch.full((3,), 0.5))
    render = NativeRenderer()
    one = render(baked, camera(0.6)).image
    torch.testing.assert_close(one, render(model(camera(0.6)), camera(0.6)).image)
    assert not torch.equal(one, render(baked, camera(0.1)).image)


def test_what_stands_still_is_found_and_stays_where_it_is_at_half_time() -> None:
    # At 50 pixels a unit, 4 units away, 0.03 units are 0.4 pixels.
    model = with_motion([0.9, 0.9, 0.2, 0.5], [4.0, 4.0, 0.5, ALWAYS], velocity=0.03)
    model.cloud["velocity"].data[1] *= 2
    index, values = stilled(model, [camera()])
    assert index.tolist() == [0], "the second goes on, the third is not always there"
    torch.testing.assert_close(
        values["mean"][0], model.cloud["mean"].detach()[0] + torch.tensor([-0.4 * 0.03, 0, 0])
    )
    assert float(values["log_duration"]) == pytest.approx(math.log(ALWAYS))


def test_rows_that_no_instant_shows_make_room() -> None:
    model = with_motion([0.5, 3.0, 1.2, 0.5], [0.1, 0.1, 0.15, ALWAYS])
    assert model.peaks_in_clip().tolist() == pytest.approx(
        [0.5, 0.5 * math.exp(-40), 0.5 * math.exp(-0.5 * 0.04 / (0.15**2 * 2)), 0.5], rel=1e-4
    )
    strategy = Moving(Fixed(), every=1)
    strategy.begin(model)
    edit = strategy.refine(step_of(model, 1))
    assert edit is not None and [(d.rows.tolist(), d.reason) for d in edit.drop] == [([1], "time")]
    recycling = Moving(Mcmc(cap=10, noise=0), every=1)
    moved = recycling.refine(step_of(model, 1))
    assert moved is not None and not moved.drop
    assert any(isinstance(a, Assign) and a.index.tolist() == [1] for a in moved.assign)


def test_of_one_instant_it_is_the_method_alone(tiny_folder: Path) -> None:
    """Columns and pictures to the byte, as nothing pulls at what lasts."""
    found = []
    for strategy in (METHODS["mcmc"], Moving(METHODS["mcmc"])):
        with closing(job_of(tiny_folder, strategy, steps=40)) as job:
            train(job.run)
            cloud = job.run.model.cloud
            found.append({n: cloud[n].detach().clone() for n in ("mean", "sh", "opacity_logit")})
            found[-1]["picture"] = job.run.last_render(
                job.run.model(job.photos.cameras[0]), job.photos.cameras[0]
            ).image
    for name, values in found[0].items():
        assert torch.equal(values, found[1][name]), name


@pytest.mark.parametrize("name", EARLY)
def test_a_run_is_the_same_for_any_threads_and_after_a_break(
    clip_folder: Path, tmp_path: Path, name: str
) -> None:
    one, two = ends_with_and_without_a_break(clip_folder, tmp_path, EARLY[name], 33, 70)
    assert one == two
    assert len(checkpoint.rows(checkpoint.load(tmp_path / "end.pt"))["velocity"]) > 0


@pytest.mark.parametrize("recipe", ["mcmc + moving", "mrnf + moving --split-share 0.5"])
def test_it_owes_what_every_strategy_does(recipe: str, clip_folder: Path) -> None:
    findings = check_strategy(strategy_from_text(recipe), folder=clip_folder)
    assert [finding for finding in findings if not finding.passed] == []


@pytest.fixture(scope="module")
def run(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_run(
        clip_folder, "mrnf --cap 900 + moving", tmp_path_factory.mktemp("moving") / "run"
    )


def test_a_run_of_a_clip_writes_what_moves_and_draws_the_same(run: Path) -> None:
    read = files.read(run / "point_cloud.ply")
    assert read.motion is not None
    metrics = json.loads((run / "metrics.json").read_text())
    assert len(metrics["clip"]["by_instant"]) == 5 and 0 < metrics["clip"]["moving_share"] < 0.5
    clip = metrics["clip"]
    error = [10 ** (-each["psnr"] / 10) for each in metrics["per_view"]]
    parts = [10 ** (-clip[part] / 10) for part in ("psnr_moving", "psnr_rest")]
    share = clip["moving_share"]
    assert share * parts[0] + (1 - share) * parts[1] == pytest.approx(
        sum(error) / len(error), rel=1e-5
    )
    assert metrics["export"]["psnr_after"] == pytest.approx(metrics["psnr"], abs=0.01)
    header = (run / "point_cloud.ply").read_bytes()[:2000].decode("latin1")
    assert "comment ftgs_version 1\ncomment time_units normalized\ncomment sh_degree 1" in header
    assert "property float time\nproperty float log_duration\nproperty float velocity_0" in header
    # The model of a checkpoint is never taken for plain Gaussians.
    folder = Folder(run)
    model = model_of(read_config(folder.config), checkpoint.load(folder.latest()))
    assert isinstance(model, Timed) and model.least == pytest.approx(least_duration(5))


def test_velocities_that_are_not_meant_are_not_used(run: Path, tmp_path: Path) -> None:
    whole = (run / "point_cloud.ply").read_bytes()
    (tmp_path / "still.ply").write_bytes(whole.replace(b"use_velocity 1", b"use_velocity 0", 1))
    motion = files.read(tmp_path / "still.ply").motion
    assert motion is not None and not motion.velocity.any()


def test_of_what_lasts_the_velocity_is_written_as_none(tmp_path: Path) -> None:
    model = with_motion([0.5, 0.5], [0.2, ALWAYS], velocity=2.0)
    formats.write(model.bake(), tmp_path / "a.ftgs.ply")
    motion = files.read(tmp_path / "a.ftgs.ply").motion
    assert motion is not None
    assert motion.velocity[:, 0].tolist() == [2.0, 0.0]
    assert motion.duration.tolist() == pytest.approx([(0.2**2 + 0.15**2) ** 0.5, ALWAYS], rel=1e-5)


def test_the_verbs_on_what_moves(
    run: Path, tmp_path: Path, splat: Callable[..., Any], clip_folder: Path
) -> None:
    refused = splat("export", run, "-o", tmp_path / "a.html", "--target-size", "20kB")
    assert refused.code == 2 and "moves" in refused.err
    assert splat("export", run, "-o", tmp_path / "a.html").code == 0
    page = (tmp_path / "a.html").read_text()
    assert (
        '"clip": {"seconds": 4.0, ' in page and files.read(tmp_path / "a.html").motion is not None
    )
    refused = splat("export", run, "-o", tmp_path / "a.spz")
    assert refused.code == 2 and "--time" in refused.err and not (tmp_path / "a.spz").exists()
    assert splat("export", run, "-o", tmp_path / "a.spz", "--time", 0.5, "--quiet").code == 0
    now = files.read(run / "point_cloud.ply").at(0.5)
    seen = now.opacities > 0.5
    read = files.read(tmp_path / "a.spz")
    assert read.motion is None and int((read.opacities > 0.5).sum()) == pytest.approx(
        int(seen.sum()), rel=0.05
    )
    written = splat(
        "convert", run / "point_cloud.ply", "-o", tmp_path / "f.ply", "--instants", 3, "--json"
    )
    assert written.code == 0 and len(json.loads(written.out)["files"]) == 3
    torch.testing.assert_close(
        files.read(tmp_path / "f_0002.ply").means,
        (last := files.read(run / "point_cloud.ply").at(1.0)).means[last.opacities > 1 / 255],
    )
    for wrong in (["--time", 2], ["--instants", 1], ["--time", 0.5, "--instants", 3]):
        outcome = splat("convert", run / "point_cloud.ply", "-o", tmp_path / "w.ply", *wrong)
        assert outcome.code == 2 and wrong[0].removeprefix("--") in outcome.err
    still = splat("convert", tmp_path / "a.spz", "-o", tmp_path / "w.ply", "--time", 0.5)
    assert still.code == 2 and "nothing moves" in still.err
    frozen = ("render", run, "--frames", 3, "--quiet", "--time")
    assert splat(*frozen, 0.25, "-o", tmp_path / "stands").code == 0
    assert splat(*frozen, "0:1", "-o", tmp_path / "passes").code == 0
    pictures = [sorted((tmp_path / name).glob("*.png")) for name in ("stands", "passes")]
    assert len(pictures[0]) == len(pictures[1]) == 3
    assert pictures[0][0].read_bytes() != pictures[1][0].read_bytes()
    assert splat(*frozen, "0:2", "-o", tmp_path / "no").code == 2


def test_a_clip_is_trained_as_one_unless_another_method_is_named(
    clip_folder: Path, tiny_folder: Path, splat: Callable[..., Any]
) -> None:
    def method(*arguments: object) -> dict[str, str]:
        outcome = splat("train", *arguments, "--dry-run", "--json", "--steps", 5, "--max-side", 0)
        return next(each for each in json.loads(outcome.out) if each["name"] == "method")

    assert method(clip_folder)["value"].endswith("+ renew + moving")
    assert "of a scene that moves" in method(clip_folder)["why"]
    assert method(clip_folder, "+", "protect")["value"].endswith("+ protect + moving")
    named = splat(
        "train", clip_folder, "--out", "static", "--steps", 5, "--max-side", 0, "mcmc", "--cap", 900
    )
    assert "warning: the scene moves" in named.err and "5 instants" in named.err
    assert "moving" not in method(tiny_folder)["value"]
    refused = splat("train", clip_folder, "--dry-run", "scaffold", "+", "moving")
    assert refused.code == 2 and "anchors" in refused.err


def test_a_file_that_moves_is_measured_as_its_run_was(
    run: Path, clip_folder: Path, splat: Callable[..., Any]
) -> None:
    asked = ("--scene", clip_folder, "--net", "none", "--json", "--max-side", 0)
    found = json.loads(splat("eval", run / "point_cloud.ply", *asked).out)
    metrics = json.loads((run / "metrics.json").read_text())
    assert found["psnr"] == pytest.approx(metrics["psnr"], abs=1e-3)
    assert found["clip"]["psnr_moving"] == pytest.approx(metrics["clip"]["psnr_moving"], abs=1e-3)
    told = splat("info", run / "point_cloud.ply").out
    assert "always there: 0." in told and "duration histogram" in told
    assert "instants: 5" in splat("info", clip_folder).out


def test_sets_of_files_start_a_clip(run: Path, clip_folder: Path) -> None:
    with closing(
        job_of(clip_folder, Moving(Fixed()), steps=5, init=run / "point_cloud.ply", sh_degree=1)
    ) as job:
        model = job.run.model
        assert isinstance(model, Timed)
        written = files.read(run / "point_cloud.ply").motion
        assert written is not None
        torch.testing.assert_close(model.cloud["time"].detach(), written.time)
        assert torch.equal(model.lasting, written.duration >= ALWAYS / 2)
        torch.testing.assert_close(model.durations.detach(), written.duration, rtol=1e-4, atol=0)


def test_colours_of_a_moving_set_are_its_own() -> None:
    set_ = replace(
        timed(1).bake(),
        motion=Motion(torch.tensor([0.5]), torch.tensor([0.1]), torch.zeros(1, 3)),
        colors=torch.full((1, 1, 3), 0.25 / SH_C0),
    )
    now = set_.at(0.5)
    assert torch.equal(now.colors, set_.colors) and float(now.opacities) == 0.5


def test_velocities_are_held_against_what_the_scene_knows(clip_folder: Path, run: Path) -> None:
    """Gaussians on what is seen, as fast as it is, twice as fast, and the other way."""
    scene = api.load(clip_folder)
    places, velocities, times = [], [], []
    for view in scene.test:
        known = clip.truth(scene.path, view.name)
        fast = known.flow.norm(dim=2) > FAST
        at = torch.from_numpy(clip.unprojected(view.camera, known.depth)).float()
        places.append(at[fast])
        velocities.append(known.flow[fast])
        times.append(torch.full((int(fast.sum()),), view.camera.time))
    mean, velocity, time = torch.cat(places), torch.cat(velocities), torch.cat(times)
    n = len(mean)
    assert n > 20
    for factor, wanted in ((1.0, 0.0), (2.0, 1.0), (-1.0, 2.0)):
        set_of_them = Gaussians(
            mean, torch.tensor([1.0, 0, 0, 0]).repeat(n, 1), torch.full((n, 3), 0.01),
            torch.full((n,), 0.9), torch.zeros(n, 3),
            motion=Motion(time, torch.full((n,), 0.01), factor * velocity),
        )  # fmt: skip
        found = flow_error(set_of_them, scene)
        assert found == pytest.approx(wanted, abs=0.02)
    assert json.loads((run / "metrics.json").read_text())["clip"]["flow_error"] > 0
    assert flow_error(Gaussians(*vars(set_of_them).values()).at(0.5), scene) is None
