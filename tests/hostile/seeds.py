"""Small whole files of every kind, to be broken: makers that write them into a folder.

A maker gives the files that are to be broken, by their path within the folder, and of what kind of
`mutate.KINDS` they are; what else it writes stays as it is.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import cv2
import hearing_room
import numpy as np
import scenes
import test_cameras_of_others as others
import test_clip
import test_export_html
import test_prep_rig
import torch
from capsules import two_capsules
from formats import some
from methods import METHODS, job_of
from PIL import Image
from steps import CAMERA
from test_coded import model_at, opaque, seen
from test_export_splat import Section, ksplat, upright
from test_guidance import open_exr

from splat import formats
from splat.core.model import Making
from splat.datasets.objects import files as object_files
from splat.dream import tutor
from splat.formats.settings import Settings
from splat.generate import store as generators
from splat.generate.unet import Shape
from splat.generate.words import Vocabulary
from splat.photos.disk_cache import Shelf
from splat.runs import checkpoint
from splat.strategies.acoustic import sounds
from splat.strategies.deform import Deform
from splat.strategies.deform.coded import PlanesCoded
from splat.strategies.deform.coding.store import write_clip
from splat.strategies.forest import Forest
from splat.strategies.forest.store import write_forest
from splat.strategies.garment import rig
from splat.strategies.pool import volume
from splat.strategies.pool.lattice import Lattice
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.store import write_anchors
from splat.types import Drawing, Frame

Targets = Mapping[str, str]
Maker = Callable[[Path], Targets]
P = ParamSpec("P")

ROWS = 20


def maker(make: Callable[Concatenate[Path, P], Targets]) -> Callable[P, Maker]:
    """What writes into a folder by some settings, as a function of these that gives makers."""
    return lambda *args, **settings: lambda folder: make(folder, *args, **settings)


@maker
def gaussians_file(
    folder: Path, suffix: str, kind: str, degree: int = 1, **settings: Any
) -> Targets:
    """A file of a few Gaussians in one of the formats that are written."""
    name = f"scene{suffix}"
    drawing = Drawing(antialiased=True, near=0.05)
    formats.write(some(ROWS, degree), folder / name, None, drawing, Settings(**settings))
    return {name: kind}


def plain_spz(folder: Path) -> Targets:
    """An .spz whose writer left the compression out."""
    formats.write(some(ROWS, 1), folder / "whole.spz")
    (folder / "scene.spz").write_bytes(gzip.decompress((folder / "whole.spz").read_bytes()))
    (folder / "whole.spz").unlink()
    return {"scene.spz": "binary"}


@maker
def ksplat_file(folder: Path, level: int) -> Targets:
    """A .ksplat of one of the three ways to compress it, with two buckets."""
    section = Section(upright(ROWS, 1), level, (12, 8), 12)
    (folder / "scene.ksplat").write_bytes(ksplat([section]))
    return {"scene.ksplat": "ksplat"}


def stage_of_others(folder: Path) -> Targets:
    """A stage that is z-up, moves what it holds, shows it again, and has halves."""
    (folder / "scene.usda").write_text(_STAGE)
    return {"scene.usda": "usda"}


def package(folder: Path) -> Targets:
    """Layers that lie in a package, one in text and one not."""
    formats.write(some(ROWS, 1), folder / "b.usdc")
    above = "#usda 1.0\n(\n    subLayers = [@./b.usdc@, @c.usda@]\n)\n"
    with zipfile.ZipFile(folder / "scene.usdz", "w") as archive:
        archive.writestr("a.usda", above)
        archive.write(folder / "b.usdc", "b.usdc")
        archive.writestr("c.usda", _STAGE)
    (folder / "b.usdc").unlink()
    return {"scene.usdz": "zip"}


_STAGE = """#usda 1.0
(
    defaultPrim = "a"
    upAxis = "Z"
)
def Xform "a"
{
    double3 xformOp:translate = (1, 2, 3)
    float xformOp:rotateX = 90
    uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:rotateX"]
    def ParticleField3DGaussianSplat "b"
    {
        point3h[] positionsh = [(0, 0, 0), (1, 0, 0)]
        float3[] scales = [(1, 2, 3), (1, 1, 1)]
        half[] opacitiesh = [0.5, 1]
        quatf[] orientations = [(1, 0, 0, 0), (0, 1, 0, 0)]
        int radiance:sphericalHarmonicsDegree = 0
        float3[] radiance:sphericalHarmonicsCoefficients = [(0, 0, 0), (1, 1, 1)]
    }
}
def "c" (
    references = </a>
)
{
}
"""


def loose_sog(folder: Path) -> Targets:
    """A .sog unpacked into a folder."""
    formats.write(some(ROWS, 1), folder / "scene.sog")
    shutil.unpack_archive(folder / "scene.sog", folder / "loose", "zip")
    (folder / "scene.sog").unlink()
    kinds = {".json": "json", ".webp": "riff"}
    return {f"loose/{f.name}": kinds[f.suffix] for f in sorted((folder / "loose").iterdir())}


def levels_of_detail(folder: Path) -> Targets:
    """A lod-meta.json with its chunks."""
    formats.write(some(300, 0), folder / "lod-meta.json")
    chunks = sorted(folder.glob("*/meta.json"))
    return {"lod-meta.json": "json", chunks[0].relative_to(folder).as_posix(): "json"}


def tileset(folder: Path) -> Targets:
    """A tileset.json with its tile."""
    formats.write(some(300, 0), folder / "tileset.json")
    (tile,) = folder.glob("*/*.glb")
    return {"tileset.json": "json", tile.relative_to(folder).as_posix(): "glb"}


@maker
def points_file(folder: Path, body: str, binary: bool) -> Targets:
    """A plain point cloud: `scenes`' own, or one of doubles with faces behind."""
    if body == "floats":
        scenes.write_ply(folder / "points.ply", scenes.POINTS, binary=binary)
    else:
        head = "ply\nformat binary_little_endian 1.0\ncomment x\nelement vertex 3\n"
        head += "".join(f"property double {axis}\n" for axis in "xyz")
        head += "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        head += "element face 2\nproperty list uchar int vertex_indices\nend_header\n"
        rows = b"".join(struct.pack("<3d3B", *point, 1, 2, 3) for point in scenes.POINTS)
        faces = struct.pack("<B3i", 3, 0, 1, 2) * 2
        (folder / "points.ply").write_bytes(head.encode() + rows + faces)
    return {"points.ply": "ply"}


