"""Models of a few rows that move, and cameras that see them, for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from splat.core.model import Making
from splat.strategies.moving import Moving
from splat.strategies.moving.model import Timed
from splat.types import Camera


def camera(time: float = 0.0, x: float = 0.0) -> Camera:
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([x, 0.0, 4.0])
    return Camera(pose, torch.tensor([[50.0, 0, 20], [0, 50, 20], [0, 0, 1]]), 40, 40, time=time)


def rows(n: int, **more: Tensor) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(n)
    return {
        "mean": torch.rand(n, 3, generator=draw) - 0.5,
        "quat": torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        "log_scale": torch.full((n, 3), -2.0),
        "opacity_logit": torch.zeros(n),
        "sh": torch.zeros(n, 1, 3),
        **more,
    }


def timed(n: int, instants: int = 5, **more: Tensor) -> Timed:
    views = tuple(camera(i / max(1, instants - 1)) for i in range(instants))
    model = Moving().model(rows(n, **more), Making(steps=10, views=views))
    assert isinstance(model, Timed)
    return model


def with_motion(time: list[float], duration: list[float], velocity: float = 0.0) -> Timed:
    n = len(time)
    return timed(
        n,
        time=torch.tensor(time),
        log_duration=torch.tensor(duration).log(),
        velocity=torch.tensor([velocity, 0, 0]).repeat(n, 1),
    )
