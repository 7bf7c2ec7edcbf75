"""Products of small matrices, column sums and Adam's step, in numba on `lanes`.

One product does for all layers: outputs of a layer, gradients of its inputs and of its weights differ in strides only.
An element is the sum over the inner index in its order, one multiply-add each, begun with what `start` says: it depends
on its own row and column alone, not on how many others are worked out beside it. May import lanes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.networks.lanes import (
    INNER,
    LANES,
    add,
    at_least_zero,
    fma,
    larger,
    load,
    mul,
    over_root,
    splat,
    spread,
    store,
    where_positive,
)

__all__ = [
    "FLOATS",
    "MATRIX",
    "MOMENTS",
    "Matrix",
    "Moments",
    "adam",
    "add_columns",
    "copy_transposed",
    "product",
    "quench",
]

FLOATS = types.float32[::1]

#: Decay of Adam's first and second moment.
BETA_1, BETA_2 = 0.9, 0.999


class Matrix(NamedTuple):
    """A matrix inside an array: element (i, j) is ``values[at + i * row + j * column]``."""

    values: NDArray[np.float32]
    at: int
    row: int
    column: int


MATRIX = types.NamedTuple((FLOATS, types.int64, types.int64, types.int64), Matrix)


@njit(types.void(MATRIX, MATRIX, MATRIX, MATRIX, types.int64, types.int64, types.boolean), **INNER)
def _eight(out: Matrix, start: Matrix, a: Matrix, b: Matrix, i: int, n_inner: int, relu: bool) -> None:
    """Write rows i to i + 7 of 16 columns."""
    s, t, p = start.at + i * start.row, start.row, a.at + i * a.row
    c0, c1, c2, c3 = (
        load(start.values, s),
        load(start.values, s + t),
        load(start.values, s + 2 * t),
        load(start.values, s + 3 * t),
    )
    s += 4 * t
    c4, c5, c6, c7 = (
        load(start.values, s),
        load(start.values, s + t),
        load(start.values, s + 2 * t),
        load(start.values, s + 3 * t),
    )
    r = a.row
    for k in range(n_inner):
        w = load(b.values, b.at + k * b.row)
        q = p + k * a.column
        c0 = fma(spread(a.values, q), w, c0)
        c1 = fma(spread(a.values, q + r), w, c1)
        c2 = fma(spread(a.values, q + 2 * r), w, c2)
        c3 = fma(spread(a.values, q + 3 * r), w, c3)
        c4 = fma(spread(a.values, q + 4 * r), w, c4)
        c5 = fma(spread(a.values, q + 5 * r), w, c5)
        c6 = fma(spread(a.values, q + 6 * r), w, c6)
        c7 = fma(spread(a.values, q + 7 * r), w, c7)
    if relu:
        c0, c1, c2, c3 = at_least_zero(c0), at_least_zero(c1), at_least_zero(c2), at_least_zero(c3)
        c4, c5, c6, c7 = at_least_zero(c4), at_least_zero(c5), at_least_zero(c6), at_least_zero(c7)
    o, u = out.at + i * out.row, out.row
    store(out.values, o, c0)
    store(out.values, o + u, c1)
    store(out.values, o + 2 * u, c2)
    store(out.values, o + 3 * u, c3)
    store(out.values, o + 4 * u, c4)
    store(out.values, o + 5 * u, c5)
    store(out.values, o + 6 * u, c6)
    store(out.values, o + 7 * u, c7)


@njit(types.void(MATRIX, MATRIX, MATRIX, MATRIX, types.int64, types.int64, types.boolean), **INNER)
def _one(out: Matrix, start: Matrix, a: Matrix, b: Matrix, i: int, n_inner: int, relu: bool) -> None:
    """Write row i of 16 columns."""
    c = load(start.values, start.at + i * start.row)
    for k in range(n_inner):
        c = fma(spread(a.values, a.at + i * a.row + k * a.column), load(b.values, b.at + k * b.row), c)
    if relu:
        c = at_least_zero(c)
    store(out.values, out.at + i * out.row, c)


SHAPE = types.UniTuple(types.int64, 3)


@njit(types.void(MATRIX, MATRIX, MATRIX, MATRIX, SHAPE, types.boolean), **INNER)
def product(out: Matrix, start: Matrix, a: Matrix, b: Matrix, shape: tuple[int, int, int], relu: bool) -> None:
    """Write ``start + a @ b``, or its relu, into `out`.

    Parameters
    ----------
    out, start
        (rows, columns) with ``column == 1``; ``start.row == 0`` begins every row with the same numbers (a bias).
    a, b
        (rows, inner), (inner, columns); ``b.column == 1``.
    shape
        Rows, inner, columns; columns a multiple of 16.
    relu
        Whether to put 0 for what is negative.
    """
    n_rows, n_inner, n_columns = shape
    for j in range(0, n_columns, LANES):
        target = Matrix(out.values, out.at + j, out.row, 1)
        begin = Matrix(start.values, start.at + j, start.row, 1)
        weights = Matrix(b.values, b.at + j, b.row, 1)
        n_whole = n_rows & ~7
        for i in range(0, n_whole, 8):
            _eight(target, begin, a, weights, i, n_inner, relu)
        for i in range(n_whole, n_rows):
            _one(target, begin, a, weights, i, n_inner, relu)


@njit(types.void(MATRIX, MATRIX, types.int64, types.int64), **INNER)
def add_columns(out: Matrix, a: Matrix, n_rows: int, n_columns: int) -> None:
    """Add the sums of the first `n_columns` (a multiple of 16) columns of `a` to the row `out`."""
    for j in range(0, n_columns, LANES):
        total = load(out.values, out.at + j)
        for i in range(n_rows):
            total = add(total, load(a.values, a.at + i * a.row + j))
        store(out.values, out.at + j, total)


@njit(types.void(MATRIX, MATRIX, types.int64, types.int64), **INNER)
def copy_transposed(out: Matrix, a: Matrix, n_rows: int, n_columns: int) -> None:
    """Write ``a`` (rows, columns) transposed into `out`."""
    for i in range(n_rows):
        for j in range(n_columns):
            out.values[out.at + j * out.row + i] = a.values[a.at + i * a.row + j * a.column]


@njit(types.void(MATRIX, MATRIX, types.int64, types.int64, types.float32), **INNER)
def quench(out: Matrix, a: Matrix, n_rows: int, n_columns: int, scale: float) -> None:
    """Write ``scale * out`` where `a`, what a relu and its dropout gave, is positive, and 0 elsewhere."""
    for i in range(n_rows):
        for j in range(0, n_columns, LANES):
            value = mul(load(out.values, out.at + i * out.row + j), splat(scale))
            store(out.values, out.at + i * out.row + j, where_positive(load(a.values, a.at + i * a.row + j), value))


class Moments(NamedTuple):
    """What Adam moves and keeps of one model, each (P,) with P a multiple of 16.

    `largest`, the largest second moment so far, is used with AMSGrad only.
    """

    parameters: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    largest: NDArray[np.float32]


MOMENTS = types.NamedUniTuple(FLOATS, len(Moments._fields), Moments)


@njit(types.void(MOMENTS, FLOATS, types.float32, types.float32, types.boolean), **INNER)
def adam(moments: Moments, gradients: NDArray[np.float32], rate: float, epsilon: float, amsgrad: bool) -> None:
    """Move the parameters by one step of Adam (`reference.adam_step`); `rate` has the biases corrected."""
    keep_first, keep_second = splat(np.float32(BETA_1)), splat(np.float32(BETA_2))
    take_first, take_second = splat(np.float32(1.0 - BETA_1)), splat(np.float32(1.0 - BETA_2))
    back, small = splat(np.float32(-rate)), splat(epsilon)
    for i in range(0, moments.parameters.size, LANES):
        gradient = load(gradients, i)
        first = fma(take_first, gradient, mul(keep_first, load(moments.first, i)))
        second = fma(take_second, mul(gradient, gradient), mul(keep_second, load(moments.second, i)))
        store(moments.first, i, first)
        store(moments.second, i, second)
        if amsgrad:
            second = larger(load(moments.largest, i), second)
            store(moments.largest, i, second)
        store(moments.parameters, i, fma(back, over_root(first, second, small), load(moments.parameters, i)))
