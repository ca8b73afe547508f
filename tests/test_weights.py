"""Weighted sums that ride in the training pass: what they are, and that they change nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_kernels import CASES, NAMES, intrinsics, leaves, scene
from test_survey import case, maps_of
from torch import Tensor

from splat import kernels
from splat.kernels import Statistics
from splat.render.native import NativeRenderer
from splat.types import Batch, Camera, Gaussians, Needs, Rendered

SIZE = (61, 45)


def backward(
    given: dict[str, Tensor],
    degree: int | None,
    size: tuple[int, int],
    antialiased: bool,
    maps: Tensor | None,
    *,
    absolute: bool = True,
    depth: bool = True,
    features: bool = True,
) -> Statistics:
    """Draw and go back through a loss over all outputs; `given` are leaves."""
    fx, fy, cx, cy = intrinsics(*size)
    image, alpha, extra, statistics = kernels.rasterize(
        *(given[name] for name in NAMES[:5]),
        given["pose"],
        torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64),
        *size,
        sh_degree=degree,
        features=given["features"] if features else None,
        background=given["background"],
        depth=depth,
        absolute=absolute,
        projection=kernels.Projection(antialiased=antialiased),
    )
    statistics.gradient.pixels = maps
    loss = image.square().sum() + alpha.sin().sum()
    if extra is not None:
        loss = loss + extra.square().mean()
    loss.backward()
    return statistics


@pytest.mark.parametrize(("kind", "count", "degree", "size", "antialiased"), CASES[1::3])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_gradients_are_the_same_bits(
    kind: str,
    count: int,
    degree: int | None,
    size: tuple[int, int],
    antialiased: bool,
    m: int,
    dtype: torch.dtype,
) -> None:
    given = scene(kind, count, degree)
    for extras in (True, False):
        for absolute in (True, False):
            more = {"absolute": absolute, "depth": extras, "features": extras}
            plain, weighed = leaves(given, dtype), leaves(given, dtype)
            without = backward(plain, degree, size, antialiased, None, **more).gradient
            found = backward(weighed, degree, size, antialiased, maps_of(size, m), **more).gradient
            assert without.sums is None
            assert found.sums is not None and found.sums.shape == (count, m)
            assert found.sums.abs().sum() > 0
            for name in NAMES if extras else NAMES[:5]:
                assert torch.equal(plain[name].grad, weighed[name].grad), name
            for part in ("signed", *(["absolute"] if absolute else [])):
                assert torch.equal(getattr(without, part), getattr(found, part)), part


@pytest.mark.parametrize(
    ("kind", "count", "degree", "antialiased"),
    [("plain", 90, 3, False), ("opaque", 60, None, True)],
)
def test_equal_brute_force(
    kind: str, count: int, degree: int | None, antialiased: bool, dtype: torch.dtype
) -> None:
    given, truth = case(kind, count, degree, SIZE, antialiased)
    sums = backward(leaves(given, dtype), degree, SIZE, antialiased, maps_of(SIZE)).gradient.sums
    assert sums is not None and sums.dtype == dtype
    worst = (sums.double() - truth["weighted"]).abs().max() / truth["weighted"].abs().max()
    assert worst <= (1e-9 if dtype == torch.float64 else 1e-4)
    assert (sums[truth["hits"] == 0] == 0).all()


def test_equal_the_gradient_of_a_zero_feature(dtype: torch.dtype) -> None:
    """The trick that gives such sums without a kernel: a channel of zeros, the map its weight."""
    maps = maps_of(SIZE).to(dtype)
    given = leaves(scene("plain", 300, 3), dtype)
    sums = backward(given, 3, SIZE, False, maps).gradient.sums
    tricked = leaves(scene("plain", 300, 3), dtype)
    tricked["features"] = torch.zeros(300, 3, dtype=dtype, requires_grad=True)
    fx, fy, cx, cy = intrinsics(*SIZE)
    _, _, extra, _ = kernels.rasterize(
        *(tricked[name] for name in NAMES[:5]),
        tricked["pose"],
        torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64),
        *SIZE,
        sh_degree=3,
        features=tricked["features"],
    )
    assert extra is not None and (extra == 0).all()
    (extra * maps).sum().backward()
    wanted = tricked["features"].grad
    assert sums is not None and wanted is not None
    torch.testing.assert_close(sums, wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


def test_same_bytes_whatever_the_threads(alike_by_threads: Callable[..., None]) -> None:
    def run() -> list[Tensor | None]:
        given = leaves(scene("plain", 700, 3), torch.float32)
        return [backward(given, 3, (131, 97), True, maps_of((131, 97), 2)).gradient.sums]

    alike_by_threads(run)


class Ramp:
    """A map that grows from left to right."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Tensor:
        height, width = rendered.alpha.shape
        return torch.linspace(0, 1, width).expand(height, width)


def test_through_the_renderer() -> None:
    """`weigh` before backward, `weighted` after it, equal to a survey of the same picture."""
    given = leaves(scene("plain", 300, 3), torch.float32)
    gaussians = Gaussians(*(given[name] for name in NAMES[:5]), sh_degree=3)
    fx, fy, cx, cy = intrinsics(*SIZE)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    camera = Camera(given["pose"].detach(), K, *SIZE)
    batch = Batch(camera, torch.zeros(SIZE[1], SIZE[0], 3, dtype=torch.uint8))
    ramp = Ramp()
    render = NativeRenderer(antialiased=True)
    rendered = render(gaussians, camera, Needs(weights=(ramp,)), given["background"])
    with pytest.raises(RuntimeError, match="no sums of"):
        rendered.weighted(ramp)
    rendered.weigh((ramp,), batch)
    rendered.image.sum().backward()
    again, found = render.survey(
        gaussians, camera, given["background"], lambda r: ramp(r, batch)[..., None]
    )
    assert torch.equal(again.image, rendered.image) and not again.image.requires_grad
    sums = rendered.weighted(ramp)
    torch.testing.assert_close(sums, found.weighted[:, 0], atol=1e-5 * float(sums.max()), rtol=0)


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stack of maps has shape \(45, 61\)"):
        backward(leaves(scene("plain", 50, 0), torch.float32), 0, SIZE, False, torch.zeros(45, 61))
