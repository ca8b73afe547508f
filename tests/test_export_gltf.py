"""glTF with `KHR_gaussian_splatting`: bytes, axes, what other writers do, and broken files."""

from __future__ import annotations

import copy
import json
import logging
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch.nn.functional import normalize

from splat import formats
from splat.formats.placing import Placing
from splat.formats.rotations import matrix_of, nearest_rotation, quaternion_of
from splat.kernels.harmonics import basis
from splat.math import covariances
from splat.types import Drawing, Gaussians

NAME = "KHR_gaussian_splatting"
HALF_TURN = torch.tensor([-1.0, -1.0, 1.0])
COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "f4": 5126}
WIDTHS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}

Column = tuple[NDArray[Any], bool, int]
"""Values [n, width], whether they are normalised, bytes between rows (0: as many as they take)."""


def some(n: int = 50, degree: int | None = 3, seed: int = 0) -> Gaussians:
    draw = torch.Generator().manual_seed(seed)
    k = () if degree is None else ((degree + 1) ** 2,)
    return Gaussians(
        means=torch.randn(n, 3, generator=draw) * 10,
        quats=torch.randn(n, 4, generator=draw),
        scales=torch.rand(n, 3, generator=draw) + 1e-3,
        opacities=torch.rand(n, generator=draw),
        colors=torch.randn(n, *k, 3, generator=draw),
        sh_degree=degree,
    )


def assert_same(found: Gaussians, expected: Gaussians) -> None:
    close = torch.testing.assert_close
    for name in ("means", "scales", "opacities", "colors"):
        close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    close(found.quats, normalize(expected.quats, dim=1), rtol=0, atol=4e-7)
    assert found.sh_degree == expected.sh_degree


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The document and the binary block, once the container is known to be right."""
    data = path.read_bytes()
    magic, version, length, text, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and text % 4 == 0
    block, kind = struct.unpack_from("<I4s", data, 20 + text)
    assert kind == b"BIN\0" and block % 4 == 0 and 28 + text + block == len(data)
    return json.loads(data[20 : 20 + text]), data[28 + text :]


def container(document: object, block: bytes) -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    block += bytes(-len(block) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(block), len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(block), b"BIN\0") + block


def attributes(path: Path) -> dict[str, NDArray[Any]]:
    """What somebody else reads: values by attribute, without the extension's name."""
    document, block = parts(path)
    found = {}
    (primitive,) = document["meshes"][0]["primitives"]
    for name, index in primitive["attributes"].items():
        accessor = document["accessors"][index]
        view = document["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5121: "u1"}[accessor["componentType"]]
        values = np.frombuffer(block[view["byteOffset"] :][: view["byteLength"]], kind)
        found[name.removeprefix(f"{NAME}:")] = values.reshape(accessor["count"], -1)
    return found


def harmonic(coefficients: int) -> list[str]:
    bands = [math.isqrt(j) for j in range(coefficients)]
    return [f"SH_DEGREE_{band}_COEF_{j - band * band}" for j, band in enumerate(bands)]


def columns(gaussians: Gaussians) -> dict[str, Column]:
    """Attributes as another writer has them, whose data is y-up already."""
    found = {
        "POSITION": gaussians.means,
        "ROTATION": gaussians.quats[:, [1, 2, 3, 0]],
        "SCALE": gaussians.scales,
        "OPACITY": gaussians.opacities[:, None],
    }
    found |= dict(zip(harmonic(gaussians.colors.shape[1]), gaussians.colors.unbind(1), strict=True))
    return {name: (values.numpy(), False, 0) for name, values in found.items()}


def save(
    path: Path, primitives: Sequence[Mapping[str, Column]], nodes: Sequence[Any] = ({"mesh": 0},)
) -> Path:
    """A file of one mesh with these primitives."""
    block, views, accessors, meshes = b"", [], [], []
    for primitive in primitives:
        numbers = {}
        for name, (values, normalised, stride) in primitive.items():
            rows = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
            wide = np.zeros((len(values), stride or rows.shape[1]), np.uint8)
            wide[:, : rows.shape[1]] = rows
            block += bytes(-len(block) % 4)
            view = {"buffer": 0, "byteOffset": len(block), "byteLength": wide.nbytes}
            views.append({**view, **({"byteStride": stride} if stride else {})})
            block += wide.tobytes()
            kind, width = COMPONENTS[values.dtype.str[1:]], WIDTHS[values.shape[1]]
            accessor = {"bufferView": len(accessors), "componentType": kind, "count": len(values)}
            numbers[name if name == "POSITION" else f"{NAME}:{name}"] = len(accessors)
            accessors.append({**accessor, "type": width, "normalized": normalised})
        said = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
        meshes.append({"mode": 0, "attributes": numbers, "extensions": {NAME: said}})
    inner = {child for node in nodes for child in node.get("children", [])}
    document = {
        "asset": {"version": "2.0"},
        "extensionsUsed": [NAME],
        "scenes": [{"nodes": [i for i in range(len(nodes)) if i not in inner]}],
        "nodes": list(nodes),
        "meshes": [{"primitives": meshes}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(block)}],
    }
    path.write_bytes(container(document, block))
    return path


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_written_is_read_to_the_bit(tmp_path: Path, degree: int) -> None:
    gaussians = some(degree=degree)
    formats.write(gaussians, tmp_path / "a.glb")
    found = formats.read(tmp_path / "a.glb")
    assert_same(found, gaussians)
    formats.write(found, tmp_path / "b.glb")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()


