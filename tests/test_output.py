"""Large outputs of kernels: in memory that nobody holds any longer, and in no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from methods import _EARLY
from ranks import job_of

from splat import kernels
from splat.conformance.trial import fingerprints
from splat.kernels import output
from splat.loop import advance
from splat.parallel import ALONE
from splat.strategies.adc import Adc

ROWS = output.LARGE // 8


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    kernels.forget_outputs()
    yield
    kernels.forget_outputs()


def rows(n: int = ROWS) -> torch.Tensor:
    return output.rows.empty(n, 3, dtype=torch.float32)


def test_memory_is_used_again_once_no_tensor_looks_at_it() -> None:
    first = rows()
    place = first.data_ptr()
    assert first.shape == (ROWS, 3) and first.dtype == torch.float32 and place % 64 == 0
    looks = [first.detach(), first[5:].flatten(), first.numpy()]
    del first
    while looks:
        other = rows()
        assert other.data_ptr() != place
        kernels.forget_outputs()
        looks.pop()
    assert rows().data_ptr() == place


def test_autograd_holds_what_it_keeps() -> None:
    leaf = torch.zeros(ROWS, 3, requires_grad=True)
    scales, _ = kernels.activate(leaf, torch.zeros(ROWS))
    place = scales.data_ptr()
    loss = (scales * torch.tensor([1.0, 2.0, 3.0])).sum()
    del scales
    assert rows().data_ptr() != place
    loss.backward()
    assert torch.equal(leaf.grad, torch.tensor([1.0, 2.0, 3.0]).expand(ROWS, 3))
    held = leaf.grad.data_ptr()
    assert held not in (rows().data_ptr(), rows(ROWS + 9).data_ptr())


def test_other_sizes_let_go_what_is_kept() -> None:
    del [rows(), rows()][:]
    assert len(output.rows.idle) == 2
    lent = rows(int(ROWS / 1.2))  # near enough
    assert len(output.rows.idle) == 1
    grown = rows(2 * ROWS)
    assert not output.rows.idle
    del lent, grown
    kernels.forget_outputs()
    assert not output.rows.idle


def test_pictures_of_another_size_let_go_no_rows() -> None:
    del [rows()][:]
    for side in (1024, 2048):
        assert output.pictures.empty(side, side, dtype=torch.float32).shape == (side, side)
    assert len(output.rows.idle) == len(output.pictures.idle) == 1


def test_small_ones_and_other_types_are_torchs() -> None:
    del [
        output.rows.empty(9, 3, dtype=torch.float32),
        output.rows.empty(1 << 23, dtype=torch.bool),
    ][:]
    assert not output.rows.idle


def test_a_run_ends_with_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, trial_folder: Path
) -> None:
    found = []
    for large in (output.LARGE, 1):
        monkeypatch.setattr(output, "LARGE", large)
        job = job_of(trial_folder, Adc(cap=700, grow_gradient=2e-3, **_EARLY), ALONE)
        used = 0
        while not job.run.over:
            advance(job.run)
            used += len(output.rows.idle) + len(output.pictures.idle)
        job.close()
        found.append(fingerprints(job.run.model.cloud))
        assert (used > 0) == (large == 1)
    assert found[0] == found[1]
