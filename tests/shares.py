"""What each of two processes does in tests of rows that are shared out; run as a script by them."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from methods import _EARLY, _MCMC
from ranks import Literal, _without_optimizer, job_of

from splat import api, datasets
from splat.core.edit import Change, Drop, Edit
from splat.core.strategy import Fixed, Strategy
from splat.evaluation.evaluate import mean_psnr
from splat.kernels import one_torch_thread
from splat.loop import advance
from splat.options import Options, Watching
from splat.parallel import Ranks, Sharded, current_ranks
from splat.runs import checkpoint
from splat.strategies.adc import Adc
from splat.strategies.error import ErrorBased
from splat.strategies.mrnf import Mrnf
from splat.training.prepare import Job
from splat.types import Batch

ADC = Adc(cap=700, grow_gradient=2e-3, **_EARLY)
PHOTOS = 80
METHODS: dict[str, Strategy] = {
    "mcmc": _MCMC,
    "adc": ADC,
    "mrnf": Mrnf(cap=600, grow_share=0.2, grow_until=40, refine_from=4, refine_until=45,
                 refine_every=5),
    "error": ErrorBased(cap=600, grow_error=1e-3, grow_share=0.2, refine_from=4, refine_until=45,
                        refine_every=5),
}  # fmt: skip


def whole(job: Job, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Values of the rows of all processes, in the order in which they were shared out."""
    shard = job.run.model.cloud.shard
    n = len(job.run.model.cloud)
    found = {}
    for name, each in values.items():
        if shard.whole or each.ndim == 0 or len(each) != n:
            found[name] = each
            continue
        parts = job.run.ranks.each(each)
        rows = each.new_zeros(sum(map(len, parts)), *each.shape[1:])
        for rank, part in enumerate(parts):
            rows[rank :: len(parts)] = part
        found[name] = rows
    return found


def _turned(job: Job, ranks: Ranks) -> None:
    """Make the first rows, which are round, long, and colour them by direction."""
    cloud, draw = job.run.model.cloud, torch.Generator().manual_seed(3)
    n = job.run.rows
    for name, spread in (("log_scale", 0.4), ("quat", 0.3), ("sh", 0.1)):
        noise = spread * torch.randn(n, *cloud[name].shape[1:], generator=draw)
        own = noise if cloud.shard.whole else noise[ranks.rank :: ranks.count]
        cloud[name].data.add_(own)
    job.run.step, job.run.model.sh_every = 0, 0  # all bands at once


def rules(ranks: Ranks) -> dict[str, Any]:
    """What processes decide together, of numbers that each has of its own."""
    shard = Sharded(ranks)
    keys = (torch.tensor([0.5, 0.1, 0.9]), torch.tensor([0.1, 0.7]))[ranks.rank]
    draw = torch.Generator().manual_seed(ranks.rank)
    return {
        "total": shard.total(3 + ranks.rank),
        "lowest": [shard.lowest(keys, most).tolist() for most in (0, 1, 3, 9)],
        "evened": [shard.evened(*given[ranks.rank]) for given in (
            ((3, 0), (0, 2)), ((1, 0), (4, 0)), ((1, 2), (4, 0)), ((0, 5), (2, 0)),
        )],
        "divided": [shard.divided(torch.tensor(w[ranks.rank]), 1000, draw) for w in (
            (3.0, 1.0), (0.0, 2.0), (0.0, 0.0),
        )],
    }  # fmt: skip


