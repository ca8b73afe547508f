"""Sizes of runs that suit a device, and what a step of one takes."""

from __future__ import annotations

from dataclasses import dataclass

from splat.core.schedule import PUBLISHED_STEPS
from splat.processor import isa
from splat.system import machine
from splat.system.devices import Device

TARGET_SECONDS = 170.0
"""Longest predicted training that a plain `splat train` on the CPU is fitted to."""
PIXEL_SECONDS = 4.5e-7
"""Seconds of one core for a pixel of a step: blending and loss, forward and backward (AVX2, Zen 3
at 2.4 GHz, photographs of a room)."""
ROW_SECONDS = 4e-7
"""Seconds of one core for a Gaussian of a step: projection, harmonics, Adam, density control, and
what blending takes for it however small the picture is."""
STEP_SECONDS = 2.5e-3
"""Seconds of a step however small it is."""
ISA_FACTORS = {"avx512": 0.5, "avx2": 1.0, "neon": 3.0, "base": 5.0}
"""How much longer a step takes with other instruction sets. NEON's is a guess on the safe side:
half of the width of AVX2 says 2, and it was measured on no machine."""
CUDA_STEP_SECONDS, CUDA_PIXEL_SECONDS, CUDA_ROW_SECONDS = 4e-3, 4e-9, 6e-9
"""Seconds of a step, a pixel and a row on a recent GPU of a data centre; a rough guide."""


@dataclass(frozen=True)
class Rung:
    """Size of a run that suits a device."""

    max_side: int
    """Longest side of a photo, pixels; 0: as it is."""
    steps: int
    """Number of steps."""
    cap: int
    """Most Gaussians."""
    random_points: int
    """Points to start from where the scene has none."""


LADDER = (
    Rung(480, 2000, 30_000, 10_000),
    Rung(560, 2500, 40_000, 15_000),
    Rung(640, 3000, 40_000, 15_000),
    Rung(640, 4000, 50_000, 15_000),
    Rung(800, 5000, 60_000, 20_000),
    Rung(960, 7000, 100_000, 20_000),
    Rung(1200, 10_000, 200_000, 50_000),
    Rung(1600, 15_000, 400_000, 100_000),
    Rung(1600, 30_000, 1_000_000, 100_000),
)
"""Runs on a CPU, from the smallest to the published one."""
CUDA = Rung(0, PUBLISHED_STEPS, 1_000_000, 100_000)


def rung_for(device: Device) -> Rung:
    """The published run on CUDA; on a CPU the largest of the ladder that ends in time."""
    if device.type == "cuda":
        return CUDA
    chosen = LADDER[0]
    for rung in LADDER:
        pixels = round(rung.max_side**2 * 0.7)
        if rung.steps * step_seconds(device, pixels, 0.8 * rung.cap) <= TARGET_SECONDS:
            chosen = rung
    return chosen


def step_parts(device: Device, pixels: float, rows: float, threads: int = 0) -> tuple[float, float]:
    """Predicted seconds of a step with so many Gaussians, and what so many pixels add to them."""
    if device.type == "cuda":
        return CUDA_STEP_SECONDS + CUDA_ROW_SECONDS * rows, CUDA_PIXEL_SECONDS * pixels
    factor = ISA_FACTORS[isa()] / (threads or machine.cores())
    return STEP_SECONDS + ROW_SECONDS * rows * factor, PIXEL_SECONDS * pixels * factor


def step_seconds(device: Device, pixels: float, rows: float, threads: int = 0) -> float:
    """Predicted seconds of a step with so many pixels and Gaussians."""
    return sum(step_parts(device, pixels, rows, threads))
