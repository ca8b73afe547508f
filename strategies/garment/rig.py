"""Bodies in files: meshes with a skin in glTF 2.0 (`.glb`), as Blender and others write them.

glTF is y-up. As meshes and Gaussians are written by half a turn about z, so are bodies: what lies
on an exported scene there lies on it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from splat.formats import glb
from splat.formats.glb import Glb, array, mapping, whole
from splat.mesh import Mesh
from splat.strategies.garment.body import Body
from splat.system import foreign
from splat.system.files import replacing
from splat.system.foreign import Broken, shown

UP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Half a turn about z."""
MOST_BONES, MOST_VERTICES = 1024, 1 << 21
_TRIANGLES = 4
_USUAL = "a body: a .glb of a mesh with a skin, as Blender exports one with an armature"
_ARRAY, _ELEMENTS = 34962, 34963


def read(path: Path) -> Body:
    """The body in a file; what is none is a ValueError with a sentence."""
    with foreign.reading(path, _USUAL):
        return _read(glb.read_glb(path))


def read_mesh(path: Path) -> Mesh:
    """The triangles of a file, with a skin or without, as they lie in the scene."""
    with foreign.reading(path, "a .glb of triangles"):
        file = glb.read_glb(path)
        if array(file.document, "skins"):
            return _read(file).mesh
        parts = []
        for number, matrix in file.placements():
            for vertices, faces, _ in _primitives(file, number):
                parts.append((_placed(vertices, matrix), faces))
        return _joined(parts)


def _read(file: Glb) -> Body:
    skins = array(file.document, "skins")
    if not skins:
        raise Broken(
            "has no skin, so that no bone moves it; expected a mesh with an armature: export it"
            " together with its armature"
        )
    nodes = list(file.nodes())
    worlds = {number: matrix for number, _, matrix, _ in nodes}
    above = {number: parent for number, parent, _, _ in nodes}
    used = {whole(node, "skin") for _, _, _, node in nodes if "skin" in node and "mesh" in node}
    if len(used) != 1:
        raise Broken(f"has meshes of {len(used)} skins in its scene; expected one: export one body")
    skin = file.entry("skins", used.pop())
    joints = array(skin, "joints")
    if not 1 <= len(joints) <= MOST_BONES or len({*map(str, joints)}) < len(joints):
        raise Broken(f"has a skin of {len(joints)} joints; expected 1 to {MOST_BONES}, each once")
    for joint in joints:
        if joint not in worlds:
            raise Broken(f"has a joint {shown(joint)} that is no node of its scene")
    order = [n for n, _, _, _ in nodes if n in set(joints)]
    names = _names(file, order)
    back = np.tile(np.eye(4), (len(joints), 1, 1))
    if "inverseBindMatrices" in skin:
        raw = file.accessor(skin["inverseBindMatrices"], 16).raw
        if len(raw) < len(joints):
            raise Broken(f"has {len(raw)} inverse bind matrices for {len(joints)} joints")
        back = raw[: len(joints)].astype(np.float64).reshape(-1, 4, 4).swapaxes(1, 2)
    moves = np.stack([worlds[joint] for joint in joints]) @ back
    place = {joint: i for i, joint in enumerate(order)}
    to_order = np.array([place[joint] for joint in joints])
    parts, weights = [], []
    for _, _, _, node in nodes:
        if "mesh" not in node or "skin" not in node:
            continue
        for vertices, faces, primitive in _primitives(file, whole(node, "mesh")):
            own = _weights(file, primitive, len(vertices), len(joints))
            mixed = np.tensordot(own, moves, 1)
            moved = np.einsum("nij,nj->ni", mixed[:, :3, :3], vertices) + mixed[:, :3, 3]
            parts.append((_placed(moved, np.eye(4)), faces))
            sorted_weights = np.zeros_like(own)
            sorted_weights[:, to_order] = own
            weights.append(sorted_weights)
    root = above[order[0]]
    armature = worlds[root] if root >= 0 else np.eye(4)
    return Body(
        mesh=_joined(parts),
        names=names,
        parents=_parents(order, above),
        joints=UP @ np.stack([worlds[n] for n in order]),
        weights=np.concatenate(weights).astype(np.float64),
        axes=_rotation(UP[:3, :3] @ armature[:3, :3]),
    )


