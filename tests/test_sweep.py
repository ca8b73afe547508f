"""The generated room is what it says it is, and what is planted in it can be taken out again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import files_of, unprojected
from torch import Tensor

from splat.datasets import load
from splat.datasets.tracer.pictures import rays
from splat.datasets.tracer.solids import leaning
from splat.types import Camera, Points
from worlds import sweep
from worlds.sweep import plant as planting
from worlds.sweep.layout import pieces
from worlds.sweep.shapes import HALF, Piece, crossing, face, inside, place
from worlds.sweep.trace import displayed, stage, trace

PLANT = sweep.Plant(drift=0.1, exposure=0.25, depth=True, transients=3, seed=4)
TINY = {"count": 10, "width": 64, "height": 48, "points": 400, "samples": 2}
PLANES = {"floor": (2, 0.0), "ceiling": (2, 2.6), "brick wall": (1, 2.0), "shelf wall": (1, -2.0)}
PLANES |= {"window wall": (0, 2.5), "bare wall": (0, -2.5)}
"""Axis and place of the room's faces."""
SHAPES = (
    Piece(7, "box", (0.3, -0.2, 0.4), (0.5, 0.2, 0.02), leaning(0, 33)),
    Piece(7, "ball", (0.3, -0.2, 0.4), (0.5, 0.2, 0.3), leaning(0, -70)),
    Piece(7, "drum", (0.3, -0.2, 0.4), (0.3, 0.3, 0.2), leaning(0, 10)),
    pieces()[0],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sweep.write(tmp_path_factory.mktemp("sweep") / "room", PLANT, **TINY)


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Camera, sweep.View]]:
    stand = [*sweep.cameras(6, 96, 72), *sweep.cameras(4, 96, 72, "walk")]
    return [(camera, sweep.render(camera, 1)) for camera in stand]


def columns(points: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, z = points.reshape(-1, 3).double().numpy().T
    return x, y, z


@pytest.mark.parametrize("piece", SHAPES, ids=lambda piece: piece.kind)
def test_places_on_faces_are_found_again(piece: Piece) -> None:
    draw = np.random.default_rng(0)
    for number in range(piece.faces):
        u, v = draw.uniform(0.2, 0.8, (2, 200))
        point, normal = place(piece, number, u, v)
        found, s, t, outer = face(piece, piece.local(*point))
        assert (found == number).all()
        np.testing.assert_allclose([s, t], [u, v], atol=1e-9)
        np.testing.assert_allclose(piece.outward(*outer), normal, atol=1e-9)
        # The normal leads out of a thing, and into the room.
        for step in (1e-4, -1e-4):
            moved = tuple(p + step * n for p, n in zip(point, normal, strict=True))
            assert (inside(piece, moved) == ((step < 0) != (piece.kind == "room"))).all()


@pytest.mark.parametrize("piece", SHAPES, ids=lambda piece: piece.kind)
def test_rays_end_where_the_inside_begins(piece: Piece) -> None:
    draw = np.random.default_rng(1)
    start = np.array(piece.position)[:, None] + draw.uniform(-0.9, 0.9, (3, 2000))
    way = draw.standard_normal((3, 2000))
    way /= np.linalg.norm(way, axis=0)
    start = start[:, inside(piece, tuple(start)) == (piece.kind == "room")]
    way = way[:, : start.shape[1]]
    t = crossing(piece, piece.local(*start), piece.inward(*way))
    steps = np.linspace(0, 6, 1201)[:, None]
    within = inside(piece, tuple(s + steps * w for s, w in zip(start, way, strict=True)))
    entered = within != within[0]
    first = np.where(entered.any(0), steps[entered.argmax(0), 0], np.inf)
    # The grid of steps may jump over an edge, never find what the ray does not.
    found = np.isfinite(first)
    assert found.sum() > 50
    assert (np.abs(t[found] - first[found]) < 6 / 1200 + 1e-9).all()
    grazed = np.isfinite(t) & ~found
    assert grazed.mean() < 0.03


def test_depth_lies_on_the_surface_and_nothing_stands_before_it(
    pictures: list[tuple[Camera, sweep.View]],
) -> None:
    ball = next(piece for piece in pieces() if sweep.OBJECTS[piece.number] == "ball")
    for camera, view in pictures:
        points = unprojected(camera, view.depth)
        for name, (axis, where) in PLANES.items():
            mine = points[view.objects == sweep.OBJECTS.index(name)][:, axis]
            assert bool(((mine - where).abs() < 1e-4).all())
        mine = points[view.objects == ball.number] - torch.tensor(ball.position).double()
        assert bool(((mine.norm(dim=1) - ball.half[0]).abs() < 1e-4).all())
        eye = camera.centre.double()
        for share in (0.3, 0.6, 0.9, 0.97, 0.999):
            between = columns(eye + share * (points - eye))
            assert not any(inside(piece, between).any() for piece in pieces()[1:])


def test_normals_are_those_of_the_depth_map(
    pictures: list[tuple[Camera, sweep.View]],
) -> None:
    for camera, view in pictures:
        normals = view.normals.double()
        points = unprojected(camera, view.depth)
        assert torch.allclose(normals.norm(dim=-1), torch.ones(()).double(), atol=1e-5)
        away = torch.nn.functional.normalize(points - camera.centre.double(), dim=-1)
        assert float((normals * away).sum(-1).max()) < 1e-3
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        measured = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=-1)
        alike = (measured * normals[1:-1, 1:-1]).sum(-1)
        # Flat: the four neighbours lie on the same object and face the same way.
        near = [np.s_[:-2, 1:-1], np.s_[2:, 1:-1], np.s_[1:-1, :-2], np.s_[1:-1, 2:]]
        middle = np.s_[1:-1, 1:-1]
        flat = torch.stack(
            [
                ((normals[middle] - normals[other]).norm(dim=-1) < 1e-3)
                & (view.objects[middle] == view.objects[other])
                for other in near
            ]
        ).all(0)
        assert float(flat.double().mean()) > 0.5
        assert float((alike[flat] > 0.9999).double().mean()) > 0.97


