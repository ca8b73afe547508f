"""Messages of the program on stderr, and one sentence for an error."""

from __future__ import annotations

import json
import logging
import sys
import traceback

from tqdm import tqdm

from splat.system.files import NotWritten, at_fault
from splat.system.foreign import Unreadable
from splat.system.import_path import FROM_FILE, is_vouched

FAILED, BAD_INPUT = 1, 2
"""Exit codes: the run failed; the input is at fault. 128 + n: a signal n ended it."""


class _Aloud(logging.Handler):
    """Logs to stderr, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def speak(quiet: bool) -> None:
    """Set up logging of the program to stderr; `quiet`: warnings only."""
    logger = logging.getLogger("splat")
    logger.handlers = [_Aloud()]
    logger.propagate = False
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def as_json(code: int, sentence: str) -> str:
    """An error for programs, in place of the result that `--json` prints."""
    kind = {FAILED: "failed", BAD_INPUT: "input"}.get(code, "ended")
    return json.dumps({"error": {"exit_code": code, "kind": kind, "message": sentence}}, indent=1)


def of_plugin(error: Exception) -> tuple[int, str] | None:
    """Exit code and sentence of an error in code that the user vouched for; None: it is not there
    that it was raised."""
    if isinstance(error, SyntaxError) and error.filename and is_vouched(f"{error.filename}:_"):
        return BAD_INPUT, f"{error.filename}, line {error.lineno}: {error.msg}"
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        if is_vouched(f"{file}:_" if module.startswith(FROM_FILE) else f"{module}:_"):
            told = " ".join(str(error).split())
            return (
                FAILED,
                f"{file}, line {line}: {type(error).__name__}: {told} (--debug shows how)",
            )
    return None


def explained(error: Exception) -> tuple[int, str] | None:
    """Exit code and sentence of an error; None for a mistake of ours, which needs its traceback."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    short = "can't allocate memory" in text or type(error).__name__ == "OutOfMemoryError"
    if not isinstance(error, Unreadable) and (short or isinstance(error, MemoryError)):
        return FAILED, "memory ran out; lower --cap, --max-side or --cache"
    if isinstance(error, NotWritten):
        return FAILED, text
    if isinstance(error, OSError):
        if fault := at_fault(error):
            what = error.filename or "a file"
            return FAILED, f"{fault}: {what} could not be read or written; see to the disk"
        if error.strerror and error.filename:
            text = f"{error.filename}: {error.strerror}"
        return BAD_INPUT, text
    if isinstance(error, ValueError | ImportError):
        return BAD_INPUT, text
    if isinstance(error, RuntimeError):
        return FAILED, text
    return None
