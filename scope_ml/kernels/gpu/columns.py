"""Light curves as the kernels of a method take them: flat columns, uploaded once.

May import the rooms `device` and `tasks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from scope_ml.kernels.gpu.device import DeviceArray, upload_together
from scope_ml.kernels.gpu.tasks import TASK, Pieces

__all__ = ["Columns", "Packed", "Variant", "numbers", "stack"]

#: Macros that specialise a kernel for some of the light curves.
Variant: TypeAlias = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One light curve.

    Attributes
    ----------
    variant
        See `Columns`.
    points
        A value per point, in the order of the kernel's arguments; the first is time.
    lists
        Further arrays, and in which element of ``Task.whole`` the kernel finds where this light curve's begins.
    real, whole
        Numbers for ``Task.real`` and ``Task.whole``, at most four each.
    """

    variant: Variant
    points: tuple[NDArray[Any], ...]
    lists: tuple[tuple[NDArray[Any], int], ...] = ()
    real: tuple[float, ...] = ()
    whole: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Light curves one after the other.

    Attributes
    ----------
    variants, variant
        The variants there are, and which of them each light curve is of, int64 (n,).
    n_obs
        Points of each, int32 (n,).
    arrays
        The kernel's arguments between tasks and result: columns with a value per point, time first, then lists.
    real, whole
        ``Task.real`` and ``Task.whole`` of each, float64 and int32 (n, 4).
    """

    variants: tuple[Variant, ...]
    variant: NDArray[np.int64]
    n_obs: NDArray[np.int32]
    arrays: tuple[NDArray[Any], ...]
    real: NDArray[np.float64]
    whole: NDArray[np.int32]
    _uploaded: list[DeviceArray] = field(default_factory=list)

    def on_device(self) -> tuple[DeviceArray, ...]:
        """Return the arrays on the device."""
        if not self._uploaded:
            self._uploaded.extend(upload_together(*self.arrays))
        return tuple(self._uploaded)

    def tasks(self, pieces: Pieces) -> NDArray[np.void]:
        """Return tasks (`TASK`) for pieces whose rows are these light curves."""
        tasks = np.zeros(pieces.row.size, dtype=TASK)
        tasks["frequency"], tasks["step"], tasks["count"] = pieces.frequency, pieces.step, pieces.count
        tasks["out"] = pieces.out[:-1]
        tasks["row"] = pieces.row
        tasks["point"] = (np.cumsum(self.n_obs) - self.n_obs)[pieces.row]
        tasks["n_points"] = self.n_obs[pieces.row]
        tasks["real"], tasks["whole"] = self.real[pieces.row], self.whole[pieces.row]
        return tasks


def numbers(n_rows: int, *columns: NDArray[Any] | float, dtype: DTypeLike) -> NDArray[Any]:
    """Return columns, or one value for all, side by side, (n_rows, 4)."""
    table: NDArray[Any] = np.zeros((n_rows, 4), dtype=dtype)
    for i, column in enumerate(columns):
        table[:, i] = column
    return table


def stack(packed: Sequence[Packed]) -> Columns:
    """Return light curves that were packed one by one."""
    variants = tuple(dict.fromkeys(curve.variant for curve in packed))
    real, whole = np.zeros((len(packed), 4)), np.zeros((len(packed), 4), dtype=np.int32)
    for i, curve in enumerate(packed):
        real[i, : len(curve.real)] = curve.real
        whole[i, : len(curve.whole)] = curve.whole
    arrays = [np.concatenate(column) for column in zip(*(curve.points for curve in packed), strict=True)]
    for entries in zip(*(curve.lists for curve in packed), strict=True):
        sizes = [array.size for array, _ in entries]
        whole[:, entries[0][1]] = np.concatenate(([0], np.cumsum(sizes)[:-1]))
        arrays.append(np.concatenate([array for array, _ in entries]))
    return Columns(
        variants=variants,
        variant=np.array([variants.index(curve.variant) for curve in packed], dtype=np.int64),
        n_obs=np.array([curve.points[0].size for curve in packed], dtype=np.int32),
        arrays=tuple(arrays),
        real=real,
        whole=whole,
    )
