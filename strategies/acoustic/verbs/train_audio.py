"""`splat train-audio`."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from splat import kernels
from splat.core.edit import Change
from splat.options.parse import parsed
from splat.runs import checkpoint
from splat.runs.folder import existing
from splat.strategies.acoustic import sounds
from splat.strategies.acoustic.audible import Audible, Seen, Settings
from splat.strategies.acoustic.choices import Density
from splat.strategies.acoustic.density import AudioGuided
from splat.strategies.acoustic.hearing import Hearing, kept
from splat.strategies.acoustic.learning import (
    Learning,
    Places,
    fixed,
    loaded,
    metres_of,
    places,
)  # fmt: skip
from splat.strategies.acoustic.scene import Scene, check_within
from splat.strategies.acoustic.score import heard_there, told
from splat.strategies.acoustic.sounds import SoundData
from splat.strategies.acoustic.units import UNSURE
from splat.strategies.acoustic.verbs.asked.train_audio import Taught, TrainAudio
from splat.strategies.acoustic.verbs.heard import AudioFolder, audio_of, scene_of
from splat.strategies.acoustic.verbs.sounding import aloud
from splat.system.files import read_json, replacing, telling_faults, write_json
from splat.system.foreign import Record, filled, reading

LOG_EVERY = 10
SAVE_EVERY = 500
KEEP = 2
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Train; the exit code."""
    asked = parsed(TrainAudio, "train-audio", arguments)
    run = existing(asked.run)
    audio = audio_of(run)
    config = _resumed(audio, asked) if asked.resume else _begun(audio, asked, arguments)
    torch.set_num_threads(config["threads"])
    kernels.set_threads(config["threads"])
    data = sounds.load(Path(config["sounds"]))
    scene = scene_of(run.path)
    with aloud():
        learning, hearing, held_out = _prepared(scene, data, _taught(config, audio.config))
    begun = time.monotonic()
    with run.held(), nullcontext() if asked.resume else audio.replacing():
        if asked.resume:
            state = loaded(_last(audio))
            with checkpoint.fitting(state):
                learning.restore(state)
        else:
            write_json(audio.config, config)
        _train(learning, hearing, audio, quiet=asked.quiet or asked.json)
    metrics = {
        "steps": learning.step,
        "seconds": round(time.monotonic() - begun, 1),
        "points": {"began": hearing.began, "now": len(learning.model.cloud)},
        "metres": learning.model.settings.metres,
        **heard_there(hearing, data, held_out),
    }
    write_json(audio.metrics, metrics)
    print(json.dumps(metrics, indent=1) if asked.json else told(metrics, audio.path))
    return 0


def _begun(audio: AudioFolder, asked: TrainAudio, arguments: Sequence[str]) -> dict[str, Any]:
    if asked.sounds is None:
        raise ValueError("no folder of sounds is given; expected one behind the run")
    if checkpoint.checkpoints_in(audio.checkpoints) and not asked.overwrite:
        raise FileExistsError(
            f"{audio.path} is there already; go on with --resume, or replace it with --overwrite"
        )
    return {
        "format": "splat audio",
        "version": 1,
        "sounds": str(asked.sounds.resolve()),
        "taught": asdict(asked.taught),
        "threads": asked.threads or 1,
        "command": shlex.join(["splat", "train-audio", *arguments]),
    }


def _resumed(audio: AudioFolder, asked: TrainAudio) -> dict[str, Any]:
    if not audio.config.is_file() or not checkpoint.checkpoints_in(audio.checkpoints):
        raise FileNotFoundError(
            f"{audio.path} holds no checkpoint; expected a training to go on with: begin it"
            " without --resume"
        )
    config = read_json(audio.config)
    with reading(audio.config, "the settings of a training of sound: begin anew with --overwrite"):
        Record(config).text("sounds"), Record(config).whole("threads", 1, least=1)
    state = loaded(_last(audio))
    if state["step"] >= state["steps"] and audio.metrics.is_file():
        raise ValueError(f"{audio.path} is finished at step {state['step']:,}; nothing is left")
    if asked.sounds is not None:
        config["sounds"] = str(asked.sounds.resolve())
    config["threads"] = asked.threads or config.get("threads", 1)
    return config


