"""Shares of the machine for jobs at once."""

from __future__ import annotations

import os

from splat.jobs.work import Share
from splat.system import machine


def share_of(
    device: str, workers: int | None, threads: int | None, jobs: int, where: str | None = None
) -> Share:
    """How many of `jobs` at once: as many as there are GPUs, or as cores allow for their threads.

    On a cluster, whose address is `where`, as many as it has room for, or at most `workers`, each
    with `threads`, or as many as this machine has cores.
    """
    cores = machine.cores()
    if where not in (None, "ray"):
        workers = max(1, min(workers or jobs, jobs))
        devices = tuple(map(str, range(workers))) if device == "cuda" else ()
        return Share(workers, threads or cores, devices)
    devices = _devices() if device == "cuda" else ()
    if workers is None:
        workers = len(devices) if devices else max(1, cores // (threads or cores))
    if devices and workers > len(devices):
        raise ValueError(
            f"workers is {workers} and there are {len(devices)} CUDA devices; expected at most one"
            " worker for each"
        )
    workers = min(workers, max(1, jobs))
    return Share(workers, threads or max(1, cores // max(1, workers)), devices[:workers])


def _devices() -> tuple[str, ...]:
    """CUDA devices that this process may use, by name."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    listed = tuple(part.strip() for part in named.split(",") if part.strip())
    return listed or tuple(str(i) for i in range(torch.cuda.device_count()))
