"""How a step grows with Gaussians and falls with threads: stages, memory, and what 16 threads do.

Every number of Gaussians has a process of its own, so that its peak memory is its own; within it
the numbers of threads take turns.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import Failed, by_caller, json_of, machine, markdown, script, write_json
from traffic import fitted, memory_bound, predicted

COUNTS = ("50k", "200k", "1M", "3M")
FACTORS = {"k": 1_000, "m": 1_000_000}


def whole(text: str) -> int:
    """A number as it is typed: 50k, 1M, 2500."""
    factor = FACTORS.get(text[-1:].lower(), 1)
    return round(float(text if factor == 1 else text[:-1]) * factor)


def measured(count: int, options: argparse.Namespace) -> dict[str, Any]:
    """One number of Gaussians."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "workload.pt")
        json_of(script("scale_one.py", "make", file, str(count), options.size, str(options.seed)))
        numbers = [str(n) for n in (options.repeats, options.rounds, *options.threads)]
        return json_of(script("scale_one.py", "measure", file, *numbers))


def with_prediction(
    found: Mapping[str, Any], target: int, bandwidth: Mapping[str, float], asked: float | None
) -> dict[str, Any]:
    """What was measured, with the fit of each stage and its time on `target` threads."""
    times = {int(n): by_caller(of["stages"]) for n, of in found["threads"].items()}
    triad = max(bandwidth.values())
    limit = asked or triad
    stages = {}
    for name in times[max(times)]:
        moved = found["bytes_moved"].get(name, 0.0)  # of a stage that the table does not know
        stage = {n: of.get(name, 0.0) for n, of in times.items()}
        fit = fitted(stage)
        fastest = min(stage.values())
        stages[name] = {
            "ms": {str(n): ms for n, ms in stage.items()},
            "serial_ms": fit.serial,
            "parallel_ms": fit.parallel,
            "serial_share": fit.serial_share,
            "moved_mb": moved / 1e6,
            "gb_per_second": {str(n): moved / ms / 1e6 if ms else 0.0 for n, ms in stage.items()},
            "memory_ms": moved / limit / 1e6,
            "predicted_ms": predicted(fit, target, moved, limit, best=fastest, triad=triad),
            "memory_bound": memory_bound(moved, fastest, triad),
        }
    whole_ms = {n: sum(of["ms"][n] for of in stages.values()) for n in map(str, times)}
    serial = sum(of["serial_ms"] for of in stages.values() if not of["memory_bound"])
    sum_at = sum(of["predicted_ms"] for of in stages.values())
    first = whole_ms[str(min(times))]
    return {
        **found,
        "stages": stages,
        "sum_ms": whole_ms,
        "serial_ms": serial,
        "serial_share": serial / first if first else 0.0,
        "predicted_ms": sum_at,
        "predicted_speed_up": first / sum_at if sum_at else 0.0,
    }


def table(found: Mapping[str, Any], threads: Sequence[int], target: int) -> str:
    """The stages of one number of Gaussians."""
    heads = ["stage", *(f"{n} thr., ms" for n in threads), "serial ms", "serial share", "MB moved",
             f"GB/s, {max(threads)} thr.", f"{target} thr., ms (predicted)"]  # fmt: skip
    lines = [
        [
            name,
            *(f"{of['ms'][str(n)]:.2f}" for n in threads),
            "-" if of["memory_bound"] else f"{of['serial_ms']:.2f}",
            "-" if of["memory_bound"] else f"{of['serial_share']:.0%}",
            f"{of['moved_mb']:.1f}",
            f"{of['gb_per_second'][str(max(threads))]:.1f}" + (" *" if of["memory_bound"] else ""),
            f"{of['predicted_ms']:.2f}",
        ]
        for name, of in found["stages"].items()
        if max(of["ms"].values()) > 0
    ]
    sums = [f"{found['sum_ms'][str(n)]:.2f}" for n in threads]
    moved = f"{sum(found['bytes_moved'].values()) / 1e6:.1f}"
    serial = found["serial_ms"]
    lines.append(["**sum**", *sums, f"{serial:.2f}", f"{found['serial_share']:.0%}", moved, "",
                  f"{found['predicted_ms']:.2f} ({found['predicted_speed_up']:.1f}x)"])  # fmt: skip
    return markdown(heads, lines)


def growth(results: Sequence[Mapping[str, Any]], threads: Sequence[int]) -> str:
    """All numbers of Gaussians beside each other."""
    heads = ["Gaussians", "visible", "pairs", *(f"{n} thr., ms a step" for n in threads),
             "speed-up", "us per 1000 Gaussians", "exponent", "peak MB", "bytes a Gaussian",
             "of them state", "scratch"]  # fmt: skip
    lines = []
    for before, found in zip([None, *results[:-1]], results, strict=True):
        times = [found["threads"][str(n)]["iteration_ms"] for n in threads]
        lines.append([
            f"{found['gaussians']:,}", f"{found['visible']:,}", f"{found['pairs']:,}",
            *(f"{ms:.2f}" for ms in times),
            f"{times[0] / times[-1]:.2f}",
            f"{times[-1] / found['gaussians'] * 1e6:.1f}",
            f"{exponent(before, found, threads[-1]):.2f}" if before else "-",
            f"{found['peak_memory_mb'] or math.nan:.0f}",
            f"{found['bytes_per_gaussian'] or math.nan:.0f}",
            f"{found['state_bytes_per_gaussian']:.0f}",
            f"{found['scratch_bytes_per_gaussian']:.0f}",
        ])  # fmt: skip
    return markdown(heads, lines)


def exponent(before: Mapping[str, Any], found: Mapping[str, Any], threads: int) -> float:
    """k where time grows as Gaussians^k from one number to the next; 1 is linear."""
    times = [of["threads"][str(threads)]["iteration_ms"] for of in (before, found)]
    return math.log(times[1] / times[0]) / math.log(found["gaussians"] / before["gaussians"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=whole, nargs="+", default=[whole(c) for c in COUNTS])
    parser.add_argument("--size", default="1600x1200", metavar="WxH")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=8, help="steps timed in a turn")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each number of threads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--predict", type=int, default=16, help="threads to predict")
    parser.add_argument(
        "--bandwidth",
        type=float,
        metavar="GB/S",
        help="memory's limit at the predicted threads; default: the triad's here",
    )
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    options = parser.parse_args()
    options.counts, options.threads = sorted(set(options.counts)), sorted(set(options.threads))
    bandwidth = json_of(script("scale_one.py", "triad", *map(str, options.threads)))
    record: dict[str, Any] = {
        "machine": machine(),
        "triad_gb_per_second": bandwidth,
        "bandwidth_gb_per_second": options.bandwidth or max(bandwidth.values()),
        "predicted_threads": options.predict,
        "counts": [],
        "failed": {},
    }
    said = ", ".join(f"{speed:.1f} GB/s on {n} threads" for n, speed in bandwidth.items())
    print(f"triad: {said}", flush=True)
    for count in options.counts:
        try:
            found = measured(count, options)
        except Failed as error:
            record["failed"][str(count)] = str(error)
            print(f"\n{count:,} Gaussians failed: {error}", flush=True)
        else:
            found = with_prediction(found, options.predict, bandwidth, options.bandwidth)
            record["counts"].append(found)
            print(f"\n{count:,} Gaussians at {found['size']}, {found['isa']}\n")
            print(table(found, options.threads, options.predict), flush=True)
        write_json(options.out, record)
    if record["counts"]:
        print("\n" + growth(record["counts"], options.threads))
        print("\n* at the memory's limit (or in caches beyond it): no serial share is told")


if __name__ == "__main__":
    main()
