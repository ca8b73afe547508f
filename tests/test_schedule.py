"""Published step numbers in runs of other lengths."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from methods import METHODS

from splat import api
from splat.core.rates import Rates
from splat.core.schedule import at, due, dues, every, full_by, resets_end, resets_every
from splat.options import Options
from splat.training.prepare import prepare


def test_a_published_run_keeps_every_number() -> None:
    assert [at(n, 30_000) for n in (500, 15_000, 30_001)] == [500, 15_000, 30_001]
    assert [every(n, 30_000) for n in (10, 100, 3000)] == [10, 100, 3000]
    assert resets_every(3000, 30_000) == 3000


def test_shorter_and_longer_runs_scale() -> None:
    assert [at(n, 3000) for n in (500, 15_000, 25_000)] == [50, 1500, 2500]
    assert [at(n, 60_000) for n in (500, 15_000)] == [1000, 30_000]
    assert every(100, 60_000) == 200


def test_intervals_do_not_fall_below_fifty_steps_unless_published_so() -> None:
    assert every(100, 3000) == 50 and every(100, 300) == 50
    assert every(100, 16_500) == 55
    assert every(30, 3000) == 30


def test_a_reset_leaves_time_to_recover() -> None:
    assert resets_every(3000, 3000) == 300
    assert resets_every(3000, 500) == 200
    assert resets_every(0, 3000) == 0
    assert [resets_end(n) for n in (30_000, 3000, 1000)] == [25_500, 2550, 850]


def test_full_by_is_sixty_percent_of_the_phase() -> None:
    assert full_by(500, 25_000) == 15_200


@pytest.mark.parametrize(
    ("start", "stop", "interval"), [(500, 15_000, 100), (50, 1500, 50), (117, 3500, 50), (0, 7, 3)]
)
def test_dues_are_the_steps_that_are_due(start: int, stop: int, interval: int) -> None:
    expected = [done for done in range(1, 1001) if due(done, start, stop, interval)]
    assert dues(start, stop, interval, 1000) == expected


def test_both_ends_are_excluded() -> None:
    assert dues(100, 400, 100, 1000) == [200, 300]
    assert dues(100, 400, 100, 250) == [200]
    assert dues(100, 400, 100, 300) == [200, 300]


def test_means_diffuse_as_far_in_a_short_run() -> None:
    fitted = Rates().scheduled(15_000)
    assert (fitted.mean, fitted.mean_end) == pytest.approx((1.6e-4 * 2**0.5, 1.6e-6 * 2**0.5))
    assert Rates().scheduled(1).mean == pytest.approx(3.2e-4), "twice as far at most"
    for steps in (30_000, 90_000):
        long = Rates().scheduled(steps)
        assert (long.mean, long.mean_end) == (Rates().mean, Rates().mean_end)
        assert long.of("log_scale", steps)(0) == long.of("log_scale", steps)(steps) == 5e-3


def test_sizes_move_fast_at_first_and_come_to_rest() -> None:
    rate = Rates().scheduled(3000).of("log_scale", 3000)
    # From 8 times 0.005 to 0.4 times that, by equal factors: halfway their geometric mean.
    found = [rate(step) for step in (0, 1500, 3000)]
    assert found == pytest.approx([0.04, (0.04 * 0.002) ** 0.5, 0.002])
    # At 15,000 steps the factor on means is the root of 2, halfway to 2 by equal factors.
    rate = Rates().scheduled(15_000).of("log_scale", 15_000)
    assert (rate(0), rate(15_000)) == pytest.approx((5e-3 * 8**0.5, 5e-3 * 0.4**0.5))
    assert Rates().of("log_scale", 3000)(1500) == 0.005, "published schedules keep it constant"


def test_what_networks_read_moves_farther_in_a_short_run_and_comes_to_rest() -> None:
    rate = Rates().scheduled(3000).resting(7.5e-3, 3000)
    # Twice as far up to seven tenths, then to a twentieth: halfway its root.
    found = [rate(step) for step in (0, 2099, 2550, 3000)]
    assert found == pytest.approx([0.015, 0.015, 0.015 * 0.05**0.5, 0.00075])
    rate = Rates().scheduled(15_000).resting(7.5e-3, 15_000)
    assert rate(15_000) == pytest.approx(7.5e-3 * 2**0.5 * 0.05**0.5)
    for constant in (Rates(), Rates().scheduled(30_000)):
        assert constant.resting(7.5e-3, 3000)(2999) == 7.5e-3


@pytest.mark.parametrize(("points", "first"), [(True, 0.04), (False, 0.005)])
def test_sizes_of_random_points_move_at_one_rate(
    tiny_folder: Path, points: bool, first: float
) -> None:
    scene = api.load(tiny_folder)
    scene = scene if points else replace(scene, points=None)
    with closing(prepare(scene, METHODS["fixed"], Options(steps=3000, max_side=0))) as job:
        assert job.run.model.cloud.rate("log_scale", 0) == pytest.approx(first)
