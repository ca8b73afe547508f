"""Whether an edit fits a cloud, and lies where the cloud does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from splat.core.edit import Edit, Rows

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


def brought(edit: Edit, cloud: Cloud) -> Edit:
    """An edit that fits, its tensors on the devices of what they change.

    A strategy may well have drawn its rows on the CPU while the cloud is on a GPU, or taken those
    of a column that is kept away from it.
    """
    if all(tensor.device == device for tensor, device in _places(edit, cloud)):
        return edit
    here = cloud.device

    def rows_there(given: Rows) -> Rows:
        return {name: values.to(cloud[name].device) for name, values in given.items()}

    return replace(
        edit,
        nudge=tuple(replace(e, delta=e.delta.to(cloud[e.name].device)) for e in edit.nudge),
        overwrite=tuple(
            replace(e, values=e.values.to(cloud[e.name].device)) for e in edit.overwrite
        ),
        assign=tuple(
            replace(
                e,
                index=e.index.to(here),
                rows=rows_there(e.rows),
                parents=None if e.parents is None else e.parents.to(here),
            )
            for e in edit.assign
        ),
        append=tuple(
            replace(e, rows=rows_there(e.rows), parents=e.parents.to(here)) for e in edit.append
        ),
        drop=tuple(replace(e, rows=e.rows.to(here)) for e in edit.drop),
        zero=tuple(replace(e, where=e.where.to(here)) for e in edit.zero),
    )


def _places(edit: Edit, cloud: Cloud) -> Iterator[tuple[Tensor, torch.device]]:
    """Every tensor of an edit, and where it is to lie."""
    here = cloud.device
    for nudge in edit.nudge:
        yield nudge.delta, cloud[nudge.name].device
    for overwrite in edit.overwrite:
        yield overwrite.values, cloud[overwrite.name].device
    born = [assign.rows for assign in edit.assign] + [append.rows for append in edit.append]
    for rows in born:
        yield from ((values, cloud[name].device) for name, values in rows.items())
    numbers = [each for a in edit.assign for each in (a.index, a.parents) if each is not None]
    numbers += [append.parents for append in edit.append] + [drop.rows for drop in edit.drop]
    yield from ((each, here) for each in numbers)
    for zero in edit.zero:
        yield zero.where, here


def _expect(shape: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    if tuple(shape) != tuple(expected):
        raise ValueError(f"{what} has shape {tuple(shape)}, the cloud expects {tuple(expected)}")


def _inside(index: Tensor, size: int, what: str, least: int = 0) -> None:
    if len(index) and not (least <= int(index.min()) and int(index.max()) < size):
        wrong = index[(index < least) | (index >= size)][0]
        raise ValueError(f"{what} names rows outside {least} .. {size - 1}, such as {int(wrong)}")
