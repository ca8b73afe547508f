"""Generated rooms sound as physics has it, and look like what they are made of."""

from __future__ import annotations

import importlib.util
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import files_of

from splat.datasets import load
from splat.strategies.acoustic import measure, sounds
from splat.strategies.acoustic.arrival import SPEED
from splat.strategies.acoustic.sounds import Ears
from splat.strategies.acoustic.sounds.split import apart
from worlds.rooms import ROOMS, Room, cached, cameras, points, render, write
from worlds.rooms import binaural as hearing
from worlds.rooms import decay as dying
from worlds.rooms import head as heads
from worlds.rooms.dry import LOUD, dry
from worlds.rooms.listeners import listeners, sources
from worlds.rooms.materials import MATERIALS, VACUUM, Material
from worlds.rooms.picture import frame
from worlds.rooms.shapes import box
from worlds.rooms.simulate import BIN, Echoes, directions, simulate

pytest.importorskip("pyroomacoustics")
pytest.importorskip("soundfile")
if importlib.util.find_spec("slab") is None:
    pytest.skip("needs slab, for the head", allow_module_level=True)

RATE, SECONDS = 16_000, 0.6
SAMPLES = round(RATE * SECONDS)
EVEN = Material("plaster", (0.25,) * 7, (0.3,) * 7)
BOX = box((5.0, 4.0, 3.0), (EVEN,) * 4, EVEN, EVEN)
SOURCE = (1.5, 1.2, 1.5)
EARS = (
    Ears((3.5, 2.5, 1.4), (-1.0, 0.0, 0.0)),
    Ears((2.0, 3.2, 1.6), (0.6, 0.8, 0.0)),
    Ears((4.1, 0.9, 1.2), (0.0, -1.0, 0.0)),
)
PLACES = np.array([ears.position for ears in EARS])


def heard_in(
    room: Room, places: np.ndarray = PLACES, rays: int = 2000, seconds: float = SECONDS
) -> Echoes:
    return simulate(room, SOURCE, places, rate=RATE, seconds=seconds, rays=rays, air=VACUUM)


@pytest.fixture(scope="module")
def echoes() -> Echoes:
    return heard_in(BOX)


def alone(way: np.ndarray) -> Echoes:
    """One source in the open, `way` from a listener at the origin."""
    tail = np.zeros((1, len(directions()), 7, 1), np.float32)
    return Echoes(way[None], np.ones((1, 7)), np.ones((1, 1), bool), tail, VACUUM)


def at_ears(way: np.ndarray, ears: Ears) -> np.ndarray:
    found = hearing.arrivals(alone(way), 0, np.array(ears.position))
    return hearing.early(found, heads.kemar(RATE), hearing.axes(ears), RATE, 1000)


# ---------------------------------------------------------------------------------------- physics


def test_direct_sound_arrives_with_its_distance(echoes: Echoes) -> None:
    """The first arrival peaks within a sample of distance / 343 m/s, as loud as 1 / distance."""
    for i, ears in enumerate(EARS):
        far = math.dist(SOURCE, ears.position)
        found = hearing.arrivals(echoes, i, PLACES[i])
        assert found.straight == pytest.approx(far, abs=1e-4) == found.distance.min()
        signal = hearing.early(found, None, np.eye(3), RATE, SAMPLES)[0]
        due = far / SPEED * RATE
        assert abs(int(np.abs(signal[: int(due) + 8]).argmax()) - due) <= 1
        assert np.abs(signal[: int(due) - 40]).max() < 1e-3 / far, "nothing before its time"
        facing = (np.array(SOURCE) - PLACES[i]) * [1, 1, 0]
        ahead = replace(ears, facing=tuple(facing / np.linalg.norm(facing)))
        both = hearing.early(found, heads.kemar(RATE), hearing.axes(ahead), RATE, SAMPLES)
        # The measured head's response rings for some samples: where it begins is what counts.
        for ear in both:
            first = np.flatnonzero(np.abs(ear) > 0.3 * np.abs(ear[: int(due) + 16]).max())[0]
            assert abs(first - due) <= 2


