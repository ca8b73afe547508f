"""`Gridded`: Gaussians that each have a place of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.column import Rate
from splat.core.edit import Change, Edit, Rows
from splat.core.model import Explicit, Making
from splat.math import logit_of
from splat.strategies.pool.claims import SLOT, slots
from splat.strategies.pool.lattice import Lattice, about
from splat.system.foreign import Record

OPACITY = 0.1
"""Opacity of first rows, as in GVGEN's released code."""


class Gridded(Explicit):
    """Every row is one Gaussian with a place of a grid; of no place there are two.

    Columns: those of `Explicit`, and `slot` [N], the number of the row's place (`Lattice`), which
    nothing trains.
    """

    unit = "Gaussians on a grid"

    def __init__(self, rows: Rows, making: Making, grid: int) -> None:
        """`rows` are Gaussians about which a grid is laid, all of whose places begin with one, or
        the columns of another such model."""
        if SLOT not in rows:
            self.lattice = about(rows["mean"], grid)
            rows = filling(self.lattice, torch.arange(len(self.lattice)), rows, OPACITY)
        else:  # the saved state says which grid
            self.lattice = Lattice((0.0, 0.0, 0.0), 1.0, grid)
        super().__init__(rows, **making.of_rows)
        self.cloud.add(SLOT, rows[SLOT], Rate(0.0))

    def offsets(self) -> Float[Tensor, "n 3"]:
        """From each row's place to the row, frame of training; differentiable by `mean`."""
        mean = self.cloud["mean"]
        return mean - self.lattice.places(slots(self.cloud)).to(mean.dtype)

    def free(self) -> Tensor:
        """Numbers of the places that no row has, ascending."""
        free = torch.ones(len(self.lattice), dtype=torch.bool, device=self.cloud.device)
        free[slots(self.cloud)] = False
        return free.nonzero().squeeze(1)

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        change = super().apply(edit)
        own = slots(self.cloud) if change else None
        if own is not None and len(own.unique()) != len(own):
            raise ValueError(
                "two rows have one place of the grid, since a part that stands behind pool gave"
                " rows away or kept some from dying; expected pool last: adc + protect + pool"
            )
        return change

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "lattice": self.lattice.record()}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        super().set_extra_state(state)
        self.lattice = Lattice.of_record(Record.of(Record(state).get("lattice")))


def filling(
    lattice: Lattice, numbers: Tensor, like: Rows, opacity: float, *, dark: bool = False
) -> dict[str, Tensor]:
    """Rows at places of the grid, as large as its cells: of the colour of the nearest of the rows
    that it was laid about, or `dark`.

    Differs: in GVGEN's released code all begin nearly black.
    """
    n, means = len(numbers), like["mean"]
    places = lattice.places(numbers.cpu())
    sh = like["sh"].new_zeros(n, *like["sh"].shape[1:])
    if not dark:
        _, nearest = cKDTree(means.detach().cpu().double().numpy()).query(places.numpy())
        sh[:, 0] = like["sh"][torch.from_numpy(nearest).to(sh.device), 0]
    quat = means.new_zeros(n, 4)
    quat[:, 0] = 1
    return {
        "mean": places.to(means),
        "quat": quat,
        "log_scale": means.new_tensor(lattice.cell).log().expand(n, 3).clone(),
        "opacity_logit": means.new_full((n,), logit_of(opacity)),
        "sh": sh,
        SLOT: numbers.to(means),
    }
