"""What a step of a method costs beside those of others: their runs go on in turns of a few steps.

    python bench/methods_in_turns.py SCENE --options "--max-side 480 --threads 1" \\
        "adc --cap 20k" "forest-inspired --cap 20k"

Each is trained for `--steps`, as `splat train` would, in this process; up to step `--from` one
after the other, then in turns of `--turn` steps. What counts is processor time, all threads
together, of which the median of turns is printed, and its ratio to the first method's; so are the
Gaussians at the end, and the wall time within the kernels, which depends on how large these are and
how many lie above each other.
"""

from __future__ import annotations

import argparse
import shlex
import time
from contextlib import ExitStack, closing
from statistics import median

from common import markdown

from splat import api, kernels
from splat.cli.composed import read
from splat.loop import Run, advance
from splat.training.prepare import prepare
from splat.training.session import no_old_garbage


def prepared(scene: str, options: list[str], method: str, stack: ExitStack) -> Run:
    """The run of a method before its first step."""
    asked = read([scene, *options, *shlex.split(method)])
    job = prepare(api.load(scene), asked.method, asked.training)
    return stack.enter_context(closing(job)).run


def turn(run: Run, steps: int) -> tuple[float, float]:
    """Milliseconds of processor time of a step, of so many, and of wall time within kernels."""
    start, within = time.process_time(), sum(kernels.stage_seconds().values())
    for _ in range(steps):
        advance(run)
    spent = (time.process_time() - start, sum(kernels.stage_seconds().values()) - within)
    return spent[0] * 1e3 / steps, spent[1] * 1e3 / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scene")
    parser.add_argument("methods", nargs="+", metavar="METHOD")
    parser.add_argument("--options", type=shlex.split, default=[], help="of `splat train`")
    parser.add_argument("--steps", type=int, default=3000, help="steps of the whole runs")
    parser.add_argument("--from", dest="first", type=int, default=2000, help="where turns begin")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--turn", type=int, default=10, help="steps of a turn")
    options = parser.parse_args()
    if options.first + options.turns * options.turn > options.steps:
        parser.error("turns go beyond the last step: take fewer, or a lower --from")
    with ExitStack() as stack, no_old_garbage(), kernels.one_torch_thread():
        words = [*options.options, "--steps", str(options.steps)]
        runs = [prepared(options.scene, words, method, stack) for method in options.methods]
        for run in runs:
            turn(run, options.first)
        taken: list[list[tuple[float, float]]] = [[] for _ in runs]
        for _ in range(options.turns):
            for run, found in zip(runs, taken, strict=True):
                found.append(turn(run, options.turn))
        rows = [
            [
                method,
                f"{run.model.draws * run.rows:,}",
                f"{median(all_of_it for all_of_it, _ in found):.2f}",
                f"{median(within for _, within in found):.2f}",
                f"{median(a / b for (a, _), (b, _) in zip(found, taken[0], strict=True)):.2f}",
            ]
            for method, run, found in zip(options.methods, runs, taken, strict=True)
        ]
    print(markdown(["method", "Gaussians", "ms a step", "in kernels", "ratio"], rows))


if __name__ == "__main__":
    main()
