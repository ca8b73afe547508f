"""A few masks take a thing out of a room, to the byte, and its hole is filled as views agree."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenes import facing
from torch import Tensor

from splat import formats
from splat.cleanup import erase
from splat.cleanup.choices import Choice, Fill
from splat.cleanup.erase.agree import Proposal, agreed_points
from splat.cleanup.erase.fill import Filled, filled_holes
from splat.cleanup.erase.inpaint import inpainted
from splat.cleanup.erase.look import Look
from splat.cleanup.erase.vote import Votes, rows_to_erase, vote
from splat.formats.header import Header
from splat.math import quaternions, sh_from_rgb
from splat.render import renderer_for
from splat.types import Camera, Drawing, Gaussians, joined
from worlds import sweep

Splat = Callable[..., Any]
Array = NDArray[Any]

WIDTH, HEIGHT, COUNT = 112, 84, 12
BAG = np.array([-1.5, -0.55, 0.2])
CELL = 0.024
RENDER = renderer_for("cpu")
HELD_OUT = (2, 7)


def stand(eye: Array, at: Array, width: int = WIDTH, height: int = HEIGHT) -> Camera:
    K = torch.tensor([[1.0 * width, 0, width / 2], [0, 1.0 * width, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(facing(eye, at)).float(), K, width, height)


def round_it(turn: float) -> list[float]:
    """A way around the bag, up and down."""
    return [0.85 * math.cos(turn), 0.85 * math.sin(turn), 0.75 + 0.25 * math.cos(3 * turn)]


@dataclass(frozen=True)
class Room:
    """Surfels of what twelve cameras around a bag see of a room, and the truth about it."""

    cameras: list[Camera]
    photos: list[Array]
    empty: list[Array]
    """The same without the bag."""
    masks: list[Tensor]
    """255 where the bag shows."""
    rows: Gaussians
    bag: Tensor
    """Which rows are of it."""
    train: list[int]
    voting: list[int]


@cache
def room() -> Room:
    turns = 2 * math.pi * (np.arange(COUNT) + 0.3) / COUNT
    cameras = [stand(BAG + np.array(round_it(t)), BAG) for t in turns]
    views = [sweep.render(camera, samples=1) for camera in cameras]
    empty = [np.asarray(sweep.render(c, samples=1, clutter=False).image) for c in cameras]
    train = [i for i in range(COUNT) if i not in HELD_OUT]
    rows, numbers = surfels([cameras[i] for i in train], [views[i] for i in train])
    masks = [
        torch.from_numpy(255 * np.isin(np.asarray(view.objects), sweep.CLUTTER).astype(np.uint8))
        for view in views
    ]
    bag = torch.from_numpy(np.isin(numbers, sweep.CLUTTER))
    photos = [np.asarray(view.image) for view in views]
    return Room(cameras, photos, empty, masks, rows, bag, train, train[::2] + train[1:2])


def surfels(cameras: Sequence[Camera], views: Sequence[Any]) -> tuple[Gaussians, Array]:
    """A disc for each cell of space that a picture has a pixel in, and the thing that it is of."""
    places, normals, colours, numbers = [], [], [], []
    for camera, view in zip(cameras, views, strict=True):
        v, u = np.mgrid[:HEIGHT, :WIDTH].reshape(2, -1)
        K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
        z = np.asarray(view.depth, np.float64)[v, u]
        local = np.stack([(u + 0.5 - K[0, 2]) / K[0, 0] * z, (v + 0.5 - K[1, 2]) / K[1, 1] * z, z])
        places.append((local.T - pose[:3, 3]) @ pose[:3, :3])
        normals.append(np.asarray(view.normals, np.float64)[v, u])
        colours.append(np.asarray(view.image)[v, u] / 255)
        numbers.append(np.asarray(view.objects)[v, u])
    where, number = np.concatenate(places), np.concatenate(numbers)
    keys = np.concatenate([np.floor(where / CELL).astype(int), number[:, None].astype(int)], 1)
    first = np.unique(keys, axis=0, return_index=True)[1]
    normal = torch.from_numpy(np.concatenate(normals)[first])
    other = torch.eye(3, dtype=torch.float64)[normal.abs().argmin(1)]
    across = torch.nn.functional.normalize(torch.linalg.cross(normal, other), dim=1)
    turn = torch.stack([across, torch.linalg.cross(normal, across), normal], -1)
    n = len(first)
    rows = Gaussians(
        means=torch.from_numpy(where[first]).float(),
        quats=quaternions(turn).float(),
        scales=CELL * torch.tensor([0.75, 0.75, 0.075]).repeat(n, 1),
        opacities=torch.full((n,), 0.95),
        colors=sh_from_rgb(torch.from_numpy(np.concatenate(colours)[first]).float())[:, None],
        sh_degree=0,
    )
    return rows, number[first]


@cache
def votes() -> Votes:
    it = room()
    cameras, masks = [it.cameras[i] for i in it.voting], [it.masks[i] for i in it.voting]
    return vote(lambda _: it.rows, RENDER, cameras, masks)


@cache
def hole() -> tuple[Tensor, Filled]:
    """Rows that stay in the end, and what fills the hole."""
    it = room()
    gone = rows_to_erase(it.rows, votes())
    found = filled_holes(it.rows, ~gone, [it.cameras[i] for i in it.train], RENDER)
    return ~(gone | (found.buried & ~votes().unmeant)), found


def test_few_masks_find_the_thing() -> None:
    it = room()
    gone = rows_to_erase(it.rows, votes())
    overlap = float((gone & it.bag).sum() / (gone | it.bag).sum())
    assert 500 < it.bag.sum() < 0.1 * len(it.bag) and overlap > 0.9
    alone = rows_to_erase(it.rows, votes(), Choice(grow=0))
    assert (alone & ~gone).sum() == 0 and (gone & it.bag).sum() > (alone & it.bag).sum()
    # What is seen and in no mask stays, however far the rest grows.
    wide = rows_to_erase(it.rows, votes(), Choice(grow=50, low=0))
    assert votes().unmeant.sum() > 0.5 * len(gone) and not (wide & votes().unmeant).any()
    kept = ~rows_to_erase(it.rows, votes(), Choice(outside=True))
    assert torch.equal(kept, gone)


def test_a_filled_hole_beats_inpainted_photos() -> None:
    it, (keep, found) = room(), hole()
    assert found.rows is not None and found.holes >= 8 and found.agreed > 0.5 * found.points
    left = it.rows.take(keep)
    whole = joined([left, found.rows])
    errors = []
    for i in HELD_OUT:
        inside, truth = it.masks[i].numpy() > 0, it.empty[i] / 255
        wide = cv2.dilate(it.masks[i].numpy(), np.ones((3, 3), np.uint8))
        single = cv2.inpaint(it.photos[i].copy(), wide, 5, cv2.INPAINT_TELEA) / 255
        drawn = [RENDER(rows, it.cameras[i]).image.numpy() for rows in (left, whole)]
        errors.append([((picture - truth)[inside] ** 2).mean() for picture in (*drawn, single)])
    bare, ours, theirs = -10 * np.log10(np.mean(errors, 0))
    assert ours > theirs + 0.5 and ours > bare + 3
    # New rows lie on the floor or on what stands there, not in the air where the bag was.
    assert found.rows.means[:, 2].median().abs() < 0.05


def depth_filled(depth: Array, inside: Array) -> Array:
    return inpainted(np.zeros((*depth.shape, 3), np.float32), depth, inside)[1]


FLOOR = 0.1
"""Height of the plane in the hand-made views."""


def flat(turn: float, factor: float = 1.0, radius: float = 0.3) -> Proposal:
    """A view of a floor with a round hole, whose filled depth is wrong by a factor."""
    camera = stand(np.array([1.5 * math.cos(turn), 1.5 * math.sin(turn), 1.2]), np.zeros(3), 80, 60)
    v, u = np.mgrid[:60, :80]
    K, pose = camera.K.double().numpy(), camera.world_to_camera.double().numpy()
    rays = np.stack([(u + 0.5 - K[0, 2]) / K[0, 0], (v + 0.5 - K[1, 2]) / K[1, 1], 1.0 + 0 * u], -1)
    down = rays @ pose[:3, :3]
    eye = -pose[:3, :3].T @ pose[:3, 3]
    depth = (FLOOR - eye[2]) / np.minimum(down[..., 2], -1e-3)
    where = eye + down * depth[..., None]
    inside = np.hypot(where[..., 0], where[..., 1]) < radius
    colors = np.broadcast_to([0.2, 0.4, 0.6], (60, 80, 3))
    look = Look(camera, colors, np.where(inside, np.nan, depth), inside)
    return Proposal(look, colors, np.where(inside, factor * depth, np.nan))


def test_one_wrong_view_of_five_leaves_nothing() -> None:
    views = [flat(turn, 0.75 if i == 2 else 1.0) for i, turn in enumerate((0, 1, 2, 3.5, 5))]
    found, count = agreed_points(views, Fill(stride=1))
    # A pixel, whose depth is taken for all of it, is 2 cm wide.
    assert np.abs(found.places[:, 2] - FLOOR).max() < 0.02
    assert np.allclose(found.normals, [0, 0, 1], atol=1e-6) and np.allclose(found.colors[:, 2], 0.6)
    wrong = int(views[2].look.hole.sum())
    assert len(found.places) == count - wrong
    # Its own vote alone would do for who asks for one; but the others see past it, or have it not.
    assert not len(agreed_points([views[2], views[0]], Fill(agree=2))[0].places)


def test_who_sees_past_a_point_strikes_it() -> None:
    floating = [flat(turn) for turn in (0, 1, 2, 4)]
    points = len(agreed_points(floating, Fill())[0].places)
    # A camera without a hole, which sees a floor far below.
    other = flat(3.0)
    bare = replace(
        other,
        look=replace(
            other.look,
            depth=np.full((60, 80), 9.0),
            hole=np.zeros((60, 80), bool),
        ),
        depth=np.full((60, 80), np.nan),
    )
    assert points > 200 and not len(agreed_points([*floating, bare], Fill())[0].places)
    unknown = replace(bare, look=replace(bare.look, depth=np.full((60, 80), np.nan)))
    assert len(agreed_points([*floating, unknown], Fill())[0].places) == points


def test_holes_in_planes_are_filled_by_them() -> None:
    v, u = np.mgrid[:50, :60].astype(float)
    inside = np.hypot(u - 30, v - 24) < 9
    floor, wall = 0.2 + 0.01 * v, 0.45 - 0.002 * u
    rng = np.random.default_rng(1)
    noise = 1 + 0.005 * rng.standard_normal(u.shape)
    one = depth_filled(np.where(inside, np.nan, 1 / floor) * noise, inside)
    assert np.abs(one * floor - 1)[inside].max() < 0.01 and np.isnan(one[~inside]).all()
    # Where two meet the nearer one is seen; a few pixels of something else are of no weight.
    both = np.maximum(floor, wall)
    given = np.where(inside, np.nan, 1 / both)
    given[20:24, 14:20] = 0.5
    colors = np.where((floor > wall)[..., None], [0.8, 0.5, 0.2], [0.3, 0.3, 0.7])
    painted, two = inpainted(colors.astype(np.float32), given * noise, inside)
    assert np.abs(two * both - 1)[inside].max() < 0.03
    # Each takes its own colour, right up to where they meet.
    wrong = np.abs(painted - colors).max(-1)[inside] > 0.1
    assert wrong.mean() < 0.06


def test_other_holes_are_membranes() -> None:
    v, u = np.mgrid[:50, :60].astype(float)
    inside = np.hypot(u - 30, v - 24) < 9
    # Harmonic, and no plane.
    saddle = 0.5 + 1.5e-3 * ((u - 30) ** 2 - (v - 24) ** 2)
    found = depth_filled(np.where(inside, np.nan, 1 / saddle), inside)
    assert np.abs(found * saddle - 1)[inside].max() < 0.02
    assert np.isnan(depth_filled(np.full(u.shape, np.nan), inside)).all()
    colors = np.full((50, 60, 3), 0.25, np.float32)
    colors[inside] = 1
    painted, _ = inpainted(colors, np.full(u.shape, np.nan), inside)
    assert np.abs(painted - 0.25).max() < 0.01


def test_votes_are_shares_of_blending_weight() -> None:
    camera = Camera(torch.eye(4), torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]), 40, 30)
    means = torch.tensor([[-0.5, 0, 2.0], [0.5, 0, 2.0], [0.0, 0, 2.0], [0.5, 0, 4], [0, 0, -2]])
    n = len(means)
    rows = Gaussians(
        means,
        torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        torch.full((n, 3), 0.05),
        torch.full((n,), 0.9),
        torch.ones(n, 3),
    )
    mask = torch.zeros(30, 40, dtype=torch.uint8)
    mask[:, 20:] = 255
    found = vote(lambda _: rows, RENDER, [camera, camera], [mask, mask])
    assert found.share[:3].tolist() == pytest.approx([0, 1, 0.5], abs=1e-4)
    assert found.share[4] == found.seen[4] == 0 and found.seen[1] > 5
    assert found.within.tolist() == [False, True, True, True, False]
    assert rows_to_erase(rows, found, Choice(threshold=0.6, grow=0)).tolist() == [
        False,
        True,
        False,
        True,
        False,
    ]
    half = vote(lambda _: rows, RENDER, [camera], [mask // 2])
    assert float(half.share[1]) == pytest.approx(127 / 255, abs=1e-3)
    with pytest.raises(ValueError, match="1 cameras and 0 masks"):
        vote(lambda _: rows, RENDER, [camera], [])
    with pytest.raises(ValueError, match="a mask is 40x29 pixels, its camera 40x30"):
        vote(lambda _: rows, RENDER, [camera], [mask[:29]])


def bytes_of(path: Path) -> Array:
    head = Header.of(path)
    raw = np.fromfile(path, np.uint8, offset=head.bytes)
    return raw.reshape(head.tables[0].count, -1)


def test_rows_that_stay_are_the_same_bytes(tmp_path: Path) -> None:
    rows = replace(room().rows, opacities=room().rows.opacities * 0.77).take(torch.arange(500))
    source, out = tmp_path / "a.ply", tmp_path / "b.ply"
    formats.write(rows, source, None, Drawing(True, 0.02))
    back, keep = formats.read(source), torch.arange(500) % 3 > 0
    new = rows.take(torch.arange(5))
    assert erase.write_left(source, back, keep, new, out, None, formats.drawing(source))
    assert np.array_equal(bytes_of(out)[:-5], bytes_of(source)[keep.numpy()])
    assert np.array_equal(bytes_of(out)[-5:], bytes_of(source)[:5])
    assert formats.drawing(out) == Drawing(True, 0.02) and len(formats.read(out)) == 338
    # Another format, or other columns, are written anew.
    assert not erase.write_left(source, back, keep, None, tmp_path / "c.spz", None, Drawing())
    wide = replace(new, colors=torch.zeros(5, 4, 3), sh_degree=1)
    assert not erase.write_left(None, wide, torch.ones(5) > 0, None, out, None, Drawing())
    assert len(formats.read(out)) == 5


def files(folder: Path) -> None:
    """The room as a file, cameras.json and masks of it."""
    it = room()
    formats.write(it.rows, folder / "room.ply")
    (folder / "gone").mkdir()
    entries = []
    for i, camera in enumerate(it.cameras):
        name = f"v{i:02d}.jpg"
        entries.append(
            {
                "name": name,
                "split": "train" if i in it.train else "test",
                "width": camera.width,
                "height": camera.height,
                "K": camera.K.tolist(),
                "world_to_camera": camera.world_to_camera.tolist(),
            }
        )
        if i in it.voting:
            # Twice as large as the cameras of the file: photos may have been trained on smaller.
            large = cv2.resize(
                it.masks[i].numpy(), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST
            )
            assert cv2.imwrite(str(folder / "gone" / f"{name}.png"), large)
    (folder / "cameras.json").write_text(json.dumps({"cameras": entries}))


def test_the_command(splat: Splat, tmp_path: Path) -> None:
    files(tmp_path)
    usual = ("erase", "room.ply", "--cameras", "cameras.json", "--masks", "gone", "--quiet")
    done = splat(*usual, "-o", "out.ply", "--fill", "--json")
    assert done.code == 0, done.said
    record = json.loads(done.out)
    assert record["masks"] == len(room().voting) and record["copied"]
    assert record["removed"] + record["left"] == record["gaussians"] == len(room().rows)
    new = record["filled"]["gaussians"]
    assert new > 50 and len(formats.read("out.ply")) == record["left"] + new
    before, after = bytes_of(tmp_path / "room.ply"), bytes_of(tmp_path / "out.ply")
    there = {row.tobytes() for row in after[: record["left"]]}
    unmeant = votes().unmeant.numpy()
    assert {row.tobytes() for row in before[unmeant]} <= there
    again = splat(*usual, "-o", "out.ply")
    assert again.code != 0 and "out.ply exists" in again.said
    kept = splat(*usual, "-o", "bag.spz", "--outside")
    assert kept.code == 0 and "masks mean" in kept.said and len(formats.read("bag.spz")) < 3000
    dry = splat(*usual, "--dry-run")
    assert dry.code == 0 and "nothing was written" in dry.said


def test_what_does_not_fit_is_said(splat: Splat, tmp_path: Path) -> None:
    files(tmp_path)
    usual = ("erase", "room.ply", "--quiet", "--dry-run")
    assert "give those of its photos with --cameras" in splat(*usual, "--masks", "gone").said
    usual += ("--cameras", "cameras.json")
    assert "there is no such folder" in splat(*usual, "--masks", "no").said
    (tmp_path / "none").mkdir()
    said = splat(*usual, "--masks", "none").said
    assert "has no mask for any of 12 photos" in said and "v00.png" in said
    assert "leave one of them out" in splat(*usual, "--masks", "gone", "--fill", "--outside").said
    assert "give the file to write" in splat("erase", "room.ply", "--masks", "gone").said
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.imwrite(str(tmp_path / "none" / "v01.png"), black)
    assert "no Gaussian of room.ply is meant" in splat(*usual, "--masks", "none").said
    with pytest.raises(ValueError, match="threshold is 1"):
        Choice(threshold=1.0)
    with pytest.raises(ValueError, match="agree is 0"):
        Fill(agree=0)
