"""What audio points are, what a field makes of them, and how masks become sound."""

from __future__ import annotations

import math
from dataclasses import replace

import hearing_room
import pytest
import torch
from hearing_room import HEAD, RATE, SECONDS, SPEED
from torch import Tensor
from torch.nn.functional import normalize

from splat.acoustic import measure, units
from splat.datasets.sounds import Ears, Source
from splat.strategies.acoustic import geometry, points, recording, response, sight, signal
from splat.strategies.acoustic.audible import Audible, Seen, Settings, axes_of
from splat.strategies.acoustic.field import Field, Masks, Tokens, nearest
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.losses import ResponseLoss, Weights
from splat.strategies.acoustic.response import Grid, Responder
from splat.strategies.acoustic.signal import Frames

GRID = Grid(RATE, SECONDS)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def open_air(at: Tensor) -> Tensor:
    """Nothing hides anything."""
    return torch.full((6, sight.SIDE, sight.SIDE), torch.inf)


def listening(count: int = 6, seed: int = 0) -> Listening:
    """Listeners of the tiny room, who hear its two sources in turn."""
    ears = hearing_room.places(count, seed)
    sources = [hearing_room.SOURCES[i % 2] for i in range(count)]
    return Seen(open_air).listening(ears, sources, 1.0)


def rows_of(count: int = 150) -> dict[str, Tensor]:
    """Audio points of the walls of the tiny room."""
    walls = hearing_room.walls()
    return points.born(walls, torch.ones(len(walls)), count, 1.0)


