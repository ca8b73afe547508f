"""Every strategy on the tiny scene: joining METHODS joins every test of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from splat import datasets
from splat.job import Job, prepare
from splat.options import Options
from splat.strategies.adc import Adc
from splat.strategies.mcmc import Mcmc
from splat.strategy import Fixed, Strategy

_EARLY: dict[str, Any] = {
    "prune_share": 0.5,
    "refine_from": 10,
    "refine_until": 150,
    "refine_every": 20,
    "reset_every": 45,
    "reset_until": 50,
}
METHODS: dict[str, Strategy] = {
    "fixed": Fixed(),
    "adc": Adc(cap=1000, grow_gradient=2e-3, **_EARLY),
    "adc_revised": Adc(
        cap=800,
        absgrad=True,
        grow_gradient=1.2e-2,
        revised_clone=True,
        revised_split=True,
        split_screen_px=60,
        pause_after_reset=10,
        **_EARLY,
    ),
    "mcmc": Mcmc(cap=2500, refine_from=10, refine_until=150, refine_every=20, growth=1.6),
}
"""With numbers that put edits, resets and ends of windows into the first steps."""


def job_of(
    folder: Path,
    strategy: Strategy,
    *,
    steps: int = 200,
    threads: int = 2,
    seed: int = 0,
    state: dict[str, object] | None = None,
    **more: Any,
) -> Job:
    """A job on the tiny scene, its step numbers taken literally; `more` are further options."""
    options = Options(
        steps=steps, threads=threads, seed=seed, schedule="published", max_side=0, **more
    )
    torch.set_num_threads(1)
    return prepare(datasets.load(folder), strategy, options, state)
