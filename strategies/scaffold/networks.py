"""The three small networks by which anchors make Gaussians, and what each photo looks like."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from splat import kernels
from splat.core.column import EPSILON, Rate
from splat.core.model import TrainedModule

HEADS = {"opacity": 1, "color": 3, "covariance": 7}
"""Their names, and the numbers that each tells of a Gaussian."""
READ = 5
"""What they read beside the feature: direction (3), distance, and a constant one."""
RATES: dict[str, tuple[float, float | None]] = {
    "opacity": (2e-3, 2e-5),
    "color": (8e-3, 5e-5),
    "covariance": (4e-3, None),
    "codes": (5e-2, 5e-4),
}
"""Learning rates at the start and the end of a run (Scaffold-GS, released code)."""


class Networks(nn.Module):
    """Weights of the heads, and with `codes` a vector for each training photo.

    A code is read by the colours' head only (3DGS calls it appearance): it says how a photo was
    exposed. `opacity_in` [F + 5, hidden] and so on are as `splat.kernels.Heads` has them.
    """

    def __init__(
        self,
        features: int,
        slots: int,
        hidden: int,
        codes: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        """`codes` are the number of photos and the length of a code, 0 for none."""
        super().__init__()

        def drawn(rows: int, columns: int, reads: int) -> nn.Parameter:
            # The usual start of a linear layer, of the bias too.
            bound = 1 / math.sqrt(reads)
            values = torch.rand(rows, columns, generator=generator)
            return nn.Parameter((2 * values - 1) * bound)

        for name, numbers in HEADS.items():
            self.register_parameter(f"{name}_in", drawn(features + READ, hidden, features + READ))
            self.register_parameter(f"{name}_out", drawn(hidden + 1, numbers * slots, hidden))
        photos, length = codes
        self.codes: nn.Parameter | None = None
        self.codes_in: nn.Parameter | None = None
        if length:
            # All alike at first: what is said of no photo yet is what they have in common.
            self.codes = nn.Parameter(torch.zeros(photos, length))
            self.codes_in = drawn(length, hidden, features + READ + length)

    def heads(self, photo: int | None) -> kernels.Heads:
        """The networks as they look at a training photo; None: at the mean of all."""
        first = self._weights("color_in")
        if self.codes is not None and self.codes_in is not None:
            code = self.codes.mean(0) if photo is None else self.codes[photo]
            first = torch.cat([first[:-1], first[-1:] + code[None] @ self.codes_in])
        return kernels.Heads(
            opacity=(self._weights("opacity_in"), self._weights("opacity_out")),
            color=(first, self._weights("color_out")),
            covariance=(self._weights("covariance_in"), self._weights("covariance_out")),
        )

    def trained(self, steps: int) -> TrainedModule:
        """With an optimizer for a run of so many steps."""
        parts: dict[str, list[Tensor]] = {}
        for name, weights in self.named_parameters():
            head = "color" if name == "codes_in" else name.partition("_")[0]
            parts.setdefault(head, []).append(weights)
        rates = [Rate(start, end, steps) for start, end in (RATES[head] for head in parts)]
        groups = [
            {"params": weights, "lr": rate.start}
            for weights, rate in zip(parts.values(), rates, strict=True)
        ]
        return TrainedModule(self, torch.optim.Adam(groups, eps=EPSILON, foreach=True), rates)

    def _weights(self, name: str) -> Float[Tensor, "i o"]:
        return self.get_parameter(name)
