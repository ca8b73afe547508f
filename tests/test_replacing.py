"""Writers that are disturbed leave the old or the new; by hand, what `tests/hostile` finds by all
operations."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from splat import api
from splat.comparison import report
from splat.comparison.drawing import Chart
from splat.options import Options, Watching
from splat.options.verbs import check_free
from splat.prep.given import vacate
from splat.prep.photos import import_photo, link_or_copy
from splat.runs.folder import Folder, existing, vacant
from splat.strategies.mcmc import Mcmc
from splat.system import errors
from splat.system.files import NotWritten, read_json, replacing, write_json
from splat.system.replaced import Replaced


def bytes_below(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_fault_of_the_disk_is_a_sentence_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    path.write_bytes(b"old")
    with pytest.raises(NotWritten) as caught, replacing(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))  # as a write says it, without a name
    code, sentence = errors.explained(caught.value) or (0, "")
    assert code == errors.FAILED and "the disk reports an error: " in sentence
    assert str(path) in sentence and "Errno" not in sentence
    assert bytes_below(tmp_path) == {"scene.ply": b"old"}


def test_a_fault_of_the_disk_that_no_writer_tells_is_a_sentence_too() -> None:
    full = errno.ENOSPC, os.strerror(errno.ENOSPC)
    for error, what in ((OSError(*full), "a file"), (OSError(*full, "x.ply"), "x.ply")):
        code, sentence = errors.explained(error) or (0, "")
        assert code == errors.FAILED
        assert sentence.startswith(f"the disk is full: {what} could not be read or written")
    assert errors.explained(OSError("no frames")) == (errors.BAD_INPUT, "no frames")


def test_what_is_written_is_no_failure_though_its_draft_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, unlink = tmp_path / "scene.ply", Path.unlink

    def failing(self: Path, missing_ok: bool = False) -> None:
        if path.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    with replacing(path) as draft:
        draft.write_bytes(b"new")
    assert bytes_below(tmp_path) == {"scene.ply": b"new"}


def test_a_draft_that_is_there_is_never_written_into(tmp_path: Path) -> None:
    photo, target = tmp_path / "photo.jpg", tmp_path / "scene" / "photo.jpg"
    photo.write_bytes(b"the user's")
    target.parent.mkdir()
    # What a process that was killed has left, whose number this one has by chance.
    os.link(photo, target.with_name(f".photo.{os.getpid()}.jpg"))
    with replacing(target) as draft:
        draft.write_bytes(b"another")
    assert photo.read_bytes() == b"the user's" and target.read_bytes() == b"another"


def test_drafts_of_killed_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [
        f".scene.{os.getpid()}.ply", f".other.{gone.pid}.ply", ".scene.mine.ply",
        f".scene.{gone.pid}.spz", "scene.ply",
    ]  # fmt: skip
    young = (f".scene.{gone.pid}.ply", f".scene.{gone.pid}.KiMgxh")  # the latter of usd-core
    for name in (*kept, *young):
        (tmp_path / name).touch()
    check_free(tmp_path / "scene.ply", overwrite=True)
    assert {*os.listdir(tmp_path)} == {*kept, *young}  # perhaps another machine writes them
    for name in (*kept, *young):
        os.utime(tmp_path / name, (0, 0))
    check_free(tmp_path / "scene.ply", overwrite=True)
    assert {*os.listdir(tmp_path)} == {*kept}


@pytest.fixture(scope="module")
def old(trial_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    out = tmp_path_factory.mktemp("old") / "run"
    trained(trial_folder, out, 4)
    return out


def trained(scene: Path, out: Path, steps: int, **more: Any) -> None:
    options = Options(steps=steps, max_side=0, device="cpu")
    watching = Watching(checkpoint_every=2, keep=2, pictures=False, quiet=True)
    api.train(
        api.load(scene), Mcmc(cap=300), options, out=out, lpips=None, watching=watching, **more
    )


def failing_at(number: int) -> Any:
    def fail(run: Any, *others: object) -> None:
        if run.step == number:
            raise RuntimeError("something went wrong")

    return fail


def test_a_run_stays_until_the_one_that_replaces_it_has_a_checkpoint(
    old: Path, trial_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(old, run)
    (run / "notes.txt").write_text("mine")
    before = bytes_below(run)
    for step in (1, 3):
        with pytest.raises(RuntimeError, match="went wrong"):
            trained(trial_folder, run, 6, overwrite=True, watchers=[failing_at(step)])
        if step == 1:
            assert bytes_below(run) == before
    assert Folder(run).latest().name == "step_00000002.pt"
    assert Folder(run).latest().read_bytes() != before["checkpoints/step_00000002.pt"]
    assert not (run / ".replaced").exists() and (run / "notes.txt").read_text() == "mine"
    api.resume(run, lpips=None)
    assert Folder(run).latest().name == "step_00000006.pt"


def test_a_run_whose_successor_was_killed_at_once_is_named(old: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(old, run)
    before = bytes_below(run)
    with pytest.raises(KeyboardInterrupt), Folder(run).replacing():
        write_json(run / "config.json", {"format": "splat run"})
        middle = tmp_path / "killed"
        shutil.copytree(run, middle)
        raise KeyboardInterrupt
    assert bytes_below(run) == before
    with pytest.raises(FileNotFoundError, match=r"what was there before lies in .*\.replaced"):
        Folder(middle).latest()
    (middle / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"what was there before lies in .*\.replaced"):
        existing(middle)
    with pytest.raises(FileExistsError, match="--overwrite"):
        vacant(middle, overwrite=False)
    vacant(middle, overwrite=True).replaced.put_back()
    assert bytes_below(middle) == before


def test_what_is_replaced_outlives_a_kill_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename, or the removal of a folder, is what a kill can stand between."""
    names = ("config.json", "checkpoints", "log.jsonl")

    def killed(acts: list[str], number: int) -> Path:
        folder = tmp_path / f"{'-'.join(acts)}{number}"
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("config.json", "log.jsonl", "checkpoints/step_1.pt"):
            (folder / name).write_text(f"old {name}")
        count, rename = 0, Path.rename

        def counted(path: Path, target: Path) -> Path:
            nonlocal count
            count += 1
            if count == number:
                raise SystemExit
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", counted)
            with pytest.raises(SystemExit):
                for act in acts:
                    if act == "aside":
                        Replaced(folder, names).set_aside(worth=True)
                        (folder / "config.json").write_text("new")
                    else:
                        Replaced(folder, names).put_back()
        return folder

    for acts, renames in ((["aside"], 4), (["aside", "back"], 8)):
        for number in range(1, renames + 1):
            folder = killed(acts, number)
            # The next command that overwrites goes on, and then fails.
            replaced = Replaced(folder, names)
            replaced.set_aside(worth=(folder / "checkpoints").is_dir())
            (folder / "config.json").write_text("newer")
            replaced.put_back()
            assert bytes_below(folder) == {
                name: f"old {name}".encode()
                for name in ("config.json", "log.jsonl", "checkpoints/step_1.pt")
            }, (acts, number)


