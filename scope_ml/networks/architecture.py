"""What the network is made of: layers, shapes, and where each parameter lies in one flat vector.

::

    features (k)      Dense 256 - Dropout .25 - Dense 32
    dmdt (26, 26, 1)  SepConv 16 - SepConv 16 - Dropout .25 - MaxPool 2
                      - SepConv 32 - SepConv 32 - Dropout .25 - GlobalAveragePool
    both joined       Dropout .4 - Dense 16 - Dense n_outputs (logits)

This is the network that SCoPe used in production (arXiv:2312.00143): 27,642 parameters with both branches, 61 features
and one output. Convolutions are 3 x 3 without padding, activations are relu, scores are the sigmoids of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import numpy.typing as npt

from scope_ml.errors import ConfigError

__all__ = ["Architecture", "Dropout", "Slot"]

#: Pixels of a dm-dt image: magnitude difference by time difference.
IMAGE_SIZE = 26
KERNEL_SIZE = 3
POOL_SIZE = 2
DENSE_UNITS = (256, 32)
CONVOLUTION_FILTERS = (16, 32)
HEAD_UNITS = 16
BRANCH_DROPOUT = 0.25
HEAD_DROPOUT = 0.4

#: Numbers of the dropout layers, which their random draws depend on.
FEATURES_DROPOUT, DMDT_DROPOUT_1, DMDT_DROPOUT_2, HEAD_DROPOUT_LAYER = 1, 2, 3, 4


@dataclass(frozen=True)
class Slot:
    """One kernel or bias: its name (``layer/variable``), shape, and place [start, stop) in the flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Dropout:
    """One dropout layer: its number (for `draws`), name, rate, and the shape of one row that it works on."""

    number: int
    name: str
    rate: float
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network: its inputs, branches and outputs.

    Attributes
    ----------
    n_features
        Features of the dense branch; 0 without that branch, whatever was given.
    dense_branch, dmdt_branch
        Which branches it has.
    n_outputs
        Logits.

    Raises
    ------
    ConfigError
        If both branches are off, or a number is below one.
    """

    n_features: int
    dense_branch: bool = True
    dmdt_branch: bool = False
    n_outputs: int = 1

    def __post_init__(self) -> None:
        """Check once."""
        if not (self.dense_branch or self.dmdt_branch):
            raise ConfigError("algorithm.dense_branch and algorithm.dmdt_branch are both false; one must stay on")
        if self.n_outputs < 1 or (self.dense_branch and self.n_features < 1):
            raise ConfigError(f"a network needs features and outputs, got {self.n_features} and {self.n_outputs}")
        if not self.dense_branch:
            object.__setattr__(self, "n_features", 0)

    @property
    def n_joined(self) -> int:
        """Return the units that enter the head: 32 from each branch."""
        return DENSE_UNITS[1] * self.dense_branch + CONVOLUTION_FILTERS[1] * self.dmdt_branch

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """Return every parameter array in the order of the flat vector, C order within each."""
        slots: list[Slot] = []
        for name, shape in self._shapes():
            start = slots[-1].stop if slots else 0
            slots.append(Slot(name, shape, start, start + prod(shape)))
        return tuple(slots)

    @cached_property
    def n_parameters(self) -> int:
        """Return P, the length of the flat vector."""
        return self.slots[-1].stop

    @cached_property
    def dropouts(self) -> tuple[Dropout, ...]:
        """Return the dropout layers that this network has."""
        layers = []
        if self.dense_branch:
            layers.append(Dropout(FEATURES_DROPOUT, "features_dropout", BRANCH_DROPOUT, (DENSE_UNITS[0],)))
        if self.dmdt_branch:
            first, second = CONVOLUTION_FILTERS
            layers.append(Dropout(DMDT_DROPOUT_1, "dmdt_dropout_1", BRANCH_DROPOUT, (22, 22, first)))
            layers.append(Dropout(DMDT_DROPOUT_2, "dmdt_dropout_2", BRANCH_DROPOUT, (7, 7, second)))
        layers.append(Dropout(HEAD_DROPOUT_LAYER, "head_dropout", HEAD_DROPOUT, (self.n_joined,)))
        return tuple(layers)

    def slot(self, name: str) -> Slot:
        """Return the slot called `name`."""
        return next(slot for slot in self.slots if slot.name == name)

    def views(self, parameters: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        """Return views of (..., P) parameters by slot name, each (..., shape of the slot); works for CuPy too."""
        lead = parameters.shape[:-1]
        return {slot.name: parameters[..., slot.start : slot.stop].reshape(*lead, *slot.shape) for slot in self.slots}

    def _shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        shapes: list[tuple[str, tuple[int, ...]]] = []
        if self.dense_branch:
            shapes += _dense("features_dense_1", self.n_features, DENSE_UNITS[0])
            shapes += _dense("features_dense_2", *DENSE_UNITS)
        if self.dmdt_branch:
            channels = 1
            for block, filters in enumerate(CONVOLUTION_FILTERS, start=1):
                for layer in (1, 2):
                    shapes += _separable(f"dmdt_convolution_{block}_{layer}", channels, filters)
                    channels = filters
        shapes += _dense("head_dense", self.n_joined, HEAD_UNITS)
        return shapes + _dense("logit", HEAD_UNITS, self.n_outputs)


def _dense(name: str, n_in: int, n_out: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(f"{name}/kernel", (n_in, n_out)), (f"{name}/bias", (n_out,))]


def _separable(name: str, n_in: int, n_out: int) -> list[tuple[str, tuple[int, ...]]]:
    return [
        (f"{name}/depthwise", (KERNEL_SIZE, KERNEL_SIZE, n_in, 1)),
        (f"{name}/pointwise", (1, 1, n_in, n_out)),
        (f"{name}/bias", (n_out,)),
    ]
