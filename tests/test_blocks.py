"""Blocks: every place is one block's, jobs are functions of their plan, the merge loses nothing."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from steps import CAMERA, model_of, step_of

from splat import api, datasets, formats
from splat.blocks import train as blocks
from splat.blocks import work
from splat.blocks.block import Block
from splat.blocks.cells import AS_GIVEN, BEYOND, Cell, Ground, members
from splat.blocks.division import cells_of, extents, ground_of, squarest
from splat.blocks.many import fewest_blocks, predicted_block
from splat.blocks.plan import folder_of, read_plan
from splat.blocks.seams import Strip, on_seam, pixel_positions
from splat.blocks.start import covered_area, start_points, weighted_draw
from splat.blocks.visibility import view_shares, views_of_blocks
from splat.core.edit import Append, Edit
from splat.core.frame import neighbour_distances
from splat.core.strategy import Fixed, Strategy
from splat.formats.header import Header
from splat.formats.join import join_files
from splat.jobs import Interrupted
from splat.loop import Run
from splat.options import Options, Reading, Watching
from splat.options.blocking import Blocking, shape_of
from splat.recipes.restored import region_of
from splat.recipes.saved import description_of, strategy_from_description
from splat.runs.folder import Folder, read_config
from splat.strategies.mcmc import Mcmc
from splat.strategies.mrnf import Mrnf
from splat.strategies.scaffold import Scaffold
from splat.strategies.sdf import Sdf
from splat.types import Batch, Camera, Frame, Gaussians, Points, Rendered

FLAT = Ground((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 10.0)
"""The plane of x and y, as it is up to 10 from the origin."""
WATCHING = Watching(quiet=True, pictures=False, checkpoint_every=15)
METHOD = Mrnf(cap=900)


def placed(x: float, y: float, z: float, ahead: tuple[float, float, float]) -> Camera:
    """A camera of 40 x 30 pixels and 90 degrees that looks `ahead`; z is up where it can be."""
    forward = torch.tensor(ahead, dtype=torch.float64)
    forward = forward / forward.norm()
    up = torch.tensor([0.0, 0, 1] if abs(float(forward[2])) < 0.9 else [0.0, 1, 0]).double()
    right = torch.linalg.cross(forward, up)
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([x, y, z], dtype=torch.float64)
    K = torch.tensor([[20.0, 0, 20], [0, 20, 15], [0, 0, 1]])
    return Camera(pose.float(), K, 40, 30)


def test_far_places_are_drawn_in_by_the_contraction() -> None:
    places = torch.tensor([[5.0, 0, 3], [0, 10, -7], [20, 0, 0], [-60, 80, 1e4]])
    found = FLAT.flat(places, AS_GIVEN)
    wanted = torch.tensor([[0.5, 0], [0, 1], [1.5, 0], [-0.6 * 1.9, 0.8 * 1.9]])
    assert torch.allclose(found, wanted.double())
    frame = Frame((1.0, 2.0, 3.0), 0.1)
    moved = (places.double() - torch.tensor([1.0, 2, 3])) * 0.1
    assert torch.allclose(FLAT.flat(moved, frame), wanted.double())


def test_every_place_has_exactly_one_owner() -> None:
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(3000, 3, generator=draw, dtype=torch.float64) * 8
    cells = cells_of(FLAT, FLAT.flat(points, AS_GIVEN), (3, 2))
    far = torch.nn.functional.normalize(torch.randn(999, 3, generator=draw).double())
    far = far * 10 ** torch.linspace(0, 30, 999, dtype=torch.float64)[:, None]
    assert bool((members(cells, FLAT.flat(torch.cat([points, far]), AS_GIVEN)).sum(1) == 1).all())
    # On the borders themselves, and a rounding to either side of them.
    corners = torch.tensor([c.low for c in cells] + [c.high for c in cells]).double()
    steps = [corners, torch.nextafter(corners, corners + 1), torch.nextafter(corners, corners - 1)]
    lines = torch.cat(steps).clamp(-2, 2)
    grid = torch.cartesian_prod(lines[:, 0], lines[:, 1])
    assert bool((members(cells, grid).sum(1) == 1).all())


def test_cells_hold_equally_many_points() -> None:
    flat = torch.rand(6000, 2, generator=torch.Generator().manual_seed(1)).double() ** 2
    cells = cells_of(FLAT, flat, (3, 2))
    assert members(cells, flat).sum(0).tolist() == [1000] * 6
    assert [cell.low[0] for cell in cells[:2]] == [-BEYOND] * 2
    assert cells[0].high == (cells[2].low[0], cells[1].low[1])


def test_blocks_that_make_no_sense_are_refused() -> None:
    assert shape_of("auto") is None and shape_of("3x2") == (3, 2)
    for text in ("0x2", "3", "2x", "-1x2", "2X2", "twox2"):
        with pytest.raises(ValueError, match="expected auto, or how many along"):
            shape_of(text)
    with pytest.raises(ValueError, match="blocks is 5x5 and the scene has 99 points"):
        cells_of(FLAT, torch.rand(99, 2).double(), (5, 5))
    twice = torch.zeros(200, 2).double()
    with pytest.raises(ValueError, match="one of them would hold 0 points"):
        cells_of(FLAT, twice, (2, 1))


def test_the_ground_is_where_cameras_spread() -> None:
    tilt = torch.tensor([[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]])
    views = []
    for i in range(6):
        for j in range(3):
            camera = placed(4.0 * i, 4.0 * j, 0.2 * ((i + j) % 2), (0, 0, -1))
            pose = camera.world_to_camera.clone()
            pose[:3, :3] = pose[:3, :3] @ tilt.T
            views.append(replace(camera, world_to_camera=pose))
    ground = ground_of(views)
    along, across = torch.tensor(ground.along), torch.tensor(ground.across)
    assert float((along @ tilt[:, 0]).abs()) > 0.999  # the longer side first
    assert float((across @ tilt[:, 1]).abs()) > 0.999
    assert ground.reach == pytest.approx((10**2 + 4**2) ** 0.5, rel=1e-2)
    assert torch.tensor(ground.centre) == pytest.approx(tilt @ torch.tensor([10, 4, 0.1]), abs=1e-4)


def test_of_cameras_on_a_line_the_ground_is_below_them() -> None:
    ground = ground_of([placed(float(i), 0.01 * (i % 2), 2.0, (1, 0.2, 0)) for i in range(9)])
    assert abs(ground.along[0]) > 0.99 and abs(ground.across[1]) > 0.99


def test_views_are_those_that_see_enough_or_stand_within() -> None:
    draw = torch.Generator().manual_seed(2)
    left = torch.rand(800, 3, generator=draw) * torch.tensor([10.0, 10, 1])
    points = torch.cat([left - torch.tensor([11.0, 5, 0]), left + torch.tensor([1.0, -5, 0])])
    cells = [
        Cell(FLAT, (-BEYOND, -BEYOND), (0.0, BEYOND)),
        Cell(FLAT, (0.0, -BEYOND), (BEYOND, BEYOND)),
    ]
    cameras = [
        placed(-6, 0, 6, (0, 0, -1)),  # above the left one, and sees it only
        placed(0, 0, 12, (0, 0, -1)),  # high above both
        placed(5, 0, 3, (-1, 0, 0)),  # stands in the right one, looks at the left
        placed(5, 0, 3, (1, 0, 3)),  # looks at the sky
    ]
    flat = FLAT.flat(points, AS_GIVEN)
    share = view_shares(cameras, points, members(cells, flat))
    assert share[0, 0] > 0.7 and share[0, 1] == 0
    assert share[1, 0] == pytest.approx(float(share[1, 1]), abs=0.1)
    assert bool((share[3] == 0).all()) and bool((share.sum(1) <= 1 + 1e-9).all())
    own = members(cells, FLAT.flat(torch.stack([c.centre for c in cameras]), AS_GIVEN))
    found = views_of_blocks(share, own, 0.1)
    assert found.tolist() == [[True, False], [True, True], [True, True], [False, True]]


def test_what_a_wall_hides_is_not_seen() -> None:
    line = torch.linspace(-9, 9, 60)
    wall = torch.cartesian_prod(torch.tensor([4.0]), line, line)
    behind = wall + torch.tensor([6.0, 0, 0])
    points = torch.cat([wall, behind])
    member = torch.arange(len(points))[:, None] >= len(wall)
    camera = placed(0, 0, 0, (1, 0, 0))
    assert float(view_shares([camera], points, member)) == 0
    assert float(view_shares([camera], behind, member[len(wall) :])) > 0.5
    # Half of what it sees has no points, and belongs to whoever owns what is far on that side.
    half = wall[wall[:, 1] > 0]
    member = torch.ones(len(half), 1, dtype=torch.bool)
    seen = float(view_shares([camera], half, member))
    assert 0.4 < seen < 0.6
    assert float(view_shares([camera], half, member, lambda far: far[:, 1:2] > 0)) == seen
    assert float(view_shares([camera], half, member, lambda far: far[:, 1:2] < 0)) == pytest.approx(
        1.0
    )


def test_a_block_starts_from_its_own_points_and_a_backdrop_of_what_it_sees() -> None:
    draw = torch.Generator().manual_seed(3)
    sides, low = torch.tensor([40.0, 20, 1]), torch.tensor([20.0, 10, 0])
    positions = torch.rand(4000, 3, generator=draw) * sides - low
    points = Points(positions, torch.rand(4000, 3, generator=draw))
    cell = Cell(FLAT, (-BEYOND, -BEYOND), (0.0, BEYOND))
    cameras = [placed(-4, 0, 8, (0, 0, -1))]

    def found(most: int, share: float, seed: int = 0) -> Points:
        stream = torch.Generator().manual_seed(seed)
        return start_points(points, cell, 0.1, cameras, most, share, stream)

    inside = cell.around(FLAT.flat(positions, AS_GIVEN), 0.1)
    few, some = found(10_000, 0.0), found(10_000, 0.01)
    assert torch.equal(few.positions, positions[inside])
    assert len(some.positions) == int(inside.sum()) + 100
    outside = some.positions[~cell.around(FLAT.flat(some.positions, AS_GIVEN), 0.1)]
    assert not bool(cameras[0].depths(outside).isnan().any())  # it sees all of its backdrop
    assert torch.equal(some.positions, found(10_000, 0.01).positions)
    capped = found(500, 0.1)
    assert len(capped.positions) == 500
    assert int((~cell.around(FLAT.flat(capped.positions, AS_GIVEN), 0.1)).sum()) == 50


def test_points_are_drawn_by_what_they_cover() -> None:
    near, far = torch.tensor([[0.0, 0, 2], [0.2, 0, 2]]), torch.tensor([[0.0, -2, 8], [0.2, -2, 8]])
    points = torch.cat([near, far, torch.tensor([[0.0, 0, -5]])])
    weights, wide = covered_area(points, [CAMERA]), neighbour_distances(points)
    # Of a picture whose sides are as wide as it is far away; at most all of it.
    assert weights[:4] == pytest.approx(((wide / points[:, 2]) ** 2)[:4].clamp_max(1), rel=1e-5)
    assert weights[4] == 0
    draw = torch.Generator().manual_seed(0)
    hits = torch.zeros(3)
    for _ in range(2000):
        hits[weighted_draw(torch.tensor([1.0, 3.0, 0.0]), 1, draw)] += 1
    assert hits[2] == 0 and hits[1] / hits[0] == pytest.approx(3.0, rel=0.2)
    assert weighted_draw(torch.tensor([0.0, 2.0, 1.0]), 5, draw).tolist() == [1, 2]


def test_births_keep_to_the_margin_and_files_to_the_cell() -> None:
    model = model_of(50)
    cell = Cell(FLAT, (-BEYOND, -BEYOND), (0.0, BEYOND))
    strategy = Block(_Born(), cell=cell, margin=0.05)
    strategy.begin(model)
    model.region = strategy.region()  # as a run does
    edit = strategy.refine(step_of(model))
    assert edit is not None
    born = torch.cat([append.rows["mean"] for append in edit.append])
    assert 0 < len(born) < 50 and float(born[:, 0].max()) < 0.5
    assert bool((born[:, 0] > 0).any())  # in the margin
    kept = model.kept(model.bake())
    assert torch.equal(kept.means, model.cloud["mean"][model.cloud["mean"][:, 0] < 0])


class _Born(Fixed):
    """Every row is doubled where it is, in one edit each."""

    def refine(self, step: Any) -> Edit:
        rows = step.model.cloud.rows(torch.arange(len(step.model.cloud)))
        return Edit(append=(Append(rows, torch.arange(len(rows["mean"])), "test"),))


def test_a_block_is_described_and_rebuilt() -> None:
    cell = Cell(FLAT, (-0.5, -BEYOND), (0.25, 1.0))
    told = json.loads(json.dumps(description_of(Block(Mcmc(cap=50), cell=cell, margin=0.125))))
    assert strategy_from_description(told) == Block(Mcmc(cap=50), cell=cell, margin=0.125)
    config: Any = SimpleNamespace(method=told, options=Options(), file=Path())
    assert region_of(config) == cell
    assert cell.text() == "the ground from -0.5 to 0.25 along and below 1 across"


def test_squarest_blocks() -> None:
    assert squarest(1, (2.0, 1.0)) == (1, 1)
    assert squarest(4, (1.0, 1.0)) == (2, 2)
    assert squarest(2, (2.0, 1.0)) == (2, 1)
    assert squarest(6, (3.0, 2.0)) == (3, 2)
    assert squarest(5, (9.0, 1.0)) == (5, 1)


def test_auto_asks_for_as_many_blocks_as_memory_needs(tiny_folder: Path) -> None:
    views = datasets.load(tiny_folder).train
    device, cap = torch.device("cpu"), 10_000_000
    options = api_fitted(Options(steps=100), device)
    whole = predicted_block(views, options, device, 1000, cap, 1)
    quarter = predicted_block(views, options, device, 1000, cap, 4)
    assert quarter.gaussians == pytest.approx(1.15 * whole.gaussians / 4)
    most = quarter.total + 1
    shape = fewest_blocks(views, options, device, 1000, cap, (1.0, 1.0), most)
    assert shape in ((2, 2), (4, 1)) or shape[0] * shape[1] == 4
    assert fewest_blocks(views, options, device, 1000, cap, (1.0, 1.0), 2 * whole.total) == (1, 1)
    with pytest.raises(ValueError, match="even if there are 256"):
        fewest_blocks(views, options, device, 1000, cap, (1.0, 1.0), 1 << 20)


def api_fitted(options: Options, device: torch.device) -> Options:
    """The options with everything said."""
    from splat.planning import predict

    return predict.with_device_defaults(options, device)


def test_pixels_land_where_they_were_projected_from() -> None:
    camera = placed(3, -2, 6, (0.3, 0.2, -1))
    depth = torch.rand(30, 40, generator=torch.Generator().manual_seed(4)) * 5 + 1
    places = pixel_positions(camera, depth)
    local = places.reshape(-1, 3) @ camera.world_to_camera[:3, :3].double().T
    local = local + camera.world_to_camera[:3, 3].double()
    assert torch.allclose(local[:, 2], depth.reshape(-1).double(), atol=1e-5)
    pixels = (local[:, :2] / local[:, 2:] * 20 + torch.tensor([20.0, 15])).reshape(30, 40, 2)
    assert torch.allclose(pixels[7, 11], torch.tensor([11.5, 7.5]).double(), atol=1e-4)


def test_the_strip_is_what_lies_along_a_border() -> None:
    cells = [
        Cell(FLAT, (-BEYOND, -BEYOND), (0.0, BEYOND)),
        Cell(FLAT, (0.0, -BEYOND), (BEYOND, BEYOND)),
    ]
    camera = placed(0, 0, 10, (0, 0, -1))  # a pixel is half a unit wide on the ground
    alpha = torch.ones(30, 40)
    alpha[:10] = 0.2
    seen = Rendered(
        torch.zeros(30, 40, 3), alpha, torch.zeros(0),
        Gaussians(*(torch.zeros(0, k) for k in (3, 4, 3, 1, 3))), depth=torch.full((30, 40), 10.0),
    )  # fmt: skip
    seam = on_seam(seen, camera, cells, 0.1, AS_GIVEN)  # a unit to each side: 2 pixels
    assert seam[20].nonzero()[:, 0].tolist() == [18, 19, 20, 21] and not bool(seam[:10].any())
    strip, pixels = Strip(), torch.full((30, 40, 3), 51, dtype=torch.uint8)
    strip.add(torch.where(seam[..., None], 0.3, 0.9).expand(30, 40, 3), Batch(camera, pixels), seam)
    record = strip.record()
    assert record["psnr"] == pytest.approx(20.0, abs=1e-3) and record["views"] == 1
    assert record["share"] == pytest.approx(80 / 1200)


def body(path: Path) -> bytes:
    """The rows of a file, as they lie."""
    return path.read_bytes()[Header.of(path).bytes :]


def trained(
    folder: Path, out: Path, shape: str = "2x1", method: Strategy = METHOD, **options: Any
) -> dict[str, Any]:
    """A run in blocks, one after the other in this process."""
    reading = Reading()
    asked = Options(steps=40, threads=2, device="cpu", **options)
    return blocks.train(
        api.read_scene(folder, reading), method, asked, Blocking(shape, workers=0), out=out,
        reading=reading, watching=WATCHING, lpips=None, overwrite=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in two blocks; not to be written to."""
    out = tmp_path_factory.mktemp("blocks") / "run"
    trained(tiny_folder, out)
    return out