def test_a_run_in_blocks_that_was_killed_as_it_began_is_no_strangers_folder(tmp_path: Path) -> None:
    (tmp_path / "blocks.json").touch()
    (tmp_path / "cameras.json").touch()
    assert vacant(tmp_path, overwrite=False).path == tmp_path
    (tmp_path / "blocks.json").unlink()
    with pytest.raises(FileExistsError, match="no run of splat"):
        vacant(tmp_path, overwrite=False)


def test_charts_of_the_last_report_stay_until_the_new_ones_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report._keep([Chart(name, "", b"old") for name in ("a", "b", "c")], tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("no")))
        with pytest.raises(OSError, match="no"):
            report._keep([Chart(name, "", b"new") for name in ("a", "b")], tmp_path)
    assert bytes_below(tmp_path) == {f"{name}.png": b"old" for name in "abc"}
    report._keep([Chart(name, "", b"new") for name in ("a", "b")], tmp_path)
    assert bytes_below(tmp_path) == {f"{name}.png": b"new" for name in "ab"}


def test_a_photo_of_the_scene_stays_until_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "new.jpg", tmp_path / "images" / "p.jpg"
    source.write_bytes(b"new")
    source.chmod(0o444)
    target.parent.mkdir()
    target.write_bytes(b"old")

    def fails(*paths: object) -> None:
        raise OSError(errno.EIO, "no link")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", fails)
        patch.setattr(shutil, "copyfile", fails)
        with pytest.raises(OSError):
            link_or_copy(source, target)
    assert target.read_bytes() == b"old"
    for _ in range(2):
        link_or_copy(source, target)
        assert target.samefile(source) and [*target.parent.iterdir()] == [target]


def test_a_prepared_scene_is_moved_aside_before_it_is_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "scene"
    for name in (".prep/state.json", "sparse/0/cameras.bin", "images/a.jpg", "photos.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    before = bytes_below(out)
    replaced = vacate(tmp_path / "photos", out, overwrite=True)
    assert bytes_below(out) == {f".replaced/{name}": data for name, data in before.items()}
    (out / "images").mkdir()
    (out / "images" / "a.jpg").write_text("half done")
    # A second one that overwrites is no reason to lose what is whole.
    vacate(tmp_path / "photos", out, overwrite=True)
    replaced.put_back()
    assert bytes_below(out) == before


def test_a_resume_killed_as_it_ended_can_be_given_again(
    old: Path, trial_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(old, run)
    config, before = (run / "config.json").read_bytes(), (run / "metrics.json").read_bytes()
    api.resume(run, steps=6, lpips=None)
    after = bytes_below(run)
    # As if it had been killed before its figures were written, and old checkpoints deleted.
    (run / "config.json").write_bytes(config)
    (run / "metrics.json").write_bytes(before)
    (run / "point_cloud.ply").write_bytes((old / "point_cloud.ply").read_bytes())
    shutil.copy(old / "checkpoints" / "step_00000002.pt", run / "checkpoints")
    api.resume(run, steps=6, lpips=None)
    assert {*bytes_below(run)} == {*after}
    assert (run / "point_cloud.ply").read_bytes() == after["point_cloud.ply"]
    assert read_json(run / "metrics.json")["steps"] == 6
    with pytest.raises(ValueError, match="is at step 6 already"):
        api.resume(run, steps=6, lpips=None)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("turned", [False, True])
def test_a_photo_that_the_disk_does_not_take_is_none_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, turned: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3 if turned else 1
    Image.new("RGB", (64, 48)).save(tmp_path / "p.jpg", exif=exif.tobytes())

    def fails(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(NotWritten, match=r"p\.jpg was not written"):
        import_photo(tmp_path / "p.jpg", tmp_path / "images" / "p.jpg")
