"""What the viewer costs training: steps a second without it, with it, and with a visitor.

    python bench/viewer.py [SCENE] [--init FILE] [--json]

One run, whose work is the same at every step (learning rates of 0), takes turns of a few seconds:
without the viewer; with it and nobody there; with a visitor who stands; with one who moves. Each is
compared with the one without the viewer in the same round. The visitor is a process of its own on
the same machine that receives pictures and throws them away.
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
from splat.datasets import demo
from splat.job import prepare
from splat.kernels import one_torch_thread
from splat.options import Options, Viewing
from splat.run import advance
from splat.strategies.mcmc import Mcmc
from splat.strategy import Fixed
from splat.viewer.opening import opened

TURNS: tuple[str, ...] = ("without", "nobody", "still", "moving")
WORDS = {"without": "leave", "nobody": "leave", "still": "still", "moving": "move"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", nargs="?", type=Path)
    parser.add_argument("--init", type=Path, help="Gaussians to draw; default: a short training")
    parser.add_argument("--downscale", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
    parser.add_argument("--rounds", type=int, default=6)
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
        viewer = opened(job, Viewing(port=0, snapshots=0), None, None)
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

        rates: dict[str, list[float]] = {turn: [] for turn in TURNS}
        pictures = dict.fromkeys(TURNS, 0.0)
        with closing(viewer):
            for first in range(asked.rounds):
                for turn in TURNS[first % 4 :] + TURNS[: first % 4]:
                    say(WORDS[turn])
                    run.watchers = () if turn == "without" else (viewer,)
                    _steps(run, 0.5)
                    sent = viewer.stage.post.sent
                    rates[turn].append(_steps(run, asked.seconds))
                    pictures[turn] += viewer.stage.post.sent - sent
        client.stdin.close()
        client.wait(10)
    found = {}
    for turn, own in rates.items():
        ratios = [rate / other for rate, other in zip(own, rates["without"], strict=True)]
        found[turn] = {
            "steps_per_second": round(statistics.median(own), 1),
            "ratio": round(statistics.median(ratios), 3),
            "pictures_per_second": round(pictures[turn] / asked.seconds / asked.rounds, 1),
        }
    return found


def _steps(run: object, seconds: float) -> float:
    """Steps a second over so many seconds."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        advance(run)  # type: ignore[arg-type]
        count += 1
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
