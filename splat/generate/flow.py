"""From noise to a field and back: rectified flow, and the diffusion that GVGEN's code has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""What a network says of noisy volumes [b, ...] at times [b], 0 (clean) to 1 (noise)."""


class Process(ABC):
    """How noise is added, what a network learns to say, and how volumes are drawn with it."""

    @abstractmethod
    def times(self, count: int, draw: torch.Generator) -> Float[Tensor, "b"]:
        """Times to learn from, at random."""

    @abstractmethod
    def noisy(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        """Clean volumes with noise, at times."""

    @abstractmethod
    def target(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        """What a network is to say of them."""

    @abstractmethod
    def drawn(self, noise: Tensor, say: Denoiser, steps: int) -> Tensor:
        """Volumes out of noise, in so many steps."""


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Rectified flow (Liu et al. 2023): x_t = (1 - t) y + t e, of which a network says e - y; drawn
    by Euler's steps from t = 1 to 0. Times are logistic of a normal (Esser et al. 2024)."""

    def times(self, count: int, draw: torch.Generator) -> Float[Tensor, "b"]:
        return torch.randn(count, generator=draw).sigmoid()

    def noisy(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        t = _as(times, clean)
        return (1 - t) * clean + t * noise

    def target(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        del times
        return noise - clean

    def drawn(self, noise: Tensor, say: Denoiser, steps: int) -> Tensor:
        x, times = noise, torch.linspace(1, 0, steps + 1).tolist()
        for t, after in pairwise(times):
            x = x + (after - t) * say(x, torch.full((len(x),), t))
        return x


@dataclass(frozen=True)
class Diffusion(Process):
    """Diffusion as GVGEN's code has it: 1,000 times, betas from 1e-4 to 0.02 on a line (Ho et al.
    2020), a network that says what is clean; drawn by DDIM (Song et al. 2021) without noise."""

    count: int = 1000
    first: float = 1e-4
    last: float = 0.02

    def signal(self, times: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
        """The share of the clean volume's variance at times."""
        betas = torch.linspace(self.first, self.last, self.count, dtype=torch.float64)
        kept = (1 - betas).cumprod(0).float()
        return kept[(times * (self.count - 1)).round().long()]

    def times(self, count: int, draw: torch.Generator) -> Float[Tensor, "b"]:
        return torch.randint(self.count, (count,), generator=draw) / (self.count - 1)

    def noisy(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        a = _as(self.signal(times), clean)
        return a.sqrt() * clean + (1 - a).sqrt() * noise

    def target(self, clean: Tensor, noise: Tensor, times: Float[Tensor, "b"]) -> Tensor:
        del noise, times
        return clean

    def drawn(self, noise: Tensor, say: Denoiser, steps: int) -> Tensor:
        x, clean = noise, noise
        times = torch.linspace(1, 0, steps)
        for k, t in enumerate(times):
            here = t.expand(len(x))
            clean = say(x, here).clamp(-1, 1)
            if k + 1 == steps:
                break
            a, after = (_as(self.signal(each.expand(len(x))), x) for each in (t, times[k + 1]))
            noisy = (x - a.sqrt() * clean) / (1 - a).sqrt()
            x = after.sqrt() * clean + (1 - after).sqrt() * noisy
        return clean


def guided(say: Denoiser, freely: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance (Ho & Salimans 2022): what is said with a text, and away from what
    is said without one; 1 is none."""
    if scale == 1:
        return say

    def both(x: Tensor, times: Tensor) -> Tensor:
        without = freely(x, times)
        return without + scale * (say(x, times) - without)

    return both


def _as(times: Float[Tensor, "b"], like: Tensor) -> Tensor:
    return times.to(like).reshape(-1, *[1] * (like.ndim - 1))
