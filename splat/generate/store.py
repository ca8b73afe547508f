"""A trained generator: what it is, its networks, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.generate import attributes
from splat.generate.attributes import Attributes
from splat.generate.flow import Diffusion, Process, RectifiedFlow, guided
from splat.generate.unet import Shape, UNet
from splat.generate.words import Vocabulary
from splat.kernels import one_torch_thread
from splat.loop import stream
from splat.runs import checkpoint
from splat.system.foreign import Broken, Record, filled, reading
from splat.types import Gaussians

FORMAT = "splat generator"
VERSION = 1
NAME = "generator.pt"
"""The file within the folder of a generator."""
REMEDY = "expected a generator that `splat train-generator` wrote"


@dataclass(frozen=True)
class Design:
    """All that says what a generator is, but for its words and what it has learned."""

    geometry: Shape = field(default_factory=Shape)
    """Of the network that draws fields."""
    attributes: Shape = field(default_factory=Shape)
    """Of that which gives places their Gaussians."""
    grid: int = 32
    """Places along an edge for Gaussians."""
    process: Literal["flow", "ddpm"] = "flow"
    """How fields are drawn: rectified flow, or GVGEN's diffusion."""
    guidance: float = 2.0
    """Classifier-free guidance; 1: none."""
    samples: int = 20
    """Steps in which a field is drawn."""

    def drawing(self) -> Process:
        """The process of fields."""
        return RectifiedFlow() if self.process == "flow" else Diffusion()


PUBLISHED = Design(
    Shape(32, 224, (1, 2, 4, 4), 2, 8), Shape(32, 224, (1, 2, 4, 4), 2, 8), 32, "ddpm", 1.0, 100
)
"""GVGEN's own: 32^3 voxels, 224 channels, diffusion of 1,000 times, no guidance (released code)."""


class Trained:
    """A generator that was trained, which makes Gaussians of words."""

    def __init__(self, design: Design, vocabulary: Vocabulary) -> None:
        self.design, self.vocabulary = design, vocabulary
        words = len(vocabulary.words)
        self.geometry = UNet(1, 1, words, design.geometry, timed=True)
        self.attributes = Attributes(words, design.attributes, design.grid)

    def __call__(self, text: str, *, seed: int) -> Gaussians:
        """The Gaussians of a text, in the cube from -0.5 to 0.5, z up; ValueError with a sentence
        where it has other words, or nothing is drawn."""
        numbers = self.vocabulary.numbers([self.vocabulary.read(text)])
        with one_torch_thread():  # what torch sums differs with their number
            volume = self.fields(numbers, [seed])[0]
            found = attributes.drawn(self.attributes, volume, numbers)
        if not len(found):
            raise ValueError(
                f"nothing was drawn for {text!r}: the field has no surface; try another --seed, or"
                " train the generator longer"
            )
        return found

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
    vocabulary: Vocabulary,
    networks: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write a generator; weights are kept in float16."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "design": _plain(asdict(design)),
        "vocabulary": vocabulary.record(),
        "networks": {
            name: {key: value.half() for key, value in weights.items()}
            for name, weights in networks.items()
        },
    }
    checkpoint.write(state, path)


def read(path: Path) -> Trained:
    """The generator of a folder or a file; ValueError with a sentence where there is none."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{path} holds no generator; train one: `python -m splat.datasets.objects things/`,"
            f" then `splat train-generator things/ -o {path}`; or name another with --model"
        )
    state = checkpoint.load(file, FORMAT, VERSION, what="generator", remedy=REMEDY)
    with reading(file, "a generator of this version of splat: train it again"):
        said = Record(state)
        design, vocabulary = (
            _design(said.record("design")),
            Vocabulary.of_record(said.record("vocabulary")),
        )
        trained = Trained(design, vocabulary)
        for name in ("geometry", "attributes"):
            module = getattr(trained, name)
            weights = dict(said.record("networks").record(name))
            for each in weights.values():
                if not isinstance(each, Tensor) or not each.is_floating_point():
                    raise Broken(f"has weights of {name} that are no numbers; {REMEDY}")
                if not bool(each.isfinite().all()):
                    raise Broken(f"has weights of {name} that are not finite; {REMEDY}")
            module.load_state_dict({key: value.float() for key, value in weights.items()})
            module.eval().requires_grad_(False)
    return trained


def _design(record: Record) -> Design:
    shapes = {}
    for name in ("geometry", "attributes"):
        given = record.record(name)
        factors = given.get("factors")
        if not isinstance(factors, list) or not all(type(each) is int for each in factors):
            raise Broken(f"has no `factors` of {name}")
        shapes[name] = filled(Shape, {**given, "factors": tuple(factors)})
        if shapes[name].grid > 64 or shapes[name].width * max(shapes[name].factors) > 4096:
            raise Broken(f"has a network of {name} that is larger than any that is made")
    design = filled(Design, {**record, **shapes})
    if design.grid not in range(8, 65) or design.samples not in range(1, 1001):
        raise Broken("has a grid or a number of steps that none is made with")
    return design


def _plain(value: Any) -> Any:
    """Values as a file holds them: lists, not tuples."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
