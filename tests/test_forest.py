"""Forests: links hold whatever is done to leaves, births hang where the rule says."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, job_of
from steps import CAMERA, NoRenderer, assert_consistent, fill_moments, refined, step_of
from torch import Tensor

from splat import loop
from splat.core.edit import Append, Assign, Drop, Edit
from splat.core.maps import Error
from splat.core.model import Making
from splat.core.shared_rows import SharedRows, Table, shared_rows
from splat.kernels import one_torch_thread
from splat.kernels.harmonics import basis
from splat.math import SH_C0, logit_of
from splat.options import Options
from splat.rules import window
from splat.strategies.budget import Budget
from splat.strategies.crop import Crop
from splat.strategies.forest import Forest, networks
from splat.strategies.forest.forest import SEEN, WORST
from splat.strategies.forest.model import SHRINK, Trees
from splat.strategies.forest.nodes import OWN_MID, OWN_ROOT
from splat.strategies.freeze import Freeze
from splat.strategies.protect import Protect
from splat.system.foreign import Broken
from splat.training.row_budget import within_budget
from splat.types import Drawing, Frame
from splat.viewer.source import Unbaked
from splat.viewer.values import Sweep, heatmap_names, values

GRADIENT = Forest(grow="gradient", opacity_leak=0.0)
"""Births and deaths by the gradient alone."""


def rows_at(points: Any, opacity: float = 0.5) -> dict[str, Tensor]:
    """Gaussians of a hundredth, in colours that differ."""
    mean = torch.as_tensor(points, dtype=torch.float32)
    n = len(mean)
    draw = torch.Generator().manual_seed(3)
    return {
        "mean": mean,
        "quat": torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4),
        "log_scale": torch.full((n, 3), math.log(0.01)),
        "opacity_logit": torch.full((n,), logit_of(opacity)),
        "sh": torch.rand(n, 1, 3, generator=draw) - 0.5,
    }


def trees_at(points: Any, strategy: Forest = GRADIENT, **more: Any) -> Trees:
    """Trees of leaves at points, tracked as the strategy does, their networks well awake."""
    views = (CAMERA, replace(CAMERA, index=1))
    model = strategy.model(rows_at(points, **more), Making(steps=30_000, views=views))
    assert isinstance(model, Trees)
    strategy.begin(model)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for cloud in (model.mids, model.roots):
            cloud["feature"].copy_(torch.randn(cloud["feature"].shape, generator=draw))
    return model


def scattered(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed)) + torch.tensor(
        [-0.5, -0.5, 4.0]
    )


def one_mid(n: int) -> Tensor:
    """Points that are so near each other that they share a mid."""
    along = 0.005 + 0.01 * torch.arange(n)
    return torch.stack([along, torch.zeros(n), torch.full((n,), 4.0)], 1)


def assert_grown_together(model: Trees) -> None:
    """Every link is there, every node has children, all is whole."""
    for cloud in (model.cloud, model.mids, model.roots):
        assert_consistent(cloud)
    for child, parent in ((model.cloud, model.mids), (model.mids, model.roots)):
        link = child["node"].detach()
        assert torch.equal(link.unique(), torch.arange(len(parent), dtype=torch.float32))


def test_trees_begin_as_the_gaussians_they_are_started_from() -> None:
    rows = rows_at(scattered(40))
    model = Forest().model(rows, Making(steps=10, views=(CAMERA,)))
    assert isinstance(model, Trees)
    assert 1 < len(model.roots) < len(model.mids) < 40
    assert_grown_together(model)
    with torch.no_grad():
        model.nets.look_out.zero_()
        model.nets.shape_out.zero_()
        drawn = model(CAMERA)
    assert torch.equal(drawn.means, rows["mean"])
    assert torch.allclose(drawn.scales, rows["log_scale"].exp())
    assert torch.allclose(drawn.opacities, torch.tensor(0.5))
    wanted = (0.5 + SH_C0 * rows["sh"][:, 0]).logit()
    found, mid = drawn.colors.logit(), model.mid_of
    # Of the brightness nothing is lost, of the hue what siblings differ in.
    assert torch.allclose(found.mean(1), wanted.mean(1), atol=1e-5)
    for node in range(len(model.mids)):
        same = mid == node
        assert torch.allclose(found[same].mean(0), wanted[same].mean(0), atol=1e-5)


def test_links_hold_and_no_node_lingers_after_any_edits() -> None:
    """F1 and F2."""
    model, draw = trees_at(scattered(60)), torch.Generator().manual_seed(1)
    for _ in range(200):
        n = len(model.cloud)
        parents = torch.randint(n, (n // 5 + 1,), generator=draw)
        born = model.cloud.rows(parents)
        kind = torch.rand(len(parents), generator=draw)
        born["node"] = born["node"].where(kind < 0.5, OWN_MID).where(kind < 0.8, OWN_ROOT)
        promoted = torch.randperm(n, generator=draw)[: n // 20]
        gone = (torch.rand(n + len(parents), generator=draw) < (0.25 if n > 50 else 0.1)).nonzero()
        edit = Edit(
            assign=(Assign(promoted, {"node": torch.full((len(promoted),), OWN_MID)}, "own"),),
            append=(Append(born, parents, "grow"),),
            drop=(Drop(gone.squeeze(1), "opacity"),),
        )
        assert model.apply(edit).after == len(model.cloud)
        assert_grown_together(model)
    assert len(model.roots) > 5


def test_nodes_keep_their_numbers_and_moments_when_others_go() -> None:
    """F8: with the last leaf of the last mid of a root both go, and links close up."""
    points = torch.cat([one_mid(3) + torch.tensor([9.0 * k, 0, 0]) for k in range(3)])
    model = trees_at(points)
    assert model.mid_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2] and len(model.roots) == 3
    fill_moments(model.mids)
    before = model(CAMERA)
    feature = model.roots["feature"].detach().clone()
    model.apply(Edit(drop=(Drop(torch.tensor([3, 4]), "opacity"),)))
    assert len(model.mids) == 3, "one leaf is left"
    model.apply(Edit(drop=(Drop(torch.tensor([3]), "opacity"),)))
    assert (len(model.mids), len(model.roots)) == (2, 2)
    assert model.mid_of.tolist() == [0, 0, 0, 1, 1, 1] and model.root_of.tolist() == [0, 1]
    assert torch.equal(model.roots["feature"], feature[[0, 2]])
    assert model.mids.moments("feature")[0][:, 0].tolist() == [1, 3]
    left = torch.tensor([0, 1, 2, 6, 7, 8])
    assert torch.equal(model(CAMERA).colors, before.colors[left])


def test_numbers_are_counted_by_hand() -> None:
    """F3: 6 a leaf, 6 + 3 a mid, 16 a root, and two networks of 22 numbers, 32 wide, that
    say 7 and 27."""
    model = trees_at(scattered(40))
    networks = 2 * 23 * 32 + 33 * 7 + 33 * 27
    rows = 6 * 40 + 9 * len(model.mids) + 16 * len(model.roots)
    assert model.numbers() == rows + networks


def test_the_gradient_of_a_node_is_the_sum_of_its_leaves() -> None:
    """F4, against a forest in which every leaf has a mid and a root of its own that are equal."""
    model = trees_at(torch.cat([one_mid(3), one_mid(2) + 9]))
    alone = trees_at(torch.cat([one_mid(3), one_mid(2) + 9]))
    both = torch.arange(5)
    every = {"node": torch.full((5,), OWN_ROOT)}
    alone.apply(Edit(assign=(Assign(both, every, "own"),)))
    assert len(alone.mids) == len(alone.roots) == 5
    weights = torch.rand(5, 13, generator=torch.Generator().manual_seed(0))
    for trees, direction in ((model, None), (alone, model.mid_of)):
        if direction is not None:  # the middle is that of the leaves of a mid: look from there
            middle = model._directions(CAMERA, direction)
            trees._directions = lambda camera, mid, kept=middle[direction]: kept  # type: ignore[method-assign]
        made = trees(CAMERA)
        told = torch.cat([made.quats, made.scales, made.colors, made.means], 1)
        (told * weights).sum().backward()
    for shared, own in ((model.mids, alone.mids), (model.roots, alone.roots)):
        for name in ("feature", "rgb"):
            if name not in shared:
                continue
            wanted = torch.zeros_like(shared[name])
            link = model.mid_of if shared is model.mids else model.root_of[model.mid_of]
            wanted.index_add_(0, link, own.gradient(name)[torch.arange(5)])
            assert float(wanted.abs().max()) > 0
            assert torch.allclose(shared.gradient(name), wanted, rtol=1e-4, atol=1e-6)


def test_a_promoted_leaf_is_drawn_to_the_bit_as_before() -> None:
    """F5: for all that does not look at the middle of the mid, which is the leaf's own then."""
    model = trees_at(scattered(30))
    # Threads of torch would share out products of other numbers of rows in another way.
    with torch.no_grad(), one_torch_thread():
        model.nets.look_out[:, 3:] = 0  # colours of no direction
        before = model(CAMERA)
        some = torch.arange(0, 30, 3)
        node = torch.full((10,), OWN_MID).where(torch.arange(10) % 2 == 0, OWN_ROOT)
        model.apply(Edit(assign=(Assign(some, {"node": node}, "own", "keep"),)))
        after = model(CAMERA)
    assert_grown_together(model)
    for name in ("means", "quats", "scales", "opacities", "colors"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name


def seen_by_gradient(model: Trees, gradient: Tensor, done: int = 600) -> Any:
    step = step_of(model, done, gradient=torch.stack([gradient, 0 * gradient], 1))
    with torch.no_grad():
        GRADIENT.observe(step)
    return step


def test_a_larger_gradient_plants_a_node_higher_up() -> None:
    """F6: thresholds 2, 4 and 8e-4; gradients 3, 5 and 9e-4 of three leaves of one mid."""
    model = trees_at(one_mid(3))
    assert (len(model.mids), len(model.roots)) == (1, 1)
    feature, root = model.mids["feature"].detach().clone(), model.roots["feature"].detach().clone()
    model.order_rows()
    place = model.cloud["mean"].detach()[:, 0].argsort()
    gradient = torch.zeros(3)
    gradient[place] = torch.tensor([3e-4, 5e-4, 9e-4])
    change = refined(GRADIENT, seen_by_gradient(model, gradient))
    assert change.counts == {"append:grow": 3}
    assert (len(model.cloud), len(model.mids), len(model.roots)) == (6, 3, 2)
    assert_grown_together(model)
    assert torch.equal(model.mids["feature"], feature.expand(3, -1))
    assert torch.equal(model.roots["feature"], root.expand(2, -1))
    size = model.cloud["size"].detach()[3:, 0] - math.log(0.01)
    assert change.parents is not None
    by_gradient = gradient[change.parents[3:]].argsort()
    assert size[by_gradient].tolist() == pytest.approx([0, -0.470, -0.470], abs=1e-3)
    assert SHRINK == pytest.approx(math.log(1.6))
    assert model.mid_of[3:][by_gradient][0] == 0
    assert not model.cloud.statistic(window.SCREEN_GRADIENT).any()


@pytest.mark.parametrize("kind", ["budget", "crop", "frozen"])
def test_a_birth_that_is_struck_plants_nothing(kind: str) -> None:
    """F7, and the same of a box and of frozen leaves."""
    strategies: dict[str, Any] = {
        "budget": Budget(GRADIENT, rows=4, curve="constant"),
        "crop": Crop(GRADIENT, low=(-9.0, -9.0, -9.0), high=(9.0, 9.0, 3.0)),
        "frozen": Freeze(GRADIENT, rows="start"),
    }
    model = trees_at(one_mid(3))
    if kind == "frozen":
        model.cloud.hold("kept", torch.ones(3, dtype=torch.bool))
    step = seen_by_gradient(model, torch.full((3,), 9e-4))
    with torch.no_grad():
        edit = (
            strategies[kind].altered(step, strategies[kind].refine(step))
            if kind == "frozen"
            else strategies[kind].refine(step)
        )
        change = model.apply(edit)
    born = 1 if kind == "budget" else 0
    assert change.after == 3 + born
    assert (len(model.mids), len(model.roots)) == (1 + born, 1 + born)
    assert_grown_together(model)


def test_protected_leaves_keep_their_nodes() -> None:
    model = trees_at(torch.cat([one_mid(3), one_mid(3) + 9]), opacity=0.001)
    strategy = Protect(GRADIENT, rule="scale>0.009")
    step = step_of(model, 600)
    with torch.no_grad():
        model.cloud["size"][3:] -= 1
        model.cloud["opacity_logit"][0] = 0  # where all fade, none is pruned
        model.apply(strategy.refine(step))
    assert len(model.cloud) == 3 and (len(model.mids), len(model.roots)) == (1, 1)
    assert_grown_together(model)


def test_births_of_error_by_rank() -> None:
    """Of ten, the five of most error have mids of their own, the one of most a root; parents and
    children lie 1.5 deviations of the longest axis apart, where the parent was between them."""
    strategy = Forest(
        grow_share=1.0, mid_share=0.5, root_share=0.1, opacity_leak=0.0, mid_cell=90.0,
        root_cell=90.0,
    )  # fmt: skip
    model = trees_at(one_mid(10), strategy)
    step = step_of(model, 600, weighted={Error(): 1 + torch.arange(10.0)})
    log_scales, quats = (values.detach().clone() for values in model.shapes())
    with torch.no_grad():
        strategy.observe(step)
    before = model.cloud["mean"].detach().clone()
    change = refined(strategy, step)
    assert change.parents is not None and change.after == 20
    parents = change.parents[10:]
    assert parents.tolist() == list(range(10))
    assert (len(model.mids), len(model.roots)) == (6, 2)
    assert sorted(model.mid_of[10:].tolist()) == [0] * 5 + [1, 2, 3, 4, 5]
    assert (model.mid_of[15:] > 0).all() and model.root_of[model.mid_of[19]] == 1
    after = model.cloud["mean"].detach()
    assert torch.allclose((after[:10] + after[10:]) / 2, before, atol=1e-6)
    apart = (after[10:] - after[:10]).norm(dim=1)
    assert torch.allclose(apart, 1.5 * log_scales.amax(1).exp(), rtol=1e-3)
    assert torch.allclose(model.cloud["opacity_logit"].sigmoid(), torch.tensor(0.35))
    assert torch.isfinite(quats).all()
    assert not model.cloud.statistic(WORST).any() and not model.cloud.statistic(SEEN).any()


def test_an_edit_that_does_not_fit_plants_nothing() -> None:
    model = trees_at(one_mid(3))
    born = model.cloud.rows(torch.tensor([0, 1]))
    for node, parents in ((7.0, [0, 1]), (OWN_MID, [-1, 1]), (-3.0, [0, 1])):
        rows = {**born, "node": torch.full((2,), node)}
        with pytest.raises(ValueError, match=r"hang on mids that are not there; expected 0 to 0"):
            model.apply(Edit(append=(Append(rows, torch.tensor(parents), "grow"),)))
    rows = {**born, "node": torch.full((2,), OWN_ROOT)}
    with pytest.raises(ValueError, match="drop"):
        edit = Edit(append=(Append(rows, torch.tensor([0, 1]), "x"),))
        model.apply(edit + Edit(drop=(Drop(torch.tensor([17]), "opacity"),)))
    assert (len(model.cloud), len(model.mids), len(model.roots)) == (3, 1, 1)


def test_moments_of_bfloat16_leave_links_whole(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["forest"], steps=80, moments="bfloat16")) as job:
        loop.train(job.run)
        model = job.run.model
        assert isinstance(model, Trees)
        assert model.mids.moments("feature")[0].dtype == torch.bfloat16
        for child, parent in ((model.cloud, model.mids), (model.mids, model.roots)):
            link = child["node"].detach()
            assert torch.equal(link.unique(), torch.arange(len(parent), dtype=torch.float32))


