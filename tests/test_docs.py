"""Documentation holds: links lead somewhere, and what pages name is there under that name.

Nothing is imported: sources are read as text, so that all of it takes a second or two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("bench", "cuda", "datasets", "docs", "splat", "strategies", "tests", "viewer", ".ci")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))]
)
PAGES = [page for page in PAGES if "node_modules" not in page.parts]
LIVING = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages that speak of what is there now."""
SOURCES = sorted(
    path
    for room in ROOMS
    if room != "docs"
    for path in (ROOT / room).rglob("*")
    if path.suffix in (".py", ".pyi", ".sh", ".h", ".cpp", ".cu", ".js", ".mjs", ".txt")
    and "node_modules" not in path.parts
)
SUFFIXES = "py|pyi|md|sh|h|cpp|cu|js|png|txt|json|toml"
INSTALLED = {f"splat.{room}": room for room in ("strategies", "datasets", "viewer")}
"""Rooms that lie beside `splat/` and are packages within it once installed (pyproject.toml)."""


def short(page: Path) -> str:
    return str(page.relative_to(ROOT))


@cache
def unfenced(page: Path) -> str:
    """A page without its blocks of code, in which brackets are not links."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The fragments that headings of a page can be linked by, as GitHub makes them."""
    found: dict[str, int] = {}
    names = []
    for heading in re.findall(r"^#+ +(.+?)\s*$", unfenced(page), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        name = plain.replace(" ", "-")
        again = found[name] = found.get(name, -1) + 1
        names.append(f"{name}-{again}" if again else name)
    return frozenset(names)


def broken(page: Path) -> Iterator[str]:
    """Links of a page, pictures among them, that lead nowhere in the repository."""
    for target in re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", unfenced(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or ROOT not in (path, *path.parents):
            yield f"{short(page)}: {target} is not there"
        elif fragment and path.suffix == ".md" and fragment not in anchors(path):
            yield f"{short(page)}: {target} names no heading of {short(path)}"


def test_there_are_pages() -> None:
    assert ROOT / "README.md" in PAGES and len(PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert not list(broken(page))


def test_broken_links_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# One `two`: three\n\n## Again\n\n## Again\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#one-two-three) [b](other.md#again-1) ![c](gone.png) [d](other.md#four)\n"
        "[e](https://example.org/gone) [f](#here) [g](../outside.md)\n\n# Here\n\n"
        "    a[0](gone.md)\n\n```python\nb[0](gone.md)\n```\n"
    )
    assert [line.split(": ")[1].split()[0] for line in broken(page)] == [
        "gone.png",
        "other.md#four",
        "../outside.md",
    ]


def test_the_index_names_every_page_of_docs() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {
        (index.parent / name).resolve() for name in re.findall(r"\]\(([^)#]+)", index.read_text())
    }
    assert {page for page in PAGES if index.parent in page.parents} - {index} <= listed


def test_every_picture_of_docs_is_shown() -> None:
    shown = {
        (page.parent / name).resolve()
        for page in PAGES
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())
    }
    assert set((ROOT / "docs").rglob("*.png")) <= shown


def test_pages_that_sources_speak_of_are_there() -> None:
    gone = [
        f"{short(path)}: {name}"
        for path in [*SOURCES, ROOT / "pyproject.toml", *ROOT.glob(".ci/*")]
        if path.is_file() and path != Path(__file__).resolve()
        for name in re.findall(r"\bdocs/[\w/.-]*\.(?:md|png)\b", path.read_text(errors="ignore"))
        if not (ROOT / name).is_file()
    ]
    assert not gone


@pytest.mark.parametrize("page", LIVING, ids=short)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    gone = []
    for name in re.findall(r"`([^`\s]+)`", unfenced(page)):
        inside = re.fullmatch(rf"(?:{'|'.join(map(re.escape, ROOMS))})/[\w/.*-]*", name)
        if inside and not any(ROOT.glob(name.rstrip("/"))):
            gone.append(name)
        elif page.name == "PROVENANCE.md" and re.fullmatch(rf"[\w-]+\.(?:{SUFFIXES})", name):
            gone += [name] if name not in file_names() else []
    assert not gone


@cache
def file_names() -> frozenset[str]:
    return frozenset(path.name for path in SOURCES)


def module_file(dotted: str) -> Path | None:
    """The file of a module or package as it installs; None: there is none."""
    for package, room in INSTALLED.items():
        if dotted == package or dotted.startswith(package + "."):
            dotted = room + dotted[len(package) :]
            break
    path = ROOT.joinpath(*dotted.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


ENTRY_POINTS = ("splat.strategies", "splat.readers", "splat.formats")
"""Groups of entry points that other packages join."""


def is_there(dotted: str) -> bool:
    """Whether `splat.a.b` or `splat.a.b.name` is a module, or something that a module names."""
    if module_file(dotted) is not None or dotted in ENTRY_POINTS:
        return True
    owner, _, name = dotted.rpartition(".")
    file = module_file(owner)
    if file is None:  # a method or a field of a class
        owner, _, kind = owner.rpartition(".")
        file = module_file(owner)
        if file is None or not defines(file, kind):
            return False
    return defines(file, name)


def defines(file: Path, name: str) -> bool:
    """Whether a file binds a name: a function, a class, a value, a field, an import, a string."""
    bound = (
        rf"^[ \t]*(?:def|class)? *{name}\b *[(:=\[,]",
        rf"\bimport [^#\n]*\b{name}\b",
        rf"\"{name}\"",
    )
    return re.search("|".join(bound), file.read_text(), re.MULTILINE) is not None


def dotted_names(text: str) -> set[str]:
    """Modules and names of ours that a text speaks of."""
    found = set(re.findall(r"(?<![\w./-])splat(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(r"^from (splat[\w.]*) import ([\w, ]+)$", text, re.MULTILINE):
        found |= {
            module,
            *(f"{module}.{name.split(' as ')[0].strip()}" for name in names.split(",")),
        }
    return found


@pytest.mark.parametrize("page", LIVING, ids=short)
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    assert not [name for name in sorted(dotted_names(page.read_text())) if not is_there(name)]


def test_names_that_are_not_there_are_told_from_those_that_are() -> None:
    assert is_there("splat.train") and is_there("splat.core.strategy.Wrapper.altered")
    assert is_there("splat.strategies.mcmc") and is_there("splat.datasets.demo")
    assert not is_there("splat.strategy") and not is_there("splat.core.edit.Nothing")


def test_modules_that_moved_are_where_the_changelog_says() -> None:
    rows = re.findall(
        r"^\| `(splat[\w.]+)[^|]*\| `(splat[\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    assert len(rows) > 40
    assert not [new for _, new in rows if not is_there(new)]
