"""Strategies, budgets and seeds as they are typed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from splat.formats import rows_within

OWN = 0
"""The budget that is none: a strategy makes as many Gaussians as its recipe says."""
LONGEST = 60
"""Most letters of a name in the name of a file."""
_PAIRS = {"(": ")", "[": "]", '"': '"', "'": "'"}


def recipes_of(texts: Sequence[str]) -> dict[str, str]:
    """Recipes by the names of their rows, in the order given.

    Texts hold recipes with commas between them; commas in brackets or quotes do not count. A
    recipe may have a name of its own: `NAME=recipe`.
    """
    recipes: dict[str, str] = {}
    for text in (part for whole_text in texts for part in split(whole_text)):
        name, recipe = _named(_unquoted(text))
        if recipes.setdefault(name, recipe) != recipe:
            raise ValueError(
                f"two strategies are called {name!r}: {recipes[name]!r} and {recipe!r}; give one of"
                " them another name, as NAME=recipe"
            )
    return recipes


def split(text: str) -> list[str]:
    """The parts of a text between commas that are in no brackets and no quotes."""
    parts, closing = [""], ""
    for letter in text:
        if closing:
            closing = "" if letter == closing else closing
        elif letter in _PAIRS:
            closing = _PAIRS[letter]
        elif letter == ",":
            parts.append("")
            continue
        parts[-1] += letter
    if closing:
        raise ValueError(f"{text!r} has no {closing} where one is expected; close it")
    return [part.strip() for part in parts if part.strip()]


def seeds_of(text: str) -> tuple[int, ...]:
    """`3` is that many, from 0 on; `0,1,2` and `7,` are these."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1:
        numbers = list(range(numbers[0]))
    if not numbers or min(numbers) < 0:
        raise ValueError(
            f"seeds is {text!r}; expected how many, such as 3, or which, such as 0,1,2 or 7,"
        )
    return tuple(dict.fromkeys(numbers))


def budgets_of(text: str, sh_degree: int, suffix: str = ".ply") -> tuple[int, ...]:
    """`25k,100k`: most Gaussians, or `12MB` of a file; `own`: as many as the recipe says."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError(f"budget is {text!r}; expected such as 100k, 12MB, 25k,100k or own")
    budgets = (OWN if part == "own" else rows_within(part, sh_degree, suffix) for part in parts)
    return tuple(dict.fromkeys(budgets))


def budget_text(budget: int) -> str:
    """A budget in short: 100k, or own."""
    if budget == OWN:
        return "own"
    for unit, factor in (("M", 10**6), ("k", 10**3)):
        if budget >= factor and budget % (factor // 100) == 0:
            return f"{budget / factor:.12g}{unit}"
    return str(budget)


def slug(name: str) -> str:
    """A name that is safe in the name of a file; long ones are cut, with a hash of the whole."""
    plain = re.sub(r"[^\w.+-]+", "-", re.sub(r"\s*\+\s*", "+", name.replace("--", " "))).strip("-.")
    if plain and len(plain) <= LONGEST:
        return plain
    mark = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{plain[:LONGEST]}-{mark}".lstrip("-")


def _named(text: str) -> tuple[str, str]:
    """Name and recipe; a recipe without a name is its own name, with single spaces."""
    before, equals, after = text.partition("=")
    if equals and not re.search(r"(^|\s)--", before):
        if not before.strip() or not after.strip():
            raise ValueError(f"strategy {text!r} is half there; expected NAME=recipe")
        return before.strip(), _unquoted(after.strip())
    return " ".join(text.split()), text


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1].strip() if quoted and text[0] not in text[1:-1] else text
