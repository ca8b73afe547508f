"""Births that belong together: struck whole, held off frozen rows, kept within a number."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from edits import altered, random_edit, shared
from steps import assert_consistent, fill_moments, model_of
from torch import Tensor

from splat.conformance.trial import fingerprints
from splat.core.cloud import Cloud
from splat.core.edit import SPLIT, Append, Assign, Drop, Edit, Nudge, Overwrite
from splat.core.families import (
    families,
    limited_births,
    merged_edits,
    without_families,
    without_held,
)

CASES = range(25)


def cloud_of(n: int = 64, seed: int = 0) -> Cloud:
    opacity = torch.rand(n, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05
    return model_of(n, opacity, seed=seed).cloud


def rows(*index: int) -> Tensor:
    return torch.tensor(index, dtype=torch.int64)


def append(cloud: Cloud, parents: Tensor, reason: str = "clone") -> Append:
    return Append(cloud.rows(parents.clamp_min(0)), parents, reason)


def dead(edit: Edit, n: int) -> set[int]:
    return {row for drop in edit.drop if drop.reason != SPLIT for row in drop.rows.tolist()}


def kin(edit: Edit, n: int) -> list[set[int]]:
    """Families of more than one row, by merging sets until none overlap."""
    groups: list[set[int]] = []
    born = n
    pairs = []
    for one in edit.append:
        pairs += [(born + i, int(p)) for i, p in enumerate(one.parents)]
        born += len(one.parents)
    for each in edit.assign:
        if each.parents is not None:
            pairs += list(zip(each.index.tolist(), each.parents.tolist(), strict=True))
    for a, b in pairs:
        new = {a, b} - {-1}
        touching = [group for group in groups if group & new]
        groups = [group for group in groups if not group & new] + [new.union(*touching)]
    return groups


@pytest.mark.parametrize("seed", CASES)
def test_families_are_the_rows_that_parents_connect(seed: int) -> None:
    cloud = cloud_of()
    edit = random_edit(cloud, torch.Generator().manual_seed(seed))
    number = families(edit, len(cloud)).tolist()
    found = Counter(number)
    for group in kin(edit, len(cloud)):
        assert len({number[row] for row in group}) == 1
        assert found[number[min(group)]] == len(group)


def test_mcmcs_chain_of_hosts_is_one_family() -> None:
    """Row 1 moves onto row 0 and shares again with a newborn row, whose parent is row 0."""
    cloud = cloud_of(6)
    edit = Edit(
        assign=(
            shared(cloud, rows(0)),
            Assign(rows(1), cloud.rows(rows(0)), "relocate", "keep", rows(0)),
            shared(cloud, rows(1, 3)),
        ),
        append=(append(cloud, rows(0, 3), "grow"),),
    )
    number = families(edit, 6)
    assert number.tolist() == [0, 0, 2, 3, 4, 5, 0, 3]
    left = without_families(edit, 6, number == 0)
    assert [each.index.tolist() for each in left.assign] == [[3]]
    assert [each.parents.tolist() for each in left.append] == [[3]]


def test_rows_without_a_parent_are_families_of_their_own() -> None:
    cloud = cloud_of(4)
    nobody = rows(-1, 2)
    edit = Edit(
        assign=(Assign(rows(0, 1), cloud.rows(rows(0, 1)), "x", parents=nobody),),
        append=(append(cloud, nobody),),
    )
    assert families(edit, 4).tolist() == [0, 1, 1, 3, 4, 1]
    bad = Edit(assign=(Assign(rows(0), cloud.rows(rows(0)), "x", parents=rows(4)),))
    with pytest.raises(ValueError, match=r"parents names rows outside -1 \.\. 3"):
        cloud.apply(bad)


def test_strikes_renumber_the_newborn_rows_that_drops_name() -> None:
    cloud = cloud_of(4)
    edit = Edit(
        append=(append(cloud, rows(0, 1)), append(cloud, rows(2, 2), SPLIT)),
        drop=(Drop(rows(2), SPLIT), Drop(rows(3, 5, 7), "opacity")),
    )
    struck = torch.zeros(8, dtype=torch.bool)
    struck[[0, 4]] = True
    left = without_families(edit, 4, struck)
    assert [each.parents.tolist() for each in left.append] == [[1], [2, 2]]
    assert [(drop.rows.tolist(), drop.reason) for drop in left.drop] == [
        ([2], SPLIT), ([3, 4, 6], "opacity"),
    ]  # fmt: skip
    assert without_families(edit, 4, torch.zeros(8, dtype=torch.bool)) is edit


@pytest.mark.parametrize("seed", CASES)
def test_a_family_is_struck_whole_or_not_at_all(seed: int) -> None:
    cloud = cloud_of()
    n, draw = len(cloud), torch.Generator().manual_seed(seed)
    edit = random_edit(cloud, draw, deaths=0)
    after = n + sum(len(a.parents) for a in edit.append) - len(edit.drop[0].rows)
    most = int(torch.randint(n - 8, after + 1, (1,), generator=draw))
    left = limited_births(edit, cloud, most)
    assert left is not None
    kept = {row for each in left.assign for row in each.index.tolist()}
    born = Counter(row for each in left.append for row in each.parents.tolist())
    asked = Counter(row for each in edit.append for row in each.parents.tolist())
    splits = {row for drop in left.drop if drop.reason == SPLIT for row in drop.rows.tolist()}
    for group in kin(edit, n):
        old = [row for row in group if row < n]
        shares = {row for each in edit.assign for row in each.index.tolist()} & set(old)
        whole = all(born[row] == asked[row] for row in old) and shares <= kept
        none = not any(born[row] for row in old) and not shares & kept
        assert whole or none
        replaced = set(old) & set(edit.drop[0].rows.tolist())
        assert (replaced <= splits) if whole else not replaced & splits
    assert cloud.apply(left).after <= max(most, n - len(splits))
    assert_consistent(cloud)


def test_the_faintest_parents_lose_their_births_first() -> None:
    cloud = model_of(4, torch.tensor([0.9, 0.1, 0.5, 0.2])).cloud
    edit = Edit(append=(append(cloud, rows(0, 1, 2, 3)),))
    left = limited_births(edit, cloud, 6)
    assert left is not None and left.append[0].parents.tolist() == [0, 2]
    split = Edit(append=(append(cloud, rows(1, 1, 0, 0), SPLIT),), drop=(Drop(rows(0, 1), SPLIT),))
    left = limited_births(split, cloud, 5)
    assert left is not None
    assert (left.append[0].parents.tolist(), left.drop[0].rows.tolist()) == ([0, 0], [0])
    # A row without a parent counts by its own opacity.
    orphans = append(cloud, rows(-1, -1))
    orphans.rows["opacity_logit"].copy_(torch.tensor([-3.0, 3.0]))  # type: ignore[union-attr]
    left = limited_births(Edit(append=(orphans,)), cloud, 5)
    assert left is not None and left.append[0].rows["opacity_logit"].tolist() == [3.0]


def test_deaths_make_room_and_newborn_dead_take_none() -> None:
    cloud = model_of(4, torch.tensor([0.9, 0.1, 0.5, 0.2])).cloud
    edit = Edit(append=(append(cloud, rows(0, 1, 2)),), drop=(Drop(rows(3, 5), "opacity"),))
    assert limited_births(edit, cloud, 5) is edit
    left = limited_births(edit, cloud, 4)
    assert left is not None and left.append[0].parents.tolist() == [0, 1]
    assert left.drop[0].rows.tolist() == [3, 5]
    assert cloud.apply(left).after == 4


def test_more_rows_than_allowed_stay_and_none_is_born() -> None:
    cloud = cloud_of(8)
    left = limited_births(Edit(append=(append(cloud, rows(0, 3)),)), cloud, 5)
    assert left is not None and cloud.apply(left).after == 8


def held(cloud: Cloud) -> list[tuple[Tensor, ...]]:
    """All that a cloud knows of its held rows."""
    which = cloud.held
    assert which is not None
    return [
        tuple(part[which].clone().view(torch.int32) for part in (values, *cloud.moments(name)))
        for name, values in ((name, cloud[name].detach()) for name in cloud.names)
    ]


@pytest.mark.parametrize("seed", CASES)
def test_held_rows_are_the_same_to_the_bit_after_any_edit(seed: int) -> None:
    cloud = cloud_of()
    fill_moments(cloud)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        cloud["mean"][::3] = -0.0  # which is not 0 + -0
    which = torch.rand(len(cloud), generator=draw) < 0.3
    cloud.hold("frozen", which)
    # Of a column that an overwrite restarts, the moments of all rows are zeroed: Adam's own rule.
    known = [values for values, *_ in held(cloud)]
    for _ in range(3):
        cloud.apply(random_edit(cloud, draw))
        assert_consistent(cloud)
        assert int(cloud.statistic("frozen").sum()) == int(which.sum())
        for before, (after, *_) in zip(known, held(cloud), strict=True):
            assert torch.equal(before, after)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("verb", ["nudge", "overwrite", "assign", "append", "drop", "clear"])
def test_an_edit_that_does_not_fit_changes_nothing(verb: str, seed: int) -> None:
    """I3, wherever in the edit the mistake is."""
    cloud = cloud_of()
    cloud.track("seen")
    cloud.hold("frozen", torch.arange(len(cloud)) < 9)
    good, n = random_edit(cloud, torch.Generator().manual_seed(seed)), len(cloud)
    odd = {
        "nudge": Edit(nudge=(Nudge("mean", torch.zeros(n - 1, 3)),)),
        "overwrite": Edit(overwrite=(Overwrite("opacity_logit", torch.zeros(n + 1), "x"),)),
        "assign": Edit(assign=(shared(cloud, rows(3, 3)),)),
        "append": Edit(append=(append(cloud, rows(n - 1)), Append({}, rows(1), "x"))),
        "drop": Edit(drop=(Drop(rows(n + 500), "x"),)),
        "clear": Edit(clear=("unseen",)),
    }[verb]
    before = fingerprints(cloud)
    for edit in (good + odd, odd + good):
        with pytest.raises((ValueError, KeyError)):
            cloud.apply(edit)
        assert fingerprints(cloud) == before and len(cloud) == n


def test_no_step_moves_held_rows_nor_their_moments() -> None:
    cloud = cloud_of(9)
    fill_moments(cloud)
    cloud.hold("frozen", torch.arange(9) < 4)
    cloud.hold("also", torch.arange(9) == 8)
    known = held(cloud)
    for visible in (None, torch.arange(9) % 2 == 0):
        before = cloud["mean"].detach().clone()
        for parameter in cloud.parameters():
            parameter.grad = torch.ones_like(parameter)
        cloud.optimize(5, visible)
        assert all(
            torch.equal(a, b) for x, y in zip(known, held(cloud), strict=True)
            for a, b in zip(x, y, strict=True)
        )  # fmt: skip
        moved = (cloud["mean"].detach() != before).any(1)
        free = (torch.arange(9) >= 4) & (torch.arange(9) < 8)
        assert torch.equal(moved, free if visible is None else free & visible)


def test_holding_nothing_changes_nothing() -> None:
    states = []
    for hold in (False, True):
        cloud = cloud_of()
        fill_moments(cloud)
        if hold:
            cloud.hold("frozen", torch.zeros(len(cloud), dtype=torch.bool))
        for parameter in cloud.parameters():
            parameter.grad = torch.ones_like(parameter)
        cloud.optimize(5)
        cloud.apply(random_edit(cloud, torch.Generator().manual_seed(1)))
        states.append([cloud[name].detach() for name in cloud.names])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_a_copy_does_not_outlive_what_its_frozen_host_would_have_given() -> None:
    """MCMC: without the host's share the copies would be too bright."""
    cloud = cloud_of(6)
    edit = Edit(
        assign=(
            shared(cloud, rows(0, 2)),
            Assign(rows(1, 3), cloud.rows(rows(0, 2)), "relocate", "keep", rows(0, 2)),
        ),
        append=(append(cloud, rows(0, 2), "grow"),),
    )
    for frozen in (0, 1):  # the host, or the row that would have been moved
        left = without_held(edit, cloud, torch.arange(6) == frozen)
        assert [each.index.tolist() for each in left.assign] == [[2], [3]]
        assert [each.parents.tolist() for each in left.append] == [[2]]


