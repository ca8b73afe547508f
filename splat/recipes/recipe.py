"""Strategies as texts: `mcmc --cap 200k + protect --rule 'opacity>0.5'`, and back.

A recipe is what stands on the command line: a method with its options, then parts, each after a
`+`, that alter what stands before them; a second method after a `+` works beside the first. In a
file it may run over several lines, and what follows a # is a comment:

    # rooms.txt
    mcmc --cap 200k                 # grows by itself
    + freeze --rows start
    + budget --rows 200k --curve sqrt

Parentheses keep together what a part would else not stand alone with: adc + (fixed + protect).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from splat.core.chain import Chain
from splat.core.fields import parts_with_ways
from splat.core.strategy import Strategy, Wrapper, recipe_name_of
from splat.options.parse import complaint, parsed
from splat.recipes import catalog
from splat.recipes.offered import Offered
from splat.recipes.terms import PLUS, program, terms_of, tokens
from splat.system.foreign import content, reading
from splat.system.import_path import place_of

_FILE = re.compile(r"[^\s]+\.(txt|recipe|toml|ya?ml|json|cfg)")


def strategy_from_text(
    recipe: str | Sequence[str], offered: Mapping[str, Strategy] | None = None
) -> Strategy:
    """The strategy of a recipe, given as a text or as arguments; ValueError where it is none.

    `offered` are the methods with their defaults, by name: those of their classes if not given.
    """
    with complaint():
        methods = Offered() if offered is None else offered
        return compose(None, terms_of(tokens(recipe)), methods)


def usual_strategy(offered: Mapping[str, Strategy] | None = None) -> Strategy:
    """The strategy where a user names none."""
    return strategy_from_text(catalog.usual_recipe(), offered)


def moving(strategy: Strategy) -> Strategy:
    """A strategy for a scene that moves, with the part `moving` behind it where that is there."""
    kind = catalog.kind_of(catalog.MOVING)
    if kind is None or any(type(part) is kind for _, part in parts_with_ways(strategy)):
        return strategy
    return compose(strategy, [[catalog.MOVING]], Offered())


def text_of(recipe: str) -> str:
    """The text of a recipe: what a file of this name holds, or else itself."""
    path = Path(recipe)
    try:
        if path.is_file():
            with reading(path, "the text of a recipe"):
                return content(path).decode("utf-8-sig")
    except OSError:  # a text too long for a name
        return recipe
    if _FILE.fullmatch(recipe):
        raise FileNotFoundError(
            f"{recipe} does not exist; expected a file with a recipe, or a recipe such as"
            " 'mcmc --cap 200k + protect'"
        )
    return recipe


def to_text(strategy: Strategy) -> str:
    """The recipe of a strategy: options that are not the defaults of its class.

    `strategy_from_text` makes an equal one of it. ValueError where options cannot hold a field.
    """
    if isinstance(strategy, Chain):
        first, *others = strategy.parts
        rest = [_apart(part, isinstance(part, Chain | Wrapper)) for part in others]
        return f" {PLUS} ".join([_apart(first, isinstance(first, Chain)), *rest])
    if isinstance(strategy, Wrapper):
        return f"{to_text(strategy.base)} {PLUS} {_term(strategy)}"
    return _term(strategy)


def names(strategy: Strategy) -> str:
    """The names in its recipe, of presets theirs: `mrnf + renew`."""
    if isinstance(strategy, Chain):
        return f" {PLUS} ".join(map(names, strategy.parts))
    own = preset_of(strategy) or recipe_name_of(type(strategy))
    return f"{names(strategy.base)} {PLUS} {own}" if isinstance(strategy, Wrapper) else own


def to_text_or_names(strategy: Strategy) -> str:
    """`to_text`, or `names` where options cannot express a field."""
    try:
        return to_text(strategy)
    except ValueError:
        return names(strategy)


def shown(strategy: Strategy) -> str:
    """The recipe for people: presets by their names, parts with options that are not usual."""
    if isinstance(strategy, Wrapper):
        try:
            own = preset_of(strategy) or _term(strategy)
        except ValueError:
            own = recipe_name_of(type(strategy))
        return f"{shown(strategy.base)} {PLUS} {own}"
    return preset_of(strategy) or to_text_or_names(strategy)


def preset_of(part: Strategy) -> str | None:
    """The name of the preset that a part is, with all its options; None: it is none."""
    name, base = catalog.name_of(type(part)), part.base if isinstance(part, Wrapper) else None
    for preset, (text, _) in catalog.PRESETS.items():
        terms = terms_of(tokens(text))
        if len(terms) == 1 and terms[0][0] == name and compose(base, terms, Offered()) == part:
            return preset
    return None


def compose(
    strategy: Strategy | None, terms: Sequence[Sequence[str]], offered: Mapping[str, Strategy]
) -> Strategy:
    """A strategy with the terms of a recipe after it; None: they are the whole recipe."""
    beside = False
    for term in terms:
        if not term:
            raise ValueError(
                f"nothing stands before or after a {PLUS}; expected a method, then parts, such as"
                " 'mcmc --cap 200k + protect'"
            )
        if term[0] == "(":
            if term[-1] != ")" or len(terms_of(term[1:-1])) < 1:
                raise ValueError(f"{term[-1]!r} stands after a ); expected a {PLUS} between them")
            made: Strategy | type[Wrapper] = compose(None, terms_of(term[1:-1]), offered)
        else:
            made = method_or_part(term[0], offered)
        if isinstance(made, type):
            strategy, beside = _wrapped(made, strategy, term), False
            continue
        if term[0] != "(":
            made = parsed(type(made), program(term[0]), term[1:], made)
        if strategy is None:
            strategy = made
        elif beside and isinstance(strategy, Chain):
            strategy = Chain((*strategy.parts, made))
        else:
            strategy, beside = Chain((strategy, made)), True
    assert strategy is not None
    return strategy


def method_or_part(name: str, offered: Mapping[str, Strategy]) -> Strategy | type[Wrapper]:
    """The method of a name or an import path with its defaults, or the kind of part."""
    if name in offered:
        return offered[name]
    part = catalog.kind_of(name)
    if part is not None and issubclass(part, Wrapper):
        return part
    if ":" in name:
        kind = catalog.plugin(name)
        return kind if issubclass(kind, Wrapper) else kind()
    if name in catalog.PRESETS:
        raise ValueError(_cannot_stand_first(name))
    if place := catalog.places().get(name):
        raise ValueError(f"{name} is at {place}, and there is no such module")
    all_names = [*offered, *catalog.parts(), *catalog.PRESETS]
    near = difflib.get_close_matches(name, all_names, 1)
    hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(all_names)}"
    if PLUS in name[1:-1]:
        hint = f"a {PLUS} needs a space on either side"
    raise ValueError(f"there is no method or part {name!r}; {hint}")


def _wrapped(kind: type[Wrapper], strategy: Strategy | None, term: Sequence[str]) -> Strategy:
    name, *options = term
    if strategy is None:
        raise ValueError(_cannot_stand_first(name))
    # The base is there from the start, so that it is what the part's own checks look at.
    return parsed(kind, program(f"... {PLUS} {name}"), options, kind(base=strategy))


def _cannot_stand_first(name: str) -> str:
    return (
        f"{name} alters another method and cannot stand first; put it after one:"
        f" {catalog.default()} {PLUS} {name}"
    )


def _apart(strategy: Strategy, keep: bool) -> str:
    return f"( {to_text(strategy)} )" if keep else to_text(strategy)


def _term(strategy: Strategy) -> str:
    kind = type(strategy)
    name = catalog.name_of(kind) or place_of(kind)
    hidden = ("base",) if isinstance(strategy, Wrapper) else ()
    return " ".join(map(shlex.quote, [name, *_options(strategy, hidden)]))


def _options(part: Any, hidden: Sequence[str] = ()) -> list[str]:
    """Options of a dataclass for the fields that differ from their defaults."""
    words: list[str] = []
    for field in dataclasses.fields(part):
        value, default = getattr(part, field.name), _default(field)
        if field.name in hidden or (type(value) is type(default) and value == default):
            continue
        flag = "--" + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            if type(value) is not type(default):
                raise ValueError(f"{type(part).__name__}: no option can say another {field.name}")
            words += _options(value)
        elif isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, tuple | list):
            words += [flag, *(_word(item, field.name) for item in value)]
        else:
            words += [flag, _word(value, field.name)]
    return words


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _word(value: Any, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Path):
        raise ValueError(f"no option can say that {name} is {value!r}")
    if isinstance(value, int):
        for letter, factor in (("M", 10**6), ("k", 10**3)):
            if value and value % factor == 0:
                return f"{value // factor}{letter}"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return str(value)
