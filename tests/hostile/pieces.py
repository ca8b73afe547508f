"""Mutations of plain bytes and of plain text, which all others end in."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from random import Random

_LIMITS = {
    "B": (0, 1, 2, 127, 128, 254, 255),
    "H": (0, 1, 2, 255, 256, 32767, 32768, 65534, 65535),
    "I": (0, 1, 2, 3, 255, 65535, 65536, 1 << 24, 1 << 28, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE,
          0xFFFFFFFF),
    "Q": (0, 1, 1 << 31, 1 << 32, 1 << 40, 1 << 48, (1 << 61) + 1, (1 << 63) - 1, 1 << 63,
          (1 << 64) - 1),
    "f": (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 1e10, 3e38, -3e38, float("inf"), float("-inf"),
          float("nan")),
    "d": (0.0, -0.0, 1e-320, 1e10, 1e39, 1e300, -1e300, float("inf"), float("-inf"),
          float("nan")),
}  # fmt: skip
"""Values at which arithmetic and checks go wrong, by how they are packed."""

WORDS = (
    "0", "-1", "1", "2", "nan", "NaN", "inf", "-Infinity", "1e400", "-1e400", "1e-400", "1e39",
    "2147483647", "2147483648", "-2147483649", "4294967296", "9223372036854775807",
    "18446744073709551616", "1" * 30, "1" * 5000, "0x10", "1_000", "+3", "007", " 3", "1.5", "1,5",
    "٣", "²", "true", "null", "", "a", "\x00", "\ud800", "\ufeff", "x" * 300, "x" * 5000,
    "../../x.png", "/etc/hostname", "C:\\x.png", ".", "..", "a/b", "nul", "%s%n", "{0}", "\n",
)  # fmt: skip
"""Numbers, texts and names that readers stumble over."""


def field(draw: Random, kind: str | None = None) -> bytes:
    """A number of a kind (of `struct`), at one of its limits; of any byte order."""
    kind = kind or draw.choice("BHIIIIQffd")
    order = "<" if draw.random() < 0.8 else ">"
    return struct.pack(order + kind, draw.choice(_LIMITS[kind]))


def field_mutated(data: bytes, draw: Random, head: int = 64) -> bytes:
    """One number of the file changed, most often one of the first `head` bytes."""
    if not data:
        return field(draw)
    kind = draw.choice("BBHIIIIQffd")
    size = struct.calcsize(kind)
    end = min(head, len(data)) if draw.random() < 0.7 else len(data)
    at = draw.randrange(max(1, end))
    if draw.random() < 0.7:
        at -= at % size
    new = field(draw, kind)
    if kind in "BHIQ" and draw.random() < 0.4 and at + size <= len(data):
        (old,) = struct.unpack_from("<" + kind, data, at)
        step = draw.choice((1, -1, 2, -2, 4, -4, 16, 255, 256, old, 2 * old))
        new = struct.pack("<" + kind, (old + step) % (1 << 8 * size))
    return data[:at] + new + data[at + size :]


def blind(data: bytes, draw: Random) -> bytes:
    """Bytes changed without knowing what they are."""
    n = len(data)
    if n == 0:
        return draw.randbytes(draw.choice((1, 4, 16)))
    start = draw.randrange(n)
    end = min(n, start + draw.choice((1, 2, 4, 8, 16, n // 4 + 1)))
    match draw.randrange(8):
        case 0 | 1:
            found = bytearray(data)
            for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
                found[draw.randrange(n)] ^= 1 << draw.randrange(8)
            return bytes(found)
        case 2:
            return data[:start]
        case 3:
            return data[:start] + data[end:]
        case 4:
            return data[:end] + data[start:end] * draw.choice((1, 1, 2, 50)) + data[end:]
        case 5:
            return data[:start] + draw.randbytes(end - start) + data[end:]
        case 6:
            return data[:start] + bytes(end - start) + data[end:]
        case _:
            other = draw.randrange(n)
            return data[:start] + data[other : other + end - start] + data[end:]


def binary_mutated(data: bytes, draw: Random) -> bytes:
    """A binary file: its numbers, or its bytes."""
    return field_mutated(data, draw) if draw.random() < 0.65 else blind(data, draw)


_TOKEN = re.compile(r"[-+]?[0-9][0-9.eE+-]*|[A-Za-z_][\w./-]*")


def text_mutated(data: bytes, draw: Random, words: Sequence[str] = WORDS) -> bytes:
    """A text: a word of it, a line of it, the ends of its lines, or how it is encoded."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    at = draw.randrange(len(lines)) if lines else 0
    match draw.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            text = _other_word(text, draw, words)
        case 5 if lines:
            text = "".join(lines[:at] + lines[at + 1 :])
        case 6 if lines:
            text = "".join(lines[: at + 1] * draw.choice((1, 1, 100)) + lines[at:])
        case 7 if lines:
            draw.shuffle(lines)
            text = "".join(lines)
        case 8:
            text = text.replace("\n", draw.choice(("\r\n", "\r", "\n\n", " \n", "\0", "\v")))
        case 9:
            coding = draw.choice(("utf-16", "utf-32", "utf-8-sig"))
            return text.encode(coding, "replace")
        case 10:
            return blind(data, draw)
        case _:
            start = draw.randrange(len(data) + 1)
            odd = draw.choice((b"\xff\xfe", b"\xc3", b"\x80", b"\0", b'"', b"\xed\xa0\x80", b","))
            return data[:start] + odd + data[start:]
    return text.encode("utf-8", "surrogatepass")


def _other_word(text: str, draw: Random, words: Sequence[str]) -> str:
    found = list(_TOKEN.finditer(text))
    if not found:
        return draw.choice(words)
    for match in draw.sample(found, min(len(found), draw.choice((1, 1, 1, 2, 5)))):
        new = draw.choice(words) if draw.random() < 0.8 else draw.choice(found)[0]
        text = text[: match.start()] + new + text[match.end() :]
        if len(new) != len(match[0]):
            break  # what was found lies elsewhere now
    return text