def test_a_place_looks_the_same_from_everywhere() -> None:
    first, *others = sweep.cameras(9, 96, 72, "walk")
    view = sweep.render(first, 1)
    points = unprojected(first, view.depth).reshape(-1, 3)
    shown = view.image.reshape(-1, 3).double()
    met = 0
    for camera in others:
        pose, K = camera.world_to_camera.double(), camera.K.double()
        z = camera.depths(points)
        local = points @ pose[:3, :3].T + pose[:3, 3]
        pixels = (local / local[:, 2:]) @ K.T
        u, v = (pixels[:, k].numpy().astype(np.float32) for k in (0, 1))
        through = rays(camera, u, v)
        hits = trace(stage(None), through)
        depth = torch.from_numpy(hits.t * through.to_z).double()
        same = ~z.isnan() & ((depth - z).abs() < 1e-3)
        colour = torch.from_numpy(displayed(hits.light) * 255).double()
        off = (colour - shown)[same].abs().amax(1)
        if not len(off):
            continue
        met += len(off)
        # Where a printed edge passes, a hair's breadth decides.
        assert float((off < 2).double().mean()) > 0.98
    assert met > 2000


def test_leaving_out_clutter_changes_what_it_covers() -> None:
    seen, darkened = set(), 0
    for camera in sweep.cameras(7, 96, 72, "walk"):
        full, bare = sweep.render(camera, 1), sweep.render(camera, 1, clutter=False)
        clutter = torch.from_numpy(np.isin(full.objects.numpy(), sweep.CLUTTER))
        seen |= set(full.objects[clutter].tolist())
        assert not np.isin(bare.objects.numpy(), sweep.CLUTTER).any()
        assert torch.equal(full.objects != bare.objects, clutter)
        assert torch.equal(full.depth != bare.depth, clutter)
        assert bool((full.depth[clutter] < bare.depth[clutter]).all())
        assert torch.equal(full.normals[~clutter], bare.normals[~clutter])
        # Beyond its outline clutter only takes light.
        change = (bare.image.int() - full.image.int())[~clutter]
        assert int(change.min()) >= 0
        darkened += int((change > 2).sum())
    assert seen == set(sweep.CLUTTER) and darkened > 500


def test_surface_samples_are_exact_even_and_in_the_open() -> None:
    where, normal, colour, ids = sweep.surface(6000, seed=2)
    again = sweep.surface(6000, seed=2)
    assert all(torch.equal(a, b) for a, b in zip((where, normal, colour, ids), again, strict=True))
    for name, (axis, place_) in PLANES.items():
        mine = ids == sweep.OBJECTS.index(name)
        assert bool(((where[mine, axis] - place_).abs() < 1e-6).all())
    above = columns(where + 5e-4 * normal)
    assert inside(pieces()[0], above).all()
    assert not any(inside(piece, above).any() for piece in pieces()[1:])
    counts = torch.bincount(ids.long(), minlength=len(sweep.OBJECTS)).double()
    # Ceiling 20 m^2, bare wall 10.4 m^2: nothing stands against either of them.
    ratio = float(counts[1] / counts[sweep.OBJECTS.index("bare wall")])
    assert ratio == pytest.approx(20 / 10.4, rel=0.12)
    assert int(counts[sweep.TRANSIENT]) == 0 and bool((counts[: sweep.TRANSIENT] > 0).all())
    assert 0 <= float(colour.min()) and float(colour.max()) <= 1


