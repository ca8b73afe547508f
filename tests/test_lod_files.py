"""Streamed levels of detail: the files, how they are written, and who reads them."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import matched, some, turned_by

from splat import formats
from splat.formats import lod
from splat.formats.lod_meta import read_meta
from splat.types import Drawing, Gaussians

pytest.importorskip("PIL")
LEAF = 256


def test_what_is_not_one_file_is_not_fitted_to_a_size() -> None:
    from splat.cli.export import main

    with pytest.raises(ValueError, match=r"lod-meta\.json is not one file"):
        main(["run", "-o", "x/lod-meta.json", "--target-size", "8MB"])
    assert lod.SUFFIX not in formats.suffixes(written=True)
    assert formats.one_file(".spz") and not formats.one_file(lod.SUFFIX)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Gaussians]:
    """A set of three chunks at level 0, and its document."""
    path = tmp_path_factory.mktemp("streamed") / "scene" / "lod-meta.json"
    given = some(900, degree=1, seed=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splat.formats.lod.CHUNK", 512)
        patch.setattr("splat.formats.lod_files.LEAF", LEAF)
        formats.write(given, path, drawing=Drawing(antialiased=True))
    return path, given


def test_streamed_files_hold_every_row_once(streamed: tuple[Path, Gaussians]) -> None:
    path, given = streamed
    found = matched(formats.read(path), given)
    assert float((found.means - given.means).abs().max()) < 1e-3 * float(given.means.abs().max())
    assert float((found.opacities - given.opacities).abs().max()) < 1 / 500
    assert float((found.colors[:, 0] - given.colors[:, 0]).abs().max()) < 0.05
    assert formats.drawing(path).antialiased
    said = json.loads(path.read_text())
    assert said["version"] == 1 and said["counts"][0] == 900
    assert said["count"] == sum(said["counts"]) and said["lodLevels"] == len(said["counts"])
    meta = read_meta(path)
    files: dict[int, list[tuple[int, int]]] = {}
    for leaf in meta.leaves:
        assert sorted(leaf) == list(range(meta.levels))
        for place in leaf.values():
            files.setdefault(place.file, []).append((place.offset, place.count))
    assert set(files) == set(range(len(meta.names))) and len(meta.names) > meta.levels
    for number, places in files.items():
        # Rows of a chunk belong to one leaf each, without gaps.
        ends = np.cumsum([count for _, count in sorted(places)])
        assert [offset for offset, _ in sorted(places)] == [0, *ends[:-1]]
        assert len(formats.sog.read(path.parent / meta.names[number])) == ends[-1]


def test_boxes_of_the_tree_hold_their_rows(streamed: tuple[Path, Gaussians]) -> None:
    path, _ = streamed
    names = read_meta(path).names

    def inside(node: dict[str, object], bound: dict[str, list[float]]) -> None:
        own = node["bound"]
        assert all(a <= b + 1e-4 for a, b in zip(bound["min"], own["min"], strict=True))  # type: ignore[index]
        assert all(a >= b - 1e-4 for a, b in zip(bound["max"], own["max"], strict=True))  # type: ignore[index]
        for child in node.get("children", []):  # type: ignore[attr-defined]
            inside(child, own)  # type: ignore[arg-type]
        for place in node.get("lods", {}).values():  # type: ignore[attr-defined]
            rows = slice(place["offset"], place["offset"] + place["count"])
            means = formats.sog.read(path.parent / names[place["file"]]).means[rows]
            low, high = torch.tensor(own["min"]), torch.tensor(own["max"])  # type: ignore[index]
            assert bool(((means >= low - 1e-3) & (means <= high + 1e-3)).all())

    root = json.loads(path.read_text())["tree"]
    inside(root, root["bound"])


def test_size_bounds_what_is_written(streamed: tuple[Path, Gaussians]) -> None:
    path, given = streamed
    assert path.stat().st_size < formats.weight(path)
    assert sum(f.stat().st_size for f in path.parent.rglob("*.*")) == formats.weight(path)
    alone = path.parent.parent / "alone" / "lod-meta.json"
    formats.write(given, alone)
    assert formats.weight(alone) <= formats.size_of(900, 1, lod.SUFFIX)


def test_an_export_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "lod-meta.json"
    (tmp_path / "notes.txt").write_text("mine")
    formats.write(some(600, degree=0), path)
    first = sorted(p.name for p in tmp_path.iterdir())
    formats.write(some(40, degree=0), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0_0-2", "lod-meta.json", "notes.txt"]
    assert "1_0" in first and len(formats.read(path)) == 40
    path.unlink()  # as after a kill: chunks that no document names are taken over
    formats.write(some(40, degree=0), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0_0", "lod-meta.json", "notes.txt"]


class Killed(BaseException):
    """The process ends here."""


def test_nothing_of_others_is_removed(tmp_path: Path) -> None:
    path, photos = tmp_path / "lod-meta.json", tmp_path / "photos"
    formats.write(some(40, degree=0), path)
    said = json.loads(path.read_text())
    # What a document names is no reason to remove it.
    path.write_text(json.dumps({**said, "filenames": ["photos/meta.json"]}))
    photos.mkdir()
    (photos / "mine.jpg").write_bytes(b"mine")
    (photos / "meta.json").write_text("{}")
    # Nor is a name like ours: something else lies there, or another document needs it.
    (tmp_path / "7_7").mkdir()
    (tmp_path / "7_7" / "thesis.tex").write_text("mine")
    other = tmp_path / "moved.lod-meta.json"
    other.write_text(json.dumps({**said, "filenames": ["0_0/meta.json"]}))
    formats.write(some(50, degree=0), path)
    assert len(formats.read(path)) == 50 and len(formats.read(other)) == 40
    assert (photos / "mine.jpg").is_file() and (tmp_path / "7_7" / "thesis.tex").is_file()


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """Every operation on files fails once; what is read then is one of the two, and the next export
    goes through and leaves nothing behind."""
    old, new = some(300, degree=0), some(40, degree=0)
    for number in range(1000):
        path = tmp_path / str(number) / "lod-meta.json"
        formats.write(old, path)
        left = number

        def once(call: Callable[..., object]) -> Callable[..., object]:
            def failing(*given: object, **named: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Killed
                return call(*given, **named)

            return failing

        with pytest.MonkeyPatch.context() as patch:
            for name in ("rename", "replace", "fsync", "mkdir", "rmdir", "unlink"):
                patch.setattr(os, name, once(getattr(os, name)))
            try:
                formats.write(new, path)
                survived = True
            except Killed:
                survived = False
        assert len(formats.read(path)) in (300, 40)
        formats.write(new, path)
        assert len(formats.read(path)) == 40
        here = sorted(p.name for p in path.parent.iterdir())
        assert len(here) == 2 and here[1] == "lod-meta.json", here
        if survived:
            assert number > 10
            return


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda said: said.update(version=2), "version 2"),
        (lambda said: said.update(lodLevels=0), "0 levels"),
        (lambda said: said.update(counts=[1]), "other numbers in its tree"),
        (lambda said: said.update(tree=[]), "as a node of its tree"),
        (lambda said: said.update(filenames=["../0_0/meta.json"] * 99), "as a chunk"),
        (lambda said: said.update(filenames=[]), "of a leaf"),
    ],
)
def test_a_broken_document_is_said_to_be(
    streamed: tuple[Path, Gaussians],
    tmp_path: Path,
    change: object,
    says: str,
) -> None:
    said = json.loads(streamed[0].read_text())
    change(said)  # type: ignore[operator]
    path = tmp_path / "lod-meta.json"
    path.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=says):
        formats.read(path)


def test_convert_writes_and_reads_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from splat.cli.convert import main

    caplog.set_level(logging.INFO)
    given = some(300, degree=0)
    formats.write(given, tmp_path / "a.ply")
    assert main([str(tmp_path / "a.ply"), str(tmp_path / "b" / "lod-meta.json"), "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)
    assert receipt["gaussians"] == 300
    assert receipt["bytes"] == formats.weight(tmp_path / "b" / "lod-meta.json")
    assert main([str(tmp_path / "b" / "lod-meta.json"), str(tmp_path / "c.ply")]) == 0
    assert len(formats.read(tmp_path / "c.ply")) == 300


def splat_transform() -> list[str]:
    """The command, given as SPLAT_TRANSFORM (its cli.mjs) where it is not on the path."""
    found, node = os.environ.get("SPLAT_TRANSFORM"), shutil.which("node")
    if found and node:
        return [node, found]
    found = shutil.which("splat-transform")
    if not found:
        pytest.skip("splat-transform, which reads this format, is not installed")
    return [found]


def test_splat_transform_reads_every_level(
    streamed: tuple[Path, Gaussians], tmp_path: Path
) -> None:
    path, _ = streamed
    command = splat_transform()
    for level, count in enumerate(json.loads(path.read_text())["counts"]):
        out = tmp_path / f"{level}.ply"
        done = subprocess.run(
            [*command, "-q", "-w", "-g", "cpu", "-L", str(level), str(path), str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        theirs, ours = formats.read(out), lod.read_level(path, level)
        assert len(theirs) == count == len(ours)
        found = matched(theirs, ours)
        torch.testing.assert_close(found.means, ours.means, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.scales, ours.scales, atol=0, rtol=1e-4)
        torch.testing.assert_close(found.colors, ours.colors, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.opacities, ours.opacities, atol=1e-3, rtol=1e-3)
        assert float(turned_by(found.quats, ours.quats).max()) < 0.01