def test_the_merged_file_is_what_the_blocks_own(run: Path) -> None:
    place = Folder(run)
    cells = read_plan(place.division)
    files = [folder_of(place, part).gaussians for part in cells.parts]
    assert body(place.gaussians) == b"".join(map(body, files))
    record = json.loads(place.metrics.read_text())
    counts = [part["kept"] for part in record["blocks"]]
    found = formats.read(place.gaussians)
    assert len(found) == sum(counts) == record["gaussians"] and min(counts) > 0
    assert sum(part.share for part in cells.parts) <= METHOD.cap
    assert all(part.share <= part.cap <= 1.15 * part.share for part in cells.parts)
    assert len(found) <= METHOD.cap
    assert all(part["gaussians"] <= part["cap"] for part in record["blocks"])
    start = 0
    for cell, count in zip(cells.cells, counts, strict=True):
        rows = slice(start, start + count)
        # Positions are rounded to float32 in the frame of the input.
        assert bool(cell.around(cell.ground.flat(found.means[rows], AS_GIVEN), 1e-5).all())
        start += count
    assert record["psnr"] > 11 and record["seams"]["share"] > 0
    # All have the frame of all, not that of their own views, and draw as any program does.
    assert {formats.drawing(path).near for path in files} == {None}
    assert all(set(part.views) <= set(read_config(place.config).train) for part in cells.parts)


