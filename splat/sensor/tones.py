"""Exposure and white balance of each photo: an affine map of colours, learned beside the scene."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat import kernels
from splat.core.model import TrainedModule
from splat.core.objective import Objective
from splat.core.step import Step
from splat.sensor.newton import Newton, error_curvature, later

RATE, RATE_END = 0.5, 0.1
"""Learning rate at the start and the end of a run: share of a Newton step that is taken."""
FARTHEST = 0.2
"""Largest change of a gain or a bias in a step."""
MOST_PIXELS = 10_000
"""Most pixels that the curvature is computed on."""
EXPECTED, PRIOR = 0.3, 1e-3
"""Standard deviation of gains and biases, for a prior, and its weight."""

Map = Float[Tensor, "3 4"]
"""A map of colours: its first three columns times RGB, plus the last."""


class Tones(nn.Module, ABC):
    """A map of colours for each training view, or for each camera that took several.

    What the views have in common is taken out of every one of them: a scene that is darker seen by
    photos that are all brighter would be the same photos. So the scene has the mean exposure, and
    files of it need no correction.
    """

    known_as = ""
    """Its name in messages."""

    def __init__(self, views: int, numbers: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(views, numbers))

    def own(self, view: int) -> Float[Tensor, "k"]:
        """The numbers of a view, less the mean over views, to which no gradient is passed."""
        return self.values[view] - self.values.detach().mean(0)

    @abstractmethod
    def begin(self, gains: Float[Tensor, "v 3"]) -> None:
        """Start from gains that were measured."""

    @abstractmethod
    def map(self, view: int) -> Map:
        """The map of a view."""

    def forward(self, image: Float[Tensor, "h w 3"], view: int) -> Float[Tensor, "h w 3"]:
        """A picture of the scene as the photo of this view would have developed it."""
        return mapped(image, self.map(view))

    def trained(self, steps: int, at_once: int = 1) -> TrainedModule:
        """The maps with their optimizer, for `steps` steps of `at_once` photos each."""
        rate = later(RATE, RATE_END, steps, -(-len(self.values) // at_once))
        return TrainedModule(self, Newton(self.values, FARTHEST), [rate], of_photos=True)

    @abstractmethod
    def bent(
        self, developed: Float[Tensor, "n 3"], heavy: Float[Tensor, "n 3"], view: int
    ) -> Float[Tensor, "k k"]:
        """Curvature: sum over mapped colours and channels of heavy * slopes slopes^T, where slopes
        are the derivatives of a channel by the numbers of the view; float64."""


class Channels(Tones):
    """A gain and a bias for each channel, as LighthouseGS has them: exposure, white balance."""

    known_as = "gain and bias of each channel"

    def __init__(self, views: int) -> None:
        super().__init__(views, 6)

    def map(self, view: int) -> Map:
        own = self.own(view)
        return torch.cat([own[:3].exp().diag(), own[3:, None]], 1)

    def bent(
        self, developed: Float[Tensor, "n 3"], heavy: Float[Tensor, "n 3"], view: int
    ) -> Float[Tensor, "k k"]:
        # By the logarithm of a gain: what it makes of the scene; by a bias: 1.
        gained = developed - self.own(view)[3:]
        pull = heavy * gained
        both = pull.sum(0).double().diag()
        upper = torch.cat([(pull * gained).sum(0).double().diag(), both], 1)
        return torch.cat([upper, torch.cat([both, heavy.sum(0).double().diag()], 1)])

    @torch.no_grad()
    def begin(self, gains: Float[Tensor, "v 3"]) -> None:
        """Start from gains that were measured."""
        self.values[:, :3] = gains.log().to(self.values)


class Matrices(Tones):
    """A whole affine map, channels mixed: cameras that treat colours in other ways."""

    known_as = "matrix"

    def __init__(self, views: int) -> None:
        super().__init__(views, 12)

    def map(self, view: int) -> Map:
        own = self.own(view).reshape(3, 4)
        return own + torch.eye(3, 4, dtype=own.dtype, device=own.device)

    def bent(
        self, developed: Float[Tensor, "n 3"], heavy: Float[Tensor, "n 3"], view: int
    ) -> Float[Tensor, "k k"]:
        tone = self.map(view)
        scene = (developed - tone[:, 3]) @ torch.linalg.inv(tone[:, :3]).T
        slopes = torch.cat([scene, torch.ones_like(scene[:, :1])], 1)
        blocks = [(slopes * each[:, None]).T @ slopes for each in heavy.unbind(1)]
        bent: Tensor = torch.block_diag(*blocks).double()
        return bent

    @torch.no_grad()
    def begin(self, gains: Float[Tensor, "v 3"]) -> None:
        """Start from gains that were measured."""
        self.values[:, [0, 5, 10]] = gains.to(self.values) - 1


class TonePrior(Objective):
    """PRIOR / 2 * squared length of the view's numbers, in units of what is expected of them.

    It also sets the optimizer's curvature of the loss by them, at steps at which it moves them.
    """

    def __init__(self, tones: Tones, newton: Newton, rate: Callable[[int], float]) -> None:
        self.tones, self.newton, self.rate = tones, newton, rate

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        view, stiff = step.batch.camera.sensor, PRIOR / EXPECTED**2
        own = self.tones.own(view)
        if self.rate(step.number):
            eye = torch.eye(len(own), dtype=torch.float64, device=own.device)
            self.newton.bend(view, self._bend(step, view) + stiff * eye)
        return stiff / 2 * own.square().sum()

    @torch.no_grad()
    def _bend(self, step: Step, view: int) -> Float[Tensor, "k k"]:
        """Second derivatives of the mean absolute error, as Gauss and Newton's; float64."""
        batch, image = step.batch, step.rendered.image.detach()
        every = max(1, math.ceil(math.sqrt(image[..., 0].numel() / MOST_PIXELS)))
        some = (slice(None, None, every), slice(None, None, every))
        developed, photo = (values[some].reshape(-1, 3) for values in (image, batch.pixels))
        heavy = error_curvature((developed - photo.float() / 255).abs())
        if batch.mask is not None:
            heavy = heavy * (batch.mask[some].reshape(-1, 1) != 0)
        return self.tones.bent(developed, heavy, view) / (3 * len(photo))


