"""Files of TSOG Playback Profile 1: what is written, what is read, and what is none."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from formats import some
from test_export_html import moving
from test_export_sog import Meta, Pictures, save

from splat import formats
from splat.cli import main
from splat.formats import tsog
from splat.formats.settings import Settings
from splat.math import ALWAYS
from splat.types import Gaussians

Change = Callable[[Meta, Pictures], Any]


def by_hand() -> tuple[Meta, Pictures]:
    """Two Gaussians whose bytes are worked out below, codebooks of three levels."""
    names = ("low", "high", "s", "q", "c", "tl", "th", "vl", "vh")
    images = {f"{name}.webp": np.zeros((1, 2, 4), np.uint8) for name in names}
    images["q.webp"][..., 3] = 252
    images["low.webp"][0, 1, :3], images["high.webp"][0, 1, :3] = 255, 255
    images["c.webp"][0] = [[0, 1, 2, 51], [2, 1, 0, 255]]
    images["s.webp"][0] = [[0, 1, 2, 0], [2, 2, 2, 0]]
    images["tl.webp"][0, 1, :2], images["th.webp"][0, 1, :2] = (255, 0x34), (255, 0x12)
    images["vl.webp"][0, 1, :3], images["vh.webp"][0, 1, :3] = (255, 0, 1), (255, 0, 2)
    meta = {
        "version": 4,
        "profile": {"id": "org.opsiclear.tsog-playback", "version": 1},
        "count": 2,
        "means": {"mins": [-1, 0, 2], "maxs": [1, 0, 2], "files": ["low.webp", "high.webp"]},
        "scales": {"codebook": [-3, -2, -1], "files": ["s.webp"]},
        "quats": {"files": ["q.webp"]},
        "sh0": {"codebook": [0, 0.5, -0.5], "files": ["c.webp"]},
        "timeline": {
            "type": 1, "mins": [-1, 0.1], "maxs": [2, 0.6], "files": ["tl.webp", "th.webp"],
        },
        "temporal": {
            "means": {
                "mins": [[-2, 0, 0]], "maxs": [[2, 0, 65535]], "files": ["vl.webp", "vh.webp"],
            }
        },
        "playback": {"duration": 2, "rate": 1, "annotation": "ignored"},
    }  # fmt: skip
    return meta, images


def test_a_file_made_by_hand(tmp_path: Path) -> None:
    found = formats.read(save(tmp_path / "a.tsog", *by_hand()))
    close, motion = torch.testing.assert_close, found.motion
    assert len(found) == 2 and found.sh_degree == 0 and motion is not None
    close(found.means[0], torch.tensor([1 - math.e, 0, math.e**2 - 1]))
    close(found.scales[0].log(), torch.tensor([-3.0, -2, -1]))
    close(found.colors[:, 0], torch.tensor([[0, 0.5, -0.5], [-0.5, 0.5, 0]]))
    close(found.opacities, torch.tensor([0.2, 1.0]))
    close(motion.time, torch.tensor([-1.0, 2.0]))
    close(motion.duration, torch.tensor([0.1, 0.1 + 0.5 * 0x1234 / 65535]))
    # 1 + 256 * 2 steps of 1 along z; the ends along x; nothing along y.
    close(motion.velocity, torch.tensor([[-2.0, 0, 0], [2, 0, 513]]))
    now = found.at(0.0)
    close(now.means[0], found.means[0] + torch.tensor([-2.0, 0, 0]))
    close(now.opacities[0], 0.2 * torch.tensor(-0.5 * 10.0**2).exp())


def test_velocities_of_8_bits_legacy_files_and_files_without_motion(tmp_path: Path) -> None:
    meta, images = by_hand()
    del meta["profile"]
    meta["temporal"]["means"]["files"] = ["vl.webp"]
    motion = formats.read(save(tmp_path / "a.tsog", meta, images)).motion
    assert motion is not None
    torch.testing.assert_close(motion.velocity[1], torch.tensor([2.0, 0, 65535 / 255]))
    del meta["temporal"]
    motion = formats.read(save(tmp_path / "b.tsog", meta, images)).motion
    assert motion is not None and not motion.velocity.any()
    del meta["timeline"]
    assert formats.read(save(tmp_path / "c.tsog", meta, images)).motion is None


@pytest.mark.parametrize("degree", [0, 1])
def test_what_is_written_is_read_within_its_steps(tmp_path: Path, degree: int) -> None:
    given = moving(400)
    given = replace(given, colors=given.colors[:, : (degree + 1) ** 2], sh_degree=degree)
    assert given.motion is not None
    given.motion.time[7], given.motion.velocity[7, 1] = 3.5, 0.5  # beyond what is written
    given.motion.duration[8:20] = 30.0  # nearly always there, and on their way
    path = tmp_path / "a.tsog"
    formats.write(given, path, settings=Settings(page_seconds=2.5))
    there = formats.read(path)
    assert path.stat().st_size <= tsog.size(400, degree)
    # Where they are in the middle of the clip, which no time that was moved changes.
    middle = there.at(0.5)
    order = torch.cdist(given.at(0.5).means, middle.means).argmin(1)
    there = there.take(order)
    assert len(order.unique()) == 400 and there.motion is not None
    extent = float(given.means.abs().max())
    for time in (0.0, 0.4, 1.0):
        ours, theirs = given.at(time), there.at(time)
        assert float((ours.means - theirs.means).abs().max()) < 1e-4 * extent
        near = torch.arange(400) != 7
        assert float((ours.opacities - theirs.opacities)[near].abs().max()) < 1 / 255
    lasts = given.motion.duration >= ALWAYS
    assert torch.equal(there.motion.duration >= ALWAYS, lasts) and int(lasts.sum()) == 5
    rest = ~lasts & (torch.arange(400) != 7)
    steps = 1 / 65535
    assert float((there.motion.time - given.motion.time)[rest].abs().max()) < 2 * steps
    durations = given.motion.duration.clamp_max(16)
    assert float((there.motion.duration - durations)[rest].abs().max()) < 16 * steps
    velocity = (there.motion.velocity - given.motion.velocity)[rest]
    assert float(velocity.abs().max()) < 2.1 / 32767
    assert float(there.motion.time[7]) == pytest.approx(2.0)


def test_the_archive_is_of_the_profile(tmp_path: Path) -> None:
    formats.write(moving(100), tmp_path / "a.tsog", settings=Settings(page_seconds=2.5))
    formats.write(moving(100), tmp_path / "b.tsog", settings=Settings(page_seconds=2.5))
    assert (tmp_path / "a.tsog").read_bytes() == (tmp_path / "b.tsog").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.tsog") as archive:
        meta = json.loads(archive.read("meta.json"))
        kinds = {name: archive.read(name)[12:16] for name in archive.namelist()[1:]}
    assert meta["version"] == 4
    assert meta["profile"] == {"id": "org.opsiclear.tsog-playback", "version": 1}
    assert meta["timeline"]["type"] == 1 and meta["playback"] == {"duration": 2.5}
    assert meta["timeline"]["mins"][1] > 0 and meta["timeline"]["maxs"][1] == 16
    assert np.shape(meta["temporal"]["means"]["mins"]) == (1, 3)
    named = [
        name for part in meta.values() if isinstance(part, dict) for name in part.get("files", ())
    ]
    assert {*named, *meta["temporal"]["means"]["files"]} == {*kinds}
    assert {*kinds.values()} <= {b"VP8L", b"VP8X"}
    formats.write(some(20), tmp_path / "still.tsog")
    with zipfile.ZipFile(tmp_path / "still.tsog") as archive:
        assert not {"timeline", "temporal", "playback"} & {*json.loads(archive.read("meta.json"))}


def without(*keys: str) -> Change:
    return lambda meta, _: [meta.pop(key) for key in keys]


BROKEN: list[tuple[str, Change, str]] = [
    ("version", lambda m, i: m.update(version=2), "is a .tsog of version 2, expected 4"),
    ("profile", lambda m, i: m["profile"].update(id="other"), "is of the profile"),
    ("newer", lambda m, i: m["profile"].update(version=2), "is of the profile"),
    ("null profile", lambda m, i: m.update(profile=None), "is of the profile None"),
    ("frames", lambda m, i: m.update(timeline={"type": 0, "N": 2}), "sequence of frames apart"),
    ("type", lambda m, i: m["timeline"].update(type=2), "timeline of type 2, expected 1"),
    ("alone", without("timeline"), "motion without a timeline"),
    ("turns", lambda m, i: m["temporal"].update(quats={}), "animates 'quats', expected means only"),
    ("duration", lambda m, i: m["timeline"].update(mins=[-1, 0]), "has a duration of 0"),
    ("underflow", lambda m, i: m["timeline"].update(mins=[-1, 1e-100]), "expected one above 0"),
    ("reversed", lambda m, i: m["timeline"].update(mins=[3, 0.1]), "expected it ascending"),
    ("reversed means", lambda m, i: m["means"].update(mins=[2, 0, 2]), "expected it ascending"),
    ("flat", lambda m, i: m["temporal"]["means"].update(mins=[0, 0, 0]), "expected one list of 3"),
    ("files", lambda m, i: m["temporal"]["means"].update(files=[]), "expected one or two"),
    ("twice", lambda m, i: m["means"].update(files=["low.webp"] * 2), "one file twice in 'means'"),
    ("codebook", lambda m, i: m["scales"].update(codebook=[]), "expected 1 to 256"),
    ("null level", lambda m, i: m["sh0"].update(codebook=[None] * 3), "expected finite numbers"),
    ("level", lambda m, i: m["sh0"].update(codebook=[0, 1]), "has level 2 in 'sh0'"),
    ("lacking", lambda m, i: m["timeline"].update(files=["a", "b"]), "lacks 'a'"),
    ("small", lambda m, i: i.update({"tl.webp": i["tl.webp"][:, :1]}), "has 1 texels in 'tl.webp'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [pytest.param(*c, id=n) for n, *c in BROKEN])
def test_files_that_lie(tmp_path: Path, change: Change, said: str) -> None:
    meta, images = by_hand()
    change(meta, images)
    with pytest.raises(ValueError, match=said) as caught:
        formats.read(save(tmp_path / "a.tsog", meta, images))
    assert "a.tsog" in str(caught.value) and "\n" not in str(caught.value)


def test_images_that_are_lossy_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    path = save(tmp_path / "a.tsog", *by_hand())
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    Image.new("RGB", (2, 1)).save(tmp_path / "s.webp", lossless=False)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, (tmp_path / "s.webp").read_bytes() if name == "s.webp" else data)
    with pytest.raises(ValueError, match=r"a\.tsog: has 's.webp', which is no still and lossless"):
        formats.read(path)


def test_the_verbs_know_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, small = tmp_path / "a.ftgs.ply", tmp_path / "a.tsog"
    formats.write(moving(60), source)
    assert main(["convert", str(source), "-o", str(small)]) == 0
    assert main(["info", str(small), "--json"]) == 0
    record = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert record["gaussians"] == 60 and record["format"] == "tsog" and "moving" in str(record)
    assert main(["convert", str(small), "-o", str(tmp_path / "b.spz"), "--time", "0.5"]) == 0
    still: Gaussians = formats.read(tmp_path / "b.spz")
    assert 0 < len(still) <= 60
