"""Profile a whole `splat train`: where its wall time goes, and the kernels' share of training.

    python bench/profile_run.py SCENE --downscale 2 --steps 7000 mcmc --cap 60k

What follows the profiler's own options (--profile-out, --whole) is given to `splat train` as it is.
Nothing of splat is edited: its parts are wrapped from outside, in this process. That takes time,
which is booked outside of the kernels; --whole wraps nothing of a step and tells their share alone.
"""

from __future__ import annotations

import time

START = time.perf_counter()  # before anything large is imported

import argparse  # noqa: E402
from collections.abc import Mapping, Sequence  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import patch  # noqa: E402

from common import KERNEL_STAGES, machine, markdown, write_json  # noqa: E402
from ledger import Ledger, Wrapped, booking_seconds  # noqa: E402

import splat.cli  # noqa: E402
import splat.cli.composed  # noqa: E402
import splat.cli.training  # noqa: E402
import splat.system.errors  # noqa: E402
import splat.training.finish  # noqa: E402
import splat.training.session  # noqa: E402
from splat import api, kernels  # noqa: E402
from splat.loop import Run  # noqa: E402
from splat.training import time_budget  # noqa: E402
from splat.training.prepare import Job  # noqa: E402

# All that the command will need is imported by now, so that imports are told from work.
IMPORTED = time.perf_counter()
BAR = 0.85
"""Least share of the kernels in the wall time of a training run at half size."""
TRAINING, FINISH, PREPARE, REST = "training", "finish", "prepare", "command"
SAID = {
    "loader": "waiting for the loader",
    "model": "activations (torch)",
    "render": "render, outside the kernels",
    "objectives": "objectives, outside the kernels",
    "autograd": "autograd, outside the kernels",
    "observe": "strategy: observe",
    "optimizer": "optimizer, outside the kernels",
    "refine": "strategy: refine",
    "apply": "edits of the cloud",
    TRAINING: "the loop itself",
}
"""Accounts within training, in the order of a step."""
AT_END = {
    "model": "activations at the end",
    "render": "render at the end, outside the kernels",
    FINISH: "the end, other",
}
"""Accounts once training is over."""


def booked_run(run: Run, ledger: Ledger) -> None:
    """Wrap the parts of a run that `advance` calls."""
    model, strategy = run.model, run.strategy
    run.batches = Wrapped(ledger, "loader", run.batches)
    run.render = Wrapped(ledger, "render", run.render)
    # Instance attributes come before the methods of their classes.
    vars(model)["forward"] = ledger.booking("model", model.forward)
    vars(model)["apply"] = ledger.booking("apply", model.apply)
    vars(run)["optimize"] = ledger.booking("optimizer", run.optimize)
    refine, observe = strategy.refine, strategy.observe
    names = list(run.objectives)

    def objective(name: str) -> Any:
        if name != names[-1]:
            return Wrapped(ledger, "objectives", run.objectives[name])

        class Last(Wrapped):
            def __call__(self, step: Any) -> Any:
                loss = super().__call__(step)
                ledger.enter("autograd")  # until the strategy observes
                return loss

        return Last(ledger, "objectives", run.objectives[name])

    def observed(step: Any) -> None:
        if ledger.open_account == "autograd":
            ledger.leave()
        with ledger.booked("observe"):
            observe(step)

    run.objectives = {name: objective(name) for name in names}
    # Strategies are frozen dataclasses; an attribute of the object comes before its class's.
    object.__setattr__(strategy, "observe", observed)
    object.__setattr__(strategy, "refine", ledger.booking("refine", refine))


def profiled(arguments: Sequence[str], ledger: Ledger, *, whole: bool = False) -> int:
    """Run `splat train` with its parts wrapped, or `whole`: its phases alone; its exit code."""
    parts: list[Any] = [time_budget, api, api, splat.training.session]
    names = ("prepare", "run_to_end", "finish", "train_finite")
    prepare, trained, finish, train = map(getattr, parts, names)

    def prepared(*given: Any, **named: Any) -> Job:
        with ledger.phase(PREPARE):
            job: Job = prepare(*given, **named)
        if not whole:
            booked_run(job.run, ledger)
        return job

    def watched(run: Run, keeper: Any) -> None:
        if not whole:
            run.watchers = [Wrapped(ledger, f"watch {type(w).__name__}", w) for w in run.watchers]
        train(run, keeper)

    def phase(name: str, call: Any) -> Any:
        def within(*given: Any, **named: Any) -> Any:
            with ledger.phase(name):
                return call(*given, **named)

        return within

    with ExitStack() as stack:
        replaced = [
            (time_budget, "prepare", prepared),
            (api, "run_to_end", phase(TRAINING, trained)),
            (api, "finish", phase(FINISH, finish)),
            (splat.training.session, "train_finite", watched),
        ]
        for name, part in (
            ("measure", "evaluation of held-out views"),
            ("export", "export and its check"),
            ("contact_sheet", "contact sheet"),
            ("curves", "curves"),
        ):
            module = splat.training.finish
            replaced.append((module, name, ledger.booking(part, getattr(module, name))))
        for module, name, value in replaced:
            stack.enter_context(patch.object(module, name, value))
        with ledger.phase(REST):
            return splat.cli.main(["train", *arguments])