def _names(file: Glb, order: list[int]) -> tuple[str, ...]:
    names = []
    for number in order:
        name = file.entry("nodes", number).get("name", f"bone{number}")
        if not isinstance(name, str) or not foreign.is_text(name):
            raise Broken(f"has {shown(name)} for the name of a bone, expected a text")
        names.append(name)
    if len({*names}) < len(names):
        raise Broken("has two bones of one name; expected a name for each")
    return tuple(names)


def _parents(order: list[int], above: dict[int, int]) -> Int[ndarray, "b"]:
    """The nearest node above each bone that is a bone, by its number among bones."""
    place, parents = {number: i for i, number in enumerate(order)}, []
    for number in order:
        number = above[number]
        while number >= 0 and number not in place:
            number = above[number]
        parents.append(place.get(number, -1))
    return np.array(parents, np.int64)


def _rotation(matrix: Float[ndarray, "3 3"]) -> Float[ndarray, "3 3"]:
    """The axes of an armature, without its size."""
    size = np.cbrt(np.linalg.det(matrix))
    if not size > 0 or np.abs(matrix @ matrix.T / size**2 - np.eye(3)).max() > 1e-3:
        raise Broken("has an armature that is mirrored or stretched; expected it turned and scaled")
    return np.asarray(matrix / size)


def _primitives(file: Glb, number: int) -> Any:
    """Vertices, faces and the record of each primitive of triangles of a mesh."""
    for entry in array(file.entry("meshes", number), "primitives"):
        primitive = mapping(entry, "a primitive")
        if whole(primitive, "mode", _TRIANGLES) != _TRIANGLES:
            continue
        attributes = mapping(primitive.get("attributes"), "the attributes of a primitive")
        if "POSITION" not in attributes:
            raise Broken("has triangles without positions")
        vertices = file.accessor(attributes["POSITION"], 3).values(slice(None)).astype(np.float64)
        if not np.isfinite(vertices).all() or np.abs(vertices).max() > 1e9:
            raise Broken("has vertices that are not finite; expected numbers")
        if "indices" in primitive:
            index = file.accessor(primitive["indices"], 1, indices=True).raw[:, 0].astype(np.int64)
        else:
            index = np.arange(len(vertices))
        if len(vertices) > MOST_VERTICES or len(index) % 3 or len(index) > 6 * MOST_VERTICES:
            raise Broken(f"has {len(vertices):,} vertices and {len(index):,} corners of triangles")
        if index.min(initial=0) < 0 or index.max(initial=0) >= len(vertices):
            raise Broken(f"has a triangle with a corner beyond its {len(vertices):,} vertices")
        yield vertices, index.reshape(-1, 3), primitive


def _weights(file: Glb, primitive: dict[str, Any], n: int, bones: int) -> Float[ndarray, "n b"]:
    attributes = mapping(primitive.get("attributes"), "the attributes of a primitive")
    if n * bones > 1 << 28:
        raise Broken(f"has {n:,} vertices and {bones:,} bones; expected fewer")
    whole_weights = np.zeros((n, bones))
    sets = [k for k in range(4) if f"JOINTS_{k}" in attributes]
    if not sets:
        raise Broken("has triangles without weights of bones (JOINTS_0 and WEIGHTS_0)")
    for k in sets:
        if f"WEIGHTS_{k}" not in attributes:
            raise Broken(f"has JOINTS_{k} without WEIGHTS_{k}; expected both")
        joints = file.accessor(attributes[f"JOINTS_{k}"], 4).raw
        weights = _fractions(file, attributes[f"WEIGHTS_{k}"])
        if len(joints) != n or len(weights) != n or joints.dtype.kind != "u":
            raise Broken(f"has {len(joints):,} and {len(weights):,} weights for {n:,} vertices")
        if joints.max(initial=0) >= bones:
            raise Broken(f"has weights of a bone {joints.max()}, and {bones} bones")
        for column in range(4):
            np.add.at(whole_weights, (np.arange(n), joints[:, column]), weights[:, column])
    total = whole_weights.sum(1, keepdims=True)
    if not np.isfinite(total).all() or (total < 1e-3).any():
        raise Broken("has vertices that no bone moves; expected weights that sum to 1")
    return np.asarray(whole_weights / total)