def mapped(image: Float[Tensor, "*shape 3"], tone: Map) -> Float[Tensor, "*shape 3"]:
    """Colours [..., 3] mapped by a tone."""
    if image.ndim == 3 and image.dtype == tone.dtype:
        return kernels.toned(image, tone)
    return image @ tone[:, :3].T + tone[:, 3]


def fitted_tone(
    image: Float[Tensor, "h w 3"],
    photo: Float[Tensor, "h w 3"],
    counts: Tensor | None = None,
    *,
    mixed: bool = False,
    rounds: int = 4,
) -> Map:
    """The map that brings a picture nearest to a photo: least absolute differences, float64.

    A gain and a bias for each channel, or with `mixed` a whole matrix. Found by least squares that
    are weighed anew (Schlossmacher 1973); pixels that the photo clips do not count. The identity
    where there is next to nothing to see.
    """
    keep = ((photo > 0.01) & (photo < 0.99)).all(-1)
    keep = keep if counts is None else keep & (counts != 0)
    x, y = image[keep].double(), photo[keep].double()
    tone = torch.eye(3, 4, dtype=torch.float64, device=image.device)
    if len(x) < 64:
        return tone
    one = torch.ones_like(x[:, :1])
    for channel in range(3):
        columns = [0, 1, 2] if mixed else [channel]
        design = torch.cat([x[:, columns], one], 1)
        weights = torch.ones_like(design[:, 0])
        for _ in range(rounds):
            # A little ridge about the identity: a picture of one colour fixes no gain.
            ridge = 1e-6 * len(x)
            target = tone.new_tensor([float(c == channel) for c in columns] + [0.0])
            left = (design * weights[:, None]).T @ design
            left.diagonal().add_(ridge)
            right = (design * weights[:, None]).T @ y[:, channel] + ridge * target
            answer = torch.linalg.solve(left, right)
            weights = 1 / (design @ answer - y[:, channel]).abs().clamp_min(1e-3)
            weights = weights / weights.mean()
        tone[channel, columns], tone[channel, 3] = answer[:-1], answer[-1]
    return tone
