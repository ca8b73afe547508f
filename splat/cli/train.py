"""`splat train`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Union

import tyro

from splat import api, methods
from splat.api import Result
from splat.cli.parse import parsed
from splat.finish import Receipt, summary
from splat.folder import vacant
from splat.options import Options, Reading, Watching, hint
from splat.render import choose_device
from splat.stop import Stopped
from splat.strategy import Strategy


@dataclass(frozen=True)
class Train:
    """Train a scene from posed photographs.

    Options of the run come before or after the method, those of a method after its name:
    splat train scene/ --out run/ --downscale 2 --steps 7000 mcmc --cap 60k
    """

    scene: tyro.conf.Positional[Path]
    """Folder of a COLMAP, nerfstudio or Blender scene."""
    out: Annotated[Path | None, hint("runs/ and the name of the scene")] = None
    """Folder for the run."""
    overwrite: bool = False
    """Replace the run that is in the folder."""
    plugin: Annotated[str | None, hint("none")] = None
    """A strategy of one's own, as module:Class or file.py:Class. It becomes the default method;
    its fields become options behind its name in lower case."""
    json: bool = False
    """Print the figures as JSON."""
    training: Options = field(default_factory=Options)
    reading: Reading = field(default_factory=Reading)
    watching: Watching = field(default_factory=Watching)
    method: Strategy = field(default_factory=lambda: methods.METHODS[methods.DEFAULT]())


def main(arguments: Sequence[str]) -> int:
    """Train; the exit code."""
    asked = read(arguments)
    out = asked.out or Path("runs") / asked.scene.resolve().name
    vacant(out, asked.overwrite)
    scene = api.read_scene(asked.scene, asked.reading)
    return report(
        lambda: api.train(
            scene,
            asked.method,
            asked.training,
            out=out,
            overwrite=asked.overwrite,
            watching=asked.watching,
            reading=asked.reading,
            command=shlex.join(["splat", "train", *arguments]),
        ),
        out,
        asked.json,
    )


def read(arguments: Sequence[str]) -> Train:
    """The arguments; the methods' defaults are those that suit the device asked for."""
    device, _ = choose_device(_value(arguments, "--device") or "auto")
    offered = dict(methods.fitted(device))
    default = methods.DEFAULT
    if place := _value(arguments, "--plugin"):
        kind = methods.plugin(place)
        default = kind.__name__.lower()
        offered = {default: kind(), **offered}
    return parsed(_with_methods(offered, default), "train", arguments)


def report(call: Callable[[], Result], out: Path, as_json: bool) -> int:
    """Carry out a run and print what came of it; the exit code."""
    try:
        result = call()
    except Stopped as stop:
        print(
            f"stopped after step {stop.step:,}; `splat resume {out}` goes on from there",
            file=sys.stderr,
        )
        return 128 + stop.number
    if as_json:
        print(json.dumps(result.metrics, indent=1))
    else:
        print(told(result.metrics, out))
    return 0


def told(metrics: Mapping[str, Any], out: Path) -> str:
    """The figures of a run and where its files are, for people."""
    receipt = Receipt(**metrics["export"])
    return f"{summary(metrics)}\n{receipt.said()}\npictures, curves and the log are in {out}"


def _with_methods(offered: Mapping[str, Strategy], default: str) -> type[Train]:
    """`Train` with the methods as a choice of subcommands."""
    choices = tuple(
        Annotated[type(method), tyro.conf.subcommand(name=name, default=method)]
        for name, method in offered.items()
    )
    entry = ("method", Union[choices], field(default_factory=lambda: offered[default]))  # noqa: UP007
    return make_dataclass(
        "Train", [entry], bases=(Train,), frozen=True, namespace={"__doc__": Train.__doc__}
    )


def _value(arguments: Sequence[str], option: str) -> str | None:
    """What follows an option, before the arguments are parsed as a whole."""
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == option:
            return value or next(iter(arguments[i + 1 :]), None)
    return None
