"""How masks become sound, and what is lost between that and what was heard."""

from __future__ import annotations

import math
from dataclasses import replace

import hearing_room
import pytest
import torch
from acoustic_parts import GRID, double, draws, listening, open_air, rows_of, told
from hearing_room import HEAD, RATE, SECONDS, SPEED
from torch import Tensor

from splat.strategies.acoustic import geometry, measure, recording, response
from splat.strategies.acoustic.audible import Seen
from splat.strategies.acoustic.field import Masks, nearest
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.losses import ResponseLoss, Weights
from splat.strategies.acoustic.response import Grid, Responder
from splat.strategies.acoustic.sounds import Ears, Source

# -------------------------------------------------------------------------------------- responses


def still(maker: Responder, count: int) -> Masks:
    """Masks that say nothing but what is expected."""
    frames = 1 + maker.grid.early.count + response.NODES
    zero = torch.zeros(count, frames, response.BANDS)
    return Masks(zero, zero)


def expecting(grid: Grid = GRID, heard: Listening | None = None) -> tuple[Responder, Listening]:
    """A maker that expects the tiny room's sound."""
    maker = Responder(grid)
    heard = listening(10) if heard is None else heard
    ears = hearing_room.places(10)
    truth = torch.stack(
        [hearing_room.response(e, hearing_room.SOURCES[i % 2], i) for i, e in enumerate(ears)]
    )
    later, _ = response.shifts(grid, heard.distance)
    maker.expect(response.localized(truth, grid, later), heard)
    return maker, heard


def test_local_time_and_back() -> None:
    sounds = draws(4, 2, round(RATE * SECONDS))
    sounds[..., :20] = 0
    later, part = response.shifts(GRID, torch.tensor([1.0, 2.0, 3.5, 9.0]))
    assert later == [int(d / SPEED * RATE) - GRID.arrival for d in (1.0, 2.0, 3.5, 9.0)]
    assert ((part >= 0) & (part < 1)).all()
    local = response.localized(sounds, GRID, later)
    back = response.placed(local, GRID, later)
    for one, other, late in zip(sounds, back, later, strict=True):
        ahead = max(0, late)  # what comes earlier than local time begins is cut off
        assert torch.equal(one[:, ahead:], other[:, ahead:]) and not other[:, :ahead].any()
    click = torch.zeros(1, 2, 2000)
    click[..., int(2.0 / SPEED * RATE)] = 1
    assert int(response.localized(click, GRID, later[1:2])[0, 0].argmax()) == GRID.arrival


def test_late_masks_are_straight_between_their_times() -> None:
    """By hand: told at 0, 1 and 4. And of a line through all of them nothing is lost."""
    found = response._between(torch.tensor([0.0, 1, 4]), 5) @ torch.tensor([6.0, 0, 9])
    torch.testing.assert_close(found, torch.tensor([6.0, 0, 3, 6, 9]))
    for grid in (GRID, response.Grid(44_100, 0.05), response.Grid(16_000, 3.0)):
        line = response._between(grid.nodes, grid.late.count) @ grid.nodes
        expected = torch.arange(float(grid.late.count))
        torch.testing.assert_close(line, expected, atol=1e-3, rtol=1e-5)
        assert len(grid.nodes) == response.NODES < grid.late.count


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_direct_sound_arrives_when_it_should(rate: int) -> None:
    grid = Grid(rate, 0.2)
    maker = Responder(grid)
    maker.first.fill_(-20)
    maker.then.fill_(-20)
    turns = torch.linspace(0, 2 * math.pi, 9)[:-1].tolist()
    ears = [Ears((0, 0, 0), (math.cos(t), math.sin(t), 0)) for t in turns]
    sources = [Source((1.0 + 0.7 * i, 0.4, 0.3)) for i in range(8)]
    heard = Seen(open_air).listening(ears, sources, 1.0)
    later, part = response.shifts(grid, heard.distance)
    with torch.no_grad():
        found = response.placed(maker(still(maker, 8), heard, part), grid, later).double()
    alike = found[0, 0].square().sum().sqrt() * math.dist((0, 0, 0), sources[0].position)
    for i, source in enumerate(sources):
        left = hearing_room.left_of(ears[i], source)
        far = math.dist((0, 0, 0), source.position)
        ahead = HEAD / SPEED * (math.asin(left) + left) / 2
        for sound, sign in zip(found[i], (1, -1), strict=True):
            energy = sound.square()
            middle = float((energy * torch.arange(len(sound))).sum() / energy.sum()) / rate
            assert middle == pytest.approx(far / SPEED - sign * ahead, abs=1 / rate)
            first = int((far / SPEED - sign * ahead) * rate) - round(0.001 * rate)
            assert energy[:first].sum() < 3e-3 * energy.sum(), "nothing before it"
        # By 1 / distance, alike in both ears: masks make the differences.
        level = far * found[i].square().sum(1).sqrt()
        torch.testing.assert_close(level, alike[None].expand(2), rtol=0.02, atol=0)


