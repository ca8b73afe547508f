"""Commands that pages show are understood as they stand; nothing is trained, read or written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from splat import cli
from splat.cli import strategies
from splat.comparison.asked import recipes_of
from splat.options.parse import parsed
from splat.recipes.offered import Offered
from splat.recipes.recipe import strategy_from_text

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_CONTINUED = re.compile(r"\\\n\s*")
_SHOWN = re.compile(r"^(?: {4}|\$ )(splat [a-z].*)$", re.MULTILINE)
_STANDS_FOR_OTHERS = re.compile(r"\b[A-Z]{3,}\b|\bN\b|\.\.\.|…|[\[\]|&<>]")
"""METHOD, N, ...: what a reader is to put something else for; and what is for the shell."""


def commands(page: Path) -> Iterator[list[str]]:
    """The words after `splat` of every command that a page shows on a line of its own."""
    for shown in _SHOWN.findall(_CONTINUED.sub(" ", page.read_text())):
        if not _STANDS_FOR_OTHERS.search(shown):
            yield shlex.split(shown, comments=True)[1:]


WITH_COMMANDS = [page for page in PAGES if any(commands(page))]


def understood(verb: str, words: list[str]) -> None:
    """Read the arguments of a verb as the program does, and ValueError where it would end there."""
    if verb in ("train", "suggest"):
        from splat.cli.composed import read_as
        from splat.cli.run_options import Suggest, Train

        read_as(Train if verb == "train" else Suggest, verb, words)
    elif verb == "strategies" and words and words[0] in ("show", "test"):
        strategies.read(strategies.Show if words[0] == "show" else strategies.Test, words[1:])
    elif verb == "strategies" and words in ([], ["list"], ["fields"]):
        pass
    elif verb in cli.ASKED:
        module, _, kind = cli.ASKED[verb].partition(":")
        asked = parsed(getattr(import_module(module), kind), verb, words)
        if verb == "compare":
            for text in recipes_of(asked.strategies).values():
                strategy_from_text(text, Offered())
    elif verb not in cli.VERBS or verb == "strategies":
        raise ValueError(f"there is no splat {shlex.join([verb, *words[:1]])}")


@pytest.mark.parametrize(
    "page", WITH_COMMANDS, ids=[str(page.relative_to(ROOT)) for page in WITH_COMMANDS]
)
def test_commands_that_a_page_shows_are_understood(page: Path) -> None:
    wrong = []
    for verb, *words in commands(page):
        try:
            understood(verb, words)
        except FileNotFoundError as missing:
            # A file that readers have: it is looked for once all else is understood.
            named = [name for word in words for name in re.split("[,:]", word) if "." in name]
            if not any(name in str(missing) for name in named):
                wrong.append(f"splat {verb} {shlex.join(words)}: {missing}")
        except (ValueError, SystemExit) as error:
            wrong.append(f"splat {verb} {shlex.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_a_command_that_is_not_understood_is_found() -> None:
    with pytest.raises(ValueError, match="space on either side"):
        understood("compare", ["scene/", "--strategies", "mrnf+renew"])
    with pytest.raises(SystemExit):
        understood("train", ["scene/", "--stepz", "3"])
    with pytest.raises(SystemExit):
        understood("suggest", ["scene/", "--shared", "0.1"])
    with pytest.raises(ValueError, match="mcmcc"):
        understood("strategies", ["show", "mcmcc", "--cap", "60k"])
    with pytest.raises(ValueError, match="no splat strategies lists"):
        understood("strategies", ["lists"])
    with pytest.raises(ValueError, match="no splat trane"):
        understood("trane", ["scene/"])
