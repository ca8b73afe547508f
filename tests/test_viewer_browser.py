"""The live viewer in a real browser, on runs that really train: headless Chromium by Playwright."""

from __future__ import annotations

import base64
import math
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from formats import some

pytest.importorskip("viser")
sync_api = pytest.importorskip("playwright.sync_api")

import splat  # noqa: E402
from splat import api, formats  # noqa: E402
from splat.core.frame import gaussians_from_frame  # noqa: E402
from splat.export.receipt import draw  # noqa: E402
from splat.options import Options, Viewing, Watching  # noqa: E402
from splat.render.video import write_png  # noqa: E402
from splat.strategies.mcmc import Mcmc  # noqa: E402
from splat.types import Camera, Gaussians, Motion  # noqa: E402
from splat.viewer import opening  # noqa: E402
from splat.viewer.live import LiveViewer  # noqa: E402

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FLAGS = (
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync"
    " --disable-component-update --use-gl=angle --use-angle=swiftshader"
    " --enable-unsafe-swiftshader --ignore-gpu-blocklist"
).split()
WIDTH, HEIGHT = 720, 420
CLEAR = (slice(200, HEIGHT - 4), slice(4, 312))
"""Rows and columns of the page that no panel and no message covers."""
PATIENCE = 20.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]


class Trainer:
    """A run that trains on a thread until it is told to end, and its viewer."""

    def __init__(self, folder: Path, out: Path | None, **options: Any) -> None:
        self.viewer: LiveViewer | None = None
        self.result: api.Result | None = None
        self.error: BaseException | None = None
        self._there = threading.Event()
        self._end = threading.Event()

        def watch(run: Any, *_: Any) -> None:
            if self._end.is_set():
                run.ended = "the test is over"

        def work() -> None:
            try:
                self.result = api.train(
                    splat.load(folder),
                    Mcmc(cap=700),
                    Options(steps=200_000, device="cpu", threads=2, resolution="full", **options),
                    out=out,
                    watching=Watching(quiet=True, pictures=False, checkpoint_every=10**6),
                    watchers=[watch],
                    lpips=None,
                    viewing=Viewing(viewer=True, port=0, snapshots=200),
                )
            except BaseException as error:
                self.error = error
            finally:
                self._there.set()

        real = opening.open_viewer

        def opened(*arguments: Any) -> LiveViewer:
            self.viewer = real(*arguments)
            self._there.set()
            return self.viewer

        self._thread = threading.Thread(target=work)
        opening.open_viewer = opened
        try:
            self._thread.start()
            assert self._there.wait(60) and self.viewer is not None, self.error
        finally:
            opening.open_viewer = real

    @property
    def live(self) -> LiveViewer:
        assert self.viewer is not None
        return self.viewer

    @property
    def step(self) -> int:
        return self.live.run.step

    def end(self) -> None:
        """End the run and let nobody stay."""
        self._end.set()
        self.live.stage.wish(lambda: self.live.pause(False))
        while self._thread.is_alive():
            self.live.stage.guests.clear()
            self._thread.join(0.1)
        assert self.error is None, self.error


@contextmanager
def training(folder: Path, out: Path | None = None, **options: Any) -> Iterator[Trainer]:
    trainer = Trainer(folder, out, **options)
    try:
        yield trainer
    finally:
        trainer.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@contextmanager
def visit(browser: Any, url: str) -> Iterator[Any]:
    """A page of the viewer, with its first full picture there."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(url)
    page.get_by_role("tab", name="View").wait_for(timeout=1000 * PATIENCE)
    page.get_by_text(re.compile("Gaussians, ")).first.wait_for(timeout=1000 * PATIENCE)
    try:
        yield page
    finally:
        with suppress(Exception):
            page.close()


def seen(page: Any) -> np.ndarray:
    """What the page shows, where nothing covers the picture; RGB."""
    data = np.frombuffer(page.screenshot(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[CLEAR][..., ::-1].astype(np.float64)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return -10 * math.log10(max(1e-10, ((one - other) / 255).__pow__(2).mean()))


def until(condition: Callable[[], bool], page: Any, seconds: float = PATIENCE) -> bool:
    """Whether something comes true in time; the page lives on meanwhile."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        page.wait_for_timeout(50)
    return True


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def field(page: Any, label: str) -> Any:
    """The input beside a label of the panel."""
    beside = "xpath=ancestor::*[.//input][1]//input[not(@type='hidden')]"
    return page.get_by_text(label, exact=True).locator(beside).first


def choose(page: Any, label: str, value: str) -> None:
    """Choose from a dropdown."""
    field(page, label).click()
    page.get_by_role("option", name=value, exact=True).first.click()


