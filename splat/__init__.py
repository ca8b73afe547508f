"""splat: train 3D Gaussian Splatting scenes on a CPU or on CUDA.

The stable interface is what this module names: `load`, `train`, `resume`, `off_path`, `rasterize`,
`read`, `write`, the options of a run and the strategies. Importing it is cheap; torch and the
kernels are loaded when one of the names is first used.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from splat.system.clash import beside, sentence

if TYPE_CHECKING:
    from splat.api import load, off_path, resume, train
    from splat.core.chain import Chain
    from splat.core.strategy import Fixed, Strategy
    from splat.options import Options, Reading, Watching
    from splat.render.as_gsplat import rasterize
    from splat.results import DrawnGaussians, Result, read, write
    from splat.strategies.adc import Adc
    from splat.strategies.budget import Budget
    from splat.strategies.freeze import Freeze
    from splat.strategies.mcmc import Mcmc
    from splat.strategies.protect import Protect

    __version__: str

_DISTRIBUTION = "splat-toolkit"  # tells ours from another package of this name: `system.clash`

if find_spec("splat.strategies") is None:
    raise ImportError(
        "this is splat's uninstalled source tree, which is laid out for building: "
        "run `pip install -e .` in it, or leave the folder if splat is installed"
    )

if _others := beside(__file__):
    warnings.warn(sentence(_others), stacklevel=2)

__all__ = [
    "Adc",
    "Budget",
    "Chain",
    "DrawnGaussians",
    "Fixed",
    "Freeze",
    "Mcmc",
    "Options",
    "Protect",
    "Reading",
    "Result",
    "Strategy",
    "Watching",
    "load",
    "off_path",
    "rasterize",
    "read",
    "resume",
    "train",
    "write",
]

_PLACES = {
    "Adc": "splat.strategies.adc",
    "Budget": "splat.strategies.budget",
    "Chain": "splat.core.chain",
    "Freeze": "splat.strategies.freeze",
    "Mcmc": "splat.strategies.mcmc",
    "Protect": "splat.strategies.protect",
    "Fixed": "splat.core.strategy",
    "Strategy": "splat.core.strategy",
    "Options": "splat.options",
    "Reading": "splat.options",
    "Watching": "splat.options",
    "rasterize": "splat.render.as_gsplat",
    "DrawnGaussians": "splat.results",
    "Result": "splat.results",
    "read": "splat.results",
    "write": "splat.results",
}
"""Modules of names that are not in `splat.api`."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from splat.system.version import version

        return globals().setdefault(name, version())
    if name not in __all__:
        raise AttributeError(f"module 'splat' has no attribute {name!r}")
    value = getattr(import_module(_PLACES.get(name, "splat.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
