"""The reference renderer against gsplat's own torch functions, hand-written loops and gradcheck."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest
import reference
import scipy.ndimage
import torch
from torch import Tensor

WIDTH, HEIGHT = 23, 17
CAMERA = (21.0, 19.0, 9.5, 10.0)
"""fx, fy, cx, cy: the principal point is off the centre on purpose."""


def scene(n: int, seed: int = 0, k: int = 16) -> dict[str, Tensor]:
    """Gaussians around the origin and a turned camera 3 units before them, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = reference.rotations(torch.tensor([[1.0, 0.1, -0.2, 0.15]]).double())[0]
    pose[:3, 3] = torch.tensor([0.1, -0.2, 3.0])
    return {
        "means": normal(n, 3),
        "quats": normal(n, 4),
        "scales": (0.5 * normal(n, 3) - 1.5).exp(),
        "opacities": (1.5 * normal(n)).sigmoid(),
        "colors": 0.5 * normal(n, k, 3),
        "world_to_camera": pose,
    }


def ball() -> dict[str, Tensor]:
    """One round white Gaussian, 2 units in front of a camera that stands in the origin."""
    return {
        "means": torch.tensor([[0.0, 0, 2]]).double(),
        "quats": torch.tensor([[1.0, 0, 0, 0]]).double(),
        "scales": torch.full((1, 3), 0.1).double(),
        "opacities": torch.tensor([0.9]).double(),
        "colors": torch.ones(1, 3).double(),
        "world_to_camera": torch.eye(4).double(),
    }


def draw(inputs: dict[str, Tensor], sh_degree: int | None = 3, **options: object) -> dict:
    means, quats, scales, opacities, colors, pose = inputs.values()
    gaussians = (means, quats, scales, opacities, colors, sh_degree)
    return reference.render(*gaussians, pose, *CAMERA, WIDTH, HEIGHT, **options)


def projected(inputs: dict[str, Tensor]) -> reference.Projection:
    means, quats, scales, _, _, pose = inputs.values()
    size = (*CAMERA, WIDTH, HEIGHT)
    return reference.project(means, quats, scales, pose, size, eps2d=0.3, near=0.01, far=1e10)


@pytest.fixture
def gsplat_torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """gsplat's torch functions, which run on any device."""
    pytest.importorskip("gsplat")
    # Its kernels are compiled on first use; with this, using them fails instead.
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", None)
    return importlib.import_module("gsplat.cuda._torch_impl")


def leaves(inputs: dict[str, Tensor], *names: str) -> list[Tensor]:
    return [inputs[name].clone().requires_grad_() for name in names]


