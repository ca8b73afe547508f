"""A strategy of ours in a loop of gsplat's.

The object has the methods of gsplat's strategies and changes parameters and optimizers as they do.
Within, a cloud is made of the parameters whenever rows have changed; between edits it shares their
memory. What our strategy remembers of rows is in the state that the loop holds.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from splat.compat.names import NEEDED, PLAIN, check_names, ours_of, theirs_of
from splat.core.edit import Edit
from splat.core.model import Explicit, Making, Model
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.loop import stream
from splat.types import (
    Batch,
    Camera,
    Gaussians,
    Needs,
    PixelMap,
    Rendered,
    ScreenGradient,
    Surveyed,
)

Params = MutableMapping[str, torch.nn.Parameter]
Optimizers = MutableMapping[str, torch.optim.Optimizer]
State = dict[str, Any]


@dataclass(frozen=True)
class ForGsplat:
    """A strategy of ours with the interface of gsplat's.

        strategy = for_gsplat(Mcmc(cap=200_000), steps=30_000)
        strategy.check_sanity(params, optimizers)
        state = strategy.initialize_state(scene_scale)
        ...
        strategy.step_pre_backward(params, optimizers, state, step, info)
        loss.backward()
        ...  # optimizers step
        strategy.step_post_backward(params, optimizers, state, step, info)

    `params` are those of gsplat's example trainer. What a picture alone does not tell, gsplat's
    interface does not either: strategies that ask for surveys of views, or for pictures, are
    refused in a sentence. Terms of the loss (`strategy.objectives()`) are the loop's to add.
    """

    strategy: Strategy
    """The strategy, with its step numbers fitted to the run."""
    seed: int = 0
    """Seed of its random numbers."""
    rate: Callable[[int], float] | None = None
    """Learning rate of means by step, where `step_post_backward` is not given `lr`; None: that of
    the optimizer of `means`."""

    @property
    def absgrad(self) -> bool:
        """Whether the loop is to render with `absgrad=True`, as gsplat's `DefaultStrategy` says."""
        return self.strategy.needs.absolute_gradient

    def check_sanity(self, params: Params, optimizers: Optimizers) -> None:
        """Raise ValueError where parameters and optimizers are not as gsplat's strategies expect
        them, or the strategy needs more than they have."""
        check_names(params)
        trained = {name for name, values in params.items() if values.requires_grad}
        if trained != {*optimizers}:
            raise ValueError(
                f"there are optimizers of {', '.join(sorted(optimizers))}, and parameters"
                f" {', '.join(sorted(trained))} are trained; expected one of each"
            )
        model = self._model(params)
        if not isinstance(model, Explicit):
            raise ValueError(
                f"{type(self.strategy).__name__} makes a model of its own, and gsplat's loop draws"
                " the parameters themselves; train it with splat"
            )
        self.strategy.begin(model)

    def initialize_state(self, scene_scale: float = 1.0) -> State:
        """What the loop holds between steps."""
        return {"scene_scale": scene_scale, "statistics": {}, "model": None}

    def step_pre_backward(
        self,
        params: Params,
        optimizers: Optimizers,
        state: State,
        step: int,
        info: dict[str, Any],
    ) -> None:
        """Before the backward pass: gradients of positions on the screen are to be kept."""
        del params, optimizers, state, step
        info["means2d"].retain_grad()

    @torch.no_grad()
    def step_post_backward(
        self,
        params: Params,
        optimizers: Optimizers,
        state: State,
        step: int,
        info: dict[str, Any],
        packed: bool = False,
        lr: float | None = None,
    ) -> None:
        """After the backward pass and the optimizers' step: observe, and carry out an edit."""
        model = self._shared(params, state)
        rate = lr if lr is not None else self._rate(optimizers, step)
        model.cloud.rate_scale = 1.0
        model.cloud.rate_scale = rate / model.cloud.rate("mean", step)
        last: Step | None = None
        for rendered in _pictures(model, info, packed, self.absgrad):
            last = self._step(model, rendered, state, step)
            self.strategy.observe(last)
        assert last is not None
        edit = self.strategy.refine(last)
        if edit is not None and edit != Edit():
            self._carried_out(edit, params, optimizers, state, model)

    def _rate(self, optimizers: Optimizers, step: int) -> float:
        if self.rate is not None:
            return self.rate(step)
        return float(optimizers["means"].param_groups[0]["lr"])

    def _model(self, params: Params) -> Model:
        return self.strategy.model(ours_of(params), Making(steps=30_000, sh_every=0))

    def _shared(self, params: Params, state: State) -> Model:
        """The model of these parameters, with what was remembered of their rows."""
        model: Model | None = state["model"]
        if model is None or not _same_memory(model, params):
            model = self._model(params)
            self.strategy.begin(model)
            for name, values in state["statistics"].items():
                model.cloud.statistic(name).copy_(values)
            state["model"] = model
            cloud = model.cloud
            state["statistics"] = {name: cloud.statistic(name) for name in cloud.statistics}
        else:
            # Harmonics are two parameters of theirs, and one column here.
            model.cloud["sh"].detach().copy_(torch.cat([params["sh0"], params["shN"]], 1))
        return model

    def _step(self, model: Model, rendered: Rendered, state: State, step: int) -> Step:
        camera = _camera(rendered)

        def generator(purpose: str) -> torch.Generator:
            return stream(self.seed, step, purpose, model.cloud.device)

        pixels = torch.zeros(1, 1, 1, dtype=torch.uint8).expand(camera.height, camera.width, 3)
        return Step(
            step, model, Batch(camera, pixels), rendered, (camera,), _NoRenderer(), generator,
            float(state["scene_scale"]), _no_survey,
        )  # fmt: skip

    def _carried_out(
        self, edit: Edit, params: Params, optimizers: Optimizers, state: State, model: Model
    ) -> None:
        """Apply an edit to rows with their moments, and give both back."""
        cloud = model.cloud
        first = _moments(params, optimizers, "exp_avg")
        second = _moments(params, optimizers, "exp_avg_sq")
        saved = cloud.state_dict()
        for name, column in saved["columns"].items():
            column |= {"values": column["values"].clone(), "first": first[name]}
            column |= {"second": second[name]}
        cloud.load_state_dict(saved)
        model.apply(edit)
        values = theirs_of({name: cloud[name] for name in cloud.names})
        moments = [
            theirs_of({name: cloud.moments(name)[k] for name in cloud.names}) for k in range(2)
        ]
        for name in NEEDED:
            old = params[name]
            new = torch.nn.Parameter(
                values[name].reshape(-1, *old.shape[1:]), requires_grad=old.requires_grad
            )
            params[name] = new
            optimizer = optimizers.get(name)
            if optimizer is None:
                continue
            kept = optimizer.state.pop(old, {})
            for key, each in zip(("exp_avg", "exp_avg_sq"), moments, strict=True):
                if key in kept:
                    kept[key] = each[name].reshape(new.shape).to(kept[key])
            optimizer.param_groups[0]["params"] = [new]
            if kept:
                optimizer.state[new] = kept
        state["statistics"] = {name: cloud.statistic(name) for name in cloud.statistics}
        state["model"] = None


