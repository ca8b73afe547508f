"""Edits of a cloud against a list of rows, one object a row."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Append, Assign, Change, Drop, Edit, Nudge, Overwrite
from splat.core.frame import morton_order

SHAPES: dict[str, tuple[int, ...]] = {"a": (3,), "b": (), "c": (2, 3)}
"""Columns of the clouds here."""
STATISTICS: dict[str, tuple[int, ...]] = {"s": (), "t": (2,)}


@dataclass
class Row:
    """What one row of the cloud should hold: one number a column, moment and statistic."""

    values: dict[str, float]
    first: dict[str, float]
    second: dict[str, float]
    statistics: dict[str, float]
    parent: int = -1
    """Its number before the last edit."""


def filled(numbers: list[float], shape: tuple[int, ...]) -> Tensor:
    """Rows of one number each."""
    values = torch.tensor(numbers, dtype=torch.float32).reshape(-1, *[1] * len(shape))
    return values.expand(len(numbers), *shape).clone()


class Pair:
    """A cloud and the list of rows it should equal."""

    def __init__(self, n: int, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.numbers = itertools.count(1)
        self.rows = [self.fresh() for _ in range(n)]
        for row in self.rows:
            for part in (row.first, row.second, row.statistics):
                part.update((name, self.next()) for name in part)
        self.cloud = Cloud()
        for name, shape in SHAPES.items():
            values = filled([row.values[name] for row in self.rows], shape)
            self.cloud.add(name, values, Rate(0.1))
        for name, shape in STATISTICS.items():
            self.cloud.track(name, *shape)
            self.cloud.statistic(name).copy_(
                filled([row.statistics[name] for row in self.rows], shape)
            )
        state = self.cloud.state_dict()
        for name, column in state["columns"].items():
            column["first"] = filled([row.first[name] for row in self.rows], SHAPES[name])
            column["second"] = filled([row.second[name] for row in self.rows], SHAPES[name])
        self.cloud.load_state_dict(state)

    def next(self) -> float:
        return float(next(self.numbers))

    def fresh(self) -> Row:
        return Row(
            {name: self.next() for name in SHAPES},
            dict.fromkeys(SHAPES, 0.0),
            dict.fromkeys(SHAPES, 0.0),
            dict.fromkeys(STATISTICS, 0.0),
        )

    def some(self, size: int, most: int) -> list[int]:
        return self.random.sample(range(size), min(size, self.random.randint(0, most)))

    def edit(self) -> Edit:
        """A random edit, carried out on the list; the cloud is left to the caller."""
        n = len(self.rows)
        for i, row in enumerate(self.rows):
            row.parent = i
        edit = Edit()
        for verb in (self.nudge, self.overwrite, self.assign, self.append):
            if self.random.random() < 0.5:
                edit = edit + verb(n)
        if self.random.random() < 0.7:
            edit = edit + self.drop(edit)
        if self.random.random() < 0.3:
            for row in self.rows:
                row.statistics["s"] = 0.0
            edit = edit + Edit(clear=("s",))
        return edit

    def nudge(self, n: int) -> Edit:
        name, delta = self.random.choice(list(SHAPES)), self.next()
        for row in self.rows:
            row.values[name] += delta
        return Edit(nudge=(Nudge(name, torch.full((n, *SHAPES[name]), delta)),))

    def overwrite(self, n: int) -> Edit:
        name = self.random.choice(list(SHAPES))
        numbers = [self.next() for _ in range(n)]
        for row, number in zip(self.rows, numbers, strict=True):
            row.values[name], row.first[name], row.second[name] = number, 0.0, 0.0
        return Edit(overwrite=(Overwrite(name, filled(numbers, SHAPES[name]), "reset"),))

    def assign(self, n: int) -> Edit:
        index = self.some(n, 5)
        keep = self.random.random() < 0.5
        names = self.random.sample(list(SHAPES), 2)
        new = {name: [self.next() for _ in index] for name in names}
        for place, i in enumerate(index):
            row = self.rows[i]
            row.values.update((name, new[name][place]) for name in names)
            row.statistics.update(dict.fromkeys(STATISTICS, 0.0))
            if not keep:
                row.first.update(dict.fromkeys(SHAPES, 0.0))
                row.second.update(dict.fromkeys(SHAPES, 0.0))
        rows = {name: filled(new[name], SHAPES[name]) for name in names}
        where = torch.tensor(index, dtype=torch.int64)
        return Edit(assign=(Assign(where, rows, "moved", "keep" if keep else "zero"),))

    def append(self, n: int) -> Edit:
        parents = [self.random.randint(-1, n - 1) for _ in range(self.random.randint(0, 6))]
        born = [self.fresh() for _ in parents]
        for row, parent in zip(born, parents, strict=True):
            row.parent = parent
        self.rows += born
        rows = {
            name: filled([row.values[name] for row in born], shape)
            for name, shape in SHAPES.items()
        }
        return Edit(append=(Append(rows, torch.tensor(parents, dtype=torch.int64), "born"),))

    def drop(self, edit: Edit) -> Edit:
        n = len(self.rows)
        del edit
        most = 8 if n > 12 else 2
        lists = [self.some(n, most), self.some(n, most)]
        gone = set(lists[0]) | set(lists[1])
        if len(gone) == n:
            return Edit()
        self.rows = [row for i, row in enumerate(self.rows) if i not in gone]
        return Edit(
            drop=tuple(
                Drop(torch.tensor(rows, dtype=torch.int64), reason)
                for rows, reason in zip(lists, ("old", "ill"), strict=True)
            )
        )

    def check(self) -> None:
        assert len(self.cloud) == len(self.rows)
        for name, shape in SHAPES.items():
            first, second = self.cloud.moments(name)
            assert torch.equal(self.cloud[name], filled([r.values[name] for r in self.rows], shape))
            assert torch.equal(first, filled([r.first[name] for r in self.rows], shape))
            assert torch.equal(second, filled([r.second[name] for r in self.rows], shape))
            assert self.cloud[name].requires_grad and self.cloud[name].is_leaf
        for name, shape in STATISTICS.items():
            expected = filled([row.statistics[name] for row in self.rows], shape)
            assert torch.equal(self.cloud.statistic(name), expected)


def test_a_thousand_random_edits_equal_a_list_of_rows() -> None:
    pair = Pair(12)
    sizes = set()
    for _ in range(1000):
        before = len(pair.rows)
        edit = pair.edit()
        change = pair.cloud.apply(edit)
        pair.check()
        assert (change.before, change.after) == (before, len(pair.rows))
        born = sum(len(append.parents) for append in edit.append)
        dropped = sum(rows for reason, rows in change.counts.items() if reason.startswith("drop"))
        assert change.after == change.before + born - dropped
        parents = [row.parent for row in pair.rows]
        if change.parents is None:
            assert parents == list(range(before))
        else:
            assert change.parents.tolist() == parents
        sizes.add(change.after)
    assert len(sizes) > 10, "the edits should grow and shrink the cloud"


def frozen(cloud: Cloud) -> dict[str, Any]:
    """A copy of all that a cloud holds, as nested tensors."""
    state = cloud.state_dict()
    return {
        "statistics": {name: values.clone() for name, values in state["statistics"].items()},
        **{
            f"{name} {part}": torch.as_tensor(value).clone()
            for name, column in state["columns"].items()
            for part, value in column.items()
        },
    }


def rows_of(n: int, **changed: Tensor) -> dict[str, Tensor]:
    return {**{name: torch.ones(n, *shape) for name, shape in SHAPES.items()}, **changed}


INDEX = torch.tensor([0, 2])
FITTING = Edit(
    nudge=(Nudge("b", torch.ones(5)),),
    overwrite=(Overwrite("a", torch.zeros(5, 3), "reset"),),
    assign=(Assign(INDEX, {"b": torch.zeros(2)}, "moved"),),
    append=(Append(rows_of(2), INDEX, "born"),),
    drop=(Drop(torch.tensor([6]), "old"),),
    clear=("s",),
)
"""For a cloud of five rows. Misfits come after it, so that an eager apply would have begun."""


@pytest.mark.parametrize(
    "misfit",
    [
        Edit(nudge=(Nudge("b", torch.ones(4)),)),
        Edit(nudge=(Nudge("nothing", torch.ones(5)),)),
        Edit(overwrite=(Overwrite("a", torch.zeros(5), "reset"),)),
        Edit(assign=(Assign(torch.tensor([1, 1]), {"b": torch.zeros(2)}, "moved"),)),
        Edit(assign=(Assign(torch.tensor([5]), {"b": torch.zeros(1)}, "moved"),)),
        Edit(assign=(Assign(torch.tensor([-1]), {"b": torch.zeros(1)}, "moved"),)),
        Edit(assign=(Assign(INDEX, {"b": torch.zeros(2, 1)}, "moved"),)),
        Edit(assign=(Assign(INDEX, {"nothing": torch.zeros(2)}, "moved"),)),
        Edit(append=(Append({"a": torch.zeros(1, 3)}, torch.tensor([0]), "born"),)),
        Edit(append=(Append(rows_of(2, c=torch.zeros(2, 3)), INDEX, "born"),)),
        Edit(append=(Append(rows_of(2), torch.tensor([0, 5]), "born"),)),
        Edit(drop=(Drop(torch.tensor([7]), "old"),)),
        Edit(clear=("nothing",)),
    ],
)
def test_an_edit_that_does_not_fit_changes_nothing(misfit: Edit) -> None:
    pair = Pair(5)
    before = frozen(pair.cloud)
    parameters = [pair.cloud[name] for name in SHAPES]
    with pytest.raises((ValueError, KeyError)):
        pair.cloud.apply(FITTING + misfit)
    after = frozen(pair.cloud)
    statistics = before.pop("statistics"), after.pop("statistics")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(torch.equal(statistics[0][key], statistics[1][key]) for key in STATISTICS)
    assert all(pair.cloud[name] is old for name, old in zip(SHAPES, parameters, strict=True))
    pair.cloud.apply(FITTING)


def test_no_edit_and_an_empty_one_are_no_change() -> None:
    pair = Pair(4)
    for edit in (None, Edit(), Edit(drop=(Drop(torch.tensor([], dtype=torch.int64), "old"),))):
        change = pair.cloud.apply(edit)
        assert not change and change == Change(4, 4)
        pair.check()


def test_nudges_are_not_counted_and_keep_moments_and_statistics() -> None:
    pair = Pair(4)
    change = pair.cloud.apply(pair.nudge(4))
    assert not change and change.parents is None
    pair.check()


def test_a_row_counts_for_its_first_reason() -> None:
    pair = Pair(6)
    drops = (Drop(torch.tensor([1, 2]), "opacity"), Drop(torch.tensor([2, 3, 3]), "size"))
    change = pair.cloud.apply(Edit(drop=drops))
    assert change.counts == {"drop:opacity": 2, "drop:size": 1}
    assert change.parents is not None and change.parents.tolist() == [0, 4, 5]


def test_newborn_rows_can_be_dropped_in_the_same_edit() -> None:
    pair = Pair(5)
    born = Append(rows_of(3), torch.tensor([4, -1, 0]), "born")
    change = pair.cloud.apply(Edit(append=(born,), drop=(Drop(torch.tensor([0, 6]), "old"),)))
    assert change.parents is not None and change.parents.tolist() == [1, 2, 3, 4, 4, 0]
    assert change.counts == {"append:born": 3, "drop:old": 2}


def test_reorder_moves_everything_together() -> None:
    pair = Pair(7)
    order = [3, 1, 6, 0, 5, 2, 4]
    change = pair.cloud.reorder(torch.tensor(order))
    pair.rows = [pair.rows[i] for i in order]
    pair.check()
    assert not change and change.parents is not None and change.parents.tolist() == order


def test_morton_order_is_a_permutation_that_brings_neighbours_together() -> None:
    positions = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    order = morton_order(positions)
    assert torch.equal(order.sort().values, torch.arange(2000))
    apart = (positions[order].diff(dim=0)).norm(dim=1).mean()
    assert apart < 0.3 * positions.diff(dim=0).norm(dim=1).mean()


def test_two_owners_of_a_name_are_refused() -> None:
    pair = Pair(3)
    with pytest.raises(ValueError, match="owner"):
        pair.cloud.track("s")
    with pytest.raises(ValueError, match="exists"):
        pair.cloud.add("a", torch.zeros(3, 3), Rate(0.1))
    with pytest.raises(ValueError, match="2 rows"):
        pair.cloud.add("d", torch.zeros(2), Rate(0.1))


def test_a_statistic_that_a_saved_cloud_did_not_keep_begins_at_zero() -> None:
    saved, cloud = Cloud(), Cloud()
    saved.add("a", torch.ones(5, 3), Rate(0.01))
    saved.track("old")
    saved.statistic("old").fill_(7)
    cloud.add("a", torch.zeros(2, 3), Rate(0.01))
    cloud.track("old")
    cloud.track("new", 2, dtype=torch.int64)
    cloud.statistic("new").fill_(9)
    cloud.load_state_dict(saved.state_dict())
    assert cloud.statistic("old").tolist() == [7] * 5
    assert cloud.statistic("new").tolist() == [[0, 0]] * 5
    assert cloud.statistic("new").dtype == torch.int64


def test_a_newborn_row_first_moves_by_3_16_learning_rates() -> None:
    """Adam's count is shared, so a newborn's moments of zero are not corrected for their youth."""
    cloud, rate = Cloud(), 0.01
    cloud.add("a", torch.zeros(2, 3), Rate(rate))
    state = cloud.state_dict()
    state["columns"]["a"]["count"] = 100_000
    cloud.load_state_dict(state)
    cloud.apply(Edit(append=(Append({"a": torch.zeros(1, 3)}, torch.tensor([0]), "born"),)))
    cloud["a"].grad = torch.full((3, 3), 0.5)
    cloud.optimize(0)
    expected = -rate * (1 - 0.9) / math.sqrt(1 - 0.999)
    assert expected == pytest.approx(-3.1623 * rate, rel=1e-4)
    assert torch.allclose(cloud["a"][2].detach(), torch.full((3,), expected), rtol=1e-4)


def test_a_fresh_column_first_moves_by_one_learning_rate() -> None:
    cloud = Cloud()
    cloud.add("a", torch.zeros(2, 2, 3), Rate(0.01, tail=0.5))
    cloud["a"].grad = torch.ones(2, 2, 3)
    cloud.optimize(0)
    moved = cloud["a"].detach()
    assert torch.allclose(moved[:, 0], torch.full((2, 3), -0.01), rtol=1e-4)
    assert torch.allclose(moved[:, 1], torch.full((2, 3), -0.005), rtol=1e-4)
    assert cloud["a"].grad is None


def test_rates_fall_log_linearly_and_then_stay() -> None:
    rate = Rate(1e-4, 1e-6, 100)
    assert [rate(step) for step in (0, 50, 100, 500)] == pytest.approx([1e-4, 1e-5, 1e-6, 1e-6])
    assert Rate(0.5)(1000) == 0.5
    rests = Rate(1e-2, 1e-4, 100, holds=0.6)
    assert rests(0) == rests(59) == 1e-2
    assert [rests(step) for step in (60, 80, 100, 200)] == pytest.approx([1e-2, 1e-3, 1e-4, 1e-4])
