"""Recipes taken apart into the words of a method and of each part; nothing is loaded for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from splat.recipes import catalog

PLUS = "+"


def tokens(recipe: str | Sequence[str]) -> list[str]:
    """The words of a recipe; those of a text as a shell splits them, with # before comments."""
    if not isinstance(recipe, str):
        return list(recipe)
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", recipe)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="()")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ValueError(f"recipe {recipe!r} cannot be read: {error}") from None


def terms_of(tokens: Sequence[str]) -> list[list[str]]:
    """The tokens between the `+` that stand in no parentheses.

    A preset after a `+` is what its name stands for, with its options for each part of it.
    """
    terms: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if depth < 0:
            raise ValueError("a recipe has a ) without its (")
        if token == PLUS and not depth:
            terms.append([])
        else:
            terms[-1].append(token)
    if depth:
        raise ValueError("a recipe has a ( without its )")
    return [terms[0], *(term for each in terms[1:] for term in _spelled(each))]


def program(name: str) -> str:
    """What help calls the program whose options are those of a method or part."""
    return f"train SCENE {name}"


def _spelled(term: list[str]) -> list[list[str]]:
    if not term or term[0] not in catalog.PRESETS:
        return [term]
    text, _ = catalog.PRESETS[term[0]]
    return [[*part, *term[1:]] for part in terms_of(tokens(text))]
