"""Numbers as people read them, bytes and lengths of time; what a class says of itself."""

from __future__ import annotations

import ast
import inspect


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def span(seconds: float) -> str:
    """A length of time as people read it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def headline(kind: type[object]) -> str:
    """The first paragraph of a class's docstring, in one line."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split())


def docs_of_fields(node: ast.stmt) -> dict[str, str]:
    """The docstrings under the fields of a class, by name, out of its source; none of what is no
    class."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    docs = {}
    for field, doc in zip(body, body[1:], strict=False):  # noqa: RUF007
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
            docs[field.target.id] = inspect.cleandoc(str(doc.value.value))
    return docs