def test_projection_equals_gsplat(gsplat_torch: ModuleType) -> None:
    inputs = scene(200)
    inputs["means"] *= 2  # many lie outside the field of view, where the Jacobian is clamped
    names = ("means", "quats", "scales", "world_to_camera")
    fx, fy, cx, cy = CAMERA
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)

    ours = leaves(inputs, *names)
    found = reference.project(*ours, (*CAMERA, WIDTH, HEIGHT), eps2d=0.3, near=0.01, far=1e10)
    theirs = leaves(inputs, *names)
    means, quats, scales, pose = theirs
    covariances, _ = gsplat_torch._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
    _, means2d, depths, conics, compensations = gsplat_torch._fully_fused_projection(
        means, covariances, pose[None], K[None], WIDTH, HEIGHT, calc_compensations=True
    )

    front = found.depth > 0.01
    conic = found.covariance.inverse()
    flat = torch.stack([conic[:, 0, 0], conic[:, 0, 1], conic[:, 1, 1]], 1)
    ours_out = [found.means2d, found.depth, flat, found.compensation]
    theirs_out = [means2d[0], depths[0], conics[0], compensations[0]]
    assert 20 < front.sum() < 200
    for a, b in zip(ours_out, theirs_out, strict=True):
        torch.testing.assert_close(a[front], b[front], rtol=1e-8, atol=1e-10)

    weights = [torch.rand_like(out[front]) for out in ours_out]
    for outputs in (ours_out, theirs_out):
        sum((out[front] * w).sum() for out, w in zip(outputs, weights, strict=True)).backward()
    for a, b in zip(ours, theirs, strict=True):
        shown = front if len(a) == 200 else slice(None)
        torch.testing.assert_close(a.grad[shown], b.grad[shown], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_harmonics_equal_gsplat(gsplat_torch: ModuleType, degree: int) -> None:
    directions = torch.nn.functional.normalize(scene(50)["means"], dim=1)
    coefficients = scene(50)["colors"]
    ours = torch.einsum(
        "nk,nkc->nc",
        reference.sh_basis(degree, directions),
        coefficients[:, : (degree + 1) ** 2],
    )
    theirs = gsplat_torch._spherical_harmonics(degree, directions, coefficients)
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_colour_is_seen_from_the_camera(gsplat_torch: ModuleType) -> None:
    inputs = scene(40)
    inputs["opacities"] = torch.full((40,), 0.999).double()
    centre = inputs["world_to_camera"].inverse()[:3, 3]
    alone = [{k: v[i : i + 1] if len(v) == 40 else v for k, v in inputs.items()} for i in range(40)]
    for one in alone[:10]:
        out = draw(one)
        value = gsplat_torch._spherical_harmonics(3, one["means"] - centre, one["colors"])[0]
        expected = (value + 0.5).clamp(min=0) * out["alpha"][..., None]
        torch.testing.assert_close(out["image"], expected, rtol=1e-8, atol=1e-9)


def test_blending_equals_a_loop_over_pixels() -> None:
    inputs = scene(60, k=1)
    inputs["opacities"][::3] = 1.0  # opaque stacks: the cap and the early stop both act
    inputs["scales"] *= 2
    fx, fy, cx, cy = CAMERA
    ahead = torch.tensor([(8.5 - cx) / fx, (8.5 - cy) / fy, 1, 1]).double()
    inputs["means"][0] = (inputs["world_to_camera"].inverse() @ ahead)[:3]  # in a pixel's centre
    out = draw(inputs, sh_degree=0, background=torch.tensor([0.2, 0.5, 0.9]).double())
    seen = projected(inputs)
    conics = seen.covariance.inverse()
    colours = (0.5 + 0.28209479177387814 * inputs["colors"][:, 0]).clamp(min=0)
    stopped = capped = 0
    for i, j in [(i, j) for i in range(0, HEIGHT, 4) for j in range(0, WIDTH, 4)]:
        left, rgb, z = 1.0, torch.zeros(3).double(), 0.0
        for g in seen.depth.argsort().tolist():
            offset = seen.means2d[g] - torch.tensor([j + 0.5, i + 0.5]).double()
            bare = float(inputs["opacities"][g] * torch.exp(-0.5 * offset @ conics[g] @ offset))
            alpha = min(0.999, bare)
            if out["radii"][g] == 0 or alpha < 1 / 255:
                continue
            if left * (1 - alpha) <= 1e-4:
                stopped += 1
                break
            capped += bare > 0.999
            rgb, z = rgb + left * alpha * colours[g], z + left * alpha * float(seen.depth[g])
            left *= 1 - alpha
        rgb = rgb + left * torch.tensor([0.2, 0.5, 0.9]).double()
        torch.testing.assert_close(out["image"][i, j], rgb, rtol=1e-10, atol=1e-12)
        assert out["alpha"][i, j].item() == pytest.approx(1 - left, abs=1e-12)
        assert out["depth"][i, j].item() == pytest.approx(z, abs=1e-10)
    assert stopped > 0
    assert capped > 0


def test_culling_hides_no_pixel() -> None:
    inputs = scene(300, seed=3)
    inputs["means"] *= 1.5
    out = draw(inputs)
    seen = projected(inputs)
    front = seen.depth >= 0.01
    i, j = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    centres = torch.stack([j, i], -1).flatten(0, 1) + 0.5
    deltas = seen.means2d[front] - centres[:, None]
    distance = torch.einsum("pmi,mij,pmj->pm", deltas, seen.covariance[front].inverse(), deltas)
    touched = inputs["opacities"][front] * (-distance / 2).exp() >= 1 / 255
    radii = out["radii"][front].expand_as(touched)
    assert (out["radii"][front] == 0).sum() > 20
    assert (radii[touched] > 0).all()
    assert (deltas.abs().amax(-1)[touched] <= radii[touched]).all()


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"means": [[0.0, 0, 0.009]]}, {}),
        ({"means": [[0.0, 0, -1]]}, {}),
        ({"means": [[0.0, 0, 3]]}, {"far": 2.9}),
        ({"opacities": [0.0039]}, {}),
        ({"means": [[9.0, 0, 2]]}, {}),
        ({}, {"radius_clip": 99.0}),
    ],
    ids=["near", "behind", "far", "faint", "off screen", "small"],
)
def test_culled(change: dict[str, list], options: dict[str, float]) -> None:
    inputs = ball()
    assert draw(inputs, None)["radii"].item() == 4  # 3.2964 deviations of sqrt(1.05^2 + 0.3)
    changed = {**inputs, **{k: torch.tensor(v).double() for k, v in change.items()}}
    out = draw(changed, None, **options)
    assert out["radii"].item() == 0
    assert out["alpha"].max() == 0
    assert out["margin"].isinf().all()


