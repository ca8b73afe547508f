"""The container of glTF 2.0 (`.glb`): a JSON document and one block of binary data.

Layout: 'glTF', version, length; then chunks of a length, a type and data, the JSON first. What a
file says of itself is believed once it was checked against the bytes that are there.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.rotations import matrix_of
from splat.system import foreign
from splat.system.foreign import Broken, shown

Record = dict[str, Any]
Matrix = NDArray[np.float64]

MOST = (1 << 32) - 1
"""Most bytes that a file may have: its length is a number of 32 bits."""
FLOAT, BYTE, SHORT, WORD = 5126, 5121, 5123, 5125
"""float32, uint8, uint16 and uint32, as documents name them."""
_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<I4s")
OVERHEAD = _HEADER.size + 2 * _CHUNK.size
"""Bytes of a file beside its document and its binary block."""
_LONGEST = 1 << 24
"""Bytes of JSON that are read: parsed, they may take twenty times as much."""
_KINDS = {5120: "<i1", BYTE: "<u1", 5122: "<i2", SHORT: "<u2", WORD: "<u4", FLOAT: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_UNDERSTOOD = {
    "KHR_gaussian_splatting",
    "KHR_mesh_quantization",
    "KHR_gaussian_splatting_compression_spz_2",
}


@dataclass(frozen=True)
class Accessor:
    """The values of an attribute; they stay on disk until they are asked for."""

    raw: NDArray[Any]
    """Stored numbers [count, width]."""
    whole: int | None
    """The integer that stands for 1 (normalised integers); None: numbers are taken as stored."""

    def values(self, rows: slice) -> NDArray[np.float32]:
        """Values of some rows, float32: normalised integers scaled to [-1, 1]."""
        part: NDArray[np.float32] = self.raw[rows].astype(np.float32)
        return part if self.whole is None else np.maximum(part / self.whole, np.float32(-1))


@dataclass(frozen=True)
class Glb:
    """A parsed file."""

    document: Record
    data: NDArray[np.uint8]
    """The binary block, on disk until it is used."""

    def entry(self, table: str, index: object) -> Record:
        """An object of one of the document's tables."""
        entries = array(self.document, table)
        if type(index) is not int or not 0 <= index < len(entries):
            raise Broken(f"refers to {table}[{shown(index)}], but has {len(entries)} {table}")
        return mapping(entries[index], f"{table}[{index}]")

    def bytes_of(self, index: object) -> bytes:
        """A copy of the bytes of a buffer view."""
        view = self.entry("bufferViews", index)
        length = whole(view, "byteLength")
        begin = self._begin(view, length)
        return self.data[begin : begin + length].tobytes()

    def accessor(self, index: object, width: int, *, indices: bool = False) -> Accessor:
        """An accessor of `width` components that lies within the binary block.

        `indices` may be of 32 bits, which glTF has for nothing else.
        """
        record = self.entry("accessors", index)
        name, kind = record.get("type"), _KINDS.get(whole(record, "componentType"))
        allowed = kind is not None and (indices or kind != _KINDS[WORD])
        if not isinstance(name, str) or _WIDTHS.get(name) != width or not allowed:
            raise Broken(
                f"has an accessor of type {shown(name)} and component type"
                f" {record['componentType']}, expected {width} components of 8 or 16 bits, or float"
            )
        if "sparse" in record or "bufferView" not in record:
            raise Broken("has an accessor without values of its own (sparse, or compressed)")
        view = self.entry("bufferViews", record["bufferView"])
        item = np.dtype(kind)
        count, stride = whole(record, "count"), whole(view, "byteStride", width * item.itemsize)
        offset, length = whole(record, "byteOffset", 0), whole(view, "byteLength")
        needed = offset + stride * (count - 1) + width * item.itemsize
        if count < 1 or stride < width * item.itemsize or needed > length:
            raise Broken(
                f"has an accessor of {count} rows every {stride} bytes in a view of {length} bytes"
            )
        begin = self._begin(view, length) + offset
        raw = np.ndarray((count, width), item, self.data, begin, (stride, item.itemsize))
        normalised = record.get("normalized") is True and item.kind in "iu"
        return Accessor(raw, int(np.iinfo(item).max) if normalised else None)

    def placements(self) -> Iterator[tuple[int, Matrix]]:
        """The meshes of the scene, and the matrices [4, 4] that place them in the world."""
        if not array(self.document, "nodes"):
            yield from ((mesh, np.eye(4)) for mesh in range(len(array(self.document, "meshes"))))
            return
        for _, _, matrix, node in self.nodes():
            if "mesh" in node:
                yield whole(node, "mesh"), matrix

    def nodes(self) -> Iterator[tuple[int, int, Matrix, Record]]:
        """Nodes of the scene, each after its parent: its number, that of its parent (-1: none),
        the matrix [4, 4] that places it in the world, and itself."""
        waiting = [(node, -1, np.eye(4)) for node in reversed(self._roots())]
        seen: set[int] = set()
        while waiting:
            index, parent, above = waiting.pop()
            node = self.entry("nodes", index)
            if index in seen:
                raise Broken(f"has node {index} in two places, expected a tree of nodes")
            seen.add(index)
            matrix = above @ _local(node)
            waiting += [(child, index, matrix) for child in reversed(array(node, "children"))]
            yield index, parent, matrix, node

    def _roots(self) -> list[Any]:
        """Nodes of the scene that is shown, or all that have no parent."""
        if array(self.document, "scenes"):
            scene = self.entry("scenes", self.document.get("scene", 0))
            return array(scene, "nodes")
        nodes = [mapping(node, "node") for node in array(self.document, "nodes")]
        inner = {child for node in nodes for child in array(node, "children") if type(child) is int}
        return [index for index in range(len(nodes)) if index not in inner]

    def _begin(self, view: Record, length: int) -> int:
        """Where a buffer view of `length` bytes begins in the binary block."""
        number, begin = view.get("buffer"), whole(view, "byteOffset", 0)
        if number != 0 or "uri" in self.entry("buffers", 0):
            raise Broken("keeps its data in another file, expected one .glb that holds everything")
        if begin + length > len(self.data):
            raise Broken(
                f"has a buffer view up to byte {begin + length:,}, but holds {len(self.data):,}"
                " bytes of data"
            )
        return begin


