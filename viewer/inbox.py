"""Validation of messages from the viewer's clients, before viser acts on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

TAKEN = frozenset(
    f"{name}Message"
    for name in (
        *("ViewerCamera", "GuiUpdate", "GuiButtonHold", "CommandTrigger", "ScenePointer"),
        *("SceneNodeClick", "SceneNodeDrag", "TransformControlsUpdate"),
        *("TransformControlsDragStart", "TransformControlsDragEnd"),
        *("GetRenderResponse", "LocalStorageGetItemResponse"),
    )
)
"""Messages that are accepted. Those for files, forms and public links are not."""
LARGEST = 1 << 20
"""Most bytes of a message."""
WIDEST = 1 << 15
"""Most pixels of a side of a client's picture."""
DEEPEST, LONGEST = 5, 4096
"""Deepest nesting of a message, and most entries of each list in it."""


def _unknown(name: str) -> object:
    """Stands for the present value of a control that nobody knows."""
    del name
    return None


@dataclass
class Inbox:
    """Validates messages against viser's own declarations of them."""

    kinds: Mapping[str, type]
    """Message classes by name."""
    present: Callable[[str], object] = _unknown
    """The present value of a control of the panel; None: not known."""
    camera_pause: float = 0.02
    """Seconds after a camera until a client's next ones are read, of which the newest counts.
    Browsers send fifty a second, and on two cores whoever wakes up costs those who train there."""

    def takes(self, raw: bytes | str) -> bool:
        """Whether to act on a message; False: it is harmless and is ignored.

        ValueError, one sentence: no client of viser sends this.
        """
        if isinstance(raw, str):
            raise ValueError("a client sent text where messages are binary")
        try:
            message = msgspec.msgpack.decode(raw)
        except (msgspec.MsgspecError, ValueError, RecursionError, MemoryError):
            raise ValueError("a client sent bytes that are no message") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ValueError("a client sent a message without a type")
        finite = _finite(message)
        name = message.pop("type")
        kind = self.kinds.get(name)
        if kind is None:
            raise ValueError("a client sent a message of an unknown type")
        if name not in TAKEN:
            return False
        if not _shaped(message, kind):
            raise ValueError(f"a client sent a {name} of a wrong shape")
        if not finite:
            return False
        if name == "ViewerCameraMessage":
            return _pictured(message)
        if name == "GuiUpdateMessage":
            updates = message["updates"]
            return set(updates) == {"value"} and _like(
                self.present(message["uuid"]), updates["value"]
            )
        return True


def _finite(value: object, depth: int = 0) -> bool:
    """Whether all numbers are finite; ValueError for data too deep, too long or not plain."""
    if isinstance(value, float):
        return math.isfinite(value)
    if value is None or isinstance(value, int | str | bytes):
        return True
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    else:
        raise ValueError("a client sent a message of strange data")
    if depth == DEEPEST or len(inner) > LONGEST:
        raise ValueError("a client sent a message that is nested too deep or too long")
    return all([_finite(each, depth + 1) for each in inner])


@cache
def _fields(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """Types of a message's fields, and the names of the required ones."""
    hints = get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    optional = dataclasses.MISSING
    needed = frozenset(
        field.name
        for field in fields
        if field.default is optional and field.default_factory is optional
    )
    return {field.name: hints[field.name] for field in fields}, needed


def _shaped(message: Mapping[str, object], kind: type) -> bool:
    """Whether a message has the required fields of its class, and no others."""
    fields, needed = _fields(kind)
    return needed <= set(message) <= set(fields) and all(
        _fits(value, fields[name]) for name, value in message.items()
    )


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(value: object, hint: Any) -> bool:
    """Whether a decoded value fits a type; int and float are both numbers to browsers."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin is Union or origin is UnionType:
        return any(_fits(value, each) for each in args)
    if origin is tuple:
        if not isinstance(value, list):
            return False
        if args[-1] is Ellipsis:
            return all(_fits(each, args[0]) for each in value)
        return len(value) == len(args) and all(
            _fits(each, arg) for each, arg in zip(value, args, strict=True)
        )
    if origin is dict:
        return isinstance(value, dict)
    if hint is int or hint is float:
        return _number(value)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _pictured(camera: Mapping[str, Any]) -> bool:
    """Whether a picture can be drawn for a camera."""
    size = camera["image_height"], camera["image_width"]
    return (
        all(1 <= side <= WIDEST for side in size)
        and 0 < camera["fov"] < math.pi
        and any(camera["wxyz"])
    )


def _like(now: object, new: object) -> bool:
    """Whether a new value of a control has the type of the present one."""
    if isinstance(now, bool | str):
        return isinstance(new, type(now))
    if isinstance(now, int | float):
        return _number(new)
    if isinstance(now, tuple) and now:
        return (
            isinstance(new, list)
            and len(new) == len(now)
            and all(_like(before, after) for before, after in zip(now, new, strict=True))
        )
    return True
