"""The page: it stands alone, holds what was written, and cannot be broken by a name."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from formats import some

from splat import formats
from splat.formats import html, spz
from splat.formats.settings import Settings
from splat.math import ALWAYS
from splat.types import Camera, Drawing, Gaussians, Motion

SCRIPT = "</script><script>alert(1)</script><!-- \"'&{{payload}}"


class Parsed(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append("")
        self.open = True

    def handle_endtag(self, tag: str) -> None:
        self.open = False

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[-1] += data

    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def text_of(self, name: str) -> str:
        """Of the element with this id, or of this kind."""
        places = [
            i for i, (tag, given) in enumerate(self.elements) if name in (tag, given.get("id"))
        ]
        return self.texts[places[0]]

    def scene(self) -> Any:
        return json.loads(self.text_of("scene"))


def camera(eye: list[float], forward: list[float], down: list[float]) -> Camera:
    place, ahead, below = torch.tensor([eye, forward, down], dtype=torch.float32)
    pose = torch.eye(4)
    pose[:3, :3] = torch.stack([torch.linalg.cross(below, ahead), below, ahead])
    pose[:3, 3] = -pose[:3, :3] @ place
    return Camera(pose, torch.tensor([[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]), 64, 48)


def same(found: Gaussians, expected: Gaussians) -> None:
    for name in ("means", "quats", "scales", "opacities", "colors"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)
    assert found.sh_degree == expected.sh_degree


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_a_page_holds_the_very_file_that_spz_writes(tmp_path: Path, degree: int) -> None:
    gaussians, drawing = some(degree=degree), Drawing(antialiased=True)
    formats.write(gaussians, tmp_path / "a.html", drawing=drawing)
    formats.write(gaussians, tmp_path / "a.spz", drawing=drawing)
    page = Parsed((tmp_path / "a.html").read_text())
    assert base64.b64decode(page.text_of("payload")) == (tmp_path / "a.spz").read_bytes()
    same(formats.read(tmp_path / "a.html"), formats.read(tmp_path / "a.spz"))
    assert page.text_of("title") == page.text_of("h1") == "a"
    assert page.scene() == {"name": "a", "near": None, "background": None}


def test_settings_of_harmonics_apply_and_those_that_the_page_cannot_read_do_not(
    tmp_path: Path,
) -> None:
    gaussians = some()
    formats.write(gaussians, tmp_path / "a.html", settings=Settings(4, "rub", (8, 8)))
    formats.write(gaussians, tmp_path / "a.spz", settings=Settings(3, "ply", (8, 8)))
    same(formats.read(tmp_path / "a.html"), formats.read(tmp_path / "a.spz"))
    fitted = formats.quantiser(".html", gaussians, Settings(4, "rub", (8, 8)))
    same(fitted(gaussians), spz.quantiser(gaussians, Settings(3, "ply", (8, 8)))(gaussians))


def test_nothing_is_loaded(tmp_path: Path) -> None:
    text = html.page(b"scene", "a name")
    assert "http://" not in text and "https://" not in text and "//cdn" not in text
    assert not re.search(
        r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|importScripts|import)\b", text
    )
    for _, given in Parsed(text).elements:
        assert "src" not in given
        assert (given.get("href") or "data:").startswith("data:")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None and policy[1].startswith("default-src 'none';")


def test_every_part_is_in_the_page_and_the_code_is_small() -> None:
    text = html.page(b"", "a name")
    folder = files("splat.viewer").joinpath("page")
    parts = [part for part in folder.iterdir() if part.name != "page.html"]
    assert len(parts) > 10
    for part in parts:
        content = part.read_text(encoding="utf-8")
        assert content in text
        # Either would end the element that holds a script, or keep it open.
        assert "</script" not in content and "<!--" not in content
    assert len(text.encode()) < 100_000
    assert "{{" not in text


def test_no_name_breaks_out_of_its_place() -> None:
    plain, broken = Parsed(html.page(b"x", "name")), Parsed(html.page(b"x", SCRIPT))
    assert broken.tags() == plain.tags()
    assert broken.text_of("title") == broken.text_of("h1") == broken.scene()["name"] == SCRIPT
    assert broken.text_of("payload") == plain.text_of("payload")


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "\udcff é {{title}} <b>.html"
    formats.write(some(5), path)
    assert len(formats.read(path)) == 5
    assert Parsed(path.read_text()).scene()["name"] == "? é {{title}} <b>"


def test_what_is_behind_it_is_told(tmp_path: Path) -> None:
    formats.write(some(), tmp_path / "a.html", settings=Settings(page_background="#ff8000"))
    scene = Parsed((tmp_path / "a.html").read_text()).scene()
    assert scene["background"] == pytest.approx([1.0, 128 / 255, 0.0])
    with pytest.raises(ValueError, match="background is 'grey'"):
        formats.write(some(), tmp_path / "b.html", settings=Settings(page_background="grey"))
    assert not (tmp_path / "b.html").exists()


def test_it_starts_at_the_first_camera_with_their_mean_up() -> None:
    # Both look at (0, 0, 5), from the front and from the right; one leans to a side.
    cameras = [
        camera([0, 0, 0], [0, 0, 1], [0, 1, 0]),
        camera([5, 0, 5], [-1, 0, 0], [0, 0.8, 0.6]),
    ]
    scene = Parsed(html.page(b"", "a", cameras)).scene()
    assert scene["start"]["world_to_camera"] == cameras[0].world_to_camera.tolist()
    assert scene["start"]["K"] == cameras[0].K.tolist()
    assert (scene["start"]["width"], scene["start"]["height"]) == (64, 48)
    up = torch.tensor([0, -3, -1]) / 10**0.5
    torch.testing.assert_close(torch.tensor(scene["up"]), up)
    assert torch.dist(torch.tensor(scene["pivot"]), torch.tensor([0.0, 0, 5])) < 0.1
    # The farther of the two stands five units away from it.
    assert scene["reach"] == pytest.approx(5, abs=0.1)


def test_cameras_that_look_outwards_have_no_common_point() -> None:
    down = [0.0, 1, 0]
    around = ([0.0, 0, 1], [1.0, 0, 0], [0.0, 0, -1], [-1.0, 0, 0])
    cameras = [camera(forward, forward, down) for forward in around]
    scene = Parsed(html.page(b"", "a", cameras)).scene()
    assert scene["pivot"] is None and scene["reach"] is None


def test_cameras_are_written(tmp_path: Path) -> None:
    first = camera([0, 0, -3], [0, 0, 1], [0, 1, 0])
    html.write(some(5), tmp_path / "a.html", cameras=[first])
    page = Parsed((tmp_path / "a.html").read_text())
    assert page.scene()["start"]["world_to_camera"] == first.world_to_camera.tolist()


@pytest.mark.parametrize("degree", [0, 3])
def test_size_is_never_less_than_what_is_written(tmp_path: Path, degree: int) -> None:
    settings = Settings(spz_sh_bits=(8, 8))
    path = tmp_path / f"{'<' * 230}.html"
    formats.write(some(3000, degree), path, drawing=Drawing(near=-0.1 / 3), settings=settings)
    most = formats.size_of(3000, degree, ".html", settings)
    assert path.stat().st_size <= most < 1.6 * path.stat().st_size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:20_000], "holds no scene"),
        (lambda text: "<p>Hello</p>", "holds no scene"),
        (lambda text: "", "holds no scene"),
        (lambda text: text[: text.index('id="payload">') + 300], "is cut off within its scene"),
        (lambda text: text.replace('id="payload">', 'id="payload">*'), "no base64"),
        (lambda text: re.sub('id="payload">[^<]+', 'id="payload">', text), "fetch or export"),
        (
            lambda text: re.sub('id="payload">[^<]+', 'id="payload">H4sIAAAA', text),
            "fetch or export",
        ),
    ],
)
def test_broken_pages_are_named(tmp_path: Path, change: Any, said: str) -> None:
    formats.write(some(5), tmp_path / "good.html")
    bad = tmp_path / "bad.html"
    bad.write_text(change((tmp_path / "good.html").read_text()))
    for look in (formats.read, formats.drawing):
        with pytest.raises(ValueError, match=said) as error:
            look(bad)
        assert str(bad) in str(error.value) and "\n" not in str(error.value)
        assert "scene.spz" not in str(error.value)


@pytest.mark.parametrize(
    "scene", ["", "[]", "{", '{"near": "far"}', '{"near": 1e999}', '{"near": ' + "9" * 400 + "}"]
)
def test_a_broken_description_is_named_or_passed_over(tmp_path: Path, scene: str) -> None:
    formats.write(some(5), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    (tmp_path / "a.html").write_text(re.sub('id="scene">[^<]+', f'id="scene">{scene}', text))
    if scene.startswith('{"'):
        assert formats.drawing(tmp_path / "a.html") == Drawing()
    else:
        with pytest.raises(ValueError, match=r"a\.html: what describes its scene"):
            formats.drawing(tmp_path / "a.html")


def moving(n: int = 40) -> Gaussians:
    draw = torch.Generator().manual_seed(3)
    values = torch.rand(n, 5, generator=draw)
    durations = 0.02 + values[:, 1]
    durations[:5] = ALWAYS
    return replace(
        some(n, 1), motion=Motion(values[:, 0] * 1.2 - 0.1, durations, 4 * values[:, 2:] - 2)
    )


def test_what_moves_is_in_the_page_and_read_back(tmp_path: Path) -> None:
    given = moving()
    formats.write(given, tmp_path / "a.html", settings=Settings(page_seconds=2.5))
    page = Parsed((tmp_path / "a.html").read_text())
    clip = page.scene()["clip"]
    assert clip["seconds"] == 2.5
    read = formats.read(tmp_path / "a.html")
    assert read.motion is not None and given.motion is not None
    order = spz.row_order(given, tmp_path / "a.spz")
    expected = given.take(order)
    assert expected.motion is not None
    torch.testing.assert_close(read.means, expected.means, rtol=0, atol=2e-4)
    torch.testing.assert_close(read.motion.time, expected.motion.time, rtol=0, atol=2e-5)
    lasting = expected.motion.duration >= ALWAYS
    assert torch.equal(read.motion.duration >= ALWAYS, lasting) and int(lasting.sum()) == 5
    torch.testing.assert_close(
        read.motion.duration[~lasting], expected.motion.duration[~lasting], rtol=1e-4, atol=0
    )
    velocity = expected.motion.velocity.where(~lasting[:, None], 0)
    torch.testing.assert_close(read.motion.velocity, velocity, rtol=0, atol=clip["fastest"] / 32767)
    still = Parsed(html.page(b"", "still")).scene()
    assert "clip" not in still


def test_the_order_of_rows_is_that_of_the_file(tmp_path: Path) -> None:
    given = moving(2000)
    given.means[7] = 3e5  # the others would be coarse if it was kept
    order = spz.row_order(given, tmp_path / "a.spz")
    formats.write(replace(given, motion=None), tmp_path / "a.spz")
    torch.testing.assert_close(
        formats.read(tmp_path / "a.spz").means, given.means[order], rtol=0, atol=2e-3
    )
    assert 7 not in order.tolist() and len(order) == 1999


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('id="motion">H4s', 'id="motion">H4x', 1),
        lambda text: re.sub(r'id="motion">[^<]+', 'id="motion">', text),
        lambda text: text.replace('"fastest": ', '"fastest": -', 1),
        lambda text: text.replace('"clip": {', '"clip": 3, "other": {', 1),
    ],
)
def test_a_broken_motion_is_named(tmp_path: Path, change: Any) -> None:
    formats.write(moving(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text()
    (tmp_path / "a.html").write_text(change(text))
    assert (tmp_path / "a.html").read_text() != text
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "a.html"))):
        formats.read(tmp_path / "a.html")
