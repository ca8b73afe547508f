"""`splat suggest`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from splat.cli.run_options import Suggest
from splat.cli.train import show_help
from splat.options.parse import HELP


def main(arguments: Sequence[str]) -> int:
    """Try settings on a scene; the exit code."""
    if HELP & set(arguments):
        show_help(Suggest, "suggest", arguments)
    # Methods, torch and OpenCV, which help needs not.
    from splat import api
    from splat.cli.composed import read_as
    from splat.cli.training import asks_for_cap, posed
    from splat.system import errors
    from splat.tuning.suggest import suggest

    asked = read_as(Suggest, "suggest", arguments)
    silent = asked.json or asked.watching.quiet
    errors.speak(quiet=True)  # of the scene and its decisions, which `splat train` says
    scene = api.read_scene(posed(asked, silent), asked.reading)

    def tell(text: str) -> None:
        if not silent:
            print(f"trying {text} ...", file=sys.stderr, flush=True)

    advice = suggest(
        scene, asked.method if asked.named else None, asked.training, named=asked.named,
        share=asked.share, cap_asked=asks_for_cap(asked, arguments), tell=tell,
    )  # fmt: skip
    if asked.json:
        chosen = advice.chosen
        record = {
            "change": None if chosen is None else chosen.words, "gain": advice.gain,
            "tried": [{**vars(each), "gain": each.gain} for each in advice.tried],
            "trials": advice.trials, "steps": advice.steps, "seconds": round(advice.seconds, 2),
            "predicted_seconds": round(advice.predicted, 2), "why_none": advice.why_none,
        }  # fmt: skip
        print(json.dumps(record, indent=1))
    else:
        print(advice.text)
    return 0
