"""Smoothing: sizes held to what the photos can tell, in what is trained, drawn and exported."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from methods import METHODS, job_of

from splat import formats, loop
from splat.core.edit import Nudge
from splat.core.frame import gaussians_to_frame
from splat.core.strategy import Fixed
from splat.kernels import NEAR
from splat.rules.sampling import WIDENED, least_sizes, sampling_rates
from splat.runs.folder import Folder
from splat.strategies.smoothing import Smoothing
from splat.training.finish import finish
from splat.types import Camera

K = torch.tensor([[50.0, 0, 50], [0, 50, 50], [0, 0, 1]])
CAMERA = Camera(torch.eye(4), K, 100, 100)


def test_the_rate_is_focal_length_over_depth_of_the_best_camera() -> None:
    finer = CAMERA.resized(200, 200)
    moved = torch.eye(4)
    moved[2, 3] = -3.0  # stands at z = 3, looks along +z
    ahead = replace(CAMERA, world_to_camera=moved)
    places = torch.tensor([[0.0, 0, 2], [0, 0, 4], [0, 0, -1], [0, 0, 0.005]], dtype=torch.float64)
    rates = sampling_rates(places, [CAMERA], NEAR)
    assert rates.dtype == torch.float64 and rates.tolist() == [25.0, 12.5, 0.0, 0.0]
    assert sampling_rates(places, [CAMERA, finer], NEAR).tolist() == [50.0, 25.0, 0.0, 0.0]
    assert sampling_rates(places, [CAMERA, ahead], NEAR).tolist() == [25.0, 50.0, 0.0, 0.0]
    assert sampling_rates(places, [], NEAR).tolist() == [0.0] * 4


def test_who_is_out_of_sight_samples_nothing() -> None:
    K = torch.tensor([[50.0, 0, 20], [0, 80, 50], [0, 0, 1]])
    camera = Camera(torch.eye(4), K, 100, 60)
    # Pixel columns 50 x / z + 20 within -15 to 115, rows 80 y / z + 50 within -9 to 69.
    assert WIDENED == 0.15
    pixels = [
        (-14.9, 20),
        (-15.1, 20),
        (114.9, 20),
        (115.1, 20),
        (50, -8.9),
        (50, -9.1),
        (50, 69.1),
    ]
    places = torch.tensor(
        [[2 * (u - 20) / 50, 2 * (v - 50) / 80, 2] for u, v in pixels], dtype=torch.float64
    )
    assert (sampling_rates(places, [camera], NEAR) > 0).tolist() == [
        True, False, True, False, True, False, False
    ]  # fmt: skip
    assert float(sampling_rates(places, [camera], NEAR).max()) == 40  # the finer of the two focals


def test_rates_do_not_depend_on_how_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    places = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    cameras = [CAMERA, CAMERA.resized(30, 40)]
    whole = sampling_rates(places, cameras, NEAR)
    monkeypatch.setattr("splat.rules.sampling._AT_ONCE", 14)
    assert torch.allclose(sampling_rates(places, cameras, NEAR), whole, rtol=1e-12)
    assert int((whole > 0).sum()) > 20 and int((whole == 0).sum()) > 20


def test_what_it_proposes(tiny_folder: Path) -> None:
    strategy = Smoothing(Fixed(), every=10, look_every=20)
    with closing(job_of(tiny_folder, strategy, steps=40, clear_air=False)) as job:
        run = job.run
        cloud = run.model.cloud
        run.step = 8
        step = loop.next_step(run)
        strategy.observe(step)
        assert strategy.refine(step) is None
        assert not cloud.statistic("least_size").any()
        run.step = 9
        step = loop.next_step(run)
        strategy.observe(step)
        means = cloud["mean"].detach()
        rates = sampling_rates(means, run.views, NEAR * run.frame.scale)
        least = cloud.statistic("least_size")
        seen = rates > 0
        assert bool(seen.any())
        assert torch.allclose(least[seen], math.sqrt(0.2) / rates[seen])
        with torch.no_grad():  # one axis too small, two as they may be
            cloud["log_scale"].copy_(least.log()[:, None] + torch.tensor([-1.5, 0.0, 0.25]))
        edit = strategy.refine(step)
        assert edit is not None and len(edit.nudge) == 1 and not edit.append and not edit.drop
        (nudge,) = edit.nudge
        assert isinstance(nudge, Nudge) and nudge.name == "log_scale"
        assert torch.allclose(nudge.delta, torch.tensor([1.5, 0.0, 0.0]).expand(len(means), 3))


def test_the_floor_is_the_least_that_the_filter_of_the_paper_leaves() -> None:
    """By hand: at depth 2 before a focal length of 50, Sigma + 0.2 / 25^2 I in double precision."""
    place = torch.tensor([[0.3, -0.2, 2.0], [0, 0, -2]], dtype=torch.float64)
    least = least_sizes(place, [CAMERA], NEAR, 0.2)
    assert least.dtype == torch.float64 and float(least[1]) == 0
    assert float(least[0]) == pytest.approx(0.017888543819998, rel=1e-12)
    # Whatever its turn, a Gaussian of sizes 0, 0.03 and 0.004 has these once it is convolved.
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)).double()).Q
    sizes = torch.tensor([0.0, 0.03, 0.004], dtype=torch.float64)
    sigma = turn @ torch.diag(sizes**2) @ turn.T + 0.2 / 25**2 * torch.eye(3, dtype=torch.float64)
    by_hand = torch.tensor([0.017888543820, 0.018330302780, 0.034928498393], dtype=torch.float64)
    found = torch.linalg.eigvalsh(sigma).sqrt()
    assert torch.allclose(found, by_hand, rtol=1e-9)
    assert float(found[0] / least[0]) == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("name", ["mcmc", "adc", "mrnf", "igs"])
def test_what_is_exported_holds_nothing_smaller(
    name: str, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Folder(tmp_path / "run")
    folder.path.mkdir()
    with closing(
        job_of(tiny_folder, METHODS[name], steps=65, smoothing=True, clear_air=False)
    ) as job:
        run = job.run
        with torch.no_grad():
            run.model.cloud["log_scale"][:100] = -12.0
        loop.train(run)
        record = finish(job, folder, 1.0, net=None, pictures=False)
        drawn = run.model(run.views[0])
        means = run.model.cloud["mean"].detach()
        least = run.model.cloud.statistic("least_size")
        assert float((drawn.scales.detach().amin(1) / least).min()) > 1 - 1e-5
        rates = sampling_rates(means, run.views, NEAR * run.frame.scale)
        # Rows have moved since they were looked at, by little.
        close = drawn.scales.detach().amin(1)[rates > 0] * rates[rates > 0] / math.sqrt(0.2)
        assert float(close.quantile(0.01)) > 0.97
        again = gaussians_to_frame(formats.read(folder.gaussians), run.frame)
        assert torch.allclose(again.scales, drawn.scales.detach(), rtol=1e-5)
        assert torch.allclose(again.opacities, drawn.opacities.detach(), atol=1e-6)
    export = record["export"]
    assert export["same_db"] == 100
    assert export["psnr_after"] == pytest.approx(record["psnr"], abs=1e-3)


def test_it_is_an_option_and_off_where_nobody_asks(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, Fixed(), steps=40, smoothing=True)) as job:
        assert "least_size" in job.run.model.cloud.statistics
    with closing(job_of(tiny_folder, Fixed(), steps=40)) as job:
        assert "least_size" not in job.run.model.cloud.statistics


def test_rows_that_only_make_gaussians_are_refused(tiny_folder: Path) -> None:
    with pytest.raises(ValueError, match="anchors make theirs for each camera"):
        job_of(tiny_folder, METHODS["scaffold"], steps=20, smoothing=True)
