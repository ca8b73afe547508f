"""Methods and parts by name: where each lies, as a string, loaded when it is asked for.

Packages that are installed beside this one add theirs by entry points (`splat.strategies`): a class
that derives from `Strategy`, under the name that recipes are to call it. A method whose file is not
there is not offered; all others are.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, TypeGuard

from splat.system.entry_points import installed_besides
from splat.system.import_path import is_there, module_of, object_at, vouch, where_and_name
from splat.system.text import headline

if TYPE_CHECKING:  # names and summaries can be had without loading torch
    from splat.core.strategy import Strategy, Wrapper

METHODS: Mapping[str, tuple[str, str]] = {
    "mcmc": (
        "splat.strategies.mcmc:Mcmc",
        "3DGS as Markov chain Monte Carlo (Kheradmand et al. 2024, arXiv 2404.09591).",
    ),
    "adc": (
        "splat.strategies.adc:Adc",
        "Adaptive density control (3DGS, Kerbl et al. 2023): clone, split, prune, opacity reset.",
    ),
    "mrnf": (
        "splat.strategies.mrnf:Mrnf",
        "Error-based densification, as in Brush and in LichtFeld Studio's MRNF (2025-26).",
    ),
    "igs": (
        "splat.strategies.igs:ImprovedGs",
        "Improved-GS (Deng et al. 2025): long-axis splits along edges, up to a budget curve.",
    ),
    "error": (
        "splat.strategies.error:ErrorBased",
        "Error-based densification (Revising Densification, Rota Bulo et al., ECCV 2024).",
    ),
    "taming": (
        "splat.strategies.taming:Taming",
        "Taming 3DGS (Mallick et al. 2024): densification by a score of nine terms to a budget.",
    ),
    "scaffold": (
        "splat.strategies.scaffold:Scaffold",
        "Anchors on a grid, whose networks make the Gaussians of each view (Lu et al., CVPR 2024).",
    ),
    "forest-inspired": (
        "splat.strategies.forest:Forest",
        "Trees of Gaussians, whose leaves share shape and look (after GaussianForest, 2024).",
    ),
    "fixed": (
        "splat.core.strategy:Fixed",
        "No density control: the points one starts from are the Gaussians one ends with.",
    ),
}
"""Import path and summary of each method, by its name on the command line."""
PARTS: Mapping[str, tuple[str, str]] = {
    "significance": (
        "splat.strategies.significance:Significance",
        "Contribution-based pruning: rows that contribute least to the training views, at given"
        " steps.",
    ),
    "blur-split": (
        "splat.strategies.blur:BlurSplit",
        "Blur split (Mini-Splatting): split rows that are the strongest in many pixels of a"
        " picture.",
    ),
    "protect": (
        "splat.strategies.protect:Protect",
        "Rows that match a rule are not dropped (as LighthouseGS keeps opaque rows that are"
        " large).",
    ),
    "freeze": (
        "splat.strategies.freeze:Freeze",
        "Freeze some of the first rows: no step and no edit of any part moves or drops them.",
    ),
    "budget": (
        "splat.strategies.budget:Budget",
        "Budget: never more rows than a curve allows, from those of the start up to a maximum.",
    ),
    "clear-air": (
        "splat.strategies.clear_air:ClearAir",
        "Clear air (ours): rows in the free ball about a camera go, rows that reach into it"
        " shrink.",
    ),
    "smoothing": (
        "splat.strategies.smoothing:Smoothing",
        "Smoothing: no row is smaller than a pixel of the camera that sees it best can tell (after"
        " the 3D filter of Mip-Splatting, Yu et al., CVPR 2024).",
    ),
    "crop": (
        "splat.strategies.crop:Crop",
        "Crop: densification inside a box only; what is outside still trains and is still pruned.",
    ),
    "coded": (
        "splat.strategies.scaffold.coded:Coded",
        "Anchors that take few bits in a file (after HAC, Chen et al., ECCV 2024).",
    ),
    "gsdf": (
        "splat.strategies.scaffold.gsdf:Gsdf",
        "Let a signed distance of the scene steer where anchors grow and go (Yu et al., NeurIPS"
        " 2024).",
    ),
    "moving": (
        "splat.strategies.moving:Moving",
        "Gaussians that are there for a time and go along a line, for scenes that move (after"
        " FreeTimeGS, Wang et al., CVPR 2025).",
    ),
    "deform": (
        "splat.strategies.deform:Deform",
        "A field over space and time deforms the Gaussians of the method before it, for scenes"
        " that move (4DGaussians, Wu et al., CVPR 2024).",
    ),
    "planes-coded": (
        "splat.strategies.deform.coded:PlanesCoded",
        "Planes of a deformation that take few bits in a `.clip` file (after Light4GS, Liu et al."
        " 2025).",
    ),
    "deferred": (
        "splat.strategies.deferred:Deferred",
        "Learn materials and the light in place of colours, so that the scene can be lit anew.",
    ),
    "sdf": (
        "splat.strategies.sdf:Sdf",
        "Learn a signed distance beside the Gaussians, each teaching the other, and prune by it.",
    ),
    "lighthouse": (
        "splat.strategies.lighthouse:Lighthouse",
        "Keep surfaces flat and their normals steady, and spare large rows that are opaque.",
    ),
    "alpha-mask": (
        "splat.strategies.alpha_mask:AlphaMask",
        "Pruning by masks: rows that contribute outside of the outlines of photos (masks, or"
        " alpha).",
    ),
    "pool": (
        "splat.strategies.pool:Pool",
        "As many Gaussians as a grid has places, each near its own: a scene as a volume (after the"
        " candidate pool of GVGEN, He et al., ECCV 2024).",
    ),
    "garment": (
        "splat.strategies.garment:Garment",
        "A garment on a body: rows of the body stay as they are, those of the garment grow by their"
        " own rules (after ClotheDreamer, Liu et al. 2024).",
    ),
    "floaters": (
        "splat.strategies.floaters:Floaters",
        "Prune floaters: rows that views find alone in the free space before surfaces (ours).",
    ),
}
"""Of each part, which follows a method and a `+` and alters what stands before: the same."""
PRESETS: Mapping[str, tuple[str, str]] = {
    "renew": (
        "significance --score mini --at 6000 9000 12000 --keep 0.8 --while-growing",
        "While rows grow, a fifth of them three times makes room for others: those that matter"
        " least to any picture (ours).",
    ),
    "lightgaussian": (
        "significance --score lightgaussian --at 16000 24000 --keep 0.5 --decay 0.8",
        "LightGaussian while training: half, then 0.8 of that share (Fan et al. 2024).",
    ),
    "radsplat": (
        "significance --score most --at 16000 24000 --below 0.01",
        "RadSplat: what is nowhere a hundredth of a pixel; --below 0.25 is its light version"
        " (Niemeyer et al. 2024).",
    ),
    "speedy-splat": (
        "significance --score squared --at 6000 9000 12000 --keep 0.2"
        " + significance --score squared --at 15000 18000 21000 24000 27000 --keep 0.7",
        "Speedy-Splat: four fifths three times while rows grow, then three tenths five times"
        " (Hanson et al. 2025).",
    ),
    "light4gs": (
        "significance --score opaque --at 18000 23000 --keep 0.6 --every-view",
        "Light4GS: of what `deform` deforms two fifths twice, by all views at all their times"
        " (Liu et al. 2025).",
    ),
    "mini-splatting": (
        "significance --score mini --at 15000 --keep 0.5 --pick multinomial"
        " + significance --score mini --at 20000 --mass 0.99",
        "Mini-Splatting's simplification: half of the rows that are the strongest anywhere, drawn"
        " by their blending weight, then the fewest that hold 99 % of it (Fang & Wang 2024).",
    ),
}
"""Parts with the options of a paper, by name: the text that each stands for, and what it is."""
DEFAULT = "mrnf"
"""The method where one is needed and none is named."""
USUAL = f"{DEFAULT} + renew"
"""The recipe of a plain `splat train scene/`: the best of docs/results/league.md."""
MOVING = "moving"
"""The part that a plain `splat train` of a scene that moves has behind it."""
GROUP = "splat.strategies"
"""Group of entry points under which other packages offer methods and parts."""

_log = logging.getLogger(__name__)


@cache
def installed() -> Mapping[str, str]:
    """Methods and parts of other packages, by name."""
    return installed_besides(GROUP, (*METHODS, *PARTS, *PRESETS))


def places() -> Mapping[str, str]:
    """Where every method and part lies, ours and those of other packages, by name."""
    ours = {name: place for name, (place, _) in {**METHODS, **PARTS}.items()}
    return {**ours, **installed()}


def kind_of(name: str) -> type[Strategy] | None:
    """The class that a name stands for; None: it stands for none, or its file is not there."""
    place = places().get(name)
    if place is None:
        return None
    kind = object_at(place)
    return None if kind is None else _checked(kind, place)


def methods() -> dict[str, type[Strategy]]:
    """Every method that can be loaded, by name."""
    return {name: kind for name, kind in _kinds() if not is_part(kind)}


def parts() -> dict[str, type[Wrapper]]:
    """Every part that can be loaded, by name."""
    return {name: kind for name, kind in _kinds() if is_part(kind)}


def is_part(kind: type[Strategy]) -> TypeGuard[type[Wrapper]]:
    """Whether it alters another strategy, and cannot stand alone."""
    from splat.core.strategy import Wrapper

    return issubclass(kind, Wrapper)


def summaries() -> tuple[dict[str, str], dict[str, str]]:
    """What each method is, and what each part, by name; ours are not loaded for it."""
    here, more = (
        {name: summary for name, (place, summary) in group.items() if is_there(place)}
        for group in (METHODS, PARTS)
    )
    for name, kind in installed_kinds():
        (more if is_part(kind) else here)[name] = headline(kind)
    return here, more


def _kinds() -> Iterator[tuple[str, type[Strategy]]]:
    for name in (*METHODS, *PARTS):
        kind = kind_of(name)
        if kind is not None:
            yield name, kind
    yield from installed_kinds()


def installed_kinds() -> Iterator[tuple[str, type[Strategy]]]:
    """Methods and parts of other packages that can be loaded; a warning names the others."""
    for name, place in installed().items():
        try:
            kind = kind_of(name)
        except Exception as error:
            _log.warning("warning: %s (%s) cannot be loaded: %s", name, place, error)
        else:
            if kind is not None:
                yield name, kind


def default() -> str:
    """The method where none is named: `DEFAULT`, or the first that is there."""
    return DEFAULT if kind_of(DEFAULT) is not None else next(iter(methods()))


def usual_recipe() -> str:
    """The recipe where none is given: `USUAL`, or what of it can be loaded."""
    whole = kind_of(DEFAULT) is not None and kind_of("significance") is not None
    return USUAL if whole else default()


def usual_recipe_of_files() -> str:
    """As `usual_recipe`, by the files that are there: nothing of ours is loaded for it."""
    whole = is_there(METHODS[DEFAULT][0]) and is_there(PARTS["significance"][0])
    here = summaries()[0]
    return USUAL if whole else DEFAULT if DEFAULT in here else next(iter(here))


def name_of(kind: type[Strategy]) -> str | None:
    """The name of a method or part in a recipe; None: the catalog has none for it."""
    own = f"{kind.__module__}:{kind.__qualname__}"
    for name, place in places().items():
        if place == own or (place.rpartition(":")[2] == kind.__name__ and kind_of(name) is kind):
            return name
    return None


def plugin(place: str) -> type[Strategy]:
    """The strategy class at `module:Class` or `file.py:Class`, for which the user vouches by naming
    it; modules may lie in this folder."""
    where, name = where_and_name(place, "plugin", "Class")
    vouch(place)
    module = module_of(where)
    kind = vars(module).get(name)
    if kind is None:
        raise ValueError(
            f"plugin {place!r}: {where} holds no {name}; expected a class that derives from"
            " splat.core.Strategy"
        )
    return _checked(kind, place)


def _checked(kind: object, place: str) -> type[Strategy]:
    """What lies at a place, if it is a strategy whose fields can be options."""
    from splat.core.strategy import Strategy

    where, _, name = place.rpartition(":")
    if not isinstance(kind, type) or not issubclass(kind, Strategy):
        raise ValueError(
            f"plugin {place!r}: {where} holds another thing as {name}; expected a class that"
            " derives from splat.core.Strategy"
        )
    if not dataclasses.is_dataclass(kind):
        raise ValueError(
            f"plugin {place!r}: {name} is no dataclass; decorate it with"
            " @dataclass(frozen=True), so that its fields become options"
        )
    return kind
