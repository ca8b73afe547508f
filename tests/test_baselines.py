"""What rules that learn nothing answer, and how far that is from the truth."""

from __future__ import annotations

import math

import pytest
import torch

from splat.strategies.acoustic import measure
from splat.strategies.acoustic.baselines import (
    SPEED,
    Errors,
    Records,
    aligned,
    answer,
    baselines,
    errors,
    nearest,
    shifted,
    summary,
)

RATE, SAMPLES = 8000, 4000


def dying(t60: float, seed: int, loud: float = 1.0, late: int = 0) -> torch.Tensor:
    """Noise that falls by 60 dB in `t60` seconds: [2, samples]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, SAMPLES, generator=generator)
    fall = 10 ** (-3 * torch.arange(SAMPLES) / RATE / t60)
    sound = shifted((loud * noise * fall)[None], torch.tensor([late]))
    return sound[0]


def records(sounds: list[torch.Tensor], far: list[float]) -> Records:
    places = torch.tensor([[metres, 0.0, 0.0] for metres in far])
    return Records(torch.stack(sounds), places, torch.zeros(3), RATE)


STEP = 24 * SPEED / RATE
"""About a metre, after which sound is 24 samples late: nothing is rounded."""


def pulse(far: float, loud: float) -> torch.Tensor:
    """Sound from `far` metres and nothing else, in both ears: [2, samples]."""
    sound = torch.zeros(2, SAMPLES)
    sound[:, round(far / SPEED * RATE)] = loud
    return sound


def test_shifted_by_hand() -> None:
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(3, 1, 4)
    found = shifted(row, torch.tensor([1, -2, 9]))
    assert found[:, 0].tolist() == [[0, 1, 2, 3], [3, 4, 0, 0], [0, 0, 0, 0]]


def test_errors_are_those_of_measure() -> None:
    found, true = dying(0.3, 0), dying(0.4, 1)
    a, b = (measure.decay(sound, RATE) for sound in (found, true))
    got = errors(answer(found, RATE), answer(true, RATE))
    assert got.mag == pytest.approx(measure.mag(found, true))
    assert got.env == pytest.approx(measure.env(found, true))
    assert got.t60 == pytest.approx(abs(a.t60 - b.t60)) == pytest.approx(0.1, abs=0.02)
    assert got.t60_percent == pytest.approx(25, abs=5)
    assert got.edt == abs(a.edt - b.edt) and got.c50 == abs(a.c50 - b.c50)
    same = errors(answer(true, RATE), answer(true, RATE))
    assert same == Errors(0, 0, 0, 0, 0, 0)


def test_mean_is_of_numbers_and_sizes() -> None:
    """Two responses of opposite sign: their mean is silence, their mean size is not."""
    one, other = dying(0.3, 0), -dying(0.3, 0)
    found = records([one, other, dying(0.5, 2)], [1, 2, 3]).mean
    decays = [measure.decay(sound, RATE) for sound in (one, other, dying(0.5, 2))]
    for i in range(3):
        assert found.decay[i] == pytest.approx(sum(d[i] for d in decays) / 3)
    sizes = [measure.spectra(s) for s in (one, other, dying(0.5, 2))]
    assert torch.allclose(found.spectra.float(), sum(sizes) / 3, rtol=1e-4, atol=1e-5)
    outlines = [measure.envelope(s) for s in (one, other, dying(0.5, 2))]
    assert torch.allclose(found.envelope.float(), sum(outlines) / 3, rtol=1e-4, atol=1e-5)


def test_mean_leaves_out_what_is_not_known() -> None:
    """A lone pulse is over at once: it has no T60, which does not spoil the mean."""
    short = pulse(2, 1)
    assert math.isnan(measure.decay(short, RATE).t60)
    found = records([dying(0.3, 0), short], [1, 2]).mean
    assert found.decay.t60 == pytest.approx(measure.decay(dying(0.3, 0), RATE).t60)
    said = summary([errors(answer(short, RATE), found), errors(found, found)])
    assert said["t60"] == 0 and said["t60_missing"] == said["t60_percent_missing"] == 1
    assert "c50_missing" not in said
    assert math.isnan(summary([errors(answer(short, RATE), found)])["t60"])


def test_nearest_is_as_recorded() -> None:
    heard = records([dying(0.3, 0), dying(0.4, 1), dying(0.5, 2)], [1, 2, 4])
    for place, want in ((1.4, 0), (2.9, 1), (9.0, 2)):
        found = nearest(heard, torch.tensor([place, 0.1, 0.0]))
        assert errors(found, answer(heard.responses[want], RATE)).mag == 0


def test_attenuated_is_exact_in_the_open() -> None:
    """Where there is no room, all that distance does is delay and 1/r."""
    far = [STEP, 2 * STEP, 5 * STEP]
    heard = records([pulse(each, STEP / each) for each in far], far)
    place, true = torch.tensor([0.0, 0.0, 4 * STEP]), pulse(4 * STEP, 0.25)
    (found,) = aligned(heard, place)
    assert torch.allclose(found.spectra.float(), measure.spectra(true), atol=1e-5)
    assert float(found.envelope[0].max()) == pytest.approx(0.25, rel=1e-5)
    assert int(found.envelope[0].argmax()) == 4 * 24
    got = {k: errors(a, answer(true, RATE)) for k, a in baselines(heard, place).items()}
    assert got["attenuated"].mag < 1e-9 < min(got[k].mag for k in ("mean", "nearest", "delayed"))
    # Envelopes are moved, not those of what is moved: they reach around the end a little.
    assert 10 * got["attenuated"].env < got["delayed"].env


def test_delayed_is_right_for_late_sound() -> None:
    """A diffuse field is as loud everywhere: what fades with the distance is worse."""
    far = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
    late = [round(each / SPEED * RATE) for each in far]
    heard = records([dying(0.3, i, late=n) for i, n in enumerate(late)], far)
    true = answer(dying(0.3, 99, late=round(4.5 / SPEED * RATE)), RATE)
    got = {k: errors(a, true) for k, a in baselines(heard, torch.tensor([0.0, 4.5, 0.0])).items()}
    assert got["delayed"].mag < got["attenuated"].mag
    assert got["delayed"].env < min(got["nearest"].env, got["attenuated"].env)
    assert got["delayed"].t60 < 0.02, "the mean energy decays as each does"
    (both,) = aligned(heard, torch.tensor([0.0, 4.5, 0.0]))
    assert torch.equal(both.spectra[0], both.spectra[1]), "one response for both ears"


def test_the_mean_beats_all_that_is_the_same_everywhere() -> None:
    """The mean spectrogram has the least mean square error on what it is the mean of."""
    heard = records([dying(0.3, i, loud=1 + i / 4) for i in range(5)], [1, 2, 3, 4, 5])
    truths = [answer(each, RATE) for each in heard.responses]
    least = sum(errors(heard.mean, true).mag for true in truths)
    for other in truths:
        assert sum(errors(other, true).mag for true in truths) > least


def test_wrong_shapes_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"expected \[n, 2, samples\]"):
        Records(torch.zeros(0, 2, 9), torch.zeros(0, 3), torch.zeros(3), RATE)
    with pytest.raises(ValueError, match="give one place for each response"):
        Records(torch.ones(2, 2, 9), torch.zeros(3, 3), torch.zeros(3), RATE)
