"""Sounds are heard from where a listener stands or moves, and under the video of the same path."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import fftconvolve
from torch import Tensor

from splat.render import camera_paths
from splat.render.video import write_video
from splat.strategies.acoustic import arrival, film, masked, measure, moving, picture, sounds
from splat.strategies.acoustic.sounds import Ears, Source
from splat.strategies.acoustic.verbs import sounding
from splat.types import Camera

soundfile = pytest.importorskip("soundfile")
RATE, FPS = 16000, 30
TRAINED = (Source((6.0, 0.5, 0.0)), Source((0.0, 6.0, 0.0)))
ROOM = ((-5.0, -5.0, -5.0), (7.0, 7.0, 5.0))


@dataclass
class Open:
    """Out of doors: direct sound alone, by 1 / distance, and a fixed tail where one is given."""

    kind: Literal["responses", "recordings"] = "responses"
    rate: int = RATE
    metres: float = 1.0
    tail: Tensor | None = None
    sources: tuple[Source, ...] = TRAINED
    bounds: tuple[Any, Any] = ROOM
    asked: int = 0

    def responses(self, ears: Sequence[Ears], source: Source) -> Tensor:
        self.asked += len(ears)
        delay = arrival.arrival(ears, source, self.metres)[..., None]
        direct = torch.sinc(torch.arange(2048) - delay * self.rate) / (delay * arrival.SPEED)
        tail = 0 if self.tail is None else torch.nn.functional.pad(self.tail, (1024, 0))
        return (direct + tail).float()

    def masks(self, ears: Sequence[Ears], source: Source) -> tuple[Tensor, Tensor]:
        """Quieter by distance, and the left ear only where the source is to the left."""
        self.asked += len(ears)
        far = arrival.arrival(ears, source, self.metres)
        lean = (far[:, 1:] - far[:, :1]) * arrival.SPEED / 0.225
        mixture = 1 / (far.mean(1, keepdim=True) * arrival.SPEED)
        return mixture.expand(-1, 257).float(), lean.clamp(-1, 1).expand(-1, 257).float()

    def inside(self, ears: Ears) -> bool:
        low, high = self.bounds
        return all(a <= x <= b for a, x, b in zip(low, ears.position, high, strict=True))


def noise(seconds: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(round(seconds * RATE), generator=generator)


def walk(seconds: float, speed: float = 1.5) -> list[Ears]:
    """Towards the first source, 30 places a second, turning the head meanwhile."""
    times = np.arange(round(seconds * FPS) + 1) / FPS
    return [Ears((speed * t, 0.2, 0.0), (math.cos(t), math.sin(t), 0.0)) for t in times]


# ------------------------------------------------------------------------------------- by itself


def test_standing_still_is_convolution() -> None:
    field, dry = Open(tail=noise(0.064).expand(2, -1)), noise(6.0)
    here = Ears((1.0, 2.0, 0.0), (0.0, 1.0, 0.0))
    found = moving.heard(field, [here], TRAINED[0], dry)
    response = field.responses([here], TRAINED[0])[0].double().numpy()
    true = np.stack([fftconvolve(dry.double().numpy(), ear) for ear in response])
    assert found.dtype == torch.float32 and found.shape == true.shape, "the tail is all there"
    assert np.abs(found.numpy() - true).max() < 1e-6 * np.abs(true).max()
    # A path on which nobody moves is the same, whether it ends before the sound or after.
    for places in (2, 40, 400):
        still = moving.heard(field, [here] * places, TRAINED[0], dry, fps=FPS)
        assert still.shape == found.shape and (still - found).abs().max() < 1e-5 * found.abs().max()


def test_moving_listeners_hear_what_they_should() -> None:
    """Each ear hears the tone as it left the source, as loud as its distance then makes it."""
    time = np.arange(3 * RATE) / RATE
    path = walk(3.0)
    delay = arrival.arrival(path, TRAINED[0], 1.0).numpy()
    delay = np.stack([np.interp(time, np.arange(len(path)) / FPS, ear) for ear in delay.T])
    for hertz in (300, 2000, 6000):
        dry = torch.from_numpy(np.sin(2 * np.pi * hertz * time)).float()
        found = moving.heard(Open(), path, TRAINED[0], dry, fps=FPS)[:, : len(time)].numpy()
        true = np.sin(2 * np.pi * hertz * (time - delay)) / (delay * arrival.SPEED)
        inner = slice(RATE // 8, -RATE // 8)
        apart = np.abs(found - true)[:, inner] / (1 / (delay * arrival.SPEED))[:, inner]
        # A fade between responses that lie apart would be a comb filter, with holes.
        assert apart.max() < 0.03, hertz


def test_crossfades_keep_level_and_are_continuous() -> None:
    dry = noise(3.0)
    found = moving.heard(Open(), walk(3.0), TRAINED[0], dry, fps=FPS)
    far = arrival.arrival(walk(3.0), TRAINED[0], 1.0).mean(1).numpy() * arrival.SPEED
    for k in range(2, 28):
        part = found[:, k * 1600 : k * 1600 + 1600].square().mean().sqrt()
        expected = 0.1 / np.interp(k / 10 + 0.05, np.arange(len(far)) / FPS, far)
        assert float(part) == pytest.approx(expected, rel=0.1), k
    tone = torch.sin(2 * torch.pi * 100 * torch.arange(3 * RATE) / RATE)
    bend = moving.heard(Open(), walk(3.0), TRAINED[0], tone, fps=FPS).diff(n=2, dim=1).abs()
    # A click would bend it more than the tone itself, where it is nearest.
    assert bend[:, 1000 : 3 * RATE].max() < 1.1 * (2 * math.pi * 100 / RATE) ** 2 / far.min()


def test_a_listener_who_jumps_is_faded_without_howling() -> None:
    path = [Ears((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))] * 15 + [
        Ears((-4.0, -4.0, 0.0), (1.0, 0.0, 0.0))
    ] * 15
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE)
    found = moving.heard(Open(), path, TRAINED[0], tone, fps=FPS)[:, 4000:15000].double()
    spectrum = torch.fft.rfft(found * torch.hann_window(found.shape[1])).abs().square()
    hertz = torch.arange(spectrum.shape[1]) * RATE / found.shape[1]
    inside = (hertz - 440).abs() < 30
    assert spectrum[:, inside].sum() > 0.995 * spectrum.sum()


def test_only_places_that_matter_are_asked_for() -> None:
    field = Open()
    moving.heard(field, walk(20.0, 0.1), TRAINED[0], noise(1.0), fps=FPS)
    assert field.asked <= moving.BATCH
    assert moving._keys(10, 30, 6) == [0, 5, 9] and moving._keys(3, 1, 6) == [0, 1, 2]
    for wrong, words in (({"fps": 0}, "fps is 0"), ({"keys": -1.0}, "keys is -1")):
        with pytest.raises(ValueError, match=words):
            moving.heard(field, walk(1.0), TRAINED[0], noise(1.0), **wrong)
    with pytest.raises(ValueError, match="0 places of a listener"):
        moving.heard(field, [], TRAINED[0], noise(1.0))


@pytest.mark.parametrize("samples", [1, 128, 5000, 140_001])
def test_masks_of_one_change_no_bit(samples: int) -> None:
    """A3: M = 1 and D = 0 give the input back in both ears, exactly."""
    dry = noise(samples / RATE)
    gain = masked.gains(torch.ones(2, 257), torch.zeros(2, 257))
    found = masked.masked(dry, gain, torch.tensor([0.0, 900.0], dtype=torch.float64))
    assert torch.equal(found, dry.expand(2, -1))


def test_masks_are_those_of_the_stft() -> None:
    dry, generator = noise(9.0), torch.Generator().manual_seed(1)
    mixture, difference = (torch.rand(1, 257, generator=generator) for _ in range(2))
    difference = 2 * difference - 1
    gain = masked.gains(mixture, difference)
    found = masked.masked(dry, gain, torch.zeros(1, dtype=torch.float64))
    window = torch.hann_window(512)
    spectrum = torch.stft(dry, 512, 128, window=window, pad_mode="constant", return_complex=True)
    for ear, sign in zip(found, (1, -1), strict=True):
        mask = (mixture * (1 + sign * difference))[0, :, None]
        true = torch.istft(spectrum * mask, 512, 128, window=window, length=len(dry))
        assert (ear - true)[512:-512].abs().max() < 1e-6


def test_masks_change_steadily_along_a_path() -> None:
    dry, field = noise(3.0), Open("recordings")
    found = moving.heard(field, walk(3.0), TRAINED[0], dry, fps=FPS)
    mixture, difference = field.masks(walk(3.0), TRAINED[0])
    for k in (3, 11, 26):
        part = slice(k * 1600, k * 1600 + 1600)
        frame = 3 * k + 1
        for ear, sign in zip(found, (1, -1), strict=True):
            level = float(mixture[frame, 0] * dry[part].square().mean().sqrt())
            expected = level * (1 + sign * float(difference[frame, 0]))
            found_level = float(ear[part].square().mean().sqrt())
            assert found_level == pytest.approx(expected, abs=0.04 * level)


# ----------------------------------------------------------------------------------------- poses


def test_ears_of_a_camera() -> None:
    """A camera that looks along +x with +z up has +y to its left."""
    rotation = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # right, down, ahead
    pose = torch.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ torch.tensor([1.0, 2.0, 3.0])
    ears = sounding.ears_of(Camera(pose, torch.eye(3), 8, 8))
    assert ears.position == (1, 2, 3) and ears.facing == (1, 0, 0) and ears.up == (0, 0, 1)
    left, right = arrival.arrival([ears], Source((1.0, 5.0, 3.0)), 2.0)[0].tolist()
    # 6 m away; Woodworth: a (sin 90° + pi / 2) / c between the ears.
    assert left == pytest.approx((6 - 0.0875) / 343)
    assert right - left == pytest.approx(0.0875 * (1 + math.pi / 2) / 343)
    found = moving.heard(Open("recordings"), [ears], Source((1.0, 5.0, 3.0)), noise(0.5))
    assert found[0].square().mean() > 100 * found[1].square().mean(), "heard on the left"
    turned = sounding.turned((1, 2, 3), (2, 0, 1), (0, 0, 1))
    assert np.dot(turned.facing, turned.up) == pytest.approx(0) and turned.up[2] > 0
    for facing, up in (
        ((0, 0, 0), (0, 0, 1)),
        ((0, 0, 2), (0, 0, 1)),
        ((1, 0, math.nan), (0, 0, 1)),
    ):
        with pytest.raises(ValueError, match="expected"):
            sounding.turned((1, 2, 3), facing, up)


# -------------------------------------------------------------------------------- the command line


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run whose cameras stand about (1, 1, 0), and whose field is out of doors."""
    cameras = []
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        ahead = -np.array([np.cos(angle), np.sin(angle), 0])
        right = np.cross(ahead, [0, 0, 1])
        rotation = np.stack([right, np.cross(ahead, right), ahead])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, -rotation @ (np.array([1, 1, 0]) - 3 * ahead)
        cameras.append({"world_to_camera": pose.tolist(), "split": "train"})
    folder = tmp_path / "run"
    folder.mkdir()
    K = [[40.0, 0, 24], [0, 40, 18], [0, 0, 1]]
    text = {"width": 48, "height": 36, "K": K, "cameras": cameras}
    (folder / "cameras.json").write_text(json.dumps(text))
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(sounding, "hearing", lambda run: Open())
    return folder


