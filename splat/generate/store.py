"""A trained generator: what it is, its networks, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.generate import attributes, encoders, sizes
from splat.generate.attributes import Attributes
from splat.generate.flow import Diffusion, Process, RectifiedFlow, guided
from splat.generate.sizes import Sizes
from splat.generate.surface import Surface
from splat.generate.unet import Shape, UNet
from splat.generate.weights import VERSION, halves, opened, plain, shape_of, take_up
from splat.generate.words import Speaker, Vocabulary
from splat.kernels import one_torch_thread
from splat.loop import stream
from splat.runs import checkpoint
from splat.system.foreign import Broken, Record, filled
from splat.types import Gaussians

FORMAT = "splat generator"
NAME = "generator.pt"
"""The file within the folder of a generator."""
NETWORKS = ("geometry", "surface", "attributes", "size")
"""Names of its networks, in the order of their stages."""


@dataclass(frozen=True)
class Design:
    """All that says what a generator is, but for its words and what it has learned."""

    geometry: Shape = field(default_factory=Shape)
    """Of the network that draws fields."""
    attributes: Shape = field(default_factory=Shape)
    """Of that which gives Gaussians their looks."""
    grid: int = 32
    """Places along an edge for Gaussians."""
    process: Literal["flow", "ddpm"] = "flow"
    """How fields are drawn: rectified flow, or GVGEN's diffusion."""
    guidance: float = 2.0
    """Classifier-free guidance; 1: none."""
    samples: int = 20
    """Steps in which a field is drawn."""
    edges: tuple[float, float] = (1.0, 1.0)
    """Least and most edge of the cubes about things that it learned from."""

    def drawing(self) -> Process:
        """The process of fields."""
        return RectifiedFlow() if self.process == "flow" else Diffusion()


PUBLISHED = Design(
    Shape(32, 224, (1, 2, 4, 4), 2, 8), Shape(32, 224, (1, 2, 4, 4), 2, 8), 32, "ddpm", 1.0, 100
)
"""GVGEN's own: 32^3 voxels, 224 channels, diffusion of 1,000 times, no guidance (released code)."""


class Trained:
    """A generator that was trained, which makes Gaussians of words."""

    def __init__(self, design: Design, speaker: Speaker) -> None:
        self.design, self.speaker = design, speaker
        self.geometry = UNet(1, 1, speaker.known, design.geometry, timed=True)
        self.surface = Surface()
        self.attributes = Attributes(speaker.known, design.attributes)
        self.size = Sizes(speaker.known)

    def __call__(self, text: str, *, seed: int) -> Gaussians:
        """The Gaussians of a text, about the origin, z up, as large as things that it learned from;
        ValueError with a sentence where it has other words, or nothing is drawn."""
        numbers = self.speaker.numbers([self.speaker.read(text)])
        with one_torch_thread():  # what torch sums differs with their number
            volume = self.fields(numbers, [seed])[0]
            found = attributes.drawn(
                self.surface, self.attributes, volume, numbers, self.design.grid
            )
        if not len(found):
            raise ValueError(
                f"nothing was drawn for {text!r}: the field has no surface; try another --seed, or"
                " train the generator longer"
            )
        edge = self.edge(numbers, seed)
        return replace(found, means=edge * found.means, scales=edge * found.scales)

    @torch.no_grad()
    def edge(self, numbers: Int[Tensor, "1 t"], seed: int) -> float:
        """The edge of the cube that a thing of a text fills."""
        chance = stream(seed, 0, "size", torch.device("cpu"))
        return sizes.drawn(self.size(numbers)[0], *self.design.edges, chance)

    @torch.no_grad()
    def fields(
        self, numbers: Int[Tensor, "b t"], seeds: list[int], guidance: float | None = None
    ) -> Float[Tensor, "b x y z"]:
        """Fields of texts, each of a seed of its own, whatever is beside it."""
        design, grid = self.design, self.design.geometry.grid
        fields = []
        for row, seed in zip(numbers, seeds, strict=True):
            draw = stream(seed, 0, "field", torch.device("cpu"))
            noise = torch.randn(1, 1, grid, grid, grid, generator=draw)
            fields.append(self._drawn(noise, row[None], guidance or design.guidance))
        return torch.cat(fields)[:, 0].clamp(-1, 1)

    def _drawn(self, noise: Tensor, numbers: Tensor, guidance: float) -> Tensor:
        def say(x: Tensor, times: Tensor) -> Tensor:
            found: Tensor = self.geometry(x, numbers, times)
            return found

        def freely(x: Tensor, times: Tensor) -> Tensor:
            found: Tensor = self.geometry(x, torch.zeros_like(numbers), times)
            return found

        design = self.design
        return design.drawing().drawn(noise, guided(say, freely, guidance), design.samples)


def write(
    path: Path,
    design: Design,
    speaker: Speaker,
    networks: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write a generator; weights are kept in float16."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "design": plain(asdict(design)),
        "vocabulary": speaker.record(),
        "networks": {name: halves(weights) for name, weights in networks.items()},
    }
    checkpoint.write(state, path)


def read(path: Path, encoder: str | None = None) -> Trained:
    """The generator of a folder or a file; ValueError with a sentence where there is none.

    `encoder` is where the text encoder is that it was trained with, if with one.
    """
    with opened(path, NAME, "generator", "--model") as said:
        trained = Trained(_design(said.record("design")), _speaker(said, encoder))
        networks = said.record("networks")
        if missing := [name for name in NETWORKS if name not in networks]:
            raise Broken(
                f"has no network of {missing[0]}, as earlier versions had none; train it again"
            )
        for name in NETWORKS:
            weights = networks.record(name)
            take_up(getattr(trained, name), weights, "generator", f" of {name}")
    return trained


def _speaker(said: Record, encoder: str | None) -> Speaker:
    words = said.record("vocabulary")
    if "encoder" in words:
        return encoders.of_record(words, encoder)
    if encoder is not None:
        raise Broken("was trained with words of its own; leave --encoder out")
    return Vocabulary.of_record(words)


def _design(record: Record) -> Design:
    shapes = {
        name: shape_of(record.record(name), 64, f" of {name}")
        for name in ("geometry", "attributes")
    }
    edges = record.numbers("edges", 2).tolist() if "edges" in record else [1.0, 1.0]
    design = filled(Design, {**record, **shapes, "edges": tuple(edges)})
    if not 0 < design.edges[0] <= design.edges[1]:
        raise Broken(f"has things of sizes {edges}; expected the least, above 0, and the most")
    if design.grid not in range(8, 65) or design.samples not in range(1, 1001):
        raise Broken("has a grid or a number of steps that none is made with")
    return design
