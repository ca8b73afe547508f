"""Checkpoints: whole or not there, refused where foreign, and resumed to the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from methods import METHODS
from scenes import files_of
from torch import Tensor

from splat import api, kernels
from splat.core.edit import Change
from splat.core.step import Step
from splat.loop import Run
from splat.options import Options, Reading, Watching
from splat.runs import checkpoint
from splat.runs.folder import Folder, vacant
from splat.system import machine
from splat.system.files import DiskFull, write_json
from splat.system.lock import locked
from splat.training.stop import Stopped

Outcome = Any


def trained(
    scene: Path,
    out: Path,
    steps: int,
    *,
    method: str = "adc",
    every: int = 1000,
    watchers: tuple[Callable[..., None], ...] = (),
    overwrite: bool = False,
) -> api.Result:
    """A run on the tiny scene that the command line can resume."""
    return api.train(
        api.load(scene),
        METHODS[method],
        Options(steps=steps, max_side=0, schedule="published", threads=2),
        out=out,
        overwrite=overwrite,
        watching=Watching(quiet=True, pictures=False, checkpoint_every=every),
        reading=Reading(),
        watchers=watchers,
        lpips=None,
    )


def at(number: int, act: Callable[[Run], None]) -> Callable[..., None]:
    """A watcher that acts after one step."""

    def watch(run: Run, step: Step, losses: Mapping[str, Tensor], change: Change) -> None:
        if run.step == number:
            act(run)

    return watch


def kill(number: int) -> Callable[[Run], None]:
    """Send this process a signal."""
    return lambda run: os.kill(os.getpid(), number)


def test_resume_ends_with_the_same_bytes_with_another_thread_count(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    trained(tiny_folder, tmp_path / "whole", 60)
    # Stopped between the first edit of a window, the reset at 45 and the end.
    with pytest.raises(Stopped):
        trained(tiny_folder, tmp_path / "part", 60, watchers=(at(35, kill(signal.SIGTERM)),))
    assert [path.name for path in checkpoint.checkpoints_in(tmp_path / "part/checkpoints")] == [
        "step_00000035.pt"
    ]
    assert splat("resume", tmp_path / "part", "--threads", 1, "--quiet").code == 0
    for name in ("checkpoints/step_00000060.pt", "point_cloud.ply"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.glob("*/.*")) and not list(tmp_path.glob("*/checkpoints/.*"))


def test_a_finished_run_goes_on_only_beyond_its_end(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    trained(tiny_folder, tmp_path / "run", 20)
    refused = splat("resume", tmp_path / "run")
    assert refused.code == 2 and "is finished at step 20; to go on, give --steps" in refused.said
    refused = splat("resume", tmp_path / "run", "--steps", 10)
    assert refused.code == 2 and "is at step 20 already; give --steps beyond it" in refused.said
    assert splat("resume", tmp_path / "run", "--steps", 30, "--quiet").code == 0
    assert checkpoint.load(Folder(tmp_path / "run").latest())["step"] == 30
    assert "is finished at step 30" in splat("resume", tmp_path / "run").said


def test_torch_loads_it_with_weights_only_and_it_is_complete(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trained(tiny_folder, tmp_path / "run", 12)
    state = torch.load(Folder(tmp_path / "run").latest(), weights_only=True)
    assert (state["format"], state["version"], state["step"]) == ("splat checkpoint", 1, 12)
    cloud = state["model"]["_extra_state"]
    rows = {len(column[part]) for column in cloud["columns"].values() for part in _PARTS}
    rows |= {len(values) for values in cloud["statistics"].values()}
    assert len(rows) == 1 and {"screen_gradient", "views"} <= set(cloud["statistics"])


_PARTS = ("values", "first", "second")


def test_only_the_last_are_kept(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "run", 10, method="fixed", every=2)
    steps = [path.stem for path in checkpoint.checkpoints_in(tmp_path / "run/checkpoints")]
    assert steps == ["step_00000006", "step_00000008", "step_00000010"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(
    tiny_folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        trained(tiny_folder, tmp_path / "run", 50, watchers=(at(7, kill(number)),))
    assert (stopped.value.number, stopped.value.step) == (number, 7)
    assert checkpoint.load(stopped.value.path)["step"] == 7
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_at_once(tiny_folder: Path, tmp_path: Path) -> None:
    def twice(run: Run) -> None:
        # To this thread: another one might take it, and both signals then count as one.
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    # A job in the background of a shell is started with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(tiny_folder, tmp_path / "run", 50, watchers=(at(7, twice),))
    finally:
        signal.signal(signal.SIGINT, before)
    assert not checkpoint.checkpoints_in(tmp_path / "run/checkpoints")


KILLER = """
import os, signal, sys, time
from pathlib import Path
from splat import api
from splat.runs import checkpoint
from splat.options import Options, Reading, Watching
from splat.strategies.mcmc import Mcmc

