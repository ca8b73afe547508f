"""`Trees`: leaves that are drawn, mids that say their shape, roots that say their look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Change, Edit, Rows
from splat.core.edit_check import check_edit
from splat.core.frame import morton_order
from splat.core.model import Making, Model, check_shapes, module_of
from splat.core.rates import resting
from splat.core.shared_rows import shared_rows
from splat.strategies.forest.bake import baked
from splat.strategies.forest.context import SIZE, Context, Steps, Values
from splat.strategies.forest.fitted import EVERY, Fitted
from splat.strategies.forest.layout import Layout, laid_out
from splat.strategies.forest.networks import Networks, hung
from splat.strategies.forest.nodes import clear, links, planted
from splat.strategies.forest.settled import Settled, settled
from splat.strategies.forest.start import Seedlings, seedlings, summed
from splat.system.foreign import Broken, Record
from splat.types import Camera, Gaussians

SHRINK = 0.47000362924573563
"""ln 1.6: what a leaf that is born with a mid of its own is smaller by, as children of a split are
(Kerbl et al. 2023, section 5.2)."""
FEATURE_RATE, SIZE_RATE, LIGHT_RATE, COLOUR_RATE, OPACITY_RATE = 1.5e-2, 2e-2, 2e-2, 2e-2, 1e-1
"""Learning rates, until numbers come to rest: what is rounded would else wander among steps of
rounding."""


@dataclass(frozen=True)
class Drawn:
    """Numbers of roots, mids and leaves to draw with, as their columns are."""

    mean: Float[Tensor, "n 3"]
    root: Float[Tensor, "r g"]
    mid: Float[Tensor, "m f"]
    rgb: Float[Tensor, "m 3"]
    size: Float[Tensor, "n 1"]
    opacity_logit: Float[Tensor, "n"]
    light: Float[Tensor, "n"]


class Trees(Model):
    """Gaussians that share what siblings have in common, after GaussianForest.

    A row is a leaf, and makes one Gaussian. Columns: `mean` [N, 3], `opacity_logit` [N], `size`
    [N, 1] (log), `light` [N] (added to all logits of its colour), and `node` [N], the number of its
    mid. Mids, rows of the cloud `mids`: `feature` [M, F], `rgb` [M, 3] (logits), and `node` [M],
    the number of its root. Roots: `feature` [R, G]. With f a mid's feature and g its root's,

        log scale = size + A(f, g)        quaternion = (1, 0, 0, 0) + B(f, g), of length 1
        colour = sigmoid(rgb + sum_k C_k(f, g) Y_k(direction) + light)

    where A and B are one network, C another, each of two layers, and Y_k harmonics up to degree 2,
    the first of them 1. Both are asked once a mid: the direction is that from the camera to the
    middle of the mid's leaves. Links are whole numbers in float32, exact up to 2^24, that no
    optimizer moves.

    Who proposes births says in `node` what they hang on: the number of a mid that there is,
    `nodes.OWN_MID` or `nodes.OWN_ROOT`. So whatever is struck from an edit, no node is planted for
    it; `apply` plants the others, and takes away mids that no leaf hangs on, and roots of no mid.
    """

    unit = "leaves"
    rows_are_gaussians = True
    left_out = "how colours depend on the direction, beyond harmonics of degree 3"
    reach = "size"
    own_suffix = ".forest"

    def __init__(
        self,
        rows: Rows,
        making: Making,
        *,
        mid_features: int = 6,
        root_features: int = 16,
        hidden: int = 32,
        mid_cell: float = 4.0,
        root_cell: float = 16.0,
        steps: Steps = Steps(),  # noqa: B008
        round_from: int = 0,
        nodes: tuple[Rows, Rows] | None = None,
    ) -> None:
        """`rows` are Gaussians to start from, or the columns of another such model, whose state is
        then loaded, or whose mids and roots are `nodes`. Cells are in median distances of
        neighbours of the start; numbers are rounded to `steps` from the step `round_from` on (0:
        never)."""
        super().__init__()
        self.steps, self.round_from, self.done = steps, round_from, 0
        self._kept: Settled | None = None
        self.settings = {
            "mid_features": mid_features, "root_features": root_features, "hidden": hidden,
        }  # fmt: skip
        self.views = tuple(making.views)
        if "node" in rows:
            # Nodes come with the state; one of each until then.
            one = rows["mean"].new_zeros(1)
            mids: Rows = {"rgb": one.expand(1, 3), "node": one}
            begun = Seedlings(rows, mids if nodes is None else nodes[0], 1)
        else:
            begun = seedlings(rows, mid_cell, root_cell)
        self.cloud, self._mids, self._roots = _clouds(
            begun, making, nodes, (root_features, mid_features)
        )
        device, length = self.cloud.device, making.steps
        draws = torch.Generator().manual_seed(making.seed)
        networks = Networks(mid_features + root_features, hidden, draws)
        context = Context(mid_features, root_features, draws)
        self.beside["networks"] = networks.to(device).trained(length)
        self.beside["mids"] = shared_rows(self._mids)
        self.beside["roots"] = shared_rows(self._roots)
        self.beside["context"] = Fitted(context.to(device), length, self._counted)

    @property
    def mids(self) -> Cloud:
        """What leaves hang on."""
        return self._mids

    @property
    def roots(self) -> Cloud:
        """What mids hang on."""
        return self._roots

    @property
    def nets(self) -> Networks:
        """The networks that read mids and roots."""
        return module_of(self, "networks", Networks)

    @property
    def context(self) -> Context:
        """What numbers are expected to be, in a file."""
        return module_of(self, "context", Context)

    @property
    def mid_of(self) -> Int[Tensor, "n"]:
        """The mid of each leaf."""
        return links(self.cloud, self.mids, "leaves", "mids")

    @property
    def root_of(self) -> Int[Tensor, "m"]:
        """The root of each mid."""
        return links(self.mids, self.roots, "mids", "roots")

    def numbers(self) -> int:
        """Trained numbers of it all: 6 a leaf, F + 3 a mid, G a root, and the networks'."""
        rows = sum(
            cloud[name].numel()
            for cloud in (self.cloud, self.mids, self.roots)
            for name in cloud.names
            if name != "node"
        )
        return rows + sum(weights.numel() for weights in self.nets.parameters())

    def rounds(self, step: int | None) -> bool:
        """Whether numbers are rounded at a step; None: after training, as its last step was."""
        return 0 < self.round_from <= (self.done if step is None else step)

    def counts(self, step: int) -> bool:
        """Whether bits are counted at a step."""
        return self.rounds(step) and step % EVERY == 0

    def shapes(self, step: int | None = None) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]]:
        """Log sizes and quaternions, of any length, of all leaves."""
        drawn = self.drawn(step)
        told = self._told(drawn, drawn.rgb.new_zeros(drawn.rgb.shape))
        scales, quats, _ = hung(told, self.mid_of, drawn.size, drawn.light)
        return scales.log(), quats

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        mid, drawn = self.mid_of, self.drawn(step)
        told = self._told(drawn, self._directions(camera, mid))
        scales, quats, colors = hung(told, mid, drawn.size, drawn.light)
        return Gaussians(
            means=drawn.mean,
            quats=quats,
            scales=scales,
            opacities=drawn.opacity_logit.sigmoid(),
            colors=colors,
        )

    def drawn(self, step: int | None) -> Drawn:
        """The numbers to draw with at a step, rounded as a file rounds them where that has begun;
        their gradients pass through rounding as if it were not."""
        cloud, steps = self.cloud, self.steps
        given = (
            (self.roots["feature"], steps.root),
            (self.mids["feature"], steps.mid),
            (self.mids["rgb"], steps.rgb),
            (cloud["size"], SIZE),
            (cloud["opacity_logit"], steps.opacity),
            (cloud["light"], steps.light),
        )
        if not self.rounds(step):
            return Drawn(cloud["mean"], *(values for values, _ in given))
        mean = _rounded(cloud["mean"], self._place_steps()[:, None])
        return Drawn(mean, *(_rounded(values, own) for values, own in given))

    def values(self, layout: Layout, drawn: Drawn) -> Values:
        """Numbers in steps, as a context expects them."""
        steps, mid_of = self.steps, layout.mid_of
        size = drawn.size.index_select(0, layout.leaves) / SIZE
        count = layout.leaf_counts[:, None].to(size.dtype)
        mean = summed(size, mid_of, len(count)) / count
        mean = mean + (mean.round() - mean).detach()
        feature, rgb = (part.index_select(0, layout.mids) for part in (drawn.mid, drawn.rgb))
        opacity, light = (
            part.index_select(0, layout.leaves)[:, None] / step
            for part, step in ((drawn.opacity_logit, steps.opacity), (drawn.light, steps.light))
        )
        return Values(
            drawn.root.index_select(0, layout.roots) / steps.root,
            torch.cat([feature / steps.mid, rgb / steps.rgb, mean], 1),
            torch.cat([opacity, size - mean.index_select(0, mid_of), light], 1),
            self._places(layout, mean[:, 0].detach()),
        )

    @torch.no_grad()
    def _counted(self, step: int) -> tuple[Layout, Values, bool] | None:
        """What bits are counted of at a step, and whether it is the first at which they are."""
        if not self.counts(step):
            return None
        layout = self.layout()
        return layout, self.values(layout, self.drawn(step)), not self.rounds(step - EVERY)

    @torch.no_grad()
    def _place_steps(self) -> Float[Tensor, "n"]:
        """What places of leaves are rounded to multiples of: a share of their mid's size. Files
        have a larger least step (`settled`), of mids smaller than any that is seen."""
        mid, size = self.mid_of, (self.cloud["size"] / SIZE).round()
        count = torch.bincount(mid, minlength=len(self.mids))[:, None].clamp_min(1)
        mean = (summed(size, mid, len(self.mids)) / count).round()
        step = self.steps.place * (mean[:, 0] * SIZE).exp()
        # Nothing is divided by 0 where a size has vanished.
        return step.clamp_min(torch.finfo(step.dtype).eps).index_select(0, mid)

    @torch.no_grad()
    def _places(self, layout: Layout, size: Float[Tensor, "m"]) -> Float[Tensor, "n 3"]:
        """Places of leaves as `Values` has them, under mids of mean sizes in steps."""
        mean = self.cloud["mean"].detach().index_select(0, layout.leaves)
        first = layout.first
        start = mean[first]
        off = mean - start.index_select(0, layout.mid_of)
        off[first] = start - layout.centres.index_select(0, layout.root_of)
        step = self.steps.place * (size * SIZE).exp()
        return off / step.index_select(0, layout.mid_of)[:, None]

    def layout(self) -> Layout:
        """In which order a file would tell it now."""
        mean = self.cloud["mean"].detach()
        return laid_out(mean, self.mid_of, self.root_of, len(self.roots))

    @torch.no_grad()
    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        """Leaves of the same mid, and of the same root; and as levels whether a leaf has both with
        none else (2), a mid (1), or shares that, too (0)."""
        mid = self.mid_of
        root = self.root_of[mid]
        siblings, cousins = (
            torch.bincount(each, minlength=len(cloud))[each].float()
            for each, cloud in ((mid, self.mids), (root, self.roots))
        )
        level = (siblings == 1).float() + (cousins == 1).float()
        return {"siblings": siblings, "cousins": cousins, "level": level}

    def settled(self) -> Settled:
        """What a file holds of it."""
        return self._kept or settled(self)

    def keep(self, found: Settled) -> None:
        """Be what is settled, which these rows were made of: files of it hold that."""
        self._kept = found

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """With a camera what is drawn for it, in plain colours; else one set for all views, with
        harmonics of degree 3 (`splat.strategies.forest.bake`)."""
        if camera is not None:
            return _detached(self.forward(camera))
        return baked(self.forward, self.views)

    @torch.no_grad()
    def sketch(self) -> Gaussians:
        return baked(self.forward, self.views, degree=0, most=4)

    def order_rows(self) -> Int[Tensor, "n"]:
        order = morton_order(self.cloud["mean"].detach())
        self.cloud.reorder(order)
        return order

    @torch.no_grad()
    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        self._kept = None if edit is not None else self._kept
        if edit is not None and (edit.append or edit.assign):
            check_edit(edit, self.cloud)  # before anything is planted
            edit = replace(
                edit,
                append=tuple(replace(a, rows=self._hung(a.rows, a.parents)) for a in edit.append),
                assign=tuple(replace(a, rows=self._hung(a.rows, a.index)) for a in edit.assign),
            )
        change = self.cloud.apply(edit)
        if edit is not None and (change or edit.append or edit.assign):
            clear(self.cloud, self.mids, self.roots)
        return change

    def view_centres(self) -> Float[Tensor, "v 3"]:
        """Where views stand: all that is asked of them once training is over."""
        if not self.views:
            return torch.zeros(0, 3)
        return torch.stack([view.centre for view in self.views]).cpu()

    def stand(self, centres: Any) -> None:
        """Take cameras for views that stand there, and look anywhere."""
        self.views = _cameras(centres, self.cloud.device)

    def get_extra_state(self) -> dict[str, Any]:
        return {**self.cloud.state_dict(), "views": self.view_centres(), "done": self.done}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        columns = {name: column["values"] for name, column in state["columns"].items()}
        check_shapes(columns)
        self.cloud.load_state_dict(state)
        self.stand(state["views"])
        self.done = Record(state).whole("done")

    def _hung(self, rows: Rows, parents: Int[Tensor, "a"]) -> Rows:
        return planted(rows, parents, self.mid_of, self.mids, self.roots)

    def _told(self, drawn: Drawn, directions: Float[Tensor, "m 3"]) -> Float[Tensor, "m 10"]:
        """What the networks tell of each mid."""
        return self.nets.told(drawn.mid, drawn.rgb, drawn.root, self.root_of, directions)

    def _directions(self, camera: Camera, mid: Int[Tensor, "n"]) -> Float[Tensor, "m 3"]:
        """From the camera to the middle of each mid's leaves."""
        mean, m = self.cloud["mean"].detach(), len(self.mids)
        count = torch.bincount(mid, minlength=m).clamp_min(1).to(mean.dtype)
        away = summed(mean, mid, m) / count[:, None] - camera.centre
        return functional.normalize(away, dim=1)


