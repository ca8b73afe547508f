"""Mutations of files that hold others: archives, compressed streams, and files of chunks.

What is inside is changed and packed again with checksums and lengths that fit, so that readers get
as far as its values; or the packing itself lies.
"""

from __future__ import annotations

import base64
import functools
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

from .documents import json_mutated
from .pieces import binary_mutated, blind, field, field_mutated, text_mutated

Change = Callable[[bytes, Random], bytes]

_ZEROS = 1 << 24


@functools.cache
def zeros_deflated(times: int) -> bytes:
    """A raw deflate stream of so many times 16 MiB of zeros, which takes a thousandth of it."""
    packer = zlib.compressobj(9, wbits=-15)
    part = packer.compress(bytes(_ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    return part * times + b"\x03\x00"


def zlib_bomb(times: int) -> bytes:
    """The same in zlib's wrapping; its checksum is that of nothing."""
    return b"\x78\x9c" + zeros_deflated(times) + struct.pack(">I", 1)


def zip_mutated(data: bytes, draw: Random, inner: Callable[[str], Change]) -> bytes:
    """An archive with a member changed as `inner` says for its name, or with lies about members."""
    chance = draw.random()
    if chance < 0.1:
        return blind(data, draw)
    if chance < 0.35:
        return _zip_head_mutated(data, draw)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(m.file_size for m in archive.infolist()) > _ZEROS:
                return blind(data, draw)  # it is a bomb already
            members = [(m.filename, archive.read(m)) for m in archive.infolist()]
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError):
        return blind(data, draw)
    kind = zipfile.ZIP_STORED
    at = draw.randrange(len(members))
    name, content = members[at]
    match draw.randrange(12):
        case 0:
            del members[at]
        case 1:
            members[at] = (name, content[: draw.randrange(len(content) + 1)])
        case 2:
            members.append((name, draw.choice((b"", content, b"{}"))))
        case 3:
            odd = draw.choice((name.upper(), "../" + name, "/" + name, name + "/", "ü", "x" * 300))
            members[at] = (odd, content)
        case 4:
            kind = draw.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case 5:
            other = draw.choice(members)[1]
            members[at] = (name, other)
        case _:
            members[at] = (name, inner(name)(content, draw))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = kind
            archive.writestr(entry, content)
    found = file.getvalue()
    return _bombed(found, draw) if draw.random() < 0.004 else found


_ZIP_FIELDS = {
    b"PK\x03\x04": ((4, "H"), (6, "H"), (8, "H"), (14, "I"), (18, "I"), (22, "I"), (26, "H"),
                    (28, "H")),
    b"PK\x01\x02": ((6, "H"), (8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"),
                    (30, "H"), (32, "H"), (34, "H"), (42, "I")),
    b"PK\x05\x06": ((4, "H"), (8, "H"), (10, "H"), (12, "I"), (16, "I"), (20, "H")),
}  # fmt: skip
"""Where the headers of an archive have their numbers: flags, methods, sums, sizes, offsets."""


def _zip_head_mutated(data: bytes, draw: Random) -> bytes:
    heads = [(m.start(), m[0]) for m in re.finditer(rb"PK(?:\x03\x04|\x01\x02|\x05\x06)", data)]
    for _ in range(draw.choice((1, 1, 2))):
        if not heads:
            return blind(data, draw)
        start, mark = draw.choice(heads)
        offset, kind = draw.choice(_ZIP_FIELDS[mark])
        at, size = start + offset, struct.calcsize(kind)
        new = struct.pack("<" + kind, draw.choice((0, 1, 8, 9, 12, 14, 93))) if kind == "H" else b""
        if not new or draw.random() < 0.4:
            new = struct.pack("<" + kind, int.from_bytes(field(draw, kind), "big"))
        data = data[:at] + new + data[at + size :]
    return data


def _bombed(data: bytes, draw: Random) -> bytes:
    """One member more, or in the place of one, that unpacks to 256 MiB or 2 GiB of zeros."""
    times = draw.choice((16, 128))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
    name = draw.choice(names).encode() if names else b"x"
    packed, size = zeros_deflated(times), times * _ZEROS
    size = draw.choice((size, size, 100))
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 33, 0, len(packed), size,
                        len(name), 0) + name  # fmt: skip
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 33, 0, len(packed), size,
                        len(name), 0, 0, 0, 0, 0, 0) + name  # fmt: skip
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local + packed), 0)
    return local + packed + entry + end


