"""`splat train`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from typing import Annotated, Any, Union, get_type_hints

import tyro

from splat.cli.run_options import Train
from splat.options import Viewing
from splat.options.blocking import Blocking
from splat.options.parse import HELP, WHOLE_HELP, parsed
from splat.recipes import catalog

COMMON = frozenset(
    "scene out overwrite prep dry_run json share steps minutes psnr resolution max_side device"
    " budget init crop background exposure refine_poses memory seed masks eval eval_every quiet"
    " viewer host port blocks".split()
)
"""Options that help shows where not all of it is asked for."""
UNUSED = {
    "suggest": frozenset(
        ["out", "overwrite", "dry_run", "tune"]
        + [each.name for group in (Viewing, Blocking) for each in fields(group)]
    )
}
"""Options of `splat train` that another verb takes, so that a command can be given to it as it is,
and has no use for: help does not show them."""


def main(arguments: Sequence[str]) -> int:
    """Train a scene; the exit code."""
    if HELP & set(arguments):
        show_help(Train, "train", arguments)
    # Methods, torch and OpenCV, which help needs not.
    from splat.cli.composed import read
    from splat.cli.training import carry_out

    return carry_out(read(arguments), arguments)


def show_help(kind: type[Train], verb: str, arguments: Sequence[str]) -> None:
    """Print the help of a verb that is asked for what a run is, and of methods and parts that are
    named, and end the program; it returns where these have to be loaded for it."""
    if len(arguments) == 1:
        parsed(_with_summaries(kind, verb, whole=arguments[0] == WHOLE_HELP), verb, arguments)
    from splat.cli.method_help import show

    show(_without(kind, UNUSED.get(verb, ())), verb, arguments)


def _with_summaries(kind: type[Train], verb: str, *, whole: bool) -> type[Train]:
    """What a verb is asked for as help shows it: a method is its name and what it is, and none is
    loaded; without `whole` the options that most people need."""
    methods = {
        name: make_dataclass(name, [], namespace={"__doc__": summary})
        for name, summary in catalog.summaries()[0].items()
    }
    choices = tuple(
        Annotated[method, tyro.conf.subcommand(name=name)] for name, method in methods.items()
    )
    first: Any = methods.get(catalog.DEFAULT) or next(iter(methods.values()))
    shown = _without(kind, UNUSED.get(verb, ()))
    shown = shown if whole else _without(shown, _names(kind) - COMMON)
    entry = ("method", Union[choices], field(default_factory=first))  # noqa: UP007
    return make_dataclass(
        kind.__name__, [entry], bases=(shown,), namespace={"__doc__": kind.__doc__}, frozen=True
    )


def _names(kind: type[Any]) -> set[str]:
    """Names of the options of a dataclass, and of those within it."""
    groups: list[Any] = [each.default_factory for each in fields(kind)]
    inner = [_names(group) for group in groups if isinstance(group, type)]
    return {each.name for each in fields(kind)}.union(*inner)


def _without(kind: type[Any], hidden: Collection[str]) -> type[Any]:
    """A dataclass of options, and those within it, of which help does not show some."""
    if not hidden:
        return kind
    types = get_type_hints(kind, include_extras=True)
    entries: list[tuple[str, Any, Any]] = []
    for each in fields(kind):
        if isinstance(each.default_factory, type):
            group = _without(each.default_factory, hidden)
            entries.append((each.name, group, field(default_factory=group)))
        elif each.name in hidden and each.default is not MISSING:
            silent = tyro.conf.Suppress[types[each.name]]  # type: ignore[valid-type]
            entries.append((each.name, silent, field(default=each.default)))
    return make_dataclass(
        kind.__name__, entries, bases=(kind,), namespace={"__doc__": kind.__doc__}, frozen=True
    )
