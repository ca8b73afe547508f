"""What fields of sound learn: to be nearer than rules are, and known masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hearing_room
import pytest
import torch
from conftest import Outcome
from hearing_room import RATE, figures
from torch import Tensor

from splat.strategies.acoustic import points, sounds
from splat.strategies.acoustic.audible import Audible, Seen, Settings
from splat.strategies.acoustic.baselines import Records, answer, errors, nearest
from splat.strategies.acoustic.density import AudioGuided
from splat.strategies.acoustic.learning import Learning, fixed, places
from splat.strategies.acoustic.sounds.wav import read_wav

pytest.importorskip("soundfile")
Splat = Callable[..., Outcome]


@pytest.mark.slow
def test_the_field_beats_who_learns_nothing(room: Path, splat: Splat) -> None:
    """On places it never heard: the mean response, and what the nearest listener heard."""
    folder = hearing_room.write_responses(room / "many", 16, 16)
    data = sounds.load(folder)
    asked = ("--points", 200, "--steps", 400, "--batch", 8, "--threads", 1, "--quiet")
    assert splat("train-audio", room / "run", folder, *asked).code == 0
    found = figures(room / "run")
    told: dict[str, list[Any]] = {"mean": [], "nearest": []}
    for number, source in enumerate(data.sources):
        train = [each for each in data.train if each.source == number]
        records = Records(
            torch.stack([read_wav(each.file, channels=2, rate=RATE) for each in train]),
            torch.tensor([each.ears.position for each in train]),
            torch.tensor(source.position),
            RATE,
        )
        for each in (each for each in data.test if each.source == number):
            truth = answer(read_wav(each.file, channels=2, rate=RATE), RATE)
            place = torch.tensor(each.ears.position)
            told["mean"].append(errors(records.mean, truth))
            told["nearest"].append(errors(nearest(records, place), truth))
    for name, each in told.items():
        for figure in ("mag", "t60", "env", "edt", "c50"):
            rule = sum(getattr(error, figure) for error in each) / len(each)
            assert found[figure] < 0.8 * rule, (name, figure)


def test_recordings_teach_their_masks(seen_room: Path, tmp_path: Path) -> None:
    """Noise through known masks: what is learned of places never heard is nearer to them than what
    it began with, and near."""
    data = sounds.load(hearing_room.write_recordings(tmp_path, 40, 10))
    walls = hearing_room.walls()
    rows = points.born(walls, torch.ones(len(walls)), 150, 1.0)
    seen = Seen(lambda at: torch.full((6, 128, 128), torch.inf))
    model = Audible(rows, Settings("recordings", RATE, 1.0, 1.0), seed=0, steps=150)
    learning = Learning(model, fixed(AudioGuided()), places(data, data.train, seen, 1.0), 150)
    ears = [each.ears for each in data.test]
    there = seen.listening(ears, [data.sources[0]] * len(ears), 1.0)
    known = [hearing_room.masks(each, data.sources[0]) for each in ears]
    mixtures, differences = (torch.stack(part) for part in zip(*known, strict=True))

    @torch.no_grad()
    def apart() -> tuple[float, float]:
        """Of the mixture, dB; of the difference."""
        mixture, difference = model.maker(model(there).masks)
        off: Tensor = 20 * (mixture / mixtures).log10()
        return float(off.abs().mean()), float((difference - differences).abs().mean())

    before = apart()
    while learning.step < learning.steps:
        learning.advance()
    after = apart()
    assert before[0] > 2 and after[0] < 1 and after[0] < 0.4 * before[0]
    assert after[1] < 0.4 * before[1]
