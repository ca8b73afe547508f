"""Changes to a run, read from its log, to be made again in another one and kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from splat.core.knobs import Command
from splat.runs.folder import Folder
from splat.runs.log import COMMAND, line_of, read_log
from splat.system.files import replacing
from splat.system.foreign import Record, part, reading


def read_script(path: Path) -> tuple[Command, ...]:
    """The changes in the log of a run, sorted by step; `path` is its folder or the log itself.

    Raises FileNotFoundError where there is no log, ValueError where it has none or is damaged.
    """
    file = Folder(path).log if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} does not exist; expected the folder of a run, or its {Folder(path).log.name}"
        )
    with reading(file, "the log of a run"):
        commands = [_command(Record(r)) for r in read_log(file) if COMMAND in r]
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


def _command(line: Record) -> Command:
    step = line.whole("step")
    with part(f"the change at step {step:,}"):
        change = line.record(COMMAND)
        change.number("value")
        change.number("before", 0.0)  # null where it was not set
        return Command(step, change.text("name"), change["value"], change.get("before"))
