"""Changes to a run, read from its log, to be made again in another one and kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from splat.core.knobs import Command
from splat.runs.folder import Folder
from splat.runs.log import COMMAND, line_of, read_log
from splat.system.files import replacing


def read_script(path: Path) -> tuple[Command, ...]:
    """The changes in the log of a run, sorted by step; `path` is its folder or the log itself.

    Raises FileNotFoundError where there is no log, ValueError where it has none or is damaged.
    """
    file = Folder(path).log if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; expected the folder of a run, or its {Folder(path).log.name}"
        )
    try:
        records = read_log(file)
    except UnicodeDecodeError:
        records = []
    commands = [_command(r, file) for r in records if isinstance(r, dict) and COMMAND in r]
    if not commands:
        raise ValueError(
            f"{path} has no change to replay; expected a run that was changed while it trained"
        )
    return tuple(sorted(commands, key=lambda command: command.step))


def write_script(script: Iterable[Command], path: Path) -> None:
    """Write changes that are to be made, for `read_script` to read."""
    with replacing(path) as draft:
        lines = (json.dumps(line_of(command)) + "\n" for command in script)
        draft.write_text("".join(lines), encoding="utf-8")


def _command(record: dict[str, Any], file: Path) -> Command:
    step, change = record.get("step"), record[COMMAND]
    if isinstance(change, dict) and isinstance(step, int) and step >= 0:
        name, value = change.get("name"), change.get("value")
        if isinstance(name, str) and isinstance(value, int | float):
            return Command(step, name, value, change.get("before"))
    raise ValueError(
        f"{file} has a change that is none, {json.dumps(record)}; expected a step, and under"
        f" {COMMAND!r} a name and a number"
    )
