"""The objects under known light are what they say: shapes, materials, lights, pictures, files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from reference import check_distance, gradient_of
from scenes import files_of
from torch import Tensor

from splat.datasets import load
from splat.datasets.tracer.solids import ball
from splat.types import Camera
from worlds import studio
from worlds.studio import files, lights, mesh, photograph
from worlds.studio.shapes import SHAPES
from worlds.studio.trace import march

TINY = {"views": 4, "tests": 2, "size": 40, "samples": 9}
objects = pytest.mark.parametrize("name", studio.OBJECTS)


@pytest.fixture(scope="module")
def mitsuba() -> Any:
    """Mitsuba in its plain variant, which compiles nothing."""
    pytest.importorskip("skimage", reason="needs scikit-image")
    mi = pytest.importorskip("mitsuba", reason="needs Mitsuba 3")
    mi.set_variant("scalar_rgb")
    return mi


@pytest.fixture(scope="module")
def folder(mitsuba: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studio") / "glossy"
    studio.write(path, "glossy", unseen=("room",), **TINY)
    return path


def directions(camera: Camera) -> Tensor:
    """Unit world directions through the pixels' centres, float64 [h, w, 3]."""
    v, u = torch.meshgrid(
        torch.arange(camera.height) + 0.5, torch.arange(camera.width) + 0.5, indexing="ij"
    )
    local = torch.stack([u, v, torch.ones_like(u)], -1).double() @ camera.K.double().inverse().T
    rotation = camera.world_to_camera.double()[:3, :3]
    return torch.nn.functional.normalize(local @ rotation, dim=-1)


def surface(camera: Camera, depth: Tensor) -> Tensor:
    """World points at camera depths, float64 [h, w, 3]."""
    towards = directions(camera)
    along = towards @ camera.world_to_camera.double()[2, :3]
    return camera.centre.double() + towards * (depth.double() / along)[..., None]


def by_direction() -> np.ndarray:
    """A light whose red, green and blue are 1 + d / 2 of its directions."""
    d = np.stack(np.broadcast_arrays(*lights.directions(64)), -1)
    return (1 + 0.5 * d).astype(np.float32)


