"""3DGS as Markov chain Monte Carlo: its exact invariants, its moments, its schedule."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from steps import assert_consistent, edits_of, fill_moments, model_of, refined, repeated, step_of
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.model import Explicit
from splat.core.objective import OpacityL1, ScaleL1
from splat.core.strategy import Start
from splat.math import covariances
from splat.rules.relocation import (
    MOST_COPIES,
    Relocation,
    copies_logit,
    drawn_rows,
    most_copies,
    shares,
    shrink,
)
from splat.strategies.mcmc import Mcmc

OPACITIES = [0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99]
TABLE = [
    (0.1, 2, 0.9923, 0.9977, 0.0002),
    (0.5, 2, 0.9522, 0.9844, 0.0062),
    (0.5, 5, 0.9249, 0.9758, 0.0097),
    (0.8, 2, 0.8994, 0.9634, 0.0249),
    (0.95, 2, 0.8433, 0.9367, 0.0553),
    (0.99, 2, 0.8067, 0.9170, 0.0798),
    (0.99, 10, 0.6674, 0.8698, 0.144),
    (0.999, 2, 0.7844, 0.9040, 0.0963),
    (0.999, 50, 0.5849, 0.8396, 0.203),
]
"""Opacity, copies, factor of the scales, share of the area's alpha, largest change of alpha."""


def logit(opacity: float | list[float]) -> Tensor:
    return torch.tensor(opacity, dtype=torch.float64).reshape(-1).logit()


def copied(a: float, n: int, relocation: Relocation = "line") -> tuple[float, float]:
    """Opacity and factor of the scales of each of n copies."""
    count = torch.tensor([n])
    child = copies_logit(logit(a), count).sigmoid()
    return float(child), float(shrink(logit(a), count, relocation))


