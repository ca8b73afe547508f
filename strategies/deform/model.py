"""`Deformed`: any model, whose Gaussians a field moves, turns and stretches at each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.model import AlteredModel, Explicit, Model
from splat.math import ALWAYS
from splat.strategies.deform.field import DeformationField, times_over
from splat.types import Camera, Gaussians, Motion, joined

NAME, CONTEXT = "deform", "planes"
"""Of the field among the networks beside a model, and of the context that its planes are coded by
(`splat.strategies.deform.coded`)."""
LOOKED_AT = 9
"""Times at which rows are looked at to tell how they move."""
PASSED = 5
"""Times at which rows are looked for."""
PIECES = 8
"""Of a clip, in a set for all times: what moves is a Gaussian of its own in each."""
OVERLAP = 0.54
"""Duration of a piece, in units of the time from one to the next: half-way between two both have
0.65 of their opacity, and are together about as opaque as one is."""
STILL = 0.1
"""Of its mean size, the way to go for a row to count as one that moves; and the change of log
sizes, turns or opacity."""
ON = 1e3
"""Duration, in clips, of rows that are always there and move (`splat.math.LASTING` stand still)."""
SEEN = 1e-6
"""Weight of a time at which a row is not there, beside one at which it is."""


class Deformed(AlteredModel):
    """What another model makes for a camera, deformed by a field as it is at the camera's time,
    after 4DGaussians (Wu et al., CVPR 2024).

    The rows are those of the base, which is drawn as it is before the step `coarse`.
    """

    def __init__(self, base: Model, field: DeformationField, coarse: int) -> None:
        """`field` is trained beside the base already, as `NAME`."""
        super().__init__(base)
        self.same_for_all_views = False
        self.own_suffix = ".clip" if type(base) is Explicit else ""
        lost = f"all motion but for {PIECES} straight lines of each Gaussian, one after the other"
        self.left_out = f"{base.left_out}; {lost}" if base.left_out else lost
        self.__dict__["field"] = field
        self.coarse = coarse
        self.round_from = 0
        """Step from which planes that have a `step` are rounded."""

    @property
    def field(self) -> DeformationField:
        """The field that deforms."""
        found: DeformationField = self.__dict__["field"]
        return found

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        gaussians = super().forward(camera, step)
        if step is not None and step < self.coarse:
            return gaussians
        plain = step is not None and step < self.round_from
        return self.field.deformed(gaussians, camera.time, plain)

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """With a camera the set at its time; else one for all times, of more Gaussians: what
        stands still once, what moves in pieces of the clip, each of which goes along a line."""
        if camera is not None:
            return self._plain(self.base.bake(camera), camera.time)
        whole = self.base.bake()
        if whole.motion is not None:
            return self._along_lines(whole)
        return _in_pieces([self._plain(whole, time) for time in times_over(2 * PIECES + 1)])

    def _along_lines(self, whole: Gaussians) -> Gaussians:
        """A set that moves already, each row along the line that fits best while it is there."""
        moments = [self._plain(whole.at(time), time) for time in times_over(LOOKED_AT)]
        line, fitted = _line(whole, moments)
        weight = _weights(whole, len(moments))[:, :, None]
        scales = torch.stack([each.scales.clamp_min(1e-12).log() for each in moments])
        quats = torch.stack([each.quats for each in moments])
        return replace(
            whole,
            means=fitted,
            scales=(weight * scales).sum(0).exp(),
            quats=torch.nn.functional.normalize((weight * quats).sum(0), dim=1),
            motion=line,
        )

    @torch.no_grad()
    def at(self, time: float) -> Gaussians:
        return self._plain(self.base.at(time), time)

    @torch.no_grad()
    def motion(self) -> Motion:
        whole = self.base.bake()
        moments = [self._plain(whole.at(time), time) for time in times_over(LOOKED_AT)]
        return _line(whole, moments)[0]

    def sketch(self) -> Gaussians:
        return self.bake()

    @torch.no_grad()
    def passed(self) -> Sequence[Float[Tensor, "n 3"]]:
        if not self.rows_are_gaussians:
            return self.base.passed()
        whole = self.base.bake().to(self.cloud.device)
        return [self._plain(whole.at(time), time).means for time in times_over(PASSED)]

    def _plain(self, gaussians: Gaussians, time: float) -> Gaussians:
        """A detached set as it is at a time, its quaternions of length 1."""
        place = gaussians.means.device
        here = gaussians.to(self.field.low.device)
        there = self.field.deformed(here, time)
        quats = torch.nn.functional.normalize(there.quats, dim=1)
        return replace(there, quats=quats).to(place)


def _weights(whole: Gaussians, count: int) -> Float[Tensor, "k n"]:
    """How much each time counts for each row: as much as the row is there. They sum to 1."""
    motion, n = whole.motion, len(whole)
    times = whole.means.new_tensor(times_over(count))
    weight = whole.means.new_ones(count, n)
    if motion is not None:
        apart = (times[:, None] - motion.time) / motion.duration
        weight = (-0.5 * apart.square()).exp() + SEEN
    return weight / weight.sum(0)


def _in_pieces(moments: Sequence[Gaussians]) -> Gaussians:
    """A set that moves, of what it is at the ends (even numbers) and middles of `PIECES`."""
    ends, middles = moments[::2], moments[1::2]
    still = _still(moments)
    rest = middles[len(middles) // 2].take(still)
    ones = rest.means.new_ones(len(rest))
    found = [replace(rest, motion=Motion(ones / 2, ones * ALWAYS, torch.zeros_like(rest.means)))]
    count = len(middles)
    for k, middle in enumerate(middles):
        piece = middle.take(~still)
        velocity = (ends[k + 1].means - ends[k].means)[~still] * count
        ones = piece.means.new_ones(len(piece))
        motion = Motion(ones * ((k + 0.5) / count), ones * (OVERLAP / count), velocity)
        found.append(replace(piece, motion=motion))
    return joined(found)


def _still(moments: Sequence[Gaussians]) -> Bool[Tensor, "n"]:
    """Rows that are about the same at all times."""
    means = torch.stack([each.means for each in moments])
    logs = torch.stack([each.scales.clamp_min(1e-12).log() for each in moments])
    quats = torch.stack([each.quats for each in moments])
    opacities = torch.stack([each.opacities for each in moments])
    way = (means - means.mean(0)).norm(dim=2).amax(0) / logs.mean(0).mean(1).exp()
    same: Tensor = way < STILL
    for values in (logs, quats, opacities[:, :, None]):
        same &= (values.amax(0) - values.amin(0)).amax(1) < STILL
    return same


def _line(whole: Gaussians, moments: Sequence[Gaussians]) -> tuple[Motion, Float[Tensor, "n 3"]]:
    """The lines along which rows go, and where they are at their own times."""
    weight = _weights(whole, len(moments))[:, :, None]
    times = whole.means.new_tensor(times_over(len(moments)))[:, None, None]
    places = torch.stack([each.means for each in moments])
    mean_time, mean_place = (weight * times).sum(0), (weight * places).sum(0)
    away = times - mean_time
    spread = (weight * away.square()).sum(0).clamp_min(1e-12)
    velocity = (weight * away * (places - mean_place)).sum(0) / spread
    motion = whole.motion
    if motion is None:
        time = mean_time[:, 0]
        own = Motion(time, torch.full_like(time, ON), velocity)
    else:
        own = replace(motion, duration=motion.duration.clamp_max(ON), velocity=velocity)
    return own, mean_place + velocity * (own.time[:, None] - mean_time)
