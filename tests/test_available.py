"""What drawing on CUDA lacks: one sentence with what to do, by `auto`, errors and doctor."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Outcome

from splat import kernels
from splat.cli import doctor
from splat.options import Options
from splat.render import available, choose_device, gsplat, renderer_for
from splat.system.devices import has_driver
from splat.system.lock import locked

OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU"
    " driver by downloading and installing a new version"
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a machine together: what torch and gsplat say, and whether our kernels run."""

    def put(
        *, built: str | None = "13.0", card: tuple[int, int] | None = (9, 0), driver: str = "",
        arches: tuple[str, ...] = ("sm_75", "sm_80", "sm_90", "compute_90"), version: str = "1.5.3",
        modules: tuple[str, ...] = ("splat._gpu",), nvcc: bool = False,
        compiled: bool = False, runs: bool = True,
    ) -> None:  # fmt: skip
        def init() -> None:
            if driver:
                raise RuntimeError(driver)

        answers = {
            "is_available": card is not None, "get_device_name": "card", "init": None,
            "get_device_capability": card, "get_arch_list": list(arches),
        }  # fmt: skip
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.version, "cuda", built)
        monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(__version__=version))
        monkeypatch.setattr(available, "found_module", lambda name: name in modules)
        not_so = available.Lack("our CUDA kernels do not run on card (driver)", "update the driver")
        monkeypatch.setattr(available, "of_running", lambda: None if runs else not_so)
        monkeypatch.setattr(available, "_compiled", lambda: compiled)
        monkeypatch.setattr(available, "_nvcc", lambda: nvcc)
        monkeypatch.setattr(available.shutil, "which", lambda name, path=None: None)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


KERNELS = ("splat._gpu", "gsplat.csrc")
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "a build without CUDA": ({"built": None, "card": None}, "is a build without CUDA"),
    "no driver": (
        {"card": None, "driver": "Found no NVIDIA driver on your system."},
        r"there is no NVIDIA driver \(install one",
    ),
    "no card": ({"card": None}, r"torch sees no CUDA device \(look at what `nvidia-smi` says"),
    "an old driver": (
        {"card": None, "driver": OLD},
        r"the NVIDIA driver is for CUDA 11\.4, too old for torch \S+ with CUDA 13\.0 \(update the",
    ),
    "an old card": (
        {"card": (6, 1)},
        r"card has compute capability 6\.1, and torch \S+ has code for 7\.5 and newer only"
        r" \(install a torch built with an older CUDA, or train on the CPU\)",
    ),
    "a card between": (
        {"card": (7, 0), "arches": ("sm_60", "sm_75")}, r"code for 6\.0 and some others only",
    ),
    "a card too new": (
        {"card": (10, 0), "arches": ("sm_80", "sm_90")}, r"\(install a newer torch\)",
    ),
    "kernels not built": ({"modules": ("gsplat.csrc",)}, "built without its CUDA kernels"),
    "a card that the kernels are not for": (
        {"card": (6, 1), "arches": ("sm_50", "sm_60", "sm_90")},
        r"card has compute capability 6\.1, and our CUDA kernels are for 7\.5 \(Turing, 2018\) and"
        r" newer \(train on the CPU\)",
    ),
}  # fmt: skip
GSPLAT: dict[str, tuple[dict[str, Any], str]] = {
    "without kernels": (
        {}, r"gsplat 1\.5\.3 has no compiled kernels, and there is no nvcc and no ninja to build",
    ),
    "without ninja": ({"nvcc": True}, "there is no ninja to build them with"),
    "too new": (
        {"version": "1.6.0", "modules": KERNELS},
        r"gsplat is 1\.6\.0, and splat draws with 1\.5\.3 or later, below 1\.6"
        r" \(pip install 'gsplat>=1\.5\.3,<1\.6'\)",
    ),
    "too old": ({"version": "1.4.0+pt26cu124", "modules": KERNELS}, r"gsplat is 1\.4\.0"),
}  # fmt: skip


def said_by_doctor(expected: str) -> None:
    """Each thing that lacks is one line with what to do, and one of them is this."""
    said = [check for check in doctor._cuda() if check.state == "missing"]
    assert all(check.remedy and "\n" not in check.found for check in said)
    found = [re.sub(r"; (training|only) .*", "", check.found) for check in said]
    told = [f"{each} ({check.remedy})" for each, check in zip(found, said, strict=True)]
    assert any(re.search(expected, each) for each in told), told


@pytest.mark.parametrize("case", CASES)
def test_auto_takes_the_cpu_and_says_why(case: str, machine: Callable[..., None]) -> None:
    given, expected = CASES[case]
    machine(**given)
    device, why = choose_device()
    assert device.type == "cpu" and why.startswith("CPU, because ") and "\n" not in why
    with pytest.raises(ValueError, match=f"--device cuda cannot be had: .*{expected}"):
        choose_device("cuda")
    with pytest.raises(ValueError, match=f"--renderer gsplat cannot be had: .*{expected}"):
        choose_device("auto", "gsplat")
    said_by_doctor(expected)


@pytest.mark.parametrize("case", GSPLAT)
def test_gsplat_is_needed_where_it_is_asked_for(case: str, machine: Callable[..., None]) -> None:
    given, expected = GSPLAT[case]
    machine(**given)
    assert choose_device()[1] == "CUDA on card, drawn by our own kernels"
    with pytest.raises(ValueError, match=f"--renderer gsplat cannot be had: .*{expected}"):
        choose_device("auto", "gsplat")
    with pytest.raises(ValueError, match=f"--device cuda cannot be had: .*{expected}"):
        choose_device("cuda", "gsplat")
    said_by_doctor(expected)