@maker
def colmap(folder: Path, binary: bool, model: str = "OPENCV") -> Targets:
    """A COLMAP scene of three photos."""
    more = scenes.MODEL_NUMBERS and {"OPENCV": 4, "PINHOLE": 0, "FULL_OPENCV": 8}[model]
    numbers = (*scenes.FOCAL, *scenes.PRINCIPAL, *(0.01,) * more)
    scenes.write_colmap(folder, scenes.shots(3), binary=binary, sensor=(model, numbers))
    suffix, kind = (".bin", "binary") if binary else (".txt", "text")
    names = ("cameras", "images", "points3D")
    return {f"sparse/0/{name}{suffix}": kind for name in names} | {"images/000.png": "png"}


def fisheye_colmap(folder: Path) -> Targets:
    """Photos of which several views are cut."""
    numbers = (20.0, 20.0, *scenes.PRINCIPAL, 0.01, 0.0, 0.0, 0.0)
    scenes.write_colmap(folder, scenes.shots(3), sensor=("OPENCV_FISHEYE", numbers))
    return {"sparse/0/cameras.bin": "binary"}


def nerfstudio(folder: Path) -> Targets:
    """A transforms.json with points, masks, and its own split."""
    meta = {**scenes.MEASURES, "k1": 0.01, "camera_model": "OPENCV", "ply_file_path": "points.ply",
            "applied_transform": np.eye(4)[:3].tolist(), "test_filenames": ["images/000.png"],
            "train_filenames": ["images/001.png", "images/002.png", "images/003.png"]}  # fmt: skip
    scenes.write_transforms(folder, scenes.shots(4), meta)
    scenes.write_ply(folder / "points.ply", scenes.POINTS)
    return {"transforms.json": "json", "points.ply": "ply"}


def blender(folder: Path) -> Targets:
    """The two files of a synthetic scene."""
    photos = scenes.shots(4)
    meta = {"camera_angle_x": 0.9}
    for split, part in (("train", photos[:3]), ("test", photos[3:])):
        file = f"transforms_{split}.json"
        scenes.write_transforms(folder, part, meta, file=file, folder=split, suffix="")
    return {"transforms_train.json": "json", "transforms_test.json": "json"}


def metashape(folder: Path) -> Targets:
    others.write_metashape(folder, scenes.shots(3), others.calibration())
    return {"cameras.xml": "xml"}


def reality(folder: Path) -> Targets:
    others.write_reality(folder, scenes.shots(3))
    return {"scan.csv": "text"}


def polycam(folder: Path) -> Targets:
    others.write_polycam(folder, scenes.shots(3), corrected=True, depth=True)
    root = "keyframes"
    return {f"{root}/corrected_cameras/000.json": "json", f"{root}/depth/000.png": "png",
            f"{root}/confidence/001.png": "png"}  # fmt: skip


