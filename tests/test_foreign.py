"""The one way in which files of strangers are read: a value, or a sentence that names the file."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splat.system import foreign
from splat.system.foreign import Broken, Record, Unreadable

FILE = Path("somewhere/cameras.json")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Broken("has no frames; expected some"), "has no frames; expected some"),
        (KeyError("K"), "has no 'K'; expected a whole file: copy it"),
        (IndexError("list index out of range"), "is broken or cut off; expected a whole file"),
        (RecursionError("maximum recursion depth"), "is nested too deep to be read; expected"),
        (MemoryError(), "claims more than memory holds; expected"),
        (RuntimeError("[enforce fail] can't allocate memory: 9e18"), "claims more than memory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "holds bytes that are no text;"),
        (ValueError("could not convert string to float: 'x'"), "cannot be read (could not conv"),
        (OSError("unknown format"), "cannot be read (unknown format); expected a whole file"),
    ],
)
def test_whatever_fails_inside_names_the_file(error: Exception, said: str) -> None:
    with pytest.raises(Unreadable) as raised, foreign.reading(FILE, "a whole file: copy it"):
        raise error
    assert str(raised.value).startswith(f"{FILE}: {said}")


@pytest.mark.parametrize(
    "error", [ValueError(f"{FILE} is empty"), OSError(5, "Input/output error", str(FILE))]
)
def test_sentences_that_name_the_file_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, foreign.reading(FILE, "a whole file"):
        raise error
    assert raised.value is error


def test_parts_are_named_before_what_is_wrong_with_them() -> None:
    with pytest.raises(Unreadable) as raised, foreign.reading(FILE, "a whole file"):
        with foreign.part("frame 3"):
            Record({"fl_x": "wide"}).number("fl_x")
    assert str(raised.value) == f"{FILE}: frame 3: has `fl_x`: 'wide'; expected a number"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1', "line 1 is not JSON"),
        (b"\xff\xfe", "is no text"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" + b"[]," * 13_000_000 + b"0]", "claims 1.87 GB for lists"),
    ],
)
def test_json_that_is_none(text: bytes, said: str) -> None:
    with pytest.raises(Broken, match=said):
        foreign.parsed(text)


@pytest.mark.parametrize(
    "value", [None, True, "1", [1], {}, float("nan"), float("inf"), 10**400, 0, -1, 3.5]
)
def test_a_whole_number_is_one(value: Any) -> None:
    record = Record.of(json.loads(json.dumps({"w": value})))
    with pytest.raises(Broken, match=r"has (no )?`w`.*; expected a whole number of 1 or more"):
        record.whole("w", least=1)
    assert Record({"w": 8.0}).whole("w") == 8 and Record({}).whole("w", 5) == 5


@pytest.mark.parametrize(
    "value", [None, 3, [[1, 2], [3]], [[1, 2, 3]], [["a", 1], [2, 3]], [[1, 10**400], [2, 3]]]
)
def test_numbers_have_the_shape_asked_for(value: Any) -> None:
    with pytest.raises(Broken, match="`K`"):
        Record({"K": value}).numbers("K", 2, 2)
    assert Record({"K": [[1, 2], [3, 4]]}).numbers("K", -1, 2).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("value", ["a\0b", "\ud800", 7])
def test_texts_can_be_names_of_files(value: Any) -> None:
    with pytest.raises(Broken, match="expected a text"):
        Record({"name": value}).text("name")


def test_arrays_claim_no_more_than_there_is() -> None:
    file = io.BytesIO()
    np.save(file, np.arange(6.0).reshape(2, 3))
    data = file.getvalue()
    assert foreign.array(io.BytesIO(data), len(data)).tolist() == [[0, 1, 2], [3, 4, 5]]
    lying = data.replace(b"(2, 3)", b"(9**9,)"[:6])
    huge = data.replace(b"(2, 3), }", b"(2, 3999999), }"[:9])
    for wrong in (lying, huge, data[:70], data[:-1], b"", b"\x93NUMPY\x01\x00\xff\xff"):
        with pytest.raises(Broken):
            foreign.array(io.BytesIO(wrong), len(wrong))
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}]), allow_pickle=True)
    with pytest.raises(Broken, match="Python objects"):
        foreign.array(io.BytesIO(pickled.getvalue()), 10**6)


def test_deflate_gives_no_more_than_it_says() -> None:
    packed = zlib.compress(bytes(10**6))
    assert foreign.unpacked(packed, 10**6) == bytes(10**6)
    with pytest.raises(Broken, match="more than the 1,000 bytes"):
        foreign.unpacked(packed, 1000)
