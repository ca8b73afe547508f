"""A scene in one piece against the same in blocks: quality, along the seams too, and memory.

python bench/blocks.py SCENE [--shape 2x2] [--cap 1M] [--steps 7000] [--max-side N] [--workers 2]
                       [--on ray] [--kill] [--out FOLDER] [--json FILE]

Both have the same cap in all, the same steps, and the same held-out photos; pixels of the strip
along the borders are found in what the whole shows. Memory is the peak of each process beyond what
it held once all was imported. With --kill the blocks are trained once more, and a process of theirs
is ended by SIGKILL twice on the way: the merged files must have the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import json_of, machine, markdown, script, write_json

METHOD = "mrnf"


def main() -> int:
    """Run, print a table, write the figures; the exit code says whether killing changed nothing."""
    asked = _asked().parse_args()
    out = Path(asked.out)
    whole = json_of(script("blocks.py", "whole", *_told(asked), "--out", str(out / "whole")))
    began = time.perf_counter()
    _blocks(asked, out / "blocks")
    seconds = time.perf_counter() - began
    found = compared(out / "whole", out / "blocks", asked.device)
    parts = memory_of(out / "blocks")
    results: dict[str, Any] = {
        "asked": vars(asked),
        "machine": machine(),
        "whole": {**whole, **found["whole"]},
        "blocks": {**found["blocks"], "parts": parts, "seconds": seconds},
        "difference": {
            "psnr": found["blocks"]["psnr"] - found["whole"]["psnr"],
            "seams": found["blocks"]["seams"]["psnr"] - found["whole"]["seams"]["psnr"],
            "memory": max(part["bytes"] for part in parts.values()) / whole["bytes"],
        },
    }
    if asked.kill:
        with killing(out / "killed", 2) as killed:
            _blocks(asked, out / "killed")
        one, other = (
            (out / name / "point_cloud.ply").read_bytes() for name in ("blocks", "killed")
        )
        results["killed"] = {"times": len(killed), "same_bytes": one == other}
    if asked.json:
        write_json(Path(asked.json), results)
    print(told(results))
    return 0 if not asked.kill or results["killed"]["same_bytes"] else 1


def _blocks(asked: argparse.Namespace, out: Path) -> None:
    """Train the blocks, as the command line does."""
    from splat.cli import main as splat

    where = ["--on", asked.on] if asked.on else []
    code = splat(
        ["train", asked.scene, "--out", str(out), "--overwrite", "--blocks", asked.shape,
         "--workers", str(asked.workers), *where, *_options(asked), METHOD, "--cap", asked.cap]
    )  # fmt: skip
    if code:
        raise SystemExit(code)


def whole(asked: argparse.Namespace) -> dict[str, Any]:
    """Train all of it at once, in this process, which a bench begins for it alone."""
    from splat import api
    from splat.blocks import work  # what a block's process imports, too
    from splat.cli.composed import read
    from splat.system import machine as here

    imported = here.held_memory() or 0
    arguments = [asked.scene, "--quiet", *_options(asked), METHOD, "--cap", asked.cap]
    told = read(arguments)
    scene = api.read_scene(told.scene, told.reading)
    began = time.perf_counter()
    result = api.train(
        scene, told.method, told.training, out=Path(asked.out), overwrite=True,
        watching=told.watching, reading=told.reading, lpips=None,
    )  # fmt: skip
    del work
    peak = here.peak_memory() or 0
    return {
        "imported": imported,
        "peak": peak,
        "bytes": peak - imported,
        "seconds": time.perf_counter() - began,
        "gaussians": result.metrics["gaussians"],
    }


def compared(whole: Path, blocks: Path, device: str) -> dict[str, Any]:
    """The figures of both on the same held-out photos and the same pixels of the strip."""
    from splat import api
    from splat.blocks.figures import batches_of, merged_metrics
    from splat.blocks.merged import Merged
    from splat.blocks.plan import read_plan
    from splat.render import choose_device
    from splat.runs.folder import Folder, read_config

    place, chosen = Folder(blocks), choose_device(device)[0]
    cells, config = read_plan(place.division), read_config(place.config)
    scene = api.reread(config)
    found: dict[str, dict[str, Any]] = {}
    both = {
        name: Merged.of(Folder(path).gaussians, cells.frame, chosen, config.options.background)
        for name, path in (("whole", whole), ("blocks", blocks))
    }
    for name, merged in both.items():
        batches = batches_of(scene, config, cells.frame, chosen)
        metrics, seams = merged_metrics(
            merged, cells, batches, None, seams_of=lambda camera: both["whole"].seam(camera, cells)
        )
        count = len(merged.gaussians)
        found[name] = {"psnr": metrics.psnr, "ssim": metrics.ssim, "seams": seams, "rows": count}
    found["blocks"]["cells"] = [asdict(part) for part in cells.parts]
    for part in found["blocks"]["cells"]:
        part["views"] = len(part["views"])
    return found


def memory_of(blocks: Path) -> dict[str, dict[str, int]]:
    """Peaks of the processes of each block, bytes beyond what was imported."""
    found = {}
    for path in sorted((blocks / "blocks").glob("*.json")):
        each = json.loads(path.read_text())["processes"]
        peak = max(record["peak"] - record["imported"] for record in each)
        found[path.stem] = {"bytes": peak, "processes": len(each)}
    return found


@contextmanager
def killing(run: Path, times: int) -> Iterator[list[int]]:
    """Within, so many processes of blocks that have a checkpoint are ended by SIGKILL."""
    killed: list[int] = []
    over = threading.Event()

    def look() -> None:
        while len(killed) < times and not over.wait(0.2):
            for note in (run / "blocks").glob("*.json"):
                begun = list((note.parent / note.stem / "checkpoints").glob("step*"))
                ended = (note.parent / note.stem / "metrics.json").exists()
                process = json.loads(note.read_text())["processes"][-1]["id"]
                if begun and not ended and process not in killed and len(killed) < times:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                        killed.append(process)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()


def told(results: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = []
    for name in ("whole", "blocks"):
        each = results[name]
        peak = each["bytes"] if name == "whole" else max(p["bytes"] for p in each["parts"].values())
        lines.append(
            [name, f"{each['psnr']:.2f}", f"{each['seams']['psnr']:.2f}", f"{each['rows']:,}",
             f"{peak / 1e6:,.0f}", f"{each['seconds']:.0f}"]
        )  # fmt: skip
    away = results["difference"]
    lines.append(
        [
            "difference",
            f"{away['psnr']:+.2f}",
            f"{away['seams']:+.2f}",
            "",
            f"{away['memory']:.0%}",
            "",
        ]
    )
    heads = ["", "PSNR dB", "along the seams", "Gaussians", "peak of a process, MB", "seconds"]
    said = markdown(heads, lines)
    if "killed" in results:
        same = "the same bytes" if results["killed"]["same_bytes"] else "OTHER BYTES"
        said += f"\n\nkilled {results['killed']['times']} times: {same}"
    return said


def _options(asked: argparse.Namespace) -> list[str]:
    """What both runs are told."""
    found = ["--steps", str(asked.steps), "--exposure", "off", "--device", asked.device]
    found += ["--max-side", str(asked.max_side)] * (asked.max_side is not None)
    return [*found, "--threads", str(asked.threads)] if asked.threads else found


def _told(asked: argparse.Namespace) -> list[str]:
    """What a process for the whole is told."""
    found = [asked.scene, "--cap", asked.cap, "--steps", str(asked.steps), "--device", asked.device]
    found += ["--max-side", str(asked.max_side)] * (asked.max_side is not None)
    return found


def _asked() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene")
    parser.add_argument("--shape", default="2x2")
    parser.add_argument("--cap", default="1M")
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--max-side", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of a block; all cores shared if not given")
    parser.add_argument("--on", default="ray", help="ray, an address, or '' for processes here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--out", default="blocks_bench")
    parser.add_argument("--json")
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["whole"]:
        print(json.dumps(whole(_asked().parse_args(sys.argv[2:]))))
        sys.exit(0)
    sys.exit(main())
