"""Meshes lie where surfaces are: marching cubes, fusion of depth, colours, files, the command."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plyfile
import pytest
import torch
from scenes import facing
from torch import Tensor

from splat import api, mesh
from splat.cli import mesh as command
from splat.cli.opened import open_scene
from splat.datasets import demo
from splat.mesh import cubes, fusion
from splat.options import Options
from splat.render import renderer_for
from splat.strategies.mcmc import Mcmc
from splat.types import Camera, Frame, Gaussians

pytest.importorskip("skimage", reason="needs scikit-image")

Splat = Callable[..., Any]
Corner = tuple[float, float, float]

CENTRE, RADIUS = (0.1, -0.05, 0.07), 0.8
LOW, HIGH = (-1.1, -1.2, -1.0), (1.2, 1.1, 1.3)
PAINT = (0.2, 0.6, 0.9)


def ball(points: Tensor) -> Tensor:
    distance: Tensor = (points - torch.tensor(CENTRE)).norm(dim=1) - RADIUS
    return distance


def stand(i: int, count: int, width: int = 96, height: int = 72, far: float = 3.0) -> Camera:
    """One of many cameras all around the origin, which look at it."""
    y = 1 - 2 * (i + 0.5) / count
    turn, level = i * math.pi * (3 - math.sqrt(5)), math.sqrt(1 - y * y)
    eye = far * np.array([level * math.cos(turn), y, level * math.sin(turn)])
    pose = facing(eye, np.zeros(3), (0.0, 0.0, 1.0) if abs(y) > 0.9 else (0.0, 1.0, 0.0))
    K = torch.tensor([[1.1 * width, 0, width / 2], [0, 1.1 * width, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(pose).float(), K, width, height, index=i)


def picture(camera: Camera) -> mesh.Picture:
    """The exact depth of the ball; nothing is known around it."""
    v, u = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    rays = torch.stack([u, v, torch.ones_like(u)], -1).double() @ camera.K.double().inverse().T
    pose = camera.world_to_camera.double()
    middle = pose[:3, :3] @ torch.tensor(CENTRE).double() + pose[:3, 3]
    a, b = (rays * rays).sum(-1), rays @ middle
    root = b * b - a * (middle @ middle - RADIUS**2)
    depth = ((b - root.clamp_min(0).sqrt()) / a).where(root > 0, 0)
    colors = torch.tensor(PAINT).expand(camera.height, camera.width, 3)
    return mesh.Picture(camera, depth.float(), (root > 0).float(), colors)


def walled(view: mesh.Picture) -> mesh.Picture:
    """With a wall behind the ball, four units from the camera."""
    there = view.depth > 0
    return replace(view, depth=view.depth.where(there, 4.0), weight=torch.ones_like(view.depth))


def pictures(count: int = 24) -> list[mesh.Picture]:
    return [picture(stand(i, count)) for i in range(count)]


def away(made: mesh.Mesh) -> np.ndarray:
    """How far the vertices are from the ball."""
    return np.asarray(np.abs(np.linalg.norm(made.vertices - np.array(CENTRE), axis=1) - RADIUS))


def check_ball(made: mesh.Mesh, tolerance: float) -> None:
    """Closed, outward, of the ball's volume and area."""
    assert made.watertight
    assert made.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=tolerance)
    assert made.area == pytest.approx(4 * math.pi * RADIUS**2, rel=tolerance)
    outward = made.vertices - np.array(CENTRE)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert (made.normals * outward).sum(1).min() > 0.8


def tetrahedron(size: float = 1.0, at: Corner = (0, 0, 0)) -> mesh.Mesh:
    vertices = size * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]) + np.array(at)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    colors = np.array([[255, 0, 0], [0, 128, 9], [7, 7, 7], [0, 0, 99]], np.uint8)
    return mesh.Mesh(vertices, faces, colors)


