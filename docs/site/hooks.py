"""What MkDocs is given beside the pages in `docs/`: reference, pages of other folders, a gallery.

The reference is made of option records, their docstrings and signatures, so that it is written in
one place. Links that leave `docs/` lead to the pages made here; those to sources become names.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, get_type_hints

ROOT = Path(__file__).resolve().parents[2]
BESIDE = {
    "CONTRIBUTING.md": "about/contributing.md",
    "PROVENANCE.md": "about/provenance.md",
    "CHANGELOG.md": "about/changelog.md",
    "SECURITY.md": "about/security.md",
    "bench/README.md": "about/bench.md",
    "tests/interop/README.md": "about/interop.md",
    "examples/README.md": "about/examples.md",
}
"""Pages of other folders, and where the site has them."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(<?([^)\s>]+)>?((?: \"[^\"]*\")?)\)")
_FENCE = re.compile(r"^```.*?^```$|^(?: {4}|\t)[^\n]*$", re.DOTALL | re.MULTILINE)
_STYLE = "assets/options.css"
_CSS = """.md-typeset table:not([class]) td:first-child code { white-space: nowrap; }
.md-typeset table:not([class]) { display: block; overflow-x: auto; }
@media (max-width: 44rem) {
  .md-typeset table:not([class]) td, .md-typeset table:not([class]) th {
    min-width: 0; padding: .6em .7em; }
  .md-typeset table:not([class]) td:first-child code {
    white-space: normal; word-break: normal; overflow-wrap: normal; }
}
"""
"""Names of options stay in one piece; wide tables scroll on a phone, and are narrower there, where
what has spaces is broken at them."""


