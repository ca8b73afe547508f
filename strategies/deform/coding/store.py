"""Deformed Gaussians in a file of their own, `.clip`: plain, or coded in few bits."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from splat.core.model import COLUMNS, Explicit, Model, check_shapes, module_of
from splat.formats import range_coding
from splat.formats.container import fitting, frame_and_drawing, surroundings
from splat.formats.weights import fill, floats, halved, table
from splat.strategies.deform.coding import exact
from splat.strategies.deform.coding.context import Kind, PlaneContext
from splat.strategies.deform.coding.rows import CodedRows
from splat.strategies.deform.coding.touched import touched
from splat.strategies.deform.container import CLIP
from splat.strategies.deform.field import KINDS, DeformationField, RoundingStep, Sizes
from splat.strategies.deform.model import CONTEXT, Deformed
from splat.system.foreign import Broken, Record, check_claim
from splat.types import Drawing, Frame

MOST_INSTANTS = 1 << 14


def write_clip(
    model: Model,
    path: Path,
    frame: Frame,
    drawing: Drawing,
    background: Sequence[float] | None = None,
    *,
    plain: bool = False,
) -> None:
    """Write Gaussians and the field that deforms them, in the frame of training.

    Coded where planes were trained for it, unless `plain`; else every number is a float32.
    ValueError where the model is of another kind, or the coder is not installed.
    """
    if not isinstance(model, Deformed):
        raise ValueError(
            f"{path.suffix or path.name} files hold Gaussians that a field deforms, and this model"
            f" has {model.unit}; train with + deform, or write another format"
        )
    check_kept(model, path)
    header: dict[str, Any] = {
        **surroundings(frame, drawing, background),
        "sizes": asdict(model.field.sizes) | {"instants": model.field.times[0].shape[1]},
    }
    if CONTEXT in model.beside and not plain:
        more, sections = _coded(model)
        header |= {"kind": "coded", **more}
    else:
        header |= {"kind": "plain", "rows": len(model.cloud),
                   "sh": list(model.cloud["sh"].shape[1:])}  # fmt: skip
        if model.field.step is not None:
            header["step"] = asdict(model.field.step)
        sections = {name: floats([model.cloud[name]]) for name in sorted(COLUMNS)}
        sections["field"] = floats(model.field.state_dict().values())
    CLIP.write(path, header, sections)


def check_kept(model: Deformed, path: Path) -> None:
    """Raise ValueError where such files cannot keep a model."""
    if type(model.base) is not Explicit:
        raise ValueError(
            f"{path.suffix or path.name} files hold Gaussians that a field deforms, and this model"
            f" deforms {model.unit} of another kind; export instants of it (--instants 60), or what"
            " moves as .ply"
        )


def read_clip(path: Path) -> tuple[Deformed, Frame, Drawing]:
    """The model of a file, on the CPU, the frame that it is in, and how it is to be drawn.

    What was coded draws exactly what `settled` drew where the file was written. ValueError in a
    sentence where the file is broken.
    """
    header, sections = CLIP.read(path)
    if header.get("kind") == "coded":
        range_coding.check()
    with fitting(path):
        said = Record(header)
        sizes = _sizes(said.record("sizes"))
        check_claim(_claimed(said, sizes), path.stat().st_size, "Gaussians and planes")
        frame, drawing = frame_and_drawing(said)
        coded = said.text("kind") == "coded"
        model = _from_coded(said, sections, sizes) if coded else _plain(said, sections, sizes)
        model.frame = frame
    return model, model.frame, drawing


@torch.no_grad()
def settled(model: Deformed) -> Deformed:
    """The model as a coded file holds it: rounded, in half precision where it has networks."""
    return _settled(model)[0]


def _settled(model: Deformed) -> tuple[Deformed, CodedRows, PlaneContext, exact.Planes, exact.Read]:
    field, context = model.field, module_of(model, CONTEXT, PlaneContext)
    assert field.step is not None
    rows = CodedRows.of({name: model.cloud[name] for name in COLUMNS})
    columns, held = rows.columns(), halved(context).cpu()
    settled_field = copy.deepcopy(field).cpu().requires_grad_(False)
    for layer in _layers(settled_field):
        layer.data = layer.half().float()
    read = _read(settled_field, columns["mean"])
    planes = {
        kind: [_steps(values, field.step.of(kind)) for values in settled_field.planes(kind)]
        for kind in KINDS
    }
    planes = exact.filled(held, planes, read)
    return _made(settled_field, columns, planes, field.step), rows, held, planes, read


@torch.no_grad()
def _coded(model: Deformed) -> tuple[dict[str, Any], dict[str, bytes]]:
    found, rows, context, planes, read = _settled(model)
    said, sections = rows.packed()
    kept = [values[mask] for kind in KINDS
            for values, mask in zip(planes[kind], read[kind], strict=True)]  # fmt: skip
    low = min((int(each.min()) for each in kept if each.size), default=0)
    high = max((int(each.max()) for each in kept if each.size), default=0)
    sections |= {
        "corners": floats([found.field.low, found.field.high]),
        "layers": floats(_layers(found.field), "<f2"),
        "context": floats(context.weights(), "<f2"),
        "planes": exact.packed(context, planes, read, (low, high)),
    }
    said |= {"step": asdict(context.step), "low": low, "high": high}
    if context.latents:
        said["latents"], sections["latents"] = exact.latents_packed(context)
    if context.kind != "small":
        said["context"] = context.kind
    return said, sections


def _from_coded(said: Record, sections: dict[str, bytes], sizes: Sizes) -> Deformed:
    step = _step(said)
    rows = CodedRows.unpacked(said, sections)
    columns = rows.columns()
    field = _empty(sizes)
    fill([field.low, field.high], sections["corners"])
    fill(_layers(field), sections["layers"], "<f2")
    kind = said.text("context") if "context" in said else "small"
    if kind not in get_args(Kind):
        raise Broken(f"has planes that are expected by {kind!r}; expected small or full")
    context = PlaneContext(field, step, torch.Generator(), cast(Kind, kind))
    fill(context.weights(), sections["context"], "<f2")
    if context.latents:
        exact.fill_latents(context, sections["latents"], _bounds(said.record("latents"), "latents"))
    bounds = _bounds(said, "planes")
    read = _read(field, columns["mean"])
    planes = exact.unpacked(context, sections["planes"], read, bounds)
    return _made(field, columns, planes, step)


def _bounds(said: Record, what: str) -> tuple[int, int]:
    low, high = (said.whole(name, least=-exact.FARTHEST) for name in ("low", "high"))
    if not low <= high <= exact.FARTHEST:
        raise Broken(f"has {what} from {low} to {high} steps")
    return low, high


def _plain(said: Record, sections: dict[str, bytes], sizes: Sizes) -> Deformed:
    n, sh = said.whole("rows", least=1), said["sh"]
    shapes: dict[str, tuple[int, ...]] = {
        "mean": (n, 3), "quat": (n, 4), "log_scale": (n, 3), "opacity_logit": (n,),
        "sh": (n, *sh),
    }  # fmt: skip
    rows = {name: table(sections[name], shape) for name, shape in shapes.items()}
    check_shapes(rows)
    field = _empty(sizes)
    fill(field.state_dict().values(), sections["field"])
    field.step = None if said.get("step") is None else _step(said)
    return Deformed(Explicit(rows, steps=1), field, coarse=0)


def _made(
    field: DeformationField, columns: Mapping[str, Tensor], planes: exact.Planes, step: RoundingStep
) -> Deformed:
    for kind in KINDS:
        for values, steps in zip(field.planes(kind), planes[kind], strict=True):
            values.data = torch.from_numpy(steps).float() * step.of(kind)
    field.step = None
    return Deformed(Explicit(columns, steps=1), field, coarse=0)


def _read(field: DeformationField, means: Tensor) -> dict[str, list[Any]]:
    """Which values of the planes are read, by kind and scale, [3, H, W] bool."""
    inside, instants = field.inside(means), field.times[0].shape[1]
    read: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for side in field.sizes.sides:
        both = [touched(inside, side, axis) for axis in range(3)]
        read["space"].append(np.stack([plane.numpy() for plane, _ in both]))
        lines = [np.broadcast_to(line.numpy(), (instants, side)) for _, line in both]
        read["times"].append(np.stack(lines))
    return read


def _steps(values: Tensor, step: float) -> Any:
    steps = (values.detach() / step).round().clamp(-exact.FARTHEST, exact.FARTHEST)
    return steps.long().numpy()


def _layers(field: DeformationField) -> list[Tensor]:
    return [field.trunk, field.hidden, field.last]


def _empty(sizes: Sizes) -> DeformationField:
    nowhere = torch.tensor([[-1.0] * 3, [1.0] * 3])
    field = DeformationField(nowhere, sizes, torch.Generator())
    return field.requires_grad_(False)


def _step(said: Record) -> RoundingStep:
    given = said.record("step")
    return RoundingStep(given.number("space", above=0), given.number("times", above=0))


def _sizes(said: Record) -> Sizes:
    sides = said["sides"]
    if not isinstance(sides, list) or not 1 <= len(sides) <= 4:
        raise Broken("has `sides` that are no list of 1 to 4 whole numbers")
    ordered = Record({str(i): side for i, side in enumerate(sides)})
    return Sizes(
        sides=tuple(ordered.whole(str(i), least=2, most=1 << 12) for i in range(len(sides))),
        instants=said.whole("instants", least=1, most=MOST_INSTANTS),
        channels=said.whole("channels", least=16, most=48),
        width=said.whole("width", least=16, most=64),
        opacity=said.flag("opacity"),
    )


def _claimed(said: Record, sizes: Sizes) -> int:
    """Bytes of the rows and planes of a header."""
    values = sum(3 * side * (side + sizes.instants) for side in sizes.sides)
    return 4 * (values * sizes.channels + 62 * said.whole("rows", least=1))