def test_more_rows_than_one_part(tmp_path: Path) -> None:
    gaussians = some(40_000, degree=1)
    formats.write(gaussians, tmp_path / "a.glb")
    assert_same(formats.read(tmp_path / "a.glb"), gaussians)


def test_bytes_of_one_gaussian(tmp_path: Path) -> None:
    quats = torch.tensor([[0.5, -0.5, 0.5, 0.5]])
    sh = torch.tensor([[[1.0, 0.0, -9.0], [2, 3, 4], [5, 6, 7], [8, 9, 10]]])
    scales, opacity = torch.tensor([[0.5, 1, 2]]), torch.tensor([0.6])
    one = Gaussians(torch.tensor([[1.0, 2, 3]]), quats, scales, opacity, sh, 1)
    formats.write(one, tmp_path / "a.glb", drawing=Drawing(True, 0.25))
    document, block = parts(tmp_path / "a.glb")
    # A half turn about z: x and y are negated, and so are the harmonics that go with x or y. The
    # quaternion is (0, 0, 0, 1) times (w, x, y, z) = (-z, -y, x, w). 0.5 + 0.2821 is 0.7821, in
    # linear light 0.5738, of 255 146; 0.5 is 0.2140, or 55; below 0 is 0; and 0.6 of 255 is 153.
    expected = struct.pack("<3f", -1, -2, 3) + bytes([146, 55, 0, 153])
    expected += struct.pack("<4f3ff", -0.5, -0.5, 0.5, -0.5, 0.5, 1, 2, 0.6)
    expected += struct.pack("<12f", 1, 0, -9, -2, -3, -4, 5, 6, 7, -8, -9, -10)
    assert block == expected
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and primitive["extensions"][NAME] == {
        "kernel": "ellipse",
        "colorSpace": "srgb_rec709_display",
        "projection": "perspective",
        "sortingMethod": "cameraDistance",
        "extras": {"antialiased": True, "near": 0.25},
    }


@pytest.mark.parametrize("degree", [0, 3])
def test_structure_of_the_document(tmp_path: Path, degree: int) -> None:
    gaussians = some(7, degree)
    formats.write(gaussians, tmp_path / "a.glb")
    document, block = parts(tmp_path / "a.glb")
    assert document["extensionsUsed"] == [NAME] and "extensionsRequired" not in document
    assert document["buffers"] == [{"byteLength": len(block)}]
    at = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] == at and at % 4 == 0 and view["target"] == 34962
        at += view["byteLength"]
    assert at == len(block) and len(document["accessors"]) == len(document["bufferViews"])
    assert {accessor["count"] for accessor in document["accessors"]} == {7}
    positions = document["accessors"][0]
    turned = (gaussians.means * HALF_TURN).numpy()
    np.testing.assert_array_equal(positions["min"], turned.min(0))
    np.testing.assert_array_equal(positions["max"], turned.max(0))
    assert document["nodes"][document["scenes"][document["scene"]]["nodes"][0]] == {"mesh": 0}


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_coefficient_has_its_attribute(tmp_path: Path, degree: int) -> None:
    k = (degree + 1) ** 2
    # Coefficient j of channel c holds 100 c + j + 1: no two agree but for the sign.
    colors = (torch.arange(k)[:, None] + 100 * torch.arange(3)[None] + 1).float().expand(2, k, 3)
    formats.write(Gaussians(**{**vars(some(2, degree)), "colors": colors}), tmp_path / "a.glb")
    table = attributes(tmp_path / "a.glb")
    for j, name in enumerate(harmonic(k)):
        np.testing.assert_array_equal(abs(table[name][1]), [j + 1, 101 + j, 201 + j])
    assert len(table) == 5 + k
    torch.testing.assert_close(formats.read(tmp_path / "a.glb").colors, colors, rtol=0, atol=0)