@pytest.mark.parametrize("degrees", [-90, -45, 30, 45, 60, 75, 90, 120])
def test_ears_are_apart_as_woodworth_has_it(degrees: float) -> None:
    """The ear at the far side hears a distant source later by a / c * (x + sin x), a = 87.5 mm."""
    turn = math.radians(degrees)
    left, right = at_ears(
        10 * np.array([math.cos(turn), math.sin(turn), 0]), Ears((0, 0, 0), (1, 0, 0))
    )
    fine = 16
    alike = np.fft.irfft(np.fft.rfft(right, 4096) * np.conj(np.fft.rfft(left, 4096)), 4096 * fine)
    lag = int(np.argmax(alike))
    found = (lag - 4096 * fine if lag > 2048 * fine else lag) / (RATE * fine)
    angle = math.asin(math.sin(turn))
    want = 0.0875 / SPEED * (angle + math.sin(angle))
    assert found == pytest.approx(want, abs=75e-6)
    near, far = (left, right) if degrees > 0 else (right, left)
    assert (near**2).sum() > 2 * (far**2).sum(), "the head's shadow"


def test_an_image_is_the_source_behind_a_wall(echoes: Echoes) -> None:
    """Behind x = 0: mirrored, with what the wall neither takes nor scatters."""
    at = np.linalg.norm(echoes.images - np.array([-1.5, 1.2, 1.5]), axis=1).argmin()
    assert np.allclose(echoes.images[at], [-1.5, 1.2, 1.5], atol=1e-4)
    assert np.allclose(echoes.gains[at], math.sqrt(0.75 * 0.7), atol=1e-4)
    assert np.allclose(echoes.images[0], SOURCE) and np.allclose(echoes.gains[0], 1)
    assert echoes.seen.sum(1).tolist() == [63] * 3, "a box: 1 + 6 + 18 + 38 up to order 3"


def test_reverberation_is_eyrings(echoes: Echoes) -> None:
    """Equal walls: by energy within 15 %, and as measured from the ears' responses within 25 %."""
    area = sum(surface.area for surface in BOX.surfaces)
    assert area == pytest.approx(2 * (20 + 15 + 12)) and BOX.volume == pytest.approx(60)
    want = 24 * math.log(10) / SPEED * BOX.volume / (-area * math.log(1 - 0.25))
    for i, ears in enumerate(EARS):
        known = dying.told(echoes, i, PLACES[i], RATE, SAMPLES)
        assert known["t60"] == pytest.approx(want, rel=0.15) and known["direct"]
        noise = np.random.default_rng(i)
        response = hearing.heard(echoes, i, ears, heads.kemar(RATE), RATE, SAMPLES, noise)
        assert response.shape == (2, SAMPLES) and response.dtype == np.float32
        found = measure.decay(torch.from_numpy(response), RATE)
        assert found.t60 == pytest.approx(want, rel=0.25)
        assert found.t60 == pytest.approx(known["t60"], rel=0.1)
        assert found.c50 == pytest.approx(known["c50"], abs=2.5)


def test_energy_is_a_rooms(echoes: Echoes) -> None:
    """Steady energy behind the direct sound: 16 pi (1 - a) / (a S), and a little (see simulate)."""
    want = 16 * math.pi * 0.75 / (0.25 * 94)
    for i in range(3):
        found = hearing.arrivals(echoes, i, PLACES[i])
        early = (found.level[:, 3] ** 2).sum() - found.straight**-2
        whole = early + echoes.tail[i].sum(0)[3].sum()
        assert 0.7 * want < whole < 1.5 * want


def test_energy_does_not_hang_on_the_number_of_rays(echoes: Echoes) -> None:
    """Late energy too: many faint rays are not dropped where few strong ones are kept."""
    many = heard_in(BOX, PLACES[:1], rays=20_000)
    for part in (slice(5, 25), slice(25, 75)):
        few, all_of_them = echoes.tail[0][..., part].sum(), many.tail[0][..., part].sum()
        assert few == pytest.approx(all_of_them, rel=0.1)


