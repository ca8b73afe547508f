"""Verbs that write, each with an old result that it replaces, and what may be left of both."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.forks import Tree, forked, splat, still

DRAFT = re.compile(
    r"(^|/)\.[^/]+\.\d+(\.[^/]*)?$|(^|/)\.[^/]*(lod-meta|tileset)\.json\.[^/]+/"
    r"|(^|/)\.demo-[0-9a-f]+-[^/]+/"
)
"""Files that a killed process was still writing: hidden, with its number in their names, or in a
folder that is a draft."""
LOCK = re.compile(r"(^|/)\.[^/]*lock$")

Judge = Callable[[Tree, Tree, Tree, Mapping[str, set[bytes]]], list[str]]


@dataclass(frozen=True)
class Case:
    """A command that replaces something, in a folder of its own."""

    name: str
    before: tuple[tuple[str, ...], ...]
    """Commands that make what is there before; `{root}` is the folder, `{given}` what all share."""
    words: tuple[str, ...]
    """The command; none: `call` is called with the folder and what is given."""
    call: Callable[[Path, Path], int] | None = None
    judge: Judge = field(default=lambda *trees: by_file(*trees))
    finished: str = ""
    """What a second run may say and fail, where the first had done all."""
    again: tuple[str, ...] = ()
    """What is said more when it is given again."""
    canonical: Callable[[Tree], Tree] = field(default=lambda made: made)
    """Equal for trees that differ in names alone which are free to be chosen."""
    copied: tuple[str, ...] = ()
    """Folders of what is given that it is given copies of."""
    needs: tuple[str, ...] = ()
    """Modules without which it cannot be."""
    slow: bool = False
    """Whether a run takes many seconds."""

    def make_old(self, root: Path, given: Path) -> None:
        """Make what is there before."""
        root.mkdir(parents=True)
        (root / "bystander.txt").write_text("nobody's business\n")
        for name in self.copied:
            shutil.copytree(given / name, root / Path(name).name)
        for words in self.before:
            ended = forked(partial(still, partial(splat, spelled(words, root, given))))
            if ended.code:
                raise RuntimeError(f"{self.name}: {' '.join(words)}: {ended.said}")

    def carry_out(self, root: Path, given: Path, *more: str) -> int:
        """The command, in this process; its exit code."""
        if self.call is not None:
            return self.call(root, given)
        return splat([*spelled(self.words, root, given), *more])


def spelled(words: Sequence[str], root: Path, given: Path) -> list[str]:
    """A command with the folders in their places."""
    return [word.format(root=root, given=given) for word in words]


def is_draft(path: str) -> bool:
    """Whether a file is none that anybody would take for a result."""
    return bool(DRAFT.search(path) or LOCK.search(path))


def results(made: Tree) -> Tree:
    """A tree without drafts and locks."""
    return {path: data for path, data in made.items() if not is_draft(path)}


def by_file(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong with a tree whose every file is to be the old or the new one."""
    wrong = []
    for path in sorted({*old, *new, *results(now)}):
        if is_draft(path):
            continue
        allowed = {made[path] for made in (old, new) if path in made} | versions.get(path, set())
        if path not in now:
            if path in old and path in new:
                wrong.append(f"neither: {path} is gone")
        elif now[path] not in allowed and not _is_log(path, now[path], allowed):
            wrong.append(f"neither: {path} has {len(now[path])} bytes that are no whole result")
    return wrong


