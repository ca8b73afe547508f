"""Files that lie about their size, or have no end: a sentence, before memory is taken."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from formats import some
from PIL import Image

from splat import formats
from splat.formats.header import Header
from splat.formats.point_cloud import read_points
from splat.photos import exr, pictures
from splat.photos.exif import exposure_value, facts, open_picture
from splat.photos.given_maps import given_depth, given_normal
from splat.system.foreign import Broken, Unreadable
from splat.types import Camera, DepthFile, NormalFile, View


def view_of(path: Path, kind: str = "depth") -> View:
    """A photo of 16 x 12 pixels to which a map belongs."""
    import torch

    camera = Camera(torch.eye(4), torch.eye(3), 16, 12)
    if kind == "normal":
        return View("a", camera, Path("a.png"), normal=NormalFile(path, "camera"))
    return View("a", camera, Path("a.png"), depth=DepthFile(path, "metric"))


# Pictures


def png(width: int, height: int, bits: int = 8, kind: int = 6, data: bytes = b"") -> bytes:
    """A PNG that claims so many pixels; the least that libpng looks at."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", data or zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    """A small JPEG whose frame header claims so many pixels."""
    raw = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    at = raw.index(b"\xff\xc0")
    sides = struct.pack(">HH", height, width)
    return raw[:2] + before + raw[2 : at + 5] + sides + raw[at + 9 :]


