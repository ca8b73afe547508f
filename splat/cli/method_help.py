"""Help of verbs that name methods or parts, out of their sources: torch is not loaded."""

from __future__ import annotations

from collections.abc import Sequence

from splat.cli.run_options import Train
from splat.cli.words import Fitting, check_method, choices, parted, place_in, with_methods
from splat.formats import rows_within
from splat.options.parse import HELP, parsed, parsed_known
from splat.recipes import catalog
from splat.recipes.sketch import Sketched, Unreadable
from splat.recipes.terms import PLUS, program, terms_of
from splat.render import choose_kind


def show(kind: type[Train], verb: str, arguments: Sequence[str]) -> None:
    """Show the help that arguments ask for, which ends the program. It returns where a method or
    part has to be loaded to know its options, such as one of the user's own."""
    try:
        _show(kind, verb, arguments)
    except Unreadable:
        return


def _show(kind: type[Train], verb: str, arguments: Sequence[str]) -> None:
    fitting = parsed_known(Fitting, verb, arguments)
    first, *parts = terms_of(arguments)
    if fitting.plugin or place_in(first) or any(":" in part[0] for part in parts if part):
        return
    most = 0
    if fitting.budget:
        most = rows_within(fitting.budget, fitting.sh_degree, fitting.budget_of)
    device, _ = choose_kind(fitting.device, fitting.renderer)
    offered = Sketched(device, most)
    default = catalog.DEFAULT if catalog.DEFAULT in offered else next(iter(offered))
    check_method(first, offered)
    if any(part[:1] in ([], ["("]) for part in parts):
        return
    parts = [parted(part, first, offered.kind_of) for part in parts]
    for name, *options in parts:
        if HELP & set(options):
            made = offered.get(name)
            before = f"... {PLUS} " if made is None else ""
            part = offered.kind_of(name)
            parsed(part, program(f"{before}{name}"), options, made or part())
    parsed(with_methods(kind, choices(first, offered, default), default), verb, first)
