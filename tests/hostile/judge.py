"""What became of an input: read, refused in a sentence that names the file, or a finding."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import splat
from splat.system.errors import explained

READ, REFUSED = "read", "refused"
TRACEBACK, UNNAMED, HANG, CRASH, MEMORY, CHANGING = (
    "traceback", "unnamed", "hang", "crash", "memory", "changing",
)  # fmt: skip
FINDINGS = (TRACEBACK, UNNAMED, HANG, CRASH, MEMORY, CHANGING)
"""An error that is no sentence; a sentence without the file; no end; a dead process; too much
memory; and other values when read again."""

_ROOM = Path(splat.__file__).parent
_NO_SENTENCES = (UnicodeError, json.JSONDecodeError)
"""ValueErrors of libraries, whose texts speak of bytes and columns only."""


@dataclass(frozen=True)
class Verdict:
    """What became of an input."""

    kind: str
    what: str = ""
    """Type of the error."""
    where: str = ""
    """Innermost function of ours that it came from."""
    said: str = ""

    @property
    def key(self) -> str:
        """Findings with one key are one mistake."""
        return f"{self.kind} {self.what} {self.where}"


def of_error(error: BaseException, root: Path, file: Path) -> Verdict:
    """The verdict on an error that reading a file in a folder raised."""
    what, where = type(error).__name__, frame_of(error)
    plain = isinstance(error, Exception) and not isinstance(error, RuntimeError)
    found = explained(error) if plain and isinstance(error, Exception) else None
    text = " ".join(str(error).split())[:400]
    if isinstance(error, MemoryError) or (found and found[1].startswith("memory ran out")):
        return Verdict(MEMORY, what, where, text)
    if found is None or isinstance(error, _NO_SENTENCES):
        return Verdict(TRACEBACK, what, where, text)
    # Of a scene that names what lies elsewhere, that file is told.
    elsewhere = found[1].partition(": ")[0]
    named = elsewhere.startswith("/") and os.path.isfile(elsewhere)
    if not named and not any(name in found[1] for name in (file.name, str(root))):
        return Verdict(UNNAMED, what, where, text)
    return Verdict(REFUSED, what, where, text)


def frame_of(error: BaseException) -> str:
    """File, function and line of ours that an error came from last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOM)]
    if not ours:
        return "outside"
    last = ours[-1]
    return f"{Path(last.filename).relative_to(_ROOM.parent)}:{last.lineno} {last.name}"


def digest(value: Any) -> bytes:
    """A hash of all bits of a value, NaN included."""
    total = hashlib.blake2b(digest_size=16)
    _feed(value, total.update)
    return total.digest()


def _feed(value: Any, feed: Any) -> None:
    match value:
        case torch.Tensor():
            _feed(value.detach().cpu().numpy(), feed)
        case np.ndarray():
            feed(f"{value.dtype}{value.shape}".encode())
            feed(np.ascontiguousarray(value).tobytes())
        case Mapping():
            for key in value:
                feed(repr(key).encode("utf-8", "surrogatepass"))
                _feed(value[key], feed)
        case list() | tuple():
            for item in value:
                _feed(item, feed)
        case _ if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                _feed(getattr(value, field.name), feed)
        case None | bool() | int() | float() | str() | bytes() | Path():
            feed(repr(value).encode("utf-8", "surrogatepass"))
        case _:
            feed(type(value).__name__.encode())