def test_statistics_of_held_rows_go_on_and_newborn_rows_are_free() -> None:
    cloud = cloud_of(4)
    cloud.track("seen")
    cloud.hold("frozen", torch.arange(4) == 1)
    cloud.statistic("seen").add_(1)
    free = append(cloud, rows(0, -1))
    change = cloud.apply(Edit(append=(free, append(cloud, rows(1))), clear=("seen",)))
    assert change.counts == {"append:clone": 2}
    assert cloud.statistic("frozen").tolist() == [False, True, False, False, False, False]
    assert cloud.statistic("seen").sum() == 0


# ---- several edits of the same rows


def test_a_row_that_another_part_drops_has_no_children() -> None:
    """A clone of it would be the dropped row again."""
    cloud = cloud_of(6)
    births = Edit(
        append=(append(cloud, rows(0, 1)), append(cloud, rows(2, 2), SPLIT)),
        drop=(Drop(rows(2), SPLIT),),
    )
    for order in (0, 1):
        deaths = Edit(drop=(Drop(rows(1, 2, 4), "significance"),))
        edit = merged_edits([births, deaths] if order == 0 else [deaths, births], cloud)
        assert edit is not None
        assert [each.parents.tolist() for each in edit.append] == [[0]]
        assert dead(edit, 6) == {1, 2, 4}
        assert not any(drop.reason == SPLIT for drop in edit.drop)