def joined(*parts: mesh.Mesh) -> mesh.Mesh:
    before = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + start for part, start in zip(parts, before, strict=False)]
    return mesh.Mesh(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def test_a_mesh_measures_itself() -> None:
    made = tetrahedron(2, (5, 5, 5))
    assert made.volume == pytest.approx(8 / 6)
    assert made.area == pytest.approx(4 * (1.5 + math.sqrt(3) / 2))
    assert made.normals[0] == pytest.approx(-np.ones(3) / math.sqrt(3))
    assert made.watertight and not len(made.border)
    opened = made.with_faces(np.array([True, True, True, False]))
    assert not opened.watertight and len(opened.border) == 3
    turned = replace(made, faces=np.concatenate([made.faces[:3], made.faces[3:, ::-1]]))
    assert not turned.watertight
    moved = made.out_of(Frame((1.0, 2.0, 3.0), 0.5))
    assert moved.vertices[1] == pytest.approx([15.0, 12.0, 13.0])


@pytest.mark.parametrize("resolution", [50, 64])
def test_marching_cubes_find_a_ball(resolution: int) -> None:
    made = mesh.tidied(mesh.from_distance(ball, LOW, HIGH, resolution))
    check_ball(made, 0.01)
    assert away(made).max() < 0.1 * 2.3 / resolution


def test_blocks_that_are_skipped_hold_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def scene(points: Tensor) -> Tensor:
        asked.append(len(points))
        return demo.sdf(points)

    low, high = (-1.4, -1.1, -0.155), (1.4, 1.4, 1.2)
    quick = mesh.from_distance(scene, low, high, 90)
    few = sum(asked)
    asked.clear()
    monkeypatch.setattr(cubes, "_STEEPEST", math.inf)
    whole = mesh.from_distance(scene, low, high, 90)
    assert few < 0.75 * sum(asked)
    assert np.array_equal(quick.vertices, whole.vertices)
    assert np.array_equal(quick.faces, whole.faces)
    assert float(demo.sdf(torch.from_numpy(quick.vertices)).abs().mean()) < 0.05 * 2.8 / 90


def test_what_the_box_cuts_stays_open_there() -> None:
    made = mesh.tidied(mesh.from_distance(ball, LOW, (1.2, 1.1, 0.0), 40))
    assert not made.watertight and len(made.border)
    assert np.abs(made.vertices[made.border, 2]).max() < 1e-6
    assert not len(mesh.from_distance(ball, (2, 2, 2), (3, 3, 3), 20).faces)


def test_exact_depth_gives_the_ball() -> None:
    voxel = 2.3 / 64
    made = mesh.tidied(mesh.from_depth(pictures(), LOW, HIGH, voxel, 4 * voxel))
    check_ball(made, 0.02)
    assert away(made).mean() < voxel / 4
    assert made.colors is not None
    assert np.abs(made.colors - 255 * np.array(PAINT)).max() <= 1


def test_fusion_is_the_sum_over_all_voxels(threads: None) -> None:
    """Blocks that are counted as a whole or left out have what their voxels would have."""
    voxel, views = 2.3 / 36, pictures(8)
    # Things at different depths, and a camera within the box.
    views += [picture(stand(2, 7, far=1.0))]
    views[3] = walled(views[3])
    volumes = [fusion.Volume(LOW, HIGH, voxel, 4 * voxel) for _ in range(2)]
    for count, volume in zip((1, 2), volumes, strict=True):
        torch.set_num_threads(count)
        for view in views:
            volume.add(view)
    values, known = volumes[0]._dense()
    assert np.array_equal(values, volumes[1]._dense()[0])
    counts = volumes[0].counts
    axes = [a + voxel * (torch.arange(n) + 0.5) for a, n in zip(LOW, counts, strict=True)]
    places, total = torch.cartesian_prod(*axes), torch.zeros(2, values.size)
    for view in views:
        pose = view.camera.world_to_camera
        local = places @ pose[:3, :3].T + pose[:3, 3]
        total += torch.stack(fusion.Pixels(view).samples(local.T[None], 4 * voxel)[:2])[:, 0]
    weight = total[1].view(values.shape).numpy()
    assert np.array_equal(known, weight >= 0.5) and 0.1 < known.mean() < 0.9
    mean = (total[0].view(values.shape) / total[1].view(values.shape).clamp_min(1e-6)).numpy()
    assert np.abs(values - mean)[known].max() < 1e-5


def test_what_other_views_see_through_is_no_surface() -> None:
    views = [walled(view) for view in pictures(12)]
    views[4] = replace(views[4], depth=views[4].depth * 0.7)
    voxel = 2.3 / 32
    made = mesh.tidied(mesh.from_depth(views, LOW, HIGH, voxel, 4 * voxel))
    assert away(made).max() < 1.5 * voxel
    nothing = [replace(view, weight=torch.zeros(72, 96)) for view in views]
    assert not len(mesh.from_depth(nothing, LOW, HIGH, voxel, 4 * voxel).faces)


def discs(depths: list[float], opacity: float) -> Gaussians:
    """Wide flat Gaussians one behind another, seen from the origin along z."""
    n = len(depths)
    return Gaussians(
        means=torch.tensor([[0.0, 0.0, depth] for depth in depths]),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        scales=torch.tensor([50.0, 50.0, 1e-3]).repeat(n, 1),
        opacities=torch.full((n,), opacity),
        colors=torch.tensor(PAINT).repeat(n, 1),
    )


def test_mixed_depths_weigh_less() -> None:
    camera = Camera(torch.eye(4), torch.tensor([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]]), 40, 30)
    render = renderer_for("cpu")
    one = mesh.depth_picture(discs([2.0], 0.9), camera, render, None, 0.1)
    assert float(one.depth[15, 20]) == pytest.approx(2, rel=1e-4)
    assert float(one.weight[15, 20]) == pytest.approx(1, abs=1e-3)
    two = mesh.depth_picture(discs([2.0, 3.0], 0.6), camera, render, None, 0.5)
    # Blending weights 0.6 and 0.24: shares 5/7 and 2/7, variance 10/49.
    assert float(two.depth[15, 20]) == pytest.approx(2 + 2 / 7, rel=1e-3)
    assert float(two.weight[15, 20]) == pytest.approx(1 / (1 + 10 / 49 / 0.25), rel=1e-2)
    assert float(mesh.depth_picture(discs([2.0], 0.4), camera, render, None, 1).weight.max()) == 0


