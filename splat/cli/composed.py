"""Arguments of `splat train`: options of the run, a method, and parts after a `+`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, TypeVar, Union

import tyro

from splat.cli.run_options import Suggest, Train
from splat.core.fields import statistics
from splat.core.strategy import Strategy
from splat.formats import rows_within
from splat.options import Options, Reading, Viewing, Watching
from splat.options.blocking import Blocking
from splat.options.parse import HELP, parsed, parsed_known
from splat.options.verbs import DeviceName, RendererName
from splat.recipes import catalog, recipe
from splat.recipes.offered import Offered
from splat.render import choose_device
from splat.system.import_path import IMPORT_PATH

T = TypeVar("T", bound=Train)


@dataclass(frozen=True)
class _Fitting:
    """Options that methods are fitted to, or found by, before the rest is parsed."""

    device: DeviceName = Options.device
    renderer: RendererName = Options.renderer
    budget: str | None = None
    sh_degree: int = Options.sh_degree
    budget_of: str = Options.budget_of
    plugin: str | None = None


def read(arguments: Sequence[str]) -> Train:
    """The arguments of `splat train`."""
    return read_as(Train, "train", arguments)


def read_as(kind: type[T], verb: str, arguments: Sequence[str]) -> T:
    """The arguments of a verb; defaults of methods are those that suit the device asked for."""
    fitting = parsed_known(_Fitting, verb, arguments)
    most = 0
    if fitting.budget:
        most = rows_within(fitting.budget, fitting.sh_degree, fitting.budget_of)
    device, _ = choose_device(fitting.device, fitting.renderer)
    offered: Mapping[str, Strategy] = Offered(device, most)
    default = catalog.default()
    first, *parts = recipe.terms_of(arguments)
    own = _place(first)
    if place := fitting.plugin or own:
        plugin = catalog.plugin(place)
        default = plugin.__name__.lower()
        offered = {**offered, default: plugin()}  # it may be called as one of ours is
        first = [default if argument == own else argument for argument in first]
    _check_method(first, offered)
    parts = [_parted(part, first, offered) for part in parts]
    for part in parts:
        if HELP & set(part):
            # Help is asked of a part: what stands before it need not be whole.
            recipe.compose(offered[default], [part], offered)
    asked = parsed(_with_methods(kind, _choices(first, offered, default), default), verb, first)
    method, named = asked.method, True
    if asked.recipe is not None:
        if method != offered[default] or _names_one(first, offered):
            raise ValueError("a recipe is given and a method too; leave one of them out")
        method = recipe.strategy_from_text(recipe.text_of(asked.recipe), offered)
    elif asked.plugin is None and not _names_one(first, offered):
        method, named = recipe.usual_strategy(offered), False
    method = recipe.compose(method, parts, offered)
    statistics(method)  # what does not go together is said before anything is read
    return replace(asked, method=method, named=named)


def _check_method(arguments: Sequence[str], offered: Mapping[str, Strategy]) -> None:
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


def _choices(
    arguments: Sequence[str], offered: Mapping[str, Strategy], default: str
) -> Mapping[str, Strategy]:
    """The methods among which arguments choose: all of them where none that is known is named,
    since help and suggestions name all."""
    words = list(_words(arguments))
    named = [word for word in words if word in offered]
    if HELP & set(arguments) or (words and not named):
        return offered
    return {name: offered[name] for name in dict.fromkeys([default, *named, "fixed"])}


def _with_methods(kind: type[T], offered: Mapping[str, Strategy], default: str) -> type[T]:
    """What a verb is asked for, with the methods as a choice of subcommands."""
    choices = tuple(
        Annotated[type(method), tyro.conf.subcommand(name=name, default=method)]
        for name, method in offered.items()
    )
    entry = ("method", Union[choices], field(default_factory=lambda: offered[default]))  # noqa: UP007
    return make_dataclass(
        kind.__name__, [entry], bases=(kind,), frozen=True, namespace={"__doc__": kind.__doc__}
    )


def _parted(part: Sequence[str], first: list[str], offered: Mapping[str, Strategy]) -> list[str]:
    """What belongs to a part after a `+`; options of the run go to the `first` arguments."""
    own: list[str] = list(part[:1])
    left = 0
    for argument in part[1:]:
        name, equals, _ = argument.partition("=")
        if name in _RUN_OPTIONS and name not in _part_options(part[0], offered):
            left = 0 if equals else _RUN_OPTIONS[name]
            first.append(argument)
        elif left:
            left -= 1
            first.append(argument)
        else:
            own.append(argument)
    return own


def _part_options(name: str, offered: Mapping[str, Strategy]) -> dict[str, int]:
    if name == "(":
        return {}
    kind = recipe.method_or_part(name, offered)
    return _options(kind if isinstance(kind, type) else type(kind))


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


def _names_one(arguments: Sequence[str], offered: Mapping[str, Strategy]) -> bool:
    """Whether arguments name a method."""
    return any(name in offered for name in _words(arguments))


def _place(arguments: Sequence[str]) -> str | None:
    """The import path of a strategy that stands where a method may."""
    return next((word for word in _words(arguments) if IMPORT_PATH.fullmatch(word)), None)


def _words(arguments: Sequence[str]) -> Iterator[str]:
    """Arguments that are neither the scene nor a value of an option of the run."""
    for before, word in pairwise(arguments):
        if not _RUN_OPTIONS.get(before):
            yield word
