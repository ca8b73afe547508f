"""Others that are imported as `splat`: whether one is here too, and what to do, in a sentence.

A package of the same name writes into the same folder, so whichever was installed last has its
`__init__.py` there, and whichever is taken away takes files of the other with it.
"""

from __future__ import annotations

import os
import re

OURS = "splat-toolkit"
OTHERS = {
    "splat": "which analyses spectra of cool stars",
    "splat64": "which takes game cartridges apart, and brings a command `splat`",
}
"""Distributions on PyPI whose top-level package is `splat`, too."""
_RECORD = re.compile(r"(splat|splat64)-[^-]+(-py[\d.]+)?\.(dist|egg)-info", re.IGNORECASE)


def beside(package: str | None) -> tuple[str, ...]:
    """Those of `OTHERS` that are installed into the folder that the package of this file lies in.

    One look at a folder's names: it is done by every `import splat`.
    """
    if package is None:
        return ()
    try:
        names = os.listdir(os.path.dirname(os.path.dirname(package)))
    except OSError:
        return ()
    return tuple(sorted({found[1].lower() for found in map(_RECORD.fullmatch, names) if found}))


def sentence(others: tuple[str, ...]) -> str:
    """What is wrong where `others` lie in our folder, and the commands that mend it."""
    named = " and ".join(f"{other} ({OTHERS[other]})" for other in others)
    return (
        f"{named} is installed beside {OURS}, and both are imported as `splat`, so that each has"
        f" overwritten files of the other: run `pip uninstall {' '.join(others)}`, then"
        f" `pip install --force-reinstall --no-deps {OURS}`, or keep the two in environments of"
        " their own"
    )


def overwritten(found: object) -> str | None:
    """What to say where the module `splat` that was imported is not ours; None: it is."""
    if getattr(found, "_DISTRIBUTION", None) == OURS:
        return None
    place = getattr(found, "__file__", None)
    if place is None:
        return (
            f"the `__init__.py` of {OURS} is gone, as it is once another package called `splat` has"
            f" been uninstalled: run `pip install --force-reinstall --no-deps {OURS}`"
        )
    others = beside(place)
    return sentence(others) if others else f"{place} is not of {OURS}: {sentence(('splat',))}"
