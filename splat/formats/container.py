"""What surrounds the numbers of a file that keeps a model: magic, a header in JSON, sections.

Little endian: 8 bytes of magic, version (u32), bytes of the header (u32) and its CRC-32, the
header, then its sections, one after the other, whose names, bytes and CRC-32 it tells.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splat.scene import Drawing, Frame
from splat.system.files import replacing
from splat.system.foreign import Record, content, filled, fits, parsed, reading

_START = struct.Struct("<8sIII")


@dataclass(frozen=True)
class Container:
    """A kind of such files."""

    suffix: str
    magic: bytes
    """Eight bytes."""
    version: int
    """That is written, and the newest that is read."""
    oldest: int = 1
    """That is read."""

    def write(self, path: Path, header: Mapping[str, Any], sections: Mapping[str, bytes]) -> None:
        """Write a file; equal contents are equal bytes."""
        table = [[name, len(data), zlib.crc32(data)] for name, data in sections.items()]
        said = json.dumps({**header, "sections": table}, separators=(",", ":"), allow_nan=False)
        text = said.encode()
        with replacing(path) as draft, draft.open("wb") as file:
            start = _START.pack(self.magic, self.version, len(text), zlib.crc32(text))
            file.write(start + text)
            file.writelines(sections.values())

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Header and sections of a file; ValueError where it is broken, newer, or none."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file; give the path of an {self.suffix} file")
        with reading(path, self.whole):
            return self._read(path, content(path))

    def header(self, path: Path, *counts: str) -> dict[str, Any]:
        """What a file says of itself: its kind, `surroundings`, and what else was written; `counts`
        are held to be whole numbers of 1 or more."""
        header = self.read(path)[0]
        with reading(path, self.whole):
            said = Record(header)
            background_in(said)
            said.text("kind")
            for name in counts:
                said.whole(name, least=1)
        return header

    @property
    def whole(self) -> str:
        """What is expected of a file that cannot be read, for messages."""
        return f"a whole {self.suffix} file: write it again"

    def _read(self, path: Path, data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
        if data[: len(self.magic)] != self.magic:
            found = f"starts with {data[:8]!r}, not with {self.magic!r}" if data else "is empty"
            raise broken(path, f"{found}: it is no {self.suffix} file")
        if len(data) < _START.size:
            raise broken(path, "is cut off in its header")
        _, version, length, crc = _START.unpack_from(data)
        if version > self.version:
            raise ValueError(
                f"{path} has version {version} of the format, this splat reads up to"
                f" {self.version}; upgrade splat-toolkit"
            )
        if version < self.oldest:
            raise ValueError(
                f"{path} has version {version} of the format, and this splat reads"
                f" {self.oldest} or later; train its scene again"
            )
        text = data[_START.size : _START.size + length]
        if len(text) < length:
            raise broken(path, "is cut off in its header")
        if zlib.crc32(text) != crc:
            raise broken(path, "has another header than was written (its checksum differs)")
        header = {**Record.of(parsed(text))}
        table = header.pop("sections", None)
        if not fits(table, list[tuple[str, int, int]]) or any(size < 0 for _, size, _ in table):
            raise broken(path, "has no table of its sections")
        sections: dict[str, bytes] = {}
        at = _START.size + length
        for name, size, crc in table:
            part = data[at : at + size]
            if len(part) < size:
                raise broken(
                    path, f"is cut off in {name}: {len(part):,} of {size:,} bytes are there"
                )
            if zlib.crc32(part) != crc:
                raise broken(path, f"has other {name} than were written (its checksum differs)")
            sections[name], at = part, at + size
        if at < len(data):
            raise broken(path, f"goes on for {len(data) - at:,} bytes after its end")
        return header, sections


def broken(path: Path, how: str) -> ValueError:
    """The error for a file that cannot be used."""
    return ValueError(f"{path} {how}; write it again, or copy it again from where it is whole")


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Whatever fails within is said as what does not fit together in a file."""
    try:
        yield
    except Exception as error:  # whatever numbers that fit nothing are to those who take them
        reason = str(error)[:200] or type(error).__name__
        raise broken(path, f"does not fit together: {reason}") from error


def surroundings(
    frame: Frame, drawing: Drawing, background: Sequence[float] | None
) -> dict[str, Any]:
    """What a header says of the frame a model lies in, how it is drawn, and the colour behind it
    (None: black)."""
    return {
        "frame": {"centre": list(frame.centre), "scale": frame.scale},
        "drawing": asdict(drawing),
        "background": None if background is None else [float(c) for c in background],
    }


def frame_and_drawing(said: Record) -> tuple[Frame, Drawing]:
    """Those of `surroundings`; raises `Broken`."""
    frame = said.record("frame")
    return (
        Frame(frame.triple("centre"), frame.number("scale", above=0)),
        filled(Drawing, said.record("drawing")),
    )


def background_in(said: Record) -> tuple[float, float, float] | None:
    """That of `surroundings`; raises `Broken`."""
    return None if said["background"] is None else said.triple("background")
