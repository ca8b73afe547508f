"""`Forest`: trees of Gaussians that grow where pictures are wrong, and by how much say how."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from splat.core import schedule
from splat.core.edit import Append, Assign, Edit, Rows
from splat.core.maps import Error
from splat.core.model import Making, Model
from splat.core.objective import Objective
from splat.core.schedule import PUBLISHED_STEPS, at, due, dues
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.math import logit_of
from splat.rules import window, worst
from splat.rules.curve import room
from splat.rules.deaths import faint, opacity_decay, pruning
from splat.rules.relocation import rotated
from splat.rules.worst import SEEN, WORST
from splat.strategies.forest.model import SHRINK, Trees
from splat.strategies.forest.nodes import OWN_MID, OWN_ROOT
from splat.strategies.forest.terms import Bits
from splat.system.ranges import above, at_least, within
from splat.types import Needs

LEAST_SIZE, MOST_SIZE = math.log(1e-10), math.log(100.0)
"""Least and largest log size of a leaf, scene extents, outside which it is pruned."""
APART = 1.5
"""How far a child of an error lies from where its parent then is, in standard deviations along the
parent's longest axis; both lie as far from where it was."""
FAINTER = 0.7
"""Opacity of these two, over what the parent's was."""
THINNER = 0.27
"""What log sizes of these two lose: as much volume as in a split along the longest axis
(`splat.rules.births.long_axis_split`)."""
SOLID = 0.5
"""Largest opacity with which a child of a gradient is born."""