def test_colours_are_those_of_the_turned_direction(tmp_path: Path) -> None:
    gaussians = some(5)
    formats.write(gaussians, tmp_path / "a.glb")
    table = attributes(tmp_path / "a.glb")
    stored = torch.stack([torch.tensor(table[name]) for name in harmonic(16)], 1)
    seen = normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    torch.testing.assert_close(
        torch.einsum("dk,nkc->ndc", basis(seen * HALF_TURN, 3), stored),
        torch.einsum("dk,nkc->ndc", basis(seen, 3), gaussians.colors),
    )
    turned = torch.tensor(table["ROTATION"][:, [3, 0, 1, 2]])
    before = covariances(gaussians.quats, gaussians.scales)
    after = covariances(turned, gaussians.scales)
    torch.testing.assert_close(after, before * HALF_TURN[:, None] * HALF_TURN)


def test_plain_colours_and_unused_bands(tmp_path: Path) -> None:
    plain = some(degree=None)
    formats.write(plain, tmp_path / "a.glb")
    found = formats.read(tmp_path / "a.glb")
    assert found.sh_degree == 0
    torch.testing.assert_close(0.5 + 0.28209479177387814 * found.colors[:, 0], plain.colors)
    whole = some(degree=3)
    formats.write(Gaussians(**{**vars(whole), "sh_degree": 1}), tmp_path / "b.glb")
    torch.testing.assert_close(formats.read(tmp_path / "b.glb").colors, whole.colors[:, :4])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_size_is_at_most_what_was_said(tmp_path: Path, degree: int) -> None:
    for n in (1, 10, 12_345):
        formats.write(some(n, degree), tmp_path / "a.glb", drawing=Drawing(True, 0.1 + 0.2))
        slack = formats.size_of(n, degree, ".glb") - (tmp_path / "a.glb").stat().st_size
        assert 0 <= slack < 120


@pytest.mark.parametrize("extras", [3, [], {"near": "1"}, {"near": -1}, {"near": True}])
def test_words_of_others_about_drawing(tmp_path: Path, extras: object) -> None:
    path = save(tmp_path / "a.glb", [columns(some(3))])
    document, block = parts(path)
    document["meshes"][0]["primitives"][0]["extensions"][NAME]["extras"] = extras
    path.write_bytes(container(document, block))
    assert formats.drawing(path) == Drawing()


