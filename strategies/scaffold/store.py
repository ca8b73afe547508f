"""Anchors in a file of their own, `.anchors`: plain, or coded in few bits."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splat.core.model import Making, Model, TrainedModule
from splat.formats import range_coding
from splat.formats.container import fitting, frame_and_drawing, surroundings
from splat.formats.weights import fill, floats, table
from splat.strategies.scaffold import codes
from splat.strategies.scaffold.anchors import Anchored
from splat.strategies.scaffold.compact import MASK_START, CodedAnchors, Training
from splat.strategies.scaffold.container import ANCHORS
from splat.strategies.scaffold.context import Context, Shape
from splat.strategies.scaffold.networks import Networks
from splat.system.foreign import Broken, Record, check_claim, filled
from splat.types import Camera, Drawing, Frame

NETWORKS = ("heads", "context")
"""Those that make Gaussians of anchors; what else is trained beside them is not drawn with."""


def write_anchors(
    model: Model,
    path: Path,
    frame: Frame,
    drawing: Drawing,
    background: Sequence[float] | None = None,
    *,
    plain: bool = False,
) -> None:
    """Write the anchors of a model, in the frame of training, with all that draws them.

    Coded where they were trained for it, unless `plain`; else every number is a float32.
    `background` is RGB, None black. ValueError where the model has no anchors, or the coder is not
    installed.
    """
    if not isinstance(model, Anchored):
        raise ValueError(
            f"{path.suffix or path.name} files hold anchors, and this model has {model.unit};"
            " train with scaffold, or write another format"
        )
    found = model.settled() if isinstance(model, CodedAnchors) and not plain else None
    header: dict[str, Any] = {
        **surroundings(frame, drawing, background),
        "settings": model.settings,
        "voxel": model.voxel,
        "photos": _photos(model),
        "views": len(model.views),
    }
    if isinstance(model, CodedAnchors):
        header["shape"] = asdict(model.shape)
    if found is None:
        header |= {"kind": "plain", "anchors": len(model.cloud)}
        sections = _plain_sections(model)
    else:
        header |= {"kind": "coded", "anchors": len(found.rows)}
        more, sections = codes.packed(found)
        header |= more
    ANCHORS.write(path, header, {**sections, "views": _views_packed(model.views)})


def read_anchors(path: Path) -> tuple[Anchored, Frame, Drawing]:
    """The model of a file, on the CPU, the frame that it is in, and how it is to be drawn.

    What was coded draws, after training, exactly what was drawn where the file was written.
    ValueError in a sentence where the file is broken.
    """
    header, sections = ANCHORS.read(path)
    coded = header.get("kind") == "coded"
    if coded:
        range_coding.check()
    with fitting(path):
        said = Record(header)
        check_claim(_claimed(said), path.stat().st_size, "anchors and networks")
        frame, drawing = frame_and_drawing(said)
        model = _coded(header, sections) if coded else _plain(header, sections)
        model.frame = frame
        model.voxel = said.number("voxel", least=0)
        model.views = _views_unpacked(sections["views"], said.whole("views"))
    return model, model.frame, drawing


def _claimed(said: Record) -> int:
    """Bytes of the anchors, weights and views of a header; raises `Broken` where it has none."""
    settings = said.record("settings")
    slots, features, hidden, codes = (
        settings.whole(key, least=least, most=1 << 16)
        for key, least in (("slots", 1), ("features", 0), ("hidden", 1), ("codes", 0))
    )
    settings.flag("distance")
    anchors, photos = said.whole("anchors", least=1), said.whole("photos")
    numbers = anchors * (9 + features + 4 * slots) + _NUMBERS * said.whole("views")
    numbers += hidden * (3 * features + codes + 11 * slots) + photos * codes
    if said.get("shape") is not None:
        shape = _shape(said)
        entries = 1 << min(shape.entries, 62)
        numbers += (shape.levels + 3 * shape.planes) * entries * shape.channels
        numbers += shape.hidden * 2 * (6 + features + 3 * slots)
    return 4 * numbers


def _plain_sections(model: Anchored) -> dict[str, bytes]:
    columns = {f"column {name}": floats([model.cloud[name]]) for name in model.cloud.names}
    return columns | {
        f"network {name}": floats(part.module.state_dict().values()) for name, part in _own(model)
    }


def _own(model: Anchored) -> list[tuple[str, TrainedModule]]:
    return [(name, model.networks()[name]) for name in NETWORKS if name in model.networks()]


def _plain(header: dict[str, Any], sections: dict[str, bytes]) -> Anchored:
    n, settings = header["anchors"], header["settings"]
    k = settings["slots"]
    shapes: dict[str, tuple[int, ...]] = {
        "anchor": (3,),
        "feature": (settings["features"],),
        "reach": (6,),
    }
    shapes |= {"offset": (k, 3), "mask": (k,)}
    rows = {
        name: table(sections[f"column {name}"], (n, *shape))
        for name, shape in shapes.items()
        if f"column {name}" in sections
    }
    model = _made(header, rows)
    for name, part in _own(model):
        fill(part.module.state_dict().values(), sections[f"network {name}"])
    return model


def _coded(header: dict[str, Any], sections: dict[str, bytes]) -> Anchored:
    settings, nowhere = header["settings"], torch.zeros(1, 6)
    unused = torch.Generator()
    context = Context(
        settings["features"],
        settings["slots"],
        _shape(header),
        (nowhere[:, :3], nowhere),
        unused,
    )
    networks = Networks(
        settings["features"],
        settings["slots"],
        settings["hidden"],
        (header["photos"], settings["codes"]),
        unused,
    )
    found = codes.unpacked(header, sections, context, networks, settings["distance"])
    logits = torch.where(found.masks, MASK_START, -9.0)
    model = _made(header, {**found.columns, "mask": logits})
    assert isinstance(model, CodedAnchors)
    for name, module in (("heads", networks), ("context", context)):
        model.networks()[name].module.load_state_dict(module.state_dict())
    model.keep(found)
    return model


def _made(header: dict[str, Any], rows: dict[str, Tensor]) -> Anchored:
    making = Making(steps=1, photos=header["photos"])
    if "shape" in header:
        return CodedAnchors(rows, making, header["settings"], _shape(header), Training())
    return Anchored(rows, making, **header["settings"])


def _shape(header: Mapping[str, Any]) -> Shape:
    told = Record(header).record("shape")
    shape = filled(Shape, {**told, "steps": told.triple("steps")})
    if min(value for value in vars(shape).values() if isinstance(value, int)) < 0:
        raise Broken("has a `shape` with a negative number; expected none")
    return shape


def _photos(model: Anchored) -> int:
    heads = model.networks()["heads"].module
    assert isinstance(heads, Networks)
    return len(model.views) if heads.codes is None else len(heads.codes)


def _views_packed(views: Sequence[Camera]) -> bytes:
    """Poses as three rows of four, focal lengths and centre in pixels, size, number.

    Number by number, and of each first all highest bytes, and so on: they differ little.
    """
    numbers = [
        [
            *view.world_to_camera[:3].flatten().tolist(),
            *_lens(view),
            view.width,
            view.height,
            view.index,
        ]
        for view in views
    ]
    plain = np.array(numbers, "<f4").reshape(len(views), _NUMBERS)
    split = np.ascontiguousarray(plain.T).view(np.uint8).reshape(_NUMBERS, len(views), 4)
    return zlib.compress(split.transpose(0, 2, 1).tobytes(), 9)


def _views_unpacked(data: bytes, count: int) -> tuple[Camera, ...]:
    plain = range_coding.inflated(data, 4 * _NUMBERS * count)
    whole = np.frombuffer(plain, np.uint8).reshape(_NUMBERS, 4, count)
    numbers = np.ascontiguousarray(whole.transpose(0, 2, 1)).view("<f4")[..., 0].T
    return tuple(_view(row.tolist()) for row in numbers)


_NUMBERS = 19
"""Of a view."""


def _lens(view: Camera) -> Iterator[float]:
    K = view.K.tolist()
    yield from (K[0][0], K[1][1], K[0][2], K[1][2])


def _view(numbers: list[float]) -> Camera:
    pose = torch.eye(4)
    pose[:3] = torch.tensor(numbers[:12]).view(3, 4)
    fx, fy, cx, cy, width, height, index = numbers[12:]
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    return Camera(pose, K, int(width), int(height), index=int(index))
