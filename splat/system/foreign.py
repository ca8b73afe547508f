"""What strangers wrote: reading it ends in a value, or in one sentence that names the file.

Every reader of files that somebody else may have made stands on this module: `reading` is the edge
at which whatever fails inside becomes a sentence, `Record` takes numbers, texts and arrays out of
JSON, `array` those of NumPy, `unpacked` those of deflate. Memory is bounded by what the size of a
file accounts for, or by `MOST_MEMORY`.

    with reading(path, "an object with `frames`"):
        for i, frame in enumerate(record(path).records("frames")):
            with part(f"frame {i}"):
                focal = frame.number("fl_x", above=0)
"""

from __future__ import annotations

import json
import math
import os
import stat
import zipfile
import zlib
from collections import ChainMap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from types import UnionType
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST_MEMORY = 1 << 30
"""Bytes of memory that reading a file may take, where `FOLD` times its own size is less."""
FOLD = 4
"""How many times its own size a file may take in memory, however large it is."""
_CONTAINER, _ITEM = 88, 56
"""Bytes that Python takes at most for an empty list or object, and for an item of one."""
_MISSING: Any = object()
T = TypeVar("T")

_short = Repr()
_short.maxstring = _short.maxother = 40
_short.maxlist = _short.maxdict = 3
shown = _short.repr
"""A value of a file as a sentence shows it, cut to a few words."""


_OF_THE_DISK = (FileNotFoundError, NotADirectoryError, PermissionError)
"""Errors that are a sentence already, about a file of any name."""


class Broken(ValueError):
    """What is wrong with a file: a clause that follows its name, such as `has no frames`."""


class Unreadable(ValueError):
    """What is wrong with a file: a sentence that begins with its name."""


@contextmanager
def by_library(path: Path, what: str) -> Iterator[None]:
    """Within, whatever a library raises for files that do not fit is a ValueError that says so:
    `what` is what it took them for ("a pipeline of diffusers")."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"{path} cannot be read as {what} ({said or type(error).__name__})"
        ) from error


@contextmanager
def reading(path: Path, expected: str, remedy: str = "") -> Iterator[None]:
    """The edge of a reader: what fails inside is raised as `Unreadable`, with the file's name.

    `expected` says what the file should have been, and what to do, where the error does not:
    `a whole .splat: export it again`; `remedy` what to do where that is not part of any `Broken`.
    Errors of the disk (OSError with a name) pass, as do sentences that name the file already.
    """
    try:
        yield
    except Unreadable:
        raise
    except Broken as error:
        untold = remedy and remedy.split(" or ")[-1] not in str(error)
        raise Unreadable(f"{path}: {error}{f'; {remedy}' if untold else ''}") from error
    except ImportError:
        raise  # what is to be installed is no fault of the file
    except Exception as error:
        told = isinstance(error, ValueError | OSError) and str(path) in str(error)
        if told or isinstance(error, _OF_THE_DISK) or getattr(error, "filename", None):
            raise
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a device
            raise
        raise Unreadable(f"{path}: {_problem(error)}; expected {expected}") from error


@contextmanager
def part(name: str) -> Iterator[None]:
    """A part of a file, such as `frame 3`: what fails inside says so before all else."""
    try:
        yield
    except Unreadable:
        raise
    except Broken as error:
        raise Broken(f"{name}: {error}") from error
    except (OSError, ImportError):
        raise
    except Exception as error:
        raise Broken(f"{name}: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """What a foreign error says, as a clause; kinds whose texts mean nothing to users go by what
    they mean."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "claims more than memory holds"
    if isinstance(error, RecursionError):
        return "is nested too deep to be read"
    if isinstance(error, UnicodeError):
        return "holds bytes that are no text"
    if isinstance(error, KeyError):
        return f"has no {text}"
    if isinstance(error, ValueError | OSError) and text:
        return f"cannot be read ({text[:200]})"
    return "is broken or cut off"


def allowance(size: int, fold: int = FOLD) -> int:
    """Bytes of memory that a file of `size` bytes may take; `fold`: of one that is compressed."""
    return max(fold * size, MOST_MEMORY)


def check_claim(claimed: int, size: int, what: str = "it", fold: int = FOLD) -> None:
    """Raise `Broken` where what a file of `size` bytes claims needs more memory than it may."""
    if claimed > allowance(size, fold):
        raise Broken(
            f"claims {claimed / 1e9:.3g} GB for {what}, with {size:,} bytes of its own; expected"
            f" {allowance(size, fold) / 1e9:.3g} GB at most"
        )


