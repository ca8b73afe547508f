"""Which version of the program this is."""

from __future__ import annotations

from importlib import metadata

from splat.system.clash import OURS


def version() -> str:
    """Version of the installed distribution, which its build took from the tag of the release."""
    try:
        return metadata.version(OURS)
    except metadata.PackageNotFoundError:  # laid out by hand
        return "0+unknown"