def composite(b: float, factor: float, n: int, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Alpha of n copies at a distance in scales of the parent."""
    return np.asarray(1 - (1 - b * np.exp(-((x / factor) ** 2) / 2)) ** n)


@pytest.mark.parametrize("a", OPACITIES)
@pytest.mark.parametrize("n", [2, 3, 10, 50, 51])
def test_copies_keep_the_peak_and_the_line_integral(a: float, n: int) -> None:
    b, factor = copied(a, n)
    assert 1 - (1 - b) ** n == pytest.approx(a, abs=1e-12)
    x = np.linspace(-12, 12, 4001)
    line = composite(b, factor, n, x).sum() * (x[1] - x[0])
    assert line == pytest.approx(a * math.sqrt(2 * math.pi), abs=1e-9)


@pytest.mark.parametrize("a", OPACITIES)
@pytest.mark.parametrize("n", [2, 10, 51])
def test_the_area_variant_keeps_the_whole_footprint(a: float, n: int) -> None:
    b, factor = copied(a, n, "area")
    assert 1 - (1 - b) ** n == pytest.approx(a, abs=1e-12)
    r = np.linspace(0, 12, 20_001)
    area = (composite(b, factor, n, r) * r).sum() * (r[1] - r[0])
    assert area == pytest.approx(a, rel=1e-6)


@pytest.mark.parametrize(("a", "n", "factor", "mass", "change"), TABLE)
def test_elsewhere_the_picture_changes_as_tabled(
    a: float, n: int, factor: float, mass: float, change: float
) -> None:
    b, found = copied(a, n)
    assert found == pytest.approx(factor, abs=6e-5)
    r = np.linspace(0, 10, 20_001)
    alpha = composite(b, found, n, r)
    assert (alpha * r).sum() * (r[1] - r[0]) / a == pytest.approx(mass, abs=6e-5)
    largest = np.abs(alpha - a * np.exp(-(r**2) / 2)).max()
    assert largest == pytest.approx(change, abs=6e-5 if change < 0.1 else 6e-4)


def test_the_published_double_sum_is_the_same_number() -> None:
    for a, n in ((0.3, 2), (0.9, 7), (0.99, 20)):
        b, factor = copied(a, n)
        double = sum(
            math.comb(i - 1, k) * (-1) ** k * b ** (k + 1) / math.sqrt(k + 1)
            for i in range(1, n + 1)
            for k in range(i)
        )
        assert factor == pytest.approx(a / double, rel=1e-10)


def test_rows_opaque_to_the_last_bit_have_finite_copies() -> None:
    opaque = torch.tensor([20.0, 60.0, 300.0])
    count = torch.tensor([2, 5, 51])
    assert torch.isfinite(copies_logit(opaque, count)).all()
    for relocation in ("line", "area"):
        factor = shrink(opaque, count, relocation)
        assert ((factor > 0.4) & (factor < 0.9)).all()


def test_one_copy_is_the_row_itself() -> None:
    one = torch.ones(len(OPACITIES), dtype=torch.int64)
    assert torch.allclose(copies_logit(logit(OPACITIES), one), logit(OPACITIES), atol=1e-12)
    assert torch.allclose(shrink(logit(OPACITIES), one), torch.ones_like(one).double())


def test_no_row_turns_into_copies_that_are_dead() -> None:
    values = torch.tensor([0.004, 0.0099, 0.0101, 0.02, 0.1, 0.2, 0.9999], dtype=torch.float64)
    most = most_copies(values.logit(), 0.005)
    assert most.tolist() == [0, 1, 2, 4, 21, 44, MOST_COPIES]
    living = values[1:6]
    least = copies_logit(living.logit(), most[1:6]).sigmoid()
    assert (least >= 0.005).all()
    assert (copies_logit(living.logit(), most[1:6] + 1).sigmoid() < 0.005).all()


def test_rows_are_drawn_in_proportion_with_replacement() -> None:
    weights = torch.tensor([0.0, 1, 3, 0, 4, 0])
    rows = drawn_rows(weights, 80_000, torch.Generator().manual_seed(0))
    assert rows is not None
    share = torch.bincount(rows, minlength=6) / len(rows)
    assert torch.allclose(share, weights / 8, atol=0.01)
    assert not share[weights == 0].any()
    assert drawn_rows(torch.zeros(4), 3, torch.Generator()) is None
    assert drawn_rows(torch.zeros(0), 3, torch.Generator()) is None


def test_a_row_is_not_drawn_beyond_what_it_can_share() -> None:
    opacity_logit = torch.tensor([0.02, 0.5]).logit()
    found = shares(
        opacity_logit, torch.zeros(2, 3), 200, torch.Generator().manual_seed(0), 0.005, "line"
    )
    assert found is not None
    assert torch.bincount(found.hosts).tolist() == [3, MOST_COPIES - 1]
    assert (found.opacity_logit.sigmoid() >= 0.005).all()


def half_dead(n: int, **options: Any) -> tuple[Explicit, Tensor]:
    """A model whose every second row is dead, and which those are."""
    draw = torch.Generator().manual_seed(3)
    opacity = torch.rand(n, generator=draw) * 0.8 + 0.1
    opacity[::2] = 0.003
    return model_of(n, opacity, 0.01, **options), torch.arange(0, n, 2)


STILL = Mcmc(noise=0.0, cap=1)
"""Relocation alone: no walk, no growth."""


def test_dead_rows_become_copies_of_living_ones() -> None:
    model, dead = half_dead(60)
    before, old = model.cloud.rows(torch.arange(60)), model.cloud
    change = refined(STILL, step_of(model, 600))
    assert change.after == 60 and change.counts["assign:relocate"] == len(dead)
    assert change.parents is None
    after = old.rows(torch.arange(60))
    hosts = (after["mean"][dead][:, None] == before["mean"][None]).all(2).float().argmax(1)
    assert (hosts % 2 == 1).all()
    for name in ("mean", "quat", "sh"):
        assert torch.equal(after[name][dead], before[name][hosts])
        assert torch.equal(after[name][1::2], before[name][1::2]), "hosts stay in their place"
    for name in ("log_scale", "opacity_logit"):
        assert torch.equal(after[name][dead], after[name][hosts]), "a host is like its copies"
    opacity = after["opacity_logit"].sigmoid()
    assert (opacity > 0.005).all()
    for host in set(hosts.tolist()):
        n = int((hosts == host).sum()) + 1
        peak = 1 - (1 - float(opacity[host])) ** n
        assert peak == pytest.approx(float(before["opacity_logit"][host].sigmoid()), abs=1e-6)
        factor = math.exp(float(after["log_scale"][host, 0] - before["log_scale"][host, 0]))
        assert factor == pytest.approx(copied(peak, n)[1], rel=1e-5)
    untouched = [i for i in range(1, 60, 2) if i not in hosts.tolist()]
    assert untouched
    assert all(torch.equal(after[name][untouched], before[name][untouched]) for name in after)


@pytest.mark.parametrize("recycled", ["keep", "zero"])
def test_hosts_lose_their_moments_and_recycled_rows_keep_theirs(recycled: Any) -> None:
    model, dead = half_dead(60)
    fill_moments(model.cloud)
    opacity = model.cloud["opacity_logit"].detach().clone()
    refined(replace(STILL, recycled_moments=recycled), step_of(model, 600))
    shared = (model.cloud["opacity_logit"].detach() != opacity).nonzero().squeeze(1)
    hosts = [i for i in shared.tolist() if i % 2]
    assert hosts
    for name in model.cloud.names:
        first, second = model.cloud.moments(name)
        for i in range(60):
            lost = i in hosts or (recycled == "zero" and i in dead.tolist())
            assert (first[i] == (0 if lost else i + 1)).all()
            assert (second[i] == (0 if lost else i + 2)).all()


def test_growth_appends_copies_and_shares_the_sources_opacity() -> None:
    model = model_of(100, 0.6, 0.01)
    fill_moments(model.cloud)
    before = model.cloud.rows(torch.arange(100))
    change = refined(Mcmc(noise=0.0, growth=1.2), step_of(model, 600))
    assert change.after == 120 and change.counts["append:grow"] == 20
    assert change.parents is not None
    assert change.parents[:100].tolist() == list(range(100))
    parents = change.parents[100:]
    after = model.cloud.rows(torch.arange(120))
    for name in ("mean", "quat", "sh"):
        assert torch.equal(after[name][100:], before[name][parents])
    assert torch.equal(after["opacity_logit"][100:], after["opacity_logit"][parents])
    count = torch.bincount(parents, minlength=100) + 1
    peak = 1 - (1 - after["opacity_logit"][:100].double().sigmoid()) ** count
    assert torch.allclose(peak, torch.full_like(peak, 0.6), atol=1e-6)
    first, _ = model.cloud.moments("opacity_logit")
    assert torch.equal(first[:100] == 0, count > 1) and not first[100:].any()
    assert_consistent(model.cloud)


def test_growth_sees_the_rows_as_relocation_leaves_them() -> None:
    """Two living rows among dead ones: every copy comes from them, and all peaks compose."""
    opacity = torch.full((40,), 0.001)
    opacity[:2] = 0.9
    model = model_of(40, opacity, 0.01)
    before = model.cloud.rows(torch.arange(40))
    change = refined(Mcmc(noise=0.0, growth=1.5), step_of(model, 600))
    assert change.after == 60
    after = model.cloud.rows(torch.arange(60))
    rows_of = [(after["mean"] == before["mean"][i]).all(1) for i in (0, 1)]
    assert int(rows_of[0].sum() + rows_of[1].sum()) == 60
    for mine in rows_of:
        left = (1 - after["opacity_logit"][mine].double().sigmoid()).prod()
        assert float(1 - left) == pytest.approx(0.9, abs=1e-5)
    assert change.parents is not None and set(change.parents[40:].tolist()) == {0, 1}


def test_rows_never_fall_nor_pass_the_cap() -> None:
    model, mcmc = model_of(200, 0.5, 0.01), Mcmc(cap=420)
    sizes = [200]
    for done in range(600, 4000, 100):
        sizes.append(refined(mcmc, step_of(model, done)).after)
        assert_consistent(model.cloud)
    assert sizes == sorted(sizes) and sizes[-1] == 420
    needed = math.log(420 / 200) / math.log(1.05)
    assert needed <= sizes.index(420) <= needed + 3


def test_one_has_at_least_what_one_starts_with() -> None:
    model = model_of(50, 0.5, 0.01)
    assert refined(Mcmc(cap=20, noise=0.0), step_of(model, 600)).after == 50


@pytest.mark.parametrize("opacity", [0.004, 0.001])
def test_all_dead_is_no_edit(opacity: float) -> None:
    model = model_of(30, opacity)
    assert Mcmc(noise=0.0).refine(step_of(model, 600)) is None
    change = refined(Mcmc(), step_of(model, 600))
    assert not change and change.after == 30


EACH = Mcmc(noise_every=1)
"""Every row walks at every step, as published."""


def test_the_walk_has_the_covariance_of_sigma_squared() -> None:
    n, noise, done = 200_000, 5e5, 1000
    scale = torch.tensor([[0.01, 0.03, 0.002]])
    one = model_of(1, 0.01, scale)
    model = repeated(one, n)
    before = model.cloud["mean"].detach().clone()
    refined(replace(EACH, noise=noise), step_of(model, done - 50))
    moved = (model.cloud["mean"].detach() - before).double()
    rate = 1.6e-4 * (1.6e-6 / 1.6e-4) ** ((done - 51) / 30_000)
    length = noise * rate / (1 + math.exp(100 * (0.01 - 0.005)))
    sigma = covariances(one.cloud["quat"].detach(), scale)[0].double()
    expected = length**2 * sigma @ sigma
    assert torch.allclose(torch.cov(moved.T), expected, atol=0.02 * float(expected.max()))
    assert (moved.mean(0).abs() < 4 * (expected.diagonal() / n).sqrt() + 1e-8).all()


def test_rows_that_take_turns_walk_as_far() -> None:
    model = repeated(model_of(1, 0.01, 0.03), 40_000)
    positions = [model.cloud["mean"].detach().clone()]
    for number in range(4):
        refined(Mcmc(noise_every=4), step_of(model, 1010 + number))
        positions.append(model.cloud["mean"].detach().clone())
    turns = torch.stack([(b != a).any(1) for a, b in itertools.pairwise(positions)])
    assert (turns.sum(0) == 1).all() and (turns.sum(1) == 10_000).all()
    whole = repeated(model_of(1, 0.01, 0.03), 40_000)
    for number in range(4):
        refined(EACH, step_of(whole, 1010 + number))
    spread = [(m.cloud["mean"].detach() - positions[0]).std() for m in (model, whole)]
    assert spread[0] == pytest.approx(float(spread[1]), rel=0.02)


def test_only_nearly_dead_rows_walk() -> None:
    model = model_of(4, torch.tensor([0.9, 0.15, 0.05, 0.003]), 0.05)
    before = model.cloud["mean"].detach().clone()
    change = refined(EACH, step_of(model, 1))
    moved = (model.cloud["mean"].detach() - before).norm(dim=1)
    assert not change and moved[0] == 0 and moved[1] == 0 and moved[2] > 0 < moved[3]


def test_rows_left_in_place_would_have_moved_less_than_a_thousandth_of_their_scale() -> None:
    gate = 1 / (1 + math.exp(100 * (0.1202 - 0.005)))
    assert gate * 5e5 * 1.6e-4 < 1e-3
    model = model_of(2, torch.tensor([0.1202, 0.1198]), 0.9)
    before = model.cloud["mean"].detach().clone()
    refined(EACH, step_of(model, 1))
    moved = (model.cloud["mean"].detach() - before).norm(dim=1)
    assert moved[0] == 0 and moved[1] > 0


def test_the_walk_goes_on_to_the_end_and_keeps_moments_and_statistics() -> None:
    model = model_of(5, 0.01, 0.05)
    fill_moments(model.cloud)
    model.cloud.track("seen")
    model.cloud.statistic("seen").fill_(1)
    before = model.cloud["mean"].detach().clone()
    change = refined(EACH, step_of(model, 29_999))
    assert not change and change.parents is None
    assert (model.cloud["mean"].detach() != before).any(1).all()
    first, _ = model.cloud.moments("mean")
    assert first[:, 0].tolist() == [1, 2, 3, 4, 5] and model.cloud.statistic("seen").all()


def test_draws_depend_on_seed_and_step_only() -> None:
    def means(seed: int, done: int) -> Tensor:
        model, _ = half_dead(40)
        refined(Mcmc(), step_of(model, done, seed=seed))
        return model.cloud["mean"].detach()

    assert torch.equal(means(0, 600), means(0, 600))
    assert not torch.equal(means(0, 600), means(1, 600))
    assert not torch.equal(means(0, 599), means(0, 598))


@pytest.mark.parametrize(
    ("steps", "edits"), [(30_000, range(600, 25_000, 100)), (3000, range(100, 2500, 50))]
)
def test_edits_fall_on_the_published_steps(steps: int, edits: range) -> None:
    mcmc = replace(Mcmc().scheduled(steps), noise=0.0)
    assert mcmc.edit_steps(steps) == list(edits)
    assert edits_of(mcmc, model_of(30), steps) == list(edits)


def test_a_published_schedule_differs_by_the_date_of_the_cap_alone() -> None:
    fitted = Mcmc().scheduled(30_000)
    assert fitted == replace(Mcmc(start_opacity=0.5, start_scale=0.1), full_by=15_200)
    assert fitted.start == Mcmc().start
    # Refinements every 50 steps instead of every 10: five published ones at a time.
    assert Mcmc().scheduled(3000).growth == pytest.approx(1.05**5)
    assert Mcmc(full_by=20_000).scheduled(3000).full_by == 2000
    assert Mcmc().scheduled(3000).full_by == 50 + round(0.6 * 2450)


def sizes_of(mcmc: Mcmc, rows: int, steps: int) -> dict[int, int]:
    """Rows after each edit, if every draw is carried out."""
    sizes = {}
    for done in mcmc.edit_steps(steps):
        rows = max(rows, mcmc.target(rows, done))
        sizes[done] = rows
    return sizes


@pytest.mark.parametrize(
    ("steps", "rows", "cap", "solved"),
    [(3000, 13_711, 1_000_000, False), (7000, 10, 1_000_000, True), (200, 3000, 60_000, True)],
)
def test_the_cap_is_reached_by_sixty_percent_of_growth(
    steps: int, rows: int, cap: int, solved: bool
) -> None:
    mcmc = Mcmc(cap=cap).scheduled(steps)
    sizes = sizes_of(mcmc, rows, steps)
    reached = min(done for done, size in sizes.items() if size == cap)
    assert reached <= mcmc.full_by
    ordered = list(sizes.values())
    factors = [after / before for before, after in itertools.pairwise(ordered)]
    before_cap = factors[: ordered.index(cap) - 1]
    assert all(f == pytest.approx(before_cap[0], rel=0.06) for f in before_cap), "evenly"
    late = mcmc.full_by - mcmc.refine_every < reached
    assert late is solved, "where the published pace is too slow, it is just fast enough"


def test_growth_is_never_slower_than_published() -> None:
    mcmc = Mcmc(cap=60_000).scheduled(30_000)
    sizes = sizes_of(mcmc, 13_711, 30_000)
    expected = 13_711
    for size in sizes.values():
        expected = min(60_000, int(1.05 * expected))
        assert size == expected
    assert Mcmc(cap=10).target(20, 600) <= 20


def test_a_growing_cloud_is_full_in_time() -> None:
    model, mcmc = model_of(100, 0.5, 0.01), Mcmc(cap=1000, noise=0.0).scheduled(3000)
    for done in mcmc.edit_steps(3000):
        refined(mcmc, step_of(model, done))
        if done >= mcmc.full_by:
            break
    assert len(model.cloud) >= 995, "draws that rows could not share are made up for later"
    for done in (1550, 1600, 1650):
        refined(mcmc, step_of(model, done))
    assert len(model.cloud) == 1000


def test_the_regularisers_and_the_start_are_part_of_the_method() -> None:
    assert Mcmc().objectives() == {"opacity": OpacityL1(0.01), "scale": ScaleL1(0.01)}
    assert Mcmc().start == Mcmc().scheduled(30_000).start == Start(opacity=0.5, scale=0.1)
    assert Mcmc().scheduled(7000).start == Start(opacity=0.1, scale=1.0)
    assert Mcmc(start_scale=0.3).scheduled(7000).start == Start(opacity=0.1, scale=0.3)
    step = step_of(model_of(4, 0.5, 0.02))
    losses = [float(objective(step)) for objective in Mcmc().objectives().values()]
    assert losses == pytest.approx([0.005, 0.0002], rel=1e-5)


SIZE = 48


def picture(cloud: Cloud) -> Tensor:
    """Round Gaussians seen from far away, composited densely, in float64."""
    means, scales = cloud["mean"].detach().double(), cloud["log_scale"].detach().double().exp()
    opacity, colors = cloud["opacity_logit"].detach().double().sigmoid(), cloud["sh"].detach()
    axis = torch.linspace(-1, 1, SIZE + 1, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    image = torch.zeros(SIZE + 1, SIZE + 1, 3, dtype=torch.float64)
    left = torch.ones(SIZE + 1, SIZE + 1, 1, dtype=torch.float64)
    for i in torch.argsort(means[:, 2], stable=True).tolist():
        distance = (grid - means[i, :2]).square().sum(-1, keepdim=True)
        alpha = opacity[i] * torch.exp(-distance / (2 * scales[i, 0] ** 2))
        image = image + left * alpha * (colors[i, 0].double() * 0.2 + 0.5)
        left = left * (1 - alpha)
    return image


def relocated(model: Explicit) -> Tensor:
    """What one relocation changes in the picture."""
    before = picture(model.cloud)
    change = refined(STILL, step_of(model, 600))
    assert change.counts["assign:relocate"] > 0
    return picture(model.cloud) - before


def psnr_after_relocation(opacity: float) -> float:
    """Of a scene of twenty rows of this opacity and twenty dead ones."""
    values = torch.full((40,), opacity)
    values[::2] = 1e-4
    model = model_of(40, values, 0.2)
    model.cloud["mean"].data.mul_(0.4)
    return -10 * math.log10(float(relocated(model).square().mean()))


def test_relocation_is_invisible_for_faint_rows_and_visible_for_opaque_ones() -> None:
    values = [psnr_after_relocation(opacity) for opacity in (0.1, 0.5, 0.8, 0.99)]
    assert values[0] > 55 and values == sorted(values, reverse=True)
    assert 25 < values[-1] < 40


@pytest.mark.parametrize(("opacity", "change"), [(0.5, 0.0062), (0.8, 0.0249), (0.99, 0.0798)])
def test_a_picture_of_one_row_changes_as_tabled(opacity: float, change: float) -> None:
    model = model_of(2, torch.tensor([opacity, 1e-6]), 0.3)
    model.cloud["mean"].data.zero_()
    model.cloud["sh"].data.fill_(2.5)
    assert float(relocated(model).abs().max()) == pytest.approx(change, rel=0.02)
