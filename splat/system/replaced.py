"""What a new result in a folder is to replace, kept whole until there is something of the new."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

_KEPT, _PARTLY = ".replaced", ".replaced.part"


@dataclass(frozen=True)
class Replaced:
    """The old files of a folder, below it; only renamed, so that it takes neither time nor room.

    While they are moved they lie in a folder of another name. Where that is found, a process was
    killed meanwhile, and what lies in the old place is of the old result still.
    """

    folder: Path
    names: tuple[str, ...]
    """Files and folders of a result, first what it is known by; others are left alone."""

    @property
    def place(self) -> Path:
        """Where they lie."""
        return self.folder / _KEPT

    @property
    def is_there(self) -> bool:
        """Whether something is kept."""
        return self.place.is_dir() or self._partly.is_dir()

    def set_aside(self, *, worth: bool) -> None:
        """Move the result away; one that is not `worth` it is deleted, and what is kept stays."""
        if self._partly.is_dir():
            self._move(self.folder, self._partly, self.names)
        elif worth:
            shutil.rmtree(self.place, ignore_errors=True)
            self._partly.mkdir()
            self._move(self.folder, self._partly, self.names)
        else:
            self._delete()
            return
        self._partly.rename(self.place)

    def put_back(self) -> None:
        """Move what is kept to where it was, in place of what was begun there."""
        if self._partly.is_dir():
            self._move(self._partly, self.folder, self.names[::-1])
        elif self.place.is_dir():
            self._delete()
            self.place.rename(self._partly)
            self._move(self._partly, self.folder, self.names[::-1])
        shutil.rmtree(self._partly, ignore_errors=True)

    def forget(self) -> None:
        """Delete what is kept."""
        for path in (self.place, self._partly):
            shutil.rmtree(path, ignore_errors=True)

    @property
    def hint(self) -> str:
        """Where what was there before is, as the end of a sentence; empty: nowhere."""
        place = self._partly if self._partly.is_dir() else self.place
        return f"; what was there before lies in {place}" if self.is_there else ""

    @property
    def _partly(self) -> Path:
        return self.folder / _PARTLY

    @staticmethod
    def _move(source: Path, target: Path, names: tuple[str, ...]) -> None:
        for name in names:
            if (source / name).exists():
                (source / name).rename(target / name)

    def _delete(self) -> None:
        for name in self.names:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