def test_a_row_assigned_by_one_and_dropped_by_another_is_dropped() -> None:
    """Its host keeps what it would have shared; the host's other copies do not come either."""
    cloud = cloud_of(8)
    moves = Edit(
        assign=(
            shared(cloud, rows(0, 5)),
            Assign(rows(1, 2, 6), cloud.rows(rows(0, 0, 5)), "relocate", "keep", rows(0, 0, 5)),
        )
    )
    edit = merged_edits([moves, Edit(drop=(Drop(rows(1), "significance"),))], cloud)
    assert edit is not None
    assert [each.index.tolist() for each in edit.assign] == [[5], [6]]
    before = cloud["opacity_logit"].detach().clone()
    cloud.apply(edit)
    assert cloud["opacity_logit"][0] == before[0] and len(cloud) == 7


def test_of_two_families_with_a_row_in_common_the_earlier_stays() -> None:
    cloud = cloud_of(6)
    first = Edit(append=(append(cloud, rows(0, 1)),))
    second = Edit(
        assign=(shared(cloud, rows(1, 3)),),
        append=(append(cloud, rows(1, 3), "grow"), append(cloud, rows(0, 0, 4, 4), SPLIT)),
        drop=(Drop(rows(0, 4), SPLIT),),
    )
    edit = merged_edits([first, second], cloud)
    assert edit is not None
    assert [each.parents.tolist() for each in edit.append] == [[0, 1], [3], [4, 4]]
    assert [each.index.tolist() for each in edit.assign] == [[3]]
    assert [drop.rows.tolist() for drop in edit.drop] == [[4]]


