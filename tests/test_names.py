"""Names that nobody defined: the linter's rule is off, as it takes shapes for names."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_no_name_is_undefined() -> None:
    ruff = shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    words = ["check", "--isolated", "--select", "F821", "--output-format", "json", "--exit-zero"]
    rooms = [ROOT / name for name in ("splat", "strategies", "datasets", "viewer", "bench")]
    said = subprocess.run([ruff, *words, *rooms], capture_output=True, text=True, check=True).stdout
    wrong = []
    for found in json.loads(said):
        file, place = Path(found["filename"]), found["location"]
        names = (n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Name))
        # Shapes such as "h w 3" are texts, not names.
        if any((n.lineno, n.col_offset + 1) == (place["row"], place["column"]) for n in names):
            wrong.append(f"{file.relative_to(ROOT)}:{place['row']}: {found['message']}")
    assert not wrong
