"""How photos were exposed: maps of colours, what they are found by, and what moves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sensor_parts import STOPS, blobs, camera, exposed, with_job

from splat import datasets
from splat.core.frame import points_to_frame
from splat.options import Options
from splat.photos.exif import exposure_value
from splat.render import renderer_for
from splat.sensor.grids import Grids
from splat.sensor.held_out import undeveloped
from splat.sensor.measured import by_exif, measured
from splat.sensor.rows import RowAdam
from splat.sensor.sensor import Sensor
from splat.sensor.tones import Channels, Matrices, fitted_tone, mapped
from splat.training.prepare import Job
from splat.types import Batch, Needs, SceneData


class TestRowAdam:
    def test_only_rows_with_a_gradient_move_and_each_counts_its_own_steps(self) -> None:
        table = torch.nn.Parameter(torch.zeros(3, 2))
        optimizer = RowAdam([table], lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            (table[1] * torch.tensor([2.0, -3.0])).sum().backward()
            optimizer.step()
        # Of a constant gradient Adam makes steps of the rate, whatever its size.
        torch.testing.assert_close(table[1].detach(), torch.tensor([-0.3, 0.3]), rtol=1e-5, atol=0)
        assert table[0].abs().sum() == table[2].abs().sum() == 0
        optimizer.zero_grad()
        table[2].sum().backward()
        optimizer.step()
        torch.testing.assert_close(table[2].detach(), torch.tensor([-0.1, -0.1]))
        assert optimizer.state[table]["count"].tolist() == [0, 3, 1]

    def test_is_adam_for_one_row(self) -> None:
        generator = torch.Generator().manual_seed(0)
        gradients = torch.randn(5, 4, generator=generator)
        tables = [torch.nn.Parameter(torch.zeros(1, 4)) for _ in range(2)]
        optimizers = [
            RowAdam([tables[0]], lr=1e-2),
            torch.optim.Adam([tables[1]], lr=1e-2, eps=1e-15),
        ]
        for gradient in gradients:
            for table, optimizer in zip(tables, optimizers, strict=True):
                table.grad = gradient[None].clone()
                optimizer.step()
        torch.testing.assert_close(tables[0], tables[1])


class TestTones:
    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_what_views_share_is_taken_out(self, kind: type[Channels]) -> None:
        tone = kind(4)
        tone.begin(torch.tensor([[2.0, 2.0, 2.0]]).repeat(4, 1))
        image = torch.rand(6, 8, 3)
        torch.testing.assert_close(tone(image, 2), image)
        tone.begin(torch.tensor([[4.0, 4, 4], [1, 1, 1], [1, 1, 1], [1, 1, 1]]))
        assert bool((tone(image, 0) > image).all()) and bool((tone(image, 1) < image).all())

    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_the_map_is_what_is_applied(self, kind: type[Channels]) -> None:
        tone = kind(3)
        with torch.no_grad():
            tone.values.copy_(0.2 * torch.randn(tone.values.shape, generator=torch.Generator()))
        image = torch.rand(5, 7, 3)
        torch.testing.assert_close(mapped(image, tone.map(1)), tone(image, 1))

    @pytest.mark.parametrize("kind", [Channels, Matrices])
    def test_how_errors_bend_is_told_by_the_slopes(self, kind: type[Channels]) -> None:
        """Against slopes by autograd, colour by colour."""
        tone = kind(3).double()
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            tone.values.copy_(0.2 * torch.randn(tone.values.shape, generator=draw))
        scene, heavy = (torch.rand(2, 3, 3, generator=draw).double() for _ in range(2))
        developed = tone(scene, 1)
        expected = torch.zeros(tone.values.shape[1], tone.values.shape[1], dtype=torch.float64)
        for one, weight in zip(developed.flatten(), heavy.flatten(), strict=True):
            (slope,) = torch.autograd.grad(one, tone.values, retain_graph=True)
            expected += weight * slope[1].outer(slope[1])
        with torch.no_grad():
            found = tone.bent(developed.reshape(-1, 3), heavy.reshape(-1, 3), 1)
        torch.testing.assert_close(found, expected)

    def test_a_grid_maps_by_place_and_brightness(self) -> None:
        grids = Grids(1)
        with torch.no_grad():
            # The red gain rises to the right, by cells; blue's bias with brightness.
            grids.cells[0, 0] = torch.linspace(-0.3, 0.3, 16)[None, None, :]
            grids.cells[0, 11] = torch.linspace(-0.1, 0.1, 8)[:, None, None]
        image = torch.full((4, 30, 3), 0.5)
        found = grids(image, 0)
        x = (torch.arange(30) + 0.5) / 30
        torch.testing.assert_close(found[0, :, 0], 0.5 * (1 + 0.6 * x - 0.3), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[..., 1], image[..., 1])
        torch.testing.assert_close(found[..., 2], image[..., 2], atol=1e-5, rtol=0)
        bright = grids(torch.full((4, 30, 3), 0.9), 0)
        torch.testing.assert_close(bright[0, 0, 2].item(), 0.9 + 0.1 * 0.8, atol=1e-5, rtol=0)

    def test_a_background_keeps_its_colour(self) -> None:
        tone = Channels(2)
        tone.begin(torch.tensor([[2.0, 2, 2], [0.5, 0.5, 0.5]]))
        behind = torch.tensor([1.0, 0.5, 0.25])
        image = behind.expand(4, 4, 3).clone()
        found = renderer_for("cpu")(blobs(), camera(4, 4), Needs(), behind)
        empty = replace(found, image=image, alpha=torch.zeros(4, 4))
        developed = Sensor(tone=tone).developed(empty, replace(camera(4, 4), index=0), behind)
        torch.testing.assert_close(developed.image, image)


class TestFitted:
    """L4: the map that brings a picture to a photo."""

    @pytest.mark.parametrize("mixed", [False, True])
    def test_finds_what_was_planted_among_outliers(self, mixed: bool) -> None:
        generator = torch.Generator().manual_seed(2)
        image = 0.1 + 0.6 * torch.rand(40, 50, 3, generator=generator)
        tone = torch.tensor([[1.2, 0, 0, 0.02], [0, 0.9, 0, -0.03], [0, 0, 0.8, 0.05]])
        if mixed:
            tone[:, :3] += torch.tensor([[0, 0.05, 0], [0.03, 0, 0.02], [0, -0.04, 0]])
        photo = mapped(image, tone)
        photo[:8] = torch.rand(8, 50, 3, generator=generator)  # a fifth is of something else
        found = fitted_tone(image, photo, mixed=mixed)
        torch.testing.assert_close(found, tone.double(), atol=2e-3, rtol=0)

    def test_is_the_identity_where_nothing_counts(self) -> None:
        image = torch.rand(10, 10, 3)
        found = fitted_tone(image, image * 0.5, torch.zeros(10, 10))
        torch.testing.assert_close(found, torch.eye(3, 4, dtype=torch.float64))

    def test_is_taken_back_to_8_bits(self) -> None:
        pixels = torch.randint(60, 180, (5, 6, 3), dtype=torch.uint8)
        tone = torch.tensor([[1.1, 0, 0, 0.02], [0, 0.9, 0.1, 0], [0, 0, 1, -0.04]]).double()
        image = mapped(pixels.double() / 255, tone)
        batch = Batch(camera(6, 5), image.mul(255).round().to(torch.uint8))
        assert (undeveloped(batch, tone).pixels.int() - pixels.int()).abs().max() <= 1


class TestMeasured:
    def test_planted_exposures_are_found(self, tiny_folder: Path, tmp_path: Path) -> None:
        scene = exposed(tiny_folder, tmp_path)
        with_job(
            scene, Options(steps=1, device="cpu", exposure="off"), lambda job: check(job, scene)
        )

    def test_photos_that_are_alike_are_left_alone(self, tiny_folder: Path) -> None:
        scene = datasets.load(tiny_folder)

        def look(job: Job) -> None:
            assert job.options.exposure == "off" and job.run.sensor.idle

        with_job(scene, Options(steps=1, device="cpu"), look)

    def test_without_points_exif_is_asked(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        exif = Image.Exif()
        exif.get_ifd(0x8769).update({0x829A: 1 / 64, 0x829D: 4.0, 0x8827: 200})
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, exif=exif)
        # log2(16 * 64) - 1
        assert exposure_value(path) == pytest.approx(9.0)
        assert exposure_value(tmp_path / "none.jpg") is None
        found = by_exif([9.0, 11.2, None])
        # The last takes the mean of the others; a stop of light is 1 / 2.2 of one of values.
        torch.testing.assert_close(found.gains.log2()[:, 0], torch.tensor([0.5, -0.5, 0.0]))
        assert found.known == 2 and found.differ
        assert not by_exif([None, None]).differ


def check(job: Job, scene: SceneData) -> None:
    assert scene.points is not None
    batches = [job.photos.batch(i) for i in range(len(job.photos))]
    found = measured(batches, points_to_frame(scene.points, job.run.frame))
    planted = torch.tensor([STOPS[i % 4] for i in range(len(batches))])
    torch.testing.assert_close(
        found.gains.log2().mean(1), planted - planted.mean(), atol=0.08, rtol=0
    )
    assert found.differ and found.known == len(batches)
