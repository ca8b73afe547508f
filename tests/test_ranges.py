"""Ranges of fields: what is held, what is said, what help shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from splat.options import Options, Watching
from splat.options.parse import parsed
from splat.system.ranges import Range, above, at_least, check_fields, within


@dataclass(frozen=True)
class Base:
    count: Annotated[int, at_least(1)] = 5
    """How many."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)


@dataclass(frozen=True)
class Numbers(Base):
    size: Annotated[float | None, above(0, default="as it is")] = None
    """How large."""
    some_share: Annotated[float, within(0, 1, low_open=True, note="0.2 is published")] = 0.2
    """Of what."""
    at: Annotated[tuple[int, ...], at_least(1)] = (1, 2)
    """When."""
    word: Literal["auto", "mean"] = "auto"
    """Which."""


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"count": 0}, r"^count is 0; expected 1 or more$"),
        ({"count": -12_000}, "count is -12,000; expected 1 or more"),
        ({"size": 0.0}, r"^size is 0; expected above 0$"),
        ({"size": math.nan}, "size is nan; expected above 0"),
        ({"some_share": 0}, "some-share is 0; expected above 0 and up to 1; 0.2 is published"),
        ({"some_share": 1.5}, "some-share is 1.5"),
        ({"size": math.inf}, "size is inf"),
        ({"at": (3, 0)}, "at is 0; expected 1 or more"),
        ({"word": "most"}, "word is 'most'; expected auto or mean"),
    ],
)
def test_what_is_out_of_range_is_one_sentence(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Numbers(**fields)  # type: ignore[arg-type]


def test_what_is_in_range_or_open_passes() -> None:
    Numbers(count=1, size=None, some_share=1, at=())
    ends = [Range(0, 1, high_open=True).holds(x) for x in (0, 0.5, 1, -1)]
    assert ends == [True, True, False, False]
    assert Range(0, 1).text == "from 0 to 1"
    assert Range(0, 1, True, True).text == "above 0 and below 1"


def test_help_shows_ranges(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(Numbers, "numbers", ["--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "How many. (default: 5; 1 or more)" in shown
    assert "How large. (default: as it is; above 0)" in shown
    assert "(default: 0.2; above 0 and up to 1)" in shown


def test_options_of_a_run_are_held_to_theirs() -> None:
    for wrong, said in (
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"minutes": -1.0}, "minutes is -1; expected above 0"),
        ({"ssim_weight": 2.0}, "ssim-weight is 2; expected from 0 to 1"),
        ({"finish_share": 0.0}, "finish-share is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Options(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keep is 0; expected 1 or more"):
        Watching(keep=0)
