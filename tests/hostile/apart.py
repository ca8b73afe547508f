"""Processes of their own as forks of this one, which has imported what they take long to import.

What they carry out, and within which bounds, is what is carried out by `splat.system.confined`.
"""

from __future__ import annotations

import faulthandler
import io
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import IO

from splat.system.confined import Bounds

_RAISED = 70


class Raised(BaseException):
    """A process of its own let an error out, which is a mistake of ours, and no end of the
    library."""


class Forked:
    """What `splat.system.confined` needs of a process."""

    stderr: IO[bytes] | None = None

    def __init__(self, module: str, words: Sequence[str]) -> None:
        main = import_module(module).main
        ours, theirs = os.pipe()
        self._number, self._code = os.fork(), None
        if not self._number:
            code = _RAISED
            try:
                faulthandler.disable()  # its log is that of this process
                os.dup2(theirs, 1)
                os.closerange(3, 1024)
                sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"))
                sys.stderr = io.StringIO()  # what is not yet written of the other is its own
                code = main(words)
            finally:
                os._exit(code)
        os.close(theirs)
        self.stdout: IO[bytes] | None = os.fdopen(ours, "rb")

    def kill(self) -> None:
        """End it."""
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self._number, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._number, 0)[1])
        if self._code == _RAISED:
            raise Raised
        return self._code


def forked(
    module: str, arguments: Sequence[str], bounds: Bounds, variables: Mapping[str, str]
) -> Forked:
    """As `splat.system.confined.begun`."""
    del variables
    return Forked(module, [str(bounds.memory), str(bounds.seconds), *arguments])
