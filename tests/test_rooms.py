"""Who may use which third party, and what `import splat` may cost; floors are import-linter's."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import FrameType

from splat import api, loop
from splat.options import Options

HOUSE = Path(__file__).parent.parent
ONE_PLACE = {
    "gsplat": {"splat/render/available.py", "splat/render/gsplat.py"},
    "PIL": {
        "splat/formats/sog_container.py",
        "splat/formats/sog_table.py",
        "splat/photos/exif.py",
        "splat/photos/pictures.py",
        "splat/prep/photos.py",
        "splat/render/video.py",
    },
    "pillow_heif": {"splat/photos/exif.py"},
    "pycolmap": {"splat/prep/sfm.py"},
    "zstandard": {"splat/formats/spz_container.py"},
    "ray": {"splat/jobs/connection.py"},
    "torch.distributed": {"splat/parallel/ranks.py"},
    "constriction": {"splat/formats/range_coding.py"},
    "viser": {"viewer/server.py"},
    "soundfile": {"strategies/acoustic/sounds/wav.py"},
    "av": {"splat/render/video.py"},
    "pyroomacoustics": {"bench/worlds/rooms/simulate.py"},
    "mitsuba": {"bench/worlds/studio/photograph.py"},
    "slab": {"bench/worlds/rooms/head.py"},
    "websockets": {"viewer/gate.py", "viewer/door.py"},
    "msgspec": {"viewer/inbox.py"},
    "matplotlib": {
        "splat/evaluation/pictures.py",
        "splat/export/chart.py",
        "strategies/acoustic/picture.py",
        *(f"splat/comparison/{name}.py" for name in ("charts", "crops", "drawing")),
    },
}
"""Third parties, and the files that may use them."""
ROOMS = ("splat", "strategies", "datasets", "viewer", "bench/worlds")


def sources() -> list[Path]:
    return sorted(p for room in ROOMS for p in (HOUSE / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_a_third_party_is_used_in_one_place() -> None:
    for path in sources():
        place = path.relative_to(HOUSE).as_posix()
        for name in imported(path):
            for package, homes in ONE_PLACE.items():
                if name == package or name.startswith(f"{package}."):
                    assert place in homes, f"{place} imports {name}"


def test_import_is_cheap() -> None:
    """`import splat` loads neither torch nor OpenCV: `splat --help` must answer at once."""
    code = "import sys, splat; print([m for m in ('torch', 'cv2', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


MOST_RETURNS = 10
"""To rooms that options had left, on their way from the call to the first step (45 once)."""


def test_options_go_through_few_rooms_and_seldom_back(tiny_folder: Path, tmp_path: Path) -> None:
    """Modules whose functions are given the options, in turn; the record and the checks of its own
    fields are no rooms."""
    way: list[str] = []

    def follow(frame: FrameType, event: str, _: object) -> None:
        code, room = frame.f_code, str(frame.f_globals.get("__name__"))
        if event != "call" or not room.startswith("splat.") or way[-1:] == [loop.__name__]:
            return
        if room == loop.__name__ and code.co_name == "advance":
            way.append(room)
            return
        given = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        own = room in ("splat.options.run", "splat.system.ranges")
        if not own and any(isinstance(frame.f_locals.get(name), Options) for name in given):
            way.extend([room] if way[-1:] != [room] else [])

    scene, options = api.load(tiny_folder), Options(steps=2, max_side=32)
    sys.setprofile(follow)
    try:
        api.train(scene, options=options, out=tmp_path / "run")
    finally:
        sys.setprofile(None)
    assert way[0] == api.__name__ and way[-1] == loop.__name__
    returns = len(way) - len(set(way))
    assert returns <= MOST_RETURNS, " -> ".join(way)
