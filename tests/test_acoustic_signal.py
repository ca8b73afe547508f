"""Frames, carriers, banks and pulses: signals that responses are made of."""

from __future__ import annotations

import math

import pytest
import torch
from acoustic_parts import GRID, draws
from hearing_room import RATE

from splat.strategies.acoustic import signal
from splat.strategies.acoustic.signal import Frames


@pytest.mark.parametrize(("count", "first"), [(40, 16), (40, 200), (20, 64), (3, 500)])
def test_frames_give_back_what_they_took(count: int, first: int) -> None:
    frames = Frames(128, count, first, 1000)
    sound = draws(2, 1000)
    back = frames.signal(frames.spectra(sound))
    assert back.shape == sound.shape
    start = first - 64
    # Four frames over a sample make it whole; outside of all frames there is silence.
    whole = slice(max(0, start + 96), max(0, start + count * 32))
    torch.testing.assert_close(back[:, whole], sound[:, whole], atol=1e-12, rtol=0)
    assert not back[:, : max(0, start)].any() and not back[:, start + count * 32 + 96 :].any()


def test_frames_are_those_of_torch() -> None:
    sound, frames = draws(3, 900), Frames(128, 20, 164, 900)
    theirs = torch.stft(
        sound[:, 100:], 128, 32, window=torch.hann_window(128, dtype=torch.float64),
        center=False, return_complex=True,
    )  # fmt: skip
    torch.testing.assert_close(frames.spectra(sound), theirs.mT[:, :20])
    early = Frames(128, 2, 16, 900).spectra(sound)  # the first of them begins 48 samples ahead
    padded = torch.cat([torch.zeros(3, 48, dtype=torch.float64), sound], 1)[:, :128]
    window = torch.hann_window(128, dtype=torch.float64)
    torch.testing.assert_close(early[:, 0], torch.fft.rfft(padded * window))


def test_carriers_are_flat_and_alike_where_waves_are_long() -> None:
    frames = GRID.late
    found = signal.carrier(frames, RATE, torch.Generator().manual_seed(3))
    inner = found[:, 2:-6]
    assert found.abs().square().mean().item() == pytest.approx(1, abs=1e-5)
    spread = inner.abs().std() / inner.abs().mean()
    chance = torch.fft.rfft(draws(4000, frames.size)).abs()
    assert spread < 0.35 < 0.5 < chance.std() / chance.mean(), "noise has Rayleigh's spread"
    alike = (inner[0] * inner[1].conj()).mean(0).real / (inner.abs().square().mean((0, 1)) + 1e-9)
    at = torch.arange(frames.bins) * RATE / frames.size
    assert alike[at < 80].mean() > 0.8, "a long wave is the same at both ears"
    assert alike[at < 80].mean() > alike[(at > 80) & (at < 300)].mean() > 0.3
    assert alike[at > 1500].mean().abs() < 0.15
    again = signal.carrier(frames, RATE, torch.Generator().manual_seed(3))
    assert torch.equal(found, again)


def test_banks_lead_straight_from_node_to_node() -> None:
    # By hand: nodes at 0, 100, and 4000 Hz; frequencies every 500.
    torch.testing.assert_close(signal.nodes(3, 8000), torch.tensor([0.0, 100.0, 4000.0]))
    values = torch.tensor([5.0, 7.0, 46.0])
    found = values @ signal.bank(3, 16, 8000)
    expected = [5.0, *(7.0 + (f - 100) / 100 for f in range(500, 4001, 500))]
    torch.testing.assert_close(found, torch.tensor(expected))
    # Nodes at 0, 100, 342, 1170 and 4000 Hz: no bin is near the second, whose mean is then between
    # those of 0 and 500 Hz.
    means = signal.at_nodes(5, 16, 8000)
    torch.testing.assert_close(means.sum(1), torch.ones(5))
    torch.testing.assert_close(means[1, :3], torch.tensor([0.8, 0.2, 0.0]))
    assert (means > -1e-6).all()
    torch.testing.assert_close(means @ torch.full((9,), 3.0), torch.full((5,), 3.0))


def test_least_phase_is_that_of_a_known_filter() -> None:
    turn = torch.arange(257, dtype=torch.float64) * (2 * math.pi / 512)
    known = (1 + 0.5 * torch.exp(-1j * turn)) / (1 - 0.6 * torch.exp(-1j * turn))
    torch.testing.assert_close(signal.least_phase(known.abs().log()), known, atol=1e-12, rtol=0)
    log_size = draws(2, 9).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: torch.view_as_real(signal.least_phase(x)), log_size, atol=1e-6
    )
    frames = Frames(16, 9, 5, 40)
    parts = draws(2, 9, 9, 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: frames.signal(torch.view_as_complex(x)), parts, atol=1e-6
    )


def test_rises_are_cosines() -> None:
    at = torch.tensor([0.0, 2, 3, 4, 9])
    torch.testing.assert_close(signal.rise(at, 2, 4), torch.tensor([0, 0, 0.5, 1, 1]))