def enter(page: Any, label: str, value: str) -> None:
    """Write a number."""
    field(page, label).fill(value)
    field(page, label).press("Enter")


def shown_step(page: Any) -> int:
    text = page.get_by_text(re.compile(r"^Step [\d,]+ of")).first.inner_text()
    return int(re.search(r"[\d,]+", text)[0].replace(",", ""))  # type: ignore[index]


def own_picture(trainer: Trainer, tmp_path: Path) -> np.ndarray:
    """What the renderer itself draws for the visitor, written as PNG and read again."""
    live = trainer.live
    (guest,) = live.stage.guests.values()
    camera, done = guest.camera(WIDTH, HEIGHT), threading.Event()

    def write_own() -> None:
        image = draw(live.source.gaussians(camera), camera, live.run.shown, live.run.background)
        write_png(image.detach(), tmp_path / "own.png")
        done.set()

    live.stage.wish(write_own)  # that thread alone touches the run's tensors
    assert done.wait(PATIENCE)
    found = cv2.imread(str(tmp_path / "own.png"), cv2.IMREAD_COLOR)
    return found[CLEAR][..., ::-1].astype(np.float64)


def test_it_shows_what_trains_and_pause_step_and_export_do_what_they_say(
    tiny_folder: Path, browser: Any, tmp_path: Path
) -> None:
    """One run, as somebody would watch it: look on, pause, compare with the renderer, step,
    change a number, go on, download."""
    with (
        training(tiny_folder, tmp_path / "run") as trainer,
        visit(browser, trainer.live.server.url) as page,
    ):
        first, began = seen(page), trainer.step
        assert until(lambda: trainer.step > began + 150, page)
        assert until(lambda: np.abs(seen(page) - first).mean() > 1, page), "the picture stands"

        tab(page, "Training")
        page.get_by_role("button", name="Pause").click()
        assert until(lambda: trainer.live.paused, page)
        page.wait_for_timeout(1200)
        paused = trainer.step
        assert until(lambda: shown_step(page) == paused, page)
        # The picture of a run that stands still is the renderer's own.
        assert until(lambda: psnr(seen(page), own_picture(trainer, tmp_path)) >= 35, page), psnr(
            seen(page), own_picture(trainer, tmp_path)
        )
        page.wait_for_timeout(700)
        assert trainer.step == shown_step(page) == paused
        page.get_by_role("button", name="One step").click()
        assert until(lambda: trainer.step == paused + 1, page)

        page.get_by_role("button", name="Save a checkpoint").click()
        saved = tmp_path / "run" / "checkpoints" / f"step_{paused + 1:08d}.pt"
        assert until(saved.is_file, page)

        page.get_by_text("Change", exact=True).click()
        choose(page, "What", "mcmc.cap")
        enter(page, "Value", "650")
        page.get_by_role("button", name="Apply from the next step on").click()
        assert until(lambda: bool(trainer.live.run.commands), page)
        (command,) = trainer.live.run.commands
        assert (command.step, command.name, command.value) == (paused + 1, "mcmc.cap", 650)

        page.get_by_text("Export", exact=True).click()
        choose(page, "Format", ".spz")
        with page.expect_download(timeout=1000 * PATIENCE) as coming:
            page.get_by_role("button", name="Download").click()
        coming.value.save_as(tmp_path / "got.spz")
        got = formats.read(tmp_path / "got.spz")
        own = gaussians_from_frame(trainer.live.run.baked(), trainer.live.run.frame)
        assert len(got) == len(own)
        assert float((got.means.sort(0).values - own.means.sort(0).values).abs().max()) < 0.01

        page.get_by_role("button", name="Go on").click()
        assert until(lambda: trainer.step > paused + 50, page)
    assert trainer.result is not None
    assert [c["name"] for c in trainer.result.metrics["commands"]] == ["mcmc.cap"]


