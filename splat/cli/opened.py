"""Opening a run folder or a file for a verb: Gaussians, frame, renderer, and cameras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from splat import formats, kernels
from splat.blocks.merged import Merged
from splat.blocks.plan import read_plan
from splat.core.frame import INPUT_FRAME, camera_to_frame
from splat.core.model import Surface
from splat.evaluation.evaluate import HeldOutFitter
from splat.export.quantisation import Quantisation, steps_before_rounding
from splat.export.retrain import LEVEL_STEPS, LevelTraining
from splat.export.search import Search
from splat.formats.settings import Settings
from splat.lod.store import MANY
from splat.recipes.model_files import ModelFile, background_in, decoding, model_file
from splat.recipes.restored import model_of
from splat.render import camera_paths, choose_device, drawing_as
from splat.runs import checkpoint
from splat.runs.folder import Folder, existing, read_config, rows_of_photos
from splat.sensor.baked import exposure_fit, tone_of, toned_gaussians, tones_of
from splat.sensor.tones import Map, Tones
from splat.system import machine
from splat.system.colours import rgb
from splat.system.foreign import Record, part, reading, record
from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Renderer


@dataclass(frozen=True)
class Opened:
    """Gaussians ready to draw, with their renderer."""

    seen_by: Callable[[Camera], Gaussians]
    """The Gaussians for a camera of `frame`, on the renderer's device: a model, where each camera
    has its own."""
    baked: Callable[[], Gaussians]
    """Makes one set for all cameras."""
    frame: Frame
    render: Renderer
    drawing: Drawing
    background: torch.Tensor | None
    left_out: tuple[str, ...]
    """What one set for all cameras cannot keep of what each is shown, a phrase each."""
    step: int
    """Steps of training, 0 where that is not known."""
    surface: Surface | None = None
    """The signed distance that was trained beside the Gaussians, in `frame`; None: none was."""
    instant: Callable[[float], Gaussians] | None = None
    """One set as it is at an instant, 0 to 1 of the clip; None: `baked` is it at any."""
    fit: HeldOutFitter | None = None
    """Fits exposures of held-out photos, as the run's own figures have them; None: it learned
    none. Poses are where the run found them to be already."""
    tones: Tones | None = None
    """Exposures of the photos that the run was trained on; None: it learned none."""
    exposure: Map | None = None
    """The one that the colours have; None: the mean one."""

    @cached_property
    def gaussians(self) -> Gaussians:
        """One set for all cameras, in `frame`, on the renderer's device."""
        return self.baked().to(self.render.device)

    @property
    def moves(self) -> bool:
        """Whether the Gaussians move."""
        return self.gaussians.motion is not None

    def frozen(self, time: float) -> Opened:
        """The same as it is at an instant, 0 to 1 of the clip; ValueError where nothing moves."""
        if not self.moves:
            raise ValueError(
                f"time is {time:g}, and nothing moves here; expected a run of a clip, or a .ply of"
                " one: leave --time out"
            )
        now = self.gaussians.at(time) if self.instant is None else self.instant(time)
        now = now.to(self.render.device)
        seen_by, baked = _fixed(now)
        return replace(self, seen_by=seen_by, baked=baked, instant=None)

    def placed(self, camera: Camera) -> Camera:
        """A camera of the input's frame converted to `frame`, on the renderer's device."""
        return camera_to_frame(camera, self.frame).to(self.render.device)


def open_scene(
    path: Path,
    device: str,
    background: str,
    settings: Settings = Settings(),  # noqa: B008
    exposure: str | None = None,
    *,
    beside: bool = True,
    renderer: str = "auto",
) -> Opened:
    """Open the last state of a run, a checkpoint of one, or a file, which is read with `settings`.

    `exposure` names the training photo whose exposure the colours of a run are to have, where it
    learned exposures; None: the mean one. To look at, not to measure, it is opened without what
    lies far `beside` pictures; that and `renderer` are as for `splat.render.drawing_as`.
    """
    chosen, _ = choose_device(device, renderer)
    kernels.set_threads(machine.cores())
    if path.is_file() and (own := model_file(path.suffix)) is not None:
        return _of_model(own, path, chosen, background, beside, renderer)
    if Folder(path).in_blocks():
        return _of_blocks(Folder(path), chosen, background, exposure, beside, renderer)
    if path.is_file() and path.suffix != ".pt":
        return _of_file(path, chosen, background, settings, beside, renderer)
    return _of_run(path, chosen, background, exposure, beside, renderer)


