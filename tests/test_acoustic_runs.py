"""`splat train-audio` on a tiny room: what it does, repeats and keeps."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hearing_room
import numpy as np
import pytest
import torch
from conftest import Outcome
from hearing_room import RATE, SECONDS, SMALL, figures, hashes
from scipy.signal import fftconvolve

from splat.runs import checkpoint
from splat.strategies.acoustic import measure, sounds
from splat.strategies.acoustic.audible import Audible
from splat.strategies.acoustic.choices import Density
from splat.strategies.acoustic.field import Masks
from splat.strategies.acoustic.geometry import Listening
from splat.strategies.acoustic.learning import Learning, loaded
from splat.strategies.acoustic.sounds import Ears, Source
from splat.strategies.acoustic.sounds.wav import read_wav
from splat.strategies.acoustic.verbs import heard, train_audio
from splat.strategies.acoustic.verbs.asked.train_audio import Taught

pytest.importorskip("soundfile")
Splat = Callable[..., Outcome]
STEPS = ("--steps", 40)


def edits(run: Path) -> list[dict[str, Any]]:
    lines = (run / "audio/log.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "before" in record]


def last(run: Path) -> bytes:
    return checkpoint.checkpoints_in(run / "audio/checkpoints")[-1].read_bytes()


def test_the_visual_run_stays_to_the_byte(room: Path, splat: Splat) -> None:
    before = hashes(room)
    said = splat("train-audio", room / "run", room / "responses", *SMALL, *STEPS)
    assert said.code == 0 and "errors at 4 places that were never trained on: MAG" in said.said
    assert hashes(room, "run/audio") == before and len(before) > 40
    names = set(hashes(room / "run/audio"))
    assert names == {"config.json", "log.jsonl", "metrics.json", "checkpoints/step_00000040.pt"}
    found = figures(room / "run")
    assert found["held_out"] == 4 and found["metres"] == 1.0 and found["steps"] == 40
    assert all(math.isfinite(found[name]) for name in ("mag", "env", "t60", "edt", "c50"))
    assert edits(room / "run"), "points came and went"
    counts = [sum(n if "append" in what else -n for what, n in each.items()
                  if what not in ("step", "before")) for each in edits(room / "run")]  # fmt: skip
    assert found["points"]["now"] == found["points"]["began"] + sum(counts)


def test_what_it_learned_is_heard_without_the_scene(room: Path, splat: Splat) -> None:
    splat("train-audio", room / "run", room / "responses", *SMALL, *STEPS)
    for name in ("checkpoints", "point_cloud.ply", "cameras.json"):
        thing = room / "run" / name
        shutil.rmtree(thing) if thing.is_dir() else thing.unlink()
    found = heard.hearing(room / "run", "cpu")
    assert found.kind == "responses" and found.rate == RATE and found.metres == 1.0
    assert [each.position for each in found.sources] == [
        pytest.approx(each.position) for each in hearing_room.SOURCES
    ]
    low, high = found.bounds
    assert low == pytest.approx((0, 0, 0), abs=0.2)
    assert high == pytest.approx(hearing_room.SIZE, abs=0.2)
    assert found.inside(Ears((2, 1, 1), (1, 0, 0))) and not found.inside(Ears((5, 1, 1), (1, 0, 0)))
    assert len(found.points) > found.began > 100
    size = torch.tensor(hearing_room.SIZE)
    astray = ((found.points < -0.5) | (found.points > size + 0.5)).any(1)
    assert astray.float().mean() < 0.1, "children of children may lie farther"
    ears = hearing_room.places(20, seed=3)
    made = found.responses(ears, found.sources[0])
    assert made.shape == (20, 2, round(RATE * SECONDS)) and torch.isfinite(made).all()
    # In whatever company a place is asked about, its response is the same.
    torch.testing.assert_close(made[7:9], found.responses(ears[7:9], found.sources[0]))
    for sound, each in zip(made, ears, strict=True):
        start = math.dist(each.position, found.sources[0].position) / 343 * RATE
        assert sound[:, : int(start) - 10].abs().max() < 0.1 * sound.abs().max()
    with pytest.raises(ValueError, match="has no masks; expected one trained on recordings"):
        found.masks(ears, found.sources[0])


@pytest.mark.parametrize("kind", ["responses", "recordings"])
def test_hear_writes_what_the_field_says(kind: str, room: Path, splat: Splat) -> None:
    """A WAV of somebody who stands, and one along the views of the run."""
    assert splat("train-audio", room / "run", room / kind, *SMALL, "--steps", 20).code == 0
    dry = 0.1 * torch.randn(1, RATE // 2, generator=torch.Generator().manual_seed(5))
    sounds.write_wav("dry.wav", dry, RATE)
    asked = ("hear", room / "run", "--source", "dry.wav", "--quiet", "--float", "--from")
    asked = (*asked, *hearing_room.SOURCES[0].position)
    here = ("--at", 2.5, 1, 1.2, "--facing", 0, 1, 0, "--up", 0, 0, 1)
    standing = splat(*asked, *here, "-o", "there.wav")
    assert standing.code == 0, standing.err
    found = read_wav("there.wav", channels=2, rate=RATE)
    field = heard.hearing(room / "run", "cpu")
    ears = [Ears((2.5, 1.0, 1.2), (0.0, 1.0, 0.0))]
    if kind == "responses":
        response = field.responses(ears, field.sources[0])[0].double().numpy()
        true = np.stack([fftconvolve(dry[0].double().numpy(), ear) for ear in response])
        assert found.shape == true.shape
        assert np.abs(found.numpy() - true).max() < 1e-5 * np.abs(true).max()
    else:
        mixture, difference = field.masks(ears, field.sources[0])
        played = measure.stft(dry[0]).abs().square().sum(1)
        for ear, sign in zip(found, (1, -1), strict=True):
            energy = measure.stft(ear).abs().square().sum(1)
            expected = (mixture[0] * (1 + sign * difference[0])).square() * played
            torch.testing.assert_close(energy[9:-9], expected[9:-9], rtol=0.3, atol=0)
    moving = splat(*asked, "--path", "views", "-o", "round.wav")
    assert moving.code == 0, moving.err
    found = read_wav("round.wav", channels=2, rate=RATE)
    assert found.shape[1] >= len(dry[0]) and torch.isfinite(found).all()
    outside = splat(*asked, "--at", 2.5, 1, 9, "-o", "outside.wav")
    assert outside.code == 2 and "outside of the scene, which reaches from" in outside.err
    assert not Path("outside.wav").exists()


def test_what_can_be_seen_in_the_run(seen_room: Path) -> None:
    scene = heard.scene_of(seen_room / "run", "cpu")
    depths = scene.look()(torch.tensor([1.0, 1.2, 1.1]))
    ways = [3.0, 1.8, 1.4, 1.0, 1.2, 1.1]  # to +x, +y, +z, -x, -y and -z
    for depth, way in zip(depths, ways, strict=True):
        assert float(depth[60:68, 60:68].mean()) == pytest.approx(way, abs=0.05)
    mass = scene.mass()
    assert len(mass) == len(scene.gaussians) and (mass > 0).float().mean() > 0.9
    rows = scene.points(mass, 200, 0.5)
    assert 50 < len(rows["mean"]) <= 200
    assert (rows["mean"] <= 0.5 * torch.tensor(hearing_room.SIZE) + 0.1).all()


def test_runs_repeat_to_the_byte(room: Path, splat: Splat) -> None:
    for name in ("responses", "recordings"):
        asked = ("train-audio", room / "run", room / name, *SMALL, "--steps", 12, "--overwrite")
        assert splat(*asked).code == 0
        first, said = last(room / "run"), figures(room / "run")
        torch.rand(7)  # whatever else was drawn
        assert splat(*asked).code == 0
        assert last(room / "run") == first and figures(room / "run") == said
        assert splat(*asked, "--seed", 1).code == 0
        assert last(room / "run") != first


@pytest.mark.parametrize("kind", ["responses", "recordings"])
@pytest.mark.parametrize("stop", [12, 17])
def test_a_run_that_was_killed_ends_alike(
    kind: str, stop: int, room: Path, splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at a checkpoint, and five steps beyond one: some edits lie on either side. It goes on
    with as many threads as it was begun with."""
    given = (*SMALL, *STEPS)
    monkeypatch.setattr(train_audio, "SAVE_EVERY", 12)
    shutil.copytree(room / "run", room / "other")
    assert splat("train-audio", room / "run", room / kind, *given).code == 0
    whole, said = last(room / "run"), figures(room / "run")
    log = (room / "run/audio/log.jsonl").read_text()
    assert {each["step"] <= 12 for each in edits(room / "run")} == {True, False}
    advance = Learning.advance

    def dying(learning: Learning) -> None:
        if learning.step == stop:
            raise KeyboardInterrupt
        advance(learning)

    monkeypatch.setattr(Learning, "advance", dying)
    ended = splat("train-audio", room / "other", room / kind, *given)
    assert ended.code == 130 and ended.err.strip().endswith("train-audio: interrupted")
    monkeypatch.setattr(Learning, "advance", advance)
    assert not (room / "other/audio/metrics.json").exists()
    torch.rand(11)
    assert splat("train-audio", room / "other", "--resume", "--quiet").code == 0
    assert last(room / "other") == whole and figures(room / "other") == said
    assert (room / "other/audio/log.jsonl").read_text() == log
    over = splat("train-audio", room / "other", "--resume")
    assert over.code == 2 and "is finished at step 40; nothing is left" in over.err


