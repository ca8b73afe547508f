"""Time a training step of OpenSplat's CPU path, from a checkout of it, on the workload of step.py.

    git clone https://github.com/WebODM/OpenSplat
    OPENSPLAT=OpenSplat python bench/opensplat.py
    OPENSPLAT=OpenSplat python bench/report.py --yardstick bench/opensplat.py --out report

Compiles its CPU sources with this machine's instructions (a minute, once; torch keeps the result),
or with the flags that OPENSPLAT_FLAGS names (its own build has -O3 alone), and prints one line of
JSON with the keys of a yardstick.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.cpp_extension import load
from workload import COUNT, SIZES, Size, camera, key_of, rows, size_of, targets

WARM_UP = 2
SOURCES = (
    "project_gaussians.cpp", "rasterize_gaussians.cpp", "spherical_harmonics.cpp", "ssim.cpp",
    "tensor_math.cpp", "rasterizer/gsplat-cpu/gsplat_cpu.cpp",
)  # fmt: skip
NEAR, FAR = 0.001, 1000.0
FLAGS = "-O3 -march=native"


def compiled(checkout: Path) -> Any:
    """The module of opensplat.cpp."""
    missing = [name for name in SOURCES if not (checkout / name).is_file()]
    if missing:
        raise SystemExit(
            f"no {missing[0]} in {checkout}; expected a checkout of OpenSplat: name it in OPENSPLAT"
        )
    return load(
        "splat_bench_opensplat",
        [str(Path(__file__).with_suffix(".cpp")), *(str(checkout / name) for name in SOURCES)],
        extra_cflags=[*os.environ.get("OPENSPLAT_FLAGS", FLAGS).split(), "-fopenmp", "-w"],
        extra_ldflags=["-fopenmp"],
        extra_include_paths=[str(checkout), str(checkout / "rasterizer")],
        verbose=False,
    )


def measured(module: Any, size: Size, count: int, target: torch.Tensor, repeats: int) -> Any:
    """One picture size: medians in milliseconds, and the loss."""
    columns = rows(count)
    view = camera(*size)
    (fx, _, cx), (_, fy, cy), _ = view.K.tolist()
    sh = columns["sh"]
    steps = module.timed(
        [columns["mean"], columns["log_scale"], columns["quat"],
         columns["opacity_logit"][:, None], sh[:, 0].contiguous(), sh[:, 1:].contiguous()],
        view.world_to_camera, lens(fx, fy, *size) @ view.world_to_camera, [fx, fy, cx, cy],
        view.width, view.height, target.float() / 255, 3, WARM_UP + repeats,
    )[WARM_UP:]  # fmt: skip
    whole, forward, losses = zip(*steps, strict=True)
    return {"iteration_ms": median(whole), "forward_ms": median(forward), "loss": losses[-1]}


def lens(fx: float, fy: float, width: int, height: int) -> torch.Tensor:
    """The perspective matrix that OpenSplat asks for, [4, 4], z forward."""
    found = torch.zeros(4, 4)
    found[0, 0], found[1, 1] = 2 * fx / width, 2 * fy / height
    found[2, 2], found[2, 3] = (FAR + NEAR) / (FAR - NEAR), -FAR * NEAR / (FAR - NEAR)
    found[3, 2] = 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("threads", type=int, nargs="?", default=2)
    parser.add_argument("--repeats", type=int, default=6, help="steps timed, beyond the warm-up")
    parser.add_argument("--count", type=int, default=COUNT, help="Gaussians")
    parser.add_argument("--size", type=size_of, nargs="+", default=SIZES, metavar="WxH")
    options = parser.parse_args()
    if "OPENSPLAT" not in os.environ:
        sys.exit("where is OpenSplat? expected the folder of its checkout in OPENSPLAT")
    module = compiled(Path(os.environ["OPENSPLAT"]).resolve())
    torch.set_num_threads(options.threads)
    pictures = targets(options.size)
    print(json.dumps({
        key_of(size): measured(module, size, options.count, pictures[size], options.repeats)
        for size in options.size
    }))  # fmt: skip


if __name__ == "__main__":
    main()
