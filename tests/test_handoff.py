"""Formats that other programs take a scene over in: glTF with an .spz within, USD, 3D Tiles.

What reads them is other people's where it is installed: gsply the .spz, usd-core the stage and
py3dtiles the tileset; gltf-validator, CesiumJS and others by hand (interop/README.md).
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from formats import QUANTA, Quantum, matched, some, turned_by
from test_export_gltf import container, parts
from test_formats import assert_within
from test_interop import gsply, read_by_gsply

from splat import formats
from splat.cli import main
from splat.formats.globe import axes_at, ecef
from splat.formats.settings import Settings
from splat.math import covariances
from splat.types import Drawing, Frame, Gaussians

assert gsply  # a fixture
PACKED = "KHR_gaussian_splatting_compression_spz_2"
HALF_TURN = torch.tensor([-1.0, -1.0, 1.0])


def payload(path: Path) -> tuple[dict[str, Any], bytes]:
    """The document of a .spz.glb, and the .spz that it has."""
    document, block = parts(path)
    (primitive,) = document["meshes"][0]["primitives"]
    packed = primitive["extensions"]["KHR_gaussian_splatting"]["extensions"][PACKED]
    view = document["bufferViews"][packed["bufferView"]]
    return document, block[: view["byteLength"]]


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_the_document_says_what_the_draft_asks(tmp_path: Path, degree: int) -> None:
    given = some(degree=degree)
    formats.write(given, tmp_path / "a.spz.glb", drawing=Drawing(True, 0.25))
    document, data = payload(tmp_path / "a.spz.glb")
    assert document["extensionsUsed"] == document["extensionsRequired"]
    assert document["extensionsRequired"] == ["KHR_gaussian_splatting", PACKED]
    assert data[:2] == b"\x1f\x8b" and document["buffers"][0]["byteLength"] % 4 == 0
    (primitive,) = document["meshes"][0]["primitives"]
    names = [name.split(":")[-1] for name in primitive["attributes"]]
    rest = [f"SH_DEGREE_{d}_COEF_{i}" for d in range(1, degree + 1) for i in range(2 * d + 1)]
    assert names == ["POSITION", "COLOR_0", "SCALE", "ROTATION", *rest]
    assert all("bufferView" not in each and each["count"] == 300 for each in document["accessors"])
    corners = document["accessors"][0]
    turned = given.means * HALF_TURN
    assert torch.allclose(torch.tensor(corners["min"]), turned.amin(0))
    assert torch.allclose(torch.tensor(corners["max"]), turned.amax(0))
    assert formats.drawing(tmp_path / "a.spz.glb") == Drawing(True, 0.25)


def test_the_spz_is_version_2_along_gltfs_axes(gsply: ModuleType, tmp_path: Path) -> None:
    given = some()
    formats.write(given, tmp_path / "a.spz.glb")
    (tmp_path / "a.spz").write_bytes(payload(tmp_path / "a.spz.glb")[1])
    found = read_by_gsply(gsply, tmp_path / "a.spz")
    found = matched(replace(found, means=found.means * HALF_TURN), replace(given))
    assert (found.means - given.means).abs().max() < 2e-4
    half = torch.diag(HALF_TURN)
    turned = half @ covariances(given.quats, given.scales) @ half
    off = covariances(found.quats, found.scales) - turned
    # 1/32 of the logarithm of a scale is 6 % of its square; 1.6 degrees are 3 % of the difference.
    assert off.norm(dim=(1, 2)).div(turned.norm(dim=(1, 2))).max() < 0.12
    assert (found.colors[:, 0] - given.colors[:, 0]).abs().max() < 0.0132


def test_numpy_reads_what_torch_reads(tmp_path: Path) -> None:
    for version in (2, 3):
        given = some(500, degree=2)
        formats.write(given, tmp_path / "a.spz", settings=Settings(spz_version=version))
        document, _ = payload(_packed(given, tmp_path))
        data = (tmp_path / "a.spz").read_bytes()
        document["bufferViews"][0]["byteLength"] = len(data)
        document["buffers"][0]["byteLength"] = len(data) + -len(data) % 4
        (tmp_path / "b.glb").write_bytes(container(document, data))
        half = torch.tensor([-1, -1, 1])
        plain, packed = formats.read(tmp_path / "a.spz"), formats.read(tmp_path / "b.glb")
        assert torch.equal(packed.means * half, plain.means)
        turned = torch.diag(HALF_TURN)
        expected = turned @ covariances(plain.quats, plain.scales) @ turned
        close = torch.testing.assert_close
        close(covariances(packed.quats, packed.scales), expected, rtol=1e-4, atol=1e-7)
        assert len(formats.read_columns(tmp_path / "b.glb")) == 500


def _packed(given: Gaussians, folder: Path) -> Path:
    formats.write(given, folder / "a.spz.glb")
    return folder / "a.spz.glb"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bufferView": 3}, r"refers to bufferViews\[3\]"),
        ({}, "refers to bufferViews"),
        ({"bufferView": "0"}, "refers to bufferViews"),
    ],
)
def test_a_packing_that_lies_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    document, data = payload(_packed(some(), tmp_path))
    (primitive,) = document["meshes"][0]["primitives"]
    primitive["extensions"]["KHR_gaussian_splatting"]["extensions"][PACKED] = change
    (tmp_path / "b.glb").write_bytes(container(document, data))
    with pytest.raises(ValueError, match=rf"b\.glb.*{said}"):
        formats.read(tmp_path / "b.glb")


def test_parts_that_lie_in_one_another_are_refused(tmp_path: Path) -> None:
    """Each could become a thousand times as large."""
    document, data = payload(_packed(some(), tmp_path))
    document["meshes"][0]["primitives"] *= 2
    (tmp_path / "b.glb").write_bytes(container(document, data))
    with pytest.raises(ValueError, match="expected parts beside one another"):
        formats.read(tmp_path / "b.glb")


# USD: of usd-core, whose schema the files follow.

USD = [".usdc", ".usda", ".usdz", ".usd"]
LOSSLESS = Quantum(0, 1e-6, 1e-6, 1e-6, 1e-6, 1e-3)


@pytest.fixture(scope="session")
def pxr() -> ModuleType:
    """Pixar's package."""
    found: ModuleType = pytest.importorskip("pxr", reason="usd-core, for USD, is not installed")
    return found


