"""Run folders of strangers: files that lie are a sentence with their name, never a traceback."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_foreign_scenes import DEEP, HUGE, Change, changed, refused
from torch import Tensor

from splat import api
from splat.blocks.plan import read_plan as read_blocks
from splat.blocks.work import note_of
from splat.cli.info import of_run
from splat.cli.opened import open_scene
from splat.comparison.plan import read_plan
from splat.comparison.results import _metrics
from splat.core.strategy import Fixed
from splat.options import Options, Watching
from splat.photos.disk_cache import Shelf
from splat.recipes.restored import strategy_of
from splat.runs import checkpoint
from splat.runs.folder import Folder, read_config
from splat.runs.log import read_log
from splat.runs.replay import read_script
from splat.strategies.scaffold.container import ANCHORS as CONTAINER
from splat.strategies.scaffold.container import header_of
from splat.strategies.scaffold.store import read_anchors
from splat.system import foreign

QUIET = Watching(quiet=True, pictures=False)


@pytest.fixture(scope="module")
def finished(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    api.train(api.load(tiny_folder), Fixed(), Options(steps=2), out=out, watching=QUIET, lpips=None)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Folder:
    """A copy of it, to be spoilt."""
    return Folder(Path(shutil.copytree(finished, tmp_path / "run")))


def at(*keys: str | int, value: Any) -> Change:
    """A change of what stands under keys within one another."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CONFIG: dict[str, tuple[Change | str, str]] = {
    "nested": (DEEP, "is nested too deep"),
    "a list": ("[]", "is []; expected a JSON object"),
    "a version in words": (at("version", value="1"), "has `version`: '1'"),
    "a newer version": (at("version", value=99), "was written by a newer splat"),
    "numbers for names": (at("train", value=[1]), "has `train`: [1]; expected a list of texts"),
    "no options": (at("options", value=None), "has no `options`; expected an object"),
    "steps in words": (at("options", "steps", value="2"), "has `steps`: '2'; expected int | None"),
    "an unknown option": (at("options", "speed", value=1), "has `speed`, which is unknown here"),
    "an odd kind": (at("options", "resolution", value=[1]), "has `resolution`: [1]; expected"),
    "an odd place": (at("options", "init", value=[1]), "has `init`: [1]; expected a text"),
    "reading": (at("reading", "masks", value=3), "has `masks`: 3; expected str"),
    "watching": (at("watching", "keep", value="1"), "has `keep`: '1'; expected int"),
    "a scene that is none": (at("scene", value=3), "has `scene`: 3; expected a text"),
    "a method that is none": (at("method", value=[]), "has `method`: []; expected an object"),
    "a method of no class": (at("method", value={}), "described without a class and its fields"),
    "its class": (at("method", "class", value=[1]), "described without a class and its fields"),
    "its fields": (at("method", "fields", value={"cap": [1]}), "has no field 'cap'"),
}


@pytest.mark.parametrize("case", CONFIG)
def test_configs(case: str, run: Folder) -> None:
    change, words = CONFIG[case]
    changed(run.config, change)
    refused("config.json", lambda: strategy_of(read_config(run.config)), words)


def test_fields_of_a_method_are_of_their_kind(run: Folder) -> None:
    kept = run.config.read_text()
    for fields in ({"cap": "all"}, {"cap": [1]}, {"every": None}, {"base": 3}):
        told = {"class": "splat.strategies.mcmc:Mcmc", "fields": fields}
        run.config.write_text(kept)
        changed(run.config, at("method", value=told))
        refused("config.json", lambda: strategy_of(read_config(run.config)), "Mcmc")
    for method in ({}, {"class": "x", "fields": {"parts": 3}}, {"class": "x", "fields": []}):
        run.config.write_text(kept)
        changed(run.config, at("method", value=method))
        refused("config.json", lambda: of_run(run), "expected")


@pytest.mark.parametrize("text", ["[]", "3", DEEP, "{", "\udcff"])
def test_metrics_and_notes(text: str, run: Folder) -> None:
    run.metrics.write_bytes(text.encode(errors="surrogateescape"))
    refused("metrics.json", lambda: of_run(run), "expected")


