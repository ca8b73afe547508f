"""Captures as people make them: what each correction is worth, on planted troubles and real ones.

    python bench/captures.py                        the generated room, every trouble by itself
    python bench/captures.py --kind sweep --troubles all       a hand-held sweep: LighthouseGS too
    python bench/captures.py --scene scene/ --downscale 2      photos of one's own: exposures

Every run is measured in the same way, whether it corrects or not: exposure and pose of each
held-out photo are fitted on its left half, figures are of its right half. What was planted is
known, so what is left of it is measured too.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import machine, write_json
from torch import Tensor

import splat
from splat.core.frame import camera_to_frame
from splat.evaluation.evaluate import evaluate, mean_psnr, psnr
from splat.kernels import one_torch_thread
from splat.loop import train
from splat.options import PLANES, Options
from splat.recipes.offered import Offered
from splat.recipes.recipe import usual_strategy
from splat.sensor.held_out import HeldOutFit
from splat.sensor.poses import angle_between
from splat.strategies.lighthouse import Lighthouse
from splat.training.prepare import Job, prepare
from splat.types import Camera, SceneData
from worlds import sweep

TROUBLES = {
    "none": sweep.Plant(),
    "exposure": sweep.Plant(exposure=0.3),
    "drift": sweep.Plant(drift=0.06),
    "both": sweep.Plant(exposure=0.3, drift=0.06),
    "people": sweep.Plant(transients=16),
    "all": sweep.Plant(exposure=0.3, drift=0.06, depth=True),
}
"""Stops of the exposures' standard deviation; metres that poses have drifted by the last view;
photos in which somebody stands."""
GUIDED = {"depth_weight": 1.0, "normal_weight": 0.05}
CORRECTIONS: dict[str, dict[str, Any]] = {
    "nothing": {"exposure": "off"},
    "channel": {"exposure": "channel"},
    "affine": {"exposure": "affine"},
    "grid": {"exposure": "grid"},
    "poses": {"exposure": "off", "refine_poses": True},
    "both": {"exposure": "channel", "refine_poses": True},
    "depth": {"exposure": "channel", "refine_poses": True, **GUIDED},
    "planes": {"exposure": "channel", "refine_poses": True, "init": PLANES, **GUIDED},
    "masks": {"exposure": "off"},
    "lighthouse": {"exposure": "channel", "refine_poses": True, "init": PLANES, **GUIDED},
}
"""What a run corrects; `depth` learns from warped depth and normals too, `planes` starts from them,
and `lighthouse` has its losses and its pruning as well; `masks` leave out who stands there."""
ASKED = {
    "none": ("nothing", "channel", "poses"),
    "exposure": ("nothing", "channel", "affine", "grid"),
    "drift": ("nothing", "poses"),
    "both": ("nothing", "both"),
    "people": ("nothing", "masks"),
    "all": ("nothing", "both", "depth", "planes", "lighthouse"),
}
"""Corrections that are tried on each trouble."""


def main() -> None:
    asked = arguments()
    rows = []
    if asked.scene is not None:
        scene = splat.load(asked.scene)
        for name in asked.corrections or ("nothing", "channel", "affine", "grid"):
            rows.append(of_run(scene, name, asked) | {"trouble": scene.path.name})
            print(line(rows[-1]), flush=True)
    else:
        for trouble in asked.troubles:
            plant = replace(TROUBLES[trouble], seed=asked.seed)
            folder = sweep.cached(
                asked.cache, plant, count=asked.views, width=asked.width,
                height=asked.width * 3 // 4, kind=asked.kind,
            )  # fmt: skip
            truth = sweep.truth(folder)
            for name in asked.corrections or ASKED[trouble]:
                scene = splat.load(folder, masks="truth/masks" if name == "masks" else "none")
                rows.append(of_run(scene, name, asked, truth) | {"trouble": trouble})
                print(line(rows[-1]), flush=True)
    write_json(asked.out, {"machine": machine(), "rows": rows})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scene", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--downscale", type=float, default=1)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--kind", choices=("walk", "sweep"), default="walk")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=int, default=30_000, help="most Gaussians")
    parser.add_argument("--troubles", nargs="*", choices=TROUBLES, default=list(TROUBLES)[:5])
    parser.add_argument("--corrections", nargs="*", choices=CORRECTIONS, default=())
    parser.add_argument("--out", type=Path, default=Path("captures.json"))
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "splat-sweep")
    return parser.parse_args()


def of_run(
    scene: SceneData,
    name: str,
    asked: argparse.Namespace,
    truth: sweep.SweepTruth | None = None,
) -> dict[str, Any]:
    """A run with a correction, and its figures."""
    options = Options(
        steps=asked.steps, downscale=asked.downscale, max_side=0, seed=asked.seed, device="cpu",
        **({"depth_weight": 0.0, "normal_weight": 0.0} | CORRECTIONS[name]),
    )  # fmt: skip
    method = usual_strategy(Offered(torch.device("cpu"), asked.cap)).limited(asked.cap)
    if name == "lighthouse":
        method = Lighthouse(method)
    with one_torch_thread(), closing(prepare(scene, method, options)) as job:
        train(job.run)
        run = job.run
        fit = HeldOutFit(run.model, run.last_render, run.background, exposure=True, pose=True)
        found = evaluate(
            run.model, run.last_render, job.test_batches(), run.background, lpips=None, fit=fit
        )
        record: dict[str, Any] = {
            "correction": name,
            "psnr": found.psnr,
            "ssim": found.ssim,
            "psnr_unfitted": found.psnr_unfitted,
            "trained_psnr": trained_psnr(job),
            "gaussians": len(run.model.cloud),
        }
        if truth is not None:
            record |= left(job, truth)
    return record


def trained_psnr(job: Job) -> float:
    """dB on the training photos, as the run's own corrections have them."""
    run = job.run
    if run.sensor.idle:
        return mean_psnr(run.model, run.render, map(job.photos.batch, range(len(job.photos))))
    values = []
    for index in range(len(job.photos)):
        with torch.no_grad():
            batch = run.sensor.aimed(job.photos.batch(index))
            image = run.render(run.model(batch.camera), batch.camera, background=run.background)
            seen = run.developed(image, batch.camera)
        values.append(psnr(seen.image, batch.image, batch.mask))
    return sum(values) / len(values)


