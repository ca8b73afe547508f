"""Mutations of USD: its text, and the sections of its binary form."""

from __future__ import annotations

import struct
from random import Random

from .pieces import WORDS, binary_mutated, blind, field_mutated, text_mutated

_LINES = (
    "references = </World>", "references = @x.usda@", "references = @./b.usda@</g>",
    "payload = @/etc/x.usda@", "inherits = </World/gaussians>", "specializes = </World>",
    "subLayers = [@b.usda@]", 'variants = {\nstring v = "a"\n}', 'prepend variantSets = "v"',
    'variantSet "v" = {\n"a" {\n}\n}', "instanceable = true", "active = false", 'kind = "x"',
    "double3 xformOp:translate = (1, 2, nan)", "double xformOp:rotateX = 1e300",
    "matrix4d xformOp:transform = ( (1,0,0,0), (0,0,0,0), (0,0,1,0), (0,0,0,1) )",
    'uniform token[] xformOpOrder = ["xformOp:translate", "!resetXformStack!"]',
    "float[] opacities = None", "float[] opacities = []", "half[] opacitiesh = [1, 0.5]",
    "point3f[] positions.timeSamples = {\n0: [(1, 2, 3)],\n}", "point3f[] positions.connect = </a>",
    "string positions = 'x'", "asset[] positions = [@/etc/passwd@]", "token[] scales = ['a']",
    "int radiance:sphericalHarmonicsDegree = -1", "int radiance:sphericalHarmonicsDegree = 3",
    "float3[] radiance:sphericalHarmonicsCoefficients = [(0, 0, 0)]", 'upAxis = "Z"',
    "customData = {\ndictionary splat = {\nbool antialiased = 3\ndouble near = nan\n}\n}",
    'def ParticleField3DGaussianSplat "a" {\n}', 'over "World" {\n}', 'class "c" {\n}', "{", "}",
    "(", ")", '"""', "#", "reorder nameChildren = ['a']", "relocates = { </a>: </b> }",
    "clips = {\ndictionary default = {\nasset[] assetPaths = [@x.usda@]\n"
    'string primPath = "/g"\n}\n}',
    'expressionVariables = {\nstring X = "/etc/x.usda"\n}', 'subLayers = [@`"${X}"`@]',
)  # fmt: skip
"""Lines that mean something in a stage."""
_HEADS = {b"TOKENS": 2, b"STRINGS": 1, b"PATHS": 2}
"""Counts at the start of a section; one in others."""


def usda_mutated(data: bytes, draw: Random) -> bytes:
    """A stage as text with a word or a line of another meaning."""
    if draw.random() < 0.5:
        return text_mutated(data, draw, (*WORDS, *_LINES))
    lines = data.decode("utf-8", "replace").split("\n")
    for _ in range(draw.choice((1, 1, 2))):
        at, end = draw.randrange(len(lines) + 1), draw.randrange(len(lines) + 1)
        match draw.randrange(4):
            case 0 | 1:
                lines.insert(at, draw.choice(_LINES))
            case 2:
                lines[at:at] = lines[min(at, end) : max(at, end)]
            case _:
                lines[min(at, end) : max(at, end)] = []
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def usdc_mutated(data: bytes, draw: Random) -> bytes:
    """A stage as OpenUSD's crate with a number or a section of it changed."""
    parts = _sections(data)
    if parts is None or draw.random() < 0.1:
        return blind(data, draw)
    values, sections = parts
    i = draw.randrange(len(sections))
    name, content = sections[i]
    match draw.randrange(10):
        case 0:
            values = field_mutated(values, draw, 88)
        case 1 | 2:
            values = values[:88] + binary_mutated(values[88:], draw)
        case 3:
            toc = len(data) - 32 * len(sections) - 8
            return data[:toc] + field_mutated(data[toc:], draw, 300)
        case 4:
            content = field_mutated(content, draw, 8 * (_HEADS.get(name, 1) + 1))
        case 5:
            sections = draw.choice((sections[:i] + sections[i + 1 :], [*sections, sections[i]]))
            return _whole(values, sections)
        case _:
            content = _packed_mutated(content, _HEADS.get(name, 1), draw)
    sections[i] = (name, content)
    return _whole(values, sections)


