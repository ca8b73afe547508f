"""Runs on CUDA, real or pretended: what once mixed devices, and every way through a run."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pretend
import pytest
import ranks
import torch
from conftest import Outcome
from methods import METHODS, ends_with_and_without_a_break, job_of

from splat import loop
from splat.core import (
    Append,
    Assign,
    Cloud,
    Drop,
    Edit,
    Fixed,
    Nudge,
    Overwrite,
    Step,
    Strategy,
    Zero,
)
from splat.core.families import merged_edits
from splat.kernels.crossing import _numbers, numbers
from splat.runs import checkpoint
from splat.training.prepare import Job

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda_kernels")]
AWAY = {"adam": "visible", "offload": True}
CUDA = torch.device("cuda")


def trained(folder: Path, strategy: Strategy, steps: int, **more: object) -> Job:
    job = job_of(folder, strategy, steps=steps, device="cuda", resolution="full", **more)
    with closing(job):
        loop.train(job.run)
    return job


def test_mrnf_refines_what_is_offloaded(trial_folder: Path) -> None:
    """Its check for broken rows looks at columns of two devices."""
    job = trained(trial_folder, METHODS["mrnf"], 40, **AWAY)
    cloud = job.run.model.cloud
    assert cloud["sh"].device.type == "cpu" and cloud["mean"].is_cuda
    assert len(cloud) != cloud.began


def test_a_run_that_was_offloaded_is_finished(
    splat: Callable[..., Outcome], trial_folder: Path
) -> None:
    """Floaters are looked for among Gaussians that lie in the machine's memory."""
    told = splat(
        "train", trial_folder, "--device", "cuda", "--adam", "visible", "--offload", "--steps", 12,
        "--out", "run", "adc",
    )  # fmt: skip
    assert told.code == 0, told.said
    assert (Path("run") / "metrics.json").is_file() and (Path("run") / "point_cloud.ply").is_file()


@dataclass(frozen=True)
class OfTheCpu(Fixed):
    """Proposes an edit whose tensors lie on the CPU, as a method of one's own may."""

    def refine(self, step: Step) -> Edit | None:
        if step.number != 2:
            return None
        cloud = step.model.cloud
        n, parents = len(cloud), torch.tensor([0, 1])
        born = {name: values.cpu() for name, values in cloud.rows(parents).items()}
        return Edit(
            nudge=(Nudge("mean", torch.zeros(n, 3)),),
            overwrite=(Overwrite("opacity_logit", torch.zeros(n), "mine"),),
            assign=(Assign(torch.tensor([7]), {"mean": torch.ones(1, 3)}, "mine"),),
            append=(Append(born, parents, "mine"),),
            drop=(Drop(torch.tensor([3, 5]), "mine"),),
        )


@pytest.mark.parametrize("more", [{}, AWAY])
def test_row_numbers_may_lie_on_the_cpu(trial_folder: Path, more: dict[str, object]) -> None:
    cloud = trained(trial_folder, OfTheCpu(), 3, **more).run.model.cloud
    assert len(cloud) == cloud.began
    assert torch.allclose(cloud["mean"][5].cpu(), torch.ones(3), atol=1e-3)  # the row that was 7


def cloud_of(n: int) -> Cloud:
    cloud = Cloud()
    cloud.add("mean", torch.zeros(n, 3, device=CUDA), lambda step: 1e-3)
    cloud.add("opacity_logit", torch.zeros(n, device=CUDA), lambda step: 1e-3)
    cloud.track("seen")
    return cloud


