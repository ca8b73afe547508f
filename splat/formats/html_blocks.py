"""What a page holds of its scene, and its rows as NumPy has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from splat.formats import motion, spz_columns
from splat.formats.columns import Columns, Moving
from splat.system import foreign
from splat.system.foreign import Broken

_PAYLOAD = '<script type="application/octet-stream" id="payload">'
_MOTION = '<script type="application/octet-stream" id="motion">'
_SCENE = '<script type="application/json" id="scene">'
_END = "</script>"


def columns(path: Path) -> Columns:
    """What the rows of a page hold, finite or not."""
    with unpacked(path) as payload:
        found = spz_columns.columns(payload)
    near = foreign.finite(scene_of(path).get("near"))
    return replace(found, near=near, moving=moving_of(path, len(found)))


def moving_of(path: Path, n: int) -> Moving | None:
    """The motion of the `n` rows of a page; None: they stand still."""
    clip = scene_of(path).get("clip")
    if clip is None:
        return None
    with foreign.part("its motion"):
        fastest = foreign.Record.of(clip).number("fastest", least=0)
        return motion.decoded(_base64(path, _MOTION), n, fastest)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The `.spz` of a page, as a file."""
    content = _base64(path, _PAYLOAD)
    with beside(path) as payload:
        payload.write_bytes(content)
        yield payload


def _base64(path: Path, start: str) -> bytes:
    try:
        return base64.b64decode(_block(path, start), validate=True)
    except binascii.Error as error:
        raise Broken(f"holds a scene that is no base64 ({error})") from None


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path for the `.spz` of a page; errors about it name the page."""
    with TemporaryDirectory() as folder:
        payload = Path(folder) / "scene.spz"
        try:
            yield payload
        except ValueError as error:
            raise ValueError(str(error).replace(str(payload), str(path))) from None


def scene_of(path: Path) -> foreign.Record:
    """What a page says of its scene as JSON."""
    with foreign.part("what describes its scene"):
        return foreign.Record.of(foreign.parsed(_block(path, _SCENE)))


def _block(path: Path, start: str) -> bytes:
    """What the page holds after `start`, to the end of that element."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of an exported .html page")
    data = foreign.content(path)
    begin = data.find(start.encode())
    if begin < 0:
        raise Broken("holds no scene: it is no page that was exported here, or cut off")
    begin += len(start)
    end = data.find(_END.encode(), begin)
    if end < 0:
        raise Broken("is cut off within its scene")
    return data[begin:end].strip()
