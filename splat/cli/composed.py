"""Arguments of `splat train`: options of the run, a method, and parts after a `+`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from splat.cli.run_options import Train
from splat.cli.words import (
    Fitting,
    check_method,
    choices,
    names_one,
    parted,
    place_in,
    with_methods,
)
from splat.core.fields import statistics
from splat.core.strategy import Strategy
from splat.formats import rows_within
from splat.options.parse import HELP, parsed, parsed_known
from splat.recipes import catalog, recipe
from splat.recipes.offered import Offered
from splat.recipes.terms import terms_of
from splat.render import choose_device

T = TypeVar("T", bound=Train)


def read(arguments: Sequence[str]) -> Train:
    """The arguments of `splat train`."""
    return read_as(Train, "train", arguments)


def read_as(kind: type[T], verb: str, arguments: Sequence[str]) -> T:
    """The arguments of a verb; defaults of methods are those that suit the device asked for."""
    fitting = parsed_known(Fitting, verb, arguments)
    most = 0
    if fitting.budget:
        most = rows_within(fitting.budget, fitting.sh_degree, fitting.budget_of)
    device, _ = choose_device(fitting.device, fitting.renderer)
    offered: Mapping[str, Strategy] = Offered(device, most)
    default = catalog.default()
    first, *parts = terms_of(arguments)
    own = place_in(first)
    if place := fitting.plugin or own:
        plugin = catalog.plugin(place)
        default = plugin.__name__.lower()
        offered = {**offered, default: plugin()}  # it may be called as one of ours is
        first = [default if argument == own else argument for argument in first]
    check_method(first, offered)
    parts = [parted(part, first, lambda name: _kind(name, offered)) for part in parts]
    for part in parts:
        if HELP & set(part):
            # Help is asked of a part: what stands before it need not be whole.
            recipe.compose(offered[default], [part], offered)
    asked = parsed(with_methods(kind, choices(first, offered, default), default), verb, first)
    method, named = asked.method, True
    if asked.recipe is not None:
        if method != offered[default] or names_one(first, offered):
            raise ValueError("a recipe is given and a method too; leave one of them out")
        method = recipe.strategy_from_text(recipe.text_of(asked.recipe), offered)
    elif asked.plugin is None and not names_one(first, offered):
        method, named = recipe.usual_strategy(offered), False
    method = recipe.compose(method, parts, offered)
    statistics(method)  # what does not go together is said before anything is read
    return replace(asked, method=method, named=named)


def _kind(name: str, offered: Mapping[str, Strategy]) -> type[Strategy]:
    found = recipe.method_or_part(name, offered)
    return found if isinstance(found, type) else type(found)