def test_quantised_attributes_and_strides(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ints = {"i1": 127, "u1": 255, "i2": 32767, "u2": 65535}

    def drawn(kind: str, width: int, low: int = 0) -> NDArray[Any]:
        return draw.integers(low * ints[kind], ints[kind], (9, width), endpoint=True).astype(kind)

    exact = columns(some(9, 0))
    for kinds, stride in ((("i2", "u2", "u2"), 8), (("i1", "u1", "u1"), 4)):
        quats, scales, opacities = (
            drawn(kind, width, low)
            for kind, width, low in zip(kinds, (4, 3, 1), (-1, 0, 0), strict=True)
        )
        table = {
            **exact,
            "ROTATION": (quats, True, 0),
            "SCALE": (scales, kinds[1] == "u1", stride),
            "OPACITY": (opacities, True, 4),
            "POSITION": (exact["POSITION"][0], False, 20),
        }
        found = formats.read(save(tmp_path / "a.glb", [table]))
        most = float(ints[kinds[1]])
        expected = torch.tensor(scales.astype(np.float32)) / (most if kinds[1] == "u1" else 1)
        torch.testing.assert_close(found.scales, expected)
        torch.testing.assert_close(found.opacities, torch.tensor(opacities[:, 0] / most).float())
        unit = normalize(torch.tensor(quats[:, [3, 0, 1, 2]].astype(np.float64)), dim=1).float()
        thirds = torch.tensor([[1.0, 2, 3]])
        expected = covariances(unit, thirds) * HALF_TURN[:, None] * HALF_TURN
        torch.testing.assert_close(covariances(found.quats, thirds), expected)
        np.testing.assert_array_equal(found.means * HALF_TURN, exact["POSITION"][0])


@pytest.mark.parametrize("as_matrix", [False, True])
def test_nodes_place_gaussians(tmp_path: Path, as_matrix: bool) -> None:
    gaussians, shift, scale = some(20), np.array([3.0, -1.0, 2.0]), 0.25
    outer, inner = (Rotation.random(rng=np.random.default_rng(i)) for i in range(2))
    parent = {"rotation": outer.as_quat().tolist(), "scale": [scale] * 3, "children": [1]}
    child: dict[str, Any] = {"mesh": 0, "rotation": inner.as_quat().tolist()}
    child["translation"] = shift.tolist()
    if as_matrix:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = inner.as_matrix(), shift
        child = {"mesh": 0, "matrix": matrix.T.flatten().tolist()}
    found = formats.read(save(tmp_path / "a.glb", [columns(gaussians)], [parent, child]))
    # The file is y-up; what is read is not.
    turn = torch.diag(HALF_TURN) @ torch.tensor((outer * inner).as_matrix()).float()
    moved = outer.apply(scale * shift) * HALF_TURN.numpy()
    close = torch.testing.assert_close
    close(found.means, scale * gaussians.means @ turn.T + torch.tensor(moved).float())
    close(found.scales, scale * gaussians.scales)
    before = turn @ covariances(gaussians.quats, gaussians.scales) @ turn.T
    close(covariances(found.quats, found.scales), scale**2 * before, rtol=1e-4, atol=1e-6)
    seen = normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(1)), dim=1)
    close(
        torch.einsum("dk,nkc->ndc", basis(seen @ turn.T, 3), found.colors),
        torch.einsum("dk,nkc->ndc", basis(seen, 3), gaussians.colors),
        rtol=1e-4,
        atol=1e-5,
    )


def test_quarter_turns_are_exact() -> None:
    for turn in Rotation.create_group("O"):
        matrix = np.eye(4)
        matrix[:3, :3] = turn.as_matrix()
        placing = Placing.of(matrix)
        assert placing is not None
        assert set(placing.turn.flatten().tolist()) <= {-1, 0, 1}
        # Bands 0 and 1 are permuted, and all bands keep their length.
        assert set(placing.harmonics[:4, :4].flatten().tolist()) <= {-1, 0, 1}
        unit = placing.harmonics @ placing.harmonics.T
        np.testing.assert_allclose(unit, np.eye(16), rtol=0, atol=1e-6)


def test_rotations_are_scipys() -> None:
    draw = np.random.default_rng(0)
    for quat in [*draw.normal(size=(50, 4)) * 1e-3, *1e3 * np.eye(4), *(np.eye(4) - 0.5)]:
        turn = Rotation.from_quat(np.roll(quat, -1)).as_matrix()
        np.testing.assert_allclose(matrix_of(quat), turn, atol=1e-14)
        bent = turn + 1e-5 * draw.normal(size=(3, 3))
        expected = np.roll(Rotation.from_matrix(bent).as_quat(), 1)
        found = quaternion_of(nearest_rotation(bent))
        assert found[np.abs(found).argmax()] > 0
        np.testing.assert_allclose(np.outer(found, found), np.outer(expected, expected), atol=1e-9)


def test_numpy_reads_what_nodes_place(tmp_path: Path) -> None:
    node = {"mesh": 0, "rotation": [0.1, 0.7, -0.3, 0.4], "scale": [2.5] * 3}
    path = save(tmp_path / "a.glb", [columns(some(20)), columns(some(9, 1))], [node])
    whole, found = formats.read(path), formats.read_columns(path)
    for name, expected in [("means", whole.means), ("scales", whole.scales), ("sh", whole.colors)]:
        np.testing.assert_array_equal(getattr(found, name), expected.numpy())


def test_primitives_and_places_are_brought_together(tmp_path: Path) -> None:
    first, second = some(4, 1), some(3, 2, seed=1)
    nodes = [{"mesh": 0}, {"mesh": 0, "translation": [0, 5, 0]}, {}]
    found = formats.read(save(tmp_path / "a.glb", [columns(first), columns(second)], nodes))
    assert len(found) == 14 and found.sh_degree == 2
    once = torch.cat([first.means, second.means])
    places = torch.cat([once, once + torch.tensor([0.0, 5, 0])]) * HALF_TURN
    torch.testing.assert_close(found.means, places)
    assert (found.colors[:4, 4:] == 0).all() and (found.colors[4:7, 4:] != 0).all()


