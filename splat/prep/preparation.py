"""From photographs or a video to a posed scene: the stages in their order."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from splat.prep import pairs
from splat.prep.cameras import Group, cameras_text, groups
from splat.prep.child import check_installed, run_stage, threads_for
from splat.prep.gather import (
    LEAST,
    REDO,
    Gathered,
    Tick,
    check_enough,
    fingerprint,
    gather,
    sources,
    write_json,
)
from splat.prep.given import named_distance, place_of, vacate
from splat.prep.options import PrepOptions
from splat.prep.report import Report
from splat.prep.rig import RigReport, is_rig, prepare_rig
from splat.prep.rig_poses import has_poses
from splat.prep.stages import Stages
from splat.system import machine
from splat.system.foreign import Record, reading, record

SAY_EVERY = 10.0
"""Seconds between lines on how far a stage is, where there is no terminal."""

_log = logging.getLogger(__name__)


def prepare(
    source: Path | str,
    out: Path | str,
    options: PrepOptions | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = True,
) -> Report:
    """Make the folder `out` a scene of the photos below `source`, or of a video.

    `images/` and `sparse/` are COLMAP's, undistortion is left to whoever reads them. `photos.json`
    has a record of each photo (`splat.prep.photos.Photo`), `prep.json` and `prep.txt` the report. A
    second call goes on where an earlier one was interrupted, and does again what other options or
    files change; `overwrite` starts anew, and what was there is kept in `.replaced` until the new
    scene is done. Raises ValueError, with the report written, where fewer than three photos are
    registered.
    """
    source, out, options = Path(source), Path(out), options or PrepOptions()
    check_installed()
    files, _ = sources(source)
    replaced = vacate(source, out, overwrite)
    _undo_half_swap(out)
    try:
        report = _Preparation(source, out, options, Stages(out), quiet).done(files)
    except BaseException:
        if replaced.is_there:
            _log.warning("warning: the new scene is not done%s", replaced.hint)
        raise
    replaced.forget()
    return report


def prepare_any(
    source: Path, out: Path, options: PrepOptions | None = None, *, overwrite: bool = False,
    quiet: bool = True,
) -> Report | RigReport:  # fmt: skip
    """As `prepare`; and of several videos in a folder, which show one moment, a clip
    (`splat.prep.rig`)."""
    options = options or PrepOptions()
    if not is_rig(source):
        return prepare(source, out, options, overwrite=overwrite, quiet=quiet)
    if not has_poses(source):
        check_installed()

    def find(photos: Path, posed: Path) -> object:
        return prepare(photos, posed, options, quiet=quiet)

    with progress("taking frames", "frame", quiet) as tick:
        return prepare_rig(source, out, options, overwrite=overwrite, tick=tick, find=find)


@dataclass
class _Preparation:
    source: Path
    out: Path
    options: PrepOptions
    stages: Stages
    quiet: bool

    def done(self, files: list[Path]) -> Report:
        """Run all stages, and report."""
        before = self.stages.complete()
        gathering = self._gathered(files)
        check_enough(self.source, gathering)
        families = groups(gathering.photos, self.options.camera_model)
        job = self._job(gathering, families)
        self._features(job, families)
        matched = self._matches(job, gathering)
        solved = self._mapped(job)
        placed: dict[str, Any] = {"frame": None}
        registered = len(solved["models"][0]["registered"]) if solved["models"] else 0
        if registered >= LEAST:
            placed = self._placed(job, gathering, solved)
        report = Report.of(
            self.source, self.out, gathering, solved, matching=matched["matching"],
            pairs=matched["pairs"], frame=placed["frame"], options=asdict(self.options),
            seconds=self.stages.seconds(),
        )  # fmt: skip
        report.write(self.out)
        if registered < LEAST:
            advice = report.failed[0][1] if report.failed else "no overlap"
            raise ValueError(
                f"{self.source}: camera poses were found for {registered} of {report.photos} photos"
                f" (the first without: {advice}); expected at least {LEAST}: take more photos that"
                f" overlap by two thirds, from different places; {self.out / 'prep.txt'} names"
                " each photo"
            )
        if before == self.stages.complete():
            _log.info("%s was complete already; nothing has changed since", self.out)
        return report

    def _gathered(self, files: list[Path]) -> Gathered:
        options, kept = self.options, self.stages.folder / "gathered.json"
        settings = (options.frames, options.every) if self.source.is_file() else ()
        state = self.stages.begin(
            "gather", fingerprint(self.source, files), options.drop_blurry, *settings
        )
        if state == "done" and kept.is_file():
            gathering = Gathered.read(kept)
            if all((self.out / "images" / photo.name).is_file() for photo in gathering.photos):
                return gathering
        unit = "frame" if self.source.is_file() else "photo"
        with self._bar(f"reading {unit}s", unit) as tick:
            gathering = gather(
                self.source, self.out / "images", self.stages.folder / "photos.jsonl", options, tick
            )
        gathering.write(kept)
        write_json(self.out / "photos.json", [asdict(photo) for photo in gathering.photos])
        self.stages.end("gather")
        _log.info("%s", gathering.text())
        return gathering

    def _job(self, gathering: Gathered, families: list[Group]) -> dict[str, Any]:
        """What the jobs of all stages have in common."""
        folder = self.stages.folder.resolve()
        pixels = max(photo.width * photo.height for photo in gathering.photos)
        longest = max(max(photo.width, photo.height) for photo in gathering.photos)
        return {
            "database": str(folder / "database.db"),
            "images": str((self.out / "images").resolve()),
            "names": sorted(photo.name for photo in gathering.photos),
            "seed": self.options.seed,
            "threads": self.options.threads or machine.cores(),
            "few_threads": threads_for(
                pixels, self.options.max_side, longest, self.options.threads
            ),
            **{name: str(folder / name) for name in ("raw", "models", "sparse")},
            "list": str(folder / "pairs.txt"),
            "groups": [asdict(group) for group in families],
        }

    def _features(self, job: dict[str, Any], families: list[Group]) -> None:
        options = self.options
        state = self.stages.begin("features", job["groups"], options.features, options.max_side)
        if state == "done":
            return
        _log.info("%s", cameras_text(families))
        asked = {"features": options.features, "max_side": options.max_side}
        asked["threads"] = job["few_threads"]
        with self._bar("finding features", "photo") as tick:
            run_stage("features", {**job, **asked}, self.stages.folder, tick)
        self.stages.end("features")

    def _matches(self, job: dict[str, Any], gathering: Gathered) -> dict[str, Any]:
        options, kept = self.options, self.stages.folder / "matched.json"
        matching = pairs.matching_for(options.matching, len(gathering.photos), gathering.video)
        state = self.stages.begin("matches", matching, options.overlap, options.alike, options.seed)
        if state == "done" and kept.is_file():
            return kept_result(kept, check_matched)
        _log.info("%s (--matching %s)", pairs.MEANING[matching], matching)
        places = {photo.name: place_of(photo) for photo in gathering.photos}
        asked = {
            "matching": matching, "overlap": options.overlap, "alike": options.alike,
            "gps": [places[name] for name in job["names"]], "anew": state == "new",
        }  # fmt: skip
        with self._bar("comparing pairs", "pair") as tick:
            done = run_stage("matches", {**job, **asked}, self.stages.folder, tick)
        done = {"matching": matching, **done}
        write_json(kept, done)
        self.stages.end("matches")
        return done

    def _mapped(self, job: dict[str, Any]) -> dict[str, Any]:
        kept = self.stages.folder / "mapped.json"
        if self.stages.begin("mapping", self.options.seed) == "done" and kept.is_file():
            return kept_result(kept, check_mapped)
        with self._bar("finding poses", "photo") as tick:
            done = run_stage("mapping", job, self.stages.folder, tick)
        write_json(kept, done)
        self.stages.end("mapping")
        return done

    def _placed(
        self, job: dict[str, Any], gathering: Gathered, solved: dict[str, Any]
    ) -> dict[str, Any]:
        options, kept = self.options, self.stages.folder / "placed.json"
        distance = named_distance(options, gathering, solved["models"][0]["registered"])
        state = self.stages.begin("placing", options.frame, distance)
        if state == "done" and kept.is_file() and (self.out / "sparse").is_dir():
            return kept_result(kept, check_placed)
        gps = {photo.name: place_of(photo) for photo in gathering.photos}
        asked = {"frame": options.frame, "distance": distance, "gps": gps}
        done = run_stage("placing", {**job, **asked}, self.stages.folder, lambda *_: None)
        # The old model goes when the new one is whole.
        old, new = _old_model(self.out), self.stages.folder / "sparse"
        shutil.rmtree(old, ignore_errors=True)
        if (self.out / "sparse").exists():
            (self.out / "sparse").rename(old)
        new.rename(self.out / "sparse")
        shutil.rmtree(old, ignore_errors=True)
        write_json(kept, done)
        self.stages.end("placing")
        return done

    def _bar(self, title: str, unit: str) -> AbstractContextManager[Tick]:
        return progress(title, unit, self.quiet)


@contextmanager
def progress(title: str, unit: str, quiet: bool) -> Iterator[Tick]:
    """A progress bar, or a line now and then where there is no terminal; it yields the function
    that takes how many are done of how many."""
    bar = tqdm(desc=title, unit=unit, disable=quiet or None, leave=False)
    start = said = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal said
        bar.total = max(total, done)
        bar.update(done - bar.n)
        if bar.disable and not quiet and time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            _log.info("%s: %s of %s, %.0f s", title, f"{done:,}", f"{total:,}", said - start)

    with bar:
        yield tick
    _log.info("%s: %.0f s", title, time.monotonic() - start)


def kept_result(path: Path, check: Callable[[Record], object]) -> dict[str, Any]:
    """The result of a stage that was carried out before."""
    with reading(path, REDO):
        result = record(path)
        check(result)
        return {**result}


def check_matched(result: Record) -> None:
    result.text("matching"), result.whole("pairs")


def check_mapped(result: Record) -> None:
    for model in result.records("models"):
        model.texts("registered"), model.whole("points")
        model.number("error"), model.number("track")
        for camera in model.records("cameras"):
            camera.text("model"), camera.number("focal"), camera.numbers("parameters", -1)
            for key in ("width", "height", "photos"):
                camera.whole(key)
    photos = result.record("photos")
    for name in photos:
        for key in ("features", "pairs", "best"):
            photos.record(name).whole(key)


def check_placed(result: Record) -> None:
    if result["frame"] is not None:
        result.record("frame").text("how")


def _old_model(out: Path) -> Path:
    """Where the old model lies while it is replaced by the new one."""
    return out / ".prep" / "old"


def _undo_half_swap(out: Path) -> None:
    """Put the old model back, if a process was killed between taking it away and the new one."""
    if _old_model(out).is_dir() and not (out / "sparse").exists():
        _old_model(out).rename(out / "sparse")