def test_mirrored_room_swaps_the_ears(echoes: Echoes) -> None:
    mirror = np.array([-1.0, 1.0, 1.0])
    room = BOX.mirrored()
    other = simulate(
        room, tuple(mirror * SOURCE), PLACES * mirror, rate=RATE, seconds=SECONDS, rays=10,
        air=VACUUM,
    )  # fmt: skip
    head = heads.kemar(RATE)
    for i, ears in enumerate(EARS):
        turned = Ears(tuple(PLACES[i] * mirror), tuple(mirror * ears.facing))
        pair = [
            hearing.early(
                hearing.arrivals(which, i, np.array(e.position)), head, hearing.axes(e), RATE, 2000
            )
            for which, e in ((echoes, ears), (other, turned))
        ]
        assert np.abs(pair[0]).max() > 0.1
        assert np.allclose(pair[0][0], pair[1][1], atol=1e-5)
        assert np.allclose(pair[0][1], pair[1][0], atol=1e-5)
        assert not np.allclose(pair[0][0], pair[1][0], atol=1e-2)


@pytest.mark.parametrize("name", ROOMS)
def test_mirrored_rooms_keep_their_materials(name: str) -> None:
    room, other = ROOMS[name], ROOMS[name].mirrored()
    assert other.volume == pytest.approx(room.volume)
    there = {(s.material.name, tuple(s.corners.mean(0).round(6))) for s in room.surfaces}
    back = {(s.material.name, tuple((s.corners.mean(0) * [-1, 1, 1]).round(6)))
            for s in other.surfaces}  # fmt: skip
    assert there == back


def test_listeners_hear_the_same_in_company(echoes: Echoes) -> None:
    lone = heard_in(BOX, PLACES[1:2])
    assert np.array_equal(lone.tail[0], echoes.tail[1])
    assert np.array_equal(lone.images[lone.seen[0]], echoes.images[echoes.seen[1]])


def test_a_partition_hides_the_source() -> None:
    places = np.array([[4.0, 2.5, 1.5], [8.0, 0.8, 1.5]])
    found = simulate(ROOMS["hall"], (2.2, 1.0, 1.5), places, rate=RATE, seconds=0.3, rays=200)
    assert found.seen[:, 0].tolist() == [True, False]
    told = [dying.told(found, i, places[i], RATE, 4800) for i in range(2)]
    assert told[0]["direct"] and not told[1]["direct"]
    hidden = hearing.arrivals(found, 1, places[1])
    assert hidden.distance.min() > hidden.straight == pytest.approx(math.hypot(5.8, 0.2))


def test_tail_has_the_energy_it_is_given_and_is_alike_at_low_frequencies() -> None:
    bins = 200
    energy = np.zeros((2, 7, bins))
    energy[0], energy[1] = 1e-3, 4e-3
    energy[:, :, 100:] = 0
    samples = round(bins * BIN * RATE)
    sound = hearing.tail(energy, 0.04, RATE, samples, np.random.default_rng(3))
    assert sound.shape == (2, samples)
    assert not sound[:, : round(0.04 * RATE)].any() and not sound[:, round(0.4 * RATE) :].any()
    share = hearing.shares(RATE, samples).mean(1).sum()
    assert (sound**2).sum(1) == pytest.approx([1e-3 * 90 * share, 4e-3 * 90 * share], rel=0.1)
    a, b = np.fft.rfft(sound)
    for low, high, least, most in ((50, 200, 0.85, 1.0), (3000, 6000, -0.15, 0.15)):
        part = slice(round(low * samples / RATE), round(high * samples / RATE))
        both = (a[part] * b[part].conj()).sum().real
        alike = both / math.sqrt((abs(a[part]) ** 2).sum() * (abs(b[part]) ** 2).sum())
        assert least < alike <= most


def test_octaves_share_all_energy() -> None:
    share = hearing.shares(RATE, 1024)
    frequency = np.arange(513) * RATE / 1024
    assert np.allclose(share.sum(0), hearing.roll_off(1024) ** 2)
    assert share[3, round(1000 * 1024 / RATE)] == pytest.approx(1)
    assert share[0, 1] == 1 and share[6, frequency > 8000 * 0.999].max() < 1e-9


