"""Every reader of files that may come from elsewhere, with the files that it is given."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splat import datasets, formats, kernels
from splat.blocks.plan import read_plan as read_block_plan
from splat.blocks.work import note_of
from splat.cleanup.erase.rows import write_left
from splat.cli.info import of_run
from splat.cli.opened import cameras_of, open_scene
from splat.comparison import compare
from splat.comparison.plan import read_plan as read_comparison
from splat.core.strategy import Fixed
from splat.datasets import photo as stored_photo
from splat.datasets.objects import files as object_files
from splat.dream import tutor
from splat.formats import join, ply, sog, usd_table
from splat.formats.point_cloud import read_points
from splat.generate import encoders
from splat.generate import store as generators
from splat.photos.disk_cache import Shelf
from splat.photos.exif import exposure_value
from splat.photos.given_maps import given_depth, given_normal
from splat.photos.photo import outline, photograph
from splat.prep import preparation
from splat.prep.gather import Gathered, gather
from splat.prep.options import PrepOptions
from splat.prep.report import origin_of
from splat.prep.rig import prepare_rig
from splat.prep.stages import Stages
from splat.recipes.model_files import background_in
from splat.recipes.recipe import text_of
from splat.recipes.restored import model_of, strategy_of
from splat.render import camera_paths
from splat.runs import checkpoint
from splat.runs.folder import Folder, move_cameras, moved_cameras, read_config, rows_of_photos
from splat.runs.log import Log, read_log
from splat.runs.replay import read_script
from splat.strategies.acoustic import sounds
from splat.strategies.deferred import panorama
from splat.strategies.deform import files as clip_files
from splat.strategies.forest import files as forest_files
from splat.strategies.garment import makehuman, rig
from splat.strategies.garment.body import read_pose
from splat.strategies.pool import volume
from splat.strategies.scaffold import files as anchor_files
from splat.system.foreign import MOST_MEMORY
from splat.training import dump
from splat.training.reproduce import reproduce
from splat.types import Camera, DepthFile, Drawing, NormalFile, View
from splat.viewer.curves import of_log
from splat.viewer.timeline import Timeline

from . import seeds as s
from .apart import forked

PICTURES = 2 * MOST_MEMORY
"""Bytes that a picture may take: of those that are decoded there are copies."""
Read = Callable[[Path, Path], Any]
"""Reads the file that was changed (second), in its folder (first)."""


@dataclass(frozen=True)
class Reader:
    """What is read, and how."""

    name: str
    makers: tuple[s.Maker, ...]
    reads: tuple[Read, ...]
    """Each is tried on every input: what one refuses, another may take."""
    memory: int = MOST_MEMORY
    """Bytes that reading may take, however small the file."""


def _of_file(read: Callable[[Path], Any]) -> Read:
    return lambda _, file: read(file)


def _of_named(name: str, read: Callable[[Path], Any]) -> Read:
    return lambda root, _: read(root / name)


def _same_columns(file: Path) -> Any:
    """As `splat info` looks at a file: what torch reads, NumPy reads, with as many rows; what it
    refuses, NumPy refuses in the same words."""
    whole, why = _tried(formats.read, file)
    columns, refused = _tried(formats.read_columns, file)
    assert str(why) == str(refused), f"refused in other words: {why!s} / {refused!s}"
    if refused is not None:
        raise refused
    assert len(columns) == len(whole), (len(columns), len(whole))
    return columns


def _tried(read: Callable[[Path], Any], file: Path) -> tuple[Any, ValueError | None]:
    """What a file holds, or why it is refused."""
    try:
        return read(file), None
    except ValueError as error:
        return None, error


_GAUSSIANS = (_of_file(formats.read), _of_file(formats.drawing), _of_file(formats.holds_gaussians),
              _of_file(formats.weight), _of_file(_same_columns))  # fmt: skip


def _copied_rows(root: Path, file: Path) -> Any:
    """As `splat erase` leaves rows: byte by byte."""
    whole = formats.read(file)
    keep = torch.ones(len(whole), dtype=torch.bool)
    return write_left(file, whole, keep, None, root / "out" / "left.ply", None, Drawing())


def _joined(root: Path, file: Path) -> Any:
    """As blocks are merged; the second time with fewer rows than there are."""
    target = root / "out" / "joined.ply"
    return join.join_files([file, file], target), join.join_files([file], target, [3])


def _opened_rows(_: Path, file: Path) -> Any:
    opened = ply.Opened(file)
    return opened.part(0, min(7, len(opened))), len(opened)


def _snapshots(root: Path, file: Path) -> Any:
    folder = root / "out" / "timeline"
    folder.mkdir(parents=True, exist_ok=True)
    line = Timeline(folder)
    shutil.copyfile(file, line.path(3))
    return line.steps, formats.read(line.path(3))


def _scene(root: Path, _: Path) -> Any:
    """The scene, and its first view as training sees it."""
    scene = datasets.load(root, eval="none")
    view = scene.train[0]
    size = min(view.camera.width, 32), min(view.camera.height, 24)
    return scene.points, [v.camera for v in scene.train], photograph(view, *size), scene.notes


def _guided(root: Path, file: Path) -> Any:
    scene = datasets.load(root, eval="none")
    views = sorted(scene.train, key=lambda view: view.name)
    number = 1 if "001" in file.name else 0
    view = views[number]
    return given_depth(view, 12, 10), given_normal(view, 12, 10), photograph(view, 12, 10)


def _held_out(root: Path, file: Path) -> Any:
    return [view.name for view in datasets.load(root, eval=str(file)).test]


def _view(file: Path, size: tuple[int, int], **more: Any) -> View:
    width, height = size
    K = torch.tensor([[10.0, 0, width / 2], [0, 10, height / 2], [0, 0, 1]])
    return View(file.name, Camera(torch.eye(4), K, width, height), file, **more)


def _sized(file: Path) -> View:
    """A photo whose camera is of the size that the file says, as scenes are read."""
    return _view(file, stored_photo.size(file))


_PHOTO: tuple[Read, ...] = (
    lambda _, file: photograph(_sized(file), 6, 6),
    lambda _, file: photograph(_sized(file), 4, 4, reduced=True),
    lambda _, file: outline(_sized(file), 6, 6),
)


def _mask(root: Path, file: Path) -> Any:
    return photograph(_view(root / "good.png", (8, 8), mask=file), 8, 8)


def _depth(_: Path, file: Path) -> Any:
    size = (16, 32) if file.suffix == ".exr" and file.stem == "d" else (8, 8)
    view = _view(file, size, depth=DepthFile(file, "metric", 0.5))
    return given_depth(view, *size), given_depth(view, 5, 7)


def _normal(_: Path, file: Path) -> Any:
    return given_normal(_view(file, (8, 8), normal=NormalFile(file, "camera")), 8, 8)


def _gathered(root: Path, _: Path) -> Any:
    """Photos as `splat prep` takes them in; those that cannot be read are told by their names."""
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    found = gather(root / "photos", out / "images", out / "photos.jsonl", PrepOptions(),
                   lambda *_: None)  # fmt: skip
    for name, why in found.broken:
        if not why or "\n" in why:
            raise AssertionError(f"{name} is said to be broken because of {why!r}")
    return found.photos, found.broken


def _film(root: Path, file: Path) -> Any:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    return gather(file, out / "images", out / "x.jsonl", PrepOptions(frames=3), lambda *_: None)


def _rig(root: Path, _: Path) -> Any:
    """The videos of a rig as `splat prep` takes them apart; a second call reads what it left."""
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)

    def prepared() -> Any:
        return prepare_rig(root / "rig", out, PrepOptions(side=32), overwrite=False,
                           tick=lambda *_: None, find=lambda *_: None)  # fmt: skip

    return prepared(), prepared()


def _resumed_prep(root: Path, _: Path) -> Any:
    """What a second call of `splat prep` reads."""
    stages = Stages(root)
    stages.begin("gather", 1)
    gathered = Gathered.read(root / ".prep/gathered.json")
    again = gather(root / "in", root / "images", root / ".prep/photos.jsonl", PrepOptions(),
                   lambda *_: None)  # fmt: skip
    return stages.complete(), stages.seconds(), gathered.text(), again.text()


def _prep_results(root: Path, _: Path) -> Any:
    """What a second call of `splat prep` reads of the stages that map."""
    kept = preparation.kept_result
    return [kept(root / f"{stage}.json", check) for stage, check in _CHECKS.items()]


_CHECKS = {
    "matched": preparation.check_matched,
    "mapped": preparation.check_mapped,
    "placed": preparation.check_placed,
}


def _config(root: Path, _: Path) -> Any:
    config = read_config(Folder(root / "run").config)
    method = strategy_of(config, missing=Fixed())
    return config.options, config.train, repr(method)


def _info(root: Path, _: Path) -> Any:
    return repr(of_run(Folder(root / "run")))


def _dump(_: Path, file: Path) -> Any:
    """As `splat debug-step` goes on with it."""
    held = dump.read(file)
    reports = reproduce(held)
    return [(report.view, report.stopped, report.entries) for report in reports]


def _cameras(root: Path, file: Path) -> Any:
    found = cameras_of(file), moved_cameras(file), rows_of_photos(file, ["000.png", "001.png"])
    move_cameras(file, {"000.png": torch.eye(4)})
    return found


def _log(root: Path, file: Path) -> Any:
    records = read_log(file)
    curves = of_log(records)
    Log(file, step=1).close()
    return len(records), curves.data("loss", "psnr")


def _model(root: Path, file: Path) -> Any:
    place = Folder(root / "run")
    state = checkpoint.load(place.latest())
    model = model_of(read_config(place.config), state)
    rest = checkpoint.drawing(state), checkpoint.at_once(state), checkpoint.photos_shown(state)
    return {n: model.cloud[n] for n in model.cloud.names}, rest


def _opened_run(root: Path, _: Path) -> Any:
    opened = open_scene(root / "run", "cpu", "auto")
    return opened.gaussians, opened.frame, opened.step


def _makehuman(root: Path, _: Path) -> Any:
    base = makehuman.read_base(root, {"tall": 0.5})
    found = makehuman.read_body(root, "tiny", "body", base)
    return base.vertices, dict(base.groups), found.heads, found.weights, found.mesh.faces


def _block_note(root: Path, _: Path) -> Any:
    parts = read_block_plan(root / "blocks.json").parts
    return note_of(Folder(root / "run"), parts[0])


def _drawn(read: Callable[[Path], tuple[Any, Any, Any]]) -> Callable[[Path, Path], Any]:
    """A reader of files that keep a model: its columns, and a picture's Gaussians."""

    def reader(_: Path, file: Path) -> Any:
        model, frame, drawing = read(file)
        K = torch.tensor([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]])
        drawn = model(Camera(torch.eye(4), K, 10, 10, time=0.3))
        centres = model.view_centres() if hasattr(model, "view_centres") else ()
        columns = {n: model.cloud[n] for n in model.cloud.names}
        return columns, centres, drawn, frame, drawing, background_in(file)

    return reader


