"""Instants of scenes that move, as options of verbs ask for them."""

from __future__ import annotations

from pathlib import Path


def check_instants(time: float | None, instants: int | None) -> None:
    """Raise ValueError where an instant and a number of them are given."""
    if time is not None and instants is not None:
        raise ValueError("--time and --instants are given; expected one of them")


def of_sequence(path: Path, suffix: str, instants: int) -> list[tuple[Path, float]]:
    """The files of a sequence, numbered before their suffix, and the instant of each."""
    stem = path.name[: len(path.name) - len(suffix)]
    digits = max(4, len(str(instants - 1)))
    return [
        (path.with_name(f"{stem}_{k:0{digits}d}{suffix}"), k / (instants - 1))
        for k in range(instants)
    ]
