"""Weights of networks as bytes of a file, and what they say in numbers that are the same on every
machine: sums and products of float64 one by one, in a fixed order, which no library adds up
otherwise."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splat.system.foreign import Broken

Module = TypeVar("Module", bound=nn.Module)
Doubles = NDArray[np.float64]


def floats(tensors: Iterable[Tensor], kind: str = "<f4") -> bytes:
    """Numbers of tensors, one after the other, as NumPy's `kind`."""
    parts = (each.detach().float().cpu().numpy().astype(kind) for each in tensors)
    return b"".join(part.tobytes() for part in parts)


@torch.no_grad()
def fill(tensors: Iterable[Tensor], data: bytes, kind: str = "<f4") -> None:
    """Give tensors what `floats` made of others of the same shapes; raises `Broken` where it is
    of more or fewer numbers, or of some that are not finite."""
    given, wanted = np.frombuffer(data, kind).astype(np.float32), list(tensors)
    sizes = [each.numel() for each in wanted]
    if len(given) != sum(sizes):
        raise Broken(f"has {len(given):,} weights of networks; expected {sum(sizes):,}")
    if not np.isfinite(given).all():
        raise Broken("has weights that are not finite")
    for each, values in zip(wanted, torch.from_numpy(given).split(sizes), strict=True):
        each.copy_(values.view(each.shape))


def table(data: bytes, shape: tuple[int, ...]) -> Tensor:
    """Numbers of `floats` as a tensor; raises `Broken` where they are more or fewer."""
    values = np.frombuffer(data, "<f4")
    if len(values) != math.prod(shape):
        raise Broken(f"has {len(values):,} numbers in place of {math.prod(shape):,}")
    return torch.from_numpy(values.astype(np.float32)).view(shape)


def halved(module: Module) -> Module:
    """A copy whose weights are those that half precision has, without gradients."""
    found = copy.deepcopy(module).requires_grad_(False)
    for weights in found.parameters():
        weights.copy_(weights.half().float())
    return found


def doubles(values: Tensor) -> Doubles:
    """A tensor in float64, to compute with."""
    found: Doubles = values.detach().double().cpu().numpy()
    return found


def network(values: Doubles, first: Doubles, second: Doubles) -> Doubles:
    """What two layers with a ramp between them make of values [n, i]; the last row of the weights
    of each is its bias."""
    return _layer(np.maximum(_layer(values, first), 0.0), second)


def _layer(values: Doubles, weights: Doubles) -> Doubles:
    total = np.repeat(weights[-1:], len(values), 0)
    for i in range(values.shape[1]):
        total += values[:, i, None] * weights[i]
    return total
