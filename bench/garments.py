"""Garments of the generated figure: trained by photos and masks, judged, and put on other bodies.

For each garment: whether rows of the body stayed to the bit, the deepest row, PSNR within masks of
held-out photos, what of the garment alone lies outside of where the garment is, and, on two bodies
in two poses, the share of rows that skinning puts inside; with pictures. For the dress, which hangs
15 cm off the legs, also what becomes of rows that begin on it: by our rules, without that for what
no photo shows, and with the published rule of size.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro

from splat import datasets
from splat.core.edit import Change
from splat.core.frame import INPUT_FRAME, gaussians_from_frame
from splat.loop import Run, train
from splat.mesh import Mesh
from splat.options import Options
from splat.render.native import NativeRenderer
from splat.strategies.adc import Adc
from splat.strategies.garment import Garment, dressed, figure, rig
from splat.strategies.garment.body import Body
from splat.strategies.garment.distance import Surface, depths_of
from splat.strategies.garment.model import worn
from splat.strategies.garment.skin import dressed as put_on
from splat.training.prepare import prepare
from splat.types import Gaussians, joined

POSES: dict[str, dict[str, tuple[float, float, float]]] = {
    "waving": {"upperarm_l": (0, 0, 75), "forearm_l": (0, 0, 40), "spine": (0, 12, 0)},
    "walking": {
        "thigh_l": (-25, 0, 0), "shin_l": (20, 0, 0), "thigh_r": (15, 0, 0),
        "upperarm_l": (20, 0, -20), "upperarm_r": (-20, 0, 20), "spine": (0, -8, 0),
    },
}  # fmt: skip
HUMANGAUSSIAN = 0.008
OWN = ("inside", "outside", "unseen", "alone", "size")


@dataclass(frozen=True)
class Asked:
    """Train garments of the generated figure, and measure what came of them."""

    out: tyro.conf.Positional[Path]
    steps: int = 2000
    views: int = 40
    side: int = 400
    cap: int = 30_000
    only: tuple[str, ...] = ()
    """Which garments; none: all."""


def of_run(folder: Path, asked: Asked, **how: Any) -> tuple[dict[str, Any], Gaussians]:
    """Train a scene; figures, and the garment in the frame of the input."""
    strategy = Garment(Adc(cap=asked.cap), body=str(folder / dressed.BODY), **how)
    options = Options(steps=asked.steps, threads=1, max_side=0)
    scene = datasets.load(folder, masks=dressed.MASKS)
    gone: Counter[str] = Counter()

    def watch(run: Run, step: Any, losses: Any, change: Change) -> None:
        del run, step, losses
        gone.update({k: n for k, n in change.counts.items() if k.startswith("drop:")})

    begun = time.process_time()
    with closing(prepare(scene, strategy, options)) as job:
        run = job.run
        run.watchers = [watch]
        before, first = body_rows(run), int(worn(run.model.cloud).sum())
        train(run)
        after = body_rows(run)
        free = worn(run.model.cloud)
        garment = gaussians_from_frame(run.model.bake().take(free), run.frame)
        figures = {
            "body_equal": all((before[n] == after[n]).all() for n in before),
            "rows_first": first,
            "rows_last": int(free.sum()),
            "dropped": {reason: gone[f"drop:{reason}"] for reason in (*OWN, "opacity")},
            "psnr": psnr(job.held_out, run),
            "cpu_s": round(time.process_time() - begun, 1),
        }
    return figures, garment


def body_rows(run: Run) -> dict[str, np.ndarray]:
    """Bits of the body's rows, in an order of their own."""
    rows = run.model.cloud.rows((~worn(run.model.cloud)).nonzero()[:, 0])
    order = np.lexsort(rows["mean"].numpy().T)
    return {name: values.numpy()[order].view(np.int32) for name, values in rows.items()}


@torch.no_grad()
def psnr(held_out: Any, run: Run) -> float:
    """Within masks of held-out photos, the whole figure being drawn."""
    errors = []
    for index in range(len(held_out)):
        batch = held_out.batch(index)
        picture = run.render(run.model(batch.camera), batch.camera, background=run.background)
        inside = torch.ones_like(picture.alpha) if batch.mask is None else batch.mask.float()
        apart = (picture.image.clamp(0, 1) - batch.image).square().mean(2)
        errors.append(float((apart * inside).sum() / inside.sum()))
    return round(-10 * float(np.log10(np.mean(errors))), 2)


