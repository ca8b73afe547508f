"""Every strategy on the tiny scene: joining METHODS joins every test of the contract."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from capsules import body_in_the_scene

from splat import api, datasets, loop
from splat.core.strategy import Fixed, Strategy
from splat.options import Options, Watching
from splat.recipes.recipe import strategy_from_text
from splat.runs import checkpoint
from splat.strategies.adc import Adc
from splat.strategies.alpha_mask import AlphaMask
from splat.strategies.blur import BlurSplit
from splat.strategies.error import ErrorBased
from splat.strategies.floaters import Floaters
from splat.strategies.forest import Forest
from splat.strategies.garment import Garment
from splat.strategies.igs import ImprovedGs
from splat.strategies.lighthouse import Lighthouse
from splat.strategies.mcmc import Mcmc
from splat.strategies.mrnf import Mrnf
from splat.strategies.pool import Pool
from splat.strategies.scaffold import Scaffold
from splat.strategies.significance import Significance
from splat.strategies.smoothing import Smoothing
from splat.strategies.taming import Taming
from splat.training.prepare import Job, prepare

_REFINED: dict[str, Any] = {"refine_from": 10, "refine_until": 150, "refine_every": 20}
_RESET: dict[str, Any] = {"reset_every": 45, "reset_until": 50}
_EARLY: dict[str, Any] = {"prune_share": 0.5, **_REFINED, **_RESET}
_LATE: dict[str, Any] = {**_REFINED, "refine_until": 190, "grow_until": 120, "run_steps": 200}
_ADC = Adc(cap=1000, grow_gradient=2e-3, **_EARLY)
_MCMC = Mcmc(cap=2500, growth=1.6, **_REFINED)
_SCAFFOLD = Scaffold(
    cap=1500,
    grow_gradient=5e-5,
    coarsest=4,
    finer=2,
    prune_opacity=0.3,
    seen_share=0.5,
    observe_from=5,
    **_REFINED,
)
METHODS: dict[str, Strategy] = {
    "fixed": Fixed(),
    "adc": _ADC,
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
    "adc_lighthouse": Lighthouse(_ADC),
    "adc_alpha_mask": AlphaMask(
        _ADC,
        hull=True,
        prune_from=5,
        prune_until=190,
        prune_every=15,
    ),
    "mcmc": _MCMC,
    "adc_significance": Significance(_ADC, "squared", at=(25, 50), keep=0.7, views=5),
    "mcmc_recycle": Significance(_MCMC, "mass", at=(35, 155), keep=0.8, how="recycle"),
    "mcmc_shrink": Significance(_MCMC, "most", at=(95, 155), below=0.05, how="shrink"),
    "mrnf": Mrnf(
        cap=1200,
        grow_share=0.2,
        edge=0.25,
        opacity_leak=0.02,
        **_LATE,
    ),
    "igs": ImprovedGs(
        cap=1500,
        curve="parabola",
        grow_gradient=2e-3,
        early_at=8,
        recover_after=15,
        recover_until=70,
        **_RESET,
        **_REFINED,
    ),
    "taming": Taming(
        cap=1500,
        views=3,
        grow_gradient=1e-3,
        prune_opacity=0.05,
        prune_size=0.5,
        prune_until=100,
        **_RESET,
        **_REFINED,
    ),
    "mini": Significance(
        BlurSplit(
            Adc(cap=1500, grow_gradient=2e-3, **_EARLY),
            share=1e-3,
            views=2,
            refine_from=10,
            refine_until=70,
            refine_every=20,
        ),
        "mini",
        at=(75,),
        keep=0.7,
        pick="multinomial",
        views=4,
    ),
    "error": ErrorBased(
        cap=1200,
        error="ssim",
        grow_share=0.2,
        opacity_leak=0.002,
        **_REFINED,
    ),
    "adc_floaters": Floaters(_ADC, at=(35, 75), share=0.1, views=6),
    "mcmc_floaters": Floaters(_MCMC, at=(35, 155), share=0.1, alone=0.1, views=6),
    "mcmc_smoothing": Smoothing(_MCMC, look_every=50),
    "adc_smoothing": Smoothing(_ADC, 0.5, every=5),
    "forest": Forest(
        cap=1200,
        grow_share=0.2,
        opacity_leak=0.02,
        **_LATE,
    ),
    "forest_gradient": Forest(
        cap=1200,
        grow="gradient",
        grow_gradient=2e-3,
        grow_until=120,
        **_REFINED,
        run_steps=200,
    ),
    "adc_pool": Pool(
        Adc(grow_gradient=2e-3, **{**_EARLY, "reset_every": 0, "prune_opacity": 0.06}),
        grid=14,
        reach=1.5,
        refill_at=150,
    ),
    "adc_garment": Garment(
        Adc(cap=1300, grow_gradient=2e-3, **_EARLY),
        body=body_in_the_scene(),
        body_rows=90,
        layer_weight=0.0,
        prune_from=5,
        prune_until=190,
        prune_every=15,
    ),
    "scaffold": _SCAFFOLD,
    "scaffold_significance": Significance(_SCAFFOLD, "mass", at=(35, 155), keep=0.8, views=5),
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


def clip_run(scene: Path, recipe: str, out: Path) -> Path:
    """The folder of a short run of a clip."""
    api.train(
        api.load(scene),
        strategy_from_text(recipe),
        Options(steps=60, max_side=0, device="cpu", sh_degree=1),
        out=out,
        watching=Watching(quiet=True, pictures=False),
        lpips=None,
    )
    return out


def state_of(run: loop.Run) -> bytes:
    """All that a run is made of, as bytes."""
    file = io.BytesIO()
    torch.save(dict(run.model.state_dict()), file)
    return file.getvalue()


def ends_with_and_without_a_break(
    folder: Path,
    tmp_path: Path,
    strategy: Strategy,
    at: int,
    steps: int = 110,
    *,
    sh_every: int | None = None,
    watch: loop.Watcher | None = None,
    **more: Any,
) -> tuple[bytes, bytes]:
    """All of a run at its end, and of one that is resumed from that run's step `at`, on another
    number of threads.

    Harmonics begin after `sh_every` steps; `watch` looks on at the first run; `more` are further
    options. The states of step `at` and of the end lie in tmp_path, as saved.pt and end.pt.
    """

    def save(run: loop.Run, *_: object) -> None:
        if run.step == at:
            checkpoint.save(run, tmp_path / "saved.pt")

    ends = []
    for threads in (2, 1):
        begun = None if threads == 2 else dict(checkpoint.load(tmp_path / "saved.pt"))
        job = job_of(folder, strategy, state=begun, steps=steps, threads=threads, **more)
        with closing(job):
            if sh_every:
                job.run.model.sh_every = sh_every
            job.run.watchers = [save, *([watch] if watch else [])] if begun is None else []
            loop.train(job.run)
            checkpoint.save(job.run, tmp_path / "end.pt")
        ends.append((tmp_path / "end.pt").read_bytes())
    return ends[0], ends[1]