def test_colours_come_from_who_sees_a_vertex() -> None:
    made = mesh.from_distance(ball, LOW, HIGH, 32)
    above, below = stand(0, 40), stand(39, 40)
    red, blue = (
        replace(picture(camera), colors=torch.tensor(color).expand(72, 96, 3))
        for camera, color in ((above, (1.0, 0.0, 0.0)), (below, (0.0, 0.0, 1.0)))
    )
    colors = mesh.with_vertex_colors(made, [red, blue], 0.1).colors
    assert colors is not None
    side = made.vertices[:, 1] - CENTRE[1]
    assert (colors[side > 0.4] == (255, 0, 0)).all() and (colors[side < -0.4] == (0, 0, 255)).all()
    # What none sees is like its nearest neighbour that is seen.
    all_red = mesh.with_vertex_colors(made, [red], 0.1).colors
    assert all_red is not None and (all_red == (255, 0, 0)).all()
    grey = mesh.with_vertex_colors(made, [replace(red, weight=torch.zeros(72, 96))], 0.1).colors
    assert grey is not None and (grey == 128).all()


def test_debris_is_left_out() -> None:
    big, small = tetrahedron(), tetrahedron(0.1, (3, 3, 3))
    both = joined(big, small)
    assert len(mesh.tidied(both, 0.005).faces) == 8
    assert len(mesh.tidied(both, 0.02).faces) == 4
    # The same corners twice, a face without area, and one that is there already.
    soup = mesh.Mesh(big.vertices[big.faces].reshape(-1, 3), np.arange(12).reshape(4, 3))
    spoilt = replace(soup, faces=np.concatenate([soup.faces, [[0, 1, 5], [0, 1, 2]]]))
    assert not soup.watertight
    clean = mesh.merged(spoilt)
    assert clean.watertight and clean.volume == pytest.approx(1 / 6)
    assert clean.vertices.shape == (4, 3) and clean.faces.shape == (4, 3)


