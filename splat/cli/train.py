"""`splat train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, make_dataclass
from typing import Annotated, Any, Union

import tyro

from splat.cli.run_options import Train
from splat.options.parse import parsed
from splat.recipes import catalog


def main(arguments: Sequence[str]) -> int:
    """Train a scene; the exit code."""
    if [*arguments] in (["-h"], ["--help"]):
        parsed(_with_summaries(), "train", arguments)
    # Methods, torch and OpenCV, which help needs not.
    from splat.cli.composed import read
    from splat.cli.training import carry_out

    return carry_out(read(arguments), arguments)


def _with_summaries() -> type[Train]:
    """`Train` as help shows it: a method is its name and what it is, and none is loaded."""
    kinds = {
        name: make_dataclass(name, [], namespace={"__doc__": summary})
        for name, summary in catalog.summaries()[0].items()
    }
    choices = tuple(
        Annotated[kind, tyro.conf.subcommand(name=name)] for name, kind in kinds.items()
    )
    first: Any = kinds.get(catalog.DEFAULT) or next(iter(kinds.values()))
    entry = ("method", Union[choices], field(default_factory=first))  # noqa: UP007
    return make_dataclass(
        "Train", [entry], bases=(Train,), namespace={"__doc__": Train.__doc__}, frozen=True
    )
