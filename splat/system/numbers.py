"""Numbers as people write them: 200k, 1.5M, 2GB."""

from __future__ import annotations

import re
from typing import Any

import tyro

_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def whole(text: str) -> int:
    """An integer as people write it: 7000, 7_000, 200k, 1.5M, and for bytes 512MB, 2GB, 1GiB."""
    match = re.fullmatch(
        r"([-+]?[0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)([kmg]?)(i?b)?", text.lower()
    )
    if match is None:
        raise ValueError(f"{text!r} is no whole number; expected such as 7000, 200k, 1.5M or 2GB")
    digits, letter, unit = match.groups()
    factor = _FACTORS[letter]
    if unit == "ib":
        factor = 1024 ** list(_FACTORS).index(letter)
    value = float(digits.replace("_", "").replace(",", "")) * factor
    if abs(value - round(value)) > 1e-6 * max(1.0, abs(value)):
        raise ValueError(f"{text!r} is no whole number; expected such as 7000, 200k, 1.5M or 2GB")
    return round(value)


def amount(text: str) -> tuple[int, bool]:
    """A budget of Gaussians or, True, of bytes: 200k, or 12MB."""
    count = whole(text)
    if count < 1:
        raise ValueError(f"budget is {text!r}; expected at least 1 Gaussian, such as 200k or 12MB")
    return count, text.lower().endswith("b")


def hint(default: str) -> Any:
    """An option whose help says this of its default."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")