scene, out = map(Path, sys.argv[1:])
watching = Watching(quiet=True, pictures=False, checkpoint_every=1)

def act():
    if not out.is_dir():
        options = Options(steps=10_000, max_side=0)
        api.train(api.load(scene), Mcmc(cap=900), options, out=out, watching=watching,
                  reading=Reading(), lpips=None)
    api.resume(out, watching=watching, lpips=None)

def last():
    return max((int(p.stem[5:]) for p in checkpoint.checkpoints_in(out / "checkpoints")), default=0)

# This process starts no threads, so that it may fork.
for delay in (0.0, 0.011, 0.023, 0.037, 0.049, 0.061):
    before = last()
    child = os.fork()
    if child == 0:
        act()
        os._exit(1)
    end = time.monotonic() + 30
    while last() < before + 2 and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child ended by itself"
    kept = checkpoint.checkpoints_in(out / "checkpoints")
    steps = [checkpoint.load(path)["step"] for path in kept]
    assert steps[-1] >= before + 2, "the child saved nothing"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_any_moment_corrupts_nothing(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    out = tmp_path / "run"
    subprocess.run([sys.executable, "-c", KILLER, str(tiny_folder), str(out)], check=True)
    done = checkpoint.load(Folder(out).latest())["step"]
    assert splat("resume", out, "--steps", done + 1, "--quiet").code == 0
    assert not list((out / "checkpoints").glob(".*"))


def test_nobody_else_trains_in_a_folder_and_a_lock_that_a_kill_left_locks_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fcntl")
    out, refused = tmp_path / "run", []
    trained(tiny_folder, out, 2, every=2)
    (out / ".lock").write_text("1")  # as a process leaves it that was killed

    def intrude(run: Run) -> None:
        for act in (lambda: vacant(out, overwrite=True), lambda: api.resume(out)):
            with pytest.raises(
                ValueError, match=f"another process .{os.getpid()}. works on"
            ) as why:
                act()
            refused.append(why)

    trained(tiny_folder, out, 4, overwrite=True, watchers=(at(3, intrude),))
    assert len(refused) == 2 and checkpoint.load(Folder(out).latest())["step"] == 4
    assert not (out / ".lock").exists()


def test_a_lock_of_a_stranger_is_neither_followed_nor_waited_for(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "link").symlink_to(precious)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError), locked(tmp_path / "link", "it"):
        pass
    with pytest.raises(ValueError, match="pipe is no file"), locked(tmp_path / "pipe", "it"):
        pass
    assert precious.read_text() == "mine"


def test_what_replaces_a_file_is_on_the_disk_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the old file is there or the new one, whole; never an empty one."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        done.append("folder" if folder else f"{os.fstat(handle).st_size} bytes")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("replaced"), replace(a, b)))
    write_json(tmp_path / "config.json", {})
    assert done == ["3 bytes", "replaced", "folder"]


def test_a_run_killed_while_its_config_is_written_begins_anew_in_place(tmp_path: Path) -> None:
    (tmp_path / ".config.123.json").write_text('{"format": "spl')
    folder = vacant(tmp_path, overwrite=False)
    folder.clear()
    assert not [*tmp_path.iterdir()]
    (tmp_path / ".config.mine.txt").touch()
    with pytest.raises(FileExistsError, match="is not empty and no run"):
        vacant(tmp_path, overwrite=True)


@pytest.mark.skipif(len(kernels.isas()) < 2, reason="needs two instruction sets")
def test_a_resume_by_other_kernels_says_so(
    tiny_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(tiny_folder, tmp_path / "run", 4, every=2)
    before = kernels.isa()
    for isa in (before, kernels.isas()[-1]):
        caplog.clear()
        with kernels.use_isa(isa):
            steps = checkpoint.load(Folder(tmp_path / "run").latest())["step"] + 2
            api.resume(tmp_path / "run", steps=steps, lpips=None)
        said = f"kernels for {before} trained this run, and those for {isa} go on"
        assert (said in caplog.text) == (isa != before)


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(
    tiny_folder: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(run: Run) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))

    try:
        with pytest.raises(DiskFull) as caught:
            trained(tiny_folder, tmp_path / "run", 30, every=10, watchers=(at(12, fill),))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    message = str(caught.value)
    assert "step_00000020.pt was not written; free some space" in message and "\n" not in message
    assert checkpoint.load(Folder(tmp_path / "run").latest())["step"] == 10
    assert len(list((tmp_path / "run/checkpoints").iterdir())) == 1


