"""The native kernels for the CPU as they were built, and which of their instruction sets is in use;
what asks for this alone waits for no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

try:
    from splat import _cpu
except ImportError as error:
    raise ImportError(
        "splat's native kernels are not built: install the package with `pip install .`"
        f" (or `pip install -e .`) from its source folder ({error})"
    ) from error

cpu = _cpu
"""The CPU kernels' own module."""
_ISAS = ("avx512", "avx2", "neon", "base")
_isa: str = os.environ.get("SPLAT_ISA") or cpu.best_isa()
if _isa not in _ISAS or not cpu.has_isa(_isa):
    raise ImportError(
        f"SPLAT_ISA={_isa!r} cannot run here; this machine has"
        f" {', '.join(name for name in _ISAS if cpu.has_isa(name))}"
    )
if os.name == "posix":
    os.register_at_fork(after_in_child=cpu.forget_threads)


def isas() -> tuple[str, ...]:
    """Instruction sets that were built and can run here, the fastest first."""
    return tuple(name for name in _ISAS if cpu.has_isa(name))


def isa() -> str:
    """The instruction set in use for float32."""
    return _isa


@contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Run with another instruction set (tests, benchmarks)."""
    global _isa
    if name not in isas():
        raise ValueError(f"instruction set {name!r} cannot run here; there are {isas()}")
    before, _isa = _isa, name
    try:
        yield
    finally:
        _isa = before
