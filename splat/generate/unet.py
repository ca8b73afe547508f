"""A U-Net over volumes or pictures that reads words: residual blocks, attention over voxels and
words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from splat.generate.encoders import TOKENS, Encoder
from splat.generate.words import MOST
from splat.system.ranges import at_least, check_fields

GROUPS, HEADS = 8, 4
LOUDEST = 1e4
"""Longest wavelength of what tells times apart (Vaswani et al. 2017)."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a network."""

    grid: Annotated[int, at_least(4)] = 16
    """Voxels along an edge, or pixels of a picture."""
    width: Annotated[int, at_least(8)] = 32
    """Channels of the finest level."""
    factors: tuple[int, ...] = (1, 2, 3)
    """Channels of each level, finest first, in units of `width`; each has half the voxels."""
    blocks: Annotated[int, at_least(1)] = 1
    """Residual blocks of a level."""
    attend: int = 8
    """Voxels along an edge of the finest level with attention."""
    text: Annotated[int, at_least(HEADS)] = 64
    """Channels of words."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.factors or min(self.factors) < 1 or self.grid % 2 ** (len(self.factors) - 1):
            raise ValueError(
                f"factors are {self.factors} and the grid {self.grid}; expected a grid that can be"
                " halved from each level to the next"
            )
        if self.width % GROUPS or self.text % HEADS:
            raise ValueError(
                f"width is {self.width} and text {self.text}; expected multiples of {GROUPS} and"
                f" {HEADS}"
            )


def waves(times: Float[Tensor, "b"], width: int) -> Float[Tensor, "b w"]:
    """Times, 0 to 1, as sines and cosines."""
    rates = torch.exp(-math.log(LOUDEST) * torch.arange(width // 2) / (width // 2))
    angles = 1000 * times[:, None] * rates.to(times)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def attended(
    q: Float[Tensor, "b n d"],
    k: Float[Tensor, "b m d"],
    v: Float[Tensor, "b m d"],
    mask: Bool[Tensor, "b m"],
) -> Float[Tensor, "b n d"]:
    """Attention of several heads over what counts, by `mask`."""
    b, n, d = q.shape

    def heads(x: Tensor) -> Tensor:
        return x.float().view(b, -1, HEADS, d // HEADS).transpose(1, 2)

    hidden = torch.zeros(mask.shape, device=q.device).masked_fill(~mask, -torch.inf)
    # In single precision it is quicker than anything in half of it.
    with torch.autocast(q.device.type, enabled=False):
        found = F.scaled_dot_product_attention(
            heads(q), heads(k), heads(v), attn_mask=hidden[:, None, None].expand(b, 1, n, -1)
        )
    return found.transpose(1, 2).reshape(b, n, d)


class Layer(nn.Module):
    """A layer of a transformer over words, normalised first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Float[Tensor, "b t d"], mask: Bool[Tensor, "b t"]) -> Tensor:
        q, k, v = self.qkv(self.before(x)).chunk(3, 2)
        x = x + self.out(attended(q, k, v, mask))
        whole: Tensor = x + self.narrow(F.silu(self.wide(self.between(x))))
        return whole


