"""Mutations of JSON, of logs of it, of XML and of the heads of PLY files."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any

from .pieces import WORDS, binary_mutated, blind, text_mutated

_RAW = "@raw@"
"""What stands in a document for what `json.dumps` would not write."""
_DEEP = (200, 900, 1000, 5000, 100_000)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e300, -1e300, 1e39, 3e-320, 2**31, 2**32, 2**53,
    2**63, 2**64, 2**200, -(2**63), float("nan"), float("inf"), float("-inf"), "", [], {}, [[]],
    [0], [None], {"a": 1}, [1, 2, 3], [float("nan")] * 3, [[1, 0], [0, 1]],
)  # fmt: skip

Place = tuple[Any, Any]
"""A list or an object, and an index or key of it."""


def json_mutated(data: bytes, draw: Random) -> bytes:
    """A document with values, keys or nesting changed; at times with its text changed."""
    chance = draw.random()
    if chance < 0.06:
        return text_mutated(data, draw)
    if chance < 0.09:
        return blind(data, draw)
    try:
        document = json.loads(data)
    except ValueError:
        return text_mutated(data, draw)
    raw = ""
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
        places = list(_places(document))
        if not places or draw.random() < 0.03:
            document, more = _value(draw, document)
        else:
            # Of many alike numbers one is as good as another: few places at the top count more.
            holder, key = draw.choice(places if draw.random() < 0.5 else places[:40])
            more = _changed(holder, key, draw)
        raw = more or raw
    text = json.dumps(document)
    if raw:
        text = text.replace(f'"{_RAW}"', raw)
    if draw.random() < 0.03:
        text = _twice(text, draw)
    return text.encode("utf-8", "surrogatepass")


def lines_mutated(data: bytes, draw: Random) -> bytes:
    """A file of a JSON document a line."""
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    match draw.randrange(8):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[draw.randrange(len(lines))])
        case 2:
            lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
        case 3:
            return text_mutated(data, draw)
        case _:
            lines[at] = json_mutated(lines[at], draw).replace(b"\n", b" ")
    return b"\n".join(lines)


def _places(node: Any) -> Iterator[Place]:
    """Everywhere in a document, what is near its top first."""
    waiting = [node]
    for holder in waiting:
        keys: Any = ()
        if isinstance(holder, dict):
            keys = list(holder)
        elif isinstance(holder, list):
            keys = range(len(holder))
        for key in keys:
            yield holder, key
            waiting.append(holder[key])


def _changed(holder: Any, key: Any, draw: Random) -> str:
    """Change a place; what is to stand where `_RAW` stands then, if anything is."""
    chance = draw.random()
    if chance < 0.12:
        del holder[key]
        return ""
    if chance < 0.17 and isinstance(holder, dict):
        other = draw.choice((*holder, *WORDS[:30], "path", "__class__"))
        holder[other] = holder.pop(key) if other != key else holder[key]
        return ""
    if chance < 0.24 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * draw.choice((1, 1, 2, 30))
        return ""
    if chance < 0.30 and isinstance(holder[key], list):
        draw.shuffle(holder[key])
        holder[key] = holder[key][: draw.randrange(len(holder[key]) + 1)]
        return ""
    holder[key], raw = _value(draw, holder[key])
    return raw


def _value(draw: Random, old: Any) -> tuple[Any, str]:
    chance = draw.random()
    if chance < 0.45:
        return copy.deepcopy(draw.choice(_VALUES)), ""  # it may be changed in turn
    if chance < 0.65:
        return draw.choice(WORDS), ""
    if chance < 0.75 and isinstance(old, int | float):
        new = [old + 1, old - 1, -old, old * 2, old * 1000, float(old), str(old), [old]]
        return draw.choice(new), ""
    if chance < 0.80 and isinstance(old, str):
        return draw.choice((old + "x", old[:-1], old.upper(), old * 100, f"../{old}", [old])), ""
    if chance < 0.84:
        return [old], ""
    if chance < 0.88:
        return {"a": old}, ""
    if chance < 0.93:
        depth = draw.choice(_DEEP)
        start, end = draw.choice((("[", "]"), ('{"a":', "}")))
        middle = draw.choice(("", "0")) if start == "[" else "0"
        return _RAW, start * depth + middle + end * depth
    if chance < 0.95:
        many = draw.choice((1000, 100_000))
        return _RAW, "[" + ",".join([draw.choice(("[]", "{}", "0", '""'))] * many) + "]"
    return _RAW, draw.choice(
        ("1e400", "-1e400", "1" * 5000, "NaN", "-Infinity", "0.1e-99999", "1E5", '"\\ud800"',
         '"\\u0000"', '"a\\u0000b"', "01", "+1", "nul", "[1,]", "{}{}")
    )  # fmt: skip


def _twice(text: str, draw: Random) -> str:
    """A key given twice; readers differ in which of them counts."""
    keys = [m for m in re.finditer(r'[{,] ?("[^"]{1,40}": )', text)]
    if not keys:
        return text
    match = draw.choice(keys)
    value = json.dumps(draw.choice(_VALUES))
    return text[: match.start() + 1] + match[1] + value + ", " + text[match.start() + 1 :]


_TAG = re.compile(rb"<(/?)([A-Za-z_]\w*)([^<>]*)>")
_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]>"
)
"""Ten to the tenth letters, by entities within entities."""


def xml_mutated(data: bytes, draw: Random) -> bytes:
    """A document of XML with elements, attributes or texts changed."""
    tags = list(_TAG.finditer(data))
    if not tags or draw.random() < 0.45:
        return text_mutated(data, draw)
    tag = draw.choice(tags)
    start, end = tag.span()
    match draw.randrange(9):
        case 0:
            return data[:start] + data[end:]
        case 1:
            name = draw.choice(tags)[2]
            return data[:start] + tag[0].replace(tag[2], name, 1) + data[end:]
        case 2:
            return data[:start] + b"<" + tag[1] + tag[2] + b">" + data[end:]
        case 3:
            closing = data.find(b"</" + tag[2] + b">", end)
            part = data[start : max(end, closing + len(tag[2]) + 3)]
            return data[:start] + part * draw.choice((2, 3, 50)) + data[start + len(part) :]
        case 4:
            closing = data.find(b"</" + tag[2] + b">", end)
            return data[:end] + data[closing:] if closing >= 0 else data[:end]
        case 5:
            deep = draw.choice(_DEEP)
            return data[:end] + b"<a>" * deep + b"</a>" * deep + data[end:]
        case 6:
            return _LAUGHS + data[:end] + b"&j;" + data[end:]
        case 7:
            odd = draw.choice((b"<![CDATA[", b"&x;", b"&#0;", b"&#xD800;", b"<!--", b"<?a", b"]]>"))
            return data[:end] + odd + data[end:]
        case _:
            name = draw.choice((b"utf-16", b"latin-1", b"utf-7", b"x", b"ascii", b"idna"))
            return b'<?xml version="1.0" encoding="%s"?>' % name + data


_PLY_COUNTS = (
    "0", "1", "-1", "007", "+3", "1_0", "3.0", "1e3", "4294967296", "9" * 18, "9" * 30, "x", "",
    "2147483648", "0x10", "٣",
)  # fmt: skip
_PLY_KINDS = (
    "char", "uchar", "short", "ushort", "int", "uint", "float", "double", "float64", "int8",
    "uint64", "list uchar float", "list int uchar", "list float float", "list uint double", "void",
    "half", "",
)  # fmt: skip


def ply_mutated(data: bytes, draw: Random) -> bytes:
    """A PLY file with the lines of its head changed, or its rows."""
    end = data.find(b"end_header")
    if end < 0 or draw.random() < 0.2:
        return binary_mutated(data, draw)
    after = data.find(b"\n", end) + 1
    lines, body = data[:after].decode("ascii", "replace").split("\n"), data[after:]
    for _ in range(draw.choice((1, 1, 1, 2))):
        at = draw.randrange(len(lines))
        _ply_line(lines, at, draw)
    if draw.random() < 0.1:
        body = blind(body, draw)
    ending = draw.choice(("\r\n", "\r", " \n")) if draw.random() < 0.06 else "\n"
    return ending.join(lines).encode("utf-8", "surrogatepass") + body


def _ply_line(lines: list[str], at: int, draw: Random) -> None:
    words = lines[at].split(" ")
    chance = draw.random()
    if words[0] == "element" and chance < 0.6:
        old = words[-1]
        words[-1] = draw.choice((*_PLY_COUNTS, old + "0", "0" + old, f"{old}1"))
    elif words[0] == "property" and chance < 0.5:
        words[1] = draw.choice(_PLY_KINDS)
    elif words[0] == "property" and chance < 0.6:
        words[-1] = draw.choice(("x", "f_dc_0", "f_rest_0", "a b", "", "ü", "0", words[-1] + "_"))
    elif words[0] == "format" and chance < 0.8:
        words[1] = draw.choice(("ascii", "binary_big_endian", "binary_little_endian", "x"))
    elif chance < 0.7:
        del lines[at]
        return
    elif chance < 0.8:
        lines.insert(at, lines[draw.randrange(len(lines))])
        return
    elif chance < 0.9:
        odd = ("element vertex 3", "element face 7", "property float x",
               "property list uchar int i",
               "comment SplatNearPlane: nan", "comment SplatNearPlane: 1e400", "obj_info x",
               "comment SplatRenderMode: mip", "format ascii 1.0", "element x 0",
               "\x00")  # fmt: skip
        lines.insert(at, draw.choice(odd))
        return
    else:
        words[draw.randrange(len(words))] = draw.choice(WORDS)
    lines[at] = " ".join(words)