def test_decay_by_energy_is_that_by_samples() -> None:
    time = np.arange(RATE) / RATE
    energy = np.concatenate([np.zeros(50), 10 ** (-6 * time / 0.5)])
    known = dying.measured(energy, RATE)
    response = torch.from_numpy(np.sqrt(energy))[None]
    assert known["t60"] == pytest.approx(0.5, rel=0.01)
    assert [known[k] for k in ("t60", "edt", "c50")] == pytest.approx(
        measure.decay(response, RATE), rel=0.01
    )
    assert dying.measured(np.zeros(10), RATE) == {"t60": None, "edt": None, "c50": None}
    assert dying.measured(energy[:1000], RATE)["t60"] is None


# ------------------------------------------------------------------------------------------- head


def test_head_is_even_over_all_directions() -> None:
    """Diffuse sound is heard as it is; the middle plane alike by both ears; no lag from ahead."""
    head = heads.kemar(RATE)
    assert head.weight.sum() == pytest.approx(1) and len(head.towards) == 710
    share = hearing.shares(RATE, heads.FFT)
    sky = directions()
    assert head.power(sky, share).mean(0) == pytest.approx(np.ones((2, 7)), abs=0.15)
    middle = np.array([[1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0], [0.6, 0, 0.8]])
    delay, level = head.ears(middle)
    assert np.allclose(delay[:, 0], delay[:, 1]) and np.allclose(level[:, 0], level[:, 1])
    assert np.abs(delay[0]).max() < 2e-5
    mirrored = head.ears(np.array([[0.5, 0.7, -0.1]]))
    other = head.ears(np.array([[0.5, -0.7, -0.1]]))
    assert np.allclose(mirrored[0][:, ::-1], other[0])
    assert np.allclose(mirrored[1][:, ::-1], other[1])


def test_least_phase_keeps_magnitude_and_comes_first() -> None:
    generator = np.random.default_rng(0)
    level = np.convolve(generator.normal(size=560), np.ones(48) / 12, "valid")[None, :513]
    spectrum = heads.least_phase(level)
    assert np.allclose(np.log(np.abs(spectrum)), level, atol=1e-2)
    taps = np.fft.irfft(spectrum)[0]
    assert (taps[:256] ** 2).sum() > 0.99 * (taps**2).sum()


def test_only_arrays_are_taken_from_the_heads_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(Path("x")))
    with (tmp_path / "x").open("rb") as stream:
        with pytest.raises(pickle.UnpicklingError, match="neither of slab's records nor an array"):
            heads._Numbers(stream).load()


def test_facing_straight_up_is_an_error() -> None:
    with pytest.raises(ValueError, match="which is its `up`"):
        hearing.axes(Ears((0, 0, 0), (0, 0, 1)))
    front, left, up = hearing.axes(Ears((0, 0, 0), (0, -1, 0)))
    assert np.allclose(front, [0, -1, 0]) and np.allclose(left, [1, 0, 0])
    assert np.allclose(up, [0, 0, 1])


# ------------------------------------------------------------------------------- rooms and places


def test_clearance_by_hand() -> None:
    ell = ROOMS["ell"]
    places = np.array([[1.0, 5.0], [5.0, 1.0], [5.0, 5.0], [-0.5, 1.0], [3.0, 2.9]])
    want = [1.0, 1.0, -1.8, -0.5, math.hypot(0.2, 0.1)]
    assert ell.clearance(places) == pytest.approx(want)
    assert ell.volume == pytest.approx((3.2 * 7 + 4.2 * 3) * 2.8)


@pytest.mark.parametrize("name", ROOMS)
def test_surfaces_close_the_room_and_face_inwards(name: str) -> None:
    """By Gauss's theorem, a third of the flux of place through the surfaces is the volume."""
    room = ROOMS[name]
    flux = [s.area * (frame(s).normal @ s.corners[0]) for s in room.surfaces]
    assert -sum(flux) / 3 == pytest.approx(room.volume)
    for kind in ("floor", "ceiling"):
        parts = [s.area for s in room.surfaces if s.name.startswith(kind)]
        assert sum(parts) == pytest.approx(room.volume / room.height)
    looks = {s.material.name for s in room.surfaces}
    assert len(looks) >= 3 and looks <= set(MATERIALS)