def by_run(
    old: Tree,
    new: Tree,
    now: Tree,
    versions: Mapping[str, set[bytes]],
    base: str = "run/",
    begun: tuple[str, ...] = ("config.json", "cameras.json"),
) -> list[str]:
    """What is wrong where a run replaces another: one of both is to be there, to go on with.

    Of the new one that is a checkpoint, and the files `begun`, below the folder `base`.
    """

    def kept(path: str) -> bool:
        name = path.removeprefix(base)
        asides = (f"{base}.replaced/{name}", f"{base}.replaced.part/{name}")
        return old[path] in (now.get(path), *map(now.get, asides))

    if all(map(kept, old)):
        return []
    whole = any(
        ("/checkpoints/" in path or path == f"{base}training.pt")
        and now[path] in versions.get(path, set()) | {new.get(path)}
        for path in results(now)
    ) and all(now.get(base + name) == new[base + name] for name in begun)
    lost = [path for path in old if not kept(path)]
    wrong = [] if whole else [f"neither: no new checkpoint, and {lost[0]} of old is gone"]
    left = {path: data for path, data in now.items() if "/.replaced" not in path}
    gone = {path: data for path, data in old.items() if path.startswith(base) and path not in left}
    return wrong + by_file(old, new, {**gone, **left}, versions)


