"""What the site adds to the pages: a reference of options, and links that hold elsewhere."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from splat.cli import ASKED, VERBS
from splat.core.fields import field_docs
from splat.recipes.catalog import METHODS, PARTS, kind_of
from splat.strategies.adc import Adc

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site/hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference(hooks: ModuleType) -> dict[str, str]:
    found: dict[str, str] = hooks.reference()
    return found


def test_every_verb_has_its_options(reference: dict[str, str]) -> None:
    page = reference["reference/command-line.md"]
    assert re.findall(r"^## splat (\S+)$", page, re.M) == [*VERBS]
    parts = dict(zip(VERBS, page.split("\n## splat ")[1:], strict=True))
    for verb in (*ASKED, "train"):
        rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*) \|$", parts[verb], re.M)
        assert len(rows) >= 2 and all(text for _, _, text in rows), (verb, rows)
    assert "| `--spz-version` | 3 | Version of an .spz" in parts["export"]
    assert "| `RUN` | to be given |" in parts["resume"]
    assert "| `--keep` | 3; 1 or more | Last" in parts["train"] and "Range(" not in page


def test_every_method_has_its_fields(reference: dict[str, str]) -> None:
    page = reference["reference/methods.md"]
    there = [name for name in (*METHODS, *PARTS) if kind_of(name) is not None]
    assert re.findall(r"^### (\S+)$", page, re.M) == there
    docs = field_docs(Adc)
    for name, text in ((each.name, docs[each.name]) for each in fields(Adc)):
        assert f"| `--{name.replace('_', '-')}` |" in page and text[:40].split("|")[0] in page


def test_what_python_names_is_there(reference: dict[str, str]) -> None:
    import splat

    page = reference["reference/python.md"]
    assert re.findall(r"^## splat\.(\w+)$", page, re.M) == splat.__all__
    assert "splat.write(" in page and "pathlib" not in page


def test_links_hold_where_the_site_has_a_page(hooks: ModuleType) -> None:
    text = (
        "[a](docs/glossary.md#words) ![b](docs/start/demo.png) [c](splat/loop.py) [d](#here)"
        " [e](https://example.org/x.md) [f](CHANGELOG.md)\n\n    [g](docs/glossary.md)\n"
        "[h](docs/glossary.md)\n"
    )
    assert hooks.relinked(text, "CONTRIBUTING.md", "about/contributing.md") == (
        "[a](../glossary.md#words) ![b](../start/demo.png) c [d](#here)"
        " [e](https://example.org/x.md) [f](changelog.md)\n\n    [g](docs/glossary.md)\n"
        "[h](../glossary.md)\n"
    )
    there = hooks.relinked("[x](../../bench/README.md)", "docs/guide/mesh.md", "guide/mesh.md")
    assert there == "[x](../about/bench.md)"
