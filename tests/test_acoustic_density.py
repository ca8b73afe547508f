"""Audio-guided density control: who is born, who goes, and from which evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import hearing_room
import pytest
import torch
from steps import assert_consistent, fill_moments, streams
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Change, Edit
from splat.strategies.acoustic import points
from splat.strategies.acoustic.audible import Audible, Seen, Settings
from splat.strategies.acoustic.density import (
    CONTRIBUTION,
    GRADIENT,
    USES,
    AudioGuided,
    AudioStep,
    left_out,
)
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.learning import _lengths, fixed

RULE = AudioGuided(every=1, begin_at=0, end_at=100, quantile=0.9, idle=0.05, least_uses=20)


@dataclass
class Rows:
    """Points without anything that listens."""

    cloud: Cloud


def cloud_of(n: int, seed: int = 0) -> Cloud:
    draw = torch.Generator().manual_seed(seed)
    cloud = Cloud()
    cloud.add("mean", torch.randn(n, 3, generator=draw), Rate(0.0))
    cloud.add("normal", torch.randn(n, 3, generator=draw), Rate(0.0))
    cloud.add("mass", torch.rand(n, generator=draw) + 0.5, Rate(0.0))
    cloud.add("guidance", torch.randn(n, 16, generator=draw), Rate(0.03))
    return cloud


def step_of(cloud: Cloud, used: Tensor, gradient: Tensor, contribution: Tensor) -> AudioStep:
    """A step of which measures [b, n] are given."""
    return AudioStep(9, Rows(cloud), used, gradient, contribution, streams(9))


def begun(
    n: int, gradient: Tensor, contribution: Tensor, uses: Tensor, rule: AudioGuided = RULE
) -> tuple[Cloud, AudioStep]:
    """Points whose sums say these means [n] over so many uses [n], heard in 40 listeners' ears."""
    cloud = cloud_of(n)
    model = Rows(cloud)
    rule.begin(model)
    used = (torch.arange(40)[:, None] < uses).float()
    step = step_of(cloud, used, gradient.expand(40, n), contribution.expand(40, n))
    rule.observe(step)
    return cloud, step


def refined(rule: AudioGuided, step: AudioStep) -> tuple[Edit, Change]:
    edit = rule.refine(step)
    assert edit is not None
    with torch.no_grad():
        return edit, step.model.cloud.apply(edit)


def test_the_strongest_are_doubled_and_the_idle_go() -> None:
    n = 100
    gradient = torch.randperm(n, generator=torch.Generator().manual_seed(1)).float()
    contribution = torch.randperm(n, generator=torch.Generator().manual_seed(2)).float() + 1
    cloud, step = begun(n, gradient, contribution, torch.full((n,), 30.0))
    fill_moments(cloud)
    before = cloud.rows(torch.arange(n))
    assert torch.equal(cloud.statistic(USES), torch.full((n,), 30.0))
    torch.testing.assert_close(cloud.statistic(GRADIENT), 30 * gradient)
    edit, change = refined(RULE, step)
    idle = (contribution <= 5).nonzero().squeeze(1)
    assert edit.drop[0].rows.tolist() == idle.tolist(), "5 % of a hundred, the least of all"
    rest = gradient.clone()
    rest[idle] = -1
    line = gradient[rest >= 0].quantile(0.9)
    parents = (rest > line).nonzero().squeeze(1)
    assert edit.append[0].parents.tolist() == parents.tolist() and len(parents) == 10
    assert change.counts == {"append:pulled": 10, "drop:idle": 5} and len(cloud) == 105
    assert_consistent(cloud)
    for name in (GRADIENT, CONTRIBUTION, USES):
        assert not cloud.statistic(name).any(), "a new window begins"
    stay = torch.ones(n, dtype=torch.bool)
    stay[idle] = False
    for name in cloud.names:
        first, second = cloud.moments(name)
        assert not first[-10:].any() and not second[-10:].any(), "newborn rows remember nothing"
        assert first[:95].all() and second[:95].all()
        if name != "mass":
            assert torch.equal(cloud[name][:95], before[name][stay]), "survivors stay as they are"
    for name in ("normal", "guidance"):
        assert torch.equal(cloud[name][-10:], before[name][parents]), "children inherit"
    assert (cloud["mean"][-10:] != before["mean"][parents]).all()
    shared = before["mass"].clone()
    shared[parents] /= 2
    assert torch.equal(cloud["mass"], torch.cat([shared[stay], shared[parents]])), "halves each"


