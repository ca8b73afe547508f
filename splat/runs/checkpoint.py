"""Checkpoints: the whole state of a run in one file, written so that none is ever half there.

A file holds tensors, numbers and texts only, so `torch.load(path, weights_only=True)` opens it.
It depends on nothing but the run: equal runs write equal bytes.
"""

from __future__ import annotations

import pickle
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from splat import kernels
from splat.core.cloud import Cloud, check_saved
from splat.core.knobs import Command
from splat.core.model import TrainedModule, check_shapes
from splat.loop import Run
from splat.runs.kept import checkpoints_in as checkpoints_in
from splat.runs.kept import path_of as path_of
from splat.runs.kept import prune as prune
from splat.runs.kept import shown_of as shown_of
from splat.system.files import replacing
from splat.system.foreign import (
    Broken,
    Record,
    Unreadable,
    check_claim,
    filled,
    finite,
    fits,
    reading,
    shown,
)
from splat.types import Drawing, Frame

FORMAT = "splat checkpoint"
VERSION = 3
"""Version of the format; files of a newer one are refused."""
CHANGED = 2
"""Version of files of runs of one process that somebody changed while they trained."""
UNCHANGED = 1
"""Version of files of runs that nobody changed while they trained, which older versions of splat
read."""

State = Mapping[str, Any]
_CLOUD = "_extra_state"
"""Key of the cloud in the state of a model."""
_MOST_PARTS = 1 << 20
"""Parts, within one another, that a state may have."""


def save(run: Run, path: Path) -> None:
    """Write the state of a run; what stood at `path` stays until the new file is complete."""
    write(whole_state_of(run), path)


def whole_state_of(run: Run) -> dict[str, Any]:
    """The state of a run with the rows of all processes, which all must ask for where these share
    them out; only the first one has them then."""
    state, shard = state_of(run), run.model.cloud.shard
    if not shard.whole:
        model = state["model"]
        state["model"] = {**model, _CLOUD: shard.state(model[_CLOUD])}
        state["shares"] = shard.counts
    return state


def share(state: State, rank: int, count: int) -> State:
    """The part of a state that one of `count` processes has which share the rows out: those that it
    had where there were as many, else every so many of them."""
    shares: list[int] = list(state.get("shares", ()))
    if len(shares) == count:
        part = slice(sum(shares[:rank]), sum(shares[: rank + 1]))
    else:
        part = slice(rank, None, count)

    def own(values: Any) -> Any:
        return values[part].clone() if isinstance(values, Tensor) else values

    cloud = state["model"][_CLOUD]
    columns = {
        name: {key: own(value) for key, value in column.items()}
        for name, column in cloud["columns"].items()
    }
    statistics = {name: own(values) for name, values in cloud["statistics"].items()}
    cloud = {**cloud, "columns": columns, "statistics": statistics}
    return {**state, "model": {**state["model"], _CLOUD: cloud}}


def state_of(run: Run) -> dict[str, Any]:
    """The state of a run, as a file holds it; its tensors are those of the run, no copies."""
    state: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION if run.at_once > 1 else CHANGED if run.commands else UNCHANGED,
        "step": run.step,
        "steps": run.steps,
        "ended": run.ended,
        "seed": run.seed,
        "views": len(run.views),
        "frame": {"centre": list(run.frame.centre), "scale": run.frame.scale},
        "drawing": asdict(run.drawing),
        "model": dict(run.model.state_dict()),
        "modules": {
            name: {
                "module": dict(part.module.state_dict()),
                "optimizer": part.optimizer.state_dict(),
            }
            for name, part in run.modules.items()
        },
    }
    if run.render.device.type == "cpu":
        state["isa"] = kernels.isa()
    if run.at_once > 1:
        state["at_once"] = run.at_once
    if run.commands:
        state["commands"] = [
            [command.step, command.name, command.value] for command in run.commands
        ]
    if run.rolled_back:
        state["rolled_back"] = True
    return state


