"""`Model`: what is drawn; `Explicit`: one row, one Gaussian, colours as spherical harmonics."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from splat import kernels
from splat.core.cloud import Cloud
from splat.core.column import Rate, Scaling
from splat.core.edit import Change, Edit, Rows
from splat.core.frame import morton_order
from splat.core.offload import OffloadRenderer
from splat.core.rates import Rates
from splat.core.region import Region
from splat.system.foreign import Broken
from splat.types import Batch, Camera, Frame, Gaussians, Motion, Rendered, Renderer


@dataclass
class TrainedModule:
    """A network trained beside the cloud, with the optimizer that moves it."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    rates: Sequence[Callable[[int], float]] = ()
    """Learning rate by step of each group of parameters; none: the optimizer's own, constant."""
    of_photos: bool = False
    """Whether it has a row for each photo, which moves when that photo is shown, and only then."""

    def optimize(self, step: int, rate_scale: float, scaling: Scaling = Scaling()) -> None:  # noqa: B008
        """One optimizer step at `rate_scale` times the rates of step `step`, scaled for the number
        of photos that it shows."""
        scaling = Scaling() if self.of_photos else scaling
        groups = self.optimizer.param_groups
        planned = [{name: group.get(name) for name in ("lr", "betas", "eps")} for group in groups]
        rates = [rate(step) for rate in self.rates] or [group["lr"] for group in groups]
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate_scale * scaling.rate * rate
            if scaling.photos > 1 and "betas" in group:
                group["betas"] = scaling.betas(group["betas"])
                group["eps"] *= scaling.epsilon
        self.optimizer.step()
        for group, before in zip(groups, planned, strict=True):
            group.update({name: value for name, value in before.items() if value is not None})

    def regroup(self, was: int, now: int) -> None:
        """As `Cloud.regroup`, for an optimizer that is torch's Adam."""
        if self.of_photos:
            return
        for state in self.optimizer.state.values():
            if "exp_avg_sq" in state:
                state["exp_avg_sq"].mul_(was / now)
                state["step"].mul_(was / now).ceil_()


