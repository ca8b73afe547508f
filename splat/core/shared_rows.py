"""Rows that those of the cloud share: a second cloud beside it, trained and saved as networks are.

A method whose rows have something in common (the Gaussians of a tree, those of a codebook) keeps
what they share in a `Cloud` of its own. It is put among the networks of the model by
`shared_rows`, so that the loop moves it, checkpoints keep it with Adam's moments, and several
processes reduce its gradients, with nothing said of it anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from splat.core.cloud import Cloud
from splat.core.column import Scaling
from splat.core.model import TrainedModule
from splat.system.foreign import Broken

_PARTS = ("values", "first", "second")


class Table(nn.Module):
    """A cloud as a module: its parameters are the columns, its state all that the cloud keeps.

    The state is flat, tensors by name: `feature`, `feature.first`, `feature.second` and
    `feature.count` of each column. It may have another number of rows than the cloud that takes it.
    """

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        del recurse, remove_duplicate
        for name in self.cloud.names:
            values = self.cloud[name]
            assert isinstance(values, nn.Parameter)
            yield (f"{prefix}.{name}" if prefix else name), values

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        del args, kwargs
        found: dict[str, Any] = {}
        for name, column in self.cloud.state_dict()["columns"].items():
            found[name] = column["values"]
            found |= {f"{name}.{part}": column[part] for part in _PARTS[1:]}
            found[f"{name}.count"] = torch.tensor(column["count"])
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> None:
        """Take the rows of a saved table with the same columns; `Broken` where it has others."""
        del strict, assign
        expected = set(self.state_dict())
        if set(state_dict) != expected:
            raise Broken(f"has shared rows of {sorted(state_dict)}; expected {sorted(expected)}")
        columns = {}
        for name in self.cloud.names:
            values, first, second = (
                state_dict[name if part == "values" else f"{name}.{part}"] for part in _PARTS
            )
            count = state_dict[f"{name}.count"]
            if not isinstance(count, Tensor) or count.numel() != 1 or count.is_floating_point():
                raise Broken(f"has no count of the steps of {name}; expected a whole number")
            columns[name] = {
                "values": values, "first": first, "second": second, "count": int(count),
            }  # fmt: skip
        rows = len(columns[self.cloud.names[0]]["values"])
        self.cloud.load_state_dict({"columns": columns, "statistics": {}, "began": rows})


class SharedRows(TrainedModule):
    """Shared rows beside a cloud: moved by `Cloud.optimize`, saved and reduced as networks are."""

    @property
    def cloud(self) -> Cloud:
        """The rows."""
        assert isinstance(self.module, Table)
        return self.module.cloud

    def optimize(self, step: int, rate_scale: float, scaling: Scaling = Scaling()) -> None:  # noqa: B008
        self.cloud.rate_scale, self.cloud.scaling = rate_scale, scaling
        self.cloud.optimize(step)

    def regroup(self, was: int, now: int) -> None:
        self.cloud.regroup(was, now)


def shared_rows(cloud: Cloud) -> SharedRows:
    """The rows of a cloud, to be put among the networks of a model (`Model.beside`)."""
    return SharedRows(Table(cloud), _Moved())


class _Moved(torch.optim.Optimizer):
    """In place of an optimizer: the cloud moves its rows itself, and keeps their moments."""

    def __init__(self) -> None:
        super().__init__([torch.zeros(0)], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        del closure

    def zero_grad(self, set_to_none: bool = True) -> None:
        del set_to_none  # `Cloud.optimize` lets gradients go

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        del state_dict
