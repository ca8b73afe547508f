"""L1 + SSIM and its gradient against float64 autograd, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import reference
import torch
from torch import Tensor

from splat import kernels
from splat.types import Batch, Camera

pytestmark = pytest.mark.usefixtures("threads")

TILE = 204
"""Columns of a work item, the most; see kTileColumns."""
SIZES = [
    (1, 1), (5, 7), (11, 11), (1, 60), (60, 1), (25, 33), (97, 30),
    (13, TILE - 1), (12, TILE), (26, TILE + 1), (9, 2 * TILE + 5),
]  # fmt: skip
"""Height and width: smaller than the window, and around the edges of tiles and bands."""


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """A ramp with noise: neither flat nor all noise."""
    noise = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))
    across = torch.linspace(0, 1, width)[None, :, None]
    ramp = across * torch.linspace(1, 0.2, height)[:, None, None]
    return 0.6 * ramp + 0.4 * noise


def pixels(height: int, width: int, seed: int = 1) -> Tensor:
    return (picture(height, width, seed) * 255).round().to(torch.uint8)


def value_and_gradient(image: Tensor, target: Tensor, weight: float = 0.2) -> tuple[Tensor, Tensor]:
    leaf = image.clone().requires_grad_()
    loss = kernels.photometric(leaf, target, weight)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def truth(image: Tensor, target: Tensor, weight: float = 0.2) -> tuple[Tensor, Tensor]:
    leaf = image.double().requires_grad_()
    floats = target.double() / 255 if target.dtype == torch.uint8 else target.double()
    loss = reference.photometric(leaf, floats, weight)
    loss.backward()
    assert leaf.grad is not None
    return loss.detach(), leaf.grad


def assert_agrees(image: Tensor, target: Tensor, weight: float = 0.2) -> None:
    loss, gradient = value_and_gradient(image, target, weight)
    expected, expected_gradient = truth(image, target, weight)
    bound = 1e-9 if image.dtype == torch.float64 else 1e-5
    assert loss.dtype == image.dtype and loss.shape == ()
    assert abs(loss.double() - expected) <= bound * expected
    error = (gradient.double() - expected_gradient).abs().max()
    assert error <= bound * expected_gradient.abs().max()
    with torch.no_grad():
        alone = kernels.photometric(image, target, weight)
    assert abs(alone.double() - expected) <= bound * expected


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_float_target(height: int, width: int, dtype: torch.dtype) -> None:
    assert_agrees(picture(height, width).to(dtype), picture(height, width, 1).to(dtype))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (26, TILE + 1), (33, 50)])
def test_bytes_target(height: int, width: int, dtype: torch.dtype) -> None:
    assert_agrees(picture(height, width).to(dtype), pixels(height, width))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_either_term_alone(weight: float, dtype: torch.dtype) -> None:
    assert_agrees(picture(21, 34).to(dtype), picture(21, 34, 1).to(dtype), weight)


@pytest.mark.parametrize("bytes_", [False, True])
def test_threads_change_nothing(
    bytes_: bool, dtype: torch.dtype, alike_by_threads: Callable[..., None]
) -> None:
    image = picture(120, 2 * TILE + 5).to(dtype)
    target = pixels(120, 2 * TILE + 5) if bytes_ else picture(120, 2 * TILE + 5, 1).to(dtype)
    alike_by_threads(lambda: value_and_gradient(image, target))


def test_flat_and_saturated_pictures_stay_precise(dtype: torch.dtype) -> None:
    """Variances are differences of means: where there are none, rounding decides."""
    white = torch.ones(30, 40, 3, dtype=dtype)
    loss, gradient = value_and_gradient(white, white)
    assert abs(loss) < 1e-4
    assert gradient.abs().max() * white.numel() < 1e-2  # an L1 pull is 1 in this unit
    assert_agrees(white, torch.zeros_like(white))


def test_equal_pixels_pull_at_nothing(dtype: torch.dtype) -> None:
    """Masked pixels take the photograph's own values: L1 must see them as equal, to the bit."""
    target = pixels(20, 30)
    camera = Camera(torch.eye(4), torch.eye(3), 30, 20)
    own = Batch(camera, target).image.to(torch.float32)
    image = own if dtype == torch.float32 else target.to(dtype) / 255
    loss, gradient = value_and_gradient(image, target, 0.0)
    assert loss == 0
    assert torch.count_nonzero(gradient) == 0


def test_a_nan_stays_within_its_window(dtype: torch.dtype) -> None:
    image, target = picture(60, TILE + 30).to(dtype), pixels(60, TILE + 30)
    _, expected = value_and_gradient(image, target)
    row, column = 31, TILE - 60
    image[row, column, 1] = torch.nan
    loss, gradient = value_and_gradient(image, target)
    assert loss.isnan()
    reach = torch.zeros(60, TILE + 30, 3, dtype=torch.bool)
    reach[row - 10 : row + 11, column - 10 : column + 11, 1] = True
    assert gradient[reach].isnan().any()
    assert torch.equal(gradient[~reach], expected[~reach])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="target has shape"):
        kernels.photometric(torch.zeros(4, 5, 3), torch.zeros(5, 4, 3))
    with pytest.raises(ValueError, match="float32"):
        kernels.photometric(torch.zeros(4, 5, 3).half(), torch.zeros(4, 5, 3))


def test_strided_pictures_are_read_right(dtype: torch.dtype) -> None:
    image, target = picture(18, 40).to(dtype), picture(18, 40, 1).to(dtype)
    loss, gradient = value_and_gradient(image, target)
    transposed = image.transpose(0, 1).contiguous().transpose(0, 1)
    again, gradient_again = value_and_gradient(transposed, target.flip(0).flip(0))
    assert torch.equal(loss, again) and torch.equal(gradient, gradient_again)


@pytest.fixture
def cuda_kernels() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.mark.gpu
@pytest.mark.parametrize(("height", "width"), [*SIZES, (123, 321)])
@pytest.mark.parametrize("bytes_", [False, True])
def test_cuda_equals_cpu(height: int, width: int, bytes_: bool, cuda_kernels: None) -> None:
    image = picture(height, width)
    target = pixels(height, width) if bytes_ else picture(height, width, 1)
    loss, gradient = truth(image, target)
    found, found_gradient = value_and_gradient(image.cuda(), target.cuda())
    assert abs(found.cpu().double() - loss) <= 1e-5 * loss
    error = (found_gradient.cpu().double() - gradient).abs().max()
    assert error <= 1e-5 * gradient.abs().max()
    again, gradient_again = value_and_gradient(image.cuda(), target.cuda())
    assert torch.equal(found, again) and torch.equal(found_gradient, gradient_again)
