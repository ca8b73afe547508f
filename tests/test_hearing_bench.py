"""The benchmark of rooms that are heard: points by wall, tables, limits, and the whole of it."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hearing as bench
import hearing_rooms as rooms
import hearing_table as table
import hearing_walls as walls
import numpy as np
import pytest
import torch

from splat.strategies.acoustic import measure
from splat.strategies.acoustic.baselines import Errors
from worlds.rooms import write

ELL = np.array([[0, 0, 1], [3, 0, 1], [3, 1, 1], [1, 1, 1], [1, 3, 1], [0, 3, 1]], np.float64)


def test_distance_to_a_polygon_that_is_not_convex() -> None:
    points = np.array([[0.5, 2.0, 0.7], [2.0, 0.5, 1.2], [2.0, 2.0, 1.0], [4.0, 0.5, 1.0]])
    assert walls.distances(points, ELL) == pytest.approx([0.3, 0.2, 1.0, 1.0])
    upright = ELL[:, [2, 0, 1]]
    assert walls.distances(points[:, [2, 0, 1]], upright) == pytest.approx([0.3, 0.2, 1.0, 1.0])


def test_points_are_counted_by_surface_and_odd_ones_found() -> None:
    """Two squares of a square metre and one of two; what lies far away is on none."""
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


def test_gains_by_hand() -> None:
    """Two rooms, two seeds: 0.8 and 0.6 against a best rule of 1 are 30 %, 2.1 sd."""
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
    folder = tmp_path_factory.mktemp("heard") / "box"
    write(folder, listeners=15, views=0, rays=300, seconds=0.3, workers=1, sources=2)
    return rooms.opened(folder)


def telling(answering: Any) -> Any:
    """A field that tells the spectrograms of what it plays."""

    def spectrograms(ears: Any, source: Any) -> torch.Tensor:
        sounds = answering(ears, source).double()[..., :4800]
        return torch.stack([measure.spectra(sound) for sound in sounds])

    return SimpleNamespace(responses=answering, spectrograms=spectrograms)


def test_a_field_that_knows_the_truth_errs_nowhere(room: Any) -> None:
    """Sounds of two sources are asked for by source, in batches, and compared in order."""
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
    found = rooms.of_noise(room)
    assert found["draw"]["mag"] == pytest.approx(2 * found["floor"]["mag"], rel=0.15)
    assert found["floor"]["mag"] < min(row["mag"] for row in rooms.of_rules(room).values())
    assert math.isnan(found["energy"]["mag"]) and found["energy"]["c50"] < 3
    other = rooms.HeardRoom(room.folder, room.data, {**room.truth, "seed": 1})
    with pytest.raises(ValueError, match="is not what this version of the generator writes"):
        rooms.of_noise(other)


def test_who_knows_less_of_a_room_is_farther_off(room: Any) -> None:
    found = rooms.of_knowing(room)
    noise = rooms.of_noise(room)["floor"]["mag"]
    assert found["room"]["mag"] == pytest.approx(noise * (1 + 1 / rooms.DRAWS))
    assert found["room"]["mag"] < found["energies"]["mag"] and math.isnan(found["energies"]["env"])
    for name in ("mag", "env", "t60"):
        assert found["room"][name] < found["alike"][name], name


def test_a_room_of_one_material_takes_as_much_as_it_did_in_all() -> None:
    for room in rooms.ROOMS.values():
        same = rooms.alike(room)
        assert len({surface.material for surface in same.surfaces}) == 1

        def taken(of: Any) -> Any:
            return sum(s.area * np.array(s.material.absorption) for s in of.surfaces)

        np.testing.assert_allclose(taken(same), taken(room))


class Trainings(list[list[str]]):
    """Commands that would have trained fields."""

    def ran(self, command: list[str]) -> tuple[str, float]:
        self.append(command)
        return "", 2.0


@pytest.fixture
def trainings(room: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    """For the whole of the benchmark, with fields that answer what the nearest listener heard. Of
    those that adapt two points are born on the curtain."""
    commands = Trainings()
    still = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    moved = np.concatenate([still, [[1.0, 4.4, 1.0], [2.0, 4.4, 1.0]]])

    def hearing(run: Path) -> Any:
        def responses(ears: Any, source: Any) -> torch.Tensor:
            records = room.records[room.data.sources.index(source)]
            places = torch.tensor([each.position for each in ears])
            return records.responses[torch.cdist(places, records.places).argmin(1)]

        points = torch.from_numpy(moved if "adaptive" in run.name else still)
        field = telling(responses)
        field.points, field.starts, field.began = points, torch.from_numpy(still), len(still)
        return field

    monkeypatch.setattr(bench, "output_of", commands.ran)
    monkeypatch.setattr(bench, "program", lambda: "splat")
    monkeypatch.setattr("splat.strategies.acoustic.verbs.heard.hearing", hearing)
    (tmp_path / "runs" / room.name).mkdir(parents=True)
    (tmp_path / "runs" / room.name / "point_cloud.ply").touch()
    given = ["--runs", str(tmp_path / "runs"), "--seeds", "0", "1", "--steps", "7"]
    out = ["--out", str(tmp_path / "found.json")]
    monkeypatch.setattr(sys, "argv", ["hearing.py", str(room.folder), *given, *out])
    return commands


def test_results_are_told_and_kept(room: Any, trainings: Trainings, tmp_path: Path) -> None:
    rules = rooms.of_rules(room)
    bench.main()
    trained = [(c[1], c[c.index("--seed") + 1], "--no-density" in c) for c in trainings]
    assert trained == [("train-audio", s, still) for s in "01" for still in (False, True)]
    for run in json.loads((tmp_path / "found.json").read_text())["rooms"][room.name]["runs"]:
        assert run["errors"]["mag"] == pytest.approx(rules["nearest"]["mag"])
    assert "adaptive against fixed | +0.0 %" in (tmp_path / "found.md").read_text()
    trainings.clear()
    bench.main()
    assert not trainings, "what is known is not trained again"


def test_walls_tell_where_points_went(
    room: Any, trainings: Trainings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.main()
    runs = json.loads((tmp_path / "found.json").read_text())["rooms"][room.name]["runs"]
    for run in runs:
        share = {"fixed": 0.0, "adaptive": 0.4}[run["variant"]]
        want = {"area": 0.152, "start": 0, "end": share}
        assert run["walls"]["odd_share"] == pytest.approx(want, abs=2e-3)
    curtain = next(r for r in runs if r["variant"] == "adaptive")["walls"]["surfaces"]
    assert [row["born_count"] for row in curtain if row["material"] == "curtain"] == [2]
    assert "born less removed" in capsys.readouterr().out
