"""Files of meshes: `.ply` (binary), `.glb` (glTF 2.0) and `.obj`, with normals and colours."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from splat.formats import glb
from splat.mesh.mesh import Mesh
from splat.system.files import replacing

_WHITE = 255
_ARRAY, _ELEMENTS = 34962, 34963
"""What a view of a glTF buffer is for: attributes of vertices, numbers of them."""
_USHORT, _UINT = 5123, 5125
"""uint16 and uint32, as glTF names them."""


def suffix_of(path: Path) -> str:
    """The ending of a file that can be written; ValueError says which there are."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(
            f"cannot write a mesh to {path.name}; give a name ending in {', '.join(_WRITERS)}"
        )
    return suffix


def write(mesh: Mesh, path: Path) -> None:
    """Write a mesh; the ending of the name says in which format. Coordinates are float32."""
    write_as = _WRITERS[suffix_of(path)]
    if not len(mesh.faces):
        raise ValueError(f"the mesh has no faces; {path} was not written")
    with replacing(path) as draft:
        draft.write_bytes(write_as(mesh))


def _ply(mesh: Mesh) -> bytes:
    """Binary PLY: position, normal and 8-bit colour of vertices; triangles as lists."""
    floats = ("x", "y", "z", "nx", "ny", "nz")
    bytes_ = ("red", "green", "blue")
    row = np.dtype([*((name, "<f4") for name in floats), *((name, "u1") for name in bytes_)])
    vertices = np.empty(len(mesh.vertices), row)
    columns = np.concatenate([mesh.vertices, mesh.normals], 1).T
    for name, values in zip(floats, columns, strict=True):
        vertices[name] = values
    for name, tints in zip(bytes_, _colors(mesh).T, strict=True):
        vertices[name] = tints
    faces = np.empty(len(mesh.faces), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, mesh.faces
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {name}" for name in floats]
    lines += [f"property uchar {name}" for name in bytes_]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return "\n".join([*lines, ""]).encode() + vertices.tobytes() + faces.tobytes()


def _obj(mesh: Mesh) -> bytes:
    """Wavefront OBJ; colours in [0, 1] follow the positions, as most readers understand."""
    text = io.StringIO()
    rows = np.concatenate([mesh.vertices, _colors(mesh) / 255], 1)
    np.savetxt(text, rows, "v %.9g %.9g %.9g %.4g %.4g %.4g")
    np.savetxt(text, mesh.normals, "vn %.5f %.5f %.5f")
    np.savetxt(text, np.repeat(mesh.faces + 1, 2, axis=1), "f %d//%d %d//%d %d//%d")
    return text.getvalue().encode()


def _glb(mesh: Mesh) -> bytes:
    """glTF binary: positions as they are, below a node that turns them to glTF's y up.

    It is the half turn about z that `.glb` files of Gaussians have. glTF wants colours linear; 16
    bits keep what 8 bits of sRGB say.
    """
    linear = _linear(_colors(mesh) / 255)
    colors = np.full((len(mesh.vertices), 4), 65535, "<u2")
    colors[:, :3] = np.rint(65535 * linear)
    positions = mesh.vertices.astype("<f4")
    parts = [positions, mesh.normals.astype("<f4"), colors, mesh.faces.astype("<u4")]
    views, start = [], 0
    for part, target in zip(parts, (_ARRAY, _ARRAY, _ARRAY, _ELEMENTS), strict=True):
        views.append(
            {"buffer": 0, "byteOffset": start, "byteLength": part.nbytes, "target": target}
        )
        start += part.nbytes
    n, corners = len(mesh.vertices), 3 * len(mesh.faces)
    place = {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    accessors: list[dict[str, Any]] = [
        {"componentType": glb.FLOAT, "count": n, "type": "VEC3", **place},
        {"componentType": glb.FLOAT, "count": n, "type": "VEC3"},
        {"componentType": _USHORT, "count": n, "type": "VEC4", "normalized": True},
        {"componentType": _UINT, "count": corners, "type": "SCALAR"},
    ]
    primitive = {
        "attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2},
        "indices": 3,
        "material": 0,
    }
    rough = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    document = {
        "asset": {"version": "2.0", "generator": "splat"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": [0.0, 0.0, 1.0, 0.0]}],
        "meshes": [{"primitives": [primitive]}],
        "materials": [{"pbrMetallicRoughness": rough, "doubleSided": True}],
        "accessors": [{"bufferView": i, **accessor} for i, accessor in enumerate(accessors)],
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    text = glb.json_bytes(document)
    if glb.OVERHEAD + len(text) + start > glb.MOST:
        raise ValueError(f"{n:,} vertices take more than the 4 GiB that a .glb can have")
    return glb.head(text, start) + b"".join(part.tobytes() for part in parts)


def _colors(mesh: Mesh) -> UInt8[np.ndarray, "v 3"]:
    if mesh.colors is not None:
        return mesh.colors
    return np.full((len(mesh.vertices), 3), _WHITE, np.uint8)


def _linear(srgb: Float[np.ndarray, "v 3"]) -> NDArray[np.float64]:
    """Linear light of sRGB in [0, 1] (IEC 61966-2-1)."""
    bent = ((srgb + 0.055) / 1.055) ** 2.4
    return np.where(srgb <= 0.04045, srgb / 12.92, bent)


_WRITERS: dict[str, Callable[[Mesh], bytes]] = {".ply": _ply, ".glb": _glb, ".obj": _obj}
