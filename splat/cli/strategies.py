"""`splat strategies`: which there are, what one does and when, and whether it does what it owes."""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from splat.options.parse import HELP, parsed
from splat.options.verbs import Json, Quiet
from splat.recipes import catalog
from splat.system.numbers import hint

if TYPE_CHECKING:
    from splat.core.strategy import Strategy


@dataclass(frozen=True)
class List:
    """Name the methods, the parts that may follow one after a +, and presets of parts."""

    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Show:
    """Say what a strategy is, what its options are, and at which steps of a run it does what."""

    recipe: tyro.conf.Positional[str]
    """A method or part, module:Class, a recipe such as mcmc --cap 60k + protect, or a file with
    one."""
    steps: int = 30_000
    """Length of the run that its schedule is fitted to."""
    json: Json = False
    quiet: Quiet = False


@dataclass(frozen=True)
class Test:
    """Try whether a strategy does what every one owes, on short runs of a tiny scene.

    splat strategies test my_pkg.my_method:Mine --interval 5 + protect
    """

    recipe: tyro.conf.Positional[str]
    """module:Class or file.py:Class of one's own, any recipe, or a file with one."""
    steps: Annotated[int | None, hint("500")] = None
    """Length of the runs, which its schedule is fitted to."""
    gain: float = 1.0
    """dB by which the picture must get better."""
    json: Json = False
    quiet: Quiet = False


_OWN: Mapping[type, Mapping[str, int]] = {
    Show: {"--steps": 1, "--json": 0, "--quiet": 0},
    Test: {"--steps": 1, "--gain": 1, "--json": 0, "--quiet": 0},
}
"""Options, and how many words follow each."""
T = TypeVar("T", Show, Test)


@dataclass(frozen=True)
class Fields:
    """Say what a strategy sees and what it may answer, field by field, as Markdown."""


def main(arguments: Sequence[str]) -> int:
    """List, show or test strategies; the exit code."""
    verb, *rest = arguments or ["list"]
    if verb in HELP:
        print(usage())
        return 0
    if verb not in _VERBS:
        near = difflib.get_close_matches(verb, _VERBS, 1)
        hinted = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(_VERBS)}"
        print(f"splat strategies: there is no verb {verb!r}; {hinted}", file=sys.stderr)
        return 2
    return _VERBS[verb](rest)


def usage() -> str:
    """The usage of the verb."""
    kinds = {"list": List, "show": Show, "test": Test, "fields": Fields}
    lines = [
        f"  {verb}  {(kind.__doc__ or '').partition(chr(10))[0]}" for verb, kind in kinds.items()
    ]
    return "\n".join(
        ["usage: splat strategies list | show RECIPE | test RECIPE | fields", "", *lines]
    )


def list_strategies(arguments: Sequence[str]) -> int:
    """Print methods, parts and presets; the exit code."""
    asked = parsed(List, "strategies list", arguments)
    methods, parts = catalog.summaries()
    record = {"methods": methods, "parts": parts}
    record["presets"] = {name: heading for name, (_, heading) in catalog.PRESETS.items()}
    if asked.json:
        print(json.dumps(record, indent=1))
        return 0
    width = max(len(name) for group in record.values() for name in group)
    for heading, group in record.items():
        print(f"{heading}:")
        for name, text in group.items():
            print(f"  {name:{width}}  {text}")
    print(
        "\nsplat train scene/ METHOD --options + PART --options; a preset is one or more parts\n"
        "with the options of a paper. `splat strategies show NAME` says what each does and when.\n"
        "One's own stand in the same places as module:Class or file.py:Class."
    )
    return 0


def show_strategy(arguments: Sequence[str]) -> int:
    """Print all about a strategy; the exit code."""
    asked, strategy = read(Show, arguments)
    from splat.recipes.page import page
    from splat.recipes.recipe import to_text_or_names

    if not asked.json:
        print(page(strategy, asked.steps))
        return 0
    acts = strategy.scheduled(asked.steps).acts(asked.steps)
    record = {
        "recipe": to_text_or_names(strategy),
        "steps": asked.steps,
        "acts": {act: list(done) for act, done in acts.items()},
    }
    print(json.dumps(record, indent=1))
    return 0


def test_strategy(arguments: Sequence[str]) -> int:
    """Check a strategy; the exit code."""
    asked, strategy = read(Test, arguments)
    from splat.conformance.checks import STEPS, check_strategy
    from splat.recipes.recipe import to_text_or_names
    from splat.system import errors

    errors.speak(quiet=True)  # of the scene that it is tried on
    findings = check_strategy(strategy, steps=asked.steps or STEPS, gain=asked.gain)
    failed = [finding for finding in findings if not finding.passed]
    if asked.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
        return 1 if failed else 0
    print(to_text_or_names(strategy))
    width = max(len(finding.check) for finding in findings)
    told: set[str] = set()
    for finding in findings:
        alike = [other.check for other in failed if other.said == finding.said]
        if finding.passed or len(alike) == 1:
            state = "passed" if finding.passed else "FAILED"
            print(f"  {state}  {finding.check:{width}}  {finding.owed}.")
            print(f"  {'':8}{'':{width}}  {finding.said}")
        elif finding.said not in told:  # one cause is told once, whatever it stands in the way of
            told.add(finding.said)
            print(f"  FAILED  {finding.said}")
            for line in textwrap.wrap(f"so that these cannot pass: {', '.join(alike)}", 86):
                print(f"  {'':8}{line}")
    print(f"{len(findings) - len(failed)} of {len(findings)} checks passed")
    return 1 if failed else 0


def print_fields(arguments: Sequence[str]) -> int:
    """Print what a strategy sees and may say; the exit code."""
    parsed(Fields, "strategies fields", arguments)
    from splat.recipes.reference import reference_page

    print(reference_page(), end="")
    return 0


_VERBS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "list": list_strategies,
    "show": show_strategy,
    "test": test_strategy,
    "fields": print_fields,
}


def read(kind: type[T], arguments: Sequence[str]) -> tuple[T, Strategy]:
    """The arguments of `show` or `test`, whose own options stand among the words of a recipe."""
    asked = parsed(kind, f"strategies {kind.__name__.lower()}", _joined(arguments, _OWN[kind]))
    return asked, _strategy(asked.recipe)


def _strategy(text: str) -> Strategy:
    """The strategy of a recipe; a part alone is put around a method that does nothing."""
    from splat.recipes import recipe
    from splat.recipes.terms import PLUS

    text = recipe.text_of(text)
    first = (shlex.split(text) or [""])[0]
    alone = first in catalog.summaries()[1] or first in catalog.PRESETS
    return recipe.strategy_from_text(f"fixed {PLUS} {text}" if alone else text)


def _joined(arguments: Sequence[str], own: Mapping[str, int]) -> list[str]:
    """The words of a recipe joined to one argument, before the options of the verb."""
    words: list[str] = []
    options: list[str] = []
    left = 0
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if left or name in own or name in HELP:
            left = left - 1 if left else 0 if equals else own.get(name, 0)
            options.append(argument)
        else:
            words.append(argument)
    if len(words) > 1:
        words = [" ".join(word if word in ("+", "(", ")") else shlex.quote(word) for word in words)]
    return [*words, *options]
