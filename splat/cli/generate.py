"""`splat generate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from splat import formats
from splat.cli.asked.generate import Generate
from splat.generate.generator import Generator, of_others
from splat.generate.store import read
from splat.options.parse import parsed
from splat.options.verbs import check_free
from splat.system.text import size


def main(arguments: Sequence[str]) -> int:
    """Make Gaussians of a text; the exit code."""
    asked = parsed(Generate, "generate", arguments)
    formats.suffix_of(asked.out, written=True)
    check_free(asked.out, asked.overwrite)
    if not asked.text.strip():
        raise ValueError("the text is empty; expected what to make, such as 'a glossy red torus'")
    gaussians = _generator(asked)(asked.text, seed=asked.seed)
    formats.write(gaussians, asked.out)
    bytes_ = formats.weight(asked.out)
    if asked.json:
        figures = {
            "file": str(asked.out), "bytes": bytes_, "gaussians": len(gaussians),
            "text": asked.text, "seed": asked.seed,
        }  # fmt: skip
        print(json.dumps(figures, indent=1))
    else:
        print(f"{asked.out}: {len(gaussians):,} Gaussians, {size(bytes_)}")
    return 0


def _generator(asked: Generate) -> Generator:
    if asked.generator is not None:
        return of_others(asked.generator)
    found = read(asked.model, asked.encoder)
    if asked.guidance is not None:
        found.design = replace(found.design, guidance=asked.guidance)
    if asked.samples is not None:
        found.design = replace(found.design, samples=asked.samples)
    return found
