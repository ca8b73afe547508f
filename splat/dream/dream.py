"""The run of a dream: the house's loop and strategies, with a teacher in place of photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core import maps
from splat.core.model import Making, columns_of
from splat.core.objective import Objective, Photometric
from splat.core.rates import Rates
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.dream.choices import Dreamt
from splat.dream.distill import Distilled
from splat.dream.scene import Beginning, Shown
from splat.dream.teacher import Teacher
from splat.loop import Run
from splat.render import drawing_as
from splat.runs import checkpoint
from splat.runs.checkpoint import State
from splat.types import Camera

RATES = Rates(mean=2e-3, mean_end=2e-4, quat=5e-3, log_scale=1e-2, opacity_logit=3e-2, sh=2e-2)
"""Learning rates of a dream out of nothing, several times those of photos, since there are few
steps: our own."""
STARTED = Rates(mean=2e-4, mean_end=2e-5, opacity_logit=3e-2, sh=1e-2)
"""Those of a dream that begins with something, which is in its place already."""
OF_PHOTOS = (maps.Error, maps.Edge, maps.EdgedError, maps.Salience, maps.Dissimilarity)


@dataclass(frozen=True)
class Kept(Objective):
    """How a picture differs from what the dream began with, as photos are held against it."""

    weight: float

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        return self.weight * Photometric()(step)


def run_of(
    teacher: Teacher,
    text: str,
    beginning: Beginning,
    strategy: Strategy,
    dreamt: Dreamt,
    device: torch.device,
    state: State | None = None,
) -> Run:
    """The run of a dream before step 0, or as a checkpoint left it; ValueError with a sentence
    where the parts do not fit."""
    scaled = dreamt.schedule == "scaled"
    fitted = strategy.scheduled(dreamt.steps) if scaled else strategy
    check_without_photos(fitted, beginning)
    if not beginning.started and dreamt.keep:
        raise ValueError(
            "keep is of what a dream starts from; give it with --start, or leave it out"
        )
    frame = beginning.frame
    cameras = [camera.to(device) for camera in beginning.views.cameras]
    making = Making(
        steps=dreamt.steps,
        sh_every=0,
        rates=rates_of(dreamt, started=beginning.started),
        seed=dreamt.seed,
        views=cameras,
        frame=frame,
    )
    rows = columns_of(beginning.gaussians) if state is None else checkpoint.rows(state)
    # Copies: what it began with is drawn again later, and a run trains its rows in place.
    own = {name: values.to(device, copy=True) for name, values in rows.items()}
    model = fitted.model(own, making)
    render = model.drawn_by(drawing_as(beginning.drawing.plain, frame, device))
    behind = torch.tensor(beginning.background, device=device)
    start = beginning.gaussians.to(device)

    def looks(camera: Camera) -> Float[Tensor, "h w 3"]:
        image: Tensor = render(start, camera, background=behind).image
        return image

    shown = Shown(beginning.views, looks if beginning.started else None)
    run = Run(
        model=model,
        strategy=fitted,
        objectives=terms_of(teacher, text, beginning, fitted, dreamt),
        render=render,
        batches=lambda number: shown(number).to(device),
        views=cameras,
        photos=lambda index, step: shown.at(index, step).to(device),
        steps=dreamt.steps,
        seed=dreamt.seed,
        frame=frame,
        drawing=beginning.drawing.plain,
        modules=model.networks(),
        background=behind,
    )
    if state is not None:
        checkpoint.restore(run, state)
    return run


def rates_of(dreamt: Dreamt, *, started: bool) -> Rates:
    """Learning rates of a dream."""
    rates, factor = STARTED if started else RATES, dreamt.rate
    return replace(
        rates,
        mean=factor * rates.mean,
        mean_end=factor * rates.mean_end,
        quat=factor * rates.quat,
        log_scale=factor * rates.log_scale,
        opacity_logit=factor * rates.opacity_logit,
        sh=factor * rates.sh,
    )


def terms_of(
    teacher: Teacher, text: str, beginning: Beginning, strategy: Strategy, dreamt: Dreamt
) -> Mapping[str, Objective]:
    """The terms of the loss: the teacher's, what is kept, and the method's own."""
    most, last = dreamt.times(started=beginning.started)
    distilled = Distilled(
        teacher, text, dreamt.instead, scale=dreamt.guidance, steps=dreamt.steps,
        most=most, last=last, ball=beginning.ball, up=beginning.up,
    )  # fmt: skip
    terms: dict[str, Objective] = {"distilled": distilled}
    if dreamt.alone:  # as ClotheDreamer's two pictures, of what is dressed and of the dress
        weight = distilled.weight / 2
        terms["distilled"] = replace(distilled, weight=weight)
        terms["alone"] = replace(
            distilled, text=teacher.read(dreamt.alone), weight=weight, rows="free", purpose="alone"
        )
    kept = {"kept": Kept(dreamt.keep)} if dreamt.keep else {}
    return {**terms, **kept, **strategy.objectives()}


def check_without_photos(strategy: Strategy, beginning: Beginning) -> None:
    """ValueError where a strategy goes by photos, and there are none."""
    needs = strategy.needs
    given = needs.outline or needs.given_depth or needs.given_normal
    looks = any(isinstance(each, OF_PHOTOS) for each in needs.weights)
    if given or (looks and not beginning.started):
        raise ValueError(
            f"{type(strategy).__name__.lower()} goes by photos, and a dream has none; expected a"
            " strategy that does not, such as mcmc or adc"
        )