def for_gsplat(
    strategy: Strategy,
    *,
    steps: int = 0,
    seed: int = 0,
    rate: Callable[[int], float] | None = None,
) -> ForGsplat:
    """A strategy of ours for a loop of gsplat's; `steps`: those of the run, to which its step
    numbers are fitted (0: as they are, of 30,000)."""
    return ForGsplat(strategy.scheduled(steps) if steps else strategy, seed, rate)


@dataclass
class _NoRenderer:
    """Where a strategy would draw what gsplat's interface gives it no camera for."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Tensor | None = None,
    ) -> Rendered:
        raise ValueError(
            "this strategy draws pictures of its own, for which gsplat's interface gives it no"
            " cameras; train it with splat"
        )

    def survey(self, *given: object, **more: object) -> Any:
        """As drawing."""
        return _no_survey(0)


def _no_survey(index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
    raise ValueError(
        "this strategy asks what rows contribute to the training views, which gsplat's interface"
        " does not give; train it with splat"
    )


def _camera(rendered: Rendered) -> Camera:
    """A camera of the size of a picture; where it stands is not known."""
    height, width = rendered.image.shape[:2]
    K = torch.tensor([[float(width), 0, width / 2], [0, float(width), height / 2], [0, 0, 1]])
    return Camera(torch.eye(4), K, width, height)


def _pictures(model: Model, info: dict[str, Any], packed: bool, absolute: bool) -> list[Rendered]:
    """What is known of each camera's picture."""
    n, cameras = len(model.cloud), int(info["n_cameras"])
    screen = info["means2d"]
    gradient = screen.grad
    if gradient is None:
        raise ValueError(
            "means2d has no gradient; call step_pre_backward before the backward pass, and this"
            " after it"
        )
    given = {"signed": gradient}
    if absolute:
        if getattr(screen, "absgrad", None) is None:
            raise ValueError(
                "this strategy sums absolute gradients; rasterize with absgrad=True, or give"
                " absgrad=False to the strategy"
            )
        given["absolute"] = screen.absgrad
    radii = info["radii"].float()
    # gsplat gives both half extents since 1.5, one before; not in sight where either is 0.
    radii = radii.amax(-1) * (radii > 0).all(-1) if radii.ndim == (2 if packed else 3) else radii
    if packed:
        rows, of = info["gaussian_ids"].long(), info["camera_ids"].long()
        whole = radii.new_zeros(cameras, n)
        whole[of, rows] = radii
        radii = whole
        for name, values in given.items():
            spread = values.new_zeros(cameras, n, 2)
            spread[of, rows] = values
            given[name] = spread
    image = torch.zeros(1, 1, 1).expand(int(info["height"]), int(info["width"]), 3)
    gaussians = model(_camera_of(info), None)
    return [
        Rendered(
            image=image, alpha=image[..., 0], radii=radii[camera], gaussians=gaussians,
            # The loss is a mean over cameras there.
            gradient=ScreenGradient(
                **{name: values[camera] * cameras for name, values in given.items()}
            ),
        )
        for camera in range(cameras)
    ]  # fmt: skip


def _camera_of(info: dict[str, Any]) -> Camera:
    return Camera(torch.eye(4), torch.eye(3), int(info["width"]), int(info["height"]))


def _same_memory(model: Model, params: Params) -> bool:
    return all(
        model.cloud[ours].data_ptr() == params[theirs].data_ptr()
        and len(model.cloud[ours]) == len(params[theirs])
        for theirs, ours in PLAIN.items()
    )


def _moments(params: Params, optimizers: Optimizers, key: str) -> dict[str, Tensor]:
    """Moments of Adam by our names; those of an optimizer that has not stepped are 0."""
    found = {}
    for name in NEEDED:
        values = params[name]
        optimizer = optimizers.get(name)
        kept = {} if optimizer is None else optimizer.state.get(values, {})
        found[name] = kept.get(key, torch.zeros_like(values))
    return ours_of(found)
