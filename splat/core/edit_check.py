"""Whether an edit fits a cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splat.core.edit import Edit

if TYPE_CHECKING:
    from splat.core.cloud import Cloud


def check_edit(edit: Edit, cloud: Cloud) -> None:
    """Raise ValueError where an edit does not fit, with what it should be."""
    n = len(cloud)
    grown = n + sum(len(append.parents) for append in edit.append)
    for nudge in edit.nudge:
        _expect(nudge.delta.shape, cloud[nudge.name].shape, f"nudge of {nudge.name!r}")
    for overwrite in edit.overwrite:
        _expect(overwrite.values.shape, cloud[overwrite.name].shape, f"{overwrite.name!r}")
    for assign in edit.assign:
        _inside(assign.index, n, "assign")
        if len(torch.unique(assign.index)) != len(assign.index):
            raise ValueError("an assign names a row twice; give each row once")
        if assign.parents is not None:
            _expect(assign.parents.shape, assign.index.shape, "parents of an assign")
            _inside(assign.parents, n, "parents", least=-1)
        for name, values in assign.rows.items():
            _expect(values.shape, (len(assign.index), *cloud[name].shape[1:]), f"{name!r}")
    for append in edit.append:
        if set(append.rows) != set(cloud.names):
            raise ValueError(
                f"an append names {sorted(append.rows)}, it must name {sorted(cloud.names)}"
            )
        _inside(append.parents, n, "parents", least=-1)
        for name, values in append.rows.items():
            _expect(values.shape, (len(append.parents), *cloud[name].shape[1:]), f"{name!r}")
    for drop in edit.drop:
        _inside(drop.rows, grown, "drop")
    for name in edit.clear:
        cloud.statistic(name)
    for zero in edit.zero:
        whole = cloud.statistic(zero.name).shape
        _expect(zero.where.shape, whole[: zero.where.ndim], f"zero of {zero.name!r}")


def _expect(shape: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{what} has shape {tuple(shape)}, the cloud expects {tuple(expected)}")


def _inside(index: Tensor, size: int, what: str, least: int = 0) -> None:
    if len(index) and not (least <= int(index.min()) and int(index.max()) < size):
        wrong = index[(index < least) | (index >= size)][0]
        raise ValueError(f"{what} names rows outside {least} .. {size - 1}, such as {int(wrong)}")
