"""Rows taken by their score: the highest, or drawn without replacement."""

from __future__ import annotations

import itertools

import pytest
import torch

from splat.rules.select import select


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_highest_are_taken_and_of_equals_the_first() -> None:
    score = torch.tensor([3.0, 1, 5, 3, 3, 0, 4])
    assert select(score, 3).tolist() == [0, 2, 6]
    assert select(score, 4).tolist() == [0, 2, 3, 6]
    assert select(score, 0).tolist() == select(score, -2).tolist() == []


def test_zero_is_never_taken() -> None:
    score = torch.tensor([0.0, 2, 0, 1e-30, 0])
    assert select(score, 5).tolist() == [1, 3]
    for seed in range(50):
        assert select(score, 5, "multinomial", draws(seed)).tolist() == [1, 3]
        assert set(select(score, 1, "multinomial", draws(seed)).tolist()) <= {1, 3}
    assert select(torch.zeros(4), 2).tolist() == []
    assert select(torch.zeros(0), 2, "multinomial", draws(0)).tolist() == []


@pytest.mark.parametrize("wrong", [torch.nan, -1.0])
def test_what_is_no_score_raises(wrong: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 scores"):
        select(torch.tensor([1.0, wrong, 2]), 1)


def test_rows_are_drawn_as_one_after_the_other() -> None:
    """Every ordered draw of two out of four, by the chance of each: p_i p_j / (1 - p_i)."""
    score, n = torch.tensor([1.0, 2, 3, 4]), 20_000
    p = (score / score.sum()).tolist()
    expected = dict.fromkeys(itertools.combinations(range(4), 2), 0.0)
    for i, j in itertools.permutations(range(4), 2):
        expected[min(i, j), max(i, j)] += p[i] * p[j] / (1 - p[i])
    found = dict.fromkeys(expected, 0)
    draw = draws(0)
    for _ in range(n):
        a, b = select(score, 2, "multinomial", draw).tolist()
        found[a, b] += 1
    assert sum(expected.values()) == pytest.approx(1)
    for pair, chance in expected.items():
        assert found[pair] / n == pytest.approx(chance, abs=4 * (chance / n) ** 0.5)


def test_draws_are_unique_and_repeat() -> None:
    score = torch.rand(1000, generator=draws(1))
    one, two = (select(score, 300, "multinomial", draws(7)) for _ in range(2))
    assert torch.equal(one, two) and len(one.unique()) == 300
    assert not torch.equal(one, select(score, 300, "multinomial", draws(8)))
    assert torch.equal(one, one.sort().values)


def test_scores_may_be_of_any_size() -> None:
    score = torch.tensor([1e-38, 3e38, 1e-20, torch.inf])
    assert select(score, 2).tolist() == [1, 3]
    assert select(score, 2, "multinomial", draws(0)).tolist() == [1, 3]


def test_the_highest_do_not_depend_on_the_order_of_rows() -> None:
    score = torch.rand(200, generator=draws(2))
    order = torch.randperm(200, generator=draws(3))
    assert set(order[select(score[order], 50)].tolist()) == set(select(score, 50).tolist())