def test_metrics_that_a_comparison_takes(run: Folder) -> None:
    kept = run.metrics.read_text()
    _metrics(run.metrics)
    for change in (
        at("seconds", value="long"), at("psnr", value=[1]), at("export", value=3),
        at("size", value=[HUGE, 1]), at("isa", value=1), lambda content: content.pop("device"),
    ):  # fmt: skip
        run.metrics.write_text(kept)
        changed(run.metrics, change)
        refused("metrics.json", lambda: _metrics(run.metrics), "expected")


def test_logs(run: Folder) -> None:
    good = '{"step": 1, "gaussians": 5, "seconds": 1.0}\n'
    for line, words in (
        ("[1]", "line 2: is [1]; expected a JSON object"),
        (DEEP, "line 2 is no JSON; expected a record: delete it"),
        ('{"step": ', "line 2 is no JSON"),
        ('{"step": "2"}', "line 2: has `step`: '2'; expected a whole number"),
        ('{"step": 2, "seconds": [1]}', "line 2: has `seconds`: [1]"),
        ('{"step": 2, "test_psnr": "high"}', "line 2: has measurements ['high']; expected numbers"),
        ('{"step": 2, "gaussians": NaN}', "line 2: has `gaussians`: nan"),
        ('{"step": 2, "loss": 1.0}', "line 2: has no `gaussians`; expected a whole number"),
        ('{"step": 2, "counts": {"drop:x": "many"}}', "line 2: has `drop:x`: 'many'"),
        ("\udcff", "line 2 is no JSON"),
    ):
        run.log.write_bytes((good + line + "\n" + good).encode(errors="surrogateescape"))
        refused("log.jsonl", lambda: read_log(run.log, 5), words)
    run.log.write_text('{"step": 1, "gaussians": 5, "loss": NaN, "psnr": Infinity}\n')
    assert len(read_log(run.log)) == 1, "of a run that diverged"
    run.log.write_bytes((good + '{"step": 2, "gau').encode() + b"\0\0")
    assert [record["step"] for record in read_log(run.log)] == [1]
    for command in ("3", '{"name": 3, "value": 1}', '{"name": "rate", "value": 1e999}', "{}"):
        run.log.write_text(f'{{"step": 3, "command": {command}}}\n')
        refused("log.jsonl", lambda: read_script(run.log), "expected")


def spoilt(run: Folder, change: Change) -> Path:
    """The checkpoint of a run, its state changed."""
    path = run.latest()
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


def column(name: str, part: str, value: Callable[[Tensor], Any]) -> Change:
    def change(state: Any) -> None:
        column = state["model"]["_extra_state"]["columns"][name]
        column[part] = value(column[part])

    return change


def expanded(values: Tensor) -> Tensor:
    """Of no size in a file, and of a terabyte in memory."""
    return torch.zeros(1).expand(1 << 40)


STATES: dict[str, tuple[Change, str]] = {
    "no step": (lambda state: state.pop("step"), "has no `step`"),
    "a step in words": (at("step", value="2"), "has `step`: '2'; expected a whole number"),
    "no frame": (at("frame", value=None), "has no `frame`; expected an object"),
    "a frame of NaN": (at("frame", "scale", value=float("nan")), "has `scale`: nan"),
    "a centre of texts": (at("frame", "centre", value=["x"] * 3), "as `centre`"),
    "a drawing": (at("drawing", "near", value="close"), "has `near`: 'close'; expected float"),
    "networks": (at("modules", value=[1]), "has `modules`: [1]; expected an object"),
    "no model": (at("model", value={}), "has no `_extra_state`"),
    "no columns": (at("model", "_extra_state", "columns", value={}), "other numbers of rows"),
    "a column": (column("mean", "values", lambda t: None), "other numbers of rows"),
    "fewer rows": (column("mean", "values", lambda t: t[:1]), "other numbers of rows"),
    "its moments": (column("quat", "first", lambda t: t[:, :1]), "whose moments are others"),
    "whole numbers": (column("quat", "second", lambda t: t.long()), "whose moments are others"),
    "a count": (column("quat", "count", lambda t: -1), "has `count`: -1"),
    "nothing there": (column("mean", "values", expanded), "claims 4.4e+03 GB"),
    "sparse": (column("mean", "values", Tensor.to_sparse), "whose numbers are not there"),
    "changes": (at("commands", value=[[1, 2]]), "has changes that are none"),
    "a version": (at("version", value=None), "has no `version`; expected a whole number"),
}


