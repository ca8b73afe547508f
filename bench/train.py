"""Train scenes with `splat train`, one run after another, and tabulate what came out."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import markdown, write_json

COLUMNS = {
    "scene": "{}",
    "downscale": "{}",
    "method": "{}",
    "steps": "{}",
    "psnr": "{:.2f}",
    "ssim": "{:.4f}",
    "lpips": "{:.4f}",
    "gaussians": "{}",
    "seconds": "{:.0f}",
    "peak_memory_mb": "{:.0f}",
}


@dataclass(frozen=True)
class Job:
    """One run of `splat train`."""

    scene: str
    """Folder of the scene."""
    method: str
    steps: int
    downscale: int
    cap: int
    """Most Gaussians the method may make."""

    @property
    def name(self) -> str:
        """Folder of the run: unlike settings never share one."""
        scene = Path(self.scene).resolve().name
        return f"{scene}-d{self.downscale}-{self.method}-{self.steps}-{self.cap}"

    def command(self, program: str, folder: Path, more: Sequence[str] = ()) -> list[str]:
        """What is typed at the prompt; an unfinished run of this name starts over."""
        return [
            program, "train", self.scene, "--out", str(folder),
            "--downscale", str(self.downscale), "--steps", str(self.steps), *more,
            "--overwrite", "--json", self.method, "--cap", str(self.cap),
        ]  # fmt: skip


def ran(job: Job, program: str, folder: Path, more: Sequence[str] = ()) -> bool:
    """Train, unless the run is finished already; what it prints goes to `<folder>.log`.

    `more` are further options of `splat train`.
    """
    if (folder / "metrics.json").exists():
        print(f"{job.name}: finished earlier", flush=True)
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    print(f"{job.name}: started", flush=True)
    log = folder.with_name(folder.name + ".log")
    with log.open("w") as sink:
        code = subprocess.run(
            job.command(program, folder, more), stdout=sink, stderr=subprocess.STDOUT
        ).returncode
    if code or not (folder / "metrics.json").exists():
        print(f"{job.name}: failed with exit code {code}, see {log}", flush=True)
        return False
    print(f"{job.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return True


def result(job: Job, folder: Path) -> dict[str, Any]:
    """The settings and the metrics of a finished run, flat."""
    metrics = json.loads((folder / "metrics.json").read_text())
    return {**metrics, **asdict(job), "scene": Path(job.scene).resolve().name}


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """A table in Markdown; a metric that a run could not compute is a dash."""
    return markdown(
        list(COLUMNS),
        (
            ["-" if found.get(n) is None else form.format(found[n]) for n, form in COLUMNS.items()]
            for found in results
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="+", metavar="SCENE")
    parser.add_argument("--methods", nargs="+", default=["adc", "mcmc"])
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--cap", type=int, default=60_000)
    parser.add_argument(
        "--out", type=Path, default=Path("results.json"), help="results gather here"
    )
    parser.add_argument("--runs", type=Path, help="folder of the runs (default: beside --out)")
    parser.add_argument("--markdown", action="store_true", help="print the table of all results")
    options = parser.parse_args()
    program = shutil.which("splat")
    if program is None:
        sys.exit("the command `splat` is not on PATH; install the package first: pip install .")
    runs = options.runs or options.out.with_suffix("")
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    failed = 0
    for scene in options.scenes:
        for method in options.methods:
            job = Job(scene, method, options.steps, options.downscale, options.cap)
            if ran(job, program, runs / job.name):
                results[job.name] = result(job, runs / job.name)
                write_json(options.out, results)
            else:
                failed += 1
    if options.markdown:
        print(table(results.values()))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
