"""Sound folders are read as they are meant, sounds as they are written, and decay is measured."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from splat.strategies.acoustic import measure, sounds
from splat.strategies.acoustic.sounds import own, rwavs, soundspaces, split

soundfile = pytest.importorskip("soundfile")
RATE = 8000


def noise(seconds: float = 0.5, channels: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.randn(channels, round(seconds * RATE), generator=generator)


def decaying(t60: float, seconds: float = 1.5, rate: int = RATE) -> Tensor:
    """Exponential energy decay without noise, both channels alike, after 10 ms of silence."""
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    sound = 10 ** (-3 * time / t60)
    return torch.cat([torch.zeros(rate // 100), sound]).expand(2, -1)


# ------------------------------------------------------------------------------------------ files


def test_files_come_back(tmp_path: Path) -> None:
    sound = noise()
    assert sounds.write_wav(tmp_path / "a" / "x.wav", 3 * sound, RATE) == 1
    back = sounds.read_wav(tmp_path / "a" / "x.wav", channels=2, rate=RATE)
    assert torch.equal(back, 3 * sound), "floats hold more than full scale, to the bit"
    sounds.write_wav(tmp_path / "y.wav", sound, RATE, depth="16")
    back = sounds.read_wav(tmp_path / "y.wav", channels=2, rate=RATE)
    assert (back - sound).abs().max() < 1 / 32767
    assert sounds.look(tmp_path / "y.wav") == sounds.look(tmp_path / "a" / "x.wav")
    assert sounds.look(tmp_path / "y.wav").seconds == 0.5
    assert not list(tmp_path.rglob(".*")), "no draft is left"
    theirs, rate = soundfile.read(tmp_path / "a" / "x.wav", dtype="float32")
    assert rate == RATE and np.array_equal(theirs.T, (3 * sound).numpy())


def test_loud_sounds_are_scaled_for_16_bits_and_said(tmp_path: Path) -> None:
    sound = noise()
    sound[0, 7] = -2.0
    with pytest.warns(UserWarning, match=r"peaks at 2\.00 of full scale"):
        scale = sounds.write_wav(tmp_path / "x.wav", sound, RATE, depth="16")
    back = sounds.read_wav(tmp_path / "x.wav", channels=2, rate=RATE)
    assert scale == pytest.approx(0.5, abs=1e-3) and (back / scale - sound).abs().max() < 1e-4


def test_parts_of_files(tmp_path: Path) -> None:
    sound = noise(1.0)
    sounds.write_wav(tmp_path / "x.wav", sound, RATE)

    def part(start: float, seconds: float) -> Tensor:
        return sounds.read_wav(
            tmp_path / "x.wav", channels=2, rate=RATE, start=start, seconds=seconds
        )

    assert torch.equal(part(0.25, 0.5), sound[:, RATE // 4 : 3 * RATE // 4])
    late = part(0.7, 0.5)
    assert late.shape == (2, RATE // 2) and torch.equal(late[:, :2400], sound[:, 5600:])
    assert not late[:, 2400:].any()
    with pytest.raises(ValueError, match=r"0\.200 s of sound from 0\.8 s on; expected at least"):
        part(0.8, 0.5)


BAD: dict[str, tuple[Tensor, int, str]] = {
    "rate": (noise(), RATE * 2, r"has 16000 samples a second; expected 8000.*-ar 8000"),
    "mono": (noise(channels=1), RATE, r"is mono; expected stereo: record both ears"),
    "three": (noise(channels=3), RATE, r"is of 3 channels; expected stereo"),
    "silent": (noise() * 0, RATE, r"its left channel is silent"),
    "one ear": (noise() * torch.tensor([[1.0], [0.0]]), RATE, r"its right channel is silent"),
    "empty": (noise(0.0), RATE, r"holds no sample"),
    "nan": (noise() * torch.nan, RATE, r"not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sounds_say_what_to_do(case: str, tmp_path: Path) -> None:
    sound, rate, words = BAD[case]
    file = tmp_path / "x.wav"
    soundfile.write(file, sound.numpy().T, rate, subtype="FLOAT")
    with pytest.raises(ValueError, match=words) as caught:
        sounds.read_wav(file, channels=2, rate=RATE)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


def test_bad_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x\.wav: does not exist"):
        sounds.read_wav(tmp_path / "x.wav", channels=2, rate=RATE)
    (tmp_path / "x.wav").write_bytes(b"no sound at all")
    with pytest.raises(ValueError, match=r"is no sound file that can be read"):
        sounds.look(tmp_path / "x.wav")
    sounds.write_wav(tmp_path / "m.wav", noise(channels=2), RATE)
    with pytest.raises(ValueError, match=r"is stereo; expected mono: mix it down"):
        sounds.read_wav(tmp_path / "m.wav", channels=1, rate=RATE)
    for wrong in (noise() * torch.nan, noise(0.0), noise()[0]):
        with pytest.raises(ValueError, match="nothing was written"):
            sounds.write_wav(tmp_path / "n.wav", wrong, RATE)
    assert not (tmp_path / "n.wav").exists()


def test_clipping_is_told_from_peaks(tmp_path: Path) -> None:
    loud = noise() / noise().abs().max()
    soundfile.write(tmp_path / "peak.wav", loud.numpy().T, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "clip.wav", (30 * loud).numpy().T, RATE, subtype="PCM_16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sounds.read_wav(tmp_path / "peak.wav", channels=2, rate=RATE)
    with pytest.warns(UserWarning, match=r"clip\.wav: seems clipped \(\d+\.\d+% of its samples"):
        sounds.read_wav(tmp_path / "clip.wav", channels=2, rate=RATE)


def test_resampling_keeps_a_tone() -> None:
    def tone(rate: int) -> Tensor:
        return torch.sin(2 * math.pi * 440 * torch.arange(rate // 2) / rate)[None].double()

    up = sounds.resampled(tone(16000), 16000, 44100)
    assert up.shape == (1, 22050)
    assert (up - tone(44100))[:, 500:-500].abs().max() < 2e-3


# ---------------------------------------------------------------------------------------- layouts


def card(folder: Path, **changes: Any) -> dict[str, Any]:
    """A card of ten responses in a folder, and their files."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    for i in range(10):
        sounds.write_wav(folder / f"{i}.wav", noise(0.02, seed=i), RATE)
        entries.append({"file": f"{i}.wav", "position": [i, 0, 1.5], "facing": [0, 2, 0]})
    made = {"format": "splat-sounds", "version": 1, "kind": "responses", "rate": RATE}
    made |= {"sources": [{"position": [1, 2, 3]}], "sounds": entries, **changes}
    (folder / "sounds.json").write_text(json.dumps(made))
    return made


