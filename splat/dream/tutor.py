"""`Tutor`: our own teacher, a small diffusion U-Net over pictures that is told words and from where
a thing is seen; what it is, and its file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from splat.dream.orbit import angles
from splat.generate.unet import Shape, UNet
from splat.generate.weights import VERSION, halves, opened, plain, shape_of, take_up
from splat.generate.words import Vocabulary
from splat.kernels import one_torch_thread
from splat.loop import stream
from splat.runs import checkpoint
from splat.system.foreign import Record
from splat.types import Camera

FORMAT = "splat teacher"
NAME = "teacher.pt"
"""The file within the folder of a teacher."""
CHANNELS = 4
"""Red, green and blue over white, and nearness."""
SEEN = 7
"""Numbers that say from where a thing is seen."""
LEAST = 1e-4
"""Share of signal, and of noise, that is always there."""
MOST_SIZE = 256


@dataclass(frozen=True)
class Design:
    """All that says what a teacher is, but for its words and what it has learned."""

    size: int = 64
    """Side of its pictures, pixels."""
    patch: int = 2
    """Side of the squares of pixels that the network sees as one."""
    shape: Shape = field(default_factory=lambda: Shape(32))

    def __post_init__(self) -> None:
        if self.size != self.patch * self.shape.grid:
            raise ValueError(
                f"pictures are of {self.size} pixels, and the network has {self.shape.grid} squares"
                f" of {self.patch} along a side; expected as many"
            )


def design_of(size: int, width: int) -> Design:
    """The design for pictures of a size, of networks of a width; ValueError where there is none."""
    if size % 16 or not 16 <= size <= MOST_SIZE:
        raise ValueError(
            f"size is {size}; expected a multiple of 16, from 16 to {MOST_SIZE} pixels"
        )
    return Design(size, 2, Shape(size // 2, width))


def signal(times: Float[Tensor, "b"]) -> Float[Tensor, "b"]:
    """abar = cos(pi t / 2)^2 (Nichol & Dhariwal 2021, without an offset), kept off 0 and 1."""
    return torch.cos(times * (math.pi / 2)).square().clamp(LEAST, 1 - LEAST)


def seen_from(azimuth: float, elevation: float, turn: float) -> Float[Tensor, "7"]:
    """What the network is told of a camera: azimuth about the thing as it stands unturned, once and
    twice around, elevation, and how far the thing is turned under the light; radians."""
    angles = (azimuth, 2 * azimuth, turn)
    round_ = [each(angle) for angle in angles for each in (math.cos, math.sin)]
    return torch.tensor([*round_, elevation], dtype=torch.float32)


class Tutor:
    """Our own teacher (`splat.dream.teacher.Teacher`)."""

    channels = CHANNELS
    background = (1.0, 1.0, 1.0)

    def __init__(self, design: Design, vocabulary: Vocabulary) -> None:
        self.design, self.vocabulary, self.size = design, vocabulary, design.size
        planes = CHANNELS * design.patch**2
        self.network = UNet(
            planes, planes, len(vocabulary.words), design.shape, timed=True, axes=2, seen=SEEN
        )

    def read(self, text: str) -> str:
        """The words of a text; ValueError with a sentence where one is not known."""
        return " ".join(self.vocabulary.read(text)) if text else ""

    def latent(self, picture: Float[Tensor, "4 h w"]) -> Float[Tensor, "p g g"]:
        """Squares of pixels as planes, from -1 to 1."""
        return F.pixel_unshuffle(2 * picture - 1, self.design.patch)

    def picture(self, latent: Float[Tensor, "p g g"]) -> Float[Tensor, "4 h w"]:
        """What `latent` was made of."""
        return (F.pixel_shuffle(latent, self.design.patch) + 1) / 2

    def signal(self, time: float) -> float:
        return float(signal(torch.tensor([time], dtype=torch.float64)))

    @torch.no_grad()
    def noise(
        self, noisy: Float[Tensor, "p g g"], time: float, texts: Sequence[str], camera: Camera
    ) -> Float[Tensor, "t p g g"]:
        numbers = self.vocabulary.numbers([tuple(text.split()) for text in map(self.read, texts)])
        seen = seen_from(*angles(camera), 0.0).expand(len(texts), -1)
        many = noisy.expand(len(texts), *noisy.shape)
        times = torch.full((len(texts),), time)
        device = noisy.device
        self.network.to(device)
        with one_torch_thread():  # what torch sums differs with their number
            said: Tensor = self.network(many, numbers.to(device), times.to(device), seen.to(device))
        return seen_noise(many, said, self.signal(time))

    def drawn(
        self, text: str, camera: Camera, seed: int, *, steps: int = 30, guidance: float = 3.0
    ) -> Float[Tensor, "4 h w"]:
        """A picture of a text, as the teacher imagines it, by DDIM (Song et al. 2021)."""
        grid = self.design.shape.grid
        shape = (CHANNELS * self.design.patch**2, grid, grid)
        x = torch.randn(shape, generator=stream(seed, 0, "picture", torch.device("cpu")))
        for time, after in pairwise(torch.linspace(0.995, 0, steps + 1).tolist()):
            said, free = self.noise(x, time, (text, ""), camera)
            away = free + guidance * (said - free)
            a, b = self.signal(time), self.signal(after)
            clean = ((x - (1 - a) ** 0.5 * away) / a**0.5).clamp(-1, 1)
            away = (x - a**0.5 * clean) / (1 - a) ** 0.5
            x = b**0.5 * clean + (1 - b) ** 0.5 * away
        return self.picture(x).clamp(0, 1)


def seen_noise(noisy: Tensor, said: Tensor, share: float) -> Tensor:
    """The noise in z_t of what the network says, v = sqrt(abar) e - sqrt(1 - abar) z (Salimans & Ho
    2022)."""
    found: Tensor = (1 - share) ** 0.5 * noisy + share**0.5 * said
    return found


def write(
    path: Path, design: Design, vocabulary: Vocabulary, weights: Mapping[str, Tensor]
) -> None:
    """Write a teacher; weights are kept in float16."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "design": plain(asdict(design)),
        "vocabulary": vocabulary.record(),
        "network": halves(weights),
    }
    checkpoint.write(state, path)


def read(path: Path) -> Tutor:
    """The teacher of a folder or a file; ValueError with a sentence where there is none."""
    with opened(path, NAME, "teacher", "--teacher") as said:
        vocabulary = Vocabulary.of_record(said.record("vocabulary"))
        tutor = Tutor(_design(said.record("design")), vocabulary)
        take_up(tutor.network, said.record("network"), "teacher")
    return tutor


def _design(record: Record) -> Design:
    shape = shape_of(record.record("shape"), MOST_SIZE)
    patch = record.whole("patch", least=1, most=8)
    return Design(record.whole("size", least=4, most=8 * MOST_SIZE), patch, shape)
