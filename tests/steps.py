"""A model of a few rows, and steps of it, for tests of strategies without a renderer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from splat.core.cloud import Cloud
from splat.core.edit import Change
from splat.core.model import Explicit, Model
from splat.core.step import Step
from splat.core.strategy import Strategy
from splat.types import (
    Batch,
    Camera,
    Contributions,
    Gaussians,
    Needs,
    PixelMap,
    Rendered,
    ScreenGradient,
    Survey,
    Surveyed,
)

SCORED = ("mass", "hits", "transmitted", "most", "area", "squared")
"""Fields of `Contributions` with one number a row."""
CAMERA = Camera(torch.eye(4), torch.tensor([[20.0, 0, 10], [0, 20, 10], [0, 0, 1]]), 20, 20)


def model_of(
    n: int,
    opacity: float | Tensor = 0.5,
    scale: float | Tensor = 0.005,
    sh_degree: int = 1,
    seed: int = 0,
    steps: int = 30_000,
) -> Explicit:
    """Rows at random places and turns; opacity a number or [n], scale a number, [n] or [n, 3]."""
    draw = torch.Generator().manual_seed(seed)
    scales = torch.as_tensor(scale, dtype=torch.float32)
    scales = scales[:, None] if scales.ndim == 1 else scales
    rows = {
        "mean": torch.randn(n, 3, generator=draw),
        "quat": torch.randn(n, 4, generator=draw),
        "log_scale": scales.log().expand(n, 3).clone(),
        "opacity_logit": torch.as_tensor(opacity, dtype=torch.float32).logit().expand(n).clone(),
        "sh": torch.randn(n, (sh_degree + 1) ** 2, 3, generator=draw),
    }
    return Explicit(rows, steps=steps)


def repeated(model: Explicit, n: int) -> Explicit:
    """The first row of a model, n times."""
    rows = model.cloud.rows(torch.zeros(n, dtype=torch.int64))
    return Explicit(rows, steps=30_000)


def streams(number: int, seed: int = 0) -> Callable[[str], torch.Generator]:
    """A fresh stream for a purpose, as a run gives it."""

    def stream(purpose: str) -> torch.Generator:
        digest = hashlib.blake2b(f"{seed}/{number}/{purpose}".encode(), digest_size=8).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)

    return stream


class NoRenderer:
    """Draws nothing: strategies of these tests must not ask it to."""

    device = torch.device("cpu")

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Tensor | None = None,
    ) -> Rendered:
        raise AssertionError("a strategy rendered")

    def survey(self, *arguments: object) -> tuple[Rendered, Contributions]:
        raise AssertionError("a strategy rendered")


def no_survey(index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
    """Where a strategy must not ask for what rows contribute."""
    raise AssertionError("a strategy asked for a survey")


def survey_of(
    model: Model, views: Sequence[Mapping[str, Tensor]], asked: list[int] | None = None
) -> Survey:
    """What rows contribute, made by hand: fields of `Contributions` for each view, others zero.

    The views that were asked for are noted in `asked`.
    """

    def survey(index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
        if asked is not None:
            asked.append(index)
        n = len(model.cloud)
        found = {name: torch.zeros(n) for name in SCORED} | {"weighted": torch.zeros(n, len(maps))}
        step = step_of(model)
        given = {name: values for name, values in views[index].items() if name in found}
        rendered = replace(
            step.rendered,
            **{name: views[index][name] for name in ("radii", "visible") if name in views[index]},
        )
        return Surveyed(step.batch, rendered, Contributions(**{**found, **given}))

    return survey


def step_of(
    model: Model,
    done: int = 1,
    *,
    visible: Tensor | None = None,
    gradient: Tensor | None = None,
    absolute: Tensor | None = None,
    radii: Tensor | None = None,
    source: Tensor | None = None,
    extent: float = 1.0,
    seed: int = 0,
    survey: Survey = no_survey,
    weighted: Mapping[PixelMap, Tensor] | None = None,
    shrink: float = 1.0,
    views: int = 1,
) -> Step:
    """The step after which `done` steps are done; gradients [n, 2] in half pictures.

    `weighted` are the sums [n] of maps that ride in the training pass.
    """
    with torch.no_grad():
        gaussians = replace(model(CAMERA, done - 1), source=source)
    n = len(model.cloud) if source is None else len(source)
    half = torch.tensor([CAMERA.width / 2, CAMERA.height / 2])
    if gradient is None:
        gradient = torch.zeros(n, 2)
    radii = torch.ones(n) if radii is None else radii
    visible = torch.ones(n, dtype=torch.bool) if visible is None else visible
    rendered = Rendered(
        image=torch.zeros(CAMERA.height, CAMERA.width, 3),
        alpha=torch.zeros(CAMERA.height, CAMERA.width),
        radii=radii * visible,
        gaussians=gaussians,
        gradient=ScreenGradient(gradient / half, None if absolute is None else absolute / half),
    )
    if weighted:
        rendered.gradient.maps = tuple(weighted)
        rendered.gradient.sums = torch.stack(list(weighted.values()), 1)
    pixels = torch.zeros(CAMERA.height, CAMERA.width, 3, dtype=torch.uint8)
    batch = Batch(CAMERA, pixels, shrink=shrink)
    return Step(
        done - 1, model, batch, rendered, (CAMERA,) * views, NoRenderer(),
        streams(done - 1, seed), extent, survey,
    )  # fmt: skip


def seen(strategy: Any, model: Explicit, error: Tensor, **more: Any) -> None:
    """Have it observe one picture in which rows stand for so much error, by the map it asks for."""
    with torch.no_grad():
        strategy.observe(step_of(model, 600, weighted={strategy.map: error}, **more))


def refined(strategy: Strategy, step: Step) -> Change:
    """Let a strategy refine, carry it out."""
    with torch.no_grad():
        return step.model.apply(strategy.refine(step))


def assert_consistent(cloud: Cloud) -> None:
    """Every column, moment and statistic has one row each."""
    for name in cloud.names:
        first, second = cloud.moments(name)
        assert cloud[name].shape == first.shape == second.shape
        assert len(cloud[name]) == len(cloud)
        assert cloud[name].dtype == torch.float32 and torch.isfinite(cloud[name]).all()
    for name in cloud.statistics:
        assert len(cloud.statistic(name)) == len(cloud)


def fill_moments(cloud: Cloud, count: int = 1000) -> None:
    """Moments of every row: row + 1 in the first, row + 2 in the second; `count` steps of Adam."""
    state = cloud.state_dict()
    for column in state["columns"].values():
        values = torch.arange(len(cloud), dtype=torch.float32) + 1
        shape = (-1, *[1] * (column["values"].ndim - 1))
        column["first"] = values.reshape(shape).expand_as(column["values"]).clone()
        column["second"] = column["first"] + 1
        column["count"] = count
    cloud.load_state_dict(state)


def edits_of(strategy: Strategy, model: Model, steps: int) -> list[int]:
    """Steps, counted as done, after which a strategy edits a model that stays as it is."""
    strategy.begin(model)
    step = step_of(model)
    return [n + 1 for n in range(steps) if strategy.refine(replace(step, number=n)) is not None]