def test_empty_set_shows_the_background() -> None:
    inputs = {k: v if k == "world_to_camera" else v[:0] for k, v in scene(3).items()}
    out = draw(inputs, background=torch.tensor([0.1, 0.2, 0.3]).double())
    assert (out["image"] == torch.tensor([0.1, 0.2, 0.3]).double()).all()
    assert out["features"].shape == (HEIGHT, WIDTH, 0)


def test_ties_in_depth_are_drawn_in_order_of_index() -> None:
    inputs = {**scene(3), "means": torch.zeros(3, 3).double()}
    inputs["means"][1, 2] = -0.5
    assert draw(inputs)["order"].tolist() == [1, 0, 2]


@pytest.mark.parametrize("antialiased", [False, True])
def test_gradients(antialiased: bool) -> None:
    inputs = scene(5, seed=2, k=4)
    inputs["means"] *= 0.4
    features = scene(5, seed=5)["means"][:, :2]
    background = torch.tensor([0.3, 0.6, 0.1]).double()

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        changed = dict(zip(inputs, tensors[:6], strict=True))
        extra = {"background": tensors[7], "features": tensors[6], "antialiased": antialiased}
        out = draw(changed, 1, **extra)
        return tuple(out[k][5:12, 5:12] for k in ("image", "alpha", "depth", "features"))

    tensors = [t.requires_grad_() for t in (*inputs.values(), features, background)]
    out = draw(dict(zip(inputs, tensors[:6], strict=True)), 1, antialiased=antialiased)
    assert len(out["order"]) == 5
    assert out["margin"][5:12, 5:12].min() > 1e-5
    assert torch.autograd.gradcheck(function, tensors, fast_mode=True)


def test_screen_gradients() -> None:
    inputs = scene(20, k=1)
    inputs["means"].requires_grad_()
    target = torch.rand(HEIGHT, WIDTH, 3, dtype=torch.float64)
    out = draw(inputs, 0)
    per_pixel = ((out["image"] - target) ** 2).sum(-1).flatten()
    expected = torch.zeros(20, 2).double()
    for value in per_pixel[::7]:
        (grad,) = torch.autograd.grad(value, out["means2d"], retain_graph=True)
        expected += grad.abs()
    out = draw(inputs, 0)  # its own graph: autograd.grad above has left traces on the first
    ((out["image"] - target) ** 2).sum(-1).flatten()[::7].sum().backward()
    absolute = reference.absolute_gradient(out)
    torch.testing.assert_close(absolute, expected)
    assert (absolute >= out["means2d"].grad.abs() - 1e-12).all()
    assert (absolute > 1.01 * out["means2d"].grad.abs()).any()


def test_margin_names_the_nearest_threshold() -> None:
    inputs = ball()
    out = draw(inputs, None)
    assert out["alpha"][9, 9].item() < 0.9
    assert out["margin"][9, 9].item() == pytest.approx(1 - out["alpha"][9, 9].item() / 0.999)
    inputs["opacities"] = inputs["opacities"] / out["alpha"][9, 9] * (1 + 1e-5) / 255
    faint = draw(inputs, None)
    assert faint["margin"].min().item() == pytest.approx(1e-5, rel=1e-3)


def test_ssim_equals_scipy() -> None:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(2, 19, 26, 3, dtype=torch.float64, generator=generator)

    def mean(values: Tensor) -> Tensor:
        options = {"sigma": (1.5, 1.5, 0), "truncate": 5 / 1.5, "mode": "constant"}
        return torch.from_numpy(scipy.ndimage.gaussian_filter(values.numpy(), **options))

    x_mean, y_mean = mean(x), mean(y)
    spread = mean(x * x) + mean(y * y) - x_mean**2 - y_mean**2
    shared = mean(x * y) - x_mean * y_mean
    expected = (2 * x_mean * y_mean + 1e-4) * (2 * shared + 9e-4)
    expected = expected / ((x_mean**2 + y_mean**2 + 1e-4) * (spread + 9e-4))
    torch.testing.assert_close(reference.ssim(x, y), expected.mean(), rtol=1e-10, atol=0)
    assert reference.ssim(x, x).item() == pytest.approx(1)
    assert reference.photometric(x, y, 0.0).item() == pytest.approx((x - y).abs().mean().item())
    mixed = 0.8 * (x - y).abs().mean() + 0.2 * (1 - expected.mean())
    torch.testing.assert_close(reference.photometric(x, y, 0.2), mixed)
