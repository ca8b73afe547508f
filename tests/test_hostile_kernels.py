"""Kernels touch no memory but that of their arrays, and refuse arrays that do not fit."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest
from hostile import kernels

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pages are guarded by mprotect")
CALLS = 1100


@pytest.mark.slow
def test_kernels_stay_within_their_arrays() -> None:
    counts, wrong = kernels.called(kernels.NAMES, seed="tests", calls=CALLS)
    assert not wrong, f"{kernels.table(counts)}\n{wrong[:5]}"
    assert sum(sum(found.values()) for found in counts.values()) == CALLS
    for name, found in counts.items():
        assert found["done"] > found["refused"] > 0, f"{name}: {found}"


@pytest.mark.parametrize("side", ["end", "begin"])
def test_what_lies_beyond_an_array_is_guarded(side: str) -> None:
    """A read behind its end, or before its begin, kills; a write beside it is seen."""
    code = f"""
import ctypes
from hostile.guards import Block, Overrun
block = Block(40, {side!r})
beside = block.address - 1 if {side!r} == "end" else block.address + 40
block.check("x")
ctypes.memset(beside, 0, 1)
try:
    block.check("x")
except Overrun as error:
    print(error, flush=True)
    ctypes.string_at(block.address + 40 if {side!r} == "end" else block.address - 1, 1)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=kernels.environment(), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout == "x: bytes beside its 40 were written\n", done.stderr
    assert done.returncode < 0 and ctypes.sizeof(ctypes.c_void_p) == 8