def dry(path: str = "a.wav", seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> Path:
    sound = torch.stack([noise(seconds * rate / RATE, seed=i) for i in range(channels)])
    sounds.write_wav(path, sound, rate)
    return Path(path)


AT = ("--at", 1, 2, 0, "--facing", 0, 1, 0)


def test_hear_writes_what_is_heard(splat: Callable[..., Any], run: Path) -> None:
    source = dry()
    outcome = splat("hear", run, "--source", source, *AT, "-o", "x.wav", "--spectrogram", "x.png")
    assert outcome.code == 0, outcome.err
    assert "x.wav: 1.13 s of sound" in outcome.out and "x real time), peak -" in outcome.out
    assert "first of 2 trained" in outcome.err
    here = Ears((1.0, 2.0, 0.0), (0.0, 1.0, 0.0))
    sound = sounds.read_wav(source, channels=1, rate=RATE)[0]
    expected = moving.heard(Open(), [here], TRAINED[0], sound)
    rate, samples = wavfile.read("x.wav")  # not by our reader
    assert rate == RATE and samples.dtype == np.int16 and samples.shape == (RATE + 2047, 2)
    assert np.abs(samples.T / 32768 - expected.numpy()).max() < 1 / 32767
    assert Path("x.png").stat().st_size > 10_000
    asked = ("hear", run, "--source", source, "--quiet")
    assert "exists; replace it" in splat(*asked, *AT, "-o", "x.wav").err
    # What is near is louder than full scale: made quieter for 16 bits, kept in floats.
    loud = (*asked, "--at", 5.95, 0.5, 0, "--overwrite", "-o", "x.wav")
    outcome = splat(*loud)
    assert "times quieter" in outcome.err and "peak -0.0 dB" in outcome.out
    assert np.abs(wavfile.read("x.wav")[1]).max() >= 32760
    record = json.loads(splat(*loud, "--json").out)
    assert record["file"] == "x.wav" and record["seconds"] == (RATE + 2047) / RATE
    assert record["rate"] == RATE and abs(record["peak_db"]) < 0.01 and record["factor"] < 1
    assert splat(*loud, "--float").code == 0
    assert (
        wavfile.read("x.wav")[1].dtype == np.float32 and np.abs(wavfile.read("x.wav")[1]).max() > 1
    )


def test_hear_along_a_path(splat: Callable[..., Any], run: Path) -> None:
    asked = ("hear", run, "--source", dry(rate=8000), "--path", "turntable", "--from", 0, 6, 0)
    outcome = splat(*asked, "-o", "x.wav")
    assert outcome.code == 0, outcome.err
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(before, 2))
    assert splat(*asked, "-o", "again.wav").code == 0 and torch.get_num_threads() != before
    torch.set_num_threads(before)
    assert Path("again.wav").read_bytes() == Path("x.wav").read_bytes()
    assert "resampled from 8000 Hz to the 16000 Hz" in outcome.err and "trained" not in outcome.err
    assert sounds.look("x.wav") == sounds.wav.Format(RATE, 2, RATE + 2047)
    outcome = splat(*asked[:-4], "--from", 1, 1, 1, "-o", "y.wav", "--frames", 10, "--fps", 5)
    assert outcome.code == 0 and "stays there" not in outcome.err
    assert "from the nearest that the field learned, at 6 0.5 0" in outcome.err
    outcome = splat(*asked, "-o", "short.wav", "--frames", 12)
    assert "the path ends after 0.4 of 1.0 s: the listener stays there" in outcome.err
    dry("stereo.wav", channels=2)
    outcome = splat("hear", run, "--source", "stereo.wav", *AT, "-o", "z.wav")
    assert outcome.code == 0 and "mean of both channels" in outcome.err


