"""The part that trains a garment on a body: rows of the body stay, those of the garment grow."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from splat.core.chain import check_makes_the_model
from splat.core.edit import Drop, Edit, Nudge, Rows
from splat.core.families import merged_edits
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.schedule import at, due, dues, every
from splat.core.step import Step
from splat.core.strategy import Strategy, Wrapper
from splat.mesh import Mesh
from splat.rules.confine import confined
from splat.rules.deaths import largest
from splat.rules.outlines import Beyond, Outlined
from splat.strategies.garment import deaths, rig
from splat.strategies.garment.body import Body
from splat.strategies.garment.distance import Depths, depths_of
from splat.strategies.garment.model import LAYER, Dressed, both, worn
from splat.strategies.garment.rows import rows_on, sampled
from splat.strategies.garment.terms import Layers
from splat.system.ranges import at_least, within
from splat.types import Frame, Needs

HELD = "body"
"""Name under which rows of the body are held."""
OPAQUE, BEGUN = 0.99, 0.5
"""Opacities of rows of the body, and of first rows of a garment on a surface."""
SUNK = 0.5
"""How far rows of the body lie below its surface, in their extents along it, so that they do not
bulge out of it where it is round."""
GREY = (0.5, 0.5, 0.5)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Garment(Wrapper):
    """A garment on a body: rows of the body stay as they are, those of the garment grow by their
    own rules (after ClotheDreamer, Liu et al. 2024).

    Photos of a dressed person, masks of the garment (`--masks FOLDER`) and the person's body as a
    mesh (`--body person.glb`, where it stands in the scene) give a layer of Gaussians that is
    nothing but garment: `splat dress` puts it on bodies in other poses and of other shapes. Rows
    in the body, outside of the masks of photos that show them, that no photo shows, or alone go;
    how far a row is from the body is never a reason, so that skirts stay whole.

    Differs: photos and masks stand in for ClotheDreamer's diffusion; its rules of pruning are not
    published.
    """

    body: str = ""
    """File of the body: a .glb of a mesh with a skin, where the person stands in the scene."""
    template: str = ""
    """File of triangles (.glb) that the garment begins on; none: on what it `covers`."""
    covers: tuple[str, ...] = ()
    """Bones, by how their names begin, on whose skin the garment begins; none: it begins with the
    points of the scene, as far as they are not in the body."""
    loose: Annotated[float, at_least(0)] = 0.008
    """How far off the skin it begins there, heights of the body."""
    body_rows: Annotated[int, at_least(1)] = 10_000
    """Rows of the body."""
    garment_rows: Annotated[int, at_least(1)] = 10_000
    """Rows of the garment at first, on a template or what it covers."""
    skin: tuple[float, float, float] = (0.76, 0.6, 0.5)
    """Colour of the body, red, green and blue in [0, 1]."""
    layer_weight: Annotated[float, at_least(0)] = 0.5
    """Weight of the loss that compares the share of a pixel that is garment with its mask; 0: none,
    and nothing goes by masks, as in dreams, which have none."""
    inside: Annotated[float, within(0, 0.1, low_open=True)] = 0.0005
    """Depth in the body that no row of the garment goes beyond, heights of the body: what is
    pressed against it goes, and none is born below it."""
    outside: Annotated[float, within(0, 1, low_open=True)] = 0.5
    """Share of what photos show of a row outside of masks above which it goes."""
    views: Annotated[int, at_least(1)] = 3
    """Photos that have to show a row for that."""
    alone: Annotated[float, at_least(0)] = 4.0
    """Times the median distance to neighbours beyond which a row is alone and goes; 0: none."""
    unseen: bool = True
    """Whether rows go that no photo of a window shows, as what is hidden behind the layer that is
    seen; nothing says their colour."""
    largest: Annotated[float, at_least(0)] = 0.0
    """Size above which a row goes, heights of the body, as in HumanGaussian, whose rule this is a
    control for: it eats loose garments. 0: none."""
    margin: Annotated[int, at_least(0)] = 1
    """Pixels that masks are grown by before rows are judged by them."""
    prune_from: int = 500
    """Rows are judged after this step."""
    prune_until: int = 25_000
    """Rows are judged before this step."""
    prune_every: Annotated[int, at_least(1)] = 500
    """Steps between two times; there should be as many as photos."""

    of_start = frozenset({"template", "covers", "loose", "body_rows", "garment_rows", "skin"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 <= value <= 1 for value in self.skin):
            raise ValueError(f"skin is {self.skin}; expected red, green and blue in [0, 1]")
        if self.template and self.covers:
            raise ValueError(
                f"the garment is to begin on {self.template} and on {', '.join(self.covers)};"
                " expected one of the two"
            )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        if not self.layer_weight:
            return self.base.needs
        maps = (Outlined(), Beyond(self.margin))
        return self.base.needs | Needs(outline=True, weights=maps)

    def objectives(self) -> Mapping[str, Objective]:
        # Photos bring their outlines where a term of the loss asks for them.
        own = {"layers": Layers(self.layer_weight)} if self.layer_weight else {}
        return {**self.base.objectives(), **own}

    def scheduled(self, steps: int) -> Strategy:
        return replace(
            self,
            base=self.base.scheduled(steps),
            prune_from=at(self.prune_from, steps),
            prune_until=at(self.prune_until, steps),
            prune_every=every(self.prune_every, steps),
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        what = f"{'move' if self.base.recycles else 'prune'} what is no garment"
        own = dues(self.prune_from, self.prune_until, self.prune_every, steps)
        base = self.base.acts(steps)
        return {**base, **({what: own} if own else {})}

    def model(self, rows: Rows, making: Making) -> Model:
        check_makes_the_model(self)
        return Dressed(rows if LAYER in rows else self._begun(rows, making.frame), making)

    def begin(self, model: Model) -> None:
        super().begin(model)
        cloud = model.cloud
        if not bool(worn(cloud).any()):
            raise ValueError(
                f"none of the points that the run starts from lies outside of the body of"
                f" {self.body}; expected points of the garment: say what it --covers, give a"
                " --template, or place the body where the person stands"
            )
        deaths.track(cloud)
        cloud.hold(HELD, ~worn(cloud))
        free = int(worn(cloud).sum())
        _log.info("garment   %s rows, on %s of the body", f"{free:,}", f"{len(cloud) - free:,}")

    def observe(self, step: Step) -> None:
        super().observe(step)
        deaths.observe(step, self.margin if self.layer_weight else None)

    def recycle(self, step: Step, rows: Bool[Tensor, "n"]) -> Edit | None:
        held = step.model.cloud.held
        assert held is not None
        return super().recycle(step, rows & ~held)

    def condemned(self, step: Step) -> Mapping[str, Bool[Tensor, "n"]]:
        """Rows of the garment that go, by reason; none where that would be all of them."""
        cloud, free = step.model.cloud, worn(step.model.cloud)
        unit = self._unit(step.model.frame)
        distance, _ = self._depths().at(cloud["mean"], step.model.frame)
        lonely = torch.zeros_like(free)
        lonely[free] = deaths.alone(cloud["mean"][free], self.alone)
        gone = {
            "inside": deaths.inside(distance, self.inside * unit),
            "outside": deaths.outside(cloud, self.outside, self.views),
        }
        if self.unseen:
            gone["unseen"] = deaths.unseen(cloud, self.prune_every, len(step.views))
        gone["alone"] = lonely
        if self.largest:
            gone["size"] = largest(cloud["log_scale"]).exp() > self.largest * unit
        gone = {reason: rows & free for reason, rows in gone.items()}
        every_one = bool(torch.stack(list(gone.values())).any(0)[free].all())
        return {} if every_one else gone

    def proposal(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        cloud = step.model.cloud
        if not due(step.number + 1, self.prune_from, self.prune_until, self.prune_every):
            return self._held_back(step, self._asked(step, rows))
        gone, clear = self.condemned(step), Edit(clear=deaths.WINDOW)
        if self.base.recycles:
            for mask in gone.values():
                rows = mask if rows is None else rows | mask
            return self._held_back(step, (self._asked(step, rows) or Edit()) + clear)
        own = Edit(drop=tuple(Drop(m.nonzero().squeeze(1), why) for why, m in gone.items()))
        edit = merged_edits([own, self._asked(step, rows)], cloud) or Edit()
        return self._held_back(step, edit + clear)

    def _asked(self, step: Step, rows: Bool[Tensor, "n"] | None) -> Edit | None:
        """What the base proposes, without births in the body."""
        edit = super().proposal(step, rows)
        depths, frame = self._depths(), step.model.frame
        deepest = self.inside * self._unit(frame)
        return confined(step, edit, lambda means: depths.at(means, frame)[0] > -deepest, self.cap)

    def _held_back(self, step: Step, edit: Edit | None) -> Edit | None:
        """The edit, and rows of the garment that are too deep in the body moved back up."""
        mean, frame = step.model.cloud["mean"].detach(), step.model.frame
        for nudge in () if edit is None else edit.nudge:
            mean = mean + nudge.delta.to(mean) if nudge.name == "mean" else mean
        distance, outward = self._depths().at(mean, frame)
        short = (-self.inside * self._unit(frame) - distance).clamp_min(0)
        short = short * worn(step.model.cloud)
        if not bool(short.any()):
            return edit
        return (edit or Edit()) + Edit(nudge=(Nudge("mean", short[:, None] * outward),))

    def _depths(self) -> Depths:
        return body_of(self.body)[1]

    def _unit(self, frame: Frame) -> float:
        """The body's height, units of training."""
        return body_of(self.body)[0].height * frame.scale

    def _begun(self, given: Rows, frame: Frame) -> dict[str, Tensor]:
        """First rows: of the body, and those given outside of it or on a surface."""
        body, depths = body_of(self.body)
        if self.cap and self.body_rows >= self.cap:
            raise ValueError(
                f"there may be {self.cap:,} rows, and the body takes {self.body_rows:,}; expected"
                " more of them, or a smaller --body-rows"
            )
        samples = sampled(body.mesh, self.body_rows)
        normals = samples.normals(body.mesh)
        places = samples.on(body.mesh) - SUNK * samples.spacing * normals
        own = rows_on(places, normals, samples.spacing, self.skin, OPAQUE, frame, given)
        surface = self._surface(body)
        if surface is not None:
            on = sampled(surface, self.garment_rows)
            garment = rows_on(
                on.on(surface), on.normals(surface), on.spacing, GREY, BEGUN, frame, given
            )
        else:
            garment = {name: given[name] for name in own}
        distance, _ = depths.at(garment["mean"], frame)
        kept = (distance > 0).nonzero().squeeze(1)
        room = self.cap - self.body_rows if self.cap else len(kept)
        if len(kept) > room:
            kept = kept[torch.arange(room, device=kept.device) * len(kept) // room]
        return both(own, {name: values[kept] for name, values in garment.items()})

    def _surface(self, body: Body) -> Mesh | None:
        """What the garment begins on; None: the rows that are given."""
        if self.template:
            return rig.read_mesh(Path(self.template))
        if not self.covers:
            return None
        chosen = np.array([name.startswith(self.covers) for name in body.names])
        for name in self.covers:
            if not any(bone.startswith(name) for bone in body.names):
                raise ValueError(
                    f"covers has {name!r}, and {self.body} has no bone that begins so; there are"
                    f" {', '.join(body.names)}"
                )
        covered = (body.weights[:, chosen].sum(1) > 0.5)[body.mesh.faces].all(1)
        if not covered.any():
            raise ValueError(f"the bones {', '.join(self.covers)} move no skin; name others")
        off = body.mesh.vertices + self.loose * body.height * body.mesh.normals
        return Mesh(off, body.mesh.faces).with_faces(covered)


def body_of(file: str) -> tuple[Body, Depths]:
    """The body of a file, and how deep in it one is; read once while the file stays as it is."""
    if not file:
        raise ValueError(
            "garment is given no body; expected the mesh of the person, with a skin, where they"
            " stand in the scene: --body person.glb"
        )
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the .glb of the body with --body")
    return _body_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _body_of(path: Path, changed: int) -> tuple[Body, Depths]:
    del changed
    body = rig.read(path)
    return body, depths_of(body.mesh)
