"""What other people's viewers draw of our files beside our own drawing: where photos were taken,
nearer and farther.

    npm install three@0.187 @mkkellogg/gaussian-splats-3d@0.4.7 gsplat@1.2.9 @sparkjsdev/spark@2.2
    python bench/other_viewers.py runs/demo --packages node_modules --out shots --least 35

needs Playwright (`pip install playwright`) and Chromium, which draws on the CPU. Each run is
exported to a file that a program can show whole (`splat export`, with fewer bands of harmonics
where it knows no more) and opened in it. Looked at from cameras that were held out, and from the
same at other shares of their distance to what all cameras look at, it is compared with our drawing
of that file: what `splat view` and `splat render` show, on black. A second row is of the Gaussians
that the program itself draws, since each leaves those out whose centre lies farther beside the
picture than a border of its own; a third is of all, as figures are. Nothing is fetched: packages
are those in the folder given.

Prints a table, PSNR in dB, mean and least; OUT gets every picture, ours on the left. With
`--least`, the exit code says whether the means of what we show reach so many dB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import fmean
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import torch
from common import HERE, markdown, output_of
from jaxtyping import Float
from torch import Tensor

from splat import formats
from splat.cli.opened import cameras_of, held_out
from splat.core.frame import INPUT_FRAME, focus_point
from splat.evaluation.evaluate import psnr
from splat.evaluation.off_path import moved
from splat.export.receipt import draw
from splat.math import spread
from splat.render import drawing_as
from splat.types import Camera, Drawing, Gaussians

PAGES = HERE / "other_viewers"
FLAGS = (
    "--no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    " --ignore-gpu-blocklist --force-color-profile=srgb"
).split()
NEAR, FAR = 0.01, 1000.0
"""Depths from and up to which programs are told to draw, units of the input."""
PATIENCE = 120.0
"""Seconds after which a picture that still changes is an error."""


@dataclass(frozen=True)
class Program:
    """Somebody's viewer: a page `PAGES/<name>.js`."""

    packages: tuple[str, ...]
    ending: str
    """Of the file that it shows best."""
    degree: int
    """Highest degree of harmonics that it draws."""
    border: float
    """Up to how many half sides from the picture's middle it draws Gaussians, by their centre."""


PROGRAMS = {
    "spark": Program(("@sparkjsdev/spark", "three"), "ply", 3, 1.4),
    "gaussian-splats-3d": Program(("@mkkellogg/gaussian-splats-3d", "three"), "ply", 2, 1.2),
    "gsplat": Program(("gsplat", "three"), "splat", 0, 1.2),
}