@pytest.mark.parametrize("name", ROOMS)
def test_places_are_clear_and_held_out_ones_apart(name: str) -> None:
    room = ROOMS[name]
    played = sources(room, 3, 0)
    ears, test = listeners(room, played, 150, 0)
    where = np.array([e.position for e in ears])
    assert sum(test) == 30 and room.clearance(where).min() >= 0.5 - 1e-4
    assert room.clearance(np.array(played)).min() >= 1 - 1e-9
    assert np.linalg.norm(where[:, None] - np.array(played), axis=2).min() >= 1 - 1e-3
    out, trained = where[np.array(test)], where[~np.array(test)]
    assert np.linalg.norm(out[:, None] - trained, axis=2).min() >= 0.3 - 1e-3
    assert listeners(room, played, 150, 0) == (ears, test)
    assert listeners(room, played, 150, 1)[0] != ears


def test_a_full_room_says_so() -> None:
    with pytest.raises(ValueError, match=r"room box has room for \d+ listeners of 40; expected"):
        listeners(box((2.4, 1.6, 2.5), (EVEN,) * 4, EVEN, EVEN), [(0.9, 0.8, 1.5)], 40, 0)
    with pytest.raises(ValueError, match="has no place for source 2 of 2"):
        sources(box((2.4, 2.1, 2.5), (EVEN,) * 4, EVEN, EVEN), 2, 0)


# ---------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("name", ROOMS)
def test_pictures_show_the_surfaces_where_they_are(name: str) -> None:
    room = ROOMS[name]
    for camera in cameras(room, 4, 48, 36):
        assert room.clearance(camera.centre[None].numpy())[0] >= 0.6 - 1e-5
        view = render(room, camera, 1)
        v, u = torch.meshgrid(torch.arange(36) + 0.5, torch.arange(48) + 0.5, indexing="ij")
        pixels = torch.stack([u, v, torch.ones_like(u)], -1).double()
        local = pixels @ camera.K.double().inverse().T * view.depth.double()[..., None]
        pose = camera.world_to_camera.double()
        there = ((local - pose[:3, 3]) @ pose[:3, :3]).numpy()
        for i in view.objects.unique().tolist():
            plane, mine = frame(room.surfaces[i]), there[view.objects.numpy() == i]
            assert np.abs((mine - plane.origin) @ plane.normal).max() < 1e-4
        assert room.clearance(there.reshape(-1, 3)).min() > -1e-4
        assert 20 < view.image.float().mean() < 200 and view.image.float().std() > 5


def test_points_lie_on_the_surfaces_evenly() -> None:
    room = ROOMS["ell"]
    cloud = points(room, 3000, noise=0.0)
    where = cloud.positions.double().numpy()
    far = np.stack([abs((where - frame(s).origin) @ frame(s).normal) for s in room.surfaces])
    assert far.min(0).max() < 1e-5 and room.clearance(where).min() > -1e-5
    floor = np.abs(where[:, 2]) < 1e-6
    share = (room.volume / room.height) / sum(s.area for s in room.surfaces)
    assert floor.mean() == pytest.approx(share, abs=0.03)
    assert 0 <= cloud.colors.min() and cloud.colors.max() <= 1


# ------------------------------------------------------------------------------------------- files

