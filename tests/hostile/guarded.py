"""The process that calls kernels: `python -m hostile.guarded AT SEED FIRST COUNT NAME ...`.

It notes in the file AT which call it is at. A line of JSON tells of each call that went wrong, the
last one the counts.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import torch

from splat import kernels

from .calls import CALLS, Drawn
from .guards import Overrun, bits, guarded

WRONG = 0.25
"""Share of calls with an argument that is not what it should be."""


_OURS = ("expected", "must agree", "kernels take", "given", "needs", "with sh_degree",
         "the photograph on", "named twice", "name an anchor")  # fmt: skip
"""Words of sentences of ours; those of Python and of torch's indexing have none of them."""
_GOOD = ("done", "refused", "by torch")


def verdict(name: str, seed: str, i: int, isa: str) -> tuple[str, str]:
    """What a call does: `done`, `refused`, `by torch`, or what went wrong, with its words."""
    double = isa == "f64"
    dtype = torch.float64 if double else torch.float32
    wrong = Random(f"{seed} {name} {i} wrong").random() < WRONG

    def called() -> list[bytes]:
        return bits(CALLS[name](Drawn(Random(f"{seed} {name} {i}"), dtype, wrong)))

    with kernels.use_isa(kernels.isa() if double else isa):
        try:
            plain = called()
        except Exception as error:  # whatever it is, it is what is looked for
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            if not wrong:
                return "failed", said
            if isinstance(error, ValueError | TypeError) and any(w in said for w in _OURS):
                return "refused", said
            # Tensors that hold nothing here, sparse ones and so on torch itself refuses.
            return ("by torch" if isinstance(error, RuntimeError) else "unclear"), said
        for side in ("end", "begin"):
            try:
                with guarded(side):  # type: ignore[arg-type]
                    found = called()
            except Overrun as error:
                return "overrun", f"{side}: {error}"
            if found != plain:
                odd = [
                    j for j, pair in enumerate(zip(plain, found, strict=True)) if len(set(pair)) > 1
                ]
                return "differs", f"outputs {odd} depend on where arrays lie ({side})"
    return "done", ""


def main() -> None:
    """The calls that the command line names."""
    at, seed, first, count, *names = sys.argv[1:]
    faulthandler.enable(Path(f"{at}.died").open("w"))
    place = os.open(at, os.O_RDWR | os.O_CREAT)
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    tables = (*kernels.isas(), "f64")
    for i in range(int(first), int(first) + int(count)):
        os.pwrite(place, i.to_bytes(8, "little"), 0)
        name, isa = names[i % len(names)], tables[i // len(names) % len(tables)]
        kernels.set_threads(1 + i // 7 % 3)
        since = time.monotonic()
        kind, said = verdict(name, seed, i, isa)
        seconds[name] += time.monotonic() - since
        counts[name][kind] += 1
        if kind not in _GOOD:
            print(json.dumps({"i": i, "kernel": name, "isa": isa, "kind": kind, "said": said}))
    record: dict[str, Any] = {"counts": counts, "seconds": seconds}
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