def test_masks_of_nothing_give_what_is_expected() -> None:
    maker, heard = expecting()
    _, part = response.shifts(GRID, heard.distance)
    with torch.no_grad():
        pulse = maker._pulses(torch.zeros(10, 2, response.BANDS), heard, part)
        spectrum = torch.fft.rfft(pulse[..., : maker.pulse], maker.pulse).abs()
        level = torch.exp(maker.direct @ maker.pulse_bank) * (1 + response.HIDDEN)
        below = slice(0, int(0.87 * maker.pulse / 2))
        expected = (level / heard.distance[:, None])[:, None].expand(-1, 2, -1)
        torch.testing.assert_close(spectrum[..., below], expected[..., below], rtol=2e-3, atol=1e-5)
        # Later sound has the energy that training places have in the mean, in every interval.
        found = maker(still(maker, 10), heard, part)
    ears = hearing_room.places(10)
    truth = torch.stack(
        [hearing_room.response(e, hearing_room.SOURCES[i % 2], i) for i, e in enumerate(ears)]
    )
    later, _ = response.shifts(GRID, heard.distance)
    truth = response.localized(truth, GRID, later)
    for begin, end in ((40, 200), (200, 500), (500, 900), (900, 1500)):
        inner = slice(GRID.arrival + begin, GRID.arrival + end)
        a, b = (sound[..., inner].square().mean() for sound in (found, truth))
        assert 10 * float((a / b).log10()) == pytest.approx(0, abs=1.0), (begin, end)


def test_direct_sound_is_expected_as_from_a_metre() -> None:
    """Clicks of level 1 / distance, of whoever is as far, make a flat spectrum of level 1."""
    heard, time = listening(10), torch.arange(round(RATE * SECONDS))
    arrival = heard.distance / SPEED * RATE
    clicks = torch.sinc(time - arrival[:, None]) / heard.distance[:, None]
    truth = clicks[:, None].expand(-1, 2, -1).clone()
    later, _ = response.shifts(GRID, heard.distance)
    local = response.localized(truth, GRID, later)
    assert heard.distance.max() > 2 * heard.distance.min()
    maker = Responder(GRID)
    maker.expect(local, heard)
    torch.testing.assert_close(maker.direct[1:-1], torch.zeros(30), atol=0.06, rtol=0)
    # Of sources out of sight nothing is taken: there is none.
    hidden = replace(heard, sight=torch.where(torch.arange(10) < 5, 1.0, 0.0))
    local[5:] *= 100
    maker.expect(local, hidden)
    torch.testing.assert_close(maker.direct[1:-1], torch.zeros(30), atol=0.06, rtol=0)


def test_masks_scale_what_is_expected() -> None:
    maker, heard = expecting()
    _, part = response.shifts(GRID, heard.distance)
    none = still(maker, 10)
    with torch.no_grad():
        plain = maker(none, heard, part)
        loud = maker(replace(none, mixture=none.mixture + math.log(3)), heard, part)
        left = maker(replace(none, difference=none.difference + 0.5), heard, part)
        quiet = maker(replace(none, difference=none.difference - 1), heard, part)
    torch.testing.assert_close(loud, 3 * plain, rtol=1e-4, atol=1e-6)
    share = torch.tensor([1 + 0.999 * 0.5, 1 - 0.999 * 0.5])[:, None]
    torch.testing.assert_close(left, share * plain, rtol=1e-4, atol=1e-6)
    assert torch.isfinite(quiet).all() and quiet[:, 0].abs().max() < 2e-3 * plain.abs().max()


def test_losses_by_hand() -> None:
    """What is twice as loud as it was: 6.02 dB at all times and in all bands, and as clear."""
    ears = hearing_room.places(5)
    truth = torch.stack([hearing_room.response(e, hearing_room.SOURCES[0], 0) for e in ears])
    later, _ = response.shifts(GRID, listening(5).distance)
    local = response.localized(truth, GRID, later)
    loss, rows = ResponseLoss(local, GRID), torch.arange(5)
    assert set(loss(local, rows)) == set(vars(Weights()))
    for name, value in loss(local, rows).items():
        assert float(value) == pytest.approx(0, abs=1e-5), name
    found = {name: float(value) for name, value in loss(2 * local, rows).items()}
    assert found["spectrum"] == pytest.approx(1, rel=1e-4)
    assert found["envelope"] == pytest.approx(1, rel=1e-2)
    # But where there is less than a millionth of what the loudest band has.
    assert 0.9 * math.log(4) < found["bands"] < math.log(4)
    assert found["decay"] == pytest.approx(20 * math.log10(2), rel=1e-3)
    assert found["clarity"] == pytest.approx(0, abs=1e-4)
    assert 0 < found["energy"] < 20 * math.log10(2)
    assert found["time"] == pytest.approx(0, abs=1e-5)
    # Magnitudes and envelopes are those that MAG and ENV compare.
    torch.testing.assert_close(
        recording.magnitudes(local[:2]), torch.stack([measure.spectra(each) for each in local[:2]]),
        atol=2e-6, rtol=1e-5,
    )  # fmt: skip