def copied(state: Any) -> Any:
    """A copy of a state on the CPU, which the run's next steps leave alone."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state


def write(state: State, path: Path) -> None:
    """Write a state, tensors and numbers and texts; equal ones as equal bytes, all or nothing."""
    with replacing(path) as draft, draft.open("wb") as file:
        sink = _Sink(file)
        torch.save(_canonical(state), cast(BinaryIO, sink))  # of a file it uses write and flush
        sink.check()


def load(
    path: Path,
    kind: str = FORMAT,
    version: int = VERSION,
    *,
    what: str = "checkpoint",
    remedy: str = "delete it and resume from the one before",
) -> State:
    """What a checkpoint holds, on the CPU, and its own `path`; `what` it is called, and the
    `remedy` where it is broken, are for sentences.

    Raises ValueError where it is none of that kind, or a newer one, or claims more than it has.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a {what}")
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as parts:
            check_claim(sum(part.file_size for part in parts.infolist()), size)
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts.infolist()):
                raise Broken("it is packed, and torch packs nothing")
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check_parts(state, size)
    except OSError:
        raise
    except Exception as error:  # whatever a file that is none of torch's makes it raise
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # of which torch says how to run it
            reason = "it holds more than tensors, numbers and texts, or is damaged"
        raise Unreadable(f"{path} cannot be read as a {what} ({reason}); {remedy}") from error
    with reading(path, f"a {what} of splat: {remedy}"):
        if kind != FORMAT and (type(state) is not dict or state.get("format") != kind):
            raise Broken(f"is no {what} of splat, though torch can read it; {remedy}")
        if type(state) is not dict or state.get("format") != kind:
            raise Broken(
                "is no checkpoint of splat, though torch can read it; give a run folder that"
                " `splat train` wrote"
            )
        if (written := Record(state).whole("version")) > version:
            raise Broken(
                f"has {what} format {written}, this splat reads up to {version}; upgrade"
                " splat-toolkit"
            )
        if kind == FORMAT:
            _check_run(Record(state))
    return {**state, "path": str(path)}


@contextmanager
def fitting(state: State) -> Iterator[None]:
    """The edge at which a state is put to use: what does not fit is a sentence with its file."""
    expected = "the state of this method: resume with the one it was trained with"
    with reading(Path(state.get("path", "the checkpoint")), expected):
        yield


def _check_parts(state: Any, size: int) -> None:
    """Raise `Broken` where a state has too many parts, or tensors larger than its file."""
    parts, many, claimed = [state], 1, 0
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list | tuple):
            # The same list many times over takes no room in a file, and for ever to walk through.
            many += len(part)
            if many > _MOST_PARTS:
                raise Broken(f"it has more than {_MOST_PARTS:,} parts")
            parts += part.values() if isinstance(part, dict) else part
        elif isinstance(part, Tensor):
            if part.layout != torch.strided or part.device.type != "cpu" or part.is_quantized:
                raise Broken("it has a tensor whose numbers are not there")
            claimed += part.numel() * part.element_size()
    check_claim(claimed, size)


def _check_run(state: Record) -> None:
    """Raise `Broken` where the state of a run lacks what it is restored from."""
    for key in ("step", "steps", "views"):
        state.whole(key)
    state.whole("at_once", 1, least=1)
    for key in ("ended", "isa"):
        state.text(key, "")
    frame_record = state.record("frame")
    frame_record.number("scale", above=0)
    frame_record.numbers("centre", 3)
    filled(Drawing, state.record("drawing", asdict(Drawing())))
    for name in (modules := state.record("modules")):
        modules.record(name).record("module"), modules.record(name).record("optimizer")
    if not fits(state.get("commands") or [], list[tuple[int, str, float]]):
        raise Broken("has changes that are none; expected steps, names and numbers")
    cloud = state.record("model").record(_CLOUD)
    check_saved(cloud)
    check_shapes({name: column["values"] for name, column in cloud["columns"].items()})
    rows = len(next(iter(cloud["columns"].values()))["values"])
    shares = state.get("shares")
    if shares is not None and not (
        fits(shares, list[int]) and min(shares, default=0) >= 0 and sum(shares) == rows
    ):
        raise Broken(f"has shares of processes that do not add up to its {rows:,} rows")


