"""`splat info`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from splat import api, checkpoint, export, methods, plan, recipe
from splat.cli.parse import parsed
from splat.folder import Folder, read_config, read_json
from splat.loader import shrunk
from splat.options import Options, Reading
from splat.render import choose_device
from splat.types import SceneData


@dataclass(frozen=True)
class Info:
    """Say what is in a scene, a run or a file of Gaussians, and what training would take."""

    what: tyro.conf.Positional[Path]
    """Folder of a scene, folder of a run, or a file of Gaussians."""
    json: bool = False
    """Print it as JSON."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where one would train."""
    reading: Reading = field(default_factory=Reading)


def main(arguments: Sequence[str]) -> int:
    """Print what is there; the exit code."""
    asked = parsed(Info, "info", arguments)
    if asked.what.is_file():
        record = of_file(asked.what)
    elif Folder(asked.what).is_run():
        record = of_run(Folder(asked.what))
    else:
        record = of_scene(api.read_scene(asked.what, asked.reading), asked.device)
    print(json.dumps(record, indent=1) if asked.json else told(record))
    return 0


def of_scene(scene: SceneData, wanted: str) -> dict[str, Any]:
    """What a scene holds, and what a plain `splat train` of it would take here."""
    device, why = choose_device(wanted)
    method = recipe.usual(methods.fitted(device))
    options = plan.fitted(Options(), device)
    start = 0 if scene.points is None else len(scene.points.positions)
    start = start or plan.fit(device).random_points
    found = plan.predicted(
        scene.train, options, device, min(start, method.cap or start), method.cap
    )
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
        "notes": list(scene.notes),
        "training": {
            "device": why,
            "method": f"{methods.USUAL}, at most {method.cap:,} Gaussians",
            "steps": options.steps,
            "size": f"{first.width}x{first.height}",
            "predicted_seconds": round(found.seconds),
            "predicted_memory_mb": round(found.total / 1e6),
            "memory": found.said(),
        },
    }


def of_run(folder: Folder) -> dict[str, Any]:
    """What a run was asked for, how far it is, and its figures."""
    config = read_config(folder.config)
    there = checkpoint.found(folder.checkpoints)
    steps = [int(path.stem.partition("_")[2]) for path in there]
    metrics = read_json(folder.metrics) if folder.metrics.is_file() else {}
    metrics.pop("per_view", None)
    return {
        "run": str(folder.path),
        "scene": str(config.scene),
        "command": config.command,
        "made_by": f"splat {config.made_by}",
        "method": methods.outlined(config.method),
        "method_fields": config.method["fields"],
        "steps_done": steps[-1] if steps else 0,
        "steps": config.options.steps,
        "checkpoints": steps,
        "options": {name: value for name, value in asdict(config.options).items() if value},
        "metrics": metrics,
    }


def of_file(path: Path) -> dict[str, Any]:
    """What a file of Gaussians holds."""
    found = export.read(path)
    if not len(found):
        raise ValueError(f"{path} holds no Gaussians")
    drawing = export.drawing(path)
    low, high = found.means.amin(0), found.means.amax(0)
    at = torch.tensor([0.05, 0.5, 0.95])
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "gaussians": len(found),
        "sh_degree": found.sh_degree,
        "antialiased": drawing.antialiased,
        "near": drawing.near,
        "low_corner": [round(value, 4) for value in low.tolist()],
        "high_corner": [round(value, 4) for value in high.tolist()],
        "opacity_5_50_95": [round(v, 4) for v in _quantiles(found.opacities, at)],
        "largest_scale_5_50_95": [round(v, 6) for v in _quantiles(found.scales.amax(1), at)],
    }


def told(record: dict[str, Any], indent: int = 0) -> str:
    """A record for people: a line a field."""
    lines = []
    for name, value in record.items():
        label = f"{' ' * indent}{name.replace('_', ' ')}:"
        if type(value) is dict:
            lines += [label, told(value, indent + 2)] if value else []
        elif type(value) is list and value and type(value[0]) is str and len(value) > 1:
            lines += [label, *(f"{' ' * indent}  {item}" for item in value)]
        else:
            shown = ", ".join(map(str, value)) if type(value) is list else value
            shown = f"{shown:,}" if type(shown) is int else shown
            shown = f"{shown:.6g}" if type(shown) is float else shown
            lines.append(f"{label} {'-' if shown in (None, '') else shown}")
    return "\n".join(lines)


def _quantiles(values: torch.Tensor, at: torch.Tensor) -> list[float]:
    # torch.quantile refuses more than 16 million values.
    ordered = values.sort().values
    places = (at * (len(ordered) - 1)).round().long()
    found: list[float] = ordered[places].tolist()
    return found
