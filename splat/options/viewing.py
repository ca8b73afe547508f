"""The live viewer of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from splat.system.numbers import hint
from splat.system.ranges import at_least, check_fields, within


@dataclass(frozen=True)
class Viewing:
    """The live viewer: a page on which a run is watched, steered and exported."""

    viewer: Annotated[bool, hint("on a terminal, where it is installed")] = False
    """Serve the viewer while the run trains, and afterwards as long as a browser is there (until
    Ctrl-C where --viewer is given). Results do not depend on it."""
    host: str = "localhost"
    """Address that the viewer listens on. Any but this machine's own is open to the network, and
    then asks for a token."""
    port: int = 8080
    """Port of the viewer; the next free one if it is taken."""
    token: Annotated[str | None, hint("made where one is needed")] = None
    """Token that a browser must give to be let in."""
    viewer_share: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.1
    """Largest share of training's time for the viewer's pictures while somebody moves; less while
    nobody does."""
    snapshots: Annotated[int, at_least(0)] = 40
    """Snapshots of the run to scrub through, kept in its folder."""
    stay: bool = False
    """Serve the finished run until Ctrl-C, whether or not a browser is there."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
