"""What an option costs: two commands that share the machine in turns of half a second.

    python bench/in_turns.py --with "splat train SCENE -o a/ ..." --without "splat train ... -o b/"

A machine that others use, too, runs faster and slower by a tenth from minute to minute. Commands
that are timed one after the other differ by as much; of two that take turns both have the same
share of it. While one of them runs the other is stopped (SIGSTOP), and what counts of each is the
time in which it was not, from its start to its end.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean, median


@dataclass
class Turn:
    """A command of the two."""

    command: Sequence[str]
    seconds: float = 0.0
    """Time in which it ran."""
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        # In a group of its own, so that its children stop with it.
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        self._send(signal.SIGSTOP)

    def run(self, seconds: float) -> None:
        """Let it run for so long, or to its end."""
        start = time.perf_counter()
        self._send(signal.SIGCONT)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGSTOP)
        self.seconds += time.perf_counter() - start

    @property
    def over(self) -> bool:
        code = self.process.poll()
        if code:
            raise SystemExit(f"{shlex.join(self.command)} ended with {code}")
        return code is not None

    def _send(self, what: signal.Signals) -> None:
        os.killpg(self.process.pid, what)


def in_turns(commands: Sequence[Sequence[str]], slice_s: float) -> list[float]:
    """Seconds that each of the commands took."""
    turns = [Turn(command) for command in commands]
    try:
        while not all([turn.over for turn in turns]):
            for turn in turns:
                if not turn.over:
                    turn.run(slice_s)
    finally:
        for turn in turns:
            if turn.process.poll() is None:
                os.killpg(turn.process.pid, signal.SIGKILL)
    return [turn.seconds for turn in turns]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--with", dest="given", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--without", required=True, type=shlex.split, metavar="COMMAND")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slice", type=float, default=0.5, help="seconds of a turn")
    parser.add_argument("--most", type=float, help="percent that it may cost in the mean")
    options = parser.parse_args()
    costs = []
    for count in range(options.rounds):
        # Each goes first as often as the other.
        pair = [options.given, options.without]
        taken = in_turns(pair if count % 2 == 0 else pair[::-1], options.slice)
        with_it, without = taken if count % 2 == 0 else taken[::-1]
        costs.append(100 * (with_it / without - 1))
        print(f"with {with_it:.2f} s, without {without:.2f} s: {costs[-1]:+.1f} %", flush=True)
    print(f"it costs {mean(costs):+.1f} % in the mean, {median(costs):+.1f} % in the median")
    if options.most is not None and mean(costs) > options.most:
        print(f"more than {options.most:g} %", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