def test_points_lie_where_pictures_have_detail() -> None:
    eyes = sweep.cameras(12)
    exact = sweep.points(1500, noise=0, outliers=0, views=eyes).positions
    where, rim = columns(exact), np.zeros(1500, bool)
    for piece in pieces():
        a, b, c = piece.half
        wide, narrow = ((a + s, b + s, c + s) for s in (1e-4, -1e-4))
        outer, inner = (Piece(0, piece.kind, piece.position, h, piece.axes) for h in (wide, narrow))
        rim |= inside(outer, where) & ~inside(inner, where)
    assert rim.all()
    bare = (exact[:, 0] < -2.499) & (exact[:, 2] > 0.12)
    bricks = exact[:, 1] > 1.999
    assert float(bare.double().mean()) < 0.02 < 0.1 < float(bricks.double().mean())
    noisy = sweep.points(1500, noise=0.01, outliers=0, views=eyes).positions
    assert float((noisy - exact).std()) == pytest.approx(0.01, rel=0.1)
    wild = sweep.points(1500, noise=0, outliers=0.05, views=eyes).positions
    moved = ((wild - exact).norm(dim=1) > 1e-4).double().mean()
    assert 0.02 < float(moved) < 0.08


def test_the_sweep_turns_on_the_spot_and_looks_up_and_down() -> None:
    stand = sweep.cameras(40)
    centres = torch.stack([camera.centre for camera in stand]).double()
    reach = (centres[:, :2]).norm(dim=1)
    assert float(reach.min()) >= 0.2 - 1e-6 and float(reach.max()) <= 0.3 + 1e-6
    ahead = torch.stack([camera.world_to_camera[2, :3] for camera in stand]).double()
    pitch = torch.rad2deg(torch.asin(ahead[:, 2]))
    assert float(pitch.min()) < -33 and float(pitch.max()) > 33
    # Outward: within what the wobble allows.
    assert float((ahead[:, :2] * centres[:, :2]).sum(1).min()) > 0
    walk = torch.stack([camera.centre for camera in sweep.cameras(40, kind="walk")])
    assert float((walk[:20] - walk[20:]).norm(dim=1).min()) > 1.3
    for where in (centres, walk):
        assert inside(Piece(0, "room", (0, 0, 1.3), HALF), columns(where)).all()
        assert not any(inside(piece, columns(where)).any() for piece in pieces()[1:])


def test_drift_starts_at_nothing_and_grows_to_what_is_asked() -> None:
    stand, ends, turns = sweep.cameras(30, 64, 48), [], []
    for seed in range(80):
        found = planting.drifted(stand, sweep.Plant(drift=0.2, seed=seed))
        assert torch.equal(found[0].world_to_camera, stand[0].world_to_camera)
        pairs = list(zip(found, stand, strict=True))
        way = torch.stack([a.centre.double() - b.centre.double() for a, b in pairs])
        ends.append(float(way[-1].square().sum()))
        turn = pairs[-1][0].world_to_camera[:3, :3] @ pairs[-1][1].world_to_camera[:3, :3].T
        turns.append(float(torch.rad2deg(torch.arccos((turn.trace().clamp(max=3) - 1) / 2))) ** 2)
        # Smooth: a step is like the one before.
        steps = way.diff(dim=0)
        assert float(steps.diff(dim=0).norm(dim=1).mean()) < float(steps.norm(dim=1).mean())
    assert np.sqrt(np.mean(ends)) == pytest.approx(0.2, rel=0.2)
    assert np.sqrt(np.mean(turns)) == pytest.approx(0.2 * planting.TURN, rel=0.2)


def test_points_move_along_with_the_views_that_see_them() -> None:
    stand = sweep.cameras(5, 64, 48)
    depths = [sweep.render(camera, 1).depth.numpy() for camera in stand]
    shift = torch.tensor([0.1, -0.2, 0.05])
    told = []
    for camera in stand:
        pose = camera.world_to_camera.clone()
        pose[:3, 3] -= pose[:3, :3] @ shift
        told.append(Camera(pose, camera.K, 64, 48))
    seen = unprojected(stand[2], torch.from_numpy(depths[2])).reshape(-1, 3)[::7].float()
    unseen = torch.tensor([[0.0, 0.0, 9.0]])
    cloud = Points(torch.cat([seen, unseen]), torch.zeros(len(seen) + 1, 3))
    moved = planting.misplaced(cloud, stand, told, depths).positions
    assert torch.allclose(moved[:-1], seen + shift, atol=1e-4)
    assert torch.equal(moved[-1:], unseen)


