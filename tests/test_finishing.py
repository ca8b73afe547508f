"""Training for a file: drawn is what would be read back, and a resumed run goes on to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from formats import some
from methods import ends_with_and_without_a_break
from steps import CAMERA, model_of

from splat import api, formats
from splat.cli.opened import open_scene
from splat.core.frame import gaussians_to_frame
from splat.core.strategy import Fixed
from splat.export.quantisation import Quantisation
from splat.loop import Run
from splat.options import Options, Reading
from splat.render import renderer_for
from splat.strategies.mrnf import Mrnf
from splat.types import Batch, Frame, Gaussians

FRAME = Frame((0.5, -1.0, 2.0), 0.25)
COLUMNS = ("means", "quats", "scales", "opacities", "colors")


def leaves(gaussians: Gaussians) -> Gaussians:
    for name in COLUMNS:
        getattr(gaussians, name).requires_grad_()
    return gaussians


@pytest.mark.parametrize("suffix", [".splat", ".spz", ".compressed.ply"])
def test_drawn_is_what_is_read_back_and_gradients_pass(tmp_path: Path, suffix: str) -> None:
    given = leaves(some(40, degree=1))
    finishing = Quantisation(suffix, FRAME, 10)
    assert finishing(given, 9) is given
    found = finishing(given, 10)
    formats.write(found, tmp_path / f"x{suffix}", FRAME)
    again = gaussians_to_frame(formats.read(tmp_path / f"x{suffix}"), FRAME)
    # Rounding what is rounded already changes next to nothing: the drawn rows are in the file.
    apart = torch.cdist(
        found.means.detach(), again.means, compute_mode="donot_use_mm_for_euclid_dist"
    )
    gap = apart.min(1).values
    assert gap.max() < 1e-3
    weights = {name: torch.randn(getattr(given, name).shape) for name in COLUMNS}
    sum((getattr(found, name) * weights[name]).sum() for name in COLUMNS).backward()
    for name in COLUMNS:
        torch.testing.assert_close(getattr(given, name).grad, weights[name])


def test_formats_that_are_fitted_slowly_are_refused() -> None:
    with pytest.raises(ValueError, match=r"finish-for is '\.sog'; expected .*\.spz"):
        Quantisation(".sog", FRAME, 0)
    with pytest.raises(ValueError, match="finish-for is 'spz'"):
        Quantisation("spz", FRAME, 0)


def test_a_run_that_finishes_for_a_file_resumes_to_the_byte(
    tiny_folder: Path, tmp_path: Path
) -> None:
    options = {"finish_for": ".spz", "finish_share": 0.5, "finish_keep": 0.7}
    rows: list[int] = []
    one, two = ends_with_and_without_a_break(
        tiny_folder, tmp_path, Mrnf(cap=600), 31, 40,
        watch=lambda run, *_: rows.append(len(run.model.cloud)), **options,
    )  # fmt: skip
    assert rows[20] == pytest.approx(0.7 * rows[18], abs=1) and max(rows[20:]) == rows[20]
    assert one == two


def test_figures_and_files_are_of_what_was_trained(tiny_folder: Path, tmp_path: Path) -> None:
    options = Options(steps=40, max_side=0, finish_for=".splat", finish_share=0.5)
    out = tmp_path / "run"
    found = api.train(api.load(tiny_folder), Mrnf(cap=600), options, out=out, reading=Reading())
    rounded = formats.quantiser(".splat", found.gaussians)(found.gaussians)
    torch.testing.assert_close(rounded.opacities, found.gaussians.opacities)
    torch.testing.assert_close(rounded.colors[:, :1], found.gaussians.colors[:, :1])
    receipt = found.metrics["export"]
    assert receipt["psnr_after"] == pytest.approx(found.metrics["psnr"], abs=0.01)
    again = open_scene(out, "cpu", "auto")
    file = gaussians_to_frame(formats.read(out / "point_cloud.ply"), again.frame)
    torch.testing.assert_close(file.colors, again.gaussians.colors, rtol=0, atol=1e-6)


def test_keep_needs_a_format() -> None:
    with pytest.raises(ValueError, match="finish-keep is given without --finish-for"):
        Options(finish_keep=0.5)
    with pytest.raises(ValueError, match="finish-share is 0"):
        Options(finish_share=0)


def test_what_is_baked_is_the_same_for_any_number_of_torch_threads() -> None:
    # Enough rows for torch to share them out: it takes the last few of each share one by one, and
    # their logistic function comes out a little different then.
    opacity = torch.rand(60_000, generator=torch.Generator().manual_seed(0))
    photo = Batch(CAMERA, torch.zeros(20, 20, 3))
    run = Run(
        model=model_of(len(opacity), opacity, sh_degree=0),
        strategy=Fixed(),
        objectives={},
        render=renderer_for("cpu"),
        batches=lambda step: photo,
        views=[CAMERA],
        photos=lambda index, step: photo,
        steps=1,
    )
    before = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(run.baked())
    finally:
        torch.set_num_threads(before)
    for name in COLUMNS:
        first, *others = (getattr(gaussians, name) for gaussians in found)
        assert all(torch.equal(first, other) for other in others), name
