"""What stands under a field is help: whole sentences, since it is printed by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from splat.recipes.reference import reference_page

HOUSE = Path(__file__).parent.parent
ROOMS = ("splat", "strategies", "datasets", "viewer")
GOES_ON = ("and ", "or ", "nor ", "but ", "its opposite", "what follows")


def field_docs(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names and docstrings of fields of classes and of names of a module."""
    for node in ast.walk(tree):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        for field, doc in zip(body, body[1:], strict=False):  # noqa: RUF007
            if (
                isinstance(field, ast.AnnAssign | ast.Assign)
                and isinstance(doc, ast.Expr)
                and isinstance(doc.value, ast.Constant)
                and isinstance(doc.value.value, str)
            ):
                yield ast.unparse(field).split("=")[0], " ".join(doc.value.value.split())


@pytest.mark.parametrize("room", ROOMS)
def test_no_docstring_goes_on_under_the_next_field(room: str) -> None:
    wrong = [
        f"{path.relative_to(HOUSE)}: {name}: {text}"
        for path in sorted((HOUSE / room).rglob("*.py"))
        for name, text in field_docs(ast.parse(path.read_text(encoding="utf-8")))
        if text.rstrip("`)\"'")[-1:] not in (".", "!", "?") or text.startswith(GOES_ON)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_page_of_fields_is_what_the_code_says() -> None:
    """`splat strategies fields > docs/methods/fields.md` makes it anew."""
    page = reference_page()
    assert page == (HOUSE / "docs/methods/fields.md").read_text()
    assert "|  |\n" not in page, "a field without a docstring"