def test_modes_two_visitors_a_wipe_and_the_timeline(
    tiny_folder: Path, browser: Any, tmp_path: Path
) -> None:
    with training(tiny_folder, tmp_path / "run") as trainer:
        url = trainer.live.server.url
        with visit(browser, url) as page, visit(browser, url) as other:
            assert until(lambda: trainer.step > 400, page)
            trainer.live.stage.wish(lambda: trainer.live.pause(True))
            assert until(lambda: trainer.live.paused, page)
            page.wait_for_timeout(1000)
            colour = seen(page)
            assert psnr(colour, seen(other)) > 35
            choose(page, "Show", "heatmap")
            page.wait_for_timeout(1000)
            assert np.abs(seen(page) - colour).mean() > 8, "the heatmap is the picture"
            for heat in ("significance", "age"):
                before = seen(page)
                choose(page, "Of", heat)
                assert until(lambda b=before: np.abs(seen(page) - b).mean() > 3, page), heat  # type: ignore[misc]
            for mode in ("depth", "normals", "error", "events"):
                before = seen(page)
                choose(page, "Show", mode)
                assert until(lambda b=before: np.abs(seen(page) - b).mean() > 3, page), mode  # type: ignore[misc]
            # The other visitor chose nothing of this, and still sees colours.
            assert psnr(colour, seen(other)) > 35

            tab(other, "Scene")
            other.get_by_role("button", name="next").click()
            assert until(lambda: psnr(colour, seen(other)) < 30, other)
            tab(other, "Compare")
            there = seen(other)
            enter(other, "Wipe", "0.1")  # what is on the right begins within the crop
            choose(other, "Hold against", "the run as it was")
            enter(other, "Snapshot", "0")
            assert until(lambda: np.abs(seen(other) - there).mean() > 3, other)
            at_first = seen(other)
            choose(other, "Hold against", "the nearest photo")
            assert until(lambda: np.abs(seen(other) - at_first).mean() > 3, other)


def test_who_vanishes_in_the_middle_of_a_drag_harms_nobody(tiny_folder: Path, browser: Any) -> None:
    with training(tiny_folder) as trainer:
        url = trainer.live.server.url
        with visit(browser, url) as stays:
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
            page = context.new_page()
            page.goto(url)
            page.get_by_role("tab", name="View").wait_for(timeout=1000 * PATIENCE)
            assert until(lambda: len(trainer.live.stage.guests) == 2, stays)
            page.mouse.move(150, 300)
            page.mouse.down()
            before = seen(page)
            for i in range(12):
                page.mouse.move(150 + 8 * i, 300)
                page.wait_for_timeout(20)
            assert until(lambda: np.abs(seen(page) - before).mean() > 2, page), "a drag turns"
            context.close()
            step = trainer.step
            assert until(lambda: len(trainer.live.stage.guests) == 1, stays)
            assert until(lambda: trainer.step > step + 100, stays)
            choose(stays, "Show", "depth")
            shown = seen(stays)
            assert until(lambda: np.abs(seen(stays) - shown).mean() > 2, stays)


