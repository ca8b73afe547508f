"""Carrying out `splat train` and `splat demo` once their arguments are read."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from splat import api
from splat.cli.run_options import Train
from splat.cli.viewing import viewing_for
from splat.export.receipt import Receipt
from splat.parallel import current_ranks
from splat.prep.suffixes import is_video
from splat.recipes import recipe
from splat.recipes.model_files import MODEL_FILES, key_of, model_file
from splat.results import Result
from splat.runs.folder import vacant
from splat.system import errors
from splat.training.finish import summary
from splat.training.stop import Stopped
from splat.types import SceneData

_log = logging.getLogger(__name__)


def carry_out(asked: Train, arguments: Sequence[str]) -> int:
    """Train a scene; the exit code."""
    out = asked.out or Path("runs") / asked.scene.resolve().name
    ranks = current_ranks()
    if not asked.dry_run:
        ranks.agreed(lambda: vacant(out, asked.overwrite))
    silent = asked.json or asked.watching.quiet
    scene = api.read_scene(posed(asked, silent), asked.reading)
    if scene.clip is not None and not asked.named:
        asked = replace(asked, method=recipe.moving(asked.method))
    if asked.tune == "auto":
        asked = _tuned(asked, scene, arguments)
    if asked.dry_run:
        return _told_only(asked, scene, asks_for_cap(asked, arguments))
    if asked.blocking.blocks is not None:
        from splat.cli.blocks import train_in_blocks

        return train_in_blocks(asked, scene, out, shlex.join(["splat", "train", *arguments]))
    return report(
        lambda done: api.train(
            scene,
            asked.method,
            asked.training,
            out=out,
            overwrite=asked.overwrite,
            watching=asked.watching,
            reading=asked.reading,
            command=shlex.join(["splat", "train", *arguments]),
            viewing=viewing_for(asked.viewing, arguments, silent=silent),
            done=done,
            cap_asked=asks_for_cap(asked, arguments),
        ),
        out,
        asked.json,
    )


def _tuned(asked: Train, scene: SceneData, arguments: Sequence[str]) -> Train:
    """What is asked for, with what trials have found to be better."""
    if asked.blocking.blocks is not None or not current_ranks().alone or asked.dry_run:
        raise ValueError(
            "tune tries a run in one piece, by one process, which is trained then; leave --tune"
            " out, and take what `splat suggest` says"
        )
    from splat.tuning.suggest import suggest

    advice = suggest(
        scene, asked.method if asked.named else None, asked.training, named=asked.named,
        cap_asked=asks_for_cap(asked, arguments),
        tell=lambda text: _log.info("tuning    trying %s ...", text),
    )  # fmt: skip
    for line in advice.text.splitlines():
        _log.info("tuning    %s", line)
    if advice.chosen is None:
        return asked
    found = advice.chosen
    changed = {
        name: getattr(found.options, name)
        for name in found.kind.split()
        if hasattr(found.options, name)
    }
    method = found.strategy if "method" in found.kind.split() else asked.method
    return replace(asked, method=method, training=replace(asked.training, **changed))


def _told_only(asked: Train, scene: SceneData, cap_asked: bool) -> int:
    """Print the decisions of a run that is not trained; the exit code."""
    if asked.blocking.blocks is not None:
        raise ValueError("dry-run says what a run in one piece would be; leave --blocks out")
    errors.speak(quiet=True)  # what is looked up on the way is in the table
    decided = api.decided(scene, asked.method, asked.training, cap_asked=cap_asked)
    if not current_ranks().first:
        return 0
    if asked.json:
        print(json.dumps([vars(decision) for decision in decided.decisions], indent=1))
    else:
        print(decided.text())
    return 0


def asks_for_cap(asked: Train, arguments: Sequence[str]) -> bool:
    """Whether the arguments give a number of Gaussians."""
    words = [*arguments, *(recipe.text_of(asked.recipe).split() if asked.recipe else ())]
    return any(word.partition("=")[0] in ("--cap", "--rows", "--budget") for word in words)


def posed(asked: Train, silent: bool) -> Path:
    """The folder of the scene; its poses are found first where that is asked for."""
    if asked.prep:
        if not current_ranks().alone:
            raise ValueError(
                "prep is asked for in a run of several processes, which would all do it; find the"
                f" poses first, with `splat prep {asked.scene}`, and train what it writes"
            )
        from splat.cli.prep import usual_folder
        from splat.prep import prepare_any

        out = asked.prep_out or usual_folder(asked.scene)
        if asked.dry_run:
            raise ValueError(
                f"dry-run trains nothing and finds no poses, which --prep asks for; find them with"
                f" `splat prep {asked.scene} -o {out}`, then `splat train {out} --dry-run`"
            )
        with suppress(OSError, ValueError):
            known = api.read_scene(asked.scene, asked.reading).format
            _log.warning(
                "%s has poses already (%s), and they are found anew; leave --prep out to train with"
                " those that are there", asked.scene, known,
            )  # fmt: skip
        for line in prepare_any(asked.scene, out, quiet=silent).text().splitlines():
            _log.info("%s", line)
        return out
    if asked.prep_out is not None:
        raise ValueError("prep-out is given without --prep; add --prep, or leave it out")
    if asked.scene.is_file() and is_video(asked.scene):
        raise ValueError(
            f"{asked.scene}: is a video; expected the folder of a scene: make one with"
            f" `splat prep {asked.scene} -o SCENE`, or add --prep"
        )
    return asked.scene


def report(call: Callable[[Callable[[Result], None]], Result], out: Path, as_json: bool) -> int:
    """Carry out a run; `call` takes the function that prints its result; the exit code."""

    def printed(result: Result) -> None:
        text = (
            json.dumps(result.metrics, indent=1) if as_json else summary_text(result.metrics, out)
        )
        print(text, flush=True)

    try:
        call(printed)
    except Stopped as stop:
        ranks = current_ranks()
        if ranks.first:
            by = "" if ranks.alone else f"torchrun --nproc-per-node {ranks.local_count} -m "
            said = f"stopped after step {stop.step:,}; `{by}splat resume {out}` goes on from there"
            print(said, file=sys.stderr)
            if as_json:
                print(errors.as_json(128 + stop.number, said), flush=True)
        return 128 + stop.number
    return 0


def summary_text(metrics: Mapping[str, Any], out: Path) -> str:
    """The figures of a run and the paths of its files."""
    receipt = Receipt(**metrics["export"])
    files = [receipt.text()]
    for suffix in MODEL_FILES:
        own = model_file(suffix)
        if own is not None and key_of(suffix) in metrics:
            files.append(own.Receipt(**metrics[key_of(suffix)]).text())
    return "\n".join([summary(metrics), *files, f"pictures, curves and the log are in {out}"])