@objects
def test_the_distance_never_exceeds_the_way_to_another_value(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a = (2.4 * torch.rand(10_000, 3, generator=generator) - 1.2).double()
    check_distance(studio.sdf(name), a, generator)


@pytest.mark.parametrize(
    ("name", "point", "expected"),
    [
        ("mirror", (-0.87, 0.0, -0.58), 0.2),  # behind the tail, a ball of 0.15 at x = -0.52
        ("mirror", (-0.14, -0.27, 1.03), 0.1),  # above an ear, whose tip is a ball of 0.06
        ("glossy", (0.0, 0.0, 1.1), 0.3),  # above the knob, a ball of 0.11 at z = 0.69
        ("glossy", (-0.86, 0.0, 0.02), -0.07),  # in the middle of the handle's tube
        ("diffuse", (-0.34, 0.25, -1.105), 0.3),  # under a foot, a ball of 0.125 at z = -0.68
        ("diffuse", (0.82, 0.0, 0.5), -0.085),  # in the tip of the nose
    ],
)
def test_the_distance_at_known_places(
    name: str, point: tuple[float, float, float], expected: float
) -> None:
    found = float(studio.sdf(name)(torch.tensor([point], dtype=torch.float64)))
    assert found == pytest.approx(expected, abs=1e-9)


@objects
def test_depth_and_normals_are_those_of_the_surface(name: str) -> None:
    for camera in studio.cameras(3, 1, 48)[0]:
        seen = studio.maps(name, camera)
        points = surface(camera, seen.depth)[seen.mask]
        assert 0.1 < float(seen.mask.float().mean()) < 0.6
        assert float(studio.sdf(name)(points).abs().max()) < 1e-5
        eye = camera.centre.double()
        for share in torch.linspace(0.6, 0.999, 40, dtype=torch.float64):
            assert float(studio.sdf(name)(eye + share * (points - eye)).min()) > -1e-6
        normals = torch.nn.functional.normalize(gradient_of(studio.sdf(name), points), dim=1)
        assert torch.allclose(seen.normals[seen.mask].double(), normals, atol=1e-3)
        assert float((normals * (points - eye)).sum(1).max()) < 0.02
        # What is beside the object is nothing, and rays there do not come near it.
        for values in (seen.depth, seen.normals, seen.albedo, seen.roughness, seen.metallic):
            assert not bool(values[~seen.mask].any())
        free = directions(camera)[~seen.mask]
        for reach in torch.linspace(2.7, 4.9, 60, dtype=torch.float64):
            assert float(studio.sdf(name)(eye + reach * free).min()) > -1e-4


def test_a_ray_that_grazes_one_part_meets_the_next() -> None:
    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        first, second = ball(x - 0.5, y, z, 0.2), ball(x + 0.4, y, z, 0.5)
        return np.minimum(first, second)

    # From x = 3 past the top of the first ball, above it by ever more.
    above = np.concatenate([[-1e-3], np.logspace(-8, -2, 200)])
    sine = (0.2 + above) / 2.5
    cosine = np.sqrt(1 - sine**2)
    eye = (np.array([3.0]), np.array([0.0]), np.array([0.0]))
    found = march(distance, eye, (-cosine, np.zeros(201), sine))
    first = 2.5 * cosine[0] - np.sqrt(0.2**2 - (2.5 * sine[0]) ** 2)
    assert found[0] == pytest.approx(first, abs=1e-4)
    behind = 3.4 * cosine - np.sqrt(0.5**2 - (3.4 * sine) ** 2)
    assert np.allclose(found[above > 1e-5], behind[above > 1e-5], atol=1e-7)
    assert np.isfinite(found).all()


@objects
def test_no_view_cuts_the_object_off(name: str) -> None:
    camera = studio.cameras(1, 1, 48)[0][0]
    half = np.arctan(24 / float(camera.K[0, 0]))
    farthest = 0.0
    for camera in studio.cameras(8, 1, 64)[0]:
        seen = studio.maps(name, camera)
        farthest = max(farthest, float(surface(camera, seen.depth)[seen.mask].norm(dim=1).max()))
    # A ball about the origin, which all cameras look at from 3.8, fills so much of the picture.
    assert 0.9 < farthest / (3.8 * np.sin(half)) < 1


def test_cameras_are_spread_and_test_views_lie_between() -> None:
    train, test = studio.cameras(60, 12, 64)
    assert (len(train), len(test)) == (60, 12)
    assert [camera.index for camera in train] == list(range(60))
    eyes, held = (torch.stack([c.centre for c in part]).double() for part in (train, test))
    for camera in (*train, *test):
        rotation = camera.world_to_camera.double()[:3, :3]
        assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-6)
        # All look at the origin, and world up is up in the picture, where y goes down.
        assert torch.allclose(camera.world_to_camera[:3, 3], torch.tensor([0.0, 0.0, 3.8]))
        assert float(rotation[1, 2]) < 0
    apart = torch.cdist(eyes, eyes) + 10 * torch.eye(60).double()
    assert float(apart.min()) > 0.5
    assert 0.4 < float(torch.cdist(held, eyes).min()) and float(held[:, 2].min()) < 0


def test_materials_are_what_the_names_say() -> None:
    for name in studio.OBJECTS:
        seen = studio.maps(name, studio.cameras(3, 1, 64)[0][1])
        points = surface(studio.cameras(3, 1, 64)[0][1], seen.depth)[seen.mask]
        found = studio.material(name, points)
        assert torch.allclose(found.albedo.float(), seen.albedo[seen.mask], atol=1e-3)
        assert 0 <= float(found.albedo.min()) and float(found.albedo.max()) <= 1
        assert float(found.albedo.std(0).max()) > 0.02
        low, high = {"mirror": (0.05, 0.1), "glossy": (0.19, 0.35), "diffuse": (1, 1)}[name]
        assert low <= float(found.roughness.min()) and float(found.roughness.max()) <= high
        metal = float(found.metallic.mean())
        assert metal == 1 if name == "mirror" else metal < 0.2
        assert name != "diffuse" or metal == 0


def test_lights_look_where_they_say() -> None:
    # The noon sun is 52 degrees high and 60 degrees from +x towards +y: row 128 * 38 / 180 and
    # column 256 * (1 / 2 - 60 / 360).
    sky = studio.light("sky").sum(-1)
    bright = (sky > 0.8 * sky.max()).nonzero().double()
    assert bright.mean(0).tolist() == pytest.approx([128 * 38 / 180 - 0.5, 84.83], abs=1)
    x, y, z = (np.broadcast_to(a, (64, 128)) for a in lights.directions(64))
    assert z[0].min() > 0.999 and z[-1].max() < -0.999
    assert x[32, 63] > 0.998 and x[32, 0] < -0.998 and y[32, 95] < -0.998 and y[32, 32] > 0.998
    for name in studio.LIGHTS:
        found = studio.light(name)
        assert found.shape == (128, 256, 3) and found.dtype == torch.float32
        assert float(found.min()) > 0 and float(found.max()) > 4
        # A mirror needs something to show: the light changes by more than half of its mean.
        assert float(found.clamp(max=3).std()) > 0.3 * float(found.clamp(max=3).mean())