def test_a_render_that_raises_is_a_message_and_training_goes_on(
    tiny_folder: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with training(tiny_folder) as trainer, visit(browser, trainer.live.server.url) as page:

        def broken(*_: Any) -> Any:
            raise RuntimeError("the brush is lost")

        monkeypatch.setattr(trainer.live.stage.easel, "picture", broken)
        page.get_by_text("RuntimeError: the brush is lost").wait_for(timeout=1000 * PATIENCE)
        monkeypatch.undo()
        step = trainer.step
        assert until(lambda: trainer.step > step + 100, page)
        before = seen(page)
        choose(page, "Show", "normals")
        assert until(lambda: np.abs(seen(page) - before).mean() > 5, page)


def test_an_exported_page_is_looked_into_from_outside(browser: Any, tmp_path: Path) -> None:
    """A red thing, and a green wall behind each of the four cameras round it."""
    turns = [math.pi / 2 * i for i in range(4)]
    cameras = [around(turn, 3.0) for turn in turns]
    places = [[0.0, 0, 0], *[[5 * math.sin(t), 0, -5 * math.cos(t)] for t in turns]]
    red, green = [1.0, 0, 0], [0.0, 1, 0]
    formats.write(
        Gaussians(
            means=torch.tensor(places),
            quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(5, 1),
            scales=torch.tensor([[0.3] * 3] + [[1.0] * 3] * 4),
            opacities=torch.full((5,), 0.99),
            colors=((torch.tensor([red, *[green] * 4]) - 0.5) / 0.28209479)[:, None],
            sh_degree=0,
        ),
        tmp_path / "a.html",
        cameras=cameras,
    )
    page = browser.new_page(viewport={"width": 200, "height": 160})
    page.goto((tmp_path / "a.html").as_uri())
    page.evaluate("splat.ready")

    def middle() -> list[int]:
        page.evaluate("splat.rest()")
        picture = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        return [int(value) for value in picture[80, 100, ::-1]]

    def red_is_seen() -> bool:
        seen_red, seen_green, _ = middle()
        return seen_red > 200 and seen_green < 60

    assert red_is_seen()
    page.mouse.move(100, 60)

    def outside() -> bool:  # turns that come while a busy browser is drawing are taken for one
        page.mouse.wheel(0, 700)
        page.evaluate("splat.rest()")
        # Not `wait_for_function`: the page's policy forbids to evaluate strings from within.
        return bool(page.evaluate("splat.camera().world_to_camera[2][3] > 8"))

    assert until(outside, page)
    assert red_is_seen()
    for _ in range(6):  # nobody gets lost: three times as far as the cameras stood is the end
        page.mouse.wheel(0, 700)
    page.evaluate("splat.rest()")
    assert 8 < page.evaluate("splat.camera().world_to_camera[2][3]") <= 9.01
    page.keyboard.press("f")  # whoever flies meets the wall
    assert until(lambda: not red_is_seen() and middle()[1] > 200, page)
    page.keyboard.press("f")
    assert until(red_is_seen, page)
    page.close()


def test_a_page_of_what_moves_shows_each_moment(browser: Any, tmp_path: Path) -> None:
    """As our own drawing of the file has it; the space bar plays it."""
    draw_ = torch.Generator().manual_seed(0)
    values = torch.rand(60, 9, generator=draw_)
    motion = Motion(values[:, 0], 0.05 + 0.3 * values[:, 1], 2 * values[:, 2:5] - 1)
    formats.write(
        Gaussians(
            means=2 * values[:, 5:8] - 1,
            quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(60, 1),
            scales=torch.full((60, 3), 0.15),
            opacities=torch.full((60,), 0.9),
            colors=(values[:, None, 3:6] - 0.5) / 0.28209479,
            sh_degree=0,
            motion=motion,
        ),
        tmp_path / "a.html",
        cameras=[around(0.0, 4.0)],
    )
    page = browser.new_page(viewport={"width": 300, "height": 240})
    page.goto((tmp_path / "a.html").as_uri())
    page.evaluate("splat.ready")
    file, camera = splat.read(tmp_path / "a.html"), around(0.3, 4.0)
    plain = {"world_to_camera": camera.world_to_camera.tolist(), "K": camera.K.tolist()}
    seen = []
    for moment in (0.25, 0.75):
        page.evaluate(f"splat.at({moment})")
        data = page.evaluate(
            """async (camera) => {
                await splat.look(camera);
                return document.getElementById('canvas').toDataURL();
            }""",
            {**plain, "width": camera.width, "height": camera.height},
        )
        raw = np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8)
        seen.append(cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1])
        own = file.render(replace(camera, time=moment)).numpy()
        assert psnr(seen[-1], 255 * own) > 40
    assert np.abs(seen[0].astype(float) - seen[1]).mean() > 3
    shown_moment = "Number(document.getElementById('moment').value)"
    page.keyboard.press("Space")
    assert until(lambda: page.evaluate(shown_moment) != 0.75, page)
    page.keyboard.press("Space")
    page.evaluate("splat.rest()")
    stands = page.evaluate(shown_moment)
    page.keyboard.press(".")
    page.evaluate("splat.rest()")
    assert page.evaluate(shown_moment) == pytest.approx(min(1, stands + 0.02), abs=2e-3)
    page.close()


def around(turn: float, away: float) -> Camera:
    """A camera that looks at the middle from so far away, on a level ring."""
    pose = torch.eye(4)
    ahead = torch.tensor([-math.sin(turn), 0.0, math.cos(turn)])
    down = torch.tensor([0.0, 1.0, 0.0])
    pose[:3, :3] = torch.stack([torch.linalg.cross(down, ahead), down, ahead])
    pose[2, 3] = away
    return Camera(pose, torch.tensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), 100, 80)


@contextmanager
def shown(file: Path) -> Iterator[str]:
    """The address at which `splat view` shows a file."""
    words = [sys.executable, "-m", "splat", "view", str(file), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if found := re.search(r"http://\S+", line):
                yield found[0]
                return
        raise AssertionError(said)
    finally:
        process.kill()
        process.wait()


def test_a_name_that_is_a_script_is_text_and_no_other_page_frames_it(
    browser: Any, tmp_path: Path
) -> None:
    """Also where one follows the link in the name that Markdown would make of it."""
    name = "<img src=x onerror=window.owned=1> [go](javascript:window.owned=1).ply"
    formats.write(some(50), tmp_path / name)
    (tmp_path / "site").mkdir()
    with shown(tmp_path / name) as url, visit(browser, url) as page:
        tab(page, "Run")
        page.get_by_text(name[:-4]).first.wait_for(timeout=1000 * PATIENCE)
        assert page.locator("img[src=x]").count() == page.locator("a", has_text="go").count() == 0
        assert page.evaluate("window.owned") is None

        other = browser.new_page()
        other.route("http://elsewhere.test/", lambda route: route.fulfill(
            body=f"<iframe src='{url}'></iframe>", content_type="text/html"
        ))  # fmt: skip
        other.goto("http://elsewhere.test/")
        (frame,) = other.main_frame.child_frames
        assert until(lambda: frame.url.startswith("chrome-error://"), other), frame.url
        other.close()
