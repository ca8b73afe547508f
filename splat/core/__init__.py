"""What a method is made of: rows with their moments, edits, models, strategies, losses.

One door for authors of methods: `from splat.core import Edit, Step, Strategy, due`. What methods
share beyond it is in `splat.rules`. A name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from splat.system.lazy import on_demand

if TYPE_CHECKING:
    from splat.core.chain import Chain
    from splat.core.cloud import Cloud
    from splat.core.edit import Append, Assign, Change, Drop, Edit, Nudge, Overwrite, Rows, Zero
    from splat.core.families import limited_births
    from splat.core.model import Explicit, Making, Model
    from splat.core.objective import Objective
    from splat.core.schedule import at, due, dues, every
    from splat.core.step import Step
    from splat.core.strategy import Fixed, Recycler, Start, Strategy, Wrapper
    from splat.types import Needs

__all__ = [
    "Append",
    "Assign",
    "Chain",
    "Change",
    "Cloud",
    "Drop",
    "Edit",
    "Explicit",
    "Fixed",
    "Making",
    "Model",
    "Needs",
    "Nudge",
    "Objective",
    "Overwrite",
    "Recycler",
    "Rows",
    "Start",
    "Step",
    "Strategy",
    "Wrapper",
    "Zero",
    "at",
    "due",
    "dues",
    "every",
    "limited_births",
]
_MODULES = {
    "splat.core.chain": "Chain",
    "splat.core.cloud": "Cloud",
    "splat.core.edit": "Append Assign Change Drop Edit Nudge Overwrite Rows Zero",
    "splat.core.families": "limited_births",
    "splat.core.model": "Explicit Making Model",
    "splat.core.objective": "Objective",
    "splat.core.schedule": "at due dues every",
    "splat.core.step": "Step",
    "splat.core.strategy": "Fixed Recycler Start Strategy Wrapper",
    "splat.types": "Needs",
}
__getattr__ = on_demand(
    __name__, {name: module for module, names in _MODULES.items() for name in names.split()}
)
