"""Maps of colours, and of errors, against torch in float64, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from splat import kernels

SIZES = [(1, 1), (1, 7), (5, 13), (61, 45), (130, 97)]
"""Beside whole vectors and whole work items: what is left over behind them."""


def given(size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A picture, a map and a gradient of the picture mapped."""
    draw = torch.Generator().manual_seed(size[0])
    made = (torch.rand(*shape, generator=draw, dtype=torch.float64) - 0.3
            for shape in ((*size, 3), (3, 4), (*size, 3)))  # fmt: skip
    image, tone, v = (t.to(dtype) for t in made)
    return image.requires_grad_(), tone.requires_grad_(), v


def close(found: Tensor, expected: Tensor, within: float) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=within)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_errors_equal_those_of_torch(size: tuple[int, int], kind: str, dtype: torch.dtype) -> None:
    image, _, other = given(size, dtype)
    photo = (other.clamp(0, 1) * 255).to(torch.uint8) if kind == "bytes" else other
    exact = photo.double() / (255 if kind == "bytes" else 1)
    found = kernels.errors(image, photo)
    assert found.dtype == dtype and not found.requires_grad
    close(found, (image.detach().double() - exact).abs().mean(-1),
          1e-15 if dtype == torch.float64 else 2e-7)  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_equal_those_of_torch(
    size: tuple[int, int], dtype: torch.dtype
) -> None:
    image, tone, v = given(size, dtype)
    found = kernels.toned(image, tone)
    found.backward(v)
    exact_image, exact_tone = (t.detach().double().requires_grad_() for t in (image, tone))
    expected = exact_image @ exact_tone[:, :3].T + exact_tone[:, 3]
    expected.backward(v.double())
    bound = 1e-13 if dtype == torch.float64 else 3e-7
    for one, other in (
        (found, expected), (image.grad, exact_image.grad), (tone.grad, exact_tone.grad)
    ):  # fmt: skip
        assert one is not None and other is not None and one.dtype == dtype
        scale = float(other.detach().abs().max()) * (1 if other.shape == image.shape else 10)
        torch.testing.assert_close(
            one.detach().double(), other.detach(), rtol=0, atol=bound * scale
        )


def test_a_picture_that_needs_no_gradient_gets_none(dtype: torch.dtype) -> None:
    image, tone, v = given((5, 13), dtype)
    kernels.toned(image.detach(), tone).backward(v)
    alone = tone.grad
    tone.grad = None
    kernels.toned(image, tone).backward(v)
    assert image.grad is not None and alone is not None and tone.grad is not None
    assert torch.equal(alone, tone.grad)


def test_threads_change_no_bit(alike_by_threads: Callable[..., None]) -> None:
    def run() -> list[Tensor | None]:
        image, tone, v = given((130, 97), torch.float32)
        out = kernels.toned(image, tone)
        out.backward(v)
        return [out, image.grad, tone.grad]

    alike_by_threads(run)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the map of colours has shape \(3, 3\)"):
        kernels.toned(torch.zeros(2, 2, 3), torch.eye(3))
    with pytest.raises(ValueError, match=r"the picture has shape \(4, 3\), expected \(h, w, 3\)"):
        kernels.toned(torch.zeros(4, 3), torch.eye(3, 4))
