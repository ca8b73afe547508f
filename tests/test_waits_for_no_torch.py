"""What is answered within a second: help, and what is in files and runs, without loading torch."""

from __future__ import annotations

import ast
import inspect
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

import splat as package
from splat import api, formats
from splat.core.fields import field_docs
from splat.core.model import Making
from splat.options import Options
from splat.options.parse import FIELD_DOCS
from splat.recipes.catalog import METHODS, PARTS, PRESETS, kind_of
from splat.recipes.sketch import Unreadable, _Module, _named, sketch_of
from splat.scene import shrunk
from splat.strategies.deform import Deform
from splat.strategies.deform.files import write as write_clip
from splat.strategies.forest import Forest
from splat.strategies.forest.files import write as write_forest
from splat.strategies.mcmc import Mcmc
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.files import write as write_anchors
from splat.types import Camera, Drawing, Frame, Points

FRAME = Frame((0.5, 0.25, -1.0), 0.125)
_ASK = """
import contextlib, io, sys
from splat.cli import ASKED, main, offered
for words in {calls}:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
    heavy = [name for name in {heavy!r} if name in sys.modules]
    if code or heavy or {expected!r} not in said.getvalue():
        sys.exit(f"{{words}} loads {{heavy}}, ends with {{code}}: {{said.getvalue()[:80]!r}}")
"""