def gzip_mutated(data: bytes, draw: Random, inner: Change) -> bytes:
    """A file of gzip with its contents changed, or made of zeros."""
    if draw.random() < 0.15:
        return blind(data, draw)
    try:
        plain = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return blind(data, draw)
    head = gzip.compress(b"")[:10]
    if draw.random() < 0.004:
        packer = zlib.compressobj(1, wbits=-15)
        start = packer.compress(plain[:64]) + packer.flush(zlib.Z_FULL_FLUSH)
        return head + start + zeros_deflated(draw.choice((16, 128))) + bytes(8)
    plain = inner(plain, draw)
    packer = zlib.compressobj(1, wbits=-15)
    packed = packer.compress(plain) + packer.flush()
    return head + packed + struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)


def chunks_of_png(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and contents of each chunk."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return chunks


_SIDES = (0, 1, 2, 7, 9, 16, 4096, 20000, 40000, 65535, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31)


def png_mutated(data: bytes, draw: Random) -> bytes:
    """A PNG with chunks changed, whose checksums fit most of the time."""
    if draw.random() < 0.12:
        return blind(data, draw)
    chunks = chunks_of_png(data)
    if not chunks:
        return blind(data, draw)
    at = draw.randrange(len(chunks))
    name, content = chunks[at]
    match draw.randrange(10):
        case 0 | 1 | 2:
            chunks[0] = (b"IHDR", _ihdr_mutated(chunks[0][1], draw))
        case 3:
            del chunks[at]
        case 4:
            chunks.insert(at, (name, content))
        case 5:
            chunks[at] = (name, binary_mutated(content, draw))
        case 6:
            more = draw.choice((b"iCCP", b"tEXt", b"zTXt", b"eXIf", b"PLTE", b"tRNS", b"acTL",
                                b"sBIT", b"IEND", b"IDAT", b"CgBI", b"abcd"))  # fmt: skip
            chunks.insert(at, (more, draw.choice((b"", b"a\0\0" + zlib.compress(b"a" * 99),
                                                  draw.randbytes(30)))))  # fmt: skip
        case 7:
            draw.shuffle(chunks)
        case 8 if draw.random() < 0.1:
            side = draw.choice((1024, 16384, 23000))
            chunks[0] = (b"IHDR", struct.pack(">II", side, side) + chunks[0][1][8:])
            chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
            chunks.insert(1, (b"IDAT", zlib_bomb(draw.choice((1, 16, 100)))))
        case _:
            packed = b"".join(part for kind, part in chunks if kind == b"IDAT")
            try:
                plain = zlib.decompress(packed)
            except zlib.error:
                return blind(data, draw)
            chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
            chunks.insert(1, (b"IDAT", zlib.compress(blind(plain, draw), 1)))
    wrong = draw.random() < 0.05
    return data[:8] + b"".join(
        struct.pack(">I", len(part))
        + kind
        + part
        + struct.pack(">I", zlib.crc32(kind + part) ^ wrong)
        for kind, part in chunks
    )


def _ihdr_mutated(content: bytes, draw: Random) -> bytes:
    if len(content) != 13:
        return blind(content, draw)
    width, height, *rest = struct.unpack(">IIBBBBB", content)
    match draw.randrange(4):
        case 0:
            width = draw.choice((*_SIDES, height))
        case 1:
            height = draw.choice((*_SIDES, width))
        case 2:
            width = height = draw.choice(_SIDES)
        case _:
            rest[draw.randrange(5)] = draw.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 255))
    return struct.pack(">IIBBBBB", width & 0xFFFFFFFF, height & 0xFFFFFFFF, *rest)


