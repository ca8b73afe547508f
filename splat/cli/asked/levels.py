"""Steps of levels of detail, which several verbs are asked for."""

from __future__ import annotations

from pathlib import Path

from splat import formats


def check_level_steps(steps: int | None, out: Path) -> None:
    """Raise ValueError where steps of levels of detail are given that cannot be trained."""
    if steps and not formats.has_levels(formats.suffix_of(out, written=True)):
        raise ValueError(
            f"level-steps is {steps}, and {out.name} holds no levels of detail; leave it out, or"
            " write a lod-meta.json or a tileset.json"
        )
