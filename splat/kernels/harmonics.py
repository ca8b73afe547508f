"""Gradients of spherical harmonics as what they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.math import SH_C0, beyond_constant


@dataclass(frozen=True)
class HarmonicsGradient:
    """The gradient of coefficients that were drawn once: basis(direction) x gradient of the colour.

    Six numbers a Gaussian instead of 48, which is what a step on the CPU would else spend most of
    its memory traffic on.
    """

    factors: Float[Tensor, "n 6"]
    """d loss / d colour, and the unit direction in which it was seen; 0 for those out of sight."""
    degree: int
    """Bands that were drawn."""

    def take(self, rows: Int[Tensor, "m"]) -> HarmonicsGradient:
        """Of some of the rows."""
        return HarmonicsGradient(self.factors.index_select(0, rows), self.degree)

    def dense(self, coefficients: int) -> Float[Tensor, "n k 3"]:
        """The gradient written out; 0 beyond the bands that were drawn."""
        rows = torch.einsum(
            "nk,nc->nkc", basis(self.factors[:, 3:], self.degree), self.factors[:, :3]
        )
        whole = rows.new_zeros(len(rows), coefficients, 3)
        whole[:, : rows.shape[1]] = rows
        return whole


class Harmonics(torch.nn.Parameter):
    """SH coefficients [n, k, 3] that take their gradients as factors from renderers that can.

    A renderer that cannot leaves `grad` as everywhere else. Ask for its exact type: `isinstance` of
    a kind of `Parameter` runs Python code of torch's.
    """

    pending: list[HarmonicsGradient]
    brought: list[Brought]
    """Rows that were drawn elsewhere since the last step."""

    def __new__(cls, data: Tensor, requires_grad: bool = True) -> Harmonics:
        made = super().__new__(cls, data, requires_grad)
        made.pending, made.brought = [], []
        return made


@dataclass(frozen=True)
class Brought:
    """Some rows of harmonics where they were drawn."""

    rows: Int[Tensor, "m"]
    leaf: Harmonics
    """Takes the gradient of these rows."""


def left_by_backward(leaf: Tensor) -> Tensor | HarmonicsGradient | None:
    """The gradient of a leaf, as factors where there is nothing else."""
    pending = leaf.pending if type(leaf) is Harmonics else []
    if not pending:
        return leaf.grad
    if len(pending) == 1 and leaf.grad is None:
        return pending[0]
    whole = [] if leaf.grad is None else [leaf.grad]
    whole += [part.dense(leaf.shape[1]) for part in pending]
    return sum(whole[1:], whole[0])


def basis(direction: Float[Tensor, "n 3"], degree: int) -> Float[Tensor, "n k"]:
    """Real spherical harmonics up to `degree` of unit directions, with the signs of 3DGS."""
    x, y, z = direction.unbind(1)
    return torch.stack([torch.full_like(x, SH_C0), *beyond_constant(x, y, z, degree)], 1)