def test_newborn_rows_that_a_later_part_prunes_are_its_own() -> None:
    cloud = cloud_of(4)
    first = Edit(append=(append(cloud, rows(0, 1)),), drop=(Drop(rows(4), "opacity"),))
    second = Edit(append=(append(cloud, rows(2, 3)),), drop=(Drop(rows(5), "size"),))
    edit = merged_edits([first, second], cloud)
    assert edit is not None
    assert {drop.reason: drop.rows.tolist() for drop in edit.drop} == {"opacity": [4], "size": [7]}


def test_if_all_would_die_only_the_first_kills() -> None:
    cloud = cloud_of(4)
    one = Edit(drop=(Drop(rows(0, 1), "opacity"),))
    two = Edit(drop=(Drop(rows(1, 2, 3), "significance"),))
    edit = merged_edits([one, two], cloud)
    assert edit is not None and dead(edit, 4) == {0, 1}
    assert merged_edits([None, two, Edit()], cloud) is two and merged_edits([None], cloud) is None


@pytest.mark.parametrize("seed", CASES)
def test_together_against_sets(seed: int) -> None:
    """Whatever anything kills is killed; of the families those are left that sets leave."""
    cloud = cloud_of()
    n, draw = len(cloud), torch.Generator().manual_seed(seed)
    parts = [random_edit(cloud, draw, deaths=0.05) for _ in range(3)]
    edit = merged_edits(parts, cloud)
    assert edit is not None
    old = set(range(n))
    assert dead(edit, n) & old == set().union(*(dead(part, n) for part in parts)) & old
    taken: set[int] = set()
    wanted: set[float] = set()
    for i, part in enumerate(parts):
        foreign = set().union(*(dead(other, n) for j, other in enumerate(parts) if j != i))
        lone = [{row} for row in range(n, n + len(_born(part)))]
        groups = [g for g in kin(part, n)]
        groups += [g for g in lone if not any(g <= other for other in groups)]
        left = [group for group in groups if not group & old & (foreign | taken)]
        taken = taken.union(*left) & old
        wanted |= {_born(part)[row - n] for group in left for row in group if row >= n}
        moved = {row for group in left for row in group} & set(part.assign[1].index.tolist())
        assert moved <= {row for a in edit.assign for row in a.index.tolist()}
    assert set(_born(edit)) == wanted
    change = cloud.apply(edit)
    gone = {row for drop in edit.drop for row in drop.rows.tolist()}
    assert change.after == n + len(wanted) - len(gone)
    assert_consistent(cloud)


def _born(edit: Edit) -> list[float]:
    """A number of each appended row that no other has."""
    return [value for each in edit.append for value in each.rows["mean"][:, 0].tolist()]


def test_nudges_add_up() -> None:
    cloud = cloud_of(3)
    ones = Edit(nudge=(Nudge("mean", torch.ones(3, 3)),))
    before = cloud["mean"].detach().clone()
    cloud.apply(merged_edits([ones, ones], cloud))
    assert torch.equal(cloud["mean"].detach(), before + 1 + 1)


def test_altered_rows_differ() -> None:
    cloud = cloud_of(3)
    found = altered(cloud, rows(0, 1), torch.Generator().manual_seed(0))
    assert not torch.equal(found["mean"], cloud.rows(rows(0, 1))["mean"])
