"""Grids of signs around places: our kernel against torch, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from splat import kernels
from splat.strategies.scaffold.signs import Grids, grids_of, signs_of, squeezed

GRIDS = grids_of((4, 32, 3), 2, 1 << 8)
"""Of which the coarse ones have an entry for each corner, the others are hashed."""
SPANS = torch.cat([grids.spans for grids in GRIDS])


def drawn(n: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A table, places within a box, outside of it and on its middle, and that box."""
    draw = torch.Generator().manual_seed(n)
    entries = sum(sum(grids.sizes) for grids in GRIDS)
    table = torch.randn(entries, 2, generator=draw, dtype=torch.float64)
    box = torch.tensor([[0.1, -0.2, 0.3], [1.0, 2.0, 0.5]])
    places = 3 * torch.randn(n, 3, generator=draw, dtype=torch.float64).float()
    places[:1] = box[0]
    return table.to(dtype).requires_grad_(), places.to(dtype), box


def by_torch(table: Tensor, places: Tensor, box: Tensor) -> Tensor:
    place, values = squeezed(places.double(), box.double()), signs_of(table.double())

    def read(grids: Grids) -> Tensor:
        index, weight = grids.around(place)
        found = values.index_select(0, index.flatten()).view(*index.shape, 2)
        return (found * weight[..., None]).sum(2)

    return torch.cat([read(grids) for grids in GRIDS], 1)


@pytest.mark.parametrize("n", [0, 1, 300, 1000])
def test_signs_and_gradients_equal_those_of_torch(n: int, dtype: torch.dtype) -> None:
    table, places, box = drawn(n, dtype)
    found, expected = kernels.signs(table, places, box, SPANS), by_torch(table, places, box)
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    assert found.dtype == dtype and found.shape == (n, len(SPANS), 2)
    torch.testing.assert_close(found.double(), expected, rtol=bound, atol=bound)
    pull = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1)).double()
    (ours,) = torch.autograd.grad((found * pull.to(dtype)).sum(), table)
    (theirs,) = torch.autograd.grad((expected * pull).sum(), table)
    torch.testing.assert_close(ours.double(), theirs.double(), rtol=bound, atol=10 * bound)
    assert bool((ours[table.detach().abs() > 1] == 0).all())


def test_threads_and_bad_input(alike_by_threads: Callable[..., None]) -> None:
    table, places, box = drawn(2000, torch.float32)

    def call() -> list[Tensor]:
        found = kernels.signs(table, places, box, SPANS)
        return [found, *torch.autograd.grad(found.sum(), table)]

    alike_by_threads(call)
    places[1] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    kernels.signs(table, places, box, SPANS)  # wherever, but within the table
    with pytest.raises(ValueError, match=r"grids have \d+ entries; expected as many"):
        kernels.signs(table[:-1], places, box, SPANS)