def _clouds(
    begun: Seedlings, making: Making, nodes: tuple[Rows, Rows] | None, widths: tuple[int, int]
) -> tuple[Cloud, Cloud, Cloud]:
    """Leaves, mids and roots to begin with, and how far they move at a step; features of roots and
    mids, of such widths, are 0 where `nodes` do not say them."""
    leaves, mids, length = begun.leaves, begun.mids, making.steps
    zeros = leaves["mean"].new_zeros
    root = zeros(begun.roots, widths[0]) if nodes is None else nodes[1]["feature"]
    mid = zeros(len(mids["rgb"]), widths[1]) if nodes is None else mids["feature"]
    first, second, third = (Cloud(making.moments) for _ in range(3))
    first.add("mean", leaves["mean"], Rate(making.rates.mean, making.rates.mean_end, length))
    first.add("opacity_logit", leaves["opacity_logit"], resting(OPACITY_RATE, length))
    first.add("size", leaves["size"], resting(SIZE_RATE, length))
    first.add("light", leaves["light"], resting(LIGHT_RATE, length))
    first.add("node", leaves["node"], Rate(0.0))
    second.add("feature", mid, resting(FEATURE_RATE, length))
    second.add("rgb", mids["rgb"], resting(COLOUR_RATE, length))
    second.add("node", mids["node"], Rate(0.0))
    third.add("feature", root, resting(FEATURE_RATE, length))
    return first, second, third


def _rounded(values: Tensor, step: float | Tensor) -> Tensor:
    return values + ((values / step).round() * step - values).detach()


def _detached(gaussians: Gaussians) -> Gaussians:
    return replace(
        gaussians,
        means=gaussians.means.detach().clone(),
        quats=functional.normalize(gaussians.quats.detach(), dim=1),
        scales=gaussians.scales.detach(),
        opacities=gaussians.opacities.detach(),
        colors=gaussians.colors.detach(),
    )


def _cameras(centres: Any, device: torch.device) -> tuple[Camera, ...]:
    """Cameras that stand where views stood, and look anywhere."""
    if not isinstance(centres, Tensor) or centres.shape[1:] != (3,):
        raise Broken("has views that stand nowhere; expected three numbers of each")
    K = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    found = []
    for centre in centres.float().to(device):
        pose = torch.eye(4, device=device)
        pose[:3, 3] = -centre
        found.append(Camera(pose, K.to(device), 1, 1))
    return tuple(found)