def jpeg_mutated(data: bytes, draw: Random) -> bytes:
    """A JPEG with a segment of its head changed, or with its bytes changed."""
    if draw.random() < 0.2 or data[:2] != b"\xff\xd8":
        return blind(data, draw)
    segments, at = [], 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        size = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at : at + size])
        at += size
    rest = data[at:]
    if not segments:
        return blind(data, draw)
    i = draw.randrange(len(segments))
    mark, content = segments[i][:2], segments[i][4:]
    match draw.randrange(7):
        case 0:
            del segments[i]
        case 1:
            segments.insert(i, segments[i])
        case 2:
            size = struct.pack(">H", draw.choice((0, 1, 2, 3, 65535, len(content))))
            segments[i] = mark + size + content
        case 3:
            frames = [j for j, s in enumerate(segments) if s[1] in (0xC0, 0xC1, 0xC2)]
            for j in frames:
                sides = struct.pack(">HH", *(draw.choice((0, 1, 8, 9, 4000, 65535)) for _ in "hw"))
                segments[j] = segments[j][:5] + sides + segments[j][9:]
        case 4:
            rest = blind(rest, draw)
        case _:
            content = binary_mutated(content, draw)
            segments[i] = mark + struct.pack(">H", (len(content) + 2) & 0xFFFF) + content
    return data[:2] + b"".join(segments) + rest


def glb_mutated(data: bytes, draw: Random) -> bytes:
    """A .glb with its document or its block changed, under lengths that fit."""
    chance = draw.random()
    if chance < 0.2 or len(data) < 28:
        return field_mutated(data, draw, 40) if chance < 0.1 else blind(data, draw)
    (size,) = struct.unpack_from("<I", data, 12)
    text, block = data[20 : 20 + size], data[28 + size :]
    if draw.random() < 0.85:
        text = json_mutated(text.rstrip(), draw)
    else:
        block = binary_mutated(block, draw)
    text += b" " * (-len(text) % 4)
    block += bytes(-len(block) % 4)
    parts = struct.pack("<I4s", len(text), b"JSON") + text
    parts += struct.pack("<I4s", len(block), b"BIN\0") + block
    return struct.pack("<4sII", b"glTF", 2, 12 + len(parts)) + parts


def anchors_mutated(data: bytes, draw: Random) -> bytes:
    """An .anchors file with its header or a section changed; checksums fit."""
    if draw.random() < 0.15 or len(data) < 20:
        return binary_mutated(data, draw)
    magic, version, length, _ = struct.unpack_from("<8sIII", data)
    text, rest = data[20 : 20 + length], data[20 + length :]
    if draw.random() < 0.5:
        text = json_mutated(text, draw)
    else:
        document = json.loads(text)
        at, parts = 0, []
        for _, size, _ in document["sections"]:
            parts.append(rest[at : at + size])
            at += size
        i = draw.randrange(len(parts))
        parts[i] = _deflated_mutated(parts[i], draw)
        for entry, part in zip(document["sections"], parts, strict=True):
            entry[1:] = [len(part), zlib.crc32(part)]
        text, rest = json.dumps(document).encode(), b"".join(parts)
    return struct.pack("<8sIII", magic, version, len(text), zlib.crc32(text)) + text + rest


def _deflated_mutated(data: bytes, draw: Random) -> bytes:
    """Bytes that may be a zlib stream, changed within it where they are."""
    if data[:1] != b"\x78" or draw.random() < 0.3:
        return binary_mutated(data, draw)
    if draw.random() < 0.02:
        return zlib_bomb(draw.choice((1, 128)))
    try:
        return zlib.compress(binary_mutated(zlib.decompress(data), draw), 1)
    except zlib.error:
        return binary_mutated(data, draw)


