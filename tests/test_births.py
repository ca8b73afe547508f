"""How children are built: moments, opacities, and who they replace; worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from steps import fill_moments, model_of
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Edit
from splat.math import covariances, rotation_matrices
from splat.rules.births import (
    cloned,
    cloned_or_split,
    long_axis_split,
    moment_split,
    split,
)

SCALES = torch.tensor([[0.3, 0.1, 0.05], [0.02, 0.07, 0.069], [0.01, 0.01, 0.4]])
OPACITY = torch.tensor([0.3, 0.9, 0.5])
Birth = Callable[[Cloud, Tensor], Edit]


def applied(birth: Birth, opacity: Tensor = OPACITY) -> tuple[Cloud, dict[str, Tensor], Tensor]:
    """A cloud of three rows after the births of all, the rows before, and parents."""
    model = model_of(len(opacity), opacity, SCALES[: len(opacity)])
    cloud = model.cloud
    before = cloud.rows(torch.arange(len(opacity)))
    with torch.no_grad():
        change = cloud.apply(birth(cloud, torch.arange(len(opacity))))
    assert change.parents is not None
    return cloud, before, change.parents


def local_moments(cloud: Cloud, before: dict[str, Tensor], parents: Tensor) -> Tensor:
    """Second moment [n, 3] of each pair of children along their parent's axes, in its own."""
    axes = rotation_matrices(before["quat"].double())[parents]
    offset = cloud["mean"].detach().double() - before["mean"].double()[parents]
    spread = covariances(
        cloud["quat"].detach().double(), cloud["log_scale"].detach().double().exp()
    )
    moment = spread + offset[:, :, None] * offset[:, None, :]
    along = torch.einsum("nji,njk,nki->ni", axes, moment, axes)
    n = len(before["mean"])
    mean = torch.zeros(n, 3, dtype=torch.float64).index_add_(0, parents, along) / 2
    return mean / before["log_scale"].double().exp().square()


def test_long_axis_children_have_the_tabled_moments() -> None:
    cloud, before, parents = applied(long_axis_split)
    assert parents.tolist() == [0, 1, 2, 0, 1, 2]
    moments = local_moments(cloud, before, parents)
    expected = torch.full((3, 3), 1 - 0.45**2, dtype=torch.float64)
    expected[torch.arange(3), SCALES.argmax(1)] = 0.55**2 + 1.35**2
    assert torch.allclose(moments, expected, atol=1e-5)
    assert (0.55**2 + 1.35**2, 1 - 0.45**2) == pytest.approx((2.125, 0.7975))
    opacity = cloud["opacity_logit"].detach().sigmoid()
    assert torch.allclose(opacity, 0.6 * OPACITY.repeat(2), rtol=1e-5)


def test_long_axis_children_end_where_their_parent_ends() -> None:
    cloud, before, _ = applied(long_axis_split)
    away = (cloud["mean"].detach()[:3] - before["mean"]).norm(dim=1)
    longest = cloud["log_scale"].detach()[:3].exp()[torch.arange(3), SCALES.argmax(1)]
    assert torch.allclose(away + 3 * longest, 3 * SCALES.amax(1), rtol=1e-5)


def test_moment_split_keeps_the_second_moment_of_every_axis() -> None:
    cloud, before, parents = applied(moment_split)
    moments = local_moments(cloud, before, parents)
    assert torch.allclose(moments, torch.ones(3, 3, dtype=torch.float64), atol=1e-5)
    longest = SCALES.argmax(1)
    shrunk = (cloud["log_scale"].detach()[:3] - before["log_scale"]).exp()
    assert torch.allclose(shrunk[torch.arange(3), longest], torch.tensor(math.sqrt(0.5)))
    opacity = cloud["opacity_logit"].detach().double().sigmoid()
    expected = 1 - (1 - OPACITY.double()) ** math.sqrt(0.5)
    assert torch.allclose(opacity, expected.repeat(2), rtol=1e-5)
    assert float(opacity[2]) == pytest.approx(0.387, abs=5e-4)


