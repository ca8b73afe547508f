"""Runs that learn poses and exposures, held-out photos, and files that take them over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import Outcome
from methods import ends_with_and_without_a_break
from sensor_parts import STOPS, blobs, camera, exposed, with_job
from test_clip import clip_of, nerfies

from splat import api, datasets, formats
from splat.cli.export import _views
from splat.cli.opened import open_scene
from splat.core.strategy import Fixed
from splat.loop import Run, train
from splat.math import sh_from_rgb
from splat.options import Options
from splat.render import renderer_for
from splat.runs import checkpoint
from splat.runs.folder import read_config, rows_of_photos
from splat.sensor.baked import tone_of, toned_gaussians
from splat.sensor.corrected import Corrected
from splat.sensor.held_out import HeldOutFit, half_size, undeveloped
from splat.sensor.measured import Measured, by_camera
from splat.sensor.poses import exponential
from splat.sensor.sensor import POSES, TONE, sensor_for
from splat.sensor.tones import mapped
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import Job, prepare
from splat.types import Batch, Needs, SceneData


class TestRuns:
    def test_exposures_are_recovered_up_to_what_all_share(self, ring: Path, tmp_path: Path) -> None:
        """L4, in training; and the scene is better for it where photos were never seen."""
        scene = exposed(ring, tmp_path)
        found = {}
        for exposure in ("off", "channel"):
            options = Options(steps=400, device="cpu", exposure=exposure, sh_degree=0)  # type: ignore[arg-type]
            result = api.train(
                scene,
                Adc(cap=1500),
                options,
                watchers=[lambda run, *_: kept(found, run)],
                lpips=None,
            )
            found[exposure] = result.metrics
        tone = found["run"].sensor.tone
        grey = torch.full((1, 1, 3), 0.35)
        gains = torch.stack([tone(grey, i)[0, 0] / grey[0, 0] for i in range(len(scene.train))])
        planted = torch.tensor([STOPS[i % 4] for i in range(len(gains))])
        stops = gains.detach().log2().mean(1)
        wrong = stops - stops.mean() - (planted - planted.mean())
        assert float(wrong.square().mean().sqrt()) < 0.09, wrong
        assert "left half" in found["channel"]["protocol"]
        assert found["channel"]["psnr"] > found["off"]["psnr"] + 3

    def test_resume_is_exact(self, tiny_folder: Path, tmp_path: Path) -> None:
        one, two = ends_with_and_without_a_break(
            tiny_folder, tmp_path, Mcmc(cap=1200), 25, 60, exposure="grid", refine_poses=True
        )
        assert {POSES, TONE} <= set(checkpoint.load(tmp_path / "saved.pt")["modules"])
        assert one == two

    def test_a_run_with_a_sensor_serves_every_verb(
        self, tiny_folder: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat(
            "train", tiny_folder, "--out", "run", "--steps", 40, "--exposure", "affine",
            "--refine-poses", "mcmc", "--cap", 800,
        )  # fmt: skip
        assert done.code == 0, done.said
        assert "exposure and pose of each held-out photo fitted" in done.said
        for verb in (
            ("eval", "run"),
            ("render", "run", "--out", "a", "--path", "views"),
            ("info", "run"),
        ):
            again = splat(*verb)
            assert again.code == 0, again.said
        # One figure: the file's is measured as the run's is, at the end and ever after.
        record = json.loads(Path("run/metrics.json").read_text())
        assert record["export"]["psnr_before"] == pytest.approx(record["psnr"], abs=1e-3)
        later = json.loads(splat("export", "run", "-o", "later.ply", "--json").out)
        for name in ("psnr_before", "psnr_after"):
            assert later[name] == pytest.approx(record["psnr"], abs=0.02)
        assert abs(record["psnr_unfitted"] - record["psnr"]) > 0.05

    @pytest.mark.gpu
    @pytest.mark.usefixtures("cuda_kernels")
    def test_on_cuda(self, tiny_folder: Path) -> None:
        options = Options(steps=40, device="cuda", exposure="grid", refine_poses=True)

        def look(job: Job) -> None:
            train(job.run)
            for part in job.run.modules.values():
                for values in part.module.parameters():
                    assert values.is_cuda and bool(values.isfinite().all())
                    assert float(values.abs().max()) > 0

        with_job(datasets.load(tiny_folder), options, look)

    def test_without_a_sensor_nothing_changes(self, tiny_folder: Path) -> None:
        assert sensor_for([camera()] * 5, 100).idle


def kept(found: dict[str, object], run: Run) -> None:
    found["run"] = run


class TestHeldOut:
    def test_finds_pose_and_exposure_on_the_left_half(self) -> None:
        render, gaussians = renderer_for("cpu"), blobs(80)
        true = camera(128, 96, exponential(torch.tensor([0.01, -0.015, 0.01, 0.03, 0.02, -0.02])))
        clean = render(gaussians, true, Needs()).image
        tone = torch.tensor([[1.2, 0, 0, 0.02], [0, 0.9, 0, -0.01], [0, 0, 1.1, 0.0]])
        pixels = mapped(clean, tone).clamp(0, 1).mul(255).round().to(torch.uint8)
        # Whatever stands in the right half must not matter to what is fitted.
        batch = Batch(camera(128, 96), pixels)
        fit = HeldOutFit(lambda _: gaussians, render, None, exposure=True, pose=True)
        seen = fit(batch)
        image = seen.drawn(lambda _: gaussians, render, None)
        part, _ = seen.part(image)
        assert part.shape == (96, 64, 3)
        assert seen.psnr(image) > 38
        spoilt = pixels.clone()
        spoilt[:, 64:] = 0
        other = fit(replace(batch, pixels=spoilt))
        torch.testing.assert_close(
            other.drawn(lambda _: gaussians, render, None), image, atol=1e-4, rtol=0
        )
        torch.testing.assert_close(
            seen.batch.camera.world_to_camera,
            other.batch.camera.world_to_camera,
            atol=1e-5,
            rtol=0,
        )

    def test_half_a_photo_keeps_its_mask(self) -> None:
        mask = torch.ones(8, 10, dtype=torch.uint8)
        mask[0, 0] = 0
        batch = Batch(camera(10, 8), torch.zeros(8, 10, 3, dtype=torch.uint8), mask)
        small = half_size(batch)
        assert small.camera.width == 5 and small.shrink == 2
        assert small.mask is not None and int((small.mask == 0).sum()) == 1


class TestBaked:
    def test_gaussians_take_over_a_map(self) -> None:
        gaussians = blobs()
        sh = torch.zeros(len(gaussians), 4, 3)
        sh[:, 0] = sh_from_rgb(0.3 + 0.4 * gaussians.colors)
        sh[:, 1:] = 0.05 * torch.randn(len(gaussians), 3, 3, generator=torch.Generator())
        tone = torch.tensor([[1.1, 0.05, 0, 0.02], [0, 0.9, 0, 0.03], [0, 0.1, 0.8, 0.01]])
        behind = torch.tensor([0.2, 0.3, 0.4])
        render = renderer_for("cpu")
        for whole in (gaussians, replace(gaussians, colors=sh, sh_degree=1)):
            plain = render(whole, camera(), Needs(), behind).image
            again = render(
                toned_gaussians(whole, tone), camera(), Needs(), mapped(behind, tone)
            ).image
            torch.testing.assert_close(again, mapped(plain, tone), atol=1e-5, rtol=0)

    def test_a_file_has_the_exposure_of_a_photo(
        self, tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat("train", tiny_folder, "--out", "run", "--steps", 20, "--exposure", "channel")
        assert done.code == 0, done.said
        state = checkpoint.load(next(Path("run/checkpoints").glob("*.pt")))
        names = [view.name for view in datasets.load(tiny_folder).train]
        wanted = tone_of(state["modules"], names, names[3])
        for name, extra in (("mean.ply", ()), ("own.ply", ("--exposure-of", names[3]))):
            assert splat("export", "run", "-o", name, *extra).code == 0
        mean, own = formats.read(Path("mean.ply")), formats.read(Path("own.ply"))
        torch.testing.assert_close(
            own.colors, toned_gaussians(mean, wanted).colors, atol=1e-5, rtol=0
        )
        # What --refine trains on is as the file is: the photo itself, or brought to the mean.
        for exposure in (names[3], None):
            opened = open_scene(Path("run"), "cpu", "auto", exposure=exposure)
            with _views(Path("run"), opened) as seen:
                assert isinstance(seen.photos, Corrected)
                given, even = seen.photos._photos.batch(3), seen.photos.batch(3)
                if exposure is None:
                    given = undeveloped(given, wanted)
                assert int((given.pixels.int() - even.pixels.int()).abs().max()) <= 1
        missing = splat("export", "run", "-o", "no.ply", "--exposure-of", "nobody.png")
        assert missing.code == 2 and "none of the 10 photos trained on" in missing.said

    def test_cameras_that_moved_are_written(
        self, tiny_folder: Path, splat: Callable[..., Outcome]
    ) -> None:
        done = splat("train", tiny_folder, "--out", "run", "--steps", 40, "--refine-poses")
        assert done.code == 0, done.said
        entries = json.loads(Path("run/cameras.json").read_text())["cameras"]
        assert all("given" in entry for entry in entries)
        moved = next(e for e in entries if e["given"] != e["world_to_camera"])
        config = read_config(Path("run/config.json"))
        given, placed = api.reread(config), api.reread(config, placed=Path("run/cameras.json"))
        for scene, wanted in ((given, "given"), (placed, "world_to_camera")):
            view = next(v for v in (*scene.train, *scene.test) if v.name == moved["name"])
            pose = view.camera.world_to_camera
            torch.testing.assert_close(pose.float(), torch.tensor(moved[wanted]))


class TestRigs:
    """What one physical camera took at several instants shares its exposure and its pose."""

    def rig(self, tmp_path: Path, stops: tuple[float, ...] = STOPS) -> SceneData:
        """Cameras, each of which took as many instants, with exposures of their own."""
        scene = datasets.load(clip_of(tmp_path / "clip", len(stops), 3), eval="none")
        out = tmp_path / "photos"
        out.mkdir()
        views = []
        for view in scene.train:
            pixels = cv2.imread(str(view.image)).astype(np.float32) * 0.6
            assert view.camera.taken_by is not None
            path = out / view.image.name
            cv2.imwrite(str(path), (pixels * 2 ** stops[view.camera.taken_by]).clip(0, 255))
            views.append(replace(view, image=path))
        return replace(scene, train=tuple(views))

    def test_only_what_stands_still_in_a_clip_is_one_camera(self, tmp_path: Path) -> None:
        views = datasets.load(clip_of(tmp_path / "a", 3, 2), eval="none").train
        assert [view.camera.sensor for view in views] == [0, 0, 1, 1, 2, 2]
        assert [view.camera.index for view in views] == [*range(6)]
        scene = datasets.load(clip_of(tmp_path / "b", 3, 1), eval="none")
        assert [view.camera.taken_by for view in scene.train] == [None] * 3
        # One camera that moves: every photo is posed, and may be exposed, of its own.
        moved = datasets.load(nerfies(tmp_path / "c"), eval="none").train
        assert [view.camera.sensor for view in moved] == [*range(len(moved))]

    def test_tables_have_a_row_a_camera(self, tmp_path: Path) -> None:
        scene = self.rig(tmp_path)
        options = Options(steps=40, device="cpu", exposure="grid", refine_poses=True)

        def look(job: Job) -> None:
            sensor = job.run.sensor
            assert sensor.each == "camera" and sensor.text().endswith("of each camera")
            assert all(
                len(next(iter(part.module.parameters()))) == len(STOPS)
                for part in sensor.parts.values()
            )
            train(job.run)
            poses = [sensor.aim(camera).world_to_camera for camera in job.photos.cameras]
            given = job.photos.cameras
            for k, pose in enumerate(poses):
                assert torch.equal(pose, poses[k // 3 * 3])
                assert not torch.equal(pose, given[k].world_to_camera)
            grey = torch.full((2, 2, 3), 0.5)
            assert sensor.tone is not None
            assert not torch.equal(sensor.tone(grey, 0), sensor.tone(grey, 1))

        with_job(scene, options, look)

    def test_exposures_are_measured_by_camera(self) -> None:
        photos = Measured(torch.tensor([[2.0] * 3, [8.0] * 3, [1.0] * 3, [1.0] * 3]), 4)
        cameras = by_camera(photos, [1, 1, 0, 0], 3)
        # 2 and 0 stops; of the third nothing is known: the mean of both.
        stops = cameras.gains.log2()[:, 0]
        torch.testing.assert_close(stops, torch.tensor([-1.0, 1.0, 0.0]), atol=1e-6, rtol=0)
        assert cameras.text().startswith("the cameras differ")

    def test_a_run_of_before_goes_on_with_a_row_a_photo(self, tmp_path: Path) -> None:
        scene = self.rig(tmp_path)
        before = replace(
            scene,
            train=tuple(replace(v, camera=replace(v.camera, taken_by=None)) for v in scene.train),
        )
        options = Options(steps=30, device="cpu", exposure="channel")
        state = tmp_path / "half.pt"
        with_job(before, options, lambda job: checkpoint.save(job.run, state))

        def look(job: Job) -> None:
            assert job.run.sensor.tone is not None
            assert len(job.run.sensor.tone.values) == len(scene.train)

        job = prepare(scene, Fixed(), options, checkpoint.load(state))
        try:
            look(job)
        finally:
            job.close()

    def test_files_have_the_exposure_of_the_camera_that_took_a_photo(
        self, tmp_path: Path, splat: Callable[..., Outcome]
    ) -> None:
        folder = clip_of(tmp_path / "clip", 3, 2)
        done = splat(
            "train", folder, "--out", "run", "--steps", 20, "--eval", "none",
            "--exposure", "channel", "mcmc", "--cap", 400,
        )  # fmt: skip
        assert done.code == 0, done.said
        entries = json.loads(Path("run/cameras.json").read_text())["cameras"]
        assert [entry["taken_by"] for entry in entries] == [0, 0, 1, 1, 2, 2]
        for name in (entries[2]["name"], entries[3]["name"]):
            out = f"{Path(name).stem}.ply"
            assert splat("export", "run", "-o", out, "--exposure-of", name).code == 0
        one, other = (formats.read(Path(f"{Path(entries[k]['name']).stem}.ply")) for k in (2, 3))
        assert torch.equal(one.colors, other.colors)
        names = [entry["name"] for entry in entries]
        assert rows_of_photos(Path("run/cameras.json"), names) == [0, 0, 1, 1, 2, 2]