def test_baked_leaves_have_the_colours_that_views_see(tiny_folder: Path) -> None:
    with closing(job_of(tiny_folder, METHODS["forest"], steps=60)) as job:
        loop.train(job.run)
        model, views = job.run.model, job.run.views
        plain = model.bake()
        assert plain.sh_degree == 3 and len(plain) == len(model.cloud)
        with torch.no_grad():
            for view in views[:3]:
                wanted = model(view)
                assert torch.equal(plain.means, wanted.means)
                assert torch.equal(plain.scales, wanted.scales)
                one, other = (job.run.shown(each, view).image for each in (plain, wanted))
                assert float((one - other).abs().mean()) < 0.004
            # A tenth of what a set of one colour each is off by.
            flat = model.sketch()
            off = [
                sum(float((job.run.shown(each, v).image - job.run.shown(model(v), v).image).abs()
                          .mean()) for v in views)
                for each in (plain, flat)
            ]  # fmt: skip
            assert off[0] < 0.5 * off[1]


def test_shared_rows_say_what_does_not_fit() -> None:
    model = trees_at(scattered(20))
    table = model.networks()["mids"].module
    assert isinstance(table, Table) and isinstance(model.networks()["mids"], SharedRows)
    state = table.state_dict()
    other = shared_rows(model.roots).module
    with pytest.raises(Broken, match=r"has shared rows of .*expected \['feature'"):
        other.load_state_dict(state)
    with pytest.raises(Broken, match="no count of the steps of rgb"):
        table.load_state_dict({**state, "rgb.count": torch.ones(2)})
    with pytest.raises(Broken, match="of other numbers of rows"):
        table.load_state_dict({**state, "rgb": torch.zeros(3, 3)})
    with torch.no_grad():
        model.cloud["node"][3] = len(model.mids)
    with pytest.raises(Broken, match=r"has leaves that hang on mids 0 to \d+; expected 0 to"):
        model(CAMERA)