def test_on_a_full_disk_older_checkpoints_make_room(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, there = checkpoint.save, []

    def full(run: Run, path: Path) -> None:
        steps = [file.name for file in checkpoint.checkpoints_in(path.parent)]
        if run.step == 8 and not there:
            there.extend(steps)
            raise DiskFull("the disk is full")
        if run.step == 8:
            assert (there[0], steps) == ("step_00000002.pt", ["step_00000006.pt"])
        save(run, path)

    monkeypatch.setattr(checkpoint, "save", full)
    trained(tiny_folder, tmp_path / "run", 8, every=2)
    assert checkpoint.load(Folder(tmp_path / "run").latest())["step"] == 8


def test_a_run_that_the_disk_has_no_room_for_is_not_begun(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = tmp_path / "run"
    with caplog.at_level("INFO"):
        trained(tiny_folder, out, 4, every=2)
    # 59 numbers, two moments of each, and three statistics, 4 bytes each, of 1,000 rows at most.
    assert "disk      at most 5 checkpoints of 720 kB + files" in caplog.text
    last = Folder(out).latest()
    rows = json.loads((out / "metrics.json").read_text())["gaussians"]
    assert 720 * rows < last.stat().st_size < 720 * rows + 20_000
    before = files_of(out)
    monkeypatch.setattr(machine, "disk_free", lambda folder: 1_000_000)
    with pytest.raises(ValueError, match=r"run: this run writes .* 1 MB are free; free some space"):
        trained(tiny_folder, out, 8, overwrite=True)
    assert files_of(out) == before


def test_foreign_broken_and_newer_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    for content, words in (
        (b"", "cannot be read as a checkpoint"),
        (b"garbage", "cannot be read as a checkpoint"),
        ({"weights": torch.zeros(3)}, "is no checkpoint of splat"),
        (torch.zeros(3), "is no checkpoint of splat"),
        ({"format": checkpoint.FORMAT, "version": 99}, "format 99, this splat reads up to 3"),
        (Path("made by pickle"), "cannot be read as a checkpoint"),
    ):
        if type(content) is bytes:
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(ValueError, match=words) as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "run", 3)
    path = Folder(tmp_path / "run").latest()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot be read as a checkpoint .* resume from the one"):
        api.resume(tmp_path / "run", steps=5)


def test_a_scene_that_changed_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "run", 3)
    other = api.load(tiny_folder, eval="3")
    with pytest.raises(ValueError, match="views that were trained on are 8 others now"):
        api.resume(tmp_path / "run", other, steps=5)


def test_a_run_begun_in_python_resumes_from_the_command_line(
    tiny_folder: Path, tmp_path: Path, splat: Callable[..., Outcome]
) -> None:
    plain = Watching(quiet=True, pictures=False)
    options = Options(steps=3, max_side=0)
    held_out = api.load(tiny_folder, eval="view_003.png,view_007.png")
    out = tmp_path / "run"
    api.train(held_out, METHODS["fixed"], options, out=out, watching=plain, lpips=None)
    moved = shutil.copytree(tiny_folder, tmp_path / "moved")
    assert splat("resume", out, "--steps", 5, "--scene", moved, "--quiet").code == 0
    assert '"moved"' in splat("info", out, "--json").out.replace(str(tmp_path) + "/", "")
    # Cameras that were changed in Python are on no disk: only Python can go on with them.
    first = held_out.train[0]
    camera = replace(first.camera, K=first.camera.K * 1.01)
    changed = replace(held_out, train=(replace(first, camera=camera), *held_out.train[1:]))
    api.train(
        changed, METHODS["fixed"], options, out=out, overwrite=True, watching=plain, lpips=None
    )
    refused = splat("resume", out, "--steps", 5)
    assert refused.code == 2 and "made in Python" in refused.said
    assert api.resume(out, changed, steps=5, lpips=None).metrics["steps"] == 5
