"""Adaptive density control on cases worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import (
    CAMERA,
    assert_consistent,
    edits_of,
    fill_moments,
    model_of,
    refined,
    repeated,
    step_of,
)
from torch import Tensor

from splat.core.edit import Edit
from splat.core.model import Explicit
from splat.math import covariances
from splat.rules.relocation import rotated
from splat.strategies.adc import Adc, mean_screen_gradient

OPACITY = "opacity_logit"


def observed(
    strategy: Adc, model: Explicit, lengths: list[float], done: int = 600, **step: object
) -> None:
    """Begin, and see every row once with a gradient of this length."""
    strategy.begin(model)
    gradient = torch.tensor(lengths)[:, None] * torch.tensor([0.6, 0.8])
    with torch.no_grad():
        strategy.observe(step_of(model, done, gradient=gradient, **step))  # type: ignore[arg-type]


def opacities(model: Explicit) -> Tensor:
    return model.cloud[OPACITY].detach().sigmoid()


def test_exactly_the_predicted_rows_are_cloned_split_and_pruned() -> None:
    scale = torch.tensor([0.009, 0.011, 0.009, 0.011, 0.009, 0.2])
    opacity = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.004, 0.5])
    model, adc = model_of(6, opacity, scale), Adc()
    observed(adc, model, [2.1e-4, 2.1e-4, 1.9e-4, 1.9e-4, 9e-4, 1e-5])
    before = model.cloud.rows(torch.arange(6))
    change = refined(adc, step_of(model, 600))
    assert change.counts == {
        "append:clone": 1,
        "append:split": 2,
        "drop:split": 1,
        "drop:opacity": 1,
    }
    assert change.parents is not None and change.parents.tolist() == [0, 2, 3, 5, 0, 1, 1]
    assert change.after == 6 + 1 + 2 - 1 - 1
    assert_consistent(model.cloud)
    after = model.cloud.rows(torch.arange(7))
    for name in before:
        assert torch.equal(after[name][4], before[name][0]), "a clone equals its parent"
        if name not in ("mean", "log_scale"):
            assert torch.equal(after[name][5:], before[name][[1, 1]]), "a child keeps the rest"
    assert torch.allclose(after["log_scale"][5:].exp(), torch.tensor(0.011 / 1.6))
    assert not torch.allclose(after["mean"][5], after["mean"][6])


def test_thresholds_are_in_scene_extents() -> None:
    model, adc = model_of(2, 0.5, torch.tensor([0.09, 0.11])), Adc()
    observed(adc, model, [1e-3, 1e-3])
    change = refined(adc, step_of(model, 600, extent=10.0))
    assert change.counts == {"append:clone": 1, "append:split": 2, "drop:split": 1}


def test_children_are_drawn_from_the_gaussian_they_replace() -> None:
    n = 50_000
    model, adc = model_of(1, 0.5, torch.tensor([[0.02, 0.05, 0.3]])), Adc(prune_share=10.0)
    mean, quat = model.cloud["mean"].detach()[0], model.cloud["quat"].detach()
    sigma = covariances(quat, model.cloud["log_scale"].detach().exp())[0]
    many = repeated(model, n)
    observed(adc, many, [1e-3] * n)
    refined(adc, step_of(many, 600))
    drawn = many.cloud["mean"].detach().double()
    assert len(drawn) == 2 * n
    error = sigma.diagonal().double().sqrt() / (2 * n) ** 0.5
    assert ((drawn.mean(0) - mean).abs() < 4 * error).all()
    assert torch.allclose(torch.cov(drawn.T).float(), sigma, rtol=0.02, atol=2e-4)


@pytest.mark.parametrize(
    ("steps", "edits", "resets"),
    [
        (30_000, range(600, 15_000, 100), [3000, 6000, 9000, 12_000]),
        (3000, range(100, 1500, 50), [300, 600, 900, 1200]),
    ],
)
def test_edits_fall_on_the_published_steps(steps: int, edits: range, resets: list[int]) -> None:
    adc = Adc().scheduled(steps)
    assert adc.edit_steps(steps) == list(edits)
    assert adc.reset_steps(steps) == resets
    assert edits_of(adc, model_of(3), steps) == sorted({*edits, *resets})


def test_a_published_schedule_is_its_own_fit() -> None:
    assert Adc().scheduled(30_000) == Adc()


def test_no_reset_falls_into_the_last_part_of_a_run() -> None:
    adc = Adc(reset_until=30_000, refine_until=30_000)
    assert adc.scheduled(3000).reset_steps(3000) == [*range(300, 2550, 300)]
    assert adc.scheduled(30_000).reset_steps(30_000) == [*range(3000, 25_500, 3000)]
    assert Adc(reset_every=0).reset_steps(30_000) == []
    assert Adc(white_background=True).reset_steps(4000) == [500, 3000]
    assert Adc(white_background=True).scheduled(3000).reset_steps(400) == [50, 300]


def test_the_mean_is_over_visible_steps_only() -> None:
    model, adc = model_of(3), Adc(grow_gradient=6e-4)
    adc.begin(model)
    with torch.no_grad():
        for i in range(10):
            gradient = torch.tensor([[1e-3, 0], [2e-4, 0], [5e-3, 0]])
            visible = torch.tensor([i == 4, True, False])
            adc.observe(step_of(model, i + 1, gradient=gradient, visible=visible))
    mean = mean_screen_gradient(model.cloud)
    assert torch.allclose(mean, torch.tensor([1e-3, 2e-4, 0.0]))
    change = refined(adc, step_of(model, 600))
    assert change.parents is not None and change.parents.tolist() == [0, 1, 2, 0]


def test_each_refinement_opens_a_new_window_for_all_rows() -> None:
    model, adc = model_of(4), Adc(screen_rule=True)
    observed(adc, model, [1e-3, 1e-5, 1e-5, 1e-5])
    refined(adc, step_of(model, 600))
    assert len(model.cloud) == 5
    for name in model.cloud.statistics:
        assert not model.cloud.statistic(name).any()


def test_gaussians_are_counted_for_the_row_they_come_from() -> None:
    model, adc = model_of(3), Adc(screen_rule=True)
    model.slots = 2
    adc.begin(model)
    source = torch.tensor([5, 0, 1, 4])
    gradient = torch.tensor([[1.0, 0], [2, 0], [0, 4], [3, 4]])
    visible = torch.tensor([True, True, True, False])
    radii = torch.tensor([3.0, 7, 2, 0])
    with torch.no_grad():
        adc.observe(step_of(model, source=source, gradient=gradient, visible=visible, radii=radii))
    cloud = model.cloud
    assert cloud.statistic("screen_gradient").tolist() == pytest.approx([6, 0, 1])
    assert cloud.statistic("views").tolist() == [2, 0, 1]
    assert cloud.statistic("radius_px").tolist() == [7, 0, 3]


def test_identity_and_an_explicit_source_agree() -> None:
    draw = torch.Generator().manual_seed(1)
    gradient = torch.randn(50, 2, generator=draw)
    visible = torch.rand(50, generator=draw) > 0.4
    found = []
    for source in (None, torch.arange(50)):
        model, adc = model_of(50), Adc()
        adc.begin(model)
        with torch.no_grad():
            for done in (1, 2):
                step = step_of(model, done, gradient=gradient, visible=visible, source=source)
                adc.observe(step)
        found.append(mean_screen_gradient(model.cloud))
    assert torch.equal(*found)
    assert torch.allclose(found[0], gradient.norm(dim=1) * visible, rtol=1e-5)


def test_absgrad_reads_the_other_gradient_and_has_its_own_threshold() -> None:
    assert not Adc().needs.absolute_gradient and Adc(absgrad=True).needs.absolute_gradient
    assert (Adc().threshold, Adc(absgrad=True).threshold) == (2e-4, 6e-4)
    assert Adc(absgrad=True, grow_gradient=4e-4).threshold == 4e-4
    signed, absolute = torch.zeros(2, 2), torch.tensor([[5e-4, 5e-4], [3e-4, 3e-4]])
    births = []
    for adc in (Adc(), Adc(absgrad=True)):
        model = model_of(2)
        adc.begin(model)
        with torch.no_grad():
            adc.observe(step_of(model, 600, gradient=signed, absolute=absolute))
        births.append(refined(adc, step_of(model, 600)).parents)
    assert births[0] is None, "opposite pulls cancel"
    assert births[1] is not None and births[1].tolist() == [0, 1, 0]


def test_reset_makes_all_rows_faint_and_forgets_opacity_only() -> None:
    opacity = torch.tensor([0.9, 0.5, 0.008, 0.3])
    model, adc = model_of(4, opacity), Adc()
    fill_moments(model.cloud)
    observed(adc, model, [1e-3, 0, 0, 0], done=2999)
    change = refined(adc, step_of(model, 3000))
    assert change.counts == {"overwrite:reset": 4, "append:clone": 1}
    expected = torch.tensor([0.01, 0.01, 0.008, 0.01, 0.01])
    assert torch.allclose(opacities(model), expected, rtol=1e-5)
    for name in model.cloud.names:
        first, second = model.cloud.moments(name)
        assert not first[4].any() and not second[4].any(), "a newborn has no moments"
        alive = [bool(first[i].any() and second[i].any()) for i in range(4)]
        assert alive == [name != OPACITY] * 4


def test_a_reset_needs_no_refinement() -> None:
    model, adc = model_of(3), Adc(refine_until=400, refine_from=100)
    adc.begin(model)
    change = refined(adc, step_of(model, 3000))
    assert change.counts == {"overwrite:reset": 3} and change.parents is None


def test_oversized_rows_go_only_after_the_first_reset() -> None:
    scale = torch.tensor([0.11, 0.09, 0.17])
    for done, counts in (
        (2900, {"append:split": 2, "drop:split": 1}),
        (3100, {"append:split": 2, "drop:split": 1, "drop:size": 3}),
    ):
        model, adc = model_of(3, 0.5, scale), Adc()
        observed(adc, model, [0, 0, 1e-3])
        assert refined(adc, step_of(model, done)).counts == counts, "children are 0.106 large"
    for adc, sizes in ((Adc(cap=9), 0), (Adc(cap=9, prune_share=0.1), 2), (Adc(prune_share=0), 0)):
        model = model_of(3, 0.5, scale)
        observed(adc, model, [0, 0, 0])
        assert refined(adc, step_of(model, 3100)).counts.get("drop:size", 0) == sizes


def test_floaters_before_the_scene_are_removed_and_do_not_grow() -> None:
    for clear, adc, gone in (
        (0.5, Adc(), [0]),
        (1.5, Adc(), [0, 1]),
        (0.0, Adc(), []),
        (0.5, Adc(prune_before_scene=False), []),
    ):
        model = model_of(5)
        # Depths 0.4, 1 and 3 ahead; 0.4 beside the picture; 0.4 behind.
        local = torch.tensor([[0, 0, 0.4], [0, 0, 1], [0, 0, 3], [9, 0, 0.4], [0, 0, -0.4]])
        pose = CAMERA.world_to_camera
        with torch.no_grad():
            model.cloud["mean"].copy_((local - pose[:3, 3]) @ pose[:3, :3])
        adc.begin(model)
        step = step_of(model, 600, gradient=torch.full((5, 2), 1e-3))
        batch = replace(step.batch, camera=replace(CAMERA, clear_depth=clear))
        with torch.no_grad():
            adc.observe(replace(step, batch=batch))
        change = refined(adc, step)
        assert change.counts.get("drop:before_scene", 0) == len(gone)
        assert change.parents is not None
        assert change.parents.tolist() == [i for i in range(5) if i not in gone] * 2


def test_the_screen_rule_is_a_switch() -> None:
    radii = torch.tensor([25.0, 15.0, 25.0])
    for adc, counts in (
        (Adc(), {}),
        (Adc(screen_rule=True), {"drop:screen": 2}),
        (Adc(screen_rule=True, screen_limit_px=10.0), {"drop:screen": 3}),
        (Adc(split_screen_px=20.0), {"append:split": 4, "drop:split": 2}),
    ):
        model = model_of(4)
        observed(adc, model, [0, 0, 0, 0], radii=torch.cat([radii, torch.ones(1)]))
        assert refined(adc, step_of(model, 3100)).counts == counts


def test_revised_clone_keeps_the_peak_and_the_moments() -> None:
    model, adc = model_of(2, torch.tensor([0.3, 0.95])), Adc(revised_clone=True)
    fill_moments(model.cloud)
    observed(adc, model, [1e-3, 1e-3])
    before = opacities(model)
    refined(adc, step_of(model, 600))
    pair = opacities(model).reshape(2, 2)
    assert torch.equal(pair[0], pair[1])
    assert torch.allclose(1 - (1 - pair[0]) * (1 - pair[1]), before, atol=1e-6)
    first, _ = model.cloud.moments(OPACITY)
    assert first.tolist() == [1, 2, 0, 0]
    plain, adc = model_of(2, torch.tensor([0.3, 0.95])), Adc()
    observed(adc, plain, [1e-3, 1e-3])
    refined(adc, step_of(plain, 600))
    assert torch.allclose(opacities(plain), before.repeat(2))


def test_revised_split_lowers_the_children() -> None:
    model, adc = model_of(1, 0.75, 0.05), Adc(revised_split=True)
    observed(adc, model, [1e-3])
    refined(adc, step_of(model, 600))
    assert torch.allclose(opacities(model), torch.tensor([0.5, 0.5]), atol=1e-6)


def test_newborn_rows_are_pruned_in_the_same_edit() -> None:
    model = model_of(3, torch.tensor([0.006, 0.5, 0.5]))
    adc = Adc(revised_clone=True)
    observed(adc, model, [1e-3, 1e-3, 0])
    change = refined(adc, step_of(model, 600))
    assert change.counts == {"assign:clone": 2, "append:clone": 2, "drop:opacity": 2}
    assert change.parents is not None and change.parents.tolist() == [1, 2, 1]


def test_a_cap_draws_evenly_from_the_rows_above_the_threshold() -> None:
    lengths = [(i * 7 % 10 + 3) * 1e-4 for i in range(10)] + [1e-5] * 5
    times = torch.zeros(15)
    for seed in range(200):
        model, adc = model_of(15, 0.5, torch.tensor([0.005, 0.05, 0.005] * 5)), Adc(cap=19)
        observed(adc, model, lengths)
        change = refined(adc, step_of(model, 600, seed=seed))
        assert change.after == 19 and change.parents is not None
        times += change.parents.bincount(minlength=15) == 2
    assert times[10:].sum() == 0, "rows below the threshold do not grow"
    # 200 draws with chance 0.4: within four standard deviations of 80.
    assert (times[:10] - 80).abs().max() < 4 * (200 * 0.4 * 0.6) ** 0.5


def test_a_capped_cloud_fills_in_equal_parts() -> None:
    model, adc = model_of(40, scale=0.002), Adc(cap=100, full_by=1100)
    adc.begin(model)
    sizes = []
    for done in range(600, 1300, 100):
        with torch.no_grad():
            gradient = torch.full((len(model.cloud), 2), 3e-4)
            adc.observe(step_of(model, done, gradient=gradient))
        sizes.append(refined(adc, step_of(model, done)).after)
    assert sizes == [50, 60, 70, 80, 90, 100, 100]


def test_a_fitted_schedule_fills_the_cap_by_60_percent_of_growth() -> None:
    assert Adc(cap=9).scheduled(30_000).full_by == 500 + 0.6 * 14_500
    assert Adc(cap=9).scheduled(3000).full_by == 50 + 0.6 * 1450
    assert Adc(cap=9, full_by=10_000).scheduled(3000).full_by == 1000
    assert Adc().scheduled(3000).full_by == 0, "no cap, nothing to fill"


def test_a_full_cloud_replaces_only_what_is_pruned() -> None:
    model, adc = model_of(6, torch.tensor([0.5, 0.5, 0.5, 0.001, 0.5, 0.5])), Adc(cap=6)
    observed(adc, model, [1e-3] * 4 + [5e-3, 1e-3])
    change = refined(adc, step_of(model, 600))
    assert change.after == 6 and change.parents is not None
    born = change.parents[5]
    assert change.parents[:5].tolist() == [0, 1, 2, 4, 5] and born != 3
    model, adc = model_of(6), Adc(cap=4)
    observed(adc, model, [1e-3] * 6)
    assert not refined(adc, step_of(model, 600)), "rows one starts with stay"


def test_no_cap_is_ever_passed() -> None:
    model, adc = model_of(40, scale=0.02), Adc(cap=100)
    adc.begin(model)
    sizes = []
    for done in range(600, 2000, 100):
        draw = torch.Generator().manual_seed(done)
        gradient = 3e-4 * torch.randn(len(model.cloud), 2, generator=draw)
        with torch.no_grad():
            adc.observe(step_of(model, done, gradient=gradient))
        sizes.append(refined(adc, step_of(model, done)).after)
        assert_consistent(model.cloud)
    assert sizes == sorted(sizes) and sizes[-1] == 100


def test_the_last_rows_are_not_pruned() -> None:
    model, adc = model_of(3, 0.001), Adc()
    observed(adc, model, [0, 0, 0])
    assert len(model.cloud) == 3 and refined(adc, step_of(model, 600)).after == 3


def test_a_pause_follows_each_reset() -> None:
    adc = Adc(pause_after_reset=250)
    edits = adc.edit_steps(7000)
    assert 3000 in edits and 2900 in edits and 3300 in edits
    assert not {3100, 3200, 6100, 6200} & set(edits)
    model = model_of(2)
    adc.begin(model)
    assert adc.refine(step_of(model, 3100)) is None
    assert adc.refine(step_of(model, 3300)) is not None


def test_after_the_last_edit_nothing_is_observed_or_proposed() -> None:
    model, adc = model_of(2), Adc()
    observed(adc, model, [1e-3, 1e-3], done=15_000)
    assert not model.cloud.statistic("views").any()
    assert adc.refine(step_of(model, 15_000)) is None


def test_draws_depend_on_seed_and_step_only() -> None:
    def children(seed: int) -> Tensor:
        model, adc = model_of(3, 0.5, 0.05), Adc()
        observed(adc, model, [1e-3] * 3)
        refined(adc, step_of(model, 600, seed=seed))
        return model.cloud["mean"].detach()

    assert torch.equal(children(1), children(1))
    assert not torch.equal(children(1), children(2))


def test_row_order_does_not_matter_to_what_is_pruned_and_grown() -> None:
    opacity, lengths = torch.tensor([0.5, 0.001, 0.5, 0.5, 0.002]), [1e-3, 1e-3, 1e-5, 3e-4, 0.0]
    order = [4, 2, 0, 3, 1]
    plain, permuted = model_of(5, opacity), model_of(5, opacity)
    permuted.cloud.reorder(torch.tensor(order))
    for model, values in ((plain, lengths), (permuted, [lengths[i] for i in order])):
        adc = Adc()
        observed(adc, model, values)
        refined(adc, step_of(model, 600))
    means = [
        sorted(map(tuple, model.cloud["mean"].detach().tolist())) for model in (plain, permuted)
    ]
    assert means[0] == means[1]


def test_a_strategy_is_unchanged_by_use_and_edits_do_not_act_by_themselves() -> None:
    model, adc = model_of(3, 0.5, 0.05), Adc()
    observed(adc, model, [1e-3] * 3)
    before = model.cloud.rows(torch.arange(3))
    assert isinstance(adc.refine(step_of(model, 3000)), Edit)
    assert all(torch.equal(before[name], model.cloud[name].detach()) for name in before)
    assert adc == Adc()


def test_vectors_turn_as_covariances_do() -> None:
    draw = torch.Generator().manual_seed(5)
    quats = 3 * torch.randn(20, 4, generator=draw)
    axes = torch.eye(3).expand(20, 3, 3)
    turned = torch.stack([rotated(quats, axes[:, i]) for i in range(3)], 2)
    scales = torch.rand(20, 3, generator=draw) + 0.1
    built = turned * scales[:, None].square() @ turned.transpose(1, 2)
    assert torch.allclose(built, covariances(quats, scales), atol=1e-5)
