"""What is looked at and kept while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from splat.system.ranges import at_least, check_fields


@dataclass(frozen=True)
class Watching:
    """What is looked at and kept while a run goes on."""

    checkpoint_every: Annotated[int, at_least(1)] = 1000
    """Steps between checkpoints; there is one each minute too, and one at the end."""
    keep: Annotated[int, at_least(1)] = 3
    """Last checkpoints to keep."""
    eval_every: Annotated[int, at_least(0)] = 0
    """Steps between measurements on the held-out views; 0: at the end only."""
    pictures: bool = True
    """Draw a contact sheet, at every measurement, and the curves of the run at its end."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder as well."""
    wandb: bool = False
    """Log to Weights & Biases as well, as its environment says (WANDB_MODE=offline: to the run
    folder)."""
    rerun: bool = False
    """Write a recording for Rerun into the run folder as well: numbers, and Gaussians now and
    then."""
    quiet: bool = False
    """Say nothing but warnings and the result."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
