"""Gradients of spherical harmonics as what they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_SH0 = 0.28209479177387814
_SH1 = 0.48860251190291987
_SH2 = (1.0925484305920792, 0.94617469575755997, 0.31539156525251999, 0.54627421529603959)
_SH3 = (
    0.59004358992664352, 2.8906114426405538, 0.45704579946446572,
    0.3731763325901154, 1.4453057213202769,
)  # fmt: skip


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
    xx, yy, zz = x * x, y * y, z * z
    found = [torch.full_like(x, _SH0)]
    if degree >= 1:
        found += [-_SH1 * y, _SH1 * z, -_SH1 * x]
    if degree >= 2:
        a, b, c, d = _SH2
        found += [a * x * y, -a * y * z, b * zz - c, -a * x * z, d * (xx - yy)]
    if degree >= 3:
        a, b, c, d, e = _SH3
        found += [
            -a * y * (3 * xx - yy), b * x * y * z, -c * y * (5 * zz - 1), d * z * (5 * zz - 3),
            -c * x * (5 * zz - 1), e * z * (xx - yy), -a * x * (xx - 3 * yy),
        ]  # fmt: skip
    return torch.stack(found, 1)