def _taught(config: Mapping[str, Any], file: Path) -> Taught:
    with reading(file, "the settings of a training of sound: begin anew with --overwrite"):
        given = Record(config).record("taught")
        density = filled(Density, given.record("density"))
        return filled(Taught, {**given, "density": density})


def _last(audio: AudioFolder) -> Path:
    return checkpoint.checkpoints_in(audio.checkpoints)[-1]


def _prepared(
    scene: Scene, data: SoundData, taught: Taught
) -> tuple[Learning, Hearing, Places | None]:
    """The field as it begins, from the scene and from training places; and held-out places, so
    that files that do not fit are found before anything is trained or replaced."""
    for said in data.notes:
        _log.info(said)
    metres, note = (taught.metres, "") if taught.metres else metres_of(data)
    if note:
        _log.log(logging.WARNING if note == UNSURE else logging.INFO, note)
    mass = scene.mass()
    bounds = scene.bounds(mass)
    check_within(data, bounds, metres)
    seen = Seen(scene.look())
    learned = places(data, data.train, seen, metres)
    held_out = places(data, data.test, seen, metres) if data.test else None
    seconds = learned.truth.shape[-1] / data.rate
    settings = Settings(
        data.kind, data.rate, seconds, metres, taught.share, taught.guidance_rate,
        taught.network_rate, taught.carrier_rate, not taught.no_adapt,
    )  # fmt: skip
    rows = scene.points(mass, taught.points, metres)
    model = Audible(rows, settings, taught.seed, taught.steps)
    strategy = AudioGuided(**asdict(taught.density)).scheduled(taught.steps)
    if taught.no_adapt or taught.no_density:
        strategy = fixed(strategy)
    learning = Learning(
        model, strategy, learned, taught.steps, taught.seed, taught.batch, taught.dropped
    )
    starts = rows["mean"] / metres
    return learning, Hearing(model, data.sources, bounds, starts, seen), held_out


def _train(learning: Learning, hearing: Hearing, audio: AudioFolder, *, quiet: bool) -> None:
    lines = _kept_lines(audio.log, learning.step)
    with replacing(audio.log) as draft:
        draft.write_text("".join(lines), encoding="utf-8")
    with telling_faults(audio.log), audio.log.open("a", encoding="utf-8") as log:

        def watch(_: Learning, terms: Mapping[str, float], change: Change) -> None:
            if change.counts:
                edit = {"step": learning.step, "before": change.before, **change.counts}
                print(json.dumps(edit), file=log)
            if learning.step % LOG_EVERY == 0 or learning.step == learning.steps:
                record = {"step": learning.step, "points": len(learning.model.cloud),
                          "loss": sum(terms.values()), "terms": terms}  # fmt: skip
                print(json.dumps(record), file=log, flush=True)

        learning.watch = watch
        bar = tqdm(total=learning.steps, initial=learning.step, unit="step", disable=quiet or None)
        with bar:
            while learning.step < learning.steps:
                learning.advance()
                bar.update()
                if learning.step % SAVE_EVERY == 0 or learning.step == learning.steps:
                    path = checkpoint.path_of(audio.checkpoints, learning.step)
                    learning.save(path, **kept(hearing))
                    checkpoint.prune(audio.checkpoints, KEEP)
                    audio.replaced.forget()


def _kept_lines(log: Path, step: int) -> list[str]:
    """What a log has up to a step, to go on from there."""
    if not log.is_file():
        return []
    lines = log.read_text("utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    with reading(log, "the log of a training of sound: delete it"):
        return [line for line in whole if Record.of(json.loads(line)).whole("step") <= step]
