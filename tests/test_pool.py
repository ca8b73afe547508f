"""The candidate pool of a grid: who gets which place, by hand and after every edit of a run."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edits import random_edit
from formats import some
from methods import METHODS, job_of
from steps import model_of, refined, step_of
from torch import Tensor

from splat import cli, formats
from splat.core.edit import SPLIT, Append, Assign, Change, Drop, Edit
from splat.core.model import Making
from splat.core.step import Step
from splat.core.strategy import Fixed
from splat.loop import Run, train
from splat.strategies.mcmc import Mcmc
from splat.strategies.pool import Pool, volume
from splat.strategies.pool.claims import claimed, slots
from splat.strategies.pool.lattice import Lattice, about
from splat.strategies.pool.matching import matched
from splat.strategies.pool.model import Gridded
from splat.strategies.pool.terms import Near
from splat.strategies.protect import Protect
from splat.types import Gaussians

LINE = Lattice((0.0, 0.0, 0.0), 1.0, 3)
"""Places 0, 1, 2 along each axis; along z their numbers are those too."""


def on_line(*places: tuple[float, int]) -> Gridded:
    """Rows on the z axis of `LINE`: where each is, and the place that it has."""
    rows = dict(model_of(len(places), sh_degree=0).cloud.rows(torch.arange(len(places))))
    rows["mean"] = torch.tensor([[0.0, 0.0, z] for z, _ in places])
    rows["slot"] = torch.tensor([float(slot) for _, slot in places])
    model = Gridded(rows, Making(steps=9), 3)
    model.lattice = LINE
    return model


def born(model: Gridded, reason: str, *pairs: tuple[float, int]) -> Append:
    """Newborn rows on the z axis: where each is, and its parent."""
    parents = torch.tensor([parent for _, parent in pairs])
    rows = model.cloud.rows(parents.clamp_min(0))
    rows["mean"] = torch.tensor([[0.0, 0.0, z] for z, _ in pairs])
    return Append(rows, parents, reason)


def taken(model: Gridded, edit: Edit, **how: Any) -> list[tuple[float, int]]:
    """Where rows are along z and which place each has, once an edit has claimed and is done."""
    model.apply(claimed(edit, model.cloud, model.lattice, 1.5, **how))
    cloud = model.cloud
    along = cloud["mean"][:, 2].tolist()
    return [(round(z, 3), s) for z, s in zip(along, slots(cloud).tolist(), strict=True)]


def full_on_line() -> Gridded:
    """A row in every place of the grid but the third of the z axis."""
    model = on_line(*((0.0, number) for number in range(27) if number != 2))
    with torch.no_grad():
        model.cloud["mean"].copy_(LINE.places(slots(model.cloud)))
    return model


def test_a_clone_out_of_reach_of_the_free_place_is_not_born() -> None:
    model = full_on_line()
    whole = taken(model, Edit(append=(born(model, "clone", (0.1, 0)),)))
    assert len(whole) == 26


def test_of_two_clones_the_nearer_gets_the_place_and_the_other_has_no_second_choice() -> None:
    model = full_on_line()
    ends = taken(model, Edit(append=(born(model, "clone", (1.1, 1), (1.3, 0)),)))
    assert ends[26:] == [(1.3, 2)]


def test_a_place_that_dies_is_free_at_once_and_one_that_is_split_is_its_childs() -> None:
    model = full_on_line()
    dies = Edit(
        append=(born(model, "clone", (0.1, 1)),), drop=(Drop(torch.tensor([0]), "opacity"),)
    )
    assert taken(model, dies)[25:] == [(0.1, 0)]
    model = full_on_line()
    split = Edit(
        append=(born(model, SPLIT, (0.8, 1), (1.4, 1)),), drop=(Drop(torch.tensor([1]), SPLIT),)
    )
    ends = taken(model, split)
    # 0.8 is nearer to 1 than 1.4 is: it inherits, and the other claims 2.
    assert ends[25:] == [(0.8, 1), (1.4, 2)] and len(ends) == 27


def test_a_family_is_born_whole_or_not_at_all() -> None:
    model = full_on_line()
    before = [tuple(row.tolist()) for row in model.cloud["mean"]]
    # 1.05 inherits its parent's place, -0.2 finds none: the parent stays as it was.
    split = Edit(
        append=(born(model, SPLIT, (1.05, 1), (-0.2, 1)),), drop=(Drop(torch.tensor([1]), SPLIT),)
    )
    assert len(taken(model, split)) == 26
    assert [tuple(row.tolist()) for row in model.cloud["mean"]] == before
    # As published the child without a place is left out alone.
    ends = taken(full_on_line(), split, orphans=True)
    assert ends[25:] == [(1.05, 1)]


def test_what_a_clone_gave_up_comes_back_with_a_refused_one() -> None:
    model = full_on_line()
    fainter = {"opacity_logit": torch.tensor([-3.0])}
    halves = Edit(
        assign=(Assign(torch.tensor([0]), fainter, "clone", "keep"),),
        append=(born(model, "clone", (0.0, 0)),),
    )
    # An assign without parents belongs to its own row, which is the clone's parent.
    was = float(model.cloud["opacity_logit"][0].detach())
    taken(model, halves)
    assert float(model.cloud["opacity_logit"][0].detach()) == was


def test_a_parents_place_is_not_given_to_strangers() -> None:
    """Or, were its split refused, two rows would have it (the trap of the prototype)."""
    model = full_on_line()
    edit = Edit(
        # Children of 1 find no second place; a clone of 0 lies right on 1.
        append=(born(model, SPLIT, (1.1, 1), (-1.0, 1)), born(model, "clone", (0.9, 0))),
        drop=(Drop(torch.tensor([1]), SPLIT),),
    )
    ends = taken(model, edit)
    assert len({slot for _, slot in ends}) == len(ends) == 27
    assert (0.9, 2) in ends  # the only free one, 1.1 away


def test_a_full_grid_bears_nothing() -> None:
    model = Gridded(dict(model_of(40).cloud.rows(torch.arange(40))), Making(steps=9), 3)
    assert len(model.cloud) == 27 and not len(model.free())
    edit = random_edit(model.cloud, torch.Generator().manual_seed(0))
    births = Edit(append=edit.append[:1])
    assert births.append and len(births.append[0].parents)
    assert not claimed(births, model.cloud, model.lattice, 99.0).append


def test_nearness_costs_what_is_beyond_reach_in_edges_of_the_grid() -> None:
    model = on_line((2.0, 0), (1.0, 1), (-2.5, 2))
    term = Near(20.0, 1.5)(step_of(model))
    # 0.5 and 3.0 beyond, of 9 coordinates, where the edge is 2.
    assert float(term.detach()) == pytest.approx(20 * (0.5 + 3.0) / 9 / 2)
    term.backward()
    pull = model.cloud["mean"].grad
    assert pull is not None and pull[:, 2].sign().tolist() == [1, 0, -1]


def test_a_grid_holds_the_points_and_not_their_outliers() -> None:
    draw = torch.Generator().manual_seed(1)
    points = torch.rand(1000, 3, generator=draw) * torch.tensor([1.0, 2.0, 0.5])
    points[7] = 100.0
    lattice = about(points, 5)
    assert lattice.side == pytest.approx(1.1 * 1.96, rel=0.02)
    places = lattice.all_places()
    assert places[1] - places[0] == pytest.approx(torch.tensor([0, 0, lattice.cell]).double())
    assert len(places.unique(dim=0)) == 125


def test_places_stay_unique_and_near_and_the_grid_ends_full(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """V1 to V4 and V7 of a run, after every edit of it."""
    deaths, births, far = [0], [0], []

    def watch(run: Run, step: Step, losses: object, change: Change) -> None:
        model = run.model
        assert isinstance(model, Gridded)
        own = slots(model.cloud)
        assert len(own.unique()) == len(own) and len(own) + len(model.free()) == 14**3
        deaths[0] += sum(n for what, n in change.counts.items() if what.startswith("drop"))
        if change.edit is not None:
            for append in filter(lambda each: len(each.parents), change.edit.append):
                births[0] += append.reason != "grow" and len(append.parents)
                places = model.lattice.places(append.rows["slot"].long())
                offset = (append.rows["mean"].double() - places).abs()
                assert float(offset.max()) <= 1.5 * model.lattice.cell * 1.0001
        if run.step > 150:
            assert len(own) == 14**3
        far.append(float((model.offsets().abs() > 1.6 * model.lattice.cell).any(1).float().mean()))

    with closing(job_of(tiny_folder, METHODS["adc_pool"], steps=200, clear_air=False)) as job:
        job.run.watchers = [watch]
        train(job.run)
    assert deaths[0] > 20 and births[0] > 20
    assert far[-1] <= 0.01


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"moves dead rows .* adc \+ pool"):
        Pool(Mcmc(cap=100))
    assert Pool(Fixed(), grid=20).limited(1000).cap == 1000
    # A part behind it that keeps a dead row alive whose place has been given away.
    model = full_on_line()
    with torch.no_grad():
        model.cloud["opacity_logit"][0] = -9

    class Given(Fixed):
        def refine(self, step: Step) -> Edit:
            return Edit(
                append=(born(model, "clone", (0.2, 1)),),
                drop=(Drop(torch.tensor([0]), "opacity"),),
            )

    strategy = Protect(Pool(Given()), rule="opacity<2")
    strategy.begin(model)
    with pytest.raises(ValueError, match="expected pool last"):
        refined(strategy, step_of(model))


def test_each_point_gets_a_near_place_of_its_own() -> None:
    lattice = Lattice((0.0, 0.0, 0.0), 1.0, 4)
    numbers = torch.randperm(64, generator=torch.Generator().manual_seed(2))[:40]
    draw = torch.Generator().manual_seed(3)
    points = lattice.places(numbers) + 0.45 * (2 * torch.rand(40, 3, generator=draw) - 1)
    assert matched(points, lattice).equal(numbers)
    # All in one corner: there is one for each still, by what halves find.
    crowd = 0.3 * torch.rand(64, 3, generator=draw)
    found = matched(crowd, lattice, neighbours=2)
    assert len(found.unique()) == 64


def test_a_matching_is_no_worse_than_any_other_on_a_small_grid() -> None:
    from scipy.optimize import linear_sum_assignment

    lattice = Lattice((-1.0, -1.0, -1.0), 1.0, 3)
    points = torch.randn(20, 3, generator=torch.Generator().manual_seed(4))
    cost = torch.cdist(points.double(), lattice.all_places()).square().numpy()
    best = cost[linear_sum_assignment(cost)].sum()
    found = matched(points, lattice, neighbours=27)
    assert cost[range(20), found.numpy()].sum() == pytest.approx(best)


def test_more_gaussians_than_places_are_refused_with_a_grid_that_has_room() -> None:
    with pytest.raises(ValueError, match=r"28 Gaussians.*27 places.*--grid 4"):
        matched(torch.zeros(28, 3), Lattice((0.0, 0.0, 0.0), 1.0, 3))


def test_the_volume_of_a_run_has_its_places_and_comes_back_to_the_bit(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, back = tmp_path / "run", tmp_path / "v.npz", tmp_path / "back.ply"
    words = [
        "--steps",
        "30",
        "--no-clear-air",
        "--max-side",
        "0",
        "--quiet",
        "adc",
        "--reset-every",
        "0",
    ]
    asked = ["train", str(tiny_folder), "--out", str(run), *words, "+", "pool", "--grid", "9"]
    assert cli.main(asked) == 0
    assert cli.main(["volume", str(run), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "729 Gaussians in 729 places (those of the run)" in said
    assert cli.main(["volume", str(out), "-o", str(back)]) == 0
    plain, again = formats.read(run / "point_cloud.ply"), formats.read(back)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        one, other = (getattr(each, name).reshape(729, -1) for each in (plain, again))
        assert torch.equal(*(each[_order(g)] for each, g in ((one, plain), (other, again)))), name
    whole = volume.read(out)
    assert whole.slots.equal(torch.arange(729))
    volume.write(whole, tmp_path / "w.npz")
    assert (tmp_path / "w.npz").read_bytes() == out.read_bytes()
    # Another grid than the run's own is matched.
    assert cli.main(["volume", str(run), "-o", str(out), "--grid", "11", "--overwrite"]) == 0
    assert "729 Gaussians in 1,331 places (matched)" in capsys.readouterr().out


def _order(gaussians: Gaussians) -> Tensor:
    """Rows by their places, for sets that differ in order."""
    return torch.from_numpy(np.lexsort(gaussians.means.T.numpy()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": np.array(2)}, "of version 2; expected 1"),
        ({"filled": np.zeros((3, 3, 3), bool)}, "no Gaussian in any place"),
        ({"quat": np.zeros((3, 3, 3, 3), np.float32)}, "`quat` of shape"),
        ({"cell": np.array(-1.0)}, "a cell of -1"),
        ({"opacity": np.full((3, 3, 3), np.nan, np.float32)}, "not finite"),
        ({"sh": np.array([object()])}, "Python objects"),
    ],
)
def test_a_volume_that_lies_is_refused_in_a_sentence(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    file = tmp_path / "v.npz"
    lattice = Lattice((0.0, 0.0, 0.0), 1.0, 3)
    volume.write(volume.volume_of(some(4, 1), torch.arange(4), lattice), file)
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, **change})
    with pytest.raises(ValueError, match=f"v.npz.*{said}"):
        volume.read(file)
    assert cli.main(["volume", str(file), "-o", str(tmp_path / "x.ply")]) == 2