_anchors, _forest, _clip = (
    _drawn(files.read) for files in (anchor_files, forest_files, clip_files)
)


def _volume(_: Path, file: Path) -> Any:
    found = volume.read(file)
    return found.gaussians, found.slots, found.lattice


def _body(_: Path, file: Path) -> Any:
    found = rig.read(file)
    mesh = rig.read_mesh(file)
    rows = (found.mesh.vertices, found.mesh.faces, found.parents, found.joints, found.weights)
    return rows, found.names, found.axes, mesh.vertices, mesh.faces


def _corpus(root: Path, _: Path) -> Any:
    found = object_files.read(root)
    rows = [found.rows(i) for i in range(len(found))]
    return found.texts, found.splits, rows, [found.thing(i) for i in range(len(found))]


def _generator(_: Path, file: Path) -> Any:
    found = generators.read(file)
    weights = {name: getattr(found, name).state_dict() for name in generators.NETWORKS}
    return found.design, found.speaker, weights


def _encoder(root: Path, _: Path) -> Any:
    return encoders.kind_of(root)


def _teacher(_: Path, file: Path) -> Any:
    found = tutor.read(file)
    return found.design, found.vocabulary, found.network.state_dict()


def _sound(_: Path, file: Path) -> Any:
    head = sounds.look(file)
    return (
        head,
        sounds.read_wav(file, channels=2, rate=8000),
        sounds.read_wav(file, channels=2, rate=8000, start=0.01, seconds=0.02),
    )