def test_children_lie_half_a_neighbour_away() -> None:
    """On a grid of 0.2 m: N(0, 0.1^2) along each axis, whatever is far away."""
    side = 0.2 * torch.arange(10.0)
    cloud = Cloud()
    cloud.add("mean", torch.cartesian_prod(side, side, side), Rate(0.0))
    cloud.add("mass", torch.ones(1000), Rate(0.0))
    rule = AudioGuided(every=1, begin_at=0, end_at=100, quantile=0, idle=0, least_uses=0)
    rule.begin(Rows(cloud))
    gradient = torch.arange(1000.0)[None]
    step = step_of(cloud, torch.ones(1, 1000), gradient, gradient)
    rule.observe(step)
    edit = rule.refine(step)
    assert edit is not None and len(edit.append[0].parents) == 999, "the least is not above itself"
    parents = edit.append[0].parents
    apart = edit.append[0].rows["mean"] - cloud["mean"].detach()[parents]
    assert float(apart.std()) == pytest.approx(0.1, rel=0.05)
    assert float(apart.mean()) == pytest.approx(0, abs=0.01)
    kurtosis = apart.pow(4).mean() / apart.square().mean().square()
    assert float(kurtosis) == pytest.approx(3, abs=0.3)
    again = rule.refine(step)
    assert again is not None
    assert torch.equal(again.append[0].rows["mean"], edit.append[0].rows["mean"]), "the same draws"


def test_distances_are_exact_far_from_the_origin() -> None:
    cloud = Cloud()
    place = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) + 30
    place[1::2] = place[::2] + torch.tensor([2.0**-8, 0, 0])
    cloud.add("mean", place, Rate(0.0))
    cloud.add("mass", torch.ones(200), Rate(0.0))
    rule = AudioGuided(every=1, begin_at=0, end_at=100, quantile=0, idle=0, least_uses=0)
    rule.begin(Rows(cloud))
    step = step_of(cloud, torch.ones(1, 200), torch.arange(200.0)[None], torch.ones(1, 200))
    rule.observe(step)
    edit = rule.refine(step)
    assert edit is not None
    apart = edit.append[0].rows["mean"] - place[edit.append[0].parents]
    assert float(apart.std()) == pytest.approx(0.5 * 2**-8, rel=0.1)


def test_the_cap_takes_the_strongest() -> None:
    n = 100
    gradient, contribution = torch.arange(n).float(), torch.arange(n).float()
    rule = AudioGuided(
        every=1, begin_at=0, end_at=100, quantile=0.5, idle=0.02, least_uses=20, cap=103
    )
    cloud, step = begun(n, gradient, contribution, torch.full((n,), 25.0), rule)
    edit, _ = refined(rule, step)
    # Two go, so that five fit below 103.
    assert edit.drop[0].rows.tolist() == [0, 1]
    assert edit.append[0].parents.tolist() == [95, 96, 97, 98, 99] and len(cloud) == 103
    full = AudioGuided(every=1, begin_at=0, end_at=100, quantile=0.5, idle=0, least_uses=20, cap=90)
    cloud, step = begun(n, gradient, contribution, torch.full((n,), 25.0), full)
    edit, change = refined(full, step)
    assert len(cloud) == n and not change.counts, (
        "above its cap nothing is born, nothing forced out"
    )


def test_points_that_nobody_used_stay() -> None:
    n = 100
    uses = torch.full((n,), 30.0)
    uses[:50], uses[50:60], uses[60:65] = 0, 19, 20
    contribution = torch.arange(n).float()  # the least are of those that nobody knows
    gradient = torch.arange(n).float().flip(0)  # and so are the strongest
    cloud, step = begun(n, gradient, contribution, uses)
    edit, _ = refined(RULE, step)
    # Of a hundred the five least that are known; nobody else may be judged.
    assert edit.drop[0].rows.tolist() == [60, 61, 62, 63, 64]
    assert (edit.append[0].parents >= 65).all() and len(edit.append[0].parents) == 4
    cloud, step = begun(n, gradient, contribution, torch.zeros(n))
    edit, change = refined(RULE, step)
    assert not change.counts and len(cloud) == n


def test_uses_count_one_listener_each() -> None:
    """Sums are over the listeners among whose points one is, whatever others say of it."""
    cloud = cloud_of(3)
    RULE.begin(Rows(cloud))
    used = torch.tensor([[1.0, 0, 1], [1, 0, 0]])
    gradient = torch.tensor([[2.0, 7, 5], [4, 7, 9]])
    for _ in range(2):
        RULE.observe(step_of(cloud, used, gradient, 10 * gradient))
    assert cloud.statistic(USES).tolist() == [4, 0, 2]
    assert cloud.statistic(GRADIENT).tolist() == [12, 0, 10]
    assert cloud.statistic(CONTRIBUTION).tolist() == [120, 0, 100]


def test_the_order_of_rows_does_not_matter() -> None:
    n = 60
    draw = torch.Generator().manual_seed(4)
    gradient, contribution = torch.rand(n, generator=draw), torch.rand(n, generator=draw)
    uses = torch.randint(10, 40, (n,), generator=draw).float()
    _, step = begun(n, gradient, contribution, uses)
    edit = RULE.refine(step)
    order = torch.randperm(n, generator=draw)
    _, other = begun(n, gradient[order], contribution[order], uses[order])
    there = RULE.refine(other)
    assert edit is not None and there is not None and len(edit.append[0].parents)
    for a, b in ((edit.drop[0].rows, there.drop[0].rows),
                 (edit.append[0].parents, there.append[0].parents)):  # fmt: skip
        assert set(a.tolist()) == set(order[b].tolist())


