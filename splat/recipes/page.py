"""A strategy in words: what it is, its fields, what it asks for, and at which steps it acts."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from splat.core.chain import Chain
from splat.core.fields import field_docs, statistics
from splat.core.schedule import PUBLISHED_STEPS
from splat.core.strategy import Strategy, Wrapper
from splat.recipes.recipe import names, to_text_or_names

WIDTH = 96
"""Columns of what is printed."""
MOST_RANGES = 6
"""Most ranges of steps in a line."""


def page(strategy: Strategy, steps: int) -> str:
    """Everything about a strategy, for a run of so many steps."""
    fitted = strategy.scheduled(steps)
    blocks = [to_text_or_names(strategy)]
    pairs = zip(parts(strategy), parts(fitted), strict=True)
    blocks += [_part(part, own, steps) for part, own in pairs]
    blocks.append("\n".join(_lines(requests(fitted))))
    acts = fitted.acts(steps)
    heading = f"in a run of {steps:,} steps (counted as done)"
    lines = [f"  {action}: {steps_text(when)}" for action, when in acts.items()]
    lines += [f"  {act}: never" for act in never_done(strategy, fitted, steps) if act not in acts]
    blocks.append("\n".join([heading, *(lines or ["  it names no step at which it acts"])]))
    return "\n\n".join(blocks)


def never_done(strategy: Strategy, fitted: Strategy, steps: int) -> list[str]:
    """What a strategy does in a run as published and not in one of `steps`, which it is `fitted`
    to."""
    here = fitted.acts(steps)
    published = strategy.acts(PUBLISHED_STEPS)
    return [act for act in {**published, **here} if not here.get(act)]


def parts(strategy: Strategy) -> Iterator[Strategy]:
    """A strategy and the strategies it is composed of, in the order of its recipe."""
    if isinstance(strategy, Chain):
        for part in strategy.parts:
            yield from parts(part)
        return
    if isinstance(strategy, Wrapper):
        yield from parts(strategy.base)
    yield strategy


def requests(strategy: Strategy) -> dict[str, str]:
    """What a strategy asks of a run, in words by topic."""
    needs = strategy.needs
    wanted = ["absolute screen gradients"] * needs.absolute_gradient + ["depth"] * needs.depth
    wanted += [f"weighted sums of {each}" for each in needs.weights]
    objectives = [f"{name} ({term})" for name, term in strategy.objectives().items()]
    start = strategy.start
    return {
        "most rows": f"{strategy.cap:,}" if strategy.cap else "no limit",
        "rows begin": f"with opacity {start.opacity:g}, and {start.scale:g} of the mean distance"
        " to the three nearest points for a scale",
        "asks of the renderer": ", ".join(wanted) or "nothing beyond the picture",
        "statistics of rows": _remembered(strategy),
        "terms of the loss": ", ".join(objectives) or "none of its own",
        "moves dead rows": "yes" if strategy.recycles else "no",
        "resets opacity": "yes" if strategy.resets else "no",
    }


def _remembered(strategy: Strategy) -> str:
    try:
        return ", ".join(statistics(strategy)) or "none"
    except ValueError as error:  # it is not whole yet, and says what is missing
        return f"not known: {error}"


def steps_text(steps: Sequence[int]) -> str:
    """Steps in short: 600, 700 ... 14,900 (144 times)."""
    if not steps:
        return "never"
    runs = _runs(steps)
    words = [_run(run) for run in runs[:MOST_RANGES]]
    if len(runs) > MOST_RANGES:
        words[-1:] = ["...", f"{steps[-1]:,}"]
    times = f" ({len(steps):,} times)" if len(steps) > 3 else ""
    return ", ".join(words).replace(", ...,", " ...") + times


def _part(strategy: Strategy, fitted: Strategy, steps: int) -> str:
    name = names(strategy).rpartition(" + ")[2]
    text = inspect.cleandoc(type(strategy).__doc__ or "")
    lines = [f"{name}: {text}", "", *_options(strategy, fitted)]
    if any(" -> " in line for line in lines):
        lines.insert(2, f"  (a -> b: a becomes b in a run of {steps:,} steps)")
    return "\n".join(lines).rstrip()


def _options(part: Any, fitted: Any) -> list[str]:
    """The options of a strategy with their values; a field that is a dataclass has options of its
    own."""
    docs = field_docs(type(part))
    lines = []
    for field in _fields(part):
        if field.name == "base" and isinstance(part, Wrapper):
            continue
        value, then = getattr(part, field.name), getattr(fitted, field.name)
        if _fields(value) and not isinstance(value, Strategy):
            lines += _options(value, then)
            continue
        shown = _value(value) if value == then else f"{_value(value)} -> {_value(then)}"
        lines.append(f"  --{field.name.replace('_', '-')}  {shown}")
        if doc := docs.get(field.name):
            lines.append(
                textwrap.fill(doc, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
            )
    return lines


def _fields(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def _lines(record: dict[str, str]) -> list[str]:
    width = max(map(len, record))
    return [f"{name:{width}}  {text}" for name, text in record.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return " ".join(map(_value, value)) or "none"
    return str(value) or "none"


def _runs(steps: Sequence[int]) -> list[list[int]]:
    """The steps cut into arithmetic sequences, each as long as possible."""
    runs: list[list[int]] = []
    for step in steps:
        last = runs[-1] if runs else []
        if len(last) == 1 or (len(last) > 1 and step - last[-1] == last[1] - last[0]):
            last.append(step)
        else:
            runs.append([step])
    return runs


def _run(run: Sequence[int]) -> str:
    if len(run) < 4:
        return ", ".join(f"{step:,}" for step in run)
    return f"{run[0]:,}, {run[1]:,} ... {run[-1]:,}"
