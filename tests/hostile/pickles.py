"""Mutations of the operations of a pickle, as in checkpoints."""

from __future__ import annotations

import pickle
import pickletools
import struct
from random import Random

from .pieces import blind, field

_GLOBALS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n", b"ctorch\nDoubleStorage\n", b"ccollections\nOrderedDict\n",
    b"ctorch\nfloat64\n", b"ctorch\nSize\n", b"cbuiltins\nbytearray\n", b"cbuiltins\nset\n",
    b"ctorch\nUntypedStorage\n", b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\ndevice\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n",
    b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\n_reconstruct\n",
)  # fmt: skip
_SIMPLE = b"N\x88\x89]}).e(tRubasQ02\x85\x86\x87"
"""Operations without an argument."""


def pickle_mutated(data: bytes, draw: Random) -> bytes:
    """A pickle with an operation changed, left out or repeated."""
    try:
        places = [(op, at) for op, _, at in pickletools.genops(data)]
    except (ValueError, EOFError, pickle.UnpicklingError):
        return blind(data, draw)
    ends = [at for _, at in places[1:]] + [len(data)]
    for _ in range(draw.choice((1, 1, 1, 2))):
        i = draw.randrange(len(places))
        op, start = places[i]
        end = ends[i]
        old = data[start:end]
        if op.name == "GLOBAL" and draw.random() < 0.7:
            new = draw.choice(_GLOBALS)
        elif op.name.startswith("BININT") and draw.random() < 0.7:
            new = b"J" + struct.pack("<i", draw.choice((0, 1, -1, 8, 1 << 20, (1 << 31) - 1)))
            new = draw.choice((new, b"\x8a\x08" + field(draw, "Q"), b"G" + field(draw, "d"), b"N"))
        elif op.name == "BINUNICODE" and draw.random() < 0.7:
            text = draw.choice((b"", b"x", b"cpu", b"cuda:0", b"meta", b"storage", b"0", b"9" * 400,
                                b"\xff", old[5:-1], old[5:] + b"x"))  # fmt: skip
            new = b"X" + struct.pack("<I", len(text)) + text
        else:
            new = (old + old, b"", bytes([draw.choice(_SIMPLE)]), blind(old, draw))[
                draw.randrange(4)
            ]
            if draw.random() < 0.03:
                new = b"]" * 50 + b"(" * draw.choice((10, 20_000))
        if draw.random() < 0.5 or i == len(places) - 1:
            return data[:start] + new + data[end:]
        # What was found lies elsewhere once lengths change, so a second change keeps them.
        if len(new) == len(old):
            data = data[:start] + new + data[end:]
        else:
            return data[:start] + new + data[end:]
    return data