class Files(SimpleHTTPRequestHandler):
    """Serves `/pages`, `/packages` and `/files` from their folders, and nothing else."""

    def __init__(self, *args: Any, folders: dict[str, Path], **kwargs: Any) -> None:
        self.folders = folders
        super().__init__(*args, **kwargs)

    def translate_path(self, path: str) -> str:
        """A path on disk, below one of the folders."""
        top, _, rest = unquote(path.partition("?")[0]).lstrip("/").partition("/")
        folder = self.folders.get(top, Path("/nowhere")).resolve()
        found = (folder / rest).resolve()
        return str(found if found.is_relative_to(folder) else folder / "nothing")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folders: dict[str, Path]) -> Iterator[str]:
    """The address of a server of these folders, on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, folders=folders))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def plain(camera: Camera) -> dict[str, Any]:
    """A camera as the pages take it; its principal point must be in the middle."""
    pose = torch.linalg.inv(camera.world_to_camera.double())
    return {
        "camera_to_world": pose.tolist(),
        "fx": float(camera.K[0, 0]),
        "fy": float(camera.K[1, 1]),
        "width": camera.width,
        "height": camera.height,
        "near": NEAR,
        "far": FAR,
    }


def sized(camera: Camera, longest: int) -> Camera:
    """A camera at most so many pixels long, the principal point in the middle."""
    share = min(1.0, longest / max(camera.width, camera.height))
    small = camera.resized(round(share * camera.width), round(share * camera.height))
    K = small.K.clone()
    K[0, 2], K[1, 2] = small.width / 2, small.height / 2
    return replace(small, K=K)


def views(
    run: Path, count: int, shares: Sequence[float], longest: int
) -> dict[float, list[Camera]]:
    """Cameras by their share of the distance to what all cameras of the run look at."""
    known = cameras_of(run / "cameras.json")
    focus, some = focus_point([camera for camera, _ in known]), held_out(known)
    chosen = [sized(some[i], longest) for i in spread(len(some), count)]
    return {share: [moved(camera, focus, share) for camera in chosen] for share in shares}


class Shown:
    """A file, opened in a program, on a page."""

    def __init__(
        self, browser: Any, address: str, name: str, file: str, camera: Camera, how: Drawing
    ) -> None:
        size = {"width": camera.width, "height": camera.height}
        self.page = browser.new_page(viewport=size, device_scale_factor=1)
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.goto(f"{address}/pages/page.html")
        self.page.wait_for_function("window.ready")
        given = [name, f"/files/{file}", plain(camera), how.antialiased]
        self.page.evaluate("(given) => window.show(...given)", given)

    def picture(self, camera: Camera) -> Float[Tensor, "h w 3"]:
        """What the program shows, once it does not change any more; RGB in [0, 1], on black."""
        given = [plain(camera), PATIENCE]
        url = self.page.evaluate("(given) => window.picture(...given)", given)
        data = np.frombuffer(b64decode(url.partition(",")[2]), np.uint8)
        bgra = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        assert bgra is not None
        values = torch.from_numpy(bgra).float() / 255
        return values[..., :3].flip(-1) * values[..., 3:]


def side_by_side(pictures: Sequence[Float[Tensor, "h w 3"]], path: Path) -> None:
    """Write pictures of one height in a row."""
    row = torch.cat(list(pictures), 1).mul(255).round().to(torch.uint8).numpy()
    cv2.imwrite(str(path), row[..., ::-1])


def exported(run: Path, program: Program, folder: Path) -> Path:
    """The file of a run that a program can show whole."""
    path = folder / f"{run.name}-{program.degree}.{program.ending}"
    if not path.is_file():
        options = ["--sh-degree", str(program.degree), "--device", "cpu", "--quiet"]
        output_of([sys.executable, "-m", "splat", "export", str(run), "-o", str(path), *options])
    return path


def missing(packages: Path, programs: Sequence[str]) -> None:
    """Stop where a package is not there, with the command that fetches it."""
    needed = dict.fromkeys(name for each in programs for name in PROGRAMS[each].packages)
    absent = [name for name in needed if not (packages / name / "package.json").is_file()]
    if absent:
        raise SystemExit(
            f"{packages} has no {', '.join(absent)}; fetch them with `npm install"
            f" {' '.join(absent)}` and give the node_modules folder that this makes as --packages"
        )


def main() -> int:
    """Print a table; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--packages", type=Path, required=True, help="a node_modules folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.6, 1.0, 1.2, 1.7])
    parser.add_argument("--longest", type=int, default=640, help="pixels of the longer side")
    parser.add_argument("--least", type=float, default=0.0, help="dB")
    asked = parser.parse_args()
    missing(asked.packages, asked.programs)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    from playwright.sync_api import sync_playwright

    asked.out.mkdir(parents=True, exist_ok=True)
    folders = {"pages": PAGES, "packages": asked.packages, "files": asked.out}
    rows, reached = [], True
    with served(folders) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for run in asked.runs:
            places = views(run, asked.views, asked.shares, asked.longest)
            for name in asked.programs:
                program = PROGRAMS[name]
                shown, own, whole = compared(browser, address, run, name, places, asked.out)
                reached &= all(fmean(each) >= asked.least for each in shown)
                file = f".{program.ending}, degree {program.degree}"
                rows.append([run.name, name, file, "as shown", *map(dB, shown)])
                rows.append(["", "", "", f"as it draws, to {program.border:g}", *map(dB, own)])
                rows.append(["", "", "", "all", *map(dB, whole)])
        browser.close()
    head = ["run", "program", "file", "we draw", *(f"at {share:g}" for share in asked.shares)]
    print(markdown(head, rows))
    return 0 if reached else 1


def dB(values: Sequence[float]) -> str:
    """Mean and least."""
    return f"{fmean(values):.1f} ({min(values):.1f})"


def within_border(gaussians: Gaussians, camera: Camera, border: float) -> Gaussians:
    """Those whose centre is projected at most `border` half sides from the picture's middle."""
    view = camera.world_to_camera
    seen = (gaussians.means @ view[:3, :3].T + view[:3, 3]) @ camera.K.T  # pixels times depth
    half = seen.new_tensor([camera.width, camera.height]) / 2
    depth = seen[:, 2:]
    inside = ((seen[:, :2] - half * depth).abs() <= border * half * depth).all(1)
    return gaussians.take(inside.nonzero()[:, 0])


def compared(
    browser: Any,
    address: str,
    run: Path,
    name: str,
    places: dict[float, list[Camera]],
    out: Path,
) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """PSNR of a program's pictures against what we show, dB, for each share a list by view; against
    the Gaussians within the program's border; and against all."""
    program = PROGRAMS[name]
    path = exported(run, program, out)
    gaussians, how = formats.read(path), formats.drawing(path)
    shown, whole = (
        drawing_as(how.plain, INPUT_FRAME, "cpu", beside=each) for each in (False, True)
    )
    program_page = Shown(browser, address, name, path.name, next(iter(places.values()))[0], how)
    against: tuple[list[list[float]], list[list[float]], list[list[float]]] = [], [], []
    for share, cameras in places.items():
        for values in against:
            values.append([])
        for number, camera in enumerate(cameras):
            theirs = program_page.picture(camera)
            ours = draw(gaussians, camera, shown, None)
            side_by_side((ours, theirs), out / f"{run.name}-{name}-{share:g}-{number}.png")
            within = draw(within_border(gaussians, camera, program.border), camera, whole, None)
            drawn = (ours, within, draw(gaussians, camera, whole, None))
            for values, each in zip(against, drawn, strict=True):
                values[-1].append(psnr(each, theirs))
    program_page.page.close()
    return against


if __name__ == "__main__":
    sys.exit(main())
