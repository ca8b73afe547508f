"""What rules that learn nothing answer, and how far that is from the truth."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from splat.acoustic import measure
from splat.acoustic.baselines import (
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

BENCH = Path(__file__).resolve().parents[1] / "bench"
benchmark = pytest.mark.skipif(not BENCH.is_dir(), reason="the benchmarks are not in this tree")
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


# ----------------------------------------------------------------------------------- the benchmark


def part(name: str) -> Any:
    sys.path.append(str(BENCH))
    return importlib.import_module(name)


ELL = np.array([[0, 0, 1], [3, 0, 1], [3, 1, 1], [1, 1, 1], [1, 3, 1], [0, 3, 1]], np.float64)


@benchmark
def test_distance_to_a_polygon_that_is_not_convex() -> None:
    walls = part("hearing_walls")
    points = np.array([[0.5, 2.0, 0.7], [2.0, 0.5, 1.2], [2.0, 2.0, 1.0], [4.0, 0.5, 1.0]])
    assert walls.distances(points, ELL) == pytest.approx([0.3, 0.2, 1.0, 1.0])
    upright = ELL[:, [2, 0, 1]]
    assert walls.distances(points[:, [2, 0, 1]], upright) == pytest.approx([0.3, 0.2, 1.0, 1.0])


@benchmark
def test_points_are_counted_by_surface_and_odd_ones_found() -> None:
    """Two squares of a square metre and one of two; what lies far away is on none."""
    walls = part("hearing_walls")
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float64)
    surfaces = [
        {"name": n, "material": n, "area": a, "absorption": [b] * 7, "corners": c.tolist()}
        for n, a, b, c in (
            ("floor", 1.0, 0.1, square),
            ("wall", 1.0, 0.8, square[:, [0, 2, 1]]),
            ("roof", 2.0, 0.1, square * [2, 1, 1] + [0, 0, 3]),
        )
    ]
    start = np.array([[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [1.5, 0.5, 3.1], [0.5, 0.5, 1.6]])
    end = np.concatenate([start, [[0.2, -0.1, 0.8], [0.9, 0.1, 0.9]]])
    found = walls.walls(surfaces, end, start)
    assert found["mean_absorption"] == pytest.approx(0.275) and found["astray"] == 1
    rows = {row["name"]: row for row in found["surfaces"]}
    assert [rows[n]["odd"] for n in ("floor", "wall", "roof")] == [False, True, False]
    assert [rows[n]["end_count"] for n in ("floor", "wall", "roof")] == [1, 3, 1]
    assert rows["wall"]["born_count"] == 2 and rows["roof"]["end_per_m2"] == 0.5
    assert found["odd_share"] == pytest.approx({"area": 0.25, "start": 1 / 3, "end": 0.6})
    assert "born_count" not in walls.walls(surfaces, end)["surfaces"][0]


def row_of(value: float) -> dict[str, float]:
    return dict.fromkeys((*Errors._fields, "played"), value)


@benchmark
def test_gains_by_hand() -> None:
    """Two rooms, two seeds: 0.8 and 0.6 against a best rule of 1 are 30 %, 2.1 sd."""
    table = part("hearing_table")
    rooms = [
        {
            "rules": {
                **{"mean": row_of(1 + more), "nearest": row_of(3), "attenuated": row_of(2)},
                "delayed": row_of(0.75),
            },
            "runs": [
                {"variant": v, "seed": seed, "errors": row_of(value + more)}
                for v, values in (("adaptive", (0.8, 0.6)), ("fixed", (1.0, 0.9)))
                for seed, value in enumerate(values)
            ],
        }
        for more in (-0.5, 0.5)
    ]
    ours = table.seeds(rooms, "adaptive")
    assert [ours[seed]["mag"] for seed in (0, 1)] == pytest.approx([0.8, 0.6])
    bars = table.best(table.rules(rooms, "rules"))
    assert bars["mag"] == ("delayed", pytest.approx(0.75))
    assert table.best({"a": row_of(math.nan), "b": row_of(2)})["env"] == ("b", 2)
    won = table.gains(list(ours.values()), {"mag": 1.0})
    assert won["mag"] == pytest.approx((30, 0.3 / (0.2 / math.sqrt(2))))
    against = table.paired(ours, table.seeds(rooms, "fixed"))
    assert against["c50"] == pytest.approx((100 * 0.25 / 0.95, 0.25 / (0.1 / math.sqrt(2))))
    said = table.table(rooms, ["adaptive", "fixed"])
    assert "| adaptive (2 seeds) | 0.7000 ± 0.1414 |" in said
    assert "| adaptive against the best usual rule | +30.0 %, 2.1 sd |" in said
    assert "| adaptive against the best rule | +6.7 %, 0.4 sd |" in said
    assert "| adaptive against fixed | +26.3 %, 3.5 sd |" in said


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    for name in ("pyroomacoustics", "slab", "soundfile"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    if not BENCH.is_dir():
        pytest.skip("the benchmarks are not in this tree")
    from splat.datasets.rooms import write

    folder = tmp_path_factory.mktemp("heard") / "box"
    write(folder, listeners=15, views=0, rays=300, seconds=0.3, workers=1, sources=2)
    return part("hearing_rooms").opened(folder)


def telling(answering: Any) -> Any:
    """A field that tells the spectrograms of what it plays."""

    def spectrograms(ears: Any, source: Any) -> torch.Tensor:
        sounds = answering(ears, source).double()[..., :4800]
        return torch.stack([measure.spectra(sound) for sound in sounds])

    return SimpleNamespace(responses=answering, spectrograms=spectrograms)


def test_a_field_that_knows_the_truth_errs_nowhere(room: Any) -> None:
    """Sounds of two sources are asked for by source, in batches, and compared in order."""
    rooms = part("hearing_rooms")
    known = {(sound.ears, room.data.sources[sound.source]): sound for sound in room.data.test}
    asked = []

    def answering(ears: Any, source: Any) -> torch.Tensor:
        asked.append(len(ears))
        truth = torch.stack([room.response(known[each, source]) for each in ears])
        return torch.nn.functional.pad(truth, (0, 100))  # longer than is compared

    found = rooms.of_answers(room, telling(answering))
    assert sum(asked) == 2 * len(room.data.test) == 12, "for spectrograms, and for what is played"
    assert found == {name: 0.0 for name in (*Errors._fields, "played")}
    rules = rooms.of_rules(room)
    assert set(rules) == {"mean", "nearest", "attenuated", "delayed"}
    assert all(row[name] > 0 for row in rules.values() for name in ("mag", "env", "c50"))
    with pytest.raises(ValueError, match="is not finite; expected numbers"):
        rooms.of_answers(room, telling(lambda ears, _: torch.full((len(ears), 2, 9), math.nan)))


def test_noise_leaves_a_floor_that_one_draw_doubles(room: Any) -> None:
    """Two draws are apart by twice the variance about the mean that is the best answer."""
    rooms = part("hearing_rooms")
    found = rooms.of_noise(room)
    assert found["draw"]["mag"] == pytest.approx(2 * found["floor"]["mag"], rel=0.15)
    assert found["floor"]["mag"] < min(row["mag"] for row in rooms.of_rules(room).values())
    assert math.isnan(found["energy"]["mag"]) and found["energy"]["c50"] < 3
    other = rooms.HeardRoom(room.folder, room.data, {**room.truth, "seed": 1})
    with pytest.raises(ValueError, match="is not what this version of the generator writes"):
        rooms.of_noise(other)


def test_who_knows_less_of_a_room_is_farther_off(room: Any) -> None:
    rooms = part("hearing_rooms")
    found = rooms.of_knowing(room)
    noise = rooms.of_noise(room)["floor"]["mag"]
    assert found["room"]["mag"] == pytest.approx(noise * (1 + 1 / rooms.DRAWS))
    assert found["room"]["mag"] < found["energies"]["mag"] and math.isnan(found["energies"]["env"])
    for name in ("mag", "env", "t60"):
        assert found["room"][name] < found["alike"][name], name


def test_a_room_of_one_material_takes_as_much_as_it_did_in_all() -> None:
    rooms = part("hearing_rooms")
    for room in rooms.ROOMS.values():
        same = rooms.alike(room)
        assert len({surface.material for surface in same.surfaces}) == 1

        def taken(of: Any) -> Any:
            return sum(s.area * np.array(s.material.absorption) for s in of.surfaces)

        np.testing.assert_allclose(taken(same), taken(room))


def test_results_are_kept_and_walls_tell_where_points_went(
    room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole of the benchmark, with fields that answer what the nearest listener heard."""
    bench, rooms = part("hearing"), part("hearing_rooms")
    still = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    moved = np.concatenate([still, [[1.0, 4.4, 1.0], [2.0, 4.4, 1.0]]])
    commands: list[list[str]] = []

    def ran(command: list[str]) -> tuple[str, float]:
        commands.append(command)
        return "", 2.0

    def hearing(run: Path) -> Any:
        def responses(ears: Any, source: Any) -> torch.Tensor:
            records = room.records[room.data.sources.index(source)]
            places = torch.tensor([each.position for each in ears])
            return records.responses[torch.cdist(places, records.places).argmin(1)]

        points = torch.from_numpy(moved if "adaptive" in run.name else still)
        field = telling(responses)
        field.points, field.starts, field.began = points, torch.from_numpy(still), len(still)
        return field

    monkeypatch.setattr(bench, "output_of", ran)
    monkeypatch.setattr(bench, "program", lambda: "splat")
    monkeypatch.setattr("splat.cli.heard.hearing", hearing)
    (tmp_path / "runs" / room.name).mkdir(parents=True)
    (tmp_path / "runs" / room.name / "point_cloud.ply").touch()
    out = tmp_path / "found.json"
    given = [
        str(room.folder),
        "--runs",
        str(tmp_path / "runs"),
        "--seeds",
        "0",
        "1",
        "--steps",
        "7",
    ]
    monkeypatch.setattr(sys, "argv", ["hearing.py", *given, "--out", str(out)])
    bench.main()
    trained = [(c[1], c[c.index("--seed") + 1], "--no-density" in c) for c in commands]
    assert trained == [("train-audio", s, still) for s in "01" for still in (False, True)]
    rules = rooms.of_rules(room)
    found = json.loads(out.read_text())["rooms"][room.name]
    for run in found["runs"]:
        assert run["errors"]["mag"] == pytest.approx(rules["nearest"]["mag"])
        share = {"fixed": 0.0, "adaptive": 0.4}[run["variant"]]
        want = {"area": 0.152, "start": 0, "end": share}
        assert run["walls"]["odd_share"] == pytest.approx(want, abs=2e-3)
    curtain = next(r for r in found["runs"] if r["variant"] == "adaptive")["walls"]["surfaces"]
    assert [row["born_count"] for row in curtain if row["material"] == "curtain"] == [2]
    assert "adaptive against fixed | +0.0 %" in out.with_suffix(".md").read_text()
    commands.clear()
    bench.main()
    assert not commands, "what is known is not trained again"
    assert "born less removed" in capsys.readouterr().out