class Reader(nn.Module):
    """What reads a text: words as vectors, or what an encoder of others says of them, two layers
    over them, and their mean.

    A token that is always there stands before the words: of no words it is all.
    """

    def __init__(self, words: int | Encoder, width: int) -> None:
        super().__init__()
        self.encoder = None if isinstance(words, int) else words
        self.words = (
            nn.Embedding(words + 1, width, padding_idx=0)
            if isinstance(words, int)
            else nn.Linear(words.width, width)
        )
        most = MOST if isinstance(words, int) else TOKENS
        self.places = nn.Parameter(0.02 * torch.randn(most + 1, width))
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList([Layer(width), Layer(width)])

    def forward(
        self, numbers: Int[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b s d"], Bool[Tensor, "b s"], Float[Tensor, "b d"]]:
        """Vectors of words, which of them are any, and one for the whole text."""
        first = self.first.expand(len(numbers), 1, -1)
        mask = torch.cat([numbers.new_ones(len(numbers), 1), numbers], 1) != 0
        said = numbers if self.encoder is None else self.encoder(numbers)
        x = torch.cat([first, self.words(said)], 1) + self.places
        for layer in self.layers:
            x = layer(x, mask)
        shown = mask[..., None].to(x)
        return x, mask, (x * shown).sum(1) / shown.sum(1)


def convolution(axes: int, ins: int, outs: int, width: int = 1) -> nn.Conv2d | nn.Conv3d:
    """One over pictures, of two axes, or volumes, of three, that keeps their size."""
    kind = nn.Conv2d if axes == 2 else nn.Conv3d
    return kind(ins, outs, width, padding=width // 2)


class Block(nn.Module):
    """Two convolutions whose middle is scaled and shifted by what is asked for; begins as the
    identity."""

    def __init__(self, ins: int, outs: int, asked: int, axes: int = 3) -> None:
        super().__init__()
        self.before, self.first = nn.GroupNorm(GROUPS, ins), convolution(axes, ins, outs, 3)
        self.between, self.second = nn.GroupNorm(GROUPS, outs), convolution(axes, outs, outs, 3)
        self.asked = nn.Linear(asked, 2 * outs)
        self.beside = convolution(axes, ins, outs) if ins != outs else nn.Identity()
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Float[Tensor, "b c ..."], asked: Float[Tensor, "b a"]) -> Tensor:
        scale, shift = self.asked(asked).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, 1)
        h = self.between(self.first(F.silu(self.before(x)))) * (1 + scale) + shift
        whole: Tensor = self.beside(x) + self.second(F.silu(h))
        return whole


class Attention(nn.Module):
    """Attention of voxels over one another and over words; begins as the identity."""

    def __init__(self, width: int, text: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.words, self.out = nn.Linear(text, 2 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        x: Float[Tensor, "b c ..."],
        words: Float[Tensor, "b t d"],
        mask: Bool[Tensor, "b t"],
    ) -> Tensor:
        flat = self.before(x.flatten(2).transpose(1, 2))
        k, v = torch.cat([self.kv(flat), self.words(words)], 1).chunk(2, 2)
        both = torch.cat([mask.new_ones(flat.shape[:2]), mask], 1)
        found = self.out(attended(self.q(flat), k, v, both))
        whole: Tensor = x + found.transpose(1, 2).reshape(x.shape)
        return whole


class Level(nn.Module):
    """Blocks of one level, and attention where there is any."""

    def __init__(
        self, ins: list[int], outs: int, asked: int, text: int, attends: bool, axes: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(each, outs, asked, axes) for each in ins])
        self.attention = Attention(outs, text) if attends else None

    def forward(
        self, x: Tensor, kept: list[Tensor], asked: Tensor, words: Tensor, mask: Tensor
    ) -> Tensor:
        """`kept` are what blocks on the way down left, one for each block, or none."""
        for block in self.blocks:
            x = block(torch.cat([x, kept.pop()], 1) if kept else x, asked)
        return x if self.attention is None else self.attention(x, words, mask)


class UNet(nn.Module):
    """A volume of `ins` channels to one of `outs`, or, with two axes, a picture, for a text and,
    where it has them, a time and `seen` numbers that say from where it is seen."""

    def __init__(
        self,
        ins: int,
        outs: int,
        words: int | Encoder,
        shape: Shape,
        *,
        timed: bool,
        axes: int = 3,
        seen: int = 0,
    ) -> None:
        super().__init__()
        self.shape, asked = shape, 4 * shape.width
        self.reader = Reader(words, shape.text)
        self.text = nn.Linear(shape.text, asked)
        self.time = (
            nn.Sequential(nn.Linear(shape.width, asked), nn.SiLU(), nn.Linear(asked, asked))
            if timed
            else None
        )
        self.seen = nn.Linear(seen, asked) if seen else None
        widths = [shape.width * factor for factor in shape.factors]
        self.begin = convolution(axes, ins, widths[0], 3)
        self.down, self.up, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for k, width in enumerate(widths):
            attends = shape.grid >> k <= shape.attend
            before = widths[max(k - 1, 0)]
            sizes = [before, *[width] * (shape.blocks - 1)]
            self.down.append(Level(sizes, width, asked, shape.text, attends, axes))
        last = widths[-1]
        self.middle = nn.ModuleList([Block(last, last, asked, axes) for _ in range(2)])
        self.between = Attention(last, shape.text)
        for k in reversed(range(len(widths))):
            attends = shape.grid >> k <= shape.attend
            after = widths[min(k + 1, len(widths) - 1)]
            self.narrow.append(convolution(axes, after, widths[k]))
            self.up.append(Level([2 * widths[k]], widths[k], asked, shape.text, attends, axes))
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.end = convolution(axes, widths[0], outs, 3)
        nn.init.zeros_(self.end.weight)
        assert self.end.bias is not None
        nn.init.zeros_(self.end.bias)

    def forward(
        self,
        x: Float[Tensor, "b c ..."],
        numbers: Int[Tensor, "b t"],
        times: Float[Tensor, "b"] | None = None,
        seen: Float[Tensor, "b s"] | None = None,
    ) -> Float[Tensor, "b o ..."]:
        words, mask, whole = self.reader(numbers)
        asked = self.text(whole)
        if self.time is not None and times is not None:
            asked = asked + self.time(waves(times, self.shape.width))
        if self.seen is not None and seen is not None:
            asked = asked + self.seen(seen)
        asked = F.silu(asked)
        x, kept = self.begin(x), []
        for k, level in enumerate(self.down):
            x = level(self._halved(x) if k else x, [], asked, words, mask)
            kept.append(x)
        x = self.middle[1](self.between(self.middle[0](x, asked), words, mask), asked)
        for k, (level, narrow) in enumerate(zip(self.up, self.narrow, strict=True)):
            x = narrow(x)
            x = F.interpolate(x, scale_factor=2, mode="nearest") if k else x
            x = level(x, [kept.pop()], asked, words, mask)
        found: Tensor = self.end(F.silu(self.norm(x)))
        return found

    @staticmethod
    def _halved(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, 2)
