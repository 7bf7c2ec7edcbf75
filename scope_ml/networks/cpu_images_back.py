"""The convolution branch for one dm-dt image, backwards, in numba on `lanes`; see `cpu_images`.

Sums of gradients over the images of a batch lie in an array of their own, from which `unpack` makes gradients.
May import lanes, cpu_products and cpu_images.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from scope_ml.networks.cpu_images import (
    BACK_IN,
    BACK_OUT,
    BACK_WINDOWS,
    FIRST_WEIGHTS,
    FIRST_WINDOW,
    FIVE,
    IN_3,
    N_OTHERS,
    OTHERS,
    OUT_1,
    OUT_2,
    OUT_3,
    OUT_4,
    PIXELS,
    POOLED,
    RIM_2,
    RIM_3,
    RIM_4,
    SCALE,
    SIDE,
    SIDE_1,
    SIDE_2,
    SIDE_3,
    SIDE_4,
    THREE,
    TRANSPOSED_2,
    TRANSPOSED_3,
    TRANSPOSED_4,
    WEIGHTS_2,
    WEIGHTS_3,
    WEIGHTS_4,
    WINDOW_2,
    WINDOW_3,
    WINDOW_4,
    WINDOWS_2,
    WINDOWS_3,
    WINDOWS_4,
    ZEROS,
    windows,
)
from scope_ml.networks.cpu_products import FLOATS, Matrix, add_columns, product, quench
from scope_ml.networks.lanes import INNER, add, fma, load, mul, splat, spread, store, where_equal, where_positive

__all__ = ["N_SUMS", "backward", "unpack"]

#: Sums of gradients: of the first convolution the products of pixel and derivative, (9, 16), and biases; the others' as
#: in the flat vector, from `SUMS_OTHERS` on.
FIRST_SUMS, FIRST_BIAS_SUMS, SUMS_OTHERS = 0, 144, 160
N_SUMS = SUMS_OTHERS + N_OTHERS
#: From a place among the weights to that among the sums.
TO_SUMS = SUMS_OTHERS - OTHERS


@njit(types.void(FLOATS, FLOATS, FLOATS, types.int64), **INNER)
def unpack(sums: NDArray[np.float32], packed: NDArray[np.float32], gradients: NDArray[np.float32], at: int) -> None:
    """Write the gradients, which begin at `at` in the flat vector, from the sums over a batch (N_SUMS,).

    A unit of the first convolution is relu(weight * sum(window * pixels) + bias): the derivatives by window and by
    weight both follow from the sums of pixel times derivative.
    """
    for i in range(16):
        gradients[at + 9 + i] = np.float32(0.0)
        gradients[at + 25 + i] = sums[FIRST_BIAS_SUMS + i]
    for k in range(9):
        total = np.float32(0.0)
        for i in range(16):
            total += packed[FIRST_WEIGHTS + i] * sums[FIRST_SUMS + k * 16 + i]
            gradients[at + 9 + i] += packed[FIRST_WINDOW + k] * sums[FIRST_SUMS + k * 16 + i]
        gradients[at + k] = total
    for i in range(N_OTHERS):
        gradients[at + 41 + i] = sums[SUMS_OTHERS + i]


@njit(types.void(FLOATS, types.int64, types.int64, FLOATS, types.int64, THREE), **INNER)
def _window_sums(
    work: NDArray[np.float32],
    at: int,
    rim_at: int,
    sums: NDArray[np.float32],
    sums_at: int,
    shape: tuple[int, int, int],
) -> None:
    """Add the products of input and derivative by the sums over windows to the gradient of the 3 x 3 windows."""
    width, side, channels = shape
    row, rim_row, s = width * channels, (side + 4) * channels, channels
    for c in range(0, channels, 16):
        k = sums_at + c
        k0, k1, k2 = load(sums, k), load(sums, k + s), load(sums, k + 2 * s)
        k3, k4, k5 = load(sums, k + 3 * s), load(sums, k + 4 * s), load(sums, k + 5 * s)
        k6, k7, k8 = load(sums, k + 6 * s), load(sums, k + 7 * s), load(sums, k + 8 * s)
        for y in range(side):
            p, q = at + y * row + c, rim_at + (y + 2) * rim_row + c
            # The rim's zeros stand left and right of the row.
            before, last = load(work, q), load(work, q + s)
            q += 2 * s
            for _ in range(width):
                here = load(work, q)
                u, v, w = load(work, p), load(work, p + row), load(work, p + 2 * row)
                k0, k3, k6 = fma(u, here, k0), fma(v, here, k3), fma(w, here, k6)
                k1, k4, k7 = fma(u, last, k1), fma(v, last, k4), fma(w, last, k7)
                k2, k5, k8 = fma(u, before, k2), fma(v, before, k5), fma(w, before, k8)
                before, last = last, here
                p += s
                q += s
        store(sums, k, k0)
        store(sums, k + s, k1)
        store(sums, k + 2 * s, k2)
        store(sums, k + 3 * s, k3)
        store(sums, k + 4 * s, k4)
        store(sums, k + 5 * s, k5)
        store(sums, k + 6 * s, k6)
        store(sums, k + 7 * s, k7)
        store(sums, k + 8 * s, k8)


@njit(types.void(FLOATS, FIVE, FLOATS, types.int64, FLOATS), **INNER)
def _points_back(
    work: NDArray[np.float32],
    shape: tuple[int, int, int, int, int],
    packed: NDArray[np.float32],
    transposed_at: int,
    sums: NDArray[np.float32],
) -> None:
    """Go back through a convolution's pointwise part, from `BACK_OUT` to `BACK_WINDOWS`.

    `shape` is the places of its sums over windows and, among the sums of gradients, of its weights, which its biases
    follow; then points, channels in and out.
    """
    at, sums_at, n_points, n_in, n_out = shape
    back, weights = Matrix(work, BACK_OUT, n_out, 1), Matrix(sums, sums_at, n_out, 1)
    product(weights, weights, Matrix(work, at, 1, n_in), back, (n_in, n_points, n_out), False)
    add_columns(Matrix(sums, sums_at + n_in * n_out, 0, 1), back, n_points, n_out)
    out, transposed = Matrix(work, BACK_WINDOWS, n_in, 1), Matrix(packed, transposed_at, n_in, 1)
    product(out, Matrix(packed, ZEROS, 0, 1), back, transposed, (n_points, n_out, n_in), False)


@njit(types.void(FLOATS, types.int64, types.int64, types.int64), **INNER)
def _with_rim(work: NDArray[np.float32], rim_at: int, side: int, channels: int) -> None:
    """Copy `BACK_WINDOWS` into the middle of a rim of two zeros, which stay zeros."""
    p = BACK_WINDOWS
    for y in range(side):
        q = rim_at + ((y + 2) * (side + 4) + 2) * channels
        for _ in range(0, side * channels, 16):
            store(work, q, load(work, p))
            p += 16
            q += 16


@njit(types.void(FLOATS, FLOATS), **INNER)
def _mean_back(work: NDArray[np.float32], means: NDArray[np.float32]) -> None:
    """Write the derivatives by the outputs of the last convolution from those by their 32 means."""
    for c in range(0, 32, 16):
        back = mul(load(means, c), splat(np.float32(SCALE / SIDE_4**2)))
        for p in range(c, SIDE_4**2 * 32, 32):
            store(work, BACK_OUT + p, where_positive(load(work, OUT_4 + p), back))


@njit(types.void(FLOATS), **INNER)
def _pool_back(work: NDArray[np.float32]) -> None:
    """Write the derivatives by the outputs of the second convolution: all of a pool's at the first of the largest."""
    zero, factor = splat(np.float32(0.0)), splat(SCALE)
    for y in range(POOLED):
        for x in range(POOLED):
            p, q = (2 * y * SIDE_2 + 2 * x) * 16, (y * POOLED + x) * 16
            best = load(work, IN_3 + q)
            left = where_positive(best, mul(load(work, BACK_IN + q), factor))
            for shift in (0, 16, SIDE_2 * 16, SIDE_2 * 16 + 16):
                value = load(work, OUT_2 + p + shift)
                store(work, BACK_OUT + p + shift, where_equal(value, best, left, zero))
                left = where_equal(value, best, zero, left)