def read_glb(path: Path) -> Glb:
    """The parsed file; raises `Broken` where it is none, or asks for what is not understood."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a .glb file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER.size + _CHUNK.size)
        if start[:4] != b"glTF":
            problem = "is empty" if not start else f"starts with {start[:4]!r}, not with 'glTF'"
            raise Broken(f"{problem}: it is no .glb file")
        if len(start) < _HEADER.size + _CHUNK.size:
            raise Broken("is cut off within its header")
        _, version, length = _HEADER.unpack_from(start)
        if version != 2 or length != size:
            raise Broken(
                f"says that it is glTF {version} of {length:,} bytes, expected glTF 2 of {size:,}"
            )
        document = _document(file.read(_text_length(start, size)))
        at = file.tell()
        chunk = file.read(_CHUNK.size)
    return Glb(document, _block(path, chunk, at + _CHUNK.size, size))


def json_bytes(document: Record) -> bytes:
    """The JSON of a document, padded to four bytes."""
    text = json.dumps(document, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 4)


def head(text: bytes, length: int) -> bytes:
    """What stands before the binary block of `length` bytes, a multiple of four."""
    start = _HEADER.pack(b"glTF", 2, OVERHEAD + len(text) + length)
    return start + _CHUNK.pack(len(text), b"JSON") + text + _CHUNK.pack(length, b"BIN\0")


def mapping(value: object, name: str) -> Record:
    """`value` as an object; raises `Broken`, naming it, where it is none."""
    if not isinstance(value, dict):
        raise Broken(f"has {shown(value)} for {name}, expected an object")
    return value


def array(record: Record, name: str) -> list[Any]:
    """An array of an object, empty where it is missing."""
    value = record.get(name, [])
    if not isinstance(value, list):
        raise Broken(f"has {shown(value)} for {name}, expected an array")
    return value


def whole(record: Record, name: str, default: int | None = None) -> int:
    """A whole number of an object, 0 or more; raises `Broken` where it is none."""
    value = record.get(name, default)
    # JSON may write 4 as 4.0.
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise Broken(f"has {shown(value)} for {name}, expected a whole number")
    return value


def _text_length(start: bytes, size: int) -> int:
    length, kind = _CHUNK.unpack_from(start, _HEADER.size)
    if kind != b"JSON" or length > min(size - len(start), _LONGEST):
        raise Broken(
            f"begins with {length:,} bytes of {kind!r}, expected JSON that fits in the file"
        )
    return int(length)


def _document(text: bytes) -> Record:
    with foreign.part("its JSON"):
        parsed = foreign.parsed(text)
    document = mapping(parsed, "its JSON")
    needed = [name for name in array(document, "extensionsRequired") if name not in _UNDERSTOOD]
    if needed:
        raise Broken(f"requires {', '.join(map(shown, needed[:4]))}, which is not understood")
    return document


def _block(path: Path, chunk: bytes, at: int, size: int) -> NDArray[np.uint8]:
    """The binary block, whose chunk header is `chunk` and whose data begins `at`."""
    if not chunk:
        return np.empty(0, np.uint8)
    length, kind = _CHUNK.unpack(chunk) if len(chunk) == _CHUNK.size else (0, chunk)
    if kind != b"BIN\0" or length > size - at:
        raise Broken(f"is broken after its JSON: {length:,} bytes of {kind!r}, {size - at:,} left")
    return np.memmap(path, np.uint8, "r", at, (length,)) if length else np.empty(0, np.uint8)


def _local(node: Record) -> Matrix:
    """The matrix of a node within its parent."""
    if "matrix" in node:
        return np.reshape(_numbers(node, "matrix", [0.0] * 16), (4, 4), order="F")
    turn = _numbers(node, "rotation", [0.0, 0.0, 0.0, 1.0])
    matrix = np.eye(4)
    if not np.linalg.norm(turn) > 0:
        raise Broken("has a node with the rotation 0, expected a unit quaternion")
    matrix[:3, :3] = matrix_of(np.roll(turn, 1)) * _numbers(node, "scale", [1.0] * 3)
    matrix[:3, 3] = _numbers(node, "translation", [0.0] * 3)
    return matrix


def _numbers(node: Record, name: str, default: list[float]) -> Matrix:
    values = array({name: node.get(name, default)}, name)
    plain = all(type(value) in (int, float) and abs(value) < 1e30 for value in values)
    if len(values) != len(default) or not plain:
        raise Broken(f"has a node with {shown(values)} for {name}, expected {len(default)} numbers")
    return np.array(values, np.float64)
