"""What runs write, against its schemas (docs/schemas): after each command of a test."""

from __future__ import annotations

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parent.parent / "docs/schemas"


@cache
def validator(name: str) -> Any:
    """The validator of metrics, log or config (ImportError where jsonschema is missing)."""
    import jsonschema

    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class RunFiles:
    """The run folders below a folder; each file is checked when it has changed."""

    def __init__(self, below: Path) -> None:
        self._below, self._seen = below, dict[Path, tuple[int, int]]()

    def check(self) -> None:
        """Hold what is new against its schema."""
        if find_spec("jsonschema") is None:
            return
        for config in self._below.rglob("config.json"):
            # What a test has spoilt on purpose is none of ours.
            if not _is_run(config):
                continue
            if self._changed(config):
                validator("config").validate(json.loads(config.read_text()))
            if self._changed(metrics := config.with_name("metrics.json")):
                validator("metrics").validate(json.loads(metrics.read_text()))
            if self._changed(log := config.with_name("log.jsonl")):
                for line in log.read_text().splitlines():
                    validator("log").validate(json.loads(line))

    def _changed(self, file: Path) -> bool:
        if not file.is_file():
            return False
        state = file.stat()
        mark = (state.st_mtime_ns, state.st_size)
        changed, self._seen[file] = self._seen.get(file) != mark, mark
        return changed


def _is_run(config: Path) -> bool:
    try:
        return bool(json.loads(config.read_text()).get("format") == "splat run")
    except (ValueError, AttributeError):
        return False