def told(tokens: Tokens, seed: int = 0) -> Field:
    """A field that says something, as one that has learned does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        field = Field(tokens)
        torch.nn.init.normal_(field.mixture.weight, std=0.1)
        torch.nn.init.normal_(field.difference.weight, std=0.3)
    return field


def double(heard: Listening) -> Listening:
    return Listening(
        *(getattr(heard, name).double() for name in ("place", "axes", "source", "sight"))
    )


# ---------------------------------------------------------------------------------------- signals


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


# ----------------------------------------------------------------------------------------- points


def test_points_are_the_heaviest_of_their_cells() -> None:
    place = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [5, 0, 0], [5.1, 0, 0], [5.2, 0, 0], [9, 9, 9]])
    mass = torch.tensor([1.0, 2.0, 3.0, 5.0, 4.0, 0.0])
    # What nobody saw is no point; two cells have all the mass.
    assert points.thinned(place, mass, 2).tolist() == [1, 3]
    assert points.thinned(place, mass, 100).tolist() == [1, 2, 3, 4], "the cells of 85 % of it"
    with pytest.raises(ValueError, match=r"no Gaussian of the scene is seen .* train it longer"):
        points.thinned(place, torch.zeros(6), 3)


def test_guidance_begins_with_what_a_wall_is() -> None:
    walls = hearing_room.walls()
    mass = torch.ones(len(walls))
    rows = points.born(walls, mass, 200, 2.0)
    assert 100 < len(rows["mean"]) <= 200 and rows["guidance"].shape[1] == points.GUIDANCE
    assert torch.equal(rows["mass"], torch.ones(len(rows["mean"])))
    columns = (rows[name] for name in ("mean", "normal", "guidance"))
    for mean, normal, guidance in zip(*columns, strict=True):
        at = (mean - torch.tensor(hearing_room.SIZE)).abs().minimum(mean.abs())
        axis = int(at.argmin())
        if float(at.sort().values[1]) > 0.7:  # far from corners, where sixteen lie in a plane
            assert normal[axis].abs() > 0.999
            assert guidance[7] == pytest.approx(float(normal[2].abs()) - 0.5)
        color = 0.2 + 0.6 * torch.eye(3)[axis] + 0.15 * (mean[axis] > 1)
        torch.testing.assert_close(guidance[:3], 2 * (color - 0.5), atol=1e-5, rtol=0)
        assert guidance[3] == pytest.approx(0.45)
        # Two metres a unit: the sizes are twice as large as in the walls' own frame.
        size = torch.tensor([2 * 0.25 / 1.6, 2 * 0.25 / 1.6, 0.02]).log()
        torch.testing.assert_close(guidance[4:7], (size + 4) / 4)
        assert not guidance[8:].any()


# --------------------------------------------------------------------------------------- geometry


def test_where_a_point_lies_by_hand() -> None:
    """A listener at the origin who faces +x, a source 4 m ahead, a floor 1.5 m below."""
    ears = Ears((0, 0, 0), (1, 0, 0))
    heard = Seen(open_air).listening([ears], [Source((4, 0, 0))], 1.0)
    torch.testing.assert_close(heard.axes[0], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    torch.testing.assert_close(heard.towards, torch.tensor([[1.0, 0, 0]]))
    floor, side = [2.0, 0, -1.5], [0.0, 3.0, 0]
    normal = torch.tensor([[0.0, 0, 1], [0, 1, 0]])
    found = geometry.relative(heard, torch.tensor([floor, side]), normal)
    torch.testing.assert_close(found.near, torch.tensor([[2.5, 3.0]]))
    torch.testing.assert_close(found.far, torch.tensor([[2.5, 5.0]]))
    torch.testing.assert_close(found.detour, torch.tensor([[1.0, 4.0]]))
    torch.testing.assert_close(found.side, torch.tensor([[0.0, 1.0]]))
    mirror, front, left, up = found.even[0, :, 9:13].T
    assert mirror[0] == pytest.approx(1), "the floor's middle throws the source to the listener"
    assert 0 < mirror[1] < 0.95
    torch.testing.assert_close(front, torch.tensor([0.8, 0.0]))
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(up, torch.tensor([-0.6, 0.0]))
    again = geometry.relative(heard, torch.tensor([floor, side]), -normal)
    assert torch.equal(found.even, again.even), "normals may have either sign"


def test_heads_are_made_upright() -> None:
    # Nose up by 45 degrees: the top of the head goes back by as much, left stays left.
    axes = axes_of([Ears((0, 0, 0), (1, 0, 1))])[0]
    half = math.sqrt(0.5)
    expected = torch.tensor([[half, 0, half], [0, 1, 0], [-half, 0, half]])
    torch.testing.assert_close(axes, expected)
    with pytest.raises(ValueError, match=r"faces along \(0, 0, 1\), which is its up; expected"):
        axes_of([Ears((0, 0, 0), (1, 0, 0)), Ears((0, 0, 0), (0, 0, 1))])


def test_listeners_hear_by_the_nearest_points() -> None:
    heard, mean = listening(4), draws(40, 3).float()
    seen = geometry.relative(heard, mean, mean)
    weight = nearest(seen, torch.ones(40), 0.15)
    torch.testing.assert_close(weight.sum(1), torch.ones(4))
    for row, near, far in zip(weight, seen.near, seen.far, strict=True):
        expected = torch.zeros(40)
        for distance in (near, far):
            expected[distance.argsort()[:6]] += 1 / 12
        torch.testing.assert_close(row, expected)
    least = (nearest(seen, torch.ones(40), 1e-6) > 0).sum(1)
    assert least.max() <= 2 and least.min() >= 1, "one point at the least, of each"


def test_points_count_by_mass_and_the_last_in_part() -> None:
    """By hand: of a mass of 4 the nearest 1.75, which are 1, 1/2 and a quarter of the next 1."""
    far = torch.tensor([[3.0, 1.0, 4.0, 2.0, 5.0]])
    mass = torch.tensor([1.0, 1.0, 1.0, 0.5, 0.5])
    seen = geometry.Relative(torch.zeros(1, 5, 14), torch.zeros(1, 5), far, far, far)
    expected = torch.tensor([[0.25, 1, 0, 0.5, 0]]) / 1.75
    torch.testing.assert_close(nearest(seen, mass, 1.75 / 4), expected)


def test_a_point_in_two_halves_is_heard_as_one() -> None:
    """So that copies do not push others out of a neighbourhood, nor change what is heard."""
    field, heard, rows = told(GRID.tokens()).double(), double(listening(4)), rows_of(60)
    rows = {name: value.double() for name, value in rows.items()}
    rows["mass"][7] = 0.5
    twice = {name: torch.cat([value, value[5:6]]) for name, value in rows.items()}
    twice["mass"][[5, -1]] = 0.5

    @torch.no_grad()
    def masks(rows: dict[str, Tensor]) -> Masks:
        mean, normal, guidance, mass = (rows[n] for n in ("mean", "normal", "guidance", "mass"))
        weight = nearest(geometry.relative(heard, mean, normal), mass, 0.15)
        return field(heard, mean, normal, guidance, weight, mass)[0]

    one, two = masks(rows), masks(twice)
    assert one.mixture.std() > 0.01 and one.difference.std() > 0.01
    torch.testing.assert_close(two.mixture, one.mixture, atol=1e-12, rtol=0)
    torch.testing.assert_close(two.difference, one.difference, atol=1e-12, rtol=0)


def mirrored(heard: Listening, turn: Tensor) -> Listening:
    """The same behind a mirror through the origin; heads there have their left at the right."""
    axes = heard.axes @ turn * torch.tensor([1.0, -1.0, 1.0]).to(turn)[:, None]
    return Listening(heard.place @ turn, axes, heard.source @ turn, heard.sight)


@pytest.mark.parametrize(("kind", "dtype", "apart"), [
    ("responses", torch.float32, 1e-5), ("recordings", torch.float32, 1e-5),
    ("responses", torch.float64, 1e-12), ("recordings", torch.float64, 1e-12),
])  # fmt: skip
def test_a_mirrored_room_has_mirrored_ears(kind: str, dtype: torch.dtype, apart: float) -> None:
    tokens = GRID.tokens() if kind == "responses" else recording.tokens()
    field, heard = told(tokens).to(dtype), double(listening())
    if dtype == torch.float32:
        heard = listening()
    rows = {name: value.to(dtype) for name, value in rows_of().items()}
    across = normalize(draws(3, seed=5), dim=0)
    turn = (torch.eye(3).double() - 2 * across[:, None] * across).to(dtype)
    other = mirrored(heard, turn)
    torch.testing.assert_close(torch.linalg.det(other.axes), torch.ones(len(heard), dtype=dtype))

    @torch.no_grad()
    def masks(heard: Listening, turn: Tensor) -> Masks:
        mean, normal = rows["mean"] @ turn, rows["normal"] @ turn
        weight = nearest(geometry.relative(heard, mean, normal), rows["mass"], 0.15)
        return field(heard, mean, normal, rows["guidance"], weight)[0]

    found, there = masks(heard, torch.eye(3, dtype=dtype)), masks(other, turn)
    assert found.difference.abs().max() > 0.05 and found.mixture.std() > 0.01
    torch.testing.assert_close(there.mixture, found.mixture, atol=apart, rtol=0)
    torch.testing.assert_close(there.difference, -found.difference, atol=apart, rtol=0)
    torch.testing.assert_close(there.ears, found.ears.flip(1), atol=10 * apart, rtol=0)
    # Direct sound, too: as early and as loud in the other ear.
    maker, part = Responder(GRID).to(dtype), torch.zeros(len(heard), dtype=dtype)
    bands = draws(len(heard), 2, response.BANDS).to(dtype)
    with torch.no_grad():
        pulse, mirror = maker._pulses(bands, heard, part), maker._pulses(bands.flip(1), other, part)
    torch.testing.assert_close(mirror, pulse.flip(1), atol=10 * apart, rtol=0)
    assert (pulse[:, 0] - pulse[:, 1]).abs().max() > 0.1


def test_the_order_of_points_does_not_matter() -> None:
    field, rows, heard = told(GRID.tokens()).double(), rows_of(), double(listening())
    order = torch.randperm(len(rows["mean"]), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, normal, mass, guidance = (value.double() for value in rows.values())
        mass = mass + torch.arange(len(mass)) % 3
        one, _ = field(heard, mean, normal, guidance, mass=mass)
        two, _ = field(heard, mean[order], normal[order], guidance[order], mass=mass[order])
    torch.testing.assert_close(one.mixture, two.mixture, atol=1e-12, rtol=0)
    torch.testing.assert_close(one.difference, two.difference, atol=1e-12, rtol=0)


def test_what_hides_a_source() -> None:
    """Walls all round a source, 2 m away: what is nearer is seen, what is behind is not."""
    depths = torch.full((6, sight.SIDE, sight.SIDE), 2.0)
    source = torch.tensor([1.0, 1.0, 1.0])
    way = torch.tensor(
        [[1.5, 0, 0], [0, -1.5, 0], [0.3, 0.2, 1.5], [3.0, 0, 0], [-2, 0.5, 1], [0, 0, 2]]
    )
    seen = sight.share_seen(depths, source, source + way, 1.0)
    assert (seen[:3] > 0.99).all() and seen[3] < 0.01 and seen[5] == pytest.approx(0.5, abs=1e-3)
    # Depth is along the axis of the face, as in pictures: 2 m here, too.
    assert seen[4] == pytest.approx(0.5, abs=1e-3)
    # Distances in another unit: what is 0.3 m behind a wall is nearly out of sight.
    near = sight.share_seen(depths, source, source + torch.tensor([[3.0, 0, 0]]), 0.3)
    assert near == pytest.approx(1 / (1 + math.exp(3)), abs=1e-3)


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


# ------------------------------------------------------------------------------- units of a scene


def test_metres_of_a_scene_in_feet() -> None:
    draw = torch.Generator().manual_seed(0)
    feet = 3 + 20 * torch.rand(40, generator=draw, dtype=torch.float64)
    arrivals = feet * 0.3048 / SPEED + 0.0021  # recorders begin late
    arrivals[::4] += 0.002 + 0.01 * torch.rand(10, generator=draw)  # around a corner
    arrivals += 2e-5 * torch.randn(40, generator=draw)
    found, said = units.metres(arrivals.tolist(), feet.tolist())
    assert found == pytest.approx(0.3048, rel=5e-3)
    assert said == f"a unit of the scene is {found:.3f} m, by when sounds arrive"


def test_metres_that_are_metres_or_cannot_be_told() -> None:
    far = [1 + 0.2 * i for i in range(20)]
    assert units.metres([d * 1.02 / SPEED for d in far], far) == (1.0, "")
    unsure = (1.0, units.UNSURE)
    assert units.metres([d / SPEED for d in far[:3]], far[:3]) == unsure, "too few"
    assert units.metres([0.01] * 20, [2.0] * 20) == unsure, "all as far"
    assert units.metres([], []) == unsure, "none at all"
    assert units.metres([(9 - d) / SPEED for d in far], far) == unsure, "the farther, the earlier"
    chance = torch.rand(20, generator=torch.Generator().manual_seed(2)).tolist()
    assert units.metres(chance, far) == unsure, "seconds at random"


# ----------------------------------------------------------------------------------------- devices


@pytest.mark.gpu
def test_cuda_hears_what_the_cpu_does(cuda_kernels: None) -> None:
    settings = Settings("responses", RATE, SECONDS, 1.0)
    heard, made = listening(), []
    for device in ("cpu", "cuda"):
        rows = {name: value.to(device) for name, value in rows_of().items()}
        model = Audible(rows, settings, seed=0, steps=10)
        torch.nn.init.constant_(model.field.mixture.weight, 0.01)
        there = Listening(*(v.to(device) for v in vars(heard).values()))
        with torch.no_grad():
            masks = model(there).masks
            _, part = response.shifts(GRID, there.distance)
            assert isinstance(model.maker, Responder)
            sound = model.maker(masks, there, part)
        made.append([each.cpu() for each in (masks.mixture, masks.difference, sound)])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
