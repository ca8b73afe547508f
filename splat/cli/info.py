"""`splat info`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splat import formats
from splat.cleanup.choices import Limits
from splat.cleanup.shapes import giants, needles
from splat.cli.asked.info import Info
from splat.formats.columns import Columns
from splat.formats.limits import FAINTEST, broken_counts
from splat.math import LASTING
from splat.options.parse import parsed
from splat.recipes.described import recipe_names
from splat.recipes.model_files import MODEL_FILES, model_header
from splat.runs.folder import Folder, read_config
from splat.runs.kept import checkpoints_in
from splat.system.files import read_json
from splat.system.foreign import reading

if TYPE_CHECKING:
    from splat.scene import SceneData

BULK = (0.01, 0.99)
"""Quantiles of the rows, along each axis, between which the bulk of a scene lies."""
BAR = 40
"""Characters of the longest bar of a histogram."""
_SPREAD = (0.05, 0.5, 0.95)
_TENTHS = np.linspace(0, 1, 11, dtype=np.float32)
_Floats = NDArray[np.floating[Any]]


def main(arguments: Sequence[str]) -> int:
    """Print what is in a scene, a run or a file; the exit code."""
    asked = parsed(Info, "info", arguments)
    if asked.what.is_file() and asked.what.suffix in MODEL_FILES:
        record = of_model_file(asked.what)
    elif asked.what.is_file():
        record = of_file(asked.what)
    elif Folder(asked.what).is_run():
        record = of_run(Folder(asked.what))
    else:
        from splat import datasets  # and with it OpenCV, as files and runs need not

        record = of_scene(datasets.read(asked.what, asked.reading), asked.device)
    print(json.dumps(record, indent=1) if asked.json else record_text(record))
    return 0


def of_scene(scene: SceneData, wanted: str) -> dict[str, Any]:
    """The content of a scene, and what a plain `splat train` of it would take here."""
    from splat.options import Options
    from splat.planning import predict
    from splat.planning.ladder import rung_for
    from splat.planning.memory import held
    from splat.recipes import catalog
    from splat.recipes.sketch import usual_cap
    from splat.render import choose_kind
    from splat.scene import shrunk

    device, why = choose_kind(wanted)
    cap = usual_cap(device)
    options = predict.with_device_defaults(Options(), device)
    usual = catalog.usual_recipe_of_files() + (
        f" + {catalog.MOVING}" if scene.clip is not None else ""
    )
    start = 0 if scene.points is None else len(scene.points)
    start = start or rung_for(device).random_points
    prediction = predict.predict(
        scene.train, options, device, min(start, cap or start), cap,
        held_out=scene.test, libraries=held(training=True),
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
        "points": 0 if scene.points is None else len(scene.points),
        **({} if scene.clip is None else {"clip": asdict(scene.clip)}),
        "notes": list(scene.notes),
        "training": {
            "device": why,
            "method": f"{usual}, at most {cap:,} Gaussians",
            "steps": options.steps,
            "size": f"{first.width}x{first.height}",
            "predicted_seconds": round(prediction.seconds),
            "predicted_seconds_of_figures": round(prediction.ending_seconds),
            "predicted_memory_mb": round(prediction.total / 1e6),
            "memory": prediction.text(),
        },
    }


def of_model_file(path: Path) -> dict[str, Any]:
    """What a file that keeps a model says of itself."""
    said = model_header(path).described(path)
    return {"file": str(path), "bytes": path.stat().st_size, **said}


def of_run(folder: Folder) -> dict[str, Any]:
    """The settings of a run, its progress, and its metrics."""
    config = read_config(folder.config)
    there = checkpoints_in(folder.checkpoints)
    steps = [int(path.stem.partition("_")[2]) for path in there]
    metrics = read_json(folder.metrics) if folder.metrics.is_file() else {}
    metrics.pop("per_view", None)
    with reading(folder.config, "the settings of a run"):
        method, fields = recipe_names(config.method), config.method["fields"]
    # Figures, once there are some, name presets.
    measured = metrics.get("method")
    return {
        "run": str(folder.path),
        "scene": str(config.scene),
        "command": config.command,
        "made_by": f"splat {config.made_by}",
        "method": measured if isinstance(measured, str) else method,
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
        gaussians = formats.read_columns(path)
    low, high = gaussians.means.min(0), gaussians.means.max(0)
    bulk_low, bulk_high = zip(*(_quantiles(axis, BULK) for axis in gaussians.means.T), strict=True)
    longest = gaussians.scales.max(1)
    weight = formats.weight(path)
    return {
        "file": str(path),
        "format": formats.suffix_of(path).removeprefix("."),
        "bytes": weight,
        "gaussians": len(gaussians),
        "bytes_per_gaussian": round(weight / len(gaussians), 2),
        "sh_degree": gaussians.sh_degree,
        "antialiased": gaussians.antialiased,
        "near": gaussians.near,
        "low_corner": [round(value, 4) for value in low.tolist()],
        "high_corner": [round(value, 4) for value in high.tolist()],
        "bulk_low_corner": [round(value, 4) for value in bulk_low],
        "bulk_high_corner": [round(value, 4) for value in bulk_high],
        "opacity_5_50_95": [round(v, 4) for v in _quantiles(gaussians.opacities, _SPREAD)],
        "largest_scale_5_50_95": [round(v, 6) for v in _quantiles(longest, _SPREAD)],
        **_moves(gaussians),
        "sh_energy_by_band": [float(f"{value:.4g}") for value in _energies(gaussians)],
        "problems": _problems(gaussians, sum(broken)),
        "opacity_histogram": _histogram(gaussians.opacities, _TENTHS),
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


def _problems(gaussians: Columns, broken: int) -> dict[str, Any]:
    """Counts of rows that `splat clean` may remove, and bands of harmonics that are all 0."""
    limits = Limits()
    bands = range(1, gaussians.sh_degree + 1)
    return {
        "broken_and_left_out": broken,
        "opacity_0": int((gaussians.opacities <= 2 * FAINTEST).sum()),
        "opacity_1": int((gaussians.opacities >= 1 - 2 * FAINTEST).sum()),
        "never_drawn": int((gaussians.opacities < limits.faint).sum()),
        "giants": int(giants(gaussians.means, gaussians.scales, limits.giants).sum()),
        "needles": int(needles(gaussians.scales, limits.needles).sum()),
        "sh_bands_of_zeros": [d for d in bands if not gaussians.sh[:, _band(d)].any()],
    }


def _moves(gaussians: Columns) -> dict[str, Any]:
    """Of a set that moves: shares that are there and that always are, durations, speeds."""
    motion = gaussians.moving
    if motion is None:
        return {}
    always = motion.duration >= LASTING
    some = always if always.all() else ~always
    durations = motion.duration[some].clip(max=1)
    speeds = np.linalg.norm(motion.velocity[some], axis=1)
    return {
        "moving": {
            "always_there": round(float(always.mean()), 4),
            "seen_at_0_half_1": [round(_seen(gaussians, time), 4) for time in (0.0, 0.5, 1.0)],
            "duration_5_50_95": [round(v, 4) for v in _quantiles(durations, _SPREAD)],
            "speed_5_50_95": [round(v, 4) for v in _quantiles(speeds, _SPREAD)],
            "duration_histogram": _histogram(durations, _TENTHS),
        },
    }


def _seen(gaussians: Columns, time: float) -> float:
    """Share of a moving set that may be drawn at an instant (`splat.math.moment`)."""
    motion = gaussians.moving
    assert motion is not None
    apart = np.where(motion.duration < LASTING, time - motion.time, 0)
    far = np.square(apart / motion.duration)
    return float((gaussians.opacities * np.exp(far * -0.5) > Limits().faint).mean())


def _band(degree: int) -> slice:
    return slice(degree * degree, (degree + 1) ** 2)


def _energies(gaussians: Columns) -> list[float]:
    """Mean square of what each band adds to colours, over rows, channels and directions."""
    # The harmonics are orthonormal on the sphere, whose area is 4 pi.
    bands = (gaussians.sh[:, _band(d)] for d in range(gaussians.sh_degree + 1))
    squares = (np.square(band).sum(1).mean(dtype=np.float64) for band in bands)
    return [float(square) / (4 * math.pi) for square in squares]


def _decades(values: _Floats) -> _Floats:
    """Edges of bins, half a power of ten each, that hold 99.8 % of positive values."""
    low, high = _quantiles(np.log10(values.clip(1e-30)), (0.001, 0.999))
    first, last = math.floor(2 * low), math.ceil(2 * high)
    edges: _Floats = 10 ** (np.arange(first, max(last, first + 1) + 1, dtype=np.float32) / 2)
    return edges


def _histogram(values: _Floats, edges: _Floats) -> dict[str, list[Any]]:
    """Counts of values between edges; the first and the last bin take what lies beyond."""
    bins = np.searchsorted(edges[1:-1], values, side="right")
    counts = np.bincount(bins, minlength=len(edges) - 1)
    return {"edges": [float(f"{e:.4g}") for e in edges.tolist()], "counts": counts.tolist()}


def _bars(edges: list[float], counts: list[int], indent: str) -> list[str]:
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    most = max(counts)
    width, digits = max(map(len, labels)), len(f"{most:,}")
    return [
        f"{indent}{label:>{width}} {count:>{digits},} {'#' * round(BAR * count / most)}".rstrip()
        for label, count in zip(labels, counts, strict=True)
    ]


def _quantiles(values: _Floats, at: Sequence[float]) -> list[float]:
    ordered = np.sort(values)
    return [float(ordered[round(share * (len(ordered) - 1))]) for share in at]
