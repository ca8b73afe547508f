"""`splat doctor`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from splat.cli import machine_check
from splat.options.parse import parsed


@dataclass(frozen=True)
class Doctor:
    """Say what this machine can do, what is missing, and the command that brings it."""

    json: bool = False
    """Print it as JSON."""


MARKS = {"good": "ok", "missing": "--", "broken": "NO"}


def main(arguments: Sequence[str]) -> int:
    """Print the checks; 1 where something is broken without which nothing can be trained."""
    asked = parsed(Doctor, "doctor", arguments)
    found = machine_check.checks()
    if asked.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        width = max(len(check.name) for check in found)
        for check in found:
            print(f"{MARKS[check.state]}  {check.name:{width}}  {check.found}")
            if check.remedy:
                print(f"    {'':{width}}  -> {check.remedy}")
    return 1 if any(check.state == "broken" for check in found) else 0
