"""What a listener hears who stands still or moves, of a sound made in one place.

A field tells what is heard at single places. Along a path it is asked a few times a second, and
what is heard is the sound through the responses asked for, each in turn, their OUTPUTS faded into
each other. At any time that is the sound through a mean of the two responses around, which belongs
to the listener's place at that time: echoes under way are heard where the listener is by then.
Fading inputs would be as smooth, but let a listener who left go on hearing the echoes of the place
left behind: it fits a source that moves.

A mean of two responses whose direct sounds lie apart would be a comb filter. So each response is
read with the delay that its place lacks to where the listener is, ear by ear (see `arrival`): the
direct sound arrives in step, and moving towards a source or away changes its pitch as it must.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, Protocol

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from splat.strategies.acoustic.arrival import REACH, SPEED, arrival, between
from splat.strategies.acoustic.choices import KEYS
from splat.strategies.acoustic.masked import gains, masked
from splat.strategies.acoustic.sounds.types import Ears, Source

BATCH = 16
"""Places that a field is asked for at a time."""
FASTEST = 20.0
"""Metres a second towards or from a source; a listener who is faster jumps, and is not read in
step: that would howl."""
MOST_FPS = 1000.0


class Field(Protocol):
    """What a trained field of sound tells; see `splat.strategies.acoustic.hearing`."""

    @property
    def kind(self) -> Literal["responses", "recordings"]:
        """Whether it knows impulse responses, or masks for what the source plays."""

    @property
    def rate(self) -> int:
        """Hz."""

    @property
    def metres(self) -> float:
        """What one unit of positions is."""

    def responses(self, ears: Sequence[Ears], source: Source) -> Float[Tensor, "n 2 samples"]:
        """At both ears, left first; the source sounds at the first sample."""

    def masks(
        self, ears: Sequence[Ears], source: Source
    ) -> tuple[Float[Tensor, "n bins"], Float[Tensor, "n bins"]]:
        """Mixture and difference masks by frequency."""


def heard(
    field: Field,
    ears: Sequence[Ears],
    source: Source,
    dry: Float[Tensor, "samples"],
    *,
    fps: float = 1.0,
    keys: float = KEYS,
) -> Float[Tensor, "2 heard"]:
    """What is heard of a sound at the field's rate by a listener who is at `ears[i]` at i / fps s.

    The listener stays where the path ends. Of a field of responses all is heard until the last echo
    of the sound is over, of one of masks as much as there is sound.
    """
    _checked(ears, dry, fps, keys)
    chosen = _keys(len(ears), fps, keys)
    times = [round(i * field.rate / fps) for i in chosen]
    if field.kind == "recordings":
        # The listener's places after the end of the sound matter to nobody.
        asked = [i for i, t in zip(chosen, times, strict=True) if t < len(dry) + field.rate / keys]
        gain = torch.cat([gains(*field.masks(part, source)) for part in _batches(ears, asked)])
        at = torch.tensor(times[: len(asked)], dtype=torch.float64)
        return masked(dry, gain.to(dry.dtype), at)
    return _through(field, ears, source, dry, chosen, fps)


def _checked(ears: Sequence[Ears], dry: Tensor, fps: float, keys: float) -> None:
    if not ears or not len(dry):
        raise ValueError(
            f"{len(ears)} places of a listener and {len(dry)} samples of sound; expected at least "
            "one of each"
        )
    if not 0 < fps <= MOST_FPS:
        raise ValueError(f"fps is {fps:g}; expected above 0, up to {MOST_FPS:g} places a second")
    if not 0 < keys < math.inf:
        raise ValueError(f"keys is {keys:g}; expected above 0 a second, such as {KEYS:g}")


def _keys(count: int, fps: float, keys: float) -> list[int]:
    """Of `count` places those that a field is asked for: evenly spread, the last among them."""
    return sorted({*range(0, count, max(1, round(fps / keys))), count - 1})


def _batches(ears: Sequence[Ears], chosen: Sequence[int]) -> Iterator[list[Ears]]:
    for first in range(0, len(chosen), BATCH):
        yield [ears[i] for i in chosen[first : first + BATCH]]


def _through(
    field: Field,
    ears: Sequence[Ears],
    source: Source,
    dry: Float[Tensor, "samples"],
    chosen: Sequence[int],
    fps: float,
) -> Float[Tensor, "2 heard"]:
    """The sound through one response after another, those of `ears` at `chosen`."""
    responses = (r for part in _batches(ears, chosen) for r in field.responses(part, source))
    times = [round(i * field.rate / fps) for i in chosen]
    delays = arrival(ears, source, field.metres) * field.rate
    jumps = [True, *_jumps(delays, chosen, fps / field.rate * SPEED), True]
    found = dry.new_zeros(2, 0)
    for k, response in enumerate(responses):
        response = response.to(dry.dtype)
        if not k:
            found = dry.new_zeros(2, len(dry) + response.shape[1] - 1)
        end = found.shape[1]
        first, now, last = times[max(k - 1, 0)], times[k], times[min(k + 1, len(times) - 1)]
        if first >= end:
            break
        if first < last:
            lag = _places(delays, first, last, fps / field.rate) - delays[chosen[k]][:, None]
            lag[:, : now - first] *= not jumps[k]
            lag[:, now - first :] *= not jumps[k + 1]
            part = _read(dry, response, first, lag) * _weight(first, now, last).to(dry.dtype)
            found[:, first:last] += part[:, : end - first]
        if k == len(times) - 1 and last < end:
            found[:, last:] = _convolved(dry, response, last, end)
    return found


def _jumps(delays: Float[Tensor, "n 2"], chosen: Sequence[int], speed: float) -> list[bool]:
    """Between which two of the chosen places a listener is faster than `FASTEST`.

    `speed` is what a sample of delay between a place and the next is, metres a second.
    """
    fast = delays.diff(dim=0).abs().amax(1) * speed > FASTEST
    return [bool(fast[a:b].any()) for a, b in pairwise(chosen)]


def _places(
    delays: Float[Tensor, "n 2"], first: int, last: int, step: float
) -> Float[Tensor, "2 samples"]:
    """The delays at each sample from `first` to `last`, of which a place lasts 1 / `step`."""
    at = torch.arange(first, last, dtype=torch.float64) * step
    before = at.long().clamp(max=max(0, len(delays) - 2))
    after = (before + 1).clamp(max=len(delays) - 1)
    return torch.lerp(delays[before].T, delays[after].T, (at - before).clamp(0, 1))


def _weight(first: int, now: int, last: int) -> Float[Tensor, "samples"]:
    """From 0 at `first` up to 1 at `now`, and down to 0 at `last`."""
    up = torch.arange(now - first, dtype=torch.float64) / max(1, now - first)
    down = 1 - torch.arange(last - now, dtype=torch.float64) / max(1, last - now)
    return torch.cat([up, down])


def _read(
    dry: Float[Tensor, "samples"],
    response: Float[Tensor, "2 taps"],
    first: int,
    lag: Float[Tensor, "2 n"],
) -> Float[Tensor, "2 n"]:
    """The sound through a response from sample `first` on, each sample `lag` samples late."""
    last = first + lag.shape[1]
    if not lag.any():
        return _convolved(dry, response, first, last)
    spare = math.ceil(float(lag.abs().max())) + REACH
    around = _convolved(dry, response, first - spare, last + spare)
    return between(around, torch.arange(spare, spare + last - first) - lag)


def _convolved(
    dry: Float[Tensor, "samples"], response: Float[Tensor, "2 taps"], first: int, last: int
) -> Float[Tensor, "2 n"]:
    """The samples from `first` to `last` of the sound through a response, in blocks."""
    taps, parts = response.shape[1], []
    block = max(4 * taps, 1 << 16)
    for start in range(first, last, block):
        stop = min(start + block, last)
        low, high = start - taps + 1, stop
        sound = dry[max(low, 0) : max(high, 0)]
        sound = torch.nn.functional.pad(sound, (max(0, -low) if high > 0 else high - low, 0))
        size = next_fast_len(high - low, real=True)
        both = torch.fft.rfft(sound, size) * torch.fft.rfft(response, size)
        # A circle this long wraps only onto the first samples, which belong to the block before.
        parts.append(torch.fft.irfft(both, size)[:, taps - 1 : high - low])
    return torch.cat(parts, 1)
