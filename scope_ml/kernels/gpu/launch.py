"""Runs the kernels of a method over light curves that lie on the device together.

May import the rooms `chunk`, `columns`, `device`, `flat` and `tasks`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scope_ml.kernels.gpu.chunk import Chunk
from scope_ml.kernels.gpu.columns import Columns, Variant
from scope_ml.kernels.gpu.device import DeviceArray, Program, empty, launch, upload
from scope_ml.kernels.gpu.flat import Flat
from scope_ml.kernels.gpu.tasks import Pieces
from scope_ml.kernels.search import Method

__all__ = ["DeviceMethod", "KnowsNoise", "evaluate"]


class DeviceMethod(Protocol):
    """What a method's room ``gpu`` gives to the driver."""

    @property
    def method(self) -> Method:
        """What the driver of the CPU knows of it; `prepare` is not called."""
        ...

    def pack(self, chunk: Chunk) -> Columns:
        """Make light curves ready for the kernels."""
        ...

    def programs(self, variant: Variant) -> tuple[Program, ...]:
        """Return the kernels to run one after the other on light curves of a variant."""
        ...


@runtime_checkable
class KnowsNoise(Protocol):
    """A method that gives the false-alarm probabilities of many light curves at once.

    One by one they cost the host more time than the search takes on the device.
    """

    def false_alarms(
        self, statistic: NDArray[np.float64], chunk: Chunk, flat: Flat, width: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return what ``method.false_alarm`` gives for each row of `statistic`, (n, n_peaks), and `width`, (n,).

        `flat` is that of `chunk`, whose light curves have one band each.
        """
        ...


def evaluate(method: DeviceMethod, columns: Columns, pieces: Pieces) -> DeviceArray:
    """Start computing the statistic of all pieces; return the buffer to be filled, float32 (pieces.out[-1],).

    Parameters
    ----------
    method
        Whose kernels.
    columns
        Light curves, packed by the same method.
    pieces
        At most `chunk.MOST_TASKS`.
    """
    tasks = columns.tasks(pieces)
    values = empty(int(pieces.out[-1]), np.float32)
    variant = columns.variant[pieces.row]
    for code in np.unique(variant):
        chosen = tasks[variant == code]
        on_device = upload(chosen)
        for program in method.programs(columns.variants[code]):
            blocks = -(-int(chosen["count"].max()) // program.per_block)
            launch(program, (blocks, chosen.size), (on_device, *columns.on_device(), values))
    return values
