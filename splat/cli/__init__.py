"""The command line: one file a verb, each loaded when it is asked for."""

from __future__ import annotations

import difflib
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from splat.system.clash import overwritten
from splat.system.import_path import IMPORT_PATH, is_there, vouch

VERBS = {
    "prep": ("splat.cli.prep", "make a posed scene of photos or of a video"),
    "train": ("splat.cli.train", "train a scene from posed photographs"),
    "resume": ("splat.cli.resume", "go on with a run from its last checkpoint"),
    "train-audio": (
        "splat.strategies.acoustic.verbs.train_audio",
        "teach a trained scene what it sounds like",
    ),
    "suggest": (
        "splat.cli.suggest",
        "say what to change of a run, by trying it on small pictures of the scene",
    ),
    "eval": ("splat.cli.evaluate", "measure a run, or a file of Gaussians, on held-out photos"),
    "compare": ("splat.cli.compare", "compare strategies fairly, and write a report"),
    "view": (
        "splat.cli.view",
        "look at a run or a file in a browser, or at two of them side by side",
    ),
    "render": (
        "splat.cli.render",
        "draw a turntable, the views or a camera path, as pictures or a video",
    ),
    "hear": (
        "splat.strategies.acoustic.verbs.hear",
        "hear a sound in the scene of a run, from a place or along a camera path",
    ),
    "relight": (
        "splat.strategies.deferred.verbs.relight",
        "draw a run of deferred under another light",
    ),
    "export": ("splat.cli.export", "write the Gaussians of a run to a file, and check it"),
    "mesh": ("splat.cli.mesh", "make a coloured mesh of triangles of a run or a file"),
    "volume": (
        "splat.strategies.pool.verbs.volume",
        "write Gaussians as a volume, one for each place of a grid, or back",
    ),
    "dress": (
        "splat.strategies.garment.verbs.dress",
        "put a garment on a body in another pose, or on another body",
    ),
    "train-generator": (
        "splat.cli.train_generator",
        "train a generator of scenes on things with words",
    ),
    "generate": ("splat.cli.generate", "make Gaussians of a text"),
    "train-teacher": (
        "splat.cli.train_teacher",
        "train a teacher of pictures on things with words",
    ),
    "dream": ("splat.cli.dream", "make or restyle Gaussians under the guidance of a teacher"),
    "convert": ("splat.cli.convert", "write a file of Gaussians in another format"),
    "clean": ("splat.cli.clean", "take floaters and other debris out of a file of Gaussians"),
    "erase": (
        "splat.cli.erase",
        "take out what a few masks mean, and fill what is then seen behind it",
    ),
    "strategies": (
        "splat.cli.strategies",
        "list, show or test the ways in which Gaussians grow and are pruned",
    ),
    "info": (
        "splat.cli.info",
        "say what is in a scene, a run or a file, and what training would take",
    ),
    "demo": ("splat.cli.demo", "train the built-in scene, in a few minutes"),
    "debug-step": (
        "splat.cli.debug_step",
        "repeat the step that ended a run, and say where values are not finite first",
    ),
    "doctor": ("splat.cli.doctor", "say what this machine can do, and what is missing"),
}
"""Module and summary of each verb; those of a method lie with it, and are not offered without."""
ASKED = {
    "prep": "splat.cli.asked.prep:Prep",
    "resume": "splat.cli.run_options:Resume",
    "eval": "splat.cli.asked.evaluate:Evaluate",
    "compare": "splat.cli.asked.compare:Compare",
    "view": "splat.cli.asked.view:View",
    "render": "splat.cli.asked.render:Render",
    "export": "splat.cli.asked.export:Export",
    "mesh": "splat.cli.asked.mesh:Mesh",
    "train-generator": "splat.cli.asked.train_generator:TrainGenerator",
    "generate": "splat.cli.asked.generate:Generate",
    "train-teacher": "splat.cli.asked.train_teacher:TrainTeacher",
    "dream": "splat.cli.asked.dream:Dream",
    "convert": "splat.cli.asked.convert:Convert",
    "clean": "splat.cli.asked.clean:Clean",
    "erase": "splat.cli.asked.erase:Erase",
    "info": "splat.cli.asked.info:Info",
    "demo": "splat.cli.asked.demo:Demo",
    "doctor": "splat.cli.asked.doctor:Doctor",
    "debug-step": "splat.cli.asked.debug_step:DebugStep",
    "train-audio": "splat.strategies.acoustic.verbs.asked.train_audio:TrainAudio",
    "hear": "splat.strategies.acoustic.verbs.asked.hear:Hear",
    "relight": "splat.strategies.deferred.verbs.asked.relight:Relight",
    "volume": "splat.strategies.pool.verbs.asked.volume:Volume",
    "dress": "splat.strategies.garment.verbs.asked.dress:Dress",
}
"""What a verb is asked for, which help shows without loading what carries it out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb with its arguments; the exit code (see `splat.system.errors`)."""
    wrong = overwritten(sys.modules["splat"])
    if wrong is not None:
        print(f"splat: {wrong}", file=sys.stderr)
        return 1
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("SPLAT_DEBUG"))
    words = [argument for argument in words if argument != "--debug"]
    verb, *rest = words or ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb in ("-V", "--version"):
        from splat import __version__

        print(f"splat {__version__}")
        return 0
    if verb not in offered():
        return _unknown(verb, "--json" in rest)
    from splat.system import errors

    as_json = "--json" in rest
    errors.speak(quiet="--quiet" in rest)
    try:
        if verb in ASKED and {"-h", "--help", "--help-all"} & {*rest}:
            from splat.options.parse import parsed

            module, _, kind = ASKED[verb].partition(":")
            parsed(getattr(import_module(module), kind), verb, rest)
        if verb not in ("train", "suggest"):  # an option of theirs, which names what is trained
            rest = _vouched(rest)
        code: int = import_module(VERBS[verb][0]).main(rest)
        return code
    except KeyboardInterrupt:
        print(f"splat {verb}: interrupted", file=sys.stderr)
        if as_json and _speaks():
            _printed(errors.as_json(128 + signal.SIGINT, "interrupted"))
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Who read our output (`| head`) had enough; Python would complain when it flushes at exit.
        sys.stdout = open(os.devnull, "w")
        return 1
    except Exception as error:
        explanation = None if debug else errors.told(error)
        if explanation is None:
            if as_json and _speaks():
                what = f"{type(error).__name__}: {error} (a mistake of splat's: please report it)"
                _printed(errors.as_json(errors.FAILED, what))
            raise
        code, sentence = explanation
        if _speaks():
            print(f"splat {verb}: {sentence}", file=sys.stderr, flush=True)
            if as_json:
                _printed(errors.as_json(code, sentence))
        return code


