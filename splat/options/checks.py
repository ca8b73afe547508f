"""Whether a value is one that an option takes."""

from __future__ import annotations


def least(name: str, value: int | None, lowest: int) -> None:
    if value is not None and value < lowest:
        raise ValueError(f"{name} is {value}; expected {lowest} or more")


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """The command line checks this too; in Python another word would count as the default."""
    if value not in allowed:
        *others, last = allowed
        raise ValueError(f"{name} is {value!r}; expected {', '.join(others)} or {last}")
