"""What is looked at and kept while a run goes on."""

from __future__ import annotations

from dataclasses import dataclass

from splat.options.checks import least


@dataclass(frozen=True)
class Watching:
    """What is looked at and kept while a run goes on."""

    checkpoint_every: int = 1000
    """Steps between checkpoints; there is one each minute too, and one at the end."""
    keep: int = 3
    """Last checkpoints to keep."""
    eval_every: int = 0
    """Steps between measurements on the held-out views; 0: at the end only."""
    pictures: bool = True
    """Draw a contact sheet and the curves of the run at its end."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder as well."""
    quiet: bool = False
    """Say nothing but warnings and the result."""

    def __post_init__(self) -> None:
        least("checkpoint-every", self.checkpoint_every, 1)
        least("keep", self.keep, 1)
        least("eval-every", self.eval_every, 0)
