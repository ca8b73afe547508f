"""Runs whose rows are shared out among processes (`--shard`): what can be, and what cannot yet."""

from __future__ import annotations

from splat.core.fields import parts_with_ways
from splat.core.model import Model
from splat.core.strategy import Strategy, recipe_name_of
from splat.loop import Run
from splat.options import Options
from splat.parallel import Ranks, Sharded
from splat.system.text import size


def check_sharded(strategy: Strategy, options: Options) -> None:
    """Raise ValueError where a run cannot share its rows out: which part of it, and why."""
    for _, part in parts_with_ways(strategy):
        if part.undivided:
            name = recipe_name_of(type(part))
            raise ValueError(
                f"shard gives each process a share of the rows, and {name} cannot do with that yet:"
                f" {part.undivided}; leave --shard out, or take mcmc, adc, mrnf, error or fixed"
            )
    for name, why in (
        ("offload", "copies of rows in host memory are of one process"),
        ("finish_for", "a file's grids are fitted to all rows at every step"),
        ("memory", "what a process draws of the rows of others is not rationed"),
        ("minutes", "steps are timed by one process"),
        ("replay", "a page steers one process"),
    ):
        if getattr(options, name):
            raise ValueError(
                f"shard does not go with {name.replace('_', '-')} yet: {why}; leave one of the two"
                " out"
            )


def share_rows(model: Model, ranks: Ranks) -> None:
    """Make the rows of a model a share of those of all processes."""
    if not (model.core is model and model.rows_are_gaussians and model.same_for_all_views):
        raise ValueError(
            f"shard sends Gaussians from one process to another, and {model.unit} of this method"
            " are made into Gaussians for each camera; leave --shard out"
        )
    model.cloud.shard = Sharded(ranks)


def sent_text(run: Run) -> str:
    """What this process sent to the others while it trained, in a sentence; empty: nothing."""
    sent = run.model.cloud.shard.sent_a_step
    return f"this process sent {size(sent)} of rows and gradients a step to others" if sent else ""
