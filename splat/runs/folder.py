"""The folder of a run: what lies where, and the settings that resume reads again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splat.options import Options, Reading, Watching
from splat.runs.kept import checkpoints_in
from splat.system.files import read_json, write_json
from splat.system.foreign import Record, filled, reading, record
from splat.system.lock import locked
from splat.system.replaced import Replaced

if TYPE_CHECKING:
    # What is said of a run waits for no torch.
    from torch import Tensor

    from splat.runs import checkpoint
    from splat.types import SceneData

FORMAT = "splat run"
VERSION = 1


@dataclass(frozen=True)
class Folder:
    """Paths within the folder of a run."""

    path: Path

    @property
    def config(self) -> Path:
        """Scene, method and options; all that resume needs beside a checkpoint."""
        return self.path / "config.json"

    @property
    def cameras(self) -> Path:
        """Cameras of all views in the frame of the input (`render.camera_paths.from_file`)."""
        return self.path / "cameras.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def replayed(self) -> Path:
        """The changes that the run replays, as a log has them."""
        return self.path / "replay.jsonl"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def gaussians(self) -> Path:
        """The result in the frame of the input."""
        return self.path / "point_cloud.ply"

    def own_file(self, suffix: str) -> Path:
        """The model itself, of a run whose model has a file of its own (`Model.own_suffix`)."""
        return self.path / f"scene{suffix}"

    @property
    def blocks(self) -> Path:
        """The runs of the blocks that it was cut into (`splat.blocks`)."""
        return self.path / "blocks"

    @property
    def division(self) -> Path:
        """How it was cut into blocks, where it was."""
        return self.path / "blocks.json"

    @property
    def audio(self) -> Path:
        """What the run has learned to hear (`splat train-audio`)."""
        return self.path / "audio"

    @property
    def contact_sheet(self) -> Path:
        return self.path / "contact_sheet.png"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def dumps(self) -> Path:
        """Steps that ended a run, to be looked at (`splat debug-step`)."""
        return self.path / "dumps"

    @property
    def rerun(self) -> Path:
        return self.path / "rerun.rrd"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def timeline(self) -> Path:
        """Snapshots that the viewer kept."""
        return self.path / "timeline"

    def latest(self) -> Path:
        """The newest checkpoint; FileNotFoundError where there is none."""
        files = checkpoints_in(self.checkpoints)
        if not files:
            raise FileNotFoundError(
                f"{self.path} holds no checkpoint yet; begin it anew with"
                f" {self._begun_by()}{self.replaced.hint}"
            )
        return files[-1]

    def _begun_by(self) -> str:
        """The command that began the run, and may replace what it left, for people."""
        command = f"splat train ... --out {self.path}"
        with suppress(OSError, ValueError):
            command = read_config(self.config).command
        words = command.split()
        again = words[:1] == ["splat"] and "--overwrite" not in words
        return f"`{command} --overwrite`" if again else f"`{command}`"

    def is_run(self) -> bool:
        """Whether a run of ours was begun here."""
        return self.config.is_file()

    def in_blocks(self) -> bool:
        """Whether it is one that was cut into blocks, which has no checkpoints of its own."""
        return self.division.is_file()

    @property
    def replaced(self) -> Replaced:
        """The run that was here before, until the one that replaces it has a checkpoint."""
        folders = (
            self.checkpoints, self.tensorboard, self.rerun, self.timeline, self.blocks, self.audio,
            self.dumps,
        )  # fmt: skip
        return Replaced(self.path, tuple(path.name for path in (*self._files, *folders)))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, no other process trains here; raises ValueError where one does."""
        with locked(self._lock, str(self.path)):
            yield

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Within, a new run is begun in place of the one that may be here.

        The old one is kept until there is a checkpoint of the new (see `forget_replaced`), and is
        here again where the block raises before.
        """
        self.clear_drafts()
        self.replaced.set_aside(worth=self._has_results())
        try:
            yield
        except BaseException:
            if not self.forget_replaced():
                self.clear_drafts()
                self.replaced.put_back()
            raise
        self.replaced.forget()

    def forget_replaced(self) -> bool:
        """Delete what was here before, if there is something of the new run; whether there is."""
        if self.is_run() and self._has_results():
            self.replaced.forget()
            return True
        return False

    def _has_results(self) -> bool:
        """Whether there is something of a run that took a while."""
        kept = checkpoints_in(self.checkpoints)
        return bool(kept) or any(p.exists() for p in (self.gaussians, self.blocks, self.audio))

    def clear(self) -> None:
        """Remove what a run writes, and nothing else that may lie here."""
        self.clear_drafts()
        self.replaced.set_aside(worth=False)
        self.replaced.forget()

    @property
    def _files(self) -> tuple[Path, ...]:
        return (
            self.config,
            self.cameras,
            self.log,
            self.replayed,
            self.metrics,
            self.gaussians,
            self.own_file(".anchors"),
            self.own_file(".forest"),
            self.own_file(".clip"),
            self.division,
            self.contact_sheet,
            self.curves,
        )

    def clear_drafts(self) -> None:
        """Remove half-written files of a process that was killed."""
        for path in self._drafts():
            path.unlink(missing_ok=True)

    def is_bare(self) -> bool:
        """Whether nothing lies here but what a process left that was killed as it began."""
        begun = {self.division, self.cameras} if self.in_blocks() and not self.is_run() else set()
        return {*self.path.iterdir()} <= {*self._drafts(), self._lock} | begun

    def _drafts(self) -> list[Path]:
        drafts = [place.glob(".step_*.*.pt") for place in (self.checkpoints, self.dumps)]
        drafts += [self.path.glob(f".{path.stem}.*{path.suffix}") for path in self._files]
        return [path for group in drafts for path in group]


def vacant(path: Path, overwrite: bool) -> Folder:
    """The folder for a new run; raises FileExistsError where something lies that may be wanted,
    and ValueError where another process trains there."""
    folder = Folder(path)
    if path.is_file():
        raise FileExistsError(f"{path} is a file; give the run a folder with --out")
    if not path.is_dir() or folder.is_bare():
        return folder
    if not folder.is_run() and not folder.replaced.is_there:
        raise FileExistsError(
            f"{path} is not empty and no run of splat; give another folder with --out"
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} holds a run already; go on with `splat resume {path}`, replace it with"
            " --overwrite, or give another folder with --out"
        )
    with folder.held():
        return folder


def existing(path: Path) -> Folder:
    """The folder of a run that was begun; raises FileNotFoundError where there is none."""
    folder = Folder(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist; expected the folder of a run")
    if not folder.is_run():
        raise FileNotFoundError(
            f"{path} is no run of splat, it has no {folder.config.name}; expected a folder that"
            f" `splat train` wrote{folder.replaced.hint}"
        )
    return folder


@dataclass(frozen=True)
class Config:
    """What a run was asked for, with every value that was fitted to the device."""

    scene: Path
    reading: Reading | None
    """None: the scene was made in Python, and only that script can make it again."""
    train: tuple[str, ...]
    """Names of the views that are trained on."""
    test: tuple[str, ...]
    method: Mapping[str, Any]
    """As `splat.recipes.saved.description_of` gives it."""
    options: Options
    watching: Watching
    command: str
    """What was typed, for people."""
    made_by: str
    """Version of splat that began the run."""
    file: Path = field(default=Path(), compare=False)
    """Where it was read from."""

    def write(self, path: Path) -> None:
        record = {"format": FORMAT, "version": VERSION, **asdict(self)}
        del record["file"]
        write_json(path, record)


BEFORE = {"clear_air": False, "points_weight": 0.0}
"""Options that runs of before did not have, as they were trained: resumed they go on alike."""
WAS_OPEN = 1.0
"""What a `points_weight` that was left open stood for while runs wrote it so."""


def read_config(path: Path) -> Config:
    """The settings of a run; raises ValueError where the file is none of ours, or a newer one."""
    with reading(path, "what describes a run of this version of splat: use the one that wrote it"):
        config = record(path)
        wrong = "does not describe a run of splat; give a folder of `splat train`"
        config.check_format(FORMAT, VERSION, wrong)
        options = {**BEFORE, **config.record("options")}
        if options["points_weight"] is None:
            options["points_weight"] = 0.0 if options.get("refine_poses") else WAS_OPEN
        options["replay"] = Folder(path.parent).replayed if options.get("replay") else None
        asked = config["reading"] is not None
        return Config(
            scene=Path(config.text("scene")),
            reading=filled(Reading, config.record("reading")) if asked else None,
            train=config.texts("train"),
            test=config.texts("test"),
            method={**config.record("method")},
            options=options_from(options),
            watching=filled(Watching, config.record("watching")),
            command=config.text("command"),
            made_by=config.text("made_by"),
            file=path,
        )


def options_from(options: Mapping[str, Any]) -> Options:
    """Options of a record that JSON can hold; `Broken` where it has others."""
    if options.get("init") is not None:
        options = {**options, "init": Path(Record(options).text("init"))}
    return filled(Options, options)


def same_views(config: Config, scene: SceneData) -> None:
    """Raise ValueError where the scene on disk is not the one that the run was begun with."""
    for name, recorded, views in (
        ("trained on", config.train, scene.train),
        ("held out", config.test, scene.test),
    ):
        now = [view.name for view in views]
        if list(recorded) == now:
            continue
        odd = sorted(set(recorded) ^ set(now))
        change = (
            f"{odd[0]} is " + ("missing" if odd[0] in recorded else "new") if odd else "their order"
        )
        raise ValueError(
            f"{scene.path}: the {len(recorded)} views that were {name} are {len(now)} others now"
            f" ({change}); restore the scene as it was, or begin a new run"
        )


def check_steps(place: Folder, state: checkpoint.State, planned: int, asked: int | None) -> None:
    """Raise ValueError where a run in the state of a checkpoint has no step to go, and nothing to
    measure or to write either."""
    from splat.runs import checkpoint

    done, ended = checkpoint.photos_shown(state), state.get("ended", "")
    finished = place.metrics.is_file() and read_json(place.metrics).get("steps") == state["step"]
    if asked is not None and (asked < done or (asked == done and finished)):
        raise ValueError(f"{place.path} is at step {done:,} already; give --steps beyond it")
    if asked is None and (ended or done >= planned) and finished:
        why = f" ({ended})" if ended else ""
        raise ValueError(
            f"{place.path} is finished at step {done:,}{why}; to go on, give --steps beyond it"
        )


def write_cameras(path: Path, scene: SceneData, sizes: Mapping[str, tuple[int, int]]) -> None:
    """The cameras of a run at the size (width, height) by name that it was trained at."""
    cameras, listed, clip = [], set(), scene.clip
    for split, views in (("train", scene.train), ("test", scene.test)):
        for view in views:
            if view.name in listed:
                continue
            listed.add(view.name)
            camera = view.camera.resized(*sizes[view.name])
            cameras.append(
                {
                    "name": view.name,
                    "split": split,
                    "width": camera.width,
                    "height": camera.height,
                    "K": camera.K.tolist(),
                    "world_to_camera": camera.world_to_camera.tolist(),
                    **({} if clip is None else {"time": camera.time}),
                    **({} if camera.taken_by is None else {"taken_by": camera.taken_by}),
                }
            )
    write_json(path, {"cameras": cameras, **({} if clip is None else {"clip": asdict(clip)})})


def rows_of_photos(path: Path, names: Sequence[str]) -> list[int]:
    """Rows of what a run learned of how photos were taken, by the names of its training views."""
    rows = {name: row for row, name in enumerate(names)}
    if path.is_file():
        with reading(path, "the cameras of a run"):
            for entry in record(path).records("cameras"):
                if entry.get("taken_by") is not None:
                    rows[entry.text("name")] = entry.whole("taken_by", most=len(names) - 1)
    return [rows[name] for name in names]


def move_cameras(path: Path, poses: Mapping[str, Tensor]) -> None:
    """Write the cameras of a run anew, world_to_camera by name; what was given stays beside it."""
    content = read_json(path)
    with reading(path, "the cameras of a run"):
        for entry in content["cameras"]:
            if entry["name"] in poses:
                entry.setdefault("given", entry["world_to_camera"])
                entry["world_to_camera"] = poses[entry["name"]].tolist()
    write_json(path, content)


def moved_cameras(path: Path) -> dict[str, Tensor]:
    """Refined poses, world_to_camera by name, that differ from those of the input."""
    if not path.is_file():
        return {}
    import torch

    with reading(path, "the cameras of a run"):
        entries = [entry for entry in record(path).records("cameras") if "given" in entry]
        poses = {entry.text("name"): entry.numbers("world_to_camera", 4, 4) for entry in entries}
    return {name: torch.from_numpy(pose).float() for name, pose in poses.items()}


def fingerprint(scene: SceneData) -> str:
    """A hash of all that is read of a scene but its photos' pixels."""
    digest = hashlib.blake2b(digest_size=16)
    for views in (scene.train, scene.test):
        digest.update(f"{len(views)} views\n".encode())
        for view in views:
            camera = view.camera
            digest.update(f"{view.name} {camera.width} {camera.height}\n".encode())
            digest.update(camera.K.double().numpy().tobytes())
            digest.update(camera.world_to_camera.double().numpy().tobytes())
            if scene.clip is not None:
                digest.update(f"{camera.time!r}\n".encode())
    if scene.points is not None:
        digest.update(scene.points.positions.numpy().tobytes())
        if scene.points.times is not None:
            digest.update(scene.points.times.numpy().tobytes())
    return digest.hexdigest()
