"""Words of `splat train` and `splat suggest`: which are of the run, which of a method or part."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, TypeVar, Union

import tyro

from splat.cli.run_options import Suggest, Train
from splat.options import Options, Reading, Viewing, Watching
from splat.options.blocking import Blocking
from splat.options.parse import HELP
from splat.options.verbs import DeviceName, RendererName
from splat.system.import_path import IMPORT_PATH

T = TypeVar("T", bound=Train)


@dataclass(frozen=True)
class Fitting:
    """Options that methods are fitted to, or found by, before the rest is parsed."""

    device: DeviceName = Options.device
    renderer: RendererName = Options.renderer
    budget: str | None = None
    sh_degree: int = Options.sh_degree
    budget_of: str = Options.budget_of
    plugin: str | None = None


def check_method(arguments: Sequence[str], offered: Mapping[str, Any]) -> None:
    """Raise ValueError where a word where a method stands is nearly one, or a file of one."""
    for before, word in pairwise(arguments):
        if word in offered:
            return
        if word.partition("=")[0] in ("--strategy", "--method"):
            raise ValueError(
                f"{word} is no option; a method stands behind the options by its name alone, as in"
                f" `splat train {arguments[0]} mcmc`: see `splat strategies list`"
            )
        if before.startswith("-") or _RUN_OPTIONS.get(before) or not word[:1].isalpha():
            continue
        if word.endswith(".py"):
            raise ValueError(f"{word} names no class; expected {word}:CLASS, a strategy in it")
        if near := difflib.get_close_matches(word, offered, 1):
            raise ValueError(f"there is no method {word!r}; perhaps you meant {near[0]}")


def choices(
    arguments: Sequence[str], offered: Mapping[str, Any], default: str
) -> Mapping[str, Any]:
    """The methods among which arguments choose: all of them where none that is known is named
    before what asks for help, since help and suggestions name all."""
    asking = next((i for i, word in enumerate(arguments) if word in HELP), len(arguments))
    named = [word for word in _words(arguments[:asking]) if word in offered]
    if not named and (asking < len(arguments) or [*_words(arguments)]):
        return offered
    return {name: offered[name] for name in dict.fromkeys([default, *named, "fixed"])}


def with_methods(kind: type[T], offered: Mapping[str, Any], default: str) -> type[T]:
    """What a verb is asked for, with the methods as a choice of subcommands."""
    choices = tuple(
        Annotated[type(method), tyro.conf.subcommand(name=name, default=method)]
        for name, method in offered.items()
    )
    entry = ("method", Union[choices], field(default_factory=lambda: offered[default]))  # noqa: UP007
    return make_dataclass(
        kind.__name__, [entry], bases=(kind,), frozen=True, namespace={"__doc__": kind.__doc__}
    )


def parted(part: Sequence[str], first: list[str], kind_of: Callable[[str], type[Any]]) -> list[str]:
    """What belongs to a part after a `+`; options of the run go to the `first` arguments.

    `kind_of` gives the class of a method or part of this name.
    """
    own: list[str] = list(part[:1])
    known = {} if part[:1] == ["("] or not part else _options(kind_of(part[0]))
    left = 0
    for argument in part[1:]:
        name, equals, _ = argument.partition("=")
        if name in _RUN_OPTIONS and name not in known:
            left = 0 if equals else _RUN_OPTIONS[name]
            first.append(argument)
        elif left:
            left -= 1
            first.append(argument)
        else:
            own.append(argument)
    return own


def _options(kind: Any) -> dict[str, int]:
    """Options of a dataclass, and the number of values that each takes."""
    options: dict[str, int] = {}
    for entry in fields(kind):
        flag = "--" + entry.name.replace("_", "-")
        if type(entry.default) is bool:
            options |= {flag: 0, flag.replace("--", "--no-", 1): 0}
        else:
            options[flag] = _numbers(str(entry.type))
    return options


def _numbers(kind: str) -> int:
    """Number of values that an option of a type takes: those of a tuple of numbers, or one."""
    return kind.count("float") if "tuple[float" in kind else 1


_RUN_OPTIONS = {
    name: values
    for kind in (Suggest, Options, Reading, Watching, Viewing, Blocking)
    for name, values in _options(kind).items()
} | {"-o": 1}  # of `Train.out`


def names_one(arguments: Sequence[str], offered: Mapping[str, Any]) -> bool:
    """Whether arguments name a method."""
    return any(name in offered for name in _words(arguments))


def place_in(arguments: Sequence[str]) -> str | None:
    """The import path of a strategy that stands where a method may."""
    return next((word for word in _words(arguments) if IMPORT_PATH.fullmatch(word)), None)


def _words(arguments: Sequence[str]) -> Iterator[str]:
    """Arguments that are neither the scene nor a value of an option of the run."""
    for before, word in pairwise(arguments):
        if not _RUN_OPTIONS.get(before):
            yield word