def test_heatmaps_know_siblings_cousins_and_levels() -> None:
    """Three leaves share a mid and a root; of two one has a mid, one a root of its own."""
    model = trees_at(torch.cat([one_mid(3), one_mid(2) + 9]))
    own = torch.tensor([OWN_MID, OWN_ROOT])
    model.apply(Edit(assign=(Assign(torch.tensor([1, 4]), {"node": own}, "own"),)))
    found = {name: each.tolist() for name, each in model.traits().items()}
    assert found == {
        "siblings": [2, 1, 2, 1, 1], "cousins": [3, 3, 3, 1, 1], "level": [0, 1, 0, 2, 2],
    }  # fmt: skip
    frame, drawing = Frame((0.0, 0.0, 0.0), 1.0), Drawing()
    source = Unbaked(model, name="", frame=frame, render=NoRenderer(), drawing=drawing)
    names = heatmap_names(source, None)
    assert {"siblings", "cousins", "level", "opacity"} <= {*names}
    rows, sweep = torch.tensor([4, 0]), Sweep(source)
    shown = values("level", source, model.bake(CAMERA), rows, None, sweep)
    assert shown is not None and shown.tolist() == [2, 0]


def test_a_budget_of_bytes_is_one_of_leaves() -> None:
    """Nine bytes each."""
    assert within_budget(Forest(), Options(steps=30, budget="4500B")).cap == 500
    assert within_budget(Forest(), Options(steps=30, budget="700")).cap == 700


