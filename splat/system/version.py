"""Which version of the program this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Version of the installed distribution."""
    try:
        return metadata.version("splat-toolkit")
    except metadata.PackageNotFoundError:
        from splat import __version__

        return __version__
