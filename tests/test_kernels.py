"""The rasterizer's outputs and gradients against float64 autograd through `reference.py`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from reference import absolute_gradient, render
from torch import Tensor

from splat import kernels

NAMES = ("means", "quats", "scales", "opacities", "colors", "features", "background", "pose")
THRESHOLD_MARGIN = 1e-4
"""Pixels this close to a threshold may fall on either side of it in float."""


def scene(kind: str, count: int, degree: int | None, seed: int = 0) -> dict[str, Tensor]:
    """Gaussians in front of the camera of `pose`, float64: the cases kernels get wrong."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    # More of them than fit the picture: some straddle its edges, some lie beyond.
    means = (uniform(count, 3) - 0.5) * torch.tensor([3.6, 2.8, 3.0], dtype=torch.float64)
    scales = torch.exp(normal(count, 3) * 0.5 - 2.3)
    opacities = torch.sigmoid(normal(count) * 2)
    if kind == "needles":
        scales = torch.exp(normal(count, 3) * 0.3 - 2.5) * torch.tensor([4.0, 0.05, 0.02])
    if kind == "long needles":
        scales = torch.exp(normal(count, 3) * 0.3 - 2.5) * torch.tensor([8.0, 0.05, 0.02])
    if kind == "subpixel":
        scales = torch.exp(normal(count, 3) * 0.3 - 6.0)
    if kind == "opaque":
        means[:, :2] *= 0.3
        scales = torch.exp(normal(count, 3) * 0.3 - 1.2)
        opacities = torch.sigmoid(normal(count) + 4)
    if kind == "near":
        means[:, 2] = means[:, 2] * 0.3 - 3.6  # around the camera: some behind, some very close
    coefficients = 1 if degree is None else (degree + 1) ** 2
    colors = normal(count, coefficients, 3) * (0.2 if degree else 0.5)
    if degree is None:
        colors = uniform(count, 3)
    axis = torch.tensor([0.2, 1.0, 0.1], dtype=torch.float64)
    axis = axis / axis.norm()
    cross = torch.tensor(
        [[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]],
        dtype=torch.float64,
    )
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.matrix_exp(0.3 * cross)
    pose[:3, 3] = torch.tensor([0.1, -0.2, 3.5], dtype=torch.float64)
    return {
        "means": means,
        "quats": normal(count, 4),
        "scales": scales,
        "opacities": opacities,
        "colors": colors,
        "features": normal(count, 3),
        "background": uniform(3),
        "pose": pose,
    }


def intrinsics(width: int, height: int) -> tuple[float, float, float, float]:
    return 1.1 * width, 1.05 * width, 0.46 * width, 0.55 * height


def draw(
    given: dict[str, Tensor],
    size: tuple[int, int],
    degree: int | None,
    antialiased: bool,
    beside: bool = True,
    **more: Any,
) -> tuple[dict[str, Tensor], kernels.Statistics]:
    width, height = size
    fx, fy, cx, cy = intrinsics(width, height)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    image, alpha, extra, statistics = kernels.rasterize(
        *(given[name] for name in NAMES[:5]),
        given["pose"],
        K,
        width,
        height,
        sh_degree=degree,
        features=given["features"],
        background=given["background"],
        depth=True,
        absolute=True,
        projection=kernels.Projection(antialiased=antialiased, beside=beside),
        **more,
    )
    assert extra is not None
    out = {"image": image, "alpha": alpha, "depth": extra[..., 0], "features": extra[..., 1:]}
    return out, statistics


def weights(size: tuple[int, int], keep: Tensor) -> dict[str, Tensor]:
    """Fixed random weights of a loss over all outputs; zero where a pixel is too close to call."""
    width, height = size
    g = torch.Generator().manual_seed(7)
    shapes = {"image": (3,), "alpha": (), "depth": (), "features": (3,)}
    out = {}
    for name, tail in shapes.items():
        w = torch.randn(height, width, *tail, generator=g, dtype=torch.float64)
        out[name] = w * (keep[..., None] if tail else keep)
    return out