@pytest.mark.parametrize("case", STATES)
def test_states_of_checkpoints(case: str, run: Folder) -> None:
    change, words = STATES[case]
    path = spoilt(run, change)
    refused(path.name, lambda: checkpoint.load(path), words)


def double(state: Any) -> None:
    for part in ("values", "first", "second"):
        column("quat", part, lambda t: torch.cat([t, t[:, :1]], 1))(state)


def test_columns_of_other_shapes(run: Folder) -> None:
    path = spoilt(run, double)
    said = "has quat of shape (5,) in a row; expected (4,)"
    refused(path.name, lambda: checkpoint.load(path), said)


def test_states_of_other_methods_are_told_when_they_are_put_to_use(run: Folder) -> None:
    def renamed(state: Any) -> None:
        columns = state["model"]["_extra_state"]["columns"]
        columns["odd"] = columns.pop("sh")

    path = spoilt(run, renamed)
    checkpoint.load(path)
    refused(path.name, lambda: open_scene(run.path, "cpu", "auto"), "has no 'sh'; expected the")
    refused(path.name, lambda: api.resume(run.path, steps=4, watching=QUIET, lpips=None), "'sh'")


def test_checkpoints_that_are_none(run: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "MOST_MEMORY", 1 << 24)
    path = run.latest()
    plain = path.read_bytes()
    pickled, bomb, small = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"format": checkpoint.FORMAT, "version": 1, "path": Path()}, pickled)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data.pkl", b"x")
        for number in range(3):
            packed.writestr(f"archive/data/{number}", bytes(1 << 23))
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/version", bytes(1 << 20))  # of which torch makes six copies
    for data, words in (
        (pickled.getvalue(), "holds more than tensors, numbers and texts"),
        (bomb.getvalue(), "claims 0.0252 GB for it"),
        (small.getvalue(), "is packed, and torch packs nothing"),
        (plain[: len(plain) // 2], "is not a zip file"),
        (b"", "is not a zip file"),
    ):
        path.write_bytes(data)
        said = refused(path.name, lambda: checkpoint.load(path), words, "resume from the one")
        assert "weights_only" not in said and "trust" not in said


@pytest.mark.parametrize(
    ("name", "value"), [("lr", [1e-3]), ("betas", [[0.9], 0.99]), ("eps", float("nan"))]
)
def test_optimizers_with_settings_that_are_none(name: str, value: Any) -> None:
    adam = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])
    saved = adam.state_dict()
    checkpoint.restore_optimizer(adam, saved)
    saved["param_groups"][0][name] = value
    with pytest.raises(foreign.Broken, match=f"has `{name}`: .* for an optimizer; expected one"):
        checkpoint.restore_optimizer(adam, saved)


def test_a_state_that_refers_to_itself_ends(run: Folder) -> None:
    many: list[Any] = []
    for _ in range(60):
        many = [many, many]
    path = spoilt(run, at("more", value=many))
    refused(path.name, lambda: checkpoint.load(path), "more than 1,048,576 parts")


PLAN = {"format": "splat comparison", "version": 1}
PART = {"name": "0-0", "low": [0, 0], "high": [1, 1], "views": [], "inside": 1, "points": 1}
GROUND = {"centre": [0, 0, 0], "along": [1, 0, 0], "across": [0, 1, 0], "reach": 1.0}
BLOCKS = {
    "format": "splat blocks", "version": 1, "mark": "", "ground": GROUND, "made_by": "1",
    "frame": {"centre": [0, 0, 0], "scale": 1.0}, "margin": 0.1, "strip": 0.1, "backdrop": 0.1,
    "parts": [{**PART, "cap": 1, "share": 1}],
}  # fmt: skip


