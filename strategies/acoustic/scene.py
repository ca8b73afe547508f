"""What hearing takes of a trained scene: its points, what they weigh, and what is in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import camera_to_frame
from splat.strategies.acoustic.points import born
from splat.strategies.acoustic.sight import Look, looking
from splat.strategies.acoustic.sounds import SoundData
from splat.strategies.acoustic.sounds.types import Triple, triple_of
from splat.types import Camera, Frame, Gaussians, Renderer

MARGIN = 0.25
"""Metres beyond the outermost points that a place may be."""
FEWEST = 0.005
"""Share of the mass on each side that bounds leave out: it is astray."""


@dataclass(frozen=True)
class Scene:
    """A trained scene, which is never changed."""

    gaussians: Gaussians
    """In `frame`, on the renderer's device."""
    frame: Frame
    render: Renderer
    cameras: Sequence[Camera]
    """That it was trained from, in the frame of the input."""

    def look(self) -> Look:
        """Depths about places of the input."""
        return looking(self.gaussians, self.frame, self.render)

    @torch.no_grad()
    def mass(self) -> Float[Tensor, "n"]:
        """What each Gaussian weighs in all cameras."""
        found = torch.zeros(len(self.gaussians))
        for camera in self.cameras:
            there = camera_to_frame(camera, self.frame).to(self.render.device)
            found += self.render.survey(self.gaussians, there)[1].mass.float().cpu()
        return found

    def points(self, mass: Float[Tensor, "n"], count: int, metres: float) -> dict[str, Tensor]:
        """Columns of audio points, `mean` in metres along the axes of the input."""
        found = born(self.gaussians.to("cpu"), mass, count, metres / self.frame.scale)
        found["mean"] = self._given(found["mean"]) * metres
        return found

    def bounds(self, mass: Float[Tensor, "n"]) -> tuple[Triple, Triple]:
        """Low and high corner of what cameras saw, frame of the input; little is left out."""
        places = self._given(self.gaussians.means.cpu())
        corners = []
        for share in (FEWEST, 1 - FEWEST):
            corner = []
            for axis in range(3):
                order = places[:, axis].argsort()
                running = mass[order].double().cumsum(0)
                at = int((running < share * running[-1]).sum())
                corner.append(float(places[order[min(at, len(order) - 1)], axis]))
            corners.append(triple_of(corner))
        return corners[0], corners[1]

    def _given(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return places / self.frame.scale + torch.tensor(self.frame.centre)


def within(place: Triple, bounds: tuple[Triple, Triple], margin: float) -> bool:
    """Whether a place is no farther than `margin` outside of a box."""
    low, high = bounds
    return all(a - margin <= x <= b + margin for x, a, b in zip(place, low, high, strict=True))


def check_within(data: SoundData, bounds: tuple[Triple, Triple], metres: float) -> None:
    """ValueError where a listener or a source is outside of the scene."""
    margin = MARGIN / metres
    heard = (*data.train, *data.test)
    out = [each for each in heard if not within(each.ears.position, bounds, margin)]
    astray = [source for source in data.sources if not within(source.position, bounds, margin)]
    if out:
        what = (
            f"{len(out)} of its {len(heard)} places lie outside of the scene, such as"
            f" {out[0].name} at {_spot(out[0].ears.position)}"
        )
    elif astray:
        what = f"a source at {_spot(astray[0].position)} lies outside of the scene"
    else:
        return
    low, high = bounds
    raise ValueError(
        f"{data.path}: {what}; expected all within {_spot(low)} to {_spot(high)}: give sounds of"
        " this scene, in its frame"
    )


def _spot(place: Triple) -> str:
    return "({:.2f}, {:.2f}, {:.2f})".format(*place)