def on_config(config: Any) -> Any:
    """The gallery joins the pages where `SPLAT_GALLERY` names the folder that has it."""
    config.extra_css.append(_STYLE)
    if _gallery() is not None:
        config.nav.insert(1, {"Gallery": "gallery/index.md"})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for source, place in BESIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, place, content=text))
    for place, text in {**reference(), _STYLE: _CSS}.items():
        files.append(File.generated(config, place, content=text))
    if (gallery := _gallery()) is not None:
        for file in sorted(gallery.rglob("*")):
            if file.is_file():
                name = f"gallery/{file.relative_to(gallery).as_posix()}"
                files.append(File.generated(config, name, abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links, as the site has them."""
    del config, files
    place = page.file.src_uri
    source = next((s for s, p in BESIDE.items() if p == place), f"docs/{place}")
    return relinked(markdown, source, place)


def relinked(markdown: str, source: str, place: str) -> str:
    """A page of the file `source`, which the site has at `place`, with links that hold there."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    def link(match: re.Match[str]) -> str:
        picture, text, target, title = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        name, _, fragment = target.partition("#")
        found = os.path.normpath(PurePosixPath(source).parent / name)
        here = BESIDE.get(found) or (found[5:] if found.startswith("docs/") else None)
        if here is None or here.startswith(("site/", "schemas/")) or found == "docs":
            return text
        leads = os.path.relpath(here, PurePosixPath(place).parent)
        return f"{picture}[{text}]({leads}{'#' + fragment if fragment else ''}{title})"

    plain = _LINK.sub(link, _FENCE.sub(keep, markdown))
    return re.sub(r"\0(\d+)\0", lambda match: kept[int(match[1])], plain)


def reference() -> dict[str, str]:
    """Pages of the reference, by where the site has them."""
    return {
        "reference/command-line.md": _command_line(),
        "reference/methods.md": _methods(),
        "reference/python.md": _python(),
    }


def _command_line() -> str:
    from splat.cli import ASKED, VERBS

    asked = {**ASKED, "train": "splat.cli.run_options:Train"}
    parts = [
        "# Command line\n",
        "Every verb with its options, as `splat VERB --help-all` has them. Those of a method stand"
        " behind its name: [methods and parts](methods.md). Numbers may be written `7000`, `200k`,"
        " `1.5M` or `2GB`.\n",
    ]
    for verb, (_, summary) in VERBS.items():
        parts.append(f"\n## splat {verb}\n")
        if verb not in asked:
            parts.append(f"\n{_sentence(summary)}\n")
            continue
        kind = _at(asked[verb])
        parts.append(f"\n{_prose(kind)}\n")
        parts += _table(_options(kind))
    return "\n".join(parts)


def _methods() -> str:
    from splat.recipes.catalog import METHODS, PARTS, kind_of

    parts = ["# Methods and parts\n", "Names, classes and fields; `splat strategies show NAME`"
             " says what each does and when.\n"]  # fmt: skip
    for title, names in (("Methods", METHODS), ("Parts", PARTS)):
        parts.append(f"\n## {title}\n")
        for name, (place, _) in names.items():
            kind = kind_of(name)
            if kind is None:
                continue
            parts.append(f"\n### {name}\n\n`{place}`\n\n{_prose(kind)}\n")
            parts += _table(_options(kind))
    return "\n".join(parts)


def _python() -> str:
    import splat

    parts = ["# Python\n", "What `import splat` names, which is the stable interface. How it is"
             " used: [from Python](../guide/python.md).\n"]  # fmt: skip
    for name in splat.__all__:
        thing: Any = getattr(splat, name)
        sign = "" if inspect.isclass(thing) else _signature(thing)
        parts.append(f"\n## splat.{name}\n\n")
        if sign:
            parts.append(f"```python\nsplat.{name}{sign}\n```\n")
        parts.append(f"{_prose(thing)}\n")
        if dataclasses.is_dataclass(thing):
            parts += _table(_options(thing, prefix=""))
        parts += [
            f"\n`{method}{_signature(function)}`: {_sentence(_first(function))}\n"
            for method, function in _own_methods(thing)
        ]
    return "\n".join(parts)


def _own_methods(thing: Any) -> Iterator[tuple[str, Any]]:
    if not inspect.isclass(thing):
        return
    for name, function in vars(thing).items():
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, function


def _signature(function: Any) -> str:
    """A signature with short names of types, one argument a line where it is long."""
    try:
        sign = str(inspect.signature(function))
    except (TypeError, ValueError):
        return ""
    sign = re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", sign).replace("'", "")
    if len(sign) < 80:
        return sign
    inner, _, after = sign[1:].rpartition(")")
    split = re.split(r", (?![^\[(]*[\])])", inner)
    return "(\n" + "".join(f"    {each},\n" for each in split) + f"){after}"


def _options(kind: Any, prefix: str = "--") -> Iterator[tuple[str, str, str]]:
    """Name, default and text of every option of a record, those of records within it, too."""
    from splat.core.fields import field_docs

    docs = field_docs(kind)
    hints = _hints(kind)
    for each in dataclasses.fields(kind):
        marks = getattr(hints.get(each.name), "__metadata__", ())
        if not each.init or any("Suppress" in str(mark) for mark in marks):
            continue
        inner = _default(each)
        if prefix and dataclasses.is_dataclass(inner) and not isinstance(inner, type):
            if each.name not in ("method", "base", "theirs"):
                yield from _options(type(inner), prefix)
            continue
        if prefix and each.name in ("method", "base"):
            continue
        first = str(each.type)
        name = each.name.replace("_", "-") if prefix else each.name
        shown = f"{prefix}{name}" if "Positional" not in first else name.upper()
        yield shown, _shown(each, marks, inner), docs.get(each.name, _of_type(hints, each.name))


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return get_type_hints(kind, include_extras=True)
    except (NameError, TypeError):
        return {}


def _of_type(hints: dict[str, Any], name: str) -> str:
    """The help of an option whose text lies with its type (`splat.options.verbs`)."""
    for mark in getattr(hints.get(name), "__metadata__", ()):
        if text := getattr(mark, "help", None):
            return " ".join(str(text).split())
    return ""


def _default(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        try:
            return each.default_factory()
        except Exception:  # what a machine without something cannot make
            return None
    return each.default


def _shown(each: dataclasses.Field[Any], marks: tuple[Any, ...], value: Any) -> str:
    """The default, in words where these were given, and the range of a number, as help has them."""
    plain = _plain(value)
    for mark in marks:
        if said := getattr(mark, "help_behavior_hint", None):
            text = said(plain) if callable(said) else str(said)
            return re.sub(r"^\(default: (.*)\)$", r"\1", text)
    return plain


def _plain(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "to be given"
    if value in ((), None, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(rows: Iterator[tuple[str, str, str]]) -> list[str]:
    lines = [f"| `{name}` | {_cell(default)} | {_cell(text)} |" for name, default, text in rows]
    return ["\n| option | default | |\n|---|---|---|", *lines, ""] if lines else []


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _prose(thing: Any) -> str:
    """A docstring, with lines that begin with `splat` as commands."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    shown = [f"\n    {line}\n" if line.startswith("splat ") else line for line in lines]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(shown))


def _first(function: Any) -> str:
    return (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _gallery() -> Path | None:
    named = os.environ.get("SPLAT_GALLERY")
    return Path(named).resolve() if named else None


if __name__ == "__main__":
    for where, text in reference().items():
        sys.stdout.write(f"<!-- {where} -->\n{text}\n")
