"""Budget curves against their published forms, and as they go on from any point."""

from __future__ import annotations

import math

import pytest

from splat.rules.curve import Curve, room, share, target


def test_the_parabola_is_the_published_recurrence() -> None:
    """Taming 3DGS, eq. 2: it starts at twice the mean slope, and each part is less by the same."""
    start, budget, edits = 10_000, 730_000, 29
    rows, slope = float(start), 2 * (budget - start) / edits
    fall = 2 * (budget - start) / edits**2
    for x in range(edits + 1):
        assert target("parabola", start, budget, x / edits) == pytest.approx(rows, abs=1)
        rows += slope - fall / 2
        slope -= fall
    assert target("parabola", start, budget, 1.0) == budget


@pytest.mark.parametrize(
    ("curve", "middle"), [("linear", 60_000), ("parabola", 80_000), ("sqrt", 70_710)]
)
def test_curves_halfway(curve: Curve, middle: int) -> None:
    assert target(curve, 20_000, 100_000, 0.5) == middle
    assert target(curve, 20_000, 100_000, 1.0) == 100_000
    assert target(curve, 20_000, 100_000, 7.0) == 100_000
    assert target(curve, 20_000, 100_000, -1.0) == (0 if curve == "sqrt" else 20_000)


@pytest.mark.parametrize("curve", ["linear", "parabola", "sqrt"])
def test_no_target_passes_the_budget_or_falls(curve: Curve) -> None:
    for start, budget in ((0, 7), (500, 501), (900, 900), (5, 10**7), (100, 40)):
        found = [target(curve, start, budget, u / 50) for u in range(51)]
        assert max(found) <= budget and found == sorted(found) and found[-1] == budget
        assert all(isinstance(rows, int) for rows in found)


def test_whole_numbers_are_not_lost_to_rounding() -> None:
    for u in range(101):
        assert target("linear", 0, 100, u / 100) == u
        assert target("sqrt", 0, 100, (u / 100) ** 2) == u


def test_shares_run_from_the_first_refinement_to_the_last() -> None:
    found = [share(done, 500, 15_000, 100) for done in range(600, 15_000, 100)]
    assert found == [i / 144 for i in range(1, 145)]
    assert share(20_000, 500, 15_000, 100) == 1.0 and share(500, 500, 15_000, 100) == 0.0
    assert share(100, 500, 501, 100) == 0.0, "a phase without refinements"


def test_what_dies_makes_room() -> None:
    assert room(100, 30, 90) == 20
    assert room(100, 0, 100) == room(100, 5, 40) == 0


def test_the_square_root_is_of_the_whole_budget() -> None:
    assert target("sqrt", 10**6, 3_000_000, 1 / 144) == math.floor(3_000_000 / 12)
