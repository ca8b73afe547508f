"""What the commands of the tutorials print, as a page: they are run, and nothing is typed off.

    python bench/transcripts.py docs/tutorials/transcripts.md

Each tutorial is run in a folder of its own on the tiny scene that tests have, with what its page
says in `<!-- tests: WORDS => OTHERS -->` made smaller; the lines that stand in the page are those
that were run. Minutes of one core.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from splat.datasets import demo
from splat.system.files import replacing

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = ("your-photos", "your-own-strategy", "a-drone-flight")
_HEAD = """# What the tutorials print

Made by `python bench/transcripts.py docs/tutorials/transcripts.md`: every command of the three
tutorials, on a scene of 12 pictures of 96 x 72 pixels and with few steps, as the tests run them.
Figures are not those of the sizes that the tutorials name.
"""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """The kind and the text of each block of code of a page."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def commands(page: Path) -> list[str]:
    """What is typed, made smaller; ValueError where there is nothing to make smaller."""
    text = page.read_text("utf-8")
    lines = [line for kind, block in blocks(page) if kind == "sh" for line in block.splitlines()]
    for was, now in re.findall(r"<!-- tests: (.*?) => (.*?) -->", text):
        if not any(was in line for line in lines):
            raise ValueError(f"{page.name} has no {was!r}; expected what a command of it says")
        lines = [line.replace(was, now) for line in lines]
    return [line for line in lines if not line.startswith("pip ")]


def main(out: Annotated[Path, tyro.conf.Positional]) -> None:
    """Run the tutorials, and write what they print to a page of Markdown."""
    parts = [_HEAD]
    for name in PAGES:
        page = TUTORIALS / f"{name}.md"
        title = page.read_text("utf-8").splitlines()[0].removeprefix("# ")
        parts.append(f"## {title}\n\n[The tutorial]({name}.md)\n")
        with tempfile.TemporaryDirectory() as folder:
            parts += [_block(line, told) for line, told in _followed(page, Path(folder))]
    with replacing(out) as draft:
        draft.write_text("\n".join(parts), "utf-8")


def _followed(page: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Each command of a tutorial and what it printed; photos have poses already."""
    scene = demo.cached(views=12, width=96, height=72, samples=2, points=500)
    shutil.copytree(scene, folder / "posed")
    lines = commands(page)
    if not any(line.endswith(" posed scene") for line in lines):
        shutil.copytree(scene, folder / "scene")
    for kind, text in blocks(page):
        if kind == "python":
            (folder / text.splitlines()[0].removeprefix("# ")).write_text(text, "utf-8")
    for line in lines:
        print(f"$ {line}", flush=True)
        yield line, _printed(line, folder)


def _printed(line: str, folder: Path) -> str:
    """What a command prints to both streams; RuntimeError where it fails."""
    given, words = dict(os.environ), shlex.split(line)
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        given[name] = os.pathsep.join([str(ROOT / value), given.get(name, "")])
    if words[0] in ("python", "splat"):
        inner = ["-m", "splat"] if words[0] == "splat" else []
        words = [sys.executable, "-P", *inner, *words[1:]]
    done = subprocess.run(
        words, cwd=folder, env=given, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise RuntimeError(f"{line} ended with {done.returncode}:\n{done.stdout}")
    told = done.stdout.replace(f"{folder.resolve()}/", "").replace(f"{folder}/", "")
    return re.sub(r"[^\n]*\r(?!\n)", "", told).strip()


def _block(line: str, told: str) -> str:
    return f"```text\n$ {line}\n{told}\n```\n" if told else f"```text\n$ {line}\n```\n"


if __name__ == "__main__":
    tyro.cli(main)
