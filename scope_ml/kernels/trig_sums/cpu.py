"""Sums of one light curve at the harmonics ``j * f`` of evenly spaced frequencies f; see the package for the method."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.kernels.trig_sums.interpolation import TAPS, Kernel, gather, interpolate
from scope_ml.kernels.trig_sums.lattice import Lattice, make_summer
from scope_ml.kernels.trig_sums.phasor import split, two_product
from scope_ml.kernels.trig_sums.store import lend, take_back

__all__ = ["BLOCK", "WINDOW", "HarmonicSums", "Window", "fill_sums"]

#: Lattice steps that are interpolated and turned into a statistic at a time, so that the sums stay in the first cache.
BLOCK = 512

#: Periodograms of fewer points have frequencies at which the fit is near singular and multiplies the error of the sums:
#: their lattice is finer.
FEW_POINTS = 32

#: How many times finer than it must be the lattice is at least, for many and for few points.
FINENESS = 2.0
FINENESS_FEW = 3.0


class Window(NamedTuple):
    """All sums that a piece of the grid needs, ready to be interpolated by `fill_sums`.

    Attributes
    ----------
    buffer
        Sums on the lattice, float64.
    base
        Offsets of real and imaginary part of each sum in it, int64 (n_sums, 2).
    harmonic
        Row of `offset` and `factor` that each sum goes by, int64 (n_sums,).
    offset, factor
        Taps by harmonic and by trial frequency of a lattice step, int64 and float64 (n_harmonics, ratio, taps).
    """

    buffer: NDArray[np.float64]
    base: NDArray[np.int64]
    harmonic: NDArray[np.int64]
    offset: NDArray[np.int64]
    factor: NDArray[np.float64]


#: Type of a `Window` for the signatures of kernels that take one.
WINDOW = types.NamedTuple(
    (
        types.float64[::1],
        types.int64[:, ::1],
        types.int64[::1],
        types.int64[:, :, ::1],
        types.float64[:, :, ::1],
    ),
    Window,
)


@njit(
    types.void(WINDOW, types.int64, types.int64, types.int64, types.float64[:, :, ::1]),
    nogil=True,
    cache=True,
)
def fill_sums(window: Window, phase: int, first: int, n: int, out: NDArray[np.float64]) -> None:
    """Write the sums at trial frequencies ``(first + k) * ratio + phase``, k < n, into `out` (n_sums, 2, >= n)."""
    at = np.empty(TAPS, dtype=np.int64)
    for row in range(window.base.shape[0]):
        j = window.harmonic[row]
        for part in range(2):
            for q in range(TAPS):
                at[q] = window.base[row, part] + window.offset[j, phase, q]
            interpolate(window.buffer, at, window.factor[j, phase], first, out[row, part, :n])


class HarmonicSums:
    """Sums of one light curve at harmonics of evenly spaced frequencies.

    The order of the sums is that of `lower` at the harmonics 1 to n, harmonic by harmonic, then those of `upper` at
    the harmonics 1 to 2n: what normal equations need.
    """

    def __init__(
        self, time: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64], n_harmonics: int
    ) -> None:
        """Prepare.

        Parameters
        ----------
        time
            Float64 (n_obs,) [d], from ``-span / 2`` to ``span / 2``.
        lower, upper
            Strengths, float64 (n_lower, n_obs) and (n_obs,).
        n_harmonics
            Harmonics of the lower sums.
        """
        self._buffer = np.empty(0)
        self._time, self._span = time, 2.0 * float(np.abs(time).max())
        self._strengths = (lower, upper[None, :])
        self._n_harmonics = n_harmonics
        self._step = 0.0

    def window(self, frequency: float, step: float, n_frequencies: int) -> Window:
        """Return what `fill_sums` needs for the harmonics of ``frequency + k * step`` [1/d], k < `n_frequencies`."""
        if step != self._step:
            self._set_step(step)
        n_cells = -(-n_frequencies // self._ratio)
        whole, rest = self._position(frequency)
        harmonic = np.arange(1, 2 * self._n_harmonics + 1)[:, None]
        stride = harmonic * self._multiple
        first, factor = self._kernel.taps(harmonic * rest + stride * np.arange(self._ratio) / self._ratio)
        tap = first[:, :, None] - first[:, :1, None] + np.arange(TAPS)
        length = n_cells + tap[:, :, -1].max(axis=1, keepdims=True) // stride + 1
        offset = (tap % stride[:, :, None]) * length[:, :, None] + tap // stride[:, :, None]
        start = harmonic[:, 0] * whole + first[:, 0]
        return self._fill(start.tolist(), length[:, 0].tolist(), offset, factor)

    def __del__(self) -> None:
        """Leave the buffer to the next light curve; a window is no longer used than its sums."""
        take_back(self._buffer)

    def _set_step(self, step: float) -> None:
        """Choose the lattice for a grid's step and prepare the summation on it."""
        fineness = FINENESS_FEW if self._time.size < FEW_POINTS else FINENESS
        # A span that is the grid's own baseline must not lose a trial frequency per lattice step to rounding.
        available = 1.0 / (fineness * step * self._span) * (1.0 + 1e-9)
        self._ratio = max(1, math.floor(available))
        self._multiple = 1 if available >= 1.0 else math.ceil(1.0 / available)
        self._step, self._spacing = step, step * self._ratio / self._multiple
        self._kernel = Kernel(self._spacing * self._span)
        high, low = split(self._spacing, self._time)
        summer, tile = make_summer(high, low)
        scale = 1.0 / self._kernel.transform(high + low)
        self._lattices = tuple(Lattice(summer, tile, strengths * scale) for strengths in self._strengths)

    def _position(self, frequency: float) -> tuple[int, float]:
        """Return the lattice frequency nearest to a frequency and what is left [lattice steps]."""
        whole = round(frequency / self._spacing)
        product, error = two_product(float(whole), self._spacing)
        return whole, float((frequency - product) - error) / self._spacing

    def _fill(
        self, starts: list[int], lengths: list[int], offset: NDArray[np.int64], factor: NDArray[np.float64]
    ) -> Window:
        """Return the window whose harmonics begin at lattice frequencies `starts`."""
        n_lower = self._strengths[0].shape[0]
        # Of each harmonic: the lattice and its sums.
        groups = [(0, j) for j in range(self._n_harmonics)] + [(1, j) for j in range(len(starts))]
        harmonic = np.array([j for which, j in groups for _ in range(1 if which else n_lower)])
        part = (harmonic + 1) * self._multiple * np.array(lengths)[harmonic]
        ends = np.cumsum(np.repeat(part, 2))
        if self._buffer.size < ends[-1]:
            take_back(self._buffer)
            # Powers of two, so that light curves of all baselines ask for the same.
            self._buffer = lend((1 << int(ends[-1] - 1).bit_length(),))
        base = (ends - np.repeat(part, 2)).reshape(-1, 2)
        row = 0
        for which, j in groups:
            lattice = self._lattices[which]
            lattice.forget(starts[0])
            stride = (j + 1) * self._multiple
            n_rows = 1 if which else n_lower
            self._copy(lattice, starts[j], stride, lengths[j], base[row : row + n_rows])
            row += n_rows
        return Window(self._buffer, base, harmonic, offset, factor)

    def _copy(self, lattice: Lattice, start: int, stride: int, length: int, base: NDArray[np.int64]) -> None:
        """Copy ``stride * length`` lattice frequencies of all sums of a lattice into the buffer."""
        end = start + stride * length
        for index in range(start // lattice.tile, -(-end // lattice.tile)):
            begin = index * lattice.tile
            taken = max(0, start - begin), min(lattice.tile, end - begin)
            gather(lattice.take(index), *taken, max(0, begin - start), stride, length, base, self._buffer)
