"""Generated worlds of which everything is known, for tests and benchmarks to measure against.

Run from this folder's parent: `python -m worlds.district town/`; so `worlds.rooms`, `worlds.studio`
and `worlds.sweep`. The built-in scene, which is drawn by the same tracer, is `splat.datasets.demo`.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
"""Code that all worlds share; each has a folder of its own in it."""
