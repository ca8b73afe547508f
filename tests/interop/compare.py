"""What other programs made of Gaussians, compared with what they were given.

    PYTHONPATH=tests python tests/interop/compare.py CHECKS.json

`readers.mjs` writes the list, of the fields of `Check`, and calls this. Prints a line for each;
exits with 1 if a value is off by more than it may.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from formats import QUANTA, matched, turned_by
from torch import Tensor

from splat import formats
from splat.types import Gaussians


def errors(found: Gaussians, given: Gaussians) -> dict[str, Tensor]:
    """How far each value is off, under the names and in the units of `Quantum`.

    `found` is in the order of `given`; bands that only one of them has do not count.
    """
    k = min(found.colors.shape[1], given.colors.shape[1])
    colors = (found.colors[:, :k] - given.colors[:, :k]).abs()
    off = {
        "position": (found.means - given.means).abs() / given.means.abs().max(),
        "log_scale": (found.scales.log() - given.scales.log()).abs(),
        "opacity": (found.opacities - given.opacities).abs(),
        "constant": colors[:, 0],
        "harmonics": colors[:, 1:],
        "degrees": turned_by(found.quats, given.quats),
    }
    return {name: error for name, error in off.items() if error.numel()}


def in_place(found: Gaussians, given: Gaussians) -> bool:
    """Whether each coefficient of each channel is most like the one of its own place."""
    a, b = (_standard(each.colors.flatten(1)) for each in (found, given))
    a, b = a[:, : b.shape[1]], b[:, : a.shape[1]]
    # Not the absolute value: a coefficient of the wrong sign is out of place too.
    return torch.equal((a.T @ b).argmax(1), torch.arange(a.shape[1]))


def _standard(columns: Tensor) -> Tensor:
    centred = columns - columns.mean(0)
    return torch.nn.functional.normalize(centred, dim=0)


@dataclass(frozen=True)
class Check:
    """Files, and what another program made of them."""

    name: str
    suffix: str
    """Of the format whose quantum holds."""
    files: list[tuple[str, str]]
    """What was given, and what was found."""
    times: dict[str, float]
    """How many quanta a value may be off, where it is not one."""

    def run(self) -> tuple[str, bool]:
        """A line of the table, and whether all is as it should be."""
        quantum = QUANTA[self.suffix]
        off: dict[str, list[Tensor]] = {}
        wrong = []
        for given_file, found_file in self.files:
            given = formats.read(given_file)
            found = matched(formats.read(found_file), given)
            for name, error in errors(found, given).items():
                off.setdefault(name, []).append(error.flatten())
            degree = min(given.sh_degree or 0, quantum.most_degree)
            if found.sh_degree != degree:
                wrong.append(f"degree {found.sh_degree}, not {degree}")
            if not in_place(found, given):
                wrong.append(f"coefficients of degree {degree} out of place")
        merged = {name: torch.cat(parts) for name, parts in off.items()}
        for name, error in merged.items():
            if error.max() > self.times.get(name, 1) * getattr(quantum, name):
                wrong.append(name)
        figures = "".join(f"{_figures(merged.get(name)):>20}" for name in COLUMNS)
        return f"{self.name:40}{figures}  {', '.join(wrong) or 'ok'}", not wrong


COLUMNS = ("position", "log_scale", "opacity", "constant", "harmonics", "degrees")


def _figures(error: Tensor | None) -> str:
    return "" if error is None else f"{error.max():.2g} / {error.mean():.2g}"


def main(checks: Path) -> int:
    """Print the table; 1 if anything is off by more than it may."""
    print(f"{'maximum / mean':40}" + "".join(f"{name:>20}" for name in COLUMNS))
    well = True
    for fields in json.loads(checks.read_text()):
        line, good = Check(**fields).run()
        print(line, flush=True)
        well &= good
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