WRONG: dict[str, tuple[tuple[object, ...], str]] = {
    "neither": ((), "neither of --at and --path"),
    "both": ((*AT, "--path", "views"), "both of --at and --path"),
    "outside": (("--at", 1, 2, 99, "--facing", 1, 0, 0), "at is 1 2 99, outside of the scene"),
    "away": ((*AT, "--from", 50, 0, 0), "the source is 50 0 0, outside of the scene"),
    "no look": (("--at", 6, 0.5, 0), "facing is 0 0 0; expected a direction"),
    "look": (("--path", "views", "--up", 0, 0, 1), "expected them with --at only"),
    "spiral": (("--path", "spiral"), "expected turntable, along, views"),
    "fps": (("--path", "views", "--fps", 0), "fps is 0; expected above 0"),
    "suffix": ((*AT, "-o", "x.mp3"), "ends in .mp3; expected .wav"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_asks_are_told_in_a_sentence(case: str, splat: Callable[..., Any], run: Path) -> None:
    arguments, words = WRONG[case]
    out = () if "-o" in arguments else ("-o", "x.wav")
    outcome = splat("hear", run, "--source", dry(), "--quiet", *arguments, *out)
    assert outcome.code == 2 and words in outcome.err and outcome.err.count("\n") == 1
    assert not Path("x.wav").exists()


def test_paths_that_leave_the_scene_and_bad_sounds(
    splat: Callable[..., Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("hear", run, "--quiet", *AT, "-o", "x.wav")
    opposites = torch.stack([noise(0.1), -noise(0.1)])
    for sound, words in (
        (torch.zeros(1, 100), "is silent; expected a sound"),
        (torch.full((1, 100), torch.nan), "not finite"),
        (opposites, "its channels are opposites"),
        (torch.stack([noise(0.1)] * 3), "is of 3 channels; expected mono"),
    ):
        soundfile.write("bad.wav", sound.T.numpy(), RATE, subtype="FLOAT")
        outcome = splat(*asked, "--source", "bad.wav")
        assert outcome.code == 2 and words in outcome.err
    soundfile.write("clip.wav", (50 * noise(0.1)).numpy(), RATE, subtype="PCM_16")
    assert "seems clipped" in splat(*asked, "--source", "clip.wav").err
    low, high = (-1.0, -5.0, -5.0), (7.0, 7.0, 5.0)
    monkeypatch.setattr(sounding, "hearing", lambda run: Open(bounds=(low, high)))
    outcome = splat("hear", run, "--source", dry(), "--path", "views", "-o", "y.wav", "--quiet")
    assert (
        outcome.code == 2 and "place 4 of 8 of the path is -1.121 3.121 0, outside" in outcome.err
    )
    assert "reaches from -1 -5 -5 to 7 7 5" in outcome.err


def test_spectrograms_show_each_ear(tmp_path: Path) -> None:
    """A tone on the left, silence on the right: bright only in the upper panel, at its height."""
    cv2 = pytest.importorskip("cv2")
    tone = torch.sin(2 * torch.pi * 2000 * torch.arange(40 * RATE) / RATE)
    picture.spectrogram(torch.stack([tone, 0 * tone]), RATE, tmp_path / "x.png", "a tone")
    page = cv2.imread(str(tmp_path / "x.png")).sum(2).astype(int)
    assert page.shape == (600, 1000)
    upper, lower = page[60:270, 300], page[340:540, 300]
    assert (lower < 60).all() and 1 <= (upper > 500).sum() < 40
    # 2000 of 8000 Hz: a quarter up.
    bright = int((upper > 500).nonzero()[0].mean())
    dark = (page[:300, 300] < 700).nonzero()[0]
    assert (dark.max() - (60 + bright)) / (dark.max() - dark.min()) == pytest.approx(0.25, abs=0.08)
    # Long sounds are looked at in parts, whose seams do not show; it is as if in one.
    steady = picture._power(noise(30.0).expand(2, -1))
    whole = measure.spectra(noise(30.0).expand(2, -1)).square()[..., :3750]
    torch.testing.assert_close(
        steady[..., :937], whole[..., :3748].unflatten(-1, (937, 4)).mean(-1)
    )
    assert steady.shape == (2, 257, 938)


# --------------------------------------------------------------------------------- under a video


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_sound_lies_under_the_video(
    seconds: float, splat: Callable[..., Any], tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av")
    field = Open(bounds=((-99.0,) * 3, (99.0,) * 3))
    monkeypatch.setattr(sounding, "hearing", lambda run: field)
    source = dry(seconds=seconds)
    asked = ("render", tiny_run, "--frames", 45, "--max-side", 16, "--sound", source)
    outcome = splat(*asked, "-o", "x.mp4")
    assert outcome.code == 0, outcome.err
    assert "45 pictures of 16x12 pixels, with 1.50 s of sound" in outcome.out
    assert ("it is cut" if seconds > 2 else "silence follows") in outcome.err
    assert not list(Path().glob(".x*")), "no draft is left"
    with av.open("x.mp4") as film:
        video, audio = film.streams.video[0], film.streams.audio[0]
        assert video.frames == 45 and float(video.duration * video.time_base) == 1.5
        assert audio.codec_context.name == "aac" and audio.rate == 48000 and audio.channels == 2
        assert float(audio.duration * audio.time_base) == pytest.approx(1.5, abs=0.05)
    with av.open("x.mp4") as film:
        frames = list(film.decode(audio=0))
    # The encoder's lead-in has times before 0: players leave it out.
    first = round(frames[0].pts * frames[0].time_base * 48000)
    found = np.concatenate([frame.to_ndarray() for frame in frames], 1)
    found = found[:, -first:] if first < 0 else np.pad(found, ((0, 0), (first, 0)))
    cameras = camera_paths.turntable(sounding.views_of(tiny_run, None), 45)
    ears = [sounding.ears_of(camera) for camera in cameras]
    sound = sounds.read_wav(source, channels=1, rate=RATE)[0]
    true = moving.heard(field, ears, TRAINED[0], sound, fps=30)[:, : 3 * RATE // 2]
    true = sounds.resampled(true, RATE, 48000).numpy()
    samples = min(true.shape[1], found.shape[1])
    # In step to the sample: moved by one, it matches worse.
    match = [
        np.vdot(np.roll(found[:, :samples], k, 1), true[:, :samples]) for k in (-3, -1, 0, 1, 3)
    ]
    assert int(np.argmax(match)) == 2
    assert match[2] > 0.9 * np.linalg.norm(found[:, :samples]) * np.linalg.norm(true[:, :samples])
    if seconds < 1:
        assert np.abs(found[:, 48000:]).max() < 1e-3 < np.abs(found[:, :24000]).max()


@pytest.mark.parametrize("fps", [12.5, 29.97])
def test_pictures_are_copied_as_they_are_coded(fps: float, tmp_path: Path) -> None:
    av, cv2 = pytest.importorskip("av"), pytest.importorskip("cv2")
    frames = [torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(i)) for i in range(25)]
    write_video(frames, tmp_path / "silent.mp4", fps)
    film.join(tmp_path / "silent.mp4", noise(2.0).expand(2, -1), tmp_path / "x.mp4")

    def coded(name: str) -> list[bytes]:
        with av.open(str(tmp_path / name)) as file:
            return [bytes(packet) for packet in file.demux(video=0) if packet.size]

    assert coded("x.mp4") == coded("silent.mp4") and len(coded("x.mp4")) == 25
    shown = cv2.VideoCapture(str(tmp_path / "x.mp4"))
    assert shown.get(cv2.CAP_PROP_FRAME_COUNT) == 25
    assert shown.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)
    assert shown.read()[1].shape == (16, 24, 3)
    with pytest.raises(OSError):
        film.join(tmp_path / "missing.mp4", noise(1.0).expand(2, -1), tmp_path / "y.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["silent.mp4", "x.mp4"]


def test_sound_needs_a_video_and_a_trained_field(splat: Callable[..., Any], tiny_run: Path) -> None:
    asked = ("render", tiny_run, "--frames", 2, "--quiet")
    of_file = ("render", tiny_run / "point_cloud.ply", "--cameras", tiny_run / "cameras.json")
    assert "a file without sound" in splat(*of_file, "--sound", dry(), "-o", "x.mp4").err
    assert "--from is given without --sound" in splat(*asked, "--from", 0, 0, 0).err
    refused = splat(*asked, "--sound", dry(), "-o", "folder")
    assert refused.code == 2 and "ending in .mp4 with --sound" in refused.err
    pytest.importorskip("av")
    deaf = splat(*asked, "--sound", "a.wav", "-o", "x.mp4")
    assert deaf.code == 2 and "sound" in deaf.err and deaf.err.count("\n") == 1
    deaf = splat("hear", tiny_run, "--source", "a.wav", *AT, "-o", "x.wav", "--quiet")
    assert deaf.code == 2 and "sound" in deaf.err and deaf.err.count("\n") == 1
    assert not Path("x.mp4").exists() and not Path("x.wav").exists()


@pytest.fixture(scope="module")
def tiny_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a few steps; not to be changed."""
    import splat as package
    from splat import api
    from splat.options import Options
    from splat.strategies.mcmc import Mcmc

    out = tmp_path_factory.mktemp("runs") / "tiny"
    options = Options(steps=5, max_side=0)
    api.train(api.load(tiny_folder), Mcmc(cap=500), options, out=out, reading=package.Reading())
    return out