def test_own_layout(tmp_path: Path) -> None:
    card(tmp_path / "run" / "sounds")
    data = sounds.load(tmp_path / "run", rate=RATE)
    assert data.format == "splat" and data.kind == "responses" and data.rate == RATE
    assert data.sources == (sounds.Source((1.0, 2.0, 3.0)),)
    assert [s.name for s in data.test] == ["0", "5"] and len(data.train) == 8
    assert data.test[1].ears == sounds.Ears((5.0, 0.0, 1.5), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    assert split.apart(data.train, data.test) == 1
    own.write(data.path, data.kind, data.rate, data.sources, data.train, data.test)
    assert sounds.load(data.path) == data, "what is written is read alike"
    with pytest.raises(ValueError, match=r"have 8000 samples a second; expected 16000"):
        sounds.load(tmp_path / "run", rate=16000)


def test_recordings_need_what_was_played(tmp_path: Path) -> None:
    made = card(tmp_path, kind="recordings")
    with pytest.raises(ValueError, match=r"sound 0: has no `dry`"):
        sounds.load(tmp_path)
    for entry in made["sounds"]:
        entry |= {"dry": "0.wav", "start": 0.005, "seconds": 0.01}
    (tmp_path / "sounds.json").write_text(json.dumps(made))
    first = sounds.load(tmp_path).train[0]
    assert first.dry == tmp_path / "0.wav" and (first.start, first.seconds) == (0.005, 0.01)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (lambda c: c.update(version=2), "has format 'splat-sounds', version 2; expected"),
    "kind": (lambda c: c.update(kind="songs"), "has kind 'songs'; expected one of responses"),
    "rate": (lambda c: c.update(rate="8k"), "has `rate`: '8k'; expected a whole number of 1"),
    "none": (lambda c: c.update(sounds=[]), "has no `sounds`; expected at least one"),
    "place": (
        lambda c: c["sounds"][3].update(position=[1, 2]),
        "has [1, 2] as `position`",
    ),
    "nan": (
        lambda c: c["sounds"][3].update(position=[1, 2, math.nan]),
        "that are not finite",
    ),
    "turn": (lambda c: c["sounds"][3].update(facing=[0, 0, 0]), "expected a direction"),
    "source": (lambda c: c["sounds"][3].update(source=1), "sound 3: has `source`: 1; expected"),
    "split": (lambda c: c["sounds"][3].update(split="val"), "has split None; expected train or"),
    "file": (lambda c: c["sounds"][3].update(file="z.wav"), "file z.wav does not exist"),
    "seconds": (
        lambda c: c["sounds"][3].update(seconds=0),
        "`seconds`: 0; expected a number",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_cards_say_where(case: str, tmp_path: Path) -> None:
    made = card(tmp_path)
    WRONG[case][0](made)
    (tmp_path / "sounds.json").write_text(json.dumps(made))
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        sounds.load(tmp_path)
    assert WRONG[case][1] in str(caught.value) and "\n" not in str(caught.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; expected a folder of sounds"):
        sounds.load(tmp_path / "no")
    with pytest.raises(ValueError, match=r"is an empty folder; expected sounds\.json"):
        sounds.load(tmp_path)
    (tmp_path / "sounds.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        sounds.load(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file"):
        sounds.load(tmp_path / "sounds.json")


def test_held_out_places_that_are_trained_on_are_said(tmp_path: Path) -> None:
    made = card(tmp_path)
    for i, entry in enumerate(made["sounds"]):
        entry |= {"position": [i // 2, 0, 0], "split": "test" if i == 1 else "train"}
    (tmp_path / "sounds.json").write_text(json.dumps(made))
    assert "1 held-out sounds are heard where training ones are" in sounds.load(tmp_path).notes[0]
    for entry in made["sounds"]:
        del entry["split"]
    (tmp_path / "sounds.json").write_text(json.dumps(made))
    data = sounds.load(tmp_path)
    assert not data.notes and {s.name for s in data.test} == {"0", "1"}, "a place as a whole"


def orbit(count: int) -> np.ndarray:
    """Camera to world in OpenGL's axes, z up: on a circle, looking at its middle."""
    poses = []
    for turn in np.arange(count) * 2 * np.pi / count:
        back = np.array([np.cos(turn), np.sin(turn), 0.0])
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross([0, 0, 1], back), [0, 0, 1], back], 1)
        pose[:3, 3] = 0.5 * back + [0.1, 0, 0.2 * turn]
        poses.append(pose)
    return np.array(poses)


def rwavs_scene(root: Path, *, plain: bool = True) -> Path:
    """A scene of RWAVS: 12 s of sound, pictures 1 to 12 and one beyond the end."""
    scene = root / "release" / "3"
    scene.mkdir(parents=True)
    sounds.write_wav(scene / "binaural_syn_re.wav", noise(12.0), RATE)
    sounds.write_wav(scene / "source_syn_re.wav", noise(12.0, 1), RATE)
    poses = orbit(13)
    spin = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    for name, kept in (("train", lambda i: i % 5), ("val", lambda i: not i % 5)):
        mine = [i for i in range(13) if kept(i)]
        path = [
            {"file_path": f"frames/{i + 1:05d}.png", "camera_to_world": poses[i].ravel().tolist()}
            for i in mine
        ]
        (scene / f"transforms_scale_{name}.json").write_text(json.dumps({"camera_path": path}))
        frames = []
        for i in mine:
            pose = spin @ poses[i]
            pose[:3, 3] = 4 * pose[:3, 3] + [1, 2, 3]
            frames.append(
                {"file_path": f"frames/{i + 1:05d}.png", "transform_matrix": pose.tolist()}
            )
        if plain:
            (scene / f"transforms_{name}.json").write_text(json.dumps({"frames": frames}))
    card = {"3": {"source_position": [0.25, 0.5, -0.25]}}
    (root / "release" / "position.json").write_text(json.dumps(card))
    return scene


def test_rwavs_in_the_frame_of_its_pictures(tmp_path: Path) -> None:
    data = sounds.load(rwavs_scene(tmp_path))
    assert (data.format, data.kind, data.rate) == ("rwavs", "recordings", RATE)
    assert np.allclose(data.sources[0].position, [4 * -0.5 + 1, 4 * 0.25 + 2, 4 * -0.25 + 3])
    assert [s.name for s in data.test] == ["00001", "00006", "00011"]
    assert len(data.train) == 9, "picture 13 lies beyond 12 s: half its second is not there"
    assert "1 poses lie at the end" in data.notes[1] and "4 times" in data.notes[0]
    first = data.test[0]
    assert (first.start, first.seconds) == (0.5, 1.0) and first.dry is not None
    # At turn 0: at (0.6, 0, 0), looking along -x; a quarter turn about z and the move follow.
    assert np.allclose(first.ears.position, [1, 4 * 0.6 + 2, 3])
    assert np.allclose(first.ears.facing, [0, -1, 0]) and np.allclose(first.ears.up, [0, 0, 1])
    clip = sounds.read_wav(
        first.file, channels=2, rate=data.rate, start=first.start, seconds=first.seconds
    )
    assert torch.equal(clip, noise(12.0)[:, RATE // 2 : 3 * RATE // 2])


def test_rwavs_without_plain_poses_and_without_parts(tmp_path: Path) -> None:
    scene = rwavs_scene(tmp_path, plain=False)
    data = sounds.load(scene)
    assert data.sources[0].position == (0.25, 0.5, -0.25) and "scaled" in data.notes[0]
    (scene / "transforms_scale_val.json").rename(scene / "x.json")
    with pytest.raises(FileNotFoundError, match=r"transforms_scale_val\.json: does not exist"):
        sounds.load(scene)
    (scene / "x.json").rename(scene / "transforms_scale_val.json")
    (tmp_path / "release" / "position.json").write_text("{}")
    with pytest.raises(ValueError, match=r"position\.json: has no `3`; expected an object"):
        sounds.load(scene)


def test_similarity_is_recovered() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(20, 3))
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    b = 2.5 * a @ turn.T + [1, -2, 3]
    (scale, rotation, shift), misfit = rwavs.fitted(a, b)
    assert scale == pytest.approx(2.5) and np.allclose(rotation, turn) and misfit < 1e-12
    assert np.allclose(shift, [1, -2, 3])
    assert rwavs.fitted(a, generator.normal(size=(20, 3)))[1] > 0.5


@pytest.mark.parametrize("beside", [True, False])
def test_soundspaces(beside: bool, tmp_path: Path) -> None:
    scene = tmp_path / "binaural_rirs" / "replica" / "room_0"
    for angle in (0, 90, 180, 270):
        for receiver in range(6):
            file = scene / str(angle) / f"{receiver}_{6 + receiver % 2}.wav"
            sounds.write_wav(file, noise(0.02, seed=receiver), RATE)
    points = scene if beside else tmp_path / "metadata" / "replica" / "room_0"
    points.mkdir(parents=True, exist_ok=True)
    rows = [f"{n}\t{0.5 * n}\t{-n}\t1.5" for n in range(8)]
    (points / "points.txt").write_text("\n".join(rows) + "\n")
    data = sounds.load(scene)
    assert (data.format, data.kind, len(data.train), len(data.test)) == (
        *("soundspaces", "responses"),
        *(16, 8),
    )
    assert {s.name.split("/")[1] for s in data.test} == {"0_6", "5_7"}
    assert split.apart(data.train, data.test) > 1
    by_name = {s.name: s for s in data.train}
    assert by_name["90/2_6"].ears == sounds.Ears((1.0, -2.0, 1.5), (1.0, 0.0, 0.0))
    assert by_name["180/3_7"].ears.facing == (0.0, -1.0, 0.0) and by_name["180/3_7"].source == 1
    assert data.sources[1].position == (3.5, -7.0, 1.5)
    (points / "points.txt").write_text("\n".join(rows[:7]))
    with pytest.raises(ValueError, match=r"points\.txt: has no node 7"):
        sounds.load(scene)
    (points / "points.txt").unlink()
    with pytest.raises(FileNotFoundError, match="expected the positions of the nodes"):
        sounds.load(scene)


def test_angles_turn_clockwise_from_y() -> None:
    assert [soundspaces.facing(a) for a in (0, 90, 270)] == [(0, 1, 0), (1, 0, 0), (-1, 0, 0)]


# ---------------------------------------------------------------------------------------- measure


@pytest.mark.parametrize("t60", [0.25, 0.6, 0.9])
def test_decay_of_an_exponential(t60: float) -> None:
    sound = decaying(t60)
    assert measure.t60(sound, RATE).tolist() == pytest.approx([t60, t60], rel=0.01)
    assert measure.t60(sound, RATE, last=-25).tolist() == pytest.approx([t60, t60], rel=0.01)
    assert measure.edt(sound, RATE).tolist() == pytest.approx([t60, t60], rel=0.01)
    # Energy falls as exp(-at), a = 6 ln 10 / T60: early to late is exp(a * 50 ms) - 1.
    clear = 10 * math.log10(math.exp(6 * math.log(10) / t60 * 0.05) - 1)
    assert measure.c50(sound, RATE).tolist() == pytest.approx([clear, clear], abs=0.05)
    assert measure.onset(sound) == RATE // 100
    measured = measure.decay(sound, RATE)
    assert measured == pytest.approx((t60, t60, clear), rel=0.02)


def test_decay_of_two_slopes() -> None:
    """A fast decay over a slow one 20 dB below: EDT hears the first, T60 mostly the second."""
    time = torch.arange(2 * RATE, dtype=torch.float64) / RATE
    energy = 10 ** (-6 * time / 0.2) / 0.2 + 0.01 * 10 ** (-6 * time / 1.2) / 1.2
    sound = energy.sqrt().expand(1, -1)
    early, late = float(measure.edt(sound, RATE)), float(measure.t60(sound, RATE))
    assert early == pytest.approx(0.2, rel=0.1) and 0.6 < late < 1.2


def test_decay_by_hand() -> None:
    curve = measure.energy_decay(torch.tensor([[3.0, 2.0, 1.0, 0.0]]))
    want = [0.0, 10 * math.log10(5 / 14), 10 * math.log10(1 / 14), -200.0]
    assert curve[0].tolist() == pytest.approx(want)
    short = torch.zeros(1, RATE)
    short[0, 100] = 1.0
    assert torch.isnan(measure.t60(short[:, :101], RATE)).all(), "an impulse alone has no slope"
    assert measure.c50(short, RATE).tolist() == [60.0]
    ended = decaying(0.9, 0.3)
    assert torch.isnan(measure.decay_time(ended[:, :700], RATE, -5, -35)).all()
    with pytest.raises(ValueError, match="a channel of the response is silent"):
        measure.energy_decay(torch.zeros(2, 10))


def test_envelope_and_spectra_are_somebody_elses() -> None:
    signal = pytest.importorskip("scipy.signal")
    for length in (1000, 1001):
        sound = noise().double()[:, :length]
        assert np.allclose(measure.envelope(sound), np.abs(signal.hilbert(sound.numpy())))
    sound = noise().double()
    window = signal.get_window("hann", 512)
    padded = np.pad(sound.numpy(), ((0, 0), (256, 256)))
    frame = np.abs(np.fft.rfft(padded[:, 3 * 128 : 3 * 128 + 512] * window))
    assert np.allclose(measure.spectra(sound)[:, :, 3], frame)


def test_distances_by_hand() -> None:
    """Two ears, each a cosine of whole periods of one size against another."""
    time = torch.arange(1024, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * time / 16)
    true = torch.stack([wave, wave])
    found = torch.stack([1.5 * wave, 0.75 * wave])
    assert measure.env(found, true) == pytest.approx(0.5 + 0.25)
    whole = measure.spectra(true).square().mean((-2, -1))
    want = 0.25 * whole[0] + 0.0625 * whole[1]
    assert measure.mag(found, true) == pytest.approx(float(want))
    assert measure.mag(true, true) == measure.env(true, true) == 0
