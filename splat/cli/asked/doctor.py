"""What `splat doctor` is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from splat.options.verbs import Json, Quiet


@dataclass(frozen=True)
class Doctor:
    """Say what this machine can do, what is missing, and the command that brings it."""

    json: Json = False
    quiet: Quiet = False
    clean: bool = False
    """Remove what is kept between runs in the user's cache (the built-in scene, decoded photos),
    and check nothing. It is made again when it is needed."""