def riff_mutated(data: bytes, draw: Random) -> bytes:
    """A WAV file with a chunk changed."""
    if draw.random() < 0.2:
        return blind(data, draw)
    chunks, at = [], 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        chunks.append([name, size, data[at + 8 : at + 8 + size]])
        at += 8 + size + size % 2
    if not chunks:
        return blind(data, draw)
    i = draw.randrange(len(chunks))
    match draw.randrange(7):
        case 0:
            del chunks[i]
        case 1:
            chunks.insert(i, chunks[draw.randrange(len(chunks))])
        case 2:
            chunks[i][1] = int.from_bytes(field(draw, "I"), "little")
        case 3:
            draw.shuffle(chunks)
        case _:
            chunks[i][2] = field_mutated(chunks[i][2], draw, 18)
    body = b"".join(struct.pack("<4sI", n, s) + c + bytes(len(c) % 2) for n, s, c in chunks)
    size = len(body) + 4 if draw.random() < 0.8 else int.from_bytes(field(draw, "I"), "little")
    return data[:4] + struct.pack("<I", size) + data[8:12] + body


_SHAPES = ("()", "(0,)", "(8,)", "(-1,)", "(8, -8)", "(1, 8, 8)", "(8, 8, 1)", "(3, 8, 8)",
           "(100000, 100000)", "(4294967296, 4294967296)", "(9223372036854775807,)", "(2.5,)",
           "(True, 8)", "(None,)", "[8, 8]", "(8,) * 40", "(1,) * 70", "x",
           "(8, (8,))")  # fmt: skip
_DTYPES = ("'<f2'", "'<f8'", "'>f4'", "'<c16'", "'|O'", "'|V8'", "'<U8'", "'|S0'", "'<m8'", "'f'",
           "[('a', '<f4')]", "('<f4', (3,))", "'<f4,<f4'", "None", "'|b1'", "'<i4'", "'<u2'",
           "'<f16'", "'x'", "[]", "{'names': []}")  # fmt: skip


def npy_mutated(data: bytes, draw: Random) -> bytes:
    """A .npy with its head, which is a dictionary in Python's words, changed."""
    if draw.random() < 0.2 or data[:6] != b"\x93NUMPY" or len(data) < 10:
        return binary_mutated(data, draw)
    (size,) = struct.unpack_from("<H", data, 8)
    head, body = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    match draw.randrange(8):
        case 0 | 1:
            head = re.sub(r"'shape': \([^)]*\)", f"'shape': {draw.choice(_SHAPES)}", head)
        case 2 | 3:
            head = re.sub(r"'descr': '[^']*'", f"'descr': {draw.choice(_DTYPES)}", head)
        case 4:
            head = head.replace("False", draw.choice(("True", "1", "None", "x")))
        case 5:
            head = draw.choice(("{", "[" * 9, "(" * 300 + ")" * 300, "{}",
                                "-" * 5000 + "1", "1" * 60000,
                                "__import__('os')", "{'shape': 1}", head * 3, ""))  # fmt: skip
        case 6:
            head = text_mutated(head.encode(), draw).decode("latin-1")
        case _:
            body = binary_mutated(body, draw)
    packed = head.encode("latin-1", "replace")[:65535]
    version = data[6:8] if draw.random() < 0.95 else draw.choice((b"\2\0", b"\3\0", b"\0\0"))
    return data[:6] + version + struct.pack("<H", len(packed)) + packed + body


_COMPRESSIONS = (0, 1, 2, 3, 4, 5, 9, 255)