def test_exposure_of_even_light_and_encoding_by_hand() -> None:
    # Light of 1 from everywhere falls on a surface as pi, and leaves a white one as 1.
    assert studio.exposed(torch.ones(32, 64, 3)) == pytest.approx(0.8, rel=1e-3)
    assert studio.exposed(4 * torch.ones(32, 64, 3)) == pytest.approx(0.2, rel=1e-3)
    image = files.encoded(np.full((1, 2, 3), (0.5, 0.002, 7.0)), np.array([[1.0, 0.0]]))
    # 0.5 is 0.7354 and 0.002 is 0.0258 in sRGB.
    assert image.tolist() == [[[188, 7, 255, 255], [0, 0, 0, 0]]]


@objects
def test_the_mesh_is_closed_and_on_the_surface(name: str) -> None:
    pytest.importorskip("skimage", reason="needs scikit-image")
    found = mesh.triangles(SHAPES[name], 96)
    vertices = torch.from_numpy(found.vertices)
    assert float(studio.sdf(name)(vertices).abs().max()) < 1e-6
    assert float(vertices.norm(dim=1).max()) < studio.RADIUS
    edges = np.concatenate([found.faces[:, [0, 1]], found.faces[:, [1, 2]], found.faces[:, [2, 0]]])
    forth = {(int(a), int(b)) for a, b in edges}
    assert len(forth) == len(edges) and all((b, a) in forth for a, b in forth)
    a, b, c = (found.vertices[found.faces[:, k]] for k in range(3))
    volume = float((a * np.cross(b, c)).sum()) / 6
    cells = (torch.arange(80) + 0.5).double() / 40 * studio.RADIUS - studio.RADIUS
    grid = torch.cartesian_prod(cells, cells, cells)
    inside = float((studio.sdf(name)(grid) < 0).double().mean()) * (2 * studio.RADIUS) ** 3
    assert volume == pytest.approx(inside, rel=0.01)
    flat = torch.from_numpy(np.cross(b - a, c - a))
    facing = (flat * torch.from_numpy(found.normals[found.faces[:, 0]])).sum(1)
    assert float((facing > 0).double().mean()) > 0.999


def test_a_mirror_ball_shows_every_direction_where_it_is(mitsuba: Any) -> None:
    ball = {"type": "sphere", "radius": 1.0, "bsdf": {"type": "conductor", "material": "none"}}
    scene = photograph.lit(mitsuba.load_dict(ball), by_direction())
    stand = studio.cameras(3, 1, 32)[0]
    shots = photograph.pictures(scene, stand, 64, (0, 0, 32, 32))
    for camera, (radiance, cover) in zip(stand, shots, strict=True):
        eye, d = camera.centre.double(), directions(camera)
        middle = -(d @ eye)
        over = eye @ eye - middle**2
        # Well inside the outline, where a pixel's mean is near the value in its centre.
        clear = over < 0.7
        point = eye + (middle - (1 - over.clamp(max=1)).sqrt())[..., None] * d
        mirrored = d - 2 * (d * point).sum(-1, keepdim=True) * point
        expected = (1 + 0.5 * mirrored)[clear]
        found = torch.from_numpy(radiance).double()[clear]
        assert float((found - expected).abs().max()) < 0.03
        assert cover[clear].min() == 1 and cover[over > 1.1].max() == 0