def test_gradients_of_the_networks_are_those_of_what_they_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In double, over blocks of which the last is not full; against the formulas of the model."""
    monkeypatch.setattr(networks, "BLOCK", 4)
    draw = torch.Generator().manual_seed(2)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    nets = networks.Networks(5, 6, draw).double()
    mid, rgb, root = some(7, 2), some(7, 3), some(3, 3)
    directions = torch.nn.functional.normalize(some(7, 3), dim=1)
    root_of, mid_of = torch.tensor([0, 2, 1, 2, 2, 0, 1]), torch.tensor([6, 0, 1, 1, 2, 3, 4, 5, 5])
    size, light = some(9, 1), some(9)
    read = torch.cat([mid, root[root_of]], 1)
    shape = (read @ nets.shape_in[:-1] + nets.shape_in[-1]).relu() @ nets.shape_out[:-1]
    look = (read @ nets.look_in[:-1] + nets.look_in[-1]).relu() @ nets.look_out[:-1]
    look = (look + nets.look_out[-1]).view(7, 9, 3)
    turned = torch.cat([torch.ones(7, 1), basis(directions, 2)[:, 1:]], 1)
    wanted = torch.cat([shape + nets.shape_out[-1], rgb + (look * turned[..., None]).sum(1)], 1)
    told = nets.told(mid, rgb, root, root_of, directions)
    assert torch.allclose(told, wanted, atol=1e-12)
    scales, quats, colors = networks.hung(told, mid_of, size, light)
    assert torch.allclose(scales, (size + wanted[mid_of, :3]).exp())
    assert torch.allclose(quats, wanted[mid_of, 3:7] + torch.tensor([1.0, 0, 0, 0]).double())
    assert torch.allclose(colors, (wanted[mid_of, 7:] + light[:, None]).sigmoid())
    weights = [nets.shape_in, nets.shape_out, nets.look_in, nets.look_out]

    def drawn(*given: Tensor) -> Any:
        mid, rgb, root, size, light, *own = given
        found = networks._Told.apply(mid, rgb, root, root_of, turned, *own)  # type: ignore[no-untyped-call]
        return networks.hung(found, mid_of, size, light)

    inputs = [each.detach().clone().requires_grad_() for each in
              (mid, rgb, root, size, light, *weights)]  # fmt: skip
    assert torch.autograd.gradcheck(drawn, inputs)
