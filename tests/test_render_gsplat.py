"""Both CUDA renderers against the reference; without a CUDA device only refusals are tested."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import reference
import torch
from torch import Tensor

import splat.render.gsplat
from splat.render.gsplat import GsplatRenderer, load
from splat.render.native import NativeRenderer
from splat.types import Batch, Camera, Gaussians, Needs, Rendered, Renderer

WIDTH, HEIGHT = 61, 45
EVERYTHING = Needs(absolute_gradient=True, depth=True)
BACKGROUND = (0.2, 0.7, 0.4)
SAFE = 1e-3
"""Pixels nearer to a threshold are left out: gsplat is compiled with fast, rough exponentials."""


@pytest.fixture
def cuda() -> torch.device:
    """A CUDA device with gsplat, or the test is skipped."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    pytest.importorskip("gsplat")
    return torch.device("cuda")


Make = Callable[..., Renderer]


@pytest.fixture(params=["gsplat", "ours"])
def make(request: pytest.FixtureRequest) -> Make:
    """A renderer of a CUDA device, antialiased or not."""
    if request.param == "gsplat":
        return GsplatRenderer

    def ours(device: torch.device, antialiased: bool = False) -> Renderer:
        return NativeRenderer(device, antialiased=antialiased)

    return ours


def scene(n: int = 300, f: int = 2) -> tuple[Gaussians, Camera]:
    """Float32 leaves around the origin, with features; a turned camera 3 units before them."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    pose = torch.eye(4)
    pose[:3, :3] = reference.rotations(torch.tensor([[1.0, 0.1, -0.2, 0.15]]))[0]
    pose[:3, 3] = torch.tensor([0.1, -0.2, 3.0])
    K = torch.tensor([[55.0, 0, 28], [0, 52, 24], [0, 0, 1]])
    gaussians = Gaussians(
        means=normal(n, 3),
        quats=normal(n, 4),
        scales=(0.5 * normal(n, 3) - 2.3).exp(),
        opacities=(1.5 * normal(n)).sigmoid(),
        colors=0.4 * normal(n, 16, 3),
        sh_degree=3,
        features=normal(n, f) if f else None,
    )
    return gaussians, Camera(pose, K, WIDTH, HEIGHT)


def leaves(gaussians: Gaussians, device: torch.device, dtype: torch.dtype) -> Gaussians:
    tensors = {f.name: getattr(gaussians, f.name) for f in fields(gaussians)}
    changed = {
        name: value.detach().to(device, dtype).requires_grad_()
        for name, value in tensors.items()
        if isinstance(value, Tensor)
    }
    return replace(gaussians, **changed)


def expected(gaussians: Gaussians, camera: Camera, antialiased: bool) -> dict[str, Tensor]:
    g, K = gaussians, camera.K.tolist()
    return reference.render(
        *(g.means, g.quats, g.scales, g.opacities, g.colors, g.sh_degree),
        camera.world_to_camera,
        *(K[0][0], K[1][1], K[0][2], K[1][2], camera.width, camera.height),
        background=torch.tensor(BACKGROUND, dtype=g.means.dtype),
        features=g.features,
        antialiased=antialiased,
    )


def loss(image: Tensor, alpha: Tensor, depth: Tensor, features: Tensor, safe: Tensor) -> Tensor:
    channels = torch.cat([image, alpha[..., None], depth[..., None], features], -1)
    waves = torch.linspace(0, 9, channels.numel(), dtype=image.dtype, device=image.device).sin()
    return (channels * waves.view_as(channels) * safe.to(image.device)[..., None]).sum()


def assert_near(found: Tensor, wanted: Tensor, part: float) -> None:
    """Largest difference, as a part of the largest value."""
    wanted = wanted.detach()
    difference = (found.detach().cpu().double() - wanted).abs().max()
    assert difference <= part * wanted.abs().max().clamp(min=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("antialiased", [False, True])
def test_picture_and_gradients_equal_the_reference(
    cuda: torch.device, make: Make, antialiased: bool
) -> None:
    gaussians, camera = scene()
    exact = leaves(gaussians, torch.device("cpu"), torch.float64)
    exact_pose = camera.world_to_camera.double().requires_grad_()
    wanted = expected(exact, replace(camera, world_to_camera=exact_pose), antialiased)
    wanted_depth = wanted["depth"] / wanted["alpha"].clamp(min=1e-10)
    safe = wanted["margin"] > SAFE
    assert safe.double().mean() > 0.9
    loss(wanted["image"], wanted["alpha"], wanted_depth, wanted["features"], safe).backward()

    given = leaves(gaussians, cuda, torch.float32)
    pose = camera.world_to_camera.to(cuda).requires_grad_()
    render = make(cuda, antialiased)
    background = torch.tensor(BACKGROUND, device=cuda)
    found = render(given, replace(camera, world_to_camera=pose), EVERYTHING, background)
    assert found.depth is not None and found.features is not None
    loss(found.image, found.alpha, found.depth, found.features, safe).backward()

    assert_near(found.image.cpu()[safe], wanted["image"][safe], 1e-3)
    assert_near(found.alpha.cpu()[safe], wanted["alpha"][safe], 1e-3)
    assert_near(found.depth.cpu()[safe], wanted_depth[safe], 1e-3)
    assert_near(found.features.cpu()[safe], wanted["features"][safe], 1e-3)
    assert (found.radii.cpu() - wanted["radii"]).abs().max() <= 1
    assert (found.visible.cpu() == (wanted["radii"] > 0)).double().mean() > 0.99
    for name in ("means", "quats", "scales", "opacities", "colors", "features"):
        assert_near(getattr(given, name).grad, getattr(exact, name).grad, 5e-3)
    assert_near(turn(pose), turn(exact_pose), 5e-3)
    assert_near(pose.grad[:3, 3], exact_pose.grad[:3, 3], 5e-3)
    half = torch.tensor([WIDTH / 2, HEIGHT / 2]).double()
    assert_near(found.screen_gradient(), wanted["means2d"].grad * half, 5e-3)
    assert_near(found.screen_gradient(True), reference.absolute_gradient(wanted) * half, 5e-3)


def turn(pose: Tensor) -> Tensor:
    """Gradient along rotations alone: off them, the two formulas for the centre differ."""
    along = pose.grad[:3, :3] @ pose.detach()[:3, :3].T
    return along - along.T


@pytest.mark.gpu
def test_features_do_not_change_the_picture(cuda: torch.device, make: Make) -> None:
    gaussians, camera = scene(f=60)
    given = leaves(replace(gaussians, sh_degree=2), cuda, torch.float32)
    plain = replace(given, features=None)
    render = make(cuda)
    pictures = [render(g, camera, EVERYTHING) for g in (given, plain)]
    torch.testing.assert_close(pictures[0].image, pictures[1].image, atol=1e-5, rtol=0)
    assert pictures[1].features is None
    for picture in pictures:
        picture.image.square().sum().backward()
    for absolute in (False, True):
        assert_near(
            pictures[0].screen_gradient(absolute),
            pictures[1].screen_gradient(absolute).cpu().double(),
            1e-3,
        )


@pytest.mark.gpu
def test_bands_out_of_use_are_not_read(cuda: torch.device, make: Make) -> None:
    gaussians, camera = scene(f=0)
    given = leaves(replace(gaussians, sh_degree=1), cuda, torch.float32)
    changed = given.colors.detach().clone()
    changed[:, 4:] = 1e6
    render = make(cuda)
    assert render(given, camera).image.equal(render(replace(given, colors=changed), camera).image)


@pytest.mark.gpu
@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_see(cuda: torch.device, make: Make, n: int) -> None:
    gaussians, camera = scene(n)
    given = leaves(replace(gaussians, means=gaussians.means - 99), cuda, torch.float32)
    background = torch.tensor(BACKGROUND, device=cuda)
    found = make(cuda)(given, camera, EVERYTHING, background)
    assert (found.image == background).all()
    assert found.depth is not None and found.features is not None
    assert found.alpha.max() == found.depth.max() == found.features.max() == 0
    assert found.visible.shape == found.radii.shape == (n,) and not found.visible.any()
    found.image.sum().backward()
    assert found.screen_gradient().shape == (n, 2)


@pytest.mark.gpu
def test_without_gradients(cuda: torch.device, make: Make) -> None:
    gaussians, camera = scene()
    found: Rendered = make(cuda)(leaves(gaussians, cuda, torch.float32), camera)
    assert found.depth is None
    with torch.no_grad():
        again = make(cuda)(leaves(gaussians, cuda, torch.float32), camera)
    assert again.image.equal(found.image)
    with pytest.raises(RuntimeError, match="no screen gradient yet"):
        again.screen_gradient()


@pytest.mark.gpu
@pytest.mark.parametrize("antialiased", [False, True])
def test_equals_the_cpu_renderer(cuda: torch.device, make: Make, antialiased: bool) -> None:
    gaussians, camera = scene()
    exact = leaves(gaussians, torch.device("cpu"), torch.float64)
    safe = expected(exact, replace(camera, world_to_camera=camera.world_to_camera.double()),
                    antialiased)["margin"] > SAFE  # fmt: skip
    ours = NativeRenderer(antialiased=antialiased)(gaussians, camera, EVERYTHING)
    given = leaves(gaussians, cuda, torch.float32)
    found = make(cuda, antialiased)(given, camera, EVERYTHING)
    for name in ("image", "alpha", "depth", "features"):
        assert_near(getattr(found, name).cpu()[safe], getattr(ours, name)[safe].double(), 1e-3)
    assert (found.radii.cpu() - ours.radii).abs().max() <= 1


class Wave:
    """A map of both signs; the number shifts it."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, rendered: Rendered, batch: Batch) -> Tensor:
        alpha = rendered.alpha
        waves = torch.linspace(0, 9, alpha.numel(), device=alpha.device)
        return (waves + self.number).sin().view_as(alpha)