def evened(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """Rows before and after they are moved so that both processes have as many."""
    with closing(job_of(folder, Fixed(), ranks, shard=True, moments="bfloat16")) as job:
        cloud = job.run.model.cloud
        shard = cloud.shard
        cloud.track("marked", dtype=torch.bool)
        cloud.statistic("marked").copy_(cloud["mean"][:, 0] > 0)
        for name in cloud.names:
            cloud.moments(name)[0].copy_(cloud[name].detach())
        if ranks.first:
            cloud.apply(Edit(drop=(Drop(torch.arange(0, 60), "trial"),)))
        shard.counted(cloud, Change(0, 0))
        before = shard.counts
        shard.balance(cloud, now=False)
        own = all(
            torch.equal(cloud.moments(name)[0], cloud[name].detach().bfloat16())
            for name in cloud.names
        ) and torch.equal(cloud.statistic("marked"), cloud["mean"][:, 0] > 0)
        rows = torch.cat(ranks.each(cloud["mean"].detach()))
        return {
            "before": before, "after": shard.counts, "own": own, "here": len(cloud),
            "rows": sorted(rows[:, 0].tolist()),
        }  # fmt: skip


def measured(folder: Path, ranks: Ranks) -> list[float]:
    """PSNR of three views, of which one process draws two, where rows are shared out and where each
    has copies, dB."""
    found = []
    for shard in (True, False):
        with closing(job_of(folder, Fixed(), ranks, shard=shard)) as job:
            run = job.run

            def own(job: Job = job) -> Iterator[Batch]:
                for index in ranks.shared(range(3)):
                    yield job.photos.batch(index)
                job.run.model.cloud.shard.attend(job.run.model)

            found.append(mean_psnr(run.model, run.last_render, own(), ranks=ranks))
    return found


def one_step(folder: Path, strategy: Strategy, ranks: Ranks, **more: Any) -> dict[str, float]:
    """Gradients and statistics of the first step where rows are shared out, against copies of all
    rows: largest differences, as a share of the largest value."""
    found = []
    for shard in (True, False):
        with closing(job_of(folder, strategy, ranks, shard=shard, **more)) as job:
            _turned(job, ranks)
            found.append(whole(job, _without_optimizer(job.run, [0])))
    shared, copies = found
    assert set(shared) == set(copies)
    return {
        name: float(
            (shared[name].float() - copies[name].float()).abs().max()
            / copies[name].float().abs().max().clamp_min(1e-12)
        )
        for name in copies
    }


def followed(folder: Path, strategy: Strategy, ranks: Ranks, **more: Any) -> dict[str, Any]:
    """How a run ends: rows on the way, in each process at the end, and its last losses."""
    with closing(job_of(folder, strategy, ranks, **more)) as job:
        run, rows, losses = job.run, [], []

        def look(run: Any, step: Any, terms: Any, change: Any) -> None:
            rows.append(run.rows)
            losses.append(float(terms["photometric"]))
            if not run.model.cloud.shard.whole:
                assert change.after == run.rows

        run.watchers = [look]
        while run.step < 50:
            advance(run)
        prints = {
            name: zlib.crc32(run.model.cloud[name].detach().numpy().tobytes())
            for name in run.model.cloud.names
        }
        return {
            "rows": rows, "counts": run.model.cloud.shard.counts, "loss": sum(losses[-10:]) / 10,
            "prints": prints, "sent": getattr(run.model.cloud.shard, "bytes_sent", 0),
        }  # fmt: skip


def kept(folder: Path, out: Path, ranks: Ranks) -> None:
    """A run kept in out/whole; out/again goes on from its middle, out/later is to be gone on."""
    options = Options(steps=PHOTOS, max_side=0, threads=1, device="cpu", shard=True)
    watching = Watching(checkpoint_every=10, keep=100, eval_every=15, pictures=False, quiet=True)
    mcmc = Literal(_MCMC)
    api.train(
        datasets.load(folder), mcmc, options, out=out / "whole", watching=watching, lpips=None
    )
    if ranks.first:
        for name in ("again", "later"):
            shutil.copytree(out / "whole", out / name)
            for path in checkpoint.checkpoints_in(out / name / "checkpoints"):
                if path.name > "step_00000040.pt":
                    path.unlink()
            (out / name / "metrics.json").unlink()
    ranks.same(None)
    api.resume(out / "again", strategy=mcmc, lpips=None)


def main(folder: Path, out: Path) -> None:
    """All of it; what is found goes to out/RANK.json."""
    ranks = current_ranks()
    assert not ranks.alone
    found: dict[str, Any] = {}
    with one_torch_thread():
        found["rules"], found["evened"] = rules(ranks), evened(folder, ranks)
        found["measured"] = measured(folder, ranks)
        found["step"] = {
            "plain": one_step(folder, ADC, ranks),
            "mcmc": one_step(folder, _MCMC, ranks),
            "error": one_step(folder, METHODS["mrnf"], ranks),
            "poses": one_step(folder, Fixed(), ranks, refine_poses=True, exposure="affine"),
            "batch": one_step(folder, ADC, ranks, batch=2),
        }
        found["methods"] = {
            name: {
                "shared": followed(folder, strategy, ranks, shard=True),
                "copies": followed(folder, strategy, ranks),
            }
            for name, strategy in METHODS.items()
        }
        found["again"] = followed(folder, _MCMC, ranks, shard=True)
    kept(folder, out, ranks)
    (out / f"{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