def summary(ledger: Ledger, start_up: float, whole: float) -> dict[str, Any]:
    """Seconds by part, all of them disjoint, of training and of the rest of the command."""
    stages = ledger.stages[TRAINING]
    training = {f"kernel: {name}": stages.get(name, 0.0) for name in KERNEL_STAGES}
    training |= {f"kernel: {n}": s for n, s in stages.items() if n not in KERNEL_STAGES}
    accounts = ledger.seconds[TRAINING]
    training |= {SAID.get(n, n): accounts.get(n, 0.0) for n in [*SAID, *accounts]}
    others = {
        "start-up and imports": start_up,
        "prepare: points, cameras, neighbours": sum(ledger.seconds[PREPARE].values()),
        **{AT_END.get(n, n): s for n, s in ledger.seconds[FINISH].items()},
        "kernels at the end": sum(ledger.stages[FINISH].values()),
        "command: reading the scene, folder, printing": sum(ledger.seconds[REST].values()),
    }
    wall, per = ledger.phases[TRAINING], booking_seconds()
    aside = stages.get("aside", 0.0)
    return {
        "whole_seconds": whole,
        "training_seconds": wall,
        "kernel_seconds": sum(stages.values()),
        "kernel_share": sum(stages.values()) / wall,
        # Of the time of all threads: one of them is in Python while the others do what is aside.
        "thread_share": (sum(stages.values()) - aside / kernels.threads()) / wall,
        "bar": BAR,
        "training": training,
        "rest": others,
        "profiler_seconds": ledger.bookings * per,
        "profiler_share": ledger.bookings * per / wall,
    }


def table(found: Mapping[str, Any]) -> str:
    """Both lists, with shares of training and of the whole command."""
    wall, whole = found["training_seconds"], found["whole_seconds"]
    lines = [
        [name, f"{seconds:.2f}", f"{seconds / wall:.1%}", f"{seconds / whole:.1%}"]
        for name, seconds in found["training"].items()
    ]
    lines.append(["**training**", f"{wall:.2f}", "100%", f"{wall / whole:.1%}"])
    lines += [[n, f"{s:.2f}", "", f"{s / whole:.1%}"] for n, s in found["rest"].items()]
    lines.append(["**whole command**", f"{whole:.2f}", "", "100%"])
    return markdown(["part", "seconds", "of training", "of the command"], lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--profile-out", type=Path, default=Path("profile"), metavar="FOLDER")
    parser.add_argument("--whole", action="store_true", help="the kernels' share alone")
    options, arguments = parser.parse_known_args()
    ledger = Ledger()
    code = profiled(arguments, ledger, whole=options.whole)
    if code:
        return code
    whole = time.perf_counter() - START
    found = summary(ledger, IMPORTED - START, whole)
    found = {"machine": machine(), "command": ["splat", "train", *arguments],
             "threads": kernels.threads(), "isa": kernels.isa(), **found}  # fmt: skip
    from charts import profile_chart

    write_json(options.profile_out / "profile.json", found)
    profile_chart(found, options.profile_out / "profile.png")
    print(f"\n{table(found)}\n")
    verdict = "reached" if found["thread_share"] >= BAR else "missed"
    print(
        f"kernels: {found['kernel_share']:.1%} of the wall time of training,"
        f" {found['thread_share']:.1%} of the threads' time; {BAR:.0%} of both is {verdict}"
        f"\nthe profiler itself: about {found['profiler_seconds']:.2f} s"
        f" ({found['profiler_share']:.2%} of training)"
        f"\nin {options.profile_out}: profile.json, profile.png"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
