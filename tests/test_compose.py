"""Several strategies at once, and strategies altered: chains, protection, frozen rows, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS, ends_with_and_without_a_break, job_of
from parts import Asking, Cloner, Killer
from steps import assert_consistent, model_of, refined, step_of
from torch import Tensor

from splat.core.chain import Chain
from splat.core.edit import SPLIT, Append, Change, Drop, Edit, Nudge
from splat.core.model import Explicit
from splat.core.step import Step
from splat.core.strategy import Fixed, Recycler, Strategy, Wrapper, recycler
from splat.formats import rows_within
from splat.loop import Run, train
from splat.options import Options
from splat.recipes.parts import with_row_limit
from splat.runs import checkpoint
from splat.strategies.adc import Adc
from splat.strategies.budget import Budget
from splat.strategies.freeze import Freeze
from splat.strategies.mcmc import Mcmc
from splat.strategies.protect import Protect
from splat.training.row_budget import within_budget
from splat.types import Frame, Needs

ADC, MCMC = METHODS["adc"], METHODS["mcmc"]


def begun(strategy: Strategy, model: Explicit) -> Explicit:
    strategy.begin(model)
    return model


# ---- chains


def test_a_chain_unites_what_its_parts_ask_for() -> None:
    parts = (Cloner(), Asking("a", cap=90), Asking("b", 0.02, cap=70))
    chain = Chain(parts)
    assert chain.needs == Needs(absolute_gradient=True)
    assert chain.start.opacity == 0.3 and chain.cap == 70
    assert {name: vars(term) for name, term in chain.objectives().items()} == {
        "opacity": {"weight": 0.01}, "opacity_3": {"weight": 0.02},
    }  # fmt: skip
    model = begun(chain, model_of(3))
    chain.observe(step_of(model))
    assert model.cloud.statistics == ("a", "b") and model.cloud.statistic("b").sum() == 3
    assert not chain.recycles and not chain.resets
    both = Chain((MCMC, Fixed()))
    assert both.recycles and set(both.acts(200)) == set(MCMC.acts(200))


def test_a_chain_is_fitted_and_limited_part_by_part() -> None:
    chain = Chain((Mcmc(cap=500), Killer()))
    fitted = chain.scheduled(3000)
    assert isinstance(fitted, Chain) and fitted.parts[0] == Mcmc(cap=500).scheduled(3000)
    assert chain.limited(40).cap == 40 and chain.limited(900).cap == 500
    edits = fitted.acts(3000)["move and grow"]
    assert edits == Mcmc().scheduled(3000).edit_steps(3000)


def test_parts_of_a_chain_propose_from_the_same_rows() -> None:
    chain = Chain((Cloner(count=3), Killer((1, 4))))
    model = model_of(6)
    change = refined(chain, step_of(model))
    # The clone of row 1, which dies, is not born.
    assert change.counts == {"append:clone": 2, "drop:kill": 2} and change.after == 6
    assert change.parents is not None and change.parents.tolist() == [0, 2, 3, 5, 0, 2]


def test_a_chain_keeps_its_least_cap_though_each_part_fills_it() -> None:
    model = model_of(6, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    chain = Chain((Cloner(), Asking(cap=8), Cloner()))
    change = refined(begun(chain, model) and chain, step_of(model))
    assert change.after == 8
    assert change.parents is not None and change.parents[6:].tolist() == [4, 5]


def test_parts_of_a_chain_draw_numbers_of_their_own() -> None:
    """I12: and the first draws as it would alone."""

    @dataclass(frozen=True)
    class Shaking(Strategy):
        def refine(self, step: Step) -> Edit | None:
            draw = torch.rand(4, 3, generator=step.generator("shake"))
            return Edit(nudge=(Nudge("mean", draw),))

    step = step_of(model_of(4))
    alone, both = Shaking().refine(step), Chain((Shaking(), Shaking())).refine(step)
    assert alone is not None and both is not None
    first, second = (nudge.delta for nudge in both.nudge)
    assert torch.equal(first, alone.nudge[0].delta) and not torch.equal(first, second)


def test_an_edit_that_does_not_fit_is_refused_with_the_others() -> None:
    bad, model = Killer((0,)), model_of(4)
    broken = Edit(drop=(Drop(torch.tensor([9]), "kill"),))

    @dataclass(frozen=True)
    class Broken(Strategy):
        def refine(self, step: Step) -> Edit | None:
            return broken

    for chain in (Chain((bad, Broken())), Chain((Broken(), bad))):
        with pytest.raises(ValueError, match=r"drop names rows outside 0 \.\. 3"):
            chain.refine(step_of(model))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((Mcmc(), Mcmc()), "mcmc and mcmc both move dead rows"),
        ((Adc(), Mcmc()), "adc makes all rows faint now and then, and mcmc takes faint rows"),
        ((Mcmc(), Protect(Adc())), "protect makes all rows faint"),
        ((Adc(), Adc()), "adc and adc both reset opacity"),
        ((Adc(),), "a chain of 1; expected two strategies or more"),
    ],
)
def test_chains_that_would_fight_are_refused(parts: tuple[Strategy, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Chain(parts)
    Chain((Mcmc(), Adc(reset_every=0)))


def test_two_parts_that_track_one_statistic_are_refused() -> None:
    with pytest.raises(ValueError, match="statistic 'a' has an owner already"):
        Chain((Asking("a"), Asking("a"))).begin(model_of(2))


def test_only_what_moves_rows_recycles() -> None:
    every = torch.ones(4, dtype=torch.bool)
    with pytest.raises(ValueError, match="Adc does not move rows that are as good as dead"):
        recycler(Adc())
    with pytest.raises(ValueError, match="Adc does not move rows"):
        Protect(Adc()).recycle(step_of(model_of(4)), every)
    assert isinstance(recycler(Freeze(Budget(Chain((Fixed(), Mcmc()))))), Recycler)


@pytest.mark.parametrize("wrapped", ["bare", "wrapper", "chain", "protect", "budget", "freeze"])
def test_rows_condemned_by_others_are_recycled_through_every_part(wrapped: str) -> None:
    base = Mcmc(cap=8, noise=0)
    strategy: Recycler = {
        "bare": base,
        "wrapper": Wrapper(base),
        "chain": Chain((Fixed(), base)),
        "protect": Protect(base),
        "budget": Budget(base, rows=8),
        "freeze": Freeze(base, rows="inside", low=(9, 9, 9), high=(10, 10, 10)),
    }[wrapped]
    model = begun(strategy, model_of(8, 0.8))
    change = model.apply(strategy.recycle(step_of(model), torch.arange(8) < 3))
    assert change.counts["assign:relocate"] == 3 and change.after == 8


# ---- protection


def protected(rule: str, *reasons: str, drops: tuple[Drop, ...], **model: Any) -> Change:
    @dataclass(frozen=True)
    class Dropper(Strategy):
        def refine(self, step: Step) -> Edit | None:
            rows = step.model.cloud.rows(torch.tensor([0, 1]))
            return Edit(append=(Append(rows, torch.tensor([0, 1]), "clone"),), drop=drops)

    strategy = Protect(Dropper(), rule=rule, reasons=reasons)
    made = begun(strategy, model_of(4, **model))
    for _ in range(3):
        strategy.observe(step_of(made))
    return refined(strategy, step_of(made, extent=2.0))


OPACITY = torch.tensor([0.9, 0.1, 0.8, 0.2])


@pytest.mark.parametrize(
    ("rule", "reasons", "left"),
    [
        ("opacity>0.5", (), {"drop:split": 1}),
        ("opacity>0.5", ("size",), {"drop:split": 1, "drop:opacity": 1}),
        ("opacity<0.05", (), {"drop:split": 1, "drop:size": 3, "drop:opacity": 1}),
        ("opacity>=0.1 and scale<0.002", (), {"drop:split": 1, "drop:size": 2, "drop:opacity": 1}),
        ("age>=3", (), {"drop:split": 1, "drop:size": 1}),
        ("age>3, opacity>0.5", (), {"drop:split": 1, "drop:size": 3, "drop:opacity": 1}),
    ],
)
def test_rows_that_match_a_rule_are_not_dropped(
    rule: str, reasons: tuple[str, ...], left: dict[str, int]
) -> None:
    """Rows 0 and 1 are cloned, as rows 4 and 5; 0 and 4 are opaque; the scale of 0 is 0.001 of
    the extent; row 1 is dropped as the parent of a split."""
    drops = (
        Drop(torch.tensor([1]), SPLIT),
        Drop(torch.tensor([0, 2, 4]), "size"),
        Drop(torch.tensor([2, 0]), "opacity"),
    )
    scale = torch.tensor([0.002, 0.006, 0.006, 0.006])
    change = protected(rule, *reasons, drops=drops, opacity=OPACITY, scale=scale)
    counts = {what: n for what, n in change.counts.items() if what.startswith("drop")}
    # Rows count for their first reason: 0 and 2 for size where both hold.
    expected = dict(left)
    if left.get("drop:size") == 3:
        expected.pop("drop:opacity")
    if rule.endswith("0.002"):
        expected = {"drop:split": 1, "drop:size": 1}
    if reasons:
        expected = {"drop:split": 1, "drop:opacity": 2}
    assert counts == expected


@pytest.mark.parametrize(
    "rule", ["", "opacity", "opacity>", "size>3", "opacity=0.5", "age>5 or age<3"]
)
def test_rules_that_are_none_are_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="expected opacity, scale or age compared with a number"):
        Protect(rule=rule)


def test_the_drop_of_a_split_cannot_be_struck() -> None:
    with pytest.raises(ValueError, match="a row that is split lives on in its children"):
        Protect(reasons=("size", "split"))


def test_protection_makes_no_room_for_births() -> None:
    """Births that counted on the room of protected rows are left out, at the cap."""

    @dataclass(frozen=True)
    class Full(Strategy):
        cap: int = 4

        def refine(self, step: Step) -> Edit | None:
            rows = torch.tensor([1, 3])
            born = Append(step.model.cloud.rows(rows), rows, "clone")
            return Edit(append=(born,), drop=(Drop(torch.tensor([0, 2]), "size"),))

    model = model_of(4, torch.tensor([0.9, 0.1, 0.3, 0.2]))
    change = refined(Protect(Full()), step_of(model))
    assert change.counts == {"drop:size": 1, "append:clone": 1} and change.after == 4
    assert change.parents is not None and change.parents.tolist() == [0, 1, 3, 3]


def test_lighthouse_veto_on_adc(tiny_folder: Path) -> None:
    """L2 of LighthouseGS: no opaque row dies for its size; faint rows still die."""
    died: dict[bool, dict[str, int]] = {}
    for veto in (False, True):
        base = replace(ADC, prune_share=0.03, reset_every=20, reset_until=0, prune_opacity=0.07)
        strategy = Protect(base, rule="opacity>0.15", reasons=("size",)) if veto else base
        kills = died.setdefault(veto, {})

        def watch(run: Run, step: Step, losses: object, change: Change, kills: Any = kills) -> None:
            for what, n in change.counts.items():
                kills[what] = kills.get(what, 0) + n

        with closing(job_of(tiny_folder, strategy)) as job:
            job.run.steps, job.run.watchers = 90, [watch]
            train(job.run)
    assert 0 < died[True]["drop:size"] < died[False]["drop:size"]
    assert died[True].get("drop:opacity", 0) > 0


# ---- frozen rows

BOX = {"rows": "inside", "low": (-3.0, -3.0, -1.0), "high": (0.2, 3.0, 3.0)}
COMPOSED: dict[str, Strategy] = {
    "mcmc": Freeze(MCMC, **BOX),
    "adc": Freeze(replace(ADC, absgrad=True, grow_gradient=6e-3), **BOX),
    "revised": Freeze(replace(METHODS["adc_revised"]), **BOX),
    "inner": Budget(Protect(Freeze(MCMC, **BOX), rule="age>5"), rows=900, curve="linear",
                    grow_from=10, grow_until=60),
    "outer": Freeze(Budget(Protect(ADC), rows=700, grow_from=10, grow_until=60), **BOX),
    "chain": Freeze(Chain((MCMC, Killer((3, 200, 77)), Cloner(20))), **BOX),
    "killed outside": Chain((Freeze(ADC, **BOX), Killer((3, 200, 77)), Wrapper(Cloner(20)))),
    "outside": Freeze(MCMC, **{**BOX, "rows": "outside"}),
}  # fmt: skip
"""With what stands inside, beside and around the frozen rows."""


@dataclass
class Frozen:
    """Checks after each step that the held rows are as they were at first."""

    known: list[Tensor] = field(default_factory=list)
    edits: int = 0

    def __call__(self, run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        cloud = run.model.cloud
        held = cloud.held
        assert held is not None
        parts = [part for n in cloud.names for part in (cloud[n].detach(), *cloud.moments(n))]
        # Rows may be put in another order; by their position they are told apart.
        order = cloud["mean"].detach()[held][:, 0].argsort(stable=True)
        now = [part[held][order].flatten().view(torch.uint8) for part in parts]
        if not self.known:
            self.known = now
        assert all(torch.equal(a, b) for a, b in zip(self.known, now, strict=True))
        assert not run.strategy.cap or len(cloud) <= run.strategy.cap
        assert_consistent(cloud)
        self.edits += bool(change)


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.parametrize("adam", ["all", "visible"])
def test_frozen_rows_stay_to_the_bit_in_every_composition(
    name: str, adam: str, tiny_folder: Path
) -> None:
    watch = Frozen()
    moments = "bfloat16" if adam == "visible" else "float32"
    with closing(job_of(tiny_folder, COMPOSED[name], adam=adam, moments=moments)) as job:
        run = job.run
        held = run.model.cloud.held
        assert held is not None and 50 < int(held.sum()) < 450, int(held.sum())
        start = run.model.cloud.rows(held.nonzero().squeeze(1))["mean"]
        free = run.model.cloud.rows((~held).nonzero().squeeze(1))["mean"]
        run.steps, run.watchers = 60, [watch]
        train(run)
        cloud, held = run.model.cloud, run.model.cloud.held
        assert held is not None
        assert sorted(cloud["mean"][held][:, 0].tolist()) == sorted(start[:, 0].tolist())
        still = {*map(tuple, cloud["mean"][~held].tolist())} & {*map(tuple, free.tolist())}
        assert len(still) < (1 if adam == "all" else len(free) / 2)
        assert watch.edits >= 3


def test_a_box_is_in_the_coordinates_of_the_scene() -> None:
    model = model_of(4)
    with torch.no_grad():
        model.cloud["mean"].copy_(torch.tensor([[0.0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 2, 0]]))
    model.frame = Frame((10.0, 0.0, 0.0), 0.5)  # rows stand at x = 10, 12, 8 and 10 of the scene
    Freeze(rows="inside", low=(9.0, -1.0, -1.0), high=(12.0, 1.0, 1.0)).begin(model)
    assert model.cloud.statistic("frozen_inside").tolist() == [True, True, False, False]
    Freeze(rows="outside", low=(9.0, -1.0, -1.0), high=(12.0, 1.0, 1.0)).begin(model)
    assert model.cloud.statistic("frozen_outside").tolist() == [False, False, True, True]
    assert bool(model.cloud.held.all())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rows": "inside"}, "holds nothing; expected --low x y z and --high x y z"),
        ({"rows": "inside", "low": (0, 0, 0), "high": (1, 1, 0)}, "holds nothing"),
        ({"high": (1, 1, 1)}, "a box is given, but all rows of the start are frozen"),
    ],
)
def test_boxes_that_are_none_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Freeze(**fields)


def test_a_full_cloud_does_not_pass_its_cap_for_frozen_rows() -> None:
    """ADC counts on the room that faint rows leave; where they are frozen, they do not go."""
    strategy = Freeze(
        Adc(cap=6, refine_from=0, refine_every=1, prune_before_scene=False),
        rows="inside", low=(-9, -9, -9), high=(9, 9, 9),
    )  # fmt: skip
    model = model_of(6, torch.tensor([0.001, 0.001, 0.8, 0.9, 0.7, 0.6]))
    strategy.begin(model)
    model.cloud.statistic("frozen_inside")[2:] = False
    step = step_of(model, 1, gradient=torch.ones(6, 2))
    strategy.observe(step)
    alone = strategy.base.refine(step)
    assert alone is not None and sum(len(a.parents) for a in alone.append) == 2
    change = refined(strategy, step)
    assert change.after == 6 and not change.counts


# ---- budgets


def counts_of(strategy: Strategy, n: int = 40, steps: int = 100) -> list[int]:
    """Rows after each step of a strategy that looks at no picture."""
    model = begun(strategy, model_of(n, 0.8))
    found = []
    for done in range(1, steps + 1):
        refined(strategy, step_of(model, done))
        found.append(len(model.cloud))
    return found


@pytest.mark.parametrize("curve", ["constant", "linear", "parabola", "sqrt"])
def test_a_budget_holds_whatever_the_strategy(curve: Any) -> None:
    """I10; and as long as there are candidates the curve is followed to the row."""
    strategy = Budget(Cloner(), rows=400, curve=curve, grow_from=10, grow_until=90, full=0.75)
    found = counts_of(strategy)
    for done, rows in enumerate(found, 1):
        u = min(max((done - 10) / 60, 0.0), 1.0)
        wanted = {
            "constant": 400, "linear": 40 + 360 * u, "parabola": 40 + 360 * (2 * u - u * u),
            "sqrt": max(40.0, 400 * u**0.5),
        }[curve]  # fmt: skip
        # A cloner at most doubles.
        most = min(int(wanted + 1e-6), 2 * (found[done - 2] if done > 1 else 40))
        assert rows == most
    assert found[-1] == 400


def test_mcmc_follows_a_curve_too() -> None:
    base = Mcmc(refine_from=0, refine_every=10, growth=1.05, noise=0)
    strategy = Budget(base, rows=400, curve="linear", grow_from=0, grow_until=100, full=1.0)
    assert counts_of(strategy)[9::10] == [76, 112, 148, 184, 220, 256, 292, 328, 364, 400]


def test_adc_follows_a_curve_too() -> None:
    base = Adc(refine_from=0, refine_every=10, reset_every=0, prune_before_scene=False)
    strategy = Budget(base, rows=100, curve="linear", grow_from=0, grow_until=100, full=1.0)
    model = begun(strategy, model_of(40, 0.8))
    for done in range(1, 101):
        step = step_of(model, done, gradient=torch.ones(len(model.cloud), 2))
        strategy.observe(step)
        refined(strategy, step)
        if done % 10 == 0:
            assert len(model.cloud) == 40 + 6 * done // 10


def test_a_curve_may_follow_the_size_of_the_pictures() -> None:
    """DashGaussian: S + (B - S) / r^(2 - t/T)."""
    strategy = Budget(Cloner(), rows=1000, curve="resolution", grow_from=0, grow_until=100)
    model = begun(strategy, model_of(40, 0.8))
    for done, shrink, wanted in (
        (1, 8.0, 40 + 960 / 8**1.99),
        (50, 4.0, 40 + 960 / 8.0),
        (60, 1.0, 1000),
    ):
        step = step_of(model, done)
        step = replace(step, batch=replace(step.batch, shrink=shrink))
        assert strategy.target(step) == int(wanted)


def test_a_budget_is_fitted_to_the_run_and_starts_from_the_first_rows() -> None:
    fitted = Budget(Adc(), rows=500).scheduled(3000)
    assert isinstance(fitted, Budget) and (fitted.grow_from, fitted.grow_until) == (50, 1500)
    assert fitted.cap == 500 and fitted.base.cap == 500
    assert Budget(Mcmc(cap=300), rows=500).cap == 300
    model = model_of(40)
    model.apply(Edit(drop=(Drop(torch.arange(10), "size"),)))
    assert model.cloud.began == 40
    again = model_of(30)
    again.cloud.load_state_dict(model.cloud.state_dict())
    assert again.cloud.began == 40


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rows": 0}, "rows is 0; expected 1 or more"),
        ({"full": 0.0}, "full is 0; expected above 0"),
        ({"grow_from": 9, "grow_until": 3}, "grow_until is 3, expected no less than grow_from, 9"),
    ],
)
def test_budgets_that_are_none_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Budget(**fields)


def test_one_dial_for_every_strategy() -> None:
    assert with_row_limit(Mcmc(), 300) == Mcmc(cap=300)
    assert with_row_limit(Mcmc(cap=200), 300) == Mcmc(cap=200)
    assert with_row_limit(Adc(), 300) == Adc(cap=300)
    assert with_row_limit(Protect(Adc()), 300) == Protect(Adc(cap=300))
    assert with_row_limit(Budget(Cloner(), rows=500), 300).cap == 300
    dialled = with_row_limit(Cloner(), 300)
    assert dialled == Budget(Cloner(), rows=300, curve="constant")
    assert counts_of(dialled, steps=5) == [80, 160, 300, 300, 300]
    assert with_row_limit(dialled, 300) == dialled and with_row_limit(dialled, 200).cap == 200


def test_a_budget_of_bytes_is_that_of_the_file(tmp_path: Path) -> None:
    from splat import formats
    from splat.types import Drawing

    for degree in range(4):
        rows = rows_within("20kB", degree)
        gaussians = model_of(rows, sh_degree=degree).bake()
        formats.write(gaussians, tmp_path / "x.ply", None, Drawing(True, 1 / 3))
        assert 20_000 - (56 + 12 * 16) - 60 <= (tmp_path / "x.ply").stat().st_size <= 20_000
    assert rows_within("200k", 3) == 200_000
    # As many as fit however badly they compress.
    assert rows_within("20kB", 3, ".ply") < rows_within("20kB", 3, ".spz") < 20_000 / 20
    options = Options(budget="10kB", budget_of=".spz")
    assert within_budget(Cloner(), options).cap == rows_within("10kB", 3, ".spz")
    with pytest.raises(ValueError, match=r"holds no Gaussian: a \.ply of one has"):
        rows_within("100B", 3)
    with pytest.raises(ValueError, match="is no whole number"):
        Options(budget="much")
    with pytest.raises(ValueError, match="expected at least 1 Gaussian"):
        Options(budget="0")


def test_of_cap_and_budget_the_lower_holds_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "splat")
    assert within_budget(Mcmc(cap=500), Options(budget="300")).cap == 300
    assert within_budget(Mcmc(cap=200), Options(budget="300")).cap == 200
    assert within_budget(Cloner(), Options(budget="10kB", sh_degree=0)).cap == rows_within(
        "10kB", 0
    )
    assert within_budget(Cloner(), Options()) == Cloner()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "budget    at most 300 Gaussians; the method's cap of 500 is higher"
    assert said[1] == "budget    the method's cap of 200 Gaussians holds, it is lower than 300"
    assert said[2].endswith("Gaussians, 10kB of a .ply with 0 bands of harmonics")


# ---- compositions as runs


def trained(folder: Path, strategy: Strategy) -> Run:
    with closing(job_of(folder, strategy)) as job:
        job.run.steps = 60
        train(job.run)
        return job.run


def bits(run: Run) -> list[Tensor]:
    cloud = run.model.cloud
    parts = [part for n in cloud.names for part in (cloud[n].detach(), *cloud.moments(n))]
    return parts + [
        cloud.statistic(name) for name in ("screen_gradient",) if name in cloud.statistics
    ]


@pytest.mark.parametrize("base", ["adc", "mcmc"])
def test_parts_that_change_nothing_leave_the_run_as_it_is(base: str, tiny_folder: Path) -> None:
    """I12: no part takes from the random streams of another."""
    nowhere: Any = {"rows": "inside", "low": (90.0, 90.0, 90.0), "high": (91.0, 91.0, 91.0)}
    plain = METHODS[base]
    alone = bits(trained(tiny_folder, plain))
    for strategy in (
        Wrapper(plain),
        Protect(plain, rule="opacity>2"),
        Freeze(plain, **nowhere),
        Budget(plain, rows=50_000, curve="constant"),
        Chain((plain, Killer())),
    ):
        found = bits(trained(tiny_folder, strategy))
        assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True)), strategy


def test_a_composed_run_resumes_to_the_bit(tiny_folder: Path, tmp_path: Path) -> None:
    one, two = ends_with_and_without_a_break(tiny_folder, tmp_path, COMPOSED["inner"], 33, 60)
    assert one == two
    assert len(checkpoint.rows(checkpoint.load(tmp_path / "end.pt"))["mean"]) > 550