def by_scene(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong where a scene is prepared anew: the old one is to be there, or the new."""

    def kept(path: str) -> bool:
        folder, _, name = path.partition("/")
        asides = (f"{folder}/.replaced/{name}", f"{folder}/.replaced.part/{name}")
        return old[path] in (now.get(path), *map(now.get, asides))

    old, new = without_work(old), without_work(new)
    if all(map(kept, old)) or all(now.get(path) == data for path, data in new.items()):
        return []
    lost = [path for path in old if not kept(path)]
    return [f"neither: {lost[0]} of old is gone, and the new scene is not whole"]


def by_scene_file(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong where a scene is changed: each of its files is to be the old or the new one."""
    aside = "scene/.prep/old/"
    moved = {
        f"scene/sparse/{path[len(aside) :]}": data
        for path, data in now.items()
        if path.startswith(aside)
    }
    there = {**moved, **without_work(now)}
    return by_file(without_work(old), without_work(new), there, versions)


def without_work(made: Tree) -> Tree:
    """A prepared scene without what its stages keep for each other."""
    return {path: data for path, data in made.items() if "/.prep/" not in path}


def replaced_scene(made: Tree) -> Tree:
    """A scene in place of another."""
    return without_aside(without_work(made))


def by_blocks(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong with a run in blocks; notes of its processes are never the same."""
    trees = map(without_notes, (old, new, now))
    return by_run(*trees, versions, begun=("config.json", "blocks.json"))


def by_report(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong with a comparison, in which a run that failed is a result, too.

    Its files are whole then, though no undisturbed comparison has them.
    """
    ends = {".html": b"</html>\n", ".csv": b"\n", ".json": b"}\n"}
    failing = b'"state": "failed"' in now.get("compared/results.json", b"") or any(
        b'"failed": "the disk' in data for path, data in now.items() if "/runs/" in path
    )
    whole = {
        path: {data} if failing and data.endswith(ends.get(Path(path).suffix, b"\0")) else set()
        for path, data in now.items()
    }
    either = {path: versions.get(path, set()) | whole.get(path, set()) for path in {**now, **new}}
    return by_file(old, new, now, either)


def without_aside(made: Tree) -> Tree:
    """Without what was there before: where it cannot be deleted it stays aside, until later."""
    return {path: data for path, data in made.items() if "/.replaced/" not in path}


def without_notes(made: Tree) -> Tree:
    """A comparison, or blocks, without what says in which processes their runs were."""
    return {path: data for path, data in made.items() if not _NOTE.fullmatch(path)}


def replaced_blocks(made: Tree) -> Tree:
    """Blocks in place of others."""
    return without_aside(without_notes(made))


_NOTE = re.compile(r"compared/runs/[^/]+/[^/]+\.json|run/blocks/[^/]+\.json")


def by_document(old: Tree, new: Tree, now: Tree, versions: Mapping[str, set[bytes]]) -> list[str]:
    """What is wrong with levels of detail: the document is one of both, and has all its chunks."""
    wrong = by_file(old, new, now, versions)
    (name,) = {path for path in new if path in ("lod-meta.json", "tileset.json")}
    for made in (old, new):
        if now.get(name) == made[name]:
            gone = [path for path in made if now.get(path) != made[path]]
            wrong += [f"half: {name} is there without {path}" for path in gone]
    return wrong


def renumbered(made: Tree) -> Tree:
    """Levels of detail whose chunks have the names that they would have in an empty folder."""
    again = re.compile(r"\b(\d+_\d+|tiles)-\d+(?=/)")
    return {
        again.sub(r"\1", path): re.sub(rb"\b(\d+_\d+|tiles)-\d+(?=/)", rb"\1", data)
        if path.endswith(("lod-meta.json", "tileset.json"))
        else data
        for path, data in made.items()
    }


def _is_log(path: str, data: bytes, allowed: Iterable[bytes]) -> bool:
    """Whether a file that grows line by line is the beginning of what it becomes."""
    grows = path.endswith((".jsonl", ".log"))
    return grows and any(whole.startswith(data) for whole in allowed)


WATCHED = ("--quiet", "--checkpoint-every", "4", "--keep", "1")
TRAIN = ("--threads", "1", *WATCHED)
MCMC = ("mcmc", "--cap", "300")
COMPARE = ("--workers", "0", "--threads", "1", "--net", "none", "--seeds", "1", "--quiet")
PREP = ("--max-side", "320", "--features", "1000", "--threads", "1", "--quiet")


def make_given(given: Path, wanted: Iterable[Case]) -> int:
    """Make what the commands of cases read: a scene, runs, files of Gaussians, masks, photos."""
    import cv2
    import numpy as np

    from splat.conformance.trial import tiny_scene

    words = " ".join(word for case in wanted for word in (*case.words, *case.copied))
    given.mkdir()
    shutil.copytree(tiny_scene(), given / "scene")
    anchors = ("scaffold", "--cap", "150")
    runs = [("a", "1", MCMC), ("b", "2", MCMC)]
    runs += [("anchors_a", "1", anchors), ("anchors_b", "2", anchors)] * ("anchors_b" in words)
    forest = ("forest-inspired", "--cap", "150")
    runs += [("forest_a", "1", forest), ("forest_b", "2", forest)] * ("forest_b" in words)
    runs += [("lit", "1", _LIT)] * ("given}/lit" in words)
    for name, seed, method in runs:
        out = str(given / name)
        train = ("train", str(given / "scene"), "--out", out, "--steps", "8", "--seed", seed)
        if splat([*train, *TRAIN, *method]):
            return 1
    for name, chance in (("a", 1), ("b", 2)):
        _solid(given, name, chance)
    (given / "masks").mkdir()
    for photo in sorted((given / "scene" / "images").iterdir())[:3]:
        mask = np.zeros((36, 48), np.uint8)
        mask[10:26, 14:34] = 255
        cv2.imwrite(str(given / "masks" / f"{photo.stem}.png"), mask)
    if "given}/lit" in words:
        _lights(given)
    if "given}/corpus" in words:
        from splat.datasets.objects import files

        files.write(given / "corpus", 3)
    for name in ("generator", "teacher", "clip"):
        if f"given}}/{name}" in words or name in words.split():
            _seed(name, given / name)
    if "given}/body.glb" in words:
        from tests.hostile.seeds import body

        body(given)
        (given / "b.glb").rename(given / "body.glb")
    if "given}/rig_b" in words:
        import test_prep_rig

        test_prep_rig.rig(given / "rig_a", 2, 2, model=False)
        test_prep_rig.rig(given / "rig_b", 2, 3, model=False)
    if "photos" in words:
        _photos(given / "photos")
    return _sounds(given / "hearing") if "hearing" in words else 0


def _sounds(folder: Path) -> int:
    """A run that can be taught to hear, sounds to learn from, and one to be heard."""
    import hearing_room
    import torch

    from splat.strategies.acoustic.sounds import write_wav

    hearing_room.trained(folder)
    hearing_room.write_responses(folder / "responses")
    for name, seed in (("a", 1), ("b", 2)):
        noise = torch.randn(1, 4000, generator=torch.Generator().manual_seed(seed))
        write_wav(folder / f"{name}.wav", 0.1 * noise, hearing_room.RATE)
    return splat([*_audio(str(folder / "run"), str(folder)), "--seed", "5"])


def _solid(given: Path, name: str, seed: int) -> None:
    """A file of opaque Gaussians where the points of the scene are."""
    import torch

    from splat import api, formats
    from splat.options import Reading
    from splat.types import Gaussians

    points = api.read_scene(given / "scene", Reading()).points
    assert points is not None
    chance = torch.Generator().manual_seed(seed)
    n = len(points.positions)
    gaussians = Gaussians(
        points.positions.float(),
        torch.randn(n, 4, generator=chance),
        torch.full((n, 3), 0.1),
        torch.full((n,), 0.99),
        0.3 * torch.randn(n, 16, 3, generator=chance),
        3,
    )
    formats.write(gaussians, given / f"{name}.ply")


def _lights(folder: Path) -> None:
    """Two panoramas of light."""
    import torch

    from splat.strategies.deferred import panorama

    for name, seed in (("light_a", 1), ("light_b", 2)):
        light = torch.rand(8, 16, 3, generator=torch.Generator().manual_seed(seed))
        panorama.write(light, folder / f"{name}.hdr")


def _photos(folder: Path) -> None:
    """Photos that poses can be found of."""
    import textured
    from PIL import Image

    folder.mkdir()
    for i, eye in enumerate(textured.eyes(6)):
        exif = Image.Exif()
        exif[0x0112] = 3 if i == 2 else 1
        picture = textured.picture(eye)
        picture = picture[::-1, ::-1] if i == 2 else picture
        Image.fromarray(picture).save(folder / f"p{i}.jpg", quality=92, exif=exif.tobytes())


def _seed(name: str, folder: Path) -> None:
    from tests.hostile import seeds

    makers = {
        "generator": seeds.generator_file, "teacher": seeds.teacher_file,
        "clip": seeds.clip("plain"),
    }  # fmt: skip
    folder.mkdir()
    makers[name](folder)


def _clip(root: Path, given: Path) -> int:
    """A file of Gaussians that a field deforms, coded, in place of a plain one."""
    from splat.system.errors import explained
    from tests.hostile import seeds

    try:
        seeds.clip("coded")(root / "clip")
    except OSError as error:  # which `splat export` says
        return (explained(error) or (70, ""))[0]
    return 0


def _snapshot(root: Path, given: Path, which: str = "b") -> int:
    """A snapshot of the viewer's timeline."""
    from dataclasses import replace

    from splat import formats
    from splat.system.errors import explained
    from splat.types import Frame
    from splat.viewer.timeline import Timeline

    gaussians = formats.read(given / f"{which}.ply")
    plain = replace(gaussians, colors=gaussians.colors[:, 0], sh_degree=None)
    try:
        Timeline(root / "timeline").keep(plain, Frame((0.0, 0.0, 0.0), 1.0), 100)
    except OSError as error:  # which the viewer logs, and goes on
        return (explained(error) or (70, ""))[0]
    return 0


def _demo(root: Path, given: Path) -> int:
    """Ten photos of the built-in scene drawn small, and a run of it in place of another."""
    import os

    from splat.cli import demo
    from splat.datasets.demo import files

    demo.SIZE = (24, 18)
    files.cached.__kwdefaults__["views"] = 10
    os.environ["XDG_CACHE_HOME"] = str(root / "cache")
    words = ("demo", "--out", "{root}/run", "--overwrite", "--steps", "8", "--cap", "300")
    return splat([*spelled(words, root, given), *WATCHED])


def cases() -> dict[str, Case]:
    """All cases, by name."""
    from splat import formats

    train = ("train", "{given}/scene", "--out", "{root}/run")
    old = (*train, "--steps", "8", "--seed", "3", *TRAIN, *MCMC)
    made = [
        Case(
            "train", (old,), (*train, "--steps", "8", "--seed", "4", "--overwrite", *TRAIN, *MCMC),
            judge=by_run,
        ),
        Case(
            "resume", (old,), ("resume", "{root}/run", "--steps", "12", "--quiet"),
            finished="is at step 12 already",
        ),
        Case(
            "train-blocks", (old,),
            (*train, "--steps", "8", "--seed", "4", "--overwrite", "--blocks", "2x1", "--workers",
             "0", *TRAIN, *MCMC),
            judge=by_blocks, canonical=replaced_blocks,
        ),
        Case("demo", (old,), (), call=_demo, judge=by_run, slow=True),
        Case("eval", (old,), ("eval", "{root}/run", "--net", "none", "--quiet")),
        Case(
            "eval-off-path", (old,),
            ("eval", "{root}/run", "--net", "none", "--off-path", "--quiet"),
        ),
    ]  # fmt: skip
    for suffix in formats.suffixes(written=True, folders=True):
        file = "{root}/" + (suffix if "." not in suffix[:1] else f"out{suffix}")
        lod = not formats.one_file(suffix)
        more = {"judge": by_document, "canonical": renumbered} if lod else {}
        name = suffix if suffix[0] == "." else f".{suffix}"
        made += [
            twice(f"export{name}", "export", "{given}/{which}", "-o", file, **more),
            twice(f"convert{name}", "convert", "{given}/{which}.ply", file, **more),
        ]
    made += [
        twice("export.anchors", "export", "{given}/anchors_{which}", "-o", "{root}/out.anchors"),
        twice("export.forest", "export", "{given}/forest_{which}", "-o", "{root}/out.forest"),
        Case("export.clip", (), (), call=_clip, copied=("clip",)),
        twice("export-chosen", "export", "{given}/{which}", "-o", "{root}/out.spz", "--max-loss",
              "1dB", "--plot", "{root}/rate.png"),
        Case(
            "compare",
            (("compare", "{given}/scene", "--strategies", "mcmc", "--steps", "8", "--out",
              "{root}/compared", *COMPARE),),
            ("compare", "{given}/scene", "--strategies", "mcmc,fixed", "--steps", "8", "--out",
             "{root}/compared", *COMPARE),
            judge=by_report, canonical=without_notes, again=("--retry",),
        ),
        twice("clean", "clean", "{given}/{which}.ply", "-o", "{root}/out.ply"),
        twice("erase", "erase", "{given}/{which}.ply", *_ERASE),
        twice("render-pictures", "render", "{given}/{which}", "-o", "{root}/pictures", "--frames",
              "3", then=("--frames", "4")),
        twice("render-video", "render", "{given}/{which}", "-o", "{root}/film.mp4", "--frames", "3",
              then=("--frames", "4")),
        twice("render-sound", "render", "{given}/hearing/run", "-o", "{root}/film.mp4", "--sound",
              "{given}/hearing/{which}.wav", "--frames", "3", then=("--frames", "4"),
              needs=("soundfile",)),
        twice("volume", "volume", "{given}/{which}.ply", "-o", "{root}/v.npz", "--grid", "9",
              then=("--grid", "10")),
        twice("dress", "dress", "{given}/{which}.ply", "--body", "{given}/body.glb", "-o",
              "{root}/d.ply"),
        twice("generate", "generate", "a red cube", "-o", "{root}/x.ply", "--model",
              "{given}/generator", then=("--seed", "4")),
        twice("train-generator", "train-generator", *_TAUGHT, "--surface-steps", "2",
              "--attribute-steps", "3", "--size-steps", "2", then=("--seed", "4"),
              **_begun("run/")),
        twice("train-teacher", "train-teacher", *_TAUGHT, "--views", "1", "--size", "16",
              then=("--seed", "4"), **_begun("run/")),
        twice("dream", "dream", "a red cube", *_DREAM, then=("--seed", "4"),
              **_begun("x.ply.dream/")),
        twice("relight", "relight", "{given}/lit", "--light", "{given}/light_{which}.hdr", "-o",
              "{root}/pictures", "--frames", "2", "--max-side", "24", "--maps"),
        Case(
            "prep", (_PREP_IN_FRAME,), ("prep", "{given}/photos", "-o", "{root}/scene", *PREP),
            judge=by_scene_file, canonical=without_work, needs=("pycolmap",), slow=True,
        ),
        Case(
            "prep-anew", (_PREP_IN_FRAME,),
            ("prep", "{given}/photos", "-o", "{root}/scene", "--overwrite", *PREP),
            judge=by_scene, canonical=replaced_scene, needs=("pycolmap",), slow=True,
        ),
        twice("prep-rig", "prep", "{given}/rig_{which}", "-o", "{root}/scene", judge=by_scene,
              canonical=replaced_scene),
        Case(
            "train-audio", (),
            (*_audio("{root}/run", "{given}/hearing"), "--seed", "2", "--overwrite"),
            copied=("hearing/run",), needs=("soundfile",), **_begun("run/audio/"),
        ),
        twice("hear", "hear", "{given}/hearing/run", "--source", "{given}/hearing/{which}.wav",
              *_HEAR, needs=("soundfile",)),
        Case("viewer-timeline", (), (), call=_snapshot),
    ]  # fmt: skip
    for suffix in (".ply", ".glb", ".obj"):
        made.append(
            twice(f"mesh{suffix}", "mesh", "{given}/{which}.ply", "-o", f"{{root}}/mesh{suffix}",
                  "--cameras", "{given}/a/cameras.json", "--resolution", "24", needs=("skimage",))
        )  # fmt: skip
    return {case.name: case for case in made}


def twice(name: str, *words: str, then: tuple[str, ...] = (), **more: Any) -> Case:
    """A command given with `a` for `{which}`, then with `b`, `then` and `--overwrite`."""
    first, second = (
        tuple(word.replace("{which}", which) for word in (*words, "--quiet")) for which in "ab"
    )
    return Case(name, (first,), (*second, *then, "--overwrite"), **more)


def _begun(base: str) -> dict[str, Any]:
    """How a run below a folder is judged that begins with its `config.json`."""
    judge = partial(by_run, base=base, begun=("config.json",))
    return {"judge": judge, "canonical": without_aside}


def _audio(run: str, hearing: str) -> tuple[str, ...]:
    """A run is taught to hear."""
    return ("train-audio", run, f"{hearing}/responses", "--points", "150", "--batch", "4",
            "--threads", "1", "--steps", "6", "--quiet")  # fmt: skip


_LIT = ("adc", "--cap", "300", "+", "deferred", "--light-rows", "16")
_PREP_IN_FRAME = ("prep", "{given}/photos", "-o", "{root}/scene", "--frame", "colmap", *PREP)
_DREAM = ("-o", "{root}/x.ply", "--teacher", "{given}/teacher", "--strategy", "fixed", "--steps",
          "4", "--points", "30", "--device", "cpu", "--threads", "1")  # fmt: skip
_TAUGHT = ("{given}/corpus", "-o", "{root}/run", "--steps", "4", "--width", "8", "--batch", "2",
           "--threads", "1")  # fmt: skip
_HEAR = ("--at", "2", "1.5", "1.5", "--facing", "1", "0", "0", "-o", "{root}/heard.wav",
         "--spectrogram", "{root}/heard.png")  # fmt: skip
_ERASE = ("--cameras", "{given}/a/cameras.json", "--masks", "{given}/masks", "-o",
          "{root}/out.ply", "--threshold", "0.3")  # fmt: skip
