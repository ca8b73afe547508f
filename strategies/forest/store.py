"""A forest in a file of its own, `.forest`: coded in few bits, or plain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from splat.core.edit import Rows
from splat.core.model import Making, Model
from splat.formats import range_coding
from splat.formats.container import fitting, frame_and_drawing, surroundings
from splat.formats.weights import fill, floats, table
from splat.strategies.forest import codes
from splat.strategies.forest.container import FOREST
from splat.strategies.forest.context import Context, Steps
from splat.strategies.forest.model import Trees
from splat.strategies.forest.networks import Networks
from splat.strategies.forest.settled import Settled
from splat.system.foreign import Record, check_claim, filled
from splat.types import Drawing, Frame

WIDEST = 1 << 10
"""Most numbers of a feature or of a layer."""


def write_forest(
    model: Model,
    path: Path,
    frame: Frame,
    drawing: Drawing,
    background: Sequence[float] | None = None,
    *,
    plain: bool = False,
) -> None:
    """Write the forest of a model, in the frame of training, with all that draws it.

    Coded; with `plain`, or where the coder is not installed, every number a float32. `background`
    is RGB, None black. ValueError where the model has no leaves.
    """
    plain = plain or not range_coding.there()
    if not isinstance(model, Trees):
        raise ValueError(
            f"{path.suffix or path.name} files hold forests, and this model has {model.unit};"
            " train with forest-inspired, or write another format"
        )
    header: dict[str, Any] = {
        **surroundings(frame, drawing, background),
        "settings": model.settings,
        "views": len(model.views),
    }
    if plain:
        said: dict[str, Any] = {
            "leaves": len(model.cloud), "mids": len(model.mids), "roots": len(model.roots),
            "steps": asdict(model.steps), "rounded": model.rounds(None),
        }  # fmt: skip
        sections = _plain_sections(model)
    else:
        said, sections = codes.packed(model.settled())
    sections["views"] = floats([model.view_centres()])
    FOREST.write(path, {**header, "kind": "plain" if plain else "coded", **said}, sections)


def read_forest(path: Path) -> tuple[Trees, Frame, Drawing]:
    """The model of a file, on the CPU, the frame that it is in, and how it is to be drawn.

    What was coded draws exactly what its settled forest drew where the file was written. ValueError
    in a sentence where the file is broken.
    """
    header, sections = FOREST.read(path)
    coded = header.get("kind") != "plain"
    if coded:
        range_coding.check()
    with fitting(path):
        said = Record(header)
        check_claim(_claimed(said), path.stat().st_size, "leaves, nodes and networks")
        frame, drawing = frame_and_drawing(said)
        model = _coded(said, sections) if coded else _plain(said, sections)
        model.frame = frame
        model.stand(table(sections["views"], (said.whole("views"), 3)))
        model.mid_of, model.root_of  # noqa: B018  links that lead nowhere are said here
    return model, frame, drawing


def restored(found: Settled) -> Trees:
    """The model that draws a settled forest, on the CPU, without views."""
    leaves, mids, roots = found.columns()
    model = _model(leaves, mids, roots, found.networks.shape_in.shape[1], found.steps)
    model.nets.load_state_dict(found.networks.state_dict())
    model.context.load_state_dict(found.context.state_dict())
    model.keep(found)
    return model


def _model(leaves: Rows, mids: Rows, roots: Rows, hidden: int, steps: Steps) -> Trees:
    return Trees(
        leaves,
        Making(steps=1),
        mid_features=mids["feature"].shape[1],
        root_features=roots["feature"].shape[1],
        hidden=hidden,
        steps=steps,
        nodes=(mids, roots),
    )


def _widths(said: Record) -> tuple[int, int, int]:
    """Of the features of mids and roots, and of the networks."""
    settings = said.record("settings")
    mid, root, hidden = (
        settings.whole(key, least=1, most=WIDEST)
        for key in ("mid_features", "root_features", "hidden")
    )
    return mid, root, hidden


def _claimed(said: Record) -> int:
    """Bytes of what a header says there is; raises `Broken` where it says nothing."""
    mid, root, hidden = _widths(said)
    leaves, mids, roots = (said.whole(key, least=1) for key in ("leaves", "mids", "roots"))
    numbers = 7 * leaves + (mid + 4) * mids + root * roots + 3 * said.whole("views")
    return 4 * (numbers + (2 * (mid + root) + 32) * (hidden + 64))


def _coded(said: Record, sections: dict[str, bytes]) -> Trees:
    mid, root, hidden = _widths(said)
    unused = torch.Generator()
    context, networks = Context(mid, root, unused), Networks(mid + root, hidden, unused)
    for module in (context, networks):
        module.requires_grad_(False)
    return restored(codes.unpacked(said, sections, context, networks))


def _plain_sections(model: Trees) -> dict[str, bytes]:
    clouds = {"leaf": model.cloud, "mid": model.mids, "root": model.roots}
    found = {
        f"{kind} {name}": floats([cloud[name]]) for kind, cloud in clouds.items()
        for name in cloud.names
    }  # fmt: skip
    for name in ("networks", "context"):
        found[name] = floats(model.networks()[name].module.parameters())
    return found


def _plain(said: Record, sections: dict[str, bytes]) -> Trees:
    mid, root, hidden = _widths(said)
    n, m, r = (said.whole(key, least=1) for key in ("leaves", "mids", "roots"))
    leaves = {
        name: table(sections[f"leaf {name}"], (n, *shape))
        for name, shape in {
            "mean": (3,), "opacity_logit": (), "size": (1,), "light": (), "node": (),
        }.items()
    }  # fmt: skip
    mids = {
        name: table(sections[f"mid {name}"], (m, *shape))
        for name, shape in {"feature": (mid,), "rgb": (3,), "node": ()}.items()
    }
    roots = {"feature": table(sections["root feature"], (r, root))}
    model = _model(leaves, mids, roots, hidden, filled(Steps, said.record("steps")))
    model.round_from = 1 if said.flag("rounded") else 0
    model.done = model.round_from
    for name in ("networks", "context"):
        fill(model.networks()[name].module.parameters(), sections[name])
    return model