def _fractions(file: Glb, index: object) -> Float[ndarray, "n 4"]:
    """Weights: floats, or integers of which the largest is 1, which need not say so."""
    accessor = file.accessor(index, 4)
    values = accessor.raw.astype(np.float64)
    if accessor.raw.dtype.kind == "u":
        values /= np.iinfo(accessor.raw.dtype).max
    return np.asarray(np.maximum(np.nan_to_num(values), 0))


def _placed(
    vertices: Float[ndarray, "n 3"], matrix: Float[ndarray, "4 4"]
) -> Float[ndarray, "n 3"]:
    whole_matrix = UP @ matrix
    return np.asarray(vertices @ whole_matrix[:3, :3].T + whole_matrix[:3, 3])


def _joined(parts: list[tuple[Any, Any]]) -> Mesh:
    if not parts or not sum(len(faces) for _, faces in parts):
        raise Broken("has no triangles; expected the surface of a body")
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    faces = [faces + start for (_, faces), start in zip(parts, starts, strict=False)]
    return Mesh(np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces))


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Write triangles without bones, as a template is read."""
    still = np.eye(4)[None]
    weights = np.ones((len(mesh.vertices), 1))
    write(Body(mesh, ("root",), np.array([-1]), still, weights), path)


def write(body: Body, path: Path) -> None:
    """Write a body as it stands: a skinned mesh, with four bones a vertex."""
    vertices, bones = len(body.mesh.vertices), len(body.names)
    top = np.argsort(-body.weights, axis=1, kind="stable")[:, :4]
    top = np.concatenate([top, np.zeros((vertices, 4 - top.shape[1]), top.dtype)], 1)
    values = np.take_along_axis(body.weights, top, 1)
    values[:, bones:] = 0
    values /= values.sum(1, keepdims=True)
    axes = np.eye(4)
    axes[:3, :3] = UP[:3, :3] @ body.axes
    worlds = UP @ body.joints
    inverse = np.linalg.inv(worlds).swapaxes(1, 2).reshape(-1, 16)
    positions = (body.mesh.vertices @ UP[:3, :3].T).astype("<f4")
    blocks = [
        (positions, "VEC3", glb.FLOAT, _ARRAY), (top.astype("<u2"), "VEC4", glb.SHORT, _ARRAY),
        (values.astype("<f4"), "VEC4", glb.FLOAT, _ARRAY),
        (body.mesh.faces.reshape(-1).astype("<u4"), "SCALAR", glb.WORD, _ELEMENTS),
        (inverse.astype("<f4"), "MAT4", glb.FLOAT, None),
    ]  # fmt: skip
    views, accessors, begin = [], [], 0
    for number, (values_, kind, component, target) in enumerate(blocks):
        view = {"buffer": 0, "byteOffset": begin, "byteLength": values_.nbytes}
        views.append(view if target is None else {**view, "target": target})
        accessors.append(
            {"bufferView": number, "componentType": component, "count": len(values_), "type": kind}
        )
        begin += values_.nbytes
    accessors[0] |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    nodes: list[dict[str, Any]] = [
        {"name": "armature", "matrix": axes.T.reshape(-1).tolist(), "children": []}
    ]
    for bone, name in enumerate(body.names):
        parent = int(body.parents[bone])
        over = axes if parent < 0 else worlds[parent]
        local = np.linalg.inv(over) @ worlds[bone]
        nodes.append({"name": name, "matrix": local.T.reshape(-1).tolist(), "children": []})
        nodes[parent + 1]["children"].append(bone + 1)
    for node in nodes:
        if not node["children"]:
            del node["children"]
    nodes.append({"name": "body", "mesh": 0, "skin": 0})
    attributes = {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}
    document = {
        "asset": {"version": "2.0", "generator": "splat"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(nodes) - 1]}],
        "nodes": nodes,
        "skins": [{"joints": list(range(1, bones + 1)), "inverseBindMatrices": 4}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 3}]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": begin}],
    }
    text = glb.json_bytes(document)
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(glb.head(text, begin))
        for values_, *_ in blocks:
            file.write(values_.tobytes())