def left(job: Job, truth: sweep.SweepTruth) -> dict[str, Any]:
    """What of the planted troubles is left: millimetres, degrees, and stops of exposures."""
    run, names = job.run, [view.name for view in job.scene.train]
    true = [camera_to_frame(truth.cameras[name], run.frame) for name in names]
    given = list(job.photos.cameras)
    sensor = run.sensor
    with torch.no_grad():
        now = given if sensor is None else [sensor.aim(camera) for camera in given]
    unit = 1000 / run.frame.scale
    planted = torch.stack([torch.as_tensor(truth.exposures[name].gain) for name in names]).log2()
    planted = planted.double() - planted.double().mean(0)
    stops = torch.zeros_like(planted)
    if sensor is not None and sensor.tone is not None:
        maps = [sensor.tone.map(view).detach() for view in range(len(names))]
        stops = torch.stack([m[:, :3].diagonal() for m in maps]).double().log2()
    wrong = stops - stops.mean(0) - planted
    before, after = apart(given, true), apart(now, true)
    return {
        "places_mm": [before[0] * unit, after[0] * unit],
        "turns_degrees": [before[1], after[1]],
        "exposure_stops": [rms(planted), rms(wrong)],
    }


def apart(found: Sequence[Camera], true: Sequence[Camera]) -> tuple[float, float]:
    """Root mean square of places, frame of the cameras, and turns, degrees, best aligned.

    Places by the similarity of Umeyama (1991), as the absolute trajectory error is defined; turns
    by the rotation that brings them nearest.
    """
    x, y = (torch.stack([camera.centre.double() for camera in each]) for each in (found, true))
    x, y = x - x.mean(0), y - y.mean(0)
    turn, stretch = nearest(y.T @ x)
    size = stretch / float(x.square().sum())
    places = float((size * x @ turn.T - y).square().sum(1).mean().sqrt())
    pairs = [
        (a.world_to_camera.double(), b.world_to_camera.double())
        for a, b in zip(found, true, strict=True)
    ]
    turn, _ = nearest(sum((b[:3, :3].T @ a[:3, :3] for a, b in pairs), torch.zeros(3, 3).double()))
    turns = []
    for a, b in pairs:
        moved = a.clone()
        moved[:3, :3] = a[:3, :3] @ turn.T
        turns.append(angle_between(moved, b))
    return places, math.sqrt(sum(t * t for t in turns) / len(turns))


def nearest(matrix: Tensor) -> tuple[Tensor, float]:
    """The rotation nearest to a matrix, and how far the matrix stretches along it."""
    u, s, v = torch.linalg.svd(matrix)
    sign = torch.tensor([1.0, 1.0, float(torch.det(u @ v).sign())], dtype=matrix.dtype)
    return u @ sign.diag() @ v, float((s * sign).sum())


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    said = (
        f"{row['trouble']:12} {row['correction']:8} held out {row['psnr']:6.2f} dB"
        f" ({row['psnr_unfitted']:6.2f} as they are), trained {row['trained_psnr']:6.2f} dB"
    )
    if "places_mm" in row:
        said += (
            "  places {:.1f} -> {:.1f} mm".format(*row["places_mm"])
            + ", turns {:.2f} -> {:.2f} deg".format(*row["turns_degrees"])
            + ", exposure {:.3f} -> {:.3f} stops".format(*row["exposure_stops"])
        )
    return said


if __name__ == "__main__":
    main()
