"""Scenes, camera paths and lists that lie: a sentence that names the file, never a traceback."""

from __future__ import annotations

import json
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
from test_cameras_of_others import (
    calibration,
    pictures,
    write_metashape,
    write_polycam,
    write_reality,
)

from splat import datasets
from splat.cli.opened import cameras_of, held_out
from splat.prep.gather import Gathered, _known
from splat.prep.report import origin_of
from splat.prep.stages import Stages
from splat.recipes.recipe import text_of
from splat.render import camera_paths
from splat.runs.folder import moved_cameras
from splat.strategies.acoustic import sounds
from splat.system import foreign
from splat.system.errors import BAD_INPUT, explained
from splat.system.foreign import Unreadable

HUGE = 10**400
DEEP = "[" * 100_000 + "]" * 100_000
Change = Callable[[Any], object]


def refused(file: str, act: Callable[[], object], *words: str) -> str:
    """The sentence of what is refused: one line, with the file's name."""
    with pytest.raises((ValueError, OSError)) as caught:
        act()
    code, said = explained(caught.value) or (0, "a traceback")
    assert code == BAD_INPUT and file in said and all(word in said for word in words), said
    assert "\n" not in said and len(said) < 1000
    return said


def changed(file: Path, change: Change | str | bytes) -> None:
    """Write a file of JSON anew, changed by a function or as a whole."""
    if isinstance(change, bytes):
        file.write_bytes(change)
    elif isinstance(change, str):
        file.write_text(change)
    else:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if files 64 times as large were read."""
    monkeypatch.setattr(foreign, "MOST_MEMORY", 1 << 24)


def frame(**values: Any) -> Change:
    """A change of the second frame."""
    return lambda content: content["frames"][1].update(values)


TRANSFORMS: dict[str, tuple[Change | str | bytes, str]] = {
    "no text": (b"\xff\xfe{", "is no text"),
    "nested": (DEEP, "is nested too deep"),
    "a list": ("[]", "is []; expected a JSON object"),
    "a frame is none": (lambda c: c["frames"].append(3), "has `frames` 3: 3; expected an object"),
    "a number for a pose": (frame(transform_matrix=3), "frame 1: has 3 as `transform_matrix`"),
    "a pose of two rows": (frame(transform_matrix=[[1, 0, 0, 0]] * 2), "its pose is no matrix"),
    "a pose of huge numbers": (frame(transform_matrix=[[HUGE] * 4] * 4), "as `transform_matrix`"),
    "a pose of large ones": (frame(transform_matrix=[[1e308] * 4] * 4), "pose is no rotation"),
    "a huge focal length": (frame(fl_x=HUGE), "has `fl_x`"),
    "a focal length beyond float32": (frame(fl_x=1e300), "huge numbers"),
    "an infinite width": (frame(w=float("inf")), "has `w`: inf; expected a number 1 or more"),
    "a negative height": (frame(h=-80), "has `h`: -80; expected a number 1 or more"),
    "NaN in a lens": (frame(k1=float("nan")), "has `k1`: nan; expected a number"),
    "a model that is a list": (frame(camera_model=["x"]), "has `camera_model`: ['x']"),
    "half a character": (frame(file_path="\ud800"), "has `file_path`: '\\ud800'; expected a text"),
    "NUL in a name": (frame(file_path="a\0b"), "has `file_path`"),
    "no name": (frame(file_path=7), "has `file_path`: 7; expected a text"),
    "names of tests": (lambda c: c.update(test_filenames=5), "has `test_filenames`: 5"),
    "points": (lambda c: c.update(ply_file_path=[1]), "has `ply_file_path`: [1]; expected a text"),
    "empty lists": ("[" + "[]," * 200_000 + "0]", "GB for lists and numbers"),
}  # fmt: skip


@pytest.mark.parametrize("case", TRANSFORMS)
def test_transforms(case: str, tmp_path: Path) -> None:
    scenes.write_transforms(tmp_path, scenes.shots(3))
    change, words = TRANSFORMS[case]
    changed(tmp_path / "transforms.json", change)
    refused("transforms.json", lambda: datasets.load(tmp_path), words)


def test_names_that_can_be_none_are_missing_photos(tmp_path: Path) -> None:
    scenes.write_transforms(tmp_path, scenes.shots(4))
    for name in ("x" * 5000, "..", "/", ""):
        changed(tmp_path / "transforms.json", frame(file_path=name))
        assert "1 of 4 frames in transforms.json have no photo" in datasets.load(tmp_path).notes[0]


@pytest.mark.parametrize("inside", ["../m.png", "{}/m.png"])
def test_masks_outside_of_a_scene_are_refused(inside: str, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    scenes.write_transforms(folder, scenes.shots(3))
    scenes.write_picture(tmp_path / "m.png", np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint8))
    changed(folder / "transforms.json", frame(mask_path=inside.format(tmp_path)))
    said = refused("m.png", lambda: datasets.load(folder))
    assert "names a mask outside of its folder" in said and "--allow-outside" in said
    assert datasets.load(folder, allow_outside=True).train


BOMB = "<!DOCTYPE document [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {b} '{f'&{a};' * 10}'>"
    for a, b in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu", strict=True)
)
SENSOR = calibration()
XML: dict[str, tuple[str, str, str]] = {
    "a bomb": ("<document", BOMB + "]><document", "has a DOCTYPE"),
    "another file": ("<document", "<!DOCTYPE d SYSTEM '/etc/passwd'><document", "has a DOCTYPE"),
    "a transform cut short": ("<rotation>1.0", "<rotation>", "a transform has 8 numbers"),
    "a number with _": ("<scale>1.0", "<scale>1_0", "has '1_0'; expected a number"),
    "NaN": ("<translation>0.0", "<translation>nan", "has 'nan'; expected a number"),
    "a huge side": ('width="96"', f'width="{"9" * 400}"', "expected a number"),
    "a side that is none": ('width="96"', 'width="wide"', "has 'wide'; expected a number"),
    "a negative side": ('height="80"', 'height="-80"', "expected 1 to 16,777,216 a side"),
    "many elements": ("<chunk", "<a/>" * 100_000 + "<chunk", "GB for elements"),
    "no text": ("<chunk", "\udcff<chunk", "is not whole"),
}


@pytest.mark.parametrize("case", XML)
def test_metashape(case: str, tmp_path: Path) -> None:
    write_metashape(tmp_path, scenes.shots(3), SENSOR)
    file, (old, new, words) = tmp_path / "cameras.xml", XML[case]
    text = file.read_text()
    assert old in text
    file.write_bytes(text.replace(old, new).encode(errors="surrogateescape"))
    refused("cameras.xml", lambda: datasets.load(tmp_path), words)


def test_another_xml_with_a_doctype_is_left_alone(tmp_path: Path) -> None:
    write_metashape(tmp_path, scenes.shots(3), SENSOR)
    (tmp_path / "a.xml").write_text(BOMB.replace("document", "plist") + "]><plist>&u;</plist>")
    assert datasets.load(tmp_path).format == "metashape"


CSV: dict[str, tuple[str, str]] = {
    "a field of a book": (f"000.png,1,2,3,0,0,0,{'9' * 200_000}\n", "is broken or cut off"),
    "NUL": (
        "000.png,1,2,3,0,0,0,3\0\n",
        # Python's csv knows no NUL before 3.11.
        "line 5: f: has '3\\x00'; expected a number"
        if sys.version_info >= (3, 11)
        else "is broken or cut off",
    ),
    "infinite": ("000.png,1,2,3,inf,0,0,30\n", "line 5: heading: has 'inf'; expected a number"),
    "with _": ("000.png,1,2,3,0,0,0,3_0\n", "line 5: f: has '3_0'; expected a number"),
    "huge": ("000.png,1,2,3,0,0,0,1e300\n", "line 5: the camera holds NaN, infinite or huge"),
    "absolute": (f"{__file__},1,2,3,0,0,0,30\n", "line 5: "),
}


@pytest.mark.parametrize("case", CSV)
def test_reality(case: str, tmp_path: Path) -> None:
    tail, words = CSV[case]
    write_reality(tmp_path, scenes.shots(3), tail=tail)
    name = Path(__file__).name if case == "absolute" else "scan.csv"
    refused(name, lambda: datasets.load(tmp_path), *([words] if name == "scan.csv" else []))


def test_rows_without_a_name_are_missing_photos(tmp_path: Path) -> None:
    write_reality(tmp_path, scenes.shots(3), "x,name,y,alt,heading,pitch,roll,f", tail="1\n")
    with pytest.raises(FileNotFoundError, match=r"scan\.csv: none of the 4 photos"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("[1]", "is [1]; expected a JSON object"),
        (DEEP, "is nested too deep"),
        (lambda c: c.update(width=float("inf")), "has `width`: inf"),
        (lambda c: c.update(t_00=HUGE), "has `t_00`"),
        (lambda c: c.update(fx=None), "has no `fx`; expected a number"),
    ],
)
def test_polycam(change: Change | str, words: str, tmp_path: Path) -> None:
    write_polycam(tmp_path, scenes.shots(3), True)
    changed(tmp_path / "keyframes/corrected_cameras/001.json", change)
    refused("001.json", lambda: datasets.load(tmp_path), words)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"poses": [["x"] * 7] * 3}, "as `poses`; expected n x 7 numbers"),
        ({"poses": [[HUGE] * 7] * 3}, "as `poses`"),
        ({"poses": [[0] * 7] * 3}, "frame 0: its rotation is a quaternion of zeros"),
        ({"perFrameIntrinsicCoeffs": [[1, 2, 3]] * 3}, "expected n x 4 numbers"),
        ({"perFrameIntrinsicCoeffs": 3}, "has 3 as `perFrameIntrinsicCoeffs`"),
        ({"w": "wide"}, "frame 0: has `w`: 'wide'; expected a number"),
        ({"K": 5}, "has 5 as `K`; expected 9 numbers"),
    ],
)
def test_record3d(values: dict[str, Any], words: str, tmp_path: Path) -> None:
    pictures(tmp_path / "rgbd", [scenes.Shot(f"{i}.png", np.eye(4)) for i in range(3)])
    meta = {
        "poses": [[0, 0, 0, 1, 0, 0, i] for i in range(3)],
        "K": [90, 0, 0, 0, 90, 0, 48, 40, 1],
    }
    (tmp_path / "metadata").write_text(json.dumps(meta | values))
    refused("metadata", lambda: datasets.load(tmp_path), words)


def put(name: str, at: int, layout: str, *values: Any) -> tuple[str, Callable[[bytes], bytes]]:
    """Numbers written over those in a file of a model."""
    new = struct.pack(layout, *values)
    return f"{name}.bin", lambda data: data[:at] + new + data[at + len(new) :]


COLMAP = {
    "more cameras": (put("cameras", 0, "<Q", 2**63), "ends after"),
    "more images": (put("images", 0, "<Q", 2**64 - 1), "ends after"),
    "more points": (put("points3D", 0, "<Q", 2**40), "ends after"),
    "observations": (put("images", 8 + 64 + 8, "<Q", 2**62), "ends after"),
    "a track": (put("points3D", 8 + 43, "<Q", 2**61), "ends after"),
    "a wide photo": (put("cameras", 16, "<Q", 2**63), "camera 7: the camera has 92233"),
    "NaN in a camera": (put("cameras", 32, "<d", float("nan")), "camera 7: the camera holds NaN"),
    "a huge camera": (put("cameras", 32, "<d", 1e300), "camera 7: the camera holds NaN, infinite"),
    "NaN in a pose": (put("images", 44, "<d", float("nan")), "image '000.png': its pose holds NaN"),
}


@pytest.mark.parametrize("case", COLMAP)
def test_colmap(case: str, tmp_path: Path) -> None:
    (name, change), words = COLMAP[case]
    file = scenes.write_colmap(tmp_path, scenes.shots(3)) / "sparse/0" / name
    file.write_bytes(change(file.read_bytes()))
    refused(name, lambda: datasets.load(tmp_path), words)


def test_colmap_lens_and_colours(tmp_path: Path) -> None:
    sensor = ("SIMPLE_RADIAL", (90.0, 48.0, 40.0, float("nan")))
    scenes.write_colmap(tmp_path, scenes.shots(3), sensor=sensor)
    refused("cameras.bin", lambda: datasets.load(tmp_path), "its lens has a NaN")
    scenes.write_colmap(tmp_path / "b", scenes.shots(3), binary=False)
    points = tmp_path / "b/sparse/0/points3D.txt"
    for red in ("1e9", "nan", "-3"):
        points.write_text(f"1 0 0 0 {red} 0 0 0.5 1 0\n")
        refused("points3D.txt", lambda: datasets.load(tmp_path / "b"), "from 0 to 255")


def test_maps_whose_headers_are_none(tmp_path: Path) -> None:
    scenes.write_colmap(tmp_path, scenes.shots(3))
    (tmp_path / "depths").mkdir()
    settings = tmp_path / "depths/depths.json"
    for text, words in ((DEEP, "too deep"), ('{"scale": 1e999}', "scale is inf"), ("\udcff", "no")):
        settings.write_bytes(text.encode(errors="surrogateescape"))
        refused("depths.json", lambda: datasets.load(tmp_path), words)
    settings.unlink()
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (((((((((9"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    (tmp_path / "depths/000.npy").write_bytes(npy)
    assert datasets.load(tmp_path).test[0].depth is not None  # decoding says what is wrong


def test_lists_of_names_and_recipes_that_are_no_text(tmp_path: Path) -> None:
    scenes.write_colmap(tmp_path, scenes.shots(3))
    (tmp_path / "held.txt").write_bytes(b"000.png\n\xff\xfe")
    held = str(tmp_path / "held.txt")
    refused("held.txt", lambda: datasets.load(tmp_path, eval=held), "holds bytes that are no text")
    refused("held.txt", lambda: text_of(held), "holds bytes that are no text")
    with pytest.raises(ValueError, match="there is no view called"):
        datasets.load(tmp_path, eval="x" * 5000)


@pytest.mark.parametrize("error", [KeyError("poses"), IndexError(), MemoryError(), TypeError("3")])
def test_readers_of_other_packages(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("somebodys_reader")

    def load(path: Path, images: str | None = None) -> None:
        raise error

    module.EXPECTS, module.load = "somewhere.txt (somebody)", load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = {"somebody": module.__name__}
    monkeypatch.setattr(datasets, "installed_besides", lambda *_: found)
    (tmp_path / "somewhere.txt").touch()
    refused("somewhere.txt", lambda: datasets.load(tmp_path), str(tmp_path))


def test_a_file_that_lies_is_not_answered_by_options_of_memory() -> None:
    lying = Unreadable("x.ply: [enforce fail] can't allocate memory")
    assert explained(lying) == (BAD_INPUT, str(lying))
    assert "lower --cap" in (explained(MemoryError()) or (0, ""))[1]
    assert explained(ValueError("a\x1b[2Jb\ud800"))[1] == "a?[2Jb?"  # type: ignore[index]


POSE, K = np.eye(4).tolist(), [[90, 0, 48], [0, 90, 40], [0, 0, 1]]
ONE = {"world_to_camera": POSE, "K": K, "width": 96, "height": 80}
THEIRS = {"camera_type": "perspective", "render_width": 96, "render_height": 80}
STOP = {"camera_to_world": np.eye(4).ravel().tolist(), "fov": 50}
PATHS: dict[str, tuple[Any, str]] = {
    "cameras that are a number": ({"cameras": 5}, "has `cameras`: 5; expected a list"),
    "a camera that is none": ({"cameras": [ONE, 3]}, "has `cameras` 1: 3; expected an object"),
    "a lens of texts": ({"cameras": [ONE | {"K": [["x"] * 3] * 3}]}, "camera 0: has "),
    "a huge lens": ({"cameras": [ONE | {"K": [[1e300, 0, 0], *K[1:]]}]}, "camera 0: "),
    "a huge pose": ({"cameras": [ONE | {"world_to_camera": [[HUGE] * 4] * 4}]}, "camera 0: has "),
    "an infinite side": ({"cameras": [ONE | {"width": float("inf")}]}, "has `width`: inf"),
    "no time": ({"cameras": [ONE | {"time": "noon"}]}, "has `time`: 'noon'; expected a number"),
    "a name that is none": ({"cameras": [ONE | {"name": [1]}]}, "camera 0: has `name`: [1]"),
    "a fov of NaN": ({**THEIRS, "camera_path": [STOP | {"fov": float("nan")}]}, "has `fov`: nan"),
    "a fov of 0": ({**THEIRS, "camera_path": [STOP | {"fov": 0}]}, "expected a number above 0"),
    "no matrix": ({**THEIRS, "camera_path": [{"fov": 50}]}, "has no `camera_to_world`"),
    "an odd type": ({"camera_type": [1], "camera_path": [STOP]}, "camera 0: its type is [1]"),
    "a matrix of zeros": ({**THEIRS, "camera_path": [STOP | {"camera_to_world": [0] * 16}]},
                          "camera 0: "),
}  # fmt: skip


@pytest.mark.parametrize("case", PATHS)
def test_camera_paths(case: str, tmp_path: Path) -> None:
    content, words = PATHS[case]
    (tmp_path / "path.json").write_text(json.dumps(content))
    refused("path.json", lambda: cameras_of(tmp_path / "path.json"), words)


def test_cameras_without_names_and_paths_of_others(tmp_path: Path) -> None:
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps({"cameras": [ONE]}))
    assert len(held_out(cameras_of(file))) == 1
    file.write_text(json.dumps({**THEIRS, "camera_path": [STOP]}))
    refused("cameras.json", lambda: cameras_of(file), "has no `cameras`")
    file.write_text(DEEP)
    refused("cameras.json", lambda: camera_paths.from_file(file), "nested too deep")
    moved = [{**ONE, "name": "a", "given": POSE, "world_to_camera": 3}]
    file.write_text(json.dumps({"cameras": moved}))
    refused("cameras.json", lambda: moved_cameras(file), "has 3 as `world_to_camera`")


def test_what_prep_kept_is_read_by_kind_and_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".prep").mkdir()
    state = tmp_path / ".prep/state.json"
    for text in ("[]", '{"gather": 3}', '{"gather": {"key": 5}}', DEEP):
        state.write_text(text)
        refused("state.json", lambda: Stages(tmp_path), "expected")
    kept = tmp_path / ".prep/gathered.json"
    photo = {"name": "a.png", "source": "a.png", "width": 9, "height": 9}
    for change, words in (
        ({"name": "../../x.png"}, "names a photo outside of images/, '../../x.png'"),
        ({"name": "/x.png"}, "names a photo outside of images/"),
        ({"width": "9"}, "has `width`: '9'; expected int"),
        ({"height": 0}, "9x0 pixels"),
        ({"odd": 0}, "has `odd`, which is unknown here"),
    ):
        kept.write_text(json.dumps({"photos": [{**photo, **change}]}))
        refused("gathered.json", lambda: Gathered.read(kept), words)
    kept.write_text(json.dumps({"photos": [{"name": "a.png"}]}))
    refused("gathered.json", lambda: Gathered.read(kept), "is incomplete")
    lines = ["[1]", DEEP, '{"name": 3}', '{"name": "a", "photo": {}}', '{"name": "b", "why": "x"}']
    kept.write_text("\n".join(lines))
    assert list(_known(kept)) == ["b"]


def test_cards_of_sounds(tmp_path: Path) -> None:
    (tmp_path / "sounds.json").write_text(DEEP)
    refused("sounds.json", lambda: sounds.load(tmp_path), "too deep")
    good = {"format": "splat-sounds", "version": 1, "kind": "responses", "rate": 8000}
    place = {"position": [0, 0, 0], "facing": [1, 0, 0]}
    (tmp_path.parent / "outside.wav").touch()
    for sound, words in (
        ({"file": "../outside.wav"}, "sound 0: its file '../outside.wav' lies outside"),
        ({"file": str(tmp_path.parent / "outside.wav")}, "lies outside of its folder"),
        ({"file": "a\0"}, "has `file`"),
        ({"file": "a.wav", "position": [HUGE, 0, 0]}, "as `position`"),
        ({"file": "a.wav", "source": HUGE}, "has `source`"),
        ({"file": "a.wav", "start": float("nan")}, "does not exist"),
    ):
        card = {**good, "sources": [place], "sounds": [{**place, **sound}]}
        (tmp_path / "sounds.json").write_text(json.dumps(card))
        refused("sounds.json", lambda: sounds.load(tmp_path), words)


@pytest.mark.parametrize(
    "origin", ["[NaN, 1, 2]", '["48", 1, 2]', "[91, 1, 2]", "[1, 2]", "7"], ids=str
)
def test_the_origin_of_a_prepared_scene_is_three_numbers(tmp_path: Path, origin: str) -> None:
    (tmp_path / "prep.json").write_text(f'{{"frame": {{"origin": {origin}}}}}')
    with pytest.raises(ValueError, match=r"prep\.json: .*prepare the scene again"):
        origin_of(tmp_path)