def record3d(folder: Path) -> Targets:
    photos = scenes.shots(3)
    for i, shot in enumerate(photos):
        scenes.write_picture(folder / "rgbd" / f"{i}.jpg", shot.picture())
    poses = []
    for shot in photos:
        pose = np.linalg.inv(shot.world_to_camera)
        w, x, y, z = scenes.quaternion(pose[:3, :3])
        poses.append([x, y, z, w, *pose[:3, 3]])
    K = [scenes.FOCAL[0], 0, 0, 0, scenes.FOCAL[1], 0, *scenes.PRINCIPAL, 1]
    meta = {"w": scenes.WIDTH, "h": scenes.HEIGHT, "fps": 60, "K": K, "poses": poses,
            "perFrameIntrinsicCoeffs": [[*scenes.FOCAL, *scenes.PRINCIPAL]] * 3}  # fmt: skip
    (folder / "metadata").write_text(json.dumps(meta))
    return {"metadata": "json"}


def nerfies(folder: Path) -> Targets:
    test_clip.nerfies(folder, 3)
    files = ("dataset.json", "metadata.json", "camera/000001.json")
    return {**dict.fromkeys(files, "json"), "points.npy": "npy"}


def n3dv(folder: Path) -> Targets:
    test_clip.n3dv(folder, 2, 2)
    return {"poses_bounds.npy": "npy"}


def multipleview(folder: Path) -> Targets:
    test_clip.multipleview(folder, 2, 2)
    return {"sparse_/images.bin": "binary", "sparse_/cameras.bin": "binary"}


def freetime(folder: Path) -> Targets:
    test_clip.freetime(folder, 2, 3)
    names = ("points3d_frame000000", "colors_frame000000", "points3d_frame000002")
    return {**{f"{name}.npy": "npy" for name in names}, "sparse/0/images.bin": "binary"}


def easyvolcap(folder: Path) -> Targets:
    test_clip.easyvolcap(folder, 2, 2)
    return dict.fromkeys(("intri.yml", "extri.yml"), "text")


@maker
def moving_file(folder: Path, suffix: str, kind: str) -> Targets:
    """A file of Gaussians that move."""
    given = test_export_html.moving(12)
    formats.write(given, folder / f"file{suffix}")
    return {f"file{suffix}": kind}


