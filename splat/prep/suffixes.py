"""Suffixes of the files that `splat prep` takes beside the pictures that training reads."""

from __future__ import annotations

from pathlib import Path

VIDEO = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp")


def is_video(path: Path) -> bool:
    """Whether the suffix is that of a video."""
    return path.suffix.lower() in VIDEO
