"""The pictures of docs/guide/viewer.md: the built-in scene, seen in a browser while it trains.

    python bench/viewer_pictures.py docs/guide/

needs Playwright (`pip install playwright`) and Chromium. Writes viewer.png and viewer-modes.png.
`--slower 4` waits four times as long for pictures, on a machine that is busy.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

FLAGS = (
    "--no-sandbox --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
    " --ignore-gpu-blocklist"
).split()
MODES = ("depth", "normals", "error", "heatmap", "events", "photo")
PORT = 8765
TILE = (480, 320)
SOME_WAY = 3500
"""Step from which on pictures are taken."""


def main() -> None:
    """Train, look, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slower", type=float, default=1.0)
    asked = parser.parse_args()
    out, slower = asked.out, asked.slower
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    with tempfile.TemporaryDirectory() as folder:
        command = ["splat", "demo", "--out", f"{folder}/run", "--viewer", "--port", str(PORT)]
        run = subprocess.Popen([*command, "--steps", "6000"], stdout=sys.stderr)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                page = opened(browser)
                whole(page, out / "viewer.png", slower)
                modes(page, out / "viewer-modes.png", slower)
                browser.close()
        finally:
            run.kill()
            run.wait()


def opened(browser: Any) -> Any:
    """The page, once the run has come some way."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    for _ in range(120):
        try:
            page.goto(f"http://localhost:{PORT}")
            break
        except Exception:
            time.sleep(1)
    page.get_by_role("tab", name="View").wait_for(timeout=60_000)
    page.set_default_timeout(120_000)
    page.get_by_role("tab", name="Training").click()
    while step_of(page) < SOME_WAY:
        time.sleep(2)
    for note in page.get_by_role("alert").all():  # that WebGL runs in software
        note.get_by_role("button").first.click()
    page.get_by_role("tab", name="View").click()
    time.sleep(5)
    return page


def step_of(page: Any) -> int:
    """The step that the run is at."""
    text = page.get_by_text(re.compile(r"^Step [\d,]+ of")).first.inner_text()
    return int(re.findall(r"[\d,]+", text)[0].replace(",", ""))


def whole(page: Any, path: Path, slower: float) -> None:
    """Picture, cameras, the training tab."""
    page.get_by_role("tab", name="Scene").click()
    page.get_by_text("Show, by PSNR").locator("xpath=ancestor::*[.//input][1]//input").click()
    page.mouse.move(400, 500)
    page.mouse.wheel(0, 500)
    time.sleep(3 * slower)
    page.get_by_role("tab", name="Training").click()
    time.sleep(8 * slower)
    page.screenshot(path=path)
    page.get_by_role("tab", name="Scene").click()
    page.get_by_text("Show, by PSNR").locator("xpath=ancestor::*[.//input][1]//input").click()
    page.mouse.move(400, 500)
    page.mouse.wheel(0, -500)


def modes(page: Any, path: Path, slower: float) -> None:
    """A tile for each mode, with its panel."""
    page.set_viewport_size({"width": 960, "height": 640})
    page.get_by_role("tab", name="View").click()
    tiles = []
    for mode in MODES:
        field = page.get_by_text("Show", exact=True)
        field.locator("xpath=ancestor::*[.//input][1]//input[not(@type='hidden')]").first.click()
        page.get_by_role("option", name=mode, exact=True).click()
        if mode == "heatmap":
            of = page.get_by_text("Of", exact=True)
            of.locator("xpath=ancestor::*[.//input][1]//input[not(@type='hidden')]").first.click()
            page.get_by_role("option", name="significance", exact=True).click()
            page.get_by_text("Logarithmic").locator(
                "xpath=ancestor::*[.//input][1]//input"
            ).first.click()
            time.sleep(12 * slower)
        time.sleep(4 * slower)
        shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
        assert shot is not None
        tiles.append(cv2.resize(shot, TILE, interpolation=cv2.INTER_AREA))
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    cv2.imwrite(str(path), np.vstack(rows))


if __name__ == "__main__":
    main()
