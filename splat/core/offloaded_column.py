"""A column kept away from the device that trains: what is in sight is brought and put back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from splat.core.column import Column, Scaling
from splat.kernels import Harmonics, HarmonicsGradient, left_by_backward

Keep = Callable[[Tensor], Tensor]
"""Copies a tensor to host memory (`splat.core.offload`)."""
Gradient = Tensor | HarmonicsGradient


class Kept(Column):
    """An offloaded column: moments, and values of harmonics too, are where `keep` copies them."""

    def __init__(self, column: Column, keep: Keep) -> None:
        """The column, with what of it is offloaded copied there."""
        super().__init__(column.values, column.first, column.second, column.rate, column.count)
        self.keep = keep
        self.replace(column.values.detach())
        self.remember(column.first, column.second)

    def replace(self, values: Tensor) -> None:
        away = isinstance(self.values, Harmonics)
        super().replace(self.keep(values) if away else values)

    def remember(self, first: Tensor, second: Tensor) -> None:
        super().remember(self.keep(first), self.keep(second))

    def rows(self, index: Tensor) -> Tensor:
        """A copy of some rows, detached, where their numbers are."""
        return super().rows(index.to(self.values.device)).to(index.device)

    def gradient(self) -> Gradient | None:
        parts = self._drawn()
        if not parts:
            return left_by_backward(self.values)
        every = torch.arange(len(self.values), device=parts[0][0].device)
        return _together(parts, every, self.values)

    def clear_gradient(self) -> None:
        super().clear_gradient()
        if isinstance(self.values, Harmonics):
            self.values.brought.clear()

    def optimize(
        self,
        step: int,
        visible: Bool[Tensor, "n"] | None,
        rate_scale: float = 1.0,
        scaling: Scaling = Scaling(),  # noqa: B008
    ) -> None:
        """Bring the rows in sight to their gradients, move them, put them back."""
        if visible is None:
            raise ValueError(
                "rows whose moments are kept away were to move out of sight, too; say which are"
                " visible"
            )
        in_sight = self._seen(visible)
        if in_sight is not None:
            self.count += 1
            rows, gradient = in_sight
            whole = [t.detach() for t in (self.values, self.first, self.second)]
            places = {each.device: rows.to(each.device) for each in whole}
            values, first, second = (
                _brought(each, places[each.device], rows.device) for each in whole
            )
            part = Column(torch.nn.Parameter(values), first, second, self.rate, self.count)
            part._optimized(None, gradient, step, None, rate_scale, scaling)
            for kept, moved in zip(whole, (part.values, part.first, part.second), strict=True):
                kept.index_copy_(0, places[kept.device], moved.detach().to(kept.device))
        self.clear_gradient()

    def _drawn(self) -> list[tuple[Int[Tensor, "m"], Gradient]]:
        """Rows that were brought to be drawn, and the gradients that they were left."""
        brought = self.values.brought if isinstance(self.values, Harmonics) else []
        gradients = [(each.rows, left_by_backward(each.leaf)) for each in brought]
        parts = [(rows, gradient) for rows, gradient in gradients if gradient is not None]
        own = left_by_backward(self.values) if parts else None
        if own is not None:  # drawn as a whole, too
            parts.append((torch.arange(len(self.values), device=parts[0][0].device), own))
        return parts

    def _seen(self, visible: Bool[Tensor, "n"]) -> tuple[Int[Tensor, "m"], Gradient] | None:
        """Rows in sight, ascending, and their gradient."""
        parts = self._drawn()
        if len(parts) == 1:
            rows, gradient = parts[0]
            chosen = visible[rows].nonzero().squeeze(1)
            return rows[chosen], _take(gradient, chosen)
        rows = visible.nonzero().squeeze(1)
        if parts:
            return rows, _together(parts, rows, self.values)
        whole = left_by_backward(self.values)
        return None if whole is None else (rows, _take(whole, rows))


def _brought(away: Tensor, rows: Int[Tensor, "m"], device: torch.device) -> Tensor:
    """Rows of an offloaded tensor, whose numbers are where it is, on `device`.

    Those of pinned memory are gathered in such memory, from where a GPU copies by itself.
    """
    if not away.is_pinned():
        return away.index_select(0, rows).to(device)
    some = torch.empty(len(rows), *away.shape[1:], dtype=away.dtype, pin_memory=True)
    return torch.index_select(away, 0, rows, out=some).to(device, non_blocking=True)


def _take(gradient: Gradient, rows: Int[Tensor, "m"]) -> Gradient:
    if isinstance(gradient, HarmonicsGradient):
        return gradient.take(rows)
    return gradient.index_select(0, rows)


def _together(
    parts: list[tuple[Int[Tensor, "m"], Gradient]], rows: Int[Tensor, "k"], like: Tensor
) -> Tensor:
    """Sum of the gradients of several renders, dense, for these rows: [k, ...]."""
    place = torch.full((len(like),), -1, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    total: Tensor | None = None
    for drawn, gradient in parts:
        whole = (
            gradient.dense(like.shape[1]) if isinstance(gradient, HarmonicsGradient) else gradient
        )
        if total is None:
            total = whole.new_zeros(len(rows), *like.shape[1:])
        chosen = (place[drawn] >= 0).nonzero().squeeze(1)
        # What a loss says of rows themselves lies where they are kept.
        taken = whole.index_select(0, chosen.to(whole.device)).to(total)
        total.index_add_(0, place[drawn][chosen], taken)
    assert total is not None
    return total