def test_a_block_that_was_stopped_ends_with_the_same_bytes(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def kill(run: Run, *rest: object) -> None:
        if run.step == 25:
            raise Killed

    out = tmp_path / "run"
    whole, place = Folder(run), Folder(out)
    out.mkdir()
    for path in (whole.config, whole.division):
        (out / path.name).write_bytes(path.read_bytes())
    cells, config = read_plan(place.division), read_config(place.config)
    part = cells.parts[1]
    with pytest.raises(Killed):
        api.train(
            work.scene_of(cells, part, config), work.strategy_of(cells, part, config),
            work.options_of(config), out=folder_of(place, part).path, watching=WATCHING,
            watchers=[kill], reading=config.reading, frame=cells.frame,
        )  # fmt: skip
    assert not work.done(place, part, config)
    record = blocks.resume(out, workers=0, quiet=True, lpips=None)
    assert place.gaussians.read_bytes() == whole.gaussians.read_bytes()
    assert record["psnr"] == json.loads(whole.metrics.read_text())["psnr"]
    with pytest.raises(ValueError, match="all 2 blocks are trained and merged"):
        blocks.resume(out)


def test_one_block_is_an_ordinary_run(tiny_folder: Path, tmp_path: Path) -> None:
    trained(tiny_folder, tmp_path / "one", "1x1")
    config = read_config(tmp_path / "one/config.json")
    scene = api.read_scene(tiny_folder, Reading())
    api.train(
        replace(scene, test=()), METHOD, replace(config.options, threads=2), out=tmp_path / "plain",
        watching=WATCHING, lpips=None,
    )  # fmt: skip
    found = (tmp_path / "one/point_cloud.ply").read_bytes()
    assert found == (tmp_path / "plain/point_cloud.ply").read_bytes()


def test_verbs_take_a_merged_run(run: Path, splat: Callable[..., Any]) -> None:
    record = json.loads((run / "metrics.json").read_text())
    found = splat("eval", run, "--net", "none", "--json")
    assert found.code == 0 and json.loads(found.out)["psnr"] == pytest.approx(record["psnr"])
    made = splat("export", run, "-o", "scene.ply", "--quiet")
    assert made.code == 0, made.said
    same = formats.read(Path("scene.ply"))
    assert torch.allclose(same.means, formats.read(run / "point_cloud.ply").means, atol=1e-5)
    assert splat("render", run, "-o", "views", "--path", "views", "--quiet").code == 0
    assert len(list(Path("views").glob("*.png"))) == 12
    assert splat("clean", run, "--dry-run", "--quiet").code == 0
    said = splat("info", run).said
    assert "steps done: 40" in said
    refused = splat("resume", run / "blocks" / "0-0")
    assert refused.code == 2 and "is a block of a run" in refused.said
    assert "end where they were begun to end" in splat("resume", run, "--steps", "90").said


@pytest.mark.parametrize(
    ("shape", "method", "options", "said"),
    [
        ("30x1", METHOD, {}, "expected 32 in each block at least"),
        ("5x3", METHOD, {}, "expected a view for each block at least"),
        ("2x1", METHOD, {"exposure": "affine"}, "each block would learn for itself"),
        ("2x1", METHOD, {"refine_poses": True}, "each block would move its cameras"),
        ("2x1", METHOD, {"minutes": 1.0}, "which is for a run in one piece"),
        ("2x1", METHOD, {"init": Path("planes")}, "blocks start from points"),
        ("2x1", Scaffold(), {}, "rows that make Gaussians for each camera"),
        ("2x1", Sdf(Mcmc(cap=100)), {}, "networks beside them"),
        ("auto", Fixed(), {}, "the method has no limit of Gaussians"),
    ],
)
def test_what_cannot_be_cut_is_said_in_a_sentence(
    tiny_folder: Path,
    tmp_path: Path,
    shape: str,
    method: Strategy,
    options: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(ValueError, match=said):
        trained(tiny_folder, tmp_path / "run", shape, method, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--blocks", "0x2"), "expected auto, or how many along"),
        (("--workers", "2"), "workers is given without --blocks"),
    ],
)
def test_the_command_line_says_so_too(
    tiny_folder: Path, splat: Callable[..., Any], options: tuple[str, ...], said: str
) -> None:
    found = splat("train", tiny_folder, "--out", "run", *options)
    assert found.code == 2 and said in found.said
    assert not Path("run").exists()


def test_no_points_no_blocks(tiny_folder: Path, tmp_path: Path) -> None:
    scene = replace(api.read_scene(tiny_folder, Reading()), points=None)
    with pytest.raises(ValueError, match="has no points, and blocks are cut by them"):
        blocks.train(scene, METHOD, out=tmp_path / "run", reading=Reading())


def test_files_of_other_columns_are_not_joined(tmp_path: Path) -> None:
    one = model_of(5, sh_degree=1).bake()
    formats.write(one, tmp_path / "a.ply")
    formats.write(model_of(5, sh_degree=2).bake(), tmp_path / "b.ply")
    with pytest.raises(ValueError, match="has other columns"):
        join_files([tmp_path / "a.ply", tmp_path / "b.ply"], tmp_path / "c.ply")
    cut = tmp_path / "cut.ply"
    cut.write_bytes((tmp_path / "a.ply").read_bytes()[:-4])
    with pytest.raises(ValueError, match="expected a whole file"):
        join_files([tmp_path / "a.ply", cut], tmp_path / "c.ply")
    assert not (tmp_path / "c.ply").exists()
    assert join_files([tmp_path / "a.ply"] * 3, tmp_path / "c.ply") == 15
    assert join_files([tmp_path / "a.ply"] * 2, tmp_path / "d.ply", [2, 0]) == 7
    opacities = formats.read(tmp_path / "a.ply").opacities
    kept = opacities.argsort(descending=True, stable=True)[:2].sort().values
    both = torch.cat([opacities[kept], opacities])
    assert torch.equal(formats.read(tmp_path / "d.ply").opacities, both)
    last, first = (
        formats.read(tmp_path / "c.ply").means[10:],
        formats.read(tmp_path / "a.ply").means,
    )
    assert torch.equal(last, first)


@pytest.mark.slow
def test_a_job_killed_on_the_way_changes_nothing(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """By SIGKILL, twice, while a process of its own trains it."""
    out, killed = tmp_path / "run", 0

    def kill() -> None:
        nonlocal killed
        note, seen = out / "blocks/0-0.json", set()
        while killed < 2:
            time.sleep(0.05)
            if note.is_file() and list((out / "blocks/0-0/checkpoints").glob("step*")):
                fresh = {each["id"] for each in json.loads(note.read_text())["processes"]} - seen
                for each in fresh:
                    seen.add(each)
                    killed += 1
                    os.kill(each, signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    reading = Reading()
    blocks.train(
        api.read_scene(tiny_folder, reading), METHOD, Options(steps=40, threads=2, device="cpu"),
        Blocking("2x1", workers=1), out=out, reading=reading, watching=WATCHING, lpips=None,
    )  # fmt: skip
    assert killed == 2
    assert (out / "point_cloud.ply").read_bytes() == (run / "point_cloud.ply").read_bytes()


def test_a_signal_leaves_a_run_to_go_on_with(
    run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(arguments: list[str]) -> int:
        return 128 + signal.SIGTERM

    with monkeypatch.context() as patch:
        patch.setattr(work, "main", stopped)
        with pytest.raises(Interrupted):
            trained(tiny_folder, tmp_path / "run")
    assert not (tmp_path / "run/point_cloud.ply").exists()
    blocks.resume(tmp_path / "run", workers=0, quiet=True, lpips=None)
    assert (tmp_path / "run/point_cloud.ply").read_bytes() == (run / "point_cloud.ply").read_bytes()


def test_the_bulk_has_two_sides() -> None:
    flat = torch.cartesian_prod(torch.linspace(0, 4, 200), torch.linspace(0, 1, 200)).double()
    along, across = extents(flat)
    assert along == pytest.approx(4 * 0.98, rel=0.02) and across == pytest.approx(0.98, rel=0.02)