def test_a_reader_takes_the_folder(folder: Path) -> None:
    scene, truth = load(folder), sweep.truth(folder)
    assert [view.name for view in scene.test] == ["view_000.png", "view_008.png"]
    assert truth.test_every == 8 and truth.plant == PLANT and len(truth.names) == 10
    reported = planting.drifted(list(truth.cameras.values()), PLANT)
    for view in (*scene.train, *scene.test):
        expected = reported[truth.names.index(view.name)]
        assert torch.allclose(
            view.camera.world_to_camera.float(), expected.world_to_camera, atol=1e-5
        )
        assert torch.allclose(view.camera.K.float(), expected.K, atol=1e-4)
    assert scene.points is not None and len(scene.points.positions) == 400
    seen = torch.stack([~v.camera.depths(scene.points.positions).isnan() for v in scene.train])
    assert float(seen.any(0).double().mean()) > 0.97
    drawn = sweep.render(truth.cameras["view_003.png"], TINY["samples"])
    assert torch.equal(truth.clean("view_003.png"), drawn.image)
    assert torch.equal(truth.depth("view_003.png"), drawn.depth)
    assert torch.equal(truth.objects("view_003.png"), drawn.objects)
    assert torch.allclose(truth.normals("view_003.png"), drawn.normals, atol=1e-3)
    bare = sweep.render(truth.cameras["view_003.png"], TINY["samples"], clutter=False)
    assert torch.equal(truth.empty("view_003.png"), bare.image)


def test_exposures_and_visitors_are_taken_out_again(folder: Path) -> None:
    import cv2

    truth, gains = sweep.truth(folder), []
    assert len(truth.visited) == 3 and not {"view_000.png", "view_008.png"} & set(truth.visited)
    for name in truth.names:
        photo = torch.from_numpy(cv2.imread(str(folder / "images" / name))[..., ::-1].copy())
        gain, bias = (
            torch.tensor(v) for v in (truth.exposures[name].gain, truth.exposures[name].bias)
        )
        gains.append(gain)
        stays = truth.mask(name) == 255
        assert bool((~stays).any()) == (name in truth.visited)
        whole = stays[..., None] & (photo > 0) & (photo < 255)
        undone = (photo / 255 - bias) / gain * 255
        off = (undone - truth.clean(name)).abs()
        assert bool((off <= 0.51 / gain).where(whole, torch.tensor(True)).all())
        assert float(whole.double().mean()) > 0.5
        clutter = np.isin(truth.objects(name).numpy(), sweep.CLUTTER) & stays.numpy()
        marked = truth.clutter_mask(name).numpy() == 255
        # A visitor's rim is no clutter's end: there the two masks may differ.
        assert (marked & stays.numpy() == clutter).all()
    assert float(torch.stack(gains).log2().std()) > 0.1


def test_guessed_maps_are_the_truth_bent(folder: Path) -> None:
    truth = sweep.truth(folder)
    for name in truth.names:
        scale, shift = truth.depth_affine[name]
        stem = Path(name).stem
        guess = torch.from_numpy(np.load(folder / "depths" / f"{stem}.npy"))
        normals = torch.from_numpy(np.load(folder / "normals" / f"{stem}.npy"))
        stays = truth.mask(name) == 255
        depth = truth.depth(name)
        error = ((scale * guess + shift) / depth - 1)[stays]
        assert 0.005 < float(error.square().mean().sqrt()) < 0.05
        assert float(((guess / depth - 1)[stays]).abs().mean()) > 2 * float(error.abs().mean())
        world = normals @ truth.cameras[name].world_to_camera[:3, :3]
        alike = (world * truth.normals(name)).sum(-1)[stays].clamp(max=1)
        assert 1 < float(torch.rad2deg(torch.arccos(alike)).mean()) < 8


def test_the_same_arguments_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    other = sweep.cached(tmp_path, PLANT, **TINY)
    assert sweep.cached(tmp_path, PLANT, **TINY) == other
    assert files_of(folder) == files_of(other)


def test_what_cannot_be_drawn_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        sweep.write(folder)
    with pytest.raises(ValueError, match="drift is -1"):
        sweep.Plant(drift=-1)
    with pytest.raises(ValueError, match="expected at most the 7 training views"):
        sweep.write(tmp_path / "room", sweep.Plant(transients=8), count=8)
    with pytest.raises(ValueError, match="expected 'sweep' or 'walk'"):
        sweep.cameras(kind="run")
    with pytest.raises(FileNotFoundError, match=r"has no truth/plant\.json"):
        sweep.truth(tmp_path)
    assert not list(tmp_path.iterdir())
