"""Messages of the program on stderr, and one sentence for an error."""

from __future__ import annotations

import difflib
import json
import logging
import re
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
    """An error, or a signal that ended it, for programs, in place of what `--json` prints."""
    kind = {FAILED: "failed", BAD_INPUT: "input"}.get(code, "ended")
    return json.dumps({"error": {"exit_code": code, "kind": kind, "message": sentence}}, indent=1)


def told(error: Exception, shown: str = "--debug") -> tuple[int, str] | None:
    """Exit code and sentence of an error; None for a mistake of ours, which needs its traceback.

    `shown` is what shows how code of the user's came to an error of its own.
    """
    return _of_plugin(error, shown) or explained(error)


def of_disk(error: Exception) -> bool:
    """Whether a disk failed, or is full: no traceback says more than the sentence."""
    return isinstance(error, NotWritten) or (isinstance(error, OSError) and bool(at_fault(error)))


def _of_plugin(error: Exception, shown: str) -> tuple[int, str] | None:
    """Exit code and sentence of an error in code that the user vouched for; None: it is not there
    that it was raised, or nothing that this code could mend."""
    if isinstance(error, SyntaxError) and error.filename and is_vouched(f"{error.filename}:_"):
        return BAD_INPUT, f"{error.filename}, line {error.lineno}: {error.msg}"
    if isinstance(error, OSError | MemoryError | NotWritten | Unreadable) or _memory_ran_out(error):
        return None
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        file, module = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
        if is_vouched(f"{file}:_" if module.startswith(FROM_FILE) else f"{module}:_"):
            if frame.f_code.co_name == "__post_init__" and isinstance(error, ValueError):
                return None  # of a value that was given to it, and in words of its own
            code = BAD_INPUT if isinstance(error, ImportError) else FAILED
            told = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return code, f"{file}, line {line}: {told}{_meant(error)} ({shown} shows how)"
        if isinstance(error, ImportError) and module.startswith("splat."):
            return None  # something to be installed, for what the code asked for
    return None


def _meant(error: Exception) -> str:
    """A name near to one that could not be imported; empty where there is none."""
    module = sys.modules.get(getattr(error, "name", None) or "")
    wanted = re.search(r"cannot import name '(\w+)'", str(error))
    if module is None or wanted is None or "Did you mean" in str(error):
        return ""
    names = {*dir(module), *getattr(module, "__all__", ())}
    near = difflib.get_close_matches(wanted[1], names, 1)
    return f"; perhaps you meant {near[0]}" if near else ""


def _memory_ran_out(error: Exception) -> bool:
    return "can't allocate memory" in str(error) or type(error).__name__ == "OutOfMemoryError"


def explained(error: Exception) -> tuple[int, str] | None:
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    short = _memory_ran_out(error) or isinstance(error, MemoryError)
    if not isinstance(error, Unreadable) and short:
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