def test_edits_that_name_no_rows_are_merged_where_the_cloud_is() -> None:
    cloud = cloud_of(4)
    drop = Edit(drop=(Drop(torch.tensor([1], device=CUDA), "faint"),))
    for other in (
        Edit(clear=("seen",)),
        Edit(nudge=(Nudge("mean", torch.ones(4, 3, device=CUDA)),)),
        Edit(overwrite=(Overwrite("opacity_logit", torch.ones(4, device=CUDA), "reset"),)),
        Edit(zero=(Zero("seen", torch.ones(4, dtype=torch.bool, device=CUDA)),)),
    ):
        for edits in ([drop, other], [other, drop]):
            merged = merged_edits(edits, cloud)
            assert merged is not None and [d.rows.tolist() for d in merged.drop] == [[1]]
    cloud.hold("frozen", torch.tensor([True, False, False, False], device=CUDA))
    cloud.apply(Edit(clear=("seen",), nudge=(Nudge("mean", torch.ones(4, 3, device=CUDA)),)))
    assert cloud["mean"][:, 0].tolist() == [0, 1, 1, 1]


def test_mcmc_is_finished_for_a_format(trial_folder: Path) -> None:
    """Its noise, which names no rows, meets the pruning of the end in one edit."""
    job = trained(
        trial_folder, METHODS["mcmc"], 24, finish_for=".spz", finish_keep=0.5, finish_share=0.5
    )
    assert job.run.model.cloud["mean"].isfinite().all()


def test_anchors_are_measured_on_the_cpu(
    splat: Callable[..., Outcome], trial_folder: Path, tmp_path: Path
) -> None:
    """`--device auto` means the CPU where only the CPU can do it."""
    common = ("--device", "cuda", "--steps", 6, "--out", "run")
    assert splat("train", trial_folder, *common, "scaffold").code == 0
    told = splat("eval", Path("run") / "scene.anchors", "--scene", trial_folder, "--json")
    assert told.code == 0, told.said
    assert json.loads(told.out)["device"] == "cpu"
    told = splat("eval", Path("run") / "scene.anchors", "--scene", trial_folder, "--device", "cuda")
    assert told.code == 2 and "on the CPU only; leave --device cuda out" in told.said


def test_photos_come_from_pinned_memory(trial_folder: Path) -> None:
    """From the second time on that one is shown, no copy of it waits."""
    job = job_of(trial_folder, Fixed(), steps=40, device="cuda", resolution="full")
    with closing(job):
        count = len(job.photos)
        for step in range(count):
            job.photos(step)
        batch = job.photos(count)
        assert batch.pixels.is_cuda and len(job.photos) > 4
        if torch.cuda.get_device_name() == "pretended GPU":
            pretend.taken_counts()
            for step in range(count, 2 * count):
                job.photos(step)
            counts = pretend.taken_counts()
            assert counts.get("copy from pinned memory") == count
            assert "copy from pageable memory" not in counts
        on_cpu = [job.photos.some([i])[0].pixels for i in range(count)]
        assert all(torch.equal(job.photos.batch(i).pixels.cpu(), on_cpu[i]) for i in range(count))


WAITS = ("copy to the machine", "_local_scalar_dense", "nonzero")
"""What a GPU is waited for by, as the pretended device counts it."""


def waits() -> int:
    counts = pretend.taken_counts()
    return sum(n for name, n in counts.items() if any(each in name for each in WAITS))


