"""A dump: one step of a run in one file, with all that it takes to repeat it on the CPU.

It holds the state before the step, its photos, and how the run was made; tensors, numbers and texts
only, so that `torch.load(path, weights_only=True)` opens it. No file of the scene is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from splat import options
from splat.core.strategy import Strategy
from splat.loop import Run
from splat.recipes import saved
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.runs.folder import options_from
from splat.system.foreign import Record, reading
from splat.system.version import version
from splat.training.prepare import Job, prepare_again
from splat.types import Batch, Camera, Clip, DepthFile, NormalFile, Points, SceneData, View

FORMAT = "splat dump"
VERSION = 1


@dataclass(frozen=True)
class Dump:
    """What the file of a step holds."""

    step: int
    """Steps done before it."""
    found: str
    """Why it was written, a sentence."""
    made_by: str
    """Version of splat that wrote it."""
    device: str
    """Where the run was trained: cpu or cuda."""
    state: State
    """The run before the step, as a checkpoint holds it."""
    batches: Sequence[Batch]
    """The photos of the step, one a process."""
    cameras: Sequence[Camera]
    """Cameras of all training views, frame of training."""
    scene: SceneData
    """Which maps its training views have, and its points; its files are elsewhere."""
    method: Mapping[str, Any]
    """The strategy, as `splat.recipes.saved.description_of` gives it."""
    options: options.Options
    """Every value fitted to the device."""


def path_of(folder: Path, step: int) -> Path:
    """The file of a step in a folder of dumps."""
    return folder / f"step_{step:08d}.pt"


def write(path: Path, job: Job, state: State, batches: Sequence[Batch], found: str) -> None:
    """Write the step that a job is about to do from a state; all or nothing."""
    scene = job.scene
    points = scene.points
    record = {
        "format": FORMAT,
        "version": VERSION,
        "step": state["step"],
        "found": found,
        "made_by": version(),
        "device": job.run.render.device.type,
        "state": state,
        "batches": [_record(batch.to("cpu")) for batch in batches],
        "cameras": [_record(camera.to("cpu")) for camera in job.photos.cameras],
        "views": json.dumps([_view_record(view) for view in scene.train]),
        "scene": [str(scene.path), scene.format],
        "points": None if points is None else _record(points),
        "clip": None if scene.clip is None else asdict(scene.clip),
        "method": json.dumps(saved.description_of(job.strategy)),
        "options": json.dumps(asdict(job.options) | {"replay": None}, default=str),
    }
    checkpoint.write(record, path)


def read(path: Path) -> Dump:
    """The step in a file; raises FileNotFoundError, and ValueError where it is no dump of ours."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a dump that a run left")
    try:
        record = checkpoint.load(path, FORMAT, VERSION)
    except OSError:
        raise
    except Exception:  # of what is no file of torch, its reader may raise nearly anything
        raise ValueError(
            f"{path} is no dump of a step that this version reads; expected a file, whole, that a"
            " run left in its folder dumps"
        ) from None
    try:
        place, form = record["scene"]
        cameras = [_camera(camera) for camera in record["cameras"]]
        views = json.loads(record["views"])
        points = record["points"]
        return Dump(
            step=record["step"],
            found=record["found"],
            made_by=record["made_by"],
            device=record["device"],
            state={**record["state"], "path": str(path)},
            batches=[Batch(**{**b, "camera": _camera(b["camera"])}) for b in record["batches"]],
            cameras=cameras,
            scene=SceneData(
                path=Path(place),
                format=form,
                train=tuple(map(_view, views, cameras)),
                test=(),
                points=None if points is None else Points(**points),
                clip=None if record.get("clip") is None else Clip(**record["clip"]),
            ),
            method=json.loads(record["method"]),
            options=options_from(json.loads(record["options"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} was written by splat {record.get('made_by', '?')} and does not fit this"
            f" version ({type(error).__name__} {error}); use that version"
        ) from None


class StepPhotos:
    """The photos of one step, in place of those of a scene; others are not there."""

    def __init__(self, dump: Dump, shown: Batch) -> None:
        """`shown` is the one that the step is to show."""
        self.cameras, self._shown = dump.cameras, shown
        self._there = {batch.camera.index: batch for batch in dump.batches}

    def __call__(self, step: int) -> Batch:
        del step
        return self._shown

    def batch_at(self, index: int, step: int) -> Batch:
        """A view by its number; raises ValueError where it is not of this step."""
        del step
        if index not in self._there:
            raise ValueError(
                f"view {index} is asked for, and the dump holds the photos of its own step only;"
                " resume the run to see the whole step"
            )
        return self._there[index]


def run_of(dump: Dump, shown: Batch) -> Run:
    """The run of a dump on the CPU, before the step, which is to show one of its photos."""
    with reading(Path(dump.state["path"]), "a dump of this version of splat: use its own"):
        strategy: Strategy = saved.strategy_from_description(dump.method)
        photos = StepPhotos(dump, shown)
        return prepare_again(dump.scene, strategy, dump.options, photos, dump.state)


def _record(value: Any) -> dict[str, Any]:
    """The fields of a record of tensors, numbers and texts, and of those within it."""
    plain = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        name: _record(item) if isinstance(item, Camera) else item for name, item in plain.items()
    }


def _camera(record: Mapping[str, Any]) -> Camera:
    size = Record(record)
    width, height = (size.whole(name, least=1, most=1 << 16) for name in ("width", "height"))
    return Camera(**{**record, "width": width, "height": height})


def _view_record(view: View) -> dict[str, Any]:
    depth, normal = view.depth, view.normal
    return {
        "name": view.name,
        "depth": None if depth is None else {"kind": depth.kind, "scale": depth.scale},
        "normal": None if normal is None else {"frame": normal.frame},
    }


def _view(record: Mapping[str, Any], camera: Camera) -> View:
    name, depth, normal = record["name"], record["depth"], record["normal"]
    place = Path(name)
    return View(
        name=name,
        camera=camera,
        image=place,
        depth=None if depth is None else DepthFile(place, **depth),
        normal=None if normal is None else NormalFile(place, **normal),
    )