def test_reverberation_times_are_those_that_are_measured() -> None:
    """Of noise that dies away; and of another that does so 10 % faster a tenth is lost."""
    draw = torch.Generator().manual_seed(0)
    time = torch.arange(GRID.length) / RATE - GRID.arrival / RATE
    noise = torch.randn(6, 2, GRID.length, generator=draw) * (time >= 0)
    rates = torch.linspace(20, 40, 6)[:, None, None]
    slow, fast = (noise * torch.exp(-k * rates * time.clamp_min(0)) for k in (1.0, 1.1))
    loss = ResponseLoss(slow, GRID)
    found, known = loss.times(slow)
    assert known.all()
    for row, times in zip(slow, found, strict=True):
        torch.testing.assert_close(times.double(), measure.t60(row, RATE), rtol=5e-3, atol=0)
    assert float(loss(fast, torch.arange(6))["time"]) == pytest.approx(1 - 1 / 1.1, rel=0.1)
    # What does not come down to -35 dB has none, nor has silence; neither is compared.
    endless = noise.clone().requires_grad_()
    assert not loss.times(noise)[1].any() and not loss.times(0 * noise)[1].any()
    apart = loss(endless, torch.arange(6))["time"]
    (slope,) = torch.autograd.grad(apart, endless)
    assert float(apart.detach()) == 0 and not slope.any()


def test_the_gradient_of_the_whole() -> None:
    """By guidance, against differences, in float64: field, masks, sound and all terms."""
    rows, heard = {n: v.double() for n, v in rows_of(60).items()}, double(listening(3))
    maker = expecting()[0].double()
    field = told(GRID.tokens()).double()
    ears = hearing_room.places(3)
    truth = torch.stack([hearing_room.response(e, hearing_room.SOURCES[0], 0) for e in ears])
    later, part = response.shifts(GRID, heard.distance)
    loss = ResponseLoss(response.localized(truth.double(), GRID, later), GRID)
    seen = geometry.relative(heard, rows["mean"], rows["normal"])
    weight = nearest(seen, rows["mass"], 0.3)
    weights = vars(Weights())

    def total(guidance: Tensor) -> Tensor:
        masks, _ = field(heard, rows["mean"], rows["normal"], guidance, weight)
        found = loss(maker(masks, heard, part.double()), torch.arange(3))
        return sum((weights[n] * v for n, v in found.items()), torch.zeros((), dtype=torch.float64))

    guidance = rows["guidance"].clone().requires_grad_()
    total(guidance).backward()
    assert guidance.grad is not None and torch.isfinite(guidance.grad).all()
    for seed in range(4):
        way = draws(*guidance.shape, seed=seed)
        step = 1e-5
        with torch.no_grad():
            slope = (total(guidance + step * way) - total(guidance - step * way)) / (2 * step)
        assert float(slope) == pytest.approx(float((guidance.grad * way).sum()), rel=1e-3)


# ------------------------------------------------------------------------------------- recordings


def test_recordings_are_expected_at_their_mean_level() -> None:
    dry = 0.1 * draws(3, 4000).float()
    truth = torch.stack([0.75 * dry, 0.25 * dry], 1)
    maker = recording.Recorder()
    maker.expect(truth, dry)
    bands = torch.zeros(2, 1, recording.BINS)
    mixture, difference = maker(Masks(bands + math.log(2), bands - 0.5))
    level = math.sqrt((0.75**2 + 0.25**2) / 2)
    torch.testing.assert_close(mixture, torch.full((2, 257), 2 * level), rtol=1e-4, atol=0)
    assert (difference == -0.5).all()
    # What the masks of these recordings are has no loss at all, and what they are not some.
    loss, rows = recording.RecordingLoss(truth, dry), torch.arange(3)
    half = torch.full((3, 257), 0.5)
    assert all(value < 1e-9 for value in loss(half, half, rows).values())
    # By hand: of ears of 1 and 3 quarters in units of their mean square, 5 sixteenths.
    found = loss(half, -half, rows)
    assert float(found["mixture"]) == pytest.approx(0, abs=1e-9)
    assert float(found["ears"]) == pytest.approx(0.5**2 / (5 / 16), rel=1e-3)