@pytest.mark.parametrize("suffix", [".ply", ".glb", ".obj"])
def test_others_read_our_files(suffix: str, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh", reason="needs trimesh")
    made, path = tetrahedron(2, (5, -1, 0.5)), tmp_path / "new" / f"a{suffix}"
    mesh.write(made, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    turn = np.diag([-1.0, -1.0, 1.0]) if suffix == ".glb" else np.eye(3)
    found = trimesh.load(path, force="mesh", process=False)
    order = np.abs(found.vertices[None] - (made.vertices @ turn)[:, None]).sum(2).argmin(1)
    assert found.vertices[order] == pytest.approx(made.vertices @ turn, abs=1e-5)
    assert found.is_watertight and found.volume == pytest.approx(made.volume)
    if suffix != ".glb":
        assert made.colors is not None
        assert np.array_equal(found.visual.vertex_colors[order, :3], made.colors)


def test_colours_of_ply_and_glb_are_what_readers_expect(tmp_path: Path) -> None:
    made = tetrahedron()
    mesh.write(made, tmp_path / "a.ply")
    ply = plyfile.PlyData.read(tmp_path / "a.ply")
    assert ply["vertex"]["green"].tolist() == [0, 128, 7, 0]
    normals = np.stack([ply["vertex"][axis] for axis in ("nx", "ny", "nz")], 1)
    assert normals == pytest.approx(made.normals, abs=1e-6)
    assert [list(row) for row in ply["face"]["vertex_indices"]] == made.faces.tolist()
    mesh.write(made, tmp_path / "a.glb")
    data = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    start = 28 + length + document["bufferViews"][2]["byteOffset"]
    colors = np.frombuffer(data, "<u2", 16, start).reshape(4, 4)
    assert colors[0].tolist() == [65535, 0, 0, 65535]
    # sRGB 128 is 0.2159 of the light of 255.
    assert colors[1, 1] / 65535 == pytest.approx(0.21586, abs=1e-4)


def test_fewer_faces_keep_shape_and_colours() -> None:
    pytest.importorskip("fast_simplification", reason="needs fast-simplification")
    whole = mesh.tidied(mesh.from_distance(ball, LOW, HIGH, 40))
    whole = whole.colored(np.tile(np.array([9, 8, 7], np.uint8), (len(whole.vertices), 1)))
    fewer = mesh.decimated(whole, 2000)
    assert 1000 < len(fewer.faces) <= 2000 < len(whole.faces)
    assert fewer.colors is not None and (fewer.colors == (9, 8, 7)).all()
    check_ball(fewer, 0.02)


def test_distances_between_surfaces() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]])
    ahead, back = mesh.chamfer(square[:2], square + np.array([0, 0, 0.25]))
    assert ahead == pytest.approx(0.25)
    assert back == pytest.approx((0.25 + math.hypot(1, 0.25)) / 2)
    made = mesh.tidied(mesh.from_distance(ball, LOW, HIGH, 40))
    points = mesh.surface_points(made, 20_000, seed=1)
    assert np.array_equal(points, mesh.surface_points(made, 20_000, seed=1))
    assert points.mean(0) == pytest.approx(CENTRE, abs=0.02)
    assert np.abs(np.linalg.norm(points - CENTRE, axis=1) - RADIUS).max() < 0.005
    with pytest.raises(ValueError, match="expected some of both"):
        mesh.chamfer(points, np.zeros((0, 3)))


def test_the_box_is_what_cameras_look_at() -> None:
    draw = torch.Generator().manual_seed(0)
    towards = torch.nn.functional.normalize(torch.randn(4000, 3, generator=draw), dim=1)
    far = torch.arange(4000) >= 2000
    means = towards * torch.where(far, 20.0, 0.5)[:, None]
    opacities = torch.full((4000,), 0.9)
    # A faint cloud before the cameras counts for nothing.
    opacities[:300], means[:300] = 0.05, means[:300] * 3
    rows = Gaussians(means, torch.ones(4000, 4), torch.full((4000, 3), 0.02), opacities, means)
    low, high = mesh.region(rows, [stand(i, 20) for i in range(20)])
    assert np.array(low) == pytest.approx(-0.55, abs=0.05)
    assert np.array(high) == pytest.approx(0.55, abs=0.05)
    with pytest.raises(ValueError, match="no opaque Gaussian"):
        mesh.region(replace(rows, opacities=opacities * 0), [stand(0, 20)])


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    options = Options(steps=150, max_side=0)
    api.train(api.load(tiny_folder), Mcmc(cap=3000), options, out=out, lpips=None)
    return out


def test_a_run_becomes_a_mesh_in_the_frame_of_the_input(splat: Splat, run: Path) -> None:
    assert open_scene(run, "cpu", "auto").frame.scale != pytest.approx(1, abs=0.1)
    box = ("--box", -1.3, -1.3, -0.1, 1.3, 1.3, 1.1)
    done = splat("mesh", run, "-o", "a.ply", "--resolution", 64, "--quiet", *box)
    assert done.code == 0, done.said
    assert "a.ply: " in done.out and "from depth of 12 views, cells of 0.0406" in done.out
    rows = plyfile.PlyData.read("a.ply")["vertex"]
    vertices = np.stack([rows[axis] for axis in "xyz"], 1).astype(np.float64)
    # The run is short and its pictures small: two cells are what it can tell. Vertices left in
    # the frame of training are 0.16 away.
    assert float(demo.sdf(torch.from_numpy(vertices)).abs().median()) < 2 * 0.0406
    again = splat("mesh", run, "-o", "a.ply", "--quiet")
    assert again.code == 2 and "a.ply exists; replace it with --overwrite" in again.said
    cameras = ("--cameras", run / "cameras.json", "--views", 4)
    file = run / "point_cloud.ply"
    done = splat("mesh", file, "-o", "b.glb", "--resolution", 24, "--json", *cameras)
    assert done.code == 0, done.said
    told = json.loads(done.out)
    assert told["how"].startswith("from depth of 4 views")
    assert told["bytes"] == Path("b.glb").stat().st_size and told["faces"] > 100
    assert "--box " in done.err and "(what the cameras look at)" in done.err


