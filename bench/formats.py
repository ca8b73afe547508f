"""Time and memory of writing and reading files of Gaussians, ours and others' in turns.

    python bench/formats.py --count 1M --peer "other:.spz,.glb=other-converter {ply} {out}"

Every write and every read has a process of its own. Seconds are those of the call, without imports;
a peer's are those of its whole command, which reads a .ply and writes the other format.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from common import Failed, json_of, machine, markdown, medians, output_of, script, write_json

from splat import formats
from splat.system.machine import held_memory
from splat.system.numbers import whole
from splat.types import Gaussians

SUFFIXES = (".ply", ".compressed.ply", ".spz", ".sog", ".glb", ".splat", ".html")


def drawn(count: int, seed: int = 0) -> Gaussians:
    """A torus and a far shell, harmonics of degree 3 with long tails."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    near = count * 9 // 10
    around = 2 * torch.pi * torch.rand(near, 2, generator=draw)
    ring = 3 + around[:, 1].cos()
    torus = torch.stack(
        [ring * around[:, 0].cos(), around[:, 1].sin(), ring * around[:, 0].sin()], 1
    )
    shell = 60 * torch.nn.functional.normalize(normal(count - near, 3), dim=1)
    # A Laplacian: the difference of two exponentials.
    one, other = (torch.rand(count, 16, 3, generator=draw).clamp_min(1e-6).log() for _ in range(2))
    colors = 0.05 * (one - other)
    colors[:, 0] = 3 * (torch.rand(count, 3, generator=draw) - 0.5)
    return Gaussians(
        means=torch.cat([torus, shell]) + 0.02 * normal(count, 3),
        quats=normal(count, 4),
        scales=(0.5 * normal(count, 3) - 4.5).exp(),
        opacities=(2 * normal(count)).sigmoid(),
        colors=colors,
        sh_degree=3,
    )


def measured(action: str, count: int, path: Path) -> dict[str, Any]:
    """One write or one read in this process: seconds, and bytes of memory beyond what was held."""
    given = drawn(count) if action == "write" else None
    # What making the set took is forgotten (Linux).
    Path("/proc/self/clear_refs").write_text("5")
    before, start = held_memory(), time.perf_counter()
    if given is not None:
        formats.write(given, path)
    else:
        formats.read(path)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "memory": peak() - (before or 0)}


def peak() -> int:
    """Most bytes of memory held since that was last forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def one_round(count: int, folder: Path, peers: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Each format once, and each peer once for every format that is named behind it."""
    found: dict[str, dict[str, Any]] = {}
    for suffix in SUFFIXES:
        path = folder / f"ours{suffix}"
        call = script("formats.py", "--one")
        written = json_of([*call, "write", str(count), str(path)])
        read = json_of([*call, "read", str(count), str(path)])
        found[f"splat {suffix}"] = {
            "write_seconds": written["seconds"],
            "read_seconds": read["seconds"],
            "write_memory": written["memory"],
            "read_memory": read["memory"],
            "bytes_each": path.stat().st_size / count,
        }
        for peer, command in peers.items():
            name, _, known = peer.partition(":")
            if known and suffix not in known.split(","):
                continue
            out = folder / f"peer{suffix}"
            try:
                _, seconds = output_of(command.format(ply=folder / "ours.ply", out=out))
                each = out.stat().st_size / count
                found[f"{name} {suffix}"] = {"write_seconds": seconds, "bytes_each": each}
            except (Failed, OSError) as error:
                print(f"{name} {suffix}: {error}", file=sys.stderr)
            out.unlink(missing_ok=True)
    return found


def main() -> None:
    if "--one" in sys.argv:
        action, count, path = sys.argv[-3:]
        print(json.dumps(measured(action, int(count), Path(path))))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=whole, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME:SUFFIXES=COMMAND")
    parser.add_argument("--out", type=Path, default=Path("formats.json"))
    options = parser.parse_args()
    peers = dict(each.split("=", 1) for each in options.peer)
    with TemporaryDirectory() as folder:
        rounds = [one_round(options.count, Path(folder), peers) for _ in range(options.rounds)]
    found = medians(rounds)
    write_json(options.out, {"machine": machine(), "count": options.count, "formats": found})
    heads = ["file", "write s", "read s", "write MB", "read MB", "bytes each"]
    units = {"write_seconds": 1, "read_seconds": 1, "write_memory": 1e6, "read_memory": 1e6}
    units |= {"bytes_each": 1}
    lines = [
        [name, *(f"{each[key] / unit:.2f}" if key in each else "" for key, unit in units.items())]
        for name, each in found.items()
    ]
    print(markdown(heads, lines))


if __name__ == "__main__":
    main()
