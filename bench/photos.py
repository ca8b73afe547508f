"""Memory and time of a step against the number of photos, of 12 megapixels each.

Every number of photos has a process of its own, so that its peak memory is its own. The last two
runs tell what the cache on disk costs: the same photos and steps, with all of them decoded in
memory and with nearly none.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from common import json_of, machine, markdown, script, write_json

COUNTS = (50, 200, 800, 3000)


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--memory", type=int, default=2_000_000_000, help="bytes for each run")
    parser.add_argument("--size", default="4000x3000", help="of the photos")
    parser.add_argument("--max-side", type=int, default=1600, help="of the pictures that train")
    parser.add_argument("--gaussians", type=int, default=50_000)
    parser.add_argument("--passes", type=float, default=1.2, help="looks at each photo")
    parser.add_argument("--compared", type=int, default=100, help="photos to compare caches on")
    parser.add_argument("--rounds", type=int, default=3, help="of that comparison")
    parser.add_argument("--folder", type=Path, help="keep photos and cache here")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args()


def one(
    folder: Path, count: int, options: argparse.Namespace, tag: str, **more: Any
) -> dict[str, Any]:
    """A run on some of the photos; those of one tag share a cache on disk."""
    asked = {
        "points": options.gaussians, "cap": options.gaussians, "max_side": options.max_side,
        "steps": round(options.passes * count), "device": "cpu", "resolution": "full", **more,
    }  # fmt: skip
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / f"cache-{tag}")}
    command = script("photos_one.py", "train", str(folder / "photos"), str(count))
    return json_of([*command, json.dumps(asked)], environment=environment)


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a step after the first look at each photo: all in memory, and on disk.

    By turns, the least of each: other work on the machine makes steps longer, never shorter.
    """
    count, found = options.compared, dict[str, Any]()
    for _ in range(options.rounds):
        for name, cache in (("memory", 1 << 40), ("disk", 0)):
            run = one(folder, count, options, "compared", steps=3 * count, cache=cache)
            found[name] = min(run, found.get(name, run), key=lambda each: each["later_ms"])
    return {**found, "slower": found["disk"]["later_ms"] / found["memory"]["later_ms"] - 1}


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    most = max(*options.counts, options.compared)
    made = json_of(script("photos_one.py", "make", str(folder / "photos"), str(most), options.size))
    # Each has a cache of its own: what another left there would spare it the decoding.
    runs = [
        one(folder, count, options, str(count), memory=options.memory) for count in options.counts
    ]
    return {
        "machine": machine(),
        "made": made,
        "memory": options.memory,
        "runs": runs,
        "compared": compared(folder, options),
    }


def told(found: dict[str, Any]) -> str:
    lines = [
        [
            f"{run['photos']:,}", f"{run['predicted_mb']:,.0f}", f"{run['peak_mb']:,.0f}",
            f"{run['first_ms']:.0f}", f"{run['later_ms']:.0f}",
        ]
        for run in found["runs"]
    ]  # fmt: skip
    heads = ("photos", "predicted MB", "peak MB", "ms a step, first look", "later")
    two = found["compared"]
    return (
        f"{markdown(heads, lines)}\n\n{two['memory']['photos']} photos: "
        f"{two['memory']['later_ms']:.1f} ms a step with all in memory,"
        f" {two['disk']['later_ms']:.1f} ms from disk ({two['slower']:+.1%})"
    )


def main() -> None:
    options = options_of()
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(options.folder or Path(scratch), options)
    print(told(found))
    if options.json is not None:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