def test_kernels_that_do_not_run(machine: Callable[..., None]) -> None:
    """A driver may be new enough for torch, and too old for what our kernels bring with them."""
    machine(runs=False)
    with pytest.raises(ValueError, match="device cuda cannot be trained or drawn on: our CUDA"):
        renderer_for("cuda")
    said_by_doctor(r"our CUDA kernels do not run on card \(driver\) \(update the driver\)")


@pytest.mark.gpu
def test_our_kernels_run(cuda_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    available.of_running.cache_clear()
    assert available.of_running() is None

    def fails(*_: object) -> None:
        raise RuntimeError("CUDA: the driver is insufficient\nmore")

    available.of_running.cache_clear()
    monkeypatch.setattr(kernels, "photometric", fails)
    lack = available.of_running()
    assert lack is not None and "(CUDA: the driver is insufficient)" in lack.found
    available.of_running.cache_clear()


@pytest.mark.parametrize(
    "given",
    [
        {"modules": KERNELS},
        {"compiled": True},
        {"modules": (*KERNELS, "ninja"), "nvcc": True},
        {"modules": KERNELS, "version": "1.5.9+pt28cu126"},
        {"modules": KERNELS, "card": (8, 6)},  # by the code for 8.0
        {"modules": KERNELS, "card": (12, 0)},  # by what is compiled for newer ones
    ],
)
def test_auto_takes_cuda_where_all_is_there(
    given: dict[str, Any], machine: Callable[..., None]
) -> None:
    machine(**given)
    assert choose_device()[1] == "CUDA on card, drawn by our own kernels"
    assert choose_device("cuda", "gsplat")[1] == "CUDA on card, drawn by gsplat, as asked"
    assert [check.state for check in doctor._cuda()] == ["good"] * 3


def test_a_card_that_is_hidden(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(card=None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is '', which hides every card" in choose_device()[1]


@pytest.mark.parametrize("hidden", [True, False])
def test_a_build_for_cuda_is_not_loaded_for_want_of_a_driver(tmp_path: Path, hidden: bool) -> None:
    if not hidden and has_driver():
        pytest.skip("there is a driver")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/version.py").write_text("__version__ = '2.9.1+cu128'\ncuda = '12.8'\n")
    (tmp_path / "torch/__init__.py").write_text("raise SystemExit('torch was loaded')\n")
    code = f"""if True:
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from splat.render.available import of_cuda
        print(of_cuda())"""
    without = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment = without | ({"CUDA_VISIBLE_DEVICES": "-1"} if hidden else {})
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    said = "'-1', which hides every card" if hidden else "there is no NVIDIA driver (install one"
    assert done.returncode == 0 and said in done.stdout, done


def test_renderers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="gsplat draws on CUDA only, and the device is cpu"):
        choose_device("cpu", "gsplat")
    with pytest.raises(ValueError, match="renderer is 'mine'; it is auto, native or gsplat"):
        choose_device("auto", "mine")
    assert choose_device("cpu", "native")[0].type == "cpu"
    assert Options().renderer == "auto"


def test_a_renderer_is_asked_for_on_the_command_line(
    splat: Callable[..., Outcome], tiny_folder: Path
) -> None:
    told = splat("train", tiny_folder, "--device", "cpu", "--renderer", "gsplat", "--dry-run")
    assert told.code == 2 and "gsplat draws on CUDA only" in told.said
    told = splat("train", tiny_folder, "--device", "cpu", "--renderer", "native", "--dry-run")
    assert told.code == 0, told.said


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("\nError building extension 'gsplat_cuda': [1/20]\nnvcc ..."), "gsplat_cuda"),
        (RuntimeError("The detected CUDA version (12.1) mismatches"), "12.1"),
        (OSError("No space left on device"), "No space left"),
        (AttributeError("'NoneType' object has no attribute"), "no compiled kernels"),
    ],
)
def test_kernels_that_do_not_compile(
    error: Exception, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line of what may be pages; and stdout, which may be JSON, is left alone."""

    def build(*_: object) -> None:
        print("gsplat: setting up")
        raise error

    out = StringIO()
    with redirect_stdout(out), pytest.raises(ValueError, match=expected) as raised:
        gsplat._compile(SimpleNamespace(quat_scale_to_covar_preci=build), torch.device("cpu"))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value) and not out.getvalue()
    assert "setting up" in capfd.readouterr().err


def test_one_process_compiles_at_a_time(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(nvcc=True)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(gsplat, "_PATIENCE", 0.1)
    compiled: list[object] = []
    monkeypatch.setattr(gsplat, "_compile", lambda module, device: compiled.append(device))
    device = torch.device("cuda", 5)
    with (
        locked(tmp_path / "splat" / "gsplat.lock", "gsplat's kernels"),
        pytest.raises(ValueError, match="works on gsplat's kernels, which it compiles"),
    ):
        gsplat.ready(device)
    assert not compiled
    assert gsplat.ready(device) is gsplat.ready(device) and compiled == [device]
    gsplat.ready.cache_clear()


def test_what_is_installed_is_what_is_drawn_with() -> None:
    """The extra's bounds are those that are checked; wheels for Linux carry the CUDA kernels where
    they are built with nvcc."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    from_, below = (
        ".".join(map(str, each)) for each in (available.GSPLAT_FROM, available.GSPLAT_BELOW)
    )
    assert set(re.findall(r'"(gsplat[^"]*)"', text)) == {f"gsplat>={from_},<{below}"} | set(
        re.findall(r'"(gsplat\.\*)"', text)
    )
    linux = text.split("[tool.cibuildwheel.linux]")[1].split("[tool.")[0]
    assert "-DSPLAT_CUDA=AUTO" in linux
