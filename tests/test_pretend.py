"""The pretended CUDA device refuses what CUDA refuses, and stands in for what it says."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pretend
import pretend.gsplat
import pretend.kernels
import pytest
import torch


@pytest.fixture
def pretended(cuda_kernels: None) -> torch.device:
    """The device, or the test is skipped."""
    if torch.cuda.get_device_name() != "pretended GPU":
        pytest.skip("there is a GPU, and nothing is pretended")
    return torch.device("cuda")


@pytest.mark.gpu
def test_tensors_of_two_devices_do_not_mix(pretended: torch.device) -> None:
    here, there = torch.ones(3, device=pretended), torch.ones(3)
    for mixed in (
        lambda: here + there,
        lambda: torch.stack([here, there]),
        lambda: here.index_select(0, torch.tensor([0])),
        lambda: there[torch.tensor([0], device=pretended)],
    ):
        with pytest.raises(RuntimeError, match=r"Expected all tensors|indices should be"):
            mixed()
    assert (here + torch.tensor(2.0)).tolist() == [3, 3, 3]  # a scalar may come from the CPU
    assert here[torch.tensor([0, 2])].tolist() == [1, 1]  # and so may indices
    with pytest.raises(TypeError, match="can't convert cuda"):
        here.numpy()


@pytest.mark.gpu
def test_a_generator_draws_on_its_own_device_only(pretended: torch.device) -> None:
    own = torch.Generator(pretended).manual_seed(3)
    assert torch.rand(3, generator=own, device=pretended).device.type == "cuda"
    for generator, device in ((torch.Generator(), pretended), (own, torch.device("cpu"))):
        with pytest.raises(RuntimeError, match="device type for generator"):
            torch.rand(3, generator=generator, device=device)


@pytest.mark.gpu
def test_memory_that_nobody_wrote_is_not_a_number(pretended: torch.device) -> None:
    assert torch.empty(3, device=pretended).isnan().all()
    assert torch.zeros(3, device=pretended).eq(0).all()


@pytest.mark.gpu
def test_views_gradients_pickles_and_pinned_memory(pretended: torch.device) -> None:
    whole = torch.arange(12, device=pretended).float().view(3, 4)
    whole[:, 1:3] = 0
    assert whole.cpu().tolist() == [[0, 0, 0, 3], [4, 0, 0, 7], [8, 0, 0, 11]]
    leaf = whole.clone().requires_grad_()
    (leaf[1:] ** 2).sum().backward()
    assert leaf.grad is not None and leaf.grad.device.type == "cuda"
    assert leaf.grad.tolist() == [[0, 0, 0, 0], [8, 0, 0, 14], [16, 0, 0, 22]]
    again = pickle.loads(pickle.dumps(whole))
    assert again.device.type == "cuda" and torch.equal(again, whole)
    pinned = torch.ones(5).pin_memory()
    assert pinned.is_pinned() and not torch.ones(5).is_pinned() and not whole.is_pinned()
    pretend.taken_counts()
    pinned.to(pretended), torch.ones(5).to(pretended), whole.cpu()
    counts = pretend.taken_counts()
    kinds = ("copy from pinned memory", "copy from pageable memory", "copy to the machine")
    assert [counts.get(kind) for kind in kinds] == [1, 1, 1]


@pytest.mark.gpu
def test_processes_that_are_started_pretend_too(pretended: torch.device) -> None:
    code = "import torch; print(torch.zeros(1, device='cuda').device, torch.cuda.device_count())"
    environment = {**os.environ, pretend.WANTED: "2"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["cuda:0", "2"]


@pytest.mark.parametrize(
    "name",
    [
        "rasterization",
        "rasterize_to_indices_in_range",
        "spherical_harmonics",
        "quat_scale_to_covar_preci",
    ],
)
def test_signatures_are_those_of_gsplat(name: str) -> None:
    """Names, order and defaults; the one default that is an object of gsplat's own is None."""
    if "gsplat" in sys.modules and isinstance(sys.modules["gsplat"], pretend.StandIn):
        pytest.skip("gsplat is stood in for in this process")
    gsplat = pytest.importorskip("gsplat")
    if gsplat.__version__ != pretend.gsplat.__version__:
        pytest.skip(f"gsplat is {gsplat.__version__}")
    theirs = inspect.signature(getattr(gsplat, name)).parameters
    ours = inspect.signature(getattr(pretend.gsplat, name)).parameters
    assert list(ours) == list(theirs)
    for each, parameter in theirs.items():
        assert each == "rolling_shutter" or ours[each].default == parameter.default, each


def test_the_kernels_stood_in_for_are_those_of_the_stub() -> None:
    text = (Path(__file__).parents[1] / "splat" / "_gpu.pyi").read_text()
    for name in ("photometric_scratch_bytes", "photometric", "adam"):
        assert f"def {name}(" in text and callable(getattr(pretend.kernels, name))