def test_what_never_came_to_a_checkpoint_is_begun_anew(
    room: Path, splat: Splat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was learned, and so nothing is lost; what was learned goes when all is well."""
    asked = ("train-audio", room / "run", room / "responses", *SMALL, "--steps", 4)

    def dying(learning: Learning) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Learning, "advance", dying)
        assert splat(*asked).code == 130 and (room / "run/audio/config.json").is_file()
    refused = splat("train-audio", room / "run", "--resume")
    assert refused.code == 2 and "begin it without --resume" in refused.err
    assert splat(*asked).code == 0 and len(hashes(room / "run/audio")) == 4
    again = (*asked[:2], room / "recordings", *asked[3:], "--overwrite")
    assert splat(*again).code == 0 and len(hashes(room / "run/audio")) == 4
    assert heard.hearing(room / "run", "cpu").kind == "recordings"


def test_points_that_do_not_adapt(room: Path, splat: Splat) -> None:
    for option in ("--no-adapt", "--no-density"):
        asked = ("train-audio", room / "run", room / "responses", *SMALL, "--steps", 12)
        assert splat(*asked, option, "--overwrite").code == 0
        state = loaded(checkpoint.checkpoints_in(room / "run/audio/checkpoints")[-1])
        scene = heard.scene_of(room / "run", "cpu")
        given = scene.points(scene.mass(), 150, 1.0)
        columns = state["model"]["cloud"]["columns"]
        assert torch.equal(columns["mean"]["values"], given["mean"])
        same = torch.equal(columns["guidance"]["values"], given["guidance"])
        assert same == (option == "--no-adapt") and not edits(room / "run")


def test_without_points_only_the_way_from_the_source_is_known(room: Path, splat: Splat) -> None:
    asked = ("train-audio", room / "run", room / "responses", *SMALL, "--points", 0, "--steps", 12)
    assert splat(*asked).code == 0
    found = json.loads((room / "run/audio/metrics.json").read_text())
    assert found["points"] == {"began": 0, "now": 0} and not edits(room / "run")
    model = heard.hearing(room / "run").model
    generator = torch.Generator().manual_seed(1)
    place, source, step = (torch.rand(3, generator=generator) for _ in range(3))
    axes, sight = torch.eye(3)[None], torch.ones(1)

    def masks(moved: torch.Tensor, turned: torch.Tensor) -> Masks:
        return model(Listening((place + moved)[None], turned, (source + moved)[None], sight)).masks

    here, there = masks(torch.zeros(3), axes), masks(step, axes)
    assert here.mixture.abs().max() > 0.01
    assert torch.allclose(here.mixture, there.mixture, atol=1e-5)
    other = masks(step, torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])[None])
    assert not torch.allclose(here.ears, other.ears, atol=1e-3)


def test_what_an_older_splat_learned_is_refused(room: Path, splat: Splat) -> None:
    assert splat("train-audio", room / "run", room / "responses", *SMALL, "--steps", 4).code == 0
    last = checkpoint.checkpoints_in(room / "run/audio/checkpoints")[-1]
    torch.save({**loaded(last), "version": 1}, last)
    (room / "run/audio/metrics.json").unlink()
    said = splat("train-audio", room / "run", "--resume")
    assert said.code == 2 and len(said.err.strip().splitlines()) == 1
    assert "has format 1 of what is learned of sound, this splat reads 2; train it" in said.err


def test_rates_of_zero_leave_things_as_they_are(room: Path, splat: Splat) -> None:
    asked = ("train-audio", room / "run", room / "responses", *SMALL, "--steps", 4)
    assert splat(*asked, "--carrier-rate", 0).code == 0
    found = heard.hearing(room / "run").model
    fresh = Audible(found.cloud.rows(torch.arange(len(found.cloud))), found.settings, 0, 4)
    for name, value in fresh.maker.named_parameters():
        assert torch.equal(value, dict(found.maker.named_parameters())[name]), name


def test_json_is_all_that_is_printed(room: Path, splat: Splat) -> None:
    """Notes go to the other stream."""
    card = json.loads((room / "responses/sounds.json").read_text())
    for place in (*card["sounds"], *card["sources"]):
        place["position"] = [value / 0.3048 for value in place["position"]]
    # Of a scene in metres these would be far outside: the unit is said.
    (room / "responses/sounds.json").write_text(json.dumps(card))
    asked = [each for each in SMALL if each != "--quiet"]
    said = splat("train-audio", room / "run", room / "responses", *asked, "--steps", 2, "--json")
    assert said.code == 2 and "lie outside of the scene" in said.err
    assert "splat train-audio: " in said.err and "a unit of the scene is 0.3" in said.said
    hearing_room.write_responses(room / "again")
    said = splat("train-audio", room / "run", room / "again", *asked, "--steps", 2, "--json")
    assert json.loads(said.out)["steps"] == 2 and said.code == 0


def test_settings_come_back_as_they_were() -> None:
    taught = Taught(steps=7, density=Density(cap=11))
    config = json.loads(json.dumps({"taught": asdict(taught)}))
    assert train_audio._taught(config, Path("config.json")) == taught


def test_sources_that_were_not_trained_are_looked_at(room: Path, splat: Splat) -> None:
    assert splat("train-audio", room / "run", room / "responses", *SMALL, "--steps", 2).code == 0
    found = heard.hearing(room / "run", "cpu")
    new = Source((2.0, 1.5, 1.0))
    sound = found.responses(hearing_room.places(2), new)
    assert torch.isfinite(sound).all() and found.seen.depths(new).shape == (6, 128, 128)
