"""Steps that become slow are spoken of once, with the cause: by a fake clock and fake readings."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from splat.system import machine
from splat.system.machine import Toll
from splat.training.slow_steps import SlowSteps


@dataclass
class Machine:
    """A machine whose time goes by as it is told, and what it does meanwhile."""

    at: float = 1000.0
    swapped: float | None = 0.0
    busy: float | None = 0.0
    own: float = 0.0
    rows: int = 1000
    waited: float = 0.0
    step: int = 0
    looks: int = 0

    def read(self) -> Toll:
        self.looks += 1
        swapped = None if self.swapped is None else int(self.swapped)
        return Toll(self.at, swapped, self.busy, self.own, 8)

    def steps(
        self,
        watch: Callable[..., None],
        count: int,
        each: float,
        *,
        swap: float = 0.0,
        others: float = 0.5,
        own: float = 2.0,
    ) -> None:
        """So many steps of `each` seconds, in which so many bytes and cores a second are taken."""
        for _ in range(count):
            self.at += each
            self.own += own * each
            self.swapped = None if self.swapped is None else self.swapped + swap * each
            self.busy = None if self.busy is None else self.busy + (others + own) * each
            self.step += 1
            model = SimpleNamespace(cloud=range(self.rows), unit="Gaussians")
            watch(SimpleNamespace(step=self.step, waited=self.waited, model=model), None, {}, None)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.WARNING, "splat.training.slow_steps")
    return lambda: [record.message for record in caplog.records]


def watched(of: Machine, every: int = 1) -> SlowSteps:
    return SlowSteps(every, clock=lambda: of.at, read=of.read)


@pytest.mark.parametrize(
    ("options", "rows", "said"),
    [
        ({"swap": 40e6, "own": 0.2}, 1000, "the machine swaps, 40 MB a second"),
        ({"others": 6.0}, 1000, "other programs take 6.0 of the 8 cores"),
        ({}, 5000, "1,000 Gaussians became 5,000"),
        ({}, 1900, "the cause is not known; it is neither swapping"),
    ],
)
def test_a_minute_of_slow_steps_is_named_with_its_cause_once(
    told: Callable[[], list[str]], options: dict[str, Any], rows: int, said: str
) -> None:
    of = Machine()
    watch = watched(of)
    of.steps(watch, 500, 0.1)
    of.rows = rows
    of.steps(watch, 49, 1.2, **options)
    assert told() == []
    of.steps(watch, 2, 1.2, **options)
    (line,) = told()
    assert line.startswith("warning: since step 500 a step takes 1.2 s, 12 times the usual 0.1 s: ")
    assert said in line and "\n" not in line
    of.steps(watch, 200, 1.2, **options)
    of.steps(watch, 200, 0.1)
    of.rows *= rows // 1000
    of.steps(watch, 100, 1.2, **options)
    assert told() == [line]


def test_several_causes_and_a_new_one_are_named(told: Callable[[], list[str]]) -> None:
    of = Machine()
    watch = watched(of)
    of.steps(watch, 500, 0.1)
    of.steps(watch, 100, 1.2, others=6.0)
    of.steps(watch, 300, 0.1)
    of.rows = 9000
    of.steps(watch, 100, 1.2, swap=5e6)
    assert len(told()) == 2
    assert "; lower --cap" in told()[1] and "became 9,000" in told()[1]
    assert "other programs take" in told()[0] and "other programs take" not in told()[1]


def test_what_is_no_minute_of_slow_steps_is_passed_over(told: Callable[[], list[str]]) -> None:
    of = Machine()
    watch = watched(of)
    of.steps(watch, 10, 9.0)  # before anything is usual
    of.steps(watch, 200, 0.1)
    for _ in range(20):  # looks at held-out photos
        of.steps(watch, 1, 90.0)
        of.steps(watch, 9, 0.1)
    of.steps(watch, 55, 1.01)  # not a minute
    of.steps(watch, 1, 0.1)
    of.steps(watch, 200, 0.9)  # not ten times as slow
    of.waited += 500.0  # a pause
    of.at += 500.0
    of.steps(watch, 200, 0.9)
    assert told() == []


def test_others_that_were_there_before_are_no_cause(told: Callable[[], list[str]]) -> None:
    of = Machine()
    watch = watched(of)
    of.steps(watch, 500, 0.1, others=5.0)
    of.steps(watch, 60, 1.2, others=5.5)
    assert "the cause is not known; it is neither" in told()[0]


def test_a_system_that_says_nothing_is_said_to(told: Callable[[], list[str]]) -> None:
    of = Machine(swapped=None, busy=None)
    watch = watched(of)
    of.steps(watch, 500, 0.1)
    of.steps(watch, 60, 1.2)
    assert told()[0].endswith("the cause is not known, as this system does not say what it does")


def test_steps_that_wait_for_a_device_by_tens_are_timed_by_tens(
    told: Callable[[], list[str]],
) -> None:
    of = Machine()
    watch = watched(of, 10)
    for each in (0.1,) * 50 + (1.5,) * 6:
        of.steps(watch, 9, 0.001)
        of.steps(watch, 1, 10 * each, others=6.0)
    (line,) = told()
    assert "since step 500" in line


def test_it_looks_at_the_machine_seldom_and_at_a_real_one(told: Callable[[], list[str]]) -> None:
    of = Machine()
    watch = watched(of)
    of.steps(watch, 2000, 0.1)
    assert of.looks <= 22
    first = machine.toll()
    sum(range(10**6))
    second = machine.toll()
    assert second.at > first.at and second.own >= first.own and first.cores >= 1
    for before, after in ((first.swapped, second.swapped), (first.busy, second.busy)):
        assert (before is None) == (after is None) and (after or 0) >= (before or 0)