@njit(types.void(PIXELS, types.int64, FLOATS, FLOATS), **INNER)
def _first_back(images: NDArray[np.float32], at: int, work: NDArray[np.float32], sums: NDArray[np.float32]) -> None:
    """Add the first convolution's sums of derivative and of pixel times derivative."""
    k0, k1, k2 = load(sums, 0), load(sums, 16), load(sums, 32)
    k3, k4, k5 = load(sums, 48), load(sums, 64), load(sums, 80)
    k6, k7, k8 = load(sums, 96), load(sums, 112), load(sums, 128)
    total = load(sums, FIRST_BIAS_SUMS)
    for y in range(SIDE_1):
        for x in range(SIDE_1):
            p, q = (y * SIDE_1 + x) * 16, at + y * SIDE + x
            back = where_positive(load(work, OUT_1 + p), load(work, BACK_IN + p))
            total = add(total, back)
            k0, k1 = fma(spread(images, q), back, k0), fma(spread(images, q + 1), back, k1)
            k2, k3 = fma(spread(images, q + 2), back, k2), fma(spread(images, q + SIDE), back, k3)
            k4, k5 = fma(spread(images, q + SIDE + 1), back, k4), fma(spread(images, q + SIDE + 2), back, k5)
            k6, k7 = fma(spread(images, q + 2 * SIDE), back, k6), fma(spread(images, q + 2 * SIDE + 1), back, k7)
            k8 = fma(spread(images, q + 2 * SIDE + 2), back, k8)
    store(sums, FIRST_BIAS_SUMS, total)
    store(sums, 0, k0)
    store(sums, 16, k1)
    store(sums, 32, k2)
    store(sums, 48, k3)
    store(sums, 64, k4)
    store(sums, 80, k5)
    store(sums, 96, k6)
    store(sums, 112, k7)
    store(sums, 128, k8)


