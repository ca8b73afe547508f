"""`Shard`: the rows of a cloud as a share of those of a run; here they are all of them.

Where several processes each hold a share (`splat.parallel.sharded`), a strategy sees its own rows
only: what it counts is to be counted over all (`total`), what it draws is to be drawn of all
(`lowest`, `divided`). Every process must ask the same things in the same order, so never where a
look at its own rows says whether.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from splat.core.cloud import Cloud
    from splat.core.edit import Change
    from splat.core.model import Model
    from splat.core.step import Step
    from splat.types import Renderer


class Shard:
    """All rows of a run, which one process holds."""

    whole: bool = True
    """Whether there are no rows elsewhere."""

    def __repr__(self) -> str:
        return "WHOLE" if self.whole else type(self).__name__

    def rows(self, own: int) -> int:
        """Rows of all processes after the last step, of which `own` are here."""
        return own

    def total(self, own: int) -> int:
        """A count of this process's rows, added up over all processes."""
        return own

    def lowest(self, keys: Float[Tensor, "n"], most: int) -> Int[Tensor, "m"]:
        """The places among `keys` of those that are among the `most` lowest of all processes, the
        lowest first; of equal ones those of the first process, and there the first."""
        return keys.argsort(stable=True)[: max(most, 0)]

    def divided(self, weight: Float[Tensor, ""], count: int, generator: torch.Generator) -> int:
        """How many of `count` draws over all processes, in proportion to `weight`, fall to this
        one, which is to draw them of its own rows."""
        del weight, generator
        return count

    def evened(self, spare: int, wanted: int) -> int:
        """How many of `spare` rows this process is to give up for the `wanted` ones that others
        make beyond those that they have place for."""
        del spare, wanted
        return 0

    def share(self, rows: int) -> float:
        """What the mean over so many rows, and over processes, counts for in that over all rows
        and one process."""
        del rows
        return 1.0

    def named(self, purpose: str) -> str:
        """The purpose of a random stream that is this process's own."""
        return purpose

    def drawn_by(self, render: Renderer) -> Renderer:
        """The renderer that draws the rows of all, given one that draws Gaussians."""
        return render

    def drawn_whole(self, render: Renderer) -> Renderer:
        """The renderer that `drawn_by` was given, which draws what this process holds."""
        return render

    def observed(self, step: Step) -> tuple[Step, Sequence[Step]]:
        """A step after backward, with the rows that are in anybody's sight, and what it is to be
        observed as: once for every picture that these rows were drawn in."""
        return step, (step,)

    def attend(self, model: Model) -> None:
        """Give others the rows that they draw until nobody draws any more."""
        del model

    def balance(self, cloud: Cloud, *, now: bool) -> None:
        """Even out the numbers of rows between processes where they differ much, or `now` where
        they differ somewhat."""
        del cloud, now

    def counted(self, cloud: Cloud, change: Change) -> Change:
        """What an edit did to the rows of all processes, given what it did here."""
        del cloud
        return change

    def state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The state of the cloud of all (`Cloud.state_dict`) for the first process, given this
        one's own."""
        return dict(state)

    @property
    def counts(self) -> list[int]:
        """Rows of each process; none where one holds all."""
        return []

    @property
    def sent_a_step(self) -> float:
        """Bytes of rows and gradients that this process sent to others in a step, in the mean."""
        return 0.0

    def gather(self, cloud: Cloud) -> None:
        """Give every process the rows of all, which is the end of training: without moments."""
        del cloud


WHOLE = Shard()
"""All rows, in one process or in each."""
