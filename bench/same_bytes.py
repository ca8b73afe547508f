"""Whether two installations of splat make the same bytes: for changes that are to change nothing.

    python bench/same_bytes.py record out/             # trains, exports, keeps a checkpoint
    python bench/same_bytes.py check out/              # another version: the same, resumed too

`record` trains the built-in scene for 400 steps by every method and part, keeps the checkpoint in
the middle, and writes the digests of what was exported to `out/digests.json`. `check` does the same
with the version that is installed now, resumes the checkpoints that the other one left, and names
every file that differs. Both must run on one machine: bytes are the same for one machine, not for
all. `--demo` adds the whole `splat demo` and its exports to every format, which takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

STEPS, MIDDLE = 400, 200
TRUTH = "truth.py"
"""File with the signed distance of the built-in scene, beside the runs."""
RECIPES = {
    "usual": "",
    "fixed": "fixed",
    "adc": "adc --cap 6000",
    "adc-options": "adc --cap 6000 --absgrad --revised-clone --revised-split",
    "mcmc": "mcmc --cap 5000",
    "mrnf": "mrnf --cap 5000",
    "igs": "igs --cap 5000",
    "error": "error --cap 5000",
    "taming": "taming --cap 5000",
    "scaffold": "scaffold --cap 3000",
    "forest": "forest-inspired --cap 5000",
    "significance": "mcmc --cap 5000 + significance --score squared --at 15000 --keep 0.7"
    " --how shrink",
    "renew": "mrnf --cap 5000 + renew",
    "blur-split": "adc --cap 6000 + blur-split",
    "protect": "adc --cap 6000 + protect --rule age<3000",
    "freeze": "mcmc --cap 5000 + freeze --rows start",
    "budget": "adc + budget --rows 4500 --curve sqrt",
    "crop": "mcmc --cap 5000 + crop --low -1 -1 -1 --high 1 1 1",
    "floaters": "mrnf --cap 5000 + floaters",
    "lighthouse": "adc --cap 6000 + lighthouse",
    "deferred": "adc --cap 3000 + deferred",
    "coded": "scaffold --cap 3000 + coded",
    "chain": "mrnf --cap 4000 + mcmc --cap 4000",
    "moving": "mcmc --cap 4000 + moving",
    "deform": "adc --cap 4000 + deform + planes-coded",
}
OPTIONS = {
    "alpha-mask": "--masks truth/masks --mask-mode transparent adc --cap 6000 + alpha-mask",
    "sdf": "--masks truth/masks --mask-mode transparent adc --cap 4000 + sdf",
    "gsdf": "--masks truth/masks --mask-mode transparent scaffold --cap 3000 + gsdf --sdf"
    " {truth}:sdf",
    "planes": "--depths truth/depth --depth-kind metric --normals truth/normals --init planes"
    " mrnf --cap 5000 + lighthouse",
    "run-options": "--crop -2 -2 -2 2 2 2 --finish-for .spz --finish-keep 0.8 --exposure affine"
    " --refine-poses --adam visible --moments bfloat16 --harmonics bfloat16 --budget 4k",
    "antialiased": "--antialiased --background white --budget 300KB --budget-of .spz",
}
"""Runs under options of the run."""
FORMATS = (".ply", ".compressed.ply", ".spz", ".sog", ".glb", ".splat", ".html")


def splat(*arguments: object) -> None:
    """A verb of the installation that runs this file."""
    subprocess.run(
        [sys.executable, "-m", "splat", *map(str, arguments)],
        check=True, stdout=subprocess.DEVNULL, cwd="/",
    )  # fmt: skip


def scene(folder: Path) -> Path:
    """The built-in scene, drawn anew."""
    if not folder.is_dir():
        code = (
            "import sys; from splat.datasets import demo; print(demo.cached(width=200, height=150))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/"
        )
        shutil.copytree(done.stdout.strip().splitlines()[-1], folder)
        (folder / "truth" / "normals" / "normals.json").write_text('{"frame": "world"}')
    return folder


def digests(run: Path) -> dict[str, str]:
    """Of the files that a run exported."""
    kinds = ("point_cloud*", "*.anchors", "*.forest", "*.clip")
    files = [path for kind in kinds for path in run.glob(kind)]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def trained(where: Path, run: Path, options: str, recipe: str) -> dict[str, str]:
    splat(
        "train", where, "--out", run, "--overwrite", "--steps", STEPS, "--quiet", "--no-pictures",
        "--checkpoint-every", MIDDLE, "--keep", 9, *shlex.split(options), *shlex.split(recipe),
    )  # fmt: skip
    return digests(run)


def resumed(kept: Path, run: Path) -> dict[str, str]:
    """What becomes of a run that another version left in the middle."""
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(kept, run)
    for path in run.glob("point_cloud*"):
        path.unlink()
    truth = kept.parent.parent / TRUTH  # which a run that was trained by it needs to be opened
    splat("resume", run, "--quiet", "--plugin", f"{truth}:sdf")
    return digests(run)


def cut(run: Path) -> None:
    """Take all checkpoints away but that in the middle."""
    paths = sorted((run / "checkpoints").glob("*.pt"))
    middle = [path for path in paths if int("".join(filter(str.isdigit, path.stem))) == MIDDLE]
    if not middle:
        raise SystemExit(f"{run}: no checkpoint of step {MIDDLE}, there are {paths}")
    for path in paths:
        if path not in middle:
            path.unlink()


def exported(run: Path) -> dict[str, str]:
    """Digests of a run in every format."""
    found = {}
    for suffix in FORMATS:
        file = run.parent / f"exported{suffix}"
        file.unlink(missing_ok=True)
        splat("export", run, "-o", file)
        found[suffix] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def main() -> None:
    """Record, or check and exit with 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "check"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    where = scene(out / "scene")
    truth = out / TRUTH
    truth.write_text("from splat.datasets.demo import sdf  # noqa: F401\n")
    known = out / "digests.json"
    record = json.loads(known.read_text()) if known.is_file() else {}
    cases = {name: ("", recipe) for name, recipe in RECIPES.items()}
    cases |= {name: (options.format(truth=truth), "") for name, options in OPTIONS.items()}
    wrong = 0
    for name, (options, recipe) in cases.items():
        if asked.only and name not in asked.only:
            continue
        start = time.monotonic()
        if asked.what == "record":
            record[name] = trained(where, out / "runs" / name, options, recipe)
            cut(out / "runs" / name)
            verdict = "recorded"
        else:
            same = trained(where, out / "now" / name, options, recipe) == record[name]
            again = resumed(out / "runs" / name, out / "again" / name) == record[name]
            wrong += (not same) + (not again)
            verdict = f"{'same' if same else 'OTHER'}, resumed {'same' if again else 'OTHER'}"
        print(f"{name:14} {verdict}  {time.monotonic() - start:.0f} s", flush=True)
        if asked.what == "record":
            known.write_text(json.dumps(record, indent=1))
    if asked.demo:
        run = out / ("demo" if asked.what == "record" else "demo-now") / "run"
        splat("demo", "--out", run, "--overwrite", "--quiet")
        found = digests(run) | exported(run)
        if asked.what == "record":
            known.write_text(json.dumps(record | {"demo": found}, indent=1))
        other = [key for key, value in record.get("demo", found).items() if found[key] != value]
        wrong += len(other)
        print(f"demo           {'OTHER ' + ' '.join(other) if other else 'same'}", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
