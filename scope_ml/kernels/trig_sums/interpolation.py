"""From sums on a lattice of frequencies to the trial frequencies between: a Kaiser-Bessel kernel of a few taps.

With ``ratio`` trial frequencies per lattice step the offsets between the two repeat, so a few sets of taps do for the
whole grid, and each set runs over consecutive lattice frequencies. Kernel and transform: Kaiser & Schafer 1980, IEEE
Trans. Acoust. Speech Signal Process. 28, 105.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import i0

__all__ = ["TAPS", "Kernel", "gather", "interpolate"]

#: Lattice frequencies that a trial frequency is interpolated from: error 3e-9 of the sum of the absolute strengths
#: where the lattice is twice as fine as it must be, 1e-11 where it is five times; `interpolate` has them unrolled.
TAPS = 10

#: Shape of the kernel relative to the one whose transform ends at the first alias; least error, measured.
SHAPE = 0.985


@dataclass(frozen=True)
class Kernel:
    """Kaiser-Bessel kernel for times that span `reach` of the period ``1 / spacing`` of the lattice's sums."""

    reach: float

    @property
    def beta(self) -> float:
        """Return the shape parameter."""
        return math.pi * TAPS * (1.0 - 0.5 * self.reach) * SHAPE

    def transform(self, phase: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transform, by which strengths are divided, at phases per lattice step [cycles]."""
        root = np.sqrt(self.beta**2 - (math.pi * TAPS * phase) ** 2)
        value: NDArray[np.float64] = TAPS * np.sinh(root) / root
        return value

    def taps(self, position: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the first of the lattice frequencies and the factors (..., `TAPS`) for positions [lattice steps]."""
        first = np.ceil(position - 0.5 * TAPS)
        distance = position[..., None] - (first[..., None] + np.arange(TAPS))
        return first.astype(np.int64), i0(self.beta * np.sqrt(np.maximum(0.0, 1.0 - (2.0 * distance / TAPS) ** 2)))


@njit("void(f8[:, :, ::1], i8, i8, i8, i8, i8, i8[:, ::1], f8[::1])", nogil=True, cache=True)
def gather(
    tile: NDArray[np.float64],
    begin: int,
    end: int,
    position: int,
    stride: int,
    length: int,
    base: NDArray[np.int64],
    buffer: NDArray[np.float64],
) -> None:
    """Copy sums at consecutive lattice frequencies into `buffer` so that every stride-th ones lie side by side.

    Taken are the frequencies `begin` to `end` of a tile (n_sums, 2, n). The first one is number `position` of the
    window, and number ``n * stride + p`` goes to ``p * length + n`` beyond the offset `base` (n_sums, 2).
    """
    for row in range(tile.shape[0]):
        for part in range(2):
            source = tile[row, part]
            for shift in range(min(stride, end - begin)):
                at = position + shift
                to = base[row, part] + (at % stride) * length + at // stride
                n = (end - begin - shift + stride - 1) // stride
                target = buffer[to : to + n]
                for k in range(n):
                    target[k] = source[begin + shift + k * stride]


@njit("void(f8[::1], i8[::1], f8[::1], i8, f8[::1])", nogil=True, cache=True, fastmath={"contract"})
def interpolate(
    buffer: NDArray[np.float64],
    offset: NDArray[np.int64],
    factor: NDArray[np.float64],
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Write ``sum_q factor[q] * buffer[offset[q] + first + k]`` into ``out[k]``."""
    n = out.size
    b0, b1, b2 = buffer[offset[0] + first :], buffer[offset[1] + first :], buffer[offset[2] + first :]
    b3, b4, b5 = buffer[offset[3] + first :], buffer[offset[4] + first :], buffer[offset[5] + first :]
    b6, b7, b8 = buffer[offset[6] + first :], buffer[offset[7] + first :], buffer[offset[8] + first :]
    b9 = buffer[offset[9] + first :]
    f0, f1, f2, f3, f4 = factor[0], factor[1], factor[2], factor[3], factor[4]
    f5, f6, f7, f8, f9 = factor[5], factor[6], factor[7], factor[8], factor[9]
    for k in range(n):
        left = f0 * b0[k] + f1 * b1[k] + f2 * b2[k] + f3 * b3[k] + f4 * b4[k]
        right = f5 * b5[k] + f6 * b6[k] + f7 * b7[k] + f8 * b8[k] + f9 * b9[k]
        out[k] = left + right