def leaves(given: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: t.detach().to(dtype).requires_grad_() for name, t in given.items()}


def loss_of(out: dict[str, Tensor], w: dict[str, Tensor]) -> Tensor:
    return sum((out[name] * w[name].to(out[name].dtype)).sum() for name in w)


CASES = [
    ("plain", 300, 3, (61, 45), False),
    ("plain", 300, 3, (61, 45), True),
    ("plain", 200, 2, (230, 52), False),
    ("plain", 200, 1, (33, 65), True),
    ("plain", 120, 0, (17, 16), False),
    ("plain", 60, None, (5, 3), False),
    ("needles", 300, 3, (61, 45), False),
    ("needles", 300, 3, (61, 45), True),
    ("long needles", 300, 3, (61, 45), False),
    ("subpixel", 300, 1, (64, 64), False),
    ("opaque", 400, None, (70, 50), False),
    ("opaque", 700, 3, (40, 40), True),
    ("near", 300, 3, (61, 45), False),
]
FLOAT = {"long needles": 3e-5, "near": 1e-4, "subpixel": 1.2e-5}
"""Tolerance in float32 where it is not 1e-5: needles 60 pixels long and half of one wide, and
Gaussians at a few near-plane distances, magnify the rounding of their own inputs. Of those below a
pixel AVX2 compiled by Clang comes to 1.004e-5."""
BUILDS = [("f64", torch.float64), *((isa, torch.float32) for isa in kernels.isas())]


ALL_CASES = [
    *((*case, True) for case in CASES),
    ("plain", 300, 3, (61, 45), True, False),
    ("needles", 300, 3, (61, 45), False, False),
]


class Truth:
    """A case in float64 by `reference.py`, and a loss of it: what every build has to come to."""

    def __init__(
        self,
        kind: str,
        count: int,
        degree: int | None,
        size: tuple[int, int],
        antialiased: bool,
        beside: bool,
    ) -> None:
        self.how = size, degree, antialiased, beside
        self.tolerance = FLOAT.get(kind, 1e-5)
        # The inputs are float32 values, so that every build is given the same numbers.
        self.given = {n: t.float().double() for n, t in scene(kind, count, degree).items()}
        self.truth = truth = leaves(self.given, torch.float64)
        self.expected = expected = render(
            *(truth[name] for name in NAMES[:5]), degree, truth["pose"],
            *intrinsics(*size), *size,
            background=truth["background"], features=truth["features"], antialiased=antialiased,
            beside=beside,
        )  # fmt: skip
        self.keep = (expected["margin"] > THRESHOLD_MARGIN).double()
        assert self.keep.mean() > 0.9
        self.weights = weights(size, self.keep)
        loss_of(expected, self.weights).backward()
        shown = expected["image"].detach() - self.given["background"]
        assert shown.abs().max() > 0.1, "empty picture"

    def check(self, build: str, dtype: torch.dtype) -> None:
        """Draw with what is in use now, and go back."""
        tolerance = 1e-9 if dtype == torch.float64 else self.tolerance
        mine, expected, keep = leaves(self.given, dtype), self.expected, self.keep
        out, statistics = draw(mine, *self.how)
        loss_of(out, self.weights).backward()
        for name in self.weights:
            mask = keep[..., None] if out[name].ndim == 3 else keep
            difference = ((out[name] - expected[name]).detach() * mask).abs().max()
            scale = expected[name].detach().abs().max().clamp_min(1)
            assert difference <= tolerance * scale, (build, name, float(difference / scale))
        for name in NAMES:
            a, b = mine[name].grad, self.truth[name].grad
            a, b = (a[:3], b[:3]) if name == "pose" else (a, b)
            check_columns(f"{build} {name}", a, b, tolerance)
        check_columns(
            f"{build} means2d",
            statistics.gradient.signed.double(),
            expected["means2d"].grad,
            tolerance,
        )
        check_columns(
            f"{build} absgrad",
            statistics.gradient.absolute.double(),
            absolute_gradient(expected),
            tolerance,
        )
        # Whole pixels, which rounding moves only where an extent is next to one: none is here.
        assert torch.equal(statistics.radii.double(), expected["radii"]), build


