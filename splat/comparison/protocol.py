"""The protocol of a comparison, in words for its report."""

from __future__ import annotations

from dataclasses import asdict
from html import escape

from splat.comparison.asked import OWN
from splat.comparison.compare import Comparison
from splat.comparison.page import clean, terms
from splat.comparison.plan import plain
from splat.comparison.request import DEFAULTS
from splat.comparison.results import OFF, Outcome
from splat.evaluation.evaluate import AS_GIVEN
from splat.evaluation.off_path import IN, OUT, TOLERANCE
from splat.options import Reading

_SIZES = {
    "full": "full size at every step",
    "warm-up": "half size in the first tenth of a run, then full",
    "dash": "small in the first half of a run, then full (DashGaussian)",
}
_NAMED = ("steps", "resolution", "downscale", "max_side")
"""Options that have phrases of their own."""


def protocol(comparison: Comparison) -> str:
    """The conditions that all runs shared, and the meaning of the figures, as HTML."""
    shared, done = comparison.plan.shared, [o for o in comparison.outcomes if o.state == "done"]
    entries = {
        "Same for all": (
            f"kernels (splat {escape(shared.made_by)}, {_kernels(done)}), photos and their order,"
            f" points to start from, {shared.options.steps:,} steps, loss, rates, and the most"
            " Gaussians. A seed draws one order of photos and one choice of points, which all"
            " strategies then share."
        ),
        "Start": (
            "The points of the scene; where there are more than the budget, as many are drawn"
            " evenly. Opacity and scale at the start belong to a strategy and are listed below."
            + _unlike_starts(done)
        ),
        "Budget": _budget(comparison),
        "Pictures": f"{_pictures(comparison, done)}; {_SIZES[shared.options.resolution]}.",
        "Quality": (
            "On views that were never trained on: means over views of PSNR, of SSIM (window of 11"
            f" pixels) and of {_lpips(done)}, taken on floats without rounding." + _fitted(done)
        ),
        **_off_path(comparison),
        "Seeds": (
            f"{', '.join(map(str, comparison.plan.seeds))}. ± is the sample standard deviation over"
            " seeds. Δ is the difference in PSNR to the reference seed by seed, which is steadier"
            " than the difference of two means."
        ),
        "Time": (
            "Seconds of training with decoding and checkpoints; looks at held-out views on the way"
            f" are taken out. {_turns(done)} “In strategy” is the share of observing, deciding"
            " (with the views it surveys) and editing; what a strategy adds to kernels or loss is"
            " not in it."
        ),
        "Memory": (
            "The most that the process of a run held until the end of training, libraries"
            " included; on a GPU, the most that was allocated there."
        ),
        "Machine": "; ".join(sorted({clean(o.note.machine) for o in done if o.note.machine}))
        or "unknown",
    }
    if others := _others(comparison):
        entries["Other options"] = others
    return terms(entries)


def _off_path(comparison: Comparison) -> dict[str, str]:
    """What figures off the path are, where they are measured."""
    if not comparison.plan.shared.off_path:
        return {}
    return {
        "Off the path": (
            "Where no photo was taken. “off path dB”: against truth, where the scene was generated,"
            f" the mean over cameras pulled in ({IN:g} of the distance), pushed out ({OUT:g}),"
            " raised, and halfway between photos. The others are of views halfway between photos,"
            " without truth: “confirmed” is the share of pixels whose surface a photo beside draws"
            f" within {TOLERANCE:.0%} of the depth, “floaters” the share of blending weight that"
            " hangs in the air, “sharpness” the gradient energy over that of the photos beside."
        )
    }


def _fitted(done: list[Outcome]) -> str:
    """A sentence where held-out photos were fitted before they were measured."""
    protocols = sorted({o.metrics.get("protocol") or AS_GIVEN for o in done} - {AS_GIVEN})
    return "".join(f" Of scenes whose photos differ: {escape(words)}." for words in protocols)


def _kernels(done: list[Outcome]) -> str:
    kernels = sorted({o.metrics["isa"] or f"CUDA on {o.metrics['device']}" for o in done})
    return escape(" and ".join(kernels) or "not run yet")


def _unlike_starts(done: list[Outcome]) -> str:
    """A sentence where runs that should start alike did not."""
    counts: dict[tuple[str, int, int], set[float | None]] = {}
    for outcome in done:
        key = (outcome.entry.scene, outcome.entry.budget, outcome.entry.seed)
        counts.setdefault(key, set()).add(outcome.figures["start"])
    odd = {scene for (scene, budget, _), starts in counts.items() if len(starts) > 1 and budget}
    return (
        f" <b>Runs on {escape(', '.join(sorted(odd)))} began with unlike numbers.</b>"
        if odd
        else ""
    )


def _budget(comparison: Comparison) -> str:
    budgets = [budget for budget in comparison.plan.budgets if budget != OWN]
    sentences = []
    if budgets:
        sentences.append(
            f"At most {' or '.join(f'{budget:,}' for budget in budgets)} Gaussians at any time, by"
            " the strategy's own cap, or where it has none by leaving births out. Runs that ended"
            f" more than {OFF:.0%} off, or ever had more, are marked †."
        )
    if OWN in comparison.plan.budgets:
        sentences.append("“own” is no budget: as many as the strategy makes.")
    return " ".join(sentences)


def _pictures(comparison: Comparison, done: list[Outcome]) -> str:
    sentences = []
    for scene in comparison.plan.scenes:
        sizes = {tuple(o.metrics["size"]) for o in done if o.entry.scene == scene.name}
        size = ", ".join(f"{width}×{height} pixels" for width, height in sorted(sizes))
        points = f"{scene.points:,} points" if scene.points else "random points"
        sentences.append(
            f"{escape(scene.name)}: {scene.train} views to train on, {scene.test} held out,"
            f" {points}" + (f", {size}" if size else "")
        )
    return "; ".join(sentences)


def _lpips(done: list[Outcome]) -> str:
    nets = sorted({o.metrics["lpips_net"] for o in done if o.metrics["lpips_net"]})
    return f"LPIPS (version 0.1, net {' and '.join(nets)})" if nets else "no LPIPS"


def _turns(done: list[Outcome]) -> str:
    turns = {max(o.note.at_once, default=0) for o in done}
    threads = sorted({o.metrics["threads"] for o in done if o.metrics["isa"]})
    many = {0: "one after the other in one process", 1: "one at a time"}
    turns_text = " and ".join(many.get(turn, f"up to {turn} at once") for turn in sorted(turns))
    text = f"Runs were timed {turns_text}" + (
        f", {threads[0]} threads each" if len(threads) == 1 else ""
    )
    unlike = len({o.note.machine for o in done}) > 1 or len(turns) > 1 or len(threads) > 1
    return text + (": <b>times of unlike runs do not compare.</b>" if unlike else ".")


def _others(comparison: Comparison) -> str:
    """Options that differ from the defaults."""
    shared = comparison.plan.shared
    default, reading = plain(DEFAULTS), asdict(Reading())
    values = {n: v for n, v in plain(shared.options).items() if n not in _NAMED and v != default[n]}
    values |= {n: v for n, v in asdict(shared.reading).items() if v != reading[n]}
    return ", ".join(f"{name.replace('_', '-')} {clean(str(v))}" for name, v in values.items())