class Surface(Protocol):
    """A signed distance that is trained beside the rows, in the frame of training."""

    @property
    def box(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Low and high corner of its bounding box, outside of which nothing is known."""
        ...

    def __call__(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Distances to the surface, negative inside, without gradients."""
        ...

    def refine(
        self,
        seen_by: Callable[[Camera], Gaussians],
        render: Renderer,
        batches: Callable[[int], Batch],
        *,
        steps: int,
        shown: Callable[[Iterable[int]], Iterable[int]],
    ) -> None:
        """Train on, in place, against what the finished Gaussians show of each step's view."""
        ...


class Model(nn.Module):
    """Turns rows into Gaussians for one camera."""

    cloud: Cloud
    """The rows that are trained."""
    slots: int = 1
    """Gaussians one row may make; the row of a Gaussian is `source // slots`."""
    draws: int = 1
    """About how many Gaussians a row makes in a picture; time and memory are predicted from it."""
    unit: str = "Gaussians"
    """What rows are called in messages."""
    rows_are_gaussians: bool = False
    """Whether every row is one Gaussian of its own, which can be counted and asked for a place."""
    same_for_all_views: bool = False
    """Whether it makes the same set for every camera, which is then what files hold."""
    own_suffix: str = ""
    """Suffix of the file that keeps the model itself (`splat.recipes.model_files`); empty: none."""
    left_out: str = ""
    """What `bake` for all cameras leaves out, in words for messages; empty: nothing."""
    place: str = "mean"
    """The column of positions [N, 3], frame of training."""
    reach: str = "log_scale"
    """The column of log sizes [N, ...]."""
    voxel: float = 0.0
    """Side of the finest cells of the grid that rows lie on, frame of training; 0: on none."""
    frame: Frame = Frame((0.0, 0.0, 0.0), 1.0)
    """The frame of training, a similarity of the input's; a run sets it before anything begins."""
    surface: Surface | None = None
    """A signed distance trained beside the rows; None: none."""
    region: Region | None = None
    """The region that is exported (`Strategy.region`); None: everywhere. A run sets it."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: dict[str, TrainedModule] = {}
        """Networks trained beside the rows; no submodules, a run saves them with their
        optimizers."""

    @abstractmethod
    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        """The Gaussians to draw for this camera; `step` None is after training."""

    @abstractmethod
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """A plain, detached set for exporters, in the frame of training."""

    def motion(self) -> Motion | None:
        """How rows move, without gradients; None: what it makes is of no time."""
        return None

    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        """Numbers of rows that are the model's own, for people who look at heatmaps, by what they
        are called; the same names each time."""
        return {}

    def kept(self, gaussians: Gaussians) -> Gaussians:
        """The Gaussians of a set (frame of training) inside the region: those that files hold."""
        return gaussians if self.region is None else self.region.kept(gaussians, self.frame)

    def sketch(self) -> Gaussians:
        """A quicker `bake` for all cameras, for live views of a run."""
        return self.bake()

    def networks(self) -> Mapping[str, TrainedModule]:
        """Networks trained beside the rows, by name; the same objects each time."""
        return self.beside

    def drawn_by(self, render: Renderer) -> Renderer:
        """The renderer for the Gaussians it makes, given one that draws Gaussians."""
        return render

    @property
    def core(self) -> Model:
        """The model itself, where another draws it altered (`AlteredModel`)."""
        return self

    @torch.no_grad()
    def at(self, time: float) -> Gaussians:
        """A plain, detached set as it is at an instant, 0 to 1 of the clip."""
        return self.bake().at(time)

    def rows_for(self, camera: Camera) -> Int[Tensor, "m"]:
        """Rows that may make Gaussians for a camera, ascending."""
        del camera
        return torch.arange(len(self.cloud), device=self.cloud.device)

    def passed(self) -> Sequence[Float[Tensor, "n 3"]]:
        """Where rows are in all of the clip, at a few times each, frame of training."""
        return (self.cloud[self.place].detach(),)

    def shapes(self) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]] | None:
        """Log sizes (frame of training) and quaternions, of any length, of the Gaussians that rows
        are; None: rows are none. The column `reach` is added to the first."""
        named = {"log_scale", "quat"} <= {*self.cloud.names}
        if not (self.rows_are_gaussians and named):
            return None
        return self.cloud["log_scale"], self.cloud["quat"]

    def order_rows(self) -> Int[Tensor, "n"] | None:
        """Permute rows for memory locality; their values stay the same.

        Gives the old number of each row; None where none moved.
        """
        return None

    def rows_in_sight(self, rendered: Rendered) -> Bool[Tensor, "n"]:
        """Rows of which a Gaussian was projected inside the picture (of a step: see
        `Step.rows_in_sight`)."""
        source = rendered.gaussians.source
        if source is None:
            return rendered.visible
        seen = torch.zeros(len(self.cloud), dtype=torch.bool, device=source.device)
        seen[source[rendered.visible] // self.slots] = True
        return seen

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        """Carry out a strategy's proposal."""
        return self.cloud.apply(edit)


class AlteredModel(Model):
    """Another model, altered: everything is the base's unless a subclass says otherwise. Its rows
    and its state are the base's own."""

    def __init__(self, base: Model) -> None:
        super().__init__()
        # Not as a submodule: its state would be saved twice.
        self.__dict__["base"] = base
        self.cloud = base.cloud
        self.slots, self.draws, self.unit = base.slots, base.draws, base.unit
        self.rows_are_gaussians = base.rows_are_gaussians
        self.same_for_all_views = base.same_for_all_views
        self.left_out = base.left_out
        self.place, self.reach = base.place, base.reach
        self.beside = base.beside

    @property
    def base(self) -> Model:
        """The model that is altered."""
        found: Model = self.__dict__["base"]
        return found

    @property
    def core(self) -> Model:
        return self.base.core

    @property
    def voxel(self) -> float:  # type: ignore[override]
        return self.base.voxel

    @property
    def frame(self) -> Frame:
        return self.base.frame

    @frame.setter
    def frame(self, frame: Frame) -> None:
        self.base.frame = frame

    @property
    def region(self) -> Region | None:
        return self.base.region

    @region.setter
    def region(self, region: Region | None) -> None:
        self.base.region = region

    @property
    def surface(self) -> Surface | None:
        return self.base.surface

    @surface.setter
    def surface(self, surface: Surface | None) -> None:
        self.base.surface = surface

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        gaussians: Gaussians = self.base(camera, step)
        return gaussians

    def bake(self, camera: Camera | None = None) -> Gaussians:
        return self.base.bake(camera)

    def motion(self) -> Motion | None:
        return self.base.motion()

    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        return self.base.traits()

    def networks(self) -> Mapping[str, TrainedModule]:
        return self.base.networks()

    def drawn_by(self, render: Renderer) -> Renderer:
        return self.base.drawn_by(render)

    def rows_for(self, camera: Camera) -> Int[Tensor, "m"]:
        return self.base.rows_for(camera)

    def passed(self) -> Sequence[Float[Tensor, "n 3"]]:
        return self.base.passed()

    def shapes(self) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4"]] | None:
        return self.base.shapes()

    def order_rows(self) -> Int[Tensor, "n"] | None:
        return self.base.order_rows()

    def rows_in_sight(self, rendered: Rendered) -> Bool[Tensor, "n"]:
        return self.base.rows_in_sight(rendered)

    def apply(self, edit: Edit | None) -> Change:  # type: ignore[override]
        return self.base.apply(edit)

    def get_extra_state(self) -> Any:
        return self.base.get_extra_state()

    def set_extra_state(self, state: Any) -> None:
        self.base.set_extra_state(state)


@dataclass(frozen=True)
class Making:
    """Settings of a run for the model that is made for it."""

    steps: int
    """Steps of the run, over which learning rates fall."""
    rates: Rates = field(default_factory=Rates)
    """Learning rates of rows that are Gaussians."""
    sh_every: int = 1000
    """Steps after which one more band of harmonics is switched on; 0: all at once."""
    moments: torch.dtype = torch.float32
    """Data type of Adam's moments."""
    harmonics: torch.dtype = torch.float32
    """Data type of harmonics, where rows have any."""
    keep: Callable[[Tensor], Tensor] | None = None
    """Where moments and harmonics are kept (`splat.core.offload`); None: on the device that
    trains."""
    seed: int = 0
    """Seed of the initial weights of networks."""
    views: Sequence[Camera] = ()
    """All training cameras, frame of training; none where a saved state holds them."""
    photos: int = 0
    """Number of training photos where `views` is empty."""
    frame: Frame = Model.frame
    at_random: bool = False
    """Whether rows begin anywhere, for lack of points: how far they lie from each other says
    nothing of the scene then."""

    @property
    def of_rows(self) -> dict[str, Any]:
        """What `Explicit` is given of it, by name."""
        names = ("steps", "sh_every", "rates", "moments", "harmonics", "keep")
        return {name: getattr(self, name) for name in names}


def module_of(model: Model, name: str, kind: type[Network]) -> Network:
    """What is trained beside the rows under a name, of the kind that it is known to be."""
    found = model.beside[name].module
    assert isinstance(found, kind)
    return found


def explicit(rows: Mapping[str, Tensor], making: Making) -> Explicit:
    """The model of rows that are Gaussians, as a run trains them."""
    return Explicit(rows, **making.of_rows)


def columns_of(gaussians: Gaussians, sh_degree: int | None = None) -> dict[str, Tensor]:
    """Columns of `Explicit` for a set with harmonics, of degree `sh_degree` (None: its own), and
    those of its motion where it has one (`splat.strategies.moving`)."""
    degree = gaussians.sh_degree or 0
    bands = (degree if sh_degree is None else sh_degree) + 1
    sh = gaussians.colors.new_zeros(len(gaussians), bands**2, 3)
    k = min(bands, degree + 1) ** 2
    sh[:, :k] = gaussians.colors[:, :k]
    columns = {
        "mean": gaussians.means,
        "quat": gaussians.quats,
        "log_scale": gaussians.scales.clamp_min(1e-12).log(),
        "opacity_logit": gaussians.opacities.clamp(1e-6, 1 - 1e-6).logit(),
        "sh": sh,
    }
    motion = gaussians.motion
    if motion is None:
        return columns
    return columns | {
        "time": motion.time, "duration": motion.duration, "velocity": motion.velocity,
    }  # fmt: skip


def check_shapes(rows: Mapping[str, Tensor]) -> None:
    """Raise `Broken` where a column that Gaussians have is of another shape than theirs."""
    shapes: dict[str, list[tuple[int, ...]]] = {"mean": [(3,)], "quat": [(4,)], "log_scale": [(3,)]}
    shapes |= {"opacity_logit": [()], "sh": [(bands * bands, 3) for bands in range(1, 5)]}
    for name in shapes.keys() & rows.keys():
        if (found := tuple(rows[name].shape[1:])) not in shapes[name]:
            expected = " or ".join(map(str, shapes[name]))
            raise Broken(f"has {name} of shape {found} in a row; expected {expected}")


def add_shapes(cloud: Cloud, rows: Rows, rates: Rates, steps: int, extent: float = 1.0) -> None:
    """Add the columns of a Gaussian but for its colours: `mean`, `quat`, `log_scale` and
    `opacity_logit`, as `Explicit` has them."""
    mean = Rate(rates.mean * extent, rates.mean_end * extent, steps)
    cloud.add("mean", rows["mean"], mean)
    for name in ("quat", "log_scale", "opacity_logit"):
        cloud.add(name, rows[name], rates.of(name, steps))


Network = TypeVar("Network", bound=nn.Module)
COLUMNS = frozenset({"mean", "quat", "log_scale", "opacity_logit", "sh"})
"""The columns of `Explicit`."""


class Explicit(Model):
    """The representation of 3DGS: every row is one Gaussian.

    Columns: `mean` [N, 3], `quat` [N, 4] (w, x, y, z), `log_scale` [N, 3], `opacity_logit` [N],
    `sh` [N, (degree + 1)^2, 3], its first coefficient the constant one.
    """

    rows_are_gaussians = True
    same_for_all_views = True

    def __init__(
        self,
        rows: Mapping[str, torch.Tensor],
        *,
        steps: int,
        extent: float = 1.0,
        sh_every: int = 1000,
        rates: Rates | None = None,
        moments: torch.dtype = torch.float32,
        harmonics: torch.dtype = torch.float32,
        keep: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Rows to start from; `steps` of the run (for the fall of the means' rate).

        One more band of harmonics is switched on every `sh_every` steps (0: all at once).
        `moments` is the type of Adam's moments, float32 or bfloat16. `harmonics` is bfloat16 where
        `sh` is to be kept as that, whatever the rows come as. With `keep`, `sh` and all moments are
        where it copies them to, and rows are brought from there to be drawn and moved: draw by what
        `drawn_by` gives, and move the rows in sight.
        """
        super().__init__()
        rates = rates or Rates()
        self.sh_every = sh_every
        self.cloud = Cloud(moments, keep)
        add_shapes(self.cloud, rows, rates, steps, extent)
        tail = rates.of("sh", steps, tail=rates.sh_tail, tail_every=rates.sh_tail_every)
        sh = rows["sh"]
        if torch.bfloat16 in (sh.dtype, harmonics):  # rows of float64, in tests, stay that
            sh = sh.to(harmonics)
        self.cloud.add("sh", sh, tail, harmonics=True)

    @property
    def sh_degree(self) -> int:
        """Highest band stored."""
        return math.isqrt(self.cloud["sh"].shape[1]) - 1

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        del camera
        cloud = self.cloud
        scales, opacities = kernels.activate(cloud["log_scale"], cloud["opacity_logit"])
        # Harmonics last: their step of Adam may still go on.
        degree = self.sh_degree
        if step is not None and self.sh_every:
            degree = min(degree, step // self.sh_every)
        return Gaussians(
            means=cloud["mean"],
            quats=cloud["quat"],
            scales=scales,
            opacities=opacities,
            colors=cloud["sh"],
            sh_degree=degree,
        )

    def drawn_by(self, render: Renderer) -> Renderer:
        return OffloadRenderer(render) if self.cloud.kept_away else render

    def order_rows(self) -> Int[Tensor, "n"] | None:
        order = morton_order(self.cloud["mean"].detach())
        self.cloud.reorder(order)
        return order

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        del camera
        cloud = self.cloud
        gaussians = Gaussians(
            means=cloud["mean"].detach().clone(),
            quats=nn.functional.normalize(cloud["quat"].detach(), dim=-1),
            scales=cloud["log_scale"].detach().exp(),
            opacities=cloud["opacity_logit"].detach().sigmoid(),
            colors=cloud["sh"].detach().to(cloud["mean"].dtype, copy=True),
            sh_degree=self.sh_degree,
        )
        # The device that trains may have no room for all harmonics.
        return gaussians.to(cloud["sh"].device) if cloud.kept_away else gaussians

    def get_extra_state(self) -> dict[str, Any]:
        return self.cloud.state_dict()

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        self.cloud.load_state_dict(state)