def _of_file(
    path: Path,
    device: torch.device,
    background: str,
    settings: Settings,
    beside: bool,
    renderer: str,
) -> Opened:
    drawing, frame = formats.drawing(path), INPUT_FRAME
    seen_by, baked = _fixed(formats.read(path, settings).to(device))
    return Opened(
        seen_by=seen_by,
        baked=baked,
        frame=frame,
        render=drawing_as(drawing.plain, frame, device, beside=beside, renderer=renderer),
        drawing=drawing,
        background=_behind(background, device),
        left_out=(),
        step=0,
    )


def _of_run(
    path: Path,
    device: torch.device,
    background: str,
    exposure: str | None,
    beside: bool,
    renderer: str,
) -> Opened:
    """The last state of a run, or the one that a checkpoint has."""
    place = run_of(path)
    config = read_config(place.config)
    state = checkpoint.load(path if path.is_file() else place.latest())
    drawing = (checkpoint.drawing(state) or Drawing(config.options.antialiased)).plain
    model, modules = model_of(config, state, device), state["modules"]
    frame, step, tone = checkpoint.frame(state), state["step"], None
    seen_by: Callable[[Camera], Gaussians] = model
    baked: Callable[[], Gaussians]
    instant: Callable[[float], Gaussians] | None = None
    if model.same_for_all_views:
        with kernels.one_torch_thread():  # as where the run wrote its file
            whole = model.kept(model.bake())
        if exposure is not None:
            rows = rows_of_photos(place.cameras, config.train)
            tone = tone_of(modules, config.train, exposure, rows)
            whole = toned_gaussians(whole, tone)
        if suffix := config.options.finish_for:
            start = steps_before_rounding(state["steps"], config.options.finish_share)
            whole = Quantisation(suffix, frame, start)(whole, step)
        seen_by, baked = _fixed(whole.to(device))
    elif exposure is not None:
        raise ValueError(
            f"exposure is given, and {model.unit} make their colours for each camera; expected"
            " a run whose Gaussians have harmonics: leave it out"
        )
    else:
        baked = kernels.one_torch_thread()(lambda: model.kept(model.bake()))
        instant = lambda time: model.kept(model.at(time))  # noqa: E731
    back = _behind(config.options.background if background == "auto" else background, device)
    tones = tones_of(modules)
    render = drawing_as(drawing, frame, device, beside=beside, renderer=renderer)
    render = model.drawn_by(render)
    return Opened(
        seen_by=seen_by,
        baked=baked,
        left_out=(model.left_out,) if model.left_out else (),
        frame=frame,
        render=render,
        drawing=drawing,
        background=back,
        step=step,
        surface=model.surface,
        instant=instant,
        fit=exposure_fit(modules, seen_by, render, back),
        tones=None if tones is None else tones.to(device),
        exposure=tone,
    )


def _behind(background: str, device: torch.device) -> torch.Tensor | None:
    """A background by its name; None: black, as are those that a scene does not say."""
    behind = rgb("black" if background == "auto" else background)
    return torch.tensor(behind, device=device) if any(behind) else None


def _of_blocks(
    place: Folder,
    device: torch.device,
    background: str,
    exposure: str | None,
    beside: bool,
    renderer: str,
) -> Opened:
    """The merged blocks of a run, in the frame that they were trained in."""
    if not place.gaussians.is_file():
        raise FileNotFoundError(
            f"{place.path} is cut into blocks that are not all trained; expected them merged: go on"
            f" with `splat resume {place.path}`"
        )
    if exposure is not None:
        raise ValueError(
            f"exposure is given, and {place.path} was trained in blocks, which learn none; leave it"
            " out"
        )
    config = read_config(place.config)
    behind = config.options.background if background == "auto" else background
    merged = Merged.of(
        place.gaussians,
        read_plan(place.division).frame,
        device,
        behind,
        beside=beside,
        renderer=renderer,
    )
    seen_by, baked = _fixed(merged.gaussians)
    return Opened(
        seen_by=seen_by,
        baked=baked,
        frame=merged.frame,
        render=merged.render,
        drawing=formats.drawing(place.gaussians),
        background=merged.background,
        left_out=(),
        step=config.options.steps or 0,
    )


