"""Anchors against Gaussians: at equal bytes, at equal numbers drawn, coded, and off the path.

    python bench/anchors.py DATA --out FOLDER [--steps 7000] [--methods "mrnf + renew" adc]
        [--scenes fox ...]

For every scene in DATA: `scaffold` and `scaffold + coded` are trained, then each method twice: with
as many Gaussians as `scaffold` draws in a view, and with as many as fill the bytes of its uncoded
anchors as `.ply`; then the smallest good file of the first is made for the bytes of the coded
anchors. `--off-path` holds out the middle fifth of a trajectory in place of every eighth photo.
Runs that are finished are not trained again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import markdown, output_of, program, trained, write_json

SCENES = {"fox": 2, "plush_phone": 2, "lego_400": 1}
"""How many times their photos are shrunk."""
PLY_BYTES = 248
"""Of a Gaussian with three bands of harmonics."""
COLUMNS = {
    "psnr": "{:.2f}",
    "ssim": "{:.4f}",
    "lpips": "{:.4f}",
    "anchors": "{:,}",
    "gaussians": "{:,}",
    "mb": "{:.2f}",
    "seconds": "{:.0f}",
    "ms": "{:.1f}",
}
HEADS = ("scene", "run", "PSNR", "SSIM", "LPIPS", "anchors", "drawn", "MB", "seconds", "ms a step")


class Bench:
    """Runs of one folder."""

    def __init__(self, data: Path, out: Path, steps: int, seed: int) -> None:
        self.data, self.out = data, out
        self.steps, self.seed = steps, seed
        self.lines: list[dict[str, Any]] = []

    def trained(
        self, scene: str, name: str, recipe: Sequence[str], more: Sequence[str] = ()
    ) -> dict[str, Any]:
        """The figures of a run."""
        folder = self.out / f"{scene}-{name}"
        arguments = [
            "train", str(self.data / scene), "--out", str(folder), "--overwrite",
            "--steps", str(self.steps), "--downscale", str(SCENES[scene]),
            "--seed", str(self.seed), "--json", *more, *recipe,
        ]  # fmt: skip
        return trained(folder, arguments)

    def noted(self, scene: str, name: str, found: dict[str, Any], size: float) -> None:
        """A line of the table."""
        line = {key: found.get(key) for key in COLUMNS}
        line |= {"mb": size / 1e6, "ms": 1e3 * found["seconds_per_step"]}
        self.lines.append({"scene": scene, "run": name, **line})

    def size(self, scene: str, name: str, kind: str) -> int:
        """Bytes of the anchors of a run, coded or not."""
        path = self.out / f"{scene}-{name}.{kind}.anchors"
        more = ["--plain"] if kind == "plain" else []
        if not path.is_file():
            run = str(self.out / f"{scene}-{name}")
            output_of([program(), "export", run, "-o", str(path), *more])
        return path.stat().st_size

    def scene(self, scene: str, methods: Sequence[str]) -> None:
        """All runs of a scene."""
        plain = self.trained(scene, "scaffold", ["scaffold", "--cap", "0"])
        whole = self.size(scene, "scaffold", "plain")
        self.noted(scene, "scaffold", plain, whole)
        for method in methods:
            drawn = plain["gaussians"]
            for what, cap in (("drawn", drawn), ("bytes", whole // PLY_BYTES)):
                name = f"{_slug(method)}-{what}"
                found = self.trained(scene, name, _capped(method, cap))
                self.noted(scene, f"{method}, equal {what}", found, found["export"]["bytes"])
        coded = self.trained(scene, "coded", ["scaffold", "--cap", "0", "+", "coded"])
        small = self.size(scene, "coded", "coded")
        self.noted(scene, "scaffold + coded", coded, small)
        for method in methods:
            self.small(scene, method, small)

    def small(self, scene: str, method: str, size: int) -> None:
        """The best file of a method's run within some bytes."""
        name = f"{scene}-{_slug(method)}"
        path, receipt = (self.out / f"{name}-small{end}" for end in ("", ".json"))
        if not receipt.is_file():
            run, most = str(self.out / f"{name}-drawn"), f"{size // 1000}kB"
            said, _ = output_of(
                [program(), "export", run, "-o", str(path), "--formats", ".sog", ".spz",
                 "--target-size", most, "--overwrite", "--quiet", "--json"]
            )  # fmt: skip
            write_json(receipt, json.loads(said))
        found = json.loads(receipt.read_text())
        line = dict.fromkeys(COLUMNS) | {
            "psnr": found["psnr_after"],
            "gaussians": found["gaussians"],
            "mb": found["bytes"] / 1e6,
        }
        self.lines.append({"scene": scene, "run": f"{method}, compressed", **line})

    def off_path(self, scene: str, methods: Sequence[str]) -> None:
        """The middle fifth of the trajectory held out, at equal numbers drawn."""
        listed = self.trained(scene, "scaffold", ["scaffold", "--cap", "0"])
        names = sorted(self._views(scene))
        fifth = len(names) // 5
        held_out = ["--eval", ",".join(names[2 * fifth : 3 * fifth])]
        runs = {"scaffold": ["scaffold", "--cap", "0"]}
        runs |= {method: _capped(method, listed["gaussians"]) for method in methods}
        for name, recipe in runs.items():
            found = self.trained(scene, f"off-{_slug(name)}", recipe, held_out)
            self.noted(f"{scene}, off the path", name, found, found["export"]["bytes"])

    def _views(self, scene: str) -> list[str]:
        cameras = json.loads((self.out / f"{scene}-scaffold" / "cameras.json").read_text())
        return [entry["name"] for entry in cameras["cameras"]]

    def table(self) -> str:
        """All lines so far."""
        rows = [
            [line["scene"], line["run"]]
            + ["" if line[k] is None else form.format(line[k]) for k, form in COLUMNS.items()]
            for line in self.lines
        ]
        return markdown(HEADS, rows)


def _capped(method: str, cap: int) -> list[str]:
    """A recipe, such as "mrnf + renew", of so many rows at most."""
    first, *parts = method.split()
    return [first, "--cap", str(cap), *parts]


def _slug(method: str) -> str:
    return method.replace(" ", "")


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=["mrnf + renew"])
    parser.add_argument("--scenes", nargs="*", default=list(SCENES))
    parser.add_argument("--off-path", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(asked.data, asked.out, asked.steps, asked.seed)
    for scene in asked.scenes:
        if asked.off_path:
            bench.off_path(scene, asked.methods)
        else:
            bench.scene(scene, asked.methods)
        write_json(asked.out / "results.json", {"steps": asked.steps, "lines": bench.lines})
    print(bench.table())


if __name__ == "__main__":
    main()
