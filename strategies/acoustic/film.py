"""Sound put under a video."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from splat.render.video import library
from splat.system.files import replacing

RATE = 48000
"""Hz, of the sound under a video."""
BITS = 192_000
"""Of AAC, a second."""
_FRAME = 1024
"""Samples that AAC codes at a time."""


def join(silent: Path, sound: Float[Tensor, "2 samples"], out: Path) -> None:
    """Write the pictures of one video and a stereo sound at 48 kHz as another.

    Both begin together. Pictures are copied as they are coded, sound becomes AAC; samples above
    full scale are cut off.
    """
    av = library()
    with (
        replacing(out) as draft,
        av.open(str(silent)) as pictures,
        av.open(str(draft), "w", options={"movflags": "+faststart"}) as film,
    ):
        shown = pictures.streams.video[0]
        video = film.add_stream_from_template(shown)
        audio = film.add_stream("aac", rate=RATE, layout="stereo", bit_rate=BITS)
        # A player reads on from one place for both: they lie by time.
        for packet in heapq.merge(
            _shown(pictures, shown, video), _coded(av, audio, sound), key=_time
        ):
            film.mux(packet)


def _time(packet: Any) -> Fraction:
    return Fraction(packet.dts * packet.time_base)


def _shown(pictures: Any, shown: Any, video: Any) -> Iterator[Any]:
    for packet in pictures.demux(shown):
        # The last one, which has no time, only says that there are no more.
        if packet.dts is not None:
            packet.stream = video
            yield packet


def _coded(av: Any, audio: Any, sound: Float[Tensor, "2 samples"]) -> Iterator[Any]:
    samples = np.ascontiguousarray(sound.detach().cpu().clamp(-1, 1).numpy(), np.float32)
    for first in range(0, samples.shape[1], _FRAME):
        part = np.ascontiguousarray(samples[:, first : first + _FRAME])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
        yield from audio.encode(frame)
    yield from audio.encode(None)