class Known:
    """The signed distance of a ball of the input's frame, in that of a run."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        centre = np.array(frame.centre)
        ends = [tuple((frame.scale * (np.array(end) - centre)).tolist()) for end in (LOW, HIGH)]
        self.box = ends[0], ends[1]

    def __call__(self, points: Tensor) -> Tensor:
        assert points.dtype == torch.float32 and not torch.is_grad_enabled()
        there = points / self.frame.scale + torch.tensor(self.frame.centre)
        return self.frame.scale * ball(there)


def test_a_signed_distance_is_preferred(
    splat: Splat, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_distance(*arguments: Any) -> Any:
        found = open_scene(*arguments)
        return replace(found, surface=Known(found.frame))

    monkeypatch.setattr(command, "open_scene", with_distance)
    done = splat("mesh", run, "-o", "a.ply", "--resolution", 40)
    assert done.code == 0, done.said
    assert "watertight" in done.out and "from the signed distance, cells of 0.0575" in done.out
    assert "--box -1.1 -1.2 -1 1.2 1.1 1.3 (where the signed distance is known)" in done.said
    ply = plyfile.PlyData.read("a.ply")
    vertices = np.stack([ply["vertex"][axis] for axis in "xyz"], 1).astype(np.float64)
    check_ball(mesh.Mesh(vertices, np.stack(ply["face"]["vertex_indices"]).astype(np.int64)), 0.01)
    half = ("--box", -9, -9, -9, 9, 9, 0)
    done = splat("mesh", run, "-o", "b.ply", "--resolution", 40, *half)
    assert done.code == 0 and "open, also where the box cuts it" in done.out
    done = splat("mesh", run, "-o", "c.ply", "--box", 7, 7, 7, 8, 8, 8)
    assert done.code == 2 and "is not known in that box; it is in -1.1 -1.2 -1" in done.said
    done = splat("mesh", run, "-o", "c.ply", "--box", 0, 0, 0, 0.1, 0.1, 0.1)
    assert done.code == 2 and "no surface in the box 0 0 0 0.1 0.1 0.1" in done.said
    assert not Path("c.ply").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "a.stl"), "cannot write a mesh to a.stl; give a name ending in .ply, .glb, .obj"),
        (("-o", "a.ply", "--by", "sdf"), "has no signed distance"),
        (("-o", "a.ply", "--box", 1, 1, 1, 0, 2, 2), "expected x y z of"),
        (("-o", "a.ply", "--box", 7, 7, 7, 8, 8, 8, "--resolution", 16), "no surface in the box"),
        (("-o", "a.ply", "--resolution", 1), "resolution is 1; expected 8 or more"),
        (("-o", "a.ply", "--resolution", 90_000), "GB are free; lower --resolution"),
        (("-o", "a.ply", "--max-side", -1), "max-side is -1; expected 0 or more"),
        (("-o", "a.ply", "--keep-share", 2), "keep-share is 2; expected from 0 to 1"),
        (("-o", "a.ply", "--faces", 1), "faces is 1; expected 4 or more"),
        (("-o", "a.ply", "--cameras", "no.json"), "no.json does not exist"),
    ],
)
def test_bad_input_is_answered_in_a_sentence(
    splat: Splat, run: Path, arguments: tuple[object, ...], said: str
) -> None:
    done = splat("mesh", run, "--quiet", *arguments)
    assert done.code == 2 and said in done.said, done.said
    assert not list(Path().glob("*"))


def test_a_file_needs_cameras_and_marching_cubes_their_package(
    splat: Splat, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = splat("mesh", run / "point_cloud.ply", "-o", "a.ply")
    assert done.code == 2 and "give those to look from with --cameras RUN/cameras.json" in done.said
    monkeypatch.setattr(cubes, "find_spec", lambda name: None)
    done = splat("mesh", run, "-o", "a.ply")
    assert done.code == 2 and "pip install 'splat-toolkit[mesh]'" in done.said
