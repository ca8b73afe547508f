"""The model of a checkpoint, for drawing and export."""

from __future__ import annotations

import torch

from splat.core.model import COLUMNS, Explicit, Making, Model
from splat.core.region import Region, box_of, intersection
from splat.core.strategy import Fixed, Strategy
from splat.recipes.saved import strategy_from_description
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.runs.folder import Config
from splat.sensor.sensor import SENSOR
from splat.system.foreign import reading


def strategy_of(config: Config, *, missing: Strategy | None = None) -> Strategy:
    """The strategy of a run, as `strategy_from_description` makes it."""
    with reading(config.file, "a method of this version of splat: use the one that wrote it"):
        return strategy_from_description(config.method, missing=missing)


def region_of(config: Config) -> Region | None:
    """The part of the scene that a run is confined to; None: all."""
    # Parts of a method that only a script can make still keep to what they were told.
    own = strategy_of(config, missing=Fixed()).region()
    asked = config.options.crop
    return own if asked is None else intersection(own, box_of(asked))


def measured_strategy(config: Config, state: State) -> Strategy:
    """The strategy of a run that is measured, and does not go on.

    Plain Gaussians draw themselves: of these `Fixed` stands in for one of somebody's own that
    nobody vouches for.
    """
    return strategy_of(config, missing=Fixed() if _are_plain(state) else None)


def _are_plain(state: State) -> bool:
    """Whether the rows of a run are Gaussians, with nothing of its method beside them."""
    own = [name for name in state["modules"] if name not in SENSOR]
    return checkpoint.rows(state).keys() == COLUMNS and not own


def model_of(config: Config, state: State, device: torch.device | str = "cpu") -> Model:
    """The model in a run's checkpoint, on `device`."""
    rows = {name: values.to(device) for name, values in checkpoint.rows(state).items()}
    if _are_plain(state):
        with checkpoint.fitting(state):
            plain = Explicit(rows, steps=0)
        plain.frame, plain.region = checkpoint.frame(state), region_of(config)
        return plain
    # Only the method knows what its rows make, and what is beside them.
    strategy = strategy_of(config)
    with checkpoint.fitting(state):
        model = strategy.model(rows, Making(steps=state["steps"], photos=state["views"]))
        model.frame, model.region = checkpoint.frame(state), region_of(config)
        model.load_state_dict(state["model"])
        for name, part in model.networks().items():
            part.module.load_state_dict(state["modules"][name]["module"])
    return model
