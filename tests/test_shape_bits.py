"""What sizes and turns of rows pay for their room in a file, and how few rows are tried next."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from steps import model_of, step_of

from splat.core.rates import Rates
from splat.export.shape_bits import ShapeBits, mean_bits
from splat.export.smallest import next_count
from splat.formats.settings import Settings


def test_bits_are_the_entropy_of_numbers() -> None:
    draw = torch.Generator().manual_seed(0)
    for deviation in (3.0, 20.0):  # of normal numbers in steps of 1: log2(2 pi e s^2) / 2
        numbers = deviation * torch.randn(100_000, generator=draw)
        expected = math.log2(2 * math.pi * math.e * deviation**2) / 2
        assert mean_bits(numbers).item() == pytest.approx(expected, rel=0.01)
    # All alike: half of the counts smoothed away, one bit.
    assert mean_bits(torch.full((4096,), 7.3)).item() == pytest.approx(1, abs=0.5)


def test_a_number_is_drawn_to_where_others_are() -> None:
    numbers = torch.cat(
        [torch.full((900,), 5.0), torch.full((100,), 9.0), torch.tensor([5.5, 8.6])]
    )
    numbers.requires_grad_()
    mean_bits(numbers).backward()
    assert numbers.grad is not None
    # Down the gradient: 5.5 goes to the many at 5, 8.6 to those at 9.
    assert numbers.grad[-2] > 0 > numbers.grad[-1]


def test_a_bit_is_worth_a_share_of_the_error_of_the_picture() -> None:
    model = model_of(500)
    objective = ShapeBits.of(0.01, Settings(sog_bits=(13, 6, 8, 8, 6)))
    assert (objective.scale_step, objective.turn_step) == (16 / 256, 4)
    step = step_of(model, 1)
    gray = replace(step, rendered=replace(step.rendered, image=torch.full((20, 20, 3), 0.25)))
    half = replace(step, rendered=replace(step.rendered, image=torch.full((20, 20, 3), 0.125)))
    told = objective(gray)
    told.backward()
    assert told.item() == pytest.approx(2 * objective(half).item(), rel=1e-5) and told > 0
    # By hand: all scales are alike, so three channels of a bit or less; turns are spread over 64
    # steps at most. Every fourth step pays, for four.
    assert 3 * 5 * 0.01 < told.item() < (3 * 6.2 + 3 * 1.5) * 0.01
    columns = {name: model.cloud[name].grad for name in ("quat", "mean", "opacity_logit")}
    assert columns["quat"] is not None and columns["quat"].abs().max() > 0
    assert columns["mean"] is None is columns["opacity_logit"]
    assert objective(replace(gray, number=1)) == 0
    # What is masked is no error.
    mask = torch.ones(20, 20, dtype=torch.uint8)
    mask[:5] = 0
    masked = replace(gray, batch=replace(gray.batch, mask=mask))
    assert objective(masked).item() == pytest.approx(0.75 * told.item(), rel=1e-5)


def test_rates_fall_to_a_share() -> None:
    rate = Rates(log_scale=0.02, fall=0.05).of("log_scale", 100)
    assert [rate(step) for step in (0, 50, 100)] == pytest.approx([0.02, 0.02 * 0.05**0.5, 0.001])
    constant = Rates(log_scale=0.02).of("log_scale", 100)
    assert constant(0) == constant(100) == 0.02


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        # One that loses 0.1 of 0.2 dB: at half a dB per factor e, 0.088 more are e^-0.176 of it.
        ({5000: 0.1}, 4193),
        # By the slope of two: 0.2 dB per factor e^(ln 2), so that 0.088 dB are 2^-0.44.
        ({10_000: -0.1, 5000: 0.1}, 3686),
        # Between one that is enough and one that is not: 0.112 of 0.2 dB from the few.
        ({5000: 0.3, 8000: 0.1}, 6505),
        # Near enough, by rows or by loss.
        ({5000: 0.3, 5100: 0.1}, 5100),
        ({5000: 0.195}, 5000),
        # At most half or twice, and never more than all.
        ({5000: -3.0}, 2500),
        ({7000: 3.0}, 10_000),
    ],
)
def test_the_next_number_of_rows(losses: dict[int, float], expected: int) -> None:
    assert next_count(losses, 0.2, 10_000) == pytest.approx(expected, abs=1)