WAVES = (Wave(0), Wave(2))


def waves(rendered: Rendered) -> Tensor:
    batch = Batch(scene()[1], torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    return torch.stack([wave(rendered, batch) for wave in WAVES], -1)


@pytest.mark.gpu
@pytest.mark.parametrize("most_pairs", [1 << 26, 1 << 14])
@pytest.mark.parametrize("antialiased", [False, True])
def test_a_survey_equals_brute_force(
    cuda: torch.device,
    make: Make,
    antialiased: bool,
    most_pairs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one go, and in bands of one row of tiles; pixels too close to call move hits by one."""
    monkeypatch.setattr(splat.render.gsplat, "_MOST_PAIRS", most_pairs)
    gaussians, camera = scene(f=0)
    exact = leaves(gaussians, torch.device("cpu"), torch.float64)
    wanted = expected(
        exact, replace(camera, world_to_camera=camera.world_to_camera.double()), antialiased
    )
    unsafe = int((wanted["margin"] <= SAFE).sum())
    background = torch.tensor(BACKGROUND)
    given = leaves(gaussians, cuda, torch.float32)
    render = make(cuda, antialiased)
    rendered, found = render.survey(given, camera, background.to(cuda), waves)
    assert rendered.gaussians is given and not rendered.image.requires_grad
    truth = reference.contributions(wanted, background.double(), waves(rendered).cpu().double())
    for name in ("hits", "area"):
        assert (getattr(found, name).cpu() - truth[name]).abs().sum() <= 4 * unsafe + 10
    for name in ("mass", "transmitted", "most", "squared", "weighted"):
        assert_near(getattr(found, name), truth[name], 2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("features", [0, 2])
@pytest.mark.parametrize("needs", [Needs(), EVERYTHING])
def test_weighted_sums_ride_in_the_training_pass(
    cuda: torch.device, make: Make, features: int, needs: Needs
) -> None:
    gaussians, camera = scene(f=features)
    background = torch.tensor(BACKGROUND, device=cuda)
    batch = Batch(camera, torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8))
    render = make(cuda)
    plain, weighed = (leaves(gaussians, cuda, torch.float32) for _ in range(2))
    alone = render(plain, camera, needs, background)
    found = render(weighed, camera, replace(needs, weights=WAVES), background)
    torch.testing.assert_close(found.image, alone.image, atol=1e-5, rtol=0)
    assert (found.features is None) == (not features)
    found.weigh(WAVES, batch)
    for picture in (alone, found):
        loss = picture.image.square().sum()
        (loss if picture.depth is None else loss + picture.depth.mean()).backward()
    for name in ("means", "quats", "scales", "opacities", "colors"):
        assert_near(getattr(weighed, name).grad, getattr(plain, name).grad.cpu().double(), 1e-3)
    for absolute in (False, True) if needs.absolute_gradient else (False,):
        assert_near(
            found.screen_gradient(absolute), alone.screen_gradient(absolute).cpu().double(), 1e-3
        )
    _, surveyed = render.survey(weighed, camera, background, waves)
    for k, wave in enumerate(WAVES):
        assert_near(found.weighted(wave), surveyed.weighted[:, k].cpu().double(), 1e-3)


@pytest.mark.gpu
def test_a_survey_of_nothing(cuda: torch.device, make: Make) -> None:
    gaussians, camera = scene(0, f=0)
    render = make(cuda)
    rendered, found = render.survey(leaves(gaussians, cuda, torch.float32), camera, None, waves)
    assert (rendered.image == 0).all() and found.weighted.shape == (0, 2)
    far = replace(scene(5, f=0)[0], means=scene(5, f=0)[0].means - 99)
    _, found = render.survey(leaves(far, cuda, torch.float32), camera)
    assert found.mass.tolist() == [0] * 5 and found.weighted.shape == (5, 0)


def test_missing_gsplat_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(ValueError, match=r"needs gsplat.*pip install 'splat-toolkit\[cuda\]'"):
        load()


def test_a_cpu_device_is_refused() -> None:
    with pytest.raises(ValueError, match="was given 'cpu': use NativeRenderer"):
        GsplatRenderer("cpu")


def test_a_missing_cuda_device_is_named() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=r"device 'cuda:0' .* finds no CUDA device"):
        GsplatRenderer("cuda:0")


@pytest.mark.gpu
def test_a_camera_may_be_of_double_numbers(cuda: torch.device) -> None:
    """gsplat takes float32 only, and the CPU renderer both."""
    gaussians, camera = scene()
    given, render = leaves(gaussians, cuda, torch.float32), GsplatRenderer(cuda)
    double = Camera(camera.world_to_camera.double(), camera.K.double(), camera.width, camera.height)
    found = [render(given, each.to(cuda), EVERYTHING) for each in (camera, double)]
    assert found[0].image.equal(found[1].image)
    plain = replace(given, features=None)
    surveys = [render.survey(plain, each)[1] for each in (camera, double)]
    torch.testing.assert_close(surveys[0].mass, surveys[1].mass)
