"""Things of a corpus as pictures from many sides, for a teacher to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from splat.datasets.objects import surface
from splat.datasets.objects.files import Corpus
from splat.dream.distill import Ball, nearness
from splat.dream.orbit import Orbit, angles
from splat.dream.tutor import seen_from
from splat.generate.attributes import gaussians_of
from splat.generate.words import Vocabulary
from splat.render import renderer_for
from splat.types import Gaussians, Needs


@dataclass(frozen=True)
class Pictures:
    """Pictures of things, the words for them, and from where each was seen."""

    shown: UInt8[Tensor, "n 4 h w"]
    """Red, green, blue over white and nearness, of 255."""
    numbers: Int[Tensor, "n t"]
    seen: Float[Tensor, "n s"]

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        corpus: Corpus,
        vocabulary: Vocabulary,
        split: str,
        *,
        size: int,
        views: int,
        seed: int,
        most: int = 0,
        told: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> Pictures:
        """Those of a split, `views` of each thing, of `most` things at most (0: all); `told` may
        tell how far it is."""
        things = corpus.numbers(split)[: most or None]
        render, white = renderer_for("cpu"), torch.ones(3)
        orbit = Orbit(Ball(), size, seed)
        shown = torch.empty(len(things) * views, 4, size, size, dtype=torch.uint8)
        seen = torch.empty(len(shown), len(seen_from(0, 0, 0)))
        for place, number in enumerate(told(things)):
            gaussians, turn = gaussians_in(corpus, number), turn_of(corpus, number)
            for view in range(views):
                row = place * views + view
                camera = orbit.camera(number * views + view)
                drawn = render(gaussians, camera, Needs(depth=True), white)
                near = nearness(drawn, camera, orbit.ball)[None]
                picture = torch.cat([drawn.image.permute(2, 0, 1), near]).clamp(0, 1)
                shown[row] = (255 * picture).round().to(torch.uint8)
                azimuth, elevation = angles(camera)
                seen[row] = seen_from(azimuth - turn, elevation, turn)
        texts = [vocabulary.read(corpus.texts[number]) for number in things for _ in range(views)]
        return cls(shown, vocabulary.numbers(texts), seen)

    def __len__(self) -> int:
        return len(self.shown)

    def clean(self, rows: Int[Tensor, "b"]) -> Float[Tensor, "b 4 h w"]:
        """Pictures from 0 to 1."""
        return self.shown[rows].float() / 255


def gaussians_in(corpus: Corpus, number: int) -> Gaussians:
    """One thing of a corpus, where it is in the world."""
    rows = {name: torch.from_numpy(values) for name, values in corpus.rows(number).items()}
    places = torch.from_numpy(surface.places(rows["slot"].numpy(), corpus.grid))
    found = gaussians_of(
        rows["offset"], rows["root"], rows["rgb"], rows["opacity"], places, corpus.cell
    )
    cube = corpus.cubes[number]
    means = torch.tensor(cube.centre) + cube.edge * found.means
    return replace(found, means=means, scales=cube.edge * found.scales)


def turn_of(corpus: Corpus, number: int) -> float:
    """How far a thing is turned about z under the light, radians; 0 where the corpus does not say,
    so that things are as they are seen."""
    return corpus.thing(number).yaw if corpus.things[number] else 0.0
