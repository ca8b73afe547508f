"""Worlds drawn from the command line: a function that writes one is its own list of options."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from splat.system.numbers import whole

Folder = Annotated[Path, tyro.conf.Positional]
"""Where a world is written."""
Kind = TypeVar("Kind")
_REGISTRY = ConstructorRegistry()


def _pair(text: str) -> tuple[int, int]:
    across, by, down = text.lower().partition("x")
    if not (by and across.isdigit() and down.isdigit()):
        raise ValueError(f"{text!r} is no size; expected two numbers such as 6x5")
    return int(across), int(down)


@_REGISTRY.primitive_rule
def _as_written(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """200k where a whole number is asked for, 6x5 where two are."""
    if info.type is int:
        return PrimitiveConstructorSpec(
            1, "N", lambda texts: whole(texts[0]), lambda value: isinstance(value, int),
            lambda value: [str(value)],
        )  # fmt: skip
    if info.type_origin is tuple and get_args(info.type) == (int, int):
        return PrimitiveConstructorSpec(
            1, "NxN", lambda texts: _pair(texts[0]), lambda value: isinstance(value, tuple),
            lambda value: ["x".join(map(str, value))],
        )  # fmt: skip
    return None


def named(table: Mapping[str, Kind], name: str, what: str) -> Kind:
    """The entry of that name, or an error that says which there are."""
    if name not in table:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(table)}: name one")
    return table[name]


def run(write: Callable[..., Path]) -> None:
    """Write what the command line asks for; errors are said in a sentence."""
    start = time.perf_counter()
    try:
        folder = tyro.cli(write, registry=_REGISTRY)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(str(error))
    print(f"{folder}: drawn in {time.perf_counter() - start:.0f} s")
