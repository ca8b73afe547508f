"""What audio points are, and what a field makes of them."""

from __future__ import annotations

import math

import hearing_room
import pytest
import torch
from acoustic_parts import GRID, double, draws, listening, open_air, rows_of, told
from hearing_room import RATE, SECONDS, SPEED
from torch import Tensor
from torch.nn.functional import normalize

from splat.strategies.acoustic import geometry, points, recording, response, sight, units
from splat.strategies.acoustic.audible import Audible, Seen, Settings, axes_of
from splat.strategies.acoustic.field import Masks, nearest
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.response import Responder
from splat.strategies.acoustic.sounds import Ears, Source

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


def test_who_walks_through_a_source_hears_it_as_from_its_edge() -> None:
    """The law of distance ends at 0.3 m; directions are told to 0.05 m, and shrink from there."""
    away = [1.0, 0.3, 0.1, 0.0]
    sources = [Source((0, metres, 0)) for metres in away]
    heard = Seen(open_air).listening([Ears((0, 0, 0), (1, 0, 0))] * 4, sources, 1.0)
    torch.testing.assert_close(heard.distance, torch.tensor([1.0, 0.3, 0.3, 0.3]))
    torch.testing.assert_close(heard.towards[:, 1], torch.tensor([1.0, 1.0, 1.0, 0.0]))


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
