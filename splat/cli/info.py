"""`splat info`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splat import api, formats
from splat.cleanup.choices import Limits
from splat.cleanup.debris import giants, needles
from splat.cli.asked.info import Info
from splat.cli.clean import broken_counts
from splat.cli.instants import FAINT
from splat.core.frame import shrunk
from splat.formats.rows import FAINTEST
from splat.math import LASTING
from splat.options import Options
from splat.options.parse import parsed
from splat.planning import predict
from splat.planning.ladder import rung_for
from splat.recipes import catalog, recipe, saved
from splat.recipes.offered import Offered
from splat.render import choose_device
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.system.files import read_json
from splat.system.foreign import reading
from splat.types import Gaussians, SceneData

BULK = torch.tensor([0.01, 0.99])
"""Quantiles of the rows, along each axis, between which the bulk of a scene lies."""
BAR = 40
"""Characters of the longest bar of a histogram."""


def main(arguments: Sequence[str]) -> int:
    """Print what is in a scene, a run or a file; the exit code."""
    asked = parsed(Info, "info", arguments)
    if asked.what.is_file():
        record = of_file(asked.what)
    elif Folder(asked.what).is_run():
        record = of_run(Folder(asked.what))
    else:
        record = of_scene(api.read_scene(asked.what, asked.reading), asked.device)
    print(json.dumps(record, indent=1) if asked.json else record_text(record))
    return 0


def of_scene(scene: SceneData, wanted: str) -> dict[str, Any]:
    """The content of a scene, and what a plain `splat train` of it would take here."""
    device, why = choose_device(wanted)
    method = recipe.usual_strategy(Offered(device))
    options = predict.with_device_defaults(Options(), device)
    usual = catalog.usual_recipe() + (f" + {catalog.MOVING}" if scene.clip is not None else "")
    start = 0 if scene.points is None else len(scene.points.positions)
    start = start or rung_for(device).random_points
    prediction = predict.predict(
        scene.train, options, device, min(start, method.cap or start), method.cap,
        held_out=scene.test,
    )  # fmt: skip
    views = {view.name: view for view in (*scene.train, *scene.test)}
    cameras = [view.camera for view in scene.train]
    first = shrunk(cameras[0], 1, options.max_side or None)
    return {
        "scene": str(scene.path),
        "format": scene.format,
        "photos": len(views),
        "train": len(scene.train),
        "held_out": len(scene.test),
        "sizes": sorted({f"{v.camera.width}x{v.camera.height}" for v in views.values()}),
        "lenses": sorted({v.lens.model for v in views.values() if v.lens is not None}),
        "masks": sum(view.mask is not None for view in views.values()),
        "points": 0 if scene.points is None else len(scene.points.positions),
        **({} if scene.clip is None else {"clip": asdict(scene.clip)}),
        "notes": list(scene.notes),
        "training": {
            "device": why,
            "method": f"{usual}, at most {method.cap:,} Gaussians",
            "steps": options.steps,
            "size": f"{first.width}x{first.height}",
            "predicted_seconds": round(prediction.seconds),
            "predicted_seconds_of_figures": round(prediction.ending_seconds),
            "predicted_memory_mb": round(prediction.total / 1e6),
            "memory": prediction.text(),
        },
    }


def of_run(folder: Folder) -> dict[str, Any]:
    """The settings of a run, its progress, and its metrics."""
    config = read_config(folder.config)
    there = checkpoint.checkpoints_in(folder.checkpoints)
    steps = [int(path.stem.partition("_")[2]) for path in there]
    metrics = read_json(folder.metrics) if folder.metrics.is_file() else {}
    metrics.pop("per_view", None)
    with reading(folder.config, "the settings of a run"):
        method, fields = saved.class_names(config.method), config.method["fields"]
    return {
        "run": str(folder.path),
        "scene": str(config.scene),
        "command": config.command,
        "made_by": f"splat {config.made_by}",
        "method": method,
        "method_fields": fields,
        "steps_done": steps[-1] if steps else metrics.get("steps", 0),
        "steps": config.options.steps,
        "checkpoints": steps,
        "options": {name: value for name, value in asdict(config.options).items() if value},
        "metrics": metrics,
    }


def of_file(path: Path) -> dict[str, Any]:
    """The content of a file of Gaussians."""
    with broken_counts() as broken:
        gaussians = formats.read(path)
    if not len(gaussians):
        raise ValueError(f"{path} holds no Gaussians")
    drawing = formats.drawing(path)
    low, high = gaussians.means.amin(0), gaussians.means.amax(0)
    axes = [_quantiles(axis, BULK) for axis in gaussians.means.unbind(1)]
    bulk_low, bulk_high = zip(*axes, strict=True)
    longest = gaussians.scales.amax(1)
    at = torch.tensor([0.05, 0.5, 0.95])
    weight = formats.weight(path)
    return {
        "file": str(path),
        "format": formats.suffix_of(path).removeprefix("."),
        "bytes": weight,
        "gaussians": len(gaussians),
        "bytes_per_gaussian": round(weight / len(gaussians), 2),
        "sh_degree": gaussians.sh_degree,
        "antialiased": drawing.antialiased,
        "near": drawing.near,
        "low_corner": [round(value, 4) for value in low.tolist()],
        "high_corner": [round(value, 4) for value in high.tolist()],
        "bulk_low_corner": [round(value, 4) for value in bulk_low],
        "bulk_high_corner": [round(value, 4) for value in bulk_high],
        "opacity_5_50_95": [round(v, 4) for v in _quantiles(gaussians.opacities, at)],
        "largest_scale_5_50_95": [round(v, 6) for v in _quantiles(longest, at)],
        **_moves(gaussians),
        "sh_energy_by_band": [float(f"{value:.4g}") for value in _energies(gaussians)],
        "problems": _problems(gaussians, sum(broken)),
        "opacity_histogram": _histogram(gaussians.opacities, torch.linspace(0, 1, 11)),
        "largest_scale_histogram": _histogram(longest, _decades(longest)),
    }


def record_text(record: dict[str, Any], indent: int = 0) -> str:
    """A record as text: a line a field, and a bar for every bin of a histogram."""
    lines = []
    for name, value in record.items():
        label = f"{' ' * indent}{name.replace('_', ' ')}:"
        if type(value) is dict and set(value) == {"edges", "counts"}:
            lines += [label, *_bars(value["edges"], value["counts"], " " * (indent + 2))]
        elif type(value) is dict:
            lines += [label, record_text(value, indent + 2)] if value else []
        elif type(value) is list and value and type(value[0]) is str and len(value) > 1:
            lines += [label, *(f"{' ' * indent}  {item}" for item in value)]
        else:
            shown = ", ".join(map(str, value)) if type(value) is list else value
            shown = f"{shown:,}" if type(shown) is int else shown
            shown = f"{shown:.6g}" if type(shown) is float else shown
            lines.append(f"{label} {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def _problems(gaussians: Gaussians, broken: int) -> dict[str, Any]:
    """Counts of rows that `splat clean` may remove, and bands of harmonics that are all 0."""
    limits = Limits()
    bands = range(1, (gaussians.sh_degree or 0) + 1)
    return {
        "broken_and_left_out": broken,
        "opacity_0": int((gaussians.opacities <= 2 * FAINTEST).sum()),
        "opacity_1": int((gaussians.opacities >= 1 - 2 * FAINTEST).sum()),
        "never_drawn": int((gaussians.opacities < limits.faint).sum()),
        "giants": int(giants(gaussians, limits.giants).sum()),
        "needles": int(needles(gaussians, limits.needles).sum()),
        "sh_bands_of_zeros": [
            d for d in bands if not gaussians.colors[:, d * d : (d + 1) ** 2].any()
        ],
    }


def _moves(gaussians: Gaussians) -> dict[str, Any]:
    """Of a set that moves: shares that are there and that always are, durations, speeds."""
    motion = gaussians.motion
    if motion is None:
        return {}
    always = motion.duration >= LASTING
    some = ~always if bool((~always).any()) else always
    at = torch.tensor([0.05, 0.5, 0.95])
    seen = [(gaussians.at(time).opacities > FAINT).float().mean() for time in (0.0, 0.5, 1.0)]
    durations = motion.duration[some].clamp_max(1)
    speeds = motion.velocity[some].norm(dim=1)
    return {
        "moving": {
            "always_there": round(float(always.float().mean()), 4),
            "seen_at_0_half_1": [round(float(share), 4) for share in seen],
            "duration_5_50_95": [round(v, 4) for v in _quantiles(durations, at)],
            "speed_5_50_95": [round(v, 4) for v in _quantiles(speeds, at)],
            "duration_histogram": _histogram(durations, torch.linspace(0, 1, 11)),
        },
    }


def _energies(gaussians: Gaussians) -> list[float]:
    """Mean square of what each band adds to colours, over rows, channels and directions."""
    bands = range((gaussians.sh_degree or 0) + 1)
    # The harmonics are orthonormal on the sphere, whose area is 4 pi.
    squares = [gaussians.colors[:, d * d : (d + 1) ** 2].square().sum(1).mean() for d in bands]
    return [float(square) / (4 * math.pi) for square in squares]


def _decades(values: Tensor) -> Tensor:
    """Edges of bins, half a power of ten each, that hold 99.8 % of positive values."""
    low, high = _quantiles(values.clamp_min(1e-30).log10(), torch.tensor([0.001, 0.999]))
    first, last = math.floor(2 * low), math.ceil(2 * high)
    return 10 ** (torch.arange(first, max(last, first + 1) + 1) / 2)


def _histogram(values: Tensor, edges: Tensor) -> dict[str, list[Any]]:
    """Counts of values between edges; the first and the last bin take what lies beyond."""
    bins = torch.bucketize(values, edges[1:-1].contiguous(), right=True)
    counts = torch.bincount(bins, minlength=len(edges) - 1)
    return {"edges": [float(f"{e:.4g}") for e in edges.tolist()], "counts": counts.tolist()}


def _bars(edges: list[float], counts: list[int], indent: str) -> list[str]:
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    most = max(counts)
    width, digits = max(map(len, labels)), len(f"{most:,}")
    return [
        f"{indent}{label:>{width}} {count:>{digits},} {'#' * round(BAR * count / most)}".rstrip()
        for label, count in zip(labels, counts, strict=True)
    ]


def _quantiles(values: Tensor, at: Tensor) -> list[float]:
    # torch.quantile refuses more than 16 million values.
    ordered = values.sort().values
    places = (at * (len(ordered) - 1)).round().long()
    quantiles: list[float] = ordered[places].tolist()
    return quantiles