@njit(types.void(PIXELS, types.int64, FLOATS, FLOATS, FLOATS, FLOATS), **INNER)
def backward(
    images: NDArray[np.float32],
    at: int,
    packed: NDArray[np.float32],
    work: NDArray[np.float32],
    means: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Add the gradients of one image, just gone forward with dropout, to `sums` (N_SUMS,).

    Parameters
    ----------
    images, at, packed, work
        As in `forward`.
    means
        Derivatives of the loss by the 32 means, float32 (32,).
    sums
        See `unpack`.
    """
    _mean_back(work, means)
    _points_back(work, (WINDOWS_4, WEIGHTS_4 + TO_SUMS, SIDE_4**2, 32, 32), packed, TRANSPOSED_4, sums)
    _with_rim(work, RIM_4, SIDE_4, 32)
    _window_sums(work, OUT_3, RIM_4, sums, WINDOW_4 + TO_SUMS, (SIDE_3, SIDE_4, 32))
    windows(work, RIM_4, packed, WINDOW_4 + N_OTHERS, work, BACK_OUT, (SIDE_4 + 4, SIDE_3, 32))
    out, inputs = Matrix(work, BACK_OUT, 32, 1), Matrix(work, OUT_3, 32, 1)
    quench(out, inputs, SIDE_3**2, 32, np.float32(1.0))
    _points_back(work, (WINDOWS_3, WEIGHTS_3 + TO_SUMS, SIDE_3**2, 16, 32), packed, TRANSPOSED_3, sums)
    _with_rim(work, RIM_3, SIDE_3, 16)
    _window_sums(work, IN_3, RIM_3, sums, WINDOW_3 + TO_SUMS, (POOLED, SIDE_3, 16))
    windows(work, RIM_3, packed, WINDOW_3 + N_OTHERS, work, BACK_IN, (SIDE_3 + 4, POOLED, 16))
    _pool_back(work)
    _points_back(work, (WINDOWS_2, WEIGHTS_2 + TO_SUMS, SIDE_2**2, 16, 16), packed, TRANSPOSED_2, sums)
    _with_rim(work, RIM_2, SIDE_2, 16)
    _window_sums(work, OUT_1, RIM_2, sums, WINDOW_2 + TO_SUMS, (SIDE_1, SIDE_2, 16))
    windows(work, RIM_2, packed, WINDOW_2 + N_OTHERS, work, BACK_IN, (SIDE_2 + 4, SIDE_1, 16))
    _first_back(images, at, work, sums)