def exr_mutated(data: bytes, draw: Random) -> bytes:
    """An OpenEXR file with attributes, the table of its chunks, or a chunk changed."""
    if draw.random() < 0.15:
        return blind(data, draw)
    attributes, end = _exr_attributes(data)
    if not attributes:
        return blind(data, draw)
    name, kind, at, size = draw.choice(attributes)
    match draw.randrange(9):
        case 0:
            new = struct.pack("<i", draw.choice((0, -1, -8, -100, size + 1, size - 1, 1 << 30)))
            return data[: at - 4] + new + data[at:]
        case 1:
            return data[: at - 6 - len(name) - len(kind)] + data[at + size :]
        case 2 | 3 if name == b"dataWindow" or draw.random() < 0.5:
            where = next((a for n, _, a, _ in attributes if n == b"dataWindow"), at)
            i = draw.randrange(4)
            side = struct.pack("<i", draw.choice((0, -1, 1, 6, 8, 1000, 65535, 1 << 20, 1 << 30,
                                                  -(1 << 31), (1 << 31) - 1)))  # fmt: skip
            return data[: where + 4 * i] + side + data[where + 4 * i + 4 :]
        case 4:
            where = next((a for n, _, a, _ in attributes if n == b"compression"), at)
            return data[:where] + bytes([draw.choice(_COMPRESSIONS)]) + data[where + 1 :]
        case 5:
            table = end + 8 * draw.randrange(9)
            new = struct.pack("<Q", draw.choice((0, end, len(data) - 8, len(data), 1 << 40,
                                                 (1 << 64) - 1)))  # fmt: skip
            if draw.random() < 0.5:  # a chunk given twice, and one not at all
                other = end + 8 * draw.randrange(8)
                new = data[other : other + 8]
            return data[:table] + new + data[table + 8 :]
        case 6 if len(data) > end + 16:
            (chunk,) = struct.unpack_from("<Q", data, end)
            where = min(chunk, len(data)) + draw.choice((0, 4))
            return data[:where] + field(draw, "I") + data[where + 4 :]
        case 7 if draw.random() < 0.05:
            (chunk,) = struct.unpack_from("<Q", data, end)
            bomb = zlib_bomb(draw.choice((16, 128)))
            return data[: chunk + 4] + struct.pack("<i", len(bomb)) + bomb
        case _:
            start, stop = (at, at + size) if draw.random() < 0.5 else (end, len(data))
            return data[:start] + binary_mutated(data[start:stop], draw) + data[stop:]


def _exr_attributes(data: bytes) -> tuple[list[tuple[bytes, bytes, int, int]], int]:
    """Name, type, place and size of each attribute, and where the table of chunks is."""
    found, at = [], 8
    while at < len(data) and data[at] != 0:
        name_end = data.find(b"\0", at)
        kind_end = data.find(b"\0", name_end + 1)
        if min(name_end, kind_end) < 0 or kind_end + 5 > len(data):
            return found, len(data)
        (size,) = struct.unpack_from("<i", data, kind_end + 1)
        if size < 0:
            return found, len(data)
        found.append((data[at:name_end], data[name_end + 1 : kind_end], kind_end + 5, size))
        at = kind_end + 5 + size
    return found, at + 1


def page_mutated(data: bytes, draw: Random, inner: Change) -> bytes:
    """An exported .html with its scene's JSON or its file of Gaussians changed."""
    if draw.random() < 0.1:
        return blind(data, draw)
    blocks = [m for m in re.finditer(rb"<script[^>]*>(.*?)</script>", data, re.DOTALL)
              if re.search(rb"json|base64|octet", m[0][:120])]  # fmt: skip
    if not blocks:
        return blind(data, draw)
    block = draw.choice(blocks)
    content = block[1].strip()
    if content[:1] in (b"{", b"["):
        new = json_mutated(content, draw)
    elif draw.random() < 0.2:
        new = blind(content, draw)
    else:
        new = base64.b64encode(inner(base64.b64decode(content), draw))
    return data[: block.start(1)] + new + data[block.end(1) :]


def frames_mutated(data: bytes, draw: Random, pack: Sequence[Callable[[bytes], bytes]]) -> bytes:
    """An .spz of version 4 with a stream changed: `pack` unpacks a frame of zstd, and packs one."""
    if draw.random() < 0.3 or len(data) < 36:
        return binary_mutated(data, draw)
    (table,) = struct.unpack_from("<I", data, 16)
    count = data[15]
    sizes = [list(struct.unpack_from("<QQ", data, table + 16 * i)) for i in range(count)]
    at, frames = table + 16 * count, []
    for size, _ in sizes:
        frames.append(data[at : at + size])
        at += size
    i = draw.randrange(count)
    unpack, packed = pack
    plain = unpack(frames[i])
    plain = bytes(1 << 28) if draw.random() < 0.005 else binary_mutated(plain, draw)
    frames[i] = packed(plain)
    sizes[i] = [len(frames[i]), len(plain) if draw.random() < 0.5 else sizes[i][1]]
    rows = b"".join(struct.pack("<QQ", *size) for size in sizes)
    return data[:table] + rows + b"".join(frames)
