"""Builds of the kernels, the tiny built-in scene, and the command line within this process."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pretend
import pytest

NOT_PRETENDED = pretend.begin()  # before torch is imported
"""Why CUDA is not pretended though `SPLAT_PRETEND_CUDA` asks for it."""

import torch  # noqa: E402
from run_files import RunFiles  # noqa: E402

from splat import kernels  # noqa: E402

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Tests that run side by side (`pytest -n 2`) share the cores.
    kernels.set_threads(max(1, kernels.threads() // workers))
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))  # of what they start

FIRST = (
    "test_contract", "test_parallel", "test_writers", "test_hostile", "test_cuda_sweep",
    "test_viewer_browser", "test_deform", "test_jobs", "test_sharing", "test_deletable",
    "test_hostile_kernels", "test_compare", "test_blocks", "test_cuda_kernels",
)  # fmt: skip
"""Files that take longest for the number of their tests: last, one worker would wait for them."""


def pytest_configure(config: pytest.Config) -> None:
    """Files in the order that follows, not by their numbers of tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those of `FIRST` before all others."""
    place = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Both streams, in one line."""
        return " ".join((self.out + self.err).split())


@pytest.fixture(params=[*kernels.isas(), "f64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[torch.dtype]:
    """The number to compute with, while its instruction set is in use."""
    double = request.param == "f64"
    with nullcontext() if double else kernels.use_isa(request.param):
        yield torch.float64 if double else torch.float32


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """As in a run: small tensors are slower on more, which only wait for each other."""
    with kernels.one_torch_thread():
        yield


@pytest.fixture
def threads() -> Iterator[None]:
    """For tests that set the number of threads."""
    before = kernels.threads()
    yield
    kernels.set_threads(before)


@pytest.fixture
def alike_by_threads(threads: None) -> Callable[[Callable[[], Iterable[torch.Tensor]]], None]:
    """Asserts that a call makes the same bytes on any number of threads."""

    def check(call: Callable[[], Iterable[torch.Tensor]]) -> None:
        runs = []
        for count in (1, 2, 3, 2):
            kernels.set_threads(count)
            runs.append([*call()])
        for run in runs[1:]:
            assert all(torch.equal(a, b) for a, b in zip(runs[0], run, strict=True))

    return check


@pytest.fixture(autouse=True)
def unspoken() -> Iterator[None]:
    """Logs reach pytest alone: the program's own set-up, where a test calls it, ends with it."""

    def still() -> None:
        logger = logging.getLogger("splat")
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)

    still()
    yield
    still()


@pytest.fixture
def cuda_kernels() -> None:
    """For tests that need a CUDA device."""
    if not torch.cuda.is_available():
        pytest.skip(NOT_PRETENDED or "needs a CUDA device")


@pytest.fixture(scope="session")
def emulated() -> ModuleType:
    """The module `_gpu` with its kernels as C++ for the CPU, or the test is skipped."""
    from shim.build import Unbuilt, module

    try:
        return module()
    except Unbuilt as why:
        pytest.skip(str(why))


@pytest.fixture
def by_cuda(emulated: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Have float32 drawn by the emulated CUDA kernels, on the machine's memory."""
    rasterize = importlib.import_module("splat.kernels.rasterize")
    on_cpu = rasterize.frame_for

    def frame_for(means: torch.Tensor, differentiable: bool) -> object:
        if means.dtype != torch.float32:
            return on_cpu(means, differentiable)
        return rasterize.Frame(emulated, means, differentiable)

    monkeypatch.setattr(rasterize, "frame_for", frame_for)
    yield emulated
    emulated.set_order(0)


def _kept(request: pytest.FixtureRequest) -> Path:
    """Where scenes are kept between runs of the tests."""
    cache = request.config.cache
    assert cache is not None
    return cache.mkdir("splat-demo")


@pytest.fixture(scope="session")
def tiny_folder(request: pytest.FixtureRequest) -> Path:
    """A COLMAP scene of 12 pictures of 96 x 72 pixels and 500 points; not to be written to."""
    from splat.datasets import demo

    return demo.cached(_kept(request), views=12, width=96, height=72, samples=2, points=500)


@pytest.fixture(scope="session")
def clip_folder(request: pytest.FixtureRequest) -> Path:
    """The built-in scene in motion, 9 cameras of which one is held out, 5 instants each, of 64 x 48
    pixels; not to be written to."""
    from splat.datasets.demo import clip

    size = {"width": 64, "height": 48, "samples": 1, "points": 200}
    return clip.cached(_kept(request), cameras=9, instants=5, **size)


@pytest.fixture(scope="session")
def trial_folder(request: pytest.FixtureRequest) -> Path:
    """The scene of trials, kept between runs of the tests."""
    from splat.conformance.trial import tiny_scene

    return tiny_scene(_kept(request))


@pytest.fixture(scope="session")
def ring(request: pytest.FixtureRequest) -> Path:
    """The built-in scene in 30 pictures of 128 x 96 pixels; not to be written to."""
    from splat.datasets import demo

    return demo.cached(_kept(request), views=30, width=128, height=96, samples=2, points=1500)


@pytest.fixture
def splat(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., Outcome]:
    """The command `splat` in an empty folder."""
    from splat.cli import main

    monkeypatch.chdir(tmp_path)
    written = RunFiles(tmp_path)

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        written.check()
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def seen_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run and with two folders of sounds; not to be changed."""
    import hearing_room

    folder = tmp_path_factory.mktemp("hearing")
    hearing_room.trained(folder)
    hearing_room.write_responses(folder / "responses")
    hearing_room.write_recordings(folder / "recordings")
    return folder


@pytest.fixture
def room(seen_room: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of one's own, without the photos. Numbers of threads are afterwards as before."""
    for name in ("run", "responses", "recordings"):
        shutil.copytree(seen_room / name, tmp_path / name)
    before = torch.get_num_threads(), kernels.threads()
    yield tmp_path
    torch.set_num_threads(before[0])
    kernels.set_threads(before[1])
