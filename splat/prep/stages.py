"""Stages of a preparation that are done, so that a second run resumes there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from splat.prep.gather import REDO, write_json
from splat.system.foreign import Record, part, reading, record, shown

ORDER = ("gather", "features", "matches", "mapping", "placing")
State = Literal["done", "begun", "new"]
VERSION = 1
"""Version of the results of the stages; another one redoes them all."""


class Stages:
    """Keys of the complete stages. A stage's key depends on those before it."""

    def __init__(self, scene: Path) -> None:
        self.folder = scene / ".prep"
        self._file = self.folder / "state.json"
        self._done: dict[str, Any] = {}
        if self._file.is_file():
            with reading(self._file, REDO):
                self._done = {stage: {**each} for stage, each in _done_of(record(self._file))}
        self._keys: dict[str, str] = {}
        self._since = time.monotonic()

    def begin(self, stage: str, *settings: Any) -> State:
        """State of a stage with these settings. Results of other settings are cleared."""
        before = self._keys.get(ORDER[ORDER.index(stage) - 1], "")
        text = json.dumps([VERSION, before, stage, *settings], default=str)
        key = hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
        self._keys[stage], self._since = key, time.monotonic()
        recorded = self._done.get(stage, {})
        if recorded.get("key") == key:
            return "done" if recorded.get("complete") else "begun"
        for later in ORDER[ORDER.index(stage) :]:
            self._done.pop(later, None)
        if stage == "features":
            # Features of other photos or settings do not mix.
            for file in self.folder.glob("database.db*"):
                file.unlink()
        self._done[stage] = {"key": key}
        self._keep()
        return "new"

    def end(self, stage: str) -> None:
        """Record that the stage is complete."""
        took = time.monotonic() - self._since
        self._done[stage] = {"key": self._keys[stage], "complete": True, "seconds": round(took, 1)}
        self._keep()

    def complete(self) -> dict[str, str]:
        """Keys of the stages that are complete."""
        return {name: entry["key"] for name, entry in self._done.items() if "complete" in entry}

    def seconds(self) -> dict[str, float]:
        """Seconds that each stage took when it was carried out."""
        return {name: entry.get("seconds", 0.0) for name, entry in self._done.items()}

    def _keep(self) -> None:
        write_json(self._file, self._done)


def _done_of(stages: Record) -> Iterator[tuple[str, Record]]:
    """What is recorded of each stage; raises `Broken`."""
    for stage in stages:
        with part(f"stage {shown(stage)}"):
            entry = stages.record(stage)
            entry.text("key"), entry.number("seconds", 0.0)
            yield stage, entry