def test_a_step_waits_once(trial_folder: Path) -> None:
    """For the number of pairs of a Gaussian and a tile; edits, which are rare, wait more."""
    if torch.cuda.get_device_name() != "pretended GPU":
        pytest.skip("waits are counted on the pretended device only")
    one = torch.ones((), device=CUDA)
    pretend.taken_counts()
    assert one.item() == 1 and waits() == 1
    assert len(one[None].nonzero()) == 1 and waits() == 1
    job = job_of(trial_folder, METHODS["mcmc"], steps=30, device="cuda", resolution="full")
    with closing(job):
        run, begun = job.run, []
        while run.step < 25:
            rows = len(run.model.cloud)
            pretend.taken_counts()
            loop.advance(run)
            if run.step > 15 and len(run.model.cloud) == rows:
                begun.append(waits())
        assert len(begun) >= 5 and sorted(begun)[len(begun) // 2] == 1, begun


def test_a_checkpoint_opens_without_cuda(trial_folder: Path, tmp_path: Path) -> None:
    """By plain torch, as the page on files says: it holds tensors of the CPU."""
    job = trained(trial_folder, METHODS["scaffold"], 3)
    checkpoint.save(job.run, tmp_path / "saved.pt")
    held = torch.load(tmp_path / "saved.pt", weights_only=True)
    parts, tensors = [held], []
    while parts:
        part = parts.pop()
        if isinstance(part, torch.Tensor):
            tensors.append(part)
        elif isinstance(part, dict | list | tuple):
            parts += part.values() if isinstance(part, dict) else part
    assert len(tensors) > 20 and {each.device.type for each in tensors} == {"cpu"}


HALF = ["--moments", "bfloat16", "--harmonics", "bfloat16"]


@pytest.mark.parametrize("method", [["adc"], ["--shard", *HALF, "mcmc", "--cap", "300"]])
def test_two_processes_train_one_run(
    method: list[str], trial_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they tell each other is of the CPU: a tensor of a GPU would go to the first one.

    Pretended, each has a GPU of its own, and gloo stands in for NCCL.
    """
    if os.environ.get(pretend.WANTED):
        monkeypatch.setenv(pretend.WANTED, "2")
    elif torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    command = ["-m", "splat", "train", trial_folder, "--device", "cuda", "--steps", 24]
    started = ranks.started(2, [*map(str, command), "--out", str(tmp_path / "run"), *method])
    said = [part.communicate(timeout=300)[0] for part in started]
    assert [part.returncode for part in started] == [0, 0], "\n".join(said)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["processes"] == 2 and metrics["psnr"] > 8


@pytest.mark.parametrize("name", ["mcmc"])
def test_a_resumed_run_ends_in_the_same_bytes(
    name: str, trial_folder: Path, tmp_path: Path
) -> None:
    """As on the CPU: our kernels add up in a fixed order."""
    more = {"device": "cuda", "renderer": "native", "resolution": "full"}
    one, two = ends_with_and_without_a_break(trial_folder, tmp_path, METHODS[name], 33, 60, **more)
    assert one == two


def test_harmonics_in_bfloat16_train_and_resume(
    trial_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Pretended, they are moved by the CUDA kernel's own source: to the same bytes after a break,
    and to where the CPU moves them."""
    if torch.cuda.get_device_name() == "pretended GPU":
        stand_in = importlib.import_module("pretend.kernels")
        monkeypatch.setattr(stand_in, "adam", request.getfixturevalue("emulated").adam)
    more: dict[str, Any] = {"resolution": "full", "moments": "bfloat16", "harmonics": "bfloat16"}
    strategy = METHODS["mcmc"]
    one, two = ends_with_and_without_a_break(
        trial_folder, tmp_path, strategy, 17, 30, device="cuda", renderer="native", **more
    )
    assert one == two
    mine = checkpoint.rows(checkpoint.load(tmp_path / "end.pt"))["sh"]
    with closing(job_of(trial_folder, strategy, steps=30, device="cpu", **more)) as job:
        loop.train(job.run)
        other = job.run.model.cloud["sh"].detach()
    assert mine.dtype == other.dtype == torch.bfloat16 and mine.shape == other.shape
    apart, moved = ((mine - t).float().abs().mean() for t in (other, torch.zeros(())))
    assert apart < 0.02 * moved, (apart, moved)


def test_gsplat_does_not_draw_bfloat16(trial_folder: Path) -> None:
    with pytest.raises(ValueError, match="gsplat draws float32 only; leave --harmonics or"):
        job_of(trial_folder, Fixed(), device="cuda", renderer="gsplat", harmonics="bfloat16")


def test_a_camera_is_read_once() -> None:
    """The kernels take it as numbers, for which the GPU would be waited at every step."""
    pose = torch.eye(4, device=CUDA)
    assert numbers(pose) is numbers(pose) and numbers(pose) == torch.eye(4).tolist()
    pose[0, 3] = 2
    assert numbers(pose)[0][3] == 2
    held = len(_numbers)
    del pose
    assert len(_numbers) == held - 1
