"""The model of a checkpoint, to draw and export."""

from __future__ import annotations

import torch

from splat import checkpoint, methods
from splat.checkpoint import State
from splat.folder import Config
from splat.model import Explicit, Making, Model


def restored(config: Config, state: State, device: torch.device | str = "cpu") -> Model:
    """The model that a run's checkpoint has, on `device`."""
    rows = {name: values.to(device) for name, values in checkpoint.rows(state).items()}
    if "mean" in rows and not state["modules"]:
        return Explicit(rows, steps=0)
    # Only the method knows what its rows make, and what is beside them.
    strategy = methods.rebuilt(config.method)
    model = strategy.model(rows, Making(steps=state["steps"], photos=state["views"]))
    model.frame = checkpoint.frame(state)
    model.load_state_dict(state["model"])
    for name, part in model.networks().items():
        part.module.load_state_dict(state["modules"][name]["module"])
    return model