@objects
def test_pictures_follow_from_light_and_material(mitsuba: Any, name: str) -> None:
    made = mesh.triangles(SHAPES[name], 64)
    stand = studio.cameras(2, 1, 40)[0][1:]
    scene = photograph.lit(photograph.shape(name, made), by_direction())
    part = photograph.window(made.vertices, stand)
    ((radiance, cover),) = photograph.pictures(scene, stand, 36, part)
    seen = studio.maps(name, stand[0])
    # Pixels at the outline may fall to either side.
    assert float(np.mean((cover > 0.5) != seen.mask.numpy())) < 0.003
    whole = torch.from_numpy(cover == 1) & seen.mask
    assert float((torch.from_numpy(cover) - seen.mask.float()).sum()) == pytest.approx(0, abs=6)
    d, normals = directions(stand[0])[whole], seen.normals[whole].double()
    albedo = seen.albedo[whole].double()
    found = torch.from_numpy(radiance).double()[whole]
    if name == "mirror":
        shown = d - 2 * (d * normals).sum(1, keepdim=True) * normals
        expected = albedo * (1 + 0.5 * shown)
    else:
        # Over a hemisphere the mean of d, weighted by its cosine, is two thirds of the normal.
        expected = albedo * (1 + normals / 3)
    more = float((found - expected).mean(1).median())
    # Brighter by what a glaze reflects, darker by what the object hides of its surroundings.
    low, high = {"mirror": (-0.06, 0.03), "glossy": (0.0, 0.1), "diffuse": (-0.06, 0.0)}[name]
    assert low < more < high


def test_the_folder_is_read_like_any_other(folder: Path) -> None:
    scene = load(folder)
    assert scene.format == "blender"
    train, test = studio.cameras(4, 2, 40)
    assert (len(scene.train), len(scene.test)) == (4, 2)
    for view, camera in zip((*scene.train, *scene.test), (*train, *test), strict=True):
        assert view.mask is None and view.lens is None
        assert torch.allclose(view.camera.K.double(), camera.K.double(), atol=1e-4)
        poses = (c.world_to_camera.double() for c in (view.camera, camera))
        assert torch.allclose(*poses, atol=1e-6)
    for view in scene.test:
        known = studio.truth(folder, view.name)
        exact = studio.maps("glossy", test[int(view.name[-7:-4])])
        assert torch.equal(known.mask, exact.mask) and torch.equal(known.depth, exact.depth)
        for part in ("normals", "albedo", "roughness", "metallic"):
            assert torch.allclose(getattr(known, part), getattr(exact, part), atol=3e-5)
        picture = cv2.imread(str(view.image), cv2.IMREAD_UNCHANGED)
        other = studio.relit(folder, "room", view.name)
        assert picture.shape == other.shape == (40, 40, 4)
        alphas = torch.from_numpy(picture[..., 3]).int(), other[..., 3].int()
        assert float((alphas[0] - alphas[1]).abs().float().mean()) < 2
        assert int((known.mask != (alphas[0] > 127)).sum()) < 8
        assert not torch.equal(torch.from_numpy(picture[..., 2::-1].copy()), other[..., :3])


def test_the_card_and_the_lights_on_disk(folder: Path) -> None:
    card = studio.card(folder)
    assert (card.object, card.light, card.unseen) == ("glossy", "studio", ("room",))
    for name in ("studio", "room"):
        exact = studio.light(name)
        assert card.exposures[name] == pytest.approx(studio.exposed(exact))
        stored = cv2.imread(str(folder / "lights" / f"{name}.hdr"), cv2.IMREAD_UNCHANGED)
        # Colours share an exponent: each is exact to a 128th of the largest.
        most = exact.max(-1, keepdim=True).values.numpy()
        assert float((np.abs(stored[..., ::-1] - exact.numpy()) / most).max()) < 1 / 128


def test_writing_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = studio.cached("glossy", tmp_path, unseen=("room",), **TINY)
    files = files_of(folder)
    assert len(files) == 4 + 2 * 2 + 2 * 6 + 2 + 3
    assert files.items() <= files_of(again).items()
    before = (again / "studio.json").stat().st_mtime_ns
    assert studio.cached("glossy", tmp_path, unseen=("room",), **TINY) == again
    assert (again / "studio.json").stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [again]


def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'vase'; expected one of mirror, glossy, diffuse"):
        studio.write(tmp_path / "new", "vase")
    with pytest.raises(ValueError, match="light is 'moon'; expected one of studio, sky"):
        studio.write(tmp_path / "new", light="moon")
    with pytest.raises(ValueError, match="expected at least 1, 1 and 8"):
        studio.write(tmp_path / "new", size=4)
    with pytest.raises(ValueError, match="samples is 5; expected a square"):
        studio.write(tmp_path / "new", samples=5)
    with pytest.raises(FileExistsError, match="exists already"):
        studio.write(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no studio\.json"):
        studio.relit(tmp_path, "room", "test/r_000.png")
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(ImportError, match=r"pip install 'splat-toolkit\[studio\]'"):
        studio.write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
