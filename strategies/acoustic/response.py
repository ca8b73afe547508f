"""Impulse responses from masks: a pulse for the direct sound, shaped noise for all that follows.

Time is local: direct sound would arrive at the middle of the head at sample `ARRIVAL` (plus a part
of a sample). What is expected is what training places have in the mean; masks say how a listener
differs. The pulse has the least phase of its spectrum and arrives at each ear after the way around
the head (Woodworth's formula). What follows is a carrier of flat noise, the same for all places,
in fine frames at first and in longer ones from 40 ms on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F

from splat.strategies.acoustic.arrival import RADIUS, SPEED
from splat.strategies.acoustic.field import Masks, Tokens
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.signal import (
    Frames,
    at_nodes,
    bank,
    carrier,
    least_phase,
    rise,
)

ARRIVAL = 64
"""Local sample of the direct sound."""
RATE = 16_000
"""Hz that lengths in samples are given for; at another rate they are longer or shorter."""
PULSE = 512
"""Samples of the direct pulse."""
EARLY, LATE = 128, 512
"""Samples of frames."""
EARLY_SECONDS = 0.064
FADE = (24.0, 64.0)
"""Samples after the arrival in which the pulse gives way to what follows."""
CHANGE = (600.0, 860.0)
"""Samples after the arrival in which early frames give way to late ones."""
HIDDEN = 0.01
"""Amplitude of direct sound, of what it would be, where the source is not in sight."""
BANDS = 32
NODES = 6
"""Times at which masks of late frames are told. Between them they are straight in decibels, as one
exponential decay is beside another: what frames say one by one is mostly noise."""
WAVES = 4
"""Octaves of sines that tell frames when they are."""
ROLL_OFF = 0.875
"""Share of the highest frequency above which the pulse fades out."""
SEED = 7
"""Of the carriers, which are the same in all runs."""


@dataclass(frozen=True)
class Grid:
    """How a response is laid out in samples and frames."""

    rate: int
    seconds: float

    def samples(self, at_usual: float) -> int:
        """A length that is given in samples for the usual rate, a whole power of 2 times it."""
        return round(at_usual * 2.0 ** round(math.log2(self.rate / RATE)))

    @property
    def arrival(self) -> int:
        """Local sample of the direct sound."""
        return self.samples(ARRIVAL)

    @property
    def length(self) -> int:
        """Samples of a response in local time."""
        return round(self.seconds * self.rate) + self.arrival

    @property
    def early(self) -> Frames:
        """Fine frames from the arrival on."""
        size = self.samples(EARLY)
        count = round(EARLY_SECONDS * self.rate / (size // 4))
        return Frames(size, count, self.arrival, self.length)

    @property
    def late(self) -> Frames:
        """Longer ones, up to the end."""
        size = self.samples(LATE)
        return Frames(size, self.length // (size // 4) + 3, self.arrival, self.length)

    @property
    def nodes(self) -> Float[Tensor, "k"]:
        """Where late masks are told, in late frames: closer together while much is heard."""
        return torch.linspace(0, 1, NODES).square() * (self.late.count - 1)

    def tokens(self) -> Tokens:
        """The pulse, early frames and the times of late masks: what they are, and when."""
        early, late = self.early, self.late
        start = torch.tensor([-1.0])
        parts = [start, torch.arange(early.count) * (30.0 * early.hop / self.rate),
                 self.nodes * (5.0 * late.hop / self.rate)]  # fmt: skip
        time = torch.cat(parts)[:, None]
        kind = F.one_hot(torch.repeat_interleave(torch.tensor([len(p) for p in parts])), 3).float()
        waves = [wave(time * 2**i) for i in range(WAVES) for wave in (torch.sin, torch.cos)]
        told = torch.cat([time, *waves], 1)
        features = torch.cat([kind, *(told * kind[:, i : i + 1] for i in range(3))], 1)
        return Tokens(features, BANDS, slice(1, 1 + early.count), early.hop / self.rate)


class Responder(nn.Module):
    """What is expected of a room, and how masks of it become responses."""

    direct: Tensor
    first: Tensor
    then: Tensor
    pulse_bank: Tensor
    early_bank: Tensor
    late_bank: Tensor
    between: Tensor
    after: Tensor
    early_share: Tensor
    late_share: Tensor
    roll_off: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        early, late, bands = grid.early, grid.late, BANDS
        self.pulse = grid.samples(PULSE)
        # Amplitudes by band, logarithms: of the pulse at one metre, and of frames.
        self.register_buffer("direct", torch.zeros(bands))
        self.register_buffer("first", torch.zeros(early.count, bands))
        self.register_buffer("then", torch.zeros(late.count, bands))
        generator = torch.Generator().manual_seed(SEED)
        self.early_noise = nn.Parameter(torch.view_as_real(carrier(early, grid.rate, generator)))
        self.late_noise = nn.Parameter(torch.view_as_real(carrier(late, grid.rate, generator)))
        made = {
            "pulse_bank": bank(bands, self.pulse, grid.rate),
            "early_bank": bank(bands, early.size, grid.rate),
            "late_bank": bank(bands, late.size, grid.rate),
            "between": _between(grid.nodes, late.count),
            **_envelopes(grid),
        }
        for name, value in made.items():
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def expect(self, local: Float[Tensor, "n 2 samples"], heard: Listening) -> None:
        """Take what training places have in the mean, by power; direct sound of those in sight."""
        grid, rate = self.grid, self.grid.rate
        after = local * self.after
        in_sight = heard.sight > 0.5
        if bool(in_sight.any()):
            power = torch.fft.rfft(local * (1 - self.after), self.pulse).abs().square()
            power = (power * heard.distance[:, None, None].square())[in_sight].mean((0, 1))
            self.direct.copy_(_logs(power, at_nodes(BANDS, self.pulse, rate).to(power)))
        for held, frames in ((self.first, grid.early), (self.then, grid.late)):
            power = torch.zeros(frames.count, frames.bins, device=local.device)
            for each in after:
                power += frames.spectra(each).abs().square().mean(0)
            held.copy_(_logs(power / len(after), at_nodes(BANDS, frames.size, rate).to(power)))

    def forward(
        self, masks: Masks, heard: Listening, part: Float[Tensor, "b"]
    ) -> Float[Tensor, "b 2 samples"]:
        """Responses in local time; `part` is the part of a sample that the arrival is later."""
        early, late = self.grid.early, self.grid.late
        ears = masks.ears
        pulse, first, told = ears.split((1, early.count, NODES), 2)
        then = self.between @ told
        loud = torch.exp((self.first + first) @ self.early_bank)
        begin = _sounding(early, torch.view_as_complex(self.early_noise) * loud)
        loud = torch.exp((self.then + then) @ self.late_bank)
        rest = _sounding(late, torch.view_as_complex(self.late_noise) * loud)
        sound = self.early_share * begin + self.late_share * rest
        return self.after * sound + self._pulses(pulse[:, :, 0], heard, part)

    def _pulses(
        self, log_mask: Float[Tensor, "b 2 bands"], heard: Listening, part: Float[Tensor, "b"]
    ) -> Float[Tensor, "b 2 samples"]:
        grid = self.grid
        left = heard.towards[:, 1].clamp(-1, 1)
        lead = RADIUS / SPEED * (torch.asin(left) + left) * grid.rate / 2
        lag = part[:, None] + torch.stack([-lead, lead], 1) + grid.arrival
        loud = torch.log(heard.sight + HIDDEN) - heard.distance.log()
        size = (self.direct + log_mask) @ self.pulse_bank + loud[:, None, None]
        turn = torch.arange(self.pulse // 2 + 1, device=lag.device) * (2 * math.pi / self.pulse)
        angle = lag[..., None] * turn
        spectrum = least_phase(size) * torch.complex(torch.cos(angle), -torch.sin(angle))
        pulse = torch.fft.irfft(spectrum * self.roll_off, self.pulse)
        return F.pad(pulse, (0, grid.length - self.pulse))


def _sounding(
    frames: Frames, spectra: Complex[Tensor, "b 2 t bins"]
) -> Float[Tensor, "b 2 samples"]:
    found: Tensor = frames.signal(spectra.flatten(0, 1)).unflatten(0, spectra.shape[:2])
    return found


def _between(nodes: Float[Tensor, "k"], count: int) -> Float[Tensor, "t k"]:
    """What values at ascending times give at 0, 1, ... `count` - 1 by straight lines."""
    at = torch.arange(count, dtype=nodes.dtype)
    right = torch.searchsorted(nodes, at, right=True).clamp(1, len(nodes) - 1)
    before, after = nodes[right - 1], nodes[right]
    share = ((at - before) / (after - before)).clamp(0, 1)[:, None]
    left = F.one_hot(right - 1, len(nodes)) * (1 - share)
    return left + F.one_hot(right, len(nodes)) * share


def _logs(power: Float[Tensor, "*t bins"], means: Float[Tensor, "bands bins"]) -> Tensor:
    return (power @ means.T).clamp_min(1e-14).log() / 2


def _envelopes(grid: Grid) -> dict[str, Tensor]:
    """How the parts of a response give way to each other, by sample, and the pulse's roll-off."""
    time = torch.arange(grid.length, dtype=torch.float32) - grid.arrival
    change = rise(time, *(grid.samples(at) for at in CHANGE)) * math.pi / 2
    share = torch.linspace(0, 1, grid.samples(PULSE) // 2 + 1)
    return {
        "after": rise(time, *(grid.samples(at) for at in FADE)),
        "early_share": torch.cos(change),
        "late_share": torch.sin(change),
        "roll_off": torch.cos(
            ((share - ROLL_OFF) / (1 - ROLL_OFF)).clamp(0, 1) * math.pi / 2
        ).square(),
    }


def shifts(grid: Grid, distance: Float[Tensor, "b"]) -> tuple[list[int], Float[Tensor, "b"]]:
    """Whole samples from local time to that of the source, and the parts of samples left over."""
    late = distance.double() / SPEED * grid.rate
    whole = late.floor()
    return [int(at) - grid.arrival for at in whole], (late - whole).float()


def localized(
    responses: Float[Tensor, "b 2 samples"], grid: Grid, shift: list[int]
) -> Float[Tensor, "b 2 local"]:
    """Responses in local time."""
    return _moved(responses, [-each for each in shift], grid.length)


def placed(
    local: Float[Tensor, "b 2 local"], grid: Grid, shift: list[int]
) -> Float[Tensor, "b 2 samples"]:
    """Responses in the time of the source: 0 is when it sounds. What comes earlier is cut off."""
    return _moved(local, shift, round(grid.seconds * grid.rate))


def _moved(
    signals: Float[Tensor, "b 2 n"], later: list[int], length: int
) -> Float[Tensor, "b 2 length"]:
    found = signals.new_zeros(*signals.shape[:2], length)
    for row, signal, by in zip(found, signals, later, strict=True):
        many = min(signal.shape[-1] - max(0, -by), length - max(0, by))
        if many > 0:
            row[:, max(0, by) : max(0, by) + many] = signal[:, max(0, -by) : max(0, -by) + many]
    return found