@pytest.mark.parametrize("suffix", USD)
def test_usd_is_read_as_it_was(pxr: ModuleType, tmp_path: Path, suffix: str) -> None:
    for degree in (0, 1, 3):
        given, path = some(degree=degree), tmp_path / f"a{suffix}"
        formats.write(given, path, drawing=Drawing(True, 0.25))
        assert_within(formats.read(path), given, LOSSLESS)
        assert formats.drawing(path) == Drawing(True, 0.25)
        assert path.stat().st_size <= formats.size_of(300, degree, suffix)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]
        once = path.read_bytes()
        formats.write(given, path, drawing=Drawing(True, 0.25))
        assert path.read_bytes() == once
        path.unlink()


def test_usd_core_finds_the_schemas_attributes(pxr: ModuleType, tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdValidation, UsdVol

    given = some(40, degree=1)
    formats.write(given, tmp_path / "a.usdc")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    (prim,) = [each for each in stage.Traverse() if each.IsA(UsdVol.ParticleField)]
    field = UsdVol.ParticleField3DGaussianSplat(prim)
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and stage.GetDefaultPrim().GetName() == "World"
    positions = torch.tensor(np.array(field.GetPositionsAttr().Get()))
    assert torch.equal(positions, given.means * HALF_TURN)
    # A quaternion says its real part; as matrices they are the rotation, half turned about z.
    for row, quat in enumerate(field.GetOrientationsAttr().Get()[:5]):
        turned = torch.tensor([quat.GetReal(), *quat.GetImaginary()])[None]
        half = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
        assert turned_by(turned, _product(half, given.quats[row : row + 1])).max() < 1e-3
    coefficients = np.array(field.GetRadianceSphericalHarmonicsCoefficientsAttr().Get())
    assert coefficients.shape == (40 * 4, 3)
    # Row by row; the first band, of y, z and x, changes signs of y and x.
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    expected = (given.colors[:, :4] * signs).reshape(-1, 3).numpy()
    assert np.allclose(coefficients, expected, atol=1e-6)
    low, high = np.array(field.GetExtentAttr().Get())
    assert (low <= positions.numpy().min(0)).all() and (high >= positions.numpy().max(0)).all()
    (tmp_path / "a.usdc").rename(tmp_path / "b.usdc")
    problems = UsdValidation.ValidationContext(
        UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    ).Validate(Usd.Stage.Open(str(tmp_path / "b.usdc")))
    assert [each.GetErrorAsString() for each in problems] == []


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Of quaternions (w, x, y, z): first `b`, then `a`."""
    vectors = torch.linalg.cross(a[:, 1:], b[:, 1:]) + a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:]
    real = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdim=True)
    return torch.cat([real, vectors], 1)


def test_usd_of_others_z_up_and_half_precision(pxr: ModuleType, tmp_path: Path) -> None:
    text = """#usda 1.0
    (
        upAxis = "Z"
    )
    def Xform "a"
    {
        double3 xformOp:translate = (1, 2, 3)
        uniform token[] xformOpOrder = ["xformOp:translate"]
        def ParticleField3DGaussianSplat "b"
        {
            point3h[] positionsh = [(0, 0, 0), (1, 0, 0)]
            float3[] scales = [(1, 2, 3), (1, 1, 1)]
            half[] opacitiesh = [0.5, 1]
        }
    }
    """
    (tmp_path / "a.usda").write_text(text)
    found = formats.read(tmp_path / "a.usda")
    # z-up (1, 2, 3) is (1, 3, -2) y-up, and half a turn about z from there.
    assert found.means.tolist() == [[-1, -3, -2], [-2, -3, -2]]
    assert found.opacities.tolist() == [0.5, 1] and found.sh_degree == 0
    assert (found.colors == 0.5).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no file that usd-core reads"),
        ("#usda 1.0\n", "has no prim of the type ParticleField3DGaussianSplat"),
        ("#usda 1.0\n(\n subLayers = [@/etc/other.usda@]\n)\n", r"refers to '/etc/other\.usda'"),
        (
            '#usda 1.0\ndef ParticleField3DGaussianSplat "a" {\n'
            " point3f[] positions = [(0, 0, 0)]\n float[] opacities = [7]\n}\n",
            "opacities outside 0 to 1",
        ),
    ],
)
def test_usd_that_lies_is_refused(pxr: ModuleType, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.usda.*{said}"):
        formats.read(tmp_path / "a.usda")


def test_without_usd_core_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    formats.all_formats.cache_clear()
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "pxr" else 1)
    try:
        with pytest.raises(ValueError, match=r"\.usdz needs another package, pxr.*\[usd\]"):
            formats.suffix_of(Path("a.usdz"), written=True)
    finally:
        formats.all_formats.cache_clear()


# 3D Tiles.


def of_tiles(n: int = 40_000, degree: int = 1) -> Gaussians:
    return some(n, degree=degree)


def tiles(path: Path) -> list[tuple[dict[str, Any], int]]:
    """The tiles of a document with how deep they lie, parents first."""
    found, waiting = [], [(json.loads(path.read_text())["root"], 0)]
    while waiting:
        tile, depth = waiting.pop(0)
        found.append((tile, depth))
        waiting += [(child, depth + 1) for child in tile.get("children", ())]
    return found


def corners(tile: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    box = np.array(tile["boundingVolume"]["box"])
    half = np.abs(box[3:].reshape(3, 3)).sum(0)
    return box[:3] - half, box[:3] + half


@pytest.mark.parametrize("content", ["spz", "glb"])
def test_a_tileset_is_read_as_it_was(tmp_path: Path, content: str) -> None:
    given, path = of_tiles(9000), tmp_path / "tileset.json"
    settings = Settings(tiles_content=content)
    formats.write(given, path, settings=settings)
    quantum = QUANTA[".spz.glb"] if content == "spz" else QUANTA[".glb"]
    # About an origin amid the scene positions are rounded once more.
    quantum = replace(quantum, position=quantum.position + 1e-6)
    assert_within(matched(formats.read(path), given), given, quantum)
    assert formats.weight(path) <= formats.size_of(9000, 1, "tileset.json", settings)


def test_tiles_refine_into_those_within_them(tmp_path: Path) -> None:
    path = tmp_path / "tileset.json"
    formats.write(of_tiles(), path)
    every = tiles(path)
    assert every[0][0]["refine"] == "REPLACE"
    assert [depth for _, depth in every] == [0, *[1] * 2, *[2] * 8]
    counts = [0, 0, 0]
    for tile, depth in every:
        low, high = corners(tile)
        rows = formats.read(tmp_path / tile["content"]["uri"])
        counts[depth] += len(rows)
        assert len(rows) <= 8192
        # What a tile holds, y-up, lies in its box, z-up.
        x, y, z = (rows.means * HALF_TURN).T
        held = torch.stack([x, -z, y], 1).numpy()
        assert (held >= low - 1e-4).all() and (held <= high + 1e-4).all()
        for child in tile.get("children", ()):
            assert child["geometricError"] < tile["geometricError"]
            assert (corners(child)[0] >= low - 1e-4).all()
            assert (corners(child)[1] <= high + 1e-4).all()
    assert counts[2] == 40_000 and counts[0] * 4 <= counts[1] * 1.01 <= counts[2] / 4 * 1.03
    assert every[-1][0]["geometricError"] == 0


def test_the_origin_has_64_bits(tmp_path: Path) -> None:
    """Of a scene with coordinates of millions, which float32 rounds to quarters of a metre."""
    given, path = of_tiles(500), tmp_path / "tileset.json"
    frame = Frame((2_600_000.125, -1_200_000.25, 400.0), 1.0)
    formats.write(given, path, frame, settings=Settings(tiles_content="glb"))
    document = json.loads(path.read_text())
    transform = np.array(document["root"]["transform"]).reshape(4, 4).T
    rows = formats.read(tmp_path / document["root"]["content"]["uri"])
    x, y, z = (rows.means * HALF_TURN).double().T
    tile = torch.stack([x, -z, y, torch.ones_like(x)], 1).numpy()
    world = (tile @ transform.T)[:, :3]
    # Back from the axes of tiles, z-up, to those of the input.
    back = world[:, [0, 2, 1]] * [-1, -1, -1]
    moved = matched(replace(rows, means=torch.tensor(back - frame.centre).float()), given)
    assert (moved.means - given.means).abs().max() < 1e-6


def test_gps_places_a_tileset_on_the_globe(tmp_path: Path) -> None:
    given, path = of_tiles(500, 0), tmp_path / "tileset.json"
    place = (47.5, 8.25, 430.0)
    formats.write(given, path, settings=Settings(tiles_content="glb", tiles_origin=place))
    document = json.loads(path.read_text())
    transform = np.array(document["root"]["transform"]).reshape(4, 4).T
    assert np.allclose(transform[:3, :3].T @ transform[:3, :3], np.eye(3), atol=1e-12)
    rows = formats.read(tmp_path / document["root"]["content"]["uri"])
    x, y, z = (rows.means * HALF_TURN).double().T
    world = (torch.stack([x, -z, y, torch.ones_like(x)], 1).numpy() @ transform.T)[:, :3]
    # A row (e, n, u) lies e metres along east, n along north and u along up of the place.
    at = ecef(np.array([place]))
    expected = at + given.means.double().numpy() @ axes_at(place)
    gaps = np.linalg.norm(world[:, None] - expected[None], axis=2).min(1)
    assert gaps.max() < 1e-5
    assert math.dist(world.mean(0), at[0]) < 1
    torch.testing.assert_close(matched(formats.read(path), given).means, given.means)


def test_py3dtiles_reads_a_tileset(tmp_path: Path) -> None:
    reason = "py3dtiles, which reads 3D Tiles, is not installed"
    package = pytest.importorskip("py3dtiles.tileset.tileset", reason=reason)
    given, path = of_tiles(12_000, 0), tmp_path / "tileset.json"
    formats.write(given, path, settings=Settings(tiles_content="glb", tiles_origin=(1, 2, 3)))
    tileset = package.TileSet.from_file(path)
    waiting, counts = [(tileset.root_tile, 0)], {}
    while waiting:
        tile, depth = waiting.pop()
        waiting += [(child, depth + 1) for child in tile.children]
        content = tile.get_or_fetch_content(tileset.root_uri)
        counts[depth] = counts.get(depth, 0) + content.get_vertex_count()
    assert counts[1] == 12_000 and 0 < counts[0] <= 3000
    assert np.linalg.norm(tileset.root_tile.transform[:3, 3]) == pytest.approx(6.378e6, 2e-3)


def test_tiles_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "tileset.json"
    formats.write(of_tiles(500), path)
    formats.write(of_tiles(300), path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tiles-2", "tileset.json"]
    (tmp_path / "tiles-2" / "notes.txt").write_text("mine")
    formats.write(of_tiles(200), path)
    assert (tmp_path / "tiles-2" / "notes.txt").read_text() == "mine"
    assert len(formats.read(path)) == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"content": {"uri": "../a.glb"}}, "expected a file below its folder"),
        ({"content": {"uri": "tiles/none.glb"}}, "which is not there"),
        ({"content": {"uri": "tiles/0_0.b3dm"}}, r"expected a \.glb file"),
        ({"content": None, "contents": None}, "as contents of a tile"),
        ({"children": [{"transform": []}]}, "a transform at a tile below"),
        ({"children": 3}, "as children of a tile"),
        ({"children": [3]}, "as a tile, expected an object"),
        ({"extras": {"splat": {"origin": [1, 2]}}}, "as its origin, expected 3 numbers"),
    ],
)
def test_a_tileset_that_lies_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "tileset.json"
    formats.write(of_tiles(50), path)
    document = json.loads(path.read_text())
    document["root"] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"tileset\.json.*{said}"):
        formats.read(path)


def test_convert_writes_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    formats.write(some(60, degree=1), tmp_path / "a.ply")
    for name in ("a.spz.glb", "b/tileset.json"):
        assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / name)]) == 0
        assert main(["info", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out.count("60") >= 4