def check_loads_none(
    calls: str | Sequence[Sequence[str]],
    expected: str,
    heavy: Sequence[str] = ("torch", "cv2", "scipy"),
) -> None:
    """Call the program in one process with one list of words after the other (or with those of an
    expression): what one of them loads is named with it."""
    given = calls if isinstance(calls, str) else repr([list(words) for words in calls])
    code = _ASK.format(calls=given, expected=expected, heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short finished run."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    options = Options(steps=60, max_side=0)
    api.train(api.load(tiny_folder), Mcmc(cap=500), options, out=out, reading=package.Reading())
    return out


def test_help_of_every_verb() -> None:
    calls = """[
        [verb, flag] for verb in offered()
        for flag in (("--help", "--help-all") if verb in ASKED else ("--help",))
    ] + [[verb, "one", "two", "--help"] for verb in ASKED if verb in offered()]"""
    check_loads_none(calls, "usage: splat ")
    strategies = [("strategies", verb, "--help") for verb in ("list", "show", "test", "fields")]
    check_loads_none(strategies, "usage: splat strategies")


def test_help_of_methods_and_parts() -> None:
    calls = [("train", "scene", name, "--help") for name in METHODS]
    calls += [("train", "scene", "mcmc", "+", name, "--help-all") for name in (*PARTS, *PRESETS)]
    check_loads_none([*calls, ("train", "scene", "--help")], "usage: splat train")


@pytest.mark.parametrize("name", [*METHODS, *PARTS])
def test_sources_say_of_options_what_classes_do(name: str) -> None:
    """Names, types, ranges, values and docstrings; and what a cap that suits a device is out of."""
    kind, place = kind_of(name), {**METHODS, **PARTS}[name][0]
    assert kind is not None
    sketch = sketch_of(place)
    assert [f.name for f in fields(sketch)] == [f.name for f in fields(kind)]  # type: ignore[arg-type]
    assert sketch.__doc__ == inspect.getdoc(kind) and sketch.__name__ == kind.__name__
    assert _docs(sketch) == field_docs(kind)
    here, there = _types(sketch), _types(kind)
    own, real = vars(sketch()), vars(kind())
    for each in set(own) - {"base"}:
        if is_dataclass(real[each]):
            assert _docs(type(own[each])) == field_docs(type(real[each]))
            assert asdict(own[each]) == asdict(real[each])
        else:
            assert (repr(here[each]), own[each]) == (repr(there[each]), real[each]), each
    if "base" not in own:
        cap = attrgetter("draws", "row_bytes")
        assert cap(sketch()) == cap(kind())


def _types(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _docs(sketch: type[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(sketch.__mro__):
        docs = vars(base).get(FIELD_DOCS, {}).items()
        found |= {name: " ".join(text.split()) for name, text in docs}
    return found


def test_what_no_source_says_is_left_to_the_class() -> None:
    """A field whose value takes running, and a module that would be loaded."""
    module = _Module.__new__(_Module)
    text = (
        "import torch\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    n: int = max(1, 2)\n"
        "@dataclass\nclass B:\n    n: int = len(torch.zeros(3))\n"
        "def f(x):\n    y = x\n    return y\n"
        "@dataclass\nclass C:\n    n: int = f(3)\n"
    )
    module.where, module._said, module._made = "mine", dict(_named(ast.parse(text).body)), {}
    assert module["A"]().n == 2
    for name in "BC":
        with pytest.raises(Unreadable):
            module[name]


def test_files_and_runs(tmp_path: Path, run: Path) -> None:
    known = formats.all_formats()
    written = formats.suffixes(written=True, folders=True)
    files = [tmp_path / f"a{each}" for each in written if known[each].columns]
    assert len(files) >= 9
    gaussians = formats.read(run / "point_cloud.ply")
    for file in files:
        formats.write(gaussians, file)
    check_loads_none([("info", str(what)) for what in (*files, run)], ": ")


def test_files_of_models(tmp_path: Path) -> None:
    places = torch.rand(12, 3)
    rows: dict[str, Any] = {
        "mean": places, "quat": torch.ones(12, 4), "log_scale": torch.zeros(12, 3),
        "opacity_logit": torch.zeros(12), "sh": torch.zeros(12, 4, 3),
    }  # fmt: skip
    making = Making(steps=9)
    anchors = Scaffold(voxel=0.25, slots=2, features=2, hidden=16).model({"mean": places}, making)
    deformed = Deform(resolution=4, width=16).model(rows, making)
    write_forest(Forest().model(rows, making), tmp_path / "a.forest", FRAME, Drawing())
    write_anchors(anchors, tmp_path / "a.anchors", FRAME, Drawing())
    write_clip(deformed, tmp_path / "a.clip", FRAME, Drawing(), (0, 0.5, 1))
    check_loads_none([("info", str(file)) for file in sorted(tmp_path.iterdir())], "format: .")


def test_scenes(tiny_folder: Path, tmp_path: Path) -> None:
    """Of three kinds, one with points that are all but in sight; OpenCV (0.1 s) reads sizes."""
    photos = sorted((tiny_folder / "images").iterdir())[:3]
    (tmp_path / "images").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "images")
    poses = [np.eye(4).tolist() for _ in photos]
    frames = [
        {"file_path": f"images/{photo.name}", "transform_matrix": pose, "time": i / 2}
        for i, (photo, pose) in enumerate(zip(photos, poses, strict=True))
    ]
    text = json.dumps({"fl_x": 40, "frames": frames, "ply_file_path": "points.ply"})
    (tmp_path / "transforms.json").write_text(text)
    (tmp_path / "points.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\n"
        "property float z\nproperty float time\nend_header\n0 0 -3 0\n0 0 -4 9\n"
    )
    calls = [("info", str(folder)) for folder in (tiny_folder, tmp_path)]
    calls.append((*calls[-1], "--eval", "2"))  # type: ignore[arg-type]
    check_loads_none(calls, "predicted memory", ("torch", "scipy"))


def test_a_camera_of_arrays_is_one_of_tensors() -> None:
    draw = np.random.default_rng(3)
    pose, K = np.eye(4), np.array([[50, 0, 31.5], [0, 40, 20], [0, 0, 1]], np.float32)
    pose[:3] = draw.normal(size=(3, 4))
    late = Camera.of_arrays(pose, K, 64, 48, time=0.25)
    made = Camera(torch.from_numpy(pose), torch.from_numpy(K), 64, 48, time=0.25)
    for change in (
        lambda camera: camera,
        lambda camera: camera.resized(29, 17),
        lambda camera: camera.resized(29, 17).changed(index=3, taken_by=1),
        lambda camera: camera.changed(time=0.5).resized(30, 40),
        lambda camera: replace(camera, index=4).to("cpu"),
        lambda camera: shrunk(camera, 1.7, 20),
        lambda camera: pickle.loads(pickle.dumps(camera.changed(index=2))),
    ):
        one, other = change(late), change(made)
        for name in ("world_to_camera", "K"):
            assert np.array_equal(one.array(name), other.array(name))
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert repr(one) == repr(other)
        values = attrgetter("width", "height", "time", "index", "taken_by", "clear_depth")
        assert values(one) == values(other)
    with pytest.raises(AttributeError, match="'Camera' object has no attribute 'focal'"):
        _ = late.focal  # type: ignore[attr-defined]


def test_points_of_arrays_are_those_of_tensors() -> None:
    draw = np.random.default_rng(5)
    places, colors = draw.normal(size=(9, 3)), draw.random((9, 3), np.float32)
    times = draw.random(9, np.float32)
    rows = places[:, 0] > 0
    for own in (times, None):
        late = Points.of_arrays(places, colors, own)
        given = None if own is None else torch.from_numpy(own)
        made = Points(torch.from_numpy(places), torch.from_numpy(colors), given)
        for one, other in ((late, made), (late.kept(rows), made.take(torch.from_numpy(rows)))):
            assert len(one) == len(other) and torch.equal(one.positions, other.positions)
            assert torch.equal(one.colors, other.colors)
            assert (one.times is None) == (other.times is None) == (own is None)
            assert own is None or one.times.tolist() == other.times.tolist()
