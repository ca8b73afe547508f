"""Contestants that take turns at one step, what came of their rounds, and ratios between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from common import Failed, by_caller, json_of, markdown, medians

YARDSTICK, GSPLAT = "yardstick", "gsplat"
"""How the name of a yardstick begins, which goes on with its script's; and the other's name."""


@dataclass(frozen=True)
class Contestant:
    """A command whose last line is JSON: for each size `iteration_ms`, and what else it knows."""

    name: str
    command: Sequence[str]


@dataclass
class Rounds:
    """Results of each contestant by round; a round that failed is missing and told."""

    results: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    failed: list[dict[str, Any]] = field(default_factory=list)

    def turn(self, contestant: Contestant, number: int) -> None:
        """One round of one contestant."""
        kept = self.results.setdefault(contestant.name, {})
        try:
            kept[number] = json_of(contestant.command)
        except (Failed, OSError) as error:
            self.failed.append({"name": contestant.name, "round": number, "error": str(error)})

    def medians(self) -> dict[str, dict[str, Any]]:
        """Over the rounds of each contestant that has any."""
        return {name: medians(list(kept.values())) for name, kept in self.results.items() if kept}

    def ratio(self, first: str, second: str, size: str, key: str) -> dict[str, Any] | None:
        """`first` over `second`, round by round: what slows the machine down slows both."""
        a, b = self.results.get(first, {}), self.results.get(second, {})
        rounds = [
            a[number][size][key] / b[number][size][key]
            for number in a
            if number in b and all(key in of[number].get(size, {}) for of in (a, b))
        ]
        return {"median": median(rounds), "rounds": rounds} if rounds else None


def sizes_of(found: Mapping[str, Any]) -> list[str]:
    """The picture sizes that a result tells of."""
    return [key for key, value in found.items() if isinstance(value, Mapping)]


def ratios(rounds: Rounds, ours: Sequence[str]) -> dict[str, Any]:
    """Of our steps to the yardstick's; of gsplat's reference to ours, on its smaller workload."""
    made: dict[str, Any] = {}
    for name in ours:
        for first in list(rounds.results.get(name, {}).values())[:1]:
            for size in sizes_of(first):
                for key in ("iteration_ms", "forward_ms"):
                    for other in (n for n in rounds.results if n.startswith(YARDSTICK)):
                        if found := rounds.ratio(name, other, size, key):
                            made[f"{name} / {other}, {size}, {key}"] = found
    kept = list(rounds.results.get(GSPLAT, {}).values())
    for size in sizes_of(kept[0]) if kept else ():
        each = [found[size]["ratio"] for found in kept]
        name = f"{GSPLAT} / splat, {kept[0]['gaussians']} Gaussians at {size}, iteration_ms"
        made[name] = {"median": median(each), "rounds": each}
    return made


def against(steps: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, Any]:
    """Medians of now over those of a stored reference; and the same with the yardstick divided out.

    The latter is what to look at where machine or load differ.
    """
    made: dict[str, Any] = {}
    then = reference["steps"]
    for name, found in steps.items():
        for size in sizes_of(found):
            now, before = found[size], then.get(name, {}).get(size, {})
            if "iteration_ms" not in now or "iteration_ms" not in before:
                continue
            entry = {"iteration_ms": now["iteration_ms"] / before["iteration_ms"]}
            if "stages" in now and "stages" in before:
                known = by_caller(before["stages"])
                entry["stages"] = {
                    stage: ms / known[stage]
                    for stage, ms in by_caller(now["stages"]).items()
                    if known.get(stage)
                }
            ruler = next((n for n in steps if n.startswith(YARDSTICK)), YARDSTICK)
            rulers = [of.get(ruler, {}).get(size) for of in (steps, then)]
            if name != ruler and all(rulers):
                scale = rulers[0]["iteration_ms"] / rulers[1]["iteration_ms"]
                entry["by_yardstick"] = entry["iteration_ms"] / scale
            made[f"{name}, {size}"] = entry
    return made


def steps_table(steps: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each contestant and size: the step, the forward pass, the loss, the stages."""
    lines = []
    for name, found in steps.items():
        for size in sizes_of(found):
            sides = found[size] if name == GSPLAT else {name: found[size]}
            for side, one in sides.items():
                if isinstance(one, Mapping):
                    lines.append(step_line(side, found, size, one))
    heads = ["contestant", "Gaussians", "size", "ms a step", "forward", "loss", "stages, ms"]
    return markdown(heads, lines)


def step_line(name: str, found: Mapping[str, Any], size: str, one: Mapping[str, Any]) -> list[str]:
    """One line of `steps_table`."""
    stages = one.get("stages", {}).items()
    forms = {"iteration_ms": "{:.2f}", "forward_ms": "{:.2f}", "loss": "{:.6f}"}
    return [
        name,
        str(found.get("gaussians", "")),
        size,
        *(form.format(one[key]) if key in one else "-" for key, form in forms.items()),
        ", ".join(f"{stage} {ms:.2f}" for stage, ms in stages if ms),
    ]


def ratios_table(made: Mapping[str, Mapping[str, Any]]) -> str:
    """Each ratio with its rounds."""
    lines = [
        [name, f"{of['median']:.3f}", ", ".join(f"{r:.3f}" for r in of["rounds"])]
        for name, of in made.items()
    ]
    return markdown(["ratio", "median", "rounds"], lines)


def against_table(made: Mapping[str, Mapping[str, Any]]) -> str:
    """Ratios to the stored reference; below 1 is faster than then."""
    lines = []
    for name, of in made.items():
        ruled = f"{of['by_yardstick']:.3f}" if "by_yardstick" in of else "-"
        stages = ", ".join(f"{stage} {r:.2f}" for stage, r in of.get("stages", {}).items())
        lines.append([name, f"{of['iteration_ms']:.3f}", ruled, stages])
    return markdown(["now / reference", "step", "yardstick divided out", "stages"], lines)
