"""What became of every tensor of a file: used, left out and why, or not in it and made here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mindvis.errors import CheckpointError
from mindvis.models.legacy.names import Place


@dataclass
class Accounts:
    """The weights of a file, each of which must go somewhere.

    Args:
        file: Its name, for messages.
        weights: Those of its state dict, by name.
        used: Filled in: where each went.
        left_out: Filled in: why each was not used.
        made_here: Filled in: weights the file does not have, and what they were set to.
    """

    file: str
    weights: Mapping[str, Tensor]
    used: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    made_here: dict[str, str] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set, init=False, repr=False)

    def take(self, component: str, table: Mapping[str, Place], network: nn.Module) -> None:
        """Put their weights into a network of ours that was built without memory.

        The tensors stay where they are in the file; those of another precision become float32.

        Args:
            component: Name of the network in the report.
            table: Where each of its weights is.
            network: On the meta device; weights that the table does not name must be there.

        Raises:
            CheckpointError: A weight is missing or of another shape.
        """
        expected = network.state_dict()
        taken: dict[str, Tensor] = {}
        for name, place in table.items():
            weight = self._weight(place, tuple(place.theirs(expected[name]).shape))
            taken[name] = self._alone(place.ours(weight).to(expected[name].dtype))
            self.used[place.name] = f"{component}/{name}"
        network.load_state_dict(taken, strict=False, assign=True)

    def _weight(self, place: Place, shape: tuple[int, ...]) -> Tensor:
        if place.name not in self.weights:
            raise CheckpointError(
                f"{self.file} has no {place.name}",
                f"it, of shape {shape}, beside the others",
                "give a whole checkpoint, and the configuration it was trained with",
            )
        weight = self.weights[place.name]
        if tuple(weight.shape) != shape:
            raise CheckpointError(
                f"{place.name} in {self.file} has shape {tuple(weight.shape)}",
                f"{shape}, by the sizes of the other weights and the configuration",
                "give the configuration that this file was trained with",
            )
        return weight

    def _alone(self, weight: Tensor) -> Tensor:
        """The weight itself where it has its memory to itself, as it should be; else a copy."""
        whole = weight.untyped_storage().nbytes() == weight.numel() * weight.element_size()
        alone = whole and weight.is_contiguous() and weight.data_ptr() not in self._taken
        self._taken.add(weight.data_ptr())
        return weight if alone else weight.clone(memory_format=torch.contiguous_format)

    def leave(self, names: Iterable[str], why: str) -> None:
        """List weights as left out."""
        self.left_out.update(dict.fromkeys(names, why))

    def leave_prefixed(self, reasons: Mapping[str, str]) -> None:
        """List what is not used and begins with one of these, with the reason for each."""
        for prefix, why in reasons.items():
            self.leave(
                [n for n in self.weights if n.startswith(prefix) and n not in self.used], why
            )

    def close(self) -> None:
        """Refuse a weight that went nowhere.

        Raises:
            CheckpointError: It is named.
        """
        surplus = [n for n in self.weights if n not in self.used and n not in self.left_out]
        if surplus:
            more = f" and {len(surplus) - 1} more weights" if len(surplus) > 1 else ""
            raise CheckpointError(
                f"{self.file} has {surplus[0]}{more} that no part of the model reads",
                "the weights of MinD-Vis' own networks alone",
                "give the configuration that this file was trained with",
            )

    def report(self) -> dict[str, Any]:
        """The three lists, for JSON."""
        return {"used": self.used, "left_out": self.left_out, "made_here": self.made_here}

    def summary(self) -> list[str]:
        """Lines for the screen: how many were used, and each reason with its number."""
        reasons = sorted(set(self.left_out.values()))
        counts = [(sum(why == r for why in self.left_out.values()), r) for r in reasons]
        made = [f"made here: {name} ({how})" for name, how in self.made_here.items()]
        lines = [f"{len(self.used)} tensors used"]
        return [*lines, *(f"{count} left out: {reason}" for count, reason in counts), *made]
