"""The native kernels as differentiable torch functions: checks, allocation, autograd.

float32 tensors take the machine's best instruction set (`isa()`), float64 tensors a plain double
build of the same code that gradients are tested with. Nothing here falls back from one device to
another: CUDA tensors go to the CUDA build, and where it is missing an error says so.
"""

from splat.kernels.activate import activate, mean_of
from splat.kernels.adam import adam
from splat.kernels.aside import finish
from splat.kernels.decode import Decoded, Heads, decode
from splat.kernels.frustum import in_frustum
from splat.kernels.harmonics import Brought, Harmonics, HarmonicsGradient, left_by_backward
from splat.kernels.moment import durations, moment
from splat.kernels.native import (
    one_torch_thread,
    seconds,
    set_threads,
    stage_seconds,
    threads,
    threads_alone,
)
from splat.kernels.output import forget as forget_outputs
from splat.kernels.photometric import photometric
from splat.kernels.pixels import errors, toned
from splat.kernels.rasterize import Projection, Statistics, rasterize, scratch_bytes
from splat.kernels.signs import signs
from splat.kernels.surprise import surprise
from splat.kernels.survey import survey
from splat.kernels.walk import add, walk
from splat.processor import isa, isas, use_isa
from splat.scene import NEAR

__all__ = [
    "NEAR",
    "Brought",
    "Decoded",
    "Harmonics",
    "HarmonicsGradient",
    "Heads",
    "Projection",
    "Statistics",
    "activate",
    "adam",
    "add",
    "decode",
    "durations",
    "errors",
    "finish",
    "forget_outputs",
    "in_frustum",
    "isa",
    "isas",
    "left_by_backward",
    "mean_of",
    "moment",
    "one_torch_thread",
    "photometric",
    "rasterize",
    "scratch_bytes",
    "seconds",
    "set_threads",
    "signs",
    "stage_seconds",
    "surprise",
    "survey",
    "threads",
    "threads_alone",
    "toned",
    "use_isa",
    "walk",
]