def _sound_folder(root: Path, _: Path) -> Any:
    data = sounds.load(root)
    heard = data.train[0]
    more = {"start": heard.start, "seconds": heard.seconds}
    return data, sounds.read_wav(heard.file, channels=2, rate=data.rate, **more)


def _shelf(root: Path, file: Path) -> Any:
    return Shelf(root, 1 << 30).get("mark")


_SCENES: tuple[tuple[str, tuple[s.Maker, ...]], ...] = (
    ("colmap-bin", (s.colmap(True), s.colmap(True, "FULL_OPENCV"), s.fisheye_colmap)),
    ("colmap-txt", (s.colmap(False), s.colmap(False, "PINHOLE"))),
    ("nerfstudio", (s.nerfstudio,)),
    ("blender", (s.blender,)),
    ("metashape", (s.metashape,)),
    ("reality", (s.reality,)),
    ("polycam", (s.polycam,)),
    ("record3d", (s.record3d,)),
    ("nerfies", (s.nerfies,)),
    ("n3dv", (s.n3dv,)),
    ("multipleview", (s.multipleview,)),
    ("freetime", (s.freetime,)),
    ("easyvolcap", (s.easyvolcap,)),
)
_PLY = (
    s.gaussians_file(".ply", "ply"), s.gaussians_file(".ply", "ply", 3),
    s.moving_file(".ply", "ply"),
)  # fmt: skip
_POINTS = (s.points_file("floats", True), s.points_file("floats", False),
           s.points_file("doubles", True), s.gaussians_file(".ply", "ply", 0))  # fmt: skip