def test_plans(tmp_path: Path, run: Folder) -> None:
    file = tmp_path / "comparison.json"
    for content in ([], PLAN, {**PLAN, "version": "1"}, {**PLAN, "shared": {"options": 3}}):
        file.write_text(json.dumps(content))
        refused("comparison.json", lambda: read_plan(tmp_path), "expected")
    file = tmp_path / "blocks.json"
    file.write_text(json.dumps(BLOCKS))
    assert read_blocks(file).parts[0].name == "0-0"
    for change, words in (
        (at("parts", 0, "name", value="../../x"), "has a block '../../x'; expected a column"),
        (at("parts", 0, "low", value=[0, 0, 0]), "as `low`; expected 2 numbers"),
        (at("parts", 0, "cap", value="many"), "has `cap`: 'many'"),
        (at("parts", value={}), "has `parts`: {}; expected a list"),
        (at("parts", value=[]), "has no blocks"),
        (lambda plan: plan["parts"].extend(plan["parts"]), "has a block twice"),
        (at("ground", "reach", value=0), "has `reach`: 0; expected a number above 0"),
        (at("ground", "along", value=3), "has 3 as `along`"),
        (at("frame", "scale", value=HUGE), "has `scale`"),
    ):
        file.write_text(json.dumps(BLOCKS))
        changed(file, change)
        refused("blocks.json", lambda: read_blocks(file), words)
    file.write_text(json.dumps(BLOCKS))
    part = read_blocks(file).parts[0]
    run.blocks.mkdir()
    (run.blocks / "0-0.json").write_text('{"processes": 3}')
    refused("0-0.json", lambda: note_of(run, part), "has `processes`: 3; expected a list")


ANCHORS = {"kind": "plain", "anchors": 1, "frame": {"centre": [0, 0, 0], "scale": 1}, "views": 0}
ANCHORS |= {"voxel": 1, "photos": 0, "background": None, "drawing": {}}
SETTINGS = {"slots": 1, "features": 1, "hidden": 1, "codes": 0, "distance": False}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ([], "is []; expected a JSON object"),
        ({}, "has no table of its sections"),
        ({"sections": [["a", -1, 0]]}, "has no table of its sections"),
        ({"sections": [["a", 1 << 40, 0]]}, "is cut off in a"),
        ({"sections": []}, "has no `settings`"),
        ({"sections": [], "settings": {**SETTINGS, "slots": "x"}}, "has `slots`: 'x'"),
        ({"sections": [], "settings": SETTINGS, "anchors": 1 << 50}, "GB for anchors and networks"),
        ({"sections": [], "settings": {**SETTINGS, "codes": 9}, "photos": 1 << 50}, "GB for "),
        ({"sections": [], "settings": SETTINGS, "frame": 3}, "has `frame`: 3; expected an object"),
    ],
)
def test_anchors(header: Any, words: str, tmp_path: Path) -> None:
    text = json.dumps({**ANCHORS, **header} if isinstance(header, dict) else header).encode()
    path = tmp_path / "a.anchors"
    head = struct.pack("<8sIII", CONTAINER.magic, 1, len(text), zlib.crc32(text))
    path.write_bytes(head + text)
    refused("a.anchors", lambda: read_anchors(path), words)


def test_the_background_of_anchors(tmp_path: Path) -> None:
    path = tmp_path / "a.anchors"
    for background in ("red", [1, 2], [1, 2, "x"], 3):
        CONTAINER.write(path, {**ANCHORS, "background": background}, {})
        refused("a.anchors", lambda: header_of(path), "as `background`; expected 3 numbers")


def test_the_disk_cache_forgets_what_is_damaged(tmp_path: Path) -> None:
    for kind in (["(" * 50, [1]], ["O", [1]], ["u1"], ["<f4", [-1]], ["u1", [HUGE]], 3, []):
        line = json.dumps({"parts": [kind], "crc": zlib.crc32(bytes(64))}).encode()
        (tmp_path / "x.photo").write_bytes(
            line + b" " * (-(len(line) + 1) % 64) + b"\n" + bytes(64)
        )
        assert Shelf(tmp_path, 10**6).get("x") is None and not (tmp_path / "x.photo").exists()
    shelf = Shelf(tmp_path, 10**6)
    shelf.make_room({"x": 1000})
    shelf.put("x", [np.arange(4), None])
    assert Shelf(tmp_path, 10**6).get("x") is not None