def _sections(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
    """What lies before the sections of a crate, and these by name; None where it has none."""
    if data[:8] != b"PXR-USDC" or len(data) < 96:
        return None
    (toc,) = struct.unpack_from("<q", data, 16)
    if not 0 < toc <= len(data) - 8:
        return None
    (count,) = struct.unpack_from("<Q", data, toc)
    if not 0 < count <= (len(data) - toc - 8) // 32:
        return None
    found, first = [], len(data)
    for k in range(count):
        name, start, size = struct.unpack_from("<16sqq", data, toc + 8 + 32 * k)
        if not 0 <= start <= start + size <= len(data):
            return None
        first = min(first, start)
        found.append((name.rstrip(b"\0"), data[start : start + size]))
    return data[:first], found


def _whole(values: bytes, sections: list[tuple[bytes, bytes]]) -> bytes:
    found, toc = bytearray(values), struct.pack("<Q", len(sections))
    for name, content in sections:
        toc += struct.pack("<16sqq", name, len(found), len(content))
        found += content
    found[16:24] = struct.pack("<q", len(found))
    return bytes(found) + toc


def _packed_mutated(content: bytes, heads: int, draw: Random) -> bytes:
    """A section with one of its compressed streams changed within, under lengths that fit."""
    at, streams = 8 * heads, []
    while at + 8 <= len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        if size > len(content) - at - 8:
            break
        streams.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    if not streams or not any(streams):
        return binary_mutated(content, draw)
    i = draw.randrange(len(streams))
    try:
        plain = _unpacked(streams[i])
    except (IndexError, struct.error, ValueError):
        return binary_mutated(content, draw)
    if draw.random() < 0.1:
        streams[i] = binary_mutated(streams[i], draw)
    else:
        at_words = heads == 2 and b"\0" in plain and draw.random() < 0.5
        changed = _other_token(plain, draw) if at_words else binary_mutated(plain, draw)
        streams[i] = _packed(changed)
        if at_words and draw.random() < 0.8:  # of tokens the length is told besides
            content = content[:8] + struct.pack("<Q", len(changed)) + content[16:]
    return content[: 8 * heads] + b"".join(struct.pack("<Q", len(s)) + s for s in streams)


def _other_token(plain: bytes, draw: Random) -> bytes:
    words = plain.split(b"\0")
    new = draw.choice((*WORDS, *_LINES)).encode("utf-8", "surrogatepass")
    words[draw.randrange(len(words))] = new if draw.random() < 0.5 else draw.choice(words)
    return b"\0".join(words)


def _unpacked(stream: bytes) -> bytes:
    """What a stream of one chunk of LZ4 holds; raises where it is none."""
    if stream[0]:
        raise ValueError("several chunks")
    at, out = 1, bytearray()
    while at < len(stream):
        token, at = stream[at], at + 1
        count, at = _length(stream, at, token >> 4)
        out += stream[at : at + count]
        at += count
        if at >= len(stream):
            return bytes(out)
        (back,) = struct.unpack_from("<H", stream, at)
        count, at = _length(stream, at + 2, token & 15)
        if not 0 < back <= len(out) or len(out) > 1 << 24:
            raise ValueError("no LZ4")
        for _ in range(count + 4):
            out.append(out[-back])
    return bytes(out)


def _length(stream: bytes, at: int, count: int) -> tuple[int, int]:
    if count == 15:
        while True:
            more, at = stream[at], at + 1
            count += more
            if more != 255:
                break
    return count, at


def _packed(plain: bytes) -> bytes:
    """The same as one chunk of LZ4 in which nothing is said twice."""
    n = len(plain)
    if n < 15:
        return bytes([0, n << 4]) + plain
    return bytes([0, 0xF0]) + b"\xff" * ((n - 15) // 255) + bytes([(n - 15) % 255]) + plain
