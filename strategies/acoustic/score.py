"""How far what is heard at held-out places is from what was recorded there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import pad

from splat.strategies.acoustic import measure
from splat.strategies.acoustic.baselines import answer, errors, summary
from splat.strategies.acoustic.hearing import Hearing, responses
from splat.strategies.acoustic.learning import Places, places
from splat.strategies.acoustic.masked import gains, masked
from splat.strategies.acoustic.recording import Recorder
from splat.strategies.acoustic.response import Responder
from splat.strategies.acoustic.sounds import SoundData

NAMES = {
    "mag": "MAG", "env": "ENV", "t60": "T60 (s)", "edt": "EDT (s)", "c50": "C50 (dB)",
}  # fmt: skip


@torch.no_grad()
def heard_there(hearing: Hearing, data: SoundData, truth: Places | None = None) -> dict[str, Any]:
    """Mean errors over the held-out places, by name; none where none is held out.

    `truth` is what was heard there, where it was decoded already.
    """
    if not data.test:
        return {"held_out": 0}
    if truth is None:
        truth = places(data, data.test, hearing.seen, hearing.metres)
    maker = hearing.model.maker
    if isinstance(maker, Responder):
        found = responses(hearing.model, maker, truth.heard)
        # What is held out may be shorter or longer than what was learned from.
        found = pad(found, (0, truth.truth.shape[-1] - found.shape[-1]))
        each = [
            errors(answer(a, data.rate), answer(b, data.rate))
            for a, b in zip(found, truth.truth, strict=True)
        ]
        return {"held_out": len(data.test), **summary(each)}
    if not isinstance(maker, Recorder) or truth.dry is None:
        raise TypeError("a field is of responses or of recordings")
    mixture, difference = maker(hearing.model(truth.heard).masks)
    gained, start = gains(mixture, difference), torch.zeros(1, dtype=torch.float64)
    mag, env = [], []
    for gain, dry, sound in zip(gained, truth.dry, truth.truth, strict=True):
        made = masked(dry, gain[None], start)
        mag.append(measure.mag(made, sound))
        env.append(measure.env(made, sound))
    return {
        "held_out": len(data.test), "mag": sum(mag) / len(mag), "env": sum(env) / len(env),
    }  # fmt: skip


def told(metrics: Mapping[str, Any], folder: Path) -> str:
    """The figures, for people."""
    points = metrics["points"]
    lines = [
        f"{points['now']:,} audio points (began with {points['began']:,}),"
        f" {metrics['steps']:,} steps in {metrics['seconds']:.0f} s"
    ]
    if metrics["held_out"]:
        said = ", ".join(
            f"{name} {metrics[key]:.4g}" for key, name in NAMES.items() if key in metrics
        )
        lines.append(f"errors at {metrics['held_out']} places that were never trained on: {said}")
    return "\n".join([*lines, f"the field, its log and its figures are in {folder}"])
