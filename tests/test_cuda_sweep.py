"""Every method, part, option and verb on CUDA, real or pretended, on a tiny scene.

What trains long is drawn by gsplat, the rest by our kernels, which are slow if they are emulated.
`bench/cuda_sweep.py` does the same by command lines, at any size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pretend
import pytest
import torch
from conftest import Outcome
from methods import METHODS, job_of
from ranks import PARTS, Literal
from torch import Tensor

from splat import datasets, loop
from splat.core import Strategy
from splat.kernels import one_torch_thread
from splat.runs import checkpoint
from splat.strategies.adc import Adc
from splat.strategies.deform import Deform
from splat.strategies.deform.coded import PlanesCoded
from splat.strategies.moving import Moving
from splat.strategies.mrnf import Mrnf
from splat.training.prepare import Job
from splat.viewer.chronicle import Chronicle
from splat.viewer.look import Look
from splat.viewer.paint import Easel
from splat.viewer.source import Live, Photos
from splat.viewer.values import Sweep, heatmap_names, values

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_kernels")]
STEPS, SAVED = 52, 47
"""Edits, scores and resets fall before both, a reset between them."""
CASES: dict[str, Strategy] = {
    **METHODS,
    **{name: Literal(part) for name, part in PARTS.items() if name not in ("coded", "sdf")},
}
SIMILAR = 0.1
"""Share by which numbers of rows may differ between devices, whose roundings do."""
AWAY = {"adam": "visible", "offload": True}
Splat = Callable[..., Outcome]


def begun(folder: Path, strategy: Strategy, steps: int, device: str = "cuda", **more: Any) -> Job:
    drawn_by = pretend.quick_renderer() if device == "cuda" else "native"
    more = {"resolution": "full", "exposure": "off", "renderer": drawn_by, **more}
    return job_of(folder, strategy, steps=steps, device=device, **more)


def sound(job: Job) -> dict[str, Tensor]:
    """The columns of a run, of which all is finite and where it belongs."""
    cloud = job.run.model.cloud
    assert cloud.device.type == job.run.render.device.type
    for name in cloud.names:
        away = cloud.kept_away and name == "sh"
        assert cloud[name].is_cuda != away and cloud[name].isfinite().all(), name
    assert all(cloud.statistic(name).is_cuda for name in cloud.statistics)
    return {name: cloud[name].detach().clone() for name in cloud.names}


@pytest.mark.parametrize("name", CASES)
def test_a_method_trains_as_on_the_cpu_and_goes_on(
    name: str, trial_folder: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved.pt"

    def save(run: loop.Run, *_: object) -> None:
        if run.step == SAVED:
            checkpoint.save(run, saved)

    counts = {}
    for device in ("cpu", "cuda"):
        with closing(begun(trial_folder, CASES[name], STEPS, device)) as job:
            job.run.watchers = [save] if device == "cuda" else []
            loop.train(job.run)
            counts[device] = len(job.run.model.cloud)
    ended = sound(job)
    assert abs(counts["cuda"] - counts["cpu"]) <= SIMILAR * counts["cpu"], counts
    state = dict(checkpoint.load(saved))
    with closing(begun(trial_folder, CASES[name], STEPS, state=dict(state))) as again:
        loop.train(again.run)
    if torch.cuda.get_device_name() == "pretended GPU":  # whose sums are in a fixed order
        assert all(torch.equal(values, ended[each]) for each, values in sound(again).items())
    model = again.run.model
    may_be_offloaded = model.rows_are_gaussians and "sh" in model.cloud and name != "deferred"
    more = {"renderer": "native", **(AWAY if may_be_offloaded else {})}
    with closing(begun(trial_folder, CASES[name], STEPS, state=state, **more)) as other:
        loop.train(other.run)
    sound(other)
    assert other.run.model.cloud.kept_away == may_be_offloaded


OPTIONS: dict[str, dict[str, Any]] = {
    "exposure channel": {"exposure": "channel"},
    "exposure affine": {"exposure": "affine", "refine_poses": True},
    "exposure grid": {"exposure": "grid"},
    "antialiased": {"antialiased": True},
    "bfloat16": {"moments": "bfloat16", "harmonics": "bfloat16"},
    "bfloat16 away": {"moments": "bfloat16", "harmonics": "bfloat16", **AWAY},
    "visible": {"adam": "visible"},
    "dash": {"resolution": "dash"},
    "near": {"near": 0.2},
    "crop": {"crop": (-0.4, -0.4, -0.4, 0.4, 0.4, 0.4)},
    "sky": {"sky": "60"},
    "finish": {"finish_for": ".spz", "finish_share": 0.5, "finish_keep": 0.5},
    "white": {"background": "white", "sh_degree": 1},
    "budget": {"budget": "300"},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option(name: str, trial_folder: Path) -> None:
    strategy = METHODS["adc_revised"]
    with closing(begun(trial_folder, strategy, 16, renderer="native", **OPTIONS[name])) as job:
        loop.train(job.run)
        sound(job)


_EARLY = Adc(cap=400, refine_from=6, refine_every=6, grow_gradient=1e-3)


@pytest.mark.parametrize(
    "strategy",
    [Moving(_EARLY), Deform(_EARLY, coarse=4), PlanesCoded(Deform(_EARLY, coarse=2))],
    ids=["moving", "deform", "planes-coded"],
)
def test_what_moves(clip_folder: Path, strategy: Strategy) -> None:
    with closing(begun(clip_folder, Literal(strategy), 14)) as job:
        loop.train(job.run)
        sound(job)


def test_every_verb(splat: Splat, trial_folder: Path) -> None:
    """Of one run with all that is learned beside the scene."""

    def done(*arguments: object) -> str:
        told = splat(*arguments, "--device", "cuda", "--quiet")
        assert told.code == 0, f"splat {' '.join(map(str, arguments))}: {told.said}"
        return told.out

    sensor = ("--exposure", "affine", "--refine-poses", "--renderer", pretend.quick_renderer())
    done("train", trial_folder, "--steps", 12, "--out", "run", *sensor, "mcmc", "--cap", 400)
    done("resume", "run", "--steps", 18)
    assert json.loads(done("eval", "run", "--json", "--net", "none"))["psnr"] > 8
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["renderer"] == ("gsplat" if pretend.quick_renderer() == "gsplat" else "native")
    done("export", "run", "-o", "scene.sog")
    done("export", "run", "-o", "small.ply", "--keep", 0.5, "--refine", 5)
    done("convert", "small.ply", "small.spz")
    done("eval", "small.ply", "--scene", trial_folder, "--json", "--net", "none")
    done("clean", "small.ply", "-o", "clean.ply")
    box = ("--box", -1, -1, -1, 1, 1, 1)
    done("mesh", "run", "-o", "mesh.ply", "--resolution", 24, *box)
    film = ("--path", "views", "--cameras", "run/cameras.json", "--max-side", 32)
    done("render", "small.spz", "-o", "film.gif", *film, "--renderer", "native")
    for name in ("small.spz", "clean.ply", "mesh.ply", "film.gif"):
        assert Path(name).stat().st_size > 0, name


@pytest.fixture(scope="module")
def watched(trial_folder: Path) -> Iterator[tuple[Live, Chronicle]]:
    """A run that was watched, as the viewer sees it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    with closing(begun(trial_folder, Mrnf(cap=500), 60)) as job, one_torch_thread():
        chronicle = Chronicle(job.run)
        chronicle.gathers = True
        job.run.watchers = [chronicle]
        loop.train(job.run)
        yield Live(job.run, Photos(job.photos, job.held_out), "small"), chronicle