def file_size(path: Path) -> int:
    """Bytes of a file; raises `Broken` for a folder, a pipe or a device."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise Broken("is no file; expected one")
    return status.st_size


def content(path: Path) -> bytes:
    """The bytes of a file that is read whole; a pipe or a device is none."""
    size = file_size(path)
    with open(path, "rb") as file:
        return file.read(size)  # one that grows meanwhile is read as it was


def parsed(data: bytes | str) -> Any:
    """The value of a JSON text; raises `Broken` where it is none, or would fill the memory."""
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    containers, items = raw.count(b"[") + raw.count(b"{"), raw.count(b",")
    check_claim(_CONTAINER * containers + _ITEM * items, len(raw), "lists and numbers")
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise Broken(
            f"line {error.lineno} is not JSON ({error.msg}); expected a whole file: copy or export"
            " it again"
        ) from None
    except UnicodeDecodeError:
        raise Broken("is no text, and so not JSON; expected a whole file") from None
    except RecursionError:
        raise Broken("is nested too deep to be read; expected a few levels") from None
    except ValueError as error:  # a number of thousands of digits
        raise Broken(f"is not JSON ({str(error)[:80]}); expected a whole file") from None


def json_of(path: Path) -> Any:
    """The value of a file of JSON, as `parsed` gives it; OSError where it cannot be opened."""
    return parsed(content(path))


def record(path: Path, keys: str = "") -> Record:
    """The object in a file of JSON; `keys` names in a sentence what it should have."""
    return Record.of(json_of(path), keys)


class Record(Mapping[str, Any]):
    """An object of JSON; values that are not of the kind asked for raise `Broken`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    @classmethod
    def of(cls, value: Any, keys: str = "") -> Record:
        """A value as a record."""
        if not isinstance(value, Mapping):
            more = f" with {keys}" if keys else ""
            raise Broken(f"is {shown(value)}; expected a JSON object{more}")
        return cls(value)

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise Broken(f"has no `{key}`; expected it") from None

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        """A value of any kind, or `default` where there is none."""
        return self._values.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def over(self, below: Mapping[str, Any]) -> Record:
        """This record, with the values of another one where it has none itself (null is none)."""
        own = {key: value for key, value in self._values.items() if value is not None}
        # A chain, as copies of all that `below` has, one a record, would take their time.
        whole = below._values if isinstance(below, Record) else below
        return Record(ChainMap(own, cast(dict[str, Any], whole)))

    def number(
        self,
        key: str,
        default: float = _MISSING,
        *,
        above: float = -math.inf,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> float:
        """A finite number in a range; `default` where there is none, or null."""
        value = self._values.get(key)
        if value is None and default is not _MISSING:
            return default
        bounds = [f"above {above:g}"] * (above > -math.inf) + [f"{least:g} or more"] * (
            least > -math.inf
        )
        bounds += [f"at most {most:g}"] * (most < math.inf)
        number = finite(value)
        if number is None or not (above < number and least <= number <= most):
            more = f" {' and '.join(bounds)}" if bounds else ""
            raise _odd(key, value, f"a number{more}")
        return number

    def whole(
        self, key: str, default: int = _MISSING, *, least: int = 0, most: int = 1 << 53
    ) -> int:
        """A whole number from `least` to `most`; one written as 3.0 counts."""
        value = self._values.get(key)
        if value is None and default is not _MISSING:
            return default
        number = finite(value)
        if number is None or number != int(number) or not least <= number <= most:
            span = f"of {least:,} or more" if most == 1 << 53 else f"from {least:,} to {most:,}"
            raise _odd(key, value, f"a whole number {span}")
        return int(number)

    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: str) -> str: ...
    def text(self, key: str, default: str = _MISSING) -> str:
        """A text that can be printed and be a name of a file; `default` where there is none."""
        value = self._values.get(key)
        if value is None and default is not _MISSING:
            return default
        if not isinstance(value, str) or not is_text(value):
            raise _odd(key, value, "a text")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise _odd(key, value, "true or false")
        return value

    def numbers(self, key: str, *shape: int) -> npt.NDArray[np.float64]:
        """Finite numbers in nested lists of this shape; -1 stands for any count."""
        return numbers(self._values.get(key), *shape, name=f"`{key}`")

    def triple(self, key: str) -> tuple[float, float, float]:
        """Three finite numbers."""
        value = self._values.get(key)
        x, y, z = numbers([*value] if isinstance(value, tuple) else value, 3, name=f"`{key}`")
        return float(x), float(y), float(z)

    def record(self, key: str, default: Mapping[str, Any] | None = None) -> Record:
        """An object within; `default` where there is none, if one is given."""
        value = self._values.get(key)
        if value is None and default is not None:
            return Record(default)
        if not isinstance(value, Mapping):
            raise _odd(key, value, "an object")
        return Record(value)

    def entries(self, key: str) -> list[Any]:
        """A list of anything."""
        value = self._values.get(key)
        if not isinstance(value, list):
            raise _odd(key, value, "a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.entries(key)
        if not fits(values, tuple[str, ...]):
            raise _odd(key, values, "a list of texts")
        return tuple(values)

    def check_format(self, name: str, version: int, wrong: str) -> None:
        """Raise `Broken` where it says that it is of another format, or of a newer version."""
        if self.get("format") != name:
            raise Broken(wrong)
        if self.whole("version") > version:
            raise Broken("was written by a newer splat; upgrade splat-toolkit")

    def records(self, key: str) -> list[Record]:
        """A list of objects."""
        values = self.entries(key)
        wrong = next((i for i, value in enumerate(values) if not isinstance(value, Mapping)), None)
        if wrong is not None:
            raise Broken(f"has `{key}` {wrong}: {shown(values[wrong])}; expected an object")
        return [Record(value) for value in values]


def _odd(key: str, value: Any, expected: str) -> Broken:
    """What is wrong with a value of a record; null counts as none."""
    found = f"no `{key}`" if value is None else f"`{key}`: {shown(value)}"
    return Broken(f"has {found}; expected {expected}")


def finite(value: Any) -> float | None:
    """A number of JSON as a float; None where it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_text(value: str) -> bool:
    """Whether a text can be printed and be part of a file's name: no NUL, no half characters."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def filled(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass with these values, each of the type of its field; raises `Broken`.

    Lists count as tuples, and stay lists.
    """
    types = get_type_hints(kind)
    for name, value in values.items():
        if name not in types:
            raise Broken(
                f"has `{shown(name)[1:-1]}`, which is unknown here; use splat as new as it"
            )
        if not fits(value, types[name]):
            raise _odd(name, value, str(getattr(types[name], "__name__", types[name])))
    try:
        return kind(**values)
    except TypeError as error:  # some are missing
        raise Broken(f"is incomplete ({error}); expected all of its values") from error


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of JSON is of the type of a field."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return type(value) in map(type, inner) and value in inner
    if origin is list and isinstance(value, list):
        return all(fits(each, inner[0]) for each in value)
    if origin is tuple and isinstance(value, list | tuple):
        inner = inner[:1] * len(value) if Ellipsis in inner else inner
        return len(inner) == len(value) and all(map(fits, value, inner))
    if kind in (int, float):
        return type(value) in (int, kind)
    if kind is str:
        return isinstance(value, str) and is_text(value)
    return kind is Any or isinstance(value, origin or kind)


def number_in(text: str) -> float:
    """A finite number that a file writes as text, as XML and CSV do; raises `Broken`."""
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Broken(f"has {shown(text)}; expected a number")
    return number


def numbers(value: Any, *shape: int, name: str = "a list") -> npt.NDArray[np.float64]:
    """Nested lists of finite numbers as an array of this shape; -1 stands for any count."""
    import numpy as np

    try:
        array = np.array(value if isinstance(value, list) else 0.0)
    except (TypeError, ValueError, OverflowError):
        array = np.array(0.0)
    # Of texts that look like numbers NumPy would make some.
    array = array.astype(np.float64) if array.dtype.kind in "iuf" else np.array(0.0)
    sizes = array.shape
    if len(sizes) != len(shape) or any(n not in (-1, m) for n, m in zip(shape, sizes, strict=True)):
        sides = " x ".join("n" if n < 0 else str(n) for n in shape)
        what = f"no {name}" if value is None else f"{shown(value)} as {name}"
        raise Broken(f"has {what}; expected {sides} numbers")
    if not np.isfinite(array).all():
        raise Broken(f"has numbers in {name} that are not finite; expected finite ones")
    return array


def array(stream: IO[bytes], size: int) -> npt.NDArray[Any]:
    """The array of a NumPy file that is open at its start and has `size` bytes; raises `Broken`.

    Nothing is unpickled, and no memory is taken for numbers that are not there.
    """
    import numpy as np
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, kind = read(stream)
    except Exception:  # what `tokenize` and `ast` raise on headers
        raise Broken("is no whole NumPy array; expected one: write it again") from None
    if kind.hasobject:
        raise Broken("holds Python objects; expected numbers")
    claimed, there = math.prod(shape) * kind.itemsize, size - stream.tell()
    if min(shape, default=0) < 0 or claimed > there:
        raise Broken(f"claims {claimed:,} bytes of numbers and has {there:,}; write it again")
    stream.seek(0)
    array: npt.NDArray[Any] = npy.read_array(stream, allow_pickle=False)
    return np.asarray(array)


@contextmanager
def member(archive: zipfile.ZipFile, name: str, most: int) -> Iterator[tuple[IO[bytes], int]]:
    """A file of a ZIP archive, open to be unpacked, and its bytes, `most` of them at most."""
    if name not in archive.NameToInfo:
        raise Broken(f"lacks {shown(name)}; expected it in the archive")
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Broken(f"has {name!r} in compression {entry.compress_type}; expected 0 or 8")
    if entry.file_size > most:
        raise Broken(f"claims {entry.file_size:,} bytes of {name!r}; expected {most:,} at most")
    with archive.open(entry) as file:
        yield file, entry.file_size  # no more is unpacked, whatever there is


def unpacked(data: bytes, most: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """What deflate packed, at most so many bytes; raises `Broken` where there are more."""
    inflate = zlib.decompressobj(wbits)
    plain = inflate.decompress(data, most + 1) if most else b""
    if len(plain) > most:
        raise Broken(f"unpacks to more than the {most:,} bytes that it says it holds")
    return plain