SMALL = {"listeners": 12, "views": 6, "width": 32, "height": 24, "points": 100, "samples": 1}
SMALL |= {"rays": 60, "seconds": 0.3, "workers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("rooms") / "ell", "ell", sources=2, **SMALL)


def test_folder_is_read_by_the_readers(folder: Path) -> None:
    data = sounds.load(folder, rate=RATE)
    assert (data.kind, len(data.sources), len(data.train), len(data.test)) == (
        *("responses", 2),
        *(18, 6),
    )
    assert not data.notes and apart(data.train, data.test) >= 0.3 - 1e-3
    truth = json.loads((folder / "truth.json").read_text())
    assert [tuple(s) for s in truth["sources"]] == [s.position for s in data.sources]
    rows = {row["name"]: row for row in truth["listeners"]}
    for sound in (*data.train, *data.test):
        response = sounds.read_wav(sound.file, channels=2, rate=RATE)
        assert response.shape == (2, 4800)
        row = rows[Path(sound.name).name]
        assert row["split"] == ("test" if sound in data.test else "train")
        assert ROOMS["ell"].clearance(np.array(sound.ears.position)[None])[0] >= 0.5 - 1e-3
        if row["direct"]:
            due = math.dist(sound.ears.position, data.sources[sound.source].position) / SPEED * RATE
            # Half a head nearer at most, and the interpolation's ring before it.
            assert -12 <= measure.onset(response) - due <= 14
    assert {s["material"] for s in truth["surfaces"]} == {
        *("brick", "absorber", "boards", "carpet", "plaster"),
    }
    scene = load(folder / "scene")
    assert len(scene.train) + len(scene.test) == 6 and scene.points is not None
    assert len(scene.points.positions) == 100


def test_same_seed_same_bytes_by_any_number_of_workers(folder: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "again", "ell", sources=2, **{**SMALL, "workers": 2})
    first, second = files_of(folder), files_of(again)
    assert first.keys() == second.keys()
    assert all(first[name] == second[name] for name in first)
    few = {**SMALL, "views": 0, "listeners": 2}
    other = write(tmp_path / "other", "ell", sources=1, seed=1, **few)
    assert (other / "sounds" / "wav" / "0000_0.wav").read_bytes() != first["sounds/wav/0000_0.wav"]
    assert not (other / "scene").exists()


# --------------------------------------------------------------------------------------- recordings


def test_dry_sound_is_steady_and_grows_at_its_end() -> None:
    """No quarter of a second is silent; what is longer begins with what is shorter."""
    sound = dry(RATE, 6 * RATE, 3)
    assert sound.dtype == np.float32 and len(sound) == 6 * RATE and np.abs(sound).max() < 0.9
    quarters = np.sqrt((sound.reshape(-1, RATE // 4) ** 2).mean(1))
    assert quarters.min() > LOUD / 5 and np.sqrt((sound**2).mean()) == pytest.approx(LOUD, rel=0.1)
    assert np.array_equal(dry(RATE, 2 * RATE, 3), sound[: 2 * RATE])
    assert not np.array_equal(dry(RATE, 2 * RATE, 4), sound[: 2 * RATE])
    assert not np.array_equal(dry(RATE, 2 * RATE, 3, 1), sound[: 2 * RATE])
    # Sound of a voice and of strings: the half below 1 kHz has most, hisses reach to the top.
    energy = np.abs(np.fft.rfft(sound)) ** 2
    low, top = energy[: 6 * 1000].sum(), energy[6 * 4000 :].sum()
    assert 0.7 < low / energy.sum() < 1 and 1e-4 < top / energy.sum() < 0.1


@pytest.fixture(scope="module")
def taped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {**SMALL, "listeners": 6, "views": 0, "kind": "recordings"}
    return write(tmp_path_factory.mktemp("taped") / "ell", "ell", sources=2, **arguments)


def test_held_out_sources_are_heard_by_held_out_listeners_alone(
    folder: Path, tmp_path: Path
) -> None:
    """And what those hear is what they would hear if no source were held out."""
    held = write(tmp_path / "ell", "ell", sources=2, held_sources=1, **{**SMALL, "views": 0})
    data, whole = sounds.load(held), sounds.load(folder)
    assert len(data.sources) == 2 and {sound.source for sound in data.train} == {0}
    assert {sound.source for sound in data.test} == {0, 1}
    assert {sound.ears for sound in data.test} == {sound.ears for sound in whole.test}
    for sound in data.test:
        same = next(other for other in whole.test if other.name == sound.name)
        assert sound.file.read_bytes() == same.file.read_bytes()
    with pytest.raises(ValueError, match="held_sources is 2 of 2; expected fewer"):
        write(tmp_path / "x", "ell", sources=2, held_sources=2, **SMALL)


def test_recordings_are_what_the_source_played_in_that_room(taped: Path, tmp_path: Path) -> None:
    """Sample by sample the sum over the response of what was played so much earlier."""
    rooms = {**SMALL, "listeners": 6, "views": 0}
    plain = write(tmp_path / "ell", "ell", sources=2, **rooms)
    known = sounds.load(plain)
    responses = {sound.name: sound for sound in (*known.train, *known.test)}
    data = sounds.load(taped, rate=RATE)
    assert data.kind == "recordings" and (len(data.train), len(data.test)) == (8, 4)
    assert not data.notes and json.loads((taped / "truth.json").read_text())["kind"] == data.kind
    samples = 4800
    for sound in (*data.train, *data.test):
        assert sound.dry is not None
        assert responses[sound.name].ears == sound.ears, "the same places as of responses"
        assert (sound.start, sound.seconds) == (samples / RATE, 1.0)
        response = sounds.read_wav(responses[sound.name].file, channels=2, rate=RATE)
        wet = sounds.read_wav(sound.file, channels=2, rate=RATE).double().numpy()
        played = sounds.read_wav(sound.dry, channels=1, rate=RATE)[0].double().numpy()
        assert wet.shape == (2, samples + RATE) and played.shape == (samples + RATE,)
        for ear in range(2):
            whole = np.convolve(played, response[ear].double().numpy())
            # From the clip's start on all that still rings is in the file.
            clip = slice(samples, samples + RATE)
            assert np.allclose(wet[ear, clip], whole[clip], atol=1e-6 * np.abs(wet).max())
        # Of one long sound, a stretch for each listener.
        number, source = (int(n) for n in Path(sound.name).name.split("_"))
        long = dry(RATE, samples + (number + 1) * RATE, 0, source)
        assert np.array_equal(played.astype(np.float32), long[-samples - RATE :])
        clipped = {"channels": 2, "rate": RATE, "start": sound.start, "seconds": sound.seconds}
        assert sounds.read_wav(sound.file, **clipped).shape == (2, RATE)


def test_what_was_played_before_is_heard_on(taped: Path) -> None:
    """The file of a later listener begins with the ring of what came before its own stretch."""
    data = sounds.load(taped)
    late = next(s for s in data.train if Path(s.name).name == "0003_0")
    wet = sounds.read_wav(late.file, channels=2, rate=RATE).numpy()
    played = sounds.read_wav(late.dry, channels=1, rate=RATE)[0].numpy()
    far = math.dist(late.ears.position, data.sources[0].position)
    due = int(far / SPEED * RATE) - 16
    assert np.abs(wet[:, :due]).max() > 1e-3 * np.abs(played).max(), "before its own could arrive"


def test_same_seed_same_recordings(taped: Path, tmp_path: Path) -> None:
    arguments = {**SMALL, "listeners": 6, "views": 0, "kind": "recordings"}
    assert files_of(taped) == files_of(write(tmp_path / "x", "ell", sources=2, **arguments))
    with pytest.raises(ValueError, match="kind is 'music'; expected one of responses, recordings"):
        write(tmp_path / "y", "ell", **{**arguments, "kind": "music"})


# ------------------------------------------------------------------------------------------- cache


def test_cached_by_arguments(tmp_path: Path) -> None:
    few = {**SMALL, "listeners": 3, "views": 0, "rays": 5}
    first = cached(tmp_path, "shoebox", **few)
    assert cached(tmp_path, "shoebox", **{**few, "workers": 2}) == first
    assert len(list(tmp_path.iterdir())) == 1 and first.name.startswith("room-shoebox-")


def test_wrong_requests_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="exists already; expected a new folder"):
        write(folder, "ell", **SMALL)
    with pytest.raises(ValueError, match="room is 'cave'; expected one of shoebox"):
        write(tmp_path / "x", "cave")
    with pytest.raises(ValueError, match="listeners is 1; expected at least 2"):
        write(tmp_path / "x", "ell", **{**SMALL, "listeners": 1})
    with pytest.raises(ValueError, match=r"rate 44100: has \d+ octaves"):
        write(tmp_path / "x", "ell", rate=44100, **SMALL)
    assert not list(tmp_path.iterdir()), "nothing is left of what failed"