def tiff(width: int, height: int, order: str = "<", channels: int = 3) -> bytes:
    """A classic TIFF of channels of 16 bits."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + 2 + 5 * 12 + 4)]
    entries += [(277, 3, 1, channels), (259, 3, 1, 1)]
    made = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    made += struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        field = struct.pack(order + "HH", value, 0) if kind == 3 and count == 1 else None
        made += struct.pack(order + "HHI", tag, kind, count)
        made += field or struct.pack(order + "I", value)
    return made + bytes(4) + struct.pack(order + "3H", 16, 16, 16)


CLAIMS = {
    "a.png": (png(20000, 20000), "claims 20,000 x 20,000 pixels; expected 168 million at most"),
    "b.png": (png(12000, 12000), "claims 12,000 x 12,000 pixels, which "),
    "c.png": (png(2**31 - 1, 2**31 - 1), "claims 2,147,483,647 x"),
    "a.jpg": (jpeg(65000, 65000), "claims 65,000 x 65,000 pixels; expected 168 million"),
    "b.jpg": (jpeg(65000, 65000, b"\xff\xff\xff\xd0\xff\x01\xff\xe1\0\x04ab"), "claims 65,000 x"),
    "a.tif": (tiff(60000, 60000), "claims 60,000 x 60,000 pixels; expected 168 million"),
    "b.tif": (tiff(12000, 12000, ">", 4), "claims 1.15 GB for 12,000 x 12,000 pixels"),
    "a.hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n\2\2", "claims 30,000 x"),
    "a.bmp": (b"BM" + struct.pack("<IIIIiiHH24x", 54, 0, 54, 40, 30000, 30000, 1, 24),
              "claims 30,000 x 30,000"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_pictures_claim_no_more_than_their_size_allows(tmp_path: Path, name: str) -> None:
    content, said = CLAIMS[name]
    path = tmp_path / name
    path.write_bytes(content)
    for read in (pictures.read, pictures.stored_size):
        with pytest.raises(Unreadable) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {said}"), caught.value
    if name != "a.hdr":
        with pytest.raises(Broken, match=said.split(";")[0]), open_picture(path):
            pass
    assert exposure_value(path) is None


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "webp", "bmp", "hdr", "ppm"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_headers_say_what_the_decoder_finds(tmp_path: Path, kind: str, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 36, channels), np.uint8)
    if (kind, channels) in [("hdr", 1), ("hdr", 4), ("jpg", 4), ("bmp", 4), ("ppm", 1), ("ppm", 4)]:
        pytest.skip("there is no such file")
    if kind in ("png", "tif"):
        image = image.astype(np.uint16) * 257
    path = tmp_path / f"a.{kind}"
    stored = image.astype(np.float32) if kind == "hdr" else image
    path.write_bytes(cv2.imencode(path.suffix, stored)[1].tobytes())
    raw = path.read_bytes()
    claim = pictures.claim_of(io.BytesIO(raw))
    decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    assert claim is not None and (claim.height, claim.width) == (20, 36)
    assert claim.pixel_bytes * 20 * 36 >= decoded.nbytes
    assert np.array_equal(pictures.read(path), decoded)
    assert pictures.stored_size(path) == (36, 20)


def test_what_is_no_picture_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    at = whole.index(b"IDAT")
    for content in (
        whole[: at - 4] + b"\x7f\xff\xff\xff" + whole[at:],  # for which OpenCV takes 2 GB
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        whole[:-20],
        b"\xff\xd8",
    ):
        path.write_bytes(content)
        with pytest.raises(Unreadable, match=r"a\.png: cannot be decoded to its end; expected a"):
            pictures.read(path)
    os.remove(path)
    os.mkfifo(path)
    for read in (pictures.read, exr.read):
        with pytest.raises(Unreadable, match="is no file"):
            read(path)
    with pytest.raises(Broken, match="is no file"), open_picture(path):
        pass


def test_odd_exif_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker" * 1000
    exif.get_ifd(0x8769).update({0x829A: 1e-300, 0x829D: 1e300, 0x8827: 100, 0xA405: float("nan")})
    exif.get_ifd(0x8825).update({1: "N", 2: (1, 1, 1), 3: "E", 4: (1, 1, 1), 6: float("inf")})
    known = facts(exif, 100, 100)
    assert known["ev"] is None and known["f_number"] is None and known["altitude"] is None
    assert len(known["camera"]) == 100 and known["latitude"] > 1


# Maps


def exr_of(
    width: int = 16,
    height: int = 12,
    rows: list[int] | None = None,
    more: bytes = b"",
    sides: tuple[int, int, int, int] | None = None,
) -> bytes:
    """An OpenEXR of one channel without compression; row y holds y + 1."""

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(value)) + value

    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += attribute("channels", "chlist", b"Z\0" + struct.pack("<iIii", 2, 0, 1, 1) + b"\0")
    head += attribute("compression", "compression", b"\0")
    box = sides or (0, 0, width - 1, height - 1)
    head += attribute("dataWindow", "box2i", struct.pack("<4i", *box)) + more + b"\0"
    there = list(range(height)) if rows is None else rows
    size = 8 + 4 * width
    starts = [len(head) + 8 * len(there) + size * i for i in range(len(there))]
    chunks = [
        struct.pack("<ii", y, 4 * width) + np.full(width, y + 1, "<f4").tobytes() for y in there
    ]
    return head + struct.pack(f"<{len(starts)}Q", *starts) + b"".join(chunks)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (exr_of(more=b"loop\0int\0" + struct.pack("<i", -14)), "an attribute loop of -14 bytes"),
        (exr_of(rows=[0] * 12), "rows are missing, or there twice"),
        (exr_of(rows=[*range(11), 12]), "rows are missing, or there twice"),
        (exr_of(rows=[*range(11), -1]), "rows are missing, or there twice"),
        (exr_of(sides=(0, 0, 2**31 - 1, 11)), "claims 2,147,483,648 x 12 pixels"),
        (exr_of(sides=(5, 0, 0, 11)), "claims -4 x 12 pixels"),
        (exr_of(sides=(0, 0, 2**20, 2**20)), "claims 1,048,577 x 1,048,577 pixels"),
        (exr_of(sides=(-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)), "claims 4,294,967,296 x"),
        (exr_of()[:-30], "rows are missing, or there twice"),
        (exr_of()[:150], "export it again"),
    ],
)
def test_exr_of_rows_that_are_not_there(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected a whole OpenEXR file") as caught:
        exr.read(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_exr_is_read_in_any_order_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(exr_of(rows=[*range(11, -1, -1)]))
    assert exr.read(path)["Z"][:, 3].tolist() == list(range(1, 13))


def npz(name: str, array: Any, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of one array."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive, archive.open(name, "w") as out:
        np.save(out, array)
    return file.getvalue()


def zeros(size: int) -> bytes:
    """Blocks of deflate, without an end, of so many bytes of 0."""
    packer = zlib.compressobj(9, wbits=-15)
    part = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * (size >> 22)


def npy(shape: bytes) -> bytes:
    """A file of 12 x 16 numbers that says so of another number."""
    file = io.BytesIO()
    np.save(file, np.zeros((12, 16), "f4"))
    old = b"(12, 16), }" + b" " * 20
    assert old in file.getvalue()
    return file.getvalue().replace(old, (shape + b", }").ljust(len(old)))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", lambda: npy(b"(9**9, 16)"), "is no whole NumPy array"),
        ("a.npy", lambda: npy(b"(12, 16000000000)"), "claims 768,000,000,000 bytes"),
        ("a.npy", lambda: npy(b"(-12, 16)"), "claims"),
        ("a.npz", lambda: npz("depth.npy", np.zeros((12, 16), "f4"), zipfile.ZIP_LZMA),
         "has 'depth.npy' in compression 14"),
        ("a.npz", lambda: npz("depth.npy", np.zeros((12, 16), "f4"))[:-40], ""),
        ("a.png", lambda: png(30000, 30000, 16, 0), "claims 30,000 x 30,000 pixels"),
    ],
)  # fmt: skip
def test_maps_that_lie(tmp_path: Path, name: str, content: Callable[[], bytes], said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    for kind, read in (("depth", given_depth), ("normal", given_normal)):
        with pytest.raises(ValueError, match=r"expected|again") as caught:
            read(view_of(path, kind), 16, 12)
        assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_a_map_in_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(npz("depth.npy", np.full((12, 16), 2, "f2")))
    depth = given_depth(view_of(path), 16, 12)
    assert depth is not None and (depth == 2).all()


# Gaussians


def header(count: str, *, form: str = "binary_little_endian", extra: str = "") -> bytes:
    lines = ["ply", f"format {form} 1.0", f"{extra}element vertex {count}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    return "\n".join([*lines, "end_header", ""]).encode()


@pytest.mark.parametrize("count", ["+2", "2_0", "-2", "\u0662", "2.0", "0x2", "two"])
def test_counts_of_a_ply_are_digits(tmp_path: Path, count: str) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(header("2").replace(b"vertex 2", f"vertex {count}".encode()) + bytes(600))
    for read in (Header.of, read_points, formats.read, formats.holds_gaussians):
        with pytest.raises(Unreadable) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: has ") and "element" in str(caught.value)


@pytest.mark.parametrize("zeros", [1, 19, 25])
def test_a_count_with_leading_zeros_is_what_it_says(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(header("0" * zeros + "2") + np.arange(6, dtype="<f4").tobytes())
    assert len(read_points(path).positions) == 2 == Header.of(path).tables[0].count


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header("9" * 30), "claims more rows than it has bytes"),
        (header("3") + bytes(24), "is cut off: it has 2 rows, expected 3"),
        (header("3", form="ascii") + b"1 2 3\n4 5 6\n", "is cut off: it has 2 rows, expected 3"),
        (header("2", form="ascii") + b"1 2 3\n4 5\n", "expected a whole file"),
        (header("1", form="ascii") + b"1 2 3 4\n", "expected a whole file"),
        (header("2", extra="element face 3\nproperty list uchar int v\n") + bytes(99),
         "has lists in its element 'face'"),
        (header("2").replace(b"float z", b"list uchar float z") + bytes(99), "has lists"),
        (header("2").replace(b"float z", b"float y") + bytes(99), "has two columns 'y'"),
        (header("2").replace(b"float z", b"O z") + bytes(99), "has 'property O z'"),
        (header("2", extra="element vertex 1\n") + bytes(99), "has two elements 'vertex'"),
        (header("2", form="binary") + bytes(99), "is of format [['binary', '1.0']]"),
    ],
)  # fmt: skip
def test_plys_that_lie(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="again") as caught:
        read_points(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_faces_of_a_mesh_are_not_read(tmp_path: Path) -> None:
    """A million empty lists, and whatever else follows the points, cost nothing."""
    path = tmp_path / "a.ply"
    more = b"element face 1000000\nproperty list uchar int vertex_indices\nend_header\n"
    rows = np.arange(6, dtype="<f4").tobytes()
    path.write_bytes(header("2").replace(b"end_header\n", more) + rows + bytes(10**6))
    assert read_points(path).positions.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("suffix", formats.suffixes(folders=True))
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 5000, b"[" * 200_000])
def test_nonsense_under_every_suffix_names_the_file(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / (suffix if suffix.endswith("json") else f"a{suffix}")
    path.write_bytes(content)
    for read in (formats.read, formats.drawing, formats.holds_gaussians):
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)


def test_readers_of_other_packages_are_behind_the_same_edge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise struct.error("unpack requires a buffer of 4 bytes")

    path = tmp_path / "a.splat"
    path.write_bytes(bytes(32))
    monkeypatch.setattr("splat.formats.splat.read", fail)
    with pytest.raises(Unreadable) as caught:
        formats.read(path)
    assert str(caught.value) == (
        f"{path}: is broken or cut off; expected a whole .splat; fetch or export it again"
    )
    assert isinstance(caught.value.__cause__, struct.error)


def test_a_chunk_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "lod-meta.json"
    formats.write(some(40), path)
    document = json.loads(path.read_text())
    document["filenames"].append("0_0/../0_0/meta.json")
    place = {"file": len(document["filenames"]) - 1, "offset": 0, "count": 40}
    document["tree"] = {"children": [document["tree"], {"lods": {"0": place}}]}
    del document["counts"]
    path.write_text(json.dumps(document))
    with pytest.raises(Unreadable, match=r"lod-meta\.json: has a chunk twice.*again"):
        formats.read(path)


BOMBS = """
import sys, resource
from pathlib import Path
from splat import formats
from splat.photos import pictures
from splat.photos.given_maps import _numbers
for path in sorted(Path(sys.argv[1]).iterdir()):
    read = {".png": pictures.read, ".npz": _numbers}.get(path.suffix, formats.read)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
        said = "was read"
    except ValueError as error:
        said = str(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(path.name, grown, said, sep="|")
"""


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    from splat.formats.spz_container import _HEADER, _MAGIC

    shape = (1 << 19, 1 << 10)
    part = io.BytesIO()
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(part, head)
    packer = zlib.compressobj(wbits=-15)
    start = packer.compress(part.getvalue()) + packer.flush(zlib.Z_FULL_FLUSH)
    stored, size = start + zeros(2 << 30), len(part.getvalue()) + (2 << 30)
    small = bytearray(npz("depth.npy", np.zeros(1)))
    entry = small.index(b"PK\x01\x02")
    struct.pack_into("<II", small, entry + 20, len(stored), size)
    struct.pack_into("<I", small, len(small) - 6, 39 + len(stored))
    (tmp_path / "a.npz").write_bytes(bytes(small[:39]) + stored + bytes(small[entry:]))
    (tmp_path / "a.png").write_bytes(png(16380, 16380, 8, 6))
    packer = zlib.compressobj(wbits=31)
    begin = packer.compress(_HEADER.pack(_MAGIC, 2, 30_000_000, 0, 12, 0, 0))
    begin += packer.flush(zlib.Z_FULL_FLUSH)
    (tmp_path / "a.spz").write_bytes(begin + zeros(600 << 20))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert max(sizes.values()) < 3 << 20
    child = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = [line.split("|") for line in child.stdout.splitlines()]
    assert {name for name, *_ in lines} == set(sizes)
    for name, grown, said in lines:
        assert "claims" in said and name in said
        assert int(grown) << 10 < 64 << 20, (name, grown)
