"""`Generator`: what makes Gaussians of a text; ours, and the door for those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from splat.generate.store import read
from splat.system.import_path import module_of, vouch, where_and_name
from splat.types import Gaussians


class Generator(Protocol):
    """Makes Gaussians of a text; the same of the same seed."""

    def __call__(self, text: str, *, seed: int) -> Gaussians:
        """Activated Gaussians, z up, in units of its own."""
        ...


def trained(path: Path) -> Generator:
    """Ours, of its folder or file."""
    return read(path)


def of_others(place: str) -> Generator:
    """The generator at `module:Class` or `file.py:Class`, made without arguments, for which the
    user vouches by naming it; ValueError with a sentence where there is none."""
    where, name = where_and_name(place, "generator", "Class")
    vouch(place)
    kind = vars(module_of(where, "generator")).get(name)
    if kind is None:
        raise ValueError(f"generator {place!r}: {where} holds no {name}; expected a class")
    made = kind() if isinstance(kind, type) else kind
    if not callable(made):
        raise ValueError(
            f"generator {place!r}: {name} cannot be called; expected a class whose objects are"
            " called with a text and a seed, and give splat.types.Gaussians"
        )

    def generator(text: str, *, seed: int) -> Gaussians:
        found = made(text, seed=seed)
        if not isinstance(found, Gaussians):
            raise ValueError(
                f"generator {place!r} gave {type(found).__name__}; expected splat.types.Gaussians"
            )
        return found.to("cpu")

    return generator
