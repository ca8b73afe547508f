"""`splat doctor`: what this machine can do, what is missing, and the command that brings it."""

from __future__ import annotations

import json
import platform
import re
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from splat import __version__
from splat.cli.asked.doctor import Doctor
from splat.options.parse import parsed
from splat.planning.ladder import step_seconds
from splat.planning.speed import remember_factor, speed_file
from splat.system import machine
from splat.system.clash import OTHERS, OURS, beside, sentence
from splat.system.text import size

State = Literal["good", "missing", "broken"]
"""broken: nothing can be trained without it; missing: something optional is not there."""
MARKS: dict[State, str] = {"good": "ok", "missing": "--", "broken": "NO"}
EXTRAS = {
    "video": 103,
    "viewer": 20,
    "prep": 167,
    "mesh": 33,
    "sound": 5,
    "rooms": 21,
    "anchors": 1,
    "lpips": 69,
    "tensorboard": 52,
    "wandb": 78,
    "rerun": 690,
    "usd": 217,
    "notebooks": 77,
    "dream": 242,
    "site": 126,
    "ray": 212,
    "studio": 245,
    "cuda": 29,
}
"""Extras, and the megabytes on disk that each adds to a plain install (Linux, November 2026)."""
_OURS = re.compile(r"photos|\.?[a-z]+-[0-9a-f]{12}(-\w+)?")
"""Folders in the user's cache: photos by `splat.photos.disk_cache`, generated scenes with the mark
of the code that drew them, and drafts of these."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    state: State
    found: str
    remedy: str = ""
    """A command, or what to do; empty where nothing is needed."""


def main(arguments: Sequence[str]) -> int:
    """Print the checks; 1 where something is broken without which nothing can be trained."""
    asked = parsed(Doctor, "doctor", arguments)
    if asked.clean:
        freed = sum(map(_removed, kept_folders()))
        told = {"folder": str(machine.user_cache()), "freed": freed}
        text = f"{machine.user_cache()}: {size(freed)} removed" if freed else "nothing is kept"
        print(json.dumps(told) if asked.json else text)
        return 0
    results = checks()
    if asked.json:
        print(json.dumps([asdict(check) for check in results], indent=1))
    else:
        width = max(len(check.name) for check in results)
        for check in results:
            print(f"{MARKS[check.state]}  {check.name:{width}}  {check.found}")
            if check.remedy:
                print(f"    {'':{width}}  -> {check.remedy}")
    return 1 if any(check.state == "broken" for check in results) else 0


def checks() -> list[Check]:
    """The results of all checks, none of which raises."""
    results = [_program(), _name(), _machine(), _memory(), _torch()]
    kernels = _kernels()
    results.append(kernels)
    if kernels.state == "good" and results[-2].state == "good":
        results.append(_speed())
    return [
        *results,
        *_cuda(),
        _lpips(),
        _viewer(),
        _prep(),
        _sound(),
        _tensorboard(),
        _opencv(),
        _video(),
        _extras(),
        _disk(),
        _cache(),
    ]


def _program() -> Check:
    python = f"Python {platform.python_version()} ({sys.executable})"
    return Check("splat", "good", f"{__version__}, {python}")


def _name() -> Check:
    """Whether `import splat` and the command are ours: others are called so, too."""
    import splat

    others = beside(splat.__file__)
    if others:
        return Check("name", "missing", sentence(others))
    away = [name for name in OTHERS if _is_installed(name)]
    if away:
        text = f"{' and '.join(away)} is installed elsewhere; `import splat` is ours from here"
        return Check("name", "missing", text, "keep the two in environments of their own")
    command = shutil.which("splat")
    scripts = Path(sysconfig.get_path("scripts"))
    if command is None:
        text = f"the command `splat` is in {scripts}, which is not on PATH"
        return Check("name", "missing", text, "python -m splat does the same")
    if not _is_ours(Path(command)):
        text = f"the command `splat` is {command}, which is another program's"
        return Check("name", "missing", text, f"use {scripts / 'splat'}, or python -m splat")
    return Check("name", "good", f"`import splat` and the command `splat` ({command}) are ours")


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _is_ours(command: Path) -> bool:
    """Whether a command names our entry point, as the scripts do that installers write."""
    try:
        return b"splat.cli" in command.read_bytes()
    except OSError:
        return False


def _machine() -> Check:
    return Check(
        "processor",
        "good",
        f"{machine.processor()}, {machine.cores()} cores to use, {platform.system()}"
        f" {platform.machine()}",
    )


def _memory() -> Check:
    memory = machine.memory()
    if memory is None:
        return Check("memory", "good", "this system does not say")
    return Check("memory", "good", f"{memory[1] / 1e9:.1f} of {memory[0] / 1e9:.1f} GB free")


def _torch() -> Check:
    try:
        import torch
    except Exception as error:
        return Check("torch", "broken", f"cannot be imported ({error})", "pip install torch")
    return Check("torch", "good", torch.__version__)


def _kernels() -> Check:
    try:
        from splat import kernels
    except Exception as error:
        return Check(
            "CPU kernels",
            "broken",
            f"cannot be imported ({error})",
            f"pip install --force-reinstall --no-deps {OURS}, or `pip install .` in its"
            " source folder",
        )
    others = [name for name in kernels.isas() if name != kernels.isa()]
    also = f" ({', '.join(others)} can run too)" if others else ""
    return Check("CPU kernels", "good", f"{kernels.isa()}{also}, {kernels.threads()} threads")


def _speed() -> Check:
    """A step on a picture of 512 x 512 pixels with 20,000 Gaussians, and what that means."""
    import torch

    from splat import kernels

    kernels.set_threads(machine.cores())
    took = step_milliseconds()
    predicted = step_seconds(torch.device("cpu"), 512 * 512, 20_000) * 1e3
    remember_factor(took / predicted)
    text = f"{took:.1f} ms for a step of 512x512 pixels and 20,000 Gaussians"
    if took > 2.5 * predicted:
        return Check(
            "speed",
            "good",
            f"{text}; {predicted:.1f} would be usual, and times are predicted accordingly",
            "is something else running?",
        )
    return Check("speed", "good", text)


def step_milliseconds() -> float:
    """The fastest of some steps: draw, loss, backward, all through the public functions."""
    import torch

    from splat.kernels import photometric, rasterize

    draw = torch.Generator().manual_seed(0)
    n, side = 20_000, 512
    means = torch.rand(n, 3, generator=draw) * 2 - 1 + torch.tensor([0.0, 0.0, 3.0])
    quats = torch.randn(n, 4, generator=draw)
    scales, opacities = torch.full((n, 3), 0.015), torch.full((n,), 0.5)
    sh = torch.randn(n, 16, 3, generator=draw) * 0.2
    rows = (means, quats, scales, opacities, sh)
    pose = torch.eye(4)
    K = torch.tensor([[1.2 * side, 0, side / 2], [0, 1.2 * side, side / 2], [0, 0, 1]])
    truth = torch.full((side, side, 3), 128, dtype=torch.uint8)
    fastest = float("inf")
    for _ in range(8):
        for row in rows:
            row.requires_grad_(True).grad = None
        start = time.perf_counter()
        image, _, _, _ = rasterize(
            means, quats, scales, opacities, sh, pose, K, side, side, sh_degree=3
        )
        photometric(image, truth).backward()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest * 1e3


def _cuda() -> list[Check]:
    try:
        import torch

        from splat.render import available
    except Exception:
        return []  # what is broken is said above
    lack = available.of_cuda()
    if lack is not None:
        return [Check("CUDA", "missing", f"{lack.found}; training runs on the CPU", lack.remedy)]
    name = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    kernels = available.first(available.of_kernels, available.of_running)
    gsplat = available.of_gsplat()
    return [
        Check("CUDA", "good", name),
        Check("CUDA kernels", "good", "built, and run")
        if kernels is None
        else Check("CUDA kernels", "missing", kernels.found, kernels.remedy),
        Check("gsplat", "good", available.gsplat_version())
        if gsplat is None
        else Check(
            "gsplat", "missing", f"{gsplat.found}; only --renderer gsplat needs it", gsplat.remedy
        ),
    ]


def _lpips() -> Check:
    try:
        from splat.evaluation.lpips import INSTALL, find_weights
    except Exception as error:
        return Check("LPIPS", "missing", f"cannot be imported ({error})")
    nets = [net for net in ("alex", "vgg") if find_weights(net)]
    if nets:
        return Check("LPIPS", "good", f"weights of {' and '.join(nets)}")
    return Check("LPIPS", "missing", "no weights; metrics come without it", INSTALL)


def _viewer() -> Check:
    if find_spec("viser"):
        return Check("viewer", "good", f"viser {metadata.version('viser')}")
    install = f"pip install '{OURS}[viewer]'"
    return Check("viewer", "missing", "viser is not installed; watching a run needs it", install)


def _prep() -> Check:
    install = f"pip install '{OURS}[prep]'"
    if not find_spec("pycolmap"):
        text = "pycolmap is not installed; only `splat prep` needs it"
        return Check("prep", "missing", text, install)
    version = f"pycolmap {metadata.version('pycolmap')}"
    if not find_spec("pillow_heif"):
        return Check("prep", "missing", f"{version}; HEIC photos cannot be read", install)
    return Check("prep", "good", f"{version}, pillow-heif {metadata.version('pillow-heif')}")


def _sound() -> Check:
    install = f"pip install '{OURS}[sound]'"
    if not find_spec("soundfile"):
        return Check("sound", "missing", "soundfile is not installed; hearing needs it", install)
    return Check("sound", "good", f"soundfile {metadata.version('soundfile')}")


def _tensorboard() -> Check:
    if find_spec("tensorboard"):
        return Check("TensorBoard", "good", metadata.version("tensorboard"))
    install = f"pip install '{OURS}[tensorboard]'"
    return Check("TensorBoard", "missing", "not installed; only --tensorboard needs it", install)


def _opencv() -> Check:
    try:
        import cv2
    except Exception as error:
        return Check(
            "OpenCV",
            "broken",
            f"cannot be imported ({error})",
            "pip uninstall opencv-python; pip install --force-reinstall opencv-python-headless",
        )
    ffmpeg = "FFMPEG" in cv2.getBuildInformation().replace("FFMPEG:                      NO", "")
    text = "" if ffmpeg else ", without FFMPEG: prep reads photos only, no videos"
    return Check("OpenCV", "good" if ffmpeg else "missing", cv2.__version__ + text)


def _video() -> Check:
    from splat.render import video

    if not find_spec("av"):
        text = "PyAV is not installed; only .mp4 and .webm need it"
        return Check("video", "missing", text, video.INSTALL)
    try:
        av = video.library()
        codec = video.encoder(av, ".mp4")[0]
    except Exception as error:
        return Check("video", "missing", str(error), video.INSTALL)
    return Check("video", "good", f"PyAV {av.__version__}, which codes by {codec}")


def _extras() -> Check:
    """What extras take, those that are here first."""
    installed = {name for name in EXTRAS if _has_extra(name)}
    listed = sorted(EXTRAS, key=lambda name: (name not in installed, EXTRAS[name]))
    told = ", ".join(f"{name} {EXTRAS[name]}" + "*" * (name in installed) for name in listed)
    text = f"MB that each adds on disk (* is installed): {told}"
    return Check("extras", "good", text, f"pip install '{OURS}[viewer,prep]', for example")


def _has_extra(extra: str) -> bool:
    """Whether all packages that an extra names are installed."""
    try:
        lines = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return False
    named = [line for line in lines if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    packages = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in named]
    return bool(packages) and all(package == OURS or _is_installed(package) for package in packages)


def _disk() -> Check:
    usage = shutil.disk_usage(Path.cwd())
    text = f"{usage.free / 1e9:.1f} GB free in {Path.cwd()}"
    if usage.free < 1e9:
        return Check("disk", "missing", text, "a run takes some 100 MB; free some space")
    return Check("disk", "good", text)


def _cache() -> Check:
    kept = sum(map(_bytes_below, kept_folders()))
    text = f"{size(kept)} in {machine.user_cache()}: the built-in scene, decoded photos"
    return Check("cache", "good", text if kept else "nothing is kept in the user's cache")


def kept_folders() -> list[Path]:
    """What is ours in the user's cache; another program of the name `splat` may have its own."""
    folder = machine.user_cache()
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    ours = [path for path in found if path.is_dir() and _OURS.fullmatch(path.name)]
    return ours + [path for path in (speed_file(),) if path.is_file()]


def _bytes_below(folder: Path) -> int:
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _removed(folder: Path) -> int:
    """Remove a folder, or a file; the bytes that it took."""
    freed = _bytes_below(folder)
    if folder.is_file():
        folder.unlink()
    else:
        shutil.rmtree(folder)
    return freed
