"""What the viewer costs training: steps a second without it, with it, and with a visitor.

    python bench/viewer.py [SCENE] [--init FILE] [--json]

One run, whose work is the same at every step (learning rates of 0), takes turns of a second, with
the viewer and without: while nobody is there, then with a visitor who stands, then with one who
moves. Ratios are of neighbours. The visitor is a process of its own on the same machine that
receives pictures and throws them away; in the turns without, what it sends goes to itself, so that
its own work, which is not the viewer's, is in both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from splat import api
from splat.core.strategy import Fixed
from splat.datasets import demo
from splat.kernels import one_torch_thread
from splat.loop import advance
from splat.options import Options, Viewing
from splat.strategies.mcmc import Mcmc
from splat.training.prepare import prepare
from splat.training.session import no_old_garbage
from splat.viewer.opening import open_viewer

TURNS = ("nobody", "still", "moving")
_WORDS = {"nobody": ("leave", "leave"), "still": ("still", "still"), "moving": ("move", "aside")}
"""What the visitor is told in a turn with the viewer, and without it."""
WARM = 3.0
"""Seconds that are not timed: when a visitor has come, who is shown the whole page first."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", nargs="?", type=Path)
    parser.add_argument("--init", type=Path, help="Gaussians to draw; default: a short training")
    parser.add_argument("--downscale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="of the window")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    scene = asked.scene or demo.cached(width=400, height=300)
    found = measured(scene, asked)
    if asked.json:
        print(json.dumps(found, indent=1))
        return
    for turn, numbers in found.items():
        print(f"{turn:8}", "  ".join(f"{name} {value}" for name, value in numbers.items()))


def measured(scene: Path, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """For each kind of turn: steps a second, and its share of the time without the viewer."""
    options = Options(
        steps=10**6, resolution="full", downscale=asked.downscale, max_side=0, init=asked.init
    )
    data = api.load(scene)
    strategy = Fixed() if asked.init else Mcmc(cap=30_000)
    with one_torch_thread(), closing(prepare(data, strategy, options)) as job:
        run = job.run
        if not asked.init:
            for _ in range(600):
                advance(run)
            run.strategy = Fixed()
        # Steps go on, but nothing moves: each is the same work as the one before.
        run.model.cloud.rate_scale = 0.0
        viewer = open_viewer(job, Viewing(port=0, snapshots=0), None, None)
        client = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("viewer_client.py")),
                str(viewer.server.port),
                *map(str, asked.size),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdin is not None and client.stdout is not None

        def say(word: str) -> None:
            print(word, file=client.stdin, flush=True)
            client.stdout.readline()  # type: ignore[union-attr]

        pairs: dict[str, list[tuple[float, float]]] = {turn: [] for turn in TURNS}
        pictures = dict.fromkeys(TURNS, 0)

        def block(turn: str, watched: bool) -> float:
            """Steps a second of a turn; unwatched, whoever is there sends to itself."""
            say(_WORDS[turn][not watched])
            run.watchers = (viewer,) if watched else ()
            sent = viewer.stage.post.sent
            rate = _steps(run, asked.seconds)
            pictures[turn] += viewer.stage.post.sent - sent
            return rate

        with closing(viewer), no_old_garbage():  # as training does
            for turn in TURNS:
                block(turn, True)
                _steps(run, WARM)
                pictures[turn] = 0
                for _ in range(asked.rounds):
                    pairs[turn].append((block(turn, True), block(turn, False)))
        client.stdin.close()
        client.wait(10)
    return {
        turn: {
            "steps_per_second": round(statistics.median(own for own, _ in found), 1),
            "without": round(statistics.median(other for _, other in found), 1),
            "ratio": round(statistics.median(own / other for own, other in found), 3),
            "pictures_per_second": round(pictures[turn] / asked.seconds / asked.rounds, 1),
        }
        for turn, found in pairs.items()
    }


def _steps(run: object, seconds: float) -> float:
    """Steps a second over so many seconds."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        advance(run)  # type: ignore[arg-type]
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
