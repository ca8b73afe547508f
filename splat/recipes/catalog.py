"""The methods and parts that the command line offers, and one's own by their import path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from splat.core.strategy import Fixed, Strategy, Wrapper
from splat.planning import predict
from splat.strategies.adc import Adc
from splat.strategies.alpha_mask import AlphaMask
from splat.strategies.blur import BlurSplit
from splat.strategies.budget import Budget
from splat.strategies.crop import Crop
from splat.strategies.deferred import Deferred
from splat.strategies.error import ErrorBased
from splat.strategies.floaters import Floaters
from splat.strategies.freeze import Freeze
from splat.strategies.igs import ImprovedGs
from splat.strategies.lighthouse import Lighthouse
from splat.strategies.mcmc import Mcmc
from splat.strategies.mrnf import Mrnf
from splat.strategies.protect import Protect
from splat.strategies.scaffold import Scaffold
from splat.strategies.scaffold.coded import Coded
from splat.strategies.scaffold.gsdf import Gsdf
from splat.strategies.sdf import Sdf
from splat.strategies.significance import Significance
from splat.strategies.taming import Taming
from splat.system.import_path import module_of, place_of, where_and_name

METHODS: Mapping[str, type[Strategy]] = {
    "mcmc": Mcmc,
    "adc": Adc,
    "mrnf": Mrnf,
    "igs": ImprovedGs,
    "error": ErrorBased,
    "taming": Taming,
    "scaffold": Scaffold,
    "fixed": Fixed,
}
"""By their name on the command line."""
PARTS: Mapping[str, type[Wrapper]] = {
    "significance": Significance,
    "blur-split": BlurSplit,
    "protect": Protect,
    "freeze": Freeze,
    "budget": Budget,
    "crop": Crop,
    "coded": Coded,
    "gsdf": Gsdf,
    "deferred": Deferred,
    "sdf": Sdf,
    "lighthouse": Lighthouse,
    "alpha-mask": AlphaMask,
    "floaters": Floaters,
}
"""What may follow a method and a `+`, and alters what stands before."""
PRESETS: Mapping[str, tuple[str, str]] = {
    "renew": (
        "significance --score mini --at 6000 9000 12000 --keep 0.8",
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
    "mini-splatting": (
        "significance --score mini --at 15000 --keep 0.5 --pick multinomial"
        " + significance --score mini --at 20000 --mass 0.99",
        "Mini-Splatting's simplification: half of the rows that are the strongest anywhere, drawn"
        " by their blending weight, then the fewest that hold 99 % of it (Fang & Wang 2024).",
    ),
}
"""Parts with the options of a paper: the text that a name stands for, and what it is."""
DEFAULT = "mrnf"
"""The method where one is needed and none is named,"""
USUAL = f"{DEFAULT} + renew"
"""and the recipe of a plain `splat train scene/`: the best of docs/league.md."""
ANCHOR_DRAWS = 4
"""Gaussians that an anchor makes in a picture, about."""


def fitted(device: torch.device, budget: int = 0) -> dict[str, Strategy]:
    """Every method with the largest number of Gaussians that suits the device, or a budget."""
    found = predict.fit(device)
    # Published ADC has no limit; a machine with little time or memory needs one.
    limit = 0 if device.type == "cuda" else found.cap
    return {
        "mcmc": Mcmc(cap=budget or found.cap),
        "adc": Adc(cap=budget or limit),
        "mrnf": Mrnf(cap=budget or found.cap),
        "igs": ImprovedGs(cap=budget or found.cap),
        "error": ErrorBased(cap=budget or found.cap),
        "taming": Taming(cap=budget or found.cap),
        "scaffold": Scaffold(cap=0 if budget else limit // ANCHOR_DRAWS),
        "fixed": Fixed(),
    }


def published() -> dict[str, Strategy]:
    """Every method with the numbers of its class."""
    return {name: kind() for name, kind in METHODS.items()}


def name_of(kind: type[Strategy]) -> str | None:
    """What a method or part is called in a recipe; None: it is one's own."""
    listed = (*METHODS.items(), *PARTS.items())
    return next((name for name, known in listed if known is kind), None)


def outlined(description: Mapping[str, Any]) -> str:
    """The classes of a strategy as `described` gave it, without importing them."""
    fields = description["fields"]
    inner = [part for part in (fields.get("base"), *fields.get("parts", ())) if part]
    own = description["class"].rpartition(":")[2]
    return " + ".join([*map(outlined, inner), *([] if fields.get("parts") else [own])])


MOVED = {
    "splat.strategy:Fixed": "splat.core.strategy:Fixed",
    "splat.strategies.compose:Chain": "splat.core.chain:Chain",
    "splat.strategies.block:Block": "splat.blocks.block:Block",
}
"""Classes that run folders name by where they were, and where they are now."""


def plugin(place: str) -> type[Strategy]:
    """The strategy class at `module:Class` or `file.py:Class`; modules may lie in this folder."""
    where, name = where_and_name(place, "plugin", "Class")
    module = module_of(where)
    found = vars(module).get(name)
    if not isinstance(found, type) or not issubclass(found, Strategy):
        what = "holds no" if found is None else "holds another thing as"
        raise ValueError(
            f"plugin {place!r}: {where} {what} {name}; expected a class that derives from"
            " splat.core.strategy.Strategy"
        )
    if not dataclasses.is_dataclass(found):
        raise ValueError(
            f"plugin {place!r}: {name} is no dataclass; decorate it with"
            " @dataclass(frozen=True), so that its fields become options"
        )
    return found


def described(strategy: Strategy) -> dict[str, Any]:
    """A strategy as JSON can hold it: where its class is, and its fields."""
    return {"class": place_of(type(strategy)), "fields": _fields(strategy)}


def rebuilt(description: Mapping[str, Any]) -> Strategy:
    """The strategy that `described` saw."""
    place = MOVED.get(description["class"], description["class"])
    if place.startswith("__main__:"):
        raise ValueError(
            f"the method {place.partition(':')[2]} was defined in a script; go on from Python with"
            " splat.resume(folder, strategy=...)"
        )
    strategy: Strategy = _build(plugin(place), description["fields"])
    return strategy


def _fields(part: Any) -> dict[str, Any]:
    values = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"class": place_of(type(value)), "fields": _fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(
        f"a field of the method holds a {type(value).__name__}, which a run folder cannot keep;"
        " use numbers, texts, tuples and dataclasses of them"
    )


def _build(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(fields) - known):
        raise ValueError(
            f"{kind.__name__} has no field {unknown[0]!r}; the run was made by another version of"
            f" it: use that one, or begin anew"
        )
    return kind(**{name: _value(value) for name, value in fields.items()})


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return _build(_class(value["class"]), value["fields"])
    return tuple(_value(item) for item in value) if isinstance(value, list) else value


def _class(place: str) -> type[Any]:
    where, _, name = MOVED.get(place, place).rpartition(":")
    kind: type[Any] = getattr(module_of(where), name)
    return kind