def test_random_children_spread_in_the_mean_of_many_draws() -> None:
    """1/1.6^2 + 1 = 1.39 along every axis, in the mean of many draws."""
    total = torch.zeros(3, 3, dtype=torch.float64)
    for seed in range(400):
        draw = torch.Generator().manual_seed(seed)
        total += local_moments(*applied(lambda c, p, d=draw: split(c, p, d)))  # type: ignore[misc]
    assert torch.allclose(total / 400, torch.full_like(total, 1 / 1.6**2 + 1), atol=0.25)
    assert float(total.mean()) / 400 == pytest.approx(1.39, abs=0.06)


def test_opaque_and_faint_parents_have_finite_children() -> None:
    for logit in (-30.0, 40.0, 300.0):
        model = model_of(2, 0.5, 0.1)
        with torch.no_grad():
            model.cloud["opacity_logit"].fill_(logit)
            for birth in (long_axis_split, moment_split):
                rows = birth(model.cloud, torch.arange(2)).append[0].rows
                assert all(torch.isfinite(values).all() for values in rows.values())
        if logit > 0:
            assert float(rows["opacity_logit"][0]) > 10, "opaque stays opaque"
            assert float(long_axis_split(model.cloud, torch.arange(1)).append[0].rows[
                "opacity_logit"
            ].sigmoid()[0]) == pytest.approx(0.6)  # fmt: skip


def test_round_rows_split_along_one_axis_only() -> None:
    model = model_of(1, 0.5, 0.1)
    with torch.no_grad():
        rows = long_axis_split(model.cloud, torch.arange(1)).append[0].rows
    shrunk = (rows["log_scale"] - math.log(0.1)).exp()
    assert shrunk[0].sort().values.tolist() == pytest.approx([0.55, 0.893, 0.893], abs=1e-3)


@pytest.mark.parametrize("birth", [long_axis_split, moment_split], ids=["long", "moment"])
def test_splits_replace_only_the_rows_they_are_of(birth: Birth) -> None:
    model = model_of(5, 0.5, 0.02)
    fill_moments(model.cloud)
    before = model.cloud.rows(torch.arange(5))
    with torch.no_grad():
        change = model.cloud.apply(birth(model.cloud, torch.tensor([1, 3])))
    assert change.counts == {"append:split": 4, "drop:split": 2}
    assert change.parents is not None and change.parents.tolist() == [0, 2, 4, 1, 3, 1, 3]
    after = model.cloud.rows(torch.arange(7))
    for name in before:
        assert torch.equal(after[name][:3], before[name][[0, 2, 4]])
    middle = (after["mean"][3:5] + after["mean"][5:]) / 2
    assert torch.allclose(middle, before["mean"][[1, 3]], atol=1e-6), "as far to both sides"
    for name in ("quat", "sh"):
        assert torch.equal(after[name][3:], before[name][[1, 3, 1, 3]])
    first, second = model.cloud.moments("mean")
    assert not first[3:].any() and not second[3:].any() and first[:3].all()


def test_rows_may_come_in_any_order() -> None:
    model, order = model_of(6, 0.5, 0.02), torch.tensor([4, 0, 3])
    with torch.no_grad():
        for birth in (long_axis_split, moment_split):
            one = birth(model.cloud, order).append[0].rows
            other = birth(model.cloud, order.sort().values).append[0].rows
            back = order.argsort()
            for name in one:
                assert torch.equal(one[name][:3][back], other[name][:3])


def test_no_parents_no_children() -> None:
    model, none = model_of(3), torch.zeros(0, dtype=torch.int64)
    draw = torch.Generator().manual_seed(0)
    for edit in (
        cloned(model.cloud, none),
        cloned(model.cloud, none, revised=True),
        split(model.cloud, none, draw),
        long_axis_split(model.cloud, none),
        moment_split(model.cloud, none),
    ):
        with torch.no_grad():
            assert not model.cloud.apply(edit)


def test_small_rows_are_cloned_and_large_ones_split() -> None:
    model = model_of(4)
    grows = torch.tensor([True, True, False, True])
    large = torch.tensor([False, True, True, False])
    edit = cloned_or_split(model.cloud, grows, large, torch.Generator().manual_seed(0), True, True)
    clones, halves = edit.append
    assert (clones.parents.tolist(), halves.parents.tolist()) == ([0, 3], [1, 1])
    assert edit.assign[0].index.tolist() == [0, 3] and edit.drop[0].rows.tolist() == [1]
    for rows in (clones.rows, halves.rows):
        assert torch.allclose(rows["opacity_logit"].sigmoid(), torch.tensor(1 - math.sqrt(0.5)))