def test_acts_names_every_edit() -> None:
    planned = AudioGuided(every=500, begin_at=400, end_at=3200, quantile=0.5, least_uses=1)
    rule = planned.scheduled(400)
    assert (rule.every, rule.begin_at, rule.end_at) == (50, 40, 320)
    assert rule.quantile == 0.5 and planned.every == 500, "a strategy is constant"
    told = rule.acts(400)
    assert told == {"duplicate": [50, 100, 150, 200, 250, 300], "remove": told["duplicate"]}
    cloud = cloud_of(50)
    rule.begin(Rows(cloud))
    acted = []
    for number in range(400):
        used = torch.ones(2, len(cloud))
        strength = torch.arange(float(len(cloud))).expand(2, -1)
        step = AudioStep(number, Rows(cloud), used, strength, strength, streams(number))
        rule.observe(step)
        edit = rule.refine(step)
        if edit is not None:
            acted.append(number + 1)
            assert cloud.apply(edit).counts["append:pulled"] > 0
    assert acted == list(told["duplicate"])
    assert all(b - a == 50 for a, b in pairwise(acted))
    assert fixed(rule).acts(400) == {"duplicate": [], "remove": []}
    with pytest.raises(Exception, match="cannot assign"):
        rule.every = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"every": 0}, r"every is 0; expected 1 or more"),
        ({"quantile": 1.5}, r"quantile is 1\.5; expected from 0 to 1"),
        ({"idle": -0.1}, r"idle is -0\.1; expected from 0 to 1"),
        ({"cap": 0}, r"cap is 0; expected 1 or more"),
        ({"jitter": math.nan}, r"jitter is nan; expected 0 or more"),
        ({"least_uses": -1}, r"least_uses is -1; expected 0 or more"),
    ],
)
def test_bad_values_say_what_is_expected(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        AudioGuided(**given)
    assert "\n" not in str(caught.value)


def test_leaving_a_point_out_by_brute_force() -> None:
    draw = torch.Generator().manual_seed(0)
    context = torch.randn(3, 12, 5, generator=draw, dtype=torch.float64)
    weight = torch.rand(3, 12, generator=draw, dtype=torch.float64)
    weight = weight.where(torch.rand(3, 12, generator=draw) < 0.6, 0)
    weight[1] = (weight[1] > 0).double()  # a mean of equals
    weight[2] = 0
    weight[2, 4] = 1  # a listener with a single point
    weight /= weight.sum(1, keepdim=True)
    found = left_out(context, weight)
    for b in range(2):
        whole = weight[b] @ context[b]
        for j in range(12):
            rest = weight[b].clone()
            rest[j] = 0
            expected = ((rest / rest.sum()) @ context[b] - whole).norm()
            assert float(found[b, j]) == pytest.approx(float(expected), abs=1e-12)
    many = int((weight[1] > 0).sum())
    apart = (context[1] - weight[1] @ context[1]).norm(dim=1) / (many - 1)
    torch.testing.assert_close(found[1], apart.where(weight[1] > 0, 0))
    assert not found[2].any(), "there is no mean without it, and nothing to compare"


@pytest.mark.parametrize("adapt", [True, False])
def test_gradients_are_those_of_each_listener_alone(adapt: bool) -> None:
    walls = hearing_room.walls()
    rows = points.born(walls, torch.ones(len(walls)), 80, 1.0)
    settings = Settings("recordings", 8000, 0.25, 1.0, share=0.2, adapt=adapt)
    model = Audible({n: v.double() for n, v in rows.items()}, settings, seed=0, steps=10)
    model.field.double()
    model.maker.double()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        torch.nn.init.normal_(model.field.mixture.weight, std=0.1)
    ears = hearing_room.places(5)
    seen = Seen(lambda at: torch.full((6, 128, 128), torch.inf))
    heard = seen.listening(ears, [hearing_room.SOURCES[0]] * 5, 1.0)
    heard = Listening(*(value.double() for value in vars(heard).values()))
    truth = torch.rand(5, 257, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def losses(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        found = model(heard[rows])
        mixture, difference = model.maker(found.masks)
        apart = (mixture - truth[rows]).square() + (difference - truth[rows]).abs()
        return apart.mean(1), found.guidance, (found.weight > 0).double()

    each, guidance, used = losses(slice(0, 5))
    each.mean().backward()
    lengths = _lengths(guidance, 5)
    if not adapt:
        assert not lengths.any() and model.cloud["guidance"].grad is None
        return
    assert lengths.shape == used.shape == (5, len(model.cloud))
    assert not lengths[used == 0].any() and (lengths[used == 1] > 0).float().mean() > 0.9
    whole = model.cloud["guidance"].grad
    assert whole is not None
    parts = []
    for b in range(5):
        alone, _, _ = losses(slice(b, b + 1))
        (part,) = torch.autograd.grad(alone.sum(), [model.cloud["guidance"]])
        parts.append(part)
        torch.testing.assert_close(lengths[b], part.norm(dim=1), atol=1e-13, rtol=1e-9)
    torch.testing.assert_close(whole, torch.stack(parts).mean(0), atol=1e-13, rtol=1e-9)