truth_of = functools.lru_cache(maxsize=None)(Truth)


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_outputs_and_gradients(case: tuple[Any, ...]) -> None:
    for isa, dtype in BUILDS:
        with kernels.use_isa(kernels.isa() if isa == "f64" else isa):
            truth_of(*case).check(isa, dtype)


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_cuda_outputs_and_gradients(case: tuple[Any, ...], by_cuda: ModuleType) -> None:
    """The same of the CUDA kernels' own sources, as C++."""
    truth_of(*case).check("cuda", torch.float32)


def check_columns(what: str, mine: Tensor, truth: Tensor, tolerance: float) -> None:
    """max |difference| / max |gradient|, column by column."""
    mine, truth = mine.double().reshape(len(mine), -1), truth.reshape(len(truth), -1)
    if what.endswith("background"):
        mine, truth = mine.T, truth.T
    worst = (mine - truth).abs().amax(0) / truth.abs().amax(0).clamp_min(1e-12)
    assert torch.isfinite(mine).all() and float(worst.max()) <= tolerance, (
        what,
        float(worst.max()),
    )


def small(dtype: torch.dtype = torch.float32, count: int = 400) -> dict[str, Tensor]:
    return leaves({n: t.float().double() for n, t in scene("plain", count, 3).items()}, dtype)


def backward_of(given: dict[str, Tensor], size: tuple[int, int]) -> list[Tensor]:
    out, statistics = draw(given, size, 3, True)
    loss_of(out, weights(size, torch.ones(size[1], size[0], dtype=torch.float64))).backward()
    grads = [given[name].grad for name in NAMES]
    return [*(t.detach() for t in out.values()), *grads, statistics.gradient.signed]


@pytest.mark.parametrize("isa", kernels.isas())
def test_same_bytes_whatever_the_threads(isa: str, alike_by_threads: Callable[..., None]) -> None:
    with kernels.use_isa(isa):
        alike_by_threads(lambda: backward_of(small(), (131, 97)))


def test_gradients_of_frames_in_flight_do_not_mix() -> None:
    """Two pictures drawn before either backward: each keeps its own scratch."""
    size, one, two = (61, 45), small(), small(count=250)
    alone = backward_of(small(), size)
    w = weights(size, torch.ones(size[1], size[0], dtype=torch.float64))
    first, second = draw(one, size, 3, True)[0], draw(two, size, 3, True)[0]
    loss_of(second, w).backward()
    loss_of(first, w).backward()
    for name, expected in zip(NAMES, alone[4:], strict=False):
        assert torch.equal(one[name].grad, expected)


def test_absolute_gradient_does_not_cancel() -> None:
    """Mirrored residuals left and right of one Gaussian: the plain sum is zero, AbsGS's is not."""
    given = {
        "means": torch.tensor([[0.0, 0, 2]]),
        "quats": torch.tensor([[1.0, 0, 0, 0]]),
        "scales": torch.full((1, 3), 0.2),
        "opacities": torch.tensor([0.8]),
        "colors": torch.ones(1, 3),
    }
    given = {name: t.requires_grad_() for name, t in given.items()}
    K = torch.tensor([[30.0, 0, 16], [0, 30, 16], [0, 0, 1]])
    image, _, _, statistics = kernels.rasterize(
        *given.values(), torch.eye(4), K, 32, 32, absolute=True
    )
    # The loss rises with both halves alike: what pulls left in one pulls right in the other.
    image.sum().backward()
    signed, absolute = statistics.gradient.signed, statistics.gradient.absolute
    assert signed.abs().max() < 1e-3 * absolute.max()
    assert (absolute >= signed.abs()).all() and absolute[0, 0] > 1