def deepest_mm(garment: Gaussians, body: Body) -> float:
    """How deep the deepest centre lies in the body, by its triangles."""
    means = garment.means.double().numpy()
    inside = depths_of(body.mesh).at(garment.means, INPUT_FRAME)[0].numpy() < 0
    away = Surface(body.mesh).nearest(means[inside])[0]
    return round(1000 * float(away.max(initial=0)), 2)


@torch.no_grad()
def beyond(garment: Gaussians, truth: Mesh, body: Body, asked: Asked) -> float:
    """Share of the opacity of the garment alone that lies where no garment is, masks grown by 3."""
    draw, outside, whole = NativeRenderer("cpu"), 0.0, 0.0
    solid = dressed.drawn(truth, dressed.COLORS["dress"], 1.0)
    for camera in dressed.ring(body, 6, round(asked.side * 0.72), asked.side):
        mask = (draw(solid, camera).alpha > 0.5).float()[None, None]
        near = torch.nn.functional.max_pool2d(mask, 7, 1, 3)[0, 0]
        alpha = draw(garment, camera).alpha
        outside += float((alpha * (near == 0)).sum())
        whole += float(alpha.sum())
    return round(outside / whole, 5)


@torch.no_grad()
def picture(garment: Gaussians, body: Body, before: Body, asked: Asked) -> np.ndarray:
    """A body in a garment from four sides."""
    person = dressed.drawn(body.mesh, dressed.skin, 0.0, 30_000, before.mesh)
    degree = garment.sh_degree or 0
    sh = torch.zeros(len(person), (degree + 1) ** 2, 3)
    sh[:, :1] = person.colors
    parts = [Gaussians(person.means, person.quats, person.scales, person.opacities, sh, degree)]
    whole = joined([*parts, garment])
    cameras = dressed.ring(body, 8, round(asked.side * 0.85), asked.side)
    white, draw = torch.ones(3), NativeRenderer("cpu")
    drawn = [draw(whole, cameras[i], background=white).image for i in (0, 1, 2, 4)]
    rgb = torch.cat(drawn, 1).clamp(0, 1).flip(2)
    return (255 * rgb).round().byte().numpy()


def main(asked: Asked) -> None:
    """Print figures as JSON, a line a garment, and write pictures."""
    bodies = {size: figure.body(size) for size in figure.SIZES}
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, make in figure.GARMENTS.items():
        if asked.only and name not in asked.only:
            continue
        truth, folder = make(), asked.out / name
        dressed.write(
            folder, bodies["usual"], truth, dressed.COLORS[name], asked.views,
            round(asked.side * 0.72), asked.side, 40_000,
        )  # fmt: skip
        found, garment = of_run(folder, asked)
        body = rig.read(folder / dressed.BODY)
        found["deepest_mm"] = deepest_mm(garment, body)
        found["beyond"] = beyond(garment, truth, body, asked)
        shows = [picture(garment, body, body, asked)]
        for size, onto in bodies.items():
            for pose, turns in POSES.items():
                posed = onto.posed(turns)
                depths = depths_of(posed.mesh)
                worn_so = put_on(
                    garment, body, onto, turns, depths=depths, off=0.002 * posed.height
                )
                distance = depths.at(worn_so.gaussians.means, INPUT_FRAME)[0]
                left = float((distance < 0).float().mean())
                found[f"inside_{size}_{pose}"] = [round(worn_so.inside, 5), round(left, 5)]
                shows.append(picture(worn_so.gaussians, posed, onto, asked))
        cv2.imwrite(str(asked.out / f"{name}.png"), np.concatenate(shows))
        print(json.dumps({"garment": name, **found}), flush=True)
        if name == "dress":
            rig.write_mesh(truth, folder / "template.glb")
            start = {"template": str(folder / "template.glb")}
            rules: dict[str, dict[str, Any]] = {
                "ours": {},
                "unseen kept": {"unseen": False},
                "size": {"largest": HUMANGAUSSIAN},
            }
            for rule, more in rules.items():
                again, _ = of_run(folder, asked, **start, **more)
                print(json.dumps({"garment": "dress on a template", "rule": rule, **again}))
                sys.stdout.flush()


if __name__ == "__main__":
    main(tyro.cli(Asked))