def _printed(text: str) -> None:
    """Print to where the error itself may come from: a full disk, a pipe that is closed."""
    with suppress(OSError):
        print(text, flush=True)


def _vouched(words: Sequence[str]) -> list[str]:
    """Arguments without `--plugin PLACE`, once the user's word for each place is kept."""
    rest, left = [], iter(words)
    for word in left:
        name, equals, place = word.partition("=")
        if name != "--plugin":
            rest.append(word)
            continue
        place = place if equals else next(left, "")
        if not IMPORT_PATH.fullmatch(place):
            raise ValueError(
                f"--plugin is followed by {place!r}; expected module:Class or file.py:Class"
            )
        vouch(place)
    return rest


def _speaks() -> bool:
    """Whether this process reports errors: of several that torchrun started only one does."""
    if "RANK" not in os.environ:
        return True
    from splat.parallel import speaks

    return speaks()


def offered() -> dict[str, str]:
    """Verbs whose modules are there, with their summaries."""
    return {verb: summary for verb, (place, summary) in VERBS.items() if is_there(place)}


def usage() -> str:
    """The usage of the program, with all verbs."""
    verbs = offered()
    width = max(map(len, verbs))
    lines = "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in verbs.items())
    return (
        f"usage: splat VERB ...\n\n{lines}\n\n"
        "splat VERB --help says what a verb takes. For example:\n"
        "  splat train scene/ --out run/ --downscale 2 --steps 7000 mcmc --cap 60k\n"
        "  splat train scene/ --out run/ --budget 200k mcmc + protect --rule 'age<500'\n"
        "--plugin FILE.py:CLASS lets a verb open a run that a strategy of your own has made.\n"
        "--debug (or SPLAT_DEBUG=1) shows where in the code an error comes from."
    )


def _unknown(verb: str, as_json: bool) -> int:
    near = difflib.get_close_matches(verb, offered(), 1)
    hint = f"perhaps you meant {near[0]}" if near else f"there are {', '.join(offered())}"
    sentence = f"there is no verb {verb!r}; {hint}"
    print(f"splat: {sentence}", file=sys.stderr)
    if as_json:
        from splat.system import errors

        _printed(errors.as_json(2, sentence))
    return 2