def restore(run: Run, state: State) -> None:
    """Set a run that was built alike to the state of a checkpoint, on its own device.

    What was changed while it trained is changed again, under the same steps; what was changed in
    `run` before is undone.
    """
    if state["views"] != len(run.views):
        raise ValueError(
            f"the checkpoint was trained on {state['views']} views, the scene has"
            f" {len(run.views)} now; restore the photos that were there"
        )
    if set(state["modules"]) != set(run.modules):
        raise ValueError(
            f"the checkpoint has networks {sorted(state['modules'])}, this method has"
            f" {sorted(run.modules)}; resume with the method it was trained with"
        )
    run.forget_changes()
    with fitting(state):
        run.model.load_state_dict(state["model"])
        for name, part in run.modules.items():
            part.module.load_state_dict(state["modules"][name]["module"])
            restore_optimizer(part.optimizer, state["modules"][name]["optimizer"])
            part.optimizer.zero_grad(set_to_none=True)
    run.step, run.ended = state["step"], state.get("ended", "")
    run.order, run.rolled_back = None, state.get("rolled_back", False)
    was, now = at_once(state), run.at_once
    if was != now:
        run.step = min(regrouped(run.step, was, now), run.steps)
        run.model.cloud.regroup(was, now)
        for part in run.modules.values():
            part.regroup(was, now)
    for step, name, value in state.get("commands", ()):
        try:
            run.take(Command(regrouped(step, was, now), name, value))
        except ValueError as error:
            raise ValueError(
                f"the checkpoint has a change of {name} at step {step:,}, which this method does"
                f" not take: {error}"
            ) from None


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Set an optimizer to a state that another one like it had; raises `Broken` where its rates are
    none."""
    # One that keeps nothing of its own, as that of shared rows, saves no settings.
    groups = Record(saved).records("param_groups") if "param_groups" in saved else []
    for own, group in zip(optimizer.param_groups, groups, strict=bool(groups)):
        for name in own.keys() - {"params"}:
            if not _alike(own[name], group.get(name, own[name])):
                said = f"has `{name}`: {shown(group.get(name))} for an optimizer"
                raise Broken(f"{said}; expected one such as {own[name]}")
    optimizer.load_state_dict(dict(saved))


def _alike(own: Any, given: Any) -> bool:
    """Whether a setting of an optimizer is as its own: a number, several, or a choice."""
    if isinstance(own, list | tuple):
        same = isinstance(given, list | tuple) and len(given) == len(own)
        return same and all(map(_alike, own, given))
    if isinstance(own, float | int) and not isinstance(own, bool):
        return not isinstance(given, bool) and finite(given) is not None
    return type(given) is type(own)


def other_kernels(state: State) -> str:
    """The instruction set that trained a checkpoint on the CPU, if this process has another one;
    else empty."""
    isa: str = state.get("isa", "")
    return isa if isa and isa != kernels.isa() else ""


def at_once(state: State) -> int:
    """Photos that each step of the run showed: as many as there were processes."""
    photos: int = state.get("at_once", 1)
    return photos


def photos_shown(state: State) -> int:
    """Photos that the run has shown: steps done times photos a step."""
    photos: int = state["step"] * at_once(state)
    return photos


def regrouped(step: int, was: int, now: int) -> int:
    """Steps of `now` photos that show at least as many as `step` steps of `was` photos."""
    return -(-step * was // now)


def frame(state: State) -> Frame:
    """The frame of training."""
    x, y, z = state["frame"]["centre"]
    return Frame((x, y, z), state["frame"]["scale"])


def drawing(state: State) -> Drawing | None:
    """How the run was drawn; None: written by a version of splat that did not say."""
    record = state.get("drawing")
    return None if record is None else Drawing(**record)


def rows(state: State) -> dict[str, Tensor]:
    """The columns of the model's cloud."""
    columns = state["model"][_CLOUD]["columns"]
    return {name: column["values"] for name, column in columns.items()}


def broken_columns(cloud: Cloud) -> dict[str, int]:
    """Columns that hold NaN or infinite values, and in how many rows."""
    found = ((name, broken_rows(cloud[name].detach())) for name in cloud.names)
    return {name: len(rows) for name, rows in found if len(rows)}


def broken_moments(cloud: Cloud) -> dict[str, int]:
    """Columns of which a moment of Adam holds NaN or infinite values, and in how many rows: these
    move no more, or are NaN after the next step."""
    broken = {}
    for name in cloud.names:
        rows = torch.cat([broken_rows(moment) for moment in cloud.moments(name)])
        if len(rows):
            broken[name] = len(rows.unique())
    return broken


def broken_networks(modules: Mapping[str, TrainedModule]) -> dict[str, int]:
    """Weights beside the rows, by the names of network and parameter, that are NaN or infinite, and
    how many."""
    broken = {}
    for name, part in modules.items():
        for key, values in part.module.named_parameters():
            count = len(broken_rows(values.detach().reshape(-1)))
            if count:
                broken[f"{name}.{key}"] = count
    return broken


def broken_rows(values: Tensor) -> Tensor:
    """Numbers of the rows that hold NaN or infinite values."""
    # Finite terms may have a sum that is not, so the sum only clears, never accuses.
    if bool(values.sum().isfinite()):
        return torch.zeros(0, dtype=torch.int64)
    rows = (~values.isfinite()).reshape(len(values), -1).any(1)
    return rows.nonzero().squeeze(1).cpu()


def _canonical(value: Any) -> Any:
    """Equal values as objects that pickle to equal bytes: pickle writes a text anew if it is
    another object, and of a tensor its device, which the machine that reads it may lack."""
    if isinstance(value, Tensor):
        return value if value.device.type == "cpu" else value.detach().to("cpu")
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, dict):
        return {_canonical(name): _canonical(item) for name, item in value.items()}
    return [_canonical(item) for item in value] if isinstance(value, list) else value


class _Sink:
    """A file for `torch.save`, whose C++ turns an error within a write into an obscure one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def flush(self) -> None:
        """`check` and the file's own flush do it."""

    def check(self) -> None:
        """Raise the first error of a write, if there was one."""
        if self._error is not None:
            raise self._error
