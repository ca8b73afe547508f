"""A step of Adam that goes on aside: the same bytes, and nobody sees it half done."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from splat import kernels
from splat.core.cloud import Cloud
from splat.core.column import Rate
from splat.core.edit import Drop, Edit
from splat.kernels import HarmonicsGradient

ROWS = 120_000
"""Of harmonics: their step takes milliseconds, so that one that is not waited for is seen."""


def factors(n: int) -> HarmonicsGradient:
    draw = torch.Generator().manual_seed(n)
    color, direction = torch.randn(n, 6, generator=draw).split(3, 1)
    return HarmonicsGradient(
        torch.cat([color, torch.nn.functional.normalize(direction)], 1).contiguous(), 3
    )


def cloud_of(n: int) -> Cloud:
    """Rows of which a step is to come."""
    draw = torch.Generator().manual_seed(1)
    cloud = Cloud()
    cloud.add("mean", torch.randn(n, 3, generator=draw), Rate(0.01))
    cloud.add("sh", torch.randn(n, 16, 3, generator=draw), Rate(0.02, tail=0.05), harmonics=True)
    return cloud


def step(cloud: Cloud, number: int = 0) -> None:
    cloud["mean"].grad = torch.full_like(cloud["mean"], 0.1)
    cloud["sh"].pending.append(factors(len(cloud)))  # type: ignore[attr-defined]
    cloud.optimize(number)


@pytest.mark.parametrize("moments", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 127, 5000])
@pytest.mark.parametrize("some", [False, True])
def test_a_step_aside_writes_the_same_bytes(
    n: int, moments: torch.dtype, some: bool, threads: None
) -> None:
    given = factors(n)
    visible = torch.arange(n) % 3 > 0 if some else None
    found = []
    for count, aside in ((2, False), (1, True), (2, True), (3, True)):
        kernels.set_threads(count)
        values = torch.linspace(-1, 1, n * 48).view(n, 16, 3).clone()
        first, second = (torch.full_like(values, x, dtype=moments) for x in (0.5, 0.25))
        number = kernels.adam(
            values, given, first, second, rate=0.1, tail=0.05, count=3, visible=visible, aside=aside
        )
        assert (number == 0) == (not aside or count == 1)
        # Other kernels run meanwhile.
        torch.testing.assert_close(
            kernels.activate(torch.zeros(999, 3), torch.zeros(999))[0], torch.ones(999, 3)
        )
        kernels.finish(number)
        found.append((values, first, second))
    for each in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(each, found[0], strict=True))


def test_what_it_works_on_stays_until_it_is_done(threads: None) -> None:
    kernels.set_threads(2)
    values, first, second = (torch.zeros(ROWS, 16, 3) for _ in range(3))
    expected = torch.zeros(ROWS, 16, 3)
    kernels.adam(
        expected, factors(ROWS), first.clone(), second.clone(), rate=0.1, tail=0.05, count=1
    )
    number = kernels.adam(
        values, factors(ROWS), first, second, rate=0.1, tail=0.05, count=1, aside=True
    )
    del first, second
    for _ in range(20):  # memory that was let go would be taken and written now
        torch.full((ROWS, 6), torch.nan)
    kernels.finish(number)
    assert torch.equal(values, expected)


READERS: dict[str, Callable[[Cloud], Tensor]] = {
    "the column": lambda cloud: cloud["sh"].detach().clone(),
    "first moments": lambda cloud: cloud.moments("sh")[0].clone(),
    "second moments": lambda cloud: cloud.moments("sh")[1].clone(),
    "rows": lambda cloud: cloud.rows(torch.arange(ROWS))["sh"],
    "a saved state": lambda cloud: cloud.state_dict()["columns"]["sh"]["values"].clone(),
    "all parameters": lambda cloud: list(cloud.parameters())[1].detach().clone(),
}


def dropped(cloud: Cloud) -> Tensor:
    cloud.apply(Edit(drop=(Drop(torch.arange(5), "test"),)))
    return cloud.moments("sh")[0].clone()


def reordered(cloud: Cloud) -> Tensor:
    cloud.reorder(torch.arange(ROWS).flip(0))
    return cloud["sh"].detach().clone()


def twice(cloud: Cloud) -> Tensor:
    step(cloud, 1)
    return cloud["sh"].detach().clone()


@pytest.mark.parametrize("name", [*READERS, "an edit", "another order", "a second step"])
def test_who_asks_for_harmonics_waits_for_their_step(name: str, threads: None) -> None:
    read = READERS | {"an edit": dropped, "another order": reordered, "a second step": twice}
    found = []
    for count in (1, 2):
        kernels.set_threads(count)
        cloud = cloud_of(ROWS)
        step(cloud)
        found.append(read[name](cloud))
    assert torch.equal(found[0], found[1])


def test_another_cloud_may_step_meanwhile(threads: None) -> None:
    found = []
    for count in (1, 2):
        kernels.set_threads(count)
        one, other = cloud_of(ROWS), cloud_of(7777)
        step(one)
        step(other)
        found.append((other["sh"].detach().clone(), one["sh"].detach().clone()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_finds_it_done(threads: None) -> None:
    kernels.set_threads(2)
    alone, cloud = cloud_of(ROWS), cloud_of(ROWS)
    step(alone)
    expected = alone["sh"].detach().numpy().tobytes()
    step(cloud)
    child = os.fork()
    if child == 0:  # without torch's own threads, and without ours
        os._exit(0 if cloud["sh"].detach().numpy().tobytes() == expected else 1)
    until, status = time.monotonic() + 30, (0, 0)
    while status[0] == 0 and time.monotonic() < until:
        status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if status[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert status[0] == child, "the child waits for a step that is done"
    assert os.waitstatus_to_exitcode(status[1]) == 0


def test_its_time_is_part_of_the_wall_clock(threads: None) -> None:
    kernels.set_threads(2)
    cloud = cloud_of(ROWS)
    start, before = time.perf_counter(), kernels.stage_seconds()
    for number in range(10):  # the caller may be held up once until all is done
        step(cloud, number)
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
    assert cloud["sh"].isfinite().all()
    spent = {name: s - before[name] for name, s in kernels.stage_seconds().items()}
    assert spent["aside"] > 0 and spent["adam"] > 0
    assert sum(spent.values()) <= time.perf_counter() - start
