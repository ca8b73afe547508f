"""A signed distance learned beside Gaussians: what each learns, and what is pruned."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from splat import api, kernels
from splat.core.edit import Edit
from splat.core.model import Making, TrainedModule
from splat.core.strategy import Fixed
from splat.options import Options
from splat.recipes.recipe import strategy_from_text
from splat.render import renderer_for
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold
from splat.strategies.sdf import Coupling, Field, Sdf, Weights
from splat.strategies.sdf.coupling import NAME, observed
from splat.strategies.sdf.field import finer
from splat.strategies.sdf.rays import met, opaque, rays, sections, weights
from splat.strategies.sdf.refine import refine
from splat.strategies.sdf.sdf import FAINTEST, THRESHOLD
from splat.types import Batch, Camera, Needs

BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
RADIUS = 0.6
"""Of the ball that fields begin as, and the one that is drawn here."""
SIZE = 64
WHOLE = torch.full((SIZE, SIZE), 255, dtype=torch.uint8)
"""An outline that leaves nothing out."""


def camera(x: float, y: float, z: float, size: int = SIZE) -> Camera:
    """Three units away, looking at the origin."""
    away = normalize(torch.tensor([x, y, z]), dim=0)
    right = normalize(torch.linalg.cross(torch.tensor([0.1, 0.2, 1.0]), away), dim=0)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(-away, right), -away])
    pose[2, 3] = 3.0
    K = torch.tensor([[1.5 * size, 0, size / 2], [0, 1.5 * size, size / 2], [0, 0, 1]])
    return Camera(pose, K, size, size)


CAMERAS = [camera(*xyz) for xyz in ((1, 0, 0.3), (-1, 0.2, 0.1), (0, 1, -0.4), (0.2, -1, 0.6))]


def drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def field(seed: int = 0, **settings: Any) -> Field:
    return Field(BOX, generator=drawing(seed), **settings)


def ball(field: Field) -> Field:
    """The field as an exact ball: nothing is learned yet."""
    with torch.no_grad():
        field.second.zero_()
    field.look()
    return field


def shell(count: int = 3000, radius: float = RADIUS) -> dict[str, Tensor]:
    """Columns of flat opaque Gaussians on a sphere."""
    k = torch.arange(count) + 0.5
    z = 1 - 2 * k / count
    turn = math.pi * (3 - 5**0.5) * k
    across = (1 - z * z).sqrt()
    normal = torch.stack([across * turn.cos(), across * turn.sin(), z], 1)
    # The rotation that takes z to the normal: (1 + z, -y, x, 0).
    quat = torch.stack([1 + z, -normal[:, 1], normal[:, 0], torch.zeros(count)], 1)
    spread = radius * (4 * math.pi / count) ** 0.5
    return {
        "mean": radius * normal,
        "quat": normalize(quat, dim=1),
        "log_scale": torch.tensor([spread, spread, 0.1 * spread]).log().expand(count, 3).clone(),
        "opacity_logit": torch.full((count,), 4.0),
        "sh": torch.zeros(count, 1, 3),
    }


def run_of(strategy: Sdf, rows: dict[str, Tensor], box: Any = BOX) -> Any:
    low, high = box
    strategy = replace(strategy, box=(*low, *high))
    model = strategy.model(rows, Making(steps=100))
    strategy.begin(model)
    return strategy, model


def stepped(model: Any, number: int, view: Camera, outline: Tensor | None = None) -> Any:
    """A step of a run, as far as the picture."""
    from splat.core.step import Step

    rendered = renderer_for("cpu")(model(view), view, Needs(depth=True, normal=True))
    pixels = torch.zeros(view.height, view.width, 3, dtype=torch.uint8)
    batch = replace(Batch(view, pixels, name="a"), outline=outline)

    def generator(purpose: str) -> torch.Generator:
        return drawing(number)

    nothing: Any = None
    return Step(number, model, batch, rendered, [view], nothing, generator, 1.0, nothing)


def test_a_field_begins_as_a_ball() -> None:
    found = ball(field())
    points = torch.tensor([[0.6, 0, 0], [0, -1, 0], [0.1, 0.2, 0.2]])
    value, slope = found(points)
    torch.testing.assert_close(value, points.norm(dim=1) - RADIUS)
    torch.testing.assert_close(slope, points / points.norm(dim=1, keepdim=True))


def test_halved_spans_leave_the_function_as_it_was() -> None:
    trained = field().trained(10)
    found: Any = trained.module
    with torch.no_grad():
        found.lines.add_(0.3 * torch.randn(found.lines.shape, generator=drawing(1)))
    points = 2 * torch.rand(500, 3, generator=drawing(2)) - 1
    before = [each.detach() for each in found(points)]
    loss = found(points)[0].sum()
    loss.backward()
    trained.optimize(0, 0.0)
    finer(trained)
    assert found.spans == 64 and found.planes.shape == (3, 66, 66, 16)
    for one, other in zip(found(points), before, strict=True):
        torch.testing.assert_close(one.detach(), other, atol=2e-5, rtol=1e-4)
    # And the optimizer moves the new ones.
    found(points)[0].sum().backward()
    trained.optimize(0, 1.0)
    assert float((found(points)[0] - before[0]).detach().abs().mean()) > 1e-3


def test_a_finer_state_loads_into_a_fresh_field() -> None:
    trained = field().trained(10)
    finer(trained)
    fresh = field(seed=5).trained(10)
    fresh.module.load_state_dict(trained.module.state_dict())
    fresh.optimizer.load_state_dict(trained.optimizer.state_dict())
    points = torch.rand(50, 3)
    assert torch.equal(fresh.module(points)[0], trained.module(points)[0])
    fresh.module(points)[0].sum().backward()
    fresh.optimize(0, 1.0)
    assert not torch.equal(fresh.module(points)[0], trained.module(points)[0])


def test_a_plane_is_opaque_at_its_crossing() -> None:
    # Distances along a ray that falls through a plane at 0.5: all weight is at the crossing.
    ends = torch.linspace(0, 1, 101)[None]
    alpha = opaque(0.5 - ends[:, :-1], 0.5 - ends[:, 1:], torch.tensor(400.0))
    weight, left = weights(alpha)
    middle = 0.5 * (ends[:, 1:] + ends[:, :-1])
    assert float((weight * middle).sum() / weight.sum()) == pytest.approx(0.5, abs=5e-3)
    assert float(weight.sum()) == pytest.approx(1, abs=1e-3) and float(left) < 1e-3


def test_rays_meet_a_ball_where_it_is() -> None:
    found = ball(field())
    with torch.no_grad():
        found.log_sharpness.fill_(math.log(500.0))
    view = CAMERAS[0]
    pixels = torch.arange(SIZE * SIZE)
    through = rays(view, found, pixels)
    draws = drawing(0)
    with torch.no_grad():
        drawn = met(through, found, sections(through, found, 24, draws), torch.zeros(0, 3))
    # Where a ray passes the ball, by Pythagoras.
    along = -(through.direction @ through.origin)
    near = (through.origin.square().sum() - along.square()).clamp_min(0).sqrt()
    inside, beside = near < 0.9 * RADIUS, near > 1.05 * RADIUS
    distance = along - (RADIUS**2 - near.square()).clamp_min(0).sqrt()
    assert float(drawn.opacity[inside].min()) > 0.9 and float(drawn.opacity[beside].max()) < 0.1
    assert float((drawn.distance - distance)[inside].abs().mean()) < 4e-3
    normal = through.at(distance[:, None])[:, 0] / RADIUS
    cosine = (normalize(drawn.normal, dim=1) * normal).sum(1)
    assert float(cosine[inside].min()) > 0.99


def test_what_gaussians_show_of_a_sphere() -> None:
    _, model = run_of(Sdf(), shell())
    step = stepped(model, 0, CAMERAS[0])
    found = ball(field())
    through = rays(CAMERAS[0], found, torch.tensor([SIZE // 2 * SIZE + SIZE // 2, 0]))
    seen = observed(step.batch, step.rendered, through)
    assert seen.solid.tolist() == [True, False] and seen.inside.tolist() == [1, 0]
    assert float(seen.distance[0].detach()) == pytest.approx(3 - RADIUS, abs=0.03)
    assert float((seen.normal[0].detach() * -through.direction[0]).sum()) > 0.98


@pytest.mark.parametrize("joined", [False, True])
def test_each_teaches_the_other_without_learning_from_its_own_lesson(joined: bool) -> None:
    _, model = run_of(Sdf(Fixed()), shell(radius=0.55))
    only = Weights(**dict.fromkeys(vars(Weights()), 0.0))
    columns = [model.cloud[name] for name in ("mean", "quat", "log_scale", "opacity_logit")]
    learned: Any = model.networks()[NAME].module
    learned.look()
    parameters = list(learned.parameters())
    for name in (
        "depth_to_sdf",
        "normal_to_sdf",
        "depth_to_gaussians",
        "normal_to_gaussians",
        "centre_to_gaussians",
    ):
        coupling = Coupling(
            0, 0 if joined else 50, 1, boxed=False, weights=replace(only, **{name: 1.0})
        )
        step = stepped(model, 10, CAMERAS[0], WHOLE)
        loss = coupling(step)
        gaussians = torch.autograd.grad(loss, columns, retain_graph=True, allow_unused=True)
        distance = torch.autograd.grad(loss, parameters, allow_unused=True)
        sizes = [
            sum(float(each.abs().sum()) for each in grads if each is not None)
            for grads in (gaussians, distance)
        ]
        if name.endswith("_to_sdf"):
            assert sizes[0] == 0 and sizes[1] > 0
        else:
            assert sizes[1] == 0 and (sizes[0] > 0) == joined


def test_a_centre_is_pulled_along_the_slope() -> None:
    _, model = run_of(Sdf(Fixed()), shell(radius=0.55))
    ball(model.networks()[NAME].module)
    only = Weights(**dict.fromkeys(vars(Weights()), 0.0))
    coupling = Coupling(
        0, 0, 1, boxed=False, weights=replace(only, centre_to_gaussians=1.0), rays=4096
    )
    coupling(stepped(model, 0, CAMERAS[0], WHOLE)).backward()
    mean = model.cloud["mean"]
    moved = mean.grad.abs().sum(1) > 0
    # The sphere of 0.55 lies inside the ball of 0.6: against the gradient is outward.
    way = normalize(-mean.grad[moved], dim=1)
    outward = normalize(mean.detach()[moved], dim=1)
    assert float((way * outward).sum(1).min()) > 0.999
    assert moved.float().mean() > 0.5


def test_what_has_not_learned_does_not_teach() -> None:
    _, model = run_of(Sdf(Fixed()), shell(radius=0.3))
    learned: Any = ball(model.networks()[NAME].module)
    coupling = Coupling(0, 0, 1, boxed=False)
    step = stepped(model, 0, CAMERAS[0], WHOLE)
    terms = coupling.terms(learned, step.batch, step.rendered, drawing(0), 0)
    assert "mask" in terms and not any(name.endswith("_to_gaussians") for name in terms)


def test_a_field_learns_what_gaussians_show() -> None:
    _, model = run_of(Sdf(Fixed()), shell(radius=0.45))
    trained = model.networks()[NAME]
    found: Any = trained.module
    coupling = Coupling(0, 200, boxed=False)
    with torch.no_grad():
        steps = [stepped(model, 0, batch.camera, batch.outline) for batch in map(looking, range(4))]
    with kernels.one_torch_thread():
        for number in range(200):
            step = replace(steps[number % 4], number=number)
            coupling(step).backward()
            trained.optimize(number, 1.0)
            trained.optimizer.zero_grad(set_to_none=True)
    on = normalize(torch.randn(2000, 3, generator=drawing(3)), dim=1)
    value, slope = (each.detach() for each in found(0.45 * on))
    assert float(value.abs().mean()) < 0.03  # it began 0.15 away
    assert float((normalize(slope, dim=1) * on).sum(1).mean()) > 0.95
    near = on * (0.45 + 0.2 * torch.rand(2000, 1) - 0.1)
    assert (
        float((found(near)[1].detach().norm(dim=1) - 1).abs().mean()) < 0.1
    )  # R4 of the eikonal term


def looking(step: int, radius: float = 0.45) -> Batch:
    """The batch of a step: a camera, and the outline of a ball, without a photo."""
    view = CAMERAS[step % len(CAMERAS)]
    through = rays(view, field(), torch.arange(SIZE * SIZE))
    along = through.direction @ through.origin
    inside = through.origin.square().sum() - along.square() < radius**2
    outline = (255 * inside).to(torch.uint8).view(SIZE, SIZE)
    return Batch(view, torch.zeros(SIZE, SIZE, 3, dtype=torch.uint8), outline=outline)


def test_refining_goes_on_from_where_a_run_ended() -> None:
    found = ball(field())
    with torch.no_grad():
        found.log_sharpness.fill_(math.log(100.0))
    model = Fixed().model(shell(radius=0.57), Making(steps=1))
    seen = [looking(view, 0.57) for view in range(4)]
    refine(
        found, lambda view: model(view), renderer_for("cpu"), lambda step: seen[step % 4],
        steps=150, finest=64, rate=0.3,
    )  # fmt: skip
    assert found.spans == 64
    on = normalize(torch.randn(2000, 3, generator=drawing(3)), dim=1)
    assert float(found(0.57 * on)[0].detach().abs().mean()) < 0.015  # it was 0.03


def planted(count: int, share: float) -> dict[str, Tensor]:
    """A shell of radius 0.6, and a share of rows more that float in free space."""
    rows = shell(count)
    draws = drawing(4)
    floating = 2 * torch.rand(8 * count, 3, generator=draws) - 1
    floating = floating[(floating.norm(dim=1) - RADIUS).abs() > 2 * 0.03 / 1.5][
        : int(share * count)
    ]
    other = {name: values[: len(floating)].clone() for name, values in rows.items()}
    other["mean"] = floating
    return {name: torch.cat([values, other[name]]) for name, values in rows.items()}


def pruning(**settings: Any) -> Sdf:
    return Sdf(Fixed(), learn_from=0, mutual_from=0, prune_from=10, carve=1.0, **settings)


def test_planted_floaters_are_found_and_the_surface_is_spared() -> None:
    rows = planted(3000, 0.05)
    # Some of the surface's own rows lie up to half the threshold away.
    rows["mean"][:3000] *= 1 + (torch.rand(3000, 1, generator=drawing(5)) - 0.5) * (0.02 / RADIUS)
    strategy, model = run_of(pruning(), rows)
    learned: Any = ball(model.networks()[NAME].module)
    step = stepped(model, 9, CAMERAS[0])
    gone = strategy.condemned(step)
    assert gone is not None
    assert float(gone[3000:].float().mean()) >= 0.99
    assert float(gone[:3000].float().mean()) <= 0.005
    change = model.apply(strategy.refine(step))
    assert change.counts["drop:distance"] == int(gone.sum())
    left = learned.value(learned.placed(model.cloud["mean"].detach())) * learned.half_side
    assert float(left.abs().max()) <= THRESHOLD * learned.diagonal  # 0.02 of a box of side 2


def test_the_threshold_is_that_of_the_paper_in_its_box() -> None:
    box = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))
    found = Field(box, generator=drawing(0))
    assert pruning().most(found) == pytest.approx(0.03, rel=1e-5)
    adaptive = pruning(threshold="adaptive")
    # At the adaptive threshold the logistic density is the faintest share of its peak.
    for sharpness in (300.0, 1000.0):
        with torch.no_grad():
            found.log_sharpness.fill_(math.log(sharpness))
        at = adaptive.most(found) / 1.5
        q = math.exp(-sharpness * at)
        assert 4 * q / (1 + q) ** 2 == pytest.approx(FAINTEST, rel=1e-3)
    for sharpness, bound in ((1.0, 0.05), (1e9, 1e-4)):
        with torch.no_grad():
            found.log_sharpness.fill_(math.log(sharpness))
        # 0.05 and 1e-4 in this box.
        assert adaptive.most(found) == pytest.approx(bound, rel=1e-4)


def test_more_than_half_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    strategy = pruning()
    model = strategy.model(shell(), Making(steps=100))
    strategy.begin(model)
    ball(model.networks()[NAME].module)
    with torch.no_grad():
        model.cloud["mean"].add_(10)  # all of them outside of the box
    step = stepped(model, 9, CAMERAS[0], WHOLE)
    with caplog.at_level(logging.WARNING):
        assert strategy.refine(step) is None
    assert "3,000 of 3,000" in caplog.text and "--force" in caplog.text
    forced = replace(strategy, force=True).refine(step)
    assert forced is not None and len(forced.drop[0].rows) == 3000


@pytest.mark.parametrize("given", [False, True])
def test_outside_a_given_box_rows_stay(given: bool) -> None:
    strategy = pruning(threshold_share=1.0)  # which none within the box exceeds
    rows = shell()
    strategy = replace(strategy, box=(-1, -1, -1, 1, 1, 1) if given else None)
    model = strategy.model(rows, Making(steps=100))
    strategy.begin(model)
    ball(model.networks()[NAME].module)
    with torch.no_grad():
        model.cloud["mean"][:100] += 10
    gone = strategy.condemned(stepped(model, 9, CAMERAS[0], WHOLE))
    assert gone is not None and int(gone.sum()) == (0 if given else 100)


def test_an_alpha_channel_that_hides_nothing_is_no_outline_in_a_box() -> None:
    _, model = run_of(Sdf(Fixed()), shell(radius=0.55))
    learned: Any = ball(model.networks()[NAME].module)
    coupling = Coupling(0, 50, 1)
    with_alpha = coupling(stepped(model, 3, CAMERAS[0], WHOLE))
    without = coupling(stepped(model, 3, CAMERAS[0]))
    assert torch.equal(with_alpha, without)
    assert learned.spans == 32


def test_carving_comes_down_to_the_threshold() -> None:
    strategy = Sdf(
        Fixed(), learn_from=0, mutual_from=100, prune_from=1000, prune_every=300, carve=8.0
    )
    assert list(strategy.acts(1500)["prune by distance"]) == [100, 400, 700, 1000, 1300]
    assert [round(strategy._carving(done), 3) for done in (100, 550, 1000, 1300)] == [
        8,
        2.828,
        1,
        1,
    ]
    assert list(replace(strategy, carve=1.0).acts(1500)["prune by distance"]) == [1000, 1300]


def test_a_method_that_moves_rows_moves_what_is_pruned() -> None:
    rows = planted(3000, 0.05)
    base = Mcmc(cap=4000, refine_from=1, refine_until=100, refine_every=1000)
    strategy, model = run_of(replace(pruning(), base=base), rows)
    learned: Any = ball(model.networks()[NAME].module)
    step = stepped(model, 9, CAMERAS[0])
    edit = strategy.refine(step)
    assert isinstance(edit, Edit) and not edit.drop and edit.assign
    model.apply(edit)
    assert len(model.cloud) == 3150
    left = learned.value(learned.placed(model.cloud["mean"].detach()))
    assert float((left.abs() > 0.02).float().mean()) == 0


@pytest.mark.parametrize("base", [Adc(), Mcmc(cap=100), Scaffold()])
def test_it_stands_beside_any_method(base: Any) -> None:
    strategy = Sdf(base, box=(-1, -1, -1, 1, 1, 1)).scheduled(1000)
    model = strategy.model(shell(500), Making(steps=1000, views=CAMERAS))
    strategy.begin(model)
    trained = model.networks()[NAME]
    assert isinstance(trained, TrainedModule) and isinstance(trained.module, Field)
    assert model.surface is not None and model.surface.box == ((-1, -1, -1), (1, 1, 1))
    far = model.surface(torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    assert far[0] > 0 > far[1]
    assert {*base.objectives()} < {*strategy.objectives()} and NAME in strategy.objectives()


def test_the_box_is_fitted_to_the_start_and_given_in_the_scenes_coordinates() -> None:
    from splat.types import Frame

    rows = shell(2000)
    fitted = Sdf(Fixed()).model(rows, Making(steps=1)).surface
    assert fitted is not None
    low, high = (torch.tensor(corner) for corner in fitted.box)
    assert (low < -RADIUS).all() and (high > RADIUS).all() and (high < 1.3 * RADIUS).all()
    frame = Frame((1.0, 2.0, 3.0), 0.5)
    given = Sdf(Fixed(), box=(0, 0, 0, 2, 4, 6)).model(rows, Making(steps=1, frame=frame)).surface
    assert given is not None and given.box == ((-0.5, -1, -1.5), (0.5, 1, 1.5))


def test_without_outlines_or_a_box_there_is_one_sentence() -> None:
    strategy = Sdf(Fixed(), learn_from=0)
    model = strategy.model(shell(), Making(steps=1))
    with pytest.raises(ValueError, match=r"neither a mask nor an alpha channel.*--box"):
        strategy.objectives()[NAME](stepped(model, 0, CAMERAS[0]))


@pytest.mark.parametrize(
    "said, expected",
    [
        ("sdf --box 1 0 0 0 1 1", "low corner"),
        ("sdf --every 0", "every is 0"),
        ("sdf --resolution 100", "resolution is 100"),
        ("sdf --carve 0.5", "carve is 0.5"),
        ("sdf --learn-from 10 --mutual-from 5", "in that order"),
        ("sdf --mask -1", "mask is -1"),
        ("sdf + sdf", "twice"),
    ],
)
def test_bad_settings_are_told(said: str, expected: str) -> None:
    with pytest.raises((ValueError, SystemExit), match=expected):
        strategy_from_text(f"fixed + {said}").model(shell(50), Making(steps=1))


def test_only_the_steps_that_look_ask_for_depth() -> None:
    coupling = Coupling(start=10, join=20, every=3)
    due = [step for step in range(30) if coupling.due(step)]
    assert due == [*range(10, 20), 20, 23, 26, 29]
    assert coupling.needs_at(21) == Needs() and coupling.needs_at(23).normal
    assert [coupling.spans(step) for step in (0, 19)] == [32, 32]
    finest = replace(coupling, finest=128, settle=40)
    assert [finest.spans(step) for step in (20, 29, 30, 100)] == [64, 64, 128, 128]


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run beside which a distance was learned."""
    out = tmp_path_factory.mktemp("runs") / "sdf"
    part = "sdf --box -1.5 -1.5 -0.3 1.5 1.5 1.2 --rays 128 --every 1 --resolution 64"
    recipe = strategy_from_text(f"mcmc --cap 2000 + {part}")
    options = Options(steps=120, max_side=0)
    api.train(api.load(tiny_folder), recipe, options, out=out, lpips=None)
    return out


def test_a_run_tells_its_distance_and_a_mesh_is_made_of_it(
    run: Path, splat: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("skimage", reason="needs scikit-image")
    out = tmp_path / "a.ply"
    found = splat("mesh", run, "-o", out, "--resolution", "48", "--json", "--quiet")
    assert found.code == 0 and "signed distance" in found.said
    refined = tmp_path / "b.ply"
    more = ("--refine", "3", "--resolution", "48", "--json", "--quiet")
    assert splat("mesh", run, "-o", refined, *more).code == 0
    assert out.read_bytes() != refined.read_bytes()
    refused = splat("mesh", run, "-o", tmp_path / "c.ply", "--by", "depth", "--refine", "3")
    assert refused.code != 0 and "leave it out" in refused.said


def test_evaluating_and_exporting_take_a_run_with_a_distance(
    run: Path, splat: Callable[..., Any], tmp_path: Path
) -> None:
    found = splat("eval", run, "--json")
    assert found.code == 0
    exported = splat("export", run, "-o", tmp_path / "a.ply")
    assert exported.code == 0 and "Gaussians" in exported.said