def _of_model(
    own: ModelFile, path: Path, device: torch.device, background: str, beside: bool, renderer: str
) -> Opened:
    model, frame, drawing = own.read(path)
    behind = background_in(path) if background == "auto" else torch.tensor(rgb(background))
    return Opened(
        seen_by=decoding(model, device),
        baked=model.bake,
        frame=frame,
        render=drawing_as(drawing.plain, frame, device, beside=beside, renderer=renderer),
        drawing=drawing,
        background=None if behind is None else behind.to(device),
        left_out=(model.left_out,),
        step=0,
    )


def run_of(path: Path) -> Folder:
    """The folder of a run, given that folder or one of its checkpoints."""
    return existing(path.resolve().parent.parent if path.is_file() else path)


def _fixed(
    gaussians: Gaussians,
) -> tuple[Callable[[Camera], Gaussians], Callable[[], Gaussians]]:
    """The same set for all cameras, as `Opened` takes it."""
    return lambda camera: gaussians, lambda: gaussians


def cameras_of(path: Path) -> list[tuple[Camera, Mapping[str, Any]]]:
    """The cameras that a run wrote, in the frame of the input, with their entries (names and
    splits)."""
    cameras = camera_paths.from_file(path)
    with reading(path, "the cameras of a run"):
        entries = record(path).records("cameras")
        for i, entry in enumerate(entries):
            with part(f"camera {i}"):
                for key in ("name", "split"):
                    entry.text(key, "")
    return list(zip(cameras, entries, strict=True))


def clip_seconds(path: Path) -> float:
    """Length of the clip whose cameras a run wrote; that of `Settings` where none is said."""
    with reading(path, "the cameras of a run"):
        clip = record(path).get("clip")
        usual = Settings().page_seconds
        return usual if clip is None else Record.of(clip).number("seconds", usual, above=0)


def views_of(source: Path, cameras: Path | None) -> list[Camera]:
    """Cameras to draw from: those of the run, or of the file given."""
    if cameras is None and source.is_file():
        raise ValueError(
            f"{source} is a file; give cameras with --cameras RUN/cameras.json, or --path FILE.json"
        )
    path = cameras or existing(source).cameras
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected the cameras of a run")
    return [camera for camera, _ in cameras_of(path)]


def held_out(cameras: Sequence[tuple[Camera, Mapping[str, Any]]]) -> list[Camera]:
    """The held-out cameras, or all where none are held out."""
    test = [camera for camera, entry in cameras if entry.get("split") == "test"]
    return test or [camera for camera, _ in cameras]


def trained_from(path: Path) -> list[Camera]:
    """The training cameras that a run wrote, in the frame of the input; all where it has none."""
    cameras = cameras_of(path)
    training = [camera for camera, entry in cameras if entry["split"] == "train"]
    return training or [camera for camera, _ in cameras]


def level_training(
    steps: int | None, out: Path, count: int, cameras: Sequence[Camera], opened: Opened
) -> LevelTraining | None:
    """How the levels of detail of `count` Gaussians are trained; None: not at all.

    `cameras` are in the frame of the input. `steps` None: as many as usual, none where the file
    holds no levels or many Gaussians, or there is no camera: levels that were trained on pictures
    from cameras that are made up draw worse where people stand.
    """
    if not formats.has_levels(formats.suffix_of(out, written=True)):
        return None
    if steps is None:
        steps = LEVEL_STEPS if cameras and count <= MANY else 0
    if not steps:
        return None
    return LevelTraining(
        cameras, opened.drawing, opened.background, opened.render.device, steps=steps
    )


def file_search(
    opened: Opened, batches: Sequence[Batch], *, photos: bool, finished_for: str | None = None
) -> Search:
    """A search over files of what was opened, compared in some of the views."""
    return Search.over(
        batches,
        opened.gaussians,
        opened.frame,
        opened.drawing,
        opened.render,
        opened.background,
        photos=photos,
        finished_for=finished_for,
    )