def guides(folder: Path) -> Targets:
    """A scene with depth, normals and masks, and what their folders say of them."""
    photos = scenes.shots(3)
    scenes.write_colmap(folder, photos)
    for name in ("depths", "normals", "masks"):
        (folder / name).mkdir()
    side = (scenes.HEIGHT // 4, scenes.WIDTH // 4)
    cv2.imwrite(str(folder / "depths/000.png"), np.full(side, 900, np.uint16))
    np.save(folder / "depths/001.npy", np.ones(side, np.float32))
    np.save(folder / "normals/001.npy", np.ones((*side, 3), np.float16))
    cv2.imwrite(str(folder / "normals/000.png"), np.full((*side, 3), 200, np.uint8))
    whole = np.full((scenes.HEIGHT, scenes.WIDTH), 255, np.uint8)
    cv2.imwrite(str(folder / "masks/000.png"), whole)
    (folder / "depths/depths.json").write_text('{"kind": "metric", "scale": 0.001}')
    (folder / "normals/normals.json").write_text('{"frame": "opengl"}')
    return {"depths/depths.json": "json", "normals/normals.json": "json", "masks/000.png": "png",
            "depths/001.npy": "npy", "depths/000.png": "png", "normals/001.npy": "npy"}  # fmt: skip


def held_out_names(folder: Path) -> Targets:
    """A text file with the names of the photos to hold out."""
    scenes.write_colmap(folder, scenes.shots(4))
    (folder / "names.txt").write_text("000.png\n001\n")
    return {"names.txt": "text"}


@maker
def picture(
    folder: Path, name: str, kind: str, channels: int = 3, dtype: type = np.uint8
) -> Targets:
    """A photo of 8 x 8 pixels as OpenCV writes it."""
    draw = np.random.default_rng(3)
    most = np.iinfo(dtype).max
    image = draw.integers(0, most, (8, 8, channels)[: 2 + (channels > 1)], dtype)
    assert cv2.imwrite(str(folder / name), image)
    return {name: kind}


def camera_photo(folder: Path) -> Targets:
    """A JPEG with EXIF: a camera, its focal length, where it stood, and which way is up."""
    draw = np.random.default_rng(4)
    image = Image.fromarray(draw.integers(0, 255, (16, 24, 3), np.uint8))
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 1", 6
    more = exif.get_ifd(0x8769)
    more.update({0x829A: 0.01, 0x829D: 2.8, 0x8827: 100, 0xA405: 26, 0x920A: 4.2,
                 0x9003: "2024:01:02 03:04:05"})  # fmt: skip
    exif.get_ifd(0x8825).update(
        {1: "N", 2: (48.0, 7.0, 30.0), 3: "E", 4: (11.0, 3.0, 3.0), 5: b"\0", 6: 510.5}
    )
    image.save(folder / "photo.jpg", exif=exif, quality=80)
    return {"photo.jpg": "jpeg"}


@maker
def other_photo(folder: Path, suffix: str, **options: Any) -> Targets:
    """A picture as Pillow writes it."""
    draw = np.random.default_rng(5)
    image = Image.fromarray(draw.integers(0, 255, (16, 16, 3), np.uint8))
    image.convert(options.pop("mode", "RGB")).save(folder / f"photo{suffix}", **options)
    return {f"photo{suffix}": "png" if suffix == ".png" else "binary"}


@maker
def depth_map(folder: Path, name: str) -> Targets:
    """A map of 8 x 8 numbers."""
    values = np.linspace(0.5, 2, 64, dtype=np.float32).reshape(8, 8)
    path = folder / name
    if path.suffix == ".npz":
        np.savez_compressed(path, depth=values)
    elif path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".exr":
        big = np.linspace(0.5, 2, 32 * 16, dtype=np.float32).reshape(32, 16)
        path.write_bytes(open_exr(big))
    else:
        cv2.imwrite(str(path), (1000 * values).astype(np.uint16))
    return {name: {".npz": "zip", ".npy": "npy", ".exr": "exr", ".png": "png"}[path.suffix]}


def exr_of_runs(folder: Path) -> Targets:
    """OpenEXR compressed by run lengths, a line a chunk, of two channels."""
    lines, width = 8, 8
    entry = lambda key, of, value: (  # noqa: E731
        key + b"\0" + of + b"\0" + struct.pack("<i", len(value)) + value
    )
    channels = b"".join(n + b"\0" + struct.pack("<iIii", k, 0, 1, 1) for n, k in
                        ((b"R", 1), (b"Z", 2))) + b"\0"  # fmt: skip
    window = struct.pack("<4i", 0, 0, width - 1, lines - 1)
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += entry(b"channels", b"chlist", channels) + entry(b"compression", b"compression", b"\1")
    head += entry(b"dataWindow", b"box2i", window) + entry(b"displayWindow", b"box2i", window)
    head += entry(b"lineOrder", b"lineOrder", b"\0")
    head += entry(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += entry(b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0))
    head += entry(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    packed = bytes([0, 0, 46, 128])  # 48 bytes of 0: the first, and 47 differences
    chunks = [struct.pack("<ii", y, len(packed)) + packed for y in range(lines)]
    at, table = len(head) + 8 * lines, b""
    for chunk in chunks:
        table += struct.pack("<Q", at)
        at += len(chunk)
    (folder / "map.exr").write_bytes(head + table + b"".join(chunks))
    return {"map.exr": "exr"}


@maker
def normal_map(folder: Path, name: str) -> Targets:
    values = np.tile(np.array([0.1, 0.2, -0.9], np.float32), (8, 8, 1))
    if name.endswith(".png"):
        cv2.imwrite(str(folder / name), (127.5 * values[..., ::-1] + 127.5).astype(np.uint8))
        return {name: "png"}
    np.save(folder / name, values)
    return {name: "npy"}


def film(folder: Path) -> Targets:
    """Eight frames of noise."""
    draw = np.random.default_rng(6)
    writer = cv2.VideoWriter(
        str(folder / "walk.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (32, 32)
    )
    for _ in range(8):
        writer.write(draw.integers(0, 255, (32, 32, 3), np.uint8))
    writer.release()
    return {"walk.avi": "binary"}


def videos_of_rig(folder: Path) -> Targets:
    """Two videos of a moment, when each began, and their cameras."""
    test_prep_rig.rig(folder / "rig", 2, 3, model=False)
    (folder / "rig/offsets.json").write_text('{"cam0": 1.5, "cam1.avi": 1.6}')
    return {"rig/offsets.json": "json", "rig/transforms.json": "json"}


@maker
def photo_folder(folder: Path, *makers: Maker) -> Targets:
    """Photos below `photos/`, all to be broken; and what a preparation noted of them."""
    (folder / "photos").mkdir()
    targets: dict[str, str] = {}
    for maker in makers:
        targets |= {f"photos/{n}": kind for n, kind in maker(folder / "photos").items()}
    return targets


def camera_path(folder: Path) -> Targets:
    """The two layouts of a path of cameras."""
    poses = [shot.world_to_camera for shot in scenes.shots(3)]
    theirs = [
        {"camera_to_world": np.linalg.inv(pose).ravel().tolist(), "fov": 50, "aspect": 1.5}
        for pose in poses
    ]
    whole = {"camera_type": "perspective", "render_height": 8, "render_width": 12, "fps": 24,
             "seconds": 1, "camera_path": theirs}  # fmt: skip
    (folder / "path.json").write_text(json.dumps(whole))
    K = [[9.0, 0, 6], [0, 9.0, 4], [0, 0, 1]]
    cameras = [{"world_to_camera": pose.tolist(), "name": "a"} for pose in poses]
    ours = {"width": 12, "height": 8, "K": K, "cameras": cameras}
    (folder / "cameras.json").write_text(json.dumps(ours))
    return {"path.json": "json", "cameras.json": "json"}


def shelf(folder: Path) -> Targets:
    """A file of the disk cache."""
    Shelf(folder, 1 << 30).make_room({})
    kept = Shelf(folder, 1 << 30)
    kept.put("mark", [np.arange(48, dtype=np.uint8).reshape(4, 4, 3), None, np.ones((4, 4), "u1")])
    return {"mark.photo": "binary"}


@maker
def panorama(folder: Path, name: str) -> Targets:
    image = np.linspace(0, 1, 8 * 16 * 3, dtype=np.float32).reshape(8, 16, 3)
    image = image if name.endswith(".hdr") else (255 * image).astype(np.uint8)
    assert cv2.imwrite(str(folder / name), image)
    return {name: "binary" if name.endswith(".hdr") else "png"}


FRAME, DRAWING = Frame((0.5, 0.25, -1.0), 0.125), Drawing(near=0.2)
"""Of files that keep a model."""


def rows_with(sh: torch.Tensor) -> dict[str, torch.Tensor]:
    """Rows of a few points."""
    n = len(sh)
    return {
        "mean": seen(), "quat": torch.ones(n, 4), "log_scale": torch.zeros(n, 3),
        "opacity_logit": torch.zeros(n), "sh": sh,
    }  # fmt: skip


@maker
def anchors(folder: Path, kind: str) -> Targets:
    """Anchors of a few points: plain, of a model that is coded but kept plain, or coded."""
    path = folder / "scene.anchors"
    if kind == "plain":
        strategy = Scaffold(voxel=0.25, slots=2, features=2, hidden=16)
        model: Any = strategy.model({"mean": seen()}, Making(steps=9))
        write_anchors(model, path, FRAME, DRAWING)
    else:
        model = model_at(seen())
        opaque(model)
        model.done = 10_001
        write_anchors(model, path, FRAME, DRAWING, (0, 0.5, 1), plain=kind == "kept plain")
    return {path.name: "anchors"}


@maker
def forest(folder: Path, kind: str) -> Targets:
    """Trees of a few points, plain or coded."""
    path, rows = folder / "scene.forest", rows_with(torch.rand(len(seen()), 1, 3) - 0.5)
    strategy = Forest(mid_features=2, root_features=2, hidden=4, mid_cell=2, root_cell=4)
    model = strategy.model(rows, Making(steps=9, views=(CAMERA, CAMERA)))
    write_forest(model, path, FRAME, DRAWING, (0, 0.5, 1), plain=kind == "plain")
    return {path.name: "anchors"}


@maker
def clip(folder: Path, kind: str) -> Targets:
    """Deformed Gaussians of a few points, as `anchors`."""
    path, rows = folder / "scene.clip", rows_with(torch.zeros(len(seen()), 4, 3))
    strategy: Any = Deform(resolution=4, width=16)
    context: Any = "full" if kind == "coded in full" else "small"
    strategy = strategy if kind == "plain" else PlanesCoded(strategy, context=context)
    model = strategy.model(rows, Making(steps=9))
    write_clip(model, path, FRAME, DRAWING, (0, 0.5, 1), plain=kind == "kept plain")
    return {path.name: "anchors"}


def volume_file(folder: Path) -> Targets:
    """A grid of 3 x 3 x 3, some places of which have a Gaussian."""
    lattice = Lattice((-1.0, 0.0, 0.5), 0.25, 3)
    whole = volume.volume_of(some(9, 1), torch.arange(0, 27, 3), lattice)
    volume.write(whole, folder / "v.npz")
    return {"v.npz": "zip"}


def body(folder: Path) -> Targets:
    """Two short capsules with a bone each."""
    rig.write(two_capsules(), folder / "b.glb")
    return {"b.glb": "glb"}


def pose(folder: Path) -> Targets:
    """Turns of two bones."""
    (folder / "p.json").write_text('{"lower": [0, 30, 0], "upper": [10.5, 0, -5]}')
    return {"p.json": "json"}


def corpus(folder: Path) -> Targets:
    """Two things with words, one of them held out."""
    object_files.write(folder, 1)
    return {"corpus.json": "json", "gaussians.npz": "zip"}


def generator_file(folder: Path) -> Targets:
    """A generator that knows three words and has learned nothing."""
    shape = Shape(8, 8, (1,), 1, 4, 8)
    design = generators.Design(shape, shape, 8)
    words = Vocabulary(("red", "cube", "ball"), {"colour": ("", "red"), "shape": ("cube", "ball")})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = generators.Trained(design, words)
    networks = {name: getattr(made, name).state_dict() for name in generators.NETWORKS}
    generators.write(folder / "generator.pt", design, words, networks)
    return {"generator.pt": "zip"}


def text_encoder(folder: Path) -> Targets:
    """The settings of a text encoder, whose weights are looked at by others."""
    settings = {"model_type": "bert", "hidden_size": 16, "architectures": ["BertModel"]}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "model.safetensors").touch()
    return {"config.json": "json"}


def teacher_file(folder: Path) -> Targets:
    """A teacher that knows three words and has learned nothing."""
    design = tutor.Design(16, 2, Shape(8, 8, (1,), 1, 4, 8))
    words = Vocabulary(("red", "cube", "ball"), {"colour": ("", "red"), "shape": ("cube", "ball")})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = tutor.Tutor(design, words)
    tutor.write(folder / "teacher.pt", design, words, made.network.state_dict())
    return {"teacher.pt": "zip"}


@maker
def run_folder(folder: Path, *strategy: str) -> Targets:
    """What two steps of training leave, with two changes made on the way."""
    from splat.cli import main

    scene = scenes.write_colmap(folder / "scene", scenes.shots(4))
    run = folder / "run"
    options = ["--steps", "2", "--out", str(run), "--device", "cpu", "--quiet", "--threads",
               "1", "--no-pictures", "--resolution", "full", "--max-side", "24",
               "--sky", "none"]  # fmt: skip
    code = main(["train", str(scene), *strategy, *options])
    assert code == 0, code
    logging.getLogger("splat").setLevel(logging.ERROR)
    (last,) = (run / "checkpoints").glob("*.pt")
    changes = [{"step": 1, "command": {"name": "cap", "value": 9, "before": 5}}]
    with (run / "log.jsonl").open("a") as log:
        log.writelines(json.dumps(change) + "\n" for change in changes)
    found = {"config.json": "json", "cameras.json": "json", "metrics.json": "json",
             "log.jsonl": "jsonl", f"checkpoints/{last.name}": "zip"}  # fmt: skip
    return {f"run/{name}": kind for name, kind in found.items()}


def plans(folder: Path) -> Targets:
    """The plan of a comparison, and that of a run in blocks."""
    from splat.blocks.cells import Cell, Ground
    from splat.blocks.plan import BlockPlan, Part
    from splat.comparison import plan as comparison
    from splat.core.strategy import Fixed
    from splat.options import Options, Reading
    from splat.recipes.saved import description_of

    shared = comparison.Shared(Options(steps=10), Reading(), 5, "none", "cpu", "0.1")
    scene = comparison.Scene("a", Path("a"), "colmap", 3, 1, 9, "mark")
    entrant = comparison.Entrant("fixed", "fixed", description_of(Fixed()), 0.1, 1.0)
    asks = (comparison.Ask(("a",), ("fixed",), (1000,), (0, 1)),)
    comparison.write_plan(comparison.Plan(shared, (scene,), (entrant,), asks), folder)
    ground = Ground((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 1.0)
    part = Part("0-0", Cell(ground, (-1.0, -1.0), (1.0, 1.0)), ("000.png",), 1, 2, 3)
    frame = Frame((0.0, 0.5, 1.0), 2.0)
    BlockPlan("m", ground, frame, 0.1, 0.05, 0.2, (part,), "0.1").write(folder / "blocks.json")
    processes = [{"id": 7, "imported": 5, "peak": 9}]
    note = folder / "run/blocks/0-0.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"processes": processes}))
    return {comparison.FILE: "json", "blocks.json": "json", "run/blocks/0-0.json": "json"}


def compared(folder: Path) -> Targets:
    """A comparison of one run of two steps."""
    from splat.cli import main

    scene = scenes.write_colmap(folder / "scene", scenes.shots(4))
    out = folder / "out"
    words = ["compare", str(scene), "--strategies", "mcmc", "--steps", "2", "--out", str(out),
             "--budget", "50k", "--workers", "0", "--threads", "1", "--net", "none",
             "--seeds", "1", "--quiet", "--device", "cpu"]  # fmt: skip
    code = main(words)
    assert code == 0, code
    logging.getLogger("splat").setLevel(logging.ERROR)
    (run,) = (out / "runs").glob("*/*/metrics.json")
    (note,) = (each for each in run.parent.parent.glob("*.json"))
    figures = json.loads(run.read_text())  # as of a clip, looked at off the path of its photos
    figures["clip"] = {"psnr_moving": 20.5, "psnr_rest": 30.5, "flow_error": None}
    between = {"depth": 0.5, "floaters": 0.25, "sharpness": 0.75}
    figures["off_path"] = {"psnr": 21.5, "between": between}
    run.write_text(json.dumps(figures))
    files = (out / "comparison.json", run, run.with_name("config.json"), note)
    found = {file.relative_to(folder).as_posix(): "json" for file in files}
    return {**found, run.with_name("log.jsonl").relative_to(folder).as_posix(): "jsonl"}


def makehuman_data(folder: Path) -> Targets:
    """Two squares as a body with two bones, as MakeHuman's data are laid out."""
    lines = [f"v {x} {y} 0" for y in (-5, 5, 15) for x in (0, 10)]
    lines += [f"v 4 {y} 2" for y in (4, 6, 8)]
    lines += ["g body", "f 1/1 2/2 4/4 3/3", "f 3/1 4/2 6/4 5/3", "g joint-knee", "f 7 8 9"]
    cube = {"strategy": "CUBE", "cube_name": "joint-knee"}
    mean = {"strategy": "MEAN", "vertex_indices": [0, 1]}
    bones = {"knee": {"head": cube, "parent": "root"}, "root": {"head": mean, "parent": ""}}
    weights = {"root": [[0, 1], [1, 1], [2, 0.5]], "knee": [[2, 0.5], [4, 1.0], [5, 1.0]]}
    files = {
        "3dobjs/base.obj": ("\n".join(["# base", *lines, ""]).encode(), "text"),
        "rigs/standard/rig.tiny.json": (json.dumps(bones).encode(), "json"),
        "rigs/standard/weights.tiny.json": (json.dumps({"weights": weights}).encode(), "json"),
        "targets/tall.target.gz": (gzip.compress(b"# lines\n4 0 10 0\n5 0 10 .0\n"), "text.gz"),
    }
    for name, (data, _) in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return {name: kind for name, (_, kind) in files.items()}


def origin(folder: Path) -> Targets:
    """Where on earth a prepared scene lies."""
    frame = {"how": "gps", "origin": [48.1, 11.5, 520.0]}
    (folder / "prep.json").write_text(json.dumps({"frame": frame}))
    return {"prep.json": "json"}


def recipe(folder: Path) -> Targets:
    """A recipe in a file."""
    (folder / "recipe.txt").write_text("mcmc --cap 200k + significance --at 15000\n")
    return {"recipe.txt": "text"}


def wav_file(folder: Path) -> Targets:
    draw = torch.Generator().manual_seed(0)
    sounds.write_wav(folder / "a.wav", 0.1 * torch.randn(2, 400, generator=draw), 8000)
    return {"a.wav": "riff"}


def wav_of_16_bits(folder: Path) -> Targets:
    draw = torch.Generator().manual_seed(0)
    sounds.write_wav(folder / "a.wav", 0.1 * torch.randn(2, 400, generator=draw), 8000, depth="16")
    return {"a.wav": "riff"}


def own_sounds(folder: Path) -> Targets:
    hearing_room.write_responses(folder, 3, 1)
    return {"sounds.json": "json", "wav/000.wav": "riff"}


def rwavs(folder: Path) -> Targets:
    """One scene of RWAVS: two recordings, and poses in two frames."""
    root = folder / "1"
    root.mkdir()
    draw = torch.Generator().manual_seed(0)
    for name, channels in (("binaural", 2), ("source", 1)):
        noise = 0.1 * torch.randn(channels, 8000, generator=draw)
        sounds.write_wav(root / f"{name}_syn_re.wav", noise, 1000)
    (folder / "position.json").write_text('{"1": {"source_position": [0.1, 0.2, 0.3]}}')
    targets = {"position.json": "json"}
    for split, times in (("train", (1, 2, 3)), ("val", (4, 5))):
        poses = [np.linalg.inv(scenes.looking(0.5 * t, 1.0)) for t in times]
        names = [f"images/{t:05d}.png" for t in times]
        path = [{"file_path": n, "camera_to_world": p.ravel().tolist()}
                for n, p in zip(names, poses, strict=True)]  # fmt: skip
        frames = [{"file_path": n, "transform_matrix": p.tolist()}
                  for n, p in zip(names, poses, strict=True)]  # fmt: skip
        for file, content in ((f"transforms_scale_{split}.json", {"camera_path": path}),
                              (f"transforms_{split}.json", {"frames": frames})):  # fmt: skip
            (root / file).write_text(json.dumps(content))
            targets[f"1/{file}"] = "json"
    return targets


def soundspaces(folder: Path) -> Targets:
    """Responses by angle, receiver and source, and where these are."""
    draw = torch.Generator().manual_seed(0)
    for angle in (0, 90):
        for receiver in range(3):
            noise = 0.1 * torch.randn(2, 100, generator=draw)
            sounds.write_wav(folder / str(angle) / f"{receiver}_3.wav", noise, 8000)
    (folder / "points.txt").write_text("".join(f"{i}\t{i}.5\t0.25\t-1e-2\n" for i in range(4)))
    return {"points.txt": "text", "0/0_3.wav": "riff"}


def prep_notes(folder: Path) -> Targets:
    """What a preparation keeps in its folder to go on from."""
    from splat.prep.gather import gather
    from splat.prep.options import PrepOptions
    from splat.prep.stages import Stages

    (folder / "in").mkdir()
    (folder / ".prep").mkdir()
    for maker in (camera_photo, picture("b.png", "png"), picture("c.png", "png", 4)):
        maker(folder / "in")
    found = gather(folder / "in", folder / "images", folder / ".prep/photos.jsonl",
                   PrepOptions(), lambda *_: None)  # fmt: skip
    found.write(folder / ".prep/gathered.json")
    stages = Stages(folder)
    stages.begin("gather", 1)
    stages.end("gather")
    return {
        ".prep/photos.jsonl": "jsonl",
        ".prep/gathered.json": "json",
        ".prep/state.json": "json",
    }


def prep_results(folder: Path) -> Targets:
    """What the stages of a preparation that map leave for a second call."""
    camera = {"model": "OPENCV", "width": 640, "height": 480, "focal": 500.0, "photos": 3,
              "parameters": [500.0, 500.0, 320.0, 240.0, 0.1, 0.0, 0.0, 0.0]}  # fmt: skip
    model = {"registered": ["a.png", "b.png"], "points": 40, "error": 0.4, "track": 3.5,
             "cameras": [camera]}  # fmt: skip
    photo = {"features": 900, "pairs": 2, "best": 100}
    results: dict[str, dict[str, Any]] = {
        "matched": {"matching": "all", "pairs": 3},
        "mapped": {"models": [model, model], "photos": {"a.png": photo, "b.png": photo}},
        "placed": {"frame": {"how": "ground", "scale": 1.5}},
    }
    for name, result in results.items():
        (folder / f"{name}.json").write_text(json.dumps(result))
    return {f"{name}.json": "json" for name in results}


@maker
def dump_of(folder: Path, name: str) -> Targets:
    """One step of a method, as a run that diverges leaves it."""
    from splat.training import dump

    scene = scenes.write_colmap(folder / "scene", scenes.shots(4))
    more = {"threads": 1, "points_weight": 0.0}
    with closing(job_of(scene, METHODS[name], steps=20, **more)) as job:
        state = checkpoint.copied(checkpoint.state_of(job.run))
        dump.write(folder / "step.pt", job, state, [job.run.batches(0)], "step 1: a test")
    return {"step.pt": "zip"}


@maker
def masked(folder: Path, maker: Maker) -> Targets:
    """A photo beside a mask, which is what is broken."""
    picture("good.png", "png")(folder)
    return maker(folder)


def run_cameras(folder: Path) -> Targets:
    """The cameras of a run, one of them moved."""
    K = [[9.0, 0, 6], [0, 9.0, 4], [0, 0, 1]]
    cameras = [
        {"name": shot.name, "split": "train", "width": 12, "height": 8, "K": K,
         "world_to_camera": shot.world_to_camera.tolist()}
        for shot in scenes.shots(2)
    ]  # fmt: skip
    cameras[0]["given"] = cameras[1]["world_to_camera"]
    cameras[1]["taken_by"] = 0
    (folder / "cameras.json").write_text(json.dumps({"cameras": cameras}))
    return {"cameras.json": "json"}


def log_of_run(folder: Path) -> Targets:
    """Lines of every sort that a log has."""
    head = {"step": 1, "gaussians": 9, "seconds": 0.5}
    records: list[dict[str, Any]] = [
        {**head, "strategy_seconds": 0.1, "loss": 0.5, "terms": {"l1": 0.5}, "psnr": 9.5,
         "view": "000.png"},
        {**head, "before": 9, "counts": {"append:clone": 2, "drop:opacity": 1}},
        {**head, "test_psnr": 9.0, "look_seconds": 0.1},
        {"step": 1, "command": {"name": "cap", "value": 9, "before": 5}},
        {"step": 2, "command": {"name": "pause", "value": 1.0, "before": None}},
    ]  # fmt: skip
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "log.jsonl").write_text(text)
    return {"log.jsonl": "jsonl"}
