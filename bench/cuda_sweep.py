"""Every method, many options and all verbs on CUDA, by command lines: what fails, and how.

    python bench/cuda_sweep.py --steps 200                       # on a machine with a GPU
    SPLAT_PRETEND_CUDA=1 python bench/cuda_sweep.py --renderer gsplat    # without: tests/pretend
    python bench/cuda_sweep.py --lines mine.txt                  # SCENE and RUN are filled in

Each line is a call of `splat`, within this process; its traceback is printed if it fails. On a CPU
this takes some minutes. `tests/test_cuda_sweep.py` is a short form.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

METHODS = ("mcmc", "adc", "mrnf", "igs", "error", "taming", "scaffold", "forest-inspired", "fixed")
PARTS = (
    "mcmc + significance --how shrink --below 0.05",
    "mcmc + significance --how recycle --at 10,20",
    "mrnf + renew",
    "adc + speedy-splat",
    "mcmc + floaters",
    "mcmc + smoothing",
    "adc + lightgaussian",
    "adc + radsplat",
    "adc + mini-splatting",
    "adc + blur-split",
    "adc + protect --rule 'age<50'",
    "adc + budget --rows 300",
    "adc + lighthouse",
    "adc + deferred",
    "adc + sdf --box -1 -1 -1 1 1 1",
    "scaffold + coded",
)
OPTIONS = (
    "--exposure channel",
    "--exposure affine --refine-poses",
    "--exposure grid",
    "--antialiased",
    "--moments bfloat16",
    "--moments bfloat16 --harmonics bfloat16",
    "--adam visible --offload --moments bfloat16 --harmonics bfloat16",
    "--adam visible",
    "--adam visible --offload",
    "--resolution dash",
    "--near 0.2",
    "--crop -0.4 -0.4 -0.4 0.4 0.4 0.4",
    "--sky 60",
    "--finish-for .spz --finish-keep 0.5",
    "--background white --sh-degree 1",
    "--eval-every 10",
    "--minutes 0.05",
    "--blocks 2x1",
)
VERBS = (
    "eval RUN --json",
    "eval RUN --off-path --json",
    "resume RUN --steps 60",
    "export RUN -o out.spz --target-size 8kB --overwrite",
    "export RUN -o out --formats .spz .sog --max-loss 3dB --overwrite",
    "export RUN -o lod/lod-meta.json --level-steps 5 --overwrite",
    "export RUN -o out.ply --keep 0.5 --refine 5 --overwrite",
    "convert out.ply out.compressed.ply --overwrite",
    "eval out.ply --scene SCENE --json",
    "clean out.ply -o clean.ply --overwrite",
    "mesh RUN -o mesh.ply --resolution 32 --box -1 -1 -1 1 1 1 --overwrite",
    "render RUN -o turn.mp4 --frames 4 --max-side 64 --overwrite",
    "info RUN",
)


def lines(steps: int, renderer: str) -> Iterator[str]:
    """The calls of a sweep; RUN is the folder of the last one that trained."""
    train = f"train SCENE --out RUN --overwrite --steps {steps} --renderer {renderer}"
    for method in (*METHODS, *PARTS):
        yield f"{train} {method}"
        yield f"resume RUN --steps {steps + 10}"
    for method in ("mrnf", "adc", "mcmc"):
        for option in OPTIONS:
            if renderer != "gsplat" or "--harmonics" not in option:  # which it does not draw
                yield f"{train} {option} {method}"
    for method in ("mcmc", "scaffold"):
        yield f"{train} {method}"
        yield from VERBS


def called(text: str) -> str:
    """What went wrong in a call of `splat`, "" if nothing did."""
    from splat.cli import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = main(shlex.split(text))
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            return traceback.format_exc()
    return "" if code == 0 else f"exit code {code}\n{out.getvalue()[-2000:]}"


def main() -> int:
    """Call all of them; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument(
        "--renderer", default="auto", help="native or gsplat; pretended, gsplat is quicker"
    )
    parser.add_argument("--only", default="", help="lines with this text, and runs for verbs")
    parser.add_argument("--lines", type=Path, help="a file of lines in place of ours")
    parser.add_argument("--side", type=int, default=48, help="width of the photos")
    asked = parser.parse_args()
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    if why := importlib.import_module("pretend").begin():
        raise SystemExit(why)
    os.environ["SPLAT_DEBUG"] = "1"
    own = lines(asked.steps, asked.renderer)
    todo = own if asked.lines is None else iter(asked.lines.read_text().splitlines())
    from splat.datasets import demo

    with tempfile.TemporaryDirectory() as folder:
        size = {"width": asked.side, "height": asked.side * 3 // 4, "points": 5 * asked.side}
        scene = demo.cached(Path(folder) / "scenes", views=9, samples=2, **size)
        os.chdir(folder)
        failed = done = 0
        trained = True
        for text in todo:
            if not text.strip() or text.startswith("#") or asked.only not in text:
                continue
            if not (trained or text.startswith("train")):
                continue  # there is no run
            since = time.perf_counter()
            wrong = called(text.replace("SCENE", str(scene)).replace("RUN", "run"))
            done, failed = done + 1, failed + bool(wrong)
            trained = not wrong if text.startswith("train") else trained
            seconds = time.perf_counter() - since
            print(f"{'BAD' if wrong else 'ok '} {seconds:6.1f} s  {text}", flush=True)
            if wrong:
                print("    " + "\n    ".join(wrong.strip().splitlines()[-14:]))
        print(f"{done} calls, {failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