@dataclass(frozen=True)
class Forest(Strategy):
    """Trees of Gaussians, whose leaves share shape and look (after GaussianForest, 2024).

    Leaves have a place, an opacity, a size and a brightness; mids, above them, say shapes by a
    small network, and roots the look by another. Where pictures are wrong leaves get children,
    which share their parent's mid, or get a mid or a root of their own, by rank; leaves that fade
    are pruned, and with the last of them their mid, and its root. Few numbers a Gaussian.

    Inspired: what was published leaves open which node holds what, networks, thresholds, schedules
    and the start; these, and growth by error, are ours. Rows are leaves: each makes one Gaussian.
    """

    known_as: ClassVar[str] = "forest-inspired"
    handles = "leaves"
    row_bytes = 9
    cap: Annotated[int, at_least(1)] = 1_000_000
    """Most leaves the cloud may grow to."""
    grow: Literal["error", "gradient"] = "error"
    """What leaves grow by: error, in proportion to that of pictures, children in place of those
    that are pruned; gradient, where that on screen is above --grow-gradient."""
    mid_features: Annotated[int, within(1, 64)] = 6
    """Numbers of a mid's feature."""
    root_features: Annotated[int, within(1, 64)] = 16
    """Numbers of a root's feature."""
    hidden: Annotated[int, within(1, 256)] = 32
    """Width of the networks."""
    mid_cell: Annotated[float, above(0)] = 4.0
    """Cells of the grid of the first mids, in median distances of neighbours of the start."""
    root_cell: Annotated[float, above(0)] = 16.0
    """Cells of the grid of the first roots, in the same."""
    grow_error: float = 0.003
    """Error from which a leaf may have a child: the sum over a picture's pixels, at full size, of
    absolute error x blending weight."""
    grow_share: Annotated[float, within(0, 1)] = 0.07
    """Share of the leaves above `grow_error` that have a child at each refinement, drawn in
    proportion to error; in a fitted schedule of a short run that of as many refinements as each
    stands for."""
    mid_share: Annotated[float, within(0, 1)] = 0.5
    """Share of the children of errors that get a mid of their own: those of the largest."""
    root_share: Annotated[float, within(0, 1)] = 0.05
    """Share of them that get a root of their own, too."""
    grow_gradient: Annotated[float, above(0)] = 2e-4
    """Mean screen gradient from which a leaf has a child, in half pictures."""
    mid_times: float = 2.0
    """Times --grow-gradient from which that has a mid of its own."""
    root_times: float = 4.0
    """Times --grow-gradient from which it has a root of its own, too."""
    prune_opacity: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.005
    """Leaves below this opacity are pruned."""
    opacity_leak: Annotated[float, within(0, 1, high_open=True)] = 0.004
    """Opacity decay: what every leaf loses at a refinement, at the start; it falls to 0 over the
    run."""
    grow_until: int = 15_000
    """Step before which the number of leaves grows; later there are as many births as deaths, and
    by gradient none."""
    refine_from: int = 500
    """Leaves are born and pruned after this step."""
    refine_until: int = 28_500
    """Leaves are born and pruned before this step."""
    refine_every: Annotated[int, at_least(1)] = 200
    """Steps between refinements."""
    rate: Annotated[float, at_least(0)] = 2e-3
    """Weight of the bits per number in the loss, once numbers are rounded: more makes the file
    smaller and the picture worse."""
    round_from: Annotated[int, at_least(0)] = 15_000
    """Step from which numbers are rounded as the file rounds them, and bits cost; 0: never."""
    run_steps: Annotated[int, at_least(1)] = PUBLISHED_STEPS
    """Length of the run, over which decay falls to 0; a fitted schedule sets it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root_share > self.mid_share or self.root_times < self.mid_times:
            raise ValueError(
                f"root_share is {self.root_share:g} and root_times {self.root_times:g}; expected no"
                f" more than mid_share, {self.mid_share:g}, and no less than mid_times,"
                f" {self.mid_times:g}: who has a root of its own has a mid of its own"
            )

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(weights=(Error(),)) if self.grow == "error" else Needs()

    def scheduled(self, steps: int) -> Forest:
        merged = schedule.stands_for(self.refine_every, steps)
        return replace(
            self,
            grow_share=schedule.compounded(self.grow_share, merged),
            opacity_leak=min(0.5, self.opacity_leak * merged),
            grow_until=at(self.grow_until, steps),
            refine_from=at(self.refine_from, steps),
            refine_until=at(self.refine_until, steps),
            refine_every=schedule.every(self.refine_every, steps),
            round_from=at(self.round_from, steps),
            run_steps=steps,
        )

    def acts(self, steps: int) -> Mapping[str, Sequence[int]]:
        edits = dues(self.refine_from, self.refine_until, self.refine_every, steps)
        late = "replace, prune and leak" if self.grow == "error" else "prune and leak"
        acts = {
            "grow, prune and leak": [done for done in edits if done < self.grow_until],
            late: [done for done in edits if done >= self.grow_until],
        }
        return {act: at_steps for act, at_steps in acts.items() if at_steps}

    def model(self, rows: Rows, making: Making) -> Model:
        return Trees(
            rows,
            making,
            mid_features=self.mid_features,
            root_features=self.root_features,
            hidden=self.hidden,
            mid_cell=self.mid_cell,
            root_cell=self.root_cell,
            round_from=self.round_from,
        )

    def objectives(self) -> Mapping[str, Objective]:
        return {"bits": Bits(self.rate)} if self.rate and self.round_from else {}

    def begin(self, model: Model) -> None:
        if self.grow == "gradient":
            window.track(model.cloud)
        else:
            worst.track(model.cloud)

    def observe(self, step: Step) -> None:
        trees = step.model.core
        assert isinstance(trees, Trees)
        trees.done = step.number + 1
        if step.number + 1 >= self.refine_until:
            return
        if self.grow == "gradient":
            window.observe(step)
        else:
            worst.observe(step, Error())

    def refine(self, step: Step) -> Edit | None:
        done = step.number + 1
        if not due(done, self.refine_from, self.refine_until, self.refine_every):
            return None
        cloud = step.model.cloud
        gone = self._gone(step)
        doomed = torch.stack(list(gone.values())).any(0)
        births = self._by_error if self.grow == "error" else self._by_gradient
        grown = births(step, doomed, done < self.grow_until)
        rows = len(cloud) + sum(len(append.parents) for append in grown.append)
        left = max(1 - done / self.run_steps, 0.0)
        return (
            grown
            + pruning(rows, gone, grown)
            + opacity_decay(cloud, self.opacity_leak * left)
            + Edit(clear=self._read)
        )

    @property
    def _read(self) -> tuple[str, ...]:
        """Statistics that a refinement has read."""
        return (WORST, SEEN) if self.grow == "error" else window.WINDOW

    def _gone(self, step: Step) -> dict[str, Bool[Tensor, "n"]]:
        cloud = step.model.cloud
        columns = [cloud[name].detach()[:, None].flatten(1) for name in cloud.names]
        finite = torch.stack([column.isfinite().all(1) for column in columns]).all(0)
        size = cloud["size"].detach().amax(1) - math.log(step.extent)
        sound = (size > LEAST_SIZE) & (size < MOST_SIZE)
        return {"opacity": faint(cloud, self.prune_opacity), "broken": ~(finite & sound)}

    def _by_error(self, step: Step, doomed: Bool[Tensor, "n"], grows: bool) -> Edit:
        """As many births as deaths, in proportion to opacity, and while there is growth a share of
        the leaves with error."""
        cloud, share = step.model.cloud, self.grow_share if grows else 0
        parents = worst.parents(step, doomed, cap=self.cap, above=self.grow_error, share=share)
        if not len(parents):
            return Edit()
        rank = cloud.statistic(WORST)[parents].argsort(descending=True, stable=True).argsort()
        own_mid, own_root = (
            rank < math.floor(share * len(parents)) for share in (self.mid_share, self.root_share)
        )
        rows = self._hung(cloud.rows(parents), own_mid, own_root)
        log_scales, quats = _shapes(step.model, parents)
        longest = one_hot(log_scales.argmax(1), 3)
        shift = rotated(quats, 0.5 * APART * log_scales.exp() * longest)
        parent_at = cloud["mean"].detach()[parents]
        logit = rows["opacity_logit"]
        fainter = (FAINTER * logit.double().sigmoid()).logit().to(logit.dtype)
        thinner = cloud["size"].detach()[parents] - THINNER
        rows |= {"mean": parent_at + shift, "opacity_logit": fainter}
        rows["size"] = torch.minimum(rows["size"], thinner)
        moved = {"mean": parent_at - shift, "opacity_logit": fainter, "size": thinner}
        return Edit(
            assign=(Assign(parents, moved, "grow", moments="keep"),),
            append=(Append(rows, parents, "grow"),),
        )

    def _by_gradient(self, step: Step, doomed: Bool[Tensor, "n"], grows: bool) -> Edit:
        """A child for each leaf above the threshold, drawn evenly where there is no room for
        all; the cap is filled in equal parts by 60 % of the growth phase."""
        cloud = step.model.cloud
        gradient = window.mean_screen_gradient(cloud)
        asks = (gradient >= self.grow_gradient) & ~doomed
        most = room(len(cloud), int(doomed.sum()), self.cap) if grows else 0
        last = schedule.full_by(self.refine_from, self.grow_until)
        left = schedule.refinements_left(step.number + 1, last, self.refine_every)
        most = math.ceil(most / max(left, 1))
        parents = asks.nonzero().squeeze(1)
        if len(parents) > most:
            draw = torch.rand(len(parents), generator=step.generator("grow"), device=parents.device)
            parents = parents[draw.argsort(stable=True)[:most]].sort().values
        if not len(parents):
            return Edit()
        own = gradient[parents] / self.grow_gradient
        rows = self._hung(cloud.rows(parents), own >= self.mid_times, own >= self.root_times)
        log_scales, quats = _shapes(step.model, parents)
        draw = torch.randn(
            len(parents), 3, generator=step.generator("place"), device=parents.device
        )
        rows["mean"] = rows["mean"] + rotated(quats, draw * log_scales.exp())
        rows["opacity_logit"] = rows["opacity_logit"].clamp_max(logit_of(SOLID))
        return Edit(append=(Append(rows, parents, "grow"),))

    def _hung(
        self, rows: dict[str, Tensor], own_mid: Bool[Tensor, "p"], own_root: Bool[Tensor, "p"]
    ) -> dict[str, Tensor]:
        """Children as copies of their parents, and what they are to hang on."""
        node = rows["node"].masked_fill(own_mid, OWN_MID).masked_fill(own_root, OWN_ROOT)
        size = rows["size"] - SHRINK * own_mid[:, None].to(rows["size"].dtype)
        return {**rows, "node": node, "size": size}


def _shapes(model: Model, rows: Int[Tensor, "p"]) -> tuple[Float[Tensor, "p 3"], Tensor]:
    """Log sizes and quaternions, of any length, of some leaves, without gradients."""
    trees = model.core
    assert isinstance(trees, Trees)
    with torch.no_grad():
        log_scales, quats = trees.shapes()
    return log_scales.index_select(0, rows), quats.index_select(0, rows)
