"""Run by an emulated Python: the wheel is imported, and trains 50 steps of a tiny scene."""

from __future__ import annotations

import platform
import tempfile
import time
from pathlib import Path

from scenes import shots, write_colmap

import splat
from splat import kernels
from splat.strategies.mcmc import Mcmc


def main() -> None:
    print(f"splat {splat.__version__} on {platform.machine()}: {', '.join(kernels.isas())}")
    with tempfile.TemporaryDirectory() as folder:
        write_colmap(Path(folder) / "scene", shots())
        begun = time.process_time()
        options = splat.Options(steps=50)
        scene = splat.load(Path(folder) / "scene")
        result = splat.train(
            scene, Mcmc(cap=500), options=options, out=Path(folder) / "run", lpips=None
        )
        took = time.process_time() - begun
    count, psnr = len(result.gaussians), result.metrics["psnr"]
    print(f"50 steps, {count} Gaussians, {psnr:.2f} dB, {took:.0f} s")


if __name__ == "__main__":
    main()
