"""Arguments into dataclasses: each field is an option, its docstring the help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from splat.options import whole

T = TypeVar("T")

_CONFIG = (
    tyro.conf.OmitSubcommandPrefixes,
    tyro.conf.OmitArgPrefixes,
    tyro.conf.CascadeSubcommandArgs,
    tyro.conf.DisallowNone,
    tyro.conf.FlagCreatePairsOff,
)
_REGISTRY = ConstructorRegistry()


@_REGISTRY.primitive_rule
def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """200k, 1.5M and 2GB wherever an int is asked for."""
    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="N",
        instance_from_str=lambda texts: whole(texts[0]),
        is_instance=lambda value: type(value) is int,
        str_from_instance=lambda value: [str(value)],
    )


def parsed(kind: type[T], verb: str, arguments: Sequence[str]) -> T:
    """The arguments of a verb; ends the program with an explanation where they do not fit."""
    found: Any = tyro.cli(
        kind, prog=f"splat {verb}", args=list(arguments), config=_CONFIG, registry=_REGISTRY
    )
    value: T = found
    return value
