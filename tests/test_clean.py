"""Debris is found and nothing else is: planted floaters, giants and needles, and the command."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from splat import formats
from splat.cleanup.choices import Limits
from splat.cleanup.debris import debris, islands, outside, unseen
from splat.cleanup.shapes import giants, needles
from splat.render import renderer_for
from splat.types import Camera, Drawing, Gaussians

Splat = Callable[..., Any]


def surface(n: int = 4000, seed: int = 0) -> Gaussians:
    """A ball of flat discs, and a coarse, far background of large ones."""
    draw = torch.Generator().manual_seed(seed)
    towards = torch.nn.functional.normalize(torch.randn(n, 3, generator=draw), dim=1)
    far = torch.arange(n) >= 0.9 * n
    means = towards * torch.where(far, 20.0, 1.0)[:, None]
    scales = torch.tensor([0.03, 0.03, 0.0003]) * torch.where(far, 60.0, 1.0)[:, None]
    return Gaussians(
        means=means,
        quats=torch.randn(n, 4, generator=draw),
        scales=scales * (0.5 + torch.rand(n, 3, generator=draw)),
        opacities=0.1 + 0.8 * torch.rand(n, generator=draw),
        colors=torch.randn(n, 4, 3, generator=draw),
        sh_degree=1,
    )


def joined(first: Gaussians, second: Gaussians) -> Gaussians:
    names = ("means", "quats", "scales", "opacities", "colors")
    return replace(
        first, **{name: torch.cat([getattr(first, name), getattr(second, name)]) for name in names}
    )


def planted(means: Tensor, size: float = 0.03) -> Gaussians:
    """Plain rows at these places."""
    rows = surface(len(means))
    return replace(rows, means=means, scales=torch.full((len(means), 3), size))


def shares(mask: Tensor | NDArray[np.bool_], wanted: int) -> tuple[float, int]:
    """Share of the last `wanted` rows that are marked, and how many others are."""
    return float(mask[len(mask) - wanted :].sum() / wanted), int(mask[: len(mask) - wanted].sum())


def test_a_clean_scene_keeps_everything() -> None:
    for seed in range(3):
        masks = debris(surface(seed=seed), Limits(floaters=100))
        assert {reason: int(mask.sum()) for reason, mask in masks.items()} == dict.fromkeys(
            ("broken", "floaters", "giants", "needles", "faint"), 0
        )


def test_floaters_are_islands() -> None:
    draw = torch.Generator().manual_seed(1)
    places = torch.nn.functional.normalize(torch.randn(60, 3, generator=draw), dim=1)
    single = places * (3 + 4 * torch.rand(60, 1, generator=draw))
    corners = torch.cartesian_prod(*[torch.tensor([-4.5, 4.5])] * 3)[:7]
    clumps = (corners[:, None] + 0.05 * torch.randn(7, 8, 3, generator=draw)).reshape(-1, 3)
    rows = joined(surface(), planted(torch.cat([single, clumps])))
    assert shares(islands(rows, 10), 116) == (1, 0)
    # A clump of eight is an island only for those who ask for islands of fewer than nine or more.
    found = islands(rows, 8)
    assert found[-116:-56].all() and not found[-56:].any() and not found[:-116].any()


def test_what_touches_or_is_dense_does_not_float() -> None:
    ball = surface()
    # As large as they are, these reach the ball.
    reaching = planted(torch.tensor([[2.0, 0, 0], [0, 0, -2.0]]), size=0.4)
    assert not islands(joined(ball, reaching), 10).any()
    # Nearer to each other than to all the rest, and at one place; but they lie on the ball.
    for spread in (0.0, 1e-4):
        draw = torch.Generator().manual_seed(0)
        clump = ball.means[:1] + spread * torch.randn(20, 3, generator=draw)
        assert not islands(joined(ball, planted(clump)), 50).any()


def test_scenes_without_a_bulk() -> None:
    line = torch.arange(20.0)[:, None] ** 3 * torch.ones(3)
    for means in (torch.zeros(1, 3), torch.zeros(300, 3), line):
        assert not islands(planted(means, size=1e-3), 10).any()
    blob = 0.1 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    two = torch.cat([blob, torch.full((3, 3), 50.0)])
    assert shares(islands(planted(two), 10), 3) == (1, 0)


def sized(gaussians: Gaussians) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return gaussians.means.numpy(), gaussians.scales.numpy()


def test_giants_are_large_for_the_scene_and_for_their_distance() -> None:
    ball = surface(3600)
    haze = planted(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), size=25.0)
    sky = planted(torch.tensor([[0.0, 0, 400], [300, 0, 0]]), size=100.0)
    mask = giants(*sized(joined(joined(ball, sky), haze)), 1.0)
    assert shares(mask, 20) == (1, 0)
    assert giants(*sized(joined(ball, sky)), 0.2)[-2:].all()


def test_needles_are_no_discs() -> None:
    ball = surface()
    longest = torch.tensor([0.8, 1e-5, 1e-5])
    long = replace(planted(torch.randn(30, 3)), scales=longest.expand(30, 3))
    assert shares(needles(sized(joined(ball, long))[1], 100), 30) == (1, 0)
    discs = replace(long, scales=torch.tensor([0.8, 0.6, 1e-7]).expand(30, 3))
    short = replace(long, scales=longest.expand(30, 3) / 20)
    zero = replace(long, scales=torch.tensor([0.8, 0.0, 0.0]).expand(30, 3))
    for other, wanted in ((discs, 0), (short, 0), (zero, 30)):
        assert int(needles(sized(joined(ball, other))[1], 100).sum()) == wanted


def test_outside_and_faint() -> None:
    rows = planted(torch.tensor([[0.0, 0, 0], [1, 1, 1], [1.001, 0, 0], [0, -3, 0]]))
    rows = replace(rows, opacities=torch.tensor([0.0, 0.003, 0.004, 1.0]))
    assert outside(rows, (-1, -1, -1, 1, 1, 1)).tolist() == [False, False, True, True]
    masks = debris(rows, Limits(box=(-1, -1, -1, 1, 1, 1)))
    assert masks["faint"].tolist() == [True, True, False, False]
    assert masks["outside"].tolist() == [False, False, True, True]
    assert "faint" not in debris(rows, Limits(faint=0))


def test_broken_rows_are_set_apart() -> None:
    rows = surface(2000)
    rows.means[3], rows.scales[7, 1], rows.opacities[9] = math.nan, math.inf, math.nan
    masks = debris(rows)
    assert masks.pop("broken").nonzero()[:, 0].tolist() == [3, 7, 9]
    assert not any(mask.any() for mask in masks.values())
    rows.means[:] = math.nan
    assert set(debris(rows)) == {"broken"}


def test_unseen_is_behind_beside_or_hidden() -> None:
    camera = Camera(torch.eye(4), torch.tensor([[40.0, 0, 20], [0, 40, 20], [0, 0, 1]]), 40, 40)
    means = torch.tensor([[0.0, 0, 5], [0, 0, -5], [30, 0, 5], [0, 0, 9], [0.5, 0, 5]])
    rows = planted(means, size=0.2)
    rows = replace(rows, opacities=torch.tensor([0.9, 0.9, 0.9, 0.9, 0.001]))
    walls = planted(torch.tensor([[0.0, 0, 7]] * 8), size=5.0)
    rows = joined(rows, replace(walls, opacities=torch.full((8,), 0.99)))
    found = unseen(rows, [camera], renderer_for("cpu"))
    assert found[:5].tolist() == [False, True, True, True, True]
    turned = replace(camera, world_to_camera=torch.diag(torch.tensor([-1.0, 1, -1, 1])))
    assert not unseen(rows, [camera, turned], renderer_for("cpu"))[1]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"giants": -1.0}, "giants is -1; expected 0 or more"),
        ({"needles": math.nan}, "needles is nan"),
        ({"box": (0, 0, 0, 1, 1, 0)}, "its low corner, then its high"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**limits)


def messy(path: Path) -> Path:
    """1000 good rows; 3 floaters, one of them faint, and 2 needles."""
    ball = surface(1000)
    lonely = planted(torch.tensor([[5.0, 0, 0], [0, 6, 0], [0, 0, 7]]))
    lonely.opacities[0] = 1e-4
    long = replace(planted(0.9 * ball.means[:2]), scales=torch.tensor([[0.8, 1e-5, 1e-5]] * 2))
    formats.write(joined(joined(ball, lonely), long), path, drawing=Drawing(True, 0.25))
    return path


def test_the_command_says_what_it_removes(splat: Splat) -> None:
    messy(Path("a.ply"))
    said = splat("clean", "a.ply", "-o", "b.ply")
    assert said.code == 0 and said.err == ""
    rows = dict(line.split()[:2] for line in said.out.splitlines()[1:-1])
    assert rows == {
        "broken": "0", "floaters": "3", "giants": "0", "needles": "2", "faint": "1",
        "removed": "5", "left": "1,000",
    }  # fmt: skip
    assert said.out.splitlines()[-1].startswith("b.ply: 1,000 Gaussians, ")
    left = formats.read("b.ply")
    torch.testing.assert_close(left.means, surface(1000).means, rtol=0, atol=0)
    assert formats.drawing("b.ply") == Drawing(True, 0.25)
    again = json.loads(splat("clean", "b.ply", "--dry-run", "--json").out)
    assert again["removed"] == 0 and again["left"] == 1000 and again["out"] is None


def test_a_dry_run_writes_nothing(splat: Splat) -> None:
    messy(Path("a.ply"))
    said = splat("clean", "a.ply", "-o", "b.glb", "--dry-run")
    assert said.code == 0 and "nothing was written" in said.out
    assert [path.name for path in Path().iterdir()] == ["a.ply"]


def test_limits_on_the_command_line(splat: Splat) -> None:
    messy(Path("a.ply"))
    asked = ("--floaters", 0, "--needles", 0, "--faint", 0, "--giants", 0)
    box = ("--box", -2, -2, -2, 2, 2, 2)
    record = json.loads(splat("clean", "a.ply", "--dry-run", "--json", *asked, *box).out)
    assert record["reasons"] == {"broken": 0, "outside": 103} and record["removed"] == 103


def test_refusals_of_the_command(splat: Splat) -> None:
    messy(Path("a.ply"))
    Path("there.ply").write_text("mine")
    for arguments, words in {
        ("a.ply",): "give the file to write with -o, or --dry-run",
        ("a.ply", "-o", "there.ply"): "there.ply exists; replace it with --overwrite",
        ("a.ply", "-o", "b.obj"): "ends in no known format of Gaussians",
        ("none.ply", "-o", "b.ply"): "none.ply is not a file",
        ("a.ply", "-o", "b.ply", "--faint", 1.1): "all 1,005 Gaussians of a.ply would be removed",
        ("a.ply", "-o", "b.ply", "--box", 1, 0, 0, 0, 1, 1): "low corner",
        ("a.ply", "-o", "b.ply", "--cameras", "none.json"): "expected the cameras of a run",
    }.items():
        refused = splat("clean", *arguments)
        assert refused.code == 2 and words in " ".join(refused.said.replace("│", "").split())
    assert not Path("b.ply").exists() and Path("there.ply").read_text() == "mine"


def test_broken_rows_are_counted(splat: Splat, caplog: pytest.LogCaptureFixture) -> None:
    messy(Path("a.ply"))
    data = bytearray(Path("a.ply").read_bytes())
    data[-20:-16] = np.float32(np.nan).tobytes()  # the last scale
    Path("a.ply").write_bytes(data)
    record = json.loads(splat("clean", "a.ply", "-o", "b.ply", "--json").out)
    assert (record["gaussians"], record["reasons"]["broken"]) == (1005, 1)
    assert (record["removed"], record["left"]) == (5, 1000)
    assert not logging.getLogger("splat.formats.rows").handlers


def test_cameras_of_a_run(splat: Splat) -> None:
    messy(Path("a.ply"))
    pose = np.eye(4)
    pose[:3, 3] = [0, 0, 60]
    camera = {
        "name": "one", "split": "train", "width": 64, "height": 48,
        "K": [[500.0, 0, 32], [0, 500, 24], [0, 0, 1]], "world_to_camera": pose.tolist(),
    }  # fmt: skip
    Path("cameras.json").write_text(json.dumps({"cameras": [camera]}))
    asked = ("--cameras", "cameras.json", "--quiet", "--json")
    record = json.loads(splat("clean", "a.ply", "-o", "b.ply", *asked).out)
    # Of the background some is beside the picture, and all behind the camera's plane is out.
    assert 50 < record["reasons"]["unseen"] < 1000
    assert record["left"] == len(formats.read("b.ply"))
