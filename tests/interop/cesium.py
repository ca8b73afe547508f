"""A tileset in CesiumJS, in Chromium: what it loads, and a picture of it.

    pip install playwright            # a Chromium of the system is taken
    npm install cesium                # in a folder of your own
    splat export run/ -o tiles/tileset.json
    python tests/interop/cesium.py tiles/tileset.json node_modules/cesium shots

It fails where CesiumJS reports an error, or draws none of the Gaussians. Nothing is asked of the
network; `shots/cesium.png` is to be looked at. Without a graphics card it takes a minute or two.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGE = """<!doctype html><html><head><meta charset="utf-8">
<script src="/cesium/Build/Cesium/Cesium.js"></script>
<link rel="stylesheet" href="/cesium/Build/Cesium/Widgets/widgets.css">
<style>html, body, #c { width: 100%; height: 100%; margin: 0 }</style></head>
<body><div id="c"></div>
<script>
window.CESIUM_BASE_URL = "/cesium/Build/Cesium/";
window.errors = [];
const scene = new Cesium.Viewer("c", {
  baseLayer: false, baseLayerPicker: false, geocoder: false, animation: false, timeline: false,
  homeButton: false, sceneModePicker: false, navigationHelpButton: false, globe: false,
  skyBox: false, skyAtmosphere: false, infoBox: false, selectionIndicator: false,
});
scene.scene.backgroundColor = Cesium.Color.DARKSLATEGRAY;
Cesium.Cesium3DTileset.fromUrl("/tiles/NAME", { maximumScreenSpaceError: ERROR }).then(tileset => {
  window.tileset = scene.scene.primitives.add(tileset);
  tileset.tileFailed.addEventListener(e => errors.push(String(e.message)));
  scene.camera.viewBoundingSphere(tileset.boundingSphere, new Cesium.HeadingPitchRange(0.5, -0.3,
    0.6 * tileset.boundingSphere.radius));
  scene.camera.lookAtTransform(Cesium.Matrix4.IDENTITY);
}).catch(e => errors.push(String(e)));
scene.scene.renderError.addEventListener((s, e) => errors.push(String(e)));
</script></body></html>"""


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves the folders of the tileset and of CesiumJS, and the page."""

    def __init__(self, *given: object, tiles: Path, cesium: Path, page: str, **more: object):
        self.tiles, self.cesium, self.page = tiles, cesium, page
        super().__init__(*given, **more)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        for name, folder in (("/tiles/", self.tiles), ("/cesium/", self.cesium)):
            if path.startswith(name):
                return str(folder / path[len(name) :].split("?")[0])
        return "/nothing"

    def do_GET(self) -> None:
        if self.path != "/":
            return super().do_GET()
        data = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *given: object) -> None:
        pass


def main(document: Path, cesium: Path, out: Path) -> int:
    """The exit code."""
    page_text = PAGE.replace("NAME", document.name).replace("ERROR", "16")
    handler = functools.partial(
        Files, tiles=document.parent.resolve(), cesium=cesium.resolve(), page=page_text
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    arguments = [
        "--no-sandbox",
        "--use-gl=angle",
        "--use-angle=swiftshader",
        "--ignore-gpu-blocklist",
    ]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 800, "height": 500})
        page.on("pageerror", lambda e: print("page:", e))
        page.on("console", lambda m: print("console:", m.text[:300]))
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        found = ""
        for _ in range(60):
            page.wait_for_timeout(2000)
            found = page.evaluate(
                "JSON.stringify([errors, window.tileset?.tilesLoaded,"
                " window.tileset?.gaussianSplatPrimitive?._numSplats,"
                " window.tileset?.statistics.numberOfTilesWithContentReady])"
            )
            errors, loaded, count, tiles = page.evaluate(f"({found})")
            if errors or (loaded and count):
                break
        page.wait_for_timeout(6000)
        page.screenshot(path=str(out / "cesium.png"))
        browser.close()
    print(f"{count} Gaussians of {tiles} tiles; errors: {errors}")
    return int(bool(errors) or not count)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