def test_a_mesh_without_nodes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.glb", [columns(some(4))])
    document, block = parts(path)
    del document["nodes"], document["scenes"]
    path.write_bytes(container(document, block))
    assert len(formats.read(path)) == 4


def test_extreme_values_stay(tmp_path: Path) -> None:
    extreme = Gaussians(
        means=torch.tensor([[0.0, -0.0, 1e-30], [3e38, -3e38, 1.0]]),
        quats=torch.zeros(2, 4),
        scales=torch.tensor([[0.0, 1e-38, 1.0], [1e30, 1.0, 1.0]]),
        opacities=torch.tensor([0.0, 1.0]),
        colors=torch.zeros(2, 1, 3),
        sh_degree=0,
    )
    formats.write(extreme, tmp_path / "a.glb")
    found = formats.read(tmp_path / "a.glb")
    assert_same(found, Gaussians(**{**vars(extreme), "quats": torch.tensor([[1.0, 0, 0, 0]] * 2)}))


def test_broken_rows_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = columns(some(10))
    table["SCALE"][0][4] = math.nan
    with caplog.at_level(logging.WARNING):
        assert len(formats.read(save(tmp_path / "b.glb", [table]))) == 9
    assert "1 of 10 Gaussians" in caplog.text and "b.glb" in caplog.text


def test_too_much_to_write(tmp_path: Path) -> None:
    flat = torch.zeros(1, 3).expand(20_000_000, 3)
    quats, sh = flat[:, :1].expand(-1, 4), flat[:, None].expand(-1, 16, 3)
    with pytest.raises(ValueError, match="more than the 4 GiB"):
        formats.write(Gaussians(flat, quats, flat, flat[:, 0], sh, 3), tmp_path / "a.glb")
    assert not list(tmp_path.iterdir())


def test_linear_colours_are_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.glb", [columns(some(3))])
    document, block = parts(path)
    said = document["meshes"][0]["primitives"][0]["extensions"][NAME]
    said["colorSpace"] = "lin_rec709_display"
    path.write_bytes(container(document, block))
    assert len(formats.read(path)) == 3 and "linear light" in caplog.text


def test_nothing_is_lost_so_nothing_is_quantised() -> None:
    gaussians, other = some(3), some(3, seed=1)
    assert formats.quantiser(".glb", gaussians)(other) is other


def changed(document: dict[str, Any], keys: Sequence[Any], value: object) -> dict[str, Any]:
    document = copy.deepcopy(document)
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return document


