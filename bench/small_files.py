"""The smallest standard file of a loss: bytes and held-out PSNR of `.sog`, and who else reads it.

    python bench/small_files.py DATA --out FOLDER [--steps 3000] [--rows 100k] [--loss 0.2]
        [--refine 1000] [--scenes fox plush_phone lego_400] [--splat-transform PATH]

For every scene in DATA `mrnf + renew` is trained, and its run is exported thrice: as `.ply`, as a
plain `.sog`, and as the smallest `.sog` that loses no more than so many dB in held-out photos once
it is trained (`--max-loss`, `--refine`). What is said of each is of held-out photos, drawn of the
file as it is read back; of the smallest they are those that chose it, unless there are 24 or more.
gsply (with imagecodecs) and splat-transform read the last one, where they are there: how many
Gaussians, and how far what they read is from what we read, at most, as a share of the range of the
values. Runs and files that are finished are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import markdown, output_of, program, trained, write_json

SCENES = {"fox": 2, "plush_phone": 2, "lego_400": 1}
"""How many times their photos are shrunk."""
HEADS = ("scene", "run dB", "`.ply` MB", "`.sog` MB", "dB", "smallest MB", "1/", "rows", "SH", "dB")


def exported(run: Path, name: str, *more: str) -> dict[str, Any]:
    """The receipt of a file of a run."""
    path = run.parent / f"{run.name}-{name}"
    receipt = run.parent / f"{path.name}.json"
    if not receipt.is_file():
        command = [program(), "export", str(run), "-o", str(path), "--overwrite", "--json"]
        said, seconds = output_of([*command, "--quiet", *more])
        write_json(receipt, json.loads(said[said.index("{") :]) | {"seconds": seconds})
    found: dict[str, Any] = json.loads(receipt.read_text())
    return found


def read_by_others(path: Path, transform: str | None) -> dict[str, str]:
    """What other programs make of a `.sog`, against what we do."""
    from splat import formats

    ours = formats.read(path)
    readers: dict[str, Callable[[], Any]] = {"gsply": lambda: _by_gsply(path)}
    if transform is not None:
        readers["splat-transform"] = lambda: _by_transform(path, transform)
    said = {}
    for name, read in readers.items():
        try:
            means, harmonics = read()
        except (ImportError, OSError, subprocess.SubprocessError) as error:
            said[name] = f"not tried: {error}"
            continue
        theirs = np.concatenate([means, harmonics.reshape(len(means), -1)], 1)
        own = [ours.means.numpy(), ours.colors[:, 0].numpy()]
        both = np.concatenate(own, 1) if theirs.shape[1] == 6 else own[0]
        gap = np.abs(theirs - both).max(0) / np.ptp(both, axis=0).clip(1e-9)
        said[name] = f"{len(means):,} Gaussians, {gap.max():.1e} of the range apart at most"
    return said


def _by_gsply(path: Path) -> tuple[Any, Any]:
    import gsply

    found = gsply.sogread(str(path))
    return found.means, found.sh0


def _by_transform(path: Path, transform: str) -> tuple[Any, Any]:
    from splat import formats

    with TemporaryDirectory() as folder:
        ply = Path(folder) / "a.ply"
        subprocess.run([transform, str(path), str(ply)], check=True, capture_output=True)
        found = formats.read(ply)
        return found.means.numpy(), found.colors[:, 0].numpy()


def line(scene: str, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    ply, plain, small = files["ply"], files["sog"], files["small"]

    def lost(of: Mapping[str, Any]) -> str:
        return f"{of['psnr_after'] - of['psnr_before']:+.3f}"

    return [
        scene,
        f"{ply['psnr_before']:.2f}",
        f"{ply['bytes'] / 1e6:.2f}",
        f"{plain['bytes'] / 1e6:.2f}",
        lost(plain),
        f"{small['bytes'] / 1e6:.3f}",
        f"{ply['bytes'] / small['bytes']:.1f}",
        f"{small['gaussians']:,}",
        str(small["sh_degree"]),
        lost(small),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rows", default="100k")
    parser.add_argument("--loss", type=float, default=0.2)
    parser.add_argument("--refine", type=int, default=1000)
    parser.add_argument("--scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--shrink", type=int, default=1, help="photos so many times smaller still")
    parser.add_argument("--splat-transform", default=None)
    asked = parser.parse_args()
    lines, results = [], {}
    for scene in asked.scenes:
        run = asked.out / scene
        recipe = ["mrnf", "--cap", asked.rows, "+", "renew"]
        shrink = str(SCENES.get(scene, 1) * asked.shrink)
        trained(
            run,
            ["train", str(asked.data / scene), "--out", str(run), "--overwrite", "--steps",
             str(asked.steps), "--downscale", shrink, *recipe],
        )  # fmt: skip
        files = {kind: exported(run, f"whole.{kind}") for kind in ("ply", "sog")}
        limits = ["--max-loss", f"{asked.loss}dB", "--refine", str(asked.refine)]
        files["small"] = exported(run, "small.sog", *limits)
        others = read_by_others(Path(files["small"]["file"]), asked.splat_transform)
        results[scene] = {**files, "others": others}
        lines.append(line(scene, files))
        write_json(asked.out / "results.json", results)
        print(markdown(HEADS, lines), *(f"{k}: {v}" for k, v in others.items()), sep="\n")


if __name__ == "__main__":
    main()
