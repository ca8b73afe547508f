"""The runs of a comparison as jobs for an engine of `splat.jobs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from splat.comparison import runs
from splat.comparison.plan import Entry, Plan
from splat.jobs import Ended, Share, Work, engine_of
from splat.planning.predict import cache_bytes

RETRIES_HERE, RETRIES = 1, 3
"""Times that a run is begun again after its process was killed: here mostly for want of memory,
which a second time does not mend; on Ray also since a machine was lost."""


def carry_out_runs(
    plan: Plan,
    out: Path,
    entries: Sequence[Entry],
    share: Share,
    ended: Callable[[Entry], None],
    quiet: bool,
    where: str | None = None,
) -> None:
    """Carry out runs in their order, on this machine or by Ray; `ended` hears of each that is over.

    Raises `Interrupted` where a signal asks to stop.
    """
    by_key = {entry.key: entry for entry in entries}

    def over(job: Ended) -> None:
        entry = by_key[job.key]
        done = job.code == 0 and runs.state_of(plan, out, entry) == "done"
        if not done and not runs.note_of(out, entry).failed:
            runs.failed(out, entry, job.message or "its process ended before the run was over")
        ended(entry)

    engine = engine_of(where, share, retries=RETRIES_HERE if where is None else RETRIES)
    engine.run([_work(plan, out, entry, share, where) for entry in entries], over, quiet=quiet)


def _work(plan: Plan, out: Path, entry: Entry, share: Share, where: str | None) -> Work:
    # What is free for photos on the machines of a cluster is theirs to say, when the run begins.
    cache = cache_bytes() // share.workers if share.workers and where in (None, "ray") else 0
    return Work(
        key=entry.key,
        call="splat.comparison.worker:main",
        arguments=(str(out), entry.key, *map(str, (share.workers, share.threads, cache))),
        log=runs.log_of(out, entry),
        steps=plan.shared.options.steps or 0,
        progress=runs.folder_of(out, entry).log,
    )