_PHOTOS = (
    s.picture("photo.png", "png"), s.picture("photo.png", "png", 4),
    s.picture("photo.png", "png", 1),
    s.picture("photo.png", "png", 4, np.uint16), s.other_photo(".png", mode="P"),
    s.camera_photo, s.picture("photo.jpg", "jpeg"), s.other_photo(".jpg", progressive=True),
    s.picture("photo.webp", "riff"), s.other_photo(".bmp"), s.other_photo(".tif"),
    s.other_photo(".tif", compression="tiff_lzw"),
)  # fmt: skip

_USD: tuple[Reader, ...] = ()
if find_spec("pxr") is not None:
    # A process for each read, forked: to start one anew takes longer than what it does.
    usd_table.begun = forked
    import_module(usd_table.STAGE).warm_up()
    _STAGES = (s.stage_of_others, s.gaussians_file(".usda", "usda"), s.package,
               s.gaussians_file(".usd", "usdc"),
               *(s.gaussians_file(suffix, kind, degree) for suffix, kind in
                 ((".usdc", "usdc"), (".usdz", "zip")) for degree in (0, 1)))  # fmt: skip
    _USD = (Reader("usd", _STAGES, _GAUSSIANS[:2]),)

READERS: tuple[Reader, ...] = (
    Reader("ply", _PLY, (*_GAUSSIANS, _opened_rows, _copied_rows, _joined)),
    Reader("points", _POINTS, (_of_file(read_points), _of_file(formats.read))),
    Reader("compressed", (s.gaussians_file(".compressed.ply", "ply"),
                          s.gaussians_file(".compressed.ply", "ply", 0)),
           (*_GAUSSIANS, _snapshots)),
    Reader("glb", (s.gaussians_file(".glb", "glb"), s.gaussians_file(".spz.glb", "glb")),
           _GAUSSIANS),
    Reader("tileset", (s.tileset,), tuple(
        _of_named("tileset.json", read) for read in (formats.read, formats.drawing, formats.weight)
    )),
    Reader("spz", (*(s.gaussians_file(".spz", "spz", spz_version=v) for v in (2, 3, 4)),
                   s.plain_spz), _GAUSSIANS),
    Reader("html", (s.gaussians_file(".html", "page"), s.moving_file(".html", "page")),
           _GAUSSIANS),
    *_USD,
    Reader("splat", (s.gaussians_file(".splat", "binary", 0),), _GAUSSIANS),
    Reader("ksplat", tuple(map(s.ksplat_file, (0, 1, 2))), _GAUSSIANS),
    Reader("tsog", (s.moving_file(".tsog", "zip"), s.gaussians_file(".tsog", "zip")), _GAUSSIANS),
    Reader("sog", (s.gaussians_file(".sog", "zip"), s.gaussians_file(".sog", "zip", 0)),
           _GAUSSIANS),
    Reader("sog-loose", (s.loose_sog,), (_of_named("loose/meta.json", sog.read),)),
    Reader("lod", (s.levels_of_detail,), tuple(
        _of_named("lod-meta.json", read)
        for read in (formats.read, formats.drawing, formats.weight, _same_columns)
    )),
    *(Reader(name, makers, (_scene,), PICTURES) for name, makers in _SCENES),
    Reader("guides", (s.guides,), (_guided,), PICTURES),
    Reader("held-out", (s.held_out_names,), (_held_out,)),
    Reader("photo", _PHOTOS, _PHOTO, PICTURES),
    Reader("exif", (s.camera_photo, s.other_photo(".tif")), (_of_file(exposure_value),)),
    Reader("mask", tuple(s.masked(m) for m in _PHOTOS[:4]), (_mask,), PICTURES),
    Reader("depth", (*map(s.depth_map, ("d.npy", "d.npz", "d.exr", "d.png")), s.exr_of_runs),
           (_depth,), PICTURES),
    Reader("normal", tuple(map(s.normal_map, ("n.npy", "n.png"))), (_normal,), PICTURES),
    Reader("prep-photos", (s.photo_folder(*_PHOTOS[5:6], _PHOTOS[3]), s.photo_folder(_PHOTOS[4]),
                           s.photo_folder(_PHOTOS[10]), s.photo_folder(_PHOTOS[8])), (_gathered,),
           PICTURES),
    Reader("prep-notes", (s.prep_notes,), (_resumed_prep,)),
    Reader("prep-results", (s.prep_results,), (_prep_results,)),
    Reader("film", (s.film,), (_film,)),
    Reader("rig", (s.videos_of_rig,), (_rig,), PICTURES),
    Reader("camera-path", (s.camera_path,), (_of_file(camera_paths.from_file),)),
    Reader("run", (s.run_folder("mcmc"), s.run_folder("adc")),
           (_config, _info, _model, _opened_run)),
    Reader("dump", (s.dump_of("mcmc"), s.dump_of("scaffold")), (_dump,)),
    Reader("cameras", (s.run_cameras,), (_cameras,)),
    Reader("log", (s.log_of_run,), (_log, _of_file(read_script))),
    Reader("plans", (s.plans,), (_of_named("", read_comparison),
                                 _of_named("blocks.json", read_block_plan), _block_note)),
    Reader("compared", (s.compared,), (_of_named("out", compare.read),)),
    Reader("makehuman", (s.makehuman_data,), (_makehuman,)),
    Reader("origin", (s.origin,), (_of_named("", origin_of),)),
    Reader("recipe", (s.recipe,), (lambda _, file: text_of(str(file)),)),
    Reader("teacher", (s.teacher_file,), (_teacher,)),
    Reader("anchors", tuple(map(s.anchors, ("plain", "kept plain", "coded"))), (_anchors,)),
    Reader("forest", tuple(map(s.forest, ("plain", "coded"))), (_forest,)),
    Reader("clip", tuple(map(s.clip, ("plain", "kept plain", "coded", "coded in full"))), (_clip,)),
    Reader("volume", (s.volume_file,), (_volume,)),
    Reader("body", (s.body,), (_body,)),
    Reader("pose", (s.pose,), (_of_file(read_pose),)),
    Reader("objects", (s.corpus,), (_corpus,)),
    Reader("generator", (s.generator_file,), (_generator,)),
    Reader("text-encoder", (s.text_encoder,), (_encoder,)),
    Reader("wav", (s.wav_file, s.wav_of_16_bits), (_sound,)),
    Reader("sounds", (s.own_sounds, s.soundspaces), (_sound_folder,)),
    Reader("rwavs", (s.rwavs,), (lambda root, _: _sound_folder(root / "1", root),)),
    Reader("panorama", tuple(map(s.panorama, ("p.hdr", "p.png"))), (_of_file(panorama.read),),
           PICTURES),
    Reader("disk-cache", (s.shelf,), (_shelf,)),
)  # fmt: skip


@contextmanager
def quietly() -> Iterator[None]:
    """One thread, and nothing said of files that are refused in part."""
    torch.set_num_threads(1)
    kernels.set_threads(1)
    logging.disable(logging.CRITICAL)
    with np.errstate(all="ignore"):
        yield
