"""Chance pictures by the CUDA kernels as C++: `python tests/shim/fuzz.py --calls N --seed S`.

Each is drawn, taken back and surveyed in two orders of threads, which must give the same bytes, and
held against the CPU's kernels, but for the pixels that a threshold decides. A third of the pictures
has rows that are broken: nobody else's numbers may be. Memory that nobody has written is NaN.
With `--sanitized` the kernels are compiled with AddressSanitizer and UndefinedBehaviorSanitizer,
which end the process at the first access beside an array. Exit code 1 where anything was found.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from test_cuda_kernels import photometric, stepped
from test_kernels import NAMES, intrinsics, leaves, scene
from torch import Tensor

from shim import build
from splat import kernels

KINDS = ("plain", "needles", "long needles", "subpixel", "opaque", "near")
BREAKS = (
    ("means", torch.nan), ("means", 1e30), ("means", torch.inf), ("scales", torch.inf),
    ("scales", 1e30), ("scales", 0.0), ("quats", 0.0), ("quats", torch.nan),
    ("opacities", torch.nan), ("opacities", 0.0), ("opacities", 1.0), ("colors", torch.nan),
)  # fmt: skip
FLIPPED = 0.01
"""Of the pixels, and of a gradient's length, what thresholds may decide otherwise: the two kinds of
kernels round differently, and a pixel at a threshold falls on either side of it."""


class Wrong(Exception):
    """What was found, in a clause."""


def main() -> int:
    """Draw them; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--sanitized", action="store_true")
    asked = parser.parse_args()
    if asked.sanitized and "SPLAT_SHIM_SANITIZED" not in os.environ:
        return _sanitized()
    gpu = build.module(sanitized=asked.sanitized)
    torch.use_deterministic_algorithms(True)  # memory from torch begins as NaN
    counts: Counter[str] = Counter()
    for i in range(asked.first, asked.first + asked.calls):
        chance = random.Random(f"{asked.seed}/{i}")
        what = chance.choices((picture, loss, step), (8, 1, 1))[0]
        try:
            with torch.random.fork_rng():
                torch.manual_seed(chance.getrandbits(32))
                counts[what(gpu, chance)] += 1
        except Wrong as wrong:
            counts["wrong"] += 1
            print(f"call {i} of seed {asked.seed}: {wrong}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return int(counts["wrong"] > 0)


def _sanitized() -> int:
    """This again, in a process that begins with the sanitizers' libraries."""
    found = subprocess.run(
        [build.compiler(), "-print-file-name=libasan.so"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    options = "detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0:exitcode=9"
    environment = {
        **os.environ, "SPLAT_SHIM_SANITIZED": "1", "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": options, "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }  # fmt: skip
    return subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode


def picture(gpu: ModuleType, chance: random.Random) -> str:
    """One picture of Gaussians by chance: forward, backward and survey."""
    count = chance.choice((0, 1, 31, 33, 257)) if chance.random() < 0.3 else chance.randint(1, 900)
    degree = chance.choice((None, 0, 1, 2, 3))
    size = (chance.randint(1, 90), chance.randint(1, 90))
    given = scene(chance.choice(KINDS), count, degree, chance.getrandbits(30))
    given["features"] = torch.randn(count, chance.randint(0, 11), dtype=torch.float64)
    given["opacities"] *= chance.choice((1.0, 0.3, 0.03))
    given = {name: each.float() for name, each in given.items()}
    broken = count > 1 and chance.random() < 1 / 3
    healthy = torch.ones(count, dtype=torch.bool)
    if broken:
        for name, value in chance.sample(BREAKS, 4):
            row = chance.randrange(count)
            given[name][row] = value
            healthy[row] = False
    how: dict[str, Any] = {
        "sh_degree": degree, "depth": chance.random() < 0.5, "absolute": chance.random() < 0.5,
        "projection": kernels.Projection(
            antialiased=chance.random() < 0.5, beside=chance.random() < 0.5,
            near=chance.choice((0.01, 0.2, 3.0)), far=chance.choice((1e10, 3.6)),
            radius_clip=chance.choice((0.0, 1.5)),
        ),
    }  # fmt: skip
    maps = torch.rand(*size[::-1], chance.randint(0, 5))
    with torch.no_grad():
        expected = drawn(given, size, how, maps)
    with by(gpu):
        gpu.set_order(0)
        found = drawn(given, size, how, maps)
        gpu.set_order(chance.randint(1, 1000))
        again = drawn(given, size, how, maps)
        gpu.set_order(0)
    described = f"{count} rows, degree {degree}, {size[0]} x {size[1]}, {how}"
    for name, each in found.items():
        if not torch.equal(each.nan_to_num(7), again[name].nan_to_num(7)):
            raise Wrong(f"{name} depends on the order of threads ({described})")
        rows = each.shape[:1] == (count,) and name not in ("image", "alpha", "extra")
        mine, truth = (each[healthy], expected[name][healthy]) if rows else (each, expected[name])
        if not torch.isfinite(mine).all() and torch.isfinite(truth).all():
            raise Wrong(f"{name} is not finite where the CPU's is ({described})")
        if torch.isfinite(truth).all():
            apart = (mine - truth).double()
            scale = truth.double().abs().max().clamp_min(1e-6) if truth.numel() else 1.0
            if name in ("image", "alpha", "extra") and truth.numel():
                share = float((apart.abs() > 1e-3 * max(1.0, float(scale))).double().mean())
            else:
                length = truth.double().norm().clamp_min(1e-6 * math.sqrt(max(1, truth.numel())))
                share = float(apart.norm() / length)
            if share > FLIPPED and not few(apart, scale):
                raise Wrong(f"{name} is {share:.2g} from the CPU's ({described})")
    return "pictures with broken rows" if broken else "pictures"


def few(apart: Tensor, scale: Any) -> bool:
    """Whether it is a handful of values that differ: pixels, or rows, at a threshold."""
    return int((apart.abs() > 1e-3 * scale).sum()) <= max(4, 0.01 * apart.numel())


def drawn(
    given: dict[str, Tensor], size: tuple[int, int], how: dict[str, Any], maps: Tensor
) -> dict[str, Tensor]:
    """Everything that one picture gives."""
    mine = leaves(given, torch.float32)
    fx, fy, cx, cy = intrinsics(*size)
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    features = mine["features"] if mine["features"].shape[1] else None
    with torch.enable_grad():
        image, alpha, extra, statistics = kernels.rasterize(
            *(mine[name] for name in NAMES[:5]), mine["pose"], K, *size, features=features,
            background=mine["background"], **how,
        )  # fmt: skip
        statistics.gradient.pixels = maps if maps.shape[2] else None
        total = image.square().sum() + alpha.sin().sum()
        if extra is not None:
            total = total + extra.square().mean()
        total.backward()
    scores, strongest = kernels.survey(statistics, maps if maps.shape[2] else None)
    out = {"image": image, "alpha": alpha, "extra": extra, "means2d": statistics.gradient.signed}
    out |= {"absolute": statistics.gradient.absolute, "sums": statistics.gradient.sums}
    out |= {f"gradient of {name}": mine[name].grad for name in NAMES}
    out |= {name: getattr(scores, name) for name in ("mass", "hits", "transmitted", "squared")}
    out |= {"most": scores.most, "weighted": scores.weighted}
    if not (strongest < len(given["means"])).all():
        raise Wrong("a pixel's strongest row does not exist")
    return {name: each.detach().clone() for name, each in out.items() if each is not None}


class by:
    """Have float32 drawn by the emulated kernels."""

    def __init__(self, gpu: ModuleType) -> None:
        self._gpu, self._module = gpu, importlib.import_module("splat.kernels.rasterize")

    def __enter__(self) -> None:
        self._before = self._module.frame_for
        self._module.frame_for = lambda means, differentiable: self._module.Frame(
            self._gpu, means, differentiable
        )

    def __exit__(self, *_: object) -> None:
        self._module.frame_for = self._before


def loss(gpu: ModuleType, chance: random.Random) -> str:
    """The photometric loss of two pictures."""
    size = (chance.randint(1, 150), chance.randint(1, 150))
    image, target = torch.rand(*size, 3), torch.rand(*size, 3)
    if chance.random() < 0.5:
        target = (target * 255).byte()
    leaf = image.clone().requires_grad_()
    expected = kernels.photometric(leaf, target)
    expected.backward()
    assert leaf.grad is not None
    runs = []
    for order in (0, chance.randint(1, 1000)):
        gpu.set_order(order)
        runs.append(photometric(gpu, image, target))
    gpu.set_order(0)
    for name, found, again, truth in zip(
        ("the loss", "its gradient"), *runs, (expected.detach(), leaf.grad), strict=True
    ):
        if not torch.equal(found, again):
            raise Wrong(f"{name} depends on the order of threads ({size})")
        if not (found - truth).abs().max() <= 1e-4 * truth.abs().max():
            raise Wrong(f"{name} is not the CPU's ({size})")
    return "losses"


def step(gpu: ModuleType, chance: random.Random) -> str:
    """Three steps of Adam."""
    types = (torch.float32, torch.bfloat16)
    n, kept, moments = chance.randint(1, 700), chance.choice(types), chance.choice(types)
    visible = torch.rand(n) < 0.5 if chance.random() < 0.5 else None
    if chance.random() < 0.5:
        shape: tuple[int, ...] = (n, chance.choice((1, 3, 4, 7)))
        gradient: Tensor | kernels.HarmonicsGradient = torch.randn(shape)
    else:
        degree = chance.randint(0, 3)
        factors = torch.randn(n, 6)
        factors[:, 3:] = torch.nn.functional.normalize(factors[:, 3:], dim=1)
        shape = (n, (chance.randint(max(1, degree), 3) + 1) ** 2, 3)
        gradient = kernels.HarmonicsGradient(factors, degree)
    expected = stepped(None, gradient, shape, moments, visible, kept)
    runs = []
    for order in (0, chance.randint(1, 1000)):
        gpu.set_order(order)
        runs.append(stepped(gpu, gradient, shape, moments, visible, kept))
    gpu.set_order(0)
    for found, again, truth in zip(*runs, expected, strict=True):
        near = 1e-5 if found.dtype == moments == torch.float32 else 2e-2
        if not torch.equal(found, again):
            raise Wrong(f"a step of Adam depends on the order of threads ({shape})")
        if not torch.allclose(found.float(), truth.float(), rtol=near, atol=near):
            raise Wrong(f"a step of Adam is not the CPU's ({shape}, {kept}, {moments})")
    return "steps of Adam"


if __name__ == "__main__":
    sys.exit(main())
