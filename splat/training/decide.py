"""Values that a run takes where nobody gave them: decided here, once, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from splat.core.strategy import Strategy
from splat.formats import rows_within
from splat.options import Options
from splat.parallel import ALONE, Ranks
from splat.planning import predict
from splat.planning.ladder import TARGET_SECONDS, rung_for
from splat.planning.memory import reduces
from splat.recipes import recipe, saved
from splat.recipes.offered import Offered
from splat.render import choose_device
from splat.system import machine
from splat.system.text import size, span
from splat.training.goals import check_goals
from splat.training.row_budget import within_budget, within_memory
from splat.types import SceneData

ASKED = "as asked"
"""The reason of a value that the user gave."""
MOST_WIDE = 24
"""Most letters of a value that has its reason beside it."""


@dataclass(frozen=True)
class Decision:
    """A value that a run takes, and why."""

    name: str
    """The option, as the command line has it."""
    value: str
    """The value as text for people."""
    why: str


@dataclass(frozen=True)
class Decided:
    """A run with every open value decided."""

    strategy: Strategy
    """Within the budget and the memory asked for."""
    asked: Options
    """The options as they were asked for, with what `memory` made of them."""
    options: Options
    """Every value decided; steps is None where they are to be timed for a budget of minutes."""
    device: torch.device
    decisions: tuple[Decision, ...]

    def why(self, name: str) -> str:
        """Why an option is what it is."""
        return next(each.why for each in self.decisions if each.name == name)

    def also(self, options: Options, more: Sequence[Decision]) -> Decided:
        """With decisions that were taken once photos were looked at."""
        return replace(self, options=options, decisions=(*self.decisions, *more))

    def text(self) -> str:
        """A table for people: option, value, why; what is long has lines of its own."""
        width = max(len(each.name) for each in self.decisions)
        values = [len(each.value) for each in self.decisions if len(each.value) <= MOST_WIDE]
        lines = []
        for each in self.decisions:
            lines.append(f"{each.name:{width}}  {each.value:{max(values)}}")
            if len(each.value) > MOST_WIDE:
                lines.append(" " * (width + 2 + max(values)))
            lines[-1] += f"  {each.why}"
        return "\n".join(lines)


def decide(
    scene: SceneData,
    strategy: Strategy | None,
    options: Options,
    *,
    cap_asked: bool = True,
    in_blocks: bool = False,
    ranks: Ranks = ALONE,
) -> Decided:
    """All decisions of a run that can be taken before a photo is decoded.

    `strategy` None is the usual recipe; `cap_asked` says whether somebody asked for its cap, which
    then does not give way to `Options.memory`. A run `in_blocks` shares its memory out itself.
    `ranks` are the processes that train together: all decide what the first one does.
    """
    chosen = choose_device(options.device, options.renderer)
    device, why_method, most = chosen[0], ASKED, 0
    if options.budget:
        most = rows_within(options.budget, options.sh_degree, options.budget_of)
    usual = recipe.usual_strategy(Offered(device, most))
    if scene.clip is not None:
        usual = recipe.moving(usual)
    if strategy is None:
        strategy, cap_asked = usual, False
    if strategy == usual:
        why_method = "the default: the best where we compared strategies"
        why_method += ", of a scene that moves" if scene.clip is not None else ""
    strategy = within_budget(strategy, options)
    if not in_blocks:
        strategy, options = within_memory(
            scene, strategy, options, device,
            cap_asked=cap_asked, processes=ranks.local_count,
        )  # fmt: skip
    strategy, options = _alike(strategy, options, ranks)
    cap = f"{strategy.cap:,}" if strategy.cap else "no limit"
    own = (
        Decision("method", recipe.shown(strategy), why_method),
        Decision("cap", cap, _why_cap(strategy, options, cap_asked, device)),
    )
    return _decided(scene, strategy, options, chosen, own, ranks)


def decide_options(
    scene: SceneData, strategy: Strategy, options: Options, ranks: Ranks = ALONE
) -> Decided:
    """As `decide`, for a run whose method is within its budget and its memory already."""
    chosen = choose_device(options.device, options.renderer)
    return _decided(scene, strategy, options, chosen, (), ranks)


def _decided(
    scene: SceneData,
    strategy: Strategy,
    options: Options,
    chosen: tuple[torch.device, str],
    own: Sequence[Decision],
    ranks: Ranks,
) -> Decided:
    """What is left open of the options, on a device that was chosen, with the reason for it;
    `own` is what was decided of the method."""
    device, why_device = chosen
    check_goals(options, scene)
    fitted = predict.with_device_defaults(options, device)
    fitted = replace(fitted, decoding="reduced" if reduces(options, scene.train) else "full")
    fitted = same_on_ranks(fitted, options, ranks)
    if options.minutes is not None:
        fitted = replace(fitted, steps=options.steps)
    fitted = replace(fitted, background=background_of(scene, options))
    decisions = (
        Decision("device", device.type, why_device),
        *own,
        *_of_options(scene, options, fitted, device),
    )
    return Decided(strategy, options, fitted, device, decisions)


def same_on_ranks(fitted: Options, asked: Options, ranks: Ranks) -> Options:
    """Options that were fitted to this machine, the same in all processes of a run; those on one
    machine share its cores and its memory (which `row_budget` has done where that is given)."""
    if ranks.alone:
        return fitted
    threads = asked.threads or max(1, machine.cores() // ranks.local_count)
    same = ranks.same(fitted)
    sharing = 1 if same.memory is not None else ranks.local_count
    return replace(same, threads=threads, cache=(same.cache or 0) // sharing)


def background_of(scene: SceneData, options: Options) -> str:
    """The colour behind everything: white for scenes of Blender unless another is asked for."""
    if options.background != "auto":
        return options.background
    return "white" if scene.format == "blender" else "black"


def _alike(strategy: Strategy, options: Options, ranks: Ranks) -> tuple[Strategy, Options]:
    """Strategy and options as the first process has them, whose machine they were fitted to."""
    if ranks.alone:
        return strategy, options
    own = saved.description_of(strategy)
    described, options = ranks.same((own, options))
    return (strategy if described == own else saved.strategy_from_description(described)), options


def _why_cap(strategy: Strategy, options: Options, cap_asked: bool, device: torch.device) -> str:
    if options.budget is not None:
        return f"--budget {options.budget}, or the method's own where that is lower"
    if options.memory is not None and not cap_asked:
        return f"what fits into --memory {size(options.memory)}"
    if cap_asked:
        return ASKED
    if not strategy.cap:
        return "the method has none"
    suits = rung_for(device).cap // strategy.draws
    return f"what suits {device.type} here" if strategy.cap == suits else "the method's own"


def _of_options(
    scene: SceneData, asked: Options, fitted: Options, device: torch.device
) -> Iterator[Decision]:
    """Values of options that may be left open, each with its reason."""
    if device.type == "cuda":
        fits = "as published, on CUDA"
    else:
        fits = f"the largest run that ends within about {span(TARGET_SECONDS)} here"

    def why(name: str, otherwise: str) -> str:
        return otherwise if getattr(asked, name) in (None, "auto") else ASKED

    if fitted.steps is None:
        yield Decision("steps", "timed", f"as many as fit into --minutes {asked.minutes:g}")
    else:
        yield Decision("steps", f"{fitted.steps:,}", why("steps", fits))
    side = f"{fitted.max_side:,}" if fitted.max_side else "as it is"
    otherwise = fits if asked.downscale == "auto" else "--downscale says the size"
    yield Decision("max-side", side, why("max_side", otherwise))
    yield Decision(
        "downscale", f"{fitted.downscale:g}", why("downscale", "--max-side says the size")
    )
    first = "the default of runs whose schedules are scaled"
    whole = "schedules are published ones, which are for full size"
    scaled = fitted.schedule == "scaled"
    yield Decision("resolution", fitted.resolution, why("resolution", first if scaled else whole))
    yield Decision("threads", str(fitted.threads), why("threads", "all cores of this process"))
    cache = "what --memory leaves" if asked.memory is not None else "a quarter of the free memory"
    yield Decision("cache", size(fitted.cache or 0), why("cache", cache))
    yield Decision(
        "photo-cache", size(fitted.photo_cache or 0),
        why("photo_cache", "20 GB, or half of the free disk"),
    )  # fmt: skip
    if fitted.points_weight is not None:
        yield Decision(
            "points-weight", f"{fitted.points_weight:g}",
            why("points_weight", "poses are refined" if fitted.refine_poses else "the default"),
        )  # fmt: skip
    kind = (
        "Blender's synthetic scenes have it" if fitted.background == "white" else "no other is said"
    )
    yield Decision("background", fitted.background, why("background", kind))
