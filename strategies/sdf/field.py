"""A learned signed distance: tensor factors and a small network, trained beside the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat.core.column import Rate
from splat.core.model import TrainedModule
from splat.kernels.field import field, value

Corner = tuple[float, float, float]
Box = tuple[Corner, Corner]

PAPER_HALF = 1.5
"""Half of the box's side in the units of GS-ROR²'s numbers."""
START_RADIUS = 0.6
"""Of the ball that the surface begins as, half sides of the box."""
START_SHARPNESS = 20.0
"""Of the logistic distribution by which a distance becomes opaque, per half side (NeuS begins with
about as much)."""
SHARPEST = 1e6
"""Sharpness beyond which single precision tells nothing more."""
BETA = 20.0
"""Of the softplus: the larger, the more it has corners as a relu has."""
START_SPREAD = 0.1
"""Of the factors of planes."""
FACTOR_RATES, NETWORK_RATES, SHARPNESS_RATES = (1e-2, 1e-3), (1e-3, 1e-4), (3e-2, 3e-3)
"""Learning rates at the beginning and the end of a run."""
COARSEST = 32
"""Spans of the splines that a field begins with; noise of finer ones would drown what it learns."""
SLAB = 18
"""Rows of the planes that the total variation is taken of at a time."""
GRID = 96
"""Cells along a side of the grid that tells rays where to look."""
MOST = 1 << 18
"""Points that are asked for at once."""


class Field(nn.Module):
    """A signed distance in a cube, negative inside.

    In coordinates u of the cube (-1 to 1 along each axis) it is the distance to a ball plus what
    is learned: features of three planes and three lines, read by one hidden layer
    (`splat.kernels.field`). After TensoSDF (Li et al. 2024) and the SDF of GS-ROR² (Zhu et al.
    2024); the factors are quadratic splines, so that normals are continuous.
    """

    box: Float[Tensor, "2 3"]
    grid: Float[Tensor, "g g g"]

    def __init__(
        self,
        box: Box,
        *,
        spans: int = COARSEST,
        components: int = 16,
        hidden: int = 64,
        generator: torch.Generator,
    ) -> None:
        """In the cube around `box` (frame of training), with `components` an axis; splines of so
        many `spans` along it."""
        super().__init__()
        low, high = (torch.tensor(corner, dtype=torch.float32) for corner in box)
        # A buffer, so that a checkpoint says where the field is.
        self.register_buffer("box", torch.stack([low, high]))
        self.register_buffer("grid", torch.ones(GRID, GRID, GRID))

        def drawn(*shape: int, spread: float) -> nn.Parameter:
            return nn.Parameter(spread * torch.randn(*shape, generator=generator))

        points = spans + 2
        self.planes = drawn(3, points, points, components, spread=START_SPREAD)
        self.lines = nn.Parameter(torch.ones(3, points, components))
        inputs = 3 * components + 4
        first = torch.randn(inputs, hidden, generator=generator) / math.sqrt(inputs)
        first[-1] = 0
        self.first = nn.Parameter(first)
        self.second = drawn(hidden + 1, spread=0.1 / math.sqrt(hidden))
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(START_SHARPNESS)))

    @property
    def spans(self) -> int:
        """Of the splines along an axis."""
        return self.lines.shape[1] - 2

    @property
    def half_side(self) -> Tensor:
        """Half of the cube's side, frame of training."""
        return 0.5 * (self.box[1] - self.box[0]).amax()

    @property
    def centre(self) -> Float[Tensor, "3"]:
        """Of the cube, frame of training."""
        return self.box.mean(0)

    @property
    def diagonal(self) -> float:
        """Of the cube, frame of training."""
        return 2 * math.sqrt(3) * float(self.half_side)

    @property
    def sharpness(self) -> Tensor:
        """How fast a ray becomes opaque at the surface, per half side."""
        return self.log_sharpness.exp().clamp(max=SHARPEST)

    def placed(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Points of the frame of training in coordinates of the cube."""
        return (points - self.centre) / self.half_side

    def forward(self, u: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n 3"]]:
        """Distances at points of the cube, half sides, and their gradients by u."""
        learned, slope = field(u, self.planes, self.lines, self.first, self.second, BETA)
        length = u.norm(dim=1).clamp_min(1e-9)
        return learned + length - START_RADIUS, slope + u / length[:, None]

    @torch.no_grad()
    def value(self, u: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Distances at points of the cube, half sides."""
        weights = (self.planes, self.lines, self.first, self.second)
        found = [value(part, *weights, BETA) for part in u.split(MOST)]
        return torch.cat(found) + u.norm(dim=1) - START_RADIUS if found else u.new_zeros(0)

    @torch.no_grad()
    def look(self) -> None:
        """Bring the grid that rays are led by up to date."""
        middles = (torch.arange(GRID, device=self.grid.device) + 0.5) * (2 / GRID) - 1
        u = torch.stack(torch.meshgrid(middles, middles, middles, indexing="ij"), -1)
        self.grid.copy_(self.value(u.reshape(-1, 3)).reshape(self.grid.shape))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # What was saved may have been made finer since the field was made.
        for name in ("planes", "lines"):
            saved = state_dict.get(prefix + name)
            own = self.get_parameter(name)
            if saved is not None and saved.shape != own.shape:
                own.data = own.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        parts = [
            ([self.planes, self.lines], FACTOR_RATES),
            ([self.first, self.second], NETWORK_RATES),
            ([self.log_sharpness], SHARPNESS_RATES),
        ]
        rates = [Rate(*both, steps) for _, both in parts]
        groups = [
            {"params": weights, "lr": rate.start}
            for (weights, _), rate in zip(parts, rates, strict=True)
        ]
        return TrainedModule(self, torch.optim.Adam(groups, eps=1e-15, fused=True), rates)


@torch.no_grad()
def finer(trained: TrainedModule) -> None:
    """Halve the spans of a field's planes and lines; it stays the same function.

    Of quadratic splines, by Chaikin's rule: between each two control points two new ones, a quarter
    and three quarters of the way. Their optimizer starts anew.
    """
    learned = trained.module
    assert isinstance(learned, Field)
    learned.planes = _swapped(trained, learned.planes, (1, 2))
    learned.lines = _swapped(trained, learned.lines, (1,))


def _swapped(trained: TrainedModule, old: nn.Parameter, axes: Sequence[int]) -> nn.Parameter:
    """A parameter with halved spans in another's place among those of the optimizer."""
    values = old.detach()
    for axis in axes:
        values = _halved(values, axis)
    new = nn.Parameter(values)
    for group in trained.optimizer.param_groups:
        group["params"] = [new if each is old else each for each in group["params"]]
    trained.optimizer.state.pop(old, None)
    return new


def _halved(values: Float[Tensor, "*s"], axis: int) -> Float[Tensor, "*t"]:
    count = values.shape[axis] - 1
    low, high = values.narrow(axis, 0, count), values.narrow(axis, 1, count)
    both = torch.stack([0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high], axis + 1)
    return both.flatten(axis, axis + 1)


def tv(learned: Field, generator: torch.Generator) -> Float[Tensor, ""]:
    """Total variation: mean squared slope of the factors, per span of the coarsest splines.

    Of the planes a slab of rows is looked at, another one each time.
    """
    points = learned.lines.shape[1]
    rows = min(points, SLAB)
    draw = torch.randint(points - rows + 1, (1,), generator=generator, device=generator.device)
    slab = learned.planes.narrow(1, int(draw), rows)
    parts = _differences(slab, 1) + _differences(slab, 2) + _differences(learned.lines, 1)
    return parts * (learned.spans / COARSEST) ** 2


def _differences(values: Float[Tensor, "*s"], axis: int) -> Float[Tensor, ""]:
    size = values.shape[axis] - 1
    step = values.narrow(axis, 1, size) - values.narrow(axis, 0, size)
    return step.square().mean()