SAID = ("meshes", 0, "primitives", 0, "extensions", NAME)
ATTRIBUTES = ("meshes", 0, "primitives", 0, "attributes")
FAULTS: dict[str, tuple[Sequence[Any], object, str]] = {
    "kernel": ((*SAID, "kernel"), "square", "kernel ellipse"),
    "triangles": (("meshes", 0, "primitives", 0, "mode"), 4, "expected points"),
    "packed": ((*SAID, "extensions"), {"KHR_x_spz": {}}, "packed by 'KHR_x_spz'"),
    "no Gaussians": (("meshes", 0, "primitives", 0, "extensions"), {}, f"no primitive with {NAME}"),
    "required": (("extensionsRequired",), ["EXT_meshopt_compression"], "EXT_meshopt_compression"),
    "another file": (("buffers", 0, "uri"), "a.bin", "in another file"),
    "view beyond": (("bufferViews", 2, "byteOffset"), 10**15, "buffer view up to byte"),
    "rows beyond": (("accessors", 3, "count"), 10**12, "of 1000000000000 rows"),
    "no rows": (("accessors", 3, "count"), 0, "of 0 rows"),
    "other rows": (("accessors", 3, "count"), 2, "different numbers of rows"),
    "overlapping": (("bufferViews", 0, "byteStride"), 4, "every 4 bytes"),
    "sparse": (("accessors", 3, "sparse"), {}, "sparse, or compressed"),
    "type": (("accessors", 0, "type"), "VEC4", "expected 3 components"),
    "component": (("accessors", 0, "componentType"), 5125, "component type 5125"),
    "no accessor": ((*ATTRIBUTES, "POSITION"), 99, "refers to accessors[99]"),
    "not a number": (("accessors", 0, "count"), "many", "has 'many' for count"),
    "stretched": (("nodes", 0, "scale"), [1, 2, 1], "stretches"),
    "mirrored": (("nodes", 0, "scale"), [-1, 1, 1], "mirrors"),
    "vanished": (("nodes", 0, "scale"), [0, 0, 0], "stretches"),
    "no rotation": (("nodes", 0, "rotation"), [0, 0, 0, 0], "rotation 0"),
    "few numbers": (("nodes", 0, "translation"), [1, 2], "expected 3 numbers"),
    "a circle": (("nodes", 0, "children"), [0], "in two places"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_faults_are_named(tmp_path: Path, what: str) -> None:
    keys, value, words = FAULTS[what]
    document, block = parts(save(tmp_path / "a.glb", [columns(some(4))]))
    (tmp_path / "a.glb").write_bytes(container(changed(document, keys, value), block))
    with pytest.raises(ValueError) as caught:
        formats.read(tmp_path / "a.glb")
    message = str(caught.value)
    assert words in message and "a.glb" in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("OPACITY", 1.5, "opacities outside 0 to 1"), ("SCALE", -2.0, "scales below 0")],
)
def test_values_of_early_drafts(tmp_path: Path, name: str, value: float, words: str) -> None:
    table = columns(some(4))
    table[name][0][2] = value
    with pytest.raises(ValueError, match=words):
        formats.read(save(tmp_path / "a.glb", [table]))


def test_missing_attributes(tmp_path: Path) -> None:
    for gone, words in (("SCALE", "without .*:SCALE"), ("SH_DEGREE_2_COEF_3", "DEGREE_2_COEF_3")):
        table = columns(some(4))
        del table[gone]
        with pytest.raises(ValueError, match=words):
            formats.read(save(tmp_path / "a.glb", [table]))


def test_containers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    with pytest.raises(FileNotFoundError, match=r"a\.glb is not a file"):
        formats.read(path)
    formats.write(some(4), path)
    good = path.read_bytes()
    _, block = parts(path)
    text = struct.unpack_from("<I", good, 12)[0]
    old = good[:4] + struct.pack("<I", 1) + good[8:]
    lying = good[:12] + struct.pack("<I", 1 << 31) + good[16:]
    short = good[: 20 + text] + struct.pack("<I", len(block) + 4) + good[24 + text :]
    bare = struct.pack("<4sII", b"glTF", 2, 20 + text) + good[12 : 20 + text]
    cases = {
        "is empty": b"",
        "not with 'glTF'": b"ply\n" + good,
        "cut off within its header": good[:15],
        "glTF 1 of": old,
        "expected glTF 2 of": good + b"1234",
        "bytes of b'JSON'": lying,
        "broken after its JSON": short,
        "holds 0 bytes of data": bare,
        "its JSON: line 1 is not JSON": container(b'{"a": }', b""),
        "nested too deep": container(b"[" * 200_000, b""),
        "expected an object": container([], b""),
    }
    for words, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(ValueError, match="(?i)" + words.replace("(", r"\(")) as caught:
            formats.read(path)
        assert "a.glb" in str(caught.value) and "\n" not in str(caught.value)


def test_a_small_file_does_not_unpack_to_a_large_set(tmp_path: Path) -> None:
    nodes = [{"mesh": 0} for _ in range(2000)]
    path = save(tmp_path / "a.glb", [columns(some(50, 0))], nodes)
    with pytest.raises(ValueError, match="so often"):
        formats.read(path)
    # Sixteen attributes may share one accessor, but not one without end.
    document, block = parts(save(path, [columns(some(50, 0))]))
    shared = document["meshes"][0]["primitives"] * 100
    path.write_bytes(container(changed(document, ("meshes", 0, "primitives"), shared), block))
    with pytest.raises(ValueError, match="so often"):
        formats.read(path)


def test_a_scene_places_a_bounded_number_of_primitives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splat.formats.gltf_table._PLACES", 10)
    path = save(tmp_path / "a.glb", [columns(some(50, 0))], [{"mesh": 0} for _ in range(20)])
    with pytest.raises(ValueError, match=r"a\.glb: places Gaussians more than 10 times"):
        formats.read(path)