def test_feature_gradient_is_blending_weight() -> None:
    """A zero feature with error e as its loss weight: its gradient is the sum of e times weight,
    and nothing else changes (the trick that gives scores without a kernel of their own)."""
    size, count = (61, 45), 300
    plain = small(count=count)
    plain["features"] = None
    out, _ = draw_without(plain, size)
    out.square().sum().backward()
    tricked = small(count=count)
    tricked["features"] = torch.zeros(count, 1, requires_grad=True)
    image, extra = draw_without(tricked, size)
    e = torch.rand(size[1], size[0], generator=torch.Generator().manual_seed(1))
    (image.square().sum() + (extra[..., 0] * e).sum()).backward()
    for name in ("means", "scales", "opacities", "colors"):
        assert torch.allclose(tricked[name].grad, plain[name].grad, rtol=1e-4, atol=1e-5)
    truth = {n: t.detach().double() for n, t in small(count=count).items()}
    values = torch.zeros(count, 1, dtype=torch.float64, requires_grad=True)
    expected = render(
        *(truth[n] for n in NAMES[:5]), 3, truth["pose"], *intrinsics(*size), *size, features=values
    )
    (expected["features"][..., 0] * e).sum().backward()
    assert torch.allclose(tricked["features"].grad.double(), values.grad, atol=1e-4)


def draw_without(given: dict[str, Tensor | None], size: tuple[int, int]) -> tuple[Tensor, ...]:
    width, height = size
    fx, fy, cx, cy = intrinsics(width, height)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    image, _, extra, _ = kernels.rasterize(
        *(given[name] for name in NAMES[:5]), given["pose"], K, width, height,
        sh_degree=3, features=given["features"],
    )  # fmt: skip
    return image, extra


@pytest.mark.parametrize("isa", kernels.isas())
def test_broken_rows_are_skipped_and_harm_nobody(isa: str) -> None:
    """NaN, infinity, zero quaternions, huge scales: no crash, and no NaN in anyone else."""
    given = small()
    bad = torch.arange(0, 400, 7)
    with torch.no_grad():
        given["means"][bad[0::6]] = math.nan
        given["scales"][bad[1::6]] = math.inf
        given["quats"][bad[2::6]] = 0
        given["scales"][bad[3::6]] = 1e30
        given["means"][bad[4::6]] = 1e30
        given["opacities"][bad[5::6]] = math.nan
    with kernels.use_isa(isa):
        run = backward_of(given, (61, 45))
    for tensor in run:
        assert torch.isfinite(tensor).all()


def test_nothing_visible_is_the_background() -> None:
    given = small()
    with torch.no_grad():
        given["pose"][2, 3] = -50
    out, statistics = draw(given, (20, 10), 3, False)
    assert torch.equal(out["image"], given["background"].expand(10, 20, 3))
    assert (out["alpha"] == 0).all() and (statistics.radii == 0).all()
    out["image"].sum().backward()
    assert (given["means"].grad == 0).all()
    assert torch.allclose(given["background"].grad, torch.full((3,), 200.0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quats": torch.ones(399, 4)}, "quats has shape"),
        ({"colors": torch.ones(400, 9, 3)}, "sh_degree is 3"),
        ({name: t.half() for name, t in small().items()}, "the kernels take float32"),
        ({"quats": torch.ones(400, 4).double()}, "quats is torch.float64 on cpu, means is"),
        ({"colors": torch.ones(400, 16, 3).double()}, "colors is torch.float64"),
        ({"features": torch.ones(400, 3).double()}, "features is torch.float64"),
    ],
)
def test_shapes_are_checked(change: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        draw(small() | change, (20, 10), 3, False)


@pytest.mark.parametrize("eps2d", [-0.1, -1e-9, math.nan, math.inf])
def test_a_low_pass_that_narrows_is_refused(eps2d: float) -> None:
    with pytest.raises(ValueError, match=r"eps2d is .*; expected 0 or more pixels squared"):
        kernels.Projection(eps2d=eps2d)
    assert kernels.Projection(eps2d=0).eps2d == 0