def test_a_visitor_sees_every_mode(watched: tuple[Live, Chronicle]) -> None:
    live, chronicle = watched
    easel = Easel(live, chronicle)
    camera = live.cameras[1]
    for mode in ("colour", "depth", "alpha", "normals", "error", "photo", "heatmap", "events"):
        picture = easel.picture(Look(mode=mode), camera)  # type: ignore[arg-type]
        assert picture.pixels.shape == (camera.height, camera.width, 3), mode
        assert isinstance(picture.pixels, np.ndarray) and picture.pixels.std() > 0, mode


def test_a_visitor_s_heat_maps(watched: tuple[Live, Chronicle]) -> None:
    live, chronicle = watched
    sweep = Sweep(live)
    while sweep.number == 0:
        sweep.look()
    gaussians = live.gaussians(live.cameras[0])
    rows = live.rows_of(gaussians)
    for name in heatmap_names(live, chronicle):
        found = values(name, live, gaussians, rows, chronicle, sweep)
        assert found is None or found.shape == (len(gaussians),), name


def test_readers_and_renderers_take_each_other(trial_folder: Path) -> None:
    """A run of one device goes on on the other, both ways."""
    steps = 20
    state = None
    for device in ("cuda", "cpu", "cuda"):
        with closing(begun(trial_folder, METHODS["mcmc"], steps, device, state=state)) as job:
            loop.train(job.run)
            held = checkpoint.copied(checkpoint.state_of(job.run))
        state, steps = held, steps + 10
    assert job.run.step == 40 and len(datasets.load(trial_folder).train) == 7
