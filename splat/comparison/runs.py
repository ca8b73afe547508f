"""The runs of a comparison: their folders, their states, and how each is carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from splat import api
from splat.comparison.plan import FILE, Entry, Plan, plain
from splat.comparison.request import within_plan_budget
from splat.core.strategy import Strategy
from splat.evaluation.lpips import Net
from splat.options import Options, Watching
from splat.recipes import saved
from splat.runs import checkpoint
from splat.runs.folder import Folder, fingerprint, read_config
from splat.system import machine
from splat.system.files import read_json, write_json
from splat.system.foreign import filled, reading, record
from splat.types import SceneData

State = Literal["done", "failed", "begun", "waiting"]


@dataclass(frozen=True)
class Note:
    """What is recorded of a run beside its folder."""

    at_once: tuple[int, ...] = ()
    """Runs at once, for each time that it was begun or resumed; 0: not in a process of its own."""
    machine: str = ""
    """Description of the machine that it last ran on."""
    failed: str = ""
    """Why it failed, a sentence; empty: it did not."""


DECIDED = tuple(
    (name, "auto") for name in ("background", "exposure", "decoding", "moments", "harmonics")
)
"""Options that a run decides by its photos, which are the same for all."""


def folder_of(out: Path, entry: Entry) -> Folder:
    """The folder of a run."""
    return Folder(out / "runs" / entry.key)


def log_of(out: Path, entry: Entry) -> Path:
    """The log of a run's process, beside its folder."""
    place = folder_of(out, entry).path
    return place.with_name(place.name + ".log")


def note_of(out: Path, entry: Entry) -> Note:
    """What is recorded of a run."""
    path = _note(out, entry)
    if not path.is_file():
        return Note()
    with reading(path, "the note of a run: delete it"):
        note = record(path)
        return filled(Note, {**note, "at_once": tuple(note.entries("at_once"))})


def begins(out: Path, entry: Entry, at_once: int) -> None:
    """Record that a run is begun or resumed, with how many run at once."""
    note = note_of(out, entry)
    turns = (*note.at_once, at_once)
    write_json(_note(out, entry), asdict(Note(turns, machine.description())))


def failed(out: Path, entry: Entry, why: str) -> None:
    """Record that a run failed."""
    write_json(_note(out, entry), asdict(replace(note_of(out, entry), failed=why)))


def forget(out: Path, entry: Entry) -> None:
    """Remove a run and all records of it."""
    folder_of(out, entry).clear()
    for path in (_note(out, entry), log_of(out, entry)):
        path.unlink(missing_ok=True)


def state_of(plan: Plan, out: Path, entry: Entry) -> State:
    """The state of a run; ValueError where its folder holds another run."""
    place = folder_of(out, entry)
    if not place.is_run():
        return "failed" if note_of(out, entry).failed else "waiting"
    _check_same(plan, out, place, entry)
    if trained(plan, out, entry) and _measured(plan, place):
        return "done"
    return "failed" if note_of(out, entry).failed else "begun"


def trained(plan: Plan, out: Path, entry: Entry) -> bool:
    """Whether a run took all its steps; it may be yet to be measured off the path."""
    metrics = folder_of(out, entry).metrics
    return metrics.is_file() and read_json(metrics).get("steps") == plan.shared.options.steps


def strategy_of(plan: Plan, entry: Entry) -> Strategy:
    """The strategy of a run, within its budget."""
    return within_plan_budget(
        saved.strategy_from_description(plan.entrant(entry.entrant).strategy), entry.budget
    )


def carry_out(
    plan: Plan, out: Path, entry: Entry, *, threads: int | None, cache: int | None = None
) -> None:
    """Train a run to its end, from the start or from its last checkpoint, and measure it."""
    shared, place = plan.shared, folder_of(out, entry)
    planned_scene = plan.scene(entry.scene)
    scene = api.read_scene(planned_scene.path, shared.reading)
    if fingerprint(scene) != planned_scene.mark:
        raise ValueError(
            f"{planned_scene.path}: the views or points are not those that the comparison was begun"
            " with; restore them, or begin another comparison"
        )
    if not trained(plan, out, entry):
        _train(plan, scene, entry, place, threads, cache)
    if not _measured(plan, place):
        record = api.off_path(place.path, scene, device=_device(plan)).as_dict()
        write_json(place.metrics, {**read_json(place.metrics), "off_path": record})


def _train(
    plan: Plan,
    scene: SceneData,
    entry: Entry,
    place: Folder,
    threads: int | None,
    cache: int | None,
) -> None:
    shared = plan.shared
    strategy, net = strategy_of(plan, entry), _net(shared.net)
    watching = Watching(eval_every=shared.eval_every, keep=1, pictures=False, quiet=True)
    if place.is_run() and checkpoint.checkpoints_in(place.checkpoints):
        api.resume(place.path, scene, strategy, threads=threads, watching=watching, lpips=net)
        return
    place.clear_drafts()
    api.train(
        scene,
        strategy,
        replace(
            shared.options, seed=entry.seed, threads=threads, cache=cache, device=_device(plan)
        ),
        out=place.path,
        overwrite=True,
        watching=watching,
        reading=shared.reading,
        command=f"splat compare ({entry.key})",
        lpips=net,
    )


def _measured(plan: Plan, place: Folder) -> bool:
    """Whether the figures of a trained run are all there."""
    return not plan.shared.off_path or "off_path" in read_json(place.metrics)


def _check_same(plan: Plan, out: Path, place: Folder, entry: Entry) -> None:
    """Raise ValueError where a run has other settings than those of the plan."""
    config = read_config(place.config)
    with reading(out / FILE, "the plan of a comparison of this version: use that which wrote it"):
        asked = _settings(plan, entry)
    settings = _of(config.options, config.method)
    for name, value in asked.items():
        if settings[name] != value and (name, value) not in DECIDED:
            raise ValueError(
                f"{place.path} has {name} {settings[name]}, in this comparison it would be {value};"
                " unlike runs do not compare: remove that folder, or give another one with --out"
            )


def _settings(plan: Plan, entry: Entry) -> dict[str, Any]:
    options = replace(plan.shared.options, seed=entry.seed)
    return _of(options, saved.description_of(strategy_of(plan, entry)))


def _of(options: Options, method: Mapping[str, Any]) -> dict[str, Any]:
    return {**plain(options), "seed": options.seed, "method": method}


def _device(plan: Plan) -> Literal["cpu", "cuda"]:
    return "cuda" if plan.shared.device == "cuda" else "cpu"


def _net(name: str) -> Net | None:
    return "vgg" if name == "vgg" else "alex" if name == "alex" else None


def _note(out: Path, entry: Entry) -> Path:
    place = folder_of(out, entry).path
    return place.with_name(place.name + ".json")
