"""All that a strategy sees and may say, field by field: the docstrings of the code as one page."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from splat import rules
from splat.core import edit
from splat.core.cloud import Cloud
from splat.core.fields import field_docs
from splat.core.model import Model
from splat.core.objective import Objective
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.types import (
    Batch,
    Camera,
    Contributions,
    Frame,
    Gaussians,
    Needs,
    Rendered,
    ScreenGradient,
    Surveyed,
)

SEEN = (
    Step, Model, Cloud, Batch, Camera, Rendered, ScreenGradient, Surveyed, Contributions, Gaussians,
    Needs, Frame,
)  # fmt: skip
"""What a strategy or an objective is shown, first what it is given."""
SAID = (
    edit.Edit, edit.Append, edit.Assign, edit.Drop, edit.Nudge, edit.Overwrite, edit.Change,
    Strategy, Objective,
)  # fmt: skip
"""What it answers, and what it may define."""


def reference_page() -> str:
    """The page, as Markdown."""
    blocks = [
        "# What a strategy sees, and what it may say",
        "Made by `splat strategies fields` of the docstrings of the code; [a strategy of your"
        " own](own-strategy.md) is where to begin. Shapes are [rows, ...]; n is the number of rows,"
        " h and w are those of the picture. Positions are in the frame of training.",
        "## What it is shown",
        *(_of(kind) for kind in SEEN),
        "## What it says",
        *(_of(kind) for kind in SAID),
        "## Rules",
        "Of `splat.rules`: what most methods are built of.",
        "\n".join(
            [
                "| function | gives | |",
                "|---|---|---|",
                *(_rule(getattr(rules, name)) for name in rules.__all__),
            ]
        ),
    ]
    return "\n\n".join(blocks) + "\n"


def _of(kind: type[Any]) -> str:
    """A class: what it is, its fields, and its methods."""
    blocks = [f"### `{kind.__name__}`", _paragraph(kind)]
    docs = field_docs(kind)
    fields = [
        f"| `{name}` | `{annotation}` | {_cell(docs.get(name, ''))} |"
        for name, annotation in _annotations(kind)
    ]
    if fields:
        blocks.append("\n".join(["| field | type | |", "|---|---|---|", *fields]))
    if methods := [
        f"| `{sign}` | `{gives}` | {_cell(text)} |" for sign, gives, text in _methods(kind)
    ]:
        blocks.append("\n".join(["| method | gives | |", "|---|---|---|", *methods]))
    return "\n\n".join(blocks)


def _rule(function: Any) -> str:
    """A function as a row of a table: its signature, and the first paragraph of its docstring."""
    signature = inspect.signature(function)
    words = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in signature.parameters.values()
    ]
    sign = f"{function.__name__}({', '.join(words)})"
    return f"| `{sign}` | `{_given(function)}` | {_cell(_paragraph(function))} |"


def _annotations(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Names of fields with their types as they are written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for each in tree.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            if not each.target.id.startswith("_"):
                yield each.target.id, _plain(ast.unparse(each.annotation))


def _methods(kind: type[Any]) -> Iterator[tuple[str, str, str]]:
    """Signatures of what may be called, or read, what it gives, and the first paragraph of each
    docstring."""
    for name, each in vars(kind).items():
        if (name.startswith("_") and name != "__call__") or isinstance(each, type):
            continue
        if isinstance(each, property) or hasattr(each, "attrname"):
            function = each.fget if isinstance(each, property) else each.func
            yield name, _given(function), _paragraph(function)
        elif inspect.isfunction(each) or isinstance(each, classmethod | staticmethod):
            function = each if inspect.isfunction(each) else each.__func__
            parameters = [p for p in inspect.signature(function).parameters if p != "self"]
            sign = f"{name}({', '.join(p for p in parameters if p != 'cls')})"
            yield sign, _given(function), _paragraph(function)


def _given(function: Any) -> str:
    """The type of what a function gives, as it is written."""
    return _plain(str(inspect.signature(function).return_annotation))


def _paragraph(of: Any) -> str:
    """The first paragraph of a docstring, in a line."""
    return " ".join((inspect.getdoc(of) or "").partition("\n\n")[0].split())


def _plain(annotation: str) -> str:
    return annotation.replace("'", '"').replace("|", "or")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
