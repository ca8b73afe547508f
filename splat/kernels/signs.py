"""Grids of signs around places: what the corners of their cells say, interpolated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from splat.kernels.crossing import needed, plain, rows_of, same_kind, shaped
from splat.kernels.native import cpu, table_of

CHANNELS = 8
"""Numbers of an entry at most."""


def signs(
    table: Float[Tensor, "e c"],
    positions: Float[Tensor, "n 3"],
    box: Float[Tensor, "2 3"],
    grids: Int64[Tensor, "g 8"],
) -> Float[Tensor, "n g c"]:
    """Signs of a table's numbers at the corners of cells, linear between them (HAC, Chen et al.
    2024), on the CPU.

    `box` is the middle and half the sides of a box, around which all of space is squeezed into a
    cube twice as large. Of each grid in it the number of its axes, these (three numbers), its cells
    along an axis, its entries, the first of them, and whether every corner has an entry of its own
    (1); else corners are hashed. Grids have all entries between them, and none has another's.
    Gradients reach the table, as if its numbers were their signs where they are within -1 and 1.
    ValueError where shapes or types do not fit.
    """
    rows_of("positions", positions, 3)
    rows_of("grids", grids, 8)
    shaped("box", box, (2, 3))
    entries = rows_of("table", table, channels := table.shape[-1])
    same_kind(table=table, positions=positions)
    if not 1 <= channels <= CHANNELS or int(grids[:, 5].sum()) != entries:
        raise ValueError(
            f"the table is {tuple(table.shape)}, and grids have {int(grids[:, 5].sum())} entries;"
            f" expected as many, of 1 to {CHANNELS} numbers"
        )
    found: Tensor = _Signs.apply(table, positions, box, grids)  # type: ignore[no-untyped-call]
    return found


class _Signs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, positions: Tensor, box: Tensor, grids: Tensor) -> Tensor:
        table, positions = plain(table), plain(positions)
        ctx.held, ctx.box = (table, positions, grids), box.flatten().tolist()
        out = table.new_empty(len(positions), len(grids), table.shape[1])
        cpu.signs(table_of(table), {**_given(ctx.held, ctx.box), **_array("out", out)})
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        v_out, table = plain(gradients[0]), ctx.held[0]
        v_table = torch.empty_like(table)
        arrays = _array("v_out", v_out) | _array("v_table", v_table)
        cpu.signs_backward(table_of(table), {**_given(ctx.held, ctx.box), **arrays})
        return v_table, None, None, None


def _given(held: Sequence[Tensor], box: list[float]) -> dict[str, Any]:
    table, positions, grids = held
    arrays = _array("table", table) | _array("positions", positions)
    chosen = needed(grids, torch.int64, grids=(grids, tuple(grids.shape)))
    sizes = {"n": len(positions), "grid_count": len(grids), "channels": table.shape[1]}
    return {**arrays, **chosen, **sizes, "box": box}


def _array(name: str, values: Tensor) -> dict[str, int]:
    return needed(values, **{name: (values, tuple(values.shape))})
